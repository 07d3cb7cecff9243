"""The laboratory itself, proved with plain ipywidgets."""

from __future__ import annotations

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


def test_a_saved_notebook_is_read_and_opened_again(lab: Laboratory) -> None:
    block = '<div style="color: red" onclick="x()">kept<script>1</script></div>'
    lab.open([f"from IPython.display import HTML\nHTML({block!r})", FORM])
    lab.run_all()
    lab.wait_for_text(1, "nothing yet")
    lab.save()
    assert lab.saved_notebook().cells[0].outputs[0].data["text/html"] == block

    lab.reopen(trusted=False)
    lab.wait_for_text(0, "kept")
    lab.wait_for_text(1, "VBox(children=")
    assert lab.output(0).locator("[onclick], script").count() == 0
    assert lab.kernel_status() == ""
    assert lab.server.kernels() == []


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
