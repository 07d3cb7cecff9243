"""The Responses wire: what `/responses` is sent and what it answers; nothing is kept at the service."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ..events import Usage
from ..texts import clean_text
from .chat import sendable_name
from .replies import Door, RawCall, Tail, arguments_text, usage_from
from .service_errors import error_in
from .strict import ToolForms, strict_parameters
from .transcript import (
    AssistantMessage,
    FinishReason,
    Message,
    ModelRequest,
    Reply,
    SystemMessage,
    TextDelta,
    ToolCallDelta,
    ToolMessage,
    ToolSpec,
)

WIRE = "responses"
PATH = "/responses"
ENCRYPTED_REASONING = "reasoning.encrypted_content"

_LAST_EVENTS = frozenset({"response.completed", "response.incomplete", "response.failed"})


def build_body(
    request: ModelRequest, model: str, parameters: Mapping[str, Any], *, encrypted: bool
) -> dict[str, Any]:
    """Gives the request's body; `encrypted` asks for the model's reasoning, sealed, to be sent back next time."""
    body: dict[str, Any] = {"store": False, **_renamed(parameters), "model": model}
    if encrypted:
        body["include"] = [*body.get("include", ()), ENCRYPTED_REASONING]
    body["input"] = [item for message in request.messages for item in _items(message)]
    if request.tools:
        body["tools"] = [_forms(tool) for tool in request.tools]
    if request.stream:
        body["stream"] = True
    return body


def _renamed(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Gives parameters that are written as for the other wire under this wire's names."""
    fields = dict(parameters)
    for name in ("max_tokens", "max_completion_tokens"):
        if name in fields:
            fields["max_output_tokens"] = fields.pop(name)
    if "reasoning_effort" in fields:
        fields["reasoning"] = {**fields.get("reasoning", {}), "effort": fields.pop("reasoning_effort")}
    if "verbosity" in fields:
        fields["text"] = {**fields.get("text", {}), "verbosity": fields.pop("verbosity")}
    return fields


def _write_tool(tool: ToolSpec) -> dict[str, Any]:
    closed = strict_parameters(tool)
    return {
        "type": "function",
        "name": tool.name,
        "description": clean_text(tool.description),
        "parameters": closed or dict(tool.parameters),
        "strict": closed is not None,  # left out, this wire takes it as true
    }


_forms = ToolForms(_write_tool)


def _items(message: Message) -> Iterator[dict[str, Any]]:
    if isinstance(message, AssistantMessage):
        yield from _assistant(message)
    elif isinstance(message, ToolMessage):
        yield {
            "type": "function_call_output",
            "call_id": message.call_id,
            "output": clean_text(message.text),
        }
    else:
        role = "system" if isinstance(message, SystemMessage) else "user"
        yield {"role": role, "content": clean_text(message.text)}


def _assistant(message: AssistantMessage) -> Iterator[dict[str, Any]]:
    """Gives an earlier reply in the order it came: sealed reasoning stands before what it led to."""
    text = [{"role": "assistant", "content": clean_text(message.text)}] if message.text else []
    calls: list[dict[str, Any] | None] = [
        {
            "type": "function_call",
            "call_id": call.call_id,
            "name": sendable_name(call.tool),
            "arguments": clean_text(call.arguments),
        }
        for call in message.tool_calls
    ]
    for part in message.opaque if message.wire == WIRE else ():
        if part.get("type") == "message":
            yield from text
            text = []
        elif part.get("type") == "function_call":
            number = part.get("number", -1)
            if number < len(calls) and (call := calls[number]) is not None:
                calls[number] = None
                yield call
        else:
            yield part
    yield from text
    yield from filter(None, calls)


