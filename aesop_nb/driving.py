"""The life of one run on the loop's thread: it is begun, parked, stopped, and its end is written once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from . import background
from . import events as ev
from .config import settings
from .engine.asking import Audience, GivenAnswers, Interview
from .engine.attempts import Attempt, Brief, drive
from .engine.calling import Caller
from .engine.clocks import RunClock
from .engine.conversations import Conversation
from .errors import LimitExceeded, TaskFailed
from .models.transcript import UserMessage

if TYPE_CHECKING:
    from .engine.recorders import Recorder
    from .reusing import Found, Reuse
    from .runlogs import RunLog

STOP_GRACE_SECONDS = 0.05
"""A run that is stopped has this long to unwind; then its end is written without waiting for it."""


@dataclass(frozen=True, kw_only=True)
class Endings:
    """What writes down how a run ended; one of them is called, once.

    `lost` stands in where one of the others raises, and uses nothing of the person's.
    """

    completed: Callable[[Any], None]
    failed: Callable[[BaseException], None]
    cancelled: Callable[[str], None]
    lost: Callable[[BaseException], None]


class Driver:
    """Takes one run through its life. Lives on the loop's thread but for `unpark` and `parked`.

    Attributes:
        parked: Set while nothing drives the run: after a single turn, and after the end.
    """

    def __init__(
        self,
        brief: Brief,
        log: RunLog,
        endings: Endings,
        *,
        given: GivenAnswers,
        recorder: Recorder,
        reuse: Reuse,
        audience: Audience,
        saved: Conversation | None,
        async_tools_loop: asyncio.AbstractEventLoop | None,
        with_upstream_results: Callable[[Brief], Awaitable[tuple[Brief, Exception | None]]],
    ) -> None:
        self.parked = background.Latch()
        self._brief = brief
        self._log = log
        self._endings = endings
        self._given = given
        self._recorder = recorder
        self._add = recorder.add
        self._reuse = reuse
        self._found: Found | None = None
        self._audience = audience
        self._saved = saved
        self._async_tools_loop = async_tools_loop
        self._with_upstream_results = with_upstream_results
        self._attempt: Attempt | None = None
        self._clock: RunClock | None = None
        self._interview: Interview | None = None
        self._caller: Caller | None = None
        self._body: asyncio.Task[None] | None = None
        self._stop: Callable[[], None] | None = None

    def unpark(self) -> background.Latch:
        """Says that the run is about to be driven on, until the latch it gives is set."""
        self.parked = background.Latch()
        return self.parked

    def begin(self, parked: background.Latch, *, once: bool) -> None:
        """Begins the run or goes on with it; for one turn if `once`. Sets `parked` when it is over."""
        if self._log.status.is_final:
            parked.set()
            return
        name = f"aesop {self._log.run_id}"
        self._body = asyncio.get_running_loop().create_task(self._live(once=once), name=name)
        self._body.add_done_callback(self._body_ended)

    def request_cancel(self, reason: str) -> None:
        """Stops the run as cancelled; does nothing if it has ended or is being stopped."""
        if self._log.status.is_final or self._stop is not None or self.is_completed:
            return
        self._add(ev.CancelRequested(reason=reason))
        self._halt(lambda: self._endings.cancelled(reason))

    @property
    def interview(self) -> Interview | None:
        """What the run asks the person, once it has begun."""
        return self._interview

    @property
    def is_completed(self) -> bool:
        """Whether there is a result, which a cancel no longer takes away."""
        return self._found is not None or (self._attempt is not None and self._attempt.is_completed)

    @property
    def clock(self) -> RunClock | None:
        """The run's clock, once it has begun."""
        return self._clock

    def busy_tools(self) -> list[str]:
        """The synchronous tools that are working now."""
        return sorted(self._caller.in_threads.values()) if self._caller else []

    async def _live(self, *, once: bool) -> None:
        if self._attempt is None:
            conversation = await self._conversation()
            if conversation is None:
                return
            self._attempt = self._new_attempt(conversation)
        assert self._clock is not None
        with self._clock.running():
            await drive(self._attempt, once=once)

    async def _conversation(self) -> Conversation | None:
        """Starts the run and gives the conversation it goes on with; `None` if a result is reused instead."""
        if self._saved is not None and self._saved.messages:
            self._add(ev.RunStarted())
            if changed := self._reuse.changed_words(self._saved.reuse_parts):
                self._add(
                    ev.NoticeGiven(text=f"It goes on with what it began with. Changed since: {changed}.")
                )
            return self._saved
        failure: Exception | None
        message = UserMessage(text="")
        try:
            self._brief, failure = await self._with_upstream_results(self._brief)
            if failure is None:
                message = self._brief.first_message()
        except Exception as exc:  # noqa: BLE001  # raised below: only a run that was started can fail
            failure = exc
        parts = {} if failure is not None else await self._reuse.late_parts(self._brief)
        self._add(ev.RunStarted(first_message=message.text, reuse_parts=parts))
        if failure is not None:
            raise failure
        self._found = await self._reuse.find(self._brief, self._add)
        if self._found is not None:
            self._add(ev.ResultReused(source_run_id=self._found.run_id))
            return None
        return Conversation(messages=(message,))

    def _new_attempt(self, conversation: Conversation) -> Attempt:
        config = self._brief.config
        self._clock = RunClock(config.max_duration_seconds, self._time_is_up)
        self._interview = Interview(
            given=self._given.fresh(),
            approvals=self._brief.approvals.fresh(),
            default=self._brief.default_answer,
            audience=self._audience,
            recorder=self._recorder,
        )
        self._caller = Caller(
            config,
            self._recorder,
            self._interview,
            raises=lambda: settings.tools_raise_on_error,
            async_tools_loop=self._async_tools_loop,
        )
        return Attempt(
            self._brief, conversation, clock=self._clock, caller=self._caller, recorder=self._recorder
        )

    def _body_ended(self, body: asyncio.Task[None]) -> None:
        if self._log.status.is_final:
            if not body.cancelled():
                body.exception()  # looked at, so that asyncio does not complain of a late failure
        elif self._stop is not None:
            self._stop()
        elif body.cancelled():
            self._write_end(self._cancelled_itself)
        elif (error := body.exception()) is not None:
            self._write_end(lambda: self._endings.failed(error))
        elif self.is_completed:
            result = self._found.value if self._found else self._attempt and self._attempt.result
            self._write_end(lambda: self._endings.completed(result))
        self.parked.set()

    def _cancelled_itself(self) -> None:
        if background.is_closing():
            self._endings.cancelled("the process is ending")
        else:
            self._endings.failed(TaskFailed(f"{self._brief.name}: a CancelledError was raised inside it."))

    def _write_end(self, write: Callable[[], None]) -> None:
        """Writes the end; whatever happens meanwhile, the run does end, or its callers would wait for ever."""
        try:
            write()
        except BaseException as exc:  # noqa: BLE001  # a result, an error or an input of the person's may raise
            if not self._log.status.is_final:
                self._endings.lost(exc)

    def _time_is_up(self) -> None:
        limit = self._brief.config.max_duration_seconds
        message = f"{self._brief.name}: no result within max_duration_seconds={limit:g} s."
        if busy := self.busy_tools():
            message += f" Still working: {', '.join(busy)}."
        self._halt(lambda: self._endings.failed(LimitExceeded(message, limit="max_duration_seconds")))

    def _halt(self, stop: Callable[[], None]) -> None:
        """Cancels the body and writes the end when it has unwound, or after a grace without waiting for it."""
        if self._stop is not None:
            return

        def once() -> None:
            if not self._log.status.is_final:
                self._write_end(stop)
                self.parked.set()

        self._stop = once
        if self._attempt is not None:
            self._attempt.is_stopped = True
        if self._body is None or self._body.done():
            once()
        else:
            self._body.cancel()
            asyncio.get_running_loop().call_later(STOP_GRACE_SECONDS, once)
