"""Runs: their events in order, who hears them, who waits for them, and ends that are final."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from helping import (
    at_every_start,
    double,
    event_types,
    eventually,
    one_tool_task,
    run_python,
    said_by,
    waiting_for_ever,
)

from aesop_nb import (
    Run,
    Status,
    Task,
    TaskConfig,
    TaskFailed,
    UsageError,
    on_run_start,
)
from aesop_nb import events as ev
from aesop_nb.errors import RunStateError
from aesop_nb.events import CallRequest
from aesop_nb.models.transcript import Reply, TextDelta, ToolCallDelta
from aesop_nb.runlogs import RunLog
from aesop_nb.sessions import find_run, recent_runs
from aesop_nb.testing import ScriptedModel, call, failure, result

if TYPE_CHECKING:
    from collections.abc import Callable

    from aesop_nb.models.transcript import Delta, ModelRequest


# Events, in order -------------------------------------------------------------------------------------


ONE_TOOL = [
    "run_created",
    "run_started",
    "turn_started",
    "model_replied",
    "tool_called",
    "tool_returned",
    "turn_ended",
    "turn_started",
    "model_replied",
    "turn_ended",
    "run_completed",
]


def test_the_events_of_a_run_with_one_tool_come_in_order_for_handlers_and_log_alike() -> None:
    heard: list[ev.Event] = []
    with at_every_start(lambda run: run.on("*", heard.append)):
        task = one_tool_task()
        assert task.run() == 8
    run = task.runs[0]
    assert event_types(run) == ONE_TOOL
    assert heard == list(run.events[1:])
    assert [event.number for event in run.events] == list(range(len(ONE_TOOL)))
    assert {event.run_id for event in run.events} == {run.id}
    assert [event.at for event in run.events] == sorted(event.at for event in run.events)


def test_a_watched_run_streams_text_and_calls_over_all_turns_and_is_otherwise_the_same() -> None:
    texts: list[ev.TextStreamed] = []
    calls: list[ev.ToolCallStreamed] = []
    heard: list[ev.Event] = []
    model = ScriptedModel(call("double", number=4), "Now I know, and write it down at length.", result(8))

    def watch(run: Run[Any]) -> None:
        run.on("text_streamed", texts.append)
        run.on("tool_call_streamed", calls.append)
        run.on("*", heard.append)

    with at_every_start(watch):
        task = Task("Double 4", result_type=int, tools=[double], model=model)
        task.run()
    run = task.runs[0]
    assert all(request.stream for request in model.requests)
    assert "".join(e.text for e in texts if e.turn == 2) == "Now I know, and write it down at length."
    assert {e.turn for e in texts} == {2}
    streamed = {turn: "".join(e.tool + e.arguments for e in calls if e.turn == turn) for turn in (1, 3)}
    assert streamed == {1: 'double{"number": 4}', 3: 'mark_successful{"result": 8}'}
    assert heard == list(run.events[1:])
    whole = [kind for kind in event_types(run) if not kind.endswith("_streamed")]
    assert whole == [
        *ONE_TOOL[:7],
        "turn_started",
        "model_replied",
        "result_rejected",
        "turn_ended",
        *ONE_TOOL[7:],
    ]
    for event in run.events:
        if event.type.endswith("_streamed"):
            before = [e.type for e in run.events[: event.number] if not e.type.endswith("_streamed")]
            assert before[-1] == "turn_started"


def test_pieces_that_come_slowly_are_streamed_each_once() -> None:
    class Slow(ScriptedModel):
        async def reply(self, request: ModelRequest, on_delta: Callable[[Delta], None]) -> Reply:
            for piece in (
                TextDelta("Let me "),
                ToolCallDelta(0, tool="mark_successful", arguments='{"res'),
                TextDelta("see."),
                ToolCallDelta(0, arguments='ult": 8}'),
            ):
                on_delta(piece)
                await asyncio.sleep(0.07)
            return Reply(
                text="Let me see.",
                tool_calls=(CallRequest(call_id="c", tool="mark_successful", arguments='{"result": 8}'),),
            )

    pieces: list[tuple[str, str]] = []

    def watch(run: Run[Any]) -> None:
        run.on("text_streamed", lambda event: pieces.append(("text", event.text)))
        run.on("tool_call_streamed", lambda event: pieces.append((event.tool, event.arguments)))

    with at_every_start(watch):
        assert Task("Say", result_type=int, model=Slow()).run() == 8
    assert pieces == [("text", "Let me "), ("mark_successful", '{"res'), ("text", "see."), ("", 'ult": 8}')]


def test_a_run_that_nobody_watches_is_not_streamed() -> None:
    model = ScriptedModel("x")
    with at_every_start(lambda run: run.on("*", print) and None):
        Task("Say x", model=model).run()
    assert [request.stream for request in model.requests] == [False]


def test_a_handler_hears_its_type_until_it_is_taken_out() -> None:
    heard: list[str] = []
    stops: list[Callable[[], None]] = []

    def once(event: ev.TurnStarted) -> None:
        heard.append(f"{event.type} {event.turn}")
        stops[0]()

    with at_every_start(lambda run: stops.append(run.on("turn_started", once))):
        one_tool_task().run()
    assert heard == ["turn_started 1"]
    stops[0]()


def test_an_unknown_event_type_is_an_error_with_the_nearest_name() -> None:
    run = one_tool_task().start()
    with pytest.raises(UsageError, match="Did you mean 'tool_called'"):
        run.on("tool_call", print)
    run.wait(2)


@pytest.mark.parametrize(
    "error", [ValueError("no"), SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError()]
)
def test_what_a_handler_raises_harms_nothing_and_is_logged(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[str] = []

    def broken(event: ev.Event) -> None:
        raise error

    def watch(run: Run[Any]) -> None:
        run.on("*", broken)
        run.on("*", lambda event: heard.append(event.type))

    with at_every_start(watch):
        assert one_tool_task().start().wait(2) == 8
    assert heard == ONE_TOOL[1:]
    assert "a listener of run" in caplog.text
    assert one_tool_task().start().wait(2) == 8


def test_a_handler_may_start_another_task_that_outlives_the_run() -> None:
    follow_up = Task("Tell everybody", model=ScriptedModel("told", delay_seconds=0.05))
    with at_every_start(
        lambda run: (
            run.on("run_completed", lambda event: follow_up.start()) if run.task is not follow_up else None
        )
    ):
        one_tool_task().run()
    assert eventually(lambda: bool(follow_up.runs))
    run = follow_up.runs[0]
    assert run.wait(2) == "told"
    assert run.log.created is not None
    assert run.log.created.parent_run_id is None


def test_a_start_hook_that_raises_harms_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def broken(run: Run[Any]) -> None:
        raise ValueError("no")

    with at_every_start(broken):
        assert one_tool_task().run() == 8
    assert "a listener of run" in caplog.text


def test_a_start_hook_sees_every_run_before_it_begins_and_only_until_it_is_taken_out() -> None:
    seen: list[tuple[str, Status, int]] = []
    stop = on_run_start(lambda run: seen.append((run.id, run.status, threading.get_ident())))
    first = one_tool_task().start()
    stop()
    first.wait(2)
    one_tool_task().run()
    assert seen == [(first.id, Status.PENDING, threading.get_ident())]


def test_runs_are_found_by_id_in_the_order_of_their_start() -> None:
    first, second = one_tool_task().start(), one_tool_task().start()
    assert recent_runs()[-2:] == [first, second]
    assert find_run(first.id) is first
    with pytest.raises(UsageError, match="no run 'nope'"):
        find_run("nope")
    first.wait(2)
    second.wait(2)


def test_what_a_run_says_about_its_task() -> None:
    task = Task(
        "Double it",
        name="double",
        context={"number": 4, "note": "a\u202eb"},
        tools=[double],
        config=TaskConfig(max_turns=3),
        model=ScriptedModel("8"),
    )
    run = task.start()
    run.wait(2)
    created = run.log.created
    assert created is not None
    assert (created.task, created.objective, created.tools) == ("double", "Double it", ["double"])
    assert created.inputs == {"number": "4", "note": '"a\\u202eb"'}
    assert created.limits == {"max_turns": 3}
    assert (created.model, created.agents, created.is_rehearsal) == ("scripted", ["Aesop"], False)
    assert repr(run) == f"<Run {run.id} 'double': completed>"
    assert (run.current_action, run.question, run.progress) == ("", None, 1.0)
    assert 0 <= run.duration_seconds < 2
    assert run.usage.requests == 1


def test_current_action_says_what_it_does() -> None:
    seen: dict[str, str] = {}
    with at_every_start(
        lambda run: run.on("*", lambda event: seen.setdefault(event.type, run.current_action))
    ):
        task = one_tool_task()
        task.run()
    assert seen["run_started"] == "starting"
    assert seen["turn_started"] == "thinking"
    assert seen["tool_called"] == "calling double"
    assert seen["run_completed"] == ""


# Waiting ----------------------------------------------------------------------------------------------


async def test_a_run_started_in_the_background_gives_the_same_value_to_every_waiter() -> None:
    begun = time.monotonic()
    task = Task("Count", result_type=list[int], model=ScriptedModel(result([1]), delay_seconds=0.1))
    run = task.start()
    assert time.monotonic() - begun < 0.2
    assert run.status in ("pending", "running")
    assert run.result is None
    values = [await run, run.wait(), run.result, task.result, await run]
    assert all(value is values[0] for value in values)
    run.cancel()
    run.cancel()
    assert run.status == "completed"


def test_waiting_too_short_raises_and_the_run_goes_on() -> None:
    opened = threading.Event()

    async def when_open(request: ModelRequest) -> str:
        while not opened.is_set():
            await asyncio.sleep(0.005)
        return "3"

    run = Task("Count", model=ScriptedModel(when_open)).start()
    for seconds in (0.01, 0):
        with pytest.raises(TimeoutError, match="goes on"):
            run.wait(seconds)
    opened.set()
    assert run.wait(2) == "3"


def test_waiting_for_the_end_does_not_raise_what_the_run_raised() -> None:
    run = Task("Fail", model=ScriptedModel(failure("no"))).start()
    run.wait_for_end(2)
    assert run.status == "failed"
    for _ in range(2):
        with pytest.raises(TaskFailed, match="no"):
            run.wait()


def test_a_task_runs_in_a_plain_thread() -> None:
    values: list[Any] = []
    thread = threading.Thread(target=lambda: values.append(one_tool_task().run()))
    thread.start()
    thread.join(3)
    assert values == [8]


async def test_a_task_runs_in_a_loop_that_runs_already() -> None:
    assert one_tool_task().run() == 8
    assert await one_tool_task().run_async() == 8
    assert await one_tool_task().start() == 8


def test_a_task_runs_on_loops_that_come_and_go() -> None:
    for _ in range(3):
        assert asyncio.run(one_tool_task().run_async()) == 8


def test_a_task_runs_in_a_plain_script_and_the_script_ends() -> None:
    code = """
