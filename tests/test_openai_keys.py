"""The key of a service: sent to its base URL, and found nowhere else."""

from __future__ import annotations

import copy
import logging
import pickle
import traceback

import pytest
from openai_server import Answer, Call, fails, says, sends

from aesop_nb.errors import ModelError, UsageError
from aesop_nb.models.keys import Key
from aesop_nb.models.openai_client import close_clients
from aesop_nb.models.openai_model import OpenAIModel
from aesop_nb.models.transcript import ModelRequest, SystemMessage, TextDelta

KEY = "sk-test-sentinel0123456789"
BOTH_WIRES = pytest.mark.parametrize("api", ["chat", "responses"])


@pytest.fixture(autouse=True)
async def _closed_clients():
    yield
    await close_clients()


def request(stream=False):
    return ModelRequest(messages=(SystemMessage(text="s"),), stream=stream)


@BOTH_WIRES
@pytest.mark.parametrize(
    "answer",
    [
        says("fine"),
        fails(401, f"Incorrect API key provided: {KEY}"),
        fails(500, KEY, code=KEY),
        fails(429, "again"),
        Answer(status=302, body=b"", headers={"Location": "http://x/elsewhere"}),
        sends(f"<html>{KEY}".encode()),
        sends({"error": KEY}),
        Answer(fault="reset"),
        says("cut", cut_after=30),
        Answer(text=KEY, calls=(Call(tool=KEY, arguments=KEY),)),
    ],
    ids=["fine", "401", "500", "429", "302", "html", "error", "reset", "cut", "echo"],
)
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
async def test_the_key_shows_nowhere(openai_server, caplog, api, answer, stream):
    """In no error, no traceback with variables, no reply, no repr and no log record at DEBUG."""
    caplog.set_level(logging.DEBUG)
    server = openai_server(answer)
    model = OpenAIModel("gpt-test", base_url=server.url, api_key=KEY, api=api)
    seen = [repr(model), str(vars(model))]
    try:
        reply = await model.reply(request(stream), lambda delta: None)
        seen += [repr(reply), reply.message().text]
    except ModelError as exc:
        ours = exc.with_traceback(exc.__traceback__.tb_next)  # this function's own variables hold the key
        verbose = traceback.TracebackException.from_exception(ours, capture_locals=True)
        seen += [str(exc), repr(exc), str(vars(exc)), *verbose.format()]
    seen += [str(vars(record)) + record.getMessage() for record in caplog.records]
    assert server.requests[0].headers["authorization"] == f"Bearer {KEY}"
    assert len(caplog.records) > 3
    assert not [text for text in seen if KEY in text or "sentinel" in text]


@BOTH_WIRES
@pytest.mark.parametrize("size", [1, 4, 7, 25])
async def test_a_key_split_over_the_pieces_of_a_stream_is_shown_to_nobody(openai_server, api, size):
    """In texts, arguments and names; what only looks like its beginning is shown in the end."""
    beginning = KEY[:-1]
    call = Call(tool="look", arguments=f'{{"q": "{KEY} {beginning}"}}')
    script = [
        Answer(text=f"It is {KEY}, s {beginning}", piece_characters=size),
        Answer(text=None, calls=(call, call), piece_characters=size),
        Answer(text=f"ends with {beginning}", calls=(Call(tool=KEY, arguments=beginning),), piece_bytes=size),
    ]
    server = openai_server(script)
    model = OpenAIModel("gpt-test", base_url=server.url, api_key=KEY, api=api)
    texts, arguments, tools = [], [{}, {}, {}], []
    for number in range(len(script)):
        text = ""
        deltas = []
        reply = await model.reply(request(stream=True), deltas.append)
        for delta in deltas:
            if isinstance(delta, TextDelta):
                text += delta.text
            else:
                pieces = arguments[number]
                pieces[delta.index] = pieces.get(delta.index, "") + delta.arguments
                tools.append(delta.tool)
        assert text == reply.text
        assert list(arguments[number].values()) == [made.arguments for made in reply.tool_calls]
        texts.append(text)
    shown = f'{{"q": "[key] {beginning}"}}'
    assert texts == [f"It is [key], s {beginning}", "", f"ends with {beginning}"]
    assert arguments == [{}, {0: shown, 1: shown}, {0: beginning}]
    assert sorted(set(tools)) == ["", "[key]", "look"]


