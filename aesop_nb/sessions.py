"""The runs of this session: all of them, the latest one, and one by its id."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from .errors import UsageError
from .texts import nearest

if TYPE_CHECKING:
    from .running import Run

_recent: deque[Run[Any]] = deque(maxlen=1_000)


def remember(run: Run[Any]) -> None:
    """Keeps a run that has been started; the oldest of 1,000 is forgotten."""
    _recent.append(run)


def recent_runs() -> list[Run[Any]]:
    """Gives the runs of this process, the latest 1,000, in the order they were started."""
    return list(_recent)


def last_run() -> Run[Any] | None:
    """Gives the run that was started last in this process, or `None`."""
    return _recent[-1] if _recent else None


def find_run(run_id: str) -> Run[Any]:
    """Gives the run with that id.

    Raises:
        UsageError: If this process knows none.
    """
    by_id = {run.id: run for run in recent_runs()}
    if run_id in by_id:
        return by_id[run_id]
    map_id, dot, _ = run_id.partition(".")
    if dot and map_id in by_id:
        raise UsageError(
            f"{run_id!r} is a row of the map {map_id!r}, which is meant here; %aesop show {run_id} shows the row."
        )
    latest = f" The latest is {list(by_id)[-1]!r}." if by_id else " Nothing has run yet."
    raise UsageError(f"There is no run {run_id!r} in this session.{nearest(run_id, by_id)}{latest}")
