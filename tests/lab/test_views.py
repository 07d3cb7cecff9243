"""The live view in a real JupyterLab: what stays open, what stays where it is, what is left of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import nbformat
from nbconvert import HTMLExporter, MarkdownExporter, PythonExporter

if TYPE_CHECKING:
    from laboratory import Laboratory

SETUP = """\
%load_ext aesop_nb
import asyncio
from aesop_nb import Task
from aesop_nb.testing import ScriptedModel, call

async def nap(seconds: float) -> str:
    "Sleeps."
    await asyncio.sleep(seconds)
    return f"rested {seconds} s"

def delegate(name: str) -> str:
    "Hands on."
    return Task("Look", name=name, tools=[nap], model=ScriptedModel(call("nap", seconds=0.5), "seen")).run()

def naps(*seconds):
    return [call("nap", seconds=each) for each in seconds]"""
BUSY = """\
_ = Task("Look around", name="busy", tools=[nap, delegate], model=ScriptedModel(
    *naps(0.2), [call("delegate", name="left"), call("delegate", name="right")], *naps(0.6, 0.7, 0.8), "done"
)).run()"""
LONG = """\
Task("Sleep for long", name="sleeper", tools=[nap], model=ScriptedModel(*naps(0.1, 60), "late")).run()"""


def test_an_opened_line_stays_open_and_the_view_keeps_its_height(lab: Laboratory) -> None:
    lab.open([SETUP, BUSY])
    lab.run_all()
    lab.wait_for_text(1, "nap → rested 0.2 s")
    lab.open_details(1, "nap → rested 0.2 s")
    heights: list[float] = []

    def shows(text: str) -> bool:
        box = lab.output(1).bounding_box()
        heights.append(box["height"] if box and lab.prompt(1) == "[*]" else heights[-1])
        return text in lab.text(1)

    lab.wait_until(lambda: shows("running · left"), "the run inside")
    lab.wait_until(lambda: shows("completed · right"), "its end")
    lab.wait_until(lambda: shows("nap → rested 0.7 s"), "the last line but one")
    assert lab.output(1).locator("details[open]").count() == 1
    assert heights == sorted(heights)  # it grows and never shrinks
    lab.wait_until_done(1)
    lab.wait_until(lambda: "completed ✓ busy" in lab.text(1), "the record")
    lab.open_details(1, "2 runs inside: 2 completed")
    assert "completed ✓ left" in lab.text(1)
    assert lab.page_errors == []


def test_a_notebook_saved_while_it_runs_and_a_kernel_that_is_restarted(lab: Laboratory) -> None:
    lab.open([SETUP, LONG])
    lab.run_all()
    lab.wait_for_text(1, "nap(seconds=60)")
    lab.save()
    saved = lab.saved_notebook()
    nbformat.validate(saved)
    assert "widgets" not in saved.metadata
    for exporter in (HTMLExporter, MarkdownExporter, PythonExporter):
        exported, _ = exporter().from_notebook_node(saved)
        assert exporter is PythonExporter or "It had not ended when this was saved." in exported
        assert "model not found" not in exported

    lab.reload()
    lab.wait_for_text(1, "nap(seconds=60)")
    lab.click(1, "Cancel")
    lab.wait_for_text(1, "cancelled ⊘ sleeper")  # although the page drops what the cell shows from now on
    lab.open_details(1, "2 steps, 1 stopped")
    assert lab.output(1).locator("button").count() == 0

    lab.run_cell(1)
    lab.wait_for_text(1, "nap(seconds=60)")
    lab.save()
    lab.page.evaluate(
        """() => {
            const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
            kernel.restart().then(() => { window.isRestarted = true; });
        }"""
    )
    lab.wait_for_text(1, "its kernel was restarted or has ended; run the cell again")
    assert "running" not in lab.text(1)
    assert lab.output(1).get_by_role("button", name="Cancel").count() == 0

    lab.wait_until(lambda: lab.page.evaluate("() => window.isRestarted"), "the restart", seconds=30)

    lab.reopen(trusted=False)
    lab.wait_for_text(1, "running ● sleeper · started ")
    lab.open_details(1, "Objective")
    assert "Sleep for long" in lab.text(1)
