"""Placeholders: every type gets a value that fits, and what has none is said to have none."""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import ipaddress
import pathlib
import re
import typing
import uuid
import zoneinfo
from typing import Annotated, Any, Literal

import pandas as pd
import pydantic as pyd
import pytest
from rehearsing import rehearse

from aesop_nb.models.placeholders import Maker, Unfillable
from aesop_nb.results.result_types import ResultType, parse_columns


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Address(pyd.BaseModel):
    street: str
    city: str = pyd.Field(examples=["Ghent"])


class Person(pyd.BaseModel):
    name: str
    age: Annotated[int, pyd.Field(ge=18, lt=100)]
    home: Address
    nick: str | None = None


class Node(pyd.BaseModel):
    value: int
    left: Node | None = None
    children: list[Node] = []


class Leaf(pyd.BaseModel):
    kind: Literal["leaf"]
    value: float


class Sum(pyd.BaseModel):
    kind: Literal["sum"]
    terms: Annotated[list[Term], pyd.Field(min_length=2)]


Term = Annotated[Sum | Leaf, pyd.Field(discriminator="kind")]


class Cat(pyd.BaseModel):
    pet: Literal["cat"]
    lives: int


class Dog(pyd.BaseModel):
    pet: Literal["dog"]
    barks: bool


class Owner(pyd.BaseModel):
    pet: Annotated[Cat | Dog, pyd.Field(discriminator="pet")]


class Aliased(pyd.BaseModel):
    model_config = pyd.ConfigDict(extra="forbid")

    gdp: float = pyd.Field(alias="GDP (USD)")
    class_: str = pyd.Field(alias="class")


class Strict(pyd.BaseModel):
    model_config = pyd.ConfigDict(strict=True, frozen=True)

    when: dt.date
    amount: decimal.Decimal
    tags: tuple[str, ...]


class Even(pyd.RootModel[list[Annotated[int, pyd.Field(multiple_of=2, gt=0)]]]):
    pass


class Ordered(pyd.BaseModel):
    low: int
    high: int

    @pyd.model_validator(mode="after")
    def _in_order(self) -> Ordered:
        if self.low > self.high:
            raise ValueError("low must not be above high")
        return self


class Holder(pyd.BaseModel):
    a: First


class First(pyd.BaseModel):
    b: Second | None


class Second(pyd.BaseModel):
    a: Annotated[list[First], pyd.Field(min_length=1)] | None
    label: str


class Pair(typing.NamedTuple):
    name: str
    size: int = 3


@dataclasses.dataclass
class Book:
    title: str
    pages: int
    tags: list[str] = dataclasses.field(default_factory=list)


class Movie(typing.TypedDict, total=False):
    title: typing.Required[str]
    year: int


class Sized(pyd.BaseModel):
    code: Annotated[str, pyd.Field(min_length=2, max_length=2)]
    long: Annotated[str, pyd.Field(min_length=60)]
    empty: Annotated[str, pyd.Field(max_length=0)]


T = typing.TypeVar("T")


class Page(pyd.BaseModel, typing.Generic[T]):
    items: list[T]
    total: int


def _pattern(pattern: str, **limits: Any) -> Any:
    return Annotated[str, pyd.Field(pattern=pattern, **limits)]


