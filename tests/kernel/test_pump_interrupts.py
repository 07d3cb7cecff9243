"""Interrupts while a cell waits: heard at a safe moment, nothing lost, twice leaves."""

import random
import time

import pytest
from kernel_lines import error_of

pytestmark = pytest.mark.kernel


@pytest.fixture(params=["signal", "interrupt_request"])
def interrupt(request, front_end):
    if request.param == "signal":
        return front_end.manager.interrupt_kernel
    return lambda: front_end.send("interrupt_request", {}, channel="control")


def test_interrupt_ends_a_wait(front_end, interrupt, waiting):
    front_end.show_button()
    cell = front_end.start(
        "started_at = time.monotonic()\n"
        "try:\n"
        + "".join(f"    {line}\n" for line in waiting.split("; "))
        + "finally:\n    print('seconds', time.monotonic() - started_at)"
    )
    time.sleep(0.3)  # so that the time below is that of the interrupt
    interrupt()
    assert error_of(front_end, cell) in {"KeyboardInterrupt", "CancelledError"}
    assert float(front_end.stdout(cell).split("seconds")[1]) < 1.0
    assert front_end.run("print('next')") == "next\n"


def test_interrupt_raises_at_once_in_a_callback(front_end):
    comm_id = front_end.show_button("lambda: (print('inside'), time.sleep(30))")
    cell = front_end.start("print('go'); wait_for(b.latch, 60)")
    click = front_end.click(comm_id)
    front_end.until_printed(cell, "inside")
    front_end.manager.interrupt_kernel()
    assert error_of(front_end, cell) == "KeyboardInterrupt"
    assert front_end.states(click) == ["busy", "idle"]


def test_interrupt_raises_at_once_in_submitted_work(front_end):
    cell = front_end.start(
        "wait = Wait(Latch())\n"
        "future = wait.submit(lambda: (print('go'), time.sleep(30)))\n"
        "try:\n    wait_with(wait, 60)\n"
        "finally:\n    print(repr(future.exception()))"
    )
    front_end.manager.interrupt_kernel()
    assert error_of(front_end, cell) == "KeyboardInterrupt"
    assert "InterruptedError(" in front_end.stdout(cell)


def test_interrupt_in_a_nested_wait_ends_the_cell_and_not_the_kernel(front_end, waiting):
    comm_id = front_end.show_button("lambda: (print('nested'), wait_for(Latch()))")
    cell = front_end.start(waiting)
    front_end.click(comm_id)
    front_end.until_printed(cell, "nested")
    front_end.manager.interrupt_kernel()
    assert error_of(front_end, cell) in {"KeyboardInterrupt", "CancelledError"}
    assert front_end.run("print('next')") == "next\n"


def test_interrupt_in_the_last_moment_of_a_wait_is_raised_after_it(front_end):
    cell = front_end.execute(
        "with pump.blocking(Wait(Latch())):\n    signal.raise_signal(signal.SIGINT)\n    print('not yet')"
    )
    assert error_of(front_end, cell) == "KeyboardInterrupt"
    assert front_end.stdout(cell) == "not yet\n"


def test_second_interrupt_does_not_wait(front_end):
    cell = front_end.execute(
        "with pump.blocking(Wait(Latch())):\n"
        "    signal.raise_signal(signal.SIGINT)\n"
        "    print('one')\n"
        "    signal.raise_signal(signal.SIGINT)\n"
        "    print('two')"
    )
    assert error_of(front_end, cell) == "KeyboardInterrupt"
    assert front_end.stdout(cell) == "one\n"


def test_interrupt_does_not_end_a_kernel_in_which_only_a_left_task_waits(front_end):
    cell = front_end.execute(
        "async def later():\n"
        "    await asyncio.sleep(0.1)\n"
        "    print('go')\n"
        "    wait_for(set_after(0.6))\n"
        "    return 'ended'\n"
        "left = asyncio.ensure_future(later())"
    )
    front_end.end(cell)
    front_end.until_printed(cell, "go")
    front_end.manager.interrupt_kernel()
    assert front_end.run("print(await left)") == "ended\n"


def test_random_interrupts_lose_no_request(front_end):
    """With Python's own handler, KeyboardInterrupt falls between taking a message and handing it over."""
    random.seed(1)
    front_end.run("t = ipywidgets.IntText(-1); serve_widgets(t)")
    comm_id = front_end.run("print(t.model_id)").strip()
    updates = []
    for round_ in range(20):
        cell = front_end.start("print('go'); wait_for(Latch())")
        requests = []
        at = random.randrange(150)
        for i in range(150):
            if i == at:
                front_end.manager.interrupt_kernel()
            if i % 10 == 0:
                updates.append(front_end.type_text(comm_id, round_ * 1000 + i))
            requests.append(front_end.send("is_complete_request", {"code": "1"}))
        assert error_of(front_end, cell) == "KeyboardInterrupt"
        front_end.until(lambda asked=requests: all(r in front_end.replies for r in asked))
        assert [r for r in front_end.reply_order if r in set(requests)] == requests
    front_end.run("pass")
    assert [front_end.states(u) for u in updates] == [["busy", "idle"]] * len(updates)
