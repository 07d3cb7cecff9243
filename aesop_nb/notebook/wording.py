"""What a run looks like in plain words: durations, counts, amounts, calls and the line that sums it up."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from .. import events as ev
from ..runlogs import Status
from ..texts import one_line

if TYPE_CHECKING:
    from datetime import datetime

    from ..runlogs import RunLog, Step

SYMBOLS = {
    Status.PENDING: "◌",
    Status.RUNNING: "●",
    Status.COMPLETED: "✓",
    Status.FAILED: "✗",
    Status.CANCELLED: "⊘",
}
REHEARSAL = "rehearsal — not a language model"

_MAX_PARSED_CHARACTERS = 200_000  # larger outputs are not read only to count what is in them


def plain_line(log: RunLog) -> str:
    """The run on one line of plain text, with its numbers, and the reason if it has no result."""
    parts = [f"{log.status} {SYMBOLS[log.status]} {one_line(log.task, 80)}", *summary(log), *marks(log)]
    if why := reason(log):
        parts.append(one_line(why, 300))
    return " · ".join(parts)


def summary(log: RunLog) -> list[str]:
    """What a run took, part by part: time, calls, tokens, cost, model, id; unknown parts are left out.

    Of a run that has not ended it says when it began and no numbers, which would soon be wrong.
    """
    parts = [kept(log)] if log.error else []
    if log.started_at and log.ended_at:
        parts.append(duration(log.duration_seconds(log.ended_at)))
    if log.status.is_final:
        parts += [count(len(log.steps), "tool call"), count(log.usage.total_tokens, "token")]
    elif log.started_at:
        parts.append(f"started {moment(log.started_at)}")
    if log.usage.cost_usd is not None:
        parts.append(amount(log.usage.cost_usd))
    if log.created and log.created.model and not is_rehearsal(log):  # the badge says it
        parts.append(one_line(log.created.model, 60))
    if log.run_id:
        parts.append(f"run {one_line(log.run_id, 40)}")
    if origin := taken_over(log):
        parts.append(origin)
    return parts


def taken_over(log: RunLog) -> str:
    """Which run's result this one has, or which run it goes on from; else nothing."""
    if log.reused_from:
        return f"reused from {one_line(log.reused_from, 40)}"
    earlier = log.created.resumed_run_id if log.created else None
    return f"goes on from {one_line(earlier, 40)}" if earlier else ""


def kept(log: RunLog) -> str:
    """How many finished steps a run that ended early has kept."""
    return f"kept {count(sum(step.state == 'done' for step in log.steps), 'step')}"


def reason(log: RunLog) -> str:
    """Why a run failed or was cancelled; empty if it did neither."""
    match log.error:
        case ev.RunFailed(error="TaskFailed", message=message):
            return message.removeprefix(f"{log.task} failed: ").removeprefix(f"{log.task}: ")
        case ev.RunFailed(error=error, message=message):
            return f"{error}: {message}"
        case ev.RunCancelled(reason=given):
            return given
        case _:
            return ""


def is_rehearsal(log: RunLog) -> bool:
    """Whether the run was made without a language model."""
    return log.created is not None and log.created.is_rehearsal


def marks(log: RunLog) -> list[str]:
    """What must not be overlooked about a run, in a few words each."""
    return [REHEARSAL] if is_rehearsal(log) else []


def duration(seconds: float) -> str:
    """Gives `12.3 s`, `2 min 05 s` or `1 h 02 min`."""
    seconds = max(0.0, seconds)
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def moment(at: datetime) -> str:
    """Gives `2026-03-01 12:00:05 UTC`."""
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"


def step_duration(seconds: float) -> str:
    """Gives `1.7 s`, and `<0.1 s` for what is next to nothing."""
    return "<0.1 s" if seconds < 0.05 else duration(seconds)


def limit_duration(seconds: float) -> str:
    """Gives a limit as a person would set it: `60 s`, `5 min`, `2 h`."""
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 2 * size and seconds % size == 0:
            return f"{seconds / size:g} {unit}"
    return f"{seconds:g} s" if seconds < 120 else duration(seconds)


def count(number: int, noun: str) -> str:
    """Gives `1 token`, `2,150 tokens`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def amount(usd: float) -> str:
    """Gives `USD 0.0031`; never with a dollar sign, which notebooks take for LaTeX."""
    if abs(usd) >= 1:
        return f"USD {usd:,.2f}"
    digits = 4 if abs(usd) >= 0.0001 or usd == 0 else 8
    whole, _, cents = f"{usd:.{digits}f}".rstrip("0").partition(".")
    return f"USD {whole}.{cents:0<2}"


def working_seconds(log: RunLog, now: datetime) -> float:
    """Seconds that count for the time limit: those without the time a person took to answer."""
    waiting = (now - log.waiting_for.asked_at).total_seconds() if log.waiting_for else 0.0
    return max(0.0, log.duration_seconds(now) - log.asked_seconds - waiting)


def call(step: Step, limit: int) -> str:
    """Gives `search(query="bakery chains")` on one line."""
    if isinstance(step.arguments, str):
        inner = step.arguments
    else:
        inner = ", ".join(f"{name}={_literal(value, limit)}" for name, value in step.arguments.items())
    return one_line(f"{step.tool}({inner})", limit)


def _literal(value: Any, limit: int) -> str:
    if isinstance(value, str) and len(value) > limit:
        value = value[:limit]
    return json.dumps(value, ensure_ascii=False, default=str)


def outcome(step: Step, limit: int) -> str:
    """What came of a step in a few words: `8 results`, the begin of its output, or its error."""
    if step.state == "failed":
        return one_line(step.error or "failed", limit)
    if step.state != "done":
        return "writing" if step.state == "writing" else "running"
    return results(step.output or "") or one_line(step.output or "", limit) or "nothing"


def results(output: str) -> str:
    """Gives `8 results` for an output that is a JSON list, else an empty text."""
    if not output.startswith("[") or len(output) > _MAX_PARSED_CHARACTERS:
        return ""
    try:
        found = json.loads(output)
    except (ValueError, RecursionError):
        return ""
    return count(len(found), "result")
