"""Tasks inside the tools of other tasks: they end with their parents and do not block each other."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest
from helping import (
    double,
    eventually,
    last_text,
    tool_threads,
    waiting_for_ever,
)

from aesop_nb import (
    Task,
    TaskCancelled,
    TaskConfig,
)
from aesop_nb.testing import ScriptedModel, call

if TYPE_CHECKING:
    from aesop_nb.models.transcript import ModelRequest


def test_runs_started_by_a_tool_are_its_children_and_end_with_it() -> None:
    inner = waiting_for_ever()

    def ask_another() -> str:
        return inner.run()

    outer = Task("Delegate", tools=[ask_another], model=ScriptedModel(call("ask_another"))).start()
    assert eventually(lambda: inner.status == "running")
    child = inner.runs[0]
    assert outer.children == [child]
    assert child.log.created is not None
    assert child.log.created.parent_run_id == outer.id
    outer.cancel()
    outer.wait_for_end(2)
    child.wait_for_end(2)
    assert child.status == "cancelled"
    assert child.log.cancel_reason == f"its parent {outer.id} ended"
    assert eventually(lambda: not tool_threads())


def test_a_tool_left_behind_starts_no_more_tasks() -> None:
    release, ended = threading.Event(), threading.Event()
    model = ScriptedModel("spent for nobody")
    errors: list[BaseException] = []

    def late() -> None:
        release.wait(5)
        try:
            Task("Too late", model=model).run()
        except BaseException as exc:
            errors.append(exc)
        ended.set()

    run = Task("Delegate", tools=[late], model=ScriptedModel(call("late"))).start()
    assert eventually(lambda: run.current_action == "calling late")
    run.cancel()
    run.wait_for_end(2)
    release.set()
    assert ended.wait(3)
    assert [type(error) for error in errors] == [TaskCancelled]
    assert model.requests == []


def nested(depth: int, *, is_async: bool) -> Task[str]:
    if depth == 0:
        return Task("Bottom", model=ScriptedModel("bottom"))
    inner = nested(depth - 1, is_async=is_async)

    def deeper() -> str:
        return inner.run()

    async def deeper_async() -> str:
        return str(await inner.run_async())

    tool = deeper_async if is_async else deeper

    def pass_on(request: ModelRequest) -> str:
        return f"{depth}>{last_text(request)}"

    return Task(f"Level {depth}", tools=[tool], model=ScriptedModel(call(tool.__name__), pass_on))


@pytest.mark.parametrize("is_async", [False, True])
def test_tasks_nest_five_deep(is_async: bool) -> None:
    assert nested(5, is_async=is_async).start().wait(5) == "5>4>3>2>1>bottom"


def test_sixty_tools_at_once_that_run_tasks_with_tools_do_not_block_each_other() -> None:
    def inner(number: int) -> str:
        return Task("In", tools=[double], model=ScriptedModel(call("double", number=number), last_text)).run()

    model = ScriptedModel([call("inner", number=n) for n in range(60)], "done")
    run = Task("Out", tools=[inner], model=model).start()
    assert run.wait(20) == "done"
    assert sorted(int(step.output or "") for step in run.log.steps) == [2 * n for n in range(60)]


def test_sixty_sync_tools_that_await_tasks_on_loops_of_their_own_do_not_block_each_other() -> None:
    together = threading.Barrier(48, timeout=5)

    def inner(number: int) -> str:
        if number < 48:
            together.wait()
        task = Task("In", tools=[double], model=ScriptedModel(call("double", number=number), last_text))
        return str(asyncio.run(task.run_async()))

    model = ScriptedModel([call("inner", number=n) for n in range(60)], "done")
    run = Task("Out", tools=[inner], model=model, config=TaskConfig(max_duration_seconds=10)).start()
    assert run.wait(20) == "done"
    assert {step.state for step in run.log.steps} == {"done"}


def test_a_task_run_synchronously_in_an_async_tool_is_refused_before_anything_is_sent() -> None:
    inner = ScriptedModel("never")

    async def wrong() -> str:
        return Task("In", model=inner).run()

    async def wrong_once() -> str:
        return str(Task("In", model=inner).run_once())

    async def right() -> str:
        return str(await Task("In", model=ScriptedModel("inside")).run_async())

    model = ScriptedModel([call("wrong"), call("wrong_once"), call("right")], "done")
    task = Task("Out", tools=[wrong, wrong_once, right], model=model)
    assert task.run() == "done"
    told = [getattr(message, "text", "") for message in model.requests[1].messages[-3:]]
    assert "await task.run_async()" in told[0]
    assert "await task.run_async()" in told[1]
    assert told[2] == "inside"
    threading.Event().wait(0.05)
    assert inner.requests == []
