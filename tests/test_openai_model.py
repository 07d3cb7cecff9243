"""What `OpenAIModel` sends and reads, on both wires, through the real client and real sockets."""

from __future__ import annotations

import json
import subprocess
import sys

import openai_answers
import pytest
from openai_server import Answer, Call, asks, fails, says, sends

from aesop_nb.config import temporary_settings
from aesop_nb.errors import ModelNotConfigured, ModelRefused, UsageError
from aesop_nb.events import CallRequest, Usage
from aesop_nb.models.openai_client import close_clients
from aesop_nb.models.openai_model import OpenAIModel
from aesop_nb.models.transcript import (
    AssistantMessage,
    Model,
    ModelRequest,
    Notice,
    SystemMessage,
    TextDelta,
    ToolCallDelta,
    ToolMessage,
    ToolSpec,
    UserMessage,
)

KEY = "sk-test-sentinel0123456789"
BOTH_WIRES = pytest.mark.parametrize("api", ["chat", "responses"])
BOTH_WAYS = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
SEARCH = ToolSpec(
    name="search",
    description="Looks up.",
    parameters={"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"]},
)


@pytest.fixture(autouse=True)
async def _closed_clients():
    yield
    await close_clients()


def request(*messages, stream=False, tools=(), **more):
    first = (SystemMessage(text="Be brief."), UserMessage(text="Hello"))
    return ModelRequest(messages=(*first, *messages), tools=tools, stream=stream, **more)


async def reply_of(openai_server, script, *, api="chat", name="gpt-test", model=None, deltas=None, **more):
    server = openai_server(script)
    model = model or OpenAIModel(name, base_url=server.url, api_key=KEY, api=api)
    reply = await model.reply(request(**more), (deltas if deltas is not None else []).append)
    return reply, server


def test_importing_the_models_loads_no_client():
    code = "import sys, aesop_nb.models.openai_model as m; m.OpenAIModel('m', base_url='http://x/v1'); "
    code += "assert not {'openai', 'httpx', 'httpx2', 'pandas', 'IPython'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@BOTH_WIRES
@BOTH_WAYS
async def test_text_reply_with_usage(openai_server, api, stream):
    reply, server = await reply_of(openai_server, [says("Grüße 🥐 an alle")], api=api, stream=stream)
    assert reply.text == "Grüße 🥐 an alle"
    assert reply.finish_reason == "stop"
    assert reply.usage == Usage(requests=1, input_tokens=11, output_tokens=7, cached_tokens=3)
    assert (reply.model, reply.wire, server.sends) == ("gpt-test", api, 1)


@BOTH_WIRES
@BOTH_WAYS
async def test_parallel_tool_calls(openai_server, api, stream):
    calls = (Call(tool="search", arguments={"q": "ü"}, call_id="a"), Call(tool="fetch", call_id="b"))
    reply, _ = await reply_of(openai_server, [Answer(text="so", calls=calls)], api=api, stream=stream)
    assert reply.finish_reason == "tool_calls"
    assert reply.tool_calls == (
        CallRequest(call_id="a", tool="search", arguments='{"q": "\\u00fc"}'),
        CallRequest(call_id="b", tool="fetch", arguments="{}"),
    )


@BOTH_WIRES
async def test_pieces_are_reported_as_they_arrive(openai_server, api):
    deltas = []
    answer = Answer(text="abcdefgh", calls=(Call(tool="search", arguments='{"q": 1}'),))
    await reply_of(openai_server, [answer], api=api, stream=True, deltas=deltas)
    assert [delta.text for delta in deltas if isinstance(delta, TextDelta)] == ["abcd", "efgh"]
    pieces = [delta for delta in deltas if isinstance(delta, ToolCallDelta)]
    assert [piece.tool for piece in pieces] == ["search", "", ""]
    assert "".join(piece.arguments for piece in pieces) == '{"q": 1}'


@BOTH_WIRES
@pytest.mark.parametrize("piece_bytes", [1, 3, 7])
async def test_a_stream_split_inside_characters_and_lines(openai_server, api, piece_bytes):
    answer = Answer(text="Größe 🥐\r\n\u2028 end", piece_bytes=piece_bytes)
    reply, _ = await reply_of(openai_server, [answer], api=api, stream=True)
    assert reply.text == "Größe 🥐\r\n\u2028 end"


