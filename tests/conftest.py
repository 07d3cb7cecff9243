"""Fixtures that several test files share."""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
from typing import TYPE_CHECKING

import pytest
from openai_server import OpenAIServer, Script

import aesop_nb

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.hookimpl(trylast=True)  # after the folders' own conftest files have put their marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Gives a second chance to what a busy machine can make late: a kernel, a browser, a stopwatch."""
    for item in items:
        if any(item.get_closest_marker(name) for name in ("kernel", "lab", "benchmark")):
            item.add_marker(pytest.mark.flaky(reruns=2))


@pytest.fixture
def openai_server() -> Iterator[Callable[[Script], OpenAIServer]]:
    """Starts local services: `server = openai_server([says("hello")])`; they stop with the test."""
    with contextlib.ExitStack() as stack:
        yield lambda script: stack.enter_context(OpenAIServer(script))


@pytest.fixture(autouse=True)
def _settings_of_nobody(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keeps keys and settings of this machine out of the tests, and those of one test out of the next."""
    for name in [name for name in os.environ if name.startswith(("OPENAI_", "AESOP_"))]:
        monkeypatch.delenv(name)
    defaults = aesop_nb.Settings()
    with aesop_nb.temporary_settings(
        **{name: getattr(defaults, name) for name in aesop_nb.Settings.model_fields}
    ):
        yield


_homes = itertools.count(1)


@pytest.fixture(autouse=True)
def _store_of_nobody(_settings_of_nobody: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Gives each test a store of its own, which costs nothing before something is stored."""
    with aesop_nb.temporary_settings(home=str(tmp_path_factory.getbasetemp() / f"home{next(_homes)}")):
        yield
    if "aesop_nb.store" in sys.modules:
        sys.modules["aesop_nb.store"].close_stores()


@pytest.fixture(autouse=True, scope="session")
def _data_folder_of_nobody(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keeps the processes that tests start out of this person's own store."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data")))
        yield
