"""A person at a terminal: asked with `input()`, for a secret with `getpass()`, until the answer fits."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any

from .. import background
from ..texts import visible
from .answers import AnswerMismatch, Question
from .approving import Decision

_LOOK_AGAIN_SECONDS = 0.2


async def ask(question: Question) -> str | None:
    """Gives the answer, or `None` for an empty line where the question may be skipped.

    An empty line takes the default where there is one. A line that is being typed when the time is over, or
    when another answer was quicker, is read to its end and dropped: `input()` cannot be stopped.

    Raises:
        EOFError: If the terminal is closed.
    """
    prompt = _prompt(question)
    while True:
        typed = await _line(prompt, is_secret=question.kind == "secret")
        if not typed.strip() and question.default is not None:
            return question.default
        if not typed.strip() and question.can_be_skipped:
            return None
        try:
            return question.checked(typed)
        except AnswerMismatch as exc:
            prompt = f"{visible(str(exc))}\n> "


async def decide(tool: str, arguments: Mapping[str, Any]) -> Decision:
    """Gives what the person says about a call.

    Raises:
        EOFError: If the terminal is closed.
    """
    prompt = f"{call_text(tool, arguments)}\nApprove this call? (approve, approve all, deny, deny WHY)\n> "
    while True:
        decision = read_decision(await _line(prompt), "terminal")
        if decision is not None:
            return decision
        prompt = "approve, approve all or deny is expected.\n> "


def read_decision(text: str, source: str) -> Decision | None:
    """Gives the decision that a person writes as `approve`, `approve all`, `deny` or `deny WHY`."""
    word, _, rest = text.strip().partition(" ")
    word, rest = word.casefold().rstrip(":"), rest.strip()
    if word in ("deny", "no", "n"):
        return Decision(approved=False, source=source, reason=rest)
    if word in ("approve", "yes", "y") and rest.casefold() in ("", "all"):
        return Decision(approved=True, source=source, is_for_run=bool(rest))
    return None


def call_text(tool: str, arguments: Mapping[str, Any]) -> str:
    """A call with all its arguments, one a line, as JSON in which nothing is hidden or left out."""
    lines = [f"  {visible(name)} = {_shown(value)}" for name, value in arguments.items()]
    return "\n".join([f"{tool}({'' if lines else ')'}", *lines, *([")"] if lines else [])])


def _shown(value: Any) -> str:
    # In JSON a line feed and a tab inside a text are escapes, so no argument can look like another one.
    return visible(json.dumps(value, ensure_ascii=False, default=str))


def _prompt(question: Question) -> str:
    options = "".join(f"\n  - {visible(choice)}" for choice in question.choices)
    hints = [question.expected.rstrip(",")] if question.expected else []
    if question.default is not None:
        hints.append(f"empty for {visible(question.default)}")
    elif question.can_be_skipped:
        hints.append("empty to skip")
    if question.time_limit_seconds is not None:
        hints.append(f"within {question.time_limit_seconds:g} s")
    hint = f"\n({'; '.join(hints)})" if hints else ""
    return f"{visible(question.question)}{options}{hint}\n> "


async def _line(prompt: str, *, is_secret: bool = False) -> str:
    """Asks in the thread that waits for a run; while nobody does, the terminal belongs to its prompt."""
    read = _reader(prompt, is_secret=is_secret)
    while True:
        future = background.submit_to_waiting_thread(read)
        if future is not None:
            try:
                return await asyncio.wrap_future(future)
            except InterruptedError:
                await asyncio.get_running_loop().create_future()  # the run's cancel is on its way
            except asyncio.CancelledError:
                if not future.cancelled() or background.is_being_cancelled():
                    raise
                continue  # that thread went away before it asked
        if background.is_awaited():
            return await background.call_in_thread(read, "input")
        await asyncio.sleep(_LOOK_AGAIN_SECONDS)


def _reader(prompt: str, *, is_secret: bool) -> Callable[[], str]:
    if not is_secret:
        return lambda: input(prompt)
    import getpass

    # Looked up when it is called: while a cell runs, a kernel puts its own in the place of this one.
    return lambda: getpass.getpass(prompt)
