"""The table that a map gives back: index, order, columns and dtypes, whatever the data and the result are."""

from __future__ import annotations

import enum
import json
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mapping_helpers import Answering, last_line
from pydantic import BaseModel

import aesop_nb
from aesop_nb import Task, UsageError, task
from aesop_nb.testing import failure, result

DATA = Path(__file__).parent / "data"
STATUS = ["_status", "_error", "_run_id", "_seconds", "_tokens"]


def echo(text: str) -> Any:
    return result(last_line(text))


def shouting(**options: Any) -> Any:
    options.setdefault("model", Answering(echo))

    @task(**options)
    def shout(text: str) -> str:
        """Says it again."""
        raise NotImplementedError

    return shout


def test_a_map_gives_the_index_of_the_data_and_a_column_named_after_the_task() -> None:
    df = pd.DataFrame({"body": ["a", "b", "a"]}, index=pd.Index([3, 3, 1], name="key"))
    before = df.copy(deep=True)
    out = shouting().map(df, columns={"text": "body"})
    assert list(out.columns) == ["shout", *STATUS]
    assert out["shout"].tolist() == ["a", "b", "a"]
    pd.testing.assert_index_equal(out.index, df.index)
    pd.testing.assert_frame_equal(df, before)


def test_the_columns_of_a_map_have_their_dtypes_even_without_rows() -> None:
    for rows in ([], ["a"]):
        out = shouting().map(pd.DataFrame({"text": pd.Series(rows, dtype="str")}))
        found = [str(dtype) for dtype in out.dtypes]
        assert found == ["str", "category", "str", "str", "float64", "Int64"]
        assert len(out) == len(rows)
        assert list(out["_status"].cat.categories) == [status.value for status in aesop_nb.Status]


class Reading(BaseModel):
    """What is read out of a text."""

    city: str
    people: int | None = None


def test_a_record_gives_a_column_per_field_with_its_dtype() -> None:
    model = Answering(
        lambda text: (
            result({"city": last_line(text), "people": 3}) if "a" in last_line(text) else failure("no")
        )
    )

    @task(model=model)
    def read(text: str) -> Reading:
        """Reads."""
        raise NotImplementedError

    out = read.map(pd.Series(["a", "b"]))
    assert list(out.columns) == ["city", "people", *STATUS]
    assert (str(out["people"].dtype), out["people"][0], out["people"].isna()[1]) == ("Int64", 3, True)
    assert list(read.map(pd.Series(["a"]), into="read").columns)[:2] == ["read.city", "read.people"]


def test_a_field_that_is_called_like_a_column_of_ours_keeps_its_place() -> None:
    from aesop_nb.results.columns import parse_columns

    row = parse_columns("_status, city")
    out = pd.DataFrame({"text": ["a"]}).aesop.map(
        "Read {{text}}", returns=row, model=Answering(lambda text: result({"_status": "x", "city": "y"}))
    )
    assert list(out.columns) == ["_status", "city", "_status_", *STATUS[1:]]


class Mood(enum.Enum):
    GOOD = "good"
    BAD = "bad"


@pytest.mark.parametrize(
    ("returns", "answer", "dtype"),
    [
        (int, 3, "Int64"),
        (bool, True, "boolean"),
        (float, 1.5, "float64"),
        (Literal["a", "b"], "a", "category"),
        (["a", "b"], "a", "category"),
        (Mood, "good", "category"),
        ([["a", "b"]], ["a"], "object"),
        (list[int], [1, 2], "object"),
        (list[Reading], [{"city": "x"}], "object"),
        (pd.DataFrame, [{"a": 1}, {"a": 2}], "object"),
    ],
)
def test_the_result_type_gives_the_dtype(returns: Any, answer: Any, dtype: str) -> None:
    series = pd.Series(["x", "y"])
    model = Answering(lambda text: result(answer) if last_line(text).endswith("x") else failure("no"))
    out = series.aesop.map("Read", returns=returns, model=model, into="read")
    assert str(out["read"].dtype) == dtype
    assert out["_status"].tolist() == ["completed", "failed"]
    assert out["read"].isna()[1]
    again = series.aesop.map("Read", returns=returns, model=model, into="read")
    assert len(model.asked) == 3
    assert str(again["read"][0]) == str(out["read"][0])


def test_a_failed_row_never_loses_another() -> None:
    model = Answering(
        lambda text: failure("I cannot") if int(last_line(text)) % 7 == 0 else result(last_line(text))
    )
    out = shouting(model=model).map(list(map(str, range(100))))
    failed = out.index[out["_status"] == "failed"].tolist()
    assert failed == [n for n in range(100) if n % 7 == 0]
    assert out["shout"].dropna().tolist() == [str(n) for n in range(100) if n % 7]
    assert out["_error"][0].startswith("TaskFailed: shout failed: I cannot")
    assert out.loc[1, "_tokens"] == 15


