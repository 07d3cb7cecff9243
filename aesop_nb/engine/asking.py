"""Asking the person: one thing at a time, answered beforehand, by a widget, a terminal or a call."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeAlias, TypeVar

from .. import background
from .. import events as ev
from ..errors import NeedsHuman, UsageError
from ..fingerprints import fingerprint, fingerprint_of_code
from ..texts import visible
from ..values import json_value
from . import terminals
from .answers import AnswerMismatch, Question, told_of_answer
from .approving import Decision

if TYPE_CHECKING:
    from ..tools import Tool
    from .approving import Approvals
    from .recorders import Recorder

T = TypeVar("T")

Audience: TypeAlias = Literal["widget", "terminal", "nobody"]
"""How a person can be asked: a form that calls `answer()`, `input()`, or not at all."""

AnswersGiven: TypeAlias = str | Sequence[str] | Mapping[str, str] | Callable[[str], str | None]
"""Answers given beforehand: in order, by words of the question, or by a function; `None` passes it on."""

audience_finders: list[Callable[[], Audience | None]] = []
"""Asked in turn, in the thread that starts a run, before the terminal is looked for."""


def find_audience() -> Audience:
    """Says how a person can be asked from the calling thread."""
    for finder in audience_finders:
        found = finder()
        if found is not None:
            return found
    import sys

    try:
        return "terminal" if sys.stdin is not None and sys.stdin.isatty() else "nobody"
    except ValueError:  # stdin was closed
        return "nobody"


class GivenAnswers:
    """Answers given beforehand; each one of a list is used once."""

    def __init__(self, answers: AnswersGiven | None) -> None:
        self._function: Callable[[str], str | None] | None = None
        self._by_words: dict[str, str] = {}
        self._in_order: tuple[str, ...] = ()
        self._used = 0
        if answers is None:
            return
        if callable(answers):
            self._function = answers
        elif isinstance(answers, Mapping):
            self._by_words = {str(words).casefold(): str(answer) for words, answer in answers.items()}
        elif isinstance(answers, str):
            self._in_order = (answers,)
        elif isinstance(answers, Iterable):
            self._in_order = tuple(str(answer) for answer in answers)
        else:
            raise UsageError(f"answers must be a text, a list, a dict or a function, not {answers!r}.")

    def fresh(self) -> GivenAnswers:
        """The same answers, none of them used."""
        return copy.copy(self)

    def for_going_on(self) -> GivenAnswers:
        """The same without those of a list, which the questions so far have used."""
        left = self.fresh()
        left._in_order = ()
        return left

    def fingerprint(self) -> str:
        """Tells them from other answers; of a function its code counts."""
        if not (self._function or self._by_words or self._in_order):
            return ""
        code = fingerprint_of_code(self._function) if self._function else ""
        return fingerprint([code, self._by_words, self._in_order])

    async def find(self, question: str) -> str | None:
        """Gives the answer to `question`, or `None` if there is none."""
        if self._function:
            function = self._function
            answer = await background.call_in_thread(lambda: function(question), "answers")
            return None if answer is None else str(answer)
        folded = question.casefold()
        for words, answer in self._by_words.items():
            if words in folded:
                return answer
        self._used += 1
        return self._in_order[self._used - 1] if self._used <= len(self._in_order) else None


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What came of a question; its text stays out of tracebacks, for it may be a secret."""

    text: str = field(default="", repr=False)
    source: str
    is_skipped: bool = False


@dataclass(frozen=True, kw_only=True)
class _Open(Generic[T]):
    """What waits for the person: a question, or a call if there is none, and where what they say goes."""

    name: str
    question: Question | None = None
    said: asyncio.Future[T]


