"""What can happen in a run: the one source of truth that views, frames and the store read.

An event is a fact, in the past tense, and never changes. Parallel tool calls interleave, so readers pair
`ToolCalled` with `ToolReturned` or `ToolFailed` by `call_id`. A run with one tool call is, in order:

    RunCreated  RunStarted
      TurnStarted  (TextStreamed | ToolCallStreamed)*  ModelReplied  ToolCalled  ToolReturned  TurnEnded
      TurnStarted  (TextStreamed | ToolCallStreamed)*  ModelReplied  TurnEnded
    RunCompleted | RunFailed | RunCancelled

A result that is taken over from an earlier run has no turns: `RunCreated RunStarted ResultReused RunCompleted`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

EVENTS_VERSION = 1
"""The version of this vocabulary; written into every `RunCreated`."""


class _Event(BaseModel):
    """What all events carry.

    Attributes:
        run_id: The run it happened in; the run's log writes it.
        number: Position in the run, from 0 without gaps; the run's log writes it.
        at: When it happened, in UTC.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    run_id: str = ""
    number: int = -1
    at: datetime = Field(default_factory=lambda: datetime.now(UTC))


class CallRequest(BaseModel):
    """A tool call as the model asked for it; `arguments` is the raw JSON text."""

    model_config = ConfigDict(frozen=True)

    call_id: str
    tool: str
    arguments: str


class Usage(BaseModel):
    """What was sent and spent; sums are made with `+`.

    Attributes:
        requests: Requests sent to the model's service, failed ones included.
        input_tokens: Tokens read by the model.
        output_tokens: Tokens written by the model.
        cached_tokens: Those of `input_tokens` that came from the service's cache.
        cost_usd: US dollars, or `None` where the price is unknown.
    """

    model_config = ConfigDict(frozen=True)

    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cost_usd: float | None = None

    @property
    def total_tokens(self) -> int:
        """Input and output together."""
        return self.input_tokens + self.output_tokens

    def __add__(self, other: Usage) -> Usage:
        """The sum; its cost is known if that of every part is that counts tokens.

        A request that failed counts none: services do not bill what they did not answer.
        """
        parts = [part for part in (self, other) if part.total_tokens or part.cost_usd is not None]
        costs = [part.cost_usd for part in parts if part.cost_usd is not None]
        return Usage(
            requests=self.requests + other.requests,
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            cached_tokens=self.cached_tokens + other.cached_tokens,
            cost_usd=sum(costs) if costs and len(costs) == len(parts) else None,
        )


class RunCreated(_Event):
    """A run of a task was made; it is pending.

    Attributes:
        task: The task's name.
        inputs: The context as shown to a person: name → short text.
        result_type: The result type as text.
        limits: The limits that were set, by field of `TaskConfig`.
        parent_run_id: The run whose tool started this one, or `None`.
        resumed_run_id: The run whose conversation this one goes on with, or `None`.
        notebook: The notebook or script it was started from, as far as that is known.
        reuse_parts: What the result depends on, part → sha256, empty where nothing could be reused.
    """

    type: Literal["run_created"] = "run_created"
    version: int = EVENTS_VERSION
    task: str
    objective: str
    instructions: str = ""
    inputs: dict[str, str] = {}
    result_type: str = "str"
    model: str = ""
    is_rehearsal: bool = False
    agents: list[str] = []
    tools: list[str] = []
    limits: dict[str, Any] = {}
    parent_run_id: str | None = None
    resumed_run_id: str | None = None
    notebook: str = ""
    reuse_parts: dict[str, str] = {}


class RunStarted(_Event):
    """The engine took the run up.

    Attributes:
        reuse_parts: As in `RunCreated`, where they could only be told once tasks before this one had results.
        first_message: The task with its inputs as the model reads it; empty in a run that goes on with another.
    """

    type: Literal["run_started"] = "run_started"
    first_message: str = ""
    reuse_parts: dict[str, str] = {}


class AgentChosen(_Event):
    """An agent was given the next turn; `reason` says by which policy."""

    type: Literal["agent_chosen"] = "agent_chosen"
    agent: str
    reason: str
    usage: Usage = Usage()


