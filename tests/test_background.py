"""The thread of all runs: latches, waiting in threads and loops, interrupts, and threads for tools."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import threading
import time
import weakref
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from helping import eventually, said_by

from aesop_nb import RunInterrupted, Task, UsageError, background
from aesop_nb import events as ev
from aesop_nb.testing import ScriptedModel, call

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def late() -> Task[str]:
    return Task("Wait", name="wait", model=ScriptedModel("late", delay_seconds=60))


# Latches ----------------------------------------------------------------------------------------------


def test_a_latch_is_set_once_and_tells_everybody_who_asked() -> None:
    latch, told = background.Latch(), []
    latch.on_set(lambda: told.append("before"))
    forgotten: Callable[[], None] = lambda: told.append("forgotten")  # noqa: E731
    latch.on_set(forgotten)
    latch.forget(forgotten)
    latch.forget(forgotten)
    assert not latch.is_set()
    latch.set()
    latch.set()
    latch.on_set(lambda: told.append("after"))
    assert latch.is_set()
    assert told == ["before", "after"]


def test_a_latch_set_from_many_threads_calls_each_listener_once() -> None:
    for _ in range(20):
        latch, told = background.Latch(), []
        threads = [threading.Thread(target=latch.set) for _ in range(4)]
        threads += [threading.Thread(target=latch.on_set, args=(partial(told.append, 1),)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert told == [1] * 4


def test_waiting_in_a_thread_ends_with_the_latch_or_the_time() -> None:
    latch = background.Latch()
    begun = time.monotonic()
    assert background.wait_for(latch, timeout_seconds=0.05) is False
    assert 0.04 < time.monotonic() - begun < 0.3
    threading.Timer(0.05, latch.set).start()
    assert background.wait_for(latch, timeout_seconds=2) is True
    assert background.wait_for(latch) is True


async def test_waiting_in_a_loop_lets_the_loop_go_on() -> None:
    latch, ticks = background.Latch(), 0
    threading.Timer(0.05, latch.set).start()
    waiting = asyncio.create_task(background.wait_for_async(latch))
    while not waiting.done():
        ticks += 1
        await asyncio.sleep(0.005)
    assert ticks > 3
    await background.wait_for_async(latch)


def test_nobody_is_kept_by_a_latch_that_is_never_set() -> None:
    latch = background.Latch()

    class Kept: ...

    def wait() -> weakref.ref[Kept]:
        kept = Kept()
        background.wait_for(latch, timeout_seconds=0.01)
        return weakref.ref(kept)

    reference = wait()
    gc.collect()
    assert reference() is None
    assert latch._callbacks == []


# Interrupts -------------------------------------------------------------------------------------------


@contextlib.contextmanager
def interrupted_after(seconds: float, *, times: int = 1) -> Iterator[None]:
    """Sends this process SIGINT while the block runs, as ■ and Ctrl-C do."""
    main = threading.main_thread().ident
    assert main is not None
    timers = [
        threading.Timer(seconds * (n + 1), signal.pthread_kill, args=(main, signal.SIGINT))
        for n in range(times)
    ]
    for timer in timers:
        timer.start()
    try:
        yield
    finally:
        for timer in timers:
            timer.cancel()
            timer.join()


def test_an_interrupt_ends_the_wait_within_a_second_and_cancels_the_run() -> None:
    task = late()
    begun = time.monotonic()
    with interrupted_after(0.1), pytest.raises(RunInterrupted, match="wait was interrupted") as caught:
        task.run()
    assert time.monotonic() - begun < 1.1
    assert caught.value.run is task.runs[0]
    assert task.status == "cancelled"
    assert isinstance(caught.value, KeyboardInterrupt)
    assert Task("Next", model=ScriptedModel("fine")).run() == "fine"


def test_an_interrupt_while_a_tool_sleeps_does_not_wait_for_it() -> None:
    release = threading.Event()

    def sleepy() -> None:
        release.wait(5)

    task = Task("Sleep", tools=[sleepy], model=ScriptedModel(call("sleepy")))
    begun = time.monotonic()
    with interrupted_after(0.1), pytest.raises(RunInterrupted):
        task.run()
    assert time.monotonic() - begun < 1.1
    assert task.status == "cancelled"
    release.set()


def test_after_an_interrupt_at_any_moment_the_next_task_works() -> None:
    for number in range(30):
        task = late()
        with contextlib.suppress(KeyboardInterrupt), interrupted_after(0.0005 * number):
            task.run()
        assert all(eventually(lambda run=run: run.status in ("cancelled", "pending")) for run in task.runs)
        assert Task("Next", model=ScriptedModel("fine")).start().wait(2) == "fine"


def test_an_interrupt_shows_as_one_line() -> None:
    with interrupted_after(0.05), pytest.raises(RunInterrupted) as caught:
        late().run()
    assert caught.value._render_traceback_() == ["RunInterrupted: wait was interrupted; kept 0 steps."]


# Blockers ---------------------------------------------------------------------------------------------


def test_a_blocker_that_applies_is_used_until_it_is_taken_out() -> None:
    used: list[str] = []

    class Mine:
        def applies(self) -> bool:
            return threading.current_thread() is threading.main_thread()

        @contextlib.contextmanager
        def blocking(self, wait: background.Wait) -> Iterator[Callable[[float], None]]:
            event = threading.Event()
            wait.waker = event.set
            used.append("open")

            def block(seconds: float) -> None:
                event.wait(seconds)
                event.clear()

            yield block
            used.append("closed")

        @contextlib.contextmanager
        def listening(self) -> Iterator[None]:
            yield

    remove = background.add_blocker(Mine())
    try:
        Task("Say", model=ScriptedModel("x", delay_seconds=0.02)).run()
    finally:
        remove()
    Task("Say", model=ScriptedModel("x")).run()
    assert used == ["open", "closed"]


def test_the_thread_that_waits_does_what_others_hand_it() -> None:
    latch, names = background.Latch(), []

    def hand_over() -> None:
        future = None
        while future is None:
            future = background.submit_to_waiting_thread(lambda: threading.current_thread().name)
        names.append(future.result(2))
        failing = background.submit_to_waiting_thread(lambda: 1 / 0)
        assert failing is not None
        with contextlib.suppress(ZeroDivisionError):
            failing.result(2)
            names.append("no error")
        latch.set()

    other = threading.Thread(target=hand_over)
    other.start()
    assert background.wait_for(latch, timeout_seconds=5)
    other.join()
    assert names == ["MainThread"]
    assert background.submit_to_waiting_thread(lambda: 1) is None


# Threads for tools ------------------------------------------------------------------------------------


def test_no_more_sync_tools_work_at_the_same_time_than_there_are_places() -> None:
    places = background.MAX_TOOL_THREADS
    lock, at_once, most = threading.Lock(), 0, 0
    all_there = threading.Barrier(places, timeout=5)

    def work() -> None:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        all_there.wait()
        with lock:
            at_once -= 1

    models = [ScriptedModel([call("work")] * places, "done") for _ in range(2)]
    runs = [Task("Work", tools=[work], model=model).start() for model in models]
    assert [run.wait(10) for run in runs] == ["done"] * 2
    assert most == places
    assert {step.state for run in runs for step in run.log.steps} == {"done"}


def test_a_tool_that_waits_for_a_place_is_not_named_as_working() -> None:
    release = threading.Event()

    def sleepy() -> None:
        release.wait(5)

    places = background.MAX_TOOL_THREADS
    first = Task("Sleep", tools=[sleepy], model=ScriptedModel([call("sleepy")] * places, "done")).start()
    assert eventually(lambda: _tool_threads() == places)
    second = Task("Sleep", tools=[sleepy], model=ScriptedModel([call("sleepy")])).start()
    assert eventually(lambda: second.current_action == "calling sleepy")
    second.cancel()
    second.wait_for_end(2)
    final = second.events[-1]
    assert isinstance(final, ev.RunCancelled)
    assert final.pending_tools == []
    release.set()
    assert first.wait(5) == "done"
    assert eventually(lambda: _tool_threads() == 0)


def _tool_threads() -> int:
    return sum(thread.name.startswith("aesop-tool") for thread in threading.enumerate())


def test_a_sync_call_on_the_loop_is_refused() -> None:
    caught: list[BaseException] = []

    async def wait_here() -> None:
        try:
            background.wait_for(background.Latch())
        except UsageError as exc:
            caught.append(exc)

    Task("Wait", tools=[wait_here], model=ScriptedModel(call("wait_here"), "done")).run()
    assert "await task.run_async()" in str(caught[0])
    assert not background.is_loop_thread()


def test_all_runs_share_one_thread_and_one_that_stores_started_by_the_first_run() -> None:
    code = """
