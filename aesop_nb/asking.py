"""Asking the person: one question at a time, answered beforehand, by a widget, a terminal or a call."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from . import background
from . import events as ev
from .errors import NeedsHuman, UsageError
from .models.transcript import ToolSpec
from .texts import clean_text, visible

if TYPE_CHECKING:
    from .clocks import RunClock

TALK_TO_USER = ToolSpec(
    name="talk_to_user",
    description=(
        "Ask the person who gave the task, when only they can know or decide. Ask one clear question; "
        "give `choices` when the answer is one of a few. What comes back is their answer."
    ),
    parameters={
        "type": "object",
        "properties": {
            "question": {"type": "string", "minLength": 1},
            "choices": {"type": "array", "items": {"type": "string"}, "default": []},
        },
        "required": ["question"],
        "additionalProperties": False,
    },
    kind="user",
)

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


class Interview:
    """The questions of one run. Lives on the loop's thread."""

    def __init__(
        self,
        *,
        given: GivenAnswers,
        default: str | None,
        audience: Audience,
        clocks: Callable[[], Sequence[RunClock]],
        add: Callable[[ev.Event], None],
    ) -> None:
        self._given = given
        self._default = default
        self._audience = audience
        self._clocks = clocks
        self._add = add
        self._one_at_a_time = asyncio.Lock()
        self._asked = 0
        self._open: tuple[str, asyncio.Future[tuple[str, str]]] | None = None

    async def ask(self, question: str, choices: Sequence[str] = ()) -> str:
        """Gives the person's answer to `question`; the run's clock stands still meanwhile.

        Raises:
            NeedsHuman: If nobody is there to answer.
        """
        async with self._one_at_a_time:
            self._asked += 1
            question_id = f"q{self._asked}"
            question = clean_text(question)
            answered: asyncio.Future[tuple[str, str]] = asyncio.get_running_loop().create_future()
            self._open = (question_id, answered)  # before anybody hears of the question
            try:
                with self._clocks_stopped():
                    self._add(ev.UserAsked(question_id=question_id, question=question, choices=list(choices)))
                    begun = time.monotonic()
                    answer, source = await self._answer(question, choices, answered)
                    self._add(
                        ev.UserAnswered(
                            question_id=question_id,
                            answer=answer,
                            source=source,
                            waited_seconds=time.monotonic() - begun,
                        )
                    )
            finally:
                self._open = None
            return answer

    @contextlib.contextmanager
    def _clocks_stopped(self) -> Iterator[None]:
        """Stops the run's clock and those of the runs around it: a person may take as long as it takes."""
        with contextlib.ExitStack() as stack:
            for clock in self._clocks():
                stack.enter_context(clock.stopped())
            yield

    def answer(self, text: str, source: str, question_id: str | None = None) -> bool:
        """Answers the open question; `False` if there is none, or another one than `question_id`."""
        if self._open is None or question_id not in (None, self._open[0]) or self._open[1].done():
            return False
        self._open[1].set_result((clean_text(text), source))
        return True

    async def _answer(
        self, question: str, choices: Sequence[str], answered: asyncio.Future[tuple[str, str]]
    ) -> tuple[str, str]:
        given = await self._given.find(question)
        if answered.done():
            return answered.result()
        if given is not None:
            return clean_text(given), "given"
        if self._audience == "nobody" and self._default is not None:
            return clean_text(self._default), "default"
        if self._audience == "nobody":
            raise NeedsHuman(
                f"The task asks: {visible(question)!r} and nobody is there to answer. Give answers beforehand "
                "(answers=[…], --answer, or a default_answer), or run it where a person can be asked.",
                question=question,
            )
        if self._audience == "terminal":
            return await self._ask_terminal(question, choices, answered)
        return await answered

    async def _ask_terminal(
        self, question: str, choices: Sequence[str], answered: asyncio.Future[tuple[str, str]]
    ) -> tuple[str, str]:
        """Asks with `input()`, in the thread that waits for the run if there is one."""
        typed = asyncio.ensure_future(_input(_prompt(question, choices)))
        waited_for: set[asyncio.Future[Any]] = {typed, answered}
        try:
            await asyncio.wait(waited_for, return_when=asyncio.FIRST_COMPLETED)
            if answered.done():
                return answered.result()
            return clean_text(typed.result()), "terminal"
        except EOFError:
            raise NeedsHuman(
                f"The task asks: {visible(question)!r} and the terminal was closed.", question=question
            ) from None
        finally:
            typed.cancel()


def _prompt(question: str, choices: Sequence[str]) -> str:
    options = "".join(f"\n  - {visible(choice)}" for choice in choices)
    return f"{visible(question)}{options}\n> "


_LOOK_AGAIN_SECONDS = 0.2


async def _input(prompt: str) -> str:
    """Asks in the thread that waits for a run; while nobody does, the terminal belongs to its prompt."""
    while True:
        future = background.submit_to_waiting_thread(lambda: input(prompt))
        if future is not None:
            try:
                return await asyncio.wrap_future(future)
            except InterruptedError:
                await asyncio.get_running_loop().create_future()  # the run's cancel is on its way
        if background.is_awaited():
            return await background.call_in_thread(lambda: input(prompt), "input")
        await asyncio.sleep(_LOOK_AGAIN_SECONDS)


def read_question(arguments: Mapping[str, Any]) -> tuple[str, list[str]]:
    """Gives the question and the choices of a `talk_to_user` call.

    Raises:
        ValueError: If they are not texts; the words are for the model.
    """
    question, choices = arguments.get("question"), arguments.get("choices") or []
    if not isinstance(question, str) or not question.strip():
        raise ValueError("`question` must be a text that asks something")
    if not isinstance(choices, list) or not all(isinstance(choice, str) for choice in choices):
        raise ValueError("`choices` must be a list of texts")
    return question, choices
