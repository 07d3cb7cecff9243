"""Result types: what the model is told to hand in, and how what it hands in becomes the value.

A result type is made once per task with `ResultType.of`. Each kind of type is one small class here or in
`choices.py` with the same five questions: its schema, how a handed-in value or a plain text becomes the
value, and how the value is written as JSON and as text.
"""

from __future__ import annotations

import enum
import functools
import inspect
import json
import math
import re
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from pydantic import TypeAdapter, ValidationError

from ..errors import UsageError
from ..models.transcript import ToolSpec
from ..texts import clean_text, one_line, shorten
from ..values import is_frame, json_value, label, value_text
from .choices import Choice, Several
from .columns import Column, column_types, frame_rows, make_frame, parse_columns, row_model
from .schemas import ResultMismatch, describe, explain, surprises, type_label

__all__ = ["ResultMismatch", "ResultType", "parse_columns"]

_MAX_TEXT = 2_000
_BLANKS = " \t\r\n"
_FENCED = re.compile(r"```[a-zA-Z]*[ \t]*\n(.*?)\n?[ \t]*```", re.DOTALL)
_NO_RESULT = "mark_successful needs the argument `result`: call it again with the result."
_GIVE_UP = "If it cannot be done, call mark_failed with the reason. Never make up a result."


class _Kind(Protocol):
    @property
    def schema(self) -> dict[str, Any] | None: ...

    def pick(self, answer: Any) -> Any: ...

    def to_json(self, value: Any) -> Any: ...

    def to_text(self, value: Any) -> str: ...


class _Nothing:
    """`None`: finishing is all; anything handed in is a mistake."""

    schema = None

    def pick(self, answer: Any) -> None:
        if answer is not None:
            raise ResultMismatch(
                f"This task has no result, but {one_line(repr(answer), 80)} was handed in. "
                "Call mark_successful without arguments."
            )

    def to_json(self, value: Any) -> Any:
        return json_value(value)

    def to_text(self, value: Any) -> str:
        return "" if value is None else label(value)


@dataclass(frozen=True, eq=False)
class _Typed:
    """Anything pydantic can check and describe."""

    adapter: TypeAdapter[Any]
    schema: dict[str, Any]

    @property
    def is_text(self) -> bool:
        return self.schema.get("type") == "string" and not self.schema.keys() & {"format", "enum", "const"}

    def pick(self, answer: Any) -> Any:
        if problems := surprises(answer, self.schema):
            raise ResultMismatch(problems)
        text = clean_text(json.dumps(answer, ensure_ascii=False, default=json_value))
        try:
            return self.adapter.validate_json(text)
        except ValidationError as exc:
            if isinstance(answer, str) and answer.lstrip()[:1] in ("[", "{"):
                # Some models write a nested value as JSON in a string.
                for inner in _json_values(answer):
                    return self.pick(inner)
            raise ResultMismatch(explain(exc)) from exc

    def to_json(self, value: Any) -> Any:
        dumped = self.adapter.dump_python(
            value, mode="json", by_alias=True, round_trip=True, warnings="error"
        )
        return json_value(dumped)

    def to_text(self, value: Any) -> str:
        return value if isinstance(value, str) else value_text(self.to_json(value))


@dataclass(frozen=True, eq=False)
class _Table:
    """A DataFrame: handed in as a list of objects, one per row."""

    frame_class: Any
    rows: _Typed
    kinds: Mapping[str, Any] | None

    @property
    def schema(self) -> dict[str, Any]:
        text = "The table: one object per row, every row with the same keys in the same order."
        return {**self.rows.schema, "description": text}

    def pick(self, answer: Any) -> Any:
        rows = self.rows.pick(answer)
        if self.kinds is not None:
            rows = [row.model_dump(by_alias=True) for row in rows]
        return make_frame(self.frame_class, rows, self.kinds)

    def to_json(self, value: Any) -> Any:
        return frame_rows(value) if is_frame(value) and value.ndim == 2 else json_value(value)

    def to_text(self, value: Any) -> str:
        if not is_frame(value) or value.ndim != 2:
            return label(value)
        rows, columns = value.shape
        names = ", ".join(str(name) for name in value.columns)
        return f"{rows:,} row{'s' * (rows != 1)} × {columns:,} column{'s' * (columns != 1)}: {names}"


