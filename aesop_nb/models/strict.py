"""Whether a tool's schema can be enforced by the service (strict mode), and the schema to send then."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .transcript import ToolSpec

_ANNOTATIONS = frozenset({"title", "description"})
_ALLOWED: dict[str, frozenset[str]] = {
    "object": frozenset({"type", "properties", "required", "additionalProperties"}),
    "array": frozenset({"type", "items", "minItems", "maxItems"}),
    "string": frozenset({"type", "enum", "const", "pattern", "format"}),
    "number": frozenset(
        {"type", "enum", "const", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}
    ),
    "boolean": frozenset({"type", "enum", "const"}),
    "null": frozenset({"type", "enum", "const"}),
}
_ALLOWED["integer"] = _ALLOWED["number"]
_FORMATS = frozenset({"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"})
_MAX_PROPERTIES, _MAX_ENUM_VALUES, _MAX_DEPTH = 5000, 1000, 10
# The subset and its sizes: https://platform.openai.com/docs/guides/structured-outputs#supported-schemas


class _Unsupported(Exception):
    """A node outside the subset."""


def strict_parameters(tool: ToolSpec) -> dict[str, Any] | None:
    """Gives the tool's schema closed for strict mode, or `None` if any node is outside the supported subset.

    Only what does not change the meaning is added: objects are closed. A property that may be left out has no
    place in strict mode, so such a schema is not strict.
    """
    closing = _Closing()
    try:
        schema = closing.close(tool.parameters, 1)
        if schema.get("type") != "object":
            return None
        definitions = tool.parameters.get("$defs")
        if definitions is not None:
            schema["$defs"] = {name: closing.close(node, 1) for name, node in definitions.items()}
    except (_Unsupported, AttributeError, TypeError):
        return None
    return schema


class _Closing:
    """One walk over a schema, with the counts that the service limits."""

    def __init__(self) -> None:
        self._properties = self._enum_values = 0

    def close(self, node: Mapping[str, Any], depth: int) -> dict[str, Any]:
        """Gives the node closed; raises `_Unsupported`."""
        fields = {name: value for name, value in node.items() if name != "$defs"}
        if "$ref" in fields:
            return self._reference(fields)
        if "anyOf" in fields:
            self._check(fields, frozenset({"anyOf"}))
            return {**fields, "anyOf": [self.close(choice, depth) for choice in fields["anyOf"]]}
        kind = fields.get("type")
        if not isinstance(kind, str) or kind not in _ALLOWED:
            raise _Unsupported
        self._check(fields, _ALLOWED[kind])
        self._enum_values += len(fields.get("enum", ()))
        if self._enum_values > _MAX_ENUM_VALUES or fields.get("format", "date") not in _FORMATS:
            raise _Unsupported
        if kind == "object":
            return self._object(fields, depth)
        if kind == "array":
            return {**fields, "items": self.close(fields.get("items", {}), depth)}
        return fields

    def _reference(self, fields: dict[str, Any]) -> dict[str, Any]:
        # Words beside a reference are refused, so a described reference is not strict.
        target = fields["$ref"]
        if set(fields) != {"$ref"} or not (target == "#" or str(target).startswith("#/$defs/")):
            raise _Unsupported
        return fields

    def _object(self, fields: dict[str, Any], depth: int) -> dict[str, Any]:
        properties = fields.get("properties", {})
        self._properties += len(properties)
        if depth > _MAX_DEPTH or self._properties > _MAX_PROPERTIES:
            raise _Unsupported
        if fields.get("additionalProperties", False) is not False:
            raise _Unsupported
        if set(fields.get("required", ())) != set(properties):
            raise _Unsupported
        return {
            **fields,
            "properties": {name: self.close(node, depth + 1) for name, node in properties.items()},
            "required": list(properties),
            "additionalProperties": False,
        }

    @staticmethod
    def _check(fields: Mapping[str, Any], allowed: frozenset[str]) -> None:
        if not set(fields) <= allowed | _ANNOTATIONS:
            raise _Unsupported


class ToolForms:
    """Tools as one wire writes them; each `ToolSpec` is written once.

    Args:
        write: Gives the wire's form of a tool.
    """

    _MOST = 512

    def __init__(self, write: Callable[[ToolSpec], dict[str, Any]]) -> None:
        self._write = write
        # By identity, because a schema has no hash; the spec is kept so that its id stays its own.
        self._forms: dict[int, tuple[ToolSpec, dict[str, Any]]] = {}

    def __call__(self, tool: ToolSpec) -> dict[str, Any]:
        """Gives the form of `tool`; not to be changed."""
        found = self._forms.get(id(tool))
        if found is None:
            if len(self._forms) >= self._MOST:
                self._forms.clear()
            found = self._forms[id(tool)] = (tool, self._write(tool))
        return found[1]
