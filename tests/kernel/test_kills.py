"""A kernel that is killed: what a person saw finished is in the store, and the rest is cancelled and says why."""

import os
import random
import signal
import sys
import time

import pytest

from aesop_nb.store import Store

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="tells the dead from the living by /proc")

WORKS = """
from aesop_nb import Task, settings
from aesop_nb.testing import ScriptedModel, call, result
settings.home = {home!r}
def double(number: int) -> int:
    return number * 2
while True:
    run = Task("Double", result_type=int, tools=[double],
               model=ScriptedModel(call("double", number=4), result(8), delay_seconds=0.01)).start()
    run.wait()
    print(run.id, flush=True)
"""


def kill_kernels(start_kernel, folder, trials, seed):
    """Kills kernels at random moments of a loop of tasks; they share one store."""
    moments, home = random.Random(seed), folder / "home"
    for _ in range(trials):
        front_end = start_kernel()
        cell = front_end.execute(WORKS.format(home=str(home)))
        front_end.until(lambda: front_end.stdout(cell), 30)  # noqa: B023
        until = time.monotonic() + moments.uniform(0, 0.3)
        front_end.until(lambda: time.monotonic() > until, 30)  # noqa: B023
        seen = front_end.stdout(cell).split()
        time.sleep(0.5)  # the longest that the store may lag behind what was seen
        os.kill(front_end.manager.provisioner.pid, signal.SIGKILL)
        front_end.manager.provisioner.process.wait()
        store = Store(home / "aesop.sqlite")
        begun = time.monotonic()
        found = {summary.run_id: summary for summary in store.summaries()}
        assert time.monotonic() - begun < 1
        assert {found[run_id].status for run_id in seen} == {"completed"}
        left = [summary for summary in found.values() if summary.status != "completed"]
        assert all("the kernel ended" in summary.error for summary in left)
        for run_id in seen:
            assert [event.output for event in store.events(run_id) if event.type == "tool_returned"] == ["8"]
        store.close()


def test_what_was_seen_finished_outlives_a_kill(start_kernel, tmp_path):
    kill_kernels(start_kernel, tmp_path, trials=2, seed=time.time_ns())


@pytest.mark.nightly
def test_what_was_seen_finished_outlives_a_hundred_kills(start_kernel, tmp_path):
    kill_kernels(start_kernel, tmp_path, trials=100, seed=1)
