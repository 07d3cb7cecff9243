"""`Run`: one attempt at a task, from its first event to its last."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Generator
from typing import TYPE_CHECKING, Any, cast

from typing_extensions import TypeVar

from . import background, scopes
from . import events as ev
from .announcing import announce_rehearsal
from .driving import Driver, Endings
from .engine.calling import error_text
from .engine.recorders import Recorder
from .engine.withheld import Withheld, masked_event
from .errors import LimitExceeded, RunInterrupted, RunStateError, TaskCancelled, TaskFailed, UsageError
from .listening import Listened
from .listening import on_run_start as on_run_start
from .models.openai_client import close_clients
from .places import find_notebook
from .replying import Replies
from .reusing import Reuse, is_restorable
from .runlogs import Status
from .sessions import remember
from .store import default_store
from .texts import clean_text, visible_traceback
from .values import is_frame

if TYPE_CHECKING:
    from .config import TaskConfig
    from .engine.asking import AnswersGiven, Audience, GivenAnswers, Interview
    from .engine.attempts import Brief
    from .engine.clocks import RunClock
    from .engine.conversations import Conversation
    from .remembering.memories import MemoryScope
    from .store import Store
    from .tasks import Task

T = TypeVar("T", default=Any)

_LOGGER = logging.getLogger("aesop_nb")

_WRITTEN_DOWN_SECONDS = 1.0  # a store that does not take it in this time does not stop the run
background.at_close(close_clients)


class Run(Listened[T], Replies):
    """One attempt at a task; made by `task.start()`.

    Everything it says is computed from its events. All methods may be called from any thread.

    Attributes:
        id: Names the run, for example `r7`; unique in the store.
        task: What it is an attempt at.
        log: Where it stands: the fold of its events.
        store: Where its events are kept.
        children: Runs started by its tools; they end with it.
        is_on_demand: Whether it was started only because other tasks need its result.
        needed_by: How many of them wait for it.
    """

    def __init__(
        self,
        task: Task[T],
        brief: Brief,
        *,
        given: GivenAnswers,
        audience: Audience,
        saved: Conversation | None = None,
        async_tools_loop: asyncio.AbstractEventLoop | None = None,
        store: Store | None = None,
    ) -> None:
        self.store = default_store() if store is None else store
        super().__init__(self.store.new_run_id())
        self.task = task
        self.children: list[Run[Any]] = []
        self.is_on_demand = False
        self.needed_by = 0
        self.audience = audience
        self._brief = brief
        self._given = given
        self._ended = background.Latch()
        self._parent: Run[Any] | None = scopes.parent_run.get()
        self._call_clock = scopes.call_clock.get()
        self._withheld = Withheld(self._parent._withheld if self._parent else None)
        self._reuse = Reuse(self.store, brief, given, waits_for_inputs=bool(task.upstream))
        self._is_begun = False
        self._is_cancelling = False
        self._driver = Driver(
            brief,
            self.log,
            Endings(
                completed=self._completed, failed=self._failed, cancelled=self._cancelled, lost=self._lost
            ),
            given=given,
            recorder=Recorder(
                add=self._add,
                write_down=lambda: self.store.flush(_WRITTEN_DOWN_SECONDS),
                is_watched=self._is_watched,
                clocks=self._clocks,
                withheld=self._withheld,
            ),
            reuse=self._reuse,
            audience=audience,
            saved=saved,
            async_tools_loop=async_tools_loop,
            with_upstream_results=task.with_upstream_results,
        )
        created = brief.created(self._parent.id if self._parent else None)
        if saved is not None:
            saved.refuse_mixing(is_rehearsal=created.is_rehearsal)
        self._add(
            created.model_copy(
                update={
                    "notebook": find_notebook() if store is None else "",
                    # What was said before is no part of the key, so its result is nobody else's.
                    "reuse_parts": {} if saved else self._reuse.known.parts,
                    "resumed_run_id": saved.run_id if saved else None,
                }
            )
        )

    @property
    def parent(self) -> Run[Any] | None:
        """The run whose tool started this one, or `None`."""
        return self._parent

    @property
    def config(self) -> TaskConfig:
        """The limits it has."""
        return self._brief.config

    @property
    def left_seconds(self) -> float:
        """The time it has left, and the runs around it."""
        return min((clock.left_seconds for clock in self._clocks()), default=self.config.max_duration_seconds)

    @property
    def memory_scope(self) -> MemoryScope | None:
        """Where its agent remembers, and code inside it that says nothing else; see `memory`."""
        return self._brief.memory_scope

    # Commands ----------------------------------------------------------------------------------------

    @property
    def may_ask(self) -> bool:
        """Whether it may ask the person something, or have a call approved."""
        return self._brief.may_ask

    def cancel(self, reason: str = "cancelled by the person") -> None:
        """Stops the run; does nothing once it has ended."""
        self._is_cancelling = True
        background.call_soon(self._driver.request_cancel, clean_text(reason))

    def wait(self, timeout_seconds: float | None = None) -> T:
        """Waits for the end and gives the result.

        Args:
            timeout_seconds: How long to wait; `None` waits for ever. The run goes on after a time-out.

        Raises:
            TaskFailed: If the run failed; the class says why.
            TaskCancelled: If it was cancelled.
            TimeoutError: If it has not ended in time.
            RunStateError: If it stopped after one turn of `run_once`.
            RunInterrupted: If the wait was interrupted; the run is cancelled then.
        """
        self.wait_for_end(timeout_seconds)
        return self.outcome()

    def wait_for_end(self, timeout_seconds: float | None = None) -> None:
        """Waits like `wait()`, and does not raise when the run failed or was cancelled."""
        self._refuse_parked()
        self._block(self._ended, timeout_seconds)

    def retry(self) -> Run[T]:
        """Starts the task again from its beginning, as a new run that reuses nothing."""
        return self.task.start_anew(self._given)

    def resume(self, answers: AnswersGiven | None = None) -> Run[T]:
        """Goes on with a run that failed or was cancelled, as a new run of the same task.

        That run begins with the conversation of this one: what is paid for is not asked of the model again. Turns
        are counted on, limits from 0. An open question, or a call that waits for approval, is put to the
        person first, without asking the model. A call that was begun and has no result is not made again by
        itself; the model is told that it may have taken effect. Secrets and the task's own memory are gone.
        The task's inputs are those this run began with, its tools, agents and limits those it has now.

        Args:
            answers: See `Task.start`. Left out, those by words and by a function hold on; a list is used up.

        Raises:
            RunStateError: If this run is completed or has not ended.
            UsageError: If it cannot be resumed, or the task cannot be run as it is.
        """
        return self.task.resume(self, answers=self._given.for_going_on() if answers is None else answers)

    def __await__(self) -> Generator[Any, None, T]:
        """Awaits the end, on any event loop, and gives the result; cancelling it cancels the run."""
        return self._awaited().__await__()

    async def _awaited(self) -> T:
        await self.until_end()
        return self.outcome()

    async def until_end(self) -> None:
        """Awaits the end like `await run`, and does not raise when the run failed or was cancelled."""
        self._refuse_parked()
        try:
            await self.ended()
        except asyncio.CancelledError:
            self.cancel("interrupted")
            raise

    async def ended(self) -> None:
        """Awaits the end and changes nothing; cancelling it leaves the run alone."""
        await background.wait_for_async(self._ended)

    def _refuse_parked(self) -> None:
        if self.is_parked:
            raise RunStateError(f"Run {self.id!r} stopped after one turn; task.run() goes on with it.")

    def outcome(self) -> T:
        """Gives the result of a run that has ended, or raises what it ended with."""
        if self._error is not None:
            raise self._error.with_traceback(None)  # else it grows with each time it is raised
        return cast("T", self._result)

    def _block(self, latch: background.Latch, timeout_seconds: float | None) -> None:
        try:
            reached = background.wait_for(
                latch, timeout_seconds=timeout_seconds, on_interrupt=lambda: self.cancel("interrupted")
            )
        except KeyboardInterrupt:
            raise self.interrupted() from None
        if not reached:
            raise TimeoutError(f"Run {self.id!r} has not ended within {timeout_seconds} s; it goes on.")

    def interrupted(self) -> RunInterrupted:
        """Cancels the run and gives the error for the one who was waiting for it."""
        self.cancel("interrupted")
        return RunInterrupted(f"{self._brief.name} was interrupted; {self._kept()}", run=self)

    def _kept(self) -> str:
        done = sum(step.state == "done" for step in self.log.steps)
        return f"kept {done} step{'' if done == 1 else 's'}."

    def _interview(self) -> Interview | None:
        return self._driver.interview

    # Life, on the loop's thread from here on ---------------------------------------------------------

    def begin(self, *, once: bool = False) -> background.Latch:
        """Has the loop take the run up, or go on with it after `run_once`; called by the task.

        Returns:
            A latch that is set when the run stands again: after its turn, or at its end.
        """
        if not self._is_begun:
            self._is_begun = True
            self.task.runs.append(self)
            remember(self)
            if self._parent is not None:
                self._parent.children.append(self)
            self._tell_start()
            if self.is_rehearsal:
                announce_rehearsal()
            if self._parent is not None and self._parent.status.is_final:
                self.cancel(f"its parent {self._parent.id} ended")  # a tool that was left behind goes on
        parked = self._driver.unpark()
        background.call_soon(self._drive, parked, once)
        return parked

    def _drive(self, parked: background.Latch, once: bool) -> None:
        scopes.parent_run.set(self)
        self._driver.begin(parked, once=once)

    def park(self, parked: background.Latch) -> None:
        """Waits for the latch that `begin(once=True)` gave."""
        self._block(parked, None)

    async def parked_or_ended(self) -> None:
        """Awaits that nothing drives the run any more."""
        await background.wait_for_async(self._driver.parked)

    @property
    def is_parked(self) -> bool:
        """Whether the run has begun and nothing drives it at the moment."""
        return self._driver.parked.is_set() and self.status is Status.RUNNING and not self._is_cancelling

    def wait_on_callers_loop(self) -> None:
        """Waits while the caller's own loop goes on running; see `Task.run`."""
        try:
            background.wait_on_callers_loop(self._ended)
        except KeyboardInterrupt:
            raise self.interrupted() from None

    def _completed(self, result: Any) -> None:
        if is_frame(result):
            result = result.copy(deep=False)  # a validator may give one frame to several runs
            result.attrs["aesop"] = self._origin()
        self._result = result
        kind = self._brief.result
        stored = kind.to_json(result)
        # A secret is stored masked, so what holds one is not what is stored.
        faithful = not self._reuse.known.parts or (not self._withheld and is_restorable(kind, result, stored))
        self._add(ev.RunCompleted(result=stored, text=kind.to_text(result), is_restorable=faithful))

    def _annotation(self) -> Any:
        return self._brief.result.annotation

    def _failed(self, error: BaseException) -> None:
        if isinstance(error, UsageError):
            failure: TaskFailed | UsageError = error
        else:
            failure = error if isinstance(error, TaskFailed) else self._unexpected(error)
            failure.run = self
        self._error = failure
        self._add(
            ev.RunFailed(
                error=type(failure).__name__,
                message=clean_text(str(failure)),
                limit=failure.limit if isinstance(failure, LimitExceeded) else None,
                pending_tools=self._busy_tools(),
            )
        )

    def _lost(self, cause: BaseException) -> None:
        """Ends the run as failed where even that could not be written down in the usual way."""
        _LOGGER.error("the end of run %s could not be written\n%s", self.id, visible_traceback(cause))
        message = f"{self._brief.name}: its end could not be written down ({type(cause).__name__})."
        self._error = TaskFailed(message, run=self)
        if self.status is Status.PENDING:
            self._add(ev.RunStarted())
        self._add(ev.RunFailed(error="TaskFailed", message=message))

    def _unexpected(self, error: BaseException) -> TaskFailed:
        said, masked = visible_traceback(error), self._withheld.masked
        _LOGGER.error("run %s ended with an unexpected error\n%s", self.id, masked(said))
        failure = TaskFailed(clean_text(f"{self._brief.name}: {masked(error_text(error))}"))
        failure.__cause__ = error
        return failure

    def _cancelled(self, reason: str) -> None:
        self._error = TaskCancelled(f"{self._brief.name} was cancelled ({reason}); {self._kept()}", run=self)
        self._add(ev.RunCancelled(reason=reason, pending_tools=self._busy_tools()))

    def _busy_tools(self) -> list[str]:
        return self._driver.busy_tools()

    def _clocks(self) -> list[RunClock]:
        """The clocks of this run, of those around it and of the call that it was started in."""
        clock, around = self._driver.clock, self._parent._clocks() if self._parent else []
        if self._call_clock is not None:
            around = [self._call_clock, *around]
        return around if clock is None else [clock, *around]

    # Events ------------------------------------------------------------------------------------------

    def note(self, event: ev.Event) -> None:
        """Writes down what one of its tools did; called on the loop's thread."""
        self._add(event)

    def _add(self, event: ev.Event) -> None:
        """Writes one event; what comes after the end (a late tool, a late reply) is dropped."""
        if self.status.is_final:
            return
        event = event.model_copy(update={"run_id": self.id, "number": len(self._events)})
        if self._withheld:
            event = masked_event(event, self._withheld)
        self._events.append(event)
        self.log.apply(event)
        self.store.record(event)
        if self._listeners:
            self._tell(event)
        if self.status.is_final:
            for child in self.children:
                child.cancel(f"its parent {self.id} ended")
            self._withheld.forget()
            self._ended.set()
            self._driver.parked.set()
