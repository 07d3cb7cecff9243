"""What those who work on a run get of it: where they write down what happens, and which clocks run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..events import Event
    from .clocks import RunClock
    from .withheld import Withheld


@dataclass(frozen=True, kw_only=True)
class Recorder:
    """The record of one run.

    Attributes:
        add: Writes an event; one that comes after the end of the run is dropped.
        write_down: Has the store keep what was added so far, and waits for that.
        is_watched: Whether somebody looks on, so that a reply should be streamed.
        clocks: The clocks of the run and of all around it, which stand still while a person is asked.
        withheld: The secrets that no event may hold.
    """

    add: Callable[[Event], None]
    write_down: Callable[[], object]
    is_watched: Callable[[], bool]
    clocks: Callable[[], Sequence[RunClock]]
    withheld: Withheld
