"""The table that a map gives back: the data's index, a column per field of the result, and how each row fared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .. import records
from ..dtypes import TEXT, category, column, series, text_category
from ..frames import rows_frame
from ..runlogs import Status

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .map_logs import RowOutcome

_CHOICES = (list, tuple, set, frozenset)


def map_frame(
    outcomes: Sequence[RowOutcome | None],
    index: pd.Index[Any],
    annotation: Any,
    *,
    into: str,
    is_prefix: bool,
    with_status: bool,
    model: str | None,
    why_pending: str | None,
    attributes: Mapping[str, Any],
) -> pd.DataFrame:
    """Gives the rows of a map, as far as they are.

    Args:
        outcomes: What came of each row; `None` where that is not known yet.
        index: The index of the data.
        annotation: The result type.
        into: What a column of values is called.
        is_prefix: Whether `into` was given, and so stands before the fields of records.
        with_status: Whether the columns that begin with `_` are wanted.
        model: Named in `_model` for a rehearsal, else `None`.
        why_pending: Why rows were not asked, or `None` if they will be.
        attributes: For `attrs["aesop"]`.
    """
    values = [outcome.value if outcome is not None else None for outcome in outcomes]
    results, is_record = _results(values, annotation)
    names = (
        [f"{into}.{name}" if is_prefix else str(name) for name in results.columns] if is_record else [into]
    )
    columns: dict[str, Any] = {}
    for name, place in zip(names, range(results.shape[1]), strict=True):
        _put(columns, name, results.iloc[:, place].array)
    if with_status:
        for name, values_of_column in _status_columns(outcomes, why_pending).items():
            _put(columns, name, values_of_column.array)
    if model is not None:
        _put(columns, "_model", series([model] * len(outcomes), TEXT).array)
    frame = pd.DataFrame(columns, index=index)
    frame.attrs["aesop"] = dict(attributes)
    return frame


def _results(values: list[Any], annotation: Any) -> tuple[pd.DataFrame, bool]:
    """Gives one row per result, and whether results are records; the column of others is `value`."""
    if isinstance(annotation, _CHOICES):
        several = len(annotation) == 1 and isinstance(next(iter(annotation)), list)
        dtype = object if several else category(records.items(annotation))
        return pd.DataFrame({"value": series([records.enum_value(value) for value in values], dtype)}), False
    values = [records.unwrap(value) for value in values]
    present = [value for value in values if value is not None]
    if any(isinstance(value, pd.DataFrame) for value in present):
        return pd.DataFrame({"value": _tables(values)}), False
    is_record = bool(records.record_types(annotation)) or records.is_mapping(records.bare(annotation))
    if is_record or (present and all(records.is_record(value) for value in present)):
        return rows_frame(values, annotation), True
    return pd.DataFrame({"value": column(values, annotation)}), False


def _tables(values: list[Any]) -> pd.Series[Any]:
    """A column of DataFrames, which pandas would take apart."""
    array = np.empty(len(values), dtype=object)
    for place, value in enumerate(values):
        array[place] = value
    return pd.Series(array)


def _put(columns: dict[str, Any], name: str, values: Any) -> None:
    while name in columns:  # a field of the result is called like one of ours
        name += "_"
    columns[name] = values


def _status_columns(
    outcomes: Sequence[RowOutcome | None], why_pending: str | None
) -> dict[str, pd.Series[Any]]:
    def of(name: str, otherwise: Any = None) -> list[Any]:
        return [otherwise if outcome is None else getattr(outcome, name) for outcome in outcomes]

    return {
        "_status": series(
            [status.value for status in of("status", Status.PENDING)],
            text_category([status.value for status in Status]),
        ),
        "_error": series(of("error", why_pending), TEXT),
        "_run_id": series(of("run_id"), TEXT),
        "_seconds": series(of("seconds"), "float64"),
        "_tokens": series(of("tokens"), "Int64"),
    }
