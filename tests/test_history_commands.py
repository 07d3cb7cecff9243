"""`%aesop cost | history | replay | why-not-reused`, and stored runs in cells."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import pytest
from helping import at_every_start
from shells import Notebook, fresh_shell

from aesop_nb import settings
from aesop_nb.notebook import magics, view
from aesop_nb.notebook.history_commands import show_stored_runs
from aesop_nb.sessions import last_run
from aesop_nb.store import default_store
from aesop_nb.stored_runs import StoredRun

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def nb(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Iterator[Notebook]:
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setattr("aesop_nb.sessions._recent", deque(maxlen=100))
    with fresh_shell() as bare_shell:
        magics.register(bare_shell)
        show_stored_runs(bare_shell)
        made = Notebook(bare_shell, capsys.readouterr)
        made.run("import aesop_nb as aesop")
        made.script("hi")
        made.run("%%aesop -m m -n greet\nSay hi")
        yield made
        magics.unregister(bare_shell)


def test_costs_are_frames_by_task_by_day_and_of_one_run(nb: Notebook) -> None:
    assert nb.run("%aesop cost")["task"].tolist()[-1:] == ["greet"]
    assert "model" in nb.run("%aesop cost by model").columns
    run = last_run()
    assert run is not None
    assert nb.run(f"%aesop cost {run.id}")["run_id"].tolist() == [run.id]
    assert "Did you mean 'model'" in nb.mistake("%aesop cost by modell")


def test_the_history_says_where_it_is_and_when_it_is_too_large(nb: Notebook) -> None:
    said = nb.run("%aesop history").text
    assert str(default_store().path) in said
    assert "1 run · the oldest of 20" in said
    settings.history_max_mb = 0.0001
    assert "more than history_max_mb" in nb.run("%aesop history").text
    assert "Did you mean 'export'" in nb.mistake("%aesop history exprt x")


def test_the_history_is_exported_imported_and_cleared(nb: Notebook, tmp_path: Path) -> None:
    file = tmp_path / "my history.jsonl"
    assert nb.run(f'%aesop history export "{file}"').text.startswith("wrote 1 run to")
    assert nb.run("%aesop history clear --before 2020-01-01").text == "deleted 0 runs"
    assert "--all" in nb.mistake("%aesop history clear")
    assert nb.run("%aesop history clear --all").text == "deleted 1 run"
    assert nb.run(f'%aesop history import "{file}"').text == "added 1 run"


def test_a_stored_run_shows_like_a_live_one_and_can_be_replayed(nb: Notebook) -> None:
    run = last_run()
    assert run is not None
    default_store().flush()
    back = StoredRun(default_store().events(run.id))
    html = nb.shell.display_formatter.format(back)[0]["text/html"]
    assert "greet" in html
    assert nb.run(f"%aesop show {run.id}")._repr_html_() == html
    assert nb.run(f"%aesop replay {run.id} --speed 100") is None
    assert "must be a number" in nb.mistake("%aesop replay --speed x")


def test_why_not_reused_takes_a_run_or_a_task(nb: Notebook) -> None:
    nb.run("t = aesop.Task('Other', name='greet', model=m)")
    assert "the objective" in nb.run("%aesop why-not-reused t").text
    assert "No completed run" in nb.run("%aesop why-not-reused").text


def test_a_stored_run_shows_the_runs_inside_it_and_each_can_be_replayed(
    nb: Notebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    nb.run(
        "from aesop_nb.testing import ScriptedModel, call\n"
        "def inner() -> str:\n"
        "    return aesop.Task('Inner', name='inner task', model=ScriptedModel('in')).run()\n"
        "outer = aesop.Task('Outer', tools=[inner], model=ScriptedModel(call('inner'), 'out')).start()\n"
        "outer.wait()"
    )
    outer, inner = nb["outer"].id, nb["outer"].children[0].id
    monkeypatch.setattr("aesop_nb.sessions._recent", deque(maxlen=100))
    assert "inner task" in nb.run(f"%aesop show {outer}")._repr_html_()
    html = nb.shell.display_formatter.format(nb.run(f"aesop.run({outer!r})"))[0]["text/html"]
    assert "1 run inside: 1 completed" in html
    seen: list[str] = []
    monkeypatch.setattr("aesop_nb.notebook.view._record_at_end", lambda run: seen.append(run.id))
    monkeypatch.setattr("aesop_nb.notebook.view.front_end", lambda: "html")
    with at_every_start(view.begin):
        nb.run(f"%aesop replay {inner}")
    assert seen == [inner]


def test_a_row_of_a_map_shows_by_its_id(nb: Notebook) -> None:
    nb.run("from aesop_nb import task")
    nb.run("from aesop_nb.testing import ScriptedModel, result")
    nb.run("said = aesop.Task('Say {{value}}', model=ScriptedModel(result('hello row')))")
    nb.run("from aesop_nb.mapping.maps import map_of")
    nb.run("row = map_of(said, ['x']).run()['_run_id'][0]")
    assert f"run {nb['row']}" in repr(nb.run(f"%aesop show {nb['row']}"))
    assert nb.run(f"%aesop events {nb['row']}")["type"].iloc[-1] == "run_completed"