@dataclass(frozen=True, eq=False, kw_only=True)
class ResultType:
    """What a task results in; made by `ResultType.of`.

    Attributes:
        annotation: The type, or the collection of objects to choose from, as it was given.
        label: The type as a person reads it, for example `list[Company]` or `choices of 3`.
        validator: Called with the value; what it returns is the result, what it raises goes to the model.
    """

    annotation: Any
    label: str
    validator: Callable[[Any], Any] | None = None
    kind: _Kind

    @classmethod
    def of(
        cls,
        annotation: Any,
        validator: Callable[[Any], Any] | None = None,
        columns: Sequence[Column] | None = None,
    ) -> ResultType:
        """Makes the result type of an annotation.

        Args:
            annotation: A type pydantic can describe; `None`; `pandas.DataFrame`; a `Literal` or `Enum`; a
                list, tuple or set of objects to choose one from; `[[a, b, c]]` for any number of them.
            validator: Runs after the type. Returning `None` keeps the value, unless the type allows `None`.
            columns: For a DataFrame, its columns as (name, type, whether a value may be missing).

        Raises:
            UsageError: If the type cannot be described to a model, or there is nothing to choose from.
        """
        if validator is not None and (not callable(validator) or inspect.iscoroutinefunction(validator)):
            raise UsageError(f"result_validator must be a plain function of the result, not {validator!r}.")
        if columns is not None and not _is_frame_type(annotation):
            raise UsageError(f"columns= describes a DataFrame, and the type is {type_label(annotation)}.")
        # Only types are remembered: of objects to choose from, equal ones need not be the same.
        is_type = columns is None and isinstance(annotation, type | types.GenericAlias | types.UnionType)
        name, kind = _known_kind(annotation) if is_type else _kind_of(annotation, columns)
        return cls(annotation=annotation, label=name, validator=validator, kind=kind)

    @property
    def accepts_text(self) -> bool:
        """Whether any plain text can be the result; of the others, `check_text` takes JSON and labels."""
        return isinstance(self.kind, _Typed) and self.kind.is_text

    @property
    def instructions(self) -> str:
        """What the system message says about finishing."""
        if self.kind.schema is None:
            return f"When the task is done, call mark_successful; it takes no arguments. {_GIVE_UP}"
        if self.accepts_text:
            how = "call mark_successful with it as `result`, or write it as your reply and nothing else"
            return f"When you have the result, a text, {how}. {_GIVE_UP}"
        return (
            f"When you have the result, call mark_successful with it as `result`, of the type {self.label}. "
            f"Where tools cannot be called, reply with the result as JSON and nothing else. {_GIVE_UP}"
        )

    def finish_tools(self) -> tuple[ToolSpec, ...]:
        """Gives the two tools that end a run: `mark_successful` and `mark_failed`."""
        schema = self.kind.schema
        parameters: dict[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}
        if schema is not None:
            inner = {key: part for key, part in schema.items() if key != "$defs"}
            parameters |= {"properties": {"result": inner}, "required": ["result"]}
            if "$defs" in schema:
                parameters["$defs"] = schema["$defs"]
        reason = {"type": "string", "description": "Why the task cannot be done, in a sentence or two."}
        return (
            ToolSpec(
                name="mark_successful",
                description="Ends the task and hands in its result."
                if schema is not None
                else "Ends the task as done.",
                parameters=parameters,
                kind="finish",
            ),
            ToolSpec(
                name="mark_failed",
                description="Ends the task without a result, when it cannot be done.",
                parameters={
                    "type": "object",
                    "properties": {"reason": reason},
                    "required": ["reason"],
                    "additionalProperties": False,
                },
                kind="finish",
            ),
        )

    def check(self, answer: Any) -> Any:
        """Gives the value for what was handed in as `result`, a JSON value.

        Raises:
            ResultMismatch: If it does not fit the type, or the validator refused it.
        """
        return self._checked(answer, self.validator)

    def restore(self, stored: Any) -> Any:
        """Gives the value back from what `to_json` gave; the validator does not run again.

        Raises:
            ResultMismatch: If the type has changed since, or the validator had left it.
        """
        return self._checked(stored, None)

    def check_arguments(self, arguments: Mapping[str, Any]) -> Any:
        """Gives the value for the arguments of a `mark_successful` call.

        Raises:
            ResultMismatch: If there is no `result` among them, or it does not fit.
        """
        if "result" in arguments:
            return self.check(arguments["result"])
        if not arguments:
            return self.check_missing()
        try:
            return self.check(dict(arguments))  # weak models leave the object around the result out
        except ResultMismatch as exc:
            if self.kind.schema is None:
                raise
            raise ResultMismatch(f"{_NO_RESULT}\n{exc}") from exc

    def check_missing(self) -> Any:
        """Gives the value for a `mark_successful` call without a result: `None`, if that is the type.

        Raises:
            ResultMismatch: If a result is needed.
        """
        if self.kind.schema is not None:
            raise ResultMismatch(_NO_RESULT)
        return self.check(None)

    def check_text(self, text: str) -> Any:
        """Gives the value for a reply in plain text: the text itself for texts, else JSON or a label in it.

        Raises:
            ResultMismatch: If the text is empty or no value of the type.
        """
        text = text.strip(_BLANKS)
        if not text:
            raise ResultMismatch("The reply is empty. Call mark_successful or mark_failed.")
        if self.accepts_text:
            return self.check(text)
        reason = None
        for answer in [*_json_values(text), text]:
            try:
                return self.check(answer)
            except ResultMismatch as exc:
                reason = reason or exc
            if isinstance(answer, dict) and set(answer) == {"result"}:
                try:
                    return self.check(answer["result"])
                except ResultMismatch as exc:
                    reason = exc
        raise ResultMismatch(f"A text is not a result here: call mark_successful.\n{reason}") from reason

    def to_json(self, value: Any) -> Any:
        """Gives the value as JSON values for the run's events; what has no JSON form becomes text."""
        try:
            return _strict_json(self.kind.to_json(value))
        except Exception:  # noqa: BLE001  # the validator changed the type, or a serializer of the user's raised
            return _generic_json(value)

    def to_text(self, value: Any) -> str:
        """Gives the value as a person reads it, at most 2,000 characters."""
        try:
            text = self.kind.to_text(value)
        except Exception:  # noqa: BLE001  # as in `to_json`
            text = label(value)
        return shorten(clean_text(text), _MAX_TEXT)

    def _checked(self, answer: Any, validator: Callable[[Any], Any] | None) -> Any:
        try:
            value = self.kind.pick(answer)
            return value if validator is None else self._validated(value, validator)
        except ResultMismatch as exc:
            raise self._mismatch(str(exc), exc.__cause__) from exc.__cause__
        except RecursionError as exc:
            raise self._mismatch("It is nested too deeply.", exc) from exc
        except ValidationError as exc:
            raise self._mismatch(explain(exc), exc) from exc
        except (ValueError, AssertionError) as exc:
            raise self._mismatch(str(exc) or type(exc).__name__, exc) from exc
        except Exception as exc:  # validators of the user's own types may raise anything
            raise self._mismatch(f"{type(exc).__name__}: {exc}", exc) from exc

    def _validated(self, value: Any, validator: Callable[[Any], Any]) -> Any:
        checked = validator(value)
        if checked is not None or value is None:
            return checked
        try:
            return self.kind.pick(None)
        except (ResultMismatch, ValueError):
            return value

    def _mismatch(self, problem: str, cause: BaseException | None) -> ResultMismatch:
        return ResultMismatch(shorten(f"The result does not fit {self.label}:\n{problem}", _MAX_TEXT))


