"""Runs inside a run: those its tools have started, as a tree, counted and in order."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from ..runlogs import Status
from .wording import count

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ..runlogs import RunLog


class Nested(Protocol):
    """A run and the runs inside it; `Run` is one."""

    @property
    def log(self) -> RunLog:
        """Where it stands."""
        ...

    @property
    def children(self) -> Sequence[Nested]:
        """The runs inside it, in the order in which they began."""
        ...


@dataclass(frozen=True)
class Branch:
    """A run that was read back, with the runs inside it."""

    log: RunLog
    children: Sequence[Nested] = ()


def is_left(inner: RunLog, outer: RunLog) -> bool:
    """Whether the inner run was stopped with the outer one, which it had outlived otherwise."""
    if outer.ended_at is None:
        return False
    return inner.ended_at is None or inner.ended_at > outer.ended_at


def status_in(inner: RunLog, outer: RunLog) -> Status:
    """The state of the inner run; one that is stopped with the outer run is cancelled."""
    return Status.CANCELLED if is_left(inner, outer) else inner.status


def tally(children: Sequence[Nested], outer: RunLog) -> str:
    """Gives `12 runs inside: 9 completed, 1 failed, 2 running`."""
    found = Counter(status_in(child.log, outer) for child in children)
    order = (Status.COMPLETED, Status.FAILED, Status.CANCELLED, Status.RUNNING, Status.PENDING)
    parts = [f"{found[status]:,} {status}" for status in order if found[status]]
    return f"{count(len(children), 'run')} inside: {', '.join(parts)}"


def under_way(children: Iterable[Nested]) -> list[Nested]:
    """Those that have begun and not ended."""
    return [child for child in children if child.log.status is Status.RUNNING]
