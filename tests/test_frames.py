"""Results, runs and events as DataFrames."""

from __future__ import annotations

import dataclasses
import enum
import json
import sys
import typing
import uuid
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Annotated, Any, Literal, NamedTuple, NewType, Optional

import pandas as pd
import pytest
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, RootModel, computed_field
from typing_extensions import TypedDict

from aesop_nb import events as ev
from aesop_nb import frames
from aesop_nb.runlogs import RunLog

TEXT = "str" if int(pd.__version__.split(".")[0]) >= 3 else "string"
NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


class Size(enum.Enum):
    SMALL = "small"
    LARGE = "large"


class Address(BaseModel):
    city: str
    zip_code: int | None = None


class Company(BaseModel):
    name: str
    staff: int | None = None
    is_listed: bool = False
    margin: float | None = None
    founded: date | None = None
    seen: datetime | None = None
    age: timedelta | None = None
    size: Size = Size.SMALL
    kind: Literal["shop", "chain"] | None = None
    address: Address | None = None
    tags: list[str] = []
    price: Decimal = Decimal("0.10")


COMPANY_DTYPES = {
    "name": TEXT,
    "staff": "Int64",
    "is_listed": "boolean",
    "margin": "float64",
    "founded": "datetime64[us]",
    "seen": "datetime64[us, UTC]",
    "age": "timedelta64[us]",
    "size": "category",
    "kind": "category",
    "address.city": TEXT,
    "address.zip_code": "Int64",
    "tags": "object",
    "price": "object",
}


def dtypes(frame: pd.DataFrame) -> dict[str, str]:
    return {name: str(dtype) for name, dtype in frame.dtypes.items()}


def cells(frame: pd.DataFrame, name: str = "value") -> list[Any]:
    return [None if pd.api.types.is_scalar(cell) and pd.isna(cell) else cell for cell in frame[name]]


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [Company(name="A")],
        [Company(name="A", staff=3, address=Address(city="Bonn", zip_code=53111)), Company(name="B")],
    ],
    ids=["none", "one", "missing beside present"],
)
def test_dtypes_come_from_the_annotation_whatever_the_values(rows: list[Company]) -> None:
    frame = frames.result_frame(rows, list[Company])
    assert dtypes(frame) == COMPANY_DTYPES
    assert len(frame) == len(rows)
    assert list(frame.index) == list(range(len(rows)))


def test_values_arrive_unchanged() -> None:
    company = Company(
        name="Käse \N{BREAD}",
        staff=2**53 + 1,
        is_listed=True,
        margin=0.5,
        founded=date(1, 2, 3),
        seen=datetime(2026, 1, 1, 13, tzinfo=timezone(timedelta(hours=1))),
        age=timedelta(days=2),
        size=Size.LARGE,
        kind="chain",
        address=Address(city="Bonn"),
        tags=["a", "b"],
    )
    row = frames.result_frame([company, Company(name="B")], list[Company]).iloc[0]
    assert row["staff"] == 2**53 + 1
    assert row["name"] == "Käse \N{BREAD}"
    assert bool(row["is_listed"])
    assert (row["founded"].year, row["founded"].month, row["founded"].day) == (1, 2, 3)
    assert row["seen"] == pd.Timestamp("2026-01-01T12:00Z")
    assert row["age"] == pd.Timedelta(days=2)
    assert (row["size"], row["kind"], row["address.city"]) == ("large", "chain", "Bonn")
    assert pd.isna(row["address.zip_code"])
    assert row["tags"] == ["a", "b"]
    assert row["price"] == Decimal("0.10")


def test_categories_are_all_choices_even_those_not_seen() -> None:
    frame = frames.result_frame([Company(name="A")], list[Company])
    assert list(frame["size"].cat.categories) == ["small", "large"]
    assert list(frame["kind"].cat.categories) == ["shop", "chain"]


def test_an_optional_model_that_is_missing_gives_missing_dotted_columns() -> None:
    frame = frames.result_frame([Company(name="A")], list[Company])
    assert cells(frame, "address.city") == [None]
    assert "address" not in frame.columns