class TurnStarted(_Event):
    """The model was asked for its next reply; turns count from 1.

    A run that goes on with another counts on. Where that one stopped in the middle of a turn, the first turn of
    this one has the same number and no reply: the calls that were left over are made.
    """

    type: Literal["turn_started"] = "turn_started"
    turn: int
    agent: str = ""
    model: str = ""


class TextStreamed(_Event):
    """A piece of the reply's text arrived; `restarted` drops the pieces of this turn before it."""

    type: Literal["text_streamed"] = "text_streamed"
    turn: int
    text: str
    restarted: bool = False


class ToolCallStreamed(_Event):
    """A piece of a tool call arrived; `index` tells the calls of one turn apart."""

    type: Literal["tool_call_streamed"] = "tool_call_streamed"
    turn: int
    index: int
    tool: str = ""
    arguments: str = ""


class SendFailed(_Event):
    """A request to the model's service failed; it is sent again after `retry_in_seconds`, unless `None`."""

    type: Literal["send_failed"] = "send_failed"
    turn: int
    attempt: int
    error: str
    message: str
    retry_in_seconds: float | None = None
    usage: Usage = Usage(requests=1)


class ModelReplied(_Event):
    """The whole reply of a turn.

    Attributes:
        wire: Which wire `opaque` belongs to.
        opaque: Parts that only the service understands (encrypted reasoning); it gets them back as they came.
    """

    type: Literal["model_replied"] = "model_replied"
    turn: int
    text: str = ""
    tool_calls: list[CallRequest] = []
    wire: str = ""
    opaque: list[dict[str, Any]] = []
    model: str = ""
    finish_reason: str = ""
    usage: Usage = Usage()
    duration_seconds: float = 0.0


class ToolCalled(_Event):
    """A tool was called with arguments that fit it."""

    type: Literal["tool_called"] = "tool_called"
    turn: int
    call_id: str
    tool: str
    arguments: dict[str, Any]


class ToolReturned(_Event):
    """A tool call gave `output`; the model reads it cut to `values.MAX_MODEL_CHARACTERS`."""

    type: Literal["tool_returned"] = "tool_returned"
    call_id: str
    tool: str
    output: str
    duration_seconds: float


class ToolFailed(_Event):
    """A tool call raised, timed out, or was refused; `error` is what the model was told."""

    type: Literal["tool_failed"] = "tool_failed"
    turn: int
    call_id: str
    tool: str
    arguments: str = ""
    error: str
    duration_seconds: float = 0.0


AnswerKind: TypeAlias = Literal["text", "yes_no", "int", "float", "date", "secret"]
"""What an answer must be; it is checked before it is taken."""


class UserAsked(_Event):
    """The agent asked the person.

    Attributes:
        question_id: Names the question within the run.
        choices: The answers to choose from; empty for a free answer.
        kind: What the answer must be.
        default: What is answered for a person who does not, or `None`.
        time_limit_seconds: How long the person has; then the default is taken, or the question is skipped.
        is_optional: Whether the agent can do without an answer; a free text may be skipped in any case.
    """

    type: Literal["user_asked"] = "user_asked"
    question_id: str
    question: str
    choices: list[str] = []
    kind: AnswerKind = "text"
    default: str | None = None
    time_limit_seconds: float | None = None
    is_optional: bool = False


class UserAnswered(_Event):
    """The question was answered, or passed over.

    Attributes:
        answer: What was said; empty for a secret, which no event holds, and for a question that was skipped.
        source: Where from: `given` beforehand, the question's or the task's `default`, `widget`, `terminal`,
            a `call` of `answer()`, or the `time_limit` that was reached; `nobody` was there for an optional one.
        is_skipped: Whether the person did not want to answer, or did not in time and there was no default.
        waited_seconds: How long the person took; the time limit does not count it.
    """

    type: Literal["user_answered"] = "user_answered"
    question_id: str
    answer: str
    source: str
    is_skipped: bool = False
    waited_seconds: float = 0.0


class ApprovalAsked(_Event):
    """A tool that needs it waits for the person's yes; a decision holds for this call and these arguments.

    Attributes:
        arguments: All arguments of the call, as the tool will get them.
        time_limit_seconds: How long the person has; then the call is denied.
    """

    type: Literal["approval_asked"] = "approval_asked"
    call_id: str
    tool: str
    arguments: dict[str, Any]
    time_limit_seconds: float | None = None


