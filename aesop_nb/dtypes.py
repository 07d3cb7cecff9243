"""Columns with the dtype that an annotation asks for; with `frames.py` the only door to pandas.

    int → Int64    bool → boolean    float → float64    str → str    Enum, Literal → category
    datetime → datetime64[us, UTC]   date → datetime64[us]    timedelta → timedelta64[us]
    list, dict, Decimal and all else → object

A naive `datetime` is taken as UTC. With pandas 2.2 the dtype for text is `string`, with pandas 3 it is `str`.
A column with a value that its dtype cannot hold without loss (an integer beyond 64 bits) becomes object.
"""

from __future__ import annotations

import enum
import typing
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import pandas as pd
import pydantic

from . import records
from .texts import clean_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Dtype: TypeAlias = Any  # a dtype object or its name; pandas has no common type for the two

TEXT = "str" if int(pd.__version__.split(".")[0]) >= 3 else "string"
TIME = "datetime64[us, UTC]"
_DATE = "datetime64[us]"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_NOT_A_TIME = np.iinfo(np.int64).min

# In this order: a bool is an int and a datetime is a date.
_CLASSES: tuple[tuple[type, Dtype], ...] = (
    (bool, "boolean"),
    (int, "Int64"),
    (float, "float64"),
    (str, TEXT),
    (datetime, TIME),
    (date, _DATE),
    (timedelta, "timedelta64[us]"),
)
# Pydantic's own names for these, which are not subclasses of them.
_PYDANTIC: dict[Any, Dtype] = {
    pydantic.AwareDatetime: TIME,
    pydantic.NaiveDatetime: TIME,
    pydantic.PastDatetime: TIME,
    pydantic.FutureDatetime: TIME,
    pydantic.PastDate: _DATE,
    pydantic.FutureDate: _DATE,
    pydantic.EmailStr: TEXT,
}


def column(values: Sequence[Any], annotation: Any) -> pd.Series[Any]:
    """Gives a column of values of one annotation; `Any` leaves it to the values where they agree."""
    values = [records.enum_value(value) for value in values]
    undeclared = records.bare(annotation) in (Any, object)
    return series(values, _dtype_of_values(values) if undeclared else _dtype(annotation))


def series(values: Sequence[Any], dtype: Dtype) -> pd.Series[Any]:
    """Gives a column of that dtype, or of objects where a value does not fit without loss."""
    try:
        return pd.Series(_array(values, dtype))
    except (KeyError, TypeError, ValueError, OverflowError):
        return pd.Series(_objects(values))


def category(choices: Sequence[Any]) -> Dtype:
    """Gives the dtype of a closed set; object where the choices cannot be categories."""
    kept = [records.enum_value(choice) for choice in choices if choice is not None]
    if not kept or not all(isinstance(choice, (str, int, float)) for choice in kept):
        return object
    distinct = list(dict.fromkeys(kept))
    if len({(type(choice), choice) for choice in kept}) != len(distinct):
        return object  # 1 and True are equal but not the same
    if all(isinstance(choice, str) for choice in distinct):
        return text_category(distinct)
    return pd.CategoricalDtype(pd.Index(distinct))


def text_category(choices: Sequence[str]) -> pd.CategoricalDtype:
    """Gives the dtype of a closed set of texts, in this order."""
    return pd.CategoricalDtype(pd.Index([clean_text(text) for text in choices], dtype=TEXT))


def _dtype(annotation: Any) -> Dtype:
    dtypes = [_dtype_of(member) for member in records.members(annotation)]
    if not dtypes:
        return object
    if all(isinstance(dtype, pd.CategoricalDtype) for dtype in dtypes):
        return category([choice for dtype in dtypes for choice in dtype.categories])
    return dtypes[0] if all(dtype == dtypes[0] for dtype in dtypes) else object


def _dtype_of(kind: Any) -> Dtype:
    if typing.get_origin(kind) is Literal:
        return category(typing.get_args(kind))
    if not isinstance(kind, type):
        return object
    if issubclass(kind, enum.Enum):
        return category(list(kind))
    found = (dtype for cls, dtype in _CLASSES if issubclass(kind, cls))
    return _PYDANTIC.get(kind) or next(found, object)