class Node(BaseModel):
    value: int
    parent: Node | None = None
    children: list[Node] = []


def test_recursive_models_end() -> None:
    leaf = Node(value=2, parent=Node(value=1))
    frame = frames.result_frame([leaf, Node(value=3, children=[leaf])], list[Node])
    assert dtypes(frame) == {"value": "Int64", "parent": "object", "children": "object"}
    assert frame["parent"][0] == {"value": 1, "parent": None, "children": []}
    assert frame["children"][1][0]["value"] == 2


class Left(BaseModel):
    name: str
    right: Right | None = None


class Right(BaseModel):
    size: int
    left: Left | None = None


def test_models_that_hold_each_other_end() -> None:
    frame = frames.result_frame([Left(name="a", right=Right(size=1, left=Left(name="b")))], list[Left])
    assert list(frame.columns) == ["name", "right.size", "right.left"]


@dataclasses.dataclass
class Point:
    x: int
    y: float | None = None
    of: Address | None = None


class Bird(TypedDict):
    name: str
    wings: typing.NotRequired[int]


class Pair(NamedTuple):
    left: int
    right: str


@pytest.mark.parametrize(
    ("annotation", "rows", "expected"),
    [
        (
            list[Point],
            [Point(1), Point(2, 0.5, Address(city="Bonn"))],
            {"x": "Int64", "y": "float64", "of.city": TEXT, "of.zip_code": "Int64"},
        ),
        (list[Bird], [{"name": "Kiwi"}, {"name": "Tui", "wings": 2}], {"name": TEXT, "wings": "Int64"}),
        (list[Pair], [Pair(1, "a")], {"left": "Int64", "right": TEXT}),
        (tuple[Pair, ...], (Pair(1, "a"),), {"left": "Int64", "right": TEXT}),
        (Sequence[Address], [Address(city="Bonn")], {"city": TEXT, "zip_code": "Int64"}),
    ],
)
def test_every_kind_of_record_is_a_row(annotation: Any, rows: Any, expected: dict[str, str]) -> None:
    assert dtypes(frames.result_frame(rows, annotation)) == expected
    assert dtypes(frames.result_frame(type(rows)(), annotation)) == expected
    assert len(frames.result_frame(rows, annotation)) == len(rows)


def test_a_list_of_dicts_is_typed_where_its_values_agree() -> None:
    rows = [{"a": 1, "b": "x", "c": 1}, {"a": None, "b": None, "c": "1", "d": 2.5}]
    frame = frames.result_frame(rows, list[dict[str, Any]])
    assert dtypes(frame) == {"a": "Int64", "b": TEXT, "c": "object", "d": "float64"}
    assert cells(frame, "a") == [1, None]
    assert cells(frame, "c") == [1, "1"]


def test_a_dict_with_an_annotation_for_its_values_uses_it() -> None:
    frame = frames.result_frame([{"a": None}, {"b": 2}], list[dict[str, int | None]])
    assert dtypes(frame) == {"a": "Int64", "b": "Int64"}


class Cat(BaseModel):
    kind: Literal["cat"] = "cat"
    lives: int


class Dog(BaseModel):
    kind: Literal["dog"] = "dog"
    tricks: list[str]


def test_a_union_of_models_has_the_columns_of_all() -> None:
    annotation = list[Annotated[Cat | Dog, Field(discriminator="kind")]]
    frame = frames.result_frame([Cat(lives=9), Dog(tricks=["sit"])], annotation)
    assert dtypes(frame) == {"kind": "category", "lives": "Int64", "tricks": "object"}
    assert list(frame["kind"]) == ["cat", "dog"]
    assert cells(frame, "lives") == [9, None]


Metres = NewType("Metres", int)


class Names(RootModel[list[str]]):
    pass


