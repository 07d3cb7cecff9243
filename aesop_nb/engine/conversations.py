"""The conversation of a run, made again from its events, so that another run can go on with it.

Every tool call of it has exactly one result. A turn that was left in the middle keeps apart what is known of
its calls: the next run makes those that were never begun, and tells the model of the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .. import events as ev
from ..errors import UsageError
from ..models.transcript import AssistantMessage, Message, ToolMessage, UserMessage
from ..tools import ArgumentsInvalid, read_arguments
from ..values import model_text
from .answers import TALK_TO_USER, read_question, told_of_answer

if TYPE_CHECKING:
    from ..tools import Tool

UNKNOWN = (
    "Interrupted: the run stopped before this call had a result, and it is not known whether it took effect. "
    "Find out before you call it again."
)
"""What the model is told of a call that was begun and has no result."""

NOT_MADE = "Not made: the run stopped before this call. Call it again if it is still needed."
"""What it is told of a call that was not begun, and is not made without it."""

_GO_ON = "The person wants the task to go on: try again, and another way where one has failed."
_NOT_TAKEN = "Interrupted: the run stopped before this was taken as the result. Hand it in again."
_WITHHELD_IS_GONE = (
    "The person gave it in confidence, and secrets are not kept. Ask again if you still need it."
)
_CUT_SHORT = ("length", "content_filter")
GIVES_UP = "mark_failed"
HANDS_IN = "mark_successful"
FINISHING = frozenset({HANDS_IN, GIVES_UP})
"""The tools that end a run."""


def rejection(reason: str) -> str:
    """What the model is told of a result that is not accepted."""
    return f"That is not accepted as the result: {reason}. Correct it and call {HANDS_IN} again."


def unreadable(tool: str, problem: Exception) -> str:
    """What it is told of a call of one of those tools whose arguments cannot be read."""
    return f"Error: {problem}. Call {tool} again."


@dataclass(frozen=True, kw_only=True)
class OpenTurn:
    """A reply and what is known of its calls.

    Attributes:
        results: What the model is told, by call id.
        begun: The calls that were begun.
        rejections: Why results that were handed in as texts were not accepted; at most one.
    """

    reply: AssistantMessage
    results: Mapping[str, str] = field(default_factory=dict)
    begun: frozenset[str] = frozenset()
    rejections: tuple[str, ...] = ()

    @property
    def unanswered(self) -> list[ev.CallRequest]:
        """The calls without a result."""
        return [call for call in self.reply.tool_calls if call.call_id not in self.results]

    def due(self, tools: Mapping[str, Tool]) -> list[ev.CallRequest]:
        """Gives the calls of ordinary tools that can be made now: never begun, and harmless or approved first."""
        return [
            call
            for call in self.unanswered
            if call.call_id not in self.begun
            and call.tool not in FINISHING
            and _may_be_made(tools.get(call.tool))
        ]

    @property
    def handed_in(self) -> list[ev.CallRequest]:
        """The calls that hand in a result which nobody has looked at."""
        return [call for call in self.unanswered if call.tool == HANDS_IN]

    def messages(self, results: Mapping[str, str] | None = None) -> list[Message]:
        """Gives the turn as messages: the reply, and one result for each of its calls.

        Args:
            results: What the model is told of calls that had no result.
        """
        if not self.reply.tool_calls:
            told = rejection(self.rejections[-1]) if self.rejections else _NOT_TAKEN
            return [self.reply, UserMessage(text=told)]
        known = {**{call.call_id: self._instead_of(call) for call in self.unanswered}, **self.results}
        known.update(results or {})
        return [
            self.reply,
            *(
                ToolMessage(call_id=call.call_id, tool=call.tool, text=known[call.call_id])
                for call in self.reply.tool_calls
            ),
        ]

    def _instead_of(self, call: ev.CallRequest) -> str:
        """What stands in the place of a result that never came."""
        if call.call_id in self.begun:
            return UNKNOWN
        if call.tool not in FINISHING:
            return NOT_MADE
        try:
            read_arguments(call.arguments)
        except ArgumentsInvalid as exc:
            return unreadable(call.tool, exc)
        return _GO_ON if call.tool == GIVES_UP else _NOT_TAKEN


def _may_be_made(tool: Tool | None) -> bool:
    return tool is None or tool.requires_approval or not tool.side_effects


@dataclass(frozen=True, kw_only=True)
class Conversation:
    """What was said between the task and the model.

    Attributes:
        run_id: The run it comes from, if it was begun by another one.
        messages: All turns that are whole; without the system message, which belongs to the agent of each turn.
        turn: The number of the latest turn.
        agent: The name of the agent whose turn it was.
        call_ids: The ids of all calls so far.
        left: The turn that was left in the middle, if any.
        is_rehearsal: Whether a rehearsal made some of the replies.
        reuse_parts: What the task was when it began, part → sha256; empty where that is not known.
    """

    run_id: str = ""
    messages: tuple[Message, ...] = ()
    turn: int = 0
    agent: str = ""
    call_ids: frozenset[str] = frozenset()
    left: OpenTurn | None = None
    is_rehearsal: bool = False
    reuse_parts: Mapping[str, str] = field(default_factory=dict)

    def refuse_mixing(self, *, is_rehearsal: bool) -> None:
        """A language model must not go on with what a rehearsal made up.

        Raises:
            UsageError: If it would.
        """
        if self.is_rehearsal and not is_rehearsal:
            raise UsageError(
                f"Run {self.run_id!r} was a rehearsal, and what it holds is made up. "
                "Start the task anew: task.run()."
            )


def conversation_of(events: Iterable[ev.Event]) -> Conversation:
    """Gives the conversation of a run.

    Args:
        events: All that happened in it; of one that went on with others, what happened in those first.
    """
    fold = _Fold()
    for event in events:
        fold.apply(event)
    return fold.conversation()


class _Fold:
    """Reads events one after the other."""

    def __init__(self) -> None:
        self._run_id, self._is_rehearsal = "", False
        self._reuse_parts: dict[str, str] = {}
        self._messages: list[Message] = []
        self._turn, self._agent = 0, ""
        self._call_ids: set[str] = set()
        self._reply: AssistantMessage | None = None
        self._results: dict[str, str] = {}
        self._begun: set[str] = set()
        self._rejections: list[str] = []
        self._questions: dict[str, tuple[str, ev.UserAsked]] = {}

    def conversation(self) -> Conversation:
        return Conversation(
            run_id=self._run_id,
            messages=tuple(self._messages),
            turn=self._turn,
            agent=self._agent,
            call_ids=frozenset(self._call_ids),
            left=self._open_turn(),
            is_rehearsal=self._is_rehearsal,
            reuse_parts=self._reuse_parts,
        )

    def apply(self, event: ev.Event) -> None:
        match event:
            case ev.RunCreated():
                self._run_id = event.run_id
                self._is_rehearsal |= event.is_rehearsal
                self._reuse_parts = self._reuse_parts or event.reuse_parts
            case ev.RunStarted() if event.first_message:
                self._messages = [UserMessage(text=event.first_message)]
                self._reuse_parts = event.reuse_parts or self._reuse_parts
            case ev.TurnStarted():
                if event.turn != self._turn:
                    self._close()
                self._turn, self._agent = event.turn, event.agent
            case ev.ModelReplied() if event.finish_reason not in _CUT_SHORT:
                self._take_reply(event)
            case ev.ToolCalled():
                self._begun.add(event.call_id)
            case ev.ToolReturned():
                self._results[event.call_id] = model_text(event.output)
            case ev.ToolFailed():
                self._results[event.call_id] = f"Error: {model_text(event.error)}"
            case ev.UserAsked():
                self._take_question(event)
            case ev.UserAnswered():
                self._take_answer(event)
            case ev.ResultRejected():
                self._take_rejection(event)
            case ev.TurnEnded():
                self._close()

    def _take_reply(self, event: ev.ModelReplied) -> None:
        self._close()
        calls = tuple(event.tool_calls)
        self._call_ids.update(call.call_id for call in calls)
        self._reply = AssistantMessage(
            text=event.text, tool_calls=calls, wire=event.wire, opaque=tuple(event.opaque)
        )

    def _take_question(self, event: ev.UserAsked) -> None:
        """Finds the call that asks it: questions are asked one at a time, in the order of the calls."""
        waiting = [
            call
            for call in self._calls()
            if call.tool == TALK_TO_USER.name and call.call_id not in self._results
        ]
        same = [call for call in waiting if _asks(call) == event.question]
        if waiting:
            self._questions[event.question_id] = ((same or waiting)[0].call_id, event)

    def _take_answer(self, event: ev.UserAnswered) -> None:
        if event.question_id in self._questions:
            call_id, asked = self._questions.pop(event.question_id)
            is_secret = asked.kind == "secret" and not event.is_skipped
            self._results[call_id] = (
                _WITHHELD_IS_GONE
                if is_secret
                else told_of_answer(event.answer, event.source, is_skipped=event.is_skipped)
            )

    def _take_rejection(self, event: ev.ResultRejected) -> None:
        handed_in = [call for call in self._calls() if call.tool == HANDS_IN]
        same = (
            call for call in handed_in if call.arguments == event.raw and call.call_id not in self._results
        )
        call = next(same, None)
        if call is not None:
            self._results[call.call_id] = rejection(event.reason)
        else:
            self._rejections.append(event.reason)

    def _calls(self) -> Sequence[ev.CallRequest]:
        return self._reply.tool_calls if self._reply else ()

    def _open_turn(self) -> OpenTurn | None:
        if self._reply is None:
            return None
        return OpenTurn(
            reply=self._reply,
            results=dict(self._results),
            begun=frozenset(self._begun),
            rejections=tuple(self._rejections),
        )

    def _close(self) -> None:
        turn = self._open_turn()
        if turn is not None:
            self._messages += turn.messages()
        self._reply = None
        self._results, self._begun, self._rejections, self._questions = {}, set(), [], {}


def _asks(call: ev.CallRequest) -> str | None:
    try:
        return read_question(read_arguments(call.arguments)).question
    except (ArgumentsInvalid, ValueError):
        return None
