"""Whether a JSON value fits a JSON schema, for the part of JSON schema that types are described with."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from functools import cache
from ipaddress import IPv4Address, IPv6Address
from typing import Any, TypeAlias
from uuid import UUID

from pydantic import AnyUrl, TypeAdapter, ValidationError

Schema: TypeAlias = Mapping[str, Any]

_FORMATS: dict[str, Any] = {
    "date": date,
    "date-time": datetime,
    "time": time,
    "duration": timedelta,
    "uuid": UUID,
    "uri": AnyUrl,
    "ipv4": IPv4Address,
    "ipv6": IPv6Address,
}
_FREE_FORMATS = frozenset({"binary", "password", "path"})
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
    "array": (list,),
    "object": (dict,),
    "null": (type(None),),
}


def resolved(node: Schema, root: Schema) -> Schema:
    """Gives the schema that a `$ref` names, with what stands beside the `$ref` over it."""
    while "$ref" in node:
        rest = {key: value for key, value in node.items() if key != "$ref"}
        node = {**definition(str(node["$ref"]), root), **rest}
    return node


def definition(reference: str, root: Schema) -> Schema:
    """Gives the part of `root` that a reference such as `#/$defs/Node` names."""
    part: Any = root
    for step in reference.removeprefix("#").strip("/").split("/"):
        part = part[step.replace("~1", "/").replace("~0", "~")] if step else part
    return part if isinstance(part, Mapping) else {}


def fits(value: Any, node: Schema | bool, root: Schema) -> bool:
    """Whether `value` fits `node`, a part of `root`."""
    if isinstance(node, bool):
        return node
    node = resolved(node, root)
    if "const" in node and not _same(value, node["const"]):
        return False
    if "enum" in node and not any(_same(value, option) for option in node["enum"]):
        return False
    for key in ("anyOf", "oneOf"):
        if key in node and not any(fits(value, branch, root) for branch in node[key]):
            return False
    if not all(fits(value, branch, root) for branch in node.get("allOf", ())):
        return False
    if "type" in node and not _is_of_type(value, node["type"]):
        return False
    if isinstance(value, dict):
        return _object_fits(value, node, root)
    if isinstance(value, list):
        return _array_fits(value, node, root)
    if isinstance(value, str):
        return _text_fits(value, node)
    return isinstance(value, bool) or value is None or number_fits(value, node)


def _same(value: Any, other: Any) -> bool:
    return type(value) is type(other) and bool(value == other)


def _is_of_type(value: Any, kind: Any) -> bool:
    if isinstance(kind, list):
        return any(_is_of_type(value, one) for one in kind)
    if isinstance(value, bool) and kind != "boolean":
        return False
    return isinstance(value, _TYPES.get(kind, ()))


def number_fits(value: float | Decimal, node: Schema) -> bool:
    """Whether a number keeps the bounds and the step of `node`."""
    try:
        exact = Decimal(str(value))
        step = node.get("multipleOf")
        return (
            all(exact >= Decimal(str(node[key])) for key in ("minimum",) if key in node)
            and all(exact > Decimal(str(node[key])) for key in ("exclusiveMinimum",) if key in node)
            and all(exact <= Decimal(str(node[key])) for key in ("maximum",) if key in node)
            and all(exact < Decimal(str(node[key])) for key in ("exclusiveMaximum",) if key in node)
            and (step is None or exact % Decimal(str(step)) == 0)
        )
    except InvalidOperation:  # not a finite number
        return False


def _text_fits(value: str, node: Schema) -> bool:
    if not node.get("minLength", 0) <= len(value) <= node.get("maxLength", len(value)):
        return False
    pattern = node.get("pattern")
    try:
        if pattern is not None and not re.search(pattern, value):
            return False
    except re.error:
        return False
    kind = node.get("format")
    if kind == "email":
        return bool(_EMAIL.fullmatch(value))
    if kind in _FORMATS:
        return not value.strip().isdecimal() and _reads_as(kind, value)
    return kind is None or kind in _FREE_FORMATS


@cache
def _adapter(kind: str) -> TypeAdapter[Any]:
    return TypeAdapter(_FORMATS[kind])


def _reads_as(kind: str, value: str) -> bool:
    try:
        _adapter(kind).validate_python(value)
    except ValidationError:
        return False
    return True


def _array_fits(value: list[Any], node: Schema, root: Schema) -> bool:
    if not node.get("minItems", 0) <= len(value) <= node.get("maxItems", len(value)):
        return False
    if node.get("uniqueItems") and any(item in value[:index] for index, item in enumerate(value)):
        return False
    first = node.get("prefixItems", [])
    rest = node.get("items", True)
    return all(
        fits(item, first[index] if index < len(first) else rest, root) for index, item in enumerate(value)
    )


def _object_fits(value: dict[str, Any], node: Schema, root: Schema) -> bool:
    known = node.get("properties", {})
    if any(name not in value for name in node.get("required", ())):
        return False
    if not node.get("minProperties", 0) <= len(value) <= node.get("maxProperties", len(value)):
        return False
    if "propertyNames" in node and not all(fits(name, node["propertyNames"], root) for name in value):
        return False
    patterns = node.get("patternProperties", {})
    rest = node.get("additionalProperties", True)
    for name, item in value.items():
        nodes = [known[name]] if name in known else [n for p, n in patterns.items() if re.search(p, name)]
        if not all(fits(item, part, root) for part in (nodes or [rest])):
            return False
    return True
