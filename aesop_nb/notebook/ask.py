"""The forms in which a person answers the agent's question, or approves a call."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from .. import background
from ..engine.answers import AnswerMismatch
from ..runlogs import Approval, Exchange
from ..texts import one_line
from .asked import as_question
from .markup import escape

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..engine.answers import Question
    from .asked import Asked
    from .looks import Look

MAX_BUTTONS = 3
"""More choices than this become a list with one Send button, so that a view has few widgets."""

MAX_MODELS = 5
"""Widget models of one form: a field with its style, Send, Skip and a note; or three choices and Skip."""

SETTLE_SECONDS = 0.05
"""A front end may send the text and the click over two subshells, where the click can overtake the text."""

LATE_TEXT_SECONDS = 0.5
"""How long a click on Send waits for a text that is not there yet."""

DOUBLE_CLICK_SECONDS = 0.5
"""A button that stands where another one was clicked just now hears nothing for so long."""

WHOLE_RUN = "Approve all of this run"


class Form(ABC):
    """What one question is answered with.

    It answers once: what is clicked after the first click is ignored. Clicks may come on any thread; the form
    itself is made, changed and closed on the loop's thread.

    Attributes:
        widgets: What to show, in the order in which Tab goes through them.
    """

    widgets: tuple[Any, ...] = ()

    def __init__(self, look: Look, deaf_until: float) -> None:
        self._look = look
        self._deaf_until = deaf_until
        self._is_answered = False
        self._field: Any = None
        self.widgets = tuple(self._make())

    @abstractmethod
    def _make(self) -> Sequence[Any]:
        """Makes the widgets."""

    def close(self) -> None:
        """Takes the form away, and what was typed with it."""
        self._is_answered = True
        self._empty()
        for widget in self.widgets:
            widget.close()
        if self._field is not None:
            self._field.style.close()

    def _button(
        self, text: str, reply: Callable[[], None], *, kind: str = "", tooltip: str | None = None
    ) -> Any:
        """A button that replies at once."""

        def on_loop() -> None:
            if time.monotonic() >= self._deaf_until:
                self._once(reply)

        return self._look.button(text, lambda: background.call_soon(on_loop), kind=kind, tooltip=tooltip)

    def _once(self, reply: Callable[[], None]) -> None:
        if self._is_answered:
            return
        self._is_answered = True
        for control in self.widgets:
            if hasattr(control, "disabled"):
                control.disabled = True
        self._empty()
        reply()

    def _empty(self) -> None:
        """Empties the field: a front end stores the values of widgets in the notebook."""
        if hasattr(self._field, "placeholder"):  # a list has none, and nothing typed
            self._field.value = ""

    def _when_typed(self, take: Callable[[str, bool], bool]) -> None:
        """Calls `take(text, is_last)` on the loop until it says that it has taken the text."""
        if self._is_answered:
            return
        loop = asyncio.get_running_loop()
        until = loop.time() + LATE_TEXT_SECONDS

        def look() -> None:
            if self._is_answered or take(self._field.value or "", loop.time() >= until):
                return
            if loop.time() < until:
                loop.call_later(SETTLE_SECONDS, look)

        loop.call_later(SETTLE_SECONDS, look)


class QuestionForm(Form):
    """A field with a Send button, or a button for each answer; and Skip where the question can be skipped."""

    def __init__(self, question: Question, asked: Asked, look: Look, deaf_until: float) -> None:
        self._question = question
        self._asked = asked
        self._note: Any = None
        self._refused = ""
        super().__init__(look, deaf_until)

    def _make(self) -> Sequence[Any]:
        question = self._question
        choices = ["yes", "no"] if question.kind == "yes_no" else list(question.choices)
        skip = [self._button("Skip", self._skip)] if question.can_be_skipped else []
        if 0 < len(choices) <= MAX_BUTTONS:
            return [*(self._choice(choice) for choice in choices), *skip]
        self._field = self._make_field(choices)
        if question.expected and not choices:
            self._note = self._look.html(_hint(question), is_tight=True)
        send = self._look.button("Send", self._send, kind="primary")
        return [self._field, send, *skip, *([self._note] if self._note else [])]

    def _make_field(self, choices: Sequence[str]) -> Any:
        question = self._question
        if choices:
            return self._look.choice_list(_labels(choices))
        if question.kind == "secret":
            return self._look.line("Kept nowhere", self._send, is_secret=True)
        otherwise = "" if question.default is None else f", or nothing for {one_line(question.default, 60)}"
        if question.kind == "text":
            return self._look.text_area(f"Your answer{otherwise}")
        return self._look.line(f"{_EXAMPLES[question.kind]}{otherwise}", self._send)

    def _choice(self, choice: str) -> Any:
        text = one_line(choice, 200) or "(empty)"
        if self._question.kind == "yes_no":
            text = choice.capitalize()
        return self._button(text, lambda: self._answer(choice))

    def _send(self) -> None:
        background.call_soon(self._when_typed, self._take)

    def _take(self, text: str, is_last: bool) -> bool:
        """Sends the text if it fits; one that was refused before may be about to be replaced by a late one."""
        if not text.strip():
            if is_last and self._question.default is not None:
                self._once(lambda: self._answer(self._question.default or ""))
            return False
        try:
            self._question.checked(text)
        except AnswerMismatch as exc:
            if text == self._refused and not is_last:
                return False
            self._refused = text
            self._note.value = _complaint(str(exc))
            return True
        self._once(lambda: self._answer(text))
        return True

    def _answer(self, text: str) -> None:
        self._asked.run.answer(text, question_id=self._asked.waiting.name, source="widget")

    def _skip(self) -> None:
        self._asked.run.skip(question_id=self._asked.waiting.name, source="widget")


class ApprovalForm(Form):
    """Approve, Approve all of this run, Deny, and a line for the reason of a no."""

    def __init__(self, approval: Approval, asked: Asked, look: Look, deaf_until: float) -> None:
        self._tool = approval.tool
        self._asked = asked
        super().__init__(look, deaf_until)

    def _make(self) -> Sequence[Any]:
        whole_run = f"Every later call of {one_line(self._tool, 80)} in this run, too, without asking"
        self._field = self._look.line("Why not? The agent is told, if you deny", self._deny)
        return [
            self._button("Approve", lambda: self._approve(whole_run=False), kind="success"),
            self._button(WHOLE_RUN, lambda: self._approve(whole_run=True), tooltip=whole_run),
            self._look.button("Deny", self._deny, kind="danger"),
            self._field,
        ]

    def _approve(self, *, whole_run: bool) -> None:
        self._asked.run.approve(self._asked.waiting.name, whole_run=whole_run, source="widget")

    def _deny(self) -> None:
        def take(reason: str, _: bool) -> bool:
            self._once(
                lambda: self._asked.run.deny(reason, call_id=self._asked.waiting.name, source="widget")
            )
            return True

        background.call_soon(self._when_typed, take)


def form_for(asked: Asked, look: Look, *, deaf_until: float = 0.0) -> Form:
    """Gives the form for what a run waits for.

    Args:
        asked: What it waits for.
        look: What makes the widgets.
        deaf_until: On the monotonic clock, until when its buttons hear nothing: the second click of a
            double-click must not approve the next call.
    """
    if isinstance(asked.waiting, Exchange):
        return QuestionForm(as_question(asked.waiting), asked, look, deaf_until)
    return ApprovalForm(asked.waiting, asked, look, deaf_until)


_EXAMPLES = {"int": "A whole number", "float": "A number", "date": "YYYY-MM-DD"}
_NOTE = (
    '<span class="mathjax_ignore tex2jax_ignore" style="line-height:2;overflow-wrap:anywhere;{}">{}</span>'
)


def _hint(question: Question) -> str:
    words = question.expected.rstrip(",")
    return _NOTE.format("opacity:.7", escape(words[:1].upper() + words[1:]))


def _complaint(text: str) -> str:
    return _NOTE.format("color:#d0504a", escape(f"✗ {text[:1].upper()}{text[1:]}."))


def _labels(choices: Sequence[str]) -> list[tuple[str, str]]:
    return [(f"{number}. {one_line(choice, 200)}", choice) for number, choice in enumerate(choices, 1)]
