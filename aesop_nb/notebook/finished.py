"""What has ended in a run since its live view last looked: each line is given once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import lines
from .asked import answered_row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ..runlogs import RunLog, Step
    from .inside import Nested


@dataclass(frozen=True)
class Row:
    """A line of what has ended, as it can be opened and as it cannot; `height` counts its lines."""

    opening: str
    plain: str
    height: float = 1.0


class Finished:
    """Gives the lines of what has ended, in the order in which it began.

    A run inside stands below the call that started it, so its line waits for the end of that call.

    Attributes:
        waiting: The runs inside that have ended and wait.
    """

    def __init__(self) -> None:
        self.waiting: list[Nested] = []
        self._steps = _Ended()
        self._inside = _Ended()
        self._answered = 0

    def take(self, log: RunLog, children: Sequence[Nested]) -> Iterator[Row]:
        """Gives the lines that are new."""
        steps = log.steps
        ended = self._inside.take(len(children), lambda place: children[place].log.status.is_final)
        self.waiting += [children[place] for place in ended]
        for place in self._steps.take(len(steps), lambda place: steps[place].state in ("done", "failed")):
            step = steps[place]
            yield Row(lines.step_row(step), lines.step_row(step, opens=False))
            yield from self._take_inside([child for child in self.waiting if _is_of(child, step)], log)
        if all(step.state in ("done", "failed") for step in steps[self._steps.first_open :]):
            yield from self._take_inside(list(self.waiting), log)
        for exchange in log.exchanges[self._answered :]:
            if exchange.answer is None:
                break
            self._answered += 1
            row = answered_row(exchange)
            yield Row(row, row)

    def _take_inside(self, taken: list[Nested], log: RunLog) -> Iterator[Row]:
        if not taken:
            return
        known = set(map(id, taken))
        self.waiting = [child for child in self.waiting if id(child) not in known]
        height = min(len(taken), lines.MAX_INSIDE_ROWS + 1)
        yield Row(lines.inside_rows(taken, log), lines.inside_rows(taken, log, opens=False), height)


class _Ended:
    """Which places of a growing list have ended; each is given once."""

    def __init__(self) -> None:
        self.first_open = 0
        self._taken: set[int] = set()

    def take(self, length: int, has_ended: Callable[[int], bool]) -> Iterator[int]:
        for place in range(self.first_open, length):
            if place not in self._taken and has_ended(place):
                self._taken.add(place)
                yield place
        while self.first_open in self._taken:
            self._taken.discard(self.first_open)
            self.first_open += 1


def _is_of(child: Nested, step: Step) -> bool:
    created = child.log.created
    return created is not None and step.started_at is not None and created.at >= step.started_at
