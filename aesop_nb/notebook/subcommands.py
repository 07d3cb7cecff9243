"""What the subcommands of `%aesop` share: their rows, the notebook they work on, and which run is meant."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from ..sessions import find_run, last_run, recent_runs
from ..texts import one_line

if TYPE_CHECKING:
    from ..running import Run
    from .expressions import Namespace

NOTHING_RAN = "Nothing has run yet. A cell that begins with %%aesop runs a task; %aesop help says more."

ID = "[ID]"
"""How the help writes a run's id that may be left out."""


@dataclass(frozen=True, kw_only=True)
class Notebook:
    """What a subcommand needs of the shell.

    Attributes:
        namespace: The variables.
        bind: Adds some.
        write_next: Puts a text into the next cell.
    """

    namespace: Namespace
    bind: Callable[[Mapping[str, Any]], None]
    write_next: Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Command:
    """One subcommand.

    Attributes:
        name: The first word after `%aesop`.
        arguments: What follows it, as the help writes it; completion offers what its words stand for, such as
            run ids for `ID`.
        help: What it gives, in a sentence.
        example: A line that uses it, without `%aesop`.
        function: Called with the notebook and what follows the name.
    """

    name: str
    arguments: str = ""
    help: str
    example: str = ""
    function: Callable[[Notebook, str], Any]


def latest() -> Run[Any]:
    """Gives the run that was started last.

    Raises:
        UsageError: If there is none.
    """
    found = last_run()
    if found is None:
        raise UsageError(NOTHING_RAN)
    return found


def under_way() -> list[Run[Any]]:
    """Gives the runs that have not ended, without those that tools of others have started."""
    recent = recent_runs()
    inner = {child for run in recent for child in run.children}
    return [run for run in recent if not run.status.is_final and run not in inner]


def only(candidates: list[Run[Any]], which: str) -> Run[Any]:
    """Gives the one candidate.

    Raises:
        UsageError: If there are several; the message names them, and `which` says what they have in common.
    """
    if len(candidates) > 1:
        ids = ", ".join(f"{run.id} ({one_line(run.log.task, 30)})" for run in candidates[-5:])
        raise UsageError(f"Several runs {which}: {ids}. Say which one.")
    return candidates[0]


def named_or_latest(text: str) -> Run[Any]:
    """Gives the run that `text` names, or the latest where it is empty."""
    return find_run(one_word(text)) if text else latest()


def one_word(text: str, what: str = "run") -> str:
    """Gives `text`, which must be one word; `what` says what it names.

    Raises:
        UsageError: If it is not.
    """
    if len(text.split()) > 1:
        raise UsageError(f"One {what} is named here, not {one_line(text)!r}.")
    return text
