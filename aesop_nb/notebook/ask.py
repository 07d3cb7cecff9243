"""The form in which a person answers the agent's question."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import ipywidgets

from .. import background
from ..texts import one_line, shorten
from .html import escape

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..runlogs import Exchange
    from .looks import Look

MAX_BUTTONS = 3
"""More choices than this become a list with one Send button, so that a view has few widgets."""

SETTLE_SECONDS = 0.05
"""A front end may send the text and the click over two subshells, where the click can overtake the text."""

LATE_TEXT_SECONDS = 0.5
"""How long a click on Send waits for a text that is not there yet."""

_QUESTION = (
    '<div class="mathjax_ignore tex2jax_ignore" style="line-height:1.5;margin:.3em 0 .1em;padding:.1em .6em;'
    'border-left:3px solid #4a86c5;white-space:pre-wrap;overflow-wrap:anywhere;max-height:24em;overflow:auto">'
    "{}</div>"
)


class QuestionForm:
    """What a question is answered with: a field with a Send button, or a button for each choice.

    It answers once: what is clicked after the first click is ignored. Clicks may come on any thread; the form
    itself is made, changed and closed on the loop's thread.

    Attributes:
        widgets: What to show, in order.
    """

    def __init__(self, choices: Sequence[str], send: Callable[[str], None], look: Look) -> None:
        self._send = send
        self._is_answered = False
        self._field: Any = None
        if 0 < len(choices) <= MAX_BUTTONS:
            self.widgets = tuple(self._choice(choice, look) for choice in choices)
        else:
            self._field = look.choice_list(_labels(choices)) if choices else look.text_area("Your answer")
            self.widgets = (self._field, self._send_button(look))

    def close(self) -> None:
        """Takes the form away, and what was typed with it."""
        self._is_answered = True
        for widget in self.widgets:
            widget.close()
        if self._field is not None:
            self._field.style.close()

    def _choice(self, choice: str, look: Look) -> Any:
        text = one_line(choice, 200) or "(empty)"
        return look.button(text, lambda: background.call_soon(self._answer, choice))

    def _send_button(self, look: Look) -> Any:
        return look.button("Send", lambda: background.call_soon(self._send_field), kind="primary")

    # On the loop's thread ----------------------------------------------------------------------------

    def _send_field(self) -> None:
        if self._is_answered:
            return
        loop = asyncio.get_running_loop()
        loop.call_later(SETTLE_SECONDS, self._take_field, loop.time() + LATE_TEXT_SECONDS)

    def _take_field(self, until: float) -> None:
        if self._is_answered:
            return
        text = self._field.value or ""
        if text.strip():
            self._answer(text)
        elif (loop := asyncio.get_running_loop()).time() < until:
            loop.call_later(SETTLE_SECONDS, self._take_field, until)

    def _answer(self, text: str) -> None:
        if self._is_answered:
            return
        self._is_answered = True
        for control in self.widgets:
            control.disabled = True
        if isinstance(self._field, ipywidgets.Textarea):
            self._field.value = ""  # a front end stores the values of widgets in the notebook
        self._send(text)


def _labels(choices: Sequence[str]) -> list[tuple[str, str]]:
    return [(f"{number}. {one_line(choice, 200)}", choice) for number, choice in enumerate(choices, 1)]


def question_html(question: str, asker: str = "") -> str:
    """The question as a person reads it; `asker` names the task if that is not plain."""
    asks = f'<span style="opacity:.7">{escape(asker)} asks</span>\n' if asker else ""
    return _QUESTION.format(asks + escape(question))


def answered_row(exchange: Exchange) -> str:
    """One line of the live view for a question that was answered, opening to the whole of both."""
    line = f"asked: {one_line(exchange.question, 80)} → {one_line(exchange.answer or '', 80)}"
    whole = f"{exchange.question}\n\n→ {exchange.answer}"
    return (
        '<div class="mathjax_ignore tex2jax_ignore" style="line-height:1.5;overflow-wrap:anywhere"><details>'
        f'<summary style="cursor:pointer">{escape(line)}</summary>'
        f'<div style="margin-left:1.2em;white-space:pre-wrap">{escape(shorten(whole, 4_000))}</div>'
        "</details></div>"
    )
