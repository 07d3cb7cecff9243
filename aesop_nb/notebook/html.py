"""The HTML of a run, made from its `RunLog` alone; text in, text out.

Everything that is not a constant of this module goes through `escape`. Inline styles only, no ids, no scripts:
what is written here looks the same after the sanitisers of JupyterLab, nbviewer and GitHub, which at most drop
the styles. Colours are those of the page, so that dark themes work; a symbol never stands without its word.
"""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from .. import events as ev
from ..runlogs import Status
from ..texts import one_line, shorten, visible
from . import wording

if TYPE_CHECKING:
    from datetime import datetime

    from ..runlogs import Exchange, RunLog, Step

T = TypeVar("T")

MAX_BYTES = 64_000
"""What a saved block takes at most, whatever the run did."""

# MathJax would read `$…$` in a tool's output as LaTeX; these classes keep it out.
_FRAME = (
    '<div class="mathjax_ignore tex2jax_ignore" '
    'style="line-height:1.5;font-variant:tabular-nums;overflow-wrap:anywhere">'
)
_QUIET = "opacity:.7"
_LINE = "margin:0"
_SECTION = "margin:.3em 0"
_BADGE = "border:1px solid;border-radius:1em;padding:0 .6em;font-size:85%;white-space:nowrap"
_PRE = (
    "margin:.2em 0;padding:.4em .6em;white-space:pre-wrap;overflow-wrap:anywhere;max-height:24em;overflow:auto;"
    "text-align:left;background:rgba(128,128,128,.1);border-radius:3px;color:inherit"
)
_TABLE = "width:100%;margin:.3em 0;border-collapse:collapse;table-layout:fixed"
_CELL = "text-align:left;vertical-align:top"
_NUMBER = "text-align:right;vertical-align:top;white-space:nowrap"
_INPUT_COLUMNS = {"Input": f"{_CELL};width:25%", "Value": _CELL}
_STEP_COLUMNS = {
    "#": f"{_NUMBER};width:2em",
    "Call": f"{_CELL};width:40%",
    "Outcome": _CELL,
    "Time": f"{_NUMBER};width:5em",
}
# All have about the same contrast, 4, on white and on the near-black of dark themes.
_COLORS = {"✓": "#2e8b57", "✗": "#d0504a", "⊘": "#8a7a3c"}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Detail:
    """How much of each text and of each list is shown."""

    characters: int
    rows: int


# From generous to tight; the last one stays below `MAX_BYTES` even if every character needs six bytes.
_DETAILS = (
    _Detail(characters=4_000, rows=100),
    _Detail(characters=1_000, rows=100),
    _Detail(characters=300, rows=60),
    _Detail(characters=120, rows=30),
    _Detail(characters=80, rows=10),
)


def escape(text: str) -> str:
    """Gives any text as HTML text: markup is shown, invisible characters are escapes."""
    return html.escape(visible(text))


def static_block(log: RunLog) -> str:
    """The block that is saved in the notebook; at most 64 KB, the same for the same log."""
    for detail in _DETAILS[:-1]:
        if _least_characters(log, detail) <= MAX_BYTES:
            block = _block(log, detail)
            if len(block.encode()) <= MAX_BYTES:
                return block
    return _block(log, _DETAILS[-1])


def plain_line(log: RunLog) -> str:
    """The same in one line of plain text, for viewers without HTML."""
    return wording.plain_line(log)


def header(log: RunLog, now: datetime, config_max_seconds: float | None) -> str:
    """The two ticking lines on top of the live view.

    Args:
        log: The run so far.
        now: The time, in UTC.
        config_max_seconds: The limit of time, or `None`.
    """
    first = _strong(*_headline(log))
    quiet = " · ".join(map(escape, _numbers(log, now, config_max_seconds)))
    badge = f" {_badge()}" if wording.is_rehearsal(log) else ""
    second = [_progress(log, now, config_max_seconds), _span(escape(_doing(log)))]
    return (
        f'{_FRAME}<p style="{_LINE}">{first}{" · " if quiet else ""}{quiet}{badge}</p>'
        f'<p style="{_LINE};min-height:1.5em">{" ".join(part for part in second if part)}</p></div>'
    )


