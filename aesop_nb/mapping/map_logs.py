"""Where a map stands: counts, rate, spend, the last errors and the first results, for a view to read."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ..events import Usage
from ..runlogs import Status
from ..texts import one_line

KEPT_ERRORS = 5
KEPT_FIRST_ERRORS = 20
KEPT_RESULTS = 5
_RATE_SECONDS = 15.0

Origin = Literal["asked", "stored", "equal", "elsewhere"]
"""Whether a row was asked here, was in the store, equals another, or was asked by another process meanwhile."""


def said(value: Any, limit: int) -> str:
    """Gives a value on one line; one that has no text, as it may be of a class of the person's, by its class."""
    try:
        return one_line(str(value), limit)
    except Exception:  # noqa: BLE001
        return f"<{type(value).__name__}>"


@dataclass(slots=True)
class RowOutcome:
    """What came of one row.

    Attributes:
        value: The result; `None` unless completed.
        error: Why there is none.
        run_id: The run that made it.
        seconds: How long that run took.
        tokens: What it read and wrote.
    """

    status: Status
    value: Any = None
    error: str | None = None
    run_id: str | None = None
    seconds: float | None = None
    tokens: int | None = None


@dataclass(frozen=True, slots=True)
class RowLine:
    """A row in a few words: its label, its run, what there is to say, and what it was asked with, by column."""

    position: int
    label: str
    run_id: str | None
    text: str
    inputs: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class MapLog:
    """Where a map stands. Written on the loop's thread; any thread may read.

    Attributes:
        total: How many rows there are; `None` while that is not known.
        outcomes: What came of each row that has ended, by its position.
        running: Rows under way.
        reused: Rows whose result was in the store.
        equal: Rows whose result is that of an equal row.
        usage: What this map sent and spent; rows taken from the store cost nothing.
        errors: The last rows that failed.
        first_errors: The first ones.
        results: The first rows that were completed.
        notices: What the person should know.
        version: Grows with each change, so that a view can tell whether there is something new.
    """

    total: int | None = None
    outcomes: dict[int, RowOutcome] = field(default_factory=dict)
    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    running: int = 0
    reused: int = 0
    equal: int = 0
    usage: Usage = field(default_factory=Usage)
    errors: deque[RowLine] = field(default_factory=lambda: deque(maxlen=KEPT_ERRORS))
    first_errors: list[RowLine] = field(default_factory=list)
    results: list[RowLine] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    version: int = 0
    _begun_at: float = field(default_factory=time.monotonic)
    _ends: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=256))

    @property
    def ended(self) -> int:
        """Rows that have an end, whatever it is."""
        return self.completed + self.failed + self.cancelled

    @property
    def counts(self) -> dict[str, int]:
        """How many rows have each status; those not begun are pending."""
        known = (self.total or 0) - self.ended - self.running
        return {
            "pending": max(0, known),
            "running": self.running,
            "completed": self.completed,
            "failed": self.failed,
            "cancelled": self.cancelled,
        }

    @property
    def rows_per_second(self) -> float | None:
        """How fast rows are being asked, over the last seconds; `None` while too little is known."""
        ends = list(self._ends)
        if len(ends) < 2:
            return None
        now = time.monotonic()
        recent = [end for end in ends if now - end[0] <= _RATE_SECONDS] or ends[-1:]
        first = recent[0] if len(recent) > 1 else ends[0]
        passed = now - first[0]
        return (ends[-1][1] - first[1]) / passed if passed > 0 else None

    @property
    def seconds_left(self) -> float | None:
        """About how long the rest will take; `None` where that is not known."""
        rate = self.rows_per_second
        if not rate or self.total is None:
            return None
        return max(0, self.total - self.ended) / rate

    def add(
        self,
        position: int,
        outcome: RowOutcome,
        label: str,
        origin: Origin,
        inputs: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        """Counts the end of one row; `inputs()` is called only for a row of which a line is kept."""
        self.outcomes[position] = outcome
        self.version += 1
        if outcome.status is Status.COMPLETED:
            self.completed += 1
            if len(self.results) < KEPT_RESULTS:
                text = said(outcome.value, 200)
                self.results.append(RowLine(position, label, outcome.run_id, text, inputs()))
        elif outcome.status is Status.FAILED:
            self.failed += 1
            line = RowLine(position, label, outcome.run_id, outcome.error or "", inputs())
            self.errors.append(line)
            if len(self.first_errors) < KEPT_FIRST_ERRORS:
                self.first_errors.append(line)
        else:
            self.cancelled += 1
        self.reused += origin == "stored"
        self.equal += origin == "equal"
        if origin != "stored":
            self._note_end()

    def _note_end(self) -> None:
        now = time.monotonic()
        asked = self.ended - self.reused
        if self._ends and now - self._ends[-1][0] < 0.1:
            self._ends[-1] = (self._ends[-1][0], asked)  # one point per tenth of a second is enough
        else:
            self._ends.append((now, asked))

    def notice(self, text: str) -> None:
        """Keeps something that the person should know, once."""
        if text not in self.notices:
            self.notices.append(text)
            self.version += 1
