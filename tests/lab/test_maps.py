"""The live view of a map in a real JupyterLab."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from laboratory import Laboratory

SETUP = """\
%load_ext aesop_nb
import asyncio, re
import pandas as pd
from aesop_nb import task
from aesop_nb.testing import ScriptedModel, failure, result

async def answer(request):
    number = int(re.findall(r"<b>text (\\d+)", request.messages[-1].text)[-1])
    await asyncio.sleep(0.15)
    return failure("nothing to be told") if number % 7 == 0 else result(f"<i>topic {number}")

@task(model=ScriptedModel(*[answer] * 5_000))
def topic(text: str) -> str:
    "Say what it is about."

data = pd.DataFrame({"text": [f"<b>text {number}" for number in range(2_000)]})"""
MAP = "_ = topic.map(data, concurrency=8)"
AGAIN = "_ = topic.map(data, limit=20)"


def test_a_map_shows_how_far_it_is_and_keeps_what_is_done(lab: Laboratory) -> None:
    lab.open([SETUP, MAP, AGAIN])
    lab.run_cell(0)
    lab.wait_until_done(0)
    lab.run_cell(1)
    lines = lab.output(1).locator("summary").filter(has_text="nothing to be told")
    lab.wait_until(
        lambda: lines.count() == 5 and "<i>topic 5" in lab.text(1), "failures and results", seconds=20
    )
    bar = lab.output(1).locator("progress")
    begun = float(bar.get_attribute("value") or 0)
    heights: list[float] = []

    def has_gone_on() -> bool:
        box = lab.output(1).bounding_box()
        heights.append(box["height"] if box else 0.0)
        return float(bar.get_attribute("value") or 0) > begun and "about " in lab.text(1)

    lab.wait_until(has_gone_on, "more rows and the time left")
    assert len(set(heights)) == 1  # nothing jumps
    lab.click(1, "Cancel")
    lab.wait_for_text(1, "cancelled ⊘ topic · kept ")
    assert "are completed and kept; run it again to do the rest" in lab.text(1)
    lab.open_details(1, "rows failed")
    lines.first.click()
    assert "<b>text 0" in lab.text(1)
    assert lab.output(1).locator("b, i").count() == 0

    lab.run_cell(2)
    lab.wait_for_text(2, "completed ✓ topic · 20 rows · 3 failed", seconds=20)
    assert "17 taken from the store" in lab.text(2)
    assert lab.page_errors == []