@pytest.mark.parametrize(
    ("annotation", "value", "dtype", "expected"),
    [
        (int, 2**53 + 1, "Int64", [2**53 + 1]),
        (int | None, None, "Int64", [None]),
        (Metres, 3, "Int64", [3]),
        (Annotated[int, Field(ge=0)], 3, "Int64", [3]),
        (bool, True, "boolean", [True]),
        (float, float("inf"), "float64", [float("inf")]),
        (str, "x", TEXT, ["x"]),
        (Optional[str], None, TEXT, [None]),  # noqa: UP045  the spelling is the case
        (datetime, NOON, "datetime64[us, UTC]", [pd.Timestamp(NOON)]),
        (datetime, datetime(2026, 3, 1, 12), "datetime64[us, UTC]", [pd.Timestamp(NOON)]),
        (AwareDatetime, NOON, "datetime64[us, UTC]", [pd.Timestamp(NOON)]),
        (date, date(2026, 3, 1), "datetime64[us]", [pd.Timestamp(2026, 3, 1)]),
        (Size, Size.LARGE, "category", ["large"]),
        (Literal["a", "b"], "b", "category", ["b"]),
        (Literal[1, 2], 2, "category", [2]),
        (list[int], [1, 2], "Int64", [1, 2]),
        (list[int | None], [1, None], "Int64", [1, None]),
        (list[float], [1.5, float("nan")], "float64", [1.5, None]),
        (set[str], {"b", "a"}, TEXT, ["a", "b"]),
        (list[list[int]], [[1, 2], [3, 4]], "object", [[1, 2], [3, 4]]),
        (tuple[int, str], (1, "a"), "object", [1, "a"]),
        (Names, Names(["a"]), TEXT, ["a"]),
        (Decimal, Decimal("0.1"), "object", [Decimal("0.1")]),
        (uuid.UUID, uuid.UUID(int=1), "object", [uuid.UUID(int=1)]),
        (["bad", "good"], "good", "category", ["good"]),
        ((4, 5), 5, "category", [5]),
        ([["a", "b"]], ["b", "a"], "category", ["b", "a"]),
        (Any, [1, 2], "Int64", [1, 2]),
    ],
)
def test_scalars_stand_in_the_column_value(
    annotation: Any, value: Any, dtype: str, expected: list[Any]
) -> None:
    frame = frames.result_frame(value, annotation)
    assert dtypes(frame) == {"value": dtype}
    assert cells(frame) == expected


def test_choices_that_are_models_are_shown_as_records() -> None:
    choices = [Address(city="Bonn"), Address(city="Rome")]
    assert frames.result_frame(choices[1], choices).to_dict("records") == [
        {"city": "Rome", "zip_code": None}
    ] or (list(frames.result_frame(choices[1], choices)["city"]) == ["Rome"])


def test_one_model_is_one_row() -> None:
    frame = frames.result_frame(Company(name="A"), Company)
    assert dtypes(frame) == COMPANY_DTYPES
    assert len(frame) == 1


def test_one_dict_is_one_row() -> None:
    frame = frames.result_frame({"a": 1, "b": 2}, dict[str, int])
    assert frame.to_dict("records") == [{"a": 1, "b": 2}]
    assert dtypes(frame) == {"a": "Int64", "b": "Int64"}


def test_nothing_gives_no_rows() -> None:
    assert frames.result_frame(None, None).shape == (0, 0)
    assert frames.result_frame(None, type(None)).shape == (0, 0)
    assert dtypes(frames.result_frame(None, Company | None)) == COMPANY_DTYPES
    assert dtypes(frames.result_frame(None, list[Company] | None)) == COMPANY_DTYPES
    assert len(frames.result_frame(None, list[Company] | None)) == 0


def test_a_frame_is_copied_with_its_index() -> None:
    given_frame = pd.DataFrame({"a": [1, 2]}, index=["x", "x"])
    frame = frames.result_frame(given_frame, pd.DataFrame, run_id="r1", is_rehearsal=True)
    frame.loc[:, "a"] = 0
    assert list(given_frame["a"]) == [1, 2]
    assert given_frame.attrs == {}
    assert list(given_frame.columns) == ["a"]
    assert list(frame.index) == ["x", "x"]


