"""The forms in a real JupyterLab: typed answers, choices, Skip, the countdown, a secret, and approvals."""

from __future__ import annotations

from typing import TYPE_CHECKING

import nbformat

if TYPE_CHECKING:
    from pathlib import Path

    from laboratory import Laboratory

SETUP = """\
%load_ext aesop_nb
from aesop_nb import tool
from aesop_nb.testing import ScriptedModel, call, result
import aesop_nb
got = []

@tool(requires_approval=True)
def send_mail(to: list[str], text: str) -> str:
    "Sends a mail."
    return f"sent to {', '.join(to)}"

def log_in(password: str) -> str:
    "Logs in."
    got.append(password)
    return f"logged in with {password}"

def asks(**arguments):
    return call("talk_to_user", **arguments)

def last(request):
    return result(request.messages[-1].text)

typed = ScriptedModel(
    asks(question="How many bakeries?", kind="int"),
    asks(question="From when on?", kind="date", default="2020-01-01"),
    asks(question="Shall I look in Italy, too?", kind="yes_no"),
    asks(question="Which country?", choices=["France", "Italy", "Spain", "a long one " * 15]),
    asks(question="Anything to keep in mind?"),
    last,
)
timed = ScriptedModel(
    asks(question="Which town?", choices=["Lyon", "Lille"], default="Lyon", time_limit_seconds=4), last
)
secret = ScriptedModel(
    asks(question="The password of the <b>archive</b>?", kind="secret"),
    call("log_in", password="<secret:1>"),
    last,
)
mails = ScriptedModel(
    [call("send_mail", to=["ann@example.org"], text="First line\\n" + "All of it. " * 150),
     call("send_mail", to=["<img src=x onerror=alert(1)>", "\\u202egro.live@eve"], text="No")],
    last,
)"""

CELLS = [
    SETUP,
    "%%aesop -u -m typed\nFind bakeries.",
    "%%aesop -u -m timed\nChoose.",
    "%%aesop -u -t log_in -m secret\nRead the archive.",
    "%%aesop -t send_mail -m mails\nWrite to them.",
    "print(got == ['hunter2-sentinel'])",
]


def answer_by_keys(lab: Laboratory, i: int) -> None:
    """Chooses the second of four, with the keys that JupyterLab leaves to a page."""
    lab.set_width(480)
    assert lab.output(i).evaluate("node => node.scrollWidth <= node.clientWidth + 1")
    lab.set_width(1280)
    lab.output(i).get_by_role("button", name="1. France").focus()
    for key in ("Tab", "Space", "Tab", "Tab", "Tab", "Enter"):
        lab.page.keyboard.press(key)


def test_a_person_fills_in_the_forms(lab: Laboratory, tmp_path: Path) -> None:
    def shot(name: str, cell: int) -> None:
        """For a person to look at."""
        lab.screenshot(tmp_path / f"{name}.png", cell=cell)

    lab.open(CELLS)
    lab.run_all()

    lab.wait_for_text(1, "A whole number, such as 42")
    assert lab.page.evaluate("() => document.activeElement.tagName") not in ("INPUT", "TEXTAREA")
    lab.fill(1, "many")
    lab.click(1, "Send")
    lab.wait_for_text(1, "A whole number, such as 42, is expected, and 'many' is none.")
    assert lab.output(1).locator("input[type=text]").input_value() == "many"
    shot("typed", 1)
    lab.fill(1, "7\n")  # the Enter key sends it
    lab.wait_for_text(1, "From when on?")
    lab.click(1, "Send")
    lab.wait_for_text(1, "in Italy")
    shot("yes_no", 1)
    lab.page.wait_for_timeout(600)  # clicks right after another form are not heard
    lab.click(1, "Yes")
    lab.wait_for_text(1, "Which country?")
    answer_by_keys(lab, 1)
    lab.wait_for_text(1, "keep in mind")
    lab.page.wait_for_timeout(600)
    lab.click(1, "Skip")
    lab.wait_for_text(1, "The person skipped this question.")
    for text in ("7", "2020-01-01", "yes", "Italy", "(skipped)"):
        assert text in lab.text(1)

    lab.wait_for_text(2, "answer within 0:03, else “Lyon”")
    shot("countdown", 2)
    lab.wait_for_text(2, "answer within 0:01")
    lab.wait_for_text(2, "the default")

    lab.wait_for_text(3, "The password of the <b>archive</b>?")
    field = lab.output(3).locator("input[type=password]")
    field.click()
    field.press_sequentially("hunter2-sentinel")
    shot("secret", 3)
    lab.page.evaluate(
        """() => {
            const field = document.querySelector('input[type=password]');
            const watch = () => {
                if (!field.isConnected || !field.value) window.goneAt = performance.now();
                else requestAnimationFrame(watch);
            };
            document.addEventListener('click', () => { window.clickedAt = performance.now(); watch(); },
                {capture: true, once: true});
        }"""
    )
    lab.click(3, "Send")
    lab.wait_for_text(3, "logged in with <secret:1>")
    assert lab.page.evaluate("() => window.goneAt - window.clickedAt") < 400  # two busy cores, and a browser

    lab.wait_for_text(4, "May this be called?")
    shot("approval_light", 4)
    lab.set_theme("dark")
    lab.set_width(480)
    shot("approval_dark_480", 4)
    assert lab.output(4).evaluate("node => node.scrollWidth <= node.clientWidth + 1")
    lab.click(4, "Approve")
    lab.wait_for_text(4, "\\u202egro.live@eve")
    assert lab.output(4).locator("img").count() == 0
    lab.set_width(1280)
    shot("approval_dark", 4)
    lab.page.wait_for_timeout(600)
    lab.fill(4, "not to strangers")
    lab.click(4, "Deny")
    lab.wait_until_done(5)
    assert lab.stdout(5) == "True\n"
    lab.wait_for_text(4, "denied ✗: not to strangers")
    assert "approved ✓" in lab.text(4)
    shot("saved", 4)

    lab.save()
    saved = nbformat.writes(lab.saved_notebook())
    assert "sentinel" not in saved.replace("hunter2-sentinel'])", "")
    assert "application/vnd.jupyter.widget-view+json" not in saved
    assert lab.page_errors == []