def _generic_json(value: Any) -> Any:
    try:
        return _strict_json(json_value(value))
    except Exception:  # noqa: BLE001  # a serializer of the user's own type
        return label(value)


def _strict_json(value: Any) -> Any:
    """JSON has no NaN and no infinity; pydantic reads them back from these texts."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, list):
        return [_strict_json(item) for item in value]
    return {name: _strict_json(item) for name, item in value.items()} if isinstance(value, dict) else value


@functools.lru_cache(maxsize=256)
def _known_kind(annotation: Any) -> tuple[str, _Kind]:
    return _kind_of(annotation, None)


def _kind_of(annotation: Any, columns: Sequence[Column] | None) -> tuple[str, _Kind]:
    if annotation is None or annotation is type(None):
        return "None", _Nothing()
    if _is_frame_type(annotation):
        return "DataFrame", _table(annotation, columns)
    if isinstance(annotation, (list, tuple, set, frozenset)):
        return _choice_of(annotation)
    if typing.get_origin(annotation) is typing.Literal:
        return type_label(annotation), Choice.of(typing.get_args(annotation))
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum) and not _is_flag(annotation):
        return annotation.__name__, Choice.of_enum(annotation)
    adapter, schema = describe(annotation)
    return type_label(annotation), _Typed(adapter, schema)


def _choice_of(
    values: list[Any] | tuple[Any, ...] | set[Any] | frozenset[Any],
) -> tuple[str, _Kind]:
    if len(values) == 1:
        (only,) = values
        if isinstance(values, list) and isinstance(only, (list, tuple, set, frozenset)):
            choice = Choice.of(only)
            return f"any of {len(choice.options)} choices", Several(choice)
        if isinstance(only, type) or typing.get_origin(only) is not None:
            name = type_label(only)
            raise UsageError(f"[{name}] is a choice of one type. For a list of them write list[{name}].")
    choice = Choice.of(values)
    return f"choices of {len(choice.options)}", choice


def _is_flag(members: type[enum.Enum]) -> bool:
    """Flags are combined, so their members are not all there is to choose."""
    return issubclass(members, enum.Flag)


def _is_frame_type(annotation: Any) -> bool:
    """Whether it is pandas' DataFrame, told by its name so that pandas need not be loaded."""
    return (
        isinstance(annotation, type)
        and annotation.__module__.split(".")[0] == "pandas"
        and annotation.__qualname__ == "DataFrame"
    )


def _table(frame_class: Any, columns: Sequence[Column] | None) -> _Table:
    if columns is None:
        return _Table(frame_class, _Typed(*describe(list[dict[str, Any]])), None)
    model = row_model(columns)
    return _Table(frame_class, _Typed(*describe(list[model])), column_types(model))  # type: ignore[valid-type]


def _json_values(text: str) -> Iterator[Any]:
    """The JSON value that a text is, or that stands in its only fenced block."""
    fenced = _FENCED.findall(text)
    for candidate in (text, *(fenced if len(fenced) == 1 else ())):
        with suppress(ValueError, RecursionError):
            yield json.loads(candidate)
