"""`search`: what services find, given to a model as data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from pydantic import Field

from .. import background
from ..engine.prompts import fenced
from ..errors import UsageError
from ..tools import Tool, make_tool
from .access import Access
from .fetching import Fetch, Response
from .looping import on_the_loop
from .pages import ROOM
from .providers import Arxiv, Hit, Provider, Wikipedia, hits_of, read_hits
from .refusals import PageLimitReached, WebError, WebRefused
from .urls import read_url

if TYPE_CHECKING:
    from ..config import TaskConfig

ACCEPT = "application/json, application/atom+xml;q=0.9, */*;q=0.1"

MAX_QUERY_CHARACTERS = 300

KEYLESS: tuple[Provider, ...] = (Wikipedia(), Arxiv())
"""What `search` asks where the person names nothing else."""

_Provider: TypeAlias = "Provider | Callable[[str], Any]"


async def search(query: str, count: Annotated[int, Field(ge=1, le=20)] = 6) -> str:
    """Searches Wikipedia and arXiv, as far as they may be read; gives titles, addresses and a few words.

    Args:
        query: What to look for, in a few words.
        count: How many results of each at most.
    """
    return await on_the_loop(lambda: _search(KEYLESS, query, count, must_all=False))


def search_with(*providers: _Provider, name: str = "search") -> Tool:
    """Gives a tool that searches elsewhere: `search_with(searxng("https://searx.example.org"))`.

    Args:
        providers: `wikipedia()`, `arxiv()`, `searxng(url)`, or functions that take a query and give a list of
            texts, or of dicts with `title`, `url` and `snippet`.
        name: What the model calls it by.

    Raises:
        UsageError: If there is none, or one is neither.
    """
    if not providers:
        raise UsageError("search_with() needs somewhere to search, for example search_with(wikipedia('de')).")
    for provider in providers:
        if not callable(provider) and not isinstance(provider, Provider):
            raise UsageError(f"{provider!r} is neither a provider nor a function that takes a query.")

    async def find(query: str, count: Annotated[int, Field(ge=1, le=20)] = 6) -> str:
        return await on_the_loop(lambda: _search(providers, query, count, must_all=True))

    names = " and ".join(_name(provider) for provider in providers)
    return make_tool(
        find,
        name=name,
        description=f"Searches {names}; gives titles, addresses and a few words of each result.",
    )


def can_search(config: TaskConfig) -> bool:
    """Whether `search` could ask anybody under these limits."""
    access = Access.of(config)
    return any(_may_ask(access, provider) for provider in KEYLESS)


async def _search(providers: Sequence[_Provider], query: str, count: int, *, must_all: bool) -> str:
    access = Access.here()
    query = " ".join(query.split())[:MAX_QUERY_CHARACTERS]
    asked = [one for one in providers if must_all or _may_ask(access, one)]
    if not asked:
        names = " nor ".join(_name(provider) for provider in providers)
        raise WebRefused(f"Neither {names} may be asked here.")
    parts: list[str] = []
    problems: list[WebError] = []
    for provider in asked:
        try:
            hits = await _hits(access, provider, query, count)
        except PageLimitReached as exc:
            problems.append(exc)
            break
        except WebError as exc:
            problems.append(exc)
        else:
            parts.append(_told(provider, hits))
    if not parts:
        raise problems[0]
    text = "\n\n".join([*parts, *map(str, problems)])
    return fenced(text[:ROOM], "what was found")


async def _hits(access: Access, provider: _Provider, query: str, count: int) -> list[Hit]:
    if not isinstance(provider, Provider):
        return await background.call_in_thread(lambda: hits_of(provider, query, count), _name(provider))
    service = provider

    def read(response: Response) -> tuple[str, list[Hit]]:
        return f"{service.name}: {query}", read_hits(service, response.body, count)

    fetch = Fetch(access=access, accept=ACCEPT, is_page=False)
    return await fetch.read(service.request_url(query, count), read)


def _may_ask(access: Access, provider: _Provider) -> bool:
    if not isinstance(provider, Provider):
        return True
    try:
        access.check(read_url(provider.request_url("x", 1)))
    except WebRefused:
        return False
    return True


def _name(provider: _Provider) -> str:
    return str(getattr(provider, "name", "") or getattr(provider, "__name__", type(provider).__name__))


def _told(provider: _Provider, hits: Sequence[Hit]) -> str:
    if not hits:
        return f"{_name(provider)}: nothing was found."
    lines = [f"{_name(provider)}:"]
    for hit in hits:
        lines += [f"- {hit.title}", *(f"  {part}" for part in (hit.url, hit.snippet) if part)]
    return "\n".join(lines)