async def test_chat_body(openai_server):
    earlier = AssistantMessage(
        text="", tool_calls=(CallRequest(call_id="a", tool="search", arguments='{"q": "x"}'),), wire="chat"
    )
    server = openai_server([says("ok")])
    model = OpenAIModel(
        "gpt-test", base_url=server.url, api_key=KEY, parameters={"temperature": 0, "seed": 1}
    )
    messages = (earlier, ToolMessage(call_id="a", tool="search", text="found"))
    await model.reply(request(*messages, tools=(SEARCH,), parameters={"seed": 2}), print)
    body = server.requests[0].body
    assert server.requests[0].path == "/v1/chat/completions"
    assert server.requests[0].headers["authorization"] == f"Bearer {KEY}"
    assert [message["role"] for message in body["messages"]] == ["system", "user", "assistant", "tool"]
    assert body["messages"][2]["tool_calls"][0]["function"] == {"name": "search", "arguments": '{"q": "x"}'}
    assert body["messages"][3] == {"role": "tool", "tool_call_id": "a", "content": "found"}
    assert body["tools"][0]["function"]["name"] == "search"
    assert (body["temperature"], body["seed"]) == (0, 2)
    assert "strict" not in body["tools"][0]["function"]
    assert not {"stream", "tool_choice"} & set(body)


async def test_chat_asks_a_stream_for_its_usage(openai_server):
    _, server = await reply_of(openai_server, [says("ok")], stream=True)
    assert server.requests[0].body["stream_options"] == {"include_usage": True}


async def test_responses_body_keeps_nothing_at_the_service(openai_server):
    _, server = await reply_of(openai_server, [says("ok")], api="responses", tools=(SEARCH,))
    body = server.requests[0].body
    assert server.requests[0].path == "/v1/responses"
    assert body["store"] is False
    assert body["include"] == ["reasoning.encrypted_content"]
    assert body["input"][1] == {"role": "user", "content": "Hello"}
    assert (body["tools"][0]["type"], body["tools"][0]["strict"]) == ("function", True)
    assert "previous_response_id" not in body


@BOTH_WAYS
async def test_sealed_reasoning_is_sent_back_as_it_came_before_its_call(openai_server, stream):
    answer = asks("search", {"q": "x"}, call_id="a", reasoning="c2VhbGVk")
    server = openai_server([answer, says("done"), says("done")])
    model = OpenAIModel("gpt-5-test", base_url=server.url, api_key=KEY, api="responses")
    first = await model.reply(request(stream=stream), lambda delta: None)
    result = ToolMessage(call_id="a", tool="search", text="found")
    await model.reply(request(first.message(), result), lambda delta: None)
    sealed = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "c2VhbGVk"}
    assert server.requests[1].body["input"][2:] == [
        sealed,
        {"type": "function_call", "call_id": "a", "name": "search", "arguments": '{"q": "x"}'},
        {"type": "function_call_output", "call_id": "a", "output": "found"},
    ]
    chat = OpenAIModel("gpt-5-test", base_url=server.url, api_key=KEY, api="chat")
    await chat.reply(request(first.message(), result), lambda delta: None)
    assert b"c2VhbGVk" not in server.requests[2].raw


@pytest.mark.parametrize(
    ("base_url", "wire"),
    [
        (None, "responses"),
        ("https://eu.api.openai.com/v1", "responses"),
        ("https://mine.openai.azure.com/openai/v1/", "responses"),
        ("http://localhost:11434/v1", "chat"),
        ("https://api.openai.com.evil.example/v1", "chat"),
        ("https://notopenai.com/v1", "chat"),
    ],
)
def test_wire_by_host(monkeypatch, base_url, wire):
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    assert OpenAIModel("m", base_url=base_url, api_key=KEY).wire == wire


async def test_404_at_responses_changes_over_once_and_says_so(openai_server):
    server = openai_server([fails(404, "page not found"), says("a"), says("b")])
    model = OpenAIModel("gpt-test", base_url=server.url, api_key=KEY, api="responses")
    deltas = []
    first = await model.reply(request(), deltas.append)
    second = await model.reply(request(), deltas.append)
    assert [sent.path[3:] for sent in server.requests] == [
        "/responses",
        "/chat/completions",
        "/chat/completions",
    ]
    assert (first.text, first.usage.requests, second.usage.requests) == ("a", 2, 1)
    assert [type(delta) for delta in deltas] == [Notice]
    assert "/chat/completions is used from now on" in deltas[0].text


