"""The scripted model says what it was told to, and keeps what it was asked."""

from __future__ import annotations

import json
import time
from typing import Any

import pydantic
import pytest

from aesop_nb.errors import ModelUnavailable
from aesop_nb.events import CallRequest
from aesop_nb.models.scripted import ScriptedModel, ScriptExhausted, call, failure, result
from aesop_nb.models.transcript import Model, ModelRequest, Reply, TextDelta, ToolCallDelta, UserMessage

REQUEST = ModelRequest(messages=(UserMessage(text="Find a bakery"),))


async def ask(model: ScriptedModel, request: ModelRequest = REQUEST) -> Reply:
    return await model.reply(request, lambda delta: None)


def made(reply: Reply) -> list[tuple[str, Any]]:
    return [(call.tool, json.loads(call.arguments)) for call in reply.tool_calls]


def test_it_is_a_model_and_no_rehearsal() -> None:
    model = ScriptedModel(name="mine")
    assert isinstance(model, Model)
    assert not model.is_rehearsal
    assert model.name == "mine"


async def test_replies_come_in_order_in_every_form() -> None:
    whole = Reply(text="whole", model="other")
    model = ScriptedModel(
        "hello",
        call("search", query="é"),
        [call("search", query="a"), {"tool": "count", "arguments": {}}],
        {"tool": "search", "arguments": {"query": "b"}},
        result([1, 2]),
        result(),
        failure("no bread"),
        whole,
        lambda request: f"you said {request.messages[-1].text}",
    )
    replies = [await ask(model) for _ in range(9)]
    assert replies[0].text == "hello"
    assert replies[0].finish_reason == "stop"
    assert made(replies[1]) == [("search", {"query": "é"})]
    assert replies[1].finish_reason == "tool_calls"
    assert made(replies[2]) == [("search", {"query": "a"}), ("count", {})]
    assert made(replies[3]) == [("search", {"query": "b"})]
    assert made(replies[4]) == [("mark_successful", {"result": [1, 2]})]
    assert made(replies[5]) == [("mark_successful", {})]
    assert made(replies[6]) == [("mark_failed", {"reason": "no bread"})]
    assert replies[7] == whole
    assert replies[8].text == "you said Find a bakery"
    ids = [call.call_id for reply in replies for call in reply.tool_calls]
    assert ids == [f"call_{number}" for number in range(1, 8)]


async def test_async_functions_and_exceptions() -> None:
    async def later(request: ModelRequest) -> Any:
        return [result(None)]

    def busy(request: ModelRequest) -> Any:
        return ModelUnavailable("still busy", retryable=True)

    model = ScriptedModel(later, ModelUnavailable("busy", retryable=True), busy, "up again")
    assert made(await ask(model)) == [("mark_successful", {"result": None})]
    with pytest.raises(ModelUnavailable, match=r"^busy"):
        await ask(model)
    with pytest.raises(ModelUnavailable, match="still busy"):
        await ask(model)
    assert (await ask(model)).text == "up again"


async def test_requests_are_kept_and_too_many_are_named() -> None:
    model = ScriptedModel("one")
    await ask(model)
    with pytest.raises(ScriptExhausted, match=r"has 1 reply, and this is request number 2.*Find a bakery"):
        await ask(model)
    assert model.requests == [REQUEST, REQUEST]
    assert issubclass(ScriptExhausted, AssertionError)


async def test_values_are_written_as_json() -> None:
    class Bakery(pydantic.BaseModel):
        name: str

    model = ScriptedModel(result([Bakery(name="Paul")]), {"tool": "broken", "arguments": '{"a": '})
    assert made(await ask(model)) == [("mark_successful", {"result": [{"name": "Paul"}]})]
    assert (await ask(model)).tool_calls == (
        CallRequest(call_id="call_2", tool="broken", arguments='{"a": '),
    )


async def test_pieces_stream_only_for_somebody_who_watches() -> None:
    model = ScriptedModel("a text of some length, in pieces", call("search", query="x" * 40), "unseen")
    deltas: list[Any] = []
    watched = ModelRequest(messages=REQUEST.messages, stream=True)
    text = await model.reply(watched, deltas.append)
    assert len(deltas) > 1
    assert "".join(delta.text for delta in deltas if isinstance(delta, TextDelta)) == text.text
    deltas.clear()
    calls = await model.reply(watched, deltas.append)
    pieces = [delta for delta in deltas if isinstance(delta, ToolCallDelta)]
    assert "".join(piece.tool for piece in pieces) == "search"
    assert "".join(piece.arguments for piece in pieces) == calls.tool_calls[0].arguments
    deltas.clear()
    await model.reply(REQUEST, deltas.append)
    assert deltas == []


async def test_a_delay_is_kept() -> None:
    begun = time.monotonic()
    await ask(ScriptedModel("slow", delay_seconds=0.05))
    assert time.monotonic() - begun >= 0.045


@pytest.mark.parametrize("wrong", [5, None, [5], {"name": "search"}, {"tool": "x", "query": 1}])
async def test_a_reply_of_another_kind_is_refused(wrong: Any) -> None:
    with pytest.raises(TypeError, match="scripted"):
        await ask(ScriptedModel(wrong))
