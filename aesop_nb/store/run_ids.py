"""Ids of runs: `r7` from the store's own count, and what to do with those that did not come from there."""

from __future__ import annotations

import itertools
import threading
import time
from typing import TYPE_CHECKING

from .faults import Fault

if TYPE_CHECKING:
    from collections.abc import Callable

    from .connections import Connection

_MOST_AT_ONCE = 64
_FAST_SECONDS = 1.0
_unsaved_numbers = itertools.count(1)
_highest_here = [0]
_noting = threading.Lock()


def unsaved_id() -> str:
    """Gives an id that only this process knows, for example `u3`."""
    return f"u{next(_unsaved_numbers)}"


def process_id() -> str:
    """Gives an id above all that this process has given, for a run that is not to be stored."""
    with _noting:
        _highest_here[0] += 1
        return f"r{_highest_here[0]}"


def note(number: int) -> None:
    """Remembers a number that a run of this process got from a store."""
    with _noting:
        _highest_here[0] = max(_highest_here[0], number)


def number_of(run_id: str) -> int:
    """Gives the number in an id; 0 if there is none."""
    digits = run_id[1:]
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 19 else 0


def next_run_number(connection: Connection, above: int = 0, count: int = 1) -> int:
    """Gives the first of `count` numbers of runs, which nobody else gets; larger than `above`."""
    row = connection.row(
        "UPDATE counters SET value = CASE WHEN value < :above THEN :above ELSE value END + :count "
        "WHERE name = 'runs' RETURNING value",
        above=above,
        count=count,
    )
    if row is None:
        raise Fault("corrupt", f"The store {str(connection.path)!r} cannot be used: its count is gone.")
    return int(row["value"]) - count + 1


class Numbers:
    """The numbers this process gives to runs, taken from the store's count in blocks.

    A block is one number, and twice the one before while they are used up fast: a run that is made every few
    seconds leaves no gap, and a thousand at once do not wait for the disk each.

    Attributes:
        generation: Which file they were taken from; see `Database`.
    """

    def __init__(self) -> None:
        self._next = self._end = 1
        self._size = 1
        self._taken_at = -_FAST_SECONDS
        self.generation = 0

    def are_left(self, generation: int) -> bool:
        """Whether there are numbers at hand that were taken from that file."""
        return self._next < self._end and generation == self.generation

    @property
    def highest(self) -> int:
        """The highest number that was taken from the count."""
        return self._end - 1

    def take(self, generation: int) -> int | None:
        """Gives the next number at hand, or `None`."""
        if not self.are_left(generation):
            return None
        self._next += 1
        return self._next - 1

    def refill(self, connection: Connection) -> Callable[[int], int]:
        """Takes a block; gives a function that begins it and gives its first number, once that is committed."""
        now = time.monotonic()
        size = min(2 * self._size, _MOST_AT_ONCE) if now - self._taken_at < _FAST_SECONDS else 1
        # A file that takes the place of a damaged one begins to count anew.
        first = next_run_number(connection, self.highest, size)

        def begin(generation: int) -> int:
            self._next, self._end = first + 1, first + size
            self._size, self._taken_at, self.generation = size, now, generation
            return first

        return begin

    def give_back(self, connection: Connection) -> None:
        """Gives back what was not used, where nobody has taken numbers since."""
        connection.change(
            "UPDATE counters SET value = :used WHERE name = 'runs' AND value = :end",
            used=self._next - 1,
            end=self.highest,
        )
        self._end = self._next


class Names:
    """The ids under which the runs of this process are stored.

    Nearly all are their own. A run that was made while no id could be had (`u3`) gets one when it is written,
    and so does one whose id was given to another process, which can be after a damaged store was put aside.
    """

    def __init__(self, known: dict[str, str] | None = None) -> None:
        self._known = known or {}

    def of(self, run_id: str) -> str:
        """Gives the id a run is stored under, or its own; a row of a map (`u3.12`) goes by that of its map."""
        whole, dot, number = run_id.partition(".")
        return f"{self._of_whole(whole)}{dot}{number}"

    def _of_whole(self, run_id: str) -> str:
        return self._known.get(run_id, run_id)

    def new(self, connection: Connection) -> NewNames:
        """Gives a copy that finds ids for runs that have none; it counts once what they are for is committed."""
        return NewNames(dict(self._known), connection)


class NewNames(Names):
    """The same while `connection` writes."""

    def __init__(self, known: dict[str, str], connection: Connection) -> None:
        super().__init__(known)
        self._connection = connection

    def kept(self) -> Names:
        """Gives the names without the connection, which is used within a transaction only."""
        return Names(self._known)

    def _of_whole(self, run_id: str) -> str:
        if run_id in self._known or not (run_id.startswith("u") and number_of(run_id)):
            return super()._of_whole(run_id)
        return self.rename(run_id)

    def rename(self, run_id: str) -> str:
        """Gives another id to a run whose own is no id of a store, or is taken."""
        above = 0 if run_id.startswith("u") else number_of(run_id)
        self._known[run_id] = f"r{next_run_number(self._connection, above)}"
        return self._known[run_id]