class ApprovalDecided(_Event):
    """The person approved or denied a call, or nobody was there, which denies it.

    Attributes:
        source: `widget`, `terminal`, a `call` of `approve()` or `deny()`, `given` by the task's `approve`,
            `earlier` for the whole run, the `time_limit` that was reached, or `nobody`, who was there.
        reason: Why it was denied, if the person said so; the model is told.
        waited_seconds: How long the person took; the time limit does not count it.
    """

    type: Literal["approval_decided"] = "approval_decided"
    call_id: str
    approved: bool
    source: str
    reason: str = ""
    waited_seconds: float = 0.0


class ResultRejected(_Event):
    """What the model handed in as the result does not fit; it was told `reason`."""

    type: Literal["result_rejected"] = "result_rejected"
    turn: int
    reason: str
    raw: str


class TurnEnded(_Event):
    """The reply of a turn and all its tool calls are done."""

    type: Literal["turn_ended"] = "turn_ended"
    turn: int


class PageFetched(_Event):
    """A server was asked for a web page, or for what a search found; each redirect is an event of its own.

    Attributes:
        url: Where it stands.
        status: What the server answered, or `None` if nothing came.
        bytes: How large the page is, unpacked.
        seconds: How long it took, without waiting for its turn at the host.
        title: Its title, or what was searched for.
        error: Why it was not read; empty if it was.
    """

    type: Literal["page_fetched"] = "page_fetched"
    url: str
    status: int | None = None
    bytes: int = 0
    seconds: float = 0.0
    title: str = ""
    error: str = ""


class NoticeGiven(_Event):
    """Something the person should know and need not act on."""

    type: Literal["notice_given"] = "notice_given"
    text: str


class ResultReused(_Event):
    """A completed run with the same key was found; its result is given and no model is asked."""

    type: Literal["result_reused"] = "result_reused"
    source_run_id: str


class RowsEnded(_Event):
    """Rows of a map have ended since the event before this one; rows have no events among those of the map.

    Attributes:
        completed: How many have a result.
        reused: Those of them whose result was in the store.
        failed: How many failed.
        usage: What they sent and spent.
    """

    type: Literal["rows_ended"] = "rows_ended"
    completed: int = 0
    reused: int = 0
    failed: int = 0
    usage: Usage = Usage()


class CancelRequested(_Event):
    """Somebody asked the run to stop."""

    type: Literal["cancel_requested"] = "cancel_requested"
    reason: str


class RunCompleted(_Event):
    """The run has a result; `result` is its JSON form and `text` what a person reads.

    Attributes:
        is_restorable: Whether the result can be made again from its JSON form; a validator may give what
            cannot.
    """

    type: Literal["run_completed"] = "run_completed"
    result: Any = None
    text: str = ""
    is_restorable: bool = True


class RunFailed(_Event):
    """The run ended without a result.

    Attributes:
        error: The class of the error, for example `LimitExceeded`.
        limit: The field of `TaskConfig` whose limit was reached, or `None`.
        pending_tools: Synchronous tools that could not be stopped and were left behind.
    """

    type: Literal["run_failed"] = "run_failed"
    error: str
    message: str
    limit: str | None = None
    pending_tools: list[str] = []


class RunCancelled(_Event):
    """The run was stopped before it had a result."""

    type: Literal["run_cancelled"] = "run_cancelled"
    reason: str
    pending_tools: list[str] = []


Event: TypeAlias = Annotated[
    RunCreated
    | RunStarted
    | AgentChosen
    | TurnStarted
    | TextStreamed
    | ToolCallStreamed
    | SendFailed
    | ModelReplied
    | ToolCalled
    | ToolReturned
    | ToolFailed
    | UserAsked
    | UserAnswered
    | ApprovalAsked
    | ApprovalDecided
    | ResultReused
    | ResultRejected
    | TurnEnded
    | PageFetched
    | NoticeGiven
    | RowsEnded
    | CancelRequested
    | RunCompleted
    | RunFailed
    | RunCancelled,
    Field(discriminator="type"),
]
"""Any event; told apart by `type`."""


@cache
def _adapter() -> TypeAdapter[Event]:
    return TypeAdapter(Event)


def event_from_json(text: str | bytes) -> Event:
    """Reads one event back from what `event.model_dump_json()` gave.

    Raises:
        pydantic.ValidationError: If it is not an event of this version.
    """
    return _adapter().validate_json(text)
