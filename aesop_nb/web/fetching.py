"""The one door to the web: a GET checked at every hop, bounded in size and time, that tells nobody who asks."""

from __future__ import annotations

import asyncio
import http
import ssl
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from .. import background
from .. import events as ev
from ..engine.limiting import Limits
from . import network, robots
from .bodies import MAX_WIRE_BYTES, Headers, read_body
from .refusals import WebError
from .urls import Target, follow, read_url

if TYPE_CHECKING:
    from .access import Access

T = TypeVar("T")

MAX_REDIRECTS = 5

FETCH_SECONDS = 30.0
"""How long one page may take, its redirects included; waiting for one's turn at a host is not counted."""

CONCURRENT_PER_HOST = 4
"""How many requests one host gets at a time where `concurrent_requests` says nothing."""

USER_AGENT = "aesop_nb (a notebook's research tool)"

_REDIRECTS = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True, kw_only=True)
class Response:
    """What a server gave for `target`, which may be another than was asked for."""

    target: Target
    status: int
    headers: Headers
    body: bytes


@dataclass(kw_only=True)
class Fetch:
    """One page that is being fetched, over all its redirects.

    Attributes:
        access: What may be read.
        accept: The media types that are asked for.
        is_page: Whether robots.txt is obeyed; the interfaces that sites offer to programs are not pages.
    """

    access: Access
    accept: str
    is_page: bool = True

    def __post_init__(self) -> None:
        self._used_seconds = 0.0
        self._last: _Visit

    async def read(self, url: str, read: Callable[[Response], tuple[str, T]]) -> T:
        """Gives what `read` makes of what stands at `url`, and writes it down as a source.

        Args:
            url: Where; every GET counts for `max_pages`.
            read: Gives a title and a value; called in a thread.

        Raises:
            WebRefused: If the limits of the run or the site's robots.txt do not allow it, at whatever hop.
            WebError: If it does not come whole, not with a status from 200 to 299, or cannot be read.
        """
        response = await self._get(url)
        try:
            title, value = await background.call_in_thread(lambda: read(_good(response)), "read_page")
        except BaseException as exc:
            self._note(self._last, error=_told(exc))
            raise
        self._note(self._last, title=title)
        return value

    async def _get(self, url: str) -> Response:
        target = read_url(url)
        for _ in range(MAX_REDIRECTS + 1):
            may_be_private = self.access.check(target)
            visit = _Visit(self, target, may_be_private=may_be_private)
            give_back = self.access.take_page()
            try:
                if self.is_page:
                    await robots.check(self.access.shared, target, self._agent, self._robots)
                response = await visit.make()
            except BaseException as exc:
                if visit.was_sent:
                    self._note(visit, error=_told(exc))
                else:
                    give_back()
                raise
            if response.status not in _REDIRECTS:
                self._last = visit
                return response
            self._note(visit)
            target = follow(target, response.headers.get("location"))
        raise WebError(f"The page was redirected more than {MAX_REDIRECTS} times.")

    async def within_time(self, wait: Callable[[], Awaitable[T]]) -> T:
        """Awaits `wait()` as long as the page may still take."""
        used = self._used_seconds
        most = min(FETCH_SECONDS - used, self.access.left_seconds)
        begun = time.monotonic()
        try:
            async with asyncio.timeout(max(0.0, most)):
                return await wait()
        except TimeoutError:
            raise WebError(f"The page did not come whole within {used + most:.2g} s.") from None
        finally:
            self._used_seconds += time.monotonic() - begun

    @property
    def limits(self) -> tuple[int, float | None]:
        """How many requests a host gets at a time, and how many a second."""
        config = self.access.config
        return config.concurrent_requests or CONCURRENT_PER_HOST, config.requests_per_second

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """What a server is told; no cookie, no credentials, not where we come from."""
        told = {"User-Agent": self._agent, "Accept": self.accept, "Accept-Encoding": "gzip"}
        return [(name.encode(), value.encode("ascii", "replace")) for name, value in told.items()]

    @property
    def _agent(self) -> str:
        return self.access.config.user_agent or USER_AGENT

    async def _robots(self, target: Target) -> tuple[int, bytes]:
        """Gives status and body of a robots.txt, which counts for no limit but that of time."""
        for _ in range(MAX_REDIRECTS + 1):
            visit = _Visit(self, target, may_be_private=self.access.check(target))
            response = await visit.make()
            if response.status not in _REDIRECTS:
                return response.status, response.body
            target = follow(target, response.headers.get("location"))
        return 404, b""  # RFC 9309: more redirects than that, and the file counts as missing

    def _note(self, visit: _Visit, *, title: str = "", error: str = "") -> None:
        self.access.note(
            ev.PageFetched(
                url=visit.target.url,
                status=visit.status,
                bytes=visit.size,
                seconds=visit.seconds,
                title=title,
                error=error,
            )
        )


