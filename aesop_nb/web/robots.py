"""What a site's robots.txt asks of programs (RFC 9309); read once per site and run."""

from __future__ import annotations

import asyncio
import importlib
import re
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from .. import background
from .refusals import WebError, WebRefused

if TYPE_CHECKING:
    from .urls import Target

MAX_ROBOTS_BYTES = 500 * 1024
"""What is read of a robots.txt; RFC 9309 asks for at least as much."""

_Rules: TypeAlias = Callable[[str, str], str]
"""From a URL and the name of a program to the reason why it must not be read; empty if it may."""

_DISALLOWS = re.compile(rb"di[a-z-]*(?:[ \t]*:[ \t]*[^\s#]|[ \t]+[/*])", re.IGNORECASE)
"""What may forbid something, and be it misspelt or in a comment; a file without it forbids nothing."""


async def check(
    shared: dict[str, Any],
    target: Target,
    agent: str,
    fetch: Callable[[Target], Awaitable[tuple[int, bytes]]],
) -> None:
    """Makes sure that the site allows `target` to be read.

    Args:
        shared: Where the files that were read are kept.
        target: What is to be read.
        agent: How we name ourselves.
        fetch: Gives status and body of a robots.txt.

    Raises:
        WebRefused: If the site does not allow it, or cannot say.
    """
    known: dict[str, _Rules] = shared.setdefault("robots", {})
    lock = shared.setdefault("robots_locks", {}).setdefault(target.origin, asyncio.Lock())
    async with lock:
        if target.origin not in known:
            known[target.origin] = await _read(target, fetch)
    if reason := known[target.origin](target.url, agent):
        raise WebRefused(reason)


async def _read(target: Target, fetch: Callable[[Target], Awaitable[tuple[int, bytes]]]) -> _Rules:
    try:
        status, body = await fetch(target.at("/robots.txt"))
    except WebError as exc:
        raise WebRefused(f"The robots.txt of {target.authority} cannot be read: {exc}") from None
    if status >= 500 or status == 429:
        raise WebRefused(f"The robots.txt of {target.authority} cannot be read now ({status}).")
    if status >= 300 or not _DISALLOWS.search(body[:MAX_ROBOTS_BYTES]):
        return lambda url, agent: ""
    return await background.call_in_thread(lambda: _rules(body[:MAX_ROBOTS_BYTES], target), "robots")


def _rules(body: bytes, target: Target) -> _Rules:
    try:
        protego = importlib.import_module("protego")
    except ImportError:
        return lambda url, agent: (
            f"The robots.txt of {target.authority} forbids some of its pages, and nothing here can tell which. "
            "The person can install what reads it: pip install 'aesop_nb[web]'."
        )
    parsed = protego.Protego.parse(body.decode("utf-8-sig", "replace"))

    def reason(url: str, agent: str) -> str:
        return (
            "" if parsed.can_fetch(url, agent) else f"The robots.txt of {target.authority} forbids this page."
        )

    return reason
