"""What scripts show: a status line in a terminal, lines in a log on request, short errors and exit codes."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helping import REPOSITORY, run_python

from aesop_nb.console.screens import Screen, columns_of, cut

pexpect = pytest.importorskip("pexpect")
needs_a_terminal = pytest.mark.skipif(sys.platform == "win32", reason="pexpect needs a terminal of its own")

UNSTORED = {"AESOP_STORE": "off"}

SCRIPT = """
import asyncio, time
from aesop_nb import Task, TaskConfig
from aesop_nb.testing import ScriptedModel, call, failure, result

def search(country: str) -> list[str]:
    print("looking")
    time.sleep(0.4)
    print("found", end=" ", flush=True)
    time.sleep(0.3)
    print("two")
    return ["Paul", "Kamps"]

def sleepy() -> str:
    time.sleep(60)

def found(*replies, **options):
    return Task("Find", name="find", tools=[search, sleepy], result_type=int,
                model=ScriptedModel(*replies, result(3)), **options)
"""


def spawn(tmp_path: Path, code: str, *, columns: int = 60, **environment: str) -> Any:
    """Runs a script of that code in a terminal."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT + code)
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "AESOP_"))}
    clean |= {"PYTHONPATH": str(REPOSITORY), "TERM": "xterm", "AESOP_STORE": "off", **environment}
    return pexpect.spawn(
        sys.executable, [str(script)], env=clean, encoding="utf-8", dimensions=(24, columns), timeout=30
    )


def ended(process: Any) -> tuple[str, int]:
    """What the rest of the process wrote, and its exit code."""
    process.expect(pexpect.EOF)
    process.close()
    return process.before, process.exitstatus


def on_screen(written: str) -> list[str]:
    """What a terminal shows after all that was written to it: carriage returns go back, letters replace."""
    lines: list[str] = []
    for written_line in written.split("\n"):
        cells: dict[int, str] = {}
        column = 0
        for character in written_line:
            if character == "\r":
                column = 0
                continue
            cells[column] = character
            wide = unicodedata.east_asian_width(character) in "WF"
            column += 2 if wide else 1
            if wide:
                cells[column - 1] = ""
        lines.append("".join(cells.get(i, " ") for i in range(max(cells, default=-1) + 1)).rstrip())
    return lines


def painted(written: str) -> list[str]:
    """All that was shown as the status line, in order."""
    return [piece.rstrip() for piece in written.split("\r") if piece.startswith("●")]


@needs_a_terminal
def test_a_terminal_shows_one_line_that_leaves_prints_and_questions_alone(tmp_path: Path) -> None:
    process = spawn(
        tmp_path,
        'print(found(call("search", country="\\x1b[2J"),'
        ' call("talk_to_user", question="Which\\x1b[2J \\u202eone?"), user_access=True).run())',
        NO_COLOR="1",
    )
    process.expect("\n> ")
    before = process.before
    process.sendline("blue")
    after, code = ended(process)
    written = f"{before}\n> {after}"
    assert code == 0
    assert "\x1b" not in written
    assert any(line.startswith("● find · calling search · 0.") for line in painted(before))
    *lines, rest = on_screen(written)
    assert lines[:3] == ["looking", "found two", "Which\\x1b[2J \\u202eone?"]
    assert lines[-3] == "> blue"
    assert lines[-2].startswith("completed ✓ find · ")
    assert lines[-1] == "3"
    assert rest == ""


@needs_a_terminal
def test_the_line_fits_a_narrow_terminal(tmp_path: Path) -> None:
    process = spawn(tmp_path, 'found(call("search", country="x")).run()', columns=24)
    written, code = ended(process)
    assert code == 0
    assert painted(written)
    assert max(columns_of(line) for line in painted(written)) <= 23


@needs_a_terminal
def test_ctrl_c_cancels_with_a_short_message_and_130(tmp_path: Path) -> None:
    process = spawn(tmp_path, 'found(call("sleepy")).run()\nprint("not reached")')
    process.expect("calling sleepy")
    process.sendintr()
    written, code = ended(process)
    assert code == 130
    assert "RunInterrupted: find was interrupted; kept 0 steps." in written
    assert "Traceback" not in written
    assert "not reached" not in written


