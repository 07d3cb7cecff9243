"""Runs as their events, for the tests of the store."""

from __future__ import annotations

import logging
import os
import sqlite3
import subprocess
import sys
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from helping import REPOSITORY

from aesop_nb import events as ev

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pytest

    from aesop_nb.store import Store

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


def created(run_id: str, **fields: Any) -> ev.RunCreated:
    described = {"task": "count", "objective": "Count", "model": "gpt-5-mini", **fields}
    return ev.RunCreated(run_id=run_id, number=0, **described)


def a_run(run_id: str, *, at: datetime = NOON, **fields: Any) -> list[ev.Event]:
    """The events of a run with one tool call that completed; the pieces of its replies are left out."""
    usage = ev.Usage(requests=1, input_tokens=10, output_tokens=5, cached_tokens=2, cost_usd=0.25)
    told: list[ev.Event] = [
        created(run_id, **fields),
        ev.RunStarted(),
        ev.TurnStarted(turn=1, agent="writer"),
        ev.TextStreamed(turn=1, text="I"),
        ev.ModelReplied(turn=1, text="I count", usage=usage, tool_calls=[]),
        ev.ToolCalled(turn=1, call_id="c1", tool="count", arguments={"n": 3}),
        ev.ToolReturned(call_id="c1", tool="count", output="3", duration_seconds=0.1),
        ev.TurnEnded(turn=1),
        ev.RunCompleted(result=3, text="3"),
    ]
    return [
        event.model_copy(update={"run_id": run_id, "number": number, "at": at + timedelta(seconds=number)})
        for number, event in enumerate(told)
    ]


def record(store: Store, events: list[ev.Event]) -> None:
    for event in events:
        store.record(event)


def record_runs(store: Store, count: int = 1, **fields: Any) -> list[str]:
    """Stores completed runs and gives their ids."""
    ids = [store.new_run_id() for _ in range(count)]
    for run_id in ids:
        record(store, a_run(run_id, **fields))
    assert store.flush()
    return ids


def without_pieces(events: list[ev.Event]) -> list[ev.Event]:
    return [event for event in events if not isinstance(event, (ev.TextStreamed, ev.ToolCallStreamed))]


@contextmanager
def looking_into(path: Path) -> Iterator[sqlite3.Connection]:
    """Another connection, as another program would open it."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def is_intact(path: Path) -> bool:
    with looking_into(path) as connection:
        return bool(connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)])


def bytes_in(folder: Path, wanted: bytes) -> int:
    """How often bytes occur in the files of a store, read by another process.

    In this one, closing the file would give up the locks of the store's own connection.
    """
    code = (
        "import sys, pathlib; print(sum(path.read_bytes().count(bytes.fromhex(sys.argv[2])) "
        "for path in pathlib.Path(sys.argv[1]).iterdir()))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, str(folder), wanted.hex()],
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout)


def started(code: str, *arguments: object) -> subprocess.Popen[str]:
    """A process that runs `code` with this package and the tests' helpers at hand."""
    path = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "tests")])
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", code, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": path},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
