"""One store, many processes: they never meet, the dead are told from the living, ends and forks lose nothing."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from helping import eventually
from stored import a_run, created, is_intact, looking_into, record, started, without_pieces

from aesop_nb import events as ev
from aesop_nb.store import Store, liveness

if TYPE_CHECKING:
    from collections.abc import Iterator

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "home" / "aesop.sqlite")
    yield opened
    opened.close()


BEGINS_A_RUN = """
import sys
from pathlib import Path
from stored import a_run, record
from aesop_nb.store import Store
store = Store(Path(sys.argv[1]))
run_id = store.new_run_id()
record(store, a_run(run_id)[:5])
store.flush()
print(run_id, flush=True)
sys.stdin.readline()
record(store, a_run(run_id)[5:])
store.flush()
print("done", flush=True)
sys.stdin.readline()
"""


class Other:
    """Another process that has begun a run and waits."""

    def __init__(self, store: Store) -> None:
        self.process = started(BEGINS_A_RUN, store.path)
        assert self.process.stdout is not None
        self.run_id = self.process.stdout.readline().strip()

    def go_on(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "done\n"

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def other(store: Store) -> Iterator[Other]:
    process = Other(store)
    yield process
    process.end()


# Writing at once ---------------------------------------------------------------------------------------


def test_two_processes_with_two_writers_each_lose_nothing_and_meet_no_error(store: Store) -> None:
    code = """
import json, logging, sys, threading
from pathlib import Path
from stored import a_run, record
from aesop_nb.store import Store
logging.disable(logging.NOTSET)
path, ids = Path(sys.argv[1]), []
def work(store):
    for _ in range(63):
        run_id = store.new_run_id()
        record(store, a_run(run_id))
        ids.append(run_id)
    assert store.flush(30), store.problem
stores = [Store(path), Store(path)]
threads = [threading.Thread(target=work, args=(store,)) for store in stores]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(json.dumps([ids, [store.problem for store in stores]]))
[store.close() for store in stores]
"""
    processes = [started(code, store.path) for _ in range(2)]
    said = [json.loads(process.communicate(timeout=60)[0]) for process in processes]
    ids = [run_id for found, _ in said for run_id in found]
    assert [problems for _, problems in said] == [[None, None]] * 2
    assert len(ids) == len(set(ids)) == 252
    assert {summary.run_id for summary in store.summaries(status="completed")} == set(ids)
    assert store.path is not None
    with looking_into(store.path) as connection:
        assert connection.execute("SELECT COUNT(*) FROM events").fetchone() == (252 * 8,)
    assert is_intact(store.path)


# The living and the dead -------------------------------------------------------------------------------


@on_linux
def test_a_run_of_a_process_that_was_killed_becomes_cancelled_and_says_why(
    store: Store, other: Other
) -> None:
    assert [summary.status for summary in store.summaries()] == ["running"]
    other.end()
    (summary,) = store.summaries()
    assert summary.status == "cancelled"
    assert summary.error == f"cancelled: the kernel ended (process {other.process.pid})"
    *before, last = store.events(other.run_id)
    assert before == without_pieces(a_run(other.run_id)[:5])
    assert isinstance(last, ev.RunCancelled)
    assert (last.number, last.reason) == (
        before[-1].number + 1,
        f"the kernel ended (process {other.process.pid})",
    )
    assert summary.ended_at == last.at


@on_linux
def test_opening_the_store_is_enough_to_end_what_the_dead_left(store: Store, other: Other) -> None:
    other.end()
    assert store.new_run_id() == "r2"
    assert store.path is not None
    with looking_into(store.path) as connection:
        assert connection.execute("SELECT status FROM runs").fetchall() == [("cancelled",)]


def test_runs_of_processes_that_live_are_left_alone(store: Store, other: Other) -> None:
    mine = store.new_run_id()
    record(store, a_run(mine)[:3])
    assert store.flush()
    beside = Store(store.path)
    assert [summary.status for summary in beside.summaries()] == ["running", "running"]
    beside.close()
    other.go_on()
    assert {summary.run_id: summary.status for summary in store.summaries()} == {
        other.run_id: "completed",
        mine: "running",
    }


@on_linux
def test_a_number_that_a_new_process_has_got_does_not_keep_the_dead_alive(store: Store, other: Other) -> None:
    other.end()
    assert store.path is not None
    with looking_into(store.path) as connection:
        connection.execute("UPDATE processes SET pid = ?", (os.getppid(),))
    assert [summary.status for summary in store.summaries()] == ["cancelled"]


@pytest.mark.parametrize(
    ("silent_seconds", "status"), [(30, "running"), (61, "cancelled"), (-61, "cancelled")]
)
def test_on_another_machine_only_the_heartbeat_counts(
    store: Store, other: Other, silent_seconds: int, status: str
) -> None:
    other.end()
    assert store.path is not None
    with looking_into(store.path) as connection:
        connection.execute(
            "UPDATE processes SET machine = 'elsewhere', heartbeat_at = ?", (time.time() - silent_seconds,)
        )
    assert [summary.status for summary in store.summaries()] == [status]


def test_a_process_that_was_taken_for_dead_takes_its_runs_back(
    store: Store, other: Other, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(liveness, "HEARTBEAT_SECONDS", 0.0)
    told = a_run(store.new_run_id())
    record(store, told[:5])
    assert store.flush()
    assert store.path is not None
    with looking_into(store.path) as connection:
        connection.execute("UPDATE processes SET machine = 'elsewhere', heartbeat_at = 0")
        beside = Store(store.path)
        assert {summary.status for summary in beside.summaries()} == {"cancelled"}
        beside.close()
    record(store, told[5:])
    assert store.events(told[0].run_id) == without_pieces(told)
    found = store.find(told[0].run_id)
    assert found is not None
    assert (found.status, found.error) == ("completed", None)


def test_a_process_with_a_run_under_way_says_that_it_lives(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    from aesop_nb.store import writer

    monkeypatch.setattr(liveness, "HEARTBEAT_SECONDS", 0.02)
    monkeypatch.setattr(writer, "HEARTBEAT_SECONDS", 0.02)
    record(store, [created(store.new_run_id())])
    assert store.flush()
    assert store.path is not None
    with looking_into(store.path) as connection:

        def beat() -> float:
            return float(connection.execute("SELECT heartbeat_at FROM processes").fetchone()[0])

        first = beat()
        assert eventually(lambda: beat() > first)


# Ends and forks ----------------------------------------------------------------------------------------


def test_a_process_that_ends_at_once_has_written_everything(store: Store) -> None:
    code = """