def step_row(step: Step) -> str:
    """One step of the live view: a line that opens to the full call and what it gave."""
    marker = ""
    if step.state in ("writing", "running"):
        marker = ";list-style:none"  # the symbol stands where the marker would
        line = f"▸ {escape(wording.call(step, 100))} …"
    elif step.state == "done":
        tail = (
            f" · {wording.step_duration(step.duration_seconds)}" if step.duration_seconds is not None else ""
        )
        line = f"{_symbol('✓')} {escape(f'{step.tool[:80]} → {wording.outcome(step, 80)}{tail}')}"
    else:
        arguments = "(…)" if step.arguments else "()"
        line = f"{_symbol('✗')} {escape(step.tool[:80] + arguments)} {escape(_error_name(step))}"
    opened = "".join(_named_pre(name, text) for name, text in _full(step))
    return (
        f'{_FRAME}<details style="{_LINE}"><summary style="cursor:pointer{marker}">{line}</summary>'
        f'<div style="margin-left:1.2em">{opened}</div></details></div>'
    )


def answer_text(log: RunLog) -> str:
    """The last lines of the text that is being written; empty if there is none."""
    text = log.text
    if not text.strip():
        return ""
    tail = text[-600:]
    lines = tail.splitlines()[-6:]
    shown = "\n".join(lines)
    cut = "…\n" if len(shown) < len(text.rstrip("\n")) else ""
    return f'{_FRAME}<pre style="{_PRE}">\n{escape(cut + shown)}</pre></div>'


def _headline(log: RunLog) -> tuple[str, str]:
    """Gives symbol and words of the state, finer than the five."""
    if log.status is Status.PENDING:
        return "◌", f"pending  {_name(log)}"
    if log.status is Status.RUNNING and log.cancel_reason is not None:
        return "●", "cancelling…"
    if log.question:
        return "●", "waiting for you"
    if log.error:
        return wording.SYMBOLS[log.status], f"{log.status} · {wording.kept(log)}"
    return wording.SYMBOLS[log.status], str(log.status)


def _numbers(log: RunLog, now: datetime, max_seconds: float | None) -> list[str]:
    if log.status is Status.PENDING:
        return []
    if log.ended_at:
        time = wording.duration(log.duration_seconds(now)) if log.started_at else ""
    else:
        limit = f" of {wording.limit_duration(max_seconds)}" if max_seconds else ""
        time = wording.duration(wording.working_seconds(log, now)) + limit
    model = log.created.model[:60] if log.created else ""
    cost = wording.amount(log.usage.cost_usd) if log.usage.cost_usd is not None else ""
    calls = wording.count(len(log.steps), "tool call")
    return [
        part for part in (time, model, calls, wording.count(log.usage.total_tokens, "token"), cost) if part
    ]


def _doing(log: RunLog) -> str:
    if log.status is Status.PENDING:
        return ""
    action = "" if log.question or log.cancel_reason is not None else log.current_action
    why = one_line(wording.reason(log), 200)
    return " · ".join(part for part in (_name(log), action[:200], why) if part)


def _name(log: RunLog) -> str:
    return shorten(log.task, 80)


def _progress(log: RunLog, now: datetime, max_seconds: float | None) -> str:
    """Gives the bar of the limit that is nearest, with its name where it is not the time."""
    if log.status.is_final:
        return ""
    limits = log.created.limits if log.created else {}
    found = [
        ("time", wording.working_seconds(log, now), max_seconds),
        ("turns", log.turn, limits.get("max_turns")),
        ("tool calls", len(log.steps), limits.get("max_tool_calls")),
        ("tokens", log.usage.total_tokens, limits.get("max_tokens")),
        ("cost", log.usage.cost_usd or 0.0, limits.get("max_cost_usd")),
    ]
    used = [(name, min(1.0, float(value) / float(limit))) for name, value, limit in found if limit]
    if not used:
        return ""
    name, share = max(used, key=lambda pair: pair[1])
    label = f"{share:.0%} of the {'time' if name == 'time' else f'limit of {name}'}"
    shown = "" if name == "time" else f" {_span(label)}"
    return (
        f'<progress value="{share:.3f}" max="1" title="{label}" '
        f'style="width:8em;height:.8em;vertical-align:middle">{label}</progress>{shown}'
    )


def _error_name(step: Step) -> str:
    """Gives `TimeoutError` of `TimeoutError: no answer within 5 s`, else the begin of the error."""
    name, colon, _ = (step.error or "").partition(":")
    return name if colon and name.isidentifier() and len(name) <= 60 else wording.outcome(step, 80)


def _full(step: Step) -> list[tuple[str, str]]:
    arguments = step.arguments if isinstance(step.arguments, str) else _pretty(step.arguments)
    parts = [("arguments", arguments), ("output", step.output), ("error", step.error)]
    return [(name, shorten(text, 2_000)) for name, text in parts if text]


def _pretty(arguments: object) -> str:
    return json.dumps(arguments, ensure_ascii=False, indent=2, default=str) if arguments else ""


