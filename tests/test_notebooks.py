"""The notebooks people learn from run without a key and without a network, and their records are saved."""

from __future__ import annotations

import html
import os
import re
from pathlib import Path

import nbclient
import nbformat
import pytest
from nbconvert import HTMLExporter, MarkdownExporter

pytestmark = pytest.mark.kernel

FOLDER = Path(__file__).parent.parent / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
WIDGET = "application/vnd.jupyter.widget-view+json"


def execute(path: Path, home: Path) -> nbformat.NotebookNode:
    notebook = nbformat.read(path, as_version=4)
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "AESOP_"))
    }
    environment["AESOP_HOME"] = str(home)  # a store that nobody has used, so that outputs are the saved ones
    client = nbclient.NotebookClient(notebook, timeout=60, resources={"metadata": {"path": str(FOLDER)}})
    client.execute(env=environment)
    return notebook


def outputs(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def words(page: str) -> str:
    """The page as it is read: without tags, on one line."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page)).split())


def page(notebook: nbformat.NotebookNode) -> str:
    return words(
        "\n".join(output.data.get("text/html", "") for output in outputs(notebook) if "data" in output)
    )


@pytest.fixture(scope="module", params=NOTEBOOKS, ids=lambda path: path.stem)
def executed(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, nbformat.NotebookNode]:
    return request.param, execute(request.param, tmp_path_factory.mktemp("home"))


def test_the_notebook_runs_and_saves_no_widgets(executed: tuple[Path, nbformat.NotebookNode]) -> None:
    _, notebook = executed
    nbformat.validate(notebook)
    assert not [output for output in outputs(notebook) if WIDGET in output.get("data", {})]
    assert "widgets" not in notebook.metadata
    assert "completed ✓" in page(notebook)
    assert "rehearsal" in page(notebook)


def test_the_saved_outputs_are_those_of_the_cells(executed: tuple[Path, nbformat.NotebookNode]) -> None:
    """The saved notebook shows the same kinds of outputs, and the same frames, as a new run of its cells.

    A frame of measured times differs from run to run; its cell has the tag `times`.
    """
    path, notebook = executed
    saved = nbformat.read(path, as_version=4)

    def shape(node: nbformat.NotebookNode) -> list[object]:
        kinds = [(output.output_type, sorted(output.get("data", {}))) for output in outputs(node)]
        frames = [
            output.data["text/plain"]
            for cell in node.cells
            if cell.cell_type == "code" and "times" not in cell.metadata.get("tags", [])
            for output in cell.outputs
            if output.output_type == "execute_result"
        ]
        return [kinds, [text for text in frames if "✓" not in text and "! " not in text]]

    assert shape(saved) == shape(notebook)


def test_the_notebook_converts_to_pages_that_show_what_happened(
    executed: tuple[Path, nbformat.NotebookNode],
) -> None:
    path, notebook = executed
    for exporter in (HTMLExporter(), MarkdownExporter()):
        body = words(exporter.from_notebook_node(notebook)[0])
        assert "completed ✓" in body
        if path.stem == "01_quickstart":
            assert re.search(r"search_bakeries ?\(country=\S+\) ✓ done · 3 results", body)
            assert "two days, no cars" in body
