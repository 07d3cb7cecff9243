"""Columns of a table result: written as a short text or a list, checked as rows, built as a DataFrame."""

from __future__ import annotations

import keyword
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, create_model

from ..errors import UsageError
from ..texts import nearest, one_line
from ..values import json_value

if TYPE_CHECKING:
    import pandas as pd

Column: TypeAlias = tuple[str, Any, bool]
"""Name, type, and whether a value may be missing."""

_TYPES: dict[str, Any] = {
    "str": str,
    "int": int,
    "float": float,
    "bool": bool,
    "date": date,
    "datetime": datetime,
}
_MISSING = ("NAType", "NaTType")  # pandas' own, told by name so that pandas need not be loaded
_MISSPELLED = {"string": "str", "text": "str", "integer": "int", "number": "float", "boolean": "bool"}


def parse_columns(spec: str, *, name: str = "Row") -> type[BaseModel]:
    """Gives the model of one row from `"name, country, staff:int?, founded:date?"`.

    Types are str (when none is written), int, float, bool, date and datetime; `?` lets a value be missing.
    A name that Python cannot use for a field, such as `GDP (USD)`, is the field's alias.

    Raises:
        UsageError: If a type is unknown, a name is missing or written twice, or there are no columns.
    """
    return row_model([_parse_column(part, spec) for part in _parts(spec)], name=name)


def _parts(spec: str) -> list[str]:
    parts = [part.strip() for part in spec.split(",")]
    if parts[-1] == "":
        parts.pop()  # one comma at the end is harmless
    if not parts:
        raise UsageError('There are no columns. Write for example "name, staff:int?, founded:date?".')
    return parts


def _parse_column(part: str, spec: str) -> Column:
    head, colon, tail = part.rpartition(":")
    name, kind = (head.strip(), tail.strip()) if colon else (part, "")
    optional = (kind or name).endswith("?")
    if optional:
        name, kind = (name, kind[:-1].strip()) if kind else (name[:-1].strip(), "")
    if not name:
        raise UsageError(f"A column in {one_line(spec, 200)!r} has no name.")
    kind = kind or "str"
    if kind not in _TYPES:
        meant = _MISSPELLED.get(kind.lower(), kind.lower())
        hint = f" Did you mean {meant!r}?" if meant in _TYPES else nearest(meant, _TYPES)
        raise UsageError(f"Column {name!r} has the unknown type {kind!r}.{hint} Known: {', '.join(_TYPES)}.")
    return name, _TYPES[kind], optional


def row_model(columns: Sequence[Column], *, name: str = "Row") -> type[BaseModel]:
    """Gives the model of one row; names that Python cannot use become aliases.

    Raises:
        UsageError: If there are no columns, or a name is written twice.
    """
    if not columns:
        raise UsageError("There are no columns.")
    names = [column for column, _, _ in columns]
    if twice := next((column for column in names if names.count(column) > 1), None):
        raise UsageError(f"Column {twice!r} is written twice.")
    plain = {column for column in names if _is_field_name(column)}
    fields: dict[str, Any] = {}
    for column, kind, optional in columns:
        annotation = Annotated[kind | None, BeforeValidator(_empty_as_missing)] if optional else kind
        default = None if optional else ...
        if column in plain:
            fields[column] = (annotation, default)
        else:
            fields[_field_name(column, {*fields, *plain})] = (annotation, Field(default, alias=column))
    config = ConfigDict(extra="forbid", populate_by_name=True, protected_namespaces=())
    return create_model(name, __config__=config, **fields)


def _empty_as_missing(value: Any) -> Any:
    return None if isinstance(value, str) and not value.strip() else value


def _is_field_name(name: str) -> bool:
    return name.isidentifier() and not (
        keyword.iskeyword(name) or name.startswith(("_", "model_")) or hasattr(BaseModel, name)
    )


def _field_name(name: str, taken: set[str]) -> str:
    made = re.sub(r"\W+", "_", name).strip("_").lower() or "column"
    made = made if _is_field_name(made) else f"column_{made}"
    while made in taken or not _is_field_name(made):
        made += "_"
    return made


def column_types(model: type[BaseModel]) -> dict[str, Any]:
    """Gives each column's name and type, in order."""
    return {info.alias or field: info.annotation for field, info in model.model_fields.items()}


def make_frame(
    frame_class: Callable[..., pd.DataFrame],
    rows: Sequence[Mapping[str, Any]],
    kinds: Mapping[str, Any] | None = None,
) -> pd.DataFrame:
    """Gives rows as a DataFrame, column by column, so that a missing value does not change the others.

    Args:
        frame_class: `pandas.DataFrame`, which the result's annotation brings along.
        rows: One mapping per row.
        kinds: The columns with their types; without it, every key in order of appearance, typed by its values.

    Returns:
        Columns with the dtypes that `dtypes.py` names. Index: 0..n-1.
    """
    from ..dtypes import column

    if kinds is None:
        kinds = dict.fromkeys((key for row in rows for key in row), Any)
    data = {name: column([row.get(name) for row in rows], kind) for name, kind in kinds.items()}
    return frame_class(data, columns=list(kinds), index=range(len(rows)))


def frame_rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Gives a DataFrame as JSON values, one object per row; what is missing is null, the index is left out."""
    columns = [[_cell(value) for value in frame.iloc[:, place]] for place in range(frame.shape[1])]
    names = [str(name) for name in frame.columns]
    return [dict(zip(names, cells, strict=True)) for cells in zip(*columns, strict=True)]


def _cell(value: Any) -> Any:
    is_missing = type(value).__name__ in _MISSING or (isinstance(value, float) and value != value)
    if value is None or is_missing:
        return None
    if isinstance(value, datetime):
        return value.isoformat()
    return json_value(value.item() if hasattr(value, "item") else value)