class Interview:
    """What one run asks the person: questions, and approvals of calls. Lives on the loop's thread."""

    def __init__(
        self,
        *,
        given: GivenAnswers,
        approvals: Approvals,
        default: str | None,
        audience: Audience,
        recorder: Recorder,
    ) -> None:
        self._given = given
        self._approvals = approvals
        self._default = default
        self._audience = audience
        self._clocks = recorder.clocks
        self._add = recorder.add
        self._withheld = recorder.withheld
        self._one_at_a_time = asyncio.Lock()
        self._asked = 0
        self._open: _Open[Any] | None = None

    @contextlib.contextmanager
    def _opening(self, opened: _Open[Any]) -> Iterator[None]:
        """Lets `opened` be answered in the block; the clocks of the run and of those around it stand still.

        A person may take as long as it takes.
        """
        self._open = opened  # before anybody hears of it
        try:
            with contextlib.ExitStack() as stack:
                for clock in self._clocks():
                    stack.enter_context(clock.stopped())
                yield
        finally:
            self._open = None

    async def _within(
        self,
        seconds: float | None,
        said: asyncio.Future[T],
        answers: Coroutine[Any, Any, T],
        late: Callable[[], T],
    ) -> T:
        """Gives what `answers` gives, or `late()` when the time is over."""
        timer = asyncio.timeout(seconds)
        try:
            async with timer:
                return await answers
        except TimeoutError:
            if not timer.expired():
                raise
            return late() if not said.done() or said.cancelled() else said.result()

    # Questions ---------------------------------------------------------------------------------------

    async def ask(self, question: Question) -> str:
        """Gives what the model is told of the person's answer.

        Raises:
            NeedsHuman: If nobody is there to answer, or what was given beforehand does not fit.
        """
        async with self._one_at_a_time:
            self._asked += 1
            opened = _Open[Answer](
                name=f"q{self._asked}", question=question, said=asyncio.get_running_loop().create_future()
            )
            with self._opening(opened):
                self._add(_asked(opened.name, question))
                begun = time.monotonic()
                answer = await self._within(
                    question.time_limit_seconds,
                    opened.said,
                    self._answer(question, opened.said),
                    lambda: _too_late(question),
                )
                is_secret = question.kind == "secret" and not answer.is_skipped
                # Kept before anything is written down: from here on no event can hold it.
                told = _secret_told(self._withheld.keep(answer.text)) if is_secret else _told(answer)
                self._add(
                    ev.UserAnswered(
                        question_id=opened.name,
                        answer="" if is_secret else answer.text,
                        source=answer.source,
                        is_skipped=answer.is_skipped,
                        waited_seconds=time.monotonic() - begun,
                    )
                )
            return told

    def answer(self, text: str, source: str, question_id: str | None = None) -> bool:
        """Answers the open question; `False` if there is none, or another one than `question_id`.

        Raises:
            UsageError: If the answer is not what is expected; the question stays open.
        """
        opened = self._open_for(question_id)
        if opened is None or opened.question is None:
            return False
        try:
            text = opened.question.checked(text)
        except AnswerMismatch as exc:
            raise UsageError(f"The answer was not taken: {exc}. The question stays open.") from None
        opened.said.set_result(Answer(text=text, source=source))
        return True

    def skip(self, source: str, question_id: str | None = None) -> bool:
        """Passes the open question over; `False` like `answer`.

        Raises:
            UsageError: If the agent needs an answer to it.
        """
        opened = self._open_for(question_id)
        if opened is None or opened.question is None:
            return False
        if not opened.question.can_be_skipped:
            raise UsageError("This question cannot be skipped; the agent needs an answer to it.")
        opened.said.set_result(Answer(source=source, is_skipped=True))
        return True

    def _open_for(self, name: str | None) -> _Open[Any] | None:
        opened = self._open
        return opened if opened and name in (None, opened.name) and not opened.said.done() else None

    async def _answer(self, question: Question, said: asyncio.Future[Answer]) -> Answer:
        given = await self._given.find(question.question)
        if said.done():
            return said.result()
        if given is not None:
            return Answer(text=_fitting(question, given, "The answer given beforehand"), source="given")
        if self._audience == "nobody":
            return self._answer_of_nobody(question)
        if self._audience == "terminal":
            return await self._at_terminal(said, lambda: _ask_terminal(question), question.question)
        return await said

    def _answer_of_nobody(self, question: Question) -> Answer:
        if self._default is not None:
            return Answer(
                text=_fitting(question, self._default, "The task's default_answer"), source="default"
            )
        if question.default is not None:
            return Answer(text=question.default, source="default")
        if question.is_optional:
            return Answer(source="nobody", is_skipped=True)
        raise NeedsHuman(
            f"The task asks: {visible(question.question)!r} and nobody is there to answer. Give answers "
            "beforehand (answers=[…], --answer, or a default_answer), or run it where a person can be asked; "
            "run.resume(answers=[…]) goes on from here.",
            question=question.question,
        )

    # Approvals ---------------------------------------------------------------------------------------

    async def approve(self, tool: Tool, call_id: str, arguments: Mapping[str, Any]) -> Decision:
        """Gives what is decided about this one call; where nobody is there, it is denied.

        Args:
            tool: The tool that would be called.
            call_id: Names the call.
            arguments: What is shown of its arguments; nothing of it is handed to the tool.
        """
        decided = await self._approvals.find(tool, arguments)
        if decided is None and self._audience == "nobody":
            decided = Decision(approved=False, source="nobody")
        if decided is not None:
            self._add(_approval_asked(tool, call_id, arguments))
            self._add(_approval_decided(call_id, decided))
            return decided
        async with self._one_at_a_time:
            return await self._ask_approval(tool, call_id, arguments)

    async def _ask_approval(self, tool: Tool, call_id: str, arguments: Mapping[str, Any]) -> Decision:
        opened = _Open[Decision](name=call_id, said=asyncio.get_running_loop().create_future())
        with self._opening(opened):
            self._add(_approval_asked(tool, call_id, arguments))
            begun = time.monotonic()
            decision = self._approvals.find_for_run(tool)  # said of another call while this one waited
            if decision is None:
                decision = await self._within(
                    tool.approval_timeout_seconds,
                    opened.said,
                    self._decision(tool, arguments, opened.said),
                    lambda: Decision(approved=False, source="time_limit"),
                )
            if decision.approved and decision.is_for_run:
                self._approvals.approve_for_run(tool)
            self._add(_approval_decided(call_id, decision, time.monotonic() - begun))
        return decision

    def decide(self, decision: Decision, call_id: str | None = None) -> bool:
        """Decides about the call that waits; `False` if there is none, or another one than `call_id`."""
        opened = self._open_for(call_id)
        if opened is None or opened.question is not None:
            return False
        opened.said.set_result(decision)
        return True

    async def _decision(
        self, tool: Tool, arguments: Mapping[str, Any], said: asyncio.Future[Decision]
    ) -> Decision:
        if self._audience != "terminal":
            return await said
        try:
            return await self._at_terminal(said, lambda: terminals.decide(tool.name, arguments), tool.name)
        except NeedsHuman:
            return Decision(approved=False, source="nobody")

    async def _at_terminal(
        self, said: asyncio.Future[T], ask: Callable[[], Coroutine[Any, Any, T]], question: str
    ) -> T:
        """Gives what is typed in the terminal, or said elsewhere if that is quicker."""
        typed = asyncio.ensure_future(ask())
        waited_for: set[asyncio.Future[Any]] = {typed, said}
        try:
            await asyncio.wait(waited_for, return_when=asyncio.FIRST_COMPLETED)
            return said.result() if said.done() else typed.result()
        except EOFError:
            raise NeedsHuman(
                f"The task asks: {visible(question)!r} and the terminal was closed.", question=question
            ) from None
        finally:
            typed.cancel()


