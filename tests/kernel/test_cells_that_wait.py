"""Cells that wait for a run: what is queued behind them, `input()` in tools, ■ once and twice, a restart."""

import time

import pytest
from kernel_lines import error_of

pytestmark = pytest.mark.kernel

WIDGET = "application/vnd.jupyter.widget-view+json"

SETUP = """
%load_ext aesop_nb
import asyncio, contextlib, threading, time
from aesop_nb import Task, settings
from aesop_nb.testing import ScriptedModel, call, result

settings.banner = False
settings.store = "off"

def ask_name() -> str:
    return input("Your name? ")

def sleepy() -> str:
    print("sleeping", flush=True)
    time.sleep(60)

async def stubborn() -> str:
    print("staying", flush=True)
    while True:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(60)

async def blocking() -> str:
    print("blocking", flush=True)
    threading.Event().wait(20)  # on the loop itself, which then cannot even hear that it should stop

def uses(tool):
    return Task("Use it", name="use", tools=[tool], model=ScriptedModel(call(tool.__name__), "done"))

def asks(*choices):
    return Task("Ask", name="ask", user_access=True, model=ScriptedModel(
        call("talk_to_user", question="Which one?", choices=list(choices)), "done"
    ))
"""

WAYS = {"blocking": "{}.run()", "awaiting": "await {}.run_async()"}


@pytest.fixture
def notebook(front_end):
    front_end.run(SETUP)
    return front_end


@pytest.fixture(params=WAYS)
def way(request):
    """How a cell waits for the run of a task."""
    return WAYS[request.param].format


def messages(front_end, cell, msg_type):
    return [message["content"] for message in front_end.iopub[cell] if message["msg_type"] == msg_type]


def wait_for_model(front_end, cell, **state):
    """The comm id of a widget that was opened by this cell."""

    def find():
        opened = messages(front_end, cell, "comm_open")
        return [made["comm_id"] for made in opened if state.items() <= made["data"]["state"].items()]

    front_end.until(find)
    return find()[0]


def test_cells_queued_behind_a_question_run_after_it_with_their_own_output(notebook, way, route):
    cell = notebook.execute(way("asks('Paul', 'Kamps')"), allow_stdin=True, stop_on_error=True)
    queued = [
        notebook.execute(f"print('cell', {number}); n = {number}", allow_stdin=True, stop_on_error=True)
        for number in range(5)
    ]
    click = wait_for_model(notebook, cell, description="Kamps")
    assert not [request for request in queued if request in notebook.replies]
    notebook.click(click, subshell_id=route)
    notebook.end(cell)
    assert [notebook.end(request) for request in queued] == [f"cell {number}\n" for number in range(5)]
    assert [request for request in notebook.reply_order if request in queued] == queued
    assert messages(notebook, cell, "execute_result")[0]["data"]["text/plain"] == "'done'"


def test_a_tool_may_ask_with_input(notebook):
    cell = notebook.execute("print(uses(ask_name).start().wait())", allow_stdin=True)
    notebook.until(lambda: notebook.input_requests or cell in notebook.replies)
    assert notebook.input_requests.pop()["content"]["prompt"] == "Your name? "
    notebook.client.input("Ada")
    assert "done" in notebook.end(cell)


@pytest.mark.parametrize(("tool", "word"), [("sleepy", "sleeping"), ("stubborn", "staying")])
def test_interrupt_leaves_work_that_will_not_stop_and_stops_the_queue(notebook, way, tool, word):
    cell = notebook.execute(way(f"uses({tool})"), allow_stdin=True, stop_on_error=True)
    after = notebook.execute("print('after')", allow_stdin=True, stop_on_error=True)
    notebook.until_printed(cell, word)
    begun = time.monotonic()
    notebook.manager.interrupt_kernel()
    assert error_of(notebook, cell) in {"RunInterrupted", "CancelledError"}
    assert time.monotonic() - begun < 2
    assert notebook.reply(after)["content"]["status"] == "aborted"
    assert "cancelled ⊘ use" in last_text(notebook, cell)


def last_text(front_end, cell):
    """What the cell shows of its run at last."""

    def shown():
        kinds = ("display_data", "update_display_data")
        return [
            content["data"]["text/plain"] for kind in kinds for content in messages(front_end, cell, kind)
        ]

    front_end.until(lambda: shown() and "cancelled" in shown()[-1])
    return shown()[-1]


def test_a_second_interrupt_leaves_at_once(own_front_end):
    own_front_end.run(SETUP)
    cell = own_front_end.execute("uses(blocking).run()", allow_stdin=True)
    own_front_end.until_printed(cell, "blocking")
    own_front_end.manager.interrupt_kernel()
    time.sleep(0.5)  # one interrupt alone waits for the run to end
    own_front_end.read(0)
    assert cell not in own_front_end.replies
    begun = time.monotonic()
    own_front_end.manager.interrupt_kernel()
    assert error_of(own_front_end, cell) == "RunInterrupted"
    assert time.monotonic() - begun < 1.5
    assert own_front_end.run("print('next')") == "next\n"


def test_a_kernel_that_restarts_while_a_cell_waits_leaves_no_live_view(own_front_end):
    own_front_end.run(SETUP)
    cell = own_front_end.execute("asks('Paul').run()", allow_stdin=True)
    wait_for_model(own_front_end, cell, description="Paul")
    own_front_end.manager.interrupt_kernel()  # as `KernelManager.restart_kernel` does before it asks to end
    own_front_end.send("shutdown_request", {"restart": True}, channel="control")
    assert "cancelled ⊘ ask" in last_text(own_front_end, cell)
