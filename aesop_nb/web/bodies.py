"""Headers and bodies with bounds: what a server sends cannot outgrow memory, packed or not."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterable, Iterable, Iterator

from .refusals import WebError

MAX_BODY_BYTES = 5 * 1024 * 1024
"""The size of one page at most, on the wire and unpacked."""

MAX_HEADER_BYTES = 64 * 1024

MAX_WIRE_BYTES = MAX_BODY_BYTES + 2 * MAX_HEADER_BYTES + MAX_BODY_BYTES // 8
"""What is read of a connection at most: a body, its headers, and the marks of its chunks."""

_STEP = 64 * 1024


class Headers:
    """The headers of a response.

    Raises:
        WebError: If they are too large.
    """

    def __init__(self, raw: Iterable[tuple[bytes, bytes]]) -> None:
        pairs = list(raw)
        if sum(len(name) + len(value) + 4 for name, value in pairs) > MAX_HEADER_BYTES:
            raise WebError(f"The headers are larger than {MAX_HEADER_BYTES // 1024} KiB.")
        self._values: dict[str, list[str]] = {}
        for name, value in pairs:
            text = value.decode("utf-8", "replace")
            self._values.setdefault(name.decode("ascii", "replace").lower(), []).append(text)

    def get(self, name: str) -> str:
        """Gives a header's values, joined by commas; empty if there is none."""
        return ", ".join(self._values.get(name, []))


async def read_body(parts: AsyncIterable[bytes], headers: Headers, max_bytes: int = MAX_BODY_BYTES) -> bytes:
    """Gives the whole body, unpacked.

    Raises:
        WebError: If it is larger than `max_bytes`, packed or unpacked, or packed in another way than gzip.
    """
    size = headers.get("content-length")
    if size.isdecimal() and (len(size) > 12 or int(size) > max_bytes):
        raise _too_large(max_bytes)
    unpacker = _unpacker(headers.get("content-encoding"))
    kept, on_wire, unpacked = [], 0, 0
    async for part in parts:
        on_wire += len(part)
        if on_wire > max_bytes:
            raise _too_large(max_bytes)
        for piece in (part,) if unpacker is None else unpacker.unpack(part):
            unpacked += len(piece)
            if unpacked > max_bytes:
                raise _too_large(max_bytes)
            kept.append(piece)
    if unpacker is not None and on_wire and not unpacker.is_whole:
        raise WebError("The page was cut off.")
    return b"".join(kept)


def _too_large(max_bytes: int) -> WebError:
    return WebError(f"The page is larger than {max_bytes / 2**20:g} MiB.")


def _unpacker(encoding: str) -> _Gunzip | None:
    kind = encoding.strip().lower()
    if kind in ("", "identity"):
        return None
    if kind in ("gzip", "x-gzip"):
        return _Gunzip()
    raise WebError("The page is packed in a way that was not asked for.")


class _Gunzip:
    """Unpacks gzip in steps of bounded size, one member after the other."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(zlib.MAX_WBITS | 16)
        self._has_ended = False

    @property
    def is_whole(self) -> bool:
        """Whether the last member has come to its end."""
        return self._has_ended

    def unpack(self, data: bytes) -> Iterator[bytes]:
        while data:
            if self._has_ended:
                if not data.strip(b"\0"):  # padding
                    return
                self.__init__()  # type: ignore[misc]
            try:
                piece = self._inner.decompress(data, _STEP)
            except zlib.error:
                raise WebError("The page is not gzip, though the server says so.") from None
            yield piece
            self._has_ended = self._inner.eof
            data = self._inner.unused_data if self._has_ended else self._inner.unconsumed_tail
