"""The one thread that writes: in groups, and once more later what the disk refuses."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any

from .. import events as ev
from .event_rows import ENDINGS, EventRow, row_of
from .faults import Fault
from .liveness import HEARTBEAT_SECONDS, Myself
from .run_ids import Names, NewNames
from .run_rows import write_run

if TYPE_CHECKING:
    from collections.abc import Callable

    from .connections import Connection
    from .databases import Database

GROUP_SECONDS = 0.03
"""How long the first event of a group waits for others, unless somebody waits for it."""

RETRY_SECONDS = 4.0
"""How often a disk that refused is tried again."""

MAX_WAITING_BYTES = 64 * 1024 * 1024
"""What is kept in memory while the disk refuses; the oldest runs are given up beyond it."""

_LAST_WAIT_SECONDS = 1.0  # at the end of the process
_KEPT_RUNS = 200  # that have ended, in case that the file they were written into is lost
_GROUP_ROWS, _GROUP_BYTES = 500, 4 * 1024 * 1024  # a larger transaction would keep other processes waiting
_LOGGER = logging.getLogger("aesop_nb")


class _OtherFile(Exception):
    """The file is another one than the rows before were written into."""


class Work:
    """A change of the database that is committed with the events before and after it."""

    size = 200
    run_id = ""

    def __init__(
        self, function: Callable[[Connection], object], on_committed: Callable[[], object] | None
    ) -> None:
        self.function = function
        self.on_committed = on_committed

    def write(self, connection: Connection, names: NewNames) -> None:
        """Makes the change."""
        self.function(connection)


class Writer:
    """Takes events and other changes from any thread and commits them in their order.

    Attributes:
        fault: Why the last attempt failed, or `None`.
        names: The ids under which runs are stored.
    """

    def __init__(self, database: Database, on_fault: Callable[[Fault], None]) -> None:
        self._database = database
        self._on_fault = on_fault
        database.on_traces_left = lambda: self.put(Work(lambda connection: None, None))
        self.reset()

    def reset(self) -> None:
        """Forgets everything that waits, and the thread; what a child has to do after a fork."""
        self.fault: Fault | None = None
        self.names = Names()
        self.myself = Myself()
        self._lock = threading.Lock()
        self._writing = threading.RLock()
        self._changed = threading.Condition()
        self._wake = threading.Event()
        self._hurry = threading.Event()
        self._queue: deque[ev.Event | Work] = deque()
        self._waiting: list[EventRow | Work] = []
        self._waiting_bytes = 0
        self._given_up: set[str] = set()
        self._open_runs: dict[str, list[ev.Event]] = {}
        self._ended_runs: dict[str, list[ev.Event]] = {}
        self._queued = self._settled = self._attempts = 0
        self._failed_at = 0.0
        self._generation = self._database.generation
        self._is_forced = False
        self._thread: threading.Thread | None = None
        self._is_stopping = False
        self._is_inline = False

    # From any thread -------------------------------------------------------------------------------------

    def put(self, item: ev.Event | Work, *, hurry: bool = False) -> None:
        """Queues an event or a change; takes microseconds."""
        with self._lock:
            if self._is_stopping:
                return
            self._queued += 1
            self._queue.append(item)
            if self._thread is None and not self._is_inline:
                self._start()
        if self._is_inline:
            self.write_now()
        if hurry:
            self._hurry.set()
        if not self._wake.is_set():
            self._wake.set()

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="aesop-store", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # the process ends, or has as many threads as it may
            self._thread, self._is_inline = None, True

    def flush(self, timeout_seconds: float) -> bool:
        """Waits until all that was put before is committed; `False` if the disk refuses or the time is over."""
        until = time.monotonic() + timeout_seconds
        with self._lock:
            target, thread = self._queued, self._thread
        if thread is None or not thread.is_alive():
            if self._settled < target:
                self.write_now()
            return self._settled >= target
        if thread is threading.current_thread():
            return False  # called by a change that is being made
        with self._changed:
            attempts = self._attempts
            while self._settled < target:
                # Two more attempts, as one may be under way that has not seen all.
                if self.fault is not None and self._attempts >= attempts + 2:
                    return False
                left = until - time.monotonic()
                if left <= 0:
                    return False
                self._is_forced = True
                self._hurry.set()
                self._wake.set()
                self._changed.wait(min(0.1, left))
        return True

    def failed(self, fault: Fault) -> None:
        """Remembers that the disk refused, and tells the store."""
        self.fault, self._failed_at = fault, time.monotonic()
        self.myself.heartbeat_at = 0.0  # what it said was rolled back
        self._on_fault(fault)

    def waiting(self, run_id: str) -> list[EventRow]:
        """Gives what is in memory and not yet on the disk of one run."""
        with self._writing:
            self._take_queue()
            return [item for item in self._waiting if isinstance(item, EventRow) and item.run_id == run_id]

    def is_given_up(self, run_id: str) -> bool:
        """Whether there was no room to keep the run's events until the disk would take them."""
        return run_id in self._given_up

    def stored_id(self, run_id: str) -> str:
        """Gives the id under which a run of this process is stored, which may have to be found first."""
        if self.names.of(run_id) == run_id and run_id.startswith("u"):
            self.flush(1.0)
        return self.names.of(run_id)

    @property
    def is_behind(self) -> bool:
        """Whether the file is another one than the rows before were written into."""
        return self._database.generation != self._generation

    def forget_ended(self) -> None:
        """Keeps nothing of the runs that have ended; they were deleted."""
        with self._writing:
            self._ended_runs.clear()

    def may_try(self) -> bool:
        """Whether the disk took the last group, or refused it long enough ago."""
        return self.fault is None or time.monotonic() - self._failed_at >= RETRY_SECONDS

    def stop(self) -> None:
        """Ends the thread; what is put afterwards is dropped."""
        with self._lock:
            self._is_stopping = True
            thread = self._thread
        self._end(thread)

    def go_inline(self) -> None:
        """Ends the thread; what is put afterwards is written at once. For the end of the process."""
        with self._lock:
            self._is_inline, thread, self._thread = True, self._thread, None
        self._end(thread)
        self._database.wait_at_most(_LAST_WAIT_SECONDS)
        if self._writing.acquire(timeout=_LAST_WAIT_SECONDS):
            try:
                self.write_now()
            finally:
                self._writing.release()

    def _end(self, thread: threading.Thread | None) -> None:
        self._hurry.set()
        self._wake.set()
        if thread is not None and thread is not threading.current_thread():
            thread.join(_LAST_WAIT_SECONDS)

    # In the thread ---------------------------------------------------------------------------------------

    def _run(self) -> None:
        me = threading.current_thread()
        while self._thread is me and not self._is_stopping:
            self._wake.wait(self._rest_seconds())
            if self._queue:
                self._hurry.wait(GROUP_SECONDS)
            self._wake.clear()
            self._hurry.clear()
            is_forced, self._is_forced = self._is_forced, False
            try:
                if is_forced or self.may_try():
                    self.write_now()
                else:
                    self._keep_for_later()
            except Exception:
                _LOGGER.exception("the thread of the store met something unexpected and goes on")

    def _rest_seconds(self) -> float | None:
        if self.fault is not None and self._waiting:
            return max(0.0, self._failed_at + RETRY_SECONDS - time.monotonic())
        if self._open_runs:
            return HEARTBEAT_SECONDS
        return 1.0 if self._database.is_log_due else None

    def write_now(self) -> None:
        """Writes all that waits, as far as the disk takes it."""
        with self._writing:
            self._take_queue()
            if self.is_behind:
                self._renew()
            try:
                while self._waiting:
                    self._write_group(self._next_group())
                if self._open_runs and self.myself.is_due():
                    self._database.write(self.myself.beat)
                if self._database.is_log_due:
                    self._database.erase_due_traces()
            except Fault as fault:
                self.failed(fault)
                self._give_up_oldest()
            else:
                self.fault = None
            with self._changed:
                self._attempts += 1
                self._changed.notify_all()

    def _keep_for_later(self) -> None:
        with self._writing:
            self._take_queue()
            self._give_up_oldest()

    def _take_queue(self) -> None:
        while True:
            try:
                item = self._queue.popleft()
            except IndexError:
                return
            row = item if isinstance(item, Work) else self._row(item)
            if row is None:
                self._settle(1)
                continue
            self._waiting.append(row)
            self._waiting_bytes += row.size

    def _row(self, event: ev.Event) -> EventRow | None:
        if event.run_id in self._given_up:
            return None
        if isinstance(event, ev.RunCreated):
            self._open_runs[event.run_id] = []
        earlier = self._open_runs.get(event.run_id, [])
        row = row_of(event, self.myself.process_id, earlier)
        earlier.append(event)
        return row

    def _next_group(self) -> list[EventRow | Work]:
        size = 0
        for count, item in enumerate(self._waiting[:_GROUP_ROWS]):
            size += item.size
            if count and size > _GROUP_BYTES:
                return self._waiting[:count]
        return self._waiting[:_GROUP_ROWS]

    def _write_group(self, group: list[EventRow | Work]) -> None:
        broken: list[EventRow | Work] = []
        batches = _by_run(group)
        while True:
            before = len(broken)
            try:
                names = self._database.write(partial(self._write_rows, batches=batches, broken=broken))
            except _OtherFile:
                self._renew()
                return
            except Exception as exc:
                if len(broken) == before:
                    if _is_of_the_disk(exc) or len(batches) == len(group):
                        raise
                    batches = [[item] for item in group]  # to find the one that is to blame
                    continue
                _LOGGER.error("one entry could not be stored and is left out (%s)", type(exc).__name__)
            else:
                break
        self.names = names.kept()
        self._committed(group, broken)

    def _write_rows(
        self, connection: Connection, batches: list[list[EventRow | Work]], broken: list[EventRow | Work]
    ) -> NewNames:
        """Writes those not `broken`, which it adds to, and gives the names that hold once that is committed.

        Of a batch of several, none is taken for broken.
        """
        if self.is_behind:
            raise _OtherFile
        names = self.names.new(connection)
        if self.myself.is_due():
            self.myself.beat(connection)
        for batch in batches:
            if any(batch[0] is other for other in broken):
                continue
            try:
                _write_batch(connection, batch, names)
            except Exception as exc:
                if len(batch) == 1 and not _is_of_the_disk(exc):
                    broken.append(batch[0])
                self.myself.heartbeat_at = 0.0  # what it said is rolled back
                raise
        return names

    def _renew(self) -> None:
        """Has all events of the latest runs written again: the file they were in is there no more."""
        self._generation = self._database.generation
        runs = {**self._ended_runs, **self._open_runs}
        again = [
            row_of(event, self.myself.process_id, events[:place])
            for events in runs.values()
            for place, event in enumerate(events)
        ]
        others = [item for item in self._waiting if item.run_id not in runs]
        self._settle(len(self._waiting) - len(again) - len(others))
        self._waiting = [*again, *others]
        self._waiting_bytes = sum(item.size for item in self._waiting)
        self.myself.heartbeat_at = 0.0

    def _committed(self, group: list[EventRow | Work], broken: list[EventRow | Work]) -> None:
        del self._waiting[: len(group)]
        self._waiting_bytes -= sum(item.size for item in group)
        for item in group:
            if isinstance(item, EventRow) and isinstance(item.event, ENDINGS):
                self._ended(item.run_id)
            elif isinstance(item, Work) and item.on_committed is not None and item not in broken:
                with _logged():
                    item.on_committed()
        self._settle(len(group))

    def _ended(self, run_id: str) -> None:
        events = self._open_runs.pop(run_id, None)
        if events is not None:
            self._ended_runs[run_id] = events
        while len(self._ended_runs) > _KEPT_RUNS:
            self._ended_runs.pop(next(iter(self._ended_runs)))

    def _give_up_oldest(self) -> None:
        """Forgets whole runs, the oldest first, until what waits fits into memory again."""
        while self._waiting_bytes > MAX_WAITING_BYTES:
            first = self._waiting[0]
            oldest = first.run_id
            gone = [item for item in self._waiting if item is first or (oldest and item.run_id == oldest)]
            if oldest:
                self._given_up.add(oldest)
                self._open_runs.pop(oldest, None)
            self._waiting = [item for item in self._waiting[1:] if not oldest or item.run_id != oldest]
            self._waiting_bytes -= sum(item.size for item in gone)
            self._settle(len(gone))

    def _settle(self, count: int) -> None:
        with self._changed:
            self._settled += count


def _by_run(group: list[EventRow | Work]) -> list[list[EventRow | Work]]:
    """Puts the events of each run together, none of them across a change, before which it was recorded."""
    batches: list[list[EventRow | Work]] = []
    latest: dict[str, list[EventRow | Work]] = {}
    for item in group:
        if isinstance(item, Work):
            latest.clear()
            batches.append([item])
        elif item.run_id in latest:
            latest[item.run_id].append(item)
        else:
            latest[item.run_id] = [item]
            batches.append(latest[item.run_id])
    return batches


def _write_batch(connection: Connection, batch: list[EventRow | Work], names: NewNames) -> None:
    for item in batch:
        if isinstance(item, Work):
            item.write(connection, names)
    if rows := [item for item in batch if isinstance(item, EventRow)]:
        write_run(connection, rows, names)


def _is_of_the_disk(error: Exception) -> bool:
    return isinstance(error, Fault) and error.kind != "refused"


@contextlib.contextmanager
def _logged() -> Any:
    try:
        yield
    except Exception:
        _LOGGER.exception("a function that was to be called after a commit raised")
