"""`Run`: one attempt at a task, from its first event to its last."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections.abc import Callable, Generator
from concurrent.futures import Future
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Generic, cast, get_args

from typing_extensions import TypeVar

from . import background, scopes
from . import events as ev
from .announcing import announce_rehearsal
from .calling import error_text
from .driving import Driver, Endings
from .errors import (
    LimitExceeded,
    RunInterrupted,
    RunStateError,
    TaskCancelled,
    TaskFailed,
    UsageError,
)
from .models.openai_client import close_clients
from .runlogs import RunLog, Status
from .sessions import remember
from .texts import clean_text, nearest
from .values import is_frame

if TYPE_CHECKING:
    import pandas as pd

    from .asking import Audience, GivenAnswers
    from .clocks import RunClock
    from .engine import Brief
    from .tasks import Task

T = TypeVar("T", default=Any)

_LOGGER = logging.getLogger("aesop_nb")

_EVENT_TYPES = {cls.model_fields["type"].default: cls for cls in get_args(get_args(ev.Event)[0])}
_numbers = itertools.count(1)
background.at_close(close_clients)
_start_hooks: list[Callable[[Run[Any]], object]] = []


def on_run_start(hook: Callable[[Run[Any]], object]) -> Callable[[], None]:
    """Calls `hook(run)` for every run from now on, in the thread that starts it, before it begins.

    Returns:
        A function that takes the hook out again.
    """
    _start_hooks.append(hook)
    return lambda: _start_hooks.remove(hook)


class Run(Generic[T]):
    """One attempt at a task; made by `task.start()`.

    Everything it says is computed from its events. All methods may be called from any thread.

    Attributes:
        id: Names the run in this process, for example `r7`.
        task: What it is an attempt at.
        log: Where it stands: the fold of its events.
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
        async_tools_loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self.id = f"r{next(_numbers)}"
        self.task = task
        self.log = RunLog()
        self.children: list[Run[Any]] = []
        self.is_on_demand = False
        self.needed_by = 0
        self.audience = audience
        self._brief = brief
        self._given = given
        self._events: list[ev.Event] = []
        self._listeners: list[Callable[[ev.Event], object]] = []
        self._watchers = 0
        self._ended = background.Latch()
        self._is_begun = False
        self._is_cancelling = False
        self._driver = Driver(
            brief,
            self.log,
            Endings(
                completed=self._completed, failed=self._failed, cancelled=self._cancelled, lost=self._lost
            ),
            given=given,
            audience=audience,
            async_tools_loop=async_tools_loop,
            with_upstream_results=task.with_upstream_results,
            add=self._add,
            is_watched=self._is_watched,
            clocks=self._clocks,
        )
        self._error: BaseException | None = None
        self._result: T | None = None
        self._parent: Run[Any] | None = scopes.parent_run.get()
        self._add(brief.created(self._parent.id if self._parent else None))

    # What it says ------------------------------------------------------------------------------------

    @property
    def status(self) -> Status:
        """One of the five states."""
        return self.log.status

    @property
    def events(self) -> tuple[ev.Event, ...]:
        """What has happened so far."""
        return tuple(self._events)

    @property
    def current_action(self) -> str:
        """What it is doing, in a few words, for example `waiting for you`; empty once it has ended."""
        return self.log.current_action

    @property
    def progress(self) -> float | None:
        """From 0 to 1; `None` while that cannot be known."""
        return {Status.PENDING: 0.0, Status.COMPLETED: 1.0}.get(self.status)

    @property
    def result(self) -> T | None:
        """The result; `None` until the run is completed."""
        return self._result

    @property
    def error(self) -> BaseException | None:
        """Why there is no result; `None` unless the run failed or was cancelled."""
        return self._error

    @property
    def usage(self) -> ev.Usage:
        """What was sent and spent, failed requests included."""
        return self.log.usage

    @property
    def duration_seconds(self) -> float:
        """Time from the start to the end, or until now."""
        return self.log.duration_seconds(datetime.now(UTC))

    @property
    def question(self) -> str | None:
        """The question that waits for an answer, or `None`."""
        return self.log.question.question if self.log.question else None

    @property
    def is_rehearsal(self) -> bool:
        """Whether a rehearsal, and no language model, makes the replies."""
        return bool(self.log.created and self.log.created.is_rehearsal)

    @property
    def frame(self) -> pd.DataFrame:
        """The result as a DataFrame, whatever its type.

        Raises:
            RunStateError: If there is no result.
        """
        if self.status is not Status.COMPLETED:
            raise RunStateError(f"Run {self.id!r} is {self.status}; only a completed run has a frame.")
        from .frames import result_frame

        return result_frame(
            self._result,
            self._brief.result.annotation,
            run_id=self.id,
            task=self._brief.name,
            is_rehearsal=self.is_rehearsal,
        )

    def events_df(self) -> pd.DataFrame:
        """One row per event; see `aesop_nb.frames.events_df`."""
        from .frames import events_df

        return events_df(self.events)

    def messages_df(self) -> pd.DataFrame:
        """One row per message of the conversation; see `aesop_nb.frames.messages_df`."""
        from .frames import messages_df

        return messages_df(self.events)

    def tool_calls_df(self) -> pd.DataFrame:
        """One row per tool call; see `aesop_nb.frames.tool_calls_df`."""
        from .frames import tool_calls_df

        return tool_calls_df([self.log])

    def __repr__(self) -> str:
        return f"<Run {self.id} {self._brief.name!r}: {self.status}>"

    # Commands ----------------------------------------------------------------------------------------

    def cancel(self, reason: str = "cancelled by the person") -> None:
        """Stops the run; does nothing once it has ended."""
        self._is_cancelling = True
        background.call_soon(self._driver.request_cancel, clean_text(reason))

    def answer(self, text: str, *, question_id: str | None = None, source: str = "call") -> None:
        """Answers the open question.

        Args:
            text: The answer.
            question_id: Which question is meant; `None` is the open one.
            source: Where the answer comes from, as written into the events.

        Raises:
            RunStateError: If no question, or another one, is open.
        """
        taken: Future[bool] = Future()
        said = clean_text(str(text))
        background.call_soon(lambda: taken.set_result(self._driver.take_answer(said, source, question_id)))
        if background.is_loop_thread():
            return  # a handler of the run's own events: what it says is taken right after it returns
        if not taken.result():
            raise RunStateError(f"Run {self.id!r} is {self.status} and waits for no answer.")

    def on(self, event_type: str, handler: Callable[[Any], object]) -> Callable[[], None]:
        """Calls `handler(event)` for each event of that type, for example `"tool_called"`, or `"*"` for all.

        It is called on the loop's thread and should be quick; what it raises is logged and harms nothing.

        Returns:
            A function that takes the handler out again.

        Raises:
            UsageError: If there is no such type.
        """
        if event_type == "*":
            return self.listen(handler, watches=False)
        wanted = _EVENT_TYPES.get(event_type)
        if wanted is None:
            raise UsageError(f"There is no event {event_type!r}.{nearest(event_type, _EVENT_TYPES)}")
        pieces = wanted in (ev.TextStreamed, ev.ToolCallStreamed)
        return self.listen(
            lambda event: handler(event) if isinstance(event, wanted) else None, watches=pieces
        )

    def listen(self, listener: Callable[[ev.Event], object], *, watches: bool) -> Callable[[], None]:
        """Calls `listener` for every event; `watches` has replies streamed for it."""
        self._listeners.append(listener)
        self._watchers += watches

        def stop() -> None:
            with contextlib.suppress(ValueError):
                self._listeners.remove(listener)
                self._watchers -= watches

        return stop

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
        """Starts the task again from its beginning, as a new run."""
        return self.task.start(answers=self._given)

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
            for hook in _start_hooks:
                self._guard(hook, self)
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
            result.attrs["aesop"] = self._attributes()
        self._result = result
        kind = self._brief.result
        self._add(ev.RunCompleted(result=kind.to_json(result), text=kind.to_text(result)))

    def _attributes(self) -> dict[str, Any]:
        created = self.log.created
        return {
            "run_id": self.id,
            "task": self._brief.name,
            "model": created.model if created else "",
            "is_rehearsal": self.is_rehearsal,
        }

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
        _LOGGER.error("the end of run %s could not be written", self.id, exc_info=cause)
        message = f"{self._brief.name}: its end could not be written down ({type(cause).__name__})."
        self._error = TaskFailed(message, run=self)
        if self.status is Status.PENDING:
            self._add(ev.RunStarted())
        self._add(ev.RunFailed(error="TaskFailed", message=message))

    def _unexpected(self, error: BaseException) -> TaskFailed:
        _LOGGER.error("run %s ended with an unexpected error", self.id, exc_info=error)
        failure = TaskFailed(clean_text(f"{self._brief.name}: {error_text(error)}"))
        failure.__cause__ = error
        return failure

    def _cancelled(self, reason: str) -> None:
        self._error = TaskCancelled(f"{self._brief.name} was cancelled ({reason}); {self._kept()}", run=self)
        self._add(ev.RunCancelled(reason=reason, pending_tools=self._busy_tools()))

    def _busy_tools(self) -> list[str]:
        return self._driver.busy_tools()

    def _clocks(self) -> list[RunClock]:
        """The clocks of this run and of those around it."""
        clock, around = self._driver.clock, self._parent._clocks() if self._parent else []
        return around if clock is None else [clock, *around]

    def _is_watched(self) -> bool:
        return self._watchers > 0

    # Events ------------------------------------------------------------------------------------------

    def _add(self, event: ev.Event) -> None:
        """Writes one event; what comes after the end (a late tool, a late reply) is dropped."""
        if self.status.is_final:
            return
        event = event.model_copy(update={"run_id": self.id, "number": len(self._events)})
        self._events.append(event)
        self.log.apply(event)
        if self._listeners:
            self._tell(event)
        if self.status.is_final:
            for child in self.children:
                child.cancel(f"its parent {self.id} ended")
            self._ended.set()
            self._driver.parked.set()

    def _tell(self, event: ev.Event) -> None:
        """Calls the listeners; a run that one of them starts is nobody's child and may outlive this one."""
        token = scopes.parent_run.set(None)
        try:
            for listener in tuple(self._listeners):
                self._guard(listener, event)
        finally:
            scopes.parent_run.reset(token)

    def _guard(self, function: Callable[[Any], object], argument: Any) -> None:
        try:
            function(argument)
        except BaseException as exc:
            if not isinstance(exc, Exception) and not background.is_loop_thread():
                raise  # an interrupt of the thread that starts the run
            _LOGGER.exception("a listener of run %s raised", self.id)
