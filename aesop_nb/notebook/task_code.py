"""A task as the source of a `@task` function that makes an equal one.

Every text of the task becomes a Python literal, and every name in the source is an identifier: an objective that
a model, a page or a cell value has a part in can be read in the source, but never becomes code.
"""

from __future__ import annotations

import builtins
import datetime
import decimal
import enum
import importlib
import inspect
import keyword
import re
import sys
import types
import typing
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from ..decorators import TaskFunction
from ..errors import UsageError
from ..results.columns import column_types, row_model
from ..tasks import Task
from ..texts import one_line
from ..tools import Tool
from ..variants import arguments_of
from .expressions import Namespace, own_names

_LINE = 88
_PLAIN = (str, int, float, bool, bytes, type(None))
_COLUMN_TYPES = (str, int, float, bool, datetime.date, datetime.datetime)
_CHOICES = (list, tuple, set, frozenset)
_SAID_ELSEWHERE = ("objective", "name", "instructions", "context", "result_type", "parent")


@dataclass(frozen=True, kw_only=True)
class TaskCode:
    """The source of a cell.

    Attributes:
        source: Defines the function and calls it.
        notes: What of the task the source does not say, in sentences.
    """

    source: str
    notes: tuple[str, ...] = ()


def task_code(task: Task[Any], namespace: Namespace) -> TaskCode:
    """Gives the cell that defines a `@task` function for `task` and calls it.

    Functions, agents, models and large values are named as the notebook names them.

    Raises:
        UsageError: If something in the task has no name in the notebook and cannot be written as a literal.
    """
    writer = _Writer(namespace)
    given = arguments_of(task)
    options = dict(_options(given, writer))
    inputs: dict[str, str] = {}
    if all(_is_parameter(key) for key in task.context):
        inputs = {key: writer.value(value, f"input {key!r}", key) for key, value in task.context.items()}
    else:
        options["context"] = writer.value(dict(task.context), "the inputs")
    returned = _add_result(given["result_type"], options, writer)
    decorator = writer.own("task")
    name = _function_name(task.name, {*namespace, *writer.names} - _task_functions(namespace))
    docstring = _docstring(task.instructions)
    options["objective"] = _text(task.objective)
    if task.name != name:
        options["name"] = _text(task.name)
    if docstring is None and task.instructions:
        options["instructions"] = _text(task.instructions)
    order = dict.fromkeys(("objective", "name", "instructions", "context", *options))
    lines = [
        f"@{decorator}(",
        *(f"    {key}={options[key]}," for key in order if key in options),
        ")",
        f"def {name}({', '.join(inputs)}){returned}:",
        f"    {docstring or '...'}",
        "",
        "",
        f"{name}({', '.join(f'{key}={value}' for key, value in inputs.items())})",
    ]
    return TaskCode(source="\n".join([*writer.head(), *lines]), notes=_notes(task))


def _options(given: Mapping[str, Any], writer: _Writer) -> Iterable[tuple[str, str]]:
    """The options of the decorator that differ from what it would do by itself."""
    plain = arguments_of(Task("x", parent=given["parent"]))
    for key, value in given.items():
        if key in _SAID_ELSEWHERE or value == plain[key]:
            continue
        yield key, writer.option(key, value)


def _add_result(kind: Any, options: dict[str, str], writer: _Writer) -> str:
    """Gives the return annotation with its arrow; what is none becomes an option, as the validator does."""
    if kind.validator is not None:
        options["result_validator"] = writer.name(kind.validator, "result_validator")
    written = writer.annotation(kind.annotation)
    if isinstance(kind.annotation, _CHOICES):
        options["result_type"] = written
        return ""
    return f" -> {written}"


def _notes(task: Task[Any]) -> tuple[str, ...]:
    notes = []
    if task.parent is not None or task._flow.agents or task._flow.tools:
        notes.append("The task or flow around it is not a part of it: run the cell inside the same `with`.")
    if task._standing:
        notes.append("It was made inside aesop_nb.instructions(…), which is not a part of it.")
    return tuple(notes)


# Names and texts -------------------------------------------------------------------------------------


def _function_name(name: str, taken: Collection[str]) -> str:
    """A name for the function that is an identifier and means nothing else in the cell or the notebook."""
    made = re.sub(r"[^0-9a-zA-Z_]+", "_", name).strip("_")[:40].rstrip("_") or "do_it"
    made = made if name == made else made.lower()
    if made[0].isdigit() or keyword.iskeyword(made) or hasattr(builtins, made):
        made = f"do_{made}"
    while made in taken:
        made += "_task"
    return made


def _task_functions(namespace: Namespace) -> set[str]:
    """Names that may be taken over: the function of such a name is most likely the one the task is from."""
    return {name for name, value in namespace.items() if isinstance(value, TaskFunction)}


