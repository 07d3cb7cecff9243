"""Whole tasks against a local OpenAI-compatible service, through the real client."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator

import pandas as pd
import pytest
from openai_server import Answer, Call, OpenAIServer, Script, asks, fails, says
from pydantic import BaseModel

from aesop_nb import (
    LimitExceeded,
    ModelError,
    OpenAIModel,
    Task,
    TaskConfig,
    on_run_start,
    temporary_settings,
)

Serve = Callable[[Script], OpenAIServer]
WIRES = pytest.mark.parametrize("api", ["chat", "responses"])


class Bakery(BaseModel):
    name: str
    founded: int | None = None


def search(query: str) -> list[str]:
    """Searches the register."""
    return [f"{query} one", f"{query} two"]


def model(server: OpenAIServer, api: str = "chat") -> OpenAIModel:
    return OpenAIModel("gpt-test", base_url=server.url, api_key="sk-sentinel-0123456789", api=api)


@contextlib.contextmanager
def watching(handler: Callable[[object], None]) -> Iterator[None]:
    """Has the replies of the runs started inside the block streamed, as a view does."""
    stop = on_run_start(lambda run: run.on("text_streamed", handler))
    try:
        yield
    finally:
        stop()


@WIRES
def test_plain_text_is_a_text_result(openai_server: Serve, api: str) -> None:
    server = openai_server([says("Hello.")])
    assert Task("Greet", model=model(server, api)).run() == "Hello."
    assert server.sends == 1


@WIRES
def test_tool_calls_and_a_typed_result(openai_server: Serve, api: str) -> None:
    rows = [{"name": "Paul", "founded": 1889}, {"name": "Poilâne"}]
    script = [asks("search", {"query": "bakery"}), asks("mark_successful", {"result": rows})]
    server = openai_server(script)
    task = Task("Find bakeries", result_type=list[Bakery], tools=[search], model=model(server, api))
    assert task.run() == [Bakery(name="Paul", founded=1889), Bakery(name="Poilâne")]
    run = task.runs[-1]
    assert run.usage.requests == server.sends == 2
    assert (run.usage.input_tokens, run.usage.output_tokens) == (22, 14)
    assert "bakery two" in server.requests[1].raw.decode()
    assert list(run.frame.dtypes.astype(str))[1] == "Int64"
    assert pd.isna(run.frame.founded[1])


@WIRES
def test_text_and_calls_are_streamed_over_all_turns(openai_server: Serve, api: str) -> None:
    first = Answer(
        text="I look it up first.", calls=(Call(tool="search", arguments={"query": "ü€😀"}),), piece_bytes=3
    )
    server = openai_server([first, says("There are two of them.")])
    heard: list[object] = []
    task = Task("Find bakeries", tools=[search], model=model(server, api))
    with watching(heard.append):
        run = task.start()
    assert run.wait() == "There are two of them."
    streamed = dict.fromkeys((1, 2), "")
    for event in run.events:
        if event.type == "text_streamed":
            streamed[event.turn] += event.text
    assert streamed == {1: "I look it up first.", 2: "There are two of them."}
    calls = [event for event in run.events if event.type == "tool_call_streamed"]
    assert "".join(event.tool for event in calls) == "search"
    assert json.loads("".join(event.arguments for event in calls)) == {"query": "ü€😀"}
    assert heard == [event for event in run.events if event.type == "text_streamed"]


def test_401_is_sent_once_and_names_what_to_check(openai_server: Serve) -> None:
    server = openai_server([fails(401, "bad key sk-sentinel-0123456789")])
    task = Task("Greet", model=model(server))
    with pytest.raises(ModelError, match=r"OPENAI_API_KEY|api_key") as caught:
        task.run()
    assert server.sends == 1
    assert "sk-sentinel" not in str(caught.value) + repr(task.runs[-1].events)
    assert caught.value.run is task.runs[-1]


def test_429_twice_then_success_is_three_sends(openai_server: Serve) -> None:
    server = openai_server([fails(429), fails(429), says("Hello.")])
    task = Task("Greet", model=model(server), config=TaskConfig(retry_delay_seconds=0.01))
    assert task.run() == "Hello."
    assert task.runs[-1].usage.requests == server.sends == 3


def test_retry_after_is_obeyed(openai_server: Serve) -> None:
    server = openai_server([fails(429, headers={"retry-after": "1"}), says("Hello.")])
    Task("Greet", model=model(server), config=TaskConfig(retry_delay_seconds=0.01)).run()
    assert 1.0 <= server.requests[1].at - server.requests[0].at <= 2.0


def test_500_for_ever_fails_after_three_sends(openai_server: Serve) -> None:
    server = openai_server(lambda request: fails(500, "it broke"))
    task = Task("Greet", model=model(server), config=TaskConfig(retry_delay_seconds=0.01))
    with pytest.raises(ModelError, match="500"):
        task.run()
    assert task.runs[-1].usage.requests == server.sends == 3
    assert [event.type for event in task.runs[-1].events].count("send_failed") == 3


def test_a_stalled_stream_fails_at_the_idle_limit(openai_server: Serve) -> None:
    server = openai_server(lambda request: says("Hello there.").but(stall_after=60))
    task = Task("Greet", model=model(server), config=TaskConfig(max_retries=0))
    with temporary_settings(idle_timeout_seconds=0.3), watching(lambda event: None):
        began = time.monotonic()
        with pytest.raises(ModelError):
            task.run()
        assert time.monotonic() - began < 0.8


def test_the_time_limit_holds_while_the_service_is_silent(openai_server: Serve) -> None:
    server = openai_server(lambda request: Answer(fault="silent"))
    began = time.monotonic()
    with pytest.raises(LimitExceeded, match="max_duration_seconds"):
        Task("Greet", model=model(server), config=TaskConfig(max_duration_seconds=0.5)).run()
    assert time.monotonic() - began < 0.75
    assert server.wait_for_connections(0)


def test_cancel_closes_the_connection(openai_server: Serve) -> None:
    server = openai_server(lambda request: Answer(delay_seconds=30))
    run = Task("Greet", model=model(server)).start()
    assert server.wait_for_sends(1)
    began = time.monotonic()
    run.cancel()
    run.wait_for_end()
    assert run.status == "cancelled"
    assert time.monotonic() - began < 0.1
    assert server.wait_for_connections(0, 0.5)


@WIRES
def test_a_refusal_is_a_failure_in_the_models_own_words(openai_server: Serve, api: str) -> None:
    server = openai_server([Answer(text=None, refusal="I will not write that.")])
    with pytest.raises(ModelError, match=r"the model refused: I will not write that\."):
        Task("Write", model=model(server, api)).run()
    assert server.sends == 1


def test_rows_of_a_generator_tool_reach_the_model_once_and_whole(openai_server: Serve) -> None:
    def rows(count: int) -> Iterator[str]:
        """Gives rows."""
        yield from (f"row {number}" for number in range(count))

    server = openai_server([asks("rows", {"count": 3}), says("done")])
    task = Task("Read", tools=[rows], model=model(server))
    assert task.run() == "done"
    assert json.loads(server.requests[1].body["messages"][-1]["content"]) == ["row 0", "row 1", "row 2"]
    assert task.runs[-1].tool_calls_df()["output"][0] == '["row 0","row 1","row 2"]'
