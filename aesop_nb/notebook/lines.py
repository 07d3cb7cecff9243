"""The lines of the live view, made from a `RunLog` alone; see `markup` for what keeps them safe."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..runlogs import Status
from ..texts import one_line, shorten
from . import wording
from .asked import countdown
from .inside import status_in, tally
from .markup import FRAME, INDENT, LINE, PRE, QUIET, badges, colored, escape, named_pre, pretty, quiet

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from ..runlogs import RunLog, Step
    from .inside import Nested

MAX_INSIDE_ROWS = 5
"""So many of the runs inside a run have a line each; the others are counted."""

_INSIDE_STEPS = 10
_UNOPENED = f"{LINE};padding-left:1.15em"  # as wide as the marker of a line that opens


def header(log: RunLog, now: datetime, config_max_seconds: float | None, *, is_compact: bool = False) -> str:
    """The two ticking lines on top of the live view.

    Args:
        log: The run so far.
        now: The time, in UTC.
        config_max_seconds: The limit of time, or `None`.
        is_compact: Whether one line is to say it, without the bar.
    """
    numbers = list(map(escape, _numbers(log, now, config_max_seconds)))
    doing = escape(_doing(log))
    first = [_strong(*_headline(log, now)), *([doing] if is_compact and doing else []), *numbers]
    top = f'<p style="{LINE}">{" · ".join(first)}{badges(wording.marks(log))}</p>'
    if is_compact:
        return f"{FRAME}{top}</div>"
    second = " ".join(part for part in (_progress(log, now, config_max_seconds), quiet(doing)) if part)
    return f'{FRAME}{top}<p style="{LINE};min-height:1.5em">{second}</p></div>'


def gone(log: RunLog) -> str:
    """What stands in place of the header once the kernel is gone."""
    why = "its kernel was restarted or has ended; run the cell again"
    return f'{FRAME}<p style="{LINE}">{_strong("⊘", "stopped")} · {escape(_name(log))} · {why}</p></div>'


def step_row(step: Step, *, opens: bool = True) -> str:
    """One step of the live view: a line that opens to the full call and what it gave, or one that does not."""
    line, marker = _step_line(step), ""
    is_going = step.state in ("writing", "running")  # then its symbol stands where the marker would
    if not opens:
        return f'{FRAME}<div style="{LINE if is_going else _UNOPENED}">{line}</div></div>'
    if is_going:
        marker = ";list-style:none"
    opened = "".join(named_pre(name, text) for name, text in _full(step))
    return f"{FRAME}{_folded(line, opened, marker)}</div>"


def inside_row(child: Nested, outer: RunLog, *, opens: bool = True) -> str:
    """One run inside another: an indented line with its state, which opens to its last steps."""
    log = child.log
    status = status_in(log, outer)
    parts = [f"{status} · {shorten(log.task, 80)}", *_inside_numbers(log)]
    line = f"{colored(wording.SYMBOLS[status])} {escape(' · '.join(parts))}"
    if not opens:
        return f'{FRAME}<div style="{INDENT}"><div style="{_UNOPENED}">{line}</div></div></div>'
    steps = [step_row(step, opens=False) for step in log.steps[-_INSIDE_STEPS:]]
    before = len(log.steps) - len(steps)
    told = [f'<div style="{QUIET}">… {wording.count(before, "step")} before these</div>'] if before else []
    why = [f"<div>{escape(one_line(wording.reason(log), 300))}</div>"] if log.error else []
    within = [f"<div>{escape(tally(child.children, log))}</div>"] if child.children else []
    opened = "".join([*told, *steps, *within, *why]) or f'<div style="{QUIET}">no tool calls</div>'
    return f'{FRAME}<div style="{INDENT}">{_folded(line, opened)}</div></div>'


def inside_rows(children: Sequence[Nested], outer: RunLog, *, opens: bool = True) -> str:
    """The runs inside another: all of a few, of many the last and how many there are of each state."""
    shown = children[-MAX_INSIDE_ROWS:]
    head = ""
    if len(children) > len(shown):
        head = f'{FRAME}<div style="{INDENT};{QUIET}">{escape(tally(children, outer))}; the last:</div></div>'
    return head + "".join(inside_row(child, outer, opens=opens) for child in shown)


def _inside_numbers(log: RunLog) -> list[str]:
    calls = wording.count(len(log.steps), "tool call")
    if log.ended_at:
        took = [wording.step_duration(log.duration_seconds(log.ended_at))] if log.started_at else []
        return [*took, calls]
    return [part for part in (log.current_action[:200], calls) if part]


def _folded(line: str, opened: str, marker: str = "") -> str:
    return (
        f'<details style="{LINE}"><summary style="cursor:pointer{marker}">{line}</summary>'
        f'<div style="{INDENT}">{opened}</div></details>'
    )


def _step_line(step: Step) -> str:
    if step.state in ("writing", "running"):
        return f"▸ {escape(wording.call(step, 100))} …"
    if step.state == "failed":
        arguments = "(…)" if step.arguments else "()"
        return f"{colored('✗')} {escape(step.tool[:80] + arguments)} {escape(_error_name(step))}"
    took = "" if step.duration_seconds is None else f" · {wording.step_duration(step.duration_seconds)}"
    return f"{colored('✓')} {escape(f'{step.tool[:80]} → {wording.outcome(step, 80)}{took}')}"


def answer_text(log: RunLog) -> str:
    """The last lines of the text that is being written; empty if there is none."""
    text = log.text
    if not text.strip():
        return ""
    tail = text[-600:]
    lines = tail.splitlines()[-6:]
    shown = "\n".join(lines)
    cut = "…\n" if len(shown) < len(text.rstrip("\n")) else ""
    return f'{FRAME}<pre style="{PRE}">\n{escape(cut + shown)}</pre></div>'


def _headline(log: RunLog, now: datetime) -> tuple[str, str]:
    """Gives symbol and words of the state, finer than the five."""
    if log.status is Status.PENDING:
        return "◌", f"pending  {_name(log)}"
    if log.status is Status.RUNNING and log.cancel_reason is not None:
        return "●", "cancelling…"
    if log.waiting_for:
        left = countdown(log.waiting_for, now)
        return "●", f"waiting for you{' · ' if left else ''}{left}"
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
        part
        for part in (
            time,
            model,
            calls,
            wording.count(log.usage.total_tokens, "token"),
            cost,
            wording.taken_over(log),
        )
        if part
    ]


def _doing(log: RunLog) -> str:
    if log.status is Status.PENDING:
        return ""
    action = "" if log.waiting_for or log.cancel_reason is not None else log.current_action
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
        ("turns", log.turns, limits.get("max_turns")),
        ("tool calls", len(log.steps), limits.get("max_tool_calls")),
        ("tokens", log.usage.total_tokens, limits.get("max_tokens")),
        ("cost", log.usage.cost_usd or 0.0, limits.get("max_cost_usd")),
    ]
    used = [(name, min(1.0, float(value) / float(limit))) for name, value, limit in found if limit]
    if not used:
        return ""
    name, share = max(used, key=lambda pair: pair[1])
    label = f"{share:.0%} of the {'time' if name == 'time' else f'limit of {name}'}"
    shown = "" if name == "time" else f" {quiet(f'{label} ·')}"
    return (
        f'<progress value="{share:.3f}" max="1" title="{label}" '
        f'style="width:8em;height:.8em;vertical-align:middle">{label}</progress>{shown}'
    )


def _error_name(step: Step) -> str:
    """Gives `TimeoutError` of `TimeoutError: no answer within 5 s`, else the begin of the error."""
    name, colon, _ = (step.error or "").partition(":")
    return name if colon and name.isidentifier() and len(name) <= 60 else wording.outcome(step, 80)


def _full(step: Step) -> list[tuple[str, str]]:
    parts = [("arguments", pretty(step.arguments)), ("output", step.output), ("error", step.error)]
    return [(name, shorten(text, 2_000)) for name, text in parts if text]


def _strong(symbol: str, words: str) -> str:
    return f'<strong style="white-space:pre-wrap">{colored(symbol)} {escape(words)}</strong>'
