"""Imports point down, every outside package has one door, and importing the package does nothing."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
from helping import said_by

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(__file__).parents[1] / "aesop_nb"

LAYERS = [
    {"errors", "texts", "events", "domains", "config", "project_settings"},
    {"values", "fingerprints", "runlogs", "records", "results", "tools", "models", "store", "prices"},
    {"scopes", "agents", "background", "engine", "remembering", "web"},
    {"console"},
    {"places", "recordings", "listening", "reusing", "stored_runs"},
    {
        "announcing",
        "driving",
        "sessions",
        "replying",
        "resuming",
        "running",
        "upstream",
        "tasks",
        "variants",
        "dry_runs",
    },
    {"decorators", "mapping", "dtypes", "frames", "page_frames", "history", "testing", "quick"},
    {"notebook", "demos"},
    {"__init__", "__main__"},
]
"""From the bottom up. A module imports its own layer and those before it; a folder counts as one module."""

LATE = {
    ("results", "dtypes"),
    ("console", "notebook"),
    ("remembering", "frames"),
    ("recordings", "frames"),
    ("recordings", "page_frames"),
}
"""Imports inside functions that point up, so that pandas is loaded only where a table is asked for."""

DOORS = {
    "openai": {"models"},
    "httpx2": {"models", "web"},
    "httpcore2": {"web"},
    "pandas": {"results", "dtypes", "frames", "mapping", "notebook", "page_frames", "history"},
    "numpy": {"dtypes", "frames", "mapping"},
    "IPython": {"notebook"},
    "ipywidgets": {"notebook"},
    "ipykernel": {"notebook"},
    "traitlets": {"notebook"},
    "tornado": {"notebook"},
    "comm": {"notebook"},
    "zmq": {"notebook"},
    "nest_asyncio2": {"background"},
    "genai_prices": {"prices"},
    "platformdirs": {"store"},
    "sqlite3": {"store"},
}
"""Which modules may import what from outside, early or late."""

FORBIDDEN = {"pickle", "cloudpickle", "dill", "marshal", "shelve", "joblib"}
FORBIDDEN_CALLS = {"eval", "exec", "__import__", "read_pickle", "to_pickle"}


class Import(NamedTuple):
    """`inside` is the name of a module of ours, `outside` that of a package; `is_late` if in a function."""

    inside: str
    outside: str
    is_late: bool


@cache
def modules() -> dict[str, ast.Module]:
    return {
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts): ast.parse(path.read_text())
        for path in sorted(PACKAGE.rglob("*.py"))
    }


def layer_name(module: str) -> str:
    return module.split(".")[0]


def layer_of(module: str) -> int:
    found = [number for number, names in enumerate(LAYERS) if layer_name(module) in names]
    assert len(found) == 1, (
        f"{module} stands in {len(found)} layers; add it to LAYERS in {Path(__file__).name}"
    )
    return found[0]


@cache
def imports_of(module: str) -> list[Import]:
    return list(_imports(modules()[module].body, module, is_late=False))


def _imports(nodes: list[ast.stmt] | list[ast.AST], module: str, *, is_late: bool) -> Iterator[Import]:
    for node in nodes:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        if isinstance(node, ast.Import):
            yield from (Import("", alias.name.split(".")[0], is_late) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                yield from (Import(name, "", is_late) for name in _targets(node, module))
            else:
                yield Import("", (node.module or "").split(".")[0], is_late)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            named = node.args[0]
            if isinstance(named, ast.Constant) and not str(named.value).startswith("."):
                yield Import("", str(named.value).split(".")[0], is_late)
        else:
            in_function = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            yield from _imports(list(ast.iter_child_nodes(node)), module, is_late=is_late or in_function)
            continue
        if not isinstance(node, (ast.Import, ast.ImportFrom)):
            yield from _imports(list(ast.iter_child_nodes(node)), module, is_late=is_late)


def _targets(node: ast.ImportFrom, module: str) -> list[str]:
    """The modules of ours that a relative import names; the package's root is `__init__`."""
    parts = module.split(".")
    base = parts[: len(parts) - node.level] + (node.module.split(".") if node.module else [])
    targets = []
    for alias in node.names:
        name = ".".join([*base, alias.name])
        if name in modules():
            targets.append(name)
        else:
            own = ".".join(base)
            targets.append(own if own in modules() else f"{own}.__init__" if own else "__init__")
    return targets


