"""Runs as rows: what the table of runs says of a run, computed from its events as they are written."""

from __future__ import annotations

import hashlib
from functools import cache
from typing import TYPE_CHECKING, Any

from pydantic_core import to_json

from .. import events as ev
from ..texts import clean_text
from .event_rows import ENDINGS, as_json, cleaned, cut, row_of
from .run_ids import Names, number_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .connections import Connection, Row
    from .event_rows import EventRow
    from .run_ids import NewNames

_LARGEST = 2**63 - 1  # a count that a service made up must fit into a column
_FIXED = (
    "sequence",
    "process_id",
    "task",
    "objective",
    "model",
    "agents",
    "notebook",
    "is_rehearsal",
    "parent_run_id",
    "created_at",
)
_CHANGING = (
    "status",
    "reuse_key",
    "reuse_parts",
    "reused_from",
    "started_at",
    "ended_at",
    "requests",
    "input_tokens",
    "output_tokens",
    "cached_tokens",
    "cost_usd",
    "tool_calls",
    "error",
)
_COLUMNS = ("run_id", *_FIXED, *_CHANGING)
_FIND = f"SELECT {', '.join(_COLUMNS)} FROM runs WHERE run_id = :run_id"  # noqa: S608  # our own words
_ADD = (
    f"INSERT INTO runs ({', '.join(_COLUMNS)}) "  # noqa: S608
    f"VALUES ({', '.join(f':{name}' for name in _COLUMNS)})"
)
_CHANGE = (
    f"UPDATE runs SET {', '.join(f'{name} = :{name}' for name in _CHANGING)} "  # noqa: S608
    "WHERE run_id = :run_id"
)
_EVENTS_AT_ONCE = 32  # by one statement, since the interpreter's lock is let go and fought for with each


def write_run(connection: Connection, rows: Sequence[EventRow], names: NewNames) -> None:
    """Adds events of one run, in their order, and brings its row up to date; a second time changes nothing."""
    run_id = names.of(rows[0].run_id)
    known = connection.row(_FIND, run_id=run_id)
    first = rows[0]
    if known is not None and isinstance(first.event, ev.RunCreated):
        run_id, known = _unless_taken(connection, first.event, first.process_id, known, names)
    if known is not None:
        rows = _without_known(connection, rows, run_id)
    run = None if known is None else dict(known)
    for row in rows:
        run = _after(run, row, run_id, names)
    for begin in range(0, len(rows), _EVENTS_AT_ONCE):
        _add_events(connection, run_id, rows[begin : begin + _EVENTS_AT_ONCE])
    if run is not None and run != known:
        connection.change(_ADD if known is None else _CHANGE, **run)


def _add_events(connection: Connection, run_id: str, rows: Sequence[EventRow]) -> None:
    values: dict[str, Any] = {"run_id": run_id}
    for place, row in enumerate(rows):
        event = row.event
        values[f"n{place}"], values[f"t{place}"], values[f"b{place}"] = event.number, event.type, row.body
    connection.change(_adding(len(rows)), **values)


@cache
def _adding(count: int) -> str:
    rows = ", ".join(f"(:run_id, :n{place}, :t{place}, :b{place})" for place in range(count))
    return f"INSERT INTO events (run_id, number, type, body) VALUES {rows}"  # noqa: S608


def _unless_taken(
    connection: Connection, event: ev.RunCreated, process_id: str, known: Row, names: NewNames
) -> tuple[str, Row | None]:
    """Finds another id for a new run whose id is that of another one."""
    if (known["process_id"], known["created_at"]) == (process_id, event.at.timestamp()):
        return known["run_id"], known
    run_id = names.rename(event.run_id)
    return run_id, connection.row(_FIND, run_id=run_id)


def _without_known(connection: Connection, rows: Sequence[EventRow], run_id: str) -> list[EventRow]:
    found = connection.rows(
        "SELECT number FROM events WHERE run_id = :run_id AND number >= :first",
        run_id=run_id,
        first=rows[0].event.number,
    )
    there = {row["number"] for row in found}
    return [row for row in rows if row.event.number not in there]


# The fold --------------------------------------------------------------------------------------------


