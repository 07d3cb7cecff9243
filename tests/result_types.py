"""Types that tests ask for as results, and what is handed in for them."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import typing
from typing import Any

import pydantic as pyd
import pytest

from aesop_nb.results.result_types import ResultMismatch, ResultType


class Company(pyd.BaseModel):
    name: str
    staff: int | None = None
    founded: dt.date | None = None


class Node(pyd.BaseModel):
    value: int
    children: list[Node] = []


class Colour(enum.Enum):
    RED = "red"
    DARK_BLUE = "dark blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Shape(enum.Enum):
    ROUND = (1, 2)
    FLAT = (3, 4)


@dataclasses.dataclass
class Book:
    title: str
    pages: int


class Pair(typing.NamedTuple):
    name: str
    size: int = 3


class Movie(typing.TypedDict):
    title: str
    year: typing.NotRequired[int]


def check(annotation: Any, answer: Any) -> Any:
    return ResultType.of(annotation).check(answer)


def mismatch(annotation: Any, answer: Any, **options: Any) -> str:
    with pytest.raises(ResultMismatch) as caught:
        ResultType.of(annotation, **options).check(answer)
    return str(caught.value)
