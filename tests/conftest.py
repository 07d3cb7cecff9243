"""Fixtures that several test files share."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

import pytest
from openai_server import OpenAIServer, Script

import aesop_nb

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


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