def _is_parameter(name: str) -> bool:
    """Whether an input can be a parameter; the decorator leaves `self` out and takes two names for itself."""
    return _is_name(name) and name not in ("self", "cls", "lazy_", "answers_")


def _is_name(name: str) -> bool:
    return name.isascii() and name.isidentifier() and not keyword.iskeyword(name)


def _text(text: str) -> str:
    """A text as a literal, over several lines where it is long."""
    if len(repr(text)) <= _LINE:
        return repr(text)
    pieces = [
        line[start : start + _LINE]
        for line in text.splitlines(keepends=True)
        for start in range(0, len(line), _LINE)
    ]
    return "(\n" + "\n".join(f"        {piece!r}" for piece in pieces) + "\n    )"


def _docstring(text: str) -> str | None:
    """The instructions as a docstring that reads back as they are, or `None` where none does.

    IPython looks at the beginnings of lines in a cell, so a line that begins like a magic stays out of one.
    """
    lines = text.split("\n")
    if not text or '"' in text[-1:] or '"""' in text or "\\" in text:
        return None
    if not all(line.isprintable() and line.lstrip()[:1] not in ("%", "!", "?", ">", ".") for line in lines):
        return None
    if any(re.match(r"\s*(In )?\[\d+\]:", line) for line in lines) or inspect.cleandoc(text) != text:
        return None
    inner = "\n".join([lines[0], *(f"    {line}" if line else "" for line in lines[1:])])
    return f'"""{inner}"""' if len(lines) == 1 else f'"""{inner}\n    """'


# Values ----------------------------------------------------------------------------------------------


