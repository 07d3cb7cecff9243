"""The rows of maps: what came of each, under a key of all that it depends on, and who is at work on which.

A row is one entry with its events inside, which is a tenth of the work of storing it as a run. A claim says
that a process has a row under way, so that two kernels with the same map share it; one of a dead process counts
no more.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from .. import events as ev
from ..errors import StoreError
from ..texts import clean_text
from . import liveness
from .event_rows import row_of
from .faults import not_understood
from .writer import Work

if TYPE_CHECKING:
    from .connections import Connection, Row
    from .databases import Database
    from .run_ids import NewNames
    from .writer import Writer

_COLUMNS = "run_id, row_key, status, result, error, seconds, input_tokens, output_tokens, cost_usd"
_AT_ONCE = 200  # keys in one statement; SQLite takes 999 parameters everywhere


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRow:
    """What is kept of one row.

    Attributes:
        run_id: The map's id and the row's number, for example `r7.12`.
        result: The result as JSON text; `None` unless completed.
    """

    run_id: str
    row_key: str
    status: str
    result: str | None
    error: str | None
    seconds: float
    input_tokens: int
    output_tokens: int
    cost_usd: float | None


Claim: TypeAlias = "StoredRow | Literal['ours', 'elsewhere']"


class RowWork(Work):
    """One row that has ended, written with the release of its claim."""

    def __init__(
        self,
        *,
        map_id: str,
        number: int,
        stored: StoredRow,
        ended_at: float,
        events: Sequence[ev.Event],
        on_committed: Callable[[], object],
    ) -> None:
        super().__init__(lambda connection: None, on_committed)
        self.run_id = f"{map_id}.{number}"
        self.size = 2_000 + len(stored.result or "")
        self._map_id = map_id
        self._number = number
        self._stored = stored
        self._ended_at = ended_at
        self._events = events
        self._bodies: str | None = None

    def write(self, connection: Connection, names: NewNames) -> None:
        """Adds the row; a second time changes nothing."""
        if self._bodies is None:
            self._bodies = f"[{','.join(row_of(event, '').body for event in self._events)}]"
        stored, map_id = self._stored, names.of(self._map_id)
        connection.change(
            "INSERT INTO map_rows (run_id, map_id, row_key, status, result, error, seconds, input_tokens, "
            "output_tokens, cost_usd, ended_at, events) VALUES (:run_id, :map_id, :row_key, :status, :result, "
            ":error, :seconds, :input_tokens, :output_tokens, :cost_usd, :ended_at, :events) "
            "ON CONFLICT (run_id) DO NOTHING",
            run_id=f"{map_id}.{self._number}",
            map_id=map_id,
            row_key=stored.row_key or None,
            status=stored.status,
            result=stored.result,
            error=None if stored.error is None else clean_text(stored.error),
            seconds=stored.seconds,
            input_tokens=stored.input_tokens,
            output_tokens=stored.output_tokens,
            cost_usd=stored.cost_usd,
            ended_at=self._ended_at,
            events=self._bodies,
        )
        if stored.row_key:
            _release(connection, [stored.row_key], map_id)


class MapRows:
    """The rows of maps in one store. Reading and claiming block; both raise `Fault` where the disk does."""

    def __init__(self, database: Database | None, writer: Writer | None) -> None:
        self._database = database
        self._writer = writer

    def put(self, work: RowWork) -> None:
        """Has a row written soon; never waits."""
        if self._writer is not None:
            self._writer.put(work, hurry=True)

    def completed(self, keys: Collection[str]) -> dict[str, StoredRow]:
        """Gives the latest completed row of each key that has one."""
        if self._database is None:
            return {}
        return self._database.read(lambda connection: _found(connection, keys), {})

    def claim(
        self, keys: Collection[str], map_id: str, under_way: set[str], failed_since: float | None = None
    ) -> dict[str, Claim]:
        """Claims rows for a map, except those that are completed, or that a living process has under way.

        Args:
            keys: Whose rows.
            map_id: For which map.
            under_way: The maps of this process that are under way; looked at when the disk's turn has come, since
                one that begins meanwhile may claim first.
            failed_since: Rows that failed after this time are given, too, instead of being claimed.
        """
        database, writer = self._database, self._writer
        if database is None or writer is None:
            return dict.fromkeys(keys, "ours")
        me, own = writer.myself, writer.stored_id(map_id)

        def work(connection: Connection) -> dict[str, Claim]:
            if me.is_due():
                me.beat(connection)
            claims: dict[str, Claim] = dict(_found(connection, keys, failed_since))
            others = {writer.names.of(other) for other in under_way.copy()} - {own}
            taken = _living_claims(connection, keys, me.process_id, others)
            for key in keys:
                if key in claims:
                    continue
                claims[key] = "elsewhere" if key in taken else "ours"
                if key not in taken:
                    _claim(connection, key, me.process_id, own)
            return claims

        return database.write(work)

    def release(self, keys: Collection[str], map_id: str) -> None:
        """Gives rows back that were claimed and not begun."""
        database, writer = self._database, self._writer
        if database is None or writer is None or not keys:
            return
        own = writer.stored_id(map_id)
        database.write(lambda connection: _release(connection, keys, own))


def bodies(connection: Connection, run_id: str) -> dict[int, str]:
    """Gives the events of a row, number → JSON; empty if there is none of that id.

    Raises:
        StoreError: If somebody else has written something else there.
    """
    if "." not in run_id:
        return {}
    row = connection.row("SELECT events FROM map_rows WHERE run_id = :run_id", run_id=run_id)
    if row is None:
        return {}
    try:
        return {event["number"]: json.dumps(event) for event in json.loads(row["events"])}
    except (ValueError, TypeError, KeyError, RecursionError) as exc:
        raise not_understood(run_id) from exc


def events(connection: Connection, run_id: str) -> list[ev.Event]:
    """Gives the events of a row in their order; `[]` if there is none of that id, or none that can be read."""
    try:
        found = [ev.event_from_json(body) for _, body in sorted(bodies(connection, run_id).items())]
    except (ValueError, StoreError):
        return []
    return found if found and isinstance(found[0], ev.RunCreated) else []


def delete(connection: Connection, map_id: str) -> None:
    """Deletes the rows of a map with it."""
    connection.change("DELETE FROM map_rows WHERE map_id = :map_id", map_id=map_id)
    connection.change("DELETE FROM map_claims WHERE map_id = :map_id", map_id=map_id)


def _found(
    connection: Connection, keys: Collection[str], failed_since: float | None = None
) -> dict[str, StoredRow]:
    found: dict[str, StoredRow] = {}
    for rows in _by_keys(
        connection,
        f"SELECT {_COLUMNS} FROM map_rows WHERE (status = 'completed' "  # noqa: S608
        "OR (status = 'failed' AND ended_at >= :since)) AND row_key IN (%s) ORDER BY ended_at",
        keys,
        since=9e15 if failed_since is None else failed_since,
    ):
        for row in rows:
            known = found.get(row["row_key"])
            if known is None or known.status == "failed" or row["status"] == "completed":
                found[row["row_key"]] = StoredRow(**row)
    return found


def _by_keys(connection: Connection, sql: str, keys: Collection[str], **more: object) -> list[list[Row]]:
    """Asks in portions; the text has a parameter per key, never a key."""
    wanted = list(keys)
    answers = []
    for begin in range(0, len(wanted), _AT_ONCE):
        named = {f"k{place}": key for place, key in enumerate(wanted[begin : begin + _AT_ONCE])}
        answers.append(connection.rows(sql % ", ".join(f":{name}" for name in named), **named, **more))
    return answers


def _living_claims(
    connection: Connection, keys: Collection[str], me: str, others: Collection[str]
) -> set[str]:
    """Gives the keys that somebody else has under way: another process that lives, or another map of this one."""
    lives: dict[str, bool] = {}
    taken = set()
    for rows in _by_keys(
        connection,
        "SELECT row_key, map_id, map_claims.process_id, machine, pid, started, heartbeat_at FROM map_claims "
        "LEFT JOIN processes ON processes.process_id = map_claims.process_id WHERE row_key IN (%s)",
        keys,
    ):
        for row in rows:
            if row["process_id"] == me:
                alive = row["map_id"] in others
            else:
                alive = lives.setdefault(row["process_id"], liveness.is_alive(row))
            if alive:
                taken.add(row["row_key"])
    return taken


def _claim(connection: Connection, key: str, me: str, map_id: str) -> None:
    connection.change(
        "INSERT INTO map_claims (row_key, process_id, map_id) VALUES (:key, :me, :map_id) "
        "ON CONFLICT (row_key) DO UPDATE SET process_id = :me, map_id = :map_id",
        key=key,
        me=me,
        map_id=map_id,
    )


def _release(connection: Connection, keys: Collection[str], map_id: str) -> None:
    for key in keys:
        connection.change(
            "DELETE FROM map_claims WHERE row_key = :key AND map_id = :map_id", key=key, map_id=map_id
        )
