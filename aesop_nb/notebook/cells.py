"""A cell's text as a task, without IPython: objective, instructions, and the names its options use."""

from __future__ import annotations

import builtins
import datetime
import decimal
import keyword
import re
import typing
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from ..agents import Agent
from ..config import TaskConfig
from ..decorators import TaskFunction
from ..errors import UsageError
from ..models.transcript import Model
from ..results.columns import parse_columns
from ..tasks import Task
from ..texts import nearest, one_line
from ..variants import varied
from .expressions import Namespace, evaluate, is_shells, own_names, render
from .options import OPTIONS
from .parsing import Parsed, parse_options

TARGET = re.compile(r"\s*([^\s\"'<-][^\s<]*)?\s*<<(?!<)")


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What a `%%aesop` cell or an `%aesop ask` line says, before anything was looked up or spent.

    Attributes:
        target: The variable that gets the result, or `None`.
        given: The options, see `Parsed`.
        objective: The first paragraph, as written.
        instructions: All that follows it, as written.
    """

    target: str | None
    given: Mapping[str, Any]
    objective: str
    instructions: str = ""

    @classmethod
    def read(cls, line: str, body: str) -> Cell:
        """Reads a cell: the line behind `%%aesop`, and the lines below it.

        Raises:
            UsageError: If an option, the name or the body cannot be used.
        """
        if named := TARGET.match(line):
            target, parsed = _check_name(named[1] or "", "<<"), parse_options(line[named.end() :])
        else:
            target, parsed = None, parse_options(line)
        objective, instructions = split_body(body)
        if not objective and "run" not in parsed.given:
            raise UsageError("The cell is empty. Its first paragraph says what is to be done.")
        return cls(
            target=_one_target(target, parsed),
            given=parsed.given,
            objective=objective,
            instructions=instructions,
        )

    @classmethod
    def read_line(cls, line: str) -> Cell:
        """Reads what follows `%aesop ask`: options, then the objective.

        Raises:
            UsageError: If an option cannot be used or there is no text.
        """
        parsed = parse_options(line, takes_text=True)
        if not parsed.text.strip() and "run" not in parsed.given:
            raise UsageError("There is nothing to ask. Write for example: %aesop ask -r int How many …")
        return cls(target=_one_target(None, parsed), given=parsed.given, objective=parsed.text)

    def has(self, key: str) -> bool:
        """Whether the option was given."""
        return key in self.given

    @property
    def answers(self) -> list[str] | None:
        """The answers given beforehand, or `None`."""
        return self.given.get("answer")

    def task(self, namespace: Namespace) -> Task[Any]:
        """Gives the task, with everything it names looked up in the notebook's variables.

        Raises:
            UsageError: If a name is unknown, an expression fails or a value does not fit.
        """
        arguments = self._arguments(namespace)
        objective, instructions = self._texts(namespace)
        if self.has("run"):
            more = "\n\n".join(text for text in (objective, instructions) if text)
            return _variant(_runnable(self.given["run"], namespace), arguments, limits_of(self.given), more)
        return Task(
            objective,
            instructions=instructions,
            config=TaskConfig(**limits_of(self.given)),
            **arguments,
        )

    def _texts(self, namespace: Namespace) -> tuple[str, str]:
        """The objective and the instructions, filled in."""
        if self.has("raw"):
            return self.objective, self.instructions
        return render(self.objective, namespace), render(self.instructions, namespace)

    def _arguments(self, namespace: Namespace) -> dict[str, Any]:
        """What the options say about the task, as arguments of `Task`; without the limits."""
        readers: dict[str, tuple[str, Callable[[Any], Any]]] = {
            "name": ("name", str),
            "columns": ("result_type", lambda spec: list[parse_columns(spec)]),  # type: ignore[misc]
            "returns": ("result_type", lambda text: _type(text, namespace)),
            "input": ("context", lambda texts: dict(_input(text, namespace) for text in texts)),
            "tools": ("tools", lambda names: [_function(name, namespace) for name in names]),
            "agents": ("agents", lambda names: [_agent(name, namespace) for name in names]),
            "user": ("user_access", bool),
            "default": ("default_answer", str),
            "model": ("model", lambda name: _model(name, namespace)),
            "memory": ("memory_scope", str),
            "reuse": ("reuse", bool),
        }
        return {argument: read(self.given[key]) for key, (argument, read) in readers.items() if self.has(key)}


def split_body(body: str) -> tuple[str, str]:
    """Gives the first paragraph and the rest, without the blank lines around them and otherwise as they are.

    A line ends with a line feed, also behind a carriage return; a line of spaces and tabs is blank.
    """
    lines = body.split("\n")
    blank = [not line.strip(" \t\r") for line in lines]
    begin = _find(False, blank, 0)
    end = _find(True, blank, begin)
    rest = _find(False, blank, end)
    last = len(lines) - _find(False, blank[::-1], 0)
    return _joined(lines[begin:end]), _joined(lines[rest:last])


def _find(value: bool, values: list[bool], start: int) -> int:
    return next((place for place in range(start, len(values)) if values[place] is value), len(values))


def _joined(lines: list[str]) -> str:
    return "\n".join(lines).removesuffix("\r")


# What the options name -------------------------------------------------------------------------------


def type_names(source: str) -> dict[str, Any]:
    """Gives what `--returns` may name without an import; the notebook's own variables go first."""
    names = {name: getattr(typing, name) for name in ("Annotated", "Any", "Literal", "Optional", "Union")}
    names |= {name: getattr(datetime, name) for name in ("date", "datetime", "time", "timedelta")}
    names["Decimal"] = decimal.Decimal
    if "DataFrame" in source:
        import pandas as pd

        names["DataFrame"] = pd.DataFrame
    return names


