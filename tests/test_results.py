"""Result types: what is described, what is accepted, what is told to the model, what is written down."""

from __future__ import annotations

import collections.abc
import datetime as dt
import decimal
import enum
import json
import math
import os
import pathlib
import subprocess
import sys
import uuid
from typing import Annotated, Any, Literal

import pandas as pd
import pydantic as pyd
import pytest
import typing_extensions
from result_types import Book, Colour, Company, Movie, Node, Pair, check, mismatch

from aesop_nb.errors import UsageError
from aesop_nb.results.result_types import ResultMismatch, ResultType

# What is accepted


@pytest.mark.parametrize(
    ("annotation", "answer", "value"),
    [
        (str, "é 😀 \x00", "é 😀 \x00"),
        (int, "6", 6),
        (int, 2**53 + 1, 2**53 + 1),
        (int, 10**30, 10**30),
        (float, 3, 3.0),
        (bool, "yes", True),
        (dict[str, int], {"a": 5, "b": "6"}, {"a": 5, "b": 6}),
        (dict[int, str], {"7": "x"}, {7: "x"}),
        (dt.date, "2026-01-31", dt.date(2026, 1, 31)),
        (dt.timedelta, 90, dt.timedelta(seconds=90)),
        (decimal.Decimal, "1.10", decimal.Decimal("1.10")),
        (decimal.Decimal, 0.1, decimal.Decimal("0.1")),
        (
            uuid.UUID,
            "00000000-0000-4000-8000-000000000000",
            uuid.UUID("00000000-0000-4000-8000-000000000000"),
        ),
        (pathlib.Path, "a/b", pathlib.Path("a/b")),
        (bytes, "é", "é".encode()),
        (set[int], [1, 2, 1], {1, 2}),
        (tuple[int, str], [1, "a"], (1, "a")),
        (int | None, None, None),
        (int | str, "6", "6"),
        (bool | int, True, True),
        (dict[str, bool], {"a": True}, {"a": True}),
        (Any, {"a": [True, 1]}, {"a": [True, 1]}),
        (Annotated[int, pyd.Field(gt=3)], 4, 4),
        (Company, {"name": "Paul", "staff": "5"}, Company(name="Paul", staff=5)),
        (list[Company], [{"name": "Paul"}], [Company(name="Paul")]),
        (Node, {"value": 1, "children": [{"value": 2}]}, Node(value=1, children=[Node(value=2)])),
        (Book, {"title": "Emma", "pages": "474"}, Book("Emma", 474)),
        (Pair, {"name": "a"}, Pair("a", 3)),
        (Pair, ["a", 4], Pair("a", 4)),
        (Movie, {"title": "M", "year": "1931"}, {"title": "M", "year": 1931}),
        (list[Movie], [{"title": "M"}], [{"title": "M"}]),
        (Movie | None, {"title": "M"}, {"title": "M"}),
        (Annotated[Movie, "a film"], {"title": "M"}, {"title": "M"}),
        (typing_extensions.TypedDict("Size", {"cm": float}), {"cm": 2}, {"cm": 2.0}),
        (Annotated[dt.date, pyd.Field(strict=True)], "2026-01-31", dt.date(2026, 1, 31)),
    ],
)
def test_answers_are_read_as_the_type_wants_them(annotation: Any, answer: Any, value: Any) -> None:
    result = ResultType.of(annotation)
    checked = result.check(answer)
    assert checked == value
    assert type(checked) is type(value)
    assert result.restore(json.loads(json.dumps(result.to_json(checked)))) == value


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_none_survive_the_round_trip(number: float) -> None:
    result = ResultType.of(list[float])
    (value,) = result.restore(json.loads(json.dumps(result.to_json(result.check([number])), allow_nan=False)))
    assert value == number or (math.isnan(value) and math.isnan(number))


def test_a_nested_value_written_as_a_text_is_read() -> None:
    assert check(list[int], "[1, 2]") == [1, 2]
    assert check(Company, '{"name": "Paul"}') == Company(name="Paul")
    assert check(str, "[1, 2]") == "[1, 2]"


