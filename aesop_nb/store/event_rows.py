"""Events as rows: what is stored of each, and how long values are cut."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from .. import events as ev
from ..texts import clean_text

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_VALUE_BYTES = 16 * 1024 * 1024
"""Longer texts in an event are cut, and say so."""

PASSING = (ev.TextStreamed, ev.ToolCallStreamed)
"""Pieces of replies; they are not stored, as the `ModelReplied` after them holds the whole."""

ENDINGS = (ev.RunCompleted, ev.RunFailed, ev.RunCancelled)


@dataclass(frozen=True, slots=True)
class EventRow:
    """One event as it is written.

    Attributes:
        body: The event as JSON.
        is_cut: Whether `body` holds less than the event.
        process_id: The process whose run it is, in the table of processes.
        is_call: Whether it is the first that tells of a tool call.
    """

    event: ev.Event
    body: str
    is_cut: bool
    process_id: str
    is_call: bool

    @property
    def run_id(self) -> str:
        """The run it happened in."""
        return self.event.run_id

    @property
    def size(self) -> int:
        """About how much memory it takes."""
        return len(self.body) + 200


def row_of(event: ev.Event, process_id: str, earlier: Sequence[ev.Event] = ()) -> EventRow:
    """Gives the row of an event; never raises, whatever it holds.

    Args:
        event: What happened.
        process_id: The process whose run it is.
        earlier: What happened in the run before.
    """
    body, is_cut = _body(event), False
    if len(body) > MAX_VALUE_BYTES // 4 and len(body.encode()) > MAX_VALUE_BYTES:
        whole = json.loads(body)
        fields = {name: _cut_field(value) for name, value in whole.items()}
        body, is_cut = as_json(fields), fields != whole
    return EventRow(event, body, is_cut, process_id, _is_call(event, earlier))


def _body(event: ev.Event) -> str:
    try:
        return event.model_dump_json()
    except Exception:  # noqa: BLE001  # lone surrogates, or values that no JSON can hold
        try:
            return as_json(cleaned(event.model_dump()))
        except Exception:  # noqa: BLE001  # nested deeper than can be written
            return as_json({name: _flat(value) for name, value in event})


def _is_call(event: ev.Event, earlier: Sequence[ev.Event]) -> bool:
    if isinstance(event, ev.ToolFailed):  # without a call before it, it was refused
        return not any(isinstance(one, ev.ToolCalled) and one.call_id == event.call_id for one in earlier)
    return isinstance(event, ev.ToolCalled)


def as_json(value: Any) -> str:
    """Gives a value as JSON; what has no JSON form as text."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=lambda other: str(other))


def cleaned(value: Any) -> Any:
    """Gives `value` with lone surrogates as U+FFFD in all its texts, and with names that are texts."""
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, dict):
        return {clean_text(str(name)): cleaned(part) for name, part in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [cleaned(part) for part in value]
    if isinstance(value, datetime):
        return value.isoformat()
    return value if value is None or isinstance(value, (bool, int, float)) else clean_text(str(value))


def _flat(value: Any) -> Any:
    if isinstance(value, dict):
        return {}
    if isinstance(value, (list, tuple)):
        return []
    return cleaned(value) if isinstance(value, (str, bool, int, float, datetime)) else None


def cut(text: str) -> str:
    """Gives a text that is not longer than is stored; one that was says so."""
    raw = text.encode("utf-8", "replace")
    if len(raw) <= MAX_VALUE_BYTES:
        return text
    return raw[:MAX_VALUE_BYTES].decode("utf-8", "ignore") + _mark(len(raw))


def _mark(size: int) -> str:
    return f"… [cut by the store: {size:,} bytes]"


def _cut_field(value: Any) -> Any:
    """Cuts every long text in `value`; what is too large as a whole gives way to a mark."""
    short = _cut_texts(value)
    size = 0 if isinstance(short, str) else len(as_json(short).encode())
    if size <= 2 * MAX_VALUE_BYTES:
        return short
    return {"cut": _mark(size)} if isinstance(short, dict) else [] if isinstance(short, list) else None


def _cut_texts(value: Any) -> Any:
    if isinstance(value, str):
        return cut(value)
    if isinstance(value, dict):
        return {name: _cut_texts(part) for name, part in value.items()}
    return [_cut_texts(part) for part in value] if isinstance(value, list) else value