def folded(events: Sequence[ev.Event], run_id: str) -> Row:
    """Gives what the table of runs would say of a run with these events, the first of which made it."""
    run: Row | None = None
    for place, event in enumerate(events):
        run = _after(run, row_of(event, "", events[:place]), run_id, Names())
    return run or {}


def _after(run: Row | None, row: EventRow, run_id: str, names: Names) -> Row | None:
    """Gives the row of a run after one more event; `None` if the run is not there, as it was deleted."""
    event = row.event
    if isinstance(event, ev.RunCreated):
        return _created(event, run_id, row.process_id, names)
    if run is None:
        return None
    if isinstance(event, ev.RunStarted):
        run.update(status="running", started_at=event.at.timestamp())
        if event.reuse_parts:
            run.update(_reuse(event.reuse_parts))
    elif isinstance(event, (ev.AgentChosen, ev.SendFailed, ev.ModelReplied, ev.RowsEnded)):
        if event.usage != _NOTHING:
            run.update(_sum(run, event.usage))
    elif row.is_call:
        run["tool_calls"] += 1
    elif isinstance(event, ev.ResultReused):
        run["reused_from"] = clean_text(names.of(event.source_run_id))
    elif isinstance(event, ENDINGS):
        run.update(_ended(event))
        if row.is_cut or (isinstance(event, ev.RunCompleted) and not event.is_restorable):
            run["reuse_key"] = None
    return run


_NOTHING = ev.Usage()


def _created(event: ev.RunCreated, run_id: str, process_id: str, names: Names) -> Row:
    return {
        **dict.fromkeys(_CHANGING),
        "run_id": run_id,
        "sequence": number_of(run_id),
        "process_id": process_id,
        "task": clean_text(cut(event.task)),
        "objective": clean_text(cut(event.objective)),
        "model": clean_text(event.model),
        "agents": _texts(event.agents),
        "notebook": clean_text(event.notebook),
        "is_rehearsal": int(event.is_rehearsal),
        "parent_run_id": clean_text(names.of(event.parent_run_id)) if event.parent_run_id else None,
        "created_at": event.at.timestamp(),
        "status": "pending",
        **_reuse(event.reuse_parts),
        **dict.fromkeys(("requests", "input_tokens", "output_tokens", "cached_tokens", "tool_calls"), 0),
    }


def _reuse(parts: Mapping[str, str]) -> Row:
    return {"reuse_key": reuse_key(parts), "reuse_parts": _texts(parts) if parts else "{}"}


def _texts(value: Any) -> str:
    """Gives texts as JSON; the quick way does not know lone surrogates."""
    try:
        return to_json(value).decode()
    except ValueError:
        return as_json(cleaned(value))


def _sum(run: Row, usage: ev.Usage) -> Row:
    counts = ("requests", "input_tokens", "output_tokens", "cached_tokens")
    before = ev.Usage.model_construct(**{name: run[name] for name in (*counts, "cost_usd")})
    after = before + usage
    return {**{name: min(getattr(after, name), _LARGEST) for name in counts}, "cost_usd": after.cost_usd}


def _ended(event: ev.RunCompleted | ev.RunFailed | ev.RunCancelled) -> Row:
    error = None
    if isinstance(event, ev.RunFailed):
        error = f"{event.error}: {event.message}"
    elif isinstance(event, ev.RunCancelled):
        error = f"cancelled: {event.reason}"
    return {
        "status": event.type.removeprefix("run_"),
        "ended_at": event.at.timestamp(),
        "error": None if error is None else clean_text(cut(error)),
    }


def end(connection: Connection, run_id: str, event: ev.RunCancelled) -> None:
    """Writes the end of a run of somebody else's into the table of runs."""
    connection.change(
        "UPDATE runs SET status = :status, ended_at = :ended_at, error = :error WHERE run_id = :run_id",
        run_id=run_id,
        **_ended(event),
    )


def reuse_key(parts: Mapping[str, str]) -> str | None:
    """Gives the key under which a run's result can be used again: a sha256 over its parts, by name.

    Returns:
        64 hexadecimal digits; `None` without parts, for then nothing can be used again.
    """
    if not parts:
        return None
    return hashlib.sha256(_texts(sorted(parts.items())).encode()).hexdigest()
