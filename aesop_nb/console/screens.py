"""The last line of a terminal: painted over and over while a run goes on, with all other output above it.

Nothing but carriage returns and blanks is used, so that there is no escape sequence to switch off.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import unicodedata
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_LEAST_COLUMNS = 20


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a person sees what is written to `stream`."""
    try:
        return stream is not None and stream.isatty()
    except (ValueError, AttributeError):  # closed, or not a whole stream
        return False


def can_repaint(stream: TextIO | None) -> bool:
    """Whether a line of `stream` can be written over."""
    return is_terminal(stream) and os.environ.get("TERM") != "dumb"


def columns_of(text: str) -> int:
    """Gives how many columns `text` takes in a terminal."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def _columns(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def cut(text: str, columns: int) -> str:
    """Gives as much of `text` as `columns` hold, with an ellipsis where something is missing."""
    if columns_of(text) <= columns:
        return text
    kept, used = [], 1
    for character in text:
        used += _columns(character)
        if used > columns:
            break
        kept.append(character)
    return "".join(kept) + "…"


class Screen:
    """Standard error with a status line below all other output. Its methods may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._opened = 0
        self._painted = ""
        self._questions = 0
        self._is_mid_line = False

    @contextlib.contextmanager
    def open(self) -> Iterator[None]:
        """While entered, `paint` shows something, and what is printed meanwhile does not run into it."""
        with self._lock:
            self._opened += 1
            if self._opened == 1:
                self._is_mid_line = False
                self._stand_before("stdout", "stderr")
        try:
            yield
        finally:
            with self._lock:
                self._opened -= 1
                if not self._opened:
                    self.erase()
                    self._step_aside("stdout", "stderr")

    def paint(self, text: str) -> None:
        """Shows `text` as the last line, unless that line belongs to a question or to somebody's print."""
        with self._lock:
            if not self._opened or self._questions or self._is_mid_line:
                return
            line = cut(text, self._width())
            if line == self._painted:
                return
            blanks = " " * max(0, columns_of(self._painted) - columns_of(line))
            self._painted = line
            # The cursor stays at the begin, so that output that gets past us leaves no gap.
            _write(_behind(sys.stderr), f"\r{line}{blanks}\r")

    def erase(self) -> None:
        """Takes the status line away."""
        with self._lock:
            if self._painted:
                columns = min(columns_of(self._painted), self._width())
                self._painted = ""
                _write(_behind(sys.stderr), f"\r{' ' * columns}\r")

    def print(self, line: str) -> None:
        """Writes a line that stays."""
        with self._lock:
            self.erase()
            begin = "\n" if self._is_mid_line else ""
            self._is_mid_line = False
            _write(_behind(sys.stderr), f"{begin}{line}\n")

    def begin_question(self) -> None:
        """Leaves the last line to a question and its answer."""
        with self._lock:
            self.erase()
            self._questions += 1

    def end_question(self, *, is_entered: bool) -> None:
        """Takes the last line back; unless the person has pressed Enter, a new one is begun."""
        with self._lock:
            if not self._questions:
                return
            self._questions -= 1
            self._is_mid_line = False
            if not is_entered:
                _write(_behind(sys.stderr), "\n")

    def write(self, stream: TextIO, text: str) -> int:
        """Writes what somebody prints to `stream`, above the status line."""
        with self._lock:
            self.erase()
            if text:
                self._is_mid_line = not text.endswith("\n")
            return stream.write(text)

    def leave(self) -> None:
        """Stays away until the next whole line: somebody takes the file behind a stream, as `input()` does."""
        with self._lock:
            self.erase()
            self._is_mid_line = True

    def _width(self) -> int:
        try:
            columns = os.get_terminal_size(_behind(sys.stderr).fileno()).columns
        except (OSError, ValueError, AttributeError):
            columns = 80
        return max(_LEAST_COLUMNS, columns) - 1  # a full line would wrap

    def _stand_before(self, *names: str) -> None:
        for name in names:
            stream = getattr(sys, name)
            if is_terminal(stream) and not isinstance(stream, _Above):
                setattr(sys, name, _Above(self, stream))

    def _step_aside(self, *names: str) -> None:
        for name in names:
            stream = getattr(sys, name)
            if isinstance(stream, _Above):  # not somebody else's, who came after us
                setattr(sys, name, stream.behind)


class _Above:
    """Stands for a stream of the terminal while a status line is shown; all but writing is the stream's own."""

    def __init__(self, screen: Screen, behind: TextIO) -> None:
        self.behind = behind
        self._screen = screen

    def write(self, text: str) -> int:
        return self._screen.write(self.behind, text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def fileno(self) -> int:
        self._screen.leave()
        return self.behind.fileno()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.behind, name)


def _behind(stream: Any) -> Any:
    return stream.behind if isinstance(stream, _Above) else stream


def _write(stream: Any, text: str) -> None:
    """Writes what can be written: a closed pipe or an old encoding must not end a run."""
    if stream is None:
        return
    with contextlib.suppress(OSError, ValueError):
        encoding = getattr(stream, "encoding", None) or "utf-8"
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        stream.flush()


screen = Screen()
"""The screen of this process."""
