"""How a type is described to a model, and what is surprising about what comes back."""

from __future__ import annotations

import enum
import inspect
import re
import sys
import types
import typing
from collections import abc
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import typing_extensions
from pydantic import TypeAdapter, ValidationError
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaWarningKind

from ..errors import UsageError
from ..texts import one_line

if typing.TYPE_CHECKING:
    from pydantic.json_schema import JsonSchemaValue
    from pydantic_core import core_schema

_MAX_PROBLEMS = 8
_NUMBER = re.compile(r"\s*[+-]?\d+(\.\d*)?\s*")
_ARRAYS = (("pandas", "Series"), ("pandas", "Index"), ("numpy", "ndarray"))
_CLOCK_FORMATS = frozenset({"date", "date-time", "time"})
_LAZY = (abc.Iterable, abc.Iterator, abc.Generator, typing.Iterable, typing.Iterator, typing.Generator)


class ResultMismatch(ValueError):
    """What was handed in is not a result of the right type; the text tells the model what to change."""


class _ModelSchemas(GenerateJsonSchema):
    """Schemas for a model's eyes: no titles that repeat the name, named tuples by name, keys described."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def emit_warning(self, kind: JsonSchemaWarningKind, detail: str) -> None:
        """Says nothing: a default without a JSON form only means that the model does not see it."""

    def p_arguments_schema(
        self, arguments: list[core_schema.ArgumentsParameter], var_args_schema: Any
    ) -> JsonSchemaValue:
        return self.kw_arguments_schema(arguments, None)

    def named_tuple_schema(self, schema: Any) -> JsonSchemaValue:
        # Newer pydantic has this in place of `p_arguments_schema`; both kinds can be handed in by name.
        fields = [
            {
                **field,
                "name": name if isinstance(name := field.get("validation_alias"), str) else field["name"],
            }
            for field in schema["fields"]
        ]
        return self.kw_arguments_schema(typing.cast("Any", fields), None)

    def dict_schema(self, schema: core_schema.DictSchema) -> JsonSchemaValue:
        made = super().dict_schema(schema)
        if schema.get("keys_schema", {}).get("type") == "int":
            made.setdefault("propertyNames", {"pattern": r"^-?\d+$"})
        return made

    def complex_schema(self, schema: core_schema.ComplexSchema) -> JsonSchemaValue:
        return {"type": "string", "pattern": r"^-?\d+(\.\d+)?([+-]\d+(\.\d+)?j)?$"}


def describe(annotation: Any) -> tuple[TypeAdapter[Any], dict[str, Any]]:
    """Gives what checks values of `annotation`, and its JSON schema.

    Raises:
        UsageError: If values of that type cannot be described in JSON.
    """
    name = type_label(annotation)
    if hint := _misuse(annotation):
        raise UsageError(f"{name} cannot be the type of a result. {hint}")
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(_current(annotation))
        return adapter, adapter.json_schema(schema_generator=_ModelSchemas)
    except Exception as exc:
        # What follows is advice on settings of pydantic's, which a caller cannot reach.
        reason = one_line(str(exc).split("\n")[0].split(" Set `arbitrary_types_allowed")[0], 240)
        raise UsageError(
            f"{name} cannot be the type of a result: {reason} "
            "Use a pydantic model, a dataclass, or types that JSON can describe."
        ) from exc


def _misuse(annotation: Any) -> str:
    if isinstance(annotation, types.ModuleType):
        return "It is a module; name a class in it."
    if isinstance(annotation, str):
        return "Give the type itself, not its name as text."
    if inspect.isroutine(annotation):
        return "It is a function; give the type of what it returns."
    if isinstance(annotation, dict):
        return "For named fields, write a TypedDict or a pydantic model."
    origin = typing.get_origin(annotation) or annotation
    if any(origin is lazy for lazy in _LAZY):
        return "A result is whole before it is used: write list[…]."
    if _is_array(origin):
        return "Use pd.DataFrame for a table, or list[float] for a row of numbers."
    return next(filter(None, map(_misuse_inside, typing.get_args(annotation))), "")


def _misuse_inside(argument: Any) -> str:
    origin = typing.get_origin(argument) or argument
    if _is_array(origin):
        return "Use list[float] for a row of numbers."
    return (
        ""
        if origin is typing.Literal
        else next(filter(None, map(_misuse_inside, typing.get_args(argument))), "")
    )


def _is_array(kind: Any) -> bool:
    package = str(getattr(kind, "__module__", "")).split(".")[0]
    return isinstance(kind, type) and (package, kind.__name__) in _ARRAYS


def _current(annotation: Any) -> Any:
    """`typing.TypedDict` as pydantic takes it; before Python 3.12 it wants that of typing_extensions."""
    if sys.version_info >= (3, 12):
        return annotation
    if type(annotation) is typing._TypedDictMeta:  # type: ignore[attr-defined]
        hints = typing.get_type_hints(annotation, include_extras=True)
        fields = {}
        for key, hint in hints.items():
            # The class does not know its own marks where annotations are kept as text; the hint does.
            mark = typing.get_origin(hint)
            is_required = key in annotation.__required_keys__
            if mark in (typing.Required, typing.NotRequired):
                is_required = mark is typing.Required
                (hint,) = typing.get_args(hint)
            fields[key] = _current(hint) if is_required else typing_extensions.NotRequired[_current(hint)]
        made = typing_extensions.TypedDict(annotation.__name__, fields)  # type: ignore[misc]
        made.__doc__ = annotation.__doc__
        return made
    arguments = typing.get_args(annotation)
    changed = tuple(_current(argument) for argument in arguments)
    if all(new is old for new, old in zip(changed, arguments, strict=True)):
        return annotation
    if isinstance(annotation, types.UnionType):
        return typing.Union[changed]  # noqa: UP007  # `|` cannot be applied to a tuple of types
    if isinstance(annotation, types.GenericAlias):
        return typing.cast("Any", annotation.__origin__)[changed]
    return annotation.copy_with(changed[:1] if hasattr(annotation, "__metadata__") else changed)


def type_label(annotation: Any) -> str:
    """Gives a type as a person writes it: `list[Company]`, `int | None`, `Literal['a', 'b']`."""
    return one_line(_label(annotation), 200)


def _label(annotation: Any) -> str:
    if annotation is None or annotation is type(None):
        return "None"
    if annotation is ...:
        return "..."
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _label(arguments[0])
    if origin is typing.Literal:
        return f"Literal[{', '.join(_literal(argument) for argument in arguments)}]"
    if origin in (typing.Union, types.UnionType):
        return " | ".join(_label(argument) for argument in arguments)
    if isinstance(annotation, list):
        return f"[{', '.join(_label(argument) for argument in annotation)}]"
    if origin is not None and arguments:
        return f"{_label(origin)}[{', '.join(_label(argument) for argument in arguments)}]"
    if isinstance(annotation, type) or inspect.isroutine(annotation):
        return str(annotation.__name__)
    name = getattr(annotation, "__name__", None)
    if isinstance(name, str) and not isinstance(annotation, types.ModuleType):
        return name
    return repr(annotation).replace("typing.", "")


def _literal(value: Any) -> str:
    return f"{type(value).__name__}.{value.name}" if isinstance(value, enum.Enum) else repr(value)


def explain(exc: ValidationError) -> str:
    """Gives pydantic's errors as lines a model can act on: where, what is wrong, what came."""
    errors = exc.errors(include_url=False, include_context=False)
    lines = [
        f"- {_where(error['loc'])}: {one_line(error['msg'], 300)}{_got(error)}"
        for error in errors[:_MAX_PROBLEMS]
    ]
    return _capped(lines, len(errors))


