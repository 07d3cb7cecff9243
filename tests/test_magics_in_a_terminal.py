"""The magics work in IPython's terminal, and a question is asked with `input()` there."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pexpect
import pytest

PROMPT = r"In \[\d+\]: "


pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="pexpect needs a terminal of its own")


@pytest.fixture(params=["dumb"])
def terminal(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """IPython in a terminal of that kind, with the extension loaded; a prompt has just been shown."""
    environment = {
        **os.environ,
        "IPYTHONDIR": str(tmp_path),
        "PYTHONPATH": str(Path(__file__).parents[1]),
        "AESOP_STORE": "off",
        "TERM": request.param,
    }
    arguments = ["-m", "IPython", "--simple-prompt", "--no-banner", "--colors=nocolor"]
    process = pexpect.spawn(sys.executable, arguments, env=environment, encoding="utf-8", timeout=60)
    process.expect(PROMPT)
    process.sendline("%load_ext aesop_nb")
    process.expect(PROMPT)
    yield process
    process.close(force=True)


def test_cells_lines_and_questions_in_a_terminal(terminal: Any) -> None:
    shown = []
    for lines in (
        ["%%aesop n << -r int", "Count {{1 + 1}}", "", ""],
        ["'n', n"],
        ["%%aesop --modle x", "Go", "", ""],
    ):
        for line in lines:
            terminal.sendline(line)
        terminal.expect(PROMPT)
        shown.append(terminal.before)
    for line in ["%%aesop -u --max-seconds 60", "Go", "", ""]:
        terminal.sendline(line)
    terminal.expect("\n> ")
    terminal.sendline("only blue ones")
    terminal.expect(PROMPT)
    assert "('n', 0)" in shown[1]
    assert "UsageError: There is no option '--modle'. Did you mean '--model'?" in shown[2]
    assert "Traceback" not in "".join(shown)
    assert "You answered: only blue ones" in terminal.before


def test_a_question_of_a_run_in_the_background_leaves_the_prompt_alone(terminal: Any) -> None:
    terminal.sendline("r = %aesop ask -u --bg Plan it")
    terminal.expect(PROMPT)
    terminal.sendline("import time; time.sleep(0.5); 40 + 2")
    terminal.expect(PROMPT)
    assert "42" in terminal.before
    terminal.sendline("%aesop answer only blue ones")
    terminal.expect(PROMPT)
    terminal.sendline("%aesop wait")
    terminal.expect(PROMPT)
    assert "You answered: only blue ones" in terminal.before


def test_an_interrupt_at_a_question_shows_no_traceback(terminal: Any) -> None:
    terminal.sendline("%aesop ask -u Plan it")
    terminal.expect("\n> ")
    terminal.sendintr()
    terminal.expect(PROMPT)
    assert "RunInterrupted" in terminal.before
    assert "Traceback" not in terminal.before
    terminal.sendline("40 + 2")
    terminal.expect(PROMPT)
    assert "42" in terminal.before


@pytest.mark.parametrize(
    ("terminal", "is_painted"), [("dumb", False), ("xterm", True)], indirect=["terminal"]
)
def test_a_run_that_is_waited_for_is_followed_and_its_end_is_shown_once(
    terminal: Any, is_painted: bool
) -> None:
    terminal.sendline("def search() -> str: import time; time.sleep(0.6); return 'x'")
    terminal.sendline("")
    terminal.expect(PROMPT)
    terminal.sendline("n = %aesop ask -r int -t search Count")
    terminal.expect("completed ✓ Count")
    assert ("calling search · 0." in terminal.before) == is_painted
    assert ("✓ search() → x · 0.6 s" in terminal.before) != is_painted
    terminal.expect(PROMPT)
    terminal.sendline("40 + 2")
    terminal.expect("42")
    assert "completed" not in terminal.before
