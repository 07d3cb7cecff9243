"""The HTML of a map: the parts of its live view and the block that is saved; see `markup` for what keeps it safe.

Nothing in it grows with the number of rows: of results and errors there are a few, of the rest the counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..mapping.map_logs import KEPT_RESULTS
from ..runlogs import Status
from ..texts import one_line, shorten
from . import map_wording, wording
from .html import MAX_BYTES, notices, objective, unfinished
from .map_cells import preview_rows
from .markup import (
    CELL,
    FRAME,
    INDENT,
    LINE,
    QUIET,
    SECTION,
    Detail,
    badges,
    colored,
    cut,
    escape,
    named_pre,
    quiet,
    row,
    section,
    table,
)

if TYPE_CHECKING:
    from datetime import datetime

    from ..mapping.map_logs import MapLog, RowLine
    from ..mapping.map_runs import MapRun

LIVE = Detail(characters=200, rows=KEPT_RESULTS, inside=4)

# From generous to tight; the last one stays below `MAX_BYTES` even if every character needs six bytes.
_DETAILS = (
    Detail(characters=600, rows=20, inside=6),
    Detail(characters=200, rows=20, inside=3),
    Detail(characters=80, rows=20),
)
# On one line each, so that a preview is as high with long cells as with none.
_PREVIEW_CELL = (
    f"{CELL};overflow:hidden;text-overflow:ellipsis;white-space:nowrap;height:1.5em;padding:.1em .4em"
)
_ERROR_COLUMNS = {"Row": f"{CELL};width:6em", "Error": CELL, "Run": f"{CELL};width:5em"}
_NOWRAP = '<span style="white-space:nowrap">'
_ORDER = (Status.COMPLETED, Status.FAILED, Status.CANCELLED, Status.RUNNING, Status.PENDING)


@dataclass(frozen=True, repr=False)
class MapBlock:
    """A map as the saved notebook shows it."""

    run: MapRun

    def __repr__(self) -> str:
        return map_wording.plain_line(self.run)

    def _repr_html_(self) -> str:
        return static_block(self.run)


# The live view ----------------------------------------------------------------------------------------


def header(run: MapRun, now: datetime, *, is_compact: bool = False) -> str:
    """The ticking lines on top: how it stands, how far it is and how fast, the bar, the rows by status."""
    log, rows = run.log, run.map_log
    took = wording.duration(log.duration_seconds(now)) if log.started_at else ""
    model = "" if log.created is None or wording.is_rehearsal(log) else shorten(log.created.model or "", 60)
    numbers = [escape(part) for part in (took, model, *map_wording.spent(run)) if part]
    status = _status(run)
    name = escape(shorten(log.task, 80))
    if is_compact:
        far = escape(map_wording.ended_of(rows))
        parts = [status, name, far, escape(map_wording.time_left(rows)), *numbers]
        return (
            f"{FRAME}{_line(' · '.join(filter(None, parts)) + badges(wording.marks(log)))}{_bar(rows)}</div>"
        )
    far = " · ".join(
        filter(None, [map_wording.ended_of(rows), map_wording.rate(rows), map_wording.time_left(rows)])
    )
    return (
        f"{FRAME}{_line(' · '.join([status, *numbers]) + badges(wording.marks(log)))}"
        f"{_line(f'{name} · {quiet(escape(far))}')}{_bar(rows)}{_line(counts(rows))}</div>"
    )


def gone(run: MapRun) -> str:
    """What stands in place of the header once the kernel is gone."""
    why = "its kernel was restarted or has ended; run the cell again"
    kept = ": rows that were completed are not asked again" if run.is_kept else ""
    name = escape(shorten(run.log.task, 80))
    return f"{FRAME}{_line(f'<strong>⊘ stopped</strong> · {name} · {why}{kept}')}</div>"


def counts(log: MapLog, *, is_final: bool = False) -> str:
    """The rows by status, in words, and where those came from that were not asked."""
    found = dict(log.counts)
    words = {status.value: status.value for status in _ORDER}
    if is_final:  # what has not ended by then never will
        found["pending"], found["running"] = found["pending"] + found["running"], 0
        words["pending"] = "not asked"
    shown = [status for status in _ORDER if found[status] or status in (Status.COMPLETED, Status.FAILED)]
    parts = [
        f"{_NOWRAP}{colored(wording.SYMBOLS[status])} {found[status]:,} {words[status]}</span>"
        for status in shown
    ]
    if log.reused:
        parts.append(quiet(f"{log.reused:,} taken from the store"))
    if log.equal:
        parts.append(quiet(f"{log.equal:,} equal to another row"))
    return " · ".join(parts)


def last_errors(log: MapLog, task: str) -> str:
    """The rows that failed last, each a line that opens to what the row was asked with."""
    if not log.errors:
        return ""
    lines = "".join(_error_line(line, task) for line in list(log.errors)[::-1])
    # A grid, because its column shrinks to the page where the lines, which do not wrap, would widen it.
    grid = f'<div style="display:grid;grid-template-columns:minmax(0,1fr)"><div>{lines}</div></div>'
    return f'{FRAME}<div style="{SECTION}">Last failures</div>{grid}</div>'


def preview(run: MapRun) -> str:
    """The first results as a table of so many rows from its first moment, so that what is below stays there."""
    total = run.map_log.total
    places = KEPT_RESULTS if total is None else min(KEPT_RESULTS, total)
    return f'{FRAME}<div style="{SECTION}">First results</div>{_preview(run, LIVE, places)}</div>'


def _preview(run: MapRun, detail: Detail, places: int) -> str:
    titles, found = preview_rows(run)
    if not places:
        return ""
    columns = {escape(shorten(title, 60)): _PREVIEW_CELL for title in titles}
    columns[titles[0]] += ";width:6em"
    empty = [[""] * len(titles)] * (places - len(found))

    def render(cells: list[str], detail: Detail) -> str:
        return row(*((_PREVIEW_CELL, cut(cell, detail) or "&nbsp;") for cell in cells))

    return table(columns, [*found, *empty], render, detail)


def _status(run: MapRun) -> str:
    status = run.log.status
    words = run.current_action if run.is_cancelling else str(status)
    return f"<strong>{colored(wording.SYMBOLS[status])} {escape(words)}</strong>"


def _line(inside: str) -> str:
    return f'<p style="{LINE};min-height:1.5em">{inside}</p>'


def _bar(log: MapLog) -> str:
    done = map_wording.share(log)
    value = "" if done is None else f' value="{done:.4f}"'
    said = map_wording.ended_of(log) if done is None else f"{done:.0%}"
    return (
        f'<progress{value} max="1" title="{escape(said)}" '
        f'style="display:block;width:100%;height:.9em;margin:.2em 0">{escape(said)}</progress>'
    )


def _error_line(line: RowLine, task: str) -> str:
    error = map_wording.error_of(line, task)
    first = f"{map_wording.row_name(line)} · {one_line(error, 160)}"
    look = map_wording.look_at(line)
    inside = "".join(
        [
            _inputs(line, LIVE),
            named_pre("error", shorten(error, 600)),
            quiet(escape(look)) if look else "",
        ]
    )
    return (
        f'<details style="{LINE}"><summary style="cursor:pointer;overflow:hidden;text-overflow:ellipsis;'
        f'white-space:nowrap">{colored("✗")} {escape(first)}</summary>'
        f'<div style="{INDENT}">{inside}</div></details>'
    )


def _inputs(line: RowLine, detail: Detail) -> str:
    shown = list(line.inputs.items())[: detail.inside]
    more = len(line.inputs) - len(shown)
    left_out = f'<div style="{QUIET}">… {wording.count(more, "more column")}</div>' if more else ""
    return "".join(named_pre(cut(n, detail), shorten(v, detail.characters)) for n, v in shown) + left_out


# The saved block --------------------------------------------------------------------------------------


def static_block(run: MapRun) -> str:
    """The block that is saved in the notebook; at most 64 KB, the same for the same map."""
    for detail in _DETAILS:
        block = _block(run, detail)
        if len(block.encode()) <= MAX_BYTES:
            break
    return block


def _block(run: MapRun, detail: Detail) -> str:
    log, rows = run.log, run.map_log
    line = " · ".join(map(escape, map_wording.summary(run)))
    title = f"<strong>{log.status} {colored(wording.SYMBOLS[log.status])} {escape(shorten(log.task, 80))}</strong>"
    parts = [
        f'<p style="{LINE}">{title} · {line}{badges(wording.marks(log))}</p>',
        f'<p style="{LINE}">{counts(rows, is_final=log.status.is_final)}</p>',
        unfinished(log),
        _why(run, detail),
        _errors(run, detail),
        section("First results", shown) if (shown := _preview(run, detail, len(rows.results))) else "",
        objective(log, detail),
        notices(log.notices, detail),
    ]
    return f"{FRAME}{''.join(parts)}</div>"


def _why(run: MapRun, detail: Detail) -> str:
    said = map_wording.why(run)
    if not said:
        return ""
    what = "Cancelled" if run.status is Status.CANCELLED else "Stopped"
    return f'<p style="{SECTION};white-space:pre-wrap"><strong>{what}:</strong> {cut(said, detail)}</p>'


def _errors(run: MapRun, detail: Detail) -> str:
    log = run.map_log
    if not log.failed:
        return ""
    first = sorted(log.first_errors, key=lambda line: line.position)
    more = log.failed - len(first)
    ids = [line.run_id for line in first if line.run_id]
    said = [f"… {more:,} more; the column _error of the table has them all." if more else ""]
    said += [f'aesop.run("{ids[0]}") gives all that was said in a row.' if ids else ""]
    said += ["Running it again asks only rows that have no result." if run.is_kept else ""]
    below = f'<p style="{SECTION};{QUIET}">{cut(" ".join(filter(None, said)), detail)}</p>'

    def render(line: RowLine, detail: Detail) -> str:
        return _error_row(line, map_wording.error_of(line, run.log.task), detail)

    shown = table(_ERROR_COLUMNS, first, render, detail)
    return section(f"{wording.count(log.failed, 'row')} failed", shown + below)


def _error_row(line: RowLine, error: str, detail: Detail) -> str:
    text, inputs = cut(error, detail), _inputs(line, detail) if detail.inside else ""
    opens = f'<details><summary style="cursor:pointer">{text}</summary>{inputs}</details>' if inputs else text
    label, run_id = cut(line.label, _NARROW), cut(line.run_id or "", _NARROW)
    return row((CELL, label), (CELL, opens), (CELL, run_id))


_NARROW = Detail(characters=60, rows=1)
