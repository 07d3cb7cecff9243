"""A line for each step where a program runs the notebook: nbconvert, papermill, `jupyter execute`.

Nobody sees the cells before they are saved, so the lines go where that program's own messages go: to the
standard error of the kernel's process. The notebook holds the static block and not the same steps twice.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from typing import TYPE_CHECKING, Any

from ..console import following
from .frontends import front_end

if TYPE_CHECKING:
    from ..mapping.map_runs import MapRun
    from ..running import Run

_STDERR = 2


def begin(run: Run[Any] | MapRun) -> None:
    """Tells the steps of a run in a notebook that a program runs; `settings.progress = False` is silence."""
    if front_end() == "headless" and following.is_progress_allowed():
        following.begin_lines(run, _write)


def _write(line: str) -> None:
    try:
        # The kernel sends what is written to `sys.stderr` to the notebook, and keeps the file for itself.
        number = sys.stderr.fileno()
    except (io.UnsupportedOperation, AttributeError, ValueError):
        number = _STDERR
    with contextlib.suppress(OSError):
        os.write(number, f"{line}\n".encode("utf-8", "backslashreplace"))