import json
from aesop_nb import Task
from aesop_nb.testing import ScriptedModel, result
task = Task("Count", result_type=int, model=ScriptedModel(result(1), result(2)))
print(json.dumps([task.run(), task.run()]))
"""
    assert said_by(code) == [1, 2]


async def test_cancelling_who_awaits_cancels_the_run() -> None:
    task = waiting_for_ever()
    waiter = asyncio.create_task(task.run_async())
    while not task.runs or task.status != "running":
        await asyncio.sleep(0.005)
    waiter.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiter
    run = task.runs[0]
    assert eventually(lambda: run.status == "cancelled")
    assert run.log.cancel_reason == "interrupted"


def test_variables_of_the_caller_are_seen_in_tools_of_both_kinds() -> None:
    who = contextvars.ContextVar("who", default="nobody")
    seen: list[str] = []

    def plain() -> None:
        seen.append(who.get())

    async def on_the_loop() -> None:
        seen.append(who.get())

    task = Task(
        "Look", tools=[plain, on_the_loop], model=ScriptedModel([call("plain"), call("on_the_loop")], "ok")
    )
    who.set("the caller")
    task.run()
    assert seen == ["the caller"] * 2


def test_an_async_tool_bound_to_the_callers_loop_works_with_loop_caller() -> None:
    """In an interpreter of its own, for it patches asyncio."""
    code = """
