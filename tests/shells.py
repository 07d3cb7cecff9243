"""A real IPython shell in which tests run cells."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

from IPython.core.error import UsageError as IPythonUsageError
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from aesop_nb.testing import ScriptedModel


@contextlib.contextmanager
def fresh_shell(config: Config | None = None) -> Iterator[Any]:
    """A shell of its own, without the magics; the test sets `IPYTHONDIR` to a folder of its own before."""
    config = config or Config()
    config.HistoryManager.enabled = False
    config.InteractiveShell.colors = "nocolor"
    InteractiveShell.clear_instance()
    # The hooks that a shell sets for its process, as they were.
    before = sys.displayhook, sys.excepthook
    try:
        yield InteractiveShell.instance(config=config)
    finally:
        sys.displayhook, sys.excepthook = before
        InteractiveShell.clear_instance()


class Notebook:
    """A shell that runs cells and keeps what each one displayed."""

    def __init__(self, shell: Any, capture: Callable[[], Any]) -> None:
        self.shell = shell
        self._capture = capture
        self.printed = ""
        self.errors = ""

    def __getitem__(self, name: str) -> Any:
        return self.shell.user_ns[name]

    def __contains__(self, name: str) -> bool:
        return name in self.shell.user_ns

    def script(self, *replies: Any) -> ScriptedModel:
        """Puts a scripted model into the variable `m`."""
        model = ScriptedModel(*replies)
        self.shell.user_ns["m"] = model
        return model

    def run(self, cell: str) -> Any:
        """Runs a cell that must end well, and gives what it displays."""
        ended = self._run(cell)
        assert ended.success, self.errors
        return ended.result

    def fail(self, cell: str) -> BaseException:
        """Runs a cell that must fail, and gives the error."""
        ended = self._run(cell)
        assert isinstance(ended.error_in_exec, BaseException)
        return ended.error_in_exec

    def mistake(self, cell: str) -> str:
        """Runs a cell that must fail with one line on stderr, and gives it without its label."""
        assert type(self.fail(cell)) is IPythonUsageError
        assert self.printed == ""
        (line,) = self.errors.splitlines()
        assert line.startswith("UsageError: ")
        return line.removeprefix("UsageError: ")

    def _run(self, cell: str) -> Any:
        self._capture()
        ended = self.shell.run_cell(cell, store_history=True)
        captured = self._capture()
        self.printed, self.errors = captured.out, captured.err
        return ended
