"""Where a run stands, computed from its events and from nothing else."""

from __future__ import annotations

import enum
import json
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


STOPPED = "stopped with the run"
"""The error of a step that had not ended when its run did."""

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
    """One question to the person, and the answer if there is one.

    Attributes:
        answer: `None` until there is one; empty for a secret and for a question that was skipped.
    """

    question_id: str
    question: str
    choices: list[str]
    asked_at: datetime
    answer: str | None = None
    source: str | None = None
    waited_seconds: float = 0.0
    kind: ev.AnswerKind = "text"
    default: str | None = None
    time_limit_seconds: float | None = None
    is_optional: bool = False
    is_skipped: bool = False

    @property
    def name(self) -> str:
        """Names it within the run."""
        return self.question_id

    @property
    def words(self) -> str:
        """What is asked."""
        return self.question

    @property
    def said(self) -> str | None:
        """The answer as it may be shown, `None` until there is one."""
        if self.is_skipped:
            return "(skipped)"
        return (
            "(a secret, kept nowhere)" if self.kind == "secret" and self.answer is not None else self.answer
        )

    @property
    def otherwise(self) -> str:
        """What comes of it when the time is over, in words."""
        return f"“{self.default}”" if self.default is not None else "skipped"


@dataclass(slots=True)
class Approval:
    """One call of a tool that needs the person's yes, and what was decided.

    Attributes:
        arguments: All arguments of the call.
        approved: `None` until it is decided.
        reason: Why it was denied, if the person said so.
    """

    call_id: str
    tool: str
    arguments: dict[str, Any]
    asked_at: datetime
    time_limit_seconds: float | None = None
    approved: bool | None = None
    source: str | None = None
    reason: str = ""
    waited_seconds: float = 0.0

    @property
    def name(self) -> str:
        """Names it within the run."""
        return self.call_id

    @property
    def words(self) -> str:
        """What is asked."""
        return f"May {self.tool} be called? {json.dumps(self.arguments, ensure_ascii=False, default=str)}"

    @property
    def otherwise(self) -> str:
        """What comes of it when the time is over, in words."""
        return "denied"


@dataclass(slots=True)
class RunLog:
    """Where a run stands: the fold of its events.

    Attributes:
        created: The first event, which describes the task.
        steps: The tool calls, in the order they were called.
        exchanges: The conversation with the person.
        approvals: The calls that needed the person's yes.
        pages: The web pages that were fetched, in the order they came.
        error: The final event of a failed or cancelled run.
        asked_seconds: How long the person has taken in all; the time limit does not count it.
        reused_from: The run whose result was taken over, or `None`.
    """

    created: ev.RunCreated | None = None
    status: Status = Status.PENDING
    turn: int = 0
    agent: str = ""
    steps: list[Step] = field(default_factory=list)
    exchanges: list[Exchange] = field(default_factory=list)
    approvals: list[Approval] = field(default_factory=list)
    pages: list[ev.PageFetched] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    usage: ev.Usage = field(default_factory=ev.Usage)
    started_at: datetime | None = None
    ended_at: datetime | None = None
    asked_seconds: float = 0.0
    cancel_reason: str | None = None
    reused_from: str | None = None
    retrying: ev.SendFailed | None = None
    result: Any = None
    result_text: str = ""
    error: ev.RunFailed | ev.RunCancelled | None = None
    _first_turn: int = 0
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
    def turns(self) -> int:
        """How many turns have begun; `turn` may count on from a run that this one goes on with."""
        return self.turn - self._first_turn + 1 if self.turn else 0

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
    def approval(self) -> Approval | None:
        """The call that waits for the person's yes, if any."""
        if self.status.is_final:
            return None
        return next((approval for approval in self.approvals[::-1] if approval.approved is None), None)

    @property
    def waiting_for(self) -> Exchange | Approval | None:
        """What waits for the person: the open question or call; never two at a time."""
        return self.question or self.approval

    @property
    def current_action(self) -> str:
        """What the run is doing, in a few words; empty once it has ended."""
        if self.status is not Status.RUNNING:
            return ""
        if self.cancel_reason is not None:
            return "cancelling…"
        if self.waiting_for:
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
    log._first_turn = log._first_turn or event.turn
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


def _rows_ended(log: RunLog, event: ev.RowsEnded) -> None:
    log.usage += event.usage


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
    log.exchanges.append(
        Exchange(
            event.question_id,
            event.question,
            event.choices,
            event.at,
            kind=event.kind,
            default=event.default,
            time_limit_seconds=event.time_limit_seconds,
            is_optional=event.is_optional,
        )
    )


def _answered(log: RunLog, event: ev.UserAnswered) -> None:
    exchange = log.exchanges[-1]
    exchange.answer, exchange.source, exchange.waited_seconds = (
        event.answer,
        event.source,
        event.waited_seconds,
    )
    exchange.is_skipped = event.is_skipped
    log.asked_seconds += event.waited_seconds


def _approval_asked(log: RunLog, event: ev.ApprovalAsked) -> None:
    log.approvals.append(
        Approval(event.call_id, event.tool, event.arguments, event.at, event.time_limit_seconds)
    )


def _approval_decided(log: RunLog, event: ev.ApprovalDecided) -> None:
    waiting = [one for one in log.approvals if one.call_id == event.call_id and one.approved is None]
    for approval in waiting:
        approval.approved, approval.source, approval.reason = event.approved, event.source, event.reason
        approval.waited_seconds = event.waited_seconds
    log.asked_seconds += event.waited_seconds


def _page_fetched(log: RunLog, event: ev.PageFetched) -> None:
    log.pages.append(event)


def _notice(log: RunLog, event: ev.NoticeGiven) -> None:
    log.notices.append(event.text)


def _reused(log: RunLog, event: ev.ResultReused) -> None:
    log.reused_from = event.source_run_id


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
            step.state, step.error = "failed", STOPPED


_HANDLERS: dict[type, Any] = {
    ev.RunCreated: _created,
    ev.RunStarted: _started,
    ev.AgentChosen: _agent_chosen,
    ev.TurnStarted: _turn_started,
    ev.TextStreamed: _text_streamed,
    ev.ToolCallStreamed: _call_streamed,
    ev.SendFailed: _send_failed,
    ev.ModelReplied: _replied,
    ev.RowsEnded: _rows_ended,
    ev.ToolCalled: _tool_called,
    ev.ToolReturned: _tool_returned,
    ev.ToolFailed: _tool_failed,
    ev.UserAsked: _asked,
    ev.UserAnswered: _answered,
    ev.ApprovalAsked: _approval_asked,
    ev.ApprovalDecided: _approval_decided,
    ev.PageFetched: _page_fetched,
    ev.NoticeGiven: _notice,
    ev.ResultReused: _reused,
    ev.CancelRequested: _cancel_requested,
    ev.RunCompleted: _completed,
    ev.RunFailed: _failed,
    ev.RunCancelled: _cancelled,
}