TYPES: list[Any] = [
    None, str, int, float, bool, bytes, complex, Any, object, list, dict, set, tuple,
    dt.date, dt.datetime, dt.time, dt.timedelta, decimal.Decimal, uuid.UUID, pathlib.Path, fractions.Fraction,
    pyd.UUID1, pyd.UUID4, pyd.UUID5, pyd.AnyUrl, pyd.HttpUrl, pyd.FileUrl, pyd.WebsocketUrl, pyd.FtpUrl,
    pyd.PostgresDsn, pyd.RedisDsn, pyd.MongoDsn, pyd.MySQLDsn, pyd.AmqpDsn,
    ipaddress.IPv4Address, ipaddress.IPv6Address, ipaddress.IPv4Network, ipaddress.IPv6Interface,
    pyd.IPvAnyAddress, pyd.IPvAnyNetwork, pyd.IPvAnyInterface, re.Pattern, zoneinfo.ZoneInfo,
    pyd.PastDate, pyd.FutureDate, pyd.PastDatetime, pyd.FutureDatetime, pyd.AwareDatetime, pyd.NaiveDatetime,
    Annotated[dt.date, pyd.Field(gt=dt.date(2031, 5, 1))],
    Annotated[dt.date, pyd.Field(lt=dt.date(1999, 1, 1))],
    Annotated[dt.timedelta, pyd.Field(gt=dt.timedelta(days=30))],
    pyd.Json, pyd.Json[list[int]],
    pyd.Base64Bytes, pyd.Base64Str, pyd.Base64UrlStr, pyd.SecretStr, pyd.SecretBytes,
    pyd.ByteSize, pyd.DirectoryPath, pyd.NewPath, pyd.JsonValue, pyd.PositiveInt, pyd.NegativeFloat,
    pyd.StrictInt, pyd.StrictBool, pyd.StrictFloat, pyd.StrictStr, pyd.FiniteFloat,
    Annotated[int, pyd.Field(multiple_of=7, gt=10)], Annotated[int, pyd.Field(ge=-3, le=-1)],
    Annotated[float, pyd.Field(multiple_of=0.25, gt=0.1)], Annotated[float, pyd.Field(gt=0.25, lt=0.5)],
    Annotated[decimal.Decimal, pyd.Field(max_digits=4, decimal_places=2, gt=1)],
    Annotated[str, pyd.StringConstraints(to_upper=True, min_length=3, max_length=5)],
    _pattern(r"^\d{3}-[A-Z]{2}$"), _pattern(r"^[a-z0-9_]+$", min_length=12), _pattern(r"^(red|blue)-\w{2,}$"),
    _pattern(r"^[^@\s]+@[^@\s]+\.[a-z]{2,}$"), _pattern("^#[0-9a-fA-F]{6}$"), _pattern("^a+$", max_length=3),
    _pattern(r"^\+?[1-9]\d{1,14}$"), _pattern(r"^v\d+\.\d+\.\d+(-\w+)?$"), _pattern("b"),
    Colour, Level, Literal["a", "b"], Literal[1, "x", None], Literal[True], list[Colour], Colour | None,
    int | str, list[int] | None, Annotated[int, "a number"],
    list[str], list[Literal["x", "y"]], set[int], frozenset[str], set[Colour], pyd.conset(int, min_length=5),
    pyd.conset(Colour, min_length=2), pyd.conlist(Person, min_length=3, max_length=4), tuple[int, str, dt.date],
    tuple[int, ...], tuple[()], collections.deque[int], typing.Sequence[int], collections.Counter[str],
    dict[str, int], dict[int, str], dict[uuid.UUID, int], dict[dt.date, float], dict[Literal["a", "b"], int],
    dict[Colour, int], dict[Level, str], dict[Annotated[str, pyd.Field(min_length=9)], int],
    dict[Annotated[str, pyd.Field(pattern="^k[0-9]+$")], int], dict[bool, int], dict[float, str],
    Annotated[dict[str, int], pyd.Field(min_length=3)], collections.defaultdict[str, list[int]],
    typing.Mapping[str, Person], dict[str, dict[str, list[tuple[int, str]]]],
    Address, Person, list[Person], Node, list[Node], Sum, Owner, Aliased, Strict, Even, Ordered, Holder, Second,
    Pair, list[Pair], Book, Movie, list[Movie], Sized, Page[Person], Page[int],
    ["bad", "good"], (4, 5, 6), {"x"}, [Person, Book], [["a", "b", "c"]],
    [Address(street="A", city="B"), Address(street="C", city="D")],
    pd.DataFrame, list[parse_columns("name, GDP (USD):float, staff:int?, founded:date?, at:datetime, ok:bool")],
    list[dict[str, Any]], list[list[int]],
]  # fmt: skip


@pytest.mark.parametrize("annotation", TYPES, ids=lambda annotation: repr(annotation)[:60])
async def test_a_value_for_every_type(annotation: Any) -> None:
    result = ResultType.of(annotation)
    value, _ = await rehearse(result)
    again, _ = await rehearse(result)
    assert result.to_json(value) == result.to_json(again)


def test_examples_and_defaults_come_before_placeholders() -> None:
    schema = {
        "type": "object",
        "properties": {
            "a": {"type": "string", "examples": ["first", "second"]},
            "b": {"type": "integer", "default": 7},
            "c": {"type": "integer", "default": "not a number"},
        },
        "required": ["a", "b", "c"],
    }
    assert Maker(root=schema).make(schema, "x") == {"a": "first", "b": 7, "c": 0}
    assert Maker(root=schema, attempt=1).make(schema, "x") == {"a": "second", "b": 1, "c": 1}


def test_what_has_no_value_is_said_to_have_none() -> None:
    endless = {
        "$defs": {"A": {"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}, "required": ["a"]}}
    }
    with pytest.raises(Unfillable, match="holds itself"):
        Maker(root=endless).make({"$ref": "#/$defs/A"}, "x")
    with pytest.raises(Unfillable, match="no number"):
        Maker(root={}).make({"type": "integer", "minimum": 3, "maximum": 2}, "x")
    with pytest.raises(Unfillable, match="different items"):
        Maker(root={}).make({"type": "array", "items": {"const": 1}, "uniqueItems": True, "minItems": 2}, "x")