@needs_a_terminal
def test_a_terminal_that_cannot_repaint_gets_a_line_for_each_step(tmp_path: Path) -> None:
    written, code = ended(spawn(tmp_path, 'found(call("search", country="x")).run()', TERM="dumb"))
    lines = on_screen(written)
    assert code == 0
    assert "\r" not in written.replace("\r\n", "\n")
    assert lines[0] == "r1 ● started: find"
    assert 'r1 ✓ search(country="x") → 2 results · 0.7 s' in lines
    assert lines[-2].startswith("completed ✓ find")


@needs_a_terminal
def test_awaited_runs_show_the_line_too_and_several_are_counted(tmp_path: Path) -> None:
    code = (
        "async def both():\n"
        '    await asyncio.gather(*(found(call("search", country="x")).run_async() for _ in range(2)))\n'
        "asyncio.run(both())"
    )
    written, code_ = ended(spawn(tmp_path, code, columns=100))
    assert code_ == 0
    assert any(line.endswith("· 1 more") for line in painted(written))
    assert sum(line.startswith("completed ✓ find") for line in on_screen(written)) == 2


@needs_a_terminal
@pytest.mark.parametrize("switch", [{"AESOP_VIEW": "off"}, {"AESOP_PROGRESS": "0"}])
def test_a_terminal_shows_nothing_where_it_is_switched_off(tmp_path: Path, switch: dict[str, str]) -> None:
    written, _ = ended(spawn(tmp_path, 'found(call("search", country="x")).run()', **switch))
    assert on_screen(written) == ["looking", "found two", ""]


def test_a_pipe_gets_nothing_unasked_and_a_line_for_each_step_on_request() -> None:
    code = SCRIPT + 'found(call("search", country="a\\x1b[2Jb"), call("nothing")).run()'
    quiet = run_python(code, environment=UNSTORED)
    assert (quiet.returncode, quiet.stderr) == (0, "")
    told = run_python(code, environment={**UNSTORED, "AESOP_PROGRESS": "1"})
    assert told.stdout == quiet.stdout
    lines = told.stderr.splitlines()
    assert lines[0] == "r1 ● started: find"
    assert lines[1].startswith('r1 ✓ search(country="a\\u001b[2Jb") → 2 results · 0.7 s')
    assert lines[2].startswith("r1 ✗ nothing")
    assert lines[3].startswith("completed ✓ find")
    assert len(lines) == 4


def test_the_lines_of_many_steps_and_of_many_runs_are_bounded() -> None:
    code = """
from aesop_nb import Task, TaskConfig
from aesop_nb.testing import ScriptedModel, call, result
def step() -> str:
    return "x"
calls = [[call("step") for _ in range(50)] for _ in range(10)]
model = ScriptedModel(*calls, result("done"))
Task("Go", name="go", tools=[step], config=TaskConfig(max_turns=20), model=model).run()
Task("Once", name="once", model=ScriptedModel("x")).run()
for run in [Task("Many", name="many", model=ScriptedModel("x")).start() for _ in range(300)]:
    run.wait()
"""
    told = run_python(code, environment={**UNSTORED, "AESOP_PROGRESS": "1"})
    assert told.returncode == 0, told.stderr
    lines = told.stderr.splitlines()
    steps = [line for line in lines if line.startswith("r1 ✓")]
    assert len(steps) == 20 + 4
    assert steps[-1].endswith("(and 299 steps before it)")
    assert any(line.startswith("completed ✓ once") for line in lines)
    assert len(lines) < 100
    left_out = sum(int(line.split()[1]) for line in lines if line.endswith("left out"))
    assert left_out + sum(line.startswith(("completed ✓ many", "r")) for line in lines) - len(steps) == 602