class ResponsesReading:
    """Reads one answer of `/responses`."""

    def __init__(self, door: Door) -> None:
        self.complete = False
        self._door = door
        self._items: list[Any] = []
        self._call_numbers: dict[Any, int] = {}
        self._text_tail = Tail()
        self._call_tails: dict[Any, Tail] = {}
        self._response: dict[str, Any] | None = None

    def whole(self, raw: bytes) -> Reply:
        """Gives the reply in a plain body."""
        content = self._door.object(raw)
        if not isinstance(content.get("output"), list):
            raise self._door.invalid("a reply without output", raw[:4000].decode("utf-8", "replace"))
        return self._reply(content, content["output"])

    def event(self, data: bytes) -> bool:
        """Takes one event; says whether the response has ended with it."""
        if data.strip() == b"[DONE]":
            return self.complete
        content = self._door.object(data)
        kind = content.get("type")
        if kind == "error":
            raise self._door.disguised(*error_in({"error": content}))
        if kind in _LAST_EVENTS:
            response = content.get("response")
            if not isinstance(response, dict):
                raise self._door.invalid("a reply without output", json.dumps(content)[:4000])
            self._response, self.complete = response, True
        elif kind == "response.output_item.done":
            self._items.append(content.get("item"))
        else:
            self._show(kind, content)
        return self.complete

    def finish(self) -> Reply:
        """Gives the reply when the stream has ended."""
        if self._response is None:
            raise self._door.cut()
        self._show_text(self._door.rest(self._text_tail))
        for index, tail in self._call_tails.items():
            self._show_call(index, "", self._door.rest(tail))
        output = self._response.get("output")
        return self._reply(self._response, output if isinstance(output, list) and output else self._items)

    def _show(self, kind: Any, content: dict[str, Any]) -> None:
        """Reports a piece; the text itself is taken from the end, where it comes whole."""
        delta, index = content.get("delta"), content.get("output_index")
        if kind == "response.output_text.delta":
            self._show_text(self._door.piece(delta or "", self._text_tail))
        elif kind == "response.function_call_arguments.delta":
            tail = self._call_tails.setdefault(index if isinstance(index, int) else 0, Tail())
            self._show_call(index, "", self._door.piece(delta or "", tail))
        elif kind == "response.output_item.added":
            item = content.get("item")
            if isinstance(item, dict) and item.get("type") == "function_call":
                self._show_call(index, self._door.masked(arguments_text(item.get("name"))), "")

    def _show_text(self, text: str) -> None:
        if text:
            self._door.on_delta(TextDelta(text))

    def _show_call(self, index: Any, tool: str, arguments: str) -> None:
        key = index if isinstance(index, int) else 0
        number = self._call_numbers.setdefault(key, len(self._call_numbers))
        if tool or arguments:
            self._door.on_delta(ToolCallDelta(number, tool, arguments))

    def _reply(self, response: dict[str, Any], output: list[Any]) -> Reply:
        if not all(isinstance(item, dict) for item in output):
            raise self._door.invalid("output items that are none", json.dumps(output)[:4000])
        reason = self._reason(response)
        text, refusal = _texts(output)
        calls = [
            RawCall(
                arguments_text(item.get("call_id") or item.get("id")),
                arguments_text(item.get("name")),
                [arguments_text(item.get("arguments"))],
            )
            for item in output
            if item.get("type") == "function_call"
        ]
        usage = usage_from(response.get("usage"), "input_tokens", "output_tokens")
        return self._door.reply(
            text=text,
            refusal=refusal,
            calls=calls,
            finish_reason=reason,
            usage=usage if response.get("usage") else Usage(requests=1),
            model=response.get("model"),
            opaque=_sealed(output),
        )

    def _reason(self, response: dict[str, Any]) -> FinishReason | None:
        status = response.get("status")
        if status in (None, "completed"):
            return self._door.finish_reason(status)
        if status == "incomplete":
            details = response.get("incomplete_details")
            reason = details.get("reason") if isinstance(details, dict) else None
            return self._door.finish_reason(reason) or "length"
        if status == "failed":
            raise self._door.disguised(*error_in(response))
        raise self._door.invalid("a reply that did not end", str(status))


def _texts(output: Iterable[dict[str, Any]]) -> tuple[str, str]:
    """Gives the text and the refusal of all messages."""
    texts: list[str] = []
    refusals: list[str] = []
    for item in output:
        parts = item.get("content") if item.get("type") == "message" else None
        if isinstance(parts, str):
            texts.append(parts)
        for part in parts if isinstance(parts, list) else []:
            if isinstance(part, dict):
                texts.append(part["text"] if isinstance(part.get("text"), str) else "")
                refusals.append(part["refusal"] if isinstance(part.get("refusal"), str) else "")
    return "".join(texts), "".join(refusals)


def _sealed(output: Iterable[dict[str, Any]]) -> tuple[dict[str, Any], ...]:
    """Gives the sealed reasoning as it came, and marks of where the message and the calls stood between it.

    Reasoning that is not sealed lies at the service alone, and only if that stores replies, which it does not.
    """
    parts: list[dict[str, Any]] = []
    calls = 0
    for item in output:
        if item.get("type") == "reasoning" and item.get("encrypted_content"):
            parts.append(item)
        elif item.get("type") == "message":
            parts.append({"type": "message"})
        elif item.get("type") == "function_call":
            parts.append({"type": "function_call", "number": calls})
            calls += 1
    return tuple(parts) if any(part["type"] == "reasoning" for part in parts) else ()