def _type(source: str, namespace: Namespace) -> Any:
    return evaluate(source, {**type_names(source), **namespace}, f"--returns {source}")


def _check_name(name: str, option: str) -> str:
    """The name as Python reads it, which is in Unicode's form NFKC."""
    name = unicodedata.normalize("NFKC", name)
    if not name:
        raise UsageError("NAME is missing before <<. Write for example: %%aesop bakeries << …")
    if not name.isidentifier():
        raise UsageError(f"{option} needs the name of a variable, and {one_line(name)!r} is none.")
    if keyword.iskeyword(name):
        raise UsageError(f"{option} needs the name of a variable, and {name!r} is a word of Python's own.")
    return name


def _one_target(target: str | None, parsed: Parsed) -> str | None:
    if "out" not in parsed.given:
        return target
    out = _check_name(parsed.given["out"], "--out")
    if target is not None:
        raise UsageError(f"The result can have one name, not both {target!r} and {out!r}.")
    return out


def _look_up(path: str, namespace: Namespace, option: str, fits: Callable[[Any], bool]) -> Any:
    """The value of `name` or `name.attribute`."""
    name, *attributes = path.split(".")
    if name not in namespace:
        candidates = _names(namespace, fits)
        hint = nearest(name, candidates)
        if (
            not hint and candidates and option != "--input"
        ):  # where any variable would do, a list helps nobody
            hint = f" There are: {one_line(', '.join(sorted(candidates)), 100)}."
        raise UsageError(f"{option}: there is no {one_line(name)!r} in this notebook.{hint}")
    value = namespace[name]
    for attribute in attributes:
        if not hasattr(value, attribute):
            raise UsageError(f"{option}: {name!r} has no {one_line(attribute)!r}.")
        value = getattr(value, attribute)
    return value


def _names(namespace: Namespace, fits: Callable[[Any], bool]) -> list[str]:
    return [name for name in own_names(namespace) if fits(namespace[name])]


def is_tool(value: Any) -> bool:
    """Whether a variable may be meant as a tool; IPython's own `exit`, `open` and their like are not."""
    return callable(value) and not isinstance(value, type) and not is_shells(value)