def test_attrs_say_which_run_made_it() -> None:
    frame = frames.result_frame([], list[Company], run_id="r7", task="find", model="m")
    assert frame.attrs == {
        "aesop": {
            "run_id": "r7",
            "task": "find",
            "model": "m",
            "is_rehearsal": False,
            "reused_from": None,
        }
    }
    assert json.loads(json.dumps(frame.attrs)) == frame.attrs
    assert "_model" not in frame.columns


def test_a_rehearsal_says_so_in_a_column() -> None:
    frame = frames.result_frame([1, 2], list[int], model="rehearsal", is_rehearsal=True)
    assert list(frame["_model"]) == ["rehearsal", "rehearsal"]
    assert frame.attrs["aesop"]["is_rehearsal"] is True
    assert dtypes(frames.result_frame([], list[int], is_rehearsal=True)) == {"value": "Int64", "_model": TEXT}


def test_an_integer_beyond_64_bits_survives_as_an_object() -> None:
    frame = frames.result_frame([2**70, 1], list[int])
    assert dtypes(frame) == {"value": "object"}
    assert cells(frame) == [2**70, 1]


def test_a_value_outside_the_annotation_is_shown_and_not_dropped() -> None:
    broken = Company.model_construct(name="A", staff="many", kind="zoo", founded=NOON)
    frame = frames.result_frame([broken], list[Company])
    assert (frame["staff"][0], frame["kind"][0], frame["founded"][0]) == ("many", "zoo", NOON)


def test_equal_but_different_choices_are_not_mixed_up() -> None:
    annotation = Literal[1, True]  # type: ignore[valid-type]
    assert cells(frames.result_frame([True, 1], list[annotation])) == [True, 1]  # type: ignore[valid-type]
    assert frames.result_frame([True], list[annotation])["value"][0] is True  # type: ignore[valid-type]


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    a: int

    @computed_field  # type: ignore[prop-decorator]
    @property
    def twice(self) -> int:
        return 2 * self.a


class Wider(Address):
    street: str


def test_fields_beyond_the_annotation_are_kept() -> None:
    frame = frames.result_frame([Open(a=1), Open(a=2, b="x")], list[Open])  # type: ignore[call-arg]
    assert dtypes(frame) == {"a": "Int64", "twice": "Int64", "b": TEXT}
    frame = frames.result_frame([Wider(city="Bonn", street="Markt")], list[Address])
    assert list(frame["street"]) == ["Markt"]


class Titled(BaseModel):
    model_config = ConfigDict(populate_by_name=True)
    gdp_usd: float = Field(alias="GDP (USD)")
    staff: int = Field(alias="staffCount")


def test_an_alias_that_python_cannot_use_is_the_title() -> None:
    assert list(frames.result_frame([], list[Titled]).columns) == ["GDP (USD)", "staff"]


def test_two_ways_to_one_column_name_keep_both() -> None:
    row = TypedDict("row", {"a": Address, "a.city": str})
    frame = frames.result_frame([{"a": Address(city="Bonn"), "a.city": "x"}], list[row])  # type: ignore[valid-type]
    assert list(frame.columns) == ["a.city", "a.zip_code", "a.city_"]


def test_lone_surrogates_are_replaced() -> None:
    frame = frames.result_frame([{"a\ud800": "x\ud800", "b": ["\ud800"]}], list[dict[str, Any]])
    assert frame.to_dict("records") == [{"a\ufffd": "x\ufffd", "b": ["\ufffd"]}]
    frame._repr_html_()


def test_an_object_that_holds_itself_ends() -> None:
    ring: list[Any] = []
    ring.append(ring)
    assert frames.result_frame([{"a": ring}], list[dict[str, Any]])["a"][0] == ["…"]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="`type X = …` came with Python 3.12")
def test_type_aliases_are_seen_through() -> None:
    scope: dict[str, Any] = {}
    exec("type Numbers = list[int | None]", scope)
    assert dtypes(frames.result_frame([1, None], scope["Numbers"])) == {"value": "Int64"}


