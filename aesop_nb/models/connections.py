"""The HTTP connections under a client: one request each at a time, bodies that cannot outgrow memory.

A pool of httpx looks at all its connections for each request, which costs more than the request itself once dozens
are open. So each connection gets a pool of its own, a *lane*; the free lanes are a stack.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import ssl
import urllib.request
import zlib
from collections import deque
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import urlsplit

from ..errors import UsageError
from .replies import MAX_REPLY_BYTES

MAX_ERROR_BYTES = 64 * 1024
"""The rest of a longer error body is not read."""

KEEP_ALIVE_SECONDS = 5.0
"""A connection that was not used for so long is closed."""

_INFLATE_STEP = 64 * 1024


class BodyRefused(Exception):
    """A body that is too large or packed in a way that nobody asked for; the text says which."""


def http_library() -> Any:
    """Gives the library that the installed `openai` is built on: `httpx2`, or `httpx` before version 3."""
    openai = importlib.import_module("openai")
    module: str = openai.DefaultAsyncHttpxClient.__mro__[1].__module__
    return importlib.import_module(module.partition(".")[0])


class Lanes:
    """A transport for an httpx client that asks one service.

    Args:
        base_url: The service; the environment's proxy settings for it are followed.

    Raises:
        UsageError: If the proxy cannot be used.
    """

    def __init__(self, base_url: str) -> None:
        self._http = http_library()
        # Reading the certificates takes as long as many requests; a context without any trusts nobody.
        encrypted = urlsplit(base_url).scheme == "https"
        self._tls = self._http.create_ssl_context() if encrypted else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._limits = self._http.Limits(max_connections=1, keepalive_expiry=KEEP_ALIVE_SECONDS)
        self._proxy = _proxy_for(base_url)
        self._body_class = type("_LaneBody", (_Body, self._http.AsyncByteStream), {})
        self._free: deque[tuple[float, Any]] = deque()
        self._reaper: asyncio.TimerHandle | None = None
        self._closing: set[asyncio.Task[None]] = set()
        try:
            self._free.append((0.0, self._make_lane()))
        except (ImportError, ValueError) as exc:
            raise UsageError(
                f"The proxy that the environment names for {base_url} cannot be used: {exc}"
            ) from None

    async def __aenter__(self) -> Lanes:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    async def handle_async_request(self, request: Any) -> Any:
        """Sends a request on a lane of its own; the lane is free again when the body was read to its end."""
        lane = self._free.pop()[1] if self._free else self._make_lane()
        try:
            response = await lane.handle_async_request(request)
        except BaseException:
            await self.release(lane, usable=False)
            raise
        limit: int | None = MAX_REPLY_BYTES
        if response.status_code >= 300:
            limit = MAX_ERROR_BYTES
        elif response.headers.get("content-type", "").startswith("text/event-stream"):
            limit = None  # its events are counted instead: each carries far more bytes than text
        body = self._body_class(response.stream)
        body.set_up(
            self, lane, limit, response.status_code >= 300, response.headers.pop("content-encoding", "")
        )
        response.stream = body
        return response

    async def release(self, lane: Any, *, usable: bool) -> None:
        """Takes a lane back; one whose request did not end well is closed."""
        if not usable:
            with contextlib.suppress(Exception):
                await lane.aclose()
            return
        loop = asyncio.get_running_loop()
        self._free.append((loop.time(), lane))
        if self._reaper is None:
            self._reaper = loop.call_later(KEEP_ALIVE_SECONDS, self._reap)

    async def aclose(self) -> None:
        """Closes the free lanes; those in use close with their requests."""
        if self._reaper is not None:
            self._reaper.cancel()
            self._reaper = None
        while self._free:
            await self.release(self._free.pop()[1], usable=False)
        await asyncio.gather(*self._closing)

    def _make_lane(self) -> Any:
        return self._http.AsyncHTTPTransport(verify=self._tls, limits=self._limits, proxy=self._proxy)

    def _reap(self) -> None:
        loop = asyncio.get_running_loop()
        self._reaper = None
        while self._free and self._free[0][0] + KEEP_ALIVE_SECONDS <= loop.time() + 0.01:
            task = loop.create_task(self.release(self._free.popleft()[1], usable=False))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
        if self._free:
            self._reaper = loop.call_at(self._free[0][0] + KEEP_ALIVE_SECONDS, self._reap)


class _Body:
    """The body of one response: unpacked, bounded, and tied to its lane."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def set_up(self, lanes: Lanes, lane: Any, limit: int | None, truncate: bool, encoding: str) -> None:
        self._lanes, self._lane = lanes, lane
        self._limit, self._truncate, self._encoding = limit, truncate, encoding.strip().lower()
        self._ended = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        inflate = _inflater(self._encoding, strict=not self._truncate)
        async for packed in self._inner:
            for piece in (packed,) if inflate is None else inflate(packed):
                size += len(piece)
                if self._limit is not None and size > self._limit:
                    if self._truncate:
                        return
                    raise BodyRefused(f"more than {self._limit // 2**20} MiB for one reply")
                yield piece
        self._ended = True

    async def aclose(self) -> None:
        lane, self._lane = self._lane, None
        if lane is None:
            return
        usable = False
        try:
            await self._inner.aclose()
            usable = self._ended
        finally:
            await self._lanes.release(lane, usable=usable)


def _inflater(encoding: str, *, strict: bool) -> Any:
    """Gives a function that unpacks a piece step by step, or `None` where nothing is packed."""
    if encoding in ("", "identity"):
        return None
    if encoding not in ("gzip", "x-gzip", "deflate"):
        if strict:
            raise BodyRefused(f"data packed as {encoding[:20]!r}, which was not asked for")
        return None
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 32)

    def inflate(packed: bytes) -> Iterator[bytes]:
        while packed:
            try:
                yield unpacker.decompress(packed, _INFLATE_STEP)
            except zlib.error:
                raise BodyRefused(f"data that is not {encoding} though it says so") from None
            packed = unpacker.unconsumed_tail

    return inflate


def _proxy_for(base_url: str) -> str | None:
    """The proxy that the environment names for a service; httpx looks only where it makes its own transports."""
    parts = urlsplit(base_url)
    proxies = urllib.request.getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or urllib.request.proxy_bypass(parts.hostname or ""):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"
