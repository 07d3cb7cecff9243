"""What is kept of a run in one line, and the questions about runs that the store answers."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from . import map_rows
from .run_rows import folded

if TYPE_CHECKING:
    from .connections import Connection, Row

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """One stored run.

    Attributes:
        status: One of `pending running completed failed cancelled`.
        agents: The names of the agents.
        notebook: Where it was started from; empty where that is not known.
        created_at: When it was made, in UTC, like the other times.
        requests: Requests sent to the model's service, failed ones included.
        cost_usd: US dollars, or `None` where the price is unknown.
        tool_calls: Tools the model called, those that were refused included.
        error: Why there is no result: the class and message, or `cancelled: ` and the reason; else `None`.
        parent_run_id: The run whose tool started it, or `None`.
        reused_from: The run whose result it took over, or `None`.
        reuse_key: What `reuse_key(reuse_parts)` gives, or `None` if its result cannot be used again.
        reuse_parts: What its result depends on, part → sha256.
    """

    run_id: str
    task: str
    objective: str
    status: str
    model: str
    agents: tuple[str, ...]
    notebook: str
    is_rehearsal: bool
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    requests: int
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    cost_usd: float | None
    tool_calls: int
    error: str | None
    parent_run_id: str | None
    reused_from: str | None
    reuse_key: str | None
    reuse_parts: dict[str, str]


_COLUMNS = ", ".join(field.name for field in fields(RunSummary))


def find(connection: Connection, run_id: str) -> RunSummary | None:
    """Gives one run, or the row of a map that was one."""
    map_id, dot, _ = run_id.partition(".")
    if not dot:
        return _first(connection, "run_id = :run_id", run_id=run_id)
    events = map_rows.events(connection, run_id)
    whole = find(connection, map_id)
    if not events or whole is None:
        return None
    told = folded(events, run_id)
    row = _summary({field.name: told[field.name] for field in fields(RunSummary)})
    return replace(row, parent_run_id=map_id, notebook=whole.notebook)


def inside(connection: Connection, run_id: str) -> list[str]:
    """Gives the runs whose parent a run is, the oldest first."""
    rows = connection.rows(
        "SELECT run_id FROM runs WHERE parent_run_id = :run_id ORDER BY created_at, sequence", run_id=run_id
    )
    return [row["run_id"] for row in rows]


def latest_with_key(connection: Connection, key: str) -> RunSummary | None:
    """Gives the latest completed run with that reuse key."""
    return _first(connection, "reuse_key = :key AND status = 'completed'", key=key)


def latest_like(connection: Connection, task: str) -> RunSummary | None:
    """Gives the latest completed run of that task whose result could be used again."""
    return _first(connection, "task = :task AND status = 'completed' AND reuse_key IS NOT NULL", task=task)


def summaries(
    connection: Connection,
    *,
    task: str | None,
    status: str | None,
    since: datetime | None,
    notebook: str | None,
    limit: int | None,
) -> list[RunSummary]:
    """Gives the runs that fit, the oldest first; of more than `limit` the newest."""
    wanted: dict[str, Any] = {
        "task = :task": ("task", task),
        "status = :status": ("status", status),
        "created_at >= :since": ("since", None if since is None else since.timestamp()),
        "notebook = :notebook": ("notebook", notebook),
    }
    conditions = [condition for condition, (_, value) in wanted.items() if value is not None]
    parameters = {name: value for name, value in wanted.values() if value is not None}
    found = _select(
        connection,
        " AND ".join(conditions) or "1 = 1",
        "LIMIT :at_most" if limit is not None else "",
        **parameters,
        **({} if limit is None else {"at_most": max(0, limit)}),
    )
    return found[::-1]


def _first(connection: Connection, condition: str, **parameters: Any) -> RunSummary | None:
    found = _select(connection, condition, "LIMIT 1", **parameters)
    return found[0] if found else None


def _select(connection: Connection, condition: str, tail: str, **parameters: Any) -> list[RunSummary]:
    """Gives the newest first; `condition` is text of this module, values come as parameters."""
    sql = f"SELECT {_COLUMNS} FROM runs WHERE {condition} ORDER BY created_at DESC, sequence DESC {tail}"  # noqa: S608
    return [_summary(row) for row in connection.rows(sql, **parameters)]


def _summary(row: Row) -> RunSummary:
    return RunSummary(
        **{
            **row,
            "agents": tuple(_read(row["agents"], list)),
            "is_rehearsal": bool(row["is_rehearsal"]),
            "created_at": _time(row["created_at"]) or datetime.fromtimestamp(0, UTC),
            "started_at": _time(row["started_at"]),
            "ended_at": _time(row["ended_at"]),
            "reuse_parts": _read(row["reuse_parts"], dict),
        }
    )


def _read(text: Any, kind: type[T]) -> T:
    """Gives what a text holds, or nothing of that kind where somebody else has written another thing."""
    with contextlib.suppress(ValueError, TypeError):
        value = json.loads(text)
        if isinstance(value, kind):
            return value
    return kind()


def _time(seconds: Any) -> datetime | None:
    with contextlib.suppress(ValueError, TypeError, OverflowError, OSError):
        return datetime.fromtimestamp(seconds, UTC)
    return None
