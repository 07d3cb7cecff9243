"""`python -m aesop_nb demo`: the quickstart notebook, run in a real kernel, printed as it goes."""

from __future__ import annotations

import asyncio
import importlib
import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .errors import UsageError
from .texts import visible

NOTEBOOK = "01_quickstart.ipynb"
SECONDS_PER_CELL = 120

_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_CODE_MARK, _OUTPUT_MARK = "    │ ", "    "


def demo(show: Callable[[str], object], *, path: Path | None = None) -> bool:
    """Runs the quickstart as nbclient runs notebooks, and shows cells and what they give, one after the other.

    Args:
        show: Gets one block of text after the other.
        path: Another notebook to run; `None` is the quickstart.

    Returns:
        Whether all cells ended well.

    Raises:
        UsageError: If the notebook, or a package that runs notebooks, is not there.
        KeyboardInterrupt: After Ctrl-C; the kernel is gone then.
    """
    nbclient, nbformat = _runners()
    notebook = nbformat.read(path or quickstart(), as_version=4)
    shown_to = 0

    def show_up_to(number: int) -> None:
        nonlocal shown_to
        for cell in notebook.cells[shown_to:number]:
            show(_cell_text(cell))
        shown_to = number

    with tempfile.TemporaryDirectory() as folder:
        client = nbclient.NotebookClient(
            notebook,
            timeout=SECONDS_PER_CELL,
            resources={"metadata": {"path": folder}},
            extra_arguments=["--Application.log_level=ERROR"],
            on_cell_executed=lambda cell, cell_index, execute_reply: show_up_to(cell_index + 1),
        )
        try:
            client.execute(env=_environment(folder))
        except nbclient.exceptions.CellExecutionError:
            return False
        except (Exception, asyncio.CancelledError):
            # At Ctrl-C nbclient ends the kernel, and then misses it, which shows as one error or another:
            # https://github.com/jupyter/nbclient/blob/v0.10.2/nbclient/client.py#L605
            if hasattr(client, "_async_cleanup_kernel_future"):
                raise KeyboardInterrupt from None
            raise
    show_up_to(len(notebook.cells))
    return True


def quickstart() -> Path:
    """Gives where the quickstart stands: in the checkout, or beside the modules of an installed package.

    Raises:
        UsageError: If it is in neither place.
    """
    here = Path(__file__).parent
    for candidate in (here.parent / "notebooks" / NOTEBOOK, here / NOTEBOOK):
        if candidate.is_file():
            return candidate
    raise UsageError(f"{NOTEBOOK} is not here; get it from the project's repository, folder notebooks/.")


def _runners() -> tuple[Any, Any]:
    try:
        return importlib.import_module("nbclient"), importlib.import_module("nbformat")
    except ModuleNotFoundError as exc:
        raise UsageError(
            f"The demo needs {exc.name}, which runs notebooks: pip install 'aesop_nb[lab]'."
        ) from exc


def _environment(folder: str) -> dict[str, str]:
    """The kernel finds this very package, leaves nothing in the person's store, and tells no step twice."""
    paths = [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        "AESOP_HOME": folder,
        "AESOP_PROGRESS": "0",
    }


def _cell_text(cell: Any) -> str:
    if cell.cell_type != "code":
        return f"{cell.source.strip()}\n"
    code = "\n".join(f"{_CODE_MARK}{line}" for line in cell.source.splitlines())
    said = [text for text in map(_output_text, cell.outputs) if text]
    return "\n".join([code, *(_indented(text) for text in said)]) + "\n"


def _output_text(output: Any) -> str:
    match output.output_type:
        case "stream":
            text = output.text
        case "error":
            text = "\n".join(output.traceback) or f"{output.ename}: {output.evalue}"
        case _:
            text = output.data.get("text/plain", "")
    return visible(_ANSI.sub("", text)).rstrip()


def _indented(text: str) -> str:
    return "\n".join(f"{_OUTPUT_MARK}{line}" for line in text.splitlines())
