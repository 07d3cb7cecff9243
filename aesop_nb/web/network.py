"""Looking a host up once, and connecting to the very address that was checked."""

from __future__ import annotations

import importlib
import socket
import ssl
from functools import cache
from typing import TYPE_CHECKING, Any

from .. import background
from . import addresses
from .refusals import WebError, WebRefused

if TYPE_CHECKING:
    from ..domains import Host

CONNECT_SECONDS = 10.0
"""How long one address of a host may take to answer."""

_MAX_ADDRESSES = 4


def look_up(host: str, port: int) -> list[str]:
    """Gives the addresses of a host, as the system knows them."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


async def connect(address: str, port: int) -> Any:
    """Gives a stream to an address; nothing is looked up."""
    backend = importlib.import_module(f"{core().__name__}._backends.auto").AutoBackend()
    return await backend.connect_tcp(address, port, timeout=CONNECT_SECONDS)


async def checked_addresses(host: Host, port: int, *, may_be_private: bool) -> list[str]:
    """Looks a host up once and gives its addresses.

    Raises:
        WebRefused: If one of them is not public, unless `may_be_private`; never a cloud's metadata service.
        WebError: If there are none.
    """
    if host.is_address:
        found = [host.name]
    else:
        try:
            found = await background.call_in_thread(lambda: look_up(host.name, port), "look_up")
        except OSError:
            found = []
    if not found:
        raise WebError(f"{str(host)!r} has no address.")
    for address in found:
        if addresses.is_metadata(address) or not (may_be_private or addresses.is_public(address)):
            raise WebRefused(f"{str(host)!r} is refused: it leads to an address that is not public.")
    return found[:_MAX_ADDRESSES]


class Pinned:
    """A network backend for the HTTP library that connects to the checked addresses and to nothing else.

    Attributes:
        is_connected: Whether there is a connection, so that the server can have seen a request.
    """

    def __init__(self, checked: list[str], max_bytes: int) -> None:
        self.is_connected = False
        self._checked = checked
        self._max_bytes = max_bytes

    async def connect_tcp(self, host: str, port: int, **_: Any) -> Any:
        """Connects to the first address that answers; `host` was looked up before."""
        for place, address in enumerate(self._checked, start=1):
            try:
                stream = await connect(address, port)
            except (core().ConnectError, core().ConnectTimeout):
                if place == len(self._checked):
                    raise
            else:
                self.is_connected = True
                return _Counted(stream, self._max_bytes)
        raise AssertionError("there is at least one address")


class _Counted:
    """A stream that gives no more than a number of bytes."""

    def __init__(self, stream: Any, left: int) -> None:
        self._stream = stream
        self._left = left

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109  # the library's
        data: bytes = await self._stream.read(max_bytes, timeout)
        self._left -= len(data)
        if self._left < 0:
            raise WebError("The server sent more than a page may have.")
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(self, *args: Any, **options: Any) -> Any:
        return _Counted(await self._stream.start_tls(*args, **options), self._left)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


@cache
def core() -> Any:
    """Gives the library below the one that the installed openai is built on: `httpcore2` or `httpcore`."""
    try:
        return importlib.import_module("httpcore2")
    except ImportError:
        return importlib.import_module("httpcore")


@cache
def tls() -> ssl.SSLContext:
    """Gives what checks the certificates of all sites; reading the authorities takes a while."""
    context: ssl.SSLContext = core().default_ssl_context()
    return context