import asyncio, json, threading
from aesop_nb import Task
from aesop_nb.testing import ScriptedModel, call, result

async def cell():
    here, queue = asyncio.get_running_loop(), asyncio.Queue()
    seen = []
    async def take() -> str:
        seen.append(asyncio.get_running_loop() is here)
        here.call_later(0.05, queue.put_nowait, "from the loop")
        return await queue.get()
    model = ScriptedModel(call("take"), "first", call("take"), "second")
    task = Task("Take", tools=[take], model=model)
    values = [task.run(loop="caller"), task.run(loop="caller")]
    outputs = [e.output for run in task.runs for e in run.events if e.type == "tool_returned"]
    assert not asyncio.all_tasks() - {asyncio.current_task()}
    return [values, outputs, seen]

print(json.dumps(asyncio.run(cell())))
"""
    assert said_by(code) == [["first", "second"], ["from the loop"] * 2, [True, True]]


def test_loop_caller_needs_a_running_loop_and_nothing_is_sent_without() -> None:
    model = ScriptedModel("x")
    with pytest.raises(UsageError, match="event loop"):
        Task("Say x", model=model).run(loop="caller")
    with pytest.raises(UsageError, match="loop="):
        Task("Say x", model=model).run(loop="mine")  # type: ignore[call-overload]
    assert model.requests == []


# The end is final, here and in a log read back --------------------------------------------------------


@pytest.mark.parametrize(
    "task",
    [
        one_tool_task(),
        Task("Fail", model=ScriptedModel(failure("no"))),
        Task("Break", model=ScriptedModel(call("nope"), call("nope"), call("nope"))),
        Task("Ask", user_access=True, model=ScriptedModel(call("talk_to_user", question="?"), "ok")),
        waiting_for_ever(config=TaskConfig(max_duration_seconds=0.05)),
    ],
    ids=["completed", "failed", "unusable", "asked", "time"],
)
def test_a_log_folded_from_stored_events_equals_the_live_one(task: Task[Any]) -> None:
    with at_every_start(lambda run: run.on("text_streamed", print)):
        run = task.start(answers=["yes"])
    run.wait_for_end(2)
    stored = [event.model_dump_json() for event in run.events]
    folded = RunLog.of(ev.event_from_json(text) for text in stored)
    assert folded == run.log
    assert folded.status.is_final


def test_nothing_can_follow_the_end() -> None:
    run = one_tool_task().start()
    run.wait(2)
    for event in (ev.RunStarted(), ev.TurnEnded(turn=1), ev.RunFailed(error="x", message="x")):
        with pytest.raises(RunStateError, match="nothing can follow"):
            run.log.apply(event)
    assert run.status == "completed"


def test_a_process_that_ends_with_a_run_under_way_ends_soon_and_says_nothing() -> None:
    code = """
