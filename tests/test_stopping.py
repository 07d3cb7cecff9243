"""Stopping a run: by anybody at any moment, by its time limit or an error, and with nothing left behind."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from typing import Any

import pytest
from helping import (
    at_every_start,
    event_types,
    eventually,
    one_tool_task,
    open_files,
    tasks_on_the_loop,
    tool_threads,
    waiting_for_ever,
)

from aesop_nb import (
    LimitExceeded,
    Run,
    Status,
    Task,
    TaskCancelled,
    TaskConfig,
    TaskFailed,
)
from aesop_nb import events as ev
from aesop_nb.errors import RunStateError
from aesop_nb.testing import ScriptedModel, call

# Cancelling -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("twice", [False, True])
def test_a_run_is_cancelled_from_another_thread_within_a_tenth_of_a_second(twice: bool) -> None:
    run = waiting_for_ever().start()
    assert eventually(lambda: run.current_action == "thinking")
    thread = threading.Thread(target=lambda: [run.cancel("enough") for _ in range(1 + twice)])
    begun = time.monotonic()
    thread.start()
    with pytest.raises(TaskCancelled, match=r"wait was cancelled .enough.; kept 0 steps") as caught:
        run.wait(2)
    assert time.monotonic() - begun < 0.2
    assert caught.value.run is run
    assert run.error is caught.value
    assert event_types(run)[-3:] == ["cancel_requested", "send_failed", "run_cancelled"]
    assert run.usage.requests == 1
    run.cancel()
    thread.join()
    assert event_types(run).count("run_cancelled") == event_types(run).count("cancel_requested") == 1


def test_cancelling_from_many_threads_at_once_ends_the_run_once() -> None:
    run = waiting_for_ever().start()
    threads = [threading.Thread(target=run.cancel) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    run.wait_for_end(2)
    assert event_types(run).count("run_cancelled") == 1


def test_a_run_cancelled_before_its_first_step_calls_no_model() -> None:
    for _ in range(20):
        model = ScriptedModel("x")
        run = Task("Say x", model=model).start()
        run.cancel()
        run.wait_for_end(2)
        if run.status == "cancelled":
            assert event_types(run)[-1] == "run_cancelled"
    model = ScriptedModel("x")
    with at_every_start(lambda run: run.cancel()):
        run = Task("Say x", model=model).start()
    with pytest.raises(TaskCancelled):
        run.wait(2)
    assert model.requests == []
    assert event_types(run) == ["run_created", "cancel_requested", "run_cancelled"]


def test_a_handler_may_cancel_its_own_run() -> None:
    with at_every_start(lambda run: run.on("tool_returned", lambda event: run.cancel("seen enough"))):
        task = one_tool_task()
        with pytest.raises(TaskCancelled, match=r"seen enough.; kept 1 step"):
            task.run()


def test_a_cancelled_async_tool_gets_the_cancellation() -> None:
    got: list[str] = []

    async def hang() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            got.append("cancelled")
            raise

    run = Task("Hang", tools=[hang], model=ScriptedModel(call("hang"))).start()
    assert eventually(lambda: run.current_action == "calling hang")
    run.cancel()
    run.wait_for_end(2)
    assert got == ["cancelled"]
    assert [step.state for step in run.log.steps] == ["failed"]


@pytest.mark.parametrize("calls", [1, 2])
def test_a_tool_that_hangs_and_swallows_the_cancellation_is_left_behind(calls: int) -> None:
    release = asyncio.Event()

    async def stubborn() -> str:
        while not release.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await release.wait()
        return "late"

    model = ScriptedModel([call("stubborn")] * calls, "after the end")
    run = Task("Hang", tools=[stubborn], model=model).start()
    assert eventually(lambda: run.current_action.startswith("calling stubborn"))
    begun = time.monotonic()
    run.cancel()
    with pytest.raises(TaskCancelled):
        run.wait(2)
    assert time.monotonic() - begun < 0.25
    count = len(run.events)
    body = next(task for task in tasks_on_the_loop() if task.get_name() == f"aesop {run.id}")
    body.get_loop().call_soon_threadsafe(release.set)
    assert eventually(body.done)
    assert len(run.events) == count
    assert len(model.requests) == 1


def test_a_run_that_was_stopped_sends_nothing_more_when_a_tool_swallows_the_cancellation() -> None:
    async def shrug() -> str:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        return "I went on"

    model = ScriptedModel(call("shrug"), *[call("shrug")] * 5)
    run = Task("Hang", tools=[shrug], model=model).start()
    assert eventually(lambda: run.current_action == "calling shrug")
    run.cancel()
    with pytest.raises(TaskCancelled):
        run.wait(2)
    threading.Event().wait(0.1)
    assert len(model.requests) == 1


def test_a_sync_tool_that_cannot_be_stopped_is_named_and_its_late_value_is_dropped() -> None:
    release, ended = threading.Event(), threading.Event()

    def sleepy() -> str:
        release.wait(5)
        ended.set()
        return "late"

    run = Task("Sleep", tools=[sleepy], model=ScriptedModel(call("sleepy"))).start()
    assert eventually(lambda: run.current_action == "calling sleepy")
    run.cancel()
    run.wait_for_end(2)
    final = run.events[-1]
    assert isinstance(final, ev.RunCancelled)
    assert final.pending_tools == ["sleepy"]
    count = len(run.events)
    release.set()
    assert ended.wait(2)
    assert eventually(lambda: not tool_threads())
    assert len(run.events) == count


def test_two_hundred_runs_cancelled_at_once_leave_nothing_behind() -> None:
    one_tool_task().run()
    threads, tasks, files = threading.active_count(), len(tasks_on_the_loop()), open_files()
    runs = [waiting_for_ever().start() for _ in range(200)]
    assert eventually(lambda: all(run.status == "running" for run in runs), within_seconds=5)
    begun = time.monotonic()
    for run in runs:
        run.cancel()
    for run in runs:
        run.wait_for_end(5)
    assert time.monotonic() - begun < 2
    assert {run.status for run in runs} == {Status.CANCELLED}
    assert eventually(lambda: len(tasks_on_the_loop()) == tasks)
    assert eventually(lambda: threading.active_count() <= threads)
    assert eventually(lambda: open_files() <= files)


def test_a_hundred_runs_out_of_time_leave_nothing_behind() -> None:
    def nap() -> None:
        time.sleep(0.3)

    async def rest() -> None:
        await asyncio.sleep(60)

    one_tool_task().run()
    threads, tasks = threading.active_count(), len(tasks_on_the_loop())
    config = TaskConfig(max_duration_seconds=0.1)
    runs = [
        Task(
            "Nap", tools=[nap, rest], config=config, model=ScriptedModel([call("nap"), call("rest")])
        ).start()
        for _ in range(100)
    ]
    for run in runs:
        run.wait_for_end(5)
    assert {run.log.error.limit for run in runs if isinstance(run.log.error, ev.RunFailed)} == {
        "max_duration_seconds"
    }
    assert eventually(lambda: threading.active_count() <= threads, within_seconds=3)
    assert eventually(lambda: len(tasks_on_the_loop()) == tasks)


# The clock --------------------------------------------------------------------------------------------


def assert_out_of_time(task: Task[Any], limit_seconds: float) -> Run[Any]:
    begun = time.monotonic()
    with pytest.raises(LimitExceeded, match="max_duration_seconds") as caught:
        task.run()
    assert limit_seconds <= time.monotonic() - begun < limit_seconds + 0.4
    assert caught.value.limit == "max_duration_seconds"
    run = caught.value.run
    assert run is not None
    assert isinstance(run.events[-1], ev.RunFailed)
    assert run.events[-1].limit == "max_duration_seconds"
    return run


def test_an_async_tool_is_cancelled_at_the_time_limit() -> None:
    got: list[str] = []

    async def rest() -> None:
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            got.append("cancelled")
            raise

    config = TaskConfig(max_duration_seconds=0.2)
    assert_out_of_time(Task("Rest", tools=[rest], config=config, model=ScriptedModel(call("rest"))), 0.2)
    assert got == ["cancelled"]


def test_a_sync_tool_is_left_behind_at_the_time_limit() -> None:
    release = threading.Event()

    def sleepy() -> str:
        release.wait(5)
        return "late"

    config = TaskConfig(max_duration_seconds=0.2)
    task = Task("Sleep", tools=[sleepy], config=config, model=ScriptedModel(call("sleepy")))
    run = assert_out_of_time(task, 0.2)
    assert "Still working: sleepy" in str(run.error)
    assert isinstance(run.events[-1], ev.RunFailed)
    assert run.events[-1].pending_tools == ["sleepy"]
    assert tool_threads() == ["aesop-tool sleepy"]
    count = len(run.events)
    release.set()
    assert eventually(lambda: not tool_threads())
    assert len(run.events) == count


def test_the_time_limit_covers_the_model_and_the_wait_for_a_place() -> None:
    config = TaskConfig(max_duration_seconds=0.2)
    assert_out_of_time(waiting_for_ever(config=config), 0.2)
    slow = TaskConfig(max_duration_seconds=0.2, requests_per_second=0.1)
    model = ScriptedModel("hm", "hm", name="slow one")
    assert_out_of_time(Task("Count", result_type=int, config=slow, model=model), 0.2)
    assert len(model.requests) == 1


def test_the_time_limit_does_not_count_the_time_a_person_takes() -> None:
    task = Task(
        "Ask",
        user_access=True,
        config=TaskConfig(max_duration_seconds=0.2),
        model=ScriptedModel(call("talk_to_user", question="Which?"), "thanks"),
    )

    def slow_answer(question: str) -> str:
        time.sleep(0.4)
        return "this one"

    assert task.run(answers=slow_answer) == "thanks"
    assert task.runs[0].log.asked_seconds >= 0.4


def test_the_clock_is_monotonic(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 0.0)
    config = TaskConfig(max_duration_seconds=0.2)
    assert_out_of_time(waiting_for_ever(config=config), 0.2)


# Errors that nobody expects ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error", [ValueError("boom"), SystemExit(3), KeyboardInterrupt("boom"), asyncio.CancelledError("boom")]
)
def test_whatever_a_model_raises_ends_the_run_and_only_that_run(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    run = Task("Break", name="break_it", model=ScriptedModel(error)).start()
    run.wait_for_end(2)
    assert run.status.is_final
    assert run.status != "completed"
    assert one_tool_task().start().wait(2) == 8


@pytest.mark.parametrize("error", [ValueError("boom"), SystemExit(3), KeyboardInterrupt("boom")])
def test_whatever_a_validator_raises_ends_at_most_its_run(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(value: str) -> str:
        raise error

    task = Task("Break", result_validator=broken, model=ScriptedModel(*["x"] * 5))
    run = task.start()
    run.wait_for_end(2)
    assert run.status == "failed"
    assert one_tool_task().start().wait(2) == 8


@pytest.mark.parametrize("error", [ValueError("boom"), SystemExit(3)])
def test_whatever_an_answers_function_raises_ends_only_its_run(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(question: str) -> str:
        raise error

    asks = [call("talk_to_user", question="a?"), call("talk_to_user", question="b?")]
    run = Task("Ask", user_access=True, model=ScriptedModel(asks)).start(answers=broken)
    run.wait_for_end(2)
    assert run.status == "failed"
    assert one_tool_task().start().wait(2) == 8


def test_an_unexpected_error_is_logged_and_chained(caplog: pytest.LogCaptureFixture) -> None:
    cause = ZeroDivisionError("by zero")
    task = Task("Break", name="break_it", model=ScriptedModel(cause))
    with pytest.raises(TaskFailed, match="break_it: ZeroDivisionError: by zero") as caught:
        task.run()
    assert caught.value.__cause__ is cause
    logged = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert any("Traceback" in text and "ZeroDivisionError: by zero" in text for text in logged)


def test_tools_that_hang_do_not_keep_later_ones_from_working() -> None:
    """More tools hang than there are places for threads; each run ends at its limit, and the next one works."""
    gate = threading.Event()

    def hang() -> None:
        gate.wait(30)

    limit = TaskConfig(max_duration_seconds=0.2)
    hanging = [
        Task("Hang", tools=[hang], model=ScriptedModel(call("hang")), config=limit).start() for _ in range(60)
    ]
    for run in hanging:
        with pytest.raises(LimitExceeded, match="max_duration_seconds"):
            run.wait(5)
    assert one_tool_task().run() is not None
    gate.set()
    assert eventually(lambda: not tool_threads())


def test_waiting_for_a_run_between_turns_says_what_goes_on_with_it() -> None:
    run = one_tool_task().run_once()
    with pytest.raises(RunStateError, match=r"task\.run\(\) goes on"):
        run.wait()
    run.cancel()
    with pytest.raises(TaskCancelled):
        run.wait(2)
