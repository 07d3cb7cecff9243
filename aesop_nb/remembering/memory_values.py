"""What may be remembered: exact texts as keys, and values that come back from JSON as they were."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from itertools import chain, islice
from typing import Any

from ..errors import UsageError
from ..texts import clean_text, one_line

MAX_VALUE_BYTES = 1024 * 1024
"""How large a value may be, as JSON in UTF-8."""

MAX_KEY_CHARACTERS = 1_000
"""How long a key may be."""

MAX_DEPTH = 100
"""How deeply a value may be nested."""


def checked_key(key: object) -> str:
    """Gives the key as it is kept, with lone surrogates as U+FFFD.

    Raises:
        UsageError: If it is no text, empty or too long.
    """
    if not isinstance(key, str):
        raise UsageError(f"A key is a text, not {key!r} ({type(key).__name__}).")
    if not key:
        raise UsageError("A key cannot be empty.")
    if len(key) > MAX_KEY_CHARACTERS:
        raise UsageError(
            f"The key {one_line(key, 40)!r} has {len(key):,} characters, more than {MAX_KEY_CHARACTERS:,}. "
            "Put the text into the value."
        )
    return clean_text(key)


def as_json(key: str, value: Any) -> str:
    """Gives the value under `key` as JSON text.

    Raises:
        UsageError: If it would come back as something else, or is too large.
    """
    shown = one_line(key, 80)
    _check_value(shown, value)
    try:
        text = clean_text(json.dumps(value, ensure_ascii=False, separators=(",", ":")))
    except ValueError as exc:  # an integer of thousands of digits
        raise UsageError(f"The value of {shown!r} cannot be written as JSON: {exc}.") from exc
    size = len(text.encode())
    if size > MAX_VALUE_BYTES:
        raise _too_large(shown, f"{size:,}")
    return text


def _check_value(key: str, value: Any) -> None:
    """Looks at all that is inside, level by level: it may contain itself, or one thing millions of times."""
    level, seen = [value], 0
    for _ in range(MAX_DEPTH + 1):
        seen += len(level)
        if seen > MAX_VALUE_BYTES:  # each takes a byte at least
            raise _too_large(key, f"more than {MAX_VALUE_BYTES:,}")
        for item in level:
            _check_item(key, item)
        inside = chain.from_iterable(map(_inside, level))
        level = list(islice(inside, MAX_VALUE_BYTES + 1))
        if not level:
            return
    raise UsageError(f"The value of {key!r} is nested deeper than {MAX_DEPTH} levels, or contains itself.")


def _inside(item: Any) -> Iterable[Any]:
    return item.values() if isinstance(item, dict) else item if isinstance(item, list) else ()


def _check_item(key: str, item: Any) -> None:
    if isinstance(item, float) and not math.isfinite(item):
        raise UsageError(f"The value of {key!r} holds {item!r}, which JSON cannot. Remember None instead.")
    if not (item is None or isinstance(item, (bool, int, float, str, list, dict))):
        raise UsageError(
            f"The value of {key!r} is or holds a {type(item).__name__}. Values are what JSON can hold: None, "
            "bool, int, float, str, and lists and dicts of them."
        )
    if isinstance(item, dict):
        for name in item:
            if not isinstance(name, str):
                raise UsageError(
                    f"The value of {key!r} holds a dict with the key {one_line(repr(name), 80)} "
                    f"({type(name).__name__}); in JSON keys are texts."
                )


def _too_large(key: str, size: str) -> UsageError:
    return UsageError(
        f"The value of {key!r} takes {size} bytes, and at most {MAX_VALUE_BYTES:,} are remembered under one key. "
        "Write it to a file and remember where it is."
    )
