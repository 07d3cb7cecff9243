"""`python -m aesop_nb`: the quickstart without a browser, and the doctor without a kernel."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import nbclient
import nbformat
import pytest
from helping import REPOSITORY

from aesop_nb import UsageError
from aesop_nb.__main__ import main
from aesop_nb.demos import demo, quickstart


@pytest.mark.kernel
def test_the_demo_runs_the_quickstart_and_prints_what_it_shows() -> None:
    shown: list[str] = []
    assert demo(shown.append)
    text = "\n".join(shown)
    assert len(shown) == len(nbformat.read(quickstart(), as_version=4).cells)
    assert "    │ %%aesop bakeries <<" in text
    assert "completed ✓ List the bakery chains of France" in text
    assert "Brioche Dorée" in text
    assert "You answered: two days, no cars" in text


@pytest.mark.kernel
def test_a_demo_that_fails_says_so_and_shows_the_error_without_escapes(tmp_path: Path) -> None:
    path = tmp_path / "broken.ipynb"
    cells = [nbformat.v4.new_code_cell(source) for source in ("print('\\x1b[2Jhello')", "1 / 0", "print(1)")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    shown: list[str] = []
    assert not demo(shown.append, path=path)
    assert shown[0] == "    │ print('\\x1b[2Jhello')\n    \\x1b[2Jhello\n"
    assert "ZeroDivisionError: division by zero" in shown[1]
    assert len(shown) == 2
    assert "\x1b" not in "".join(shown)


@pytest.mark.parametrize("error", [asyncio.CancelledError, AssertionError])
def test_ctrl_c_ends_the_demo_with_130_whatever_nbclient_makes_of_it(
    monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    def execute(client: nbclient.NotebookClient, **_: object) -> None:
        client._async_cleanup_kernel_future = None
        raise error

    monkeypatch.setattr(nbclient.NotebookClient, "execute", execute)
    assert main(["demo"]) == 130


def test_what_the_demo_needs_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "nbclient", None)
    with pytest.raises(UsageError, match=r"The demo needs nbclient, .*: pip install 'aesop_nb\[lab\]'"):
        demo(print)
    assert main(["demo"]) == 1
    assert "pip install" in capsys.readouterr().err


def test_the_doctor_speaks_without_a_kernel() -> None:
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-m", "aesop_nb", "doctor"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "✓ kernel     none: " in ran.stdout
    assert "✓ versions   Python " in ran.stdout


def test_a_command_that_is_not_there_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        main(["dmeo"])
    assert refused.value.code == 2
    assert "invalid choice" in capsys.readouterr().err
