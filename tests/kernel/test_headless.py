"""Notebooks that a program runs: parameters, answers, exit codes, and steps told where the program's words go."""

import os
import subprocess
import sys
from pathlib import Path

import nbclient
import nbformat
import pytest

pytestmark = pytest.mark.kernel

REPOSITORY = Path(__file__).parents[2]
WIDGET = "application/vnd.jupyter.widget-view+json"

LOAD = "%load_ext aesop_nb"
SETUP = f"""{LOAD}
from aesop_nb import settings
from aesop_nb.testing import ScriptedModel, call, failure, result
settings.banner = False

def search(country: str) -> list[str]:
    return [country, "Kamps"]
"""


def notebook(*sources, parameters=None):
    """A notebook of these cells; `parameters` are put in as papermill puts them in."""
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    if parameters is not None:
        tags = {"tags": ["injected-parameters"]}
        cells.insert(1, nbformat.v4.new_code_cell(parameters, metadata=tags))
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})


def environment(tmp_path):
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "AESOP_"))}
    paths = os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])
    return {
        **clean,
        "PYTHONPATH": paths,
        "IPYTHONDIR": str(tmp_path / "ipython"),
        "AESOP_HOME": str(tmp_path),
    }


def run_by_jupyter(tmp_path, *notebooks):
    """What `jupyter execute` ended with."""
    paths = []
    for number, node in enumerate(notebooks):
        paths.append(tmp_path / f"{number}.ipynb")
        nbformat.write(node, paths[-1])
    return subprocess.run(
        [sys.executable, "-m", "jupyter", "execute", "--inplace", *map(str, paths)],
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def texts(cell):
    return [output.get("data", {}).get("text/plain", output.get("text", "")) for output in cell.outputs]


def test_a_program_runs_parameters_answers_and_questions(tmp_path):
    node = notebook(
        SETUP + "country, color = 'France', 'red'",
        "m = ScriptedModel(call('search', country=country), result(2))",
        "%%aesop n << -m m -r int -t search\nCount the bakeries of {{country}}, {{color}} ones.",
        "asks = ScriptedModel(call('talk_to_user', question='Which one?'), 'done')",
        "%%aesop -u -m asks --answer blue\nAsk",
        "import time; begun = time.monotonic(); again = ScriptedModel(call('talk_to_user', question='Which?'))",
        "%%aesop -u -m again\nAsk",
        "print(time.monotonic() - begun)",
        "print(m.requests[0].messages[-1].text)",
        parameters="country = 'Spain'",
    )
    client = nbclient.NotebookClient(node, timeout=60, allow_errors=True)
    client.execute(env=environment(tmp_path))
    cells = node.cells
    assert "Count the bakeries of Spain, red ones." in texts(cells[9])[0]
    assert any("completed ✓ Count" in text for text in texts(cells[3]))
    assert any("completed ✓ Ask" in text for text in texts(cells[5]))
    (error,) = (output for output in cells[7].outputs if output.output_type == "error")
    assert error.ename == "NeedsHuman"
    assert "Which?" in error.evalue
    assert float(texts(cells[8])[0]) < 2
    for cell in cells:  # no step is told twice: the notebook has the block
        assert not [output for output in cell.outputs if output.get("name") == "stderr"]
        assert not [output for output in cell.outputs if WIDGET in output.get("data", {})]


def test_jupyter_execute_tells_each_step_and_ends_with_the_failure(tmp_path):
    well = notebook(
        SETUP,
        "m = ScriptedModel(call('search', country='\\x1b[2J'), result(2))",
        "%%aesop -m m -r int -t search\nCount",
    )
    badly = notebook(SETUP, "m = ScriptedModel(failure('no bakeries'))", "%%aesop -m m\nLook", "print('no')")
    ran = run_by_jupyter(tmp_path, well, badly)
    assert ran.returncode != 0
    said = [line.partition(" ")[2] for line in ran.stderr.splitlines() if line[:2] in ("r1", "r2")]
    assert said[:2] == ["● started: Count", '✓ search(country="\\u001b[2J") → 2 results · <0.1 s']
    assert "completed ✓ Count" in ran.stderr
    assert "failed ✗ Look" in ran.stderr
    assert "no bakeries" in ran.stderr
    saved = nbformat.read(tmp_path / "0.ipynb", as_version=4)
    assert [output.output_type for output in saved.cells[2].outputs] == ["display_data", "execute_result"]


def test_papermill_gives_its_parameters(tmp_path):
    papermill = pytest.importorskip("papermill")
    cell = nbformat.v4.new_code_cell("country = 'France'", metadata={"tags": ["parameters"]})
    node = notebook(
        SETUP + "m = ScriptedModel('ok')",
        "%%aesop -m m\nGo to {{country}}",
        "m.requests[0].messages[-1].text",
    )
    node.cells.insert(1, cell)
    for made in node.cells:
        made.metadata.setdefault("tags", [])
    source, target = tmp_path / "in.ipynb", tmp_path / "out.ipynb"
    nbformat.write(node, source)
    code = (
        "import sys, papermill\n"
        f"papermill.execute_notebook({str(source)!r}, {str(target)!r}, parameters={{'country': 'Spain'}}, "
        "progress_bar=False, kernel_name='python3')"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code],
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert papermill.__version__
    assert ran.returncode == 0, ran.stderr
    assert "Go to Spain" in texts(nbformat.read(target, as_version=4).cells[-1])[0]
    assert "● started: Go to Spain" in ran.stderr
