"""The laboratory itself, proved with plain ipywidgets."""

from __future__ import annotations

import struct
import sys
from functools import partial
from typing import TYPE_CHECKING

import pytest
from lab_server import REPOSITORY, LabServer, cannot_run

if TYPE_CHECKING:
    from pathlib import Path

    from laboratory import CommsOverSubshells, Laboratory

FORM = """
import ipywidgets as widgets
question = widgets.Textarea(description="Your answer")
send = widgets.Button(description="Send")
steps = widgets.HTML("<details><summary>3 steps</summary><p>the third step</p></details>")
heard = widgets.HTML("nothing yet")
send.on_click(lambda _: setattr(heard, "value", f"heard: <b>{question.value}</b>"))
widgets.VBox([question, send, steps, heard])
"""

TWO_BUTTONS = """
import ipywidgets as widgets
heard = widgets.HTML()
def hear(button):
    header = get_ipython().kernel.get_parent("shell")["header"]
    heard.value += f"{button.description} over {header.get('subshell_id')};"
buttons = [widgets.Button(description=name) for name in ("one", "two")]
for button in buttons:
    button.on_click(hear)
widgets.VBox([*buttons, heard])
"""


def test_outputs_and_prompts_of_cells_are_read(lab: Laboratory) -> None:
    lab.open(["print('hello')", "import sys; sys.executable", "1 / 0", "print('never')"])
    assert [lab.prompt(i) for i in range(4)] == ["[ ]"] * 4

    lab.run_all()
    lab.wait_until_done(2)
    lab.wait_until(lambda: lab.prompt(3) == "[ ]", "the cancelled cell")

    assert lab.stdout(0) == "hello\n"
    assert lab.outputs(1)[0]["data"]["text/plain"] == repr(sys.executable)
    assert lab.outputs(2)[0]["ename"] == "ZeroDivisionError"
    assert lab.outputs(3) == []
    assert [lab.prompt(i) for i in range(4)] == ["[1]", "[2]", "[3]", "[ ]"]
    assert lab.page_errors == []


def test_the_second_run_of_a_cell_is_waited_for(lab: Laboratory) -> None:
    lab.open(["import time; time.sleep(0.3); print(time.time())"])
    lab.run_cell(0)
    lab.wait_until_done(0)
    first = lab.stdout(0)

    lab.run_cell(0)
    assert lab.prompt(0) == "[*]"
    lab.wait_until_done(0)

    assert lab.prompt(0) == "[2]"
    assert lab.stdout(0) > first


def test_a_person_types_clicks_and_opens_details(lab: Laboratory) -> None:
    lab.open(["print('above')", FORM])
    lab.run_all()
    lab.wait_for_text(1, "3 steps")
    # Letters that are JupyterLab's commands when they are not typed into a field: dd deletes a cell.
    lab.fill(1, "old text")
    lab.fill(1, "add a dd\nand bb", field="Your answer")
    lab.click(1, "Send")
    lab.wait_for_text(1, "heard: add a dd and bb")

    assert "the third step" not in lab.text(1)
    lab.open_details(1, "3 steps")
    lab.wait_for_text(1, "the third step")
    assert "above" in lab.text(0)


@pytest.mark.parametrize("comms_over_subshells", ["disabled", "perCommTarget", "perComm"])
def test_widget_messages_take_the_chosen_route(
    lab: Laboratory, comms_over_subshells: CommsOverSubshells
) -> None:
    lab.open([TWO_BUTTONS, "hasattr(get_ipython().kernel, 'shell_channel_thread')"])
    lab.run_all()
    lab.wait_until_done(1)
    has_subshells = lab.outputs(1)[0]["data"]["text/plain"] == "True"
    over_subshells = has_subshells and comms_over_subshells != "disabled"

    def routes(name: str) -> list[str]:
        heard = lab.text(0).splitlines()[-1].split(";")
        return [said.split(" over ")[1] for said in heard if said.startswith(f"{name} over ")]

    def route(name: str) -> str:
        """Clicks until the chosen route is taken: the page makes a comm's subshell some time after the comm."""
        for click in range(1, 21):
            lab.click(0, name)
            lab.wait_until(partial(lambda n: len(routes(name)) >= n, click), f"click {click} to be heard")
            if not over_subshells or routes(name)[-1] != "None":
                break
        return routes(name)[-1]

    one, two = route("one"), route("two")
    if over_subshells:
        assert "None" not in (one, two)
        assert (one == two) == (comms_over_subshells == "perCommTarget")
    else:
        assert one == two == "None"