async def test_400_that_names_responses_changes_over(openai_server):
    told = "Function tools with reasoning are not supported here, use /v1/responses instead."
    server = openai_server([fails(400, told), says("a")])
    model = OpenAIModel("gpt-test", base_url=server.url, api_key=KEY)
    assert (await model.reply(request(), lambda delta: None)).usage.requests == 2
    assert server.requests[1].path == "/v1/responses"


async def test_both_wires_missing_is_one_error_that_counts_both_sends(openai_server):
    server = openai_server(fails(404, "nothing here, use /v1/responses"))
    model = OpenAIModel("gpt-test", base_url=server.url, api_key=KEY)
    with pytest.raises(ModelRefused, match=r"base_url") as caught:
        await model.reply(request(), lambda delta: None)
    assert caught.value.requests == server.sends == 2


async def test_unknown_model_at_responses_is_not_asked_for_elsewhere(openai_server):
    server = openai_server(fails(404, "no such model", code="model_not_found"))
    model = OpenAIModel("gpt-test", base_url=server.url, api_key=KEY, api="responses")
    with pytest.raises(ModelRefused, match="'gpt-test'"):
        await model.reply(request(), lambda delta: None)
    assert server.sends == 1


async def test_a_model_without_reasoning_is_asked_again_without_it(openai_server):
    refusal = fails(400, "Encrypted content is not supported with this model.")
    server = openai_server([refusal, says("a"), says("b")])
    model = OpenAIModel("deployment", base_url=server.url, api_key=KEY, api="responses")
    deltas = []
    assert (await model.reply(request(), deltas.append)).usage.requests == 2
    assert (await model.reply(request(), deltas.append)).usage.requests == 1
    assert ["include" in sent.body for sent in server.requests] == [True, False, False]
    assert deltas == []


async def test_parameters_take_the_names_of_the_wire(openai_server):
    server = openai_server(says("ok"))
    parameters = {"max_tokens": 5, "reasoning_effort": "low"}
    for api in ("responses", "chat"):
        model = OpenAIModel("gpt-test", base_url=server.url, api_key=KEY, api=api, parameters=parameters)
        await model.reply(request(), lambda delta: None)
    assert server.requests[0].body["max_output_tokens"] == 5
    assert server.requests[0].body["reasoning"] == {"effort": "low"}
    assert server.requests[1].body["max_tokens"] == 5


@BOTH_WIRES
@pytest.mark.parametrize(("reason", "ours"), [("length", "length"), ("content_filter", "content_filter")])
@BOTH_WAYS
async def test_truncated_and_filtered_replies_are_reported_as_such(openai_server, api, reason, ours, stream):
    answer = asks("search", '{"q": "x', finish_reason=reason)
    reply, _ = await reply_of(openai_server, [answer], api=api, stream=stream)
    assert reply.finish_reason == ours


@BOTH_WIRES
async def test_a_refusal_is_filtered_text(openai_server, api):
    reply, _ = await reply_of(openai_server, [Answer(text=None, refusal="I will not.")], api=api)
    assert (reply.text, reply.finish_reason) == ("I will not.", "content_filter")


@BOTH_WIRES
async def test_a_refusals_own_words_are_kept_apart(openai_server, api):
    script = [Answer(text=None, refusal=f"I can't say {KEY}."), says("Fine.")]
    server = openai_server(script)
    model = OpenAIModel("gpt-test", base_url=server.url, api_key=KEY, api=api)
    replies = [await model.reply(request(), lambda delta: None) for _ in script]
    assert [reply.refusal for reply in replies] == ["I can't say [key].", ""]