import sys
from pathlib import Path
from aesop_nb import settings
from stored import a_run, record
from aesop_nb.store import default_store
settings.home = sys.argv[1]
store = default_store()
run_id = store.new_run_id()
record(store, a_run(run_id))
"""
    assert store.path is not None
    process = started(code, store.path.parent)
    process.communicate(timeout=30)
    assert process.returncode == 0
    assert [summary.status for summary in store.summaries()] == ["completed"]
    with looking_into(store.path) as connection:
        assert connection.execute("SELECT * FROM processes").fetchall() == []


def test_a_task_that_still_runs_when_the_process_ends_is_stored_as_cancelled(store: Store) -> None:
    code = """
import sys
from aesop_nb import settings
from helping import eventually, waiting_for_ever
settings.home = sys.argv[1]
run = waiting_for_ever().start()
assert eventually(lambda: run.status == "running")
"""
    assert store.path is not None
    process = started(code, store.path.parent)
    process.communicate(timeout=30)
    assert process.returncode == 0
    (summary,) = store.summaries()
    assert summary.status == "cancelled"
    assert "kernel ended" not in str(summary.error)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_the_child_of_a_fork_has_a_connection_of_its_own_and_leaves_the_parents_alone() -> None:
    code = """
import os, sys, warnings
from stored import a_run, record
from aesop_nb import settings
from aesop_nb.store import default_store
warnings.simplefilter("ignore", DeprecationWarning)  # of a fork in a process with threads, which is the point
settings.home = sys.argv[1]
store = default_store()
mine = store.new_run_id()
record(store, a_run(mine)[:5])  # some of it still waits when the process forks
child = os.fork()
theirs = store.new_run_id()
record(store, a_run(theirs))
if child == 0:
    sys.exit(0 if store.flush() else 1)
assert os.waitpid(child, 0)[1] == 0
record(store, a_run(mine)[5:])
assert store.flush()
assert [len(store.events(summary.run_id)) for summary in store.summaries()] == [8, 8, 8]
assert {summary.status for summary in store.summaries()} == {"completed"}
print("good")
"""
    from aesop_nb import settings

    process = started(code, settings.home)
    assert process.communicate(timeout=30)[0] == "good\n"
    assert process.returncode == 0
    assert is_intact(Path(str(settings.home)) / "aesop.sqlite")


# Kills -------------------------------------------------------------------------------------------------

WRITES_FOR_EVER = """
import sys
from pathlib import Path
from stored import a_run, record
from aesop_nb.store import Store
store = Store(Path(sys.argv[1]))
while True:
    run_id = store.new_run_id()
    record(store, a_run(run_id, instructions="long " * 200))
    assert store.flush()
    print(run_id, flush=True)
"""


def kill_at_random(store: Store, trials: int, seed: int) -> None:
    """Kills a process while it writes, and checks what it said was written."""
    import random

    assert store.path is not None
    moments, promised = random.Random(seed), set()
    for _ in range(trials):
        process = started(WRITES_FOR_EVER, store.path)
        assert process.stdout is not None
        promised.add(process.stdout.readline().strip())
        time.sleep(moments.uniform(0, 0.05))
        process.send_signal(signal.SIGKILL)
        said = process.communicate()[0]
        promised.update(said.split("\n")[:-1])  # what stands after the last line feed is half an id
        later = Store(store.path)
        begun = time.perf_counter()
        found = {summary.run_id: summary.status for summary in later.summaries()}
        assert time.perf_counter() - begun < 1
        assert {found[run_id] for run_id in promised} == {"completed"}
        assert "running" not in found.values()
        assert "pending" not in found.values()
        later.close()
    assert is_intact(store.path)
    assert all(
        store.events(run_id) == without_pieces(a_run(run_id, instructions="long " * 200))
        for run_id in promised
    )


@on_linux
def test_a_kill_at_any_moment_loses_nothing_that_was_said_to_be_written(store: Store) -> None:
    kill_at_random(store, trials=8, seed=int(datetime.now(UTC).timestamp()))


@on_linux
@pytest.mark.nightly
def test_a_hundred_kills_lose_nothing_that_was_said_to_be_written(store: Store) -> None:
    kill_at_random(store, trials=100, seed=1)
