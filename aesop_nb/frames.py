"""Results, runs and events as DataFrames; with `dtypes.py` the only door to pandas.

Dtypes come from annotations, never from values, so that an empty result, one with missing values and one with
large integers all look the same. Nested models become dotted columns. `dtypes.py` shows dtype by dtype.
"""

from __future__ import annotations

import dataclasses
import typing
from itertools import repeat
from typing import TYPE_CHECKING, Any

import pandas as pd

from . import events as ev
from . import records
from .dtypes import TEXT, TIME, category, column, series, text_category
from .runlogs import RunLog, Status
from .texts import clean_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from .dtypes import Dtype
    from .store import RunSummary


def result_frame(
    value: Any,
    annotation: Any,
    *,
    run_id: str | None = None,
    task: str | None = None,
    model: str | None = None,
    is_rehearsal: bool = False,
    reused_from: str | None = None,
) -> pd.DataFrame:
    """Any result as a frame of its own, with dtypes from its annotation.

    Args:
        value: The result. A list, tuple or set gives a row per item (sets are sorted), a DataFrame a copy,
            anything else one row. Scalars stand in the column `value`. `None` is one missing value where a
            scalar is expected, and no row where a record, a list or nothing is.
        annotation: The result type: a type, or the choices themselves as a list, tuple or set.
        run_id: The run that made it, for `attrs`.
        task: The task's name, for `attrs`.
        model: The model's name, for `attrs`.
        is_rehearsal: Whether no language model made it; the frame then has a column `_model` that says so.
        reused_from: The run whose result this is, where no model was asked again, for `attrs`.

    Returns:
        Index 0..n-1 (a DataFrame keeps its own). `attrs["aesop"]` is a dict of `run_id`, `task`, `model`,
        `is_rehearsal` and `reused_from`.
    """
    frame = value.copy() if isinstance(value, pd.DataFrame) else _frame(value, annotation)
    if is_rehearsal and "_model" not in frame.columns:
        frame["_model"] = series([model or "rehearsal"] * len(frame), TEXT).array
    frame.attrs["aesop"] = {
        "run_id": run_id,
        "task": task,
        "model": model,
        "is_rehearsal": is_rehearsal,
        "reused_from": reused_from,
    }
    return frame


def is_tabular(annotation: Any) -> bool:
    """Whether a result of this type is a table by itself: a DataFrame, or a list of models or dicts."""
    bare = records.bare(annotation)
    if bare is pd.DataFrame:
        return True
    if typing.get_origin(bare) is not list:
        return False
    item = records.listed(bare)
    return bool(records.record_types(item)) or records.is_mapping(records.bare(item))


def events_df(events: Iterable[ev.Event]) -> pd.DataFrame:
    """One row per event, in the order of the events.

    Args:
        events: Events of one run or of several, one after the other.

    Returns:
        Columns: `run_id` str, `number` Int64, `at` datetime64[us, UTC], `type` category (all that exist),
        `turn` Int64, `call_id` str, `tool` str, `text` str (the words of the event, if it has any),
        `duration_seconds` float64, `data` object (dict: all other fields as JSON values).
        What an event does not have is missing. Index: 0..n-1.
    """
    columns = {
        "run_id": TEXT,
        "number": "Int64",
        "at": TIME,
        "type": text_category(_EVENT_TYPES),
        "turn": "Int64",
        "call_id": TEXT,
        "tool": TEXT,
        "text": TEXT,
        "duration_seconds": "float64",
        "data": object,
    }
    return _typed(columns, (_event_row(event) for event in events))


def messages_df(events: Iterable[ev.Event]) -> pd.DataFrame:
    """The conversation as a person reads it, one row per message.

    Args:
        events: Events of one run or of several, one after the other.

    Returns:
        Columns: `run_id` str, `turn` Int64 (missing before the first), `at` datetime64[us, UTC],
        `role` category (system, user, assistant, tool), `kind` category (instructions, objective, reply,
        tool_result, tool_error, question, answer, rejection), `text` str, `tool` str, `call_id` str,
        `tool_calls` object (list of dicts `call_id`, `tool`, `arguments`; replies only). Index: 0..n-1.
    """
    columns = {
        "run_id": TEXT,
        "turn": "Int64",
        "at": TIME,
        "role": text_category(["system", "user", "assistant", "tool"]),
        "kind": text_category(_MESSAGE_KINDS),
        "text": TEXT,
        "tool": TEXT,
        "call_id": TEXT,
        "tool_calls": object,
    }
    return _typed(columns, _messages(events))


