"""What the test server answers: one `Answer` in neutral words, written out for the wire that asked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Call:
    """A tool call; `arguments` may be a text (sent as it is) or an object (sent as its JSON text)."""

    tool: Any
    arguments: Any = "{}"
    call_id: Any = None
    as_object: bool = False

    def raw_arguments(self) -> Any:
        if self.as_object or isinstance(self.arguments, str):
            return self.arguments
        return json.dumps(self.arguments)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One answer of the server.

    Attributes:
        finish_reason: `None` is what fits: `tool_calls` or `stop`.
        usage: Input, output and cached tokens.
        without: What a sloppy server leaves out: `id`, `usage`, `finish_reason`, `done`, `content_type`.
        piece_characters: Size of the streamed pieces of text and arguments.
        piece_bytes: Size of the network writes of a stream, so that characters and lines are split.
        body: Sent instead of anything else, byte for byte.
        delay_seconds: Before the first byte of the answer.
        cut_after: Bytes of the body after which the connection is closed.
        stall_after: Bytes of the body after which nothing more is sent, for as long as the client waits.
        drip_seconds: Between single bytes of the body.
        comments: Whether a stream keeps itself alive with comments, and with nothing else.
        linger: Whether a stream stays open after its last event.
        fault: `reset`, `close` or `silent`: what happens instead of an answer.
    """

    text: str | None = ""
    calls: tuple[Call, ...] = ()
    finish_reason: str | None = None
    usage: tuple[int, int, int] = (11, 7, 3)
    reasoning: str = ""
    refusal: str | None = None
    without: tuple[str, ...] = ()
    piece_characters: int = 4
    piece_bytes: int | None = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    content_type: str | None = None
    body: bytes | None = None
    delay_seconds: float = 0.0
    cut_after: int | None = None
    stall_after: int | None = None
    drip_seconds: float | None = None
    comments: bool = False
    linger: bool = False
    fault: str = ""

    def but(self, **changes: Any) -> Answer:
        """The same answer with some fields changed."""
        return replace(self, **changes)


def says(text: str, **more: Any) -> Answer:
    """An answer in text."""
    return Answer(text=text, **more)


def asks(tool: str, arguments: Any = "{}", *, call_id: Any = None, **more: Any) -> Answer:
    """An answer with one tool call."""
    return Answer(text=None, calls=(Call(tool=tool, arguments=arguments, call_id=call_id),), **more)


def fails(status: int, message: str = "it failed", *, code: str | None = None, **more: Any) -> Answer:
    """An error in the service's usual form."""
    error = {"message": message, "type": code, "code": code, "param": None}
    return sends({"error": error}, status=status, **more)


