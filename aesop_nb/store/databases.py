"""The database behind the store: opened when first used, one connection to write and one to read."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, TypeVar

from . import files
from .connections import BUSY_MILLISECONDS, Connection
from .faults import Fault, translated
from .migrations import format_of, migrate

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

T = TypeVar("T")

APPLICATION_ID = 0x41455350  # "AESP", for tools such as file(1)
_CHECKED_BYTES = 32 * 1024 * 1024  # the check of a larger file would be felt at the first run
_open_paths: Counter[Path] = Counter()
_open_lock = threading.Lock()


class Database:
    """One SQLite file; everything that touches it goes through `write()` and `read()`.

    Both raise `Fault` and nothing else of SQLite's. A damaged file is renamed, `on_renamed` is told where to,
    and what was asked is done with a new file. A file that is deleted or replaced under us is opened anew.

    Attributes:
        path: Where it is.
        durability: Gives `"normal"` (survives the death of the process) or `"full"` (also a loss of power).
        page_limit: The most pages the file may have; what a full disk is in tests.
        on_traces_left: Called when deleted values could not be erased yet, as somebody was reading.
        generation: Counts the files at this path: what was written into an earlier one is not in the later.
    """

    def __init__(
        self,
        path: Path,
        *,
        durability: Callable[[], str] = lambda: "normal",
        on_renamed: Callable[[str], None] = lambda message: None,
        on_slow: Callable[[str], None] = lambda message: None,
        vfs: str | None = None,
    ) -> None:
        self.path = path
        self.durability = durability
        self.page_limit: int | None = None
        self.generation = 0
        self._on_renamed = on_renamed
        self._on_slow = on_slow
        self._vfs = vfs
        self._is_log_due = False
        self.on_traces_left: Callable[[], None] = lambda: None
        self._reset()

    def _reset(self) -> None:
        self._writing = threading.RLock()
        self._reading = threading.RLock()  # taken inside the other lock, never around it
        self._writer: Connection | None = None
        self._reader: Connection | None = None
        self._identity: tuple[int, int] | None = None
        self._applied: tuple[str, int | None] | None = None

    # Use -------------------------------------------------------------------------------------------------

    def write(self, work: Callable[[Connection], T]) -> T:
        """Gives what `work(connection)` gives, once all its changes are committed.

        Raises:
            Fault: If that cannot be; nothing is changed then.
        """
        return self._with_new_file_if_damaged(lambda: self._write(work))

    def read(self, work: Callable[[Connection], T], otherwise: T) -> T:
        """Gives what `work(connection)` finds, or `otherwise` if there is no file yet.

        Raises:
            Fault: If the file cannot be read.
        """
        return self._with_new_file_if_damaged(lambda: self._read(work, otherwise))

    def erase_traces(self) -> bool:
        """Empties the write-ahead log, which may hold what was deleted; `False` if it is left for later."""
        self._is_log_due = True
        until = time.monotonic() + 2
        while not self.erase_due_traces() and time.monotonic() < until:
            time.sleep(0.02)
        if self._is_log_due:
            self.on_traces_left()
        return not self._is_log_due

    def erase_due_traces(self) -> bool:
        """Tries once more what `erase_traces` could not do because somebody was reading."""
        with self._writing:
            if self._is_log_due and self._writer is not None:
                self._is_log_due = not self._writer.truncate_log()
            return not self._is_log_due

    def give_back_room(self) -> None:
        """Makes the file smaller by the pages that hold nothing any more."""
        with self._writing:
            if self._writer is not None:
                self._writer.give_back_pages()

    @property
    def is_log_due(self) -> bool:
        """Whether the write-ahead log still has to be emptied."""
        return self._is_log_due

    def check(self) -> None:
        """Raises the `Fault` that opening would meet, as far as it shows without making anything."""
        with self._writing:
            if self._writer is not None:
                return
            with translated(self.path):
                files.check(self.path)
                if not _open_paths[self.path]:
                    files.check_contents(self.path)
                    self._check_format()
                files.check_room(self.path)

    def _check_format(self) -> None:
        """Refuses what another program or a newer version wrote, as far as the file shows by itself.

        Another process may be writing it, so that what else seems wrong need not be.
        """
        if not files.size_bytes(self.path):
            return
        try:
            connection = Connection(self.path, vfs=self._vfs, is_untouched=True)
            try:
                format_of(connection)
            finally:
                connection.close()
        except Fault as fault:
            if fault.kind in ("newer", "foreign"):
                raise

    def wait_at_most(self, seconds: float) -> None:
        """Waits no longer than this from now on for other processes that write."""
        if self._writing.acquire(timeout=seconds):
            try:
                if self._writer is not None:
                    self._writer.pragma("busy_timeout", int(seconds * 1000))
            finally:
                self._writing.release()

    def close(self) -> None:
        """Closes the connections; the next use opens them again."""
        with self._writing, self._reading:
            if self._writer is not None:
                with _open_lock:
                    _open_paths[self.path] -= 1
            for connection in (self._reader, self._writer):
                if connection is not None:
                    connection.close()
            self._writer = self._reader = self._identity = self._applied = None

    def leave_to_parent(self) -> None:
        """Lets go of the connections without closing them; called in the child of a fork."""
        for connection in (self._reader, self._writer):
            if connection is not None:
                connection.leave_open()
        _open_paths.clear()
        global _open_lock
        _open_lock = threading.Lock()
        self._reset()

    # Opening ---------------------------------------------------------------------------------------------

    def _write(self, work: Callable[[Connection], T]) -> T:
        with self._writing:
            connection = self._opened()
            self._tune(connection)
            with connection.transaction():
                return work(connection)

    def _read(self, work: Callable[[Connection], T], otherwise: T) -> T:
        if files.identity(self.path) is None:
            return otherwise
        with self._writing:
            self._opened()
        with self._reading:
            if self._reader is None:
                self._reader = Connection(self.path, vfs=self._vfs)
                self._reader.pragma("query_only", "ON")
            return work(self._reader)

    def _with_new_file_if_damaged(self, use: Callable[[], T]) -> T:
        try:
            return use()
        except Fault as fault:
            if fault.kind != "corrupt":
                raise
        self._set_aside()
        return use()

    def _set_aside(self) -> None:
        with self._writing:
            seen, now = self._identity, files.identity(self.path)
            self.close()
            self.generation += 1
            if now is None or (seen is not None and seen != now):
                return  # another process has put it aside already
            target = files.set_aside(self.path)
        self._on_renamed(
            f"The store {str(self.path)!r} was damaged; it is kept as {target.name!r} and a new one was begun."
        )

    def _opened(self) -> Connection:
        if self._writer is not None and files.identity(self.path) != self._identity:
            self.close()  # deleted or replaced: what we write would be gone with the old file
            self.generation += 1
        if self._writer is None:
            with translated(self.path):
                files.prepare(self.path)
                if not _open_paths[self.path]:
                    files.check_contents(self.path)
            self._writer = self._connect()
            self._identity = files.identity(self.path)
            with _open_lock:
                _open_paths[self.path] += 1
        return self._writer

    def _connect(self) -> Connection:
        until = time.monotonic() + BUSY_MILLISECONDS / 1000
        while True:
            connection = Connection(self.path, vfs=self._vfs)
            try:
                self._set_up(connection)
            except Fault as fault:
                connection.close()
                # Two processes that begin a store at once: SQLite does not wait for a change of the journal.
                if fault.kind != "busy" or time.monotonic() > until:
                    raise
                time.sleep(random.uniform(0.005, 0.05))  # noqa: S311
            except BaseException:
                connection.close()
                raise
            else:
                return connection

    def _set_up(self, connection: Connection) -> None:
        is_new = format_of(connection) == 0
        connection.pragma("secure_delete", "ON")
        connection.pragma("trusted_schema", "OFF")
        if is_new:
            # There is nothing to lose yet, and a new file is ready four times as fast.
            connection.pragma("synchronous", "OFF" if self.durability() == "normal" else "FULL")
            connection.pragma("auto_vacuum", "INCREMENTAL")
            connection.pragma("application_id", APPLICATION_ID)
        self._choose_journal(connection)
        migrate(connection)
        if not is_new and files.size_bytes(self.path) <= _CHECKED_BYTES:
            found = connection.pragma("quick_check(1)")
            if found != "ok":
                raise Fault(
                    "corrupt", f"The store {str(self.path)!r} cannot be used: it is damaged ({found})."
                )

    def _choose_journal(self, connection: Connection) -> None:
        try:
            mode = connection.pragma("journal_mode", "WAL")
        except Fault as fault:
            if fault.kind not in ("io", "denied"):
                raise
            mode = None
        if mode != "wal":
            connection.pragma("journal_mode", "DELETE")
            self._on_slow(
                f"The store {str(self.path)!r} lies where SQLite can keep no write-ahead log, as on a network "
                "drive; it is slower and waits more. Set AESOP_HOME to a folder on a local disk."
            )

    def _tune(self, connection: Connection) -> None:
        wanted = (self.durability(), self.page_limit)
        if wanted != self._applied:
            connection.pragma("synchronous", "FULL" if wanted[0] == "full" else "NORMAL")
            if wanted[1] is not None:
                connection.pragma("max_page_count", wanted[1])
            self._applied = wanted