def tool_calls_df(runs: Iterable[RunLog]) -> pd.DataFrame:
    """One row per tool call, in the order of the calls.

    Args:
        runs: Runs to read; unfinished ones give the calls so far.

    Returns:
        Columns: `run_id` str, `task` str, `turn` Int64, `call_id` str, `tool` str, `state` category (running,
        done, failed), `arguments` object (dict, or the raw text where it could not be read), `output` str or
        missing, `error` str or missing, `started_at` datetime64[us, UTC], `duration_seconds` float64 (missing
        while the call is under way). Index: 0..n-1.
    """
    columns = {
        "run_id": TEXT,
        "task": TEXT,
        "turn": "Int64",
        "call_id": TEXT,
        "tool": TEXT,
        "state": text_category(["running", "done", "failed"]),
        "arguments": object,
        "output": TEXT,
        "error": TEXT,
        "started_at": TIME,
        "duration_seconds": "float64",
    }
    own = [name for name in columns if name not in ("run_id", "task")]
    return _typed(
        columns,
        (
            {"run_id": run.run_id, "task": run.task, **{name: getattr(step, name) for name in own}}
            for run in runs
            for step in run.steps
        ),
    )


def runs_df(logs: Iterable[RunLog | RunSummary], saved: Iterable[bool] | None = None) -> pd.DataFrame:
    """One row per run, in the order given.

    Args:
        logs: Runs to read, live or stored; unfinished ones are shown as far as they are.
        saved: Whether each is in the store; `None` is not known.

    Returns:
        Columns: `run_id` str, `task` str, `status` category (pending, running, completed, failed, cancelled),
        `objective` str, `model` str, `is_rehearsal` boolean, `started_at` and `ended_at` datetime64[us, UTC],
        `duration_seconds` float64 (missing until the end), `requests`, `input_tokens`, `output_tokens` Int64,
        `cost_usd` float64 (missing where the price is unknown), `tool_calls` Int64, `error` str (missing
        unless it failed or was cancelled), `notebook` str (the file it was started from, missing if unknown),
        `reused_from` str (the run whose result it took over, if it did), `saved` boolean. Index: 0..n-1.
    """
    columns = {
        "run_id": TEXT,
        "task": TEXT,
        "status": text_category([status.value for status in Status]),
        "objective": TEXT,
        "model": TEXT,
        "is_rehearsal": "boolean",
        "started_at": TIME,
        "ended_at": TIME,
        "duration_seconds": "float64",
        "requests": "Int64",
        "input_tokens": "Int64",
        "output_tokens": "Int64",
        "cost_usd": "float64",
        "tool_calls": "Int64",
        "error": TEXT,
        "notebook": TEXT,
        "reused_from": TEXT,
        "saved": "boolean",
    }
    known = repeat(None) if saved is None else saved
    return _typed(columns, ({**_run_row(log), "saved": done} for log, done in zip(logs, known)))  # noqa: B905


def memory_df(entries: Iterable[tuple[str, str, Any, datetime]]) -> pd.DataFrame:
    """One row per key that is remembered, in the order given.

    Args:
        entries: Scope, key, value and the time of the last change.

    Returns:
        Columns: `scope` category (task, session, permanent), `key` str, `value` object (a JSON value),
        `updated_at` datetime64[us, UTC]. Index: 0..n-1.
    """
    columns = {
        "scope": text_category(["task", "session", "permanent"]),
        "key": TEXT,
        "value": object,
        "updated_at": TIME,
    }
    return _typed(columns, (dict(zip(columns, entry, strict=True)) for entry in entries))


def to_csv(frame: pd.DataFrame, path: str | Path | None = None, **options: Any) -> str | None:
    """Writes a frame as CSV that a spreadsheet cannot take for formulas.

    Texts in cells, column names and the index that begin, after spaces, with `=`, `+`, `-`, `@`, a tab or a
    carriage return get an apostrophe in front; numbers stay as they are. The frame itself is not changed.

    Args:
        frame: What to write.
        path: The file, or `None` to get the text back.
        options: As for `DataFrame.to_csv`.
    """
    safe = pd.DataFrame(
        {
            position: frame.iloc[:, position].astype(object).map(_no_formula)
            if _may_hold_text(frame.dtypes.iloc[position])
            else frame.iloc[:, position]
            for position in range(frame.shape[1])
        },
        index=frame.index,
    )
    safe.columns = _no_formulas(frame.columns)
    safe.index = _no_formulas(frame.index)
    text: str | None = safe.to_csv(path, **options)
    return text


def _no_formula(cell: Any) -> Any:
    dangerous = isinstance(cell, str) and cell.lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\r"))
    return f"'{cell}" if dangerous else cell