class _Visit:
    """One request to one host.

    Attributes:
        was_sent: Whether the server can have seen it.
        status: What it answered, `None` before.
        size: How many bytes of the page came, unpacked.
        seconds: How long it took, without waiting for its turn.
    """

    def __init__(self, fetch: Fetch, target: Target, *, may_be_private: bool) -> None:
        self.target = target
        self.status: int | None = None
        self.size = 0
        self.seconds = 0.0
        self._fetch = fetch
        self._may_be_private = may_be_private
        self._network: network.Pinned | None = None

    @property
    def was_sent(self) -> bool:
        return self._network is not None and self._network.is_connected

    async def make(self) -> Response:
        places: dict[Any, Limits] = self._fetch.access.shared.setdefault("places", {})
        limits = self._fetch.limits
        async with places.setdefault((self.target.host, *limits), Limits(*limits)).place():
            begun = time.monotonic()
            try:
                return await self._fetch.within_time(self._response)
            except (network.core().NetworkError, network.core().ProtocolError) as exc:
                raise WebError(f"{self.target.authority} {_words(exc)}.") from None
            finally:
                self.seconds = time.monotonic() - begun

    async def _response(self) -> Response:
        core, target = network.core(), self.target
        checked = await network.checked_addresses(
            target.host, target.port, may_be_private=self._may_be_private
        )
        self._network = network.Pinned(checked, MAX_WIRE_BYTES)
        name = target.host.name.encode()
        is_encrypted = target.scheme == "https"
        connection = core.AsyncHTTPConnection(
            origin=core.Origin(target.scheme.encode(), name, target.port),
            ssl_context=network.tls() if is_encrypted else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
            network_backend=self._network,
        )
        request = core.Request(
            method="GET",
            url=core.URL(scheme=target.scheme, host=name, port=target.port, target=target.path),
            headers=[(b"Host", target.authority.encode()), *self._fetch.headers, (b"Connection", b"close")],
            extensions={"timeout": {"connect": network.CONNECT_SECONDS}},
        )
        try:
            answer = await connection.handle_async_request(request)
            self.status = answer.status
            headers = Headers(answer.headers)
            body = b"" if answer.status in _REDIRECTS else await read_body(answer.stream, headers)
        finally:
            await connection.aclose()
        self.size = len(body)
        return Response(target=target, status=answer.status, headers=headers, body=body)


def _told(exc: BaseException) -> str:
    return str(exc) if isinstance(exc, WebError) else type(exc).__name__


def _good(response: Response) -> Response:
    if 200 <= response.status < 300:
        return response
    try:
        words = f"{response.status} {http.HTTPStatus(response.status).phrase}"
    except ValueError:
        words = str(response.status)
    raise WebError(f"{response.target.authority} answered {words}.")


def _words(exc: BaseException) -> str:
    """Says what happened in our own words: the library's may hold what the server sent."""
    cause: BaseException | None = exc
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"has no valid certificate ({cause.verify_message})"
        if isinstance(cause, ssl.SSLError):
            return "could not be reached over TLS"
        cause = cause.__cause__ or cause.__context__
    if isinstance(exc, network.core().ConnectError):
        return "could not be reached"
    if isinstance(exc, network.core().ProtocolError):
        return "answered with something that is not HTTP, or cut it off"
    return "closed the connection"
