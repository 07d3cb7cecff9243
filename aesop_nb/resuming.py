"""Which conversation a run goes on with: that of a run of this process, or of one in the store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .engine.conversations import Conversation, conversation_of
from .errors import RunStateError, UsageError
from .recordings import Recording
from .sessions import recent_runs
from .store import default_store
from .stored_runs import StoredRun
from .texts import nearest

if TYPE_CHECKING:
    from .tasks import Task


def conversation_to_resume(run: str | Recording[Any], task: Task[Any]) -> Conversation:
    """Gives the conversation with which another run of the same task goes on.

    Args:
        run: The run, or its id.
        task: The task, as it is now.

    Raises:
        RunStateError: If the run is completed or has not ended.
        UsageError: If there is no such run, it is one of another task, or its beginning is gone.
        StoreError: If it cannot be read.
    """
    found = _find(run) if isinstance(run, str) else run
    if not isinstance(found, Recording):
        raise UsageError(f"A run to go on with is a run or its id, for example 'r7', not {run!r}.")
    _check(found, task.name)
    events = [event for part in _chain(found) for event in part.events]
    return conversation_of(events)


def _check(run: Recording[Any], task: str) -> None:
    if run.status == "completed":
        raise RunStateError(
            f"Run {run.id!r} is completed; there is nothing to go on with. task.run() does it again."
        )
    if not run.status.is_final:
        raise RunStateError(
            f"Run {run.id!r} is {run.status} and goes on by itself, or with task.run() after run_once(). "
            "Only one that failed or was cancelled can be resumed."
        )
    if run.log.task != task:
        raise UsageError(f"Run {run.id!r} is one of the task {run.log.task!r}, not of {task!r}.")


def _chain(run: Recording[Any]) -> list[Recording[Any]]:
    """The runs that make up one conversation, the first one first."""
    parts = [run]
    while (created := parts[0].log.created) is not None and created.resumed_run_id is not None:
        earlier = _known(created.resumed_run_id)
        if earlier is None or any(part.id == earlier.id for part in parts):
            raise UsageError(
                f"Run {run.id!r} goes on with run {created.resumed_run_id!r}, which is no longer there, so its "
                "conversation is not whole. Start the task anew: task.run()."
            )
        parts.insert(0, earlier)
    return parts


def _find(run_id: str) -> Recording[Any]:
    found = _known(run_id)
    if found is None:
        ids = [run.id for run in recent_runs()]
        raise UsageError(
            f"There is no run {run_id!r}, neither in this session nor in the store.{nearest(run_id, ids)}"
        )
    return found


def _known(run_id: str) -> Recording[Any] | None:
    """The run of that id; where the store was changed meanwhile two may have it, and this store's is meant."""
    store = default_store()
    live: dict[bool, Recording[Any]] = {
        run.store.path == store.path: run for run in recent_runs() if run.id == run_id
    }
    if True in live:
        return live[True]
    if store.find(run_id) is None:  # asked first: it ends the runs of processes that died
        return live.get(False)
    return StoredRun(store.events(run_id))