def _no_formulas(index: pd.Index[Any]) -> pd.Index[Any]:
    if isinstance(index, pd.MultiIndex):
        rows = [tuple(_no_formula(part) for part in row) for row in index]
        return pd.MultiIndex.from_tuples(rows, names=[_no_formula(name) for name in index.names])
    name = _no_formula(index.name)
    if not _may_hold_text(index.dtype):
        return index.rename(name)
    marked: pd.Index[Any] = pd.Index([_no_formula(label) for label in index], name=name)
    return marked


def _may_hold_text(dtype: Any) -> bool:
    return isinstance(dtype, pd.CategoricalDtype) or not (
        pd.api.types.is_numeric_dtype(dtype) or pd.api.types.is_datetime64_any_dtype(dtype)
    )


_EVENT_TYPES = [cls.model_fields["type"].default for cls in typing.get_args(typing.get_args(ev.Event)[0])]
_MESSAGE_KINDS = [
    "instructions",
    "objective",
    "reply",
    "tool_result",
    "tool_error",
    "question",
    "answer",
    "rejection",
]
_OWN_COLUMNS = ("run_id", "number", "at", "type", "turn", "call_id", "tool", "duration_seconds")
_WORDS = ("text", "output", "question", "answer", "message", "reason", "objective")


def _event_row(event: ev.Event) -> dict[str, Any]:
    row = {name: getattr(event, name, None) for name in _OWN_COLUMNS}
    named = type(event).model_fields
    words = next((name for name in _WORDS if name in named), "error" if "error" in named else None)
    row["text"] = getattr(event, words) if words else None
    row["data"] = event.model_dump(mode="json", exclude={*_OWN_COLUMNS, *([words] if words else [])})
    return row


def _messages(events: Iterable[ev.Event]) -> Iterator[dict[str, Any]]:
    turn: int | None = None
    for event in events:
        if isinstance(event, ev.RunCreated):
            turn = None
        elif isinstance(event, ev.TurnStarted):
            turn = event.turn
        for role, kind, text, more in _said(event):
            yield {
                "run_id": event.run_id,
                "turn": turn,
                "at": event.at,
                "role": role,
                "kind": kind,
                "text": text,
                **more,
            }


def _said(event: ev.Event) -> Iterator[tuple[str, str, str, dict[str, Any]]]:
    """Gives role, kind, text and further columns of each message that `event` stands for."""
    match event:
        case ev.RunCreated():
            if event.instructions:
                yield "system", "instructions", event.instructions, {}
            inputs = [f"{name}: {text}" for name, text in event.inputs.items()]
            yield "user", "objective", "\n".join([event.objective, *inputs]), {}
        case ev.ModelReplied():
            calls = [call.model_dump() for call in event.tool_calls]
            yield "assistant", "reply", event.text, {"tool_calls": calls}
        case ev.ToolReturned():
            yield "tool", "tool_result", event.output, {"tool": event.tool, "call_id": event.call_id}
        case ev.ToolFailed():
            yield "tool", "tool_error", event.error, {"tool": event.tool, "call_id": event.call_id}
        case ev.UserAsked():
            choices = f"\nChoices: {', '.join(event.choices)}" if event.choices else ""
            yield "assistant", "question", event.question + choices, {}
        case ev.UserAnswered():
            yield "user", "answer", "(skipped)" if event.is_skipped else event.answer, {}
        case ev.ApprovalAsked():
            yield "assistant", "approval", event.tool, {"tool": event.tool, "call_id": event.call_id}
        case ev.ApprovalDecided():
            text = "approved" if event.approved else f"denied {event.reason}".strip()
            yield "user", "decision", text, {"call_id": event.call_id}
        case ev.ResultRejected():
            yield "user", "rejection", event.reason, {}
        case _:
            return


def _run_row(log: RunLog | RunSummary) -> dict[str, Any]:
    return _log_row(log) if isinstance(log, RunLog) else _summary_row(log)


def _summary_row(summary: RunSummary) -> dict[str, Any]:
    begun, ended = summary.started_at, summary.ended_at
    error = summary.error
    if error is not None and summary.status == Status.CANCELLED.value:
        error = f"TaskCancelled: {error.removeprefix('cancelled: ')}"
    return {
        **{field.name: getattr(summary, field.name) for field in dataclasses.fields(summary)},
        "duration_seconds": (ended - begun).total_seconds() if begun and ended else None,
        "notebook": summary.notebook or None,
        "error": error,
    }


