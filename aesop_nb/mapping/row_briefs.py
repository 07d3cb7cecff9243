"""From a row to what the engine does with it: the same brief for all rows, with the row's cells as inputs."""

from __future__ import annotations

import inspect
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..engine.asking import GivenAnswers
from ..errors import UsageError
from ..fingerprints import Unstable, fingerprint
from ..reusing import parts_of_task
from ..texts import nearest
from .map_logs import said
from .templates import column_named, columns_in, filled

if TYPE_CHECKING:
    from ..decorators import TaskFunction
    from ..engine.attempts import Brief
    from ..tasks import Task
    from .rows import Row, Rows

Columns = str | Hashable | Sequence[Hashable] | Mapping[str, Hashable] | None
"""Which columns a task gets: by input name, or the columns themselves."""


@dataclass(frozen=True, kw_only=True)
class Binding:
    """How the cells of a row become a task.

    Attributes:
        task: The task for all rows.
        columns: The columns that are drawn.
        inputs: Name of an input → its place among them.
        words: Name in a template → its place among them.
    """

    task: Task[Any]
    columns: tuple[Hashable, ...]
    inputs: Mapping[str, int]
    words: Mapping[str, int]

    def context(self, row: Row) -> dict[str, Any]:
        """Gives the inputs for a row, with those that all rows share."""
        return {**self.task.context, **{name: row[place] for name, place in self.inputs.items()}}

    def filled(self, text: str, row: Row) -> str:
        """Gives a text of the task for a row."""
        return filled(text, lambda name: row[self.words[name]]) if "{{" in text else text


def bind_function(function: TaskFunction[..., Any], rows: Rows, columns: Columns) -> Binding:
    """Binds the parameters of a `@task` function to columns.

    Raises:
        UsageError: If a parameter has no column, or a column is not there.
    """
    parameters = inspect.signature(function).parameters
    taken = {name: p for name, p in parameters.items() if p.kind not in _STARRED}
    takes_all = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    wanted = _by_input(function.name, list(taken), rows, columns, takes_all=takes_all)
    for name, parameter in taken.items():
        if parameter.default is parameter.empty and name not in wanted:
            raise UsageError(
                f"{function.name}() needs {name!r}, and no column is bound to it. "
                f"Write columns={{{name!r}: 'column'}}.{_listed(rows)}"
            )
    positional = [None for p in taken.values() if p.kind is p.POSITIONAL_ONLY and p.name in wanted]
    named = {
        n: None for n in wanted if n not in taken or taken[n].kind is not inspect.Parameter.POSITIONAL_ONLY
    }
    drawn = tuple(dict.fromkeys(wanted.values()))
    places = {name: drawn.index(column) for name, column in wanted.items()}
    return Binding(task=function.task(*positional, **named), columns=drawn, inputs=places, words={})


_STARRED = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def _by_input(
    name: str, inputs: list[str], rows: Rows, columns: Columns, *, takes_all: bool
) -> dict[str, Hashable]:
    """Gives input → column."""
    if rows.names is None:
        return _of_values(name, inputs, rows, columns)
    if isinstance(columns, Mapping):
        _refuse_unknown(
            name, [wanted for wanted in columns if wanted not in inputs], inputs, takes_all=takes_all
        )
        return {
            wanted: column_named_in(rows, column, f"columns[{wanted!r}]")
            for wanted, column in columns.items()
        }
    if columns is None:
        by_text = {str(column): column for column in rows.names}
        bound = {wanted: _once(rows, by_text[wanted]) for wanted in inputs if wanted in by_text}
        return {**bound, **({t: c for t, c in by_text.items() if t not in inputs} if takes_all else {})}
    listed = columns if isinstance(columns, (list, tuple)) and columns not in rows.names else [columns]
    found = [column_named_in(rows, column, "columns=") for column in listed]
    if len(found) == 1 and inputs and str(found[0]) not in inputs and not takes_all:
        return {inputs[0]: found[0]}
    _refuse_unknown(
        name, [str(column) for column in found if str(column) not in inputs], inputs, takes_all=takes_all
    )
    return {str(column): column for column in found}


def _of_values(name: str, inputs: list[str], rows: Rows, columns: Columns) -> dict[str, Hashable]:
    if columns is None:
        wanted = inputs[:1]
    elif isinstance(columns, Mapping):
        wanted = list(columns)
    else:
        wanted = [str(column) for column in columns] if isinstance(columns, (list, tuple)) else [str(columns)]
    _refuse_unknown(name, [text for text in wanted if text not in inputs], inputs, takes_all=False)
    return dict.fromkeys(wanted[:1], rows.value_name)


