"""From a cell that was read to what it gives: the value, the task or the run, bound and shown once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..quick import carry_out
from ..texts import shorten, visible
from .html import plain_line, static_block

if TYPE_CHECKING:
    from ..runlogs import RunLog
    from .cells import Cell
    from .expressions import Namespace
    from .inside import Nested

MAX_SHOWN_CHARACTERS = 60_000
"""What a cell shows of a text result; the name it is bound to holds all of it."""


@dataclass(frozen=True)
class Text:
    """Plain text that a cell shows as it is."""

    text: str

    def __repr__(self) -> str:
        return self.text


class Prose(str):
    """A text result, shown as it reads and not as Python writes it; everything else is that of a `str`."""

    __slots__ = ()

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(shorten(visible(self), MAX_SHOWN_CHARACTERS))


@dataclass(frozen=True, repr=False)
class Block:
    """A run as the saved notebook shows it."""

    log: RunLog
    children: Sequence[Nested] = ()

    def __repr__(self) -> str:
        return plain_line(self.log)

    def _repr_html_(self) -> str:
        return static_block(self.log, self.children)


def run_cell(cell: Cell, namespace: Namespace, bind: Callable[[Mapping[str, Any]], None]) -> Any:
    """Gives what the cell gives, and binds it to the name the cell asks for, if any.

    That is the result; with `--bg` the `Run`, which works on; with `--lazy` the `Task`, which was not run;
    with `--dry-run` a `DryRun`. A run that fails binds nothing.

    Raises:
        UsageError: If something in the cell does not fit; nothing was spent.
        ModelNotConfigured: If it needs a model that is not there.
        TaskFailed: If the run failed; the class says why.
        TaskCancelled: If it was cancelled.
    """
    value = carry_out(
        cell.task(namespace),
        answers=cell.answers,
        view=cell.given.get("view"),
        lazy=cell.has("lazy"),
        bg=cell.has("bg"),
        dry_run=cell.has("dry-run"),
    )
    if cell.target is not None:
        bind({cell.target: value})
    return shown(value)


def shown(value: Any) -> Any:
    """Gives a result as a cell shows it: a text as prose, anything else as it is."""
    return Prose(value) if isinstance(value, str) else value
