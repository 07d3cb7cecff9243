"""A service that fails: one typed error for each fault, one send, no socket left."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import time
from email.utils import formatdate
from pathlib import Path

import pytest
from openai_server import Answer, asks, fails, says, sends

from aesop_nb.config import temporary_settings
from aesop_nb.errors import ModelError, ModelRefused, ModelReplyInvalid, ModelUnavailable
from aesop_nb.models.openai_client import close_clients
from aesop_nb.models.openai_model import OpenAIModel
from aesop_nb.models.transcript import ModelRequest, SystemMessage, UserMessage

KEY = "sk-test-sentinel0123456789"
BOTH_WIRES = pytest.mark.parametrize("api", ["chat", "responses"])
BOTH_WAYS = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
MALFORMED = [
    (row["name"], base64.b64decode(row["b64"]))
    for row in map(json.loads, (Path(__file__).parent / "data/json_malformed.jsonl").read_text().splitlines())
]


@pytest.fixture(autouse=True)
async def _closed_clients():
    yield
    await close_clients()


def request(stream=False):
    return ModelRequest(messages=(SystemMessage(text="s"), UserMessage(text="u")), stream=stream)


async def failure_of(openai_server, answer, *, api="chat", stream=False):
    """The error of one reply; the server was asked exactly as often as the error says."""
    server = openai_server(answer)
    model = OpenAIModel("gpt-test", base_url=server.url, api_key=KEY, api=api)
    with pytest.raises(ModelError) as caught:
        await model.reply(request(stream), lambda delta: None)
    error = caught.value
    assert error.requests == server.sends
    assert error.__cause__ is None
    assert error.__context__ is None
    assert len(str(error)) < 600
    assert str(error).isprintable()
    assert KEY not in str(error)
    return error


@BOTH_WIRES
@BOTH_WAYS
@pytest.mark.parametrize(
    ("answer", "kind", "retryable", "words"),
    [
        (fails(400, "bad field", code="invalid"), ModelRefused, False, "rejected the request .400 invalid"),
        (
            fails(401, f"Incorrect API key: {KEY}"),
            ModelRefused,
            False,
            "did not accept the API key.*OPENAI_API_KEY",
        ),
        (fails(402, "pay"), ModelRefused, False, "no quota"),
        (fails(403, "region"), ModelRefused, False, "does not allow this"),
        (fails(404, "none", code="model_not_found"), ModelRefused, False, "know the model 'gpt-test'"),
        (fails(422, "bad"), ModelRefused, False, "rejected"),
        (fails(429, "slow down", code="rate_limit_exceeded"), ModelUnavailable, True, "too often"),
        (fails(429, "no money", code="insufficient_quota"), ModelRefused, False, "no quota.*billing"),
        (fails(408), ModelUnavailable, True, "failed .408"),
        (fails(409), ModelUnavailable, True, "failed .409"),
        (fails(500), ModelUnavailable, True, "failed .500, request req_test.: it failed"),
        (fails(503), ModelUnavailable, True, "failed .503"),
        (fails(529), ModelUnavailable, True, "failed .529"),
        (
            sends(b"<html>oops", status=502, content_type="text/html"),
            ModelUnavailable,
            True,
            r"\(502, [^:]*\)\.$",
        ),
        (sends([{"error": {"message": "in a list"}}], status=400), ModelRefused, False, "in a list"),
        (sends({"error": "as text"}, status=400), ModelRefused, False, "as text"),
        (sends({"detail": "elsewhere"}, status=400), ModelRefused, False, "elsewhere"),
        (sends(b"", status=500), ModelUnavailable, True, "failed .500"),
    ],
    ids=lambda value: "" if isinstance(value, (Answer, type, bool)) else value[:30],
)
async def test_a_status_that_is_no_success(openai_server, api, stream, answer, kind, retryable, words):
    error = await failure_of(openai_server, answer, api=api, stream=stream)
    assert (type(error), error.retryable) == (kind, retryable)
    assert (error.status_code, error.request_id) == (answer.status, "req_test")
    with pytest.raises(kind, match=words):
        raise error


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "1"}, 1.0),
        ({"retry-after-ms": "250", "Retry-After": "9"}, 0.25),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "-3"}, None),
        ({"Retry-After": "nan"}, None),
    ],
)
async def test_retry_after(openai_server, headers, seconds):
    error = await failure_of(openai_server, fails(429, headers=headers))
    assert error.retry_after_seconds == seconds


async def test_retry_after_as_a_date(openai_server):
    headers = {"Retry-After": formatdate(time.time() + 30, usegmt=True)}
    error = await failure_of(openai_server, fails(503, headers=headers))
    assert 25 < error.retry_after_seconds <= 30


@BOTH_WIRES
@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_is_an_error_and_the_key_stays(openai_server, api, status):
    elsewhere = openai_server(says("stolen"))
    answer = Answer(status=status, body=b"", headers={"Location": elsewhere.url + "/chat/completions"})
    error = await failure_of(openai_server, answer, api=api)
    assert (type(error), error.retryable, error.status_code) == (ModelReplyInvalid, False, status)
    assert elsewhere.sends == 0
    assert "base_url" in str(error)


HTML = b"<!DOCTYPE html><html><title>Log in</title><script>alert(1)</script>" + b"x" * 3000


@BOTH_WIRES
@BOTH_WAYS
@pytest.mark.parametrize(
    "body",
    [
        HTML,
        b"",
        b"null",
        b"[]",
        b'"text"',
        b"17",
        b"{}",
        b'{"error": {"message": "it broke", "code": "odd"}}',
        b'{"error": "it broke"}',
        b'{"choices": [], "output": null}',
        b'{"choices": null, "output": 3}',
        b'{"choices": {}, "output": {}}',
        b'{"choices": [null], "output": [null]}',
        b'{"choices": [[]], "output": ["x"]}',
        b'{"choices": [{}], "output": []}',
        b'{"choices": [{"message": null}], "output": [{"type": "message", "content": null}]}',
        b'{"choices": [{"message": {"content": null}}], "output": [{"type": "message", "content": [3]}]}',
        b'{"choices": [{"message": {"tool_calls": "x"}}], "output": [4]}',
        b'{"choices": [{"message": {"content": "a"}, "finish_reason": "odd"}], "output": [], "status": "queued"}',
        b'{"choices": [{"message": {"content": "a"}, "finish_reason": 7}], "output": [], "status": []}',
        b'{"choices": [{"message": {"tool_calls": [1]}}], "status": "failed", "output": []}',
        b"\xff\xfe\x00\x00",
        b"[" * 100_000,
    ],
    ids=lambda body: body[:40].decode("latin-1"),
)
async def test_a_success_that_is_none(openai_server, api, stream, body):
    answer = sends(body, content_type="text/html" if body is HTML else None)
    error = await failure_of(openai_server, answer, api=api, stream=stream)
    assert type(error) is ModelReplyInvalid
    assert error.retryable is (body is not HTML)


async def test_an_error_dressed_as_a_success_keeps_its_meaning(openai_server):
    limited = await failure_of(openai_server, sends({"error": {"code": 429, "message": "slow"}}))
    assert (type(limited), limited.retryable, limited.status_code) == (ModelUnavailable, True, 429)
    spent = await failure_of(openai_server, sends({"error": {"code": "insufficient_quota", "message": "no"}}))
    assert (type(spent), spent.retryable) == (ModelRefused, False)


async def test_a_failed_response_says_why(openai_server):
    body = {"status": "failed", "output": [], "error": {"code": "server_error", "message": "it broke"}}
    event = f"data: {json.dumps({'type': 'response.failed', 'response': body})}\n\n".encode()
    streamed = sends(event, content_type="text/event-stream")
    for answer, stream in ((sends(body), False), (streamed, True)):
        error = await failure_of(openai_server, answer, api="responses", stream=stream)
        assert "server_error it broke" in str(error)


@BOTH_WIRES
@BOTH_WAYS
@pytest.mark.parametrize("fault", ["reset", "close"])
async def test_a_connection_that_ends_before_the_answer(openai_server, api, stream, fault):
    error = await failure_of(openai_server, Answer(fault=fault), api=api, stream=stream)
    assert (type(error), error.retryable, error.status_code) == (ModelUnavailable, True, None)


async def test_a_refused_connection(openai_server):
    server = openai_server(())
    server.stop()
    model = OpenAIModel("gpt-test", base_url=server.url, api_key=KEY)
    with pytest.raises(ModelUnavailable, match="whether the service runs") as caught:
        await model.reply(request(), lambda delta: None)
    assert caught.value.retryable


@BOTH_WIRES
async def test_a_body_cut_short_is_a_broken_connection(openai_server, api):
    error = await failure_of(openai_server, says("hello", cut_after=40), api=api)
    assert (type(error), error.retryable) == (ModelUnavailable, True)


@BOTH_WIRES
async def test_a_stream_cut_on_the_network_is_a_broken_connection(openai_server, api):
    error = await failure_of(openai_server, says("hello" * 20, cut_after=400), api=api, stream=True)
    assert (type(error), error.retryable) == (ModelUnavailable, True)


@BOTH_WIRES
async def test_a_stream_that_just_ends_was_cut(openai_server, api):
    answer = says("hello", without=("finish_reason", "done", "usage"))
    error = await failure_of(openai_server, answer, api=api, stream=True)
    assert (type(error), error.retryable) == (ModelReplyInvalid, True)
    assert "cut its reply short" in str(error)


async def test_done_without_a_reason_and_a_reason_without_done_are_whole(openai_server):
    for missing in ("finish_reason", "done"):
        server = openai_server(says("hello", without=(missing,)))
        model = OpenAIModel("gpt-test", base_url=server.url, api_key=KEY)
        assert (await model.reply(request(True), lambda delta: None)).text == "hello"


@BOTH_WIRES
@pytest.mark.parametrize(
    ("answer", "stream"),
    [
        (Answer(fault="silent"), False),
        (says("hello", stall_after=0), False),
        (says("hello", stall_after=20), False),
        (says("hello" * 100, drip_seconds=0.05), False),
        (says("hello", stall_after=0), True),
        (says("hello" * 20, stall_after=500), True),
        (says("hello", comments=True), True),
        (says("hello" * 100, drip_seconds=0.02), True),
        (fails(500, "x" * 400, drip_seconds=0.05), False),
    ],
    ids=[
        "silent",
        "headers",
        "part",
        "dripped",
        "sse-headers",
        "sse-part",
        "sse-comments",
        "sse-dripped",
        "error",
    ],
)
async def test_silence_ends_at_the_idle_limit(openai_server, api, answer, stream):
    server = openai_server(answer)
    model = OpenAIModel("gpt-test", base_url=server.url, api_key=KEY, api=api)
    with temporary_settings(idle_timeout_seconds=0.4):
        began = time.monotonic()
        with pytest.raises(ModelUnavailable, match=r"sent no data for 0\.4 seconds") as caught:
            await model.reply(request(stream), lambda delta: None)
        took = time.monotonic() - began
    assert caught.value.retryable
    assert 0.4 <= took < 2.0
    assert server.wait_for_connections(0, 1)


async def test_a_slow_stream_with_data_is_not_idle(openai_server):
    server = openai_server(says("hello", piece_characters=5, drip_seconds=0.002))
    model = OpenAIModel("gpt-test", base_url=server.url, api_key=KEY)
    with temporary_settings(idle_timeout_seconds=1.0):
        began = time.monotonic()
        assert (await model.reply(request(True), lambda delta: None)).text == "hello"
    assert time.monotonic() - began > 1.0


@BOTH_WIRES
@pytest.mark.parametrize(
    ("answer", "stream"),
    [
        (says("hello", delay_seconds=60), False),
        (says("hello", stall_after=10), False),
        (says("hello" * 50, stall_after=500), True),
        (says("hello", comments=True), True),
    ],
    ids=["before-headers", "in-body", "in-stream", "comments"],
)
async def test_cancel_closes_the_connection_at_once(openai_server, api, answer, stream):
    server = openai_server(answer)
    model = OpenAIModel("gpt-test", base_url=server.url, api_key=KEY, api=api)
    tasks = [asyncio.create_task(model.reply(request(stream), lambda delta: None)) for _ in range(20)]
    assert await asyncio.to_thread(server.wait_for_sends, 20, 20)
    for task in tasks:
        task.cancel()
    began = time.monotonic()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(result, asyncio.CancelledError) for result in results)
    assert await asyncio.to_thread(server.wait_for_connections, 0, 5)
    assert time.monotonic() - began < 1.0  # 0.5 s on a machine that does nothing else
    server.script = says("again")
    assert (await model.reply(request(), lambda delta: None)).text == "again"


HUGE = 17 * 2**20


@pytest.mark.parametrize(
    "answer",
    [
        sends(b'{"choices": [{"message": {"content": "' + b"x" * HUGE),
        sends(gzip.compress(b" " * (8 * HUGE)), headers={"Content-Encoding": "gzip"}),
        sends(b"data: " + b"x" * HUGE, content_type="text/event-stream"),
        sends(
            (b'data: {"choices": [{"delta": {"content": "' + b"x" * 2**20 + b'"}}]}\n\n') * 17,
            content_type="text/event-stream",
        ),
    ],
    ids=["plain", "packed", "one-event", "many-events"],
)
async def test_a_reply_beyond_16_mib_is_refused(openai_server, answer):
    error = await failure_of(openai_server, answer.but(piece_bytes=2**18))
    assert (type(error), error.retryable) == (ModelReplyInvalid, False)
    assert "more than 16 MiB" in str(error)


async def test_a_huge_error_page_is_not_read_to_its_end(openai_server):
    error = await failure_of(openai_server, sends(b"x" * HUGE, status=500, piece_bytes=2**18))
    assert (type(error), error.status_code) == (ModelUnavailable, 500)


async def test_packed_replies_are_unpacked_and_unknown_packing_refused(openai_server):
    body = json.dumps({"choices": [{"message": {"content": "hello"}, "finish_reason": "stop"}]}).encode()
    server = openai_server([sends(gzip.compress(body), headers={"Content-Encoding": "gzip"}), says("next")])
    model = OpenAIModel("gpt-test", base_url=server.url, api_key=KEY)
    assert (await model.reply(request(), lambda delta: None)).text == "hello"
    assert server.requests[0].headers["accept-encoding"] == "identity"
    error = await failure_of(openai_server, sends(body, headers={"Content-Encoding": "br"}))
    assert "not asked for" in str(error)


@BOTH_WIRES
async def test_malformed_json_as_a_body(openai_server, api):
    server = openai_server(())
    model = OpenAIModel("gpt-test", base_url=server.url, api_key=KEY, api=api)
    server.script = lambda got: sends(MALFORMED[len(server.requests) - 1][1])
    for name, _ in MALFORMED:
        with pytest.raises(ModelReplyInvalid) as caught:
            await model.reply(request(), lambda delta: None)
        assert caught.value.__context__ is None, name


@BOTH_WIRES
async def test_malformed_json_as_an_event(openai_server, api):
    server = openai_server(())
    model = OpenAIModel("gpt-test", base_url=server.url, api_key=KEY, api=api)

    def event(got):
        return sends(
            b"data: " + MALFORMED[len(server.requests) - 1][1] + b"\n\n", content_type="text/event-stream"
        )

    server.script = event
    for _ in MALFORMED:
        with pytest.raises(ModelReplyInvalid):
            await model.reply(request(stream=True), lambda delta: None)


@BOTH_WIRES
@BOTH_WAYS
async def test_malformed_json_as_arguments_is_handed_on_as_text(openai_server, api, stream):
    server = openai_server(())
    model = OpenAIModel("gpt-test", base_url=server.url, api_key=KEY, api=api)
    texts = [raw.decode("utf-8", "replace") for _, raw in MALFORMED if len(raw) < 10_000]
    server.script = lambda got: asks("search", texts[len(server.requests) - 1], piece_characters=50)
    for text in texts:
        reply = await model.reply(request(stream=stream), lambda delta: None)
        assert reply.tool_calls[0].arguments == (text if text.strip() else "{}")
        following = ModelRequest(messages=(SystemMessage(text="s"), reply.message()))
        server.script, script = says("ok"), server.script
        assert (await model.reply(following, lambda delta: None)).text == "ok"
        sent = server.requests.pop().body
        if api == "chat":
            assert isinstance(json.loads(sent["messages"][1]["tool_calls"][0]["function"]["arguments"]), dict)
        server.script = script
