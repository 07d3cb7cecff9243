"""Fingerprints of Python objects: equal contents give equal ones, in every process and on every machine."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import functools
import hashlib
import inspect
import math
import pathlib
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from pydantic_core import to_json

from .texts import clean_text
from .values import is_frame

_PLAIN = frozenset({str, int, float, bool, type(None)})
_WRITTEN = (decimal.Decimal, dt.date, dt.time, dt.timedelta, uuid.UUID, pathlib.PurePath, range, complex)


class Unstable(Exception):
    """There is no stable fingerprint; the text says of what, for example `a generator`."""


def fingerprint(value: Any) -> str:
    """Gives the sha256 of what `value` holds, as hexadecimal digits.

    Texts, numbers, dates, enums, containers, dataclasses, models, arrays and DataFrames (with their dtypes and
    index) have one; the order of a dict or of a set does not count, and tuples count as lists.

    Raises:
        Unstable: If something in it has none: a function, a file, an object of a class without fields.
    """
    digest = hashlib.sha256()
    for piece in _pieces(value, frozenset()):
        digest.update(piece)
    return digest.hexdigest()


def fingerprint_of_code(function: Callable[..., Any]) -> str:
    """Gives the sha256 of a function's qualified name and, where it can be read, its source."""
    inner: Any = function
    while isinstance(inner, functools.partial):
        inner = inner.func
    inner = inspect.unwrap(inner)
    name = f"{getattr(inner, '__module__', '')}.{getattr(inner, '__qualname__', type(inner).__qualname__)}"
    return hashlib.sha256(clean_text(f"{name}\n{_source(inner)}").encode()).hexdigest()


def _source(function: Any) -> str:
    try:
        return inspect.getsource(function if inspect.isroutine(function) else type(function))
    except (OSError, TypeError):
        code = getattr(function, "__code__", None)
        return repr((code.co_code, code.co_names)) if code is not None else ""


def _pieces(value: Any, above: frozenset[int]) -> Iterator[bytes]:
    """What of `value` counts; every piece begins with what it is and how long, so that no two run together."""
    kind = type(value)
    if isinstance(value, enum.Enum):
        yield _piece("enum", f"{_name(kind)}.{value.name}")
    elif isinstance(value, (str, int, float)) or value is None:
        yield _scalar(value)
    elif isinstance(value, (bytes, bytearray, memoryview)):
        yield _piece("bytes", bytes(value))
    elif isinstance(value, _WRITTEN):
        yield _piece(_name(kind), str(value))
    elif id(value) in above:
        raise Unstable("a value that holds itself")
    else:
        yield from _parts(value, kind, above | {id(value)})


def _parts(value: Any, kind: type, above: frozenset[int]) -> Iterator[bytes]:
    if isinstance(value, Mapping):
        yield _piece("mapping", str(len(value)))
        yield from sorted(_digest([name, value[name]], above) for name in value)
    elif isinstance(value, (set, frozenset)):
        yield _piece("set", str(len(value)))
        yield from sorted(_digest(item, above) for item in value)
    elif isinstance(value, (list, tuple)):
        yield from _items(value, above)
    elif is_frame(value):
        yield from _frame(value, above)
    elif kind.__module__.split(".")[0] in ("numpy", "pandas"):
        yield from _array(value, above)
    elif dataclasses.is_dataclass(kind):
        yield _piece("fields", _name(kind))
        yield from _pieces({f.name: getattr(value, f.name, None) for f in dataclasses.fields(kind)}, above)
    elif hasattr(kind, "__pydantic_fields__"):
        yield _piece("fields", _name(kind))
        yield from _pieces({**value.__dict__, **(getattr(value, "__pydantic_extra__", None) or {})}, above)
    else:
        raise Unstable(f"an object of {_name(kind)}")


def _items(values: list[Any] | tuple[Any, ...], above: frozenset[int]) -> Iterator[bytes]:
    yield _piece("items", str(len(values)))
    if set(map(type, values)) <= _PLAIN:  # so that a million of them cost a tenth of a second
        try:
            yield to_json(values, inf_nan_mode="constants")
            return
        except ValueError:  # a lone surrogate
            pass
    for item in values:
        yield from _pieces(item, above)


def _scalar(value: Any) -> bytes:
    if value is None or isinstance(value, bool):
        return _piece("constant", str(value))
    if isinstance(value, str):
        return _piece("text", str.__str__(value))
    if isinstance(value, int):
        return _piece("int", hex(value))
    return _piece("float", "nan" if math.isnan(value) else float(value).hex())


def _digest(value: Any, above: frozenset[int]) -> bytes:
    digest = hashlib.sha256()
    for piece in _pieces(value, above):
        digest.update(piece)
    return digest.digest()


def _frame(value: Any, above: frozenset[int]) -> Iterator[bytes]:
    """A DataFrame or Series: its index, its names, and each column with its dtype."""
    columns = [value] if value.ndim == 1 else [value.iloc[:, place] for place in range(value.shape[1])]
    names = [value.name] if value.ndim == 1 else list(value.columns)
    yield _piece("frame", f"{value.shape}")
    yield from _pieces([names, list(value.index.names), [_dtype(column.dtype) for column in columns]], above)
    for column in [*_levels(value.index), *columns]:
        yield from _column(column, above)


def _dtype(dtype: Any) -> Any:
    """What stands for a dtype; of a category its values and their order count."""
    if getattr(dtype, "categories", None) is None:
        return str(dtype)
    return [str(dtype), dtype.categories.tolist(), bool(dtype.ordered)]


def _levels(index: Any) -> Iterable[Any]:
    return [index.get_level_values(level) for level in range(index.nlevels)]


def _column(column: Any, above: frozenset[int]) -> Iterator[bytes]:
    kind = getattr(column.dtype, "kind", "O")
    if kind in "iufbmM" and hasattr(column.dtype, "itemsize") and "numpy" in type(column.dtype).__module__:
        yield from _array(column.to_numpy(), above)
    else:
        yield from _items([_cell(item) for item in column.tolist()], above)


def _cell(item: Any) -> Any:
    """What stands for a missing value in a column is the column's affair; its dtype counts on its own."""
    return None if type(item).__name__ in ("NAType", "NaTType") else item


def _array(value: Any, above: frozenset[int]) -> Iterator[bytes]:
    if hasattr(value, "isoformat"):  # Timestamp, and NaT, which is none
        yield _piece("time", str(value))
    elif type(value).__name__ == "NAType":
        yield _piece("constant", "NA")
    elif getattr(value, "dtype", None) is None or not hasattr(value, "tolist"):
        raise Unstable(f"an object of {_name(type(value))}")
    elif value.dtype.kind in "iufbcmM" and hasattr(value, "tobytes"):
        yield _piece("array", f"{value.dtype.str} {value.shape}")
        yield _piece("bytes", value.tobytes())
    else:
        yield _piece("array", f"{value.dtype} {getattr(value, 'shape', '')}")
        yield from _pieces([_cell(item) for item in _as_list(value.tolist())], above)


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _piece(kind: str, content: str | bytes) -> bytes:
    body = content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass")
    return f"{kind}:{len(body)}:".encode() + body


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"