def _got(error: Any) -> str:
    return "" if error["type"] == "missing" else f" (got {one_line(repr(error['input']), 80)})"


def _where(location: Iterable[int | str], root: str = "result") -> str:
    return root + "".join(
        f"[{part}]" if isinstance(part, int) else f".{one_line(part, 60)}" for part in location
    )


def _capped(lines: list[str], total: int) -> str:
    more = total - _MAX_PROBLEMS
    return "\n".join([*lines[:_MAX_PROBLEMS], *([f"- … and {more} more problems"] if more > 0 else [])])


def surprises(value: Any, schema: Mapping[str, Any]) -> str:
    """Names what a lax reading would silently turn into something else; empty if nothing.

    `true` would become the number 1, and `1994` as a date a moment in 1970.
    """
    found = list(_surprises(value, [schema], schema.get("$defs", {}), ()))
    return _capped([f"- {_where(path)}: {text}" for path, text in found], len(found))


def _surprises(
    value: Any, nodes: list[Mapping[str, Any]], defs: Mapping[str, Any], path: tuple[int | str, ...]
) -> Iterator[tuple[tuple[int | str, ...], str]]:
    leaves = [leaf for node in nodes for leaf in _leaves(node, defs)]
    if not leaves:
        return
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _surprises(item, _child_nodes(leaves, key), defs, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _surprises(item, _item_nodes(leaves, index), defs, (*path, index))
    elif text := _surprise(value, leaves):
        yield path, text


def _surprise(value: Any, leaves: list[Mapping[str, Any]]) -> str:
    kinds = {leaf.get("type") for leaf in leaves} - {"null"}
    if isinstance(value, bool):
        is_only_number = bool(kinds) and kinds <= {"integer", "number", "string"} and kinds != {"string"}
        allowed = any(isinstance(option, bool) for leaf in leaves for option in _fixed(leaf))
        return f"{str(value).lower()} is not a number" if is_only_number and not allowed else ""
    is_number = isinstance(value, (int, float)) or (isinstance(value, str) and _NUMBER.fullmatch(value))
    formats = {leaf.get("format") for leaf in leaves if leaf.get("type") != "null"}
    if is_number and formats and formats <= _CLOCK_FORMATS:
        form = "HH:MM:SS" if formats == {"time"} else "YYYY-MM-DD"
        return f"the number {one_line(str(value), 40)} is not a {formats.pop()}; write it as {form}"
    return ""


def _fixed(leaf: Mapping[str, Any]) -> list[Any]:
    return [*leaf.get("enum", ()), *([leaf["const"]] if "const" in leaf else [])]


def _leaves(
    node: Mapping[str, Any], defs: Mapping[str, Any], seen: frozenset[str] = frozenset()
) -> Iterator[Mapping[str, Any]]:
    reference = node.get("$ref")
    if isinstance(reference, str):
        name = reference.rpartition("/")[2].replace("~1", "/").replace("~0", "~")
        if name in defs and name not in seen:
            yield from _leaves(defs[name], defs, seen | {name})
        return
    branches = [branch for key in ("anyOf", "oneOf", "allOf") for branch in node.get(key, ())]
    if not branches:
        yield node
    for branch in branches:
        yield from _leaves(branch, defs, seen)


def _child_nodes(leaves: list[Mapping[str, Any]], key: str) -> list[Mapping[str, Any]]:
    found: list[Mapping[str, Any]] = []
    for leaf in leaves:
        known = leaf.get("properties", {})
        rest = [leaf.get("additionalProperties"), *leaf.get("patternProperties", {}).values()]
        found += [known[key]] if key in known else [node for node in rest if isinstance(node, dict)]
    return found


def _item_nodes(leaves: list[Mapping[str, Any]], index: int) -> list[Mapping[str, Any]]:
    found: list[Mapping[str, Any]] = []
    for leaf in leaves:
        first = leaf.get("prefixItems", [])
        node = first[index] if index < len(first) else leaf.get("items")
        if isinstance(node, dict):
            found.append(node)
    return found
