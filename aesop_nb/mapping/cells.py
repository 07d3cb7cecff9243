"""What stands in a cell, as a task's input: plain Python values, and `None` for whatever means missing."""

from __future__ import annotations

from typing import Any

_PLAIN = frozenset({str, int, bool, type(None), list, dict, tuple})
_MISSING = frozenset({"NAType", "NaTType"})  # pandas' own, told by name so that pandas need not be loaded
_WRITTEN = frozenset({"Period", "Interval"})


def cell(value: Any) -> Any:
    """Gives a cell as a task gets it: numbers of numpy become Python's, NaN, NaT and NA become `None`."""
    kind = type(value)
    if kind in _PLAIN:
        return value
    if kind.__name__ in _MISSING or (isinstance(value, float) and value != value):
        return None
    if kind.__module__.split(".")[0] not in ("numpy", "pandas"):
        return value
    if kind.__name__ in _WRITTEN:
        return str(value)
    if kind.__module__ == "numpy" and hasattr(value, "item") and getattr(value, "ndim", 1) == 0:
        return cell(value.item())
    return value
