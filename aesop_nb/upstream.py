"""Tasks inside the inputs of other tasks: finding them, and putting their results in their place."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

_PLAIN = frozenset({str, int, float, bool, type(None), bytes})


def find_inside(value: Any, wanted: type) -> Iterator[Any]:
    """Gives the objects of class `wanted` anywhere in lists, tuples, sets and dicts."""
    if isinstance(value, wanted):
        yield value
        return
    items = value.values() if isinstance(value, Mapping) else value
    if not isinstance(value, (Mapping, list, tuple, set, frozenset)):
        return
    if set(map(type, items)) <= _PLAIN:  # so that millions of numbers cost milliseconds
        return
    for item in items:
        yield from find_inside(item, wanted)


def replace_inside(value: Any, wanted: type, replacement: Callable[[Any], Any]) -> Any:
    """Gives `value` with every object of class `wanted` replaced; containers are copied only if they change."""
    if isinstance(value, wanted):
        return replacement(value)
    if next(find_inside(value, wanted), None) is None:
        return value
    if isinstance(value, Mapping):
        return {name: replace_inside(item, wanted, replacement) for name, item in value.items()}
    items = [replace_inside(item, wanted, replacement) for item in value]
    if isinstance(value, (set, frozenset)):  # a result need not be hashable
        return items
    return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
