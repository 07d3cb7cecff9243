"""From a cell that was read to what it gives: the value, the task or the run, bound and shown once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..texts import shorten, visible
from ..values import is_frame
from .html import plain_line, static_block

if TYPE_CHECKING:
    from ..runlogs import RunLog
    from ..running import Run
    from .cells import Cell
    from .expressions import Namespace

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

    def __repr__(self) -> str:
        return plain_line(self.log)

    def _repr_html_(self) -> str:
        return static_block(self.log)


def run_cell(cell: Cell, namespace: Namespace, bind: Callable[[Mapping[str, Any]], None]) -> Any:
    """Gives what the cell gives, and binds it to the name the cell asks for, if any.

    That is the result; with `--bg` the `Run`, which works on; with `--lazy` the `Task`, which was not run.
    A run that fails binds nothing.

    Raises:
        UsageError: If something in the cell does not fit; nothing was spent.
        ModelNotConfigured: If it needs a model that is not there.
        TaskFailed: If the run failed; the class says why.
        TaskCancelled: If it was cancelled.
    """
    task = cell.task(namespace)
    if cell.has("lazy"):
        value: Any = task
    else:
        run = task.start(answers=cell.answers)
        value = run if cell.has("bg") else result_of(run)
    if cell.target is not None:
        bind({cell.target: value})
    return Prose(value) if isinstance(value, str) else value


def result_of(run: Run[Any]) -> Any:
    """Waits for the run and gives its result; a table by its type comes as a DataFrame.

    Raises:
        TaskFailed: If the run failed.
        TaskCancelled: If it was cancelled.
    """
    value = run.wait()
    # `frames` imports pandas, which takes long, so only what can be a table asks it.
    if isinstance(value, list) or is_frame(value):
        from ..frames import is_tabular

        if is_tabular(run.task.result_type):
            return run.frame
    return value
