"""The history: all runs that are kept, one of them, what they cost, and what changed since the last time."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any, Literal, get_args

from ..config import settings
from ..errors import UsageError
from ..reusing import KeyParts, explain
from ..runlogs import Status
from ..sessions import recent_runs
from ..store import default_store
from ..stored_runs import StoredRun
from ..tasks import Task
from ..texts import clean_text, nearest
from .replaying import Replay, replay_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pandas as pd

    from ..recordings import Recording
    from ..runlogs import RunLog
    from ..running import Run
    from ..store import RunSummary, Store

_NO_LIMIT = 2**31  # what a database can count

CostsBy = Literal["run", "task", "model", "day"]


def run(run_id: str) -> Run[Any] | StoredRun:
    """Gives the run with that id: the live one if this kernel has it, else the stored one.

    Raises:
        UsageError: If neither the kernel nor the store has it.
    """
    if not isinstance(run_id, str):
        raise UsageError(f"A run is named by its id, for example 'r7', not {run_id!r}.")
    run_id = clean_text(run_id)
    store = default_store()
    live = {known.id: known for known in _live_runs()}
    if run_id in live and live[run_id].store.path == store.path:
        return live[run_id]
    if stored := _stored_run(run_id, store):
        return stored
    if run_id in live:
        return live[run_id]
    ids = list(live) or [summary.run_id for summary in store.summaries(limit=20)]
    latest = f" The latest is {ids[-1]!r}." if ids else " Nothing has run yet."
    raise UsageError(f"There is no run {run_id!r}.{nearest(run_id, ids)}{latest}")


def runs(
    task: str | None = None,
    status: Status | str | None = None,
    since: datetime | date | timedelta | str | None = None,
    notebook: str | None = None,
    limit: int | None = None,
) -> pd.DataFrame:
    """One row per run that is kept, those of this kernel that could not be saved included, oldest first.

    Args:
        task: Only runs of the task with this name.
        status: Only those that are `pending`, `running`, `completed`, `failed` or `cancelled`.
        since: Only those made since then: a time or a day (of this place, unless it names another), also as a
            text such as `"2026-03-01"`, or how long ago.
        notebook: Only those started from this notebook or script, as the column `notebook` has it.
        limit: At most so many, the newest.

    Returns:
        See `aesop_nb.frames.runs_df`; typed even when there is none.

    Raises:
        UsageError: If a filter cannot be understood.
    """
    from ..frames import runs_df

    if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 1):
        raise UsageError(f"limit={limit!r} must be a number of runs, at least 1.")
    found = _found(
        task=_text("task", task),
        status=_status(status),
        since=_time(since),
        notebook=_text("notebook", notebook),
        limit=None if limit is None else min(limit, _NO_LIMIT),
    )
    return runs_df([row for row, _ in found], [saved for _, saved in found])


def costs(by: CostsBy = "task") -> pd.DataFrame:
    """What the kept runs cost, summed up.

    Args:
        by: One row per `"run"`, `"task"`, `"model"` or `"day"` (on which they began, in UTC).

    Returns:
        See `aesop_nb.history.summing.costs_df`; typed even when there is nothing.

    Raises:
        UsageError: If `by` is something else.
    """
    from .summing import costs_df

    if by not in get_args(CostsBy):
        raise UsageError(
            f"by={by!r} is none of {', '.join(get_args(CostsBy))}.{nearest(str(by), get_args(CostsBy))}"
        )
    return costs_df(runs(), by)


def replay(run_id: str, speed: float | None = None) -> Replay:
    """Lets the events of a run happen again, for the view and for listeners, without a model.

    Pieces of streamed replies are not stored, so a reply comes as a whole. Nothing is stored again.

    Args:
        run_id: A run that has ended.
        speed: How many times as fast as it was, for example `1` or `10`; `None` is at once.

    Returns:
        A run to look at: it shows, tells its events and can be waited for.

    Raises:
        UsageError: If there is no such run, or it has not ended, or the speed is none.
    """
    return replay_of(run(run_id), speed)


def why_not_reused(what: Task[Any] | Recording[Any] | str) -> str:
    """Says what has changed since the latest completed run of the same task, so that it was not reused.

    Args:
        what: A task, which is compared as it would run now; or a run, or its id.

    Raises:
        UsageError: If there is no such run.
    """
    if isinstance(what, Task):
        known = what.reuse_parts()
        same = default_store().reusable(known.key) if known.key else None
        return explain(what.name, known, same or default_store().latest_like(what.name))
    found = run(what) if isinstance(what, str) else what
    if found.reused_from:
        return f"Run {found.id} was reused from {found.reused_from}."
    return explain(found.log.task, KeyParts(parts=_parts(found)), _before(found))


def size_warning() -> str:
    """Says that the history has outgrown `settings.history_max_mb`, or nothing."""
    size, most = default_store().size_bytes() / 1e6, settings.history_max_mb
    if size <= most:
        return ""
    return (
        f"The history takes {size:,.0f} MB, more than history_max_mb={most:g}. Nothing is deleted by itself: "
        "%aesop history clear --before 2026-01-31 deletes what is older, after %aesop history export FILE if it "
        "is to be kept elsewhere."
    )


# Live and stored -------------------------------------------------------------------------------------


def _stored_run(run_id: str, store: Store, around: frozenset[str] = frozenset()) -> StoredRun | None:
    """Gives a run of the store; `around` are those it is inside, which a crafted store may repeat."""
    events = store.events(run_id)
    if not events:
        return None
    path = around | {run_id}

    def children() -> Iterator[StoredRun]:
        for name in store.inside(run_id):
            if name not in path and (inner := _stored_run(name, store, path)):
                yield inner

    return StoredRun(events, children)


def _live_runs() -> list[Run[Any]]:
    """The runs of this process that belong to the store in use, or to none."""
    here = default_store().path
    return [known for known in recent_runs() if known.store.path in (here, None)]


def _found(
    *,
    task: str | None,
    status: str | None,
    since: datetime | None,
    notebook: str | None,
    limit: int | None,
) -> list[tuple[RunLog | RunSummary, bool]]:
    """The runs that fit, and whether each is saved; a live one is read where it lives."""
    store = default_store()
    live_runs = _live_runs()
    live = {known.id: known for known in live_runs if known.store.path == store.path}
    stored = store.summaries(
        task=task, since=since, notebook=notebook, limit=limit if status is None else None
    )
    is_well = store.path is not None and store.problem is None
    rows: list[tuple[datetime, RunLog | RunSummary, bool]] = [
        (summary.created_at, live[summary.run_id].log, is_well or store.is_saved(summary.run_id))
        if summary.run_id in live
        else (summary.created_at, summary, True)
        for summary in stored
    ]
    known = {summary.run_id for summary in stored}
    for unsaved in live_runs:
        created = unsaved.log.created
        if created is None or (unsaved.id in known and live.get(unsaved.id) is unsaved):
            continue
        fits = (
            task in (None, created.task)
            and notebook in (None, created.notebook)
            and (since is None or created.at >= since)
        )
        if fits:
            rows.append((created.at, unsaved.log, False))
    rows.sort(key=lambda row: row[0])
    found = [(row, saved) for _, row, saved in rows if status in (None, str(row.status))]
    return found[-limit:] if limit is not None else found


def _parts(found: Recording[Any]) -> dict[str, str]:
    late = next((event.reuse_parts for event in found.events if event.type == "run_started"), {})
    return late or (found.log.created.reuse_parts if found.log.created else {})


def _before(found: Recording[Any]) -> RunSummary | None:
    created = found.log.created
    earlier = [
        summary
        for summary in default_store().summaries(task=found.log.task, status="completed")
        if summary.reuse_key and summary.run_id != found.id
        if created is None or summary.created_at <= created.at
    ]
    return earlier[-1] if earlier else None


# Filters ---------------------------------------------------------------------------------------------


def _text(name: str, value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return None if value is None else clean_text(value)
    raise UsageError(f"{name}={value!r} must be a name, as the column {name!r} has it.")


def _status(value: Any) -> str | None:
    if value is None:
        return None
    words = [status.value for status in Status]
    if value not in words:
        raise UsageError(f"status={value!r} is none of {', '.join(words)}.{nearest(str(value), words)}")
    return str(value)


def _time(value: Any) -> datetime | None:
    """Gives a point of time in UTC; days begin at midnight of this place."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value.strip())
        except ValueError:
            raise UsageError(
                f"since={value!r} is no time; write for example '2026-03-01' or '2026-03-01 14:30'."
            ) from None
    if value is None:
        return None
    if isinstance(value, timedelta):
        try:
            return datetime.now(UTC) - value
        except OverflowError:
            return None  # longer ago than there is time
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime.combine(value, time())
    if not isinstance(value, datetime):
        raise UsageError(
            f"since={value!r} must be a time, a day, a text such as '2026-03-01', or a timedelta."
        )
    try:
        return value.astimezone(UTC)
    except (ValueError, OverflowError):  # the first or the last day there is
        return value.replace(tzinfo=UTC)


point_of_time: Callable[[Any], datetime | None] = _time
"""Gives what a person wrote as a time or a day; see `runs`."""