def test_an_error_that_ends_a_script_is_short_and_cannot_write_to_the_terminal(tmp_path: Path) -> None:
    script = tmp_path / "report.py"
    script.write_text(SCRIPT + 'found(failure("no \\x1b[2Jbakeries")).run()')
    ran = run_python(
        f"import runpy; runpy.run_path({str(script)!r}, run_name='__main__')", environment=UNSTORED
    )
    assert ran.returncode == 1
    assert "\x1b" not in ran.stderr
    assert 'report.py", line ' in ran.stderr
    assert "running.py" not in ran.stderr
    assert ran.stderr.splitlines()[-1].startswith("TaskFailed: ")
    assert "no \\x1b[2Jbakeries" in ran.stderr


def test_errors_of_others_and_hooks_of_others_stay_as_they_are() -> None:
    others = run_python(SCRIPT + "found().run(); 1 / 0", environment=UNSTORED)
    assert others.returncode == 1
    assert others.stderr.splitlines()[-1] == "ZeroDivisionError: division by zero"
    code = "import sys; sys.excepthook = lambda *_: print('theirs')\n" + SCRIPT + "found(failure('no')).run()"
    assert run_python(code, environment=UNSTORED).stdout == "theirs\n"


# The screen -------------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    """A stream that is a terminal of 80 columns."""

    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        raise io.UnsupportedOperation("fileno")


@contextlib.contextmanager
def on(terminal: io.StringIO) -> Iterator[Screen]:
    """A screen on this terminal, with a line that can be painted."""
    screen = Screen()
    with contextlib.redirect_stdout(terminal), contextlib.redirect_stderr(terminal), screen.open():
        yield screen


def test_texts_are_cut_to_the_columns_they_take() -> None:
    assert cut("12345", 5) == "12345"
    assert cut("123456", 5) == "1234…"
    assert cut("日本語", 6) == "日本語"
    assert cut("日本語", 5) == "日本…"
    assert columns_of("e\u0301日") == 3


def test_the_line_waits_while_somebody_else_is_in_the_middle_of_a_line() -> None:
    terminal = Terminal()
    with on(terminal) as screen:
        print("half", end="")
        screen.paint("status")
        assert "status" not in terminal.getvalue()
        print(" whole")
        screen.paint("status")
        assert terminal.getvalue() == "half whole\n\rstatus\r"
    assert on_screen(terminal.getvalue()) == ["half whole", ""]


def test_the_line_stays_away_when_somebody_takes_the_file_behind_a_stream() -> None:
    terminal = Terminal()
    with on(terminal) as screen:
        screen.paint("status")
        with pytest.raises(io.UnsupportedOperation):
            sys.stdout.fileno()
        screen.paint("again")
        assert on_screen(terminal.getvalue()) == [""]
        assert "again" not in terminal.getvalue()


def test_a_stream_that_somebody_put_over_ours_stays() -> None:
    theirs, before = io.StringIO(), sys.stdout
    try:
        with Screen().open():
            sys.stdout = theirs
        assert sys.stdout is theirs
    finally:
        sys.stdout = before


def test_a_question_that_ends_without_enter_leaves_its_line() -> None:
    terminal = Terminal()
    with on(terminal) as screen:
        screen.begin_question()
        terminal.write("Which? > ")
        screen.end_question(is_entered=False)
        screen.print("cancelled")
        screen.begin_question()
        terminal.write("Which? > yes\n")
        screen.end_question(is_entered=True)
        screen.end_question(is_entered=False)
        screen.print("done")
    assert on_screen(terminal.getvalue()) == ["Which? > ".rstrip(), "cancelled", "Which? > yes", "done", ""]


def test_a_line_that_does_not_change_is_not_written_again() -> None:
    terminal = Terminal()
    with on(terminal) as screen:
        for _ in range(10):
            screen.paint("status")
        assert terminal.getvalue() == "\rstatus\r"


def test_a_terminal_that_is_gone_harms_nothing() -> None:
    class Gone(Terminal):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    with on(Gone()) as screen:
        screen.paint("status")
        screen.print("line")