def test_interrupt_stops_the_cell_and_those_after_it(lab: Laboratory) -> None:
    lab.open(["print('begun', flush=True)\nimport time\ntime.sleep(30)", "print('never')"])
    lab.run_all()
    lab.wait_for_text(0, "begun")
    assert (lab.prompt(0), lab.prompt(1)) == ("[*]", "[*]")

    lab.interrupt()
    lab.wait_until_done(0)

    assert lab.outputs(0)[-1]["ename"] == "KeyboardInterrupt"
    lab.wait_until(lambda: lab.prompt(1) == "[ ]", "the end of Run All")


def test_screenshots_show_theme_and_width(lab: Laboratory, tmp_path: Path) -> None:
    lab.open([FORM])
    lab.run_all()
    lab.wait_for_text(0, "nothing yet")
    light = lab.screenshot(tmp_path / "light.png")
    lab.set_theme("dark")
    lab.set_width(480)
    dark = lab.screenshot(tmp_path / "dark.png")
    cell = lab.screenshot(tmp_path / "cell.png", cell=0)

    assert (png_size(light)[0], png_size(dark)[0]) == (1280, 480)
    assert png_size(cell)[0] < 480
    background = "() => getComputedStyle(document.querySelector('.jp-Notebook')).backgroundColor"
    assert lab.page.evaluate(background) == "rgb(17, 17, 17)"


def png_size(path: Path) -> tuple[int, int]:
    width, height = struct.unpack(">II", path.read_bytes()[16:24])
    return width, height


def test_a_saved_notebook_is_read_and_opened_again(lab: Laboratory) -> None:
    block = '<div style="color: red" onclick="x()">kept<script>1</script></div>'
    lab.open([f"from IPython.display import HTML\nHTML({block!r})", FORM])
    lab.run_all()
    lab.wait_for_text(1, "nothing yet")
    lab.save()
    assert lab.saved_notebook().cells[0].outputs[0].data["text/html"] == block

    lab.reopen(kernel=True)
    lab.wait_for_text(1, "model not found")
    assert lab.output(0).locator("[onclick]").count() == 1

    lab.reopen(trusted=False)
    lab.wait_for_text(0, "kept")
    lab.wait_for_text(1, "VBox(children=")
    assert lab.output(0).locator("[onclick], script").count() == 0
    assert lab.kernel_status() == ""
    assert lab.server.kernels() == []


def test_the_kernel_goes_on_while_the_page_is_reloaded(lab: Laboratory) -> None:
    lab.open(
        [
            "import pathlib, time\nwhile not pathlib.Path('go').exists():\n    time.sleep(0.05)",
            "print('went on')",
        ]
    )
    lab.run_cell(0)
    lab.save()
    lab.reload()
    lab.run_cell(1)
    assert lab.prompt(1) == "[*]"
    (lab.server.notebooks / "go").touch()
    lab.wait_until_done(1)
    assert (lab.stdout(1), lab.prompt(1)) == ("went on\n", "[2]")


def test_a_wait_in_vain_tells_what_the_page_shows(lab: Laboratory) -> None:
    lab.open(["print('something else')"])
    lab.run_all()
    lab.page.evaluate("() => { setTimeout(() => { throw new Error('broken script'); }); }")
    lab.wait_until_done(0)
    with pytest.raises(
        AssertionError, match=r"'the answer' in cell 0(.|\n)*something else(.|\n)*broken script"
    ):
        lab.wait_for_text(0, "the answer", seconds=0.2)
    assert lab.page_errors == ["broken script"]


def test_after_a_failure_there_is_a_fresh_page(
    lab: Laboratory, comms_over_subshells: CommsOverSubshells
) -> None:
    lab.open(["import time; time.sleep(30)"])
    lab.set_theme("dark")
    lab.run_all()
    lab.abandon()
    assert lab.server.kernels() == []

    lab.start(comms_over_subshells)
    lab.open(["print('again')"])
    lab.run_all()
    lab.wait_for_text(0, "again")
    assert lab.page.locator("body").get_attribute("data-jp-theme-light") == "true"


def test_nothing_of_the_environment_reaches_the_kernel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OPENAI_API_KEY", "AESOP_MODEL", "JUPYTER_PATH", "HTTP_PROXY", "XDG_DATA_HOME"):
        monkeypatch.setenv(name, "mine")
    environment = LabServer(tmp_path).environment()
    assert "mine" not in environment.values()
    assert environment["PYTHONPATH"] == str(REPOSITORY)


def test_without_a_browser_tests_fail_in_ci_and_skip_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match=r"No Chromium\. The browser tests must run in CI\."):
        cannot_run("No Chromium.")
    monkeypatch.delenv("CI")
    with pytest.raises(pytest.skip.Exception, match="No Chromium"):
        cannot_run("No Chromium.")