def test_lone_surrogates_become_replacement_characters() -> None:
    assert check(str, "a\ud800b") == "a\ufffdb"
    assert check(Company, {"name": "\ud83d\ude00"}).name == "😀"


# What is refused, and in which words


@pytest.mark.parametrize(
    ("annotation", "answer", "told"),
    [
        (int, True, "true is not a number"),
        (float, False, "false is not a number"),
        (list[int], [1, True], r"result\[1\]: true is not a number"),
        (Company, {"name": "a", "staff": True}, r"result\.staff: true is not a number"),
        (Node, {"value": 1, "children": [{"value": True}]}, r"result\.children\[0\]\.value: true"),
        (dict[str, int], {"a": True}, r"result\.a: true"),
        (dt.datetime, 2026, "the number 2026 is not a date-time; write it as YYYY-MM-DD"),
        (dt.date, "1994", "the number 1994 is not a date"),
        (dt.time, 10, "HH:MM:SS"),
        (Company, {"name": "a", "founded": 0}, r"result\.founded: the number 0 is not a date"),
        (int, "six", r"result: .*integer.*\(got 'six'\)"),
        (int, 6.5, "fractional"),
        (str, 5, "valid string"),
        (Company, {"staff": 1}, r"result\.name: Field required"),
        (Company, [], "result:"),
        (Annotated[int, pyd.Field(gt=3)], 3, "greater than 3"),
        (None, "done", "no result.*'done'.*without arguments"),
        (list[int], '[1, "a"]', r"result\[1\]: .*integer"),
    ],
)
def test_what_does_not_fit_is_explained_with_its_place(annotation: Any, answer: Any, told: str) -> None:
    with pytest.raises(ResultMismatch, match=told):
        check(annotation, answer)


def test_many_problems_and_huge_values_are_told_shortly() -> None:
    text = mismatch(list[Company], [{"name": 1, "staff": "x" * 10_000, "founded": "y" * 10_000}] * 500)
    assert len(text) <= 2_000
    assert "result[0].name" in text
    assert "… and 1492 more problems" in text
    assert len(mismatch([str(number) for number in range(10_000)], "z" * 10_000)) < 1_000
    assert len(mismatch(Company, {"x" * 10_000: {}, "name": 5})) < 2_000


def test_answers_nested_too_deeply_are_refused() -> None:
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(ResultMismatch):
        check(Any, deep)
    result = ResultType.of(list[Any])
    with pytest.raises(ResultMismatch):
        result.check_text("[" * 100_000)


def test_a_type_whose_own_validator_breaks_is_a_mismatch() -> None:
    class Odd(pyd.BaseModel):
        x: int

        @pyd.field_validator("x")
        @classmethod
        def _broken(cls, value: int) -> int:
            return 1 // (value - value)

    assert "ZeroDivisionError" in mismatch(Odd, {"x": 1})


# Validators


def test_a_validator_gets_the_coerced_value_and_may_change_it() -> None:
    seen: list[Any] = []

    def round_down(value: int) -> int:
        seen.append(value)
        return value // 10 * 10

    assert ResultType.of(int, round_down).check("44") == 40
    assert seen == [44]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ValueError("too small"), "too small"),
        (AssertionError(), "AssertionError"),
        (KeyError("k"), "KeyError: 'k'"),
    ],
)
def test_what_a_validator_raises_is_told(error: Exception, told: str) -> None:
    def refuse(_: int) -> int:
        raise error

    with pytest.raises(ResultMismatch, match=told) as caught:
        ResultType.of(int, refuse).check(1)
    assert caught.value.__cause__ is error


def test_a_validator_that_returns_nothing_keeps_the_value() -> None:
    assert ResultType.of(int, lambda value: None).check(5) == 5
    assert ResultType.of(int | None, lambda value: None).check(5) is None


def test_a_value_is_restored_without_the_validator() -> None:
    result = ResultType.of(int, lambda value: value + 1)
    assert result.restore(result.to_json(result.check(1))) == 2


def test_a_validator_must_be_a_plain_function() -> None:
    async def later(value: int) -> int:
        return value

    for validator in (later, "no"):
        with pytest.raises(UsageError, match="result_validator"):
            ResultType.of(int, validator)  # type: ignore[arg-type]