def test_times_beyond_the_range_of_nanoseconds_are_exact() -> None:
    early, late = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)
    frame = frames.result_frame([early, None, late], list[datetime | None])
    assert [None if pd.isna(cell) else cell.to_pydatetime() for cell in frame["value"]] == [early, None, late]


TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
ADDRESSES = st.builds(Address, city=TEXTS, zip_code=st.none() | st.integers(-(2**63), 2**63 - 1))
COMPANIES = st.builds(
    Company,
    name=TEXTS,
    staff=st.none() | st.integers(-(2**63), 2**63 - 1),
    margin=st.none() | st.floats(allow_nan=False),
    founded=st.none() | st.dates(),
    seen=st.none() | st.datetimes(timezones=st.just(UTC)),
    age=st.none() | st.timedeltas(timedelta(days=-100_000), timedelta(days=100_000)),
    size=st.sampled_from(Size),
    kind=st.none() | st.sampled_from(["shop", "chain"]),
    address=st.none() | ADDRESSES,
    tags=st.lists(TEXTS, max_size=3),
    price=st.decimals(allow_nan=False, allow_infinity=False),
)


def _company(row: dict[str, Any]) -> Company:
    row = {
        name: None if pd.api.types.is_scalar(cell) and pd.isna(cell) else cell for name, cell in row.items()
    }
    # As Python integers: pydantic reads NumPy's by way of floats.
    row |= {name: int(row[name]) for name in ("staff", "address.zip_code") if row[name] is not None}
    city, zip_code = row.pop("address.city"), row.pop("address.zip_code")
    for name, read in (
        ("founded", lambda t: t.to_pydatetime().date()),
        ("seen", lambda t: t.to_pydatetime()),
    ):
        row[name] = None if row[name] is None else read(row[name])
    row["age"] = None if row["age"] is None else row["age"].to_pytimedelta()
    row["address"] = None if city is None else Address(city=city, zip_code=zip_code)
    return Company(**row)


# No shrinking: pandas makes it take minutes, and the examples are small.
QUICK = hypothesis_settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow],
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)


@QUICK
@given(st.lists(COMPANIES, max_size=5))
def test_what_goes_in_comes_out(companies: list[Company]) -> None:
    frame = frames.result_frame(companies, list[Company])
    assert dtypes(frame) == COMPANY_DTYPES
    assert [_company({n: frame[n].iloc[i] for n in frame}) for i in range(len(frame))] == companies


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


@QUICK
@given(st.lists(st.dictionaries(TEXTS, JSON, max_size=4), max_size=4))
def test_a_list_of_any_dicts_comes_out(rows: list[dict[str, Any]]) -> None:
    frame = frames.result_frame(rows, list[dict[str, Any]])
    assert len(frame) == len(rows)
    for position, row in enumerate(rows):
        for name, value in row.items():
            cell = frame[name].iloc[position]
            assert pd.isna(cell) if value is None else cell == value


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (list[Company], True),
        (list[dict[str, Any]], True),
        (list[dict], True),  # type: ignore[type-arg]
        (list[Point], True),
        (list[Bird], True),
        (list[Cat | Dog], True),
        (Annotated[list[Company], "x"], True),
        (pd.DataFrame, True),
        (list[int], False),
        (list[str], False),
        (list[Company | None], True),
        (list, False),
        (list[Any], False),
        (Company, False),
        (dict[str, int], False),
        (str, False),
        (None, False),
        (["a", "b"], False),
        (list[Company] | None, False),
    ],
)
def test_which_results_are_tables(annotation: Any, expected: bool) -> None:
    assert frames.is_tabular(annotation) is expected


# Runs and events


def _number(events: list[Any], run_id: str) -> list[ev.Event]:
    return [
        event.model_copy(update={"run_id": run_id, "number": n, "at": NOON + timedelta(seconds=n)})
        for n, event in enumerate(events)
    ]


