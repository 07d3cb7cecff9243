"""What a map looks like in plain words: how far it is, how fast, what it took, and how to go on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import events as ev
from ..runlogs import Status
from ..texts import one_line
from . import wording

if TYPE_CHECKING:
    from ..mapping.map_logs import MapLog, RowLine
    from ..mapping.map_runs import MapRun

_BAR_COLUMNS = 16
_SLOW = 0.5  # rows a second, below which a minute is the better unit


def plain_line(run: MapRun) -> str:
    """A map on one line of plain text, with its numbers, and the reason if it was stopped."""
    log = run.log
    parts = [f"{log.status} {wording.SYMBOLS[log.status]} {one_line(log.task, 80)}", *summary(run)]
    parts += wording.marks(log)
    if why := wording.reason(log):
        parts.append(one_line(why, 300))
    return " · ".join(parts)


def summary(run: MapRun) -> list[str]:
    """What a map did and took, part by part: rows, time, tokens, cost, model, id; unknown parts are left out."""
    log, rows = run.log, run.map_log
    parts = [f"kept {done_of(rows)}"] if log.error else []
    if log.status is Status.COMPLETED:
        parts = [wording.count(rows.ended, "row")]
    if rows.failed:
        parts.append(f"{rows.failed:,} failed")
    if log.started_at and log.ended_at:
        parts.append(wording.duration(log.duration_seconds(log.ended_at)))
    elif log.started_at:
        parts.append(f"started {wording.moment(log.started_at)}")
    if log.status.is_final:
        parts += spent(run)
    if log.created and log.created.model and not wording.is_rehearsal(log):
        parts.append(one_line(log.created.model, 60))
    return [*parts, f"run {run.id}", *([f"{rows.reused:,} from the store"] if rows.reused else [])]


def spent(run: MapRun) -> list[str]:
    """Tokens and money, beside the limit that they have; money only where it is known."""
    usage, options = run.map_log.usage, run.map.options
    tokens = wording.count(usage.total_tokens, "token")
    if options.max_tokens is not None:
        tokens = f"{usage.total_tokens:,} of {wording.count(options.max_tokens, 'token')}"
    if usage.cost_usd is None:
        return [tokens]
    limit = "" if options.max_cost_usd is None else f" of {wording.amount(options.max_cost_usd)}"
    return [tokens, f"{wording.amount(usage.cost_usd)}{limit}"]


def done_of(log: MapLog) -> str:
    """Gives `3,211 of 10,000 rows`: those that have a result."""
    return f"{log.completed:,} of {_total(log)}"


def ended_of(log: MapLog) -> str:
    """Gives `3,290 of 10,000 rows`: those that have ended, whatever came of them."""
    return f"{log.ended:,} of {_total(log)}"


def _total(log: MapLog) -> str:
    return "an unknown number of rows" if log.total is None else wording.count(log.total, "row")


def share(log: MapLog) -> float | None:
    """How much of it has ended, from 0 to 1; `None` while the number of rows is not known."""
    if log.total is None:
        return None
    return min(1.0, log.ended / log.total) if log.total else 1.0


def rate(log: MapLog) -> str:
    """Gives `84 rows a second` or `12 rows a minute`; empty while that is not known."""
    found = log.rows_per_second
    if not found:
        return ""
    if found < _SLOW:
        return f"{found * 60:.2g} rows a minute"
    return f"{found:,.0f} rows a second" if found >= 10 else f"{found:.1f} rows a second"


def time_left(log: MapLog) -> str:
    """Gives `about 1 min 20 s left`; empty while that is not known."""
    left = log.seconds_left
    if left is None or not log.total or log.ended >= log.total:
        return ""
    return f"about {f'{max(1, round(left))} s' if left < 59.5 else wording.duration(left)} left"


def status_line(run: MapRun) -> str:
    """The line that a terminal repaints while a map goes on: what matters most stands first, as it may be cut."""
    log, rows = run.log, run.map_log
    done = share(rows)
    parts = [f"{wording.SYMBOLS[log.status]} {one_line(log.task, 30)}{_bar(done)}", run.current_action]
    if rows.failed:
        parts.append(f"{rows.failed:,} failed")
    parts += [time_left(rows), rate(rows), *spent(run), *wording.marks(log)]
    return " · ".join(part for part in parts if part)


def _bar(done: float | None) -> str:
    if done is None:
        return ""
    filled = int(done * _BAR_COLUMNS)
    return f" {'━' * filled}{'╌' * (_BAR_COLUMNS - filled)} {int(done * 100)} %"


def step_line(run: MapRun) -> str:
    """One line of a log about a map that goes on."""
    parts = [ended_of(run.map_log), f"{run.map_log.failed:,} failed" if run.map_log.failed else ""]
    return " · ".join(
        part for part in (*parts, rate(run.map_log), time_left(run.map_log), *spent(run)) if part
    )


def row_name(line: RowLine) -> str:
    """Gives `row 217`: the label that the row has in the table."""
    return f"row {one_line(line.label, 60)}"


def error_of(line: RowLine, task: str) -> str:
    """Gives why a row failed, without what is the same for all rows."""
    text = line.text.removeprefix("TaskFailed: ")
    return text.removeprefix(f"{task}: ").removeprefix(f"{task} failed: ")


def look_at(line: RowLine) -> str:
    """Says how to see all of what was said in the run of a row."""
    return f'aesop.run("{one_line(line.run_id or "", 40)}")' if line.run_id else ""


def why(run: MapRun) -> str:
    """Why a map was stopped and how to go on; empty if it was not."""
    log, rows = run.log, run.map_log
    if log.error is None:
        return ""
    if isinstance(log.error, ev.RunFailed):
        return wording.reason(log)  # says how to go on
    again = "" if rows.completed == rows.total else _again(run)
    return f"{wording.reason(log)}. {done_of(rows)} are completed and kept{again}."


def _again(run: MapRun) -> str:
    return "; run it again to do the rest, which sends no other row" if run.is_kept else ""