def test_on_error_null_leaves_our_columns_out_and_raise_stops_at_the_first() -> None:
    model = Answering(lambda text: failure("I cannot") if last_line(text) == "5" else result(last_line(text)))
    shout = shouting(model=model)
    out = shout.map(list(map(str, range(10))), on_error="null")
    assert list(out.columns) == ["shout"]
    assert out["shout"].isna().sum() == 1
    with pytest.raises(aesop_nb.TaskFailed, match="I cannot") as caught:
        shout.map(list(map(str, range(1000))), on_error="raise", concurrency=2)
    partial = caught.value.run.frame
    assert len(partial) == 1000
    assert (partial["_status"] == "pending").sum() > 900
    assert "I cannot" in partial["_error"].iloc[-1]


def test_attrs_say_which_map_made_the_table() -> None:
    out = shouting().map(["a", "b"])
    assert {
        key: out.attrs["aesop"][key] for key in ("task", "model", "rows", "completed", "is_rehearsal")
    } == {
        "task": "shout",
        "model": "answering",
        "rows": 2,
        "completed": 2,
        "is_rehearsal": False,
    }


labels = st.one_of(st.integers(-3, 3), st.text(max_size=3), st.none(), st.floats(), st.dates())
indexes = st.one_of(
    st.lists(labels, max_size=12).map(lambda found: pd.Index(found, dtype=object)),
    st.lists(st.tuples(labels, st.integers()), min_size=1, max_size=12).map(
        lambda found: pd.MultiIndex.from_tuples(found, names=["a", None])
    ),
    st.lists(st.floats(), max_size=12).map(pd.Index),
    st.lists(
        st.datetimes(min_value=pd.Timestamp(1900, 1, 1), max_value=pd.Timestamp(2100, 1, 1)), max_size=12
    ).map(pd.DatetimeIndex),
)
cells = st.one_of(
    st.text(), st.integers(), st.floats(), st.booleans(), st.none(), st.datetimes(), st.just(pd.NA)
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(index=indexes, data=st.data())
def test_row_i_gets_row_is_answer_whatever_the_index_and_the_cells_are(
    index: pd.Index[Any], data: Any
) -> None:
    values = data.draw(st.lists(cells, min_size=len(index), max_size=len(index)))
    df = pd.DataFrame({"n": range(len(index)), "cell": pd.Series(values, dtype=object).array}, index=index)
    before = df.copy(deep=True)

    @task(model=Answering(lambda text: result(int(text.split("n:\n")[1].split("\n")[0]))))
    def place(n: int, cell: Any) -> int:
        """Says where it stands."""
        raise NotImplementedError

    out = place.map(df)
    assert out["place"].tolist() == list(range(len(index)))
    pd.testing.assert_index_equal(out.index, df.index)
    pd.testing.assert_frame_equal(df, before)


@pytest.mark.parametrize(
    "values",
    [
        pd.Series([1, 2, None], dtype="Int64"),
        pd.Series([1.5, float("nan")]),
        pd.Series(["a", None], dtype="category"),
        pd.Series(pd.to_datetime(["2024-01-01", None], utc=True)),
        pd.Series(pd.to_timedelta(["1 day", None])),
        pd.Series(pd.period_range("2024-01", periods=2, freq="M")),
        pd.Series([True, None], dtype="boolean"),
        pd.Series([[1, 2], {"a": 1}], dtype=object),
    ],
    ids=lambda values: str(values.dtype),
)
def test_cells_of_every_dtype_reach_the_model_and_are_found_again(values: pd.Series[Any]) -> None:
    model = Answering(echo)
    first = shouting(model=model).map(values)
    count = len(model.asked)
    assert first["_status"].eq("completed").all()
    again = shouting(model=model).map(values)
    assert len(model.asked) == count
    pd.testing.assert_frame_equal(first, again)


def hostile() -> list[str]:
    names = [json.loads(line)["s"] for line in (DATA / "blns.jsonl").read_text("utf-8").splitlines()]
    lines = (DATA / "csv_injection_lines.jsonl").read_text("utf-8").splitlines()
    return [*names, *(json.loads(line)["payload"] for line in lines), "\ud800", "a\x00b", "\u202edcba"]


def test_hostile_texts_as_cells_come_back_as_they_are() -> None:
    texts = hostile()
    model = Answering(lambda text: result(text.partition("text:\n")[2]))
    out = shouting(model=model).map(texts, concurrency=32)
    assert out["_status"].eq("completed").all()
    assert out["shout"].tolist() == [text.replace("\ud800", "\ufffd") for text in texts]
    asked = len(model.asked)
    shouting(model=model).map(texts)
    assert len(model.asked) == asked


def test_hostile_texts_as_column_names_are_only_names() -> None:
    names = list(dict.fromkeys(hostile()))
    df = pd.DataFrame([range(len(names))], columns=names)
    out = df.aesop.map("Count", returns=int, model=Answering(lambda text: result(1)))
    assert out["result"].tolist() == [1]
    held = [name for name in names if name.strip() and name == name.strip() and not {"{", "}"} & set(name)]
    for name in held[::40]:
        shown = df.aesop.map("Read <{{" + name + "}}>", model=Answering(lambda text: text.split("\n")[0]))
        assert shown["result"][0] == f"Read <{names.index(name)}>"


def test_a_template_puts_cells_in_literally() -> None:
    df = pd.DataFrame({"a": ["{{b}}", "{b!r}", "\\1"], "b": ["secret"] * 3})
    out = df.aesop.map(r"Say {{a}} and \{{a}}", model=Answering(lambda text: text))
    assert out["result"].tolist() == ["Say {{b}} and {{a}}", "Say {b!r} and {{a}}", "Say \\1 and {{a}}"]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda df: df.aesop.mapping("Say {{bodi}}"), "bodi.*Did you mean 'body'"),
        (lambda df: shouting().mapping(df), "needs 'text'.*columns={'text': 'column'}.*body"),
        (lambda df: shouting().mapping(df, columns={"text": "bod"}), "Did you mean 'body'"),
        (lambda df: shouting().mapping(df, columns={"txt": "body"}), "no parameter 'txt'.*'text'"),
        (lambda df: shouting().mapping(df, columns="bodies"), "Did you mean 'body'"),
        (lambda df: shouting().mapping(df, columns="twice"), "2 columns"),
        (lambda df: shouting().mapping(df, columns="body", limt=3), "limt.*Did you mean 'limit'"),
        (lambda df: shouting().mapping(df, columns="body", executor=object()), "executor"),
        (lambda df: shouting().mapping(df, columns="body", on_error="skip"), "on_error='skip'"),
        (lambda df: shouting().mapping(df, columns="body", concurrency=0), "concurrency=0"),
        (lambda df: shouting().mapping(df, columns="body", retries=99), "max_retries"),
        (lambda df: shouting().mapping("abc"), "no table"),
        (lambda df: shouting().mapping(3), "no table"),
        (lambda df: shouting().mapping({"a": [1]}), "no table"),
        (lambda df: shouting().mapping(df, columns="body", limit=1, sample=1), "exclude"),
        (lambda df: df.aesop.mapping(3), "not 3"),
    ],
)
def test_a_mistake_is_told_before_anything_is_sent(make: Any, says: str) -> None:
    df = pd.DataFrame([["x", 1, 2]], columns=["body", "twice", "twice"])
    with pytest.raises(UsageError, match=says):
        make(df)


