"""`[tool.aesop_nb]` of the nearest pyproject.toml: found, checked, and put in its place."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helping import REPOSITORY
from shells import fresh_shell

import aesop_nb
from aesop_nb import Settings, UsageError, project_settings

SPENDS = """
import json, pathlib, aesop_nb
from aesop_nb import Task, settings
from aesop_nb.testing import ScriptedModel
"""


def write(folder: Path, table: str) -> Path:
    path = folder / "pyproject.toml"
    path.write_text(f"[project]\nname = 'x'\n\n[tool.aesop_nb]\n{table}\n", encoding="utf-8")
    return path


def said_in(folder: Path, code: str, **environment: str) -> Any:
    """What `code` prints as JSON in a fresh interpreter that works in `folder`."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", SPENDS + code],
        cwd=folder,
        env={"PYTHONPATH": str(REPOSITORY), "HOME": str(folder), "AESOP_STORE": "off", **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def unread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As in a process that has not read the file yet, and assigned nothing."""
    monkeypatch.setattr(project_settings, "_is_read", False)
    aesop_nb.settings._assigned.clear()
    yield
    aesop_nb.settings._of_project.clear()


def test_the_nearest_file_upwards_counts(tmp_path: Path) -> None:
    write(tmp_path, 'model = "far"\nreuse = true')
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    assert project_settings.project_settings(inner) == {"model": "far", "reuse": True}
    write(tmp_path / "a", 'model = "near"')
    assert project_settings.project_settings(inner) == {"model": "near"}


def test_a_file_without_the_table_sets_nothing(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.other]\nmodel = 'x'\n")
    assert project_settings.project_settings(tmp_path) == {}
    assert project_settings.project_settings(None) == {}


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("modle = 'x'", r"pyproject\.toml: \[tool\.aesop_nb\] has no setting 'modle'\. Did you mean 'model'"),
        ("eager-mode = true", "has no setting 'eager-mode'. Did you mean 'eager_mode'"),
        ("reuse = 'yes'", r"\[tool\.aesop_nb\] reuse = 'yes' does not fit: Input should be a valid boolean"),
        ("view = 'of'", "view = 'of' does not fit"),
        ("idle_timeout_seconds = 0", "idle_timeout_seconds = 0 does not fit: Input should be greater than 0"),
        ("model = 5", "model = 5 does not fit: Input should be a valid string"),
        ("model = ", "cannot be read: Invalid value"),
        (
            "base_url = 'https://example.com/v1'",
            "cannot say where your key .* Set aesop_nb.settings.base_url",
        ),
        ("store = 'postgresql://example.com'", "cannot say where .* or AESOP_STORE"),
        ("home = 'planted'", "cannot say which history .* Set aesop_nb.settings.home, or AESOP_HOME"),
        ("project = 'other'", "cannot say which history .* or AESOP_PROJECT"),
    ],
)
def test_a_mistake_names_the_file_and_the_key_on_one_line(tmp_path: Path, table: str, message: str) -> None:
    path = write(tmp_path, table)
    with pytest.raises(UsageError, match=message) as caught:
        project_settings.project_settings(tmp_path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_table_that_is_none_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("tool.aesop_nb = 5\n")
    with pytest.raises(UsageError, match="must be a table"):
        project_settings.project_settings(tmp_path)


@pytest.mark.parametrize(
    "table", ["base_url = 'http://localhost:11434/v1'", "store = 'off'", "idle_timeout_seconds = 5"]
)
def test_what_stays_on_this_machine_may_be_set(tmp_path: Path, table: str) -> None:
    write(tmp_path, table)
    assert len(project_settings.project_settings(tmp_path)) == 1


def test_every_setting_can_stand_in_the_file(tmp_path: Path) -> None:
    given = {name: value for name, value in Settings().model_dump().items() if value is not None}
    write(tmp_path, "\n".join(f"{name} = {json.dumps(value)}" for name, value in given.items()))
    assert project_settings.project_settings(tmp_path) == given


def test_an_assignment_goes_before_the_file_and_the_file_before_the_environment(tmp_path: Path) -> None:
    write(tmp_path, 'view = "compact"\nbanner = false\nmodel = "rehearsal"')
    code = """
settings.view = "off"
before = [settings.view, settings.banner, settings.model]
Task("Go", model=ScriptedModel("a")).run()
print(json.dumps([before, [settings.view, settings.banner, settings.model]]))
"""
    said = said_in(tmp_path, code, AESOP_VIEW="full", AESOP_MODEL="gpt-5", AESOP_BANNER="1")
    assert said == [["off", True, "gpt-5"], ["off", False, "rehearsal"]]


def test_a_call_of_a_task_function_reads_it(tmp_path: Path) -> None:
    write(tmp_path, "eager_mode = false")
    code = """
@aesop_nb.task
def go() -> int: ...
print(json.dumps(type(go()).__name__))
"""
    assert said_in(tmp_path, code) == "Task"


def test_a_broken_file_does_not_break_the_import_and_can_be_mended(tmp_path: Path) -> None:
    path = write(tmp_path, "model = ")
    code = f"""
made = Task("Go", model=ScriptedModel("a", "b"))
said = []
for _ in range(2):
    try:
        said.append(made.run())
    except aesop_nb.UsageError as exc:
        said.append(str(exc).splitlines())
    pathlib.Path({str(path)!r}).write_text("[tool.aesop_nb]\\nview = 'off'")
print(json.dumps([said, settings.view]))
"""
    (error,), value = (said := said_in(tmp_path, code))[0]
    assert error.startswith(f"{path} cannot be read: ")
    assert (value, said[1]) == ("a", "off")


def test_the_extension_reads_it_when_it_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unread: None, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, "modle = 'x'")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    with fresh_shell() as shell:
        assert not shell.run_cell("%load_ext aesop_nb").success
        shown = capsys.readouterr()
        assert (
            shown.err
            == f"UsageError: {path}: [tool.aesop_nb] has no setting 'modle'. Did you mean 'model'?\n"
        )
        write(tmp_path, "view = 'compact'")
        assert shell.run_cell("%load_ext aesop_nb").success
        assert capsys.readouterr() == ("", "")
        assert aesop_nb.settings.view == "compact"
        assert shell.run_cell("%unload_ext aesop_nb").success


def test_temporary_settings_give_the_file_its_place_back() -> None:
    made = Settings()
    made.take_project({"view": "compact"})
    made.view = "off"
    made.unassign("view", "full")
    assert made.view == "compact"
    assert not made.is_assigned("view")