async def test_a_streamed_refusal_is_put_together(openai_server):
    deltas = [{"refusal": "I can't "}, {"refusal": "help, sk-test"}, {"refusal": "-sentinel"}]
    chunks = [{"choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    body = b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks)
    reply, _ = await reply_of(openai_server, sends(body, content_type="text/event-stream"), stream=True)
    assert (reply.refusal, reply.finish_reason) == ("I can't help, sk-test-sentinel", "content_filter")


@BOTH_WIRES
async def test_a_sloppy_plain_reply_is_enough(openai_server, api):
    answer = asks("search", {"q": "x"}, without=("id", "usage", "finish_reason", "content_type"))
    reply, _ = await reply_of(openai_server, [answer], api=api)
    assert reply.finish_reason == "tool_calls"
    assert reply.tool_calls[0].call_id
    assert reply.usage == Usage(requests=1)


@BOTH_WIRES
@BOTH_WAYS
async def test_duplicate_call_ids_are_made_unique(openai_server, api, stream):
    calls = tuple(Call(tool="search", arguments={"q": n}, call_id="same") for n in range(3))
    reply, _ = await reply_of(openai_server, [Answer(calls=calls)], api=api, stream=stream)
    assert [call.arguments for call in reply.tool_calls] == ['{"q": 0}', '{"q": 1}', '{"q": 2}']
    assert len({call.call_id for call in reply.tool_calls}) == 3


@BOTH_WIRES
@BOTH_WAYS
async def test_arguments_given_as_an_object_become_text(openai_server, api, stream):
    call = Call(tool="search", arguments={"q": "x"}, as_object=True)
    reply, _ = await reply_of(openai_server, [Answer(calls=(call,))], api=api, stream=stream)
    assert reply.tool_calls[0].arguments == '{"q": "x"}'


async def test_streamed_calls_that_all_have_index_0_stay_apart(openai_server):
    def chunk(call_id, name, arguments):
        function = {"name": name, "arguments": arguments}
        return {"choices": [{"delta": {"tool_calls": [{"index": 0, "id": call_id, "function": function}]}}]}

    chunks = [chunk("a", "search", '{"q":'), chunk(None, None, " 1}"), chunk("b", "search", '{"q": 2}')]
    data = "".join(f"data: {json.dumps(part)}\n\n" for part in chunks) + "data: [DONE]\n\n"
    answer = sends(data.encode(), content_type="text/event-stream")
    reply, _ = await reply_of(openai_server, [answer], stream=True)
    assert [call.arguments for call in reply.tool_calls] == ['{"q": 1}', '{"q": 2}']


async def test_pieces_of_calls_that_are_alike_name_their_own_call(openai_server):
    """The same tool twice, with the same id or none, and pieces that take turns."""
    calls = [
        {"index": number, "id": None, "function": {"name": name, "arguments": piece}}
        for name, piece in [("search", ""), (None, "{}")]
        for number in (0, 1)
    ]
    chunks = [{"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]} for call in calls]
    chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]})
    body = b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks)
    deltas = []
    answer = sends(body + b"data: [DONE]\n\n", content_type="text/event-stream")
    reply, _ = await reply_of(openai_server, [answer], stream=True, deltas=deltas)
    assert [(delta.index, delta.arguments) for delta in deltas] == [(0, ""), (1, ""), (0, "{}"), (1, "{}")]
    assert len(reply.tool_calls) == 2


async def test_reasoning_content_is_not_text(openai_server):
    for stream in (False, True):
        reply, _ = await reply_of(openai_server, [says("4", reasoning="2 and 2")], stream=stream)
        assert reply.text == "4"