def _block(log: RunLog, detail: _Detail) -> str:
    symbol = wording.SYMBOLS[log.status]
    badge = f" {_badge()}" if wording.is_rehearsal(log) else ""
    line = " · ".join(map(escape, wording.summary(log)))
    title = f"<strong>{log.status} {_symbol(symbol)} {escape(_name(log))}</strong>"
    parts = [
        f'<p style="{_LINE}">{title} · {line}{badge}</p>',
        _why(log, detail),
        _objective(log, detail),
        _steps(log.steps, detail),
        _conversation(log.exchanges, detail),
        _notices(log.notices, detail),
    ]
    return f"{_FRAME}{''.join(parts)}</div>"


def _least_characters(log: RunLog, detail: _Detail) -> int:
    """Gives a number that the block cannot be smaller than, without the work of making it."""
    texts = [step.error or step.output or "" for step in log.steps[: detail.rows // 2]]
    texts += [exchange.question for exchange in log.exchanges[: detail.rows // 2]]
    texts += log.notices[: detail.rows // 2]
    return sum(min(len(text), detail.characters) for text in texts)


def _why(log: RunLog, detail: _Detail) -> str:
    if not log.error:
        return ""
    left = log.error.pending_tools
    pending = f" Still running when it was left: {', '.join(left)}." if left else ""
    what = "Failed" if isinstance(log.error, ev.RunFailed) else "Cancelled"
    text = _cut(f"{wording.reason(log)}{pending}", detail)
    return f'<p style="{_SECTION};white-space:pre-wrap"><strong>{what}:</strong> {text}</p>'


def _objective(log: RunLog, detail: _Detail) -> str:
    created = log.created
    if created is None:
        return ""
    limits = ", ".join(f"{name} {_limit(value)}" for name, value in created.limits.items())
    parts = [
        f'<p style="{_SECTION};white-space:pre-wrap">{_cut(created.objective, detail)}</p>',
        _pre(created.instructions, detail) if created.instructions else "",
        _table(_INPUT_COLUMNS, list(created.inputs.items()), _input_row, detail) if created.inputs else "",
        f'<p style="{_SECTION};{_QUIET}">Limits: {_cut(limits, detail)}</p>' if limits else "",
    ]
    return _section("Objective and inputs" if created.inputs else "Objective", "".join(parts))


def _limit(value: object) -> str:
    return " ".join(map(str, value)) or "none" if isinstance(value, list) else str(value)


def _input_row(item: tuple[str, str], detail: _Detail) -> str:
    return _row((_CELL, escape(item[0][:80])), (_CELL, _cut(item[1], detail)))


def _steps(steps: Sequence[Step], detail: _Detail) -> str:
    if not steps:
        return ""
    failed = sum(step.state == "failed" for step in steps)
    title = wording.count(len(steps), "step") + (f", {failed:,} failed" if failed else "")
    numbered = list(enumerate(steps, 1))
    return _section(title, _table(_STEP_COLUMNS, numbered, _step_row, detail))


def _step_row(numbered: tuple[int, Step], detail: _Detail) -> str:
    number, step = numbered
    took = "" if step.duration_seconds is None else escape(wording.step_duration(step.duration_seconds))
    line = wording.call(step, _short(detail))
    whole = _whole_call(step) if line.endswith("…") else ""
    call = _opening(escape(line), whole, detail)
    return _row((_NUMBER, str(number)), (_CELL, call), (_CELL, _outcome(step, detail)), (_NUMBER, took))


def _whole_call(step: Step) -> str:
    arguments = step.arguments if isinstance(step.arguments, str) else _pretty(step.arguments)
    return f"{step.tool} {arguments}".strip()


def _outcome(step: Step, detail: _Detail) -> str:
    symbol, word = _STATES[step.state]
    mark = f"{_symbol(symbol)} {word}"
    text = (step.error if step.state == "failed" else step.output) or ""
    if not text:
        return mark
    line = wording.outcome(step, _short(detail))
    stripped = text.strip()
    # What is longer than the line cannot be equal to it, and may have millions of characters.
    whole = "" if len(stripped) <= len(line) and line == visible(stripped) else text
    return _opening(f"{mark} · {escape(line)}", whole, detail)


_STATES = {
    "writing": ("●", "writing"),
    "running": ("●", "running"),
    "done": ("✓", "done"),
    "failed": ("✗", "failed"),
}


def _short(detail: _Detail) -> int:
    return min(100, detail.characters)


def _opening(line: str, whole: str, detail: _Detail) -> str:
    """Gives a line of HTML that opens to `whole`, which is empty where the line says it all."""
    if not whole:
        return line
    return f'<details><summary style="cursor:pointer">{line}</summary>{_pre(whole, detail)}</details>'


def _conversation(exchanges: Sequence[Exchange], detail: _Detail) -> str:
    if not exchanges:
        return ""
    said = _some(exchanges, detail, lambda exchange: _exchange(exchange, detail), _paragraph_gap)
    title = f"Conversation with the person, {wording.count(len(exchanges), 'question')}"
    return _section(title, said, is_open=len(exchanges) <= _OPEN_QUESTIONS)


_OPEN_QUESTIONS = 5


def _exchange(exchange: Exchange, detail: _Detail) -> str:
    choices = f" (choices: {', '.join(exchange.choices)})" if exchange.choices else ""
    question = _cut(exchange.question + choices, detail)
    if exchange.answer is None:
        answer = f'<span style="{_QUIET}">not answered</span>'
    else:
        took = f", after {wording.duration(exchange.waited_seconds)}" if exchange.waited_seconds else ""
        source = _SOURCES.get(exchange.source or "", one_line(exchange.source or "", 40))
        answer = f'{_cut(exchange.answer, detail)} <span style="{_QUIET}">({escape(source + took)})</span>'
    paragraph = f'<p style="{_SECTION};white-space:pre-wrap">'
    return (
        f"{paragraph}<strong>Asked:</strong> {question}</p>{paragraph}<strong>Answered:</strong> {answer}</p>"
    )


_SOURCES = {
    "given": "given beforehand",
    "widget": "in the notebook",
    "terminal": "in the terminal",
    "call": "by a call of answer()",
    "rehearsal": "by the rehearsal, not by a person",
}


def _notices(notices: Sequence[str], detail: _Detail) -> str:
    if not notices:
        return ""
    shown = _some(
        notices, detail, lambda text: f'<p style="{_SECTION}">{_cut(text, detail)}</p>', _paragraph_gap
    )
    return _section(wording.count(len(notices), "notice"), shown)


def _cut(text: str, detail: _Detail) -> str:
    return escape(shorten(text, detail.characters))


def _pre(text: str, detail: _Detail) -> str:
    # A parser drops the first line feed in <pre>; ours is there to be dropped instead of the text's.
    return f'<pre style="{_PRE}">\n{_cut(text, detail)}</pre>'


def _section(title: str, inside: str, *, is_open: bool = False) -> str:
    opened = " open" if is_open else ""
    return (
        f'<details style="{_SECTION}"{opened}><summary style="cursor:pointer">{escape(title)}</summary>'
        f'<div style="margin:.2em 0 .6em 1.2em">{inside}</div></details>'
    )


def _table(
    columns: Mapping[str, str], items: Sequence[T], render: Callable[[T, _Detail], str], detail: _Detail
) -> str:
    head = "".join(
        f'<th scope="col" style="{style};font-weight:600">{t}</th>' for t, style in columns.items()
    )

    def gap(left_out: str) -> str:
        return f'<tr><td style="{_CELL};{_QUIET}" colspan="{len(columns)}">{left_out}</td></tr>'

    rows = _some(items, detail, lambda item: render(item, detail), gap)
    return f'<table style="{_TABLE}"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'


def _row(*cells: tuple[str, str]) -> str:
    inner = "".join(f'<td style="{style}">{inside}</td>' for style, inside in cells)
    return f"<tr>{inner}</tr>"


def _some(items: Sequence[T], detail: _Detail, render: Callable[[T], str], gap: Callable[[str], str]) -> str:
    """Gives all items, or the first and the last with the number of those left out between them."""
    if len(items) <= detail.rows:
        return "".join(map(render, items))
    half = detail.rows // 2
    left_out = (
        f"… {len(items) - 2 * half:,} of {len(items):,} not shown here; the run's frames have them all …"
    )
    return "".join([*map(render, items[:half]), gap(left_out), *map(render, items[-half:])])


def _paragraph_gap(left_out: str) -> str:
    return f'<p style="{_SECTION};{_QUIET}">{left_out}</p>'


def _named_pre(name: str, text: str) -> str:
    return f'<div style="{_QUIET}">{name}</div><pre style="{_PRE}">\n{escape(text)}</pre>'


def _strong(symbol: str, words: str) -> str:
    return f'<strong style="white-space:pre-wrap">{_symbol(symbol)} {escape(words)}</strong>'


def _symbol(symbol: str) -> str:
    color = _COLORS.get(symbol)
    return f'<span style="color:{color}">{symbol}</span>' if color else symbol


def _span(escaped: str) -> str:
    return f'<span style="{_QUIET}">{escaped}</span>'


def _badge() -> str:
    return f'<span style="{_BADGE}">{wording.REHEARSAL}</span>'
