"""Tables: columns keep their names, order and types, and mistakes in them are named."""

from __future__ import annotations

import datetime as dt
import json

import pandas as pd
import pytest
from result_types import check

from aesop_nb.errors import UsageError
from aesop_nb.results.result_types import ResultMismatch, ResultType, parse_columns


def test_a_table_keeps_its_columns_their_order_and_large_numbers() -> None:
    rows = [{"b": 2**53 + 1, "a": "x", "ok": True}, {"b": None, "a": "é", "ok": None, "c": 0.5}]
    frame = check(pd.DataFrame, rows)
    assert list(frame.columns) == ["b", "a", "ok", "c"]
    assert frame["b"].tolist() == [2**53 + 1, pd.NA]
    assert str(frame["ok"].dtype) == "boolean"
    assert frame["a"].tolist() == ["x", "é"]


def test_given_columns_fix_names_types_and_order() -> None:
    columns = [
        ("name", str, False),
        ("GDP (USD)", float, True),
        ("staff", int, True),
        ("at", dt.datetime, True),
    ]
    result = ResultType.of(pd.DataFrame, columns=columns)
    frame = result.check(
        [{"staff": "5", "name": "a", "at": "2026-01-01T00:00:00+01:00"}, {"name": "b", "staff": ""}]
    )
    assert list(frame.columns) == ["name", "GDP (USD)", "staff", "at"]
    assert [str(dtype) for dtype in frame.dtypes[1:]] == ["float64", "Int64", "datetime64[us, UTC]"]
    assert frame["staff"].tolist() == [5, pd.NA]
    pd.testing.assert_frame_equal(result.restore(json.loads(json.dumps(result.to_json(frame)))), frame)
    empty = result.check([])
    assert list(empty.columns) == list(frame.columns)
    assert list(empty.dtypes) == list(frame.dtypes)
    with pytest.raises(ResultMismatch, match=r"result\[0\]\.name: Field required"):
        result.check([{}])
    with pytest.raises(ResultMismatch, match=r"result\[0\]\.extra"):
        result.check([{"name": "a", "extra": 1}])
    assert result.to_text(frame) == "2 rows × 4 columns: name, GDP (USD), staff, at"


def test_columns_belong_to_tables() -> None:
    with pytest.raises(UsageError, match=r"columns= describes a DataFrame.*list\[int\]"):
        ResultType.of(list[int], columns=[("a", int, False)])


def test_columns_written_as_a_text() -> None:
    row = parse_columns(
        "name, GDP (USD):float, staff:int?, founded:date?, class, copy:bool, _x?, at : datetime ,"
    )
    made = ResultType.of(list[row]).check(  # type: ignore[valid-type]
        [{"name": "a", "GDP (USD)": 1, "staff": "", "class": "c", "copy": True, "at": "2026-01-01"}]
    )[0]
    assert made.model_dump(by_alias=True) == {
        "name": "a",
        "GDP (USD)": 1.0,
        "staff": None,
        "founded": None,
        "class": "c",
        "copy": True,
        "_x": None,
        "at": dt.datetime(2026, 1, 1),
    }
    assert made.gdp_usd == 1.0


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("staff:itn", "Column 'staff' has the unknown type 'itn'. Did you mean 'int'"),
        ("a:string", "Did you mean 'str'"),
        ("a:Float", "Did you mean 'float'"),
        ("a, a:int", "Column 'a' is written twice"),
        ("", "There are no columns"),
        ("a,,b", "has no name"),
        (":int", "has no name"),
        ("?", "has no name"),
    ],
)
def test_mistakes_in_columns_are_named(spec: str, told: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_columns(spec)
    assert told in str(caught.value)


def test_names_that_differ_in_punctuation_only_stay_two_columns() -> None:
    row = parse_columns("a b, a-b, a_b:int")
    assert row.model_validate({"a b": "1", "a-b": "2", "a_b": 3}).model_dump(by_alias=True) == {
        "a b": "1",
        "a-b": "2",
        "a_b": 3,
    }
