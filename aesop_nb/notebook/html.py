"""The block that is saved in the notebook, made from a `RunLog` alone; see `markup` for what keeps it safe."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from .. import events as ev
from ..runlogs import STOPPED, Status
from ..texts import shorten, visible
from . import wording
from .inside import is_left, status_in, tally
from .markup import (
    CELL,
    FRAME,
    LINE,
    NUMBER,
    QUIET,
    SECTION,
    Detail,
    badges,
    colored,
    cut,
    escape,
    opening,
    paragraph_gap,
    pre,
    pretty,
    row,
    section,
    some,
    table,
    titled,
)
from .transcripts import transcript

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..runlogs import RunLog, Step
    from .inside import Nested

MAX_BYTES = 64_000
"""What a saved block takes at most, whatever the run did."""

_INPUT_COLUMNS = {"Input": f"{CELL};width:25%", "Value": CELL}
_STEP_COLUMNS = {
    "#": f"{NUMBER};width:2em",
    "Call": f"{CELL};width:38%",
    "Outcome": CELL,
    "Time": f"{NUMBER};width:4.5em",
}

# From generous to tight; the last one stays below `MAX_BYTES` even if every character needs six bytes.
_DETAILS = (
    Detail(characters=4_000, rows=100, inside=20),
    Detail(characters=1_000, rows=100, inside=20),
    Detail(characters=300, rows=60, inside=6),
    Detail(characters=120, rows=30, inside=2),
    Detail(characters=80, rows=10),
)


def static_block(log: RunLog, children: Sequence[Nested] = (), *, problem: str = "") -> str:
    """The block that is saved in the notebook; at most 64 KB, the same for the same run.

    Args:
        log: The run.
        children: The runs inside it.
        problem: Why it could not be stored; empty if it was.
    """
    for detail in _DETAILS[:-1]:
        if _least_characters(log, children, detail) <= MAX_BYTES:
            block = _block(log, children, problem, detail)
            if len(block.encode()) <= MAX_BYTES:
                return block
    return _block(log, children, problem, _DETAILS[-1])


def conversation(log: RunLog) -> str:
    """What the agent has asked and the person has said, for a notebook that shows nothing else of the run."""
    said = transcript(log, _DETAILS[2])
    return f"{FRAME}{said}</div>" if said else ""


def plain_line(log: RunLog) -> str:
    """The same in one line of plain text, for viewers without HTML."""
    return wording.plain_line(log)


def _block(log: RunLog, children: Sequence[Nested], problem: str, detail: Detail) -> str:
    line = " · ".join(map(escape, wording.summary(log)))
    parts = [
        f'<p style="{LINE}">{_title(log.status, log)} · {line}{badges(wording.marks(log))}</p>',
        unfinished(log),
        f'<p style="{SECTION}">not saved: {cut(problem, detail)}</p>' if problem else "",
        _why(log, detail),
        objective(log, detail),
        _steps(log.steps, detail),
        _inside(children, log, detail),
        transcript(log, detail),
        notices(log.notices, detail),
    ]
    return f"{FRAME}{''.join(parts)}</div>"


def _title(status: Status, log: RunLog) -> str:
    return f"<strong>{status} {colored(wording.SYMBOLS[status])} {escape(shorten(log.task, 80))}</strong>"


def unfinished(log: RunLog) -> str:
    """Says of a run that goes on how to see what became of it."""
    if log.status.is_final:
        return ""
    show = f" %aesop show {escape(log.run_id[:40])} tells what became of it." if log.run_id else ""
    return f'<p style="{SECTION}">It had not ended when this was saved.{show}</p>'


def _inside(children: Sequence[Nested], outer: RunLog, detail: Detail) -> str:
    if not children:
        return ""
    within = _within(children, detail)

    def render(child: Nested) -> str:
        return _inner_run(child, outer, within)

    return section(tally(children, outer), some(children, detail, render, paragraph_gap))


def _within(children: Sequence[Nested], detail: Detail) -> Detail | None:
    """Gives how much of each of these runs is shown, or `None` if that is one line."""
    rows = min(detail.inside, _ROWS_INSIDE // min(len(children), detail.rows))
    return replace(detail, rows=rows, inside=rows // 4) if rows else None


_ROWS_INSIDE = 100  # rows of all lists of all runs inside, about; what is bounded is also the time it takes


def _inner_run(child: Nested, outer: RunLog, within: Detail | None) -> str:
    """Gives a run inside another as a line, which opens to the whole of it where there is room."""
    log = child.log
    if is_left(log, outer):
        # What it has done since then is left out: the block is the same whenever it is made.
        return f'<p style="{SECTION}">{_title(Status.CANCELLED, log)} · stopped with the run around it</p>'
    line = " · ".join([_title(status_in(log, outer), log), *map(escape, wording.summary(log))])
    if within is None:
        return f'<p style="{SECTION}">{line}</p>'
    parts = [
        _why(log, within),
        objective(log, within),
        _steps(log.steps, within),
        _inside(child.children, log, within),
        transcript(log, within),
    ]
    return titled(line, "".join(parts))


def _least_characters(log: RunLog, children: Sequence[Nested], detail: Detail) -> int:
    """Gives a number that the block cannot be smaller than, without the work of making it."""
    half = detail.rows // 2
    texts = [step.error or step.output or "" for step in log.steps[:half]]
    texts += [exchange.question for exchange in log.exchanges[:half]]
    texts += log.notices[:half]
    least = sum(min(len(text), detail.characters) for text in texts)
    if children and (within := _within(children, detail)):
        least += sum(_least_characters(child.log, child.children, within) for child in children[:half])
    return least


def _why(log: RunLog, detail: Detail) -> str:
    if not log.error:
        return ""
    left = log.error.pending_tools
    pending = f" Still running when it was left: {', '.join(left)}." if left else ""
    what = "Failed" if isinstance(log.error, ev.RunFailed) else "Cancelled"
    text = cut(f"{wording.reason(log)}{pending}", detail)
    return f'<p style="{SECTION};white-space:pre-wrap"><strong>{what}:</strong> {text}</p>'


def objective(log: RunLog, detail: Detail) -> str:
    """What a run was to do, with what and how far; a line that opens."""
    created = log.created
    if created is None:
        return ""
    limits = ", ".join(f"{name} {_limit(value)}" for name, value in created.limits.items())
    parts = [
        f'<p style="{SECTION};white-space:pre-wrap">{cut(created.objective, detail)}</p>',
        pre(created.instructions, detail) if created.instructions else "",
        table(_INPUT_COLUMNS, list(created.inputs.items()), _input_row, detail) if created.inputs else "",
        f'<p style="{SECTION};{QUIET}">Limits: {cut(limits, detail)}</p>' if limits else "",
    ]
    return section("Objective and inputs" if created.inputs else "Objective", "".join(parts))


def _limit(value: object) -> str:
    return " ".join(map(str, value)) or "none" if isinstance(value, list) else str(value)


def _input_row(item: tuple[str, str], detail: Detail) -> str:
    return row((CELL, escape(item[0][:80])), (CELL, cut(item[1], detail)))


def _steps(steps: Sequence[Step], detail: Detail) -> str:
    if not steps:
        return ""
    counts = Counter(_STATES[_state(step)][1] for step in steps)
    ended = [f"{counts[word]:,} {word}" for word in ("failed", "stopped") if counts[word]]
    title = ", ".join([wording.count(len(steps), "step"), *ended])
    numbered = list(enumerate(steps, 1))
    return section(title, table(_STEP_COLUMNS, numbered, _step_row, detail))


def _step_row(numbered: tuple[int, Step], detail: Detail) -> str:
    number, step = numbered
    took = "" if step.duration_seconds is None else escape(wording.step_duration(step.duration_seconds))
    line = wording.call(step, _short(detail))
    whole = _whole_call(step) if line.endswith("…") else ""
    call = opening(escape(line), whole, detail)
    return row((NUMBER, str(number)), (CELL, call), (CELL, _outcome(step, detail)), (NUMBER, took))


def _whole_call(step: Step) -> str:
    return f"{step.tool} {pretty(step.arguments)}".strip()


def _outcome(step: Step, detail: Detail) -> str:
    mark, word = _STATES[_state(step)]
    state = f"{colored(mark)} {word}"
    if word == "stopped":
        return f"{state} with the run"
    text = (step.error if step.state == "failed" else step.output) or ""
    if not text:
        return state
    line = wording.outcome(step, _short(detail))
    stripped = text.strip()
    # What is longer than the line cannot be equal to it, and may have millions of characters.
    whole = "" if len(stripped) <= len(line) and line == visible(stripped) else text
    return opening(f"{state} · {escape(line)}", whole, detail)


def _state(step: Step) -> str:
    """Gives the state of a step; one that its run has left is of a state of its own."""
    return "stopped" if step.state == "failed" and step.error == STOPPED else step.state


_STATES = {
    "writing": ("●", "writing"),
    "running": ("●", "running"),
    "done": ("✓", "done"),
    "failed": ("✗", "failed"),
    "stopped": ("⊘", "stopped"),
}


def _short(detail: Detail) -> int:
    return min(100, detail.characters)


def notices(texts: Sequence[str], detail: Detail) -> str:
    """What the person should know; a line that opens."""
    if not texts:
        return ""
    shown = some(texts, detail, lambda text: f'<p style="{SECTION}">{cut(text, detail)}</p>', paragraph_gap)
    return section(wording.count(len(texts), "notice"), shown)
