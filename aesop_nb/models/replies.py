"""The one door for what a service sends: nothing becomes a `Reply` that was not checked here."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

from ..errors import ModelError, ModelReplyInvalid
from ..events import CallRequest, Usage
from ..texts import clean_text
from .service_errors import QUOTA_CODES, Endpoint, Rejection, error_from, error_in
from .transcript import Delta, FinishReason, Reply

MAX_REPLY_BYTES = 16 * 2**20
"""A larger reply is refused."""

_UNREADABLE = object()
_FINISH_REASONS: dict[str, FinishReason] = {
    "stop": "stop",
    "end_turn": "stop",
    "eos": "stop",
    "eos_token": "stop",
    "stop_sequence": "stop",
    "complete": "stop",
    "completed": "stop",
    "tool_calls": "tool_calls",
    "tool_use": "tool_calls",
    "function_call": "tool_calls",
    "length": "length",
    "max_tokens": "length",
    "max_output_tokens": "length",
    "model_length": "length",
    "content_filter": "content_filter",
    "safety": "content_filter",
    "refusal": "content_filter",
}


class Reading(Protocol):
    """Reads one reply in the form of one wire, plain or streamed.

    Attributes:
        complete: Whether a streamed reply has come to its own end, so that nothing it needs is missing.
    """

    complete: bool

    def whole(self, raw: bytes) -> Reply:
        """Gives the reply in a plain body."""
        ...

    def event(self, data: bytes) -> bool:
        """Takes the data of the next event of a stream; says whether it was the last one."""
        ...

    def finish(self) -> Reply:
        """Gives the reply when the stream has ended."""
        ...


class Tail:
    """The end of a streamed text, held back as long as it could be the beginning of the key."""

    __slots__ = ("text",)

    def __init__(self) -> None:
        self.text = ""


@dataclass(slots=True, eq=False)
class RawCall:
    """A tool call while its pieces arrive; `number` counts the calls of a reply from 0."""

    call_id: str = ""
    tool: str = ""
    pieces: list[str] = field(default_factory=list)
    number: int = 0
    tail: Tail = field(default_factory=Tail)


class Door:
    """What both wires share: how to read, how to refuse, how to hand on.

    Attributes:
        on_delta: Where pieces are reported.
    """

    def __init__(self, endpoint: Endpoint, model: str, wire: str, on_delta: Callable[[Delta], None]) -> None:
        self._endpoint, self._model, self._wire = endpoint, model, wire
        self._characters = 0
        self.on_delta = on_delta

    def object(self, raw: bytes) -> dict[str, Any]:
        """Gives the JSON object in `raw`, which is not an error in disguise."""
        content: Any = _UNREADABLE
        with contextlib.suppress(ValueError, RecursionError):
            content = json.loads(raw)
        if content is _UNREADABLE:
            text = raw[:4000].decode("utf-8", "replace")
            page = text.lstrip().startswith("<")
            raise self.invalid(
                "a page instead of JSON" if page else "unreadable JSON", text, retryable=not page
            )
        if not isinstance(content, dict):
            raise self.invalid("JSON that is no object", json.dumps(content)[:4000])
        if content.get("error"):
            raise self.disguised(*error_in(content))
        return content

    def disguised(self, message: str, code: str) -> ModelError:
        """Gives the error for a refusal that came as a success, as routers in front of services send it."""
        status = 429 if code in QUOTA_CODES else int(code) if re.fullmatch("[45][0-9][0-9]", code) else None
        if status is None:
            return self.invalid("an error in place of a reply", f"{code} {message}".strip())
        return error_from(Rejection(status, {}, message, code), self._endpoint, self._model)

    def invalid(self, what: str, raw: str = "", *, retryable: bool = True) -> ModelReplyInvalid:
        """Gives the error for a reply that is none; `what` completes "… answered with …"."""
        shown = self._endpoint.shown(raw)
        advice = "" if retryable else " Check base_url (AESOP_BASE_URL or OPENAI_BASE_URL)."
        return ModelReplyInvalid(
            f"{self._endpoint.host} answered with {what}{': ' if shown else '.'}{shown}{advice}",
            retryable=retryable,
        )

    def cut(self) -> ModelReplyInvalid:
        """Gives the error for a stream that stopped before the reply's end."""
        return ModelReplyInvalid(
            f"{self._endpoint.host} cut its reply short: the stream ended without saying why.", retryable=True
        )

    def piece(self, value: Any, tail: Tail) -> str:
        """Gives what can be shown of a streamed text after its next piece, counted against the size limit.

        What could become the key with the pieces that follow waits in `tail`; `rest` gives it in the end.
        """
        if not isinstance(value, str):
            value = json.dumps(value)
        self._characters += len(value)
        if self._characters > MAX_REPLY_BYTES:
            raise self.too_large()
        text = self._endpoint.key.mask(tail.text + value)
        shown = len(text) - self._endpoint.key.begun(text)
        tail.text = text[shown:]
        return text[:shown]

    def rest(self, tail: Tail) -> str:
        """Gives what `piece` held back, now that nothing follows."""
        text, tail.text = tail.text, ""
        return text

    def masked(self, text: str) -> str:
        """Gives `text`, which came whole, without the key."""
        return self._endpoint.key.mask(text)

    def too_large(self) -> ModelReplyInvalid:
        """Gives the error for a reply beyond the size limit."""
        return ModelReplyInvalid(
            f"{self._endpoint.host} sent more than {MAX_REPLY_BYTES // 2**20} MiB for one reply."
        )

    def finish_reason(self, value: Any) -> FinishReason | None:
        """Gives the reason in our words; `None` where the service gives none.

        Raises:
            ModelReplyInvalid: If the reason is unknown: a reply that stopped so is not known to be whole.
        """
        if value is None or value == "":
            return None
        known = _FINISH_REASONS.get(value.lower()) if isinstance(value, str) else None
        if known is None:
            raise self.invalid("a reply that stopped for an unknown reason", str(value))
        return known

    def reply(
        self,
        *,
        text: str,
        calls: Iterable[RawCall],
        finish_reason: FinishReason | None,
        usage: Usage,
        model: Any = None,
        opaque: tuple[dict[str, Any], ...] = (),
        refusal: str = "",
    ) -> Reply:
        """Gives the checked reply: clean texts, calls with an id of their own each, a reason.

        A `refusal` is the text if there is no other, and is told as a stop by the content filter.

        Raises:
            ModelReplyInvalid: If it says nothing, calls nothing and gives no reason for it.
        """
        made = self._calls(calls)
        text = text or refusal
        if refusal:
            finish_reason = "content_filter"
        if finish_reason is None and not text and not made:
            raise self.invalid("an empty reply")
        if finish_reason in (None, "stop", "tool_calls"):
            finish_reason = "tool_calls" if made else "stop"
        return Reply(
            text=self._clean(text),
            tool_calls=made,
            finish_reason=finish_reason or "stop",
            usage=usage,
            model=self._clean(model) if isinstance(model, str) and model else self._model,
            wire=self._wire,
            opaque=opaque,
            refusal=self._clean(refusal),
        )

    def _calls(self, calls: Iterable[RawCall]) -> tuple[CallRequest, ...]:
        made: list[CallRequest] = []
        used: set[str] = set()
        for number, call in enumerate(calls):
            wanted = self._clean(call.call_id) or f"call_{number}"
            call_id, copies = wanted, 1
            while call_id in used:
                copies += 1
                call_id = f"{wanted}_{copies}"
            used.add(call_id)
            arguments = self._clean("".join(call.pieces))
            made.append(
                CallRequest(
                    call_id=call_id,
                    tool=self._clean(call.tool),
                    arguments=arguments if arguments.strip() else "{}",
                )
            )
        return tuple(made)

    def _clean(self, text: str) -> str:
        return self._endpoint.key.mask(clean_text(text))


def arguments_text(value: Any) -> str:
    """Gives a call's arguments as JSON text; some services send the object itself, or nothing."""
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value)


def usage_from(content: Any, read: str, written: str) -> Usage:
    """Gives what a service counted, under its names for input and output; what is missing counts as 0."""
    if not isinstance(content, dict):
        return Usage(requests=1)
    details = content.get(f"{read}_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else 0
    return Usage(
        requests=1,
        input_tokens=_count(content.get(read)),
        output_tokens=_count(content.get(written)),
        cached_tokens=_count(cached),
    )


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0
    return int(value) if 0 <= value < 2**53 else 0
