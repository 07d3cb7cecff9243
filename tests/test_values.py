"""Values as texts: what the model reads of them, and what a person sees."""

from __future__ import annotations

import enum
import itertools
import json
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import PurePosixPath
from typing import Any

import pandas as pd
import pytest
from helping import said_by
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from aesop_nb.texts import one_line
from aesop_nb.values import (
    MAX_KEPT_CHARACTERS,
    MAX_MODEL_CHARACTERS,
    is_frame,
    json_value,
    label,
    model_text,
    value_text,
)


class Company(BaseModel):
    name: str


@dataclass
class Point:
    x: int


class Size(enum.Enum):
    SMALL = "s"


class Rude:
    def __str__(self) -> str:
        raise ValueError("no")

    __repr__ = __str__


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(JSON)
def test_json_stays_json(value: Any) -> None:
    assert json.loads(json.dumps(json_value(value))) == value
    if not isinstance(value, str):
        assert json.loads(value_text(value)) == value


@given(st.text(st.characters(categories=None)))
def test_every_text_can_be_sent_and_shown(text: str) -> None:
    value_text(text).encode()
    value_text([text, {text: text}]).encode()
    shown = label(text)
    assert len(shown) <= 200
    assert len(shown.splitlines()) == 1


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("as it is", "as it is"),
        (Company(name="é"), '{"name":"é"}'),
        ([Point(1)], '[{"x":1}]'),
        ({"when": date(2026, 3, 1), "size": Size.SMALL}, '{"when":"2026-03-01","size":"s"}'),
        ((1, None, True), "[1,null,true]"),
        ({"price": Decimal("1.50")}, '{"price":"1.50"}'),
        ([PurePosixPath("a/b")], '["a/b"]'),
        ([Rude()], '["<Rude>"]'),
        ([float("inf"), float("nan")], "[Infinity,NaN]"),
    ],
)
def test_what_the_model_reads(value: object, text: str) -> None:
    assert value_text(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a\nb", '"a b"'),
        (3, "3"),
        (None, "null"),
        ({"a": [1, 2]}, '{"a":[1,2]}'),
        (Company(name="Paul"), "name='Paul'"),
        (Rude(), "<Rude>"),
        (pd.DataFrame({"a": range(1_234)}), "DataFrame of 1,234 × 1"),
        (pd.Series([1, 2]), "Series of 2"),
        ("\x1b[2J", '"\\x1b[2J"'),
    ],
)
def test_what_a_person_sees(value: object, text: str) -> None:
    assert label(value) == text


def test_long_values_are_cut_and_say_so() -> None:
    assert len(model_text("x" * 100_000)) == MAX_MODEL_CHARACTERS
    assert model_text("x" * 100_000).endswith("… [shortened: 100,000 characters]")
    assert len(value_text("x" * (MAX_KEPT_CHARACTERS + 1))) == MAX_KEPT_CHARACTERS
    assert model_text(list(range(100_000))).startswith("[0,1,2,")
    assert len(label("x" * 1_000)) == 200


def test_a_value_that_holds_itself_has_a_text() -> None:
    loop: list[Any] = []
    loop.append(loop)
    assert value_text(loop)
    assert label(loop)


def test_a_table_is_described_and_not_poured_out() -> None:
    frame = pd.DataFrame({"name": [f"n{i}" for i in range(1_000)], "staff": range(1_000)})
    text = model_text(frame)
    assert text.startswith("A table of 1,000 rows and 2 columns.\nTypes: name: ")
    assert "mean" in text
    assert len(text) < 1_000
    wide = pd.DataFrame([range(100)])
    assert "Only the first 40 columns are described." in model_text(wide)
    assert model_text(pd.Series([1, 2], name="staff")).startswith(
        "A table of 2 rows and 1 columns.\nTypes: staff: int64"
    )
    assert model_text({"frame": frame.head(2)}).startswith('{"frame":"A table of 2 rows')


def test_a_frame_is_told_without_loading_pandas() -> None:
    code = """
import json, sys
from aesop_nb.values import is_frame, value_text
class DataFrame: ...
print(json.dumps([is_frame(3), is_frame(DataFrame()), value_text([1]), "pandas" in sys.modules]))
"""
    assert said_by(code) == [False, False, "[1]", False]
    assert is_frame(pd.DataFrame())
    assert is_frame(pd.Series(dtype="int64"))

    class Mine(pd.DataFrame): ...

    assert is_frame(Mine())


def test_an_iterator_is_named_and_not_read_wherever_it_stands() -> None:
    @dataclass
    class Held:
        inside: Any

    class Model(BaseModel):
        inside: Any

    squares = map(str, [1, 2])
    endless = itertools.count()
    assert value_text(squares) == label(squares) == json_value(squares) == "<map object>"
    assert value_text(endless) == model_text(endless) == "<count object>"
    for value in ([endless], (endless,), {"inside": endless}, Held(endless), Model(inside=endless)):
        shown = "[" if isinstance(value, (list, tuple)) else '{"inside":'
        assert value_text([value]).startswith(f'[{shown}"<count object>"')
        assert model_text(value) == value_text(value)
        assert "<count object>" in str(json_value(value))
        assert "count" in label(value)
    assert next(endless) == 0
    assert list(squares) == ["1", "2"]


def test_a_loop_that_holds_an_iterator_has_a_text() -> None:
    loop: list[Any] = [itertools.count()]
    loop.append(loop)
    assert value_text(loop)
    assert label(loop)


def test_a_class_without_a_module_is_no_frame() -> None:
    made = type("Made", (), {"__module__": None})()
    assert not is_frame(made)
    assert label(made)


def test_the_begin_of_a_large_list_costs_no_more_than_a_small_one() -> None:
    class Read(list[int]):
        taken = 0

        def __iter__(self) -> Any:
            for item in super().__iter__():
                self.taken += 1
                yield item

    numbers = Read(range(1_000_000))
    assert label(numbers) == label(list(range(1_000)))
    assert numbers.taken < 2_000
    text = model_text([numbers])
    assert numbers.taken < 30_000
    assert text.startswith("[[0,1,2,")
    assert text.endswith("… [shortened: more than 24,000 characters]")
    assert len(text) == MAX_MODEL_CHARACTERS


@given(JSON, st.integers(min_value=2, max_value=40))
def test_a_label_is_the_begin_of_the_whole_text(value: Any, limit: int) -> None:
    if not isinstance(value, str):
        assert label(value, limit) == one_line(value_text(value), limit)
    assert model_text(value) == value_text(value)