def test_rows_are_dicts_values_series_and_iterators() -> None:
    assert shouting().map([{"text": "a", "more": 1}, {"text": "b"}])["shout"].tolist() == ["a", "b"]
    assert shouting().map(pd.Series(["a", "b"], name="body"))["shout"].tolist() == ["a", "b"]
    assert shouting().map(letter for letter in "ab")["shout"].tolist() == ["a", "b"]
    assert shouting().map(pd.Index(["a", "b"]))["shout"].tolist() == ["a", "b"]
    assert shouting().map([])["shout"].tolist() == []
    assert Task is not None


def test_limit_and_sample_take_some_rows_and_the_same_ones_again() -> None:
    df = pd.DataFrame({"text": list("abcdefgh")}, index=list("ABCDEFGH"))
    assert shouting().map(df, limit=2).index.tolist() == ["A", "B"]
    first = shouting().map(df, sample=3)
    assert len(first) == 3
    assert first.index.str.lower().tolist() == first["shout"].tolist()
    pd.testing.assert_index_equal(first.index, shouting().map(df, sample=3).index)
    assert shouting().map(list("abcdefgh"), sample=3)["shout"].tolist() == [
        "abcdefgh"[place] for place in shouting().map(list("abcdefgh"), sample=3).index
    ]


def test_defaults_and_further_keywords_are_inputs_too() -> None:
    @task(model=Answering(lambda text: text.partition("Inputs (data)\n\n")[2]))
    def tell(text: str, tone: str = "kind", **more: Any) -> str:
        """Tells."""
        raise NotImplementedError

    out = tell.map(pd.DataFrame({"text": ["a"], "extra": [1]}))
    assert out["tell"][0] == "text:\na\n\ntone:\nkind\n\nextra:\n1"
