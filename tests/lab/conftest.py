"""A real JupyterLab and a browser for the tests of this folder, which are plain sync functions.

Playwright's sync API marks its own event loop as running in the main thread for as long as it lives, and
no `asyncio.run` and no test of pytest-asyncio works there meanwhile. So the browser lives for one module
and is gone before the next one; only the server stays. Async tests and these do not mix in one module.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from lab_server import LabServer, cannot_run, chromium_path
from laboratory import CommsOverSubshells, Laboratory

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from playwright.sync_api import Browser

_FAILED = pytest.StashKey[bool]()
_CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks the tests of this folder with `lab`."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("lab")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remembers that a test failed, so that the next one gets a fresh page."""
    report = yield
    if report.failed:
        item.stash[_FAILED] = True
    return report


@pytest.fixture(scope="session")
def lab_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabServer]:
    """A running JupyterLab (6 s to start), ended with all its kernels."""
    for package in ("jupyterlab", "playwright", "ipykernel", "ipywidgets"):
        if importlib.util.find_spec(package) is None:
            cannot_run(f"The package {package} is not installed: `pip install -e '.[test]'`.")
    chromium_path()
    server = LabServer(tmp_path_factory.mktemp("jupyterlab"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def lab_browser(lab_server: LabServer) -> Iterator[Browser]:
    """A headless Chromium (2 s to start)."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=_CHROMIUM_ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def _laboratory(lab_server: LabServer, lab_browser: Browser) -> Laboratory:
    return Laboratory(lab_server, lab_browser)


@pytest.fixture
def comms_over_subshells() -> CommsOverSubshells:
    """How the front end sends the messages of widgets; override it with `parametrize`."""
    return "perCommTarget"


@pytest.fixture
def lab(
    _laboratory: Laboratory, comms_over_subshells: CommsOverSubshells, request: pytest.FixtureRequest
) -> Iterator[Laboratory]:
    """An empty JupyterLab in the browser: `lab.open([...cells])` is next.

    To choose the route of widget messages:
    `@pytest.mark.parametrize("comms_over_subshells", ["disabled", "perCommTarget", "perComm"])`.
    """
    _laboratory.start(comms_over_subshells)
    yield _laboratory
    if not request.node.stash.get(_FAILED, False):
        _laboratory.close()
        return
    try:
        print(_laboratory.describe())
    finally:
        _laboratory.abandon()