# Plain text


def test_plain_text_is_a_result_where_a_text_is_wanted() -> None:
    result = ResultType.of(str)
    assert result.accepts_text
    assert result.check_text('\n {"a": 1} \n') == '{"a": 1}'
    assert result.check_text("42") == "42"
    with pytest.raises(ResultMismatch, match="empty"):
        result.check_text(" \n")
    with pytest.raises(ResultMismatch, match="at least 9"):
        ResultType.of(Annotated[str, pyd.Field(min_length=9)]).check_text("short")


@pytest.mark.parametrize(
    ("annotation", "text", "value"),
    [
        (int, " 42 ", 42),
        (dt.date, "2026-01-31", dt.date(2026, 1, 31)),
        (Literal["bug", "idea"], "Idea.", "idea"),
        (Colour, "dark blue", Colour.DARK_BLUE),
        (list[int], "[1, 2]", [1, 2]),
        (Company, 'Here it is:\n```json\n{"name": "Paul"}\n```\nDone.', Company(name="Paul")),
        (Company, '{"result": {"name": "Paul"}}', Company(name="Paul")),
        (str | None, "null", None),
        (None, "null", None),
        ([["a", "b"]], '["b"]', ["b"]),
    ],
)
def test_json_and_labels_in_plain_text_are_accepted_elsewhere(annotation: Any, text: str, value: Any) -> None:
    result = ResultType.of(annotation)
    assert not result.accepts_text
    assert result.check_text(text) == value


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (int, "The answer is 42"),
        (None, "Done."),
        (Company, "```\n{}\n```\n```\n{}\n```"),
        (bool, "maybe"),
        (int, "9" * 5_000),
    ],
)
def test_other_plain_text_is_no_result(annotation: Any, text: str) -> None:
    with pytest.raises(ResultMismatch, match="mark_successful"):
        ResultType.of(annotation).check_text(text)


# What the model is shown


def test_the_finish_tools() -> None:
    done, failed = ResultType.of(list[Company]).finish_tools()
    assert (done.name, done.kind, failed.name, failed.kind) == (
        "mark_successful",
        "finish",
        "mark_failed",
        "finish",
    )
    assert done.parameters["required"] == ["result"]
    assert done.parameters["properties"]["result"] == {"type": "array", "items": {"$ref": "#/$defs/Company"}}
    assert list(done.parameters["$defs"]["Company"]["properties"]) == ["name", "staff", "founded"]
    assert failed.parameters["required"] == ["reason"]
    (done, _) = ResultType.of(None).finish_tools()
    assert done.parameters == {"type": "object", "properties": {}, "additionalProperties": False}


@pytest.mark.parametrize(
    "annotation", [Node, list[Node], Pair, Movie, Book, [["a"]], Colour, pd.DataFrame, dict[int, int]]
)
def test_every_reference_in_the_schema_leads_somewhere(annotation: Any) -> None:
    parameters = ResultType.of(annotation).finish_tools()[0].parameters
    for reference in _references(parameters):
        assert reference.removeprefix("#/$defs/") in parameters["$defs"]
    json.dumps(parameters)


def _references(node: Any) -> list[str]:
    if isinstance(node, dict):
        own = [node["$ref"]] if "$ref" in node else []
        return own + [reference for part in node.values() for reference in _references(part)]
    return [reference for part in node for reference in _references(part)] if isinstance(node, list) else []


def test_a_named_tuple_is_asked_for_by_name() -> None:
    schema = ResultType.of(Pair).finish_tools()[0].parameters["properties"]["result"]
    assert list(schema["properties"]) == ["name", "size"]


def test_titles_that_repeat_a_name_are_left_out() -> None:
    schema = ResultType.of(Company).finish_tools()[0].parameters["properties"]["result"]
    assert "title" not in schema["properties"]["name"]


