"""Errors as a notebook shows them."""

from __future__ import annotations

import pytest

from aesop_nb.errors import AesopError, RunInterrupted, TaskFailed


@pytest.mark.parametrize("kind", [AesopError, TaskFailed, RunInterrupted])
def test_what_a_notebook_shows_of_an_error_is_visible_and_short(kind: type[BaseException]) -> None:
    (line,) = kind("\x1b[2J \u202e" + "x" * 5_000_000)._render_traceback_()  # type: ignore[attr-defined]
    assert line.startswith(f"{kind.__name__}: \\x1b[2J \\u202exxx")
    assert len(line) < 4_100
    assert line.endswith("[shortened: 5,000,006 characters]")