@BOTH_WAYS
async def test_a_service_that_ignores_how_it_was_asked(openai_server, stream):
    """A plain reply to a streamed request, and events in answer to a plain one, are read all the same."""
    plain = sends({"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]})
    chunk = b'data: {"choices": [{"delta": {"content": "hi"}, "finish_reason": "stop"}]}\n\n'
    events = sends(chunk, content_type="text/event-stream")
    unnamed = sends(chunk, content_type="text/plain")
    for answer in (plain, events, unnamed):
        assert (await reply_of(openai_server, [answer], stream=stream))[0].text == "hi"


@BOTH_WIRES
@BOTH_WAYS
async def test_lone_surrogates_go_neither_in_nor_out(openai_server, api, stream):
    body = Answer(
        text="a\ud800b", calls=(Call(tool="se\udc00", arguments='{"q": "\ud800"}'),), piece_characters=99
    )
    server = openai_server([body])
    # Written as JSON escapes, which is how they arrive from a real service.
    model = OpenAIModel("gpt-test", base_url=server.url, api_key=KEY, api=api)
    if stream:
        server.script = [body.but(body=_escaped(body, api), content_type="text/event-stream")]
    history = (AssistantMessage(text="\ud800"), UserMessage(text="\udfff"))
    reply = await model.reply(request(*history, stream=stream), lambda delta: str(delta).encode)
    assert (reply.text, reply.tool_calls[0].tool) == ("a\ufffdb", "se\ufffd")
    reply.tool_calls[0].arguments.encode()
    assert "\ufffd" in server.requests[0].raw.decode()


def _escaped(answer, api):
    if api == "chat":
        whole = openai_answers.chat_body(answer, {"model": "m"})
        choice = whole["choices"][0]
        return f"data: {json.dumps({'choices': [{**choice, 'delta': choice['message']}]})}\n\n".encode()
    whole = openai_answers.responses_body(answer, {"model": "m"})
    return f"data: {json.dumps({'type': 'response.completed', 'response': whole})}\n\n".encode()


async def test_what_a_model_invented_is_sent_back_in_a_form_that_servers_accept(openai_server):
    server = openai_server([says("ok")])
    model = OpenAIModel("gpt-test", base_url=server.url, api_key=KEY)
    call = CallRequest(call_id="a", tool="not a tool!", arguments='{"q": ')
    await model.reply(request(AssistantMessage(tool_calls=(call,))), lambda delta: None)
    function = server.requests[0].body["messages"][2]["tool_calls"][0]["function"]
    assert function == {"name": "not_a_tool_", "arguments": '{"unreadable_arguments": "{\\"q\\": "}'}


async def test_a_lingering_stream_does_not_hold_up_its_reply(openai_server):
    reply, server = await reply_of(openai_server, [says("done", linger=True)], stream=True)
    assert reply.text == "done"
    assert server.wait_for_connections(0, 2)


async def test_connections_are_used_again(openai_server):
    server = openai_server(says("ok"))
    model = OpenAIModel("gpt-test", base_url=server.url, api_key=KEY)
    for stream in (False, True, False, True):
        await model.reply(request(stream=stream), lambda delta: None)
    assert (server.sends, server.most_connections) == (4, 1)


def test_settings_and_environment_name_the_service(monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", "http://from-environment/v1")
    assert OpenAIModel("m").base_url == "http://from-environment/v1"
    with temporary_settings(base_url="http://from-settings/v1/", api="responses"):
        model = OpenAIModel("m")
        assert (model.base_url, model.wire) == ("http://from-settings/v1", "responses")
        assert OpenAIModel("m", base_url="http://given/v1", api="chat").base_url == "http://given/v1"


def test_it_is_a_model_and_no_rehearsal():
    model = OpenAIModel("m", base_url="http://given/v1")
    assert isinstance(model, Model)
    assert model.is_rehearsal is False


@pytest.mark.parametrize(
    "url", ["localhost:1234/v1", "ftp://x/v1", "http://", "http://x:99999/v1", "http://[/v1"]
)
def test_an_unusable_base_url_is_a_usage_error(url):
    with pytest.raises(UsageError, match="http or https address"):
        OpenAIModel("m", base_url=url)


@pytest.mark.parametrize("parameters", [{"stream": True}, {"x": object()}, {"x": float("nan")}])
def test_parameters_that_cannot_be_sent_are_a_usage_error(parameters):
    with pytest.raises(UsageError, match="parameters"):
        OpenAIModel("m", base_url="http://x/v1", parameters=parameters)


def test_openai_without_a_key_is_not_configured(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with pytest.raises(ModelNotConfigured, match="OPENAI_API_KEY"):
        OpenAIModel("gpt-5-mini")


async def test_the_proxy_of_the_environment_is_used(openai_server, monkeypatch):
    proxy = openai_server(says("through"))
    monkeypatch.setenv("http_proxy", proxy.url.removesuffix("/v1"))
    monkeypatch.setenv("no_proxy", "elsewhere.invalid")
    model = OpenAIModel("m", base_url="http://service.invalid/v1", api_key=KEY)
    assert (await model.reply(request(), lambda delta: None)).text == "through"
    assert proxy.requests[0].path == "http://service.invalid/v1/chat/completions"
