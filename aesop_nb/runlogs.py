"""Where a run stands, computed from its events and from nothing else."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from . import events as ev
from .errors import RunStateError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime


class Status(enum.StrEnum):
    """The five states of a run; the last three are final."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Whether nothing follows it."""
        return not _NEXT[self]


_NEXT: dict[Status, frozenset[Status]] = {
    Status.PENDING: frozenset({Status.RUNNING, Status.CANCELLED}),
    Status.RUNNING: frozenset({Status.COMPLETED, Status.FAILED, Status.CANCELLED}),
    Status.COMPLETED: frozenset(),
    Status.FAILED: frozenset(),
    Status.CANCELLED: frozenset(),
}

StepState = Literal["writing", "running", "done", "failed"]


@dataclass(slots=True)
class Step:
    """One tool call as a person follows it.

    Attributes:
        arguments: The arguments, or the raw text where they could not be read.
        output: What the tool gave, or `None`.
        error: What went wrong, or `None`.
        duration_seconds: `None` while it runs.
    """

    call_id: str
    tool: str
    turn: int
    arguments: dict[str, Any] | str
    state: StepState = "running"
    started_at: datetime | None = None
    output: str | None = None
    error: str | None = None
    duration_seconds: float | None = None


@dataclass(slots=True)
class _Draft:
    """A tool call that is being written, in the pieces that have arrived."""

    turn: int
    started_at: datetime
    tool: list[str] = field(default_factory=list)
    arguments: list[str] = field(default_factory=list)

    def step(self) -> Step:
        return Step(
            call_id="",
            tool="".join(self.tool),
            turn=self.turn,
            arguments="".join(self.arguments),
            state="writing",
            started_at=self.started_at,
        )


@dataclass(slots=True)
class Exchange:
    """One question to the person, and the answer if there is one."""

    question_id: str
    question: str
    choices: list[str]
    asked_at: datetime
    answer: str | None = None
    source: str | None = None
    waited_seconds: float = 0.0


@dataclass(slots=True)
class RunLog:
    """Where a run stands: the fold of its events.

    Attributes:
        created: The first event, which describes the task.
        steps: The tool calls, in the order they were called.
        exchanges: The conversation with the person.
        error: The final event of a failed or cancelled run.
        asked_seconds: How long the person has taken in all; the time limit does not count it.
    """

    created: ev.RunCreated | None = None
    status: Status = Status.PENDING
    turn: int = 0
    agent: str = ""
    steps: list[Step] = field(default_factory=list)
    exchanges: list[Exchange] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    usage: ev.Usage = field(default_factory=ev.Usage)
    started_at: datetime | None = None
    ended_at: datetime | None = None
    asked_seconds: float = 0.0
    cancel_reason: str | None = None
    retrying: ev.SendFailed | None = None
    result: Any = None
    result_text: str = ""
    error: ev.RunFailed | ev.RunCancelled | None = None
    _by_call: dict[str, Step] = field(default_factory=dict)
    # In pieces, as adding each to the text before it would copy all of it every time.
    _text: list[str] = field(default_factory=list)
    _drafts: dict[int, _Draft] = field(default_factory=dict)

    @classmethod
    def of(cls, events: Iterable[ev.Event]) -> RunLog:
        """Gives the fold of `events`, which begin with a `RunCreated`."""
        log = cls()
        for event in events:
            log.apply(event)
        return log

    @property
    def run_id(self) -> str:
        """The run's id."""
        return self.created.run_id if self.created else ""

    @property
    def task(self) -> str:
        """The task's name."""
        return self.created.task if self.created else ""

    @property
    def text(self) -> str:
        """The text of the current or last reply, as far as it has arrived."""
        return "".join(self._text)

    @property
    def writing(self) -> dict[int, Step]:
        """The tool calls that are being written, by their place in the reply."""
        return {index: draft.step() for index, draft in list(self._drafts.items())}

    @property
    def question(self) -> Exchange | None:
        """The question that waits for an answer, if any."""
        last = self.exchanges[-1] if self.exchanges else None
        return last if last and last.answer is None and not self.status.is_final else None

    @property
    def current_action(self) -> str:
        """What the run is doing, in a few words; empty once it has ended."""
        if self.status is not Status.RUNNING:
            return ""
        if self.cancel_reason is not None:
            return "cancelling…"
        if self.question:
            return "waiting for you"
        if running := [step.tool for step in self.steps if step.state == "running"]:
            return f"calling {', '.join(running[:3])}{' …' if len(running) > 3 else ''}"
        if self.retrying:
            return f"sending again after {self.retrying.error}"
        # The list is made in one step; the loop's thread may change the dictionary meanwhile.
        if drafts := list(self._drafts.values()):
            return f"writing a call of {''.join(drafts[-1].tool) or 'a tool'}"
        return "writing" if self._text else "thinking" if self.turn else "starting"

    def duration_seconds(self, now: datetime) -> float:
        """Seconds from the start to the end, or to `now`; 0 before the start."""
        if self.started_at is None:
            return 0.0
        return ((self.ended_at or now) - self.started_at).total_seconds()

    def apply(self, event: ev.Event) -> None:
        """Takes one more event into account.

        Raises:
            RunStateError: If the run's state does not allow this event.
        """
        if self.status.is_final:
            raise RunStateError(
                f"Run {self.run_id!r} is {self.status}; nothing can follow, so not {event.type!r}."
            )
        handler = _HANDLERS.get(type(event))
        if handler:
            handler(self, event)

    def _move_to(self, status: Status) -> None:
        if status not in _NEXT[self.status]:
            raise RunStateError(f"Run {self.run_id!r} is {self.status} and cannot become {status}.")
        self.status = status