@pytest.fixture
def run() -> list[ev.Event]:
    return _number(
        [
            ev.RunCreated(
                task="find",
                objective="Find shops",
                instructions="Be kind",
                inputs={"year": "2020"},
                model="m",
            ),
            ev.RunStarted(),
            ev.TurnStarted(turn=1),
            ev.TextStreamed(turn=1, text="I look"),
            ev.ModelReplied(
                turn=1,
                text="I look",
                tool_calls=[
                    ev.CallRequest(call_id="c1", tool="search", arguments='{"q": 1}'),
                    ev.CallRequest(call_id="c2", tool="fetch", arguments="{}"),
                ],
                usage=ev.Usage(requests=1, input_tokens=5, output_tokens=7, cost_usd=0.25),
                duration_seconds=1.5,
            ),
            ev.ToolCalled(turn=1, call_id="c1", tool="search", arguments={"q": 1}),
            ev.ToolReturned(call_id="c1", tool="search", output="[1]", duration_seconds=0.5),
            ev.ToolFailed(turn=1, call_id="c2", tool="fetch", arguments="{}", error="TimeoutError: slow"),
            ev.UserAsked(question_id="q1", question="Which?", choices=["a", "b"]),
            ev.UserAnswered(question_id="q1", answer="b", source="widget", waited_seconds=2),
            ev.ResultRejected(turn=1, reason="too short", raw="x"),
            ev.TurnEnded(turn=1),
            ev.RunCompleted(result=[1], text="done"),
        ],
        "r1",
    )


def test_messages_are_the_conversation_in_order(run: list[ev.Event]) -> None:
    frame = frames.messages_df(run)
    assert list(zip(frame["role"], frame["kind"], frame["text"], strict=True)) == [
        ("system", "instructions", "Be kind"),
        ("user", "objective", "Find shops\nyear: 2020"),
        ("assistant", "reply", "I look"),
        ("tool", "tool_result", "[1]"),
        ("tool", "tool_error", "TimeoutError: slow"),
        ("assistant", "question", "Which?\nChoices: a, b"),
        ("user", "answer", "b"),
        ("user", "rejection", "too short"),
    ]
    assert cells(frame, "turn") == [None, None, 1, 1, 1, 1, 1, 1]
    assert cells(frame, "tool")[3:5] == ["search", "fetch"]
    assert [call["tool"] for call in frame["tool_calls"][2]] == ["search", "fetch"]


def test_events_keep_everything_an_event_carries(run: list[ev.Event]) -> None:
    frame = frames.events_df(run)
    assert list(frame["number"]) == list(range(len(run)))
    assert list(frame["type"]) == [event.type for event in run]
    for event, row in zip(run, frame.to_dict("records"), strict=True):
        told = {**row, **row["data"]}
        for name, value in event.model_dump(mode="json").items():
            if name not in ("at", "type", "number"):
                assert told.get(name) == value or value in (row["text"],), name
    assert frame["duration_seconds"][4] == 1.5
    assert frame["at"][0] == pd.Timestamp(NOON)


def test_tool_calls_are_one_row_each(run: list[ev.Event]) -> None:
    frame = frames.tool_calls_df([RunLog.of(run)])
    assert list(zip(frame["call_id"], frame["tool"], frame["state"], strict=True)) == [
        ("c1", "search", "done"),
        ("c2", "fetch", "failed"),
    ]
    assert list(frame["arguments"]) == [{"q": 1}, "{}"]
    assert cells(frame, "output") == ["[1]", None]
    assert cells(frame, "error") == [None, "TimeoutError: slow"]


def test_a_call_under_way_has_no_duration(run: list[ev.Event]) -> None:
    frame = frames.tool_calls_df([RunLog.of(run[:6])])
    assert list(frame["state"]) == ["running"]
    assert cells(frame, "duration_seconds") == [None]