def _log_row(log: RunLog) -> dict[str, Any]:
    created, usage = log.created, log.usage
    return {
        "run_id": log.run_id,
        "task": log.task,
        "status": log.status.value,
        "objective": created.objective if created else None,
        "model": created.model if created else None,
        "is_rehearsal": created.is_rehearsal if created else None,
        "started_at": log.started_at,
        "ended_at": log.ended_at,
        "duration_seconds": log.duration_seconds(log.ended_at) if log.ended_at else None,
        "requests": usage.requests,
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cost_usd": usage.cost_usd,
        "tool_calls": len(log.steps),
        "error": _error_text(log),
        "notebook": created.notebook or None if created else None,
        "reused_from": log.reused_from,
    }


def _error_text(log: RunLog) -> str | None:
    match log.error:
        case ev.RunFailed(error=error, message=message):
            return f"{error}: {message}"
        case ev.RunCancelled(reason=reason):
            return f"TaskCancelled: {reason}"
        case _:
            return None


def _typed(columns: Mapping[str, Dtype], rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    kept = list(rows)
    return pd.DataFrame(
        {name: series([row.get(name) for row in kept], dtype) for name, dtype in columns.items()}
    )


def _frame(value: Any, annotation: Any) -> pd.DataFrame:
    value = records.unwrap(value)
    if isinstance(annotation, _CHOICES):
        return _frame_of_choice(value, annotation)
    kinds = records.members(annotation)
    if not kinds and value is None:
        return pd.DataFrame(index=pd.RangeIndex(0))
    kind = kinds[0] if len(kinds) == 1 else Any
    if kind is pd.DataFrame or (kind is Any and isinstance(value, _CHOICES)):
        return rows_frame(records.items(value), Any)
    if records.is_list(kind):
        return rows_frame(records.items(value), records.listed(kind))
    is_record = records.record_types(annotation) or records.is_mapping(kind)
    return rows_frame([] if value is None and is_record else [value], annotation)


_CHOICES = (list, tuple, set, frozenset)


def _frame_of_choice(value: Any, choices: Any) -> pd.DataFrame:
    """Gives the frame of a result that is one of `choices`, or several of `[choices]`."""
    several = len(choices) == 1 and isinstance(next(iter(choices)), list)
    rows = records.items(value) if several else [value]
    if any(records.is_record(row) for row in rows):
        return rows_frame(rows, Any)
    dtype = category(records.items(next(iter(choices)) if several else choices))
    return pd.DataFrame({"value": series([records.enum_value(row) for row in rows], dtype)})


def rows_frame(rows: list[Any], annotation: Any) -> pd.DataFrame:
    """Gives one row per item of `rows`, whose type is `annotation`: a column per field, or the column `value`."""
    rows = [records.unwrap(row) for row in rows]
    kinds = records.record_types(annotation)
    present = [row for row in rows if row is not None]
    if not kinds and present and all(records.is_record(row) for row in present):
        kind = records.bare(annotation)
        own = [cls for cls in dict.fromkeys(map(type, present)) if not records.is_mapping(cls)]
        columns = _columns(own, rows, rest=records.mapped(kind) if records.is_mapping(kind) else Any)
    elif kinds and all(records.is_record(row) for row in present):
        columns = _columns(kinds, rows)
    elif not present and records.is_mapping(records.bare(annotation)):
        columns = iter(())
    else:
        columns = iter([("value", column(rows, annotation))])
    found: dict[str, pd.Series[Any]] = {}
    for name, values in columns:
        while name in found:  # a field "a.b" beside a model "a" with a field "b"
            name += "_"
        found[name] = values
    return pd.DataFrame(found, index=pd.RangeIndex(len(rows)))


def _columns(
    kinds: Sequence[Any],
    rows: Sequence[Any],
    *,
    prefix: str = "",
    above: frozenset[Any] = frozenset(),
    rest: Any = Any,
) -> Iterator[tuple[str, pd.Series[Any]]]:
    """Gives the fields that `kinds` declare, then those that only the rows have, annotated `rest`.

    A model inside itself is not unfolded: `above` holds the classes on the way down.
    """
    above |= _classes(kinds)
    titles = records.titles(kinds)
    extra = dict.fromkeys(records.names(rows), rest)
    declared = records.merged_fields(kinds)
    for name, annotation in (declared | extra | declared).items():
        title = prefix + clean_text(titles.get(name, str(name)))
        values = [None if row is None else records.get(row, name) for row in rows]
        inner = records.record_types(annotation)
        unfolds = inner and not _classes(inner) & above
        if unfolds and all(value is None or records.is_record(value) for value in values):
            yield from _columns(inner, values, prefix=f"{title}.", above=above)
        else:
            yield title, column(values, annotation)


def _classes(kinds: Iterable[Any]) -> frozenset[Any]:
    return frozenset(typing.get_origin(kind) or kind for kind in kinds)
