"""Python objects as texts: what the model reads of a value, and what a person sees of it."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from itertools import chain
from typing import Any, Literal, TypeAlias

from pydantic_core import to_json, to_jsonable_python

from .texts import clean_text, one_line, shorten

MAX_MODEL_CHARACTERS = 24_000
"""What the model reads of one value at most; about 6,000 tokens."""

MAX_KEPT_CHARACTERS = 16 * 1024 * 1024
"""What an event keeps of one value at most."""

_FRAME_ROWS = 8
_FRAME_COLUMNS = 40


def value_text(value: object) -> str:
    """Gives the whole of `value` as text a model can read, at most 16 Mi characters.

    Texts stay as they are; models, dataclasses and containers become JSON; a DataFrame or Series becomes a
    summary of its shape, types, first rows and figures; anything else its `str`. Iterators, which can be
    read once and may never end, are named and not read, wherever they stand.
    """
    if isinstance(value, str):
        text = value
    elif is_frame(value):
        text = _frame_text(value)
    elif _kind(type(value)) == "iterator":
        text = _plain(value)
    else:
        text = _json_text(value)
    return shorten(clean_text(text), MAX_KEPT_CHARACTERS)


def model_text(value: object) -> str:
    """Gives what the model reads of `value`: like `value_text`, cut with a mark."""
    first, is_whole = _prefix(value, MAX_MODEL_CHARACTERS)
    text = value_text(first)
    if is_whole:
        return shorten(text, MAX_MODEL_CHARACTERS)
    mark = f"… [shortened: more than {MAX_MODEL_CHARACTERS:,} characters]"
    return text[: MAX_MODEL_CHARACTERS - len(mark)] + mark


def label(value: object, limit: int = 200) -> str:
    """Gives `value` on one line for a person."""
    if is_frame(value):
        shape = " × ".join(f"{size:,}" for size in value.shape)  # type: ignore[attr-defined]
        return f"{type(value).__name__} of {shape}"
    read = limit * 8  # what `one_line` reads of a text
    if isinstance(value, str):
        text = f'"{value[:read]}"'
    elif _is_plain(value):
        text = value_text(_prefix(value, read)[0])
    else:
        text = _plain(value)
    return one_line(text, limit)


def json_value(value: object) -> Any:
    """Gives `value` as JSON values, all of which can be stored; what has no JSON form becomes its text."""
    plain = to_jsonable_python(_readable(value), fallback=_fallback, inf_nan_mode="strings")
    try:
        to_json(plain)
    except ValueError:  # a lone surrogate in one of its texts
        return _cleaned(plain)
    return plain


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, list):
        return [_cleaned(item) for item in value]
    if isinstance(value, dict):
        return {clean_text(name): _cleaned(item) for name, item in value.items()}
    return value


def is_frame(value: object) -> bool:
    """Whether `value` is a pandas DataFrame or Series; does not import pandas."""
    return any(
        str(base.__module__).split(".")[0] == "pandas" and base.__name__ in ("DataFrame", "Series")
        for base in type(value).__mro__
    )


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, (bool, int, float, Mapping, list, tuple))


def _fallback(value: object) -> str:
    return _frame_text(value) if is_frame(value) else _plain(value)


def _json_text(value: object) -> str:
    try:
        return to_json(_readable(value), fallback=_fallback, inf_nan_mode="constants").decode()
    except Exception:  # noqa: BLE001  # a value's own serializer may raise anything
        return _plain(value)


def _plain(value: object) -> str:
    if _kind(type(value)) == "iterator":
        return f"<{type(value).__name__} object>"
    try:
        return clean_text(str(value))
    except Exception:  # noqa: BLE001  # an object of the user's whose __str__ raises
        return f"<{type(value).__name__}>"


def _frame_text(frame: Any) -> str:
    try:
        return _frame_summary(frame)
    except Exception:  # noqa: BLE001  # cells whose __str__ raises, types that pandas cannot describe
        return label(frame)


def _frame_summary(frame: Any) -> str:
    """Shape, types, first rows and figures; the rows themselves stay with the person."""
    if frame.ndim == 1:
        frame = frame.to_frame(frame.name if frame.name is not None else "value")
    narrow = frame.iloc[:, :_FRAME_COLUMNS]
    parts = [f"A table of {len(frame):,} rows and {frame.shape[1]:,} columns."]
    if frame.shape[1] > _FRAME_COLUMNS:
        parts.append(f"Only the first {_FRAME_COLUMNS} columns are described.")
    parts.append("Types: " + ", ".join(f"{name}: {dtype}" for name, dtype in narrow.dtypes.items()))
    parts.append(f"First rows:\n{narrow.head(_FRAME_ROWS).to_csv(index=False, lineterminator=chr(10))}")
    numbers = narrow.select_dtypes("number")
    if len(frame) > _FRAME_ROWS and numbers.shape[1]:
        parts.append(f"Figures:\n{numbers.describe().to_csv(lineterminator=chr(10))}")
    return "\n".join(parts)


# Iterators, and the begin of large values -------------------------------------------------------------


_Kind: TypeAlias = Literal["leaf", "enum", "items", "values", "fields", "iterator"]


def _kind_of(kind: type) -> _Kind:
    """How `to_json` takes values of a type, in its order: what is inside them, if anything."""
    if dataclasses.is_dataclass(kind) or hasattr(kind, "__pydantic_fields__"):
        return "fields"
    if issubclass(kind, enum.Enum):
        return "enum"
    if issubclass(kind, Iterator):
        return "iterator"
    if issubclass(kind, dict):
        return "values"
    return "items" if issubclass(kind, (list, tuple, set, frozenset)) else "leaf"


_kind: Callable[[type], _Kind] = cache(_kind_of)


def _inside(value: Any) -> Iterable[Any]:
    kind = _kind(type(value))
    if kind == "values":
        return value.values()  # type: ignore[no-any-return]
    if kind == "fields":
        return _fields(value).values()
    return (value.value,) if kind == "enum" else value


def _fields(value: Any) -> dict[str, Any]:
    if dataclasses.is_dataclass(value):
        names = [field.name for field in dataclasses.fields(value)]
        return {name: getattr(value, name, None) for name in names}
    return {**value.__dict__, **(getattr(value, "__pydantic_extra__", None) or {})}


def _readable(value: Any) -> Any:
    """Gives `value`, or a copy with names in place of its iterators; pydantic would read them to the end."""
    return _Copy().of(value) if _has_iterator(value) else value


def _has_iterator(value: Any) -> bool:
    level, seen = [value], {id(value)}
    while level:
        # One pass over the types settles what most containers hold: numbers and texts.
        kinds = {kind: _kind(kind) for kind in set(map(type, level))}
        if "iterator" in kinds.values():
            return True
        level = [item for item in level if kinds[type(item)] != "leaf"]
        inside = {kind for kind in set(map(type, _all_inside(level))) if _kind(kind) != "leaf"}
        found = {id(item): item for item in _all_inside(level) if type(item) in inside} if inside else {}
        level = [item for key, item in found.items() if key not in seen]
        seen |= found.keys()
    return False


def _all_inside(values: Iterable[Any]) -> Iterator[Any]:
    return chain.from_iterable(map(_inside, values))


def _prefix(value: Any, characters: int) -> tuple[Any, bool]:
    """Gives as much of a container as the first `characters` of its text need, and whether that is all."""
    copy = _Copy(characters)
    try:
        return copy.of(value), not copy.is_cut
    except Exception:  # noqa: BLE001  # it holds itself, is nested too deeply, or cannot be looped over
        return value, True


class _Copy:
    """Copies containers without their iterators, in the order of their texts, up to a number of values.

    Every value takes a character at least, so as many values as characters are enough.
    """

    def __init__(self, limit: int | None = None) -> None:
        self.is_cut = False
        self._limit = limit
        self._done = 0
        self._above: set[int] = set()

    def of(self, value: Any) -> Any:
        self._done += 1
        kind = _kind(type(value))
        if kind == "iterator":
            return _plain(value)
        if kind == "fields" and (self._limit is not None and not _has_iterator(value)):
            return value
        if kind == "enum":
            return self.of(value.value)
        return value if kind == "leaf" else self._container(value, kind)

    def _container(self, value: Any, kind: str) -> Any:
        if id(value) in self._above:
            raise ValueError("a value holds itself")
        self._above.add(id(value))
        try:
            if kind == "fields":
                fields = _fields(value)
                is_root = getattr(type(value), "__pydantic_root_model__", False)
                return self.of(fields["root"]) if is_root else self._values(fields)
            if kind == "values":
                return self._values(value)
            made = [self.of(item) for item in self._some(value)]
            return tuple(made) if type(value) is tuple else made
        finally:
            self._above.discard(id(value))

    def _values(self, values: Mapping[Any, Any]) -> dict[Any, Any]:
        return {name: self.of(item) for name, item in self._some(values.items())}

    def _some(self, items: Iterable[Any]) -> Iterator[Any]:
        for item in items:
            if self._limit is not None and self._done > self._limit:
                self.is_cut = True
                return
            yield item