import asyncio, contextlib, threading, time
from aesop_nb import Task
from aesop_nb.testing import ScriptedModel, call

def sleepy() -> None:
    time.sleep(60)

async def rest() -> None:
    await asyncio.sleep(60)

async def stubborn() -> None:
    while True:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(60)

tools = sleepy, rest, stubborn
runs = [Task("a", tools=[tool], model=ScriptedModel(call(tool.__name__))).start() for tool in tools]
runs.append(Task("b", model=ScriptedModel("late", delay_seconds=60)).start())
runs.append(Task("c", depends_on=[runs[-1].task], model=ScriptedModel("x")).start())
while not all(run.current_action.startswith("calling") for run in runs[:3]):
    time.sleep(0.01)
"""
    begun = time.monotonic()
    empty = run_python("import aesop_nb, aesop_nb.tasks, asyncio")
    alone = time.monotonic() - begun
    begun = time.monotonic()
    done = run_python(code)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert time.monotonic() - begun < alone + 2
    assert empty.returncode == 0


def test_a_fork_of_a_process_that_has_run_tasks_can_run_tasks() -> None:
    code = """
import json, os
from aesop_nb import Task
from aesop_nb.testing import ScriptedModel, call
def double(number: int) -> int:
    return number * 2
def work() -> int:
    return Task("Double", tools=[double], model=ScriptedModel(call("double", number=4), "8")).start().wait(3)
work()
Task("late", model=ScriptedModel("late", delay_seconds=60)).start()
read, write = os.pipe()
pid = os.fork()
if not pid:
    try:
        os.write(write, work().encode())
    finally:
        os._exit(0)
os.waitpid(pid, 0)
os.close(write)
print(json.dumps([os.read(read, 10).decode(), work()]))
"""
    assert said_by(code) == ["8", "8"]
