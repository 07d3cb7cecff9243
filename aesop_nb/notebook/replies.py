"""What `%aesop answer` does with its text: an answer, a skip, a decision, or a secret typed where none is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..engine.terminals import read_decision
from ..errors import UsageError
from ..runlogs import Approval
from ..texts import one_line
from .parsing import unquote

if TYPE_CHECKING:
    from ..runlogs import Exchange
    from ..running import Run

SKIP = "--skip"


def reply(run: Run[Any], text: str) -> str:
    """Gives what a run waits for, from the text behind `%aesop answer`, and says in a line what was done.

    Raises:
        UsageError: If it is not what the run waits for, which stays open.
    """
    waiting = run.log.waiting_for
    if isinstance(waiting, Approval):
        return _decide(run, waiting, text)
    # What is read here is for this question and no other one, which may be open when it arrives.
    question_id = waiting.name if waiting else None
    if text == SKIP:
        run.skip(question_id=question_id)
        return f"skipped the question of {run.id}"
    if waiting is not None and waiting.kind == "secret":
        return _give_secret(run, waiting, text)
    if not text:
        raise UsageError(f"There is no answer. Write for example: %aesop answer {run.id} yes")
    run.answer(unquote(text), question_id=question_id)
    return f"answered {run.id}: {one_line(unquote(text))}"


def _decide(run: Run[Any], waiting: Approval, text: str) -> str:
    decision = read_decision(unquote(text), "call")
    if decision is None:
        raise UsageError(
            f"Run {run.id!r} waits for approval of a call. Write %aesop answer {run.id} approve, "
            "approve all (of this tool, in this run), deny, or deny and why."
        )
    if decision.approved:
        run.approve(waiting.call_id, whole_run=decision.is_for_run)
    else:
        run.deny(decision.reason, call_id=waiting.call_id)
    return f"{'approved' if decision.approved else 'denied'} the call of {run.id}"


def _give_secret(run: Run[Any], waiting: Exchange, text: str) -> str:
    if text:
        raise UsageError(
            f"Run {run.id!r} asks for a secret, and what is written here is saved with the notebook. "
            f"Write %aesop answer {run.id} alone, and type it into the field that opens."
        )
    import getpass

    run.answer(getpass.getpass(f"{one_line(waiting.question)} "), question_id=waiting.question_id)
    return f"answered {run.id} with a secret"
