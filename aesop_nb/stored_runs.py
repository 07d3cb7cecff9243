"""`StoredRun`: a run of the history, read back from its events; it shows and answers like a live one."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn

from . import errors
from . import events as ev
from .recordings import Recording

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class Reading(Recording[Any]):
    """A run that takes its events, its result and its error from what was stored."""

    def _take(self, event: ev.Event) -> None:
        self.log.apply(event)
        self._events.append(event)
        self._result = self.log.result
        if self.log.error is not None:
            self._error = error_of(self.log.error, self)

    def outcome(self) -> Any:
        """Gives the result, or raises what the run ended with.

        Raises:
            RunStateError: If it has not ended.
        """
        if not self.status.is_final:
            raise errors.RunStateError(f"Run {self.id!r} is {self.status} and has no result yet.")
        if self._error is not None:
            raise self._error
        return self._result


class StoredRun(Reading):
    """A run as the store has it; `aesop_nb.run(id)` gives it.

    Its result is the JSON form of what the run gave, since the types of a notebook that is gone cannot be had
    back: a model is a dict, a date a text, a table a list of dicts, which `.frame` gives as a DataFrame. It stands
    still: one that another kernel is working on is as far as it was when it was read.

    Args:
        events: All events of one run.
        find_children: Gives the stored runs inside it; called once, when they are asked for.
    """

    def __init__(
        self, events: Iterable[ev.Event], find_children: Callable[[], Iterable[StoredRun]] = tuple
    ) -> None:
        first, *later = events
        super().__init__(first.run_id)
        for event in (first, *later):
            self._take(event)
        self._find_children = find_children

    @cached_property
    def children(self) -> tuple[StoredRun, ...]:
        """The runs that its tools had started, in the order in which they were made."""
        return tuple(self._find_children())

    def resume(self, answers: object = None) -> NoReturn:
        """Always raises: a stored run has no task to go on with.

        Raises:
            UsageError: It names the way to go on.
        """
        raise errors.UsageError(
            f"Run {self.id!r} is a stored one and does not hold its task. Make the task again and go on with "
            f"task.resume({self.id!r})."
        )


def error_of(end: ev.RunFailed | ev.RunCancelled, run: Recording[Any]) -> BaseException:
    """Gives the error that a run ended with, made from its last event: the class, the words and what it names."""
    if isinstance(end, ev.RunCancelled):
        error: Any = errors.TaskCancelled(f"{run.log.task} was cancelled ({end.reason}).")
    else:
        error = _failure(end, run)
    error.run = run
    return error  # type: ignore[no-any-return]


def _failure(end: ev.RunFailed, run: Recording[Any]) -> BaseException:
    known = getattr(errors, end.error, None)
    kind = known if isinstance(known, type) and issubclass(known, errors.AesopError) else errors.TaskFailed
    if issubclass(kind, errors.LimitExceeded):
        return kind(end.message, limit=end.limit or "")
    if issubclass(kind, errors.NeedsHuman):
        asked = run.log.exchanges[-1].question if run.log.exchanges else ""
        return kind(end.message, question=asked)
    return kind(end.message)
