"""The product in a real JupyterLab: what a person sees, clicks and keeps."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import nbformat
import pytest
from lab_server import REPOSITORY

if TYPE_CHECKING:
    from laboratory import CommsOverSubshells, Laboratory

LOAD = "%load_ext aesop_nb\nfrom aesop_nb.testing import ScriptedModel, call, result\nimport time"
ASKING = """\
def look_up(word: str) -> str:
    "Looks a word up."
    return word.upper()

m = ScriptedModel(
    [call("look_up", word="bakery"), call("talk_to_user", question="Which <b>city</b> & country?")],
    lambda request: result(request.messages[-1].text[::-1]),
)"""
ASK_CELL = "%%aesop answer << -u -t look_up -m m --max-seconds 20\nFind out where."
SLOW = """\
import asyncio
async def nap(seconds: int) -> str:
    "Sleeps."
    await asyncio.sleep(seconds)
    return "rested"

m = ScriptedModel(call("nap", seconds=0), call("nap", seconds=60), result("late"))"""
SLOW_CELL = "%%aesop -t nap -m m\nSleep."
AWAITING_CELL = "from aesop_nb import Task\nawait Task('Sleep', tools=[nap], model=m).run_async()"

every_route = pytest.mark.parametrize("comms_over_subshells", ["disabled", "perCommTarget", "perComm"])


@every_route
def test_clicks_are_heard_while_the_cell_runs_and_run_all_goes_on(
    lab: Laboratory, comms_over_subshells: CommsOverSubshells
) -> None:
    lab.open([LOAD, ASKING, ASK_CELL, "print('after', answer)", SLOW, SLOW_CELL, "print('never')"])
    lab.run_all()
    lab.wait_for_text(2, "Which <b>city</b> & country?")
    assert lab.prompt(2) == lab.prompt(3) == "[*]"
    assert "waiting for you" in lab.text(2)
    assert "look_up" in lab.text(2)

    lab.fill(2, "Zürich 😀")
    lab.click(2, "Send")
    lab.wait_until_done(3)

    assert lab.stdout(3) == f"after {'Zürich 😀'[::-1]}\n"
    assert "completed ✓" in lab.text(2)
    assert lab.cell(2).locator("button.widget-button, textarea.widget-textarea, .widget-html").count() == 0

    lab.wait_for_text(5, "seconds=60")
    began = time.monotonic()
    lab.click(5, "Cancel")
    lab.wait_until_done(5)
    assert time.monotonic() - began < 2.0  # the page's own polling included
    assert "cancelled" in lab.text(5)
    assert "kept 1 step" in lab.text(5)
    assert [output["ename"] for output in lab.outputs(5) if output["output_type"] == "error"] == [
        "TaskCancelled"
    ]
    assert lab.outputs(6) == []
    assert lab.page_errors == []


def test_interrupting_ends_the_cell_and_the_next_one_works(lab: Laboratory) -> None:
    lab.open([LOAD, SLOW, SLOW_CELL, "import aesop_nb; print(aesop_nb.last.status)", SLOW, AWAITING_CELL])
    lab.run_cell(0)
    lab.run_cell(1)
    interrupt_when_it_sleeps(lab, 2)
    assert [output["ename"] for output in lab.outputs(2) if output["output_type"] == "error"] == [
        "RunInterrupted"
    ]
    lab.run_cell(3)
    lab.wait_until_done(3)
    assert lab.stdout(3) == "cancelled\n"

    lab.run_cell(4)
    interrupt_when_it_sleeps(lab, 5)
    assert "cancelled" in lab.text(5)


def interrupt_when_it_sleeps(lab: Laboratory, i: int) -> None:
    lab.run_cell(i)
    lab.wait_for_text(i, "seconds=60")
    began = time.monotonic()
    lab.interrupt()
    lab.wait_until_done(i)
    assert time.monotonic() - began < 2.0


def test_the_saved_notebook_still_shows_what_happened(lab: Laboratory) -> None:
    lab.open([LOAD, ASKING, ASK_CELL])
    lab.run_all()
    lab.wait_for_text(2, "waiting for you")
    lab.fill(2, "Bern")
    lab.click(2, "Send")
    lab.wait_until_done(2)
    lab.save()
    saved = lab.saved_notebook()
    nbformat.validate(saved)
    assert "widgets" not in saved.metadata
    assert "application/vnd.jupyter.widget-view+json" not in str(saved.cells[2].outputs)

    for trusted in (True, False):
        lab.reopen(trusted=trusted)
        lab.wait_for_text(2, "completed ✓")
        lab.open_details(2, "1 step")
        for text in ("look_up", "BAKERY", "Which <b>city</b> & country?", "Bern"):
            assert text in lab.text(2), (text, trusted)


def test_the_quickstart_runs_as_a_person_runs_it(lab: Laboratory) -> None:
    quickstart = nbformat.read(REPOSITORY / "notebooks" / "01_quickstart.ipynb", as_version=4)
    for cell in quickstart.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    asks = next(i for i, cell in enumerate(quickstart.cells) if "-u --default" in cell.source)
    table = next(i for i, cell in enumerate(quickstart.cells) if cell.source.startswith("%%aesop bakeries"))
    lab.open(quickstart)
    lab.run_all()
    lab.wait_for_text(asks, "waiting for you")
    assert "Poilâne" in lab.text(table)
    assert "rehearsal" in lab.text(table)
    lab.fill(asks, "three days by train")
    lab.click(asks, "Send")
    lab.wait_until_done(len(quickstart.cells) - 1)
    assert "You answered: three days by train" in lab.text(asks)
    code = [i for i, cell in enumerate(quickstart.cells) if cell.cell_type == "code"]
    assert [output for i in code for output in lab.outputs(i) if output["output_type"] == "error"] == []