def test_runs_are_one_row_each(run: list[ev.Event]) -> None:
    failed = _number(
        [
            ev.RunCreated(task="find", objective="o", is_rehearsal=True),
            ev.RunStarted(),
            ev.RunFailed(error="LimitExceeded", message="max_turns"),
        ],
        "r2",
    )
    cancelled = _number([ev.RunCreated(task="t", objective="o"), ev.RunCancelled(reason="stopped")], "r3")
    frame = frames.runs_df(map(RunLog.of, [run, failed, cancelled, run[:1]]))
    assert list(frame["status"]) == ["completed", "failed", "cancelled", "pending"]
    assert cells(frame, "error") == [None, "LimitExceeded: max_turns", "TaskCancelled: stopped", None]
    assert cells(frame, "duration_seconds") == [11.0, 1.0, 0.0, None]
    assert cells(frame, "cost_usd") == [0.25, None, None, None]
    assert list(frame["is_rehearsal"]) == [False, True, False, False]
    assert frame.groupby("task").cost_usd.sum().to_dict() == {"find": 0.25, "t": 0.0}
    assert list(frame["tool_calls"]) == [2, 0, 0, 0]


RUN_DTYPES = {
    "run_id": TEXT,
    "task": TEXT,
    "status": "category",
    "objective": TEXT,
    "model": TEXT,
    "is_rehearsal": "boolean",
    "started_at": "datetime64[us, UTC]",
    "ended_at": "datetime64[us, UTC]",
    "duration_seconds": "float64",
    "requests": "Int64",
    "input_tokens": "Int64",
    "output_tokens": "Int64",
    "cost_usd": "float64",
    "tool_calls": "Int64",
    "error": TEXT,
    "notebook": TEXT,
    "reused_from": TEXT,
    "saved": "boolean",
}


def test_no_runs_give_typed_columns(run: list[ev.Event]) -> None:
    assert dtypes(frames.runs_df([])) == RUN_DTYPES
    assert dtypes(frames.runs_df([RunLog.of(run)])) == RUN_DTYPES
    assert list(frames.runs_df([])["status"].cat.categories) == [
        "pending",
        "running",
        "completed",
        "failed",
        "cancelled",
    ]
    assert len(frames.runs_df([]).groupby("task").cost_usd.sum()) == 0


@pytest.mark.parametrize("make", [frames.events_df, frames.messages_df])
def test_no_events_give_the_same_dtypes(make: Any, run: list[ev.Event]) -> None:
    assert dtypes(make([])) == dtypes(make(run))


def test_no_tool_calls_give_the_same_dtypes(run: list[ev.Event]) -> None:
    assert dtypes(frames.tool_calls_df([])) == dtypes(frames.tool_calls_df([RunLog.of(run)]))


@pytest.mark.parametrize("make", [frames.events_df, frames.messages_df, frames.tool_calls_df, frames.runs_df])
def test_the_docstring_names_every_column(make: Any) -> None:
    for name in make([]).columns:
        assert f"`{name}`" in make.__doc__, name


# CSV


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@x", "\tx", "\rx", "   =cmd|' /C calc'!'A1'"])
def test_csv_cells_that_a_spreadsheet_would_run_are_marked(cell: str) -> None:
    frame = pd.DataFrame({cell: pd.array([cell, "fine"], dtype=TEXT)}, index=pd.Index([cell, "i"], name=cell))
    text = frames.to_csv(frame)
    assert text is not None
    assert text.count("'" + cell) == 4
    assert frame.iloc[0, 0] == cell


def test_csv_numbers_stay_numbers() -> None:
    frame = pd.DataFrame({"a": [-1, 2], "b": [-0.5, 1.0], "c": pd.Series(["-1", "x"], dtype="category")})
    assert frames.to_csv(frame, index=False) == "a,b,c\n-1,-0.5,'-1\n2,1.0,x\n"


def test_csv_keeps_a_multiindex(tmp_path: Any) -> None:
    index = pd.MultiIndex.from_tuples([("=a", 1), ("b", 2)], names=["x", "y"])
    frames.to_csv(pd.DataFrame({"v": [1, 2]}, index=index), tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text() == "x,y,v\n'=a,1,1\nb,2,2\n"


def test_csv_keeps_columns_of_one_name() -> None:
    frame = pd.DataFrame([["=a", "b"]], columns=["x", "x"])
    assert frames.to_csv(frame, index=False) == "x,x\n'=a,b\n"
