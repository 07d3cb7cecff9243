"""The public list: what a person gets from `aesop_nb`, pinned."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pytest
from helping import said_by

import aesop_nb

PUBLIC = [
    "AesopError",
    "Agent",
    "ask",
    "costs",
    "export_history",
    "import_history",
    "instructions",
    "last",
    "LimitExceeded",
    "load_ipython_extension",
    "Map",
    "MapRun",
    "memory",
    "ModelError",
    "ModelNotConfigured",
    "ModelRefused",
    "ModelReplyInvalid",
    "ModelUnavailable",
    "NeedsHuman",
    "on_map_start",
    "on_run_start",
    "OpenAIModel",
    "RehearsalModel",
    "replay",
    "ResultInvalid",
    "run",
    "Run",
    "RunInterrupted",
    "runs",
    "RunStateError",
    "Settings",
    "settings",
    "Status",
    "StoreError",
    "Task",
    "task",
    "TaskCancelled",
    "TaskConfig",
    "TaskFailed",
    "TaskFunction",
    "temporary_settings",
    "tool",
    "Tool",
    "ToolFailed",
    "unload_ipython_extension",
    "UpstreamFailed",
    "Usage",
    "UsageError",
    "why_not_reused",
]


def test_the_public_list_is_the_one_that_is_documented() -> None:
    assert aesop_nb.__all__ == PUBLIC
    assert sorted(PUBLIC, key=str.casefold) == PUBLIC


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_is_there_and_says_what_it_is(name: str) -> None:
    value = getattr(aesop_nb, name)
    if name not in ("last", "settings"):
        assert inspect.getdoc(value)
    assert name in dir(aesop_nb)


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse(Path(aesop_nb.__file__).read_text())
    (checking,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {
        alias.asname or alias.name
        for node in checking.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    here = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert seen | {"last"} | (here - {"__getattr__", "__dir__"}) == set(PUBLIC)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nope'"):
        _ = aesop_nb.nope


def test_the_latest_run_is_looked_up_each_time() -> None:
    code = """
import json, aesop_nb
from aesop_nb.testing import ScriptedModel
seen = [aesop_nb.last is None]
for word in ("a", "b"):
    aesop_nb.Task("Say", model=ScriptedModel(word)).run()
    seen.append(aesop_nb.last.result)
print(json.dumps(seen))
"""
    assert said_by(code) == [True, "a", "b"]


def test_star_import_gives_the_public_list() -> None:
    code = """
import json
from aesop_nb import *
print(json.dumps(sorted(name for name in globals() if not name.startswith("_") and name != "json")))
"""
    assert said_by(code) == sorted(PUBLIC)
