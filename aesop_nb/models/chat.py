"""The Chat Completions wire: what `/chat/completions` is sent and what it answers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from ..events import Usage
from ..texts import clean_text
from .replies import Door, RawCall, Tail, arguments_text, usage_from
from .strict import ToolForms, strict_parameters
from .transcript import (
    AssistantMessage,
    Message,
    ModelRequest,
    Reply,
    SystemMessage,
    TextDelta,
    ToolCallDelta,
    ToolMessage,
    ToolSpec,
)

WIRE = "chat"
PATH = "/chat/completions"

_BAD_IN_NAME = re.compile(r"[^a-zA-Z0-9_-]")
_NO_USAGE = Usage(requests=1)


def build_body(
    request: ModelRequest, model: str, parameters: Mapping[str, Any], *, openai: bool
) -> dict[str, Any]:
    """Gives the request's body; `openai` says whether OpenAI's or Azure's own service reads it."""
    body: dict[str, Any] = {**_renamed(parameters), "model": model, "messages": _messages(request.messages)}
    if request.tools:
        forms = _strict_forms if openai else _plain_forms
        body["tools"] = [forms(tool) for tool in request.tools]
    if request.stream:
        body["stream"] = True
        body["stream_options"] = {"include_usage": True}
    return body


def _renamed(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Gives parameters that are written as for the other wire under this wire's names."""
    fields = dict(parameters)
    if "max_output_tokens" in fields:
        fields["max_completion_tokens"] = fields.pop("max_output_tokens")
    reasoning = fields.pop("reasoning", None)
    if isinstance(reasoning, Mapping) and "effort" in reasoning:
        fields.setdefault("reasoning_effort", reasoning["effort"])
    elif reasoning is not None:
        fields["reasoning"] = reasoning
    return fields


def _write_tool(tool: ToolSpec, *, strict: bool) -> dict[str, Any]:
    # Several compatible services refuse a tool with `strict` in it, even if it is false:
    # https://github.com/earendil-works/pi/issues/1172. Left out, it is false.
    closed = strict_parameters(tool) if strict else None
    function: dict[str, Any] = {"name": tool.name, "parameters": closed or dict(tool.parameters)}
    if tool.description:
        function["description"] = clean_text(tool.description)
    if closed:
        function["strict"] = True
    return {"type": "function", "function": function}


_strict_forms = ToolForms(lambda tool: _write_tool(tool, strict=True))
_plain_forms = ToolForms(lambda tool: _write_tool(tool, strict=False))


def _messages(messages: Iterable[Message]) -> list[dict[str, Any]]:
    return [_message(message) for message in messages]


def _message(message: Message) -> dict[str, Any]:
    if isinstance(message, SystemMessage):
        return {"role": "system", "content": clean_text(message.text)}
    if isinstance(message, ToolMessage):
        return {"role": "tool", "tool_call_id": message.call_id, "content": clean_text(message.text)}
    if isinstance(message, AssistantMessage):
        return _assistant(message)
    return {"role": "user", "content": clean_text(message.text)}


def _assistant(message: AssistantMessage) -> dict[str, Any]:
    content = clean_text(message.text)
    if not message.tool_calls:
        return {"role": "assistant", "content": content}
    calls = [
        {
            "id": call.call_id,
            "type": "function",
            "function": {"name": sendable_name(call.tool), "arguments": sendable_arguments(call.arguments)},
        }
        for call in message.tool_calls
    ]
    return {"role": "assistant", "content": content or None, "tool_calls": calls}


def sendable_name(name: str) -> str:
    """Gives a tool's name as services accept it; a model may have invented another."""
    return _BAD_IN_NAME.sub("_", name)[:64] or "unknown"


def sendable_arguments(arguments: str) -> str:
    """Gives a call's arguments as a JSON object; servers that read them fail on anything else."""
    try:
        if isinstance(json.loads(arguments), dict):
            return clean_text(arguments)
    except (ValueError, RecursionError):
        pass
    return json.dumps({"unreadable_arguments": clean_text(arguments)})


class ChatReading:
    """Reads one answer of `/chat/completions`."""

    def __init__(self, door: Door) -> None:
        self.complete = False
        self._door = door
        self._text: list[str] = []
        self._refusal: list[str] = []
        self._text_tail, self._refusal_tail = Tail(), Tail()
        self._calls: list[RawCall] = []
        self._slots: dict[int, RawCall] = {}
        self._finish_reason: Any = None
        self._usage = _NO_USAGE
        self._model: Any = None

    def whole(self, raw: bytes) -> Reply:
        """Gives the reply in a plain body."""
        content = self._door.object(raw)
        choices = content.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else None
        message = choice.get("message") if isinstance(choice, dict) else None
        if not isinstance(choice, dict) or not isinstance(message, dict):
            raise self._door.invalid("a reply without choices", raw[:4000].decode("utf-8", "replace"))
        self._text.append(_content(message.get("content")))
        self._refusal.append(_content(message.get("refusal")))
        for call in self._listed(message.get("tool_calls")):
            function = self._function(call)
            self._add(call.get("id"), function.get("name"), arguments_text(function.get("arguments")))
        self._add_legacy(message.get("function_call"))
        self._finish_reason = choice.get("finish_reason")
        self._note(content)
        return self._reply()

    def event(self, data: bytes) -> bool:
        """Takes one chunk; says whether it was the `[DONE]` at the end."""
        if data.strip() == b"[DONE]":
            self.complete = True
            return True
        content = self._door.object(data)
        self._note(content)
        choices = content.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else None
        if not isinstance(choice, dict):
            return False
        # Some services end a stream with a whole message in place of a delta.
        delta = choice.get("delta") or choice.get("message")
        if isinstance(delta, dict):
            self._take(delta)
        if choice.get("finish_reason") is not None:
            self._finish_reason = choice["finish_reason"]
            self.complete = True
        return False

    def finish(self) -> Reply:
        """Gives the reply when the stream has ended."""
        if not self.complete:
            raise self._door.cut()
        self._show_text(self._door.rest(self._text_tail))
        self._refusal.append(self._door.rest(self._refusal_tail))
        for slot in self._calls:
            self._show_call(slot, "", self._door.rest(slot.tail))
        return self._reply()

    def _reply(self) -> Reply:
        text, refusal = "".join(self._text), "".join(self._refusal)
        reason = self._door.finish_reason(self._finish_reason)
        return self._door.reply(
            text=text,
            refusal=refusal,
            calls=self._calls,
            finish_reason=reason,
            usage=self._usage,
            model=self._model,
        )

    def _note(self, content: dict[str, Any]) -> None:
        if content.get("usage"):
            self._usage = usage_from(content["usage"], "prompt_tokens", "completion_tokens")
        self._model = content.get("model") or self._model

    def _take(self, delta: dict[str, Any]) -> None:
        self._show_text(self._door.piece(_content(delta.get("content")), self._text_tail))
        self._refusal.append(self._door.piece(_content(delta.get("refusal")), self._refusal_tail))
        for call in self._listed(delta.get("tool_calls")):
            self._take_call(call)

    def _show_text(self, text: str) -> None:
        if text:
            self._text.append(text)
            self._door.on_delta(TextDelta(text))

    def _take_call(self, call: dict[str, Any]) -> None:
        function = self._function(call)
        index, call_id, name = call.get("index"), call.get("id"), function.get("name")
        slot = self._slot(index, call_id, name)
        if slot is None:
            slot = self._add(call_id, name, "")
            if isinstance(index, int):
                self._slots[index] = slot
        elif not slot.call_id:
            slot.call_id = _name(call_id)
        named = "" if slot.tool and slot.pieces else _name(name)
        slot.tool = slot.tool or named
        arguments = arguments_text(function.get("arguments"))
        self._show_call(slot, self._door.masked(named), self._door.piece(arguments, slot.tail))

    def _show_call(self, slot: RawCall, named: str, piece: str) -> None:
        slot.pieces.append(piece)
        if named or piece:
            self._door.on_delta(ToolCallDelta(slot.number, named, piece))

    def _slot(self, index: Any, call_id: Any, name: Any) -> RawCall | None:
        """Gives the call that a piece belongs to; `None` is a new one.

        Services forget the index, or give every call the index 0: then a name with another id, or another
        name, begins a call.
        """
        last = self._calls[-1] if self._calls else None
        slot = self._slots.get(index) if isinstance(index, int) else last
        if slot is None or not name:
            return slot
        other_id = bool(call_id) and bool(slot.call_id) and call_id != slot.call_id
        return None if other_id or (slot.tool and name != slot.tool) else slot

    def _add(self, call_id: Any, name: Any, arguments: str) -> RawCall:
        call = RawCall(_name(call_id), _name(name), [arguments] if arguments else [], len(self._calls))
        self._calls.append(call)
        return call

    def _add_legacy(self, call: Any) -> None:
        if isinstance(call, dict) and not self._calls:
            self._add(None, call.get("name"), arguments_text(call.get("arguments")))

    def _listed(self, calls: Any) -> list[dict[str, Any]]:
        if calls is None:
            return []
        if not isinstance(calls, list) or not all(isinstance(call, dict) for call in calls):
            raise self._door.invalid("tool calls that are none", json.dumps(calls)[:4000])
        return calls

    def _function(self, call: dict[str, Any]) -> dict[str, Any]:
        function = call.get("function")
        return function if isinstance(function, dict) else call


def _name(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else json.dumps(value)


def _content(value: Any) -> str:
    """Gives text that comes as such or as a list of parts."""
    if isinstance(value, str):
        return value
    parts = value if isinstance(value, list) else []
    texts = [part.get("text") if isinstance(part, dict) else part for part in parts]
    return "".join(text for text in texts if isinstance(text, str))