def test_the_reading_of_imports_finds_them() -> None:
    """A test of the test: without it, all others hold for an empty list."""
    assert "errors" in {found.inside for found in imports_of("tasks")}
    assert "models.transcript" in {found.inside for found in imports_of("engine.attempts")}
    assert Import("", "nest_asyncio2", is_late=True) in imports_of("background")
    assert Import("frames", "", is_late=True) in imports_of("recordings")
    assert "events" in {found.inside for found in imports_of("models.transcript")}


@pytest.mark.parametrize("module", sorted(modules()))
def test_imports_point_down(module: str) -> None:
    own = layer_of(module)
    for found in imports_of(module):
        if not found.inside:
            continue
        if found.is_late and (layer_name(module), layer_name(found.inside)) in LATE:
            continue
        assert layer_of(found.inside) <= own, f"{module} imports {found.inside}, which stands above it"


@pytest.mark.parametrize("module", sorted(modules()))
def test_nothing_imports_the_root(module: str) -> None:
    for found in imports_of(module):
        assert found.inside != "__init__", f"{module} imports the package's root"
        assert found.outside != "aesop_nb", f"{module} imports aesop_nb by its name"


def test_no_two_modules_import_each_other() -> None:
    graph = {
        name: {found.inside for found in imports_of(name) if found.inside and not found.is_late}
        for name in modules()
    }
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, " → ".join((*above, name))
        if name in done:
            return
        for target in graph[name]:
            visit(target, (*above, name))
        done.add(name)

    for name in graph:
        visit(name, ())


@pytest.mark.parametrize("package", sorted(DOORS))
def test_every_package_from_outside_has_its_doors(package: str) -> None:
    users = {layer_name(name) for name in modules() for found in imports_of(name) if found.outside == package}
    assert users <= DOORS[package], f"{package} is imported by {sorted(users - DOORS[package])}"


def test_nothing_is_run_from_data() -> None:
    """The one place where text becomes code is where a cell's own expressions are evaluated."""
    places = set()
    for name, tree in modules().items():
        assert not FORBIDDEN & {found.outside for found in imports_of(name)}, name
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                called = node.func.attr if isinstance(node.func, ast.Attribute) else ast.unparse(node.func)
                if called in FORBIDDEN_CALLS or ast.unparse(node.func) == "yaml.load":
                    places.add(name)
    assert places <= {"notebook.expressions"}


@pytest.mark.parametrize("module", sorted(modules()))
def test_no_module_is_named_like_an_exported_name(module: str) -> None:
    import aesop_nb

    assert module not in aesop_nb.__all__


@pytest.mark.parametrize("module", sorted(modules()))
def test_modules_stay_small(module: str) -> None:
    path = PACKAGE.joinpath(*module.split(".")).with_suffix(".py")
    assert len(path.read_text().splitlines()) <= 500


def test_importing_the_package_loads_starts_opens_and_writes_nothing() -> None:
    code = """
import json, sys, threading
seen = []
def audit(event, arguments):
    if event.startswith("socket.") or event == "subprocess.Popen":
        seen.append(event)
    elif event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+"):
        seen.append(str(arguments[0]))
sys.addaudithook(audit)
import aesop_nb
heavy = "openai httpx2 pandas numpy IPython ipywidgets nest_asyncio2 pydantic sqlite3 asyncio".split()
print(json.dumps([[name for name in heavy if name in sys.modules], threading.active_count(), seen]))
"""
    assert said_by(code, environment={"PYTHONDONTWRITEBYTECODE": "1"}) == [[], 1, []]


def test_making_a_task_starts_nothing_and_running_it_loads_no_more_than_it_needs() -> None:
    code = """
import json, sys, threading
from aesop_nb import Task, task
from aesop_nb.testing import ScriptedModel, result
made = Task("Count", result_type=int, model=ScriptedModel(result(3)))
before = threading.active_count()
value = made.run()
heavy = ["openai", "httpx2", "pandas", "IPython", "ipywidgets", "nest_asyncio2"]
print(json.dumps([before, value, [name for name in heavy if name in sys.modules]]))
"""
    assert said_by(code) == [1, 3, []]
