"""Server-sent events: bytes in, the data of whole events out."""

from __future__ import annotations

from collections.abc import Iterator


class EventReader:
    """Collects the pieces of a stream; pieces may end anywhere, also inside a character.

    Attributes:
        pending_bytes: Size of the event that has begun and not ended.
    """

    def __init__(self) -> None:
        self.pending_bytes = 0
        self._unended: list[bytes] = []  # the line that has begun
        self._data: list[bytes] = []
        self._after_return = False  # whether a carriage return stands at the end: half of a line end, maybe

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """Gives the data of each event that ends in `piece`; comments and other fields are dropped."""
        self._unended.append(piece)
        self.pending_bytes += len(piece)
        if b"\n" not in piece and b"\r" not in piece and not self._after_return:
            return
        raw = b"".join(self._unended)
        self._after_return = raw.endswith(b"\r")
        if b"\r" in raw:
            raw = raw.removesuffix(b"\r").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        lines = raw.split(b"\n")
        self._unended = [lines.pop(), b"\r"] if self._after_return else [lines.pop()]
        for line in lines:
            yield from self._line(line)
        self.pending_bytes = sum(map(len, self._unended)) + sum(map(len, self._data))

    def close(self) -> Iterator[bytes]:
        """Gives the data of an event that the end of the stream left without its blank line."""
        yield from self._line(b"".join(self._unended).removesuffix(b"\r"))
        self._unended = []
        yield from self._line(b"")

    def _line(self, line: bytes) -> Iterator[bytes]:
        if line.startswith(b"data:"):
            self._data.append(line[6:] if line[5:6] == b" " else line[5:])
        elif not line and self._data:
            data, self._data = b"\n".join(self._data), []
            yield data
