"""Replays: the events of a stored run happen once more, for views and listeners, without a model."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from .. import background
from .. import events as ev
from ..config import TaskConfig
from ..errors import UsageError
from ..listening import Listened
from ..store import default_store
from ..stored_runs import Reading
from ..tasks import Task

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..engine.asking import Audience
    from ..recordings import Recording

MAX_PAUSE_SECONDS = 3_600.0
"""A longer pause between two events is cut to this, whatever the speed."""


class Replay(Listened[Any], Reading):
    """A run that is re-enacted; it looks like a run under way until its last event.

    Nothing is sent, asked or stored. All methods may be called from any thread.

    Attributes:
        task: A task with the name, the objective and the limits of the original.
        store: Where the original is kept.
        children: Always empty; runs inside the original are played on their own.
        parent: `None`; what is played is nobody's child and has a view of its own.
        audience: `"nobody"`: questions are shown with the answers that were given.
        is_parked: `False`; a replay does not stop after a turn.
    """

    audience: Audience = "nobody"
    is_parked = False
    children: tuple[()] = ()
    parent: None = None

    def __init__(self, original: Recording[Any], *, speed: float | None) -> None:
        first, *self._later = original.events
        super().__init__(original.id)
        self._take(first)
        self.task = _task_of(first)
        self.store = default_store()
        self._speed = speed
        self._ended = background.Latch()
        self._body: asyncio.Task[None] | None = None

    def cancel(self, reason: str = "the replay was stopped by the person") -> None:
        """Stops the replay; it then shows as cancelled, and the stored run stays as it is."""
        background.call_soon(self._stop, reason)

    def wait(self, timeout_seconds: float | None = None) -> Any:
        """Waits for the last event and gives the stored result.

        Raises:
            TaskFailed: If the run had failed.
            TaskCancelled: If it had been cancelled, or the replay was stopped.
            TimeoutError: If the replay has not ended in time.
        """
        self.wait_for_end(timeout_seconds)
        return self.outcome()

    def wait_for_end(self, timeout_seconds: float | None = None) -> None:
        """Waits like `wait()`, and does not raise when the run had failed or was cancelled."""
        if not background.wait_for(self._ended, timeout_seconds=timeout_seconds, on_interrupt=self.cancel):
            raise TimeoutError(f"The replay of {self.id!r} has not ended within {timeout_seconds} s.")

    def begin(self) -> None:
        """Lets the events happen, on the loop's thread, before the eyes of those who see runs begin."""
        self._tell_start()
        background.call_soon(self._begin)

    def _begin(self) -> None:
        self._body = asyncio.get_running_loop().create_task(self._play(self._later), name=f"replay {self.id}")

    async def _play(self, events: Sequence[ev.Event]) -> None:
        before = self.events[0].at
        for event in events:
            pause = (event.at - before).total_seconds() / self._speed if self._speed else 0.0
            await asyncio.sleep(min(max(pause, 0.0), MAX_PAUSE_SECONDS))
            before = event.at
            self._happen(event)

    def _stop(self, reason: str) -> None:
        if self.status.is_final:
            return
        if self._body is not None:
            self._body.cancel()
        last = self.events[-1]
        self._happen(ev.RunCancelled(reason=reason, run_id=self.id, number=last.number + 1, at=last.at))

    def _happen(self, event: ev.Event) -> None:
        self._take(event)
        self._tell(event)
        if self.status.is_final:
            self._ended.set()


def replay_of(original: Recording[Any], speed: float | None) -> Replay:
    """Begins a replay of a run that has ended.

    Raises:
        UsageError: If it has not ended, or the speed is none.
    """
    if speed is not None and not 0 < speed < float("inf"):
        raise UsageError(f"speed={speed!r} must be above 0, for example 10 for ten times as fast.")
    if not original.status.is_final:
        raise UsageError(
            f"Run {original.id!r} is {original.status}; only one that has ended can be replayed."
        )
    replay = Replay(original, speed=speed)
    replay.begin()
    return replay


def _task_of(created: ev.Event) -> Task[Any]:
    assert isinstance(created, ev.RunCreated)
    limits = {name: value for name, value in created.limits.items() if name in TaskConfig.model_fields}
    return Task(created.objective, name=created.task, config=TaskConfig(**limits))