def _function(path: str, namespace: Namespace) -> Any:
    name = re.split(r"[.\[]", path)[0]
    builtin = None if name in namespace else getattr(builtins, name, None)
    if isinstance(builtin, type):
        raise UsageError(
            f"--tools: {one_line(path)!r} is a type. The type of the result is named by -r: -r {one_line(path)}."
        )
    if builtin is not None:
        namespace = {**namespace, name: builtin}
    found = _look_up(path, namespace, "--tools", is_tool)
    if not callable(found):
        raise UsageError(f"--tools: {path!r} is {_kind(found)}, and a tool is a function.")
    return found


def _agent(path: str, namespace: Namespace) -> Agent:
    found = _look_up(path, namespace, "--agents", lambda value: isinstance(value, Agent))
    if not isinstance(found, Agent):
        raise UsageError(f"--agents: {path!r} is {_kind(found)}, not an Agent.")
    return found


def _kind(value: Any) -> str:
    kind = type(value).__name__
    return f"{'an' if kind[0].lower() in 'aeiou' else 'a'} {kind}"


def _model(name: str, namespace: Namespace) -> Model | str:
    """A variable that holds a model, else the name itself."""
    found = namespace.get(name)
    return found if isinstance(found, Model) and not isinstance(found, type) else name


def _input(text: str, namespace: Namespace) -> tuple[str, Any]:
    name, equals, expression = text.partition("=")
    name = _check_name(name.strip(), "--input")
    if equals:
        return name, evaluate(expression, namespace, f"--input {text}")
    return name, _look_up(name, namespace, "--input", lambda _: True)


def limits_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """Gives the limits among the options, by the names `TaskConfig` has for them.

    Raises:
        UsageError: If one does not fit; each is checked by itself, so that the error names what was typed.
    """
    limits = {}
    for option in OPTIONS:
        if option.limit and option.key in given:
            limits[option.limit] = given[option.key]
            try:
                TaskConfig(**{option.limit: given[option.key]})
            except UsageError as exc:
                raise UsageError(f"{option.long} {given[option.key]!r} does not fit: {_why(exc)}.") from exc
    return limits


def _why(exc: UsageError) -> str:
    cause = exc.__cause__
    return str(cause.errors()[0]["msg"]) if isinstance(cause, ValidationError) else str(exc)


# A task that is there already ------------------------------------------------------------------------


def is_runnable(value: Any) -> bool:
    """Whether `--run` can name it."""
    return isinstance(value, Task | TaskFunction)


def _runnable(path: str, namespace: Namespace) -> Task[Any] | TaskFunction[..., Any]:
    found = _look_up(path, namespace, "--run", is_runnable)
    if not is_runnable(found):
        raise UsageError(f"--run: {path!r} is {_kind(found)}, neither a Task nor a @task function.")
    return found


def _variant(
    base: Task[Any] | TaskFunction[..., Any], changes: dict[str, Any], limits: dict[str, Any], more: str
) -> Task[Any]:
    """The task with some arguments changed; the task itself where nothing is."""
    inputs = changes.pop("context", {})
    if isinstance(base, TaskFunction):
        base = _called(base, inputs)
    elif inputs:
        changes["context"] = {**base.context, **inputs}
    if limits:
        changes["config"] = TaskConfig(**{**base.config.model_dump(exclude_unset=True), **limits})
    if more:
        changes["instructions"] = "\n\n".join(text for text in (base.instructions, more) if text)
    return varied(base, **changes) if changes else base


def _called(function: TaskFunction[..., Any], inputs: Mapping[str, Any]) -> Task[Any]:
    try:
        return function.task(**inputs)
    except TypeError as exc:
        raise UsageError(
            f"--run: {one_line(str(exc), 200)}. Inputs are given by -i NAME or -i NAME=EXPR."
        ) from None
