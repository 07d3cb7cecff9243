"""The figures we hold, as ratios where they are times: measured against a neighbour in the same run.

`pytest -m benchmark -s` prints them. Each figure is the best of several rounds, since a busy machine only adds.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator

import openai
import pytest
from openai_server import Answer, OpenAIServer, Request, asks

from aesop_nb import OpenAIModel, Task, settings, task, temporary_settings
from aesop_nb.store import default_store
from aesop_nb.testing import ScriptedModel, call, result

pytestmark = pytest.mark.benchmark

NOISE = 2
"""A shared machine makes the same code up to this much dearer; the goal is what a quiet one shows."""

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "mark_successful",
            "parameters": {"type": "object", "properties": {"result": {"type": "integer"}}},
        },
    }
]


def search(query: str) -> list[str]:
    """Searches."""
    return [query]


def seconds_to_import(module: str) -> float:
    code = f"import time; t = time.perf_counter(); import {module}; print(time.perf_counter() - t)"
    return float(subprocess.check_output([sys.executable, "-c", code]))


def cpu_milliseconds(function: Callable[[], object], times: int) -> float:
    began = time.process_time()
    for _ in range(times):
        function()
    return (time.process_time() - began) / times * 1000


def test_importing_costs_no_more_than_pydantic() -> None:
    ours, pydantic = (min(seconds_to_import(name) for _ in range(3)) for name in ("aesop_nb", "pydantic"))
    print(f"\nimport aesop_nb ÷ import pydantic: {ours / pydantic:.2f}")
    assert ours <= 1.3 * pydantic


def test_a_lazy_call_takes_less_than_10_ms() -> None:
    @task(lazy=True, tools=[search])
    def look_up(query: str) -> list[str]:
        """Looks it up."""
        raise NotImplementedError

    took = min(cpu_milliseconds(lambda: look_up("bakery"), 20) for _ in range(3))
    print(f"\na lazy call: {took:.2f} ms")
    assert took < 10


def test_a_scripted_task_with_one_tool_takes_less_than_5_ms() -> None:
    def run() -> None:
        model = ScriptedModel(call("search", query="bakery"), result(1))
        Task("Count", result_type=int, tools=[search], model=model).run()

    run()
    took = min(cpu_milliseconds(run, 50) for _ in range(5))
    print(f"\na scripted task with one tool: {took:.2f} ms of CPU")
    assert took < 5


def _answer(request: Request) -> Answer:
    names = {tool["function"]["name"] for tool in request.body["tools"]}
    if "search" in names and request.body["messages"][-1]["role"] != "tool":
        return asks("search", {"query": "bakery"})
    return asks("mark_successful", {"result": 42})


def _serve(urls: multiprocessing.Queue[str]) -> None:
    with OpenAIServer(_answer) as server:
        urls.put(server.url)
        time.sleep(600)


@pytest.fixture(scope="module")
def service_url() -> Iterator[str]:
    """The local service in a process of its own, so that its work is not counted as ours."""
    context = multiprocessing.get_context("spawn")
    urls = context.Queue()
    process = context.Process(target=_serve, args=(urls,), daemon=True)
    process.start()
    yield urls.get(timeout=30)
    process.kill()
    process.join()
    urls.close()


@pytest.mark.parametrize(("tools", "requests", "goal"), [([], 1, 1.0), ([search], 2, 0.8)])
def test_a_task_costs_little_more_than_its_bare_requests(
    service_url: str, tools: list[Callable[..., object]], requests: int, goal: float
) -> None:
    """Our whole engine, events included, against the raw client's `create`; the goal is for a quiet machine."""
    model = OpenAIModel("gpt-test", base_url=service_url, api_key="sk-test")

    def ours() -> None:
        assert Task("Answer", result_type=int, tools=tools, model=model).run() == 42

    with asyncio.Runner() as runner:
        client = openai.AsyncOpenAI(base_url=service_url, api_key="sk-test")

        def raw() -> None:
            for _ in range(requests):
                messages = [{"role": "user", "content": "Answer"}]
                create = client.chat.completions.create
                runner.run(create(model="gpt-test", messages=messages, tools=TOOLS))  # type: ignore[call-overload]

        ours(), raw()
        ratio = min(cpu_milliseconds(ours, 40) / cpu_milliseconds(raw, 40) for _ in range(5))
        runner.run(client.close())
    print(f"\na task of {requests} requests ÷ the raw client: {ratio:.2f} (goal {goal})")
    assert ratio <= goal * NOISE


@pytest.mark.parametrize(("store", "goal"), [("off", 0.6), ("on", 0.8)])
def test_64_tasks_at_once_cost_little_more_than_their_bare_requests(
    service_url: str, store: str, goal: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the store on, all that its thread does is counted, up to the last commit."""
    monkeypatch.setattr(settings, "store", store)
    model = OpenAIModel("gpt-test", base_url=service_url, api_key="sk-test")

    async def at_once(one: Callable[[], Awaitable[object]]) -> None:
        free = asyncio.Semaphore(64)

        async def next_one() -> None:
            async with free:
                await one()

        await asyncio.gather(*[next_one() for _ in range(256)])

    with asyncio.Runner() as runner:
        client = openai.AsyncOpenAI(base_url=service_url, api_key="sk-test")

        def ours() -> None:
            runner.run(at_once(Task("Answer", result_type=int, model=model).run_async))
            assert default_store().flush()

        def raw() -> None:
            messages = [{"role": "user", "content": "Answer"}]
            create = client.chat.completions.create
            runner.run(at_once(lambda: create(model="gpt-test", messages=messages, tools=TOOLS)))  # type: ignore[call-overload,return-value]

        ours(), raw()
        ratio = min(cpu_milliseconds(ours, 1) / cpu_milliseconds(raw, 1) for _ in range(5))
        runner.run(client.close())
    print(f"\n64 tasks at once, store {store} ÷ the raw client: {ratio:.2f} (goal {goal})")
    assert ratio <= goal * NOISE


def test_a_run_that_is_stored_costs_less_than_a_millisecond_more() -> None:
    def run() -> None:
        Task("Count", result_type=int, model=ScriptedModel(result(1))).run()

    def milliseconds(store: str) -> float:
        with temporary_settings(store=store):
            took = cpu_milliseconds(run, 100)
            began = time.process_time()
            assert default_store().flush()
            return took + (time.process_time() - began) * 10

    for store in ("off", "on"):
        milliseconds(store)
    off, on = (min(milliseconds(store) for _ in range(5)) for store in ("off", "on"))
    print(f"\na stored run: {on - off:.2f} ms of CPU more than {off:.2f} ms")
    assert on - off < 1 * NOISE