import json, threading
import aesop_nb, aesop_nb.tasks, aesop_nb.background
from aesop_nb import Task
from aesop_nb.testing import ScriptedModel
before = [t.name for t in threading.enumerate()]
for _ in range(3):
    Task("Say", model=ScriptedModel("x")).run()
print(json.dumps([before, [(t.name, t.daemon) for t in threading.enumerate()]]))
"""
    before, after = said_by(code)
    assert before == ["MainThread"]
    assert sorted(after) == [["MainThread", False], ["aesop-loop", True], ["aesop-store", True]]


def test_closers_are_called_before_the_process_ends() -> None:
    code = """
import json
from aesop_nb import Task, background
from aesop_nb.testing import ScriptedModel
async def close():
    print(json.dumps("closed"))
async def broken():
    raise ValueError("no")
background.at_close(broken)
background.at_close(close)
Task("Say", model=ScriptedModel("x")).run()
"""
    assert said_by(code) == "closed"


def test_what_the_user_calls_keeps_asyncio_as_it_is() -> None:
    code = """
import asyncio, json, sys
task, run = asyncio.Task, asyncio.run
from aesop_nb import Task
from aesop_nb.testing import ScriptedModel
async def cell():
    return [Task("Say", model=ScriptedModel("x")).run(), await Task("Say", model=ScriptedModel("y")).run_async()]
values = asyncio.run(cell())
print(json.dumps([values, asyncio.Task is task, asyncio.run is run, "nest_asyncio2" in sys.modules]))
"""
    assert said_by(code) == [["x", "y"], True, True, False]


def test_pending_waits_are_not_left_behind() -> None:
    count = len(background._waits)
    run = late().start()
    for _ in range(3):
        with pytest.raises(TimeoutError):
            run.wait(0.01)
    run.cancel()
    run.wait_for_end(2)
    assert len(background._waits) == count
    assert _callbacks_of(run) == 0


def _callbacks_of(run: Any) -> int:
    return len(run._ended._callbacks)