@pytest.mark.parametrize(
    ("annotation", "label"),
    [
        (str, "str"),
        (None, "None"),
        (list[Company], "list[Company]"),
        (int | None, "int | None"),
        (Literal["a", 1], "Literal['a', 1]"),
        (["a", "b", "c"], "choices of 3"),
        ([["a", "b", "c"]], "any of 3 choices"),
        (pd.DataFrame, "DataFrame"),
        (dict[str, list[Any]], "dict[str, list[Any]]"),
        (tuple[int, ...], "tuple[int, ...]"),
        (Annotated[int, pyd.Field(gt=1)], "int"),
        (Colour, "Colour"),
        (Literal[Colour.RED], "Literal[Colour.RED]"),
        (collections.abc.Sequence[int], "Sequence[int]"),
    ],
)
def test_labels_are_written_as_a_person_would(annotation: Any, label: str) -> None:
    assert ResultType.of(annotation).label == label


def test_instructions_name_the_ways_to_finish() -> None:
    assert "as your reply" in ResultType.of(str).instructions
    assert "no arguments" in ResultType.of(None).instructions
    assert "list[Company]" in ResultType.of(list[Company]).instructions
    for annotation in (str, None, int):
        assert "mark_failed" in ResultType.of(annotation).instructions


def test_a_call_without_the_result() -> None:
    assert ResultType.of(None).check_missing() is None
    assert ResultType.of(None).check_arguments({}) is None
    with pytest.raises(ResultMismatch, match="needs the argument `result`"):
        ResultType.of(int).check_missing()
    assert ResultType.of(Company).check_arguments({"name": "Paul"}) == Company(name="Paul")
    with pytest.raises(ResultMismatch, match="needs the argument `result`"):
        ResultType.of(Company).check_arguments({"nome": "Paul"})
    with pytest.raises(ResultMismatch, match="no result"):
        ResultType.of(None).check_arguments({"result": 5})


# What cannot be a result


class Plain:
    pass


@pytest.mark.parametrize(
    ("annotation", "told"),
    [
        (Plain, "Plain cannot be the type of a result"),
        (list[Plain], r"list\[Plain\] cannot be"),
        (os, "It is a module"),
        ("int", "not its name as text"),
        (5, "5 cannot be"),
        ({"a": int}, "write a TypedDict"),
        (len, "It is a function"),
        (lambda: 1, "It is a function"),
        (collections.abc.Iterable[int], r"write list\["),
        (collections.abc.Callable[[int], int], "cannot be"),
        (list["Missing"], "cannot be"),  # type: ignore[name-defined]  # noqa: F821
        ([], "choices are empty"),
        ([[]], "choices are empty"),
        (set(), "choices are empty"),
        (enum.Enum("Nothing", []), "no members"),
        ([Company], r"write list\[Company\]"),
        (pd.Series, "Series cannot be"),
    ],
)
def test_what_cannot_be_described_is_refused_by_name(annotation: Any, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        ResultType.of(annotation)


# What is written down


def test_writing_down_never_raises() -> None:
    class Broken:
        def __repr__(self) -> str:
            raise RuntimeError("no")

        __str__ = __repr__

    for annotation in (str, int, Company, pd.DataFrame, ["a"], [["a"]], None, list[Company]):
        result = ResultType.of(annotation)
        for value in (
            Broken(),
            [Broken()],
            {"a": {1: object()}},
            b"\xff",
            math.nan,
            pd.DataFrame({"a": [1]}),
            5,
        ):
            json.dumps(result.to_json(value), allow_nan=False)
            assert len(result.to_text(value)) <= 2_000


def test_short_texts_for_a_person() -> None:
    assert ResultType.of(str).to_text("héllo") == "héllo"
    assert ResultType.of(None).to_text(None) == ""
    assert ResultType.of(Company).to_text(Company(name="é")) == '{"name":"é","staff":null,"founded":null}'
    assert ResultType.of([["a", "b"]]).to_text(["a", "b"]) == "a, b"
    assert "shortened" in ResultType.of(str).to_text("x" * 5_000)


def test_pandas_is_not_loaded_for_other_types() -> None:
    code = (
        "import sys; from aesop_nb.results.result_types import ResultType; ResultType.of(list[int]).check([1]);"
        "assert 'pandas' not in sys.modules"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