@dataclass
class _Writer:
    """Writes values and types, and keeps the imports they need."""

    namespace: Namespace
    names: set[str] = field(default_factory=set)
    _imports: set[str] = field(default_factory=set)
    _rows: list[str] = field(default_factory=list)

    def head(self) -> list[str]:
        """The lines that stand before the function."""
        return [*sorted(self._imports), "", *self._rows, *([""] if self._rows else []), ""]

    def own(self, name: str) -> str:
        """A name of the package's own."""
        return self._imported("aesop_nb", name)

    def _imported(self, module: str, name: str) -> str:
        """The name under which the cell knows `module.name`: its own, unless the notebook uses that one."""
        value = getattr(importlib.import_module(module), name)
        local = name
        while self.namespace.get(local, value) is not value:
            local += "_"
        self.names.add(local)
        self._imports.add(f"from {module} import {name}{f' as {local}' if local != name else ''}")
        return local

    def option(self, key: str, value: Any) -> str:
        """An argument of the decorator."""
        match key:
            case "config":
                limits = value.model_dump(exclude_unset=True)
                inner = ", ".join(f"{name}={self.value(limit, name)}" for name, limit in limits.items())
                return f"{self.own('TaskConfig')}({inner})"
            case "tools" | "agents" | "depends_on":
                return "[" + ", ".join(self.name(item, key) for item in value) + "]"
            case "default_answer":
                return _text(value)
            case _:
                return self.value(value, key)

    def value(self, value: Any, what: str, preferred: str = "") -> str:
        """A value as a literal, or by its name in the notebook."""
        if preferred and _is_name(preferred) and self.namespace.get(preferred) is value is not None:
            return preferred
        literal = self._literal(value)
        return literal if literal is not None else self.name(value, what)

    def _literal(self, value: Any) -> str | None:
        """The literal that reads back as an equal value, or `None` where there is none of reasonable length."""
        kind = type(value)
        if kind is float and (value != value or value in (float("inf"), float("-inf"))):
            return f"float({str(value)!r})"
        if kind in _PLAIN:
            return _text(value) if kind is str else repr(value)
        if kind in (datetime.date, datetime.datetime, datetime.time, datetime.timedelta, decimal.Decimal):
            if getattr(value, "tzinfo", None) not in (None, datetime.UTC):
                return None
            return self._dated(value)
        if kind in (*_CHOICES, dict) and len(value) <= 1_000:
            return self._container(value)
        return None

    def _dated(self, value: Any) -> str:
        module, name = type(value).__module__, type(value).__name__
        text = repr(value)
        text = text[text.index("(") :]
        if "datetime.timezone.utc" in text:
            text = text.replace("datetime.timezone.utc", self._imported("datetime", "timezone") + ".utc")
        return self._imported(module, name) + text

    def _container(self, value: Any) -> str | None:
        if isinstance(value, dict):
            pairs = [(self._literal(key), self._literal(item)) for key, item in value.items()]
            if any(None in pair for pair in pairs):
                return None
            return "{" + ", ".join(f"{key}: {item}" for key, item in pairs) + "}"
        items = [self._literal(item) for item in value]
        if None in items:
            return None
        inner = ", ".join(item for item in items if item is not None)
        if isinstance(value, tuple):
            return f"({inner},)" if len(items) == 1 else f"({inner})"
        if isinstance(value, list):
            return f"[{inner}]"
        return (
            f"{type(value).__name__}([{inner}])"
            if isinstance(value, frozenset) or not items
            else f"{{{inner}}}"
        )

    def name(self, value: Any, what: str) -> str:
        """How the notebook, the builtins or a module name an object.

        Raises:
            UsageError: If none of them does.
        """
        function = value.function if isinstance(value, Tool) else value
        for wanted in (value, function):
            if (found := self._variable(wanted)) is not None:
                return found
        owner = getattr(function, "__self__", None)
        method = str(getattr(function, "__name__", ""))
        if owner is not None and _is_name(method) and not inspect.ismodule(owner):
            named = self._variable(owner)
            if named is not None and getattr(owner, method, None) == function:
                return f"{named}.{method}"
        if (importable := self._importable(function)) is not None:
            return importable
        raise UsageError(
            f"{what}: {one_line(repr(value), 80)} has no name in this notebook. Bind it to a variable first."
        )

    def _variable(self, value: Any) -> str | None:
        names = (name for name in own_names(self.namespace) if _is_name(name))
        return next((name for name in names if self.namespace[name] is value), None)

    def _importable(self, value: Any) -> str | None:
        """The name by which the builtins or a module that is loaded give this very object."""
        module, name = str(getattr(value, "__module__", "")), str(getattr(value, "__qualname__", ""))
        if not _is_name(name) or module == "__main__":
            return None
        if getattr(sys.modules.get(module), name, None) is not value:
            return None
        if module == "builtins":
            return name if self.namespace.get(name, value) is value else None
        if not all(_is_name(part) for part in module.split(".")):
            return None
        return self._imported(module, name)

    # Types -------------------------------------------------------------------------------------------

    def annotation(self, kind: Any) -> str:
        """A type as it is written, or the objects to choose from."""
        if kind is None or kind is type(None):
            return "None"
        if isinstance(kind, _CHOICES):
            return self.value(kind, "the choices")
        if kind is Ellipsis:
            return "..."
        if (named := self._variable(kind)) is not None:
            return named
        origin, arguments = typing.get_origin(kind), typing.get_args(kind)
        if origin is typing.Literal:
            return f"{self._imported('typing', 'Literal')}[{', '.join(map(self._member, arguments))}]"
        if origin in (typing.Union, types.UnionType):
            return " | ".join(self.annotation(part) for part in arguments)
        if origin is typing.Annotated:
            first, *others = arguments
            parts = [self.annotation(first), *(self.value(other, "an annotation") for other in others)]
            return f"{self._imported('typing', 'Annotated')}[{', '.join(parts)}]"
        if origin is not None:
            inner = ", ".join(self._inner(part) for part in arguments)
            return f"{self.annotation(origin)}[{inner}]"
        if kind is typing.Any:
            return self._imported("typing", "Any")
        if (spec := _columns_spec(kind)) is not None:
            return self._row(spec)
        return self.name(kind, "the result type")

    def _inner(self, part: Any) -> str:
        """A parameter of a generic; `Callable[[int], str]` has a list among them."""
        return f"[{', '.join(map(self._inner, part))}]" if isinstance(part, list) else self.annotation(part)

    def _member(self, value: Any) -> str:
        if isinstance(value, enum.Enum) and _is_name(value.name):
            return f"{self.annotation(type(value))}.{value.name}"
        return self.value(value, "a choice")

    def _row(self, spec: str) -> str:
        name = "Row"
        while name in self.namespace:
            name += "_"
        self.names.add(name)
        parse = self._imported("aesop_nb.results.columns", "parse_columns")
        line = f"{name} = {parse}({spec!r})"
        if line not in self._rows:
            self._rows.append(line)
        return name


def _columns_spec(kind: Any) -> str | None:
    """The text for `parse_columns` that gives an equal model of a row, if it was made from one."""
    if (
        not (isinstance(kind, type) and issubclass(kind, BaseModel))
        or kind.__module__ != row_model.__module__
    ):
        return None
    return ", ".join(_column(name, annotation) for name, annotation in column_types(kind).items())


def _column(name: str, annotation: Any) -> str:
    parts = [part for part in typing.get_args(annotation) or (annotation,) if part is not type(None)]
    (kind,) = (known for known in _COLUMN_TYPES if known is parts[0])
    return f"{name}:{kind.__name__}{'?' if typing.get_args(annotation) else ''}"
