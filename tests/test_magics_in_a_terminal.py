"""The magics work in IPython's terminal, and a question is asked with `input()` there."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pexpect
import pytest

PROMPT = r"In \[\d+\]: "


@pytest.mark.skipif(sys.platform == "win32", reason="pexpect needs a terminal of its own")
def test_cells_lines_and_questions_in_a_terminal(tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "IPYTHONDIR": str(tmp_path),
        "PYTHONPATH": str(Path(__file__).parents[1]),
        "TERM": "dumb",
    }
    arguments = ["-m", "IPython", "--simple-prompt", "--no-banner", "--colors=nocolor"]
    terminal = pexpect.spawn(sys.executable, arguments, env=environment, encoding="utf-8", timeout=60)
    try:
        shown = []
        for lines in (
            ["%load_ext aesop_nb"],
            ["%%aesop n << -r int", "Count {{1 + 1}}", "", ""],
            ["'n', n"],
            ["%%aesop --modle x", "Go", "", ""],
            ["%%aesop -u --max-seconds 60", "Go", "", ""],
        ):
            terminal.expect(PROMPT)
            shown.append(terminal.before)
            for line in lines:
                terminal.sendline(line)
        terminal.expect("\n> ")
        terminal.sendline("only blue ones")
        terminal.expect(PROMPT)
        assert "('n', 0)" in shown[3]
        assert "UsageError: There is no option '--modle'. Did you mean '--model'?" in shown[4]
        assert "Traceback" not in "".join(shown)
        assert "You answered: only blue ones" in terminal.before
    finally:
        terminal.close(force=True)