def _created(log: RunLog, event: ev.RunCreated) -> None:
    log.created = event


def _started(log: RunLog, event: ev.RunStarted) -> None:
    log._move_to(Status.RUNNING)
    log.started_at = event.at


def _agent_chosen(log: RunLog, event: ev.AgentChosen) -> None:
    log.agent = event.agent
    log.usage += event.usage


def _turn_started(log: RunLog, event: ev.TurnStarted) -> None:
    log.turn, log.agent = event.turn, event.agent or log.agent
    log._text, log._drafts = [], {}


def _text_streamed(log: RunLog, event: ev.TextStreamed) -> None:
    if event.restarted:
        log._text, log._drafts = [], {}
    if event.text:
        log._text.append(event.text)
    log.retrying = None


def _call_streamed(log: RunLog, event: ev.ToolCallStreamed) -> None:
    draft = log._drafts.setdefault(event.index, _Draft(event.turn, event.at))
    draft.tool.append(event.tool)
    draft.arguments.append(event.arguments)
    log.retrying = None


def _send_failed(log: RunLog, event: ev.SendFailed) -> None:
    log.usage += event.usage
    log.retrying = event if event.retry_in_seconds is not None else None


def _replied(log: RunLog, event: ev.ModelReplied) -> None:
    log._text, log._drafts = [event.text] if event.text else [], {}
    log.retrying = None
    log.usage += event.usage


def _tool_called(log: RunLog, event: ev.ToolCalled) -> None:
    step = Step(event.call_id, event.tool, event.turn, event.arguments, started_at=event.at)
    log.steps.append(step)
    log._by_call[event.call_id] = step


def _tool_returned(log: RunLog, event: ev.ToolReturned) -> None:
    step = log._by_call[event.call_id]
    step.state, step.output, step.duration_seconds = "done", event.output, event.duration_seconds


def _tool_failed(log: RunLog, event: ev.ToolFailed) -> None:
    step = log._by_call.get(event.call_id)
    if step is None:  # refused before it was called: unknown tool, unreadable arguments, a limit
        step = Step(event.call_id, event.tool, event.turn, event.arguments, started_at=event.at)
        log.steps.append(step)
    step.state, step.error, step.duration_seconds = "failed", event.error, event.duration_seconds


def _asked(log: RunLog, event: ev.UserAsked) -> None:
    log.exchanges.append(Exchange(event.question_id, event.question, event.choices, event.at))


def _answered(log: RunLog, event: ev.UserAnswered) -> None:
    exchange = log.exchanges[-1]
    exchange.answer, exchange.source, exchange.waited_seconds = (
        event.answer,
        event.source,
        event.waited_seconds,
    )
    log.asked_seconds += event.waited_seconds


def _notice(log: RunLog, event: ev.NoticeGiven) -> None:
    log.notices.append(event.text)


def _cancel_requested(log: RunLog, event: ev.CancelRequested) -> None:
    log.cancel_reason = event.reason


def _completed(log: RunLog, event: ev.RunCompleted) -> None:
    log._move_to(Status.COMPLETED)
    log.ended_at, log.result, log.result_text = event.at, event.result, event.text


def _failed(log: RunLog, event: ev.RunFailed) -> None:
    log._move_to(Status.FAILED)
    _stop(log, event)


def _cancelled(log: RunLog, event: ev.RunCancelled) -> None:
    log._move_to(Status.CANCELLED)
    _stop(log, event)


def _stop(log: RunLog, event: ev.RunFailed | ev.RunCancelled) -> None:
    log.ended_at, log.error = event.at, event
    log._drafts = {}
    for step in log.steps:
        if step.state == "running":
            step.state, step.error = "failed", "stopped with the run"


_HANDLERS: dict[type, Any] = {
    ev.RunCreated: _created,
    ev.RunStarted: _started,
    ev.AgentChosen: _agent_chosen,
    ev.TurnStarted: _turn_started,
    ev.TextStreamed: _text_streamed,
    ev.ToolCallStreamed: _call_streamed,
    ev.SendFailed: _send_failed,
    ev.ModelReplied: _replied,
    ev.ToolCalled: _tool_called,
    ev.ToolReturned: _tool_returned,
    ev.ToolFailed: _tool_failed,
    ev.UserAsked: _asked,
    ev.UserAnswered: _answered,
    ev.NoticeGiven: _notice,
    ev.CancelRequested: _cancel_requested,
    ev.RunCompleted: _completed,
    ev.RunFailed: _failed,
    ev.RunCancelled: _cancelled,
}
