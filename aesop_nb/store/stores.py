"""`Store`: runs, their events and permanent memory on disk, as everybody else sees them."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, TypeVar
from weakref import WeakSet

from .. import events as ev
from ..config import settings
from ..errors import StoreError
from . import files, liveness, summaries
from .databases import Database
from .event_rows import PASSING, row_of
from .faults import Fault, not_understood
from .map_rows import MapRows, bodies, delete
from .memories import Memories
from .run_ids import Numbers, next_run_number, note, process_id, unsaved_id
from .run_rows import write_run
from .writer import Work, Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime
    from pathlib import Path

    from .connections import Connection, Row
    from .summaries import RunSummary

T = TypeVar("T")

_LOGGER = logging.getLogger("aesop_nb")
all_stores: WeakSet[Store] = WeakSet()
"""Those of this process that have a file, for a fork and for the end of the process."""

_RUNS_AT_ONCE = 200  # are deleted in one transaction, so that others can write in between


class Store:
    """The store in one file, or none at all.

    Nothing is opened or made before something is written. What goes wrong with the disk raises nothing and stops
    no run: what could not be written stays in memory and is tried again, `problem` says why, and the log
    `aesop_nb` says it once. All methods may be called from any thread.

    Attributes:
        path: The file, or `None` where nothing is stored.
        memory: Permanent memory.
        map_rows: What came of the rows of maps.
    """

    def __init__(
        self, path: Path | None, *, reason: str = "nothing is stored", vfs: str | None = None
    ) -> None:
        self.path = path
        self._reason = reason
        self._said: set[str] = set()
        self._saying = threading.Lock()
        self._is_buried = False
        self._numbers = Numbers()
        self._numbering = threading.Lock()
        self._database: Database | None = None
        self._writer: Writer | None = None
        if path is not None:
            self._database = Database(
                path,
                durability=lambda: settings.durability,
                on_renamed=self._renamed,
                on_slow=self._is_slow,
                vfs=vfs,
            )
            self._writer = Writer(self._database, self._suffer)
            all_stores.add(self)
        self.memory = Memories(self._database)
        self.map_rows = MapRows(self._database, self._writer)

    # Writing ---------------------------------------------------------------------------------------------

    def new_run_id(self) -> str:
        """Gives an id for a run: `r7`, which no other process gets, or `u3` if the store cannot be used now.

        Where nothing is to be stored, it is one that this process has not given yet.
        """
        database, writer = self._database, self._writer
        if database is None or writer is None:
            return process_id()
        with self._numbering:
            number = self._numbers.take(database.generation)
            if number is None and writer.may_try():
                try:
                    self._bury_once()
                    begin = database.write(self._numbers.refill)
                except Fault as fault:
                    writer.failed(fault)
                else:
                    number = begin(database.generation)
        if number is None:
            return unsaved_id()
        note(number)
        return f"r{number}"

    def record(self, event: ev.Event) -> None:
        """Has an event written soon; never waits and never raises.

        Pieces of replies (`TextStreamed`, `ToolCallStreamed`) are not stored: the `ModelReplied` after them
        holds the whole. The numbers of a stored run's events have gaps therefore.
        """
        if self._writer is not None and not isinstance(event, PASSING):
            self._writer.put(event)

    def submit(
        self, work: Callable[[Connection], object], on_committed: Callable[[], object] | None = None
    ) -> None:
        """Has `work(connection)` done soon, in the order of the events; calls `on_committed()` after that.

        Both are called in the store's thread. `work` is done again if the commit fails, and not at all if it
        raises something else than a fault of the disk; that is logged.
        """
        if self._writer is not None:
            self._writer.put(Work(work, on_committed))

    def add_runs(self, count: int, tell: Callable[[list[str]], Iterable[Sequence[ev.Event]]]) -> None:
        """Writes whole runs at once: all of them or none.

        Args:
            count: How many.
            tell: Gives the events of each, under the free ids that it gets; may be called again.

        Raises:
            StoreError: If they cannot be written.
        """
        database, writer = self._database, self._writer
        if database is None or writer is None:
            raise StoreError(self._reason)
        me = writer.myself.process_id

        def work(connection: Connection) -> None:
            names = writer.names.new(connection)
            first = next_run_number(connection, self._numbers.highest, count)
            for events in tell([f"r{number}" for number in range(first, first + count)]):
                write_run(
                    connection,
                    [row_of(event, me, events[:place]) for place, event in enumerate(events)],
                    names,
                )

        database.write(work)

    def flush(self, timeout_seconds: float = 5.0) -> bool:
        """Waits until everything recorded before is committed; `False` if it cannot be, or not in time."""
        return self._writer is None or self._writer.flush(timeout_seconds)

    def close(self) -> None:
        """Writes what waits and closes the file; what is recorded afterwards is dropped."""
        if self._writer is not None and self._database is not None:
            self._writer.flush(1.0)
            self._writer.stop()
            self._leave()

    def settle(self) -> None:
        """Writes what waits, and from now on everything at once; for the end of the process."""
        if self._writer is not None:
            self._writer.go_inline()
            self._leave()

    def _leave(self) -> None:
        if self._database is not None and self._writer is not None:
            is_there = files.identity(self._database.path) is not None
            with self._numbering:
                if (
                    is_there
                    and self._writer.fault is None
                    and self._numbers.are_left(self._database.generation)
                ):
                    self._try(lambda database: database.write(self._numbers.give_back), None)
            if is_there and self._writer.myself.heartbeat_at and self._writer.fault is None:
                self._try(lambda database: database.write(self._writer.myself.leave), None)  # type: ignore[union-attr]
                self._writer.myself.heartbeat_at = 0.0
            self._database.close()

    def leave_to_parent(self) -> None:
        """Begins anew in the child of a fork: the connection, the thread and what waits are the parent's."""
        if self._database is not None and self._writer is not None:
            self._database.leave_to_parent()
            self._writer.reset()
            self._saying = threading.Lock()
            self._numbering, self._numbers = threading.Lock(), Numbers()

    # Reading ---------------------------------------------------------------------------------------------

    def events(self, run_id: str) -> list[ev.Event]:
        """Gives the events of a run, in order; `[]` if it is unknown.

        Raises:
            StoreError: If one of them cannot be understood, as when somebody else wrote it.
        """
        if self._writer is None:
            return []
        self.flush(1.0)
        stored_id = self._writer.names.of(run_id)
        nothing: dict[int, str] = {}
        found = self._read(
            lambda connection: _bodies(connection, stored_id) or bodies(connection, stored_id), nothing
        )
        found.update({row.event.number: row.body for row in self._writer.waiting(run_id)})
        return [_event(body, run_id) for _, body in sorted(found.items())]

    def find(self, run_id: str) -> RunSummary | None:
        """Gives one run, or `None` if it is unknown."""
        stored_id = self._stored_id(run_id)
        self._bury()
        return self._read(lambda connection: summaries.find(connection, stored_id), None)

    def summaries(
        self,
        *,
        task: str | None = None,
        status: str | None = None,
        since: datetime | None = None,
        notebook: str | None = None,
        limit: int | None = None,
    ) -> list[RunSummary]:
        """Gives the runs that fit all that is given, the oldest first.

        Args:
            task: The task's name.
            status: One of the five states.
            since: When they were made, at the earliest.
            notebook: Where they were started from, as it was recorded.
            limit: At most this many, the newest.
        """
        self._bury()
        return self._read(
            lambda connection: summaries.summaries(
                connection, task=task, status=status, since=since, notebook=notebook, limit=limit
            ),
            [],
        )

    def inside(self, run_id: str) -> list[str]:
        """Gives the ids of the runs that the tools of a run have started, in the order in which they were made."""
        stored_id = self._stored_id(run_id)
        return self._read(lambda connection: summaries.inside(connection, stored_id), [])

    def reusable(self, key: str) -> RunSummary | None:
        """Gives the latest completed run with that reuse key, or `None`."""
        return self._read(lambda connection: summaries.latest_with_key(connection, key), None)

    def latest_like(self, task: str) -> RunSummary | None:
        """Gives the latest completed run of that task whose result could be used again, or `None`."""
        return self._read(lambda connection: summaries.latest_like(connection, task), None)

    def is_saved(self, run_id: str) -> bool:
        """Whether all that happened in a run so far is on the disk."""
        if self._writer is None or self._writer.is_given_up(run_id):
            return False
        if self._writer.fault is None:
            self.flush(1.0)
        if self._writer.waiting(run_id):
            return False
        stored_id = self._stored_id(run_id)
        return self._read(lambda connection: summaries.find(connection, stored_id) is not None, False)

    def size_bytes(self) -> int:
        """Gives how much room the store takes on the disk."""
        return 0 if self.path is None else files.size_bytes(self.path)

    @property
    def problem(self) -> str | None:
        """Why nothing is being saved, in one line; `None` if all is well."""
        if self._database is None or self._writer is None:
            return self._reason
        fault = self._writer.fault
        if fault is None:
            try:
                self._database.check()
            except Fault as found:
                fault = found
        return None if fault is None else str(fault)

    def clear(self, before: datetime | None = None) -> int:
        """Deletes the runs that have ended, or those made before a time, and gives how many.

        Raises:
            StoreError: If the store cannot be written.
        """
        if self._database is None or files.identity(self._database.path) is None:
            return 0
        self.flush()
        self._bury()
        if self._writer is not None:
            self._writer.forget_ended()
        count = 0
        while deleted := self._database.write(lambda connection: _delete_runs(connection, before)):
            count += deleted
        self._database.give_back_room()
        self._database.erase_traces()
        return count

    # Faults ----------------------------------------------------------------------------------------------

    def _read(self, work: Callable[[Connection], T], otherwise: T) -> T:
        if self._writer is not None and self._writer.fault is None:
            self._writer.flush(1.0)
        found = self._try(lambda database: database.read(work, otherwise), otherwise)
        if self._writer is None or not self._writer.is_behind:
            return found
        self._writer.write_now()  # reading showed that the file is damaged or gone
        return self._try(lambda database: database.read(work, otherwise), otherwise)

    def _try(self, use: Callable[[Database], T], otherwise: T) -> T:
        if self._database is None:
            return otherwise
        try:
            return use(self._database)
        except Fault as fault:
            self._suffer(fault)
            return otherwise

    def _stored_id(self, run_id: str) -> str:
        return self._writer.names.of(run_id) if self._writer is not None else run_id

    def _bury_once(self) -> None:
        if not self._is_buried and self._database is not None:
            self._is_buried = True
            self._bury()

    def _bury(self) -> None:
        """Ends the runs of processes that died."""
        if self._database is None or self._writer is None:
            return
        me = self._writer.myself.process_id
        nobody: list[Row] = []
        dead = self._try(
            lambda database: database.read(
                lambda connection: liveness.dead_processes(connection, me), nobody
            ),
            nobody,
        )
        if dead:
            # Asked again where nobody else can write: one of them may have come back, or been buried.
            self._try(
                lambda database: database.write(
                    lambda connection: liveness.bury(connection, liveness.dead_processes(connection, me))
                ),
                0,
            )

    def _suffer(self, fault: Fault) -> None:
        if fault.kind == "busy":
            return  # it is tried again, and nobody has to do anything
        self._say(
            fault.kind,
            f"{fault} What is not saved stays in this kernel, up to 64 MB with the oldest runs given up first, "
            "and is written when that is possible again.",
        )

    def _renamed(self, message: str) -> None:
        self._said.discard("renamed")
        self._say("renamed", message)

    def _is_slow(self, message: str) -> None:
        self._say("slow", message)

    def _say(self, kind: str, message: str) -> None:
        with self._saying:
            if kind in self._said:
                return
            self._said.add(kind)
        _LOGGER.warning("%s", message)


def _bodies(connection: Connection, run_id: str) -> dict[int, str]:
    rows = connection.rows("SELECT number, body FROM events WHERE run_id = :run_id", run_id=run_id)
    return {row["number"]: row["body"] for row in rows}


def _event(body: str, run_id: str) -> ev.Event:
    try:
        event = ev.event_from_json(body)
    except ValueError as exc:
        raise not_understood(run_id) from exc
    return event if event.run_id == run_id else event.model_copy(update={"run_id": run_id})


def _delete_runs(connection: Connection, before: datetime | None) -> int:
    rows = connection.rows(
        "SELECT run_id FROM runs WHERE status IN ('completed', 'failed', 'cancelled') "
        "AND (:before IS NULL OR created_at < :before) LIMIT :limit",
        before=None if before is None else before.timestamp(),
        limit=_RUNS_AT_ONCE,
    )
    for row in rows:
        connection.change("DELETE FROM events WHERE run_id = :run_id", run_id=row["run_id"])
        connection.change("DELETE FROM runs WHERE run_id = :run_id", run_id=row["run_id"])
        delete(connection, row["run_id"])
    return len(rows)