@pytest.mark.parametrize(
    "arguments",
    [
        {"name": ""},
        {"api": "x"},
        {"base_url": "ftp://x"},
        {"parameters": {"model": 1}},
        {"api_key": KEY + " é"},
    ],
    ids=lambda arguments: next(iter(arguments)),
)
def test_an_error_of_the_constructor_shows_no_key_in_a_traceback_with_variables(arguments):
    """The frame that calls is the caller's own; from the constructor's on, nothing shows the key."""
    with pytest.raises(UsageError) as caught:
        OpenAIModel(**{"name": "m", "base_url": "http://x/v1", "api_key": KEY, **arguments})
    ours = caught.value.__traceback__.tb_next
    shown = [value for frame, _ in traceback.walk_tb(ours) for value in frame.f_locals.values()]
    assert "http://x/v1" in shown or "base_url" in arguments
    assert not [value for value in shown if isinstance(value, str) and "sentinel" in value]


def test_a_key_shows_only_whether_it_is_set():
    assert (repr(Key(KEY)), str(Key(None)), f"{Key(KEY)}") == ("set", "not set", "set")
    assert "sentinel" not in repr(OpenAIModel("m", base_url="http://x/v1", api_key=KEY))
    assert not hasattr(Key(KEY), "__dict__")


def test_a_pickle_holds_no_key_and_reads_the_environment_of_its_process(monkeypatch):
    stored = pickle.dumps(Key(KEY))
    assert b"sentinel" not in stored
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test-other")
    assert pickle.loads(stored) == Key("sk-test-other")
    assert copy.deepcopy(Key(KEY)) == Key(KEY)


@pytest.mark.parametrize("value", ["sk-test two", "sk-test-é", "sk\n-test"])
def test_a_key_that_no_header_can_carry_is_a_usage_error_without_it(value):
    with pytest.raises(UsageError, match="OPENAI_API_KEY") as caught:
        OpenAIModel("m", base_url="http://x/v1", api_key=value)
    assert value not in str(caught.value)
    assert Key(" sk-test\n") == Key("sk-test")


@pytest.mark.parametrize("url", ["http://user:pass@x/v1", "http://x/v1?api-key=abc", "http://x/v1#abc"])
def test_a_base_url_carries_no_secrets(url):
    with pytest.raises(UsageError, match="api_key=") as caught:
        OpenAIModel("m", base_url=url)
    assert "pass" not in str(caught.value).replace("password", "")
    assert "abc" not in str(caught.value)


async def test_the_key_of_the_environment_is_used_and_no_key_sends_none(openai_server, monkeypatch):
    server = openai_server(says("ok"))
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    await OpenAIModel("m", base_url=server.url).reply(request(), lambda delta: None)
    monkeypatch.delenv("OPENAI_API_KEY")
    await OpenAIModel("m", base_url=server.url).reply(request(), lambda delta: None)
    assert server.requests[0].headers["authorization"] == f"Bearer {KEY}"
    assert "authorization" not in server.requests[1].headers


@pytest.mark.parametrize(
    "echo",
    [
        "sk-other-abcdefgh",
        "sk-proj-abc***wxyz",
        "Bearer abcdef.ghi",
        "AIzaSyA1234567890",
        "0123456789abcdef" * 2,
    ],
)
async def test_anything_shaped_like_a_key_is_masked_in_errors(openai_server, echo):
    server = openai_server(fails(401, f"You sent {echo}, which is wrong"))
    with pytest.raises(ModelError, match=r"You sent (Bearer )?\[key\], which is wrong"):
        await OpenAIModel("m", base_url=server.url, api_key=KEY).reply(request(), lambda delta: None)
