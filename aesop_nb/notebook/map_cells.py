"""The first results of a map as rows of texts: the row's label, what it was asked with, what came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import records
from ..mapping.map_logs import said
from ..values import is_frame

if TYPE_CHECKING:
    from ..mapping.map_runs import MapRun

MAX_INPUTS = 2
MAX_FIELDS = 4
_CHARACTERS = 200


def preview_rows(run: MapRun) -> tuple[list[str], list[list[str]]]:
    """Gives the titles and the cells; before there is a result, titles alone, as far as they are known."""
    lines = list(run.map_log.results)
    names = run.input_columns[:MAX_INPUTS]
    found = [_fields(run, run.map_log.outcomes[line.position].value) for line in lines]
    fields = list(dict.fromkeys(name for each in found for name in each)) or _expected(run)
    shown = fields[:MAX_FIELDS]
    more = [f"… {len(fields) - MAX_FIELDS} more"] if fields[MAX_FIELDS:] else []
    cells = [
        [line.label, *(line.inputs.get(name, "") for name in names), *(each.get(name, "") for name in shown)]
        + [""] * len(more)
        for line, each in zip(lines, found, strict=True)
    ]
    return ["Row", *names, *shown, *more], cells


def _expected(run: MapRun) -> list[str]:
    """Gives the columns of results before there is one."""
    kinds = records.record_types(run.result_type)
    names = list(records.merged_fields(kinds)) if kinds else []
    return [f"{_before(run)}{name}" for name in names] or [run.map.column_name]


def _fields(run: MapRun, value: Any) -> dict[str, str]:
    """Gives column → text of a result, named as in the table."""
    value = records.unwrap(value)
    if is_frame(value):
        return {run.map.column_name: f"a table of {len(value):,} rows"}
    if not records.is_record(value):
        return {run.map.column_name: _text(records.enum_value(value))}
    names = records.names([value])
    return {f"{_before(run)}{name}": _text(records.get(value, name)) for name in names}


def _before(run: MapRun) -> str:
    return f"{run.map.options.into}." if run.map.options.into is not None else ""


def _text(value: Any) -> str:
    return "" if value is None else said(value, _CHARACTERS)
