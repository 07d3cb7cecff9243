"""How a script ends with an error of ours: the lines of the script that led there, the reason, an exit code."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import AesopError, RunInterrupted
from ..texts import visible
from .screens import screen

if TYPE_CHECKING:
    from types import TracebackType

INTERRUPTED = 130
"""The exit code of a program that was ended with Ctrl-C."""

_OURS = str(Path(__file__).parents[1])


def shorten_errors() -> None:
    """Has an error of ours that ends the process shown without the lines inside of this package.

    Python would show what a model or a page said as it is, escape sequences included. Where somebody else
    shows errors, as IPython and debuggers do, nothing changes.
    """
    if sys.excepthook is sys.__excepthook__:
        sys.excepthook = _show


def _show(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if not isinstance(error, (AesopError, RunInterrupted)):
        sys.__excepthook__(kind, error, trace)
        return
    lines = [] if isinstance(error, RunInterrupted) else _lines_of_the_script(trace)
    screen.print("".join([*lines, *error._render_traceback_()]))
    if isinstance(error, RunInterrupted):
        # Python gives this code to KeyboardInterrupt itself, and not to a subclass.
        raise SystemExit(INTERRUPTED)


def _lines_of_the_script(trace: TracebackType | None) -> list[str]:
    frames = [frame for frame in traceback.extract_tb(trace) if not frame.filename.startswith(_OURS)]
    if not frames:
        return []
    return ["Traceback (most recent call last):\n", *map(visible, traceback.format_list(frames))]