def _refuse_unknown(name: str, unknown: list[str], inputs: list[str], *, takes_all: bool) -> None:
    if unknown and not takes_all:
        raise UsageError(f"{name}() has no parameter {unknown[0]!r}.{nearest(unknown[0], inputs)}")


def bind_task(task: Task[Any], rows: Rows, columns: Columns) -> Binding:
    """Binds a task with `{{column}}` in its words, or with columns as its inputs.

    Without `columns`, those that stand in the words are put there and no other is sent; if none does, the task
    gets all columns as inputs.

    Raises:
        UsageError: If a column is not there.
    """
    names = rows.names if rows.names is not None else (rows.value_name,)
    in_words = list(dict.fromkeys([*columns_in(task.objective), *columns_in(task.instructions)]))
    if rows.names is None and "value" in in_words and rows.value_name != "value":
        names = ("value",)
    words = {name: column_named(name, names, f"{{{{{name}}}}}") for name in in_words}
    if isinstance(columns, Mapping):
        inputs = {
            str(name): column_named_in(rows, column, f"columns[{name!r}]") for name, column in columns.items()
        }
    elif columns is not None:
        listed = columns if isinstance(columns, (list, tuple)) and columns not in names else [columns]
        inputs = {str(column): column_named_in(rows, column, "columns=") for column in listed}
    else:
        inputs = {} if words else {str(column): _once(rows, column) for column in names}
    for column in words.values():
        _once(rows, column)
    drawn = tuple(dict.fromkeys([*words.values(), *inputs.values()]))
    return Binding(
        task=task,
        columns=drawn,
        inputs={name: drawn.index(column) for name, column in inputs.items()},
        words={name: drawn.index(column) for name, column in words.items()},
    )


def column_named_in(rows: Rows, column: Any, where: str) -> Hashable:
    """Gives the column that is meant, if the rows have it once."""
    names = rows.names if rows.names is not None else (rows.value_name,)
    if isinstance(column, Hashable) and column in names:
        return _once(rows, column)
    return _once(rows, column_named(str(column), names, where))


def _once(rows: Rows, column: Hashable) -> Hashable:
    if rows.names is not None and rows.names.count(column) > 1:
        raise UsageError(f"There are {rows.names.count(column)} columns named {column!r}; rename one.")
    return column


def _listed(rows: Rows) -> str:
    if rows.names is None:
        return ""
    return f" There are: {', '.join(str(name) for name in rows.names[:20])}{' …' if rows.names[20:] else ''}."


class RowBriefs:
    """Gives the brief and the key of each row.

    Attributes:
        brief: What all rows share.
        obstacle: Why rows have no key, so that none can be found again; empty if they have.
    """

    def __init__(self, brief: Brief, binding: Binding) -> None:
        self.brief = brief
        self.obstacle = ""
        self._binding = binding
        self._shared = {name: value for name, value in brief.context.items() if name not in binding.inputs}
        self._constant = ""
        try:
            parts = parts_of_task(brief, GivenAnswers(None))
            places = [sorted(binding.inputs.items()), sorted(binding.words.items())]
            self._constant = fingerprint(["map row 1", parts, places, self._shared])
        except Unstable as exc:
            self.obstacle = f"the task depends on {exc}, which has no stable form"

    def brief_of(self, row: Row) -> Brief:
        """Gives the brief of one row."""
        binding, brief = self._binding, self.brief
        context = {**brief.context, **{name: row[place] for name, place in binding.inputs.items()}}
        if not binding.words:
            return replace(brief, context=context)
        return replace(
            brief,
            context=context,
            objective=binding.filled(brief.objective, row),
            instructions=binding.filled(brief.instructions, row),
        )

    def words_of(self, row: Row) -> dict[str, str]:
        """Gives the cells of a row for a person, by column; long ones are cut."""
        columns = self._binding.columns
        return {
            said(column, 80): "" if value is None else said(value, 400)
            for column, value in zip(columns, row, strict=True)
        }

    def key_of(self, row: Row) -> str | None:
        """Gives the sha256 of all that a row's result depends on; `None` where that has no stable form."""
        if not self._constant:
            return None
        try:
            return fingerprint([self._constant, *row])
        except Exception:  # noqa: BLE001  # a cell of a type of the person's
            return None