def sends(body: Any, **more: Any) -> Answer:
    """A body: bytes are sent as they are, anything else as JSON."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answer(body=raw, **more)


def content_of(answer: Answer, path: str, request: dict[str, Any]) -> tuple[str, bytes]:
    """The content type and the whole body, for the wire of `path`."""
    if answer.body is not None:
        return answer.content_type or "application/json", answer.body
    responses = path.endswith("/responses")
    if request.get("stream"):
        events = _responses_events(answer, request) if responses else _chat_events(answer, request)
        return answer.content_type or "text/event-stream; charset=utf-8", b"".join(events)
    content = responses_body(answer, request) if responses else chat_body(answer, request)
    return answer.content_type or "application/json", json.dumps(content).encode()


def chat_body(answer: Answer, request: dict[str, Any]) -> dict[str, Any]:
    """The answer as a `chat.completion`."""
    message: dict[str, Any] = {"role": "assistant", "content": answer.text, "refusal": answer.refusal}
    if answer.reasoning:
        message["reasoning_content"] = answer.reasoning
    if answer.calls:
        message["tool_calls"] = [_chat_call(answer, call, number) for number, call in enumerate(answer.calls)]
    choice = {"index": 0, "message": message, "finish_reason": _finish_reason(answer), "logprobs": None}
    body = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": request.get("model"),
        "choices": [choice],
        "usage": _chat_usage(answer),
    }
    for name in ("id", "usage"):
        if name in answer.without:
            del body[name]
    if "finish_reason" in answer.without:
        del choice["finish_reason"]
    return body


def _chat_call(answer: Answer, call: Call, number: int) -> dict[str, Any]:
    function = {"name": call.tool, "arguments": call.raw_arguments()}
    made = {"id": call.call_id or f"call_{number}", "type": "function", "function": function}
    if "id" in answer.without:
        del made["id"]
    return made


def _finish_reason(answer: Answer) -> str:
    return answer.finish_reason or ("tool_calls" if answer.calls else "stop")


def _chat_usage(answer: Answer) -> dict[str, Any]:
    read, written, cached = answer.usage
    return {
        "prompt_tokens": read,
        "completion_tokens": written,
        "total_tokens": read + written,
        "prompt_tokens_details": {"cached_tokens": cached},
    }


def _pieces(answer: Answer, text: str) -> Iterator[str]:
    for start in range(0, len(text), answer.piece_characters):
        yield text[start : start + answer.piece_characters]


def _event(data: Any, name: str = "") -> bytes:
    text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
    return (f"event: {name}\n" if name else "").encode() + f"data: {text}\n\n".encode()


def _chat_events(answer: Answer, request: dict[str, Any]) -> Iterator[bytes]:
    base = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": request["model"]}

    def chunk(delta: dict[str, Any], finish_reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
        return _event({**base, "choices": [choice]})

    yield chunk({"role": "assistant", "content": ""})
    for piece in _pieces(answer, answer.reasoning):
        yield chunk({"reasoning_content": piece})
    for piece in _pieces(answer, answer.text or ""):
        yield chunk({"content": piece})
    for number, call in enumerate(answer.calls):
        first = {"index": number, **_chat_call(answer, call, number)}
        arguments = first["function"].pop("arguments")
        yield chunk({"tool_calls": [{**first, "function": {**first["function"], "arguments": ""}}]})
        for piece in _pieces(answer, arguments) if isinstance(arguments, str) else [arguments]:
            yield chunk({"tool_calls": [{"index": number, "function": {"arguments": piece}}]})
    if "finish_reason" not in answer.without:
        yield chunk({}, _finish_reason(answer))
    if "usage" not in answer.without and request.get("stream_options", {}).get("include_usage"):
        yield _event({**base, "choices": [], "usage": _chat_usage(answer)})
    if "done" not in answer.without:
        yield _event("[DONE]")


def responses_body(answer: Answer, request: dict[str, Any]) -> dict[str, Any]:
    """The answer as a `response`."""
    read, written, cached = answer.usage
    reason = {"length": "max_output_tokens", "content_filter": "content_filter"}.get(_finish_reason(answer))
    body = {
        "id": "resp_1",
        "object": "response",
        "status": "incomplete" if reason else "completed",
        "incomplete_details": {"reason": reason} if reason else None,
        "error": None,
        "model": request.get("model"),
        "output": _responses_items(answer),
        "usage": {
            "input_tokens": read,
            "input_tokens_details": {"cached_tokens": cached},
            "output_tokens": written,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": read + written,
        },
    }
    for name, key in (("id", "id"), ("usage", "usage"), ("finish_reason", "status")):
        if name in answer.without:
            del body[key]
    return body


def _responses_items(answer: Answer) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    if answer.reasoning:
        items.append(
            {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": answer.reasoning}
        )
    content: list[dict[str, Any]] = []
    if answer.text:
        content.append({"type": "output_text", "text": answer.text, "annotations": []})
    if answer.refusal:
        content.append({"type": "refusal", "refusal": answer.refusal})
    if content:
        items.append(
            {"type": "message", "id": "msg_1", "status": "completed", "role": "assistant", "content": content}
        )
    for number, call in enumerate(answer.calls):
        item = {
            "type": "function_call",
            "id": f"fc_{number}",
            "call_id": call.call_id or f"call_{number}",
            "name": call.tool,
            "arguments": call.raw_arguments(),
            "status": "completed",
        }
        if "id" in answer.without:
            del item["id"], item["call_id"]
        items.append(item)
    return items


def _responses_events(answer: Answer, request: dict[str, Any]) -> Iterator[bytes]:
    body = responses_body(answer, request)
    yield _named("response.created", response={**body, "status": "in_progress", "output": [], "usage": None})
    for index, item in enumerate(body["output"]):
        yield _named("response.output_item.added", output_index=index, item=_begun(item))
        if item["type"] == "message":
            for piece in _pieces(answer, answer.text or ""):
                yield _named("response.output_text.delta", output_index=index, content_index=0, delta=piece)
        elif item["type"] == "function_call" and isinstance(item["arguments"], str):
            for piece in _pieces(answer, item["arguments"]):
                yield _named("response.function_call_arguments.delta", output_index=index, delta=piece)
        yield _named("response.output_item.done", output_index=index, item=item)
    if "finish_reason" not in answer.without:
        yield _named(f"response.{body['status']}", response=body)


def _begun(item: dict[str, Any]) -> dict[str, Any]:
    empty = {"message": {"content": []}, "function_call": {"arguments": ""}}
    return {**item, **empty.get(item["type"], {})}


def _named(event: str, **fields: Any) -> bytes:
    return _event({"type": event, **fields}, event)
