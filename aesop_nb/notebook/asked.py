"""What waits for the person, as the live view shows it: a question, or a call with all its arguments."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..engine.answers import Question
from ..engine.terminals import call_text
from ..runlogs import Exchange
from ..texts import one_line, shorten
from .markup import escape

if TYPE_CHECKING:
    from datetime import datetime

    from ..replying import Replies
    from ..runlogs import Approval

_BLOCK = (
    '<div class="mathjax_ignore tex2jax_ignore" style="line-height:1.5;margin:.3em 0 .1em;padding:.1em .6em;'
    'border-left:3px solid #4a86c5;white-space:pre-wrap;overflow-wrap:anywhere;max-height:24em;overflow:auto">'
    "{}</div>"
)
_QUIET = '<span style="opacity:.7">{}</span>'
_CALL = (
    '<pre style="margin:.2em 0;padding:.4em .6em;white-space:pre-wrap;overflow-wrap:anywhere;text-align:left;'
    'word-break:normal;background:rgba(128,128,128,.1);border-radius:3px;color:inherit">\n{}</pre>'
)


@dataclass(frozen=True)
class Asked:
    """What one run waits for.

    Attributes:
        key: Names it among all that runs wait for; a model may name a call like a question.
        waiting: The question or the call.
        run: What takes the reply.
        asker: The task that asks, if that is not plain.
    """

    key: tuple[str, str, str]
    waiting: Exchange | Approval
    run: Replies
    asker: str = ""

    def html(self, now: datetime) -> str:
        """What the person reads above the form."""
        asks = f"{_QUIET.format(f'{escape(self.asker)} asks')}\n" if self.asker else ""
        # The time of the view's own run runs in its header.
        left = f"\n{_QUIET.format(escape(countdown(self.waiting, now)))}" if self.asker else ""
        if isinstance(self.waiting, Exchange):
            return _BLOCK.format(f"{asks}{_question(self.waiting)}{left}")
        return _BLOCK.format(f"{asks}{_call(self.waiting)}{left}")


def as_question(exchange: Exchange) -> Question:
    """Gives the open question with the check of its answers."""
    return Question(
        question=exchange.question,
        choices=tuple(exchange.choices),
        kind=exchange.kind,
        default=exchange.default,
        time_limit_seconds=exchange.time_limit_seconds,
        is_optional=exchange.is_optional,
    )


def _question(exchange: Exchange) -> str:
    note = ""
    if exchange.kind == "secret":
        said = (
            "What you type goes to the tools that the agent names, never to the model, and is kept nowhere."
        )
        note = f"\n{_QUIET.format(said)}"
    return escape(exchange.question) + note


def _call(approval: Approval) -> str:
    whole = call_text(approval.tool, approval.arguments)  # never cut: what is not read is not approved
    return f"May this be called?{_CALL.format(escape(whole))}"


def countdown(waiting: Exchange | Approval, now: datetime) -> str:
    """Gives `answer within 0:42, else “Lyon”`; empty where there is no limit."""
    if waiting.time_limit_seconds is None:
        return ""
    passed = (now - waiting.asked_at).total_seconds()
    left = max(0, math.ceil(waiting.time_limit_seconds - passed))
    hours, seconds = divmod(left, 3600)
    time = f"{seconds // 60}:{seconds % 60:02d}"
    if hours:
        time = f"{hours}:{seconds // 60:02d}:{seconds % 60:02d}"
    verb = "answer" if isinstance(waiting, Exchange) else "approve"
    return f"{verb} within {time}, else {one_line(waiting.otherwise, 60)}"


def answered_row(exchange: Exchange) -> str:
    """One line of the live view for a question that was answered, opening to the whole of both."""
    line = f"asked: {one_line(exchange.question, 80)} → {one_line(exchange.said or '', 80)}"
    whole = f"{exchange.question}\n\n→ {exchange.said}"
    return (
        '<div class="mathjax_ignore tex2jax_ignore" style="line-height:1.5;overflow-wrap:anywhere"><details>'
        f'<summary style="cursor:pointer">{escape(line)}</summary>'
        f'<div style="margin-left:1.2em;white-space:pre-wrap">{escape(shorten(whole, 4_000))}</div>'
        "</details></div>"
    )
