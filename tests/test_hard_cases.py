"""What must hold when a person's own code, another thread, or an interrupt comes at the worst moment."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
import time
from typing import Any

import pytest
from helping import at_every_start, eventually, run_python

from aesop_nb import (
    Agent,
    LimitExceeded,
    RunInterrupted,
    Task,
    TaskCancelled,
    TaskConfig,
    TaskFailed,
    UsageError,
)
from aesop_nb.testing import ScriptedModel, call, failure, result

# The end is always written ----------------------------------------------------------------------------


class Unspeakable:
    """An object whose text cannot be had."""

    def __str__(self) -> str:
        raise SystemExit("no")

    __repr__ = __str__


def test_a_run_ends_even_if_its_end_cannot_be_written_down(monkeypatch: pytest.MonkeyPatch) -> None:
    task = Task("Count", result_type=int, model=ScriptedModel(result(1)))
    monkeypatch.setattr(type(task._result_type), "to_json", lambda *_: {}["gone"])
    with pytest.raises(TaskFailed, match=r"its end could not be written down \(KeyError\)"):
        task.start().wait(2)
    assert task.status == "failed"


def test_a_cancelled_error_raised_inside_a_run_is_a_failure_and_not_a_cancel() -> None:
    def check(value: int) -> int:
        raise asyncio.CancelledError

    task = Task("Count", result_type=int, result_validator=check, model=ScriptedModel(result(1)))
    with pytest.raises(TaskFailed, match="CancelledError"):
        task.start().wait(2)


def test_an_error_raised_many_times_does_not_grow() -> None:
    run = Task("Count", model=ScriptedModel(failure("no"))).start()
    lengths = []
    for _ in range(3):
        with pytest.raises(TaskFailed) as caught:
            run.wait(2)
        lengths.append(len(caught.traceback))
    assert lengths[0] == lengths[2]


# Validators are the person's code ---------------------------------------------------------------------


def test_a_slow_validator_holds_up_nobody_and_does_not_pass_the_time_limit() -> None:
    gate = threading.Event()

    def check(value: int) -> int:
        gate.wait(5)
        return value

    limit = TaskConfig(max_duration_seconds=0.3)
    slow = Task(
        "Count", result_type=int, result_validator=check, config=limit, model=ScriptedModel(result(1))
    )
    run = slow.start()
    began = time.monotonic()
    assert Task("Greet", model=ScriptedModel("hello")).start().wait(2) == "hello"
    assert time.monotonic() - began < 0.25
    with pytest.raises(LimitExceeded):
        run.wait(2)
    gate.set()


def test_a_validator_may_run_a_task_of_its_own() -> None:
    def judge(value: int) -> int:
        judged = Task("Judge it", result_type=bool, model=ScriptedModel(result(True))).run()
        return value + judged

    task = Task("Count", result_type=int, result_validator=judge, model=ScriptedModel(result(1)))
    assert task.start().wait(2) == 2


# Tasks before and around a task ------------------------------------------------------------------------


def test_a_task_before_that_is_in_its_only_turn_goes_on_afterwards() -> None:
    gate = threading.Event()

    def look() -> str:
        gate.wait(5)
        return "seen"

    first = Task("Look", tools=[look], model=ScriptedModel(call("look"), result("seen")))
    turn = threading.Thread(target=first.run_once)
    turn.start()
    assert eventually(lambda: bool(first.runs) and first.runs[0].current_action == "calling look")
    use = Task("Use it", context={"seen": first}, model=ScriptedModel("used")).start()
    gate.set()
    turn.join()
    assert use.wait(2) == "used"


def test_a_task_before_lives_on_while_somebody_needs_it_and_ends_when_nobody_does() -> None:
    gate = threading.Event()

    def look() -> str:
        gate.wait(5)
        return "seen"

    first = Task("Look", tools=[look], model=ScriptedModel(call("look"), result("seen")))
    uses = [
        Task(f"Use it {n}", context={"seen": first}, model=ScriptedModel("used")).start() for n in range(2)
    ]
    assert eventually(lambda: len(first.runs) == 1 and first.runs[0].needed_by == 2)
    uses[0].cancel()
    with pytest.raises(TaskCancelled):
        uses[0].wait(2)
    assert first.status == "running"
    uses[1].cancel()
    assert eventually(lambda: first.status == "cancelled")
    gate.set()


def test_a_busy_agent_may_do_a_task_inside_its_own_turn() -> None:
    agent = Agent(name="solo", max_concurrent=1)

    def ask_yourself() -> str:
        return Task("Inner", agents=agent, model=ScriptedModel("inner")).run()

    script = ScriptedModel(call("ask_yourself"), result("outer"))
    task = Task("Outer", agents=agent, tools=[ask_yourself], model=script)
    assert task.start().wait(2) == "outer"
    assert agent.is_free


def test_the_clock_of_a_task_stands_still_while_a_task_inside_it_asks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("aesop_nb.tasks.find_audience", lambda: "widget")
    inner = Task(
        "Inner",
        user_access=True,
        model=ScriptedModel(call("talk_to_user", question="Well?"), result("asked")),
    )

    def ask() -> str:
        return inner.run()

    limit = TaskConfig(max_duration_seconds=0.4)
    outer = Task("Outer", tools=[ask], config=limit, model=ScriptedModel(call("ask"), result("done"))).start()
    assert eventually(lambda: bool(inner.runs) and inner.runs[0].question == "Well?")
    time.sleep(0.6)  # longer than the outer limit: the very thing that is measured
    inner.runs[0].answer("yes")
    assert outer.wait(2) == "done"


# Two threads, and interrupts --------------------------------------------------------------------------


def test_two_threads_never_drive_one_run() -> None:
    """Both take a turn; each gets a run that stands or has ended, and no caller is left waiting."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(30):
            task = _two_turns()
            task.run_once()
            threads = [threading.Thread(target=task.run_once) for _ in range(2)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(5)
            assert not any(thread.is_alive() for thread in threads)
            for run in task.runs:
                turns = [event.type for event in run.events if event.type in ("turn_started", "turn_ended")]
                assert turns[:-1:2] == ["turn_started"] * len(turns[:-1:2])
                run.cancel()
    finally:
        sys.setswitchinterval(interval)


def _two_turns() -> Task[Any]:
    def look() -> str:
        return "seen"

    endless = [call("look") for _ in range(6)]
    return Task("Look", tools=[look], model=ScriptedModel(*endless))


def test_an_interrupt_while_a_run_begins_cancels_it() -> None:
    task = Task("Wait", model=ScriptedModel("late", delay_seconds=30))
    with (
        at_every_start(lambda run: signal.raise_signal(signal.SIGINT)),
        pytest.raises(RunInterrupted) as caught,
    ):
        task.run()
    assert caught.value.run is task.runs[0]
    assert eventually(lambda: task.status == "cancelled")


def test_answers_for_a_run_that_goes_on_are_refused_and_not_ignored() -> None:
    task = _two_turns()
    task.run_once()
    with pytest.raises(UsageError, match="answers= can only be given when one begins"):
        task.run(answers=["yes"])
    task.cancel()


def test_an_answer_that_has_no_text_raises_at_the_caller() -> None:
    run = Task("Wait", model=ScriptedModel("late", delay_seconds=30)).start()
    with pytest.raises(SystemExit):
        run.answer(Unspeakable())  # type: ignore[arg-type]
    run.cancel()


def test_a_cancel_after_the_result_does_not_take_it_away() -> None:
    task = Task("Count", result_type=int, model=ScriptedModel(result(1)))
    with at_every_start(lambda run: run.on("turn_ended", lambda event: run.cancel())):
        assert task.start().wait(2) == 1


# Words of unbounded size --------------------------------------------------------------------------------


def test_what_a_model_says_on_giving_up_is_bounded() -> None:
    run = Task("Count", model=ScriptedModel(failure("x" * 1_000_000))).start()
    with pytest.raises(TaskFailed) as caught:
        run.wait(2)
    assert len(str(caught.value)) < 10_000


def test_a_huge_name_of_no_tool_is_bounded() -> None:
    model = ScriptedModel(call("x" * 1_000_000), "done")
    run = Task("Count", model=model).start()
    assert run.wait(2) == "done"
    assert len(model.requests[1].messages[-1].text) < 10_000


# The rate of requests ----------------------------------------------------------------------------------


def test_a_run_that_is_cancelled_while_it_waits_takes_no_place_from_the_next() -> None:
    model = ScriptedModel(lambda request: "done", *["done"] * 3, name="paced")
    limit = TaskConfig(requests_per_second=2)
    began = time.monotonic()
    Task("One", config=limit, model=model).run()
    waiting = [Task("Two", config=limit, model=model).start() for _ in range(8)]
    for run in waiting:
        run.cancel()
    for run in waiting:
        run.wait_for_end(2)
    Task("Three", config=limit, model=model).run()
    assert time.monotonic() - began < 1.0


# A plain script ------------------------------------------------------------------------------------------


def test_a_rehearsal_in_a_script_says_so_once_on_stderr() -> None:
    code = "from aesop_nb import Task\nfor _ in range(2): print(Task('Count', result_type=int).run())"
    ran = run_python(code)
    assert ran.stdout == "0\n0\n"
    assert ran.stderr.count("this is a rehearsal") == 1
    assert "OPENAI_API_KEY" in ran.stderr