def _dtype_of_values(values: Sequence[Any]) -> Dtype:
    """Gives the dtype for values without an annotation: typed only where all agree."""
    found = {type(value) for value in values if not _is_missing(value)}
    if not found:
        return "float64" if any(isinstance(value, float) for value in values) else object
    if found == {int, float}:
        return "float64"
    return next((dtype for cls, dtype in _CLASSES if found == {cls}), object)


def _is_missing(value: Any) -> bool:
    return value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and value != value)


def _array(values: Sequence[Any], dtype: Dtype) -> Any:
    if isinstance(dtype, pd.CategoricalDtype):
        return _categorical(values, dtype)
    build: Callable[[Sequence[Any]], Any] = _BUILDERS.get(dtype, _objects)
    return build(values)


def _categorical(values: Sequence[Any], dtype: pd.CategoricalDtype) -> pd.Categorical[Any]:
    codes = {choice: code for code, choice in enumerate(dtype.categories)}
    found = [-1 if _is_missing(value) else codes[records.plain(value)] for value in values]
    return pd.Categorical.from_codes(found, dtype=dtype)


def _objects(values: Sequence[Any]) -> np.ndarray[Any, Any]:
    array = np.empty(len(values), dtype=object)
    for position, value in enumerate(values):  # assigning all at once would unfold lists of one length
        array[position] = records.plain(value)
    return array


def _masked(
    values: Sequence[Any], cls: type, filler: Any
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Gives data and mask of values that are all of `cls` or missing."""
    mask = np.array([_is_missing(value) for value in values], dtype=np.bool_)
    if any(not missing and type(value) is not cls for value, missing in zip(values, mask, strict=True)):
        raise TypeError(f"Not all values are {cls.__name__}.")
    data = [filler if missing else value for value, missing in zip(values, mask, strict=True)]
    return np.array(data, dtype=np.int64 if cls is int else cls), mask


def _integers(values: Sequence[Any]) -> Any:
    return pd.arrays.IntegerArray(*_masked(values, int, 0))


def _booleans(values: Sequence[Any]) -> Any:
    return pd.arrays.BooleanArray(*_masked(values, bool, False))


def _floats(values: Sequence[Any]) -> np.ndarray[Any, Any]:
    numbers = [np.nan if _is_missing(value) else value for value in values]
    if not all(isinstance(n, float) or (type(n) is int and float(n) == n) for n in numbers):
        raise TypeError("Not all values are floats.")
    return np.array(numbers, dtype=np.float64)


def _texts(values: Sequence[Any]) -> Any:
    if not all(_is_missing(value) or isinstance(value, str) for value in values):
        raise TypeError("Not all values are texts.")
    cleaned: Any = [None if _is_missing(value) else clean_text(value) for value in values]
    return pd.array(cleaned, dtype=TEXT)


def _microseconds(values: Sequence[Any], count: Callable[[Any], int]) -> np.ndarray[Any, Any]:
    # Counted here and not by pandas, which goes through nanoseconds and so ends in the year 2262.
    return np.array([_NOT_A_TIME if _is_missing(value) else count(value) for value in values], dtype=np.int64)


def _times(values: Sequence[Any]) -> Any:
    def count(value: datetime) -> int:
        return ((value if value.tzinfo else value.replace(tzinfo=UTC)) - _EPOCH) // _MICROSECOND

    naive = pd.Series(_microseconds(values, count).view("datetime64[us]"))
    return naive.dt.tz_localize("UTC").array


def _dates(values: Sequence[Any]) -> Any:
    def count(value: date) -> int:
        if isinstance(value, datetime):
            raise TypeError("A date with a time of day would lose it.")
        return (value.toordinal() - _EPOCH.toordinal()) * 86_400_000_000

    return _microseconds(values, count).view("datetime64[us]")


def _timedeltas(values: Sequence[Any]) -> Any:
    return _microseconds(values, lambda value: value // _MICROSECOND).view("timedelta64[us]")


_BUILDERS: dict[Any, Callable[[Sequence[Any]], Any]] = {
    "Int64": _integers,
    "boolean": _booleans,
    "float64": _floats,
    TEXT: _texts,
    TIME: _times,
    _DATE: _dates,
    "timedelta64[us]": _timedeltas,
}
