"""One connection to the database: named parameters in, plain rows out; all SQL of the store goes through it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, TypeAlias

from .faults import translated

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Row: TypeAlias = dict[str, Any]

BUSY_MILLISECONDS = 5_000
"""How long a statement waits for another process that writes."""


class Connection:
    """A connection that several threads may use in turn; the owner holds a lock around each use.

    Statements are plain SQL with parameters by name (`:name`); what is special to SQLite stands in the methods
    that are named after it and in `databases.py`.
    """

    def __init__(self, path: Path, *, vfs: str | None = None, is_untouched: bool = False) -> None:
        """Opens a file that is there.

        Args:
            path: The file.
            vfs: One of SQLite's own ways to use files, other than the usual one.
            is_untouched: Reads the file alone as it stands and makes nothing beside it, not even a lock.
        """
        import sqlite3

        self.path = path
        mode = "ro&immutable=1" if is_untouched else "rw"
        address = f"{path.absolute().as_uri()}?mode={mode}{f'&vfs={vfs}' if vfs else ''}"
        with translated(path):
            self._raw = sqlite3.connect(
                address,
                uri=True,
                isolation_level=None,
                check_same_thread=False,
                timeout=BUSY_MILLISECONDS / 1000,
            )

    def rows(self, sql: str, **parameters: Any) -> list[Row]:
        """Gives what a query finds, each row by column."""
        with translated(self.path):
            cursor = self._raw.execute(sql, parameters)
            names = [column[0] for column in cursor.description or ()]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def row(self, sql: str, **parameters: Any) -> Row | None:
        """Gives the first row that a query finds, or `None`."""
        found = self.rows(sql, **parameters)
        return found[0] if found else None

    def change(self, sql: str, **parameters: Any) -> int:
        """Executes one statement and gives how many rows it changed."""
        with translated(self.path):
            return self._raw.execute(sql, parameters).rowcount

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Commits what the block does, or nothing of it; waits for other writers at its beginning."""
        try:
            self._roll_back()  # what an interrupt may have left, which can come between any two lines
            self.change("BEGIN IMMEDIATE")
            yield
            self.change("COMMIT")
        except BaseException:
            self._roll_back()
            raise

    def _roll_back(self) -> None:
        with contextlib.suppress(Exception):
            if self._raw.in_transaction:
                self._raw.execute("ROLLBACK")

    def pragma(self, name: str, value: str | int | None = None) -> Any:
        """Reads or sets one of SQLite's own switches; gives its value, or `None`."""
        with translated(self.path):
            found = self._raw.execute(f"PRAGMA {name}" if value is None else f"PRAGMA {name}={value}")
            row = found.fetchone()
        return row[0] if row else None

    def give_back_pages(self) -> None:
        """Shortens the file by the pages at hand that hold nothing."""
        with translated(self.path):
            # execute() would take the first step only, which is one page
            self._raw.executescript("PRAGMA incremental_vacuum")

    def truncate_log(self) -> bool:
        """Moves the write-ahead log into the file and empties it; `False` if somebody reads it just now."""
        with translated(self.path):
            row = self._raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        return row is None or row[0] == 0

    def close(self) -> None:
        """Closes it; what goes wrong with that cannot be helped."""
        with contextlib.suppress(Exception):
            self._raw.close()

    def leave_open(self) -> None:
        """Keeps it from ever being closed: after a fork it is the parent's.

        https://www.sqlite.org/howtocorrupt.html says that a child must not even close it.
        """
        import ctypes

        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._raw))
