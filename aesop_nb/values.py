"""Python objects as texts: what the model reads of a value, and what a person sees of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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
    summary of its shape, types, first rows and figures; anything else its `str`.
    """
    if isinstance(value, str):
        text = value
    elif is_frame(value):
        text = _frame_text(value)
    else:
        try:
            text = to_json(value, fallback=_fallback, inf_nan_mode="constants").decode()
        except Exception:  # noqa: BLE001  # a value's own serializer may raise anything
            text = _plain(value)
    return shorten(clean_text(text), MAX_KEPT_CHARACTERS)


def model_text(value: object) -> str:
    """Gives what the model reads of `value`: like `value_text`, cut with a mark."""
    return shorten(value_text(value), MAX_MODEL_CHARACTERS)


def label(value: object, limit: int = 200) -> str:
    """Gives `value` on one line for a person."""
    if is_frame(value):
        shape = " × ".join(f"{size:,}" for size in value.shape)  # type: ignore[attr-defined]
        return f"{type(value).__name__} of {shape}"
    text = (
        f'"{value}"' if isinstance(value, str) else value_text(value) if _is_plain(value) else _plain(value)
    )
    return one_line(text, limit)


def json_value(value: object) -> Any:
    """Gives `value` as JSON values, all of which can be stored; what has no JSON form becomes its text."""
    plain = to_jsonable_python(value, fallback=_fallback, inf_nan_mode="strings")
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
        base.__module__.split(".")[0] == "pandas" and base.__name__ in ("DataFrame", "Series")
        for base in type(value).__mro__
    )


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, (bool, int, float, Mapping, list, tuple))


def _fallback(value: object) -> str:
    return _frame_text(value) if is_frame(value) else _plain(value)


def _plain(value: object) -> str:
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
