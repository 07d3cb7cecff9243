"""The live view in a real kernel: clicks while the cell runs, the end, and kernels without a person."""

import time

import pytest
from kernel_lines import needs_subshells

pytestmark = pytest.mark.kernel

WIDGET = "application/vnd.jupyter.widget-view+json"
MAX_CLICK_SECONDS = 0.3

SETUP = """
%load_ext aesop_nb
import asyncio
from aesop_nb import Task, settings
from aesop_nb.testing import ScriptedModel, call, result

settings.banner = False

def asks(*choices):
    return Task("Ask", name="ask", user_access=True, model=ScriptedModel(
        call("talk_to_user", question="Which <b>one</b>?", choices=list(choices)), "done"
    ))

def waits(seconds, text="done"):
    async def wait(request):
        await asyncio.sleep(seconds)
        return text
    return Task("Wait", name="wait", model=ScriptedModel(wait))
"""

ASK = "import time; run = asks(%s).start(); run.wait(); print(time.time(), run.log.exchanges[0].answer)"


@pytest.fixture
def notebook(front_end):
    front_end.run(SETUP)
    return front_end


def messages(front_end, cell, msg_type):
    return [message["content"] for message in front_end.iopub[cell] if message["msg_type"] == msg_type]


def wait_for_model(front_end, cell, name, **state):
    """The comm id of a widget that was opened by this cell."""

    def find():
        for content in messages(front_end, cell, "comm_open"):
            model = content["data"]["state"]
            if model.get("_model_name") == name and state.items() <= model.items():
                return content["comm_id"]
        return None

    front_end.until(lambda: find() is not None)
    return find()


def wait_for_display(front_end, cell, is_so):
    """Waits for a display, or an update of one, whose bundle `is_so`."""

    def bundles():
        kinds = ("display_data", "update_display_data")
        return [content["data"] for kind in kinds for content in messages(front_end, cell, kind)]

    front_end.until(lambda: any(map(is_so, bundles())))


def open_models(front_end, cell):
    opened = {content["comm_id"] for content in messages(front_end, cell, "comm_open")}
    return opened - {content["comm_id"] for content in messages(front_end, cell, "comm_close")}


def test_typed_answer_arrives_while_the_cell_runs(notebook, route):
    cell = notebook.execute(ASK % "", allow_stdin=True)
    area = wait_for_model(notebook, cell, "TextareaModel")
    send = wait_for_model(notebook, cell, "ButtonModel", description="Send")
    notebook.type_text(area, "Grüße 🌍", subshell_id=route)
    sent_at = time.time()
    notebook.click(send, subshell_id=route)
    ended_at, answer = notebook.end(cell).strip().split(" ", 1)
    assert answer == "Grüße 🌍"
    assert float(ended_at) - sent_at < MAX_CLICK_SECONDS


def test_clicked_choice_arrives_while_the_cell_awaits(notebook, route):
    cell = notebook.execute((ASK % "'Paul', 'Kamps'").replace("run.wait()", "await run"), allow_stdin=True)
    choice = wait_for_model(notebook, cell, "ButtonModel", description="Kamps")
    sent_at = time.time()
    notebook.click(choice, subshell_id=route)
    ended_at, answer = notebook.end(cell).strip().split(" ", 1)
    assert answer == "Kamps"
    assert float(ended_at) - sent_at < MAX_CLICK_SECONDS


@needs_subshells
def test_text_and_click_over_two_subshells(notebook):
    """JupyterLab's setting `perComm`: each widget has a subshell of its own."""
    first, second = notebook.create_subshell(), notebook.create_subshell()
    cell = notebook.execute(ASK % "", allow_stdin=True)
    area = wait_for_model(notebook, cell, "TextareaModel")
    send = wait_for_model(notebook, cell, "ButtonModel", description="Send")
    notebook.type_text(area, "x" * 300_000, subshell_id=first)
    notebook.click(send, subshell_id=second)
    assert notebook.end(cell).strip().split(" ", 1)[1] == "x" * 300_000