def _fitting(question: Question, answer: str, what: str) -> str:
    try:
        return question.checked(answer)
    except AnswerMismatch as exc:
        raise NeedsHuman(
            f"{what} does not fit the question {visible(question.question)!r}: {visible(str(exc))}.",
            question=question.question,
        ) from None


async def _ask_terminal(question: Question) -> Answer:
    text = await terminals.ask(question)
    return (
        Answer(source="terminal", is_skipped=True) if text is None else Answer(text=text, source="terminal")
    )


def _too_late(question: Question) -> Answer:
    if question.default is not None:
        return Answer(text=question.default, source="default")
    return Answer(source="time_limit", is_skipped=True)


def _told(answer: Answer) -> str:
    return told_of_answer(answer.text, answer.source, is_skipped=answer.is_skipped)


def _secret_told(stand_in: str) -> str:
    return (
        f"The person gave it in confidence; its stand-in is {stand_in}. Write the stand-in into the arguments of "
        "the tool that needs it: the tool gets the value, which you do not see."
    )


def _asked(question_id: str, question: Question) -> ev.UserAsked:
    return ev.UserAsked(question_id=question_id, **{**vars(question), "choices": list(question.choices)})


def _approval_asked(tool: Tool, call_id: str, arguments: Mapping[str, Any]) -> ev.ApprovalAsked:
    return ev.ApprovalAsked(
        call_id=call_id,
        tool=tool.name,
        arguments=json_value(arguments),  # a copy: who listens to events may change what they hold
        time_limit_seconds=tool.approval_timeout_seconds,
    )


def _approval_decided(call_id: str, decision: Decision, waited_seconds: float = 0.0) -> ev.ApprovalDecided:
    return ev.ApprovalDecided(
        call_id=call_id,
        approved=decision.approved,
        source=decision.source,
        reason=decision.reason,
        waited_seconds=waited_seconds,
    )
