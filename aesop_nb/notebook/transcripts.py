"""What the agent has asked and the person has said, as the saved block shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..engine.terminals import call_text
from ..runlogs import Exchange
from ..texts import one_line
from . import wording
from .markup import QUIET, SECTION, cut, escape, opening, paragraph_gap, section, some

if TYPE_CHECKING:
    from ..runlogs import Approval, RunLog
    from .markup import Detail

_MOST_OPEN = 5
_PARAGRAPH = f'<p style="{SECTION};white-space:pre-wrap">'


def transcript(log: RunLog, detail: Detail) -> str:
    """Gives the questions and the approvals in the order in which they were asked; empty if there are none."""
    said: list[Exchange | Approval] = sorted([*log.exchanges, *log.approvals], key=lambda each: each.asked_at)
    if not said:
        return ""
    counts = [(len(log.exchanges), "question"), (len(log.approvals), "approval")]
    shown = ", ".join(wording.count(number, noun) for number, noun in counts if number)
    inside = some(said, detail, lambda each: _each(each, detail), paragraph_gap)
    return section(f"Conversation with the person, {shown}", inside, is_open=len(said) <= _MOST_OPEN)


def _each(said: Exchange | Approval, detail: Detail) -> str:
    return _exchange(said, detail) if isinstance(said, Exchange) else _approval(said, detail)


def _exchange(exchange: Exchange, detail: Detail) -> str:
    choices = f" (choices: {', '.join(exchange.choices)})" if exchange.choices else ""
    question = cut(exchange.question + choices, detail)
    if exchange.said is None:
        answer = f'<span style="{QUIET}">not answered</span>'
    else:
        answer = f"{cut(exchange.said, detail)} {_how(exchange)}"
    return f"{_PARAGRAPH}<strong>Asked:</strong> {question}</p>{_PARAGRAPH}<strong>Answered:</strong> {answer}</p>"


def _approval(approval: Approval, detail: Detail) -> str:
    whole = call_text(approval.tool, approval.arguments)
    line = one_line(whole, min(100, detail.characters))
    # A paragraph cannot hold what opens.
    asked = opening(f"<strong>To be approved:</strong> {escape(line)}", whole, detail)
    if approval.approved is None:
        decided = f'<span style="{QUIET}">not decided; it was not called</span>'
    else:
        reason = f": {cut(approval.reason, detail)}" if approval.reason else ""
        decided = f"{'approved ✓' if approval.approved else 'denied ✗'}{reason} {_how(approval)}"
    return f'<div style="{SECTION}">{asked}</div>{_PARAGRAPH}<strong>Decided:</strong> {decided}</p>'


def _how(said: Exchange | Approval) -> str:
    took = f", after {wording.duration(said.waited_seconds)}" if said.waited_seconds else ""
    source = _SOURCES.get(said.source or "", one_line(said.source or "", 40))
    return f'<span style="{QUIET}">({escape(source + took)})</span>'


_SOURCES = {
    "given": "given beforehand",
    "default": "the default",
    "widget": "in the notebook",
    "terminal": "in the terminal",
    "call": "by a call",
    "time_limit": "the time was over",
    "nobody": "nobody was there",
    "earlier": "as an earlier call of this tool was, for the whole run",
    "rehearsal": "by the rehearsal, not by a person",
}