def test_static_block_replaces_the_live_view_in_the_same_output(notebook):
    cell = notebook.execute("waits(0.6).run()", allow_stdin=True)
    notebook.end(cell)
    (first,) = messages(notebook, cell, "display_data")
    updates = messages(notebook, cell, "update_display_data")
    ids = {content["transient"]["display_id"] for content in [first, *updates]}
    assert len(ids) == 1
    assert WIDGET in updates[0]["data"]
    assert set(updates[-1]["data"]) == {"text/html", "text/plain"}
    assert "completed ✓ wait" in updates[-1]["data"]["text/plain"]
    kinds = [message["msg_type"] for message in notebook.iopub[cell]]
    assert kinds.index("execute_result") > max(i for i, kind in enumerate(kinds) if "display" in kind)
    assert open_models(notebook, cell) == set()


def test_cancel_ends_the_cell(notebook, route):
    cell = notebook.execute("waits(60).run()", allow_stdin=True)
    cancel = wait_for_model(notebook, cell, "ButtonModel", description="Cancel")
    clicked_at = time.monotonic()
    notebook.click(cancel, subshell_id=route)
    content = notebook.reply(cell)["content"]
    assert time.monotonic() - clicked_at < 1
    assert content["ename"] == "TaskCancelled"
    wait_for_display(notebook, cell, lambda bundle: "cancelled ⊘ wait" in bundle["text/plain"])


def test_run_in_the_background_is_answered_after_its_cell_has_ended(notebook, route):
    cell = notebook.execute("run = asks().start()", allow_stdin=True)
    notebook.end(cell)
    # ipykernel 6 gives what a thread sends to the cell that runs at that time, or ran last: this one.
    area = wait_for_model(notebook, cell, "TextareaModel")
    send = wait_for_model(notebook, cell, "ButtonModel", description="Send")
    notebook.type_text(area, "later", subshell_id=route)
    notebook.click(send, subshell_id=route)
    assert notebook.run("print(run.wait(), run.log.exchanges[0].answer)") == "done later\n"


def test_question_of_a_run_inside_a_tool_is_answered_in_the_outer_view(notebook):
    code = """
def delegate() -> str:
    return asks("Paul").run()
print(Task("Outer", tools=[delegate], model=ScriptedModel(call("delegate"), "outer done")).run())
"""
    cell = notebook.execute(code, allow_stdin=True)
    notebook.click(wait_for_model(notebook, cell, "ButtonModel", description="Paul"))
    assert notebook.end(cell) == "outer done\n"
    assert notebook.input_requests == []
    assert len(messages(notebook, cell, "display_data")) == 1


def test_headless_run_has_no_widgets_and_one_static_block(notebook):
    cell = notebook.execute("waits(0.3).run()")
    notebook.end(cell)
    assert messages(notebook, cell, "comm_open") == []
    assert messages(notebook, cell, "update_display_data") == []
    (block,) = messages(notebook, cell, "display_data")
    assert set(block["data"]) == {"text/html", "text/plain"}
    assert "completed ✓ wait" in block["data"]["text/plain"]


def test_headless_question_fails_the_cell_at_once(notebook):
    begun = time.monotonic()
    cell = notebook.execute("asks().run()")
    content = notebook.reply(cell)["content"]
    assert time.monotonic() - begun < 2
    assert content["ename"] == "NeedsHuman"
    assert "Which <b>one</b>?" in content["evalue"]
    assert messages(notebook, cell, "comm_open") == []
    wait_for_display(notebook, cell, lambda bundle: "failed ✗ ask" in bundle["text/plain"])


def test_loading_prints_nothing_and_is_quick(own_front_end):
    dependencies = "import ipywidgets, pydantic, IPython, aesop_nb, aesop_nb.tasks, time"
    own_front_end.run(dependencies)
    cell = own_front_end.execute(
        "begun = time.monotonic()\n%load_ext aesop_nb\ntook = time.monotonic() - begun"
    )
    assert own_front_end.end(cell) == ""
    assert [m["msg_type"] for m in own_front_end.iopub[cell]] == ["status", "execute_input", "status"]
    assert float(own_front_end.run("print(took)")) < 0.3
