"""Choices: every way to answer leads to the object itself, or to an error that says what is allowed."""

from __future__ import annotations

import enum
import json
import os
import subprocess
import sys
from typing import Literal

import pytest
from result_types import Colour, Company, Level, Shape, check, mismatch

from aesop_nb.results.result_types import ResultMismatch, ResultType


def test_a_choice_is_answered_by_position_or_label() -> None:
    choices = ["bad", "good", "medium"]
    for answer in (1, "good", " Good ", "1", 1.0, '"good"'):
        assert check(choices, answer) == "good"
    text = mismatch(choices, "fine")
    assert "'fine' is not one of the choices" in text
    assert "'bad', 'good', 'medium'" in text
    for wrong in (3, -1, True, None, [], {}, "", 1.5, 10**400):
        mismatch(choices, wrong)


def test_the_chosen_object_itself_comes_back() -> None:
    companies = [Company(name="Paul"), Company(name="Kamps"), Company(name="Paul", staff=1)]
    result = ResultType.of(companies)
    for index, company in enumerate(companies):
        assert result.check(index) is company
        assert result.restore(result.to_json(company)) is company
    assert result.check("Kamps") is companies[1]
    assert result.check({"name": "Paul", "staff": 1, "founded": None}) is companies[2]
    assert "means more than one" in mismatch(companies, "Paul")
    assert result.to_json(companies[1]) == {"index": 1, "label": "Kamps"}
    assert result.to_text(companies[1]) == "Kamps"


def test_numbers_to_choose_from_are_not_positions() -> None:
    assert check((4, 5, 6), 5) == 5
    assert check((4, 5, 6), "5") == 5
    assert check((1, 2, 3), 1) == 1
    for wrong in (7, 0, True, "7"):
        mismatch((4, 5, 6), wrong)


def test_literals_keep_their_types() -> None:
    assert check(Literal["bug", "idea"], "BUG") == "bug"
    assert check(Literal[1, "1"], "1") == "1"
    assert check(Literal[1, True], True) is True
    assert check(Literal["a", None], None) is None
    mismatch(Literal["a"], "b")


def test_enumerations_by_value_name_or_spelling_of_their_own() -> None:
    assert check(Colour, "red") is Colour.RED
    assert check(Colour, "DARK_BLUE") is Colour.DARK_BLUE
    assert check(Level, 2) is Level.HIGH
    assert check(Level, "low") is Level.LOW
    assert check(Shape, "FLAT") is Shape.FLAT
    assert check(Shape, 0) is Shape.ROUND
    mismatch(Level, 0)

    class Loose(enum.Enum):
        YES = "yes"

        @classmethod
        def _missing_(cls, value: object) -> Loose | None:
            return cls.YES if value == "sure" else None

    assert check(Loose, "sure") is Loose.YES
    for members in (Colour, Level, Shape):
        result = ResultType.of(members)
        for member in members:
            assert result.restore(json.loads(json.dumps(result.to_json(member)))) is member


def test_several_labels() -> None:
    result = ResultType.of([["a", "b", "c"]])
    assert result.label == "any of 3 choices"
    assert result.check(["c", 0, "c"]) == ["c", "a"]
    assert result.check([]) == []
    assert result.check("b") == ["b"]
    assert result.to_json(["c", "a"]) == ["c", "a"]
    for wrong in (None, ["d"], [["a"]]):
        with pytest.raises(ResultMismatch):
            result.check(wrong)


def test_choices_of_a_set_are_in_the_same_order_in_every_process() -> None:
    code = """
from aesop_nb.results.result_types import ResultType
print(ResultType.of({'b', 'a', 'c', 'd'}).kind.schema)
"""
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(outputs) == 1
    assert b"['a', 'b', 'c', 'd']" in outputs.pop()


def test_objects_without_a_name_are_chosen_by_position() -> None:
    things = [object(), object()]
    result = ResultType.of(things)
    assert result.check(1) is things[1]
    schema = result.finish_tools()[0].parameters["properties"]["result"]
    assert schema["enum"] == [0, 1]
    assert "0x" not in schema["description"]
