"""What runs say outside of notebooks: a status line in a terminal, a line for each step in a log."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeGuard

from .. import background, scopes
from .. import events as ev
from ..config import settings
from ..texts import one_line
from . import scripts
from .screens import can_repaint, is_terminal, screen

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..mapping.map_runs import MapRun
    from ..running import Run

FIRST_STEPS = 20
"""So many steps of a run are told one by one; then those at 50, 100, 200, 500, 1,000 and so on."""

LINES_AHEAD = 60
LINES_PER_SECOND = 5.0
"""Lines of all runs together: so many at once, then so many a second; the rest are counted."""

_QUIET_SECONDS = 0.2  # a run that ends sooner needs no status line

_shown: list[Run[Any] | MapRun] = []
"""The runs that the status line is about; those inside others are not among them."""

_is_end_left_out = False


def leave_ends_to_others() -> Callable[[], None]:
    """Says nothing more of how runs in a terminal have ended: the notebook's extension shows that.

    Returns:
        A function that takes it back.
    """
    global _is_end_left_out
    _is_end_left_out = True

    def take_back() -> None:
        global _is_end_left_out
        _is_end_left_out = False

    return take_back


def begin(run: Run[Any] | MapRun) -> None:
    """Shows a run of a script or of IPython in a terminal, as `settings.progress` and `settings.view` say.

    Unasked only where a person sees it: what a program writes into a pipe or a file is its own affair.
    """
    if _in_a_kernel():
        return
    scripts.shorten_errors()
    if not _is_wanted():
        return
    if run.audience == "terminal":
        run.listen(_leave_room_for_questions, watches=False)
    if _is_told_elsewhere(run):
        return
    if can_repaint(sys.stderr):
        _shown.append(run)
        run.listen(lambda event: _tell_end(run, event), watches=False)
    else:
        begin_lines(run, screen.print, with_end=not _is_end_left_out)


def begin_lines(run: Run[Any] | MapRun, write: Callable[[str], object], *, with_end: bool = True) -> None:
    """Writes a line for each step of a run that is not inside another one, and one for its end."""
    if not _is_told_elsewhere(run):
        lines = _Lines(run, write, with_end=with_end)
        lines.tell_start()
        run.listen(lines.tell, watches=False)


def is_progress_allowed() -> bool:
    """Whether nobody has switched it off."""
    return settings.progress is not False and scopes.view_level() != "off"


def _is_wanted() -> bool:
    return is_progress_allowed() and bool(settings.progress or is_terminal(sys.stderr))


def _in_a_kernel() -> bool:
    kernelbase = sys.modules.get("ipykernel.kernelbase")
    return kernelbase is not None and kernelbase.Kernel.initialized()


def _is_told_elsewhere(run: Run[Any] | MapRun) -> bool:
    """Whether a run is inside another one, or is a map of which nothing is to be shown."""
    return run.parent is not None or getattr(run, "view", None) == "off"


def _is_map(run: Run[Any] | MapRun) -> TypeGuard[MapRun]:
    return hasattr(run, "map_log")


# The status line --------------------------------------------------------------------------------------


class _Painter:
    """A `Blocker` that keeps the status line up to date, in the thread that waits."""

    def applies(self) -> bool:
        return bool(_shown)

    @contextlib.contextmanager
    def blocking(self, wait: background.Wait) -> Iterator[Callable[[float], None]]:
        woken = threading.Event()
        wait.waker = woken.set

        def block(seconds: float) -> None:
            screen.paint(_status_line())
            woken.wait(seconds)
            woken.clear()

        with screen.open():
            yield block

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        painting = asyncio.get_running_loop().create_task(_keep_painting())
        try:
            with screen.open():
                yield
        finally:
            painting.cancel()


async def _keep_painting() -> None:
    while True:
        screen.paint(_status_line())
        await asyncio.sleep(background.TICK_SECONDS)


def _status_line() -> str:
    runs = [run for run in tuple(_shown) if run.duration_seconds >= _QUIET_SECONDS]
    if not runs:
        return ""
    more = f" · {len(runs) - 1} more" if runs[1:] else ""
    return f"{_status(runs[0])}{more}"


def _status(run: Run[Any] | MapRun) -> str:
    from ..notebook import map_wording, wording

    if _is_map(run):
        return map_wording.status_line(run)
    log, now = run.log, datetime.now(UTC)
    seconds = wording.working_seconds(log, now)
    limit = wording.limit_duration(run.task.config.max_duration_seconds)
    parts = [
        f"{wording.SYMBOLS[log.status]} {one_line(log.task, 40)}",
        one_line(run.current_action, 60),
        f"{wording.duration(seconds)} of {limit}",
        wording.count(len(log.steps), "tool call"),
        wording.count(log.usage.total_tokens, "token"),
    ]
    if run.is_rehearsal:
        parts.append("rehearsal")
    return " · ".join(part for part in parts if part)


def _tell_end(run: Run[Any] | MapRun, event: ev.Event) -> None:
    if isinstance(event, ev.NoticeGiven):
        _bounded.write(f"! {one_line(event.text, 300)}", screen.print)
    if run.status.is_final:
        _shown.remove(run)
        if _is_end_left_out:
            screen.erase()
        else:
            _bounded.write(_end_line(run), screen.print)


def _end_line(run: Run[Any] | MapRun) -> str:
    from ..notebook import map_wording, wording

    return map_wording.plain_line(run) if _is_map(run) else wording.plain_line(run.log)


def _leave_room_for_questions(event: ev.Event) -> None:
    match event:
        case ev.UserAsked() | ev.ApprovalAsked():
            screen.begin_question()
        case ev.UserAnswered() | ev.ApprovalDecided():
            screen.end_question(is_entered=event.source == "terminal")
        case ev.RunFailed() | ev.RunCancelled():
            screen.end_question(is_entered=False)


# Lines ------------------------------------------------------------------------------------------------


class _Lines:
    """The lines of one run. Lives on the loop's thread."""

    def __init__(self, run: Run[Any] | MapRun, write: Callable[[str], object], *, with_end: bool) -> None:
        self._run = run
        self._write = write
        self._with_end = with_end
        self._is_full = scopes.view_level() == "full"
        self._ended = 0
        self._told = 0

    def tell_start(self) -> None:
        if self._is_full:
            self._say(f"● started: {one_line(self._run.log.task, 80)}")

    def tell(self, event: ev.Event) -> None:
        match event:
            case ev.ToolReturned() | ev.ToolFailed():
                self._tell_step(event.call_id)
            case ev.RowsEnded():
                self._tell_rows()
            case ev.UserAsked():
                self._say(f"? {one_line(event.question, 300)}")
            case ev.UserAnswered(source=source):
                self._say(f"? answered ({source})")
            case ev.ApprovalAsked():
                self._say(f"? {one_line(event.tool, 80)} waits for approval")
            case ev.NoticeGiven():
                self._say(f"! {one_line(event.text, 300)}")
        if self._run.status.is_final and self._with_end:
            _bounded.write(_end_line(self._run), self._write)

    def _tell_step(self, call_id: str) -> None:
        from ..notebook import wording

        self._ended += 1
        if not self._is_full or not _is_told(self._ended):
            return
        step = next((step for step in reversed(self._run.log.steps) if step.call_id == call_id), None)
        if step is None:
            return
        left_out = self._ended - self._told - 1
        self._told = self._ended
        mark = "✗" if step.state == "failed" else "✓"
        took = wording.step_duration(step.duration_seconds or 0.0)
        line = f"{mark} {wording.call(step, 120)} → {wording.outcome(step, 160)} · {took}"
        self._say(f"{line} (and {wording.count(left_out, 'step')} before it)" if left_out else line)

    def _tell_rows(self) -> None:
        """Tells how far a map is, at each tenth of it."""
        from ..notebook import map_wording

        if not self._is_full or not _is_map(self._run):
            return
        tenth = int(10 * (map_wording.share(self._run.map_log) or 0))
        if self._told < tenth < 10:
            self._told = tenth
            self._say(map_wording.step_line(self._run))

    def _say(self, text: str) -> None:
        _bounded.write(f"{self._run.id} {text}", self._write)


def _is_told(number: int) -> bool:
    return number <= FIRST_STEPS or str(number).rstrip("0") in ("1", "2", "5")


class _Bounded:
    """Lets so many lines through as a person, or a log, can bear, and says how many it has left out."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._left = float(LINES_AHEAD)
        self._at = time.monotonic()
        self._left_out = 0
        self._write: Callable[[str], object] = screen.print

    def write(self, line: str, write: Callable[[str], object]) -> None:
        with self._lock:
            now = time.monotonic()
            self._left = min(LINES_AHEAD, self._left + (now - self._at) * LINES_PER_SECOND)
            self._at = now
            if self._left < 1:
                self._left_out += 1
                return
            self._left -= 1
            left_out, self._left_out = self._left_out, 0
            self._write = write
        if left_out:
            write(_left_out(left_out))
        write(line)

    def settle(self) -> None:
        """Says how many lines were left out at last; for the end of the process."""
        with self._lock:
            left_out, self._left_out = self._left_out, 0
        if left_out:
            self._write(_left_out(left_out))


def _left_out(count: int) -> str:
    from ..notebook.wording import count as counted

    return f"… {counted(count, 'line')} left out"


_bounded = _Bounded()
atexit.register(_bounded.settle)
background.add_blocker(_Painter())
