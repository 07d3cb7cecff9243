"""Which tools are sent as strict: only those whose every node the service can enforce."""

from __future__ import annotations

from enum import Enum
from typing import Any, Literal

import pytest
from pydantic import BaseModel, Field

from aesop_nb.models.strict import ToolForms, strict_parameters
from aesop_nb.models.transcript import ToolSpec


class Colour(Enum):
    RED = "red"


class Inner(BaseModel):
    count: int = Field(ge=0)
    colour: Colour
    kind: Literal["a", "b"] | None


class Fits(BaseModel):
    inner: Inner
    names: list[str]
    ratio: float = Field(gt=0, description="Above zero.")


class Tree(BaseModel):
    name: str
    children: list[Tree]


def spec(parameters):
    return ToolSpec(name="t", description="d", parameters=parameters)


def objects_in(node):
    if isinstance(node, dict):
        if node.get("type") == "object":
            yield node
        for value in node.values():
            yield from objects_in(value)
    elif isinstance(node, list):
        for value in node:
            yield from objects_in(value)


@pytest.mark.parametrize("model", [Fits, Inner])
def test_a_schema_within_the_subset_is_closed_and_strict(model):
    before = model.model_json_schema()
    closed = strict_parameters(spec(before))
    assert closed is not None
    assert list(objects_in(closed))
    assert all(node["additionalProperties"] is False for node in objects_in(closed))
    assert all(node["required"] == list(node["properties"]) for node in objects_in(closed))
    assert before == model.model_json_schema()


def test_a_recursive_schema_keeps_its_definitions():
    parameters = {"type": "object", "properties": {"tree": {"$ref": "#/$defs/Tree"}}, "required": ["tree"]}
    definition = Tree.model_json_schema()["$defs"]["Tree"]
    closed = strict_parameters(spec({**parameters, "$defs": {"Tree": definition}}))
    assert closed is not None
    assert closed["$defs"]["Tree"]["additionalProperties"] is False


@pytest.mark.parametrize(
    "field",
    [
        {"type": "string", "default": "x"},
        {},
        {"type": "object", "additionalProperties": {"type": "integer"}},
        {"type": "object", "properties": {"a": {"type": "string"}}},
        {"type": "array", "prefixItems": [{"type": "integer"}]},
        {"type": "array"},
        {"type": "array", "items": {"type": "string"}, "uniqueItems": True},
        {"oneOf": [{"type": "string"}, {"type": "integer"}]},
        {"allOf": [{"type": "string"}]},
        {"type": ["string", "null"]},
        {"type": "string", "format": "binary"},
        {"type": "string", "minLength": 1},
        {"$ref": "#/$defs/X", "description": "words beside a reference"},
        {"$ref": "https://elsewhere/schema"},
        {"type": "string", "enum": [str(n) for n in range(1001)]},
        "no schema",
        None,
    ],
    ids=str,
)
def test_one_node_outside_the_subset_makes_it_not_strict(field: Any):
    inner = {"type": "object", "properties": {"field": field}, "required": ["field"]}
    assert strict_parameters(spec(inner)) is None
    outer = {
        "type": "object",
        "properties": {"list": {"type": "array", "items": inner}},
        "required": ["list"],
    }
    assert strict_parameters(spec(outer)) is None


def test_a_property_that_may_be_left_out_makes_it_not_strict():
    parameters = {"type": "object", "properties": {"a": {"type": "string"}}, "required": []}
    assert strict_parameters(spec(parameters)) is None


def test_deep_nesting_is_not_strict():
    node: dict[str, Any] = {"type": "string"}
    for _ in range(11):
        node = {"type": "object", "properties": {"x": node}, "required": ["x"]}
    assert strict_parameters(spec(node)) is None


def test_a_tool_is_written_once():
    written = []
    forms = ToolForms(lambda tool: written.append(tool.name) or {"name": tool.name})
    tool = spec({"type": "object"})
    assert forms(tool) is forms(tool)
    assert written == ["t"]
