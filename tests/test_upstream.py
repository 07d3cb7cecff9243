"""Tasks before a task: they run first, their results take their place, and their failures are its own."""

from __future__ import annotations

import threading
from collections import namedtuple
from typing import Any

import pytest
from helping import event_types

from aesop_nb import (
    LimitExceeded,
    Task,
    TaskCancelled,
    TaskConfig,
    UpstreamFailed,
    UsageError,
    temporary_settings,
)
from aesop_nb.testing import ScriptedModel, call, failure, result


def test_a_task_is_ready_when_those_before_it_are_completed() -> None:
    first = Task("1", model=ScriptedModel("one"))
    second = Task("2", depends_on=[first], model=ScriptedModel("two"))
    assert first.is_ready
    assert not second.is_ready
    first.run()
    assert second.is_ready


def test_a_task_in_the_context_runs_first_and_its_result_takes_its_place() -> None:
    pair = namedtuple("pair", "left right")
    first = Task("Count", result_type=int, model=ScriptedModel(result(3)))
    model = ScriptedModel("done")
    context = {"plain": first, "deep": {"list": [first, (first, 1)], "pair": pair(first, 2)}, "other": "x"}
    task = Task("Use it", context=context, model=model)
    assert task.upstream == (first,)
    task.run()
    assert model.requests[0].context == {
        "plain": 3,
        "deep": {"list": [3, (3, 1)], "pair": pair(3, 2)},
        "other": "x",
    }
    assert len(first.runs) == 1
    assert task.context["plain"] is first


def test_a_completed_task_before_is_not_run_again() -> None:
    model = ScriptedModel(result(3))
    first = Task("Count", result_type=int, model=model)
    first.run()
    Task("Use it", context={"count": first}, model=ScriptedModel("done")).run()
    assert len(model.requests) == 1


def test_a_failed_task_before_runs_again() -> None:
    first = Task("Count", result_type=int, model=ScriptedModel(failure("no"), result(3)))
    first.run(raise_on_failure=False)
    assert Task("Use it", depends_on=[first], model=ScriptedModel("done")).run() == "done"
    assert len(first.runs) == 2


def test_a_task_before_that_stands_between_turns_goes_on() -> None:
    first = Task("Count", result_type=int, model=ScriptedModel("hm", result(3)))
    first.run_once()
    assert Task("Use it", depends_on=[first], model=ScriptedModel("done")).run() == "done"
    assert len(first.runs) == 1


def test_a_task_after_a_failed_one_fails_by_its_name_and_calls_no_model() -> None:
    model = ScriptedModel("done")
    first = Task("Count", name="count", model=ScriptedModel(failure("none left")))
    second = Task("Use it", name="use", depends_on=[first], model=model)
    with pytest.raises(UpstreamFailed, match=r"'count'.*none left"):
        second.run()
    assert (second.status, model.requests) == ("failed", [])
    assert event_types(second.runs[0]) == ["run_created", "run_started", "run_failed"]


def test_a_task_after_one_that_cannot_start_fails_and_does_not_hang() -> None:
    """A named model without a key is found out only when the task before is started, on the loop."""
    first = Task("Count", name="count", model="gpt-5-mini")
    run = Task("Use it", depends_on=[first], model=ScriptedModel("done")).start()
    with pytest.raises(UpstreamFailed, match=r"'count'.*key"):
        run.wait(2)
    assert event_types(run) == ["run_created", "run_started", "run_failed"]


def test_a_task_after_a_cancelled_one_fails() -> None:
    first = Task("Count", name="count", model=ScriptedModel("late", delay_seconds=30))
    run = Task("Use it", depends_on=[first], model=ScriptedModel("done")).start()
    while not first.runs:
        threading.Event().wait(0.005)
    first.cancel()
    with pytest.raises(UpstreamFailed, match=r"'count'.*cancelled"):
        run.wait(2)


def test_cancelling_one_task_leaves_a_shared_one_before_it_to_the_others() -> None:
    gate = threading.Event()
    first = Task(
        "Count", model=ScriptedModel(call("wait_for_gate"), result("three")), tools=[waits_for(gate)]
    )
    begun = first.start()
    uses = [
        Task(f"Use it {n}", context={"count": first}, model=ScriptedModel("done")).start() for n in (1, 2)
    ]
    uses[0].cancel()
    with pytest.raises(TaskCancelled):
        uses[0].wait(2)
    gate.set()
    assert uses[1].wait(2) == "done"
    assert begun.wait(2) == "three"


def waits_for(gate: threading.Event) -> Any:
    def wait_for_gate() -> None:
        gate.wait(5)

    return wait_for_gate


def test_inputs_that_contain_themselves_are_refused() -> None:
    inputs: dict[str, Any] = {}
    inputs["self"] = [inputs]
    with pytest.raises(UsageError, match="'Read' contain themselves"):
        Task("Read", context=inputs)


def test_tasks_that_wait_for_each_other_are_refused_by_name() -> None:
    first = Task("1", name="first")
    second = Task("2", name="second", depends_on=[first])
    first.depends_on = (second,)
    with pytest.raises(UsageError, match="'first' → 'second' → 'first'"):
        first.run()


def test_many_ways_to_one_task_are_looked_at_once() -> None:
    """Twenty layers of two tasks have a million ways from top to bottom."""
    layer: list[Task[Any]] = [Task("0", result_type=None, model=ScriptedModel(result())) for _ in range(2)]
    for _ in range(20):
        layer = [
            Task("n", result_type=None, depends_on=layer, model=ScriptedModel(result())) for _ in range(2)
        ]
    top = Task("top", depends_on=layer, model=ScriptedModel("done"))
    assert top.start().wait(2) == "done"


def test_tasks_before_run_at_the_same_time() -> None:
    meeting = threading.Barrier(2, timeout=2)

    def meet() -> None:
        meeting.wait()

    both = [Task(str(n), tools=[meet], model=ScriptedModel(call("meet"), "met")) for n in range(2)]
    assert Task("after", depends_on=both, model=ScriptedModel("done")).start().wait(3) == "done"
    assert [task.result for task in both] == ["met", "met"]


def test_limits_that_cannot_be_kept_are_refused() -> None:
    with pytest.raises(UsageError, match="max_cost_usd"):
        Task("Spend", config=TaskConfig(max_cost_usd=1), model=ScriptedModel("x")).start()


def test_the_time_limit_does_not_count_the_tasks_before() -> None:
    first = Task("slow", model=ScriptedModel("x", delay_seconds=0.3))
    config = TaskConfig(max_duration_seconds=0.2)
    assert Task("quick", depends_on=[first], config=config, model=ScriptedModel("y")).run() == "y"
    with pytest.raises(LimitExceeded):
        Task("slow", config=config, model=ScriptedModel("x", delay_seconds=1)).run()


def test_the_setting_names_the_model_where_nobody_does() -> None:
    model = ScriptedModel("x", name="from settings")
    with temporary_settings(model="rehearsal"):
        assert Task("Say x").start().is_rehearsal
    run = Task("Say x", model=model).start()
    run.wait(2)
    assert (run.log.created and run.log.created.model, run.is_rehearsal) == ("from settings", False)
