"""Nothing that was done is lost or paid twice: kills, restarts, edits, two kernels, a disk that refuses."""

from __future__ import annotations

import itertools
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter, deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from helping import eventually, run_python
from mapping_helpers import Answering, echo, input_of, last_line, shouting, texts
from openai_server import OpenAIServer, Request, asks
from stored import looking_into

import aesop_nb
from aesop_nb import TaskConfig, UsageError, task
from aesop_nb.notebook.html import static_block
from aesop_nb.sessions import find_run
from aesop_nb.store import default_store
from aesop_nb.store.map_rows import MapRows
from aesop_nb.testing import failure, result

if TYPE_CHECKING:
    from collections.abc import Callable

TESTS = Path(__file__).parent

MAP = r"""
import sys
import aesop_nb
from aesop_nb import OpenAIModel, task

@task(model=OpenAIModel("gpt-test", base_url={url!r}, api_key="sk-test"))
def shout(text: str) -> str:
    "Says it again."

def tell(run):
    def look():
        import time
        while True:
            print(run.map_log.completed, flush=True)
            time.sleep(0.01)
    import threading
    threading.Thread(target=look, daemon=True).start()

aesop_nb.on_map_start(tell)
out = shout.map([f"text {{n}}" for n in range({rows})], concurrency=16)
is_whole = out["shout"].tolist() == [f"done {{n}}" for n in range({rows})]
sys.stdout.write(f"frame {{is_whole}}\n")  # in one piece, as the thread writes too
"""


def look_up(word: str) -> str:
    """Looks it up."""
    return word


def answer(request: Request) -> Any:
    number = input_of(request).split()[1]
    return asks("mark_successful", {"result": f"done {number}"}, delay_seconds=random.uniform(0.01, 0.03))


def started(url: str, home: Path, rows: int) -> subprocess.Popen[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "AESOP_"))}
    environment = {**clean, "AESOP_HOME": str(home), "PYTHONPATH": str(TESTS.parent)}
    code = MAP.format(url=url, rows=rows)
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def shown(output: str) -> int:
    """How many rows were said to be completed."""
    return max((int(line) for line in output.split() if line.isdigit()), default=0)


def stored_rows(home: Path) -> int:
    code = "import sqlite3, sys; print(sqlite3.connect(sys.argv[1]).execute(sys.argv[2]).fetchone()[0])"
    sql = "SELECT COUNT(DISTINCT row_key) FROM map_rows WHERE status = 'completed'"
    path = str(home / "aesop.sqlite")
    return int(subprocess.check_output([sys.executable, "-c", code, path, sql]))


def test_kills_lose_no_row_that_was_shown_and_nothing_stored_is_sent_again(
    openai_server: Callable[[Any], OpenAIServer], tmp_path: Path
) -> None:
    rows, kills = 300, 5
    server = openai_server(answer)
    chance = random.Random(time.time_ns())
    for _ in range(kills):
        before = server.sends
        process = started(server.url, tmp_path, rows)
        assert server.wait_for_sends(before + chance.randint(5, 45), 30)
        process.send_signal(signal.SIGKILL)
        output, _ = process.communicate()
        assert shown(output) <= stored_rows(tmp_path)
    kept, before = stored_rows(tmp_path), server.sends
    process = started(server.url, tmp_path, rows)
    output, said = process.communicate(timeout=60)
    assert "frame True" in output, said
    assert server.sends - before == rows - kept
    assert server.sends <= rows + 16 * kills
    again = started(server.url, tmp_path, rows)
    assert "frame True" in again.communicate(timeout=60)[0]
    assert server.sends - before == rows - kept


def test_two_processes_share_a_map_and_send_each_row_once(
    openai_server: Callable[[Any], OpenAIServer], tmp_path: Path
) -> None:
    server = openai_server(answer)
    both = [started(server.url, tmp_path, 300) for _ in range(2)]
    outputs = [process.communicate(timeout=60) for process in both]
    assert all("frame True" in output for output, _ in outputs), outputs
    assert not any("locked" in said for _, said in outputs)
    assert Counter(map(input_of, server.requests)).most_common(1)[0][1] == 1
    assert server.sends == 300


def test_the_rows_of_a_killed_process_are_done_by_the_other(
    openai_server: Callable[[Any], OpenAIServer], tmp_path: Path
) -> None:
    server = openai_server(answer)
    first, second = (started(server.url, tmp_path, 300) for _ in range(2))
    assert eventually(lambda: server.sends >= 100, within_seconds=30)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    output, said = second.communicate(timeout=60)
    assert "frame True" in output, said
    assert server.sends <= 300 + 16


def test_running_a_map_again_sends_nothing_and_an_edited_row_is_sent_alone() -> None:
    model, rows = Answering(echo), texts(600)
    first = shouting(model).map(rows, concurrency=64)
    again = shouting(model).map(rows, concurrency=64)
    assert len(model.asked) == 600
    assert again["_run_id"].tolist() == first["_run_id"].tolist()
    assert again.attrs["aesop"]["reused"] == 600
    rows[500] = "edited"
    edited = shouting(model).map(rows)
    assert (len(model.asked), edited["shout"][500]) == (601, "edited")


def test_all_that_a_result_depends_on_makes_a_row_another_one() -> None:
    model = Answering(echo)
    shout = shouting(model)
    shout.map(texts(2))
    for other in (
        shouting(Answering(echo, name="other model")),
        shouting(model, instructions="Otherwise"),
        shouting(model, objective="Another"),
        shouting(model, result_type=str, context={"more": 1}),
        shouting(model, tools=[look_up]),
        shouting(model, result_validator=str.upper),
    ):
        assert other.map(texts(2)).attrs["aesop"]["reused"] == 0
    assert shouting(model, config=TaskConfig(max_turns=3)).map(texts(2)).attrs["aesop"]["reused"] == 2


def test_reuse_false_sends_all_and_failed_rows_are_always_sent_again() -> None:
    fails = {"text 1"}
    model = Answering(lambda text: failure("no") if last_line(text) in fails else echo(text))
    shout = shouting(model)
    assert shout.map(texts(3))["_status"].tolist() == ["completed", "failed", "completed"]
    fails.clear()
    assert shout.map(texts(3))["shout"].tolist() == texts(3)
    assert len(model.asked) == 4
    shout.map(texts(3), reuse=False)
    assert len(model.asked) == 7


def test_a_row_counts_as_completed_once_it_is_committed() -> None:
    store = default_store()
    wrong: list[str] = []

    def check(run: Any) -> None:
        add = run.map_log.add

        def checked(position: int, outcome: Any, *more: Any) -> None:
            found = store._database.read(
                lambda connection: connection.rows(
                    "SELECT run_id FROM map_rows WHERE run_id = :r", r=outcome.run_id
                ),
                [],
            )
            if not found:
                wrong.append(outcome.run_id)
            add(position, outcome, *more)

        object.__setattr__(run, "map_log", _With(run.map_log, checked))

    stop = aesop_nb.on_map_start(check)
    try:
        shouting(Answering(echo)).map(texts(20))
    finally:
        stop()
    assert not wrong


class _With:
    """A `MapLog` with another `add`."""

    def __init__(self, log: Any, add: Any) -> None:
        object.__setattr__(self, "_log", log)
        object.__setattr__(self, "add", add)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._log, name, value)


def test_a_result_that_cannot_be_made_again_from_json_is_never_taken_from_the_store() -> None:
    model = Answering(echo)
    shout = shouting(model, result_validator=lambda text: object())
    assert shout.map(["a"])["_status"].tolist() == ["completed"]
    shout.map(["a"])
    assert len(model.asked) == 2


def test_inputs_without_a_stable_form_are_asked_each_time() -> None:
    model = Answering(lambda text: result("x"))
    rows = [{"text": object()}, {"text": object()}]
    shouting(model).map(rows)
    assert shouting(model).map(rows)["_status"].tolist() == ["completed"] * 2
    assert len(model.asked) == 4


def test_without_a_store_a_map_works_in_memory_and_says_so_once() -> None:
    model = Answering(echo)
    with aesop_nb.temporary_settings(store="off"):
        run = shouting(model).mapping(texts(50)).start()
        assert run.wait()["shout"].tolist() == texts(50)
        assert len(run.map_log.notices) == 1
        assert "ask all rows again" in run.map_log.notices[0]
        shouting(model).map(texts(50))
    assert len(model.asked) == 100


def test_a_disk_that_refuses_loses_nothing_and_holds_nothing_up(tmp_path: Path, caplog: Any) -> None:
    home = tmp_path / "home"
    home.write_text("a file where the folder should be")
    with aesop_nb.temporary_settings(home=str(home)):
        began = time.monotonic()
        run = shouting(Answering(echo)).mapping(texts(200)).start()
        assert run.wait()["shout"].tolist() == texts(200)
        assert time.monotonic() - began < 10
        assert len(run.map_log.notices) == 1
    assert len([record for record in caplog.records if record.levelname == "WARNING"]) <= 1


def test_deleting_the_history_deletes_the_rows_of_maps() -> None:
    model = Answering(echo)
    shouting(model).map(texts(3))
    assert default_store().clear() == 1
    shouting(model).map(texts(3))
    assert len(model.asked) == 6


def test_the_key_of_a_row_is_the_same_in_every_process() -> None:
    code = (
        "from mapping_helpers import *; from aesop_nb import task; from aesop_nb.testing import result\n"
        "from aesop_nb.mapping.row_briefs import RowBriefs, bind_function\n"
        "from aesop_nb.mapping.rows import rows_of\n"
        "@task(model=Answering(lambda text: result(1)))\n"
        "def count(text: str, more: dict = {'b': {1, 2}, 'a': 2.5}) -> int:\n    'Counts.'\n"
        "rows = rows_of([{'text': 'a'}]); bound = bind_function(count, rows, None); rows.want(bound.columns)\n"
        "print(RowBriefs(bound.task._brief(), bound).key_of(rows.draw(1)[0]))"
    )
    keys = {
        run_python(
            code, environment={"PYTHONPATH": f"{TESTS.parent}{os.pathsep}{TESTS}", "PYTHONHASHSEED": seed}
        ).stdout
        for seed in ("1", "2")
    }
    (key,) = keys
    assert len(key.strip()) == 64


# A row as a run of its own ------------------------------------------------------------------------------


def test_a_row_of_a_map_is_found_and_shows_as_a_stored_run(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Answering(lambda text: failure("no") if last_line(text) == "text 1" else echo(text))
    out = shouting(model).map(texts(3))
    map_id = out.attrs["aesop"]["run_id"]
    monkeypatch.setattr("aesop_nb.sessions._recent", deque(maxlen=100))
    row = aesop_nb.run(f"{map_id}.1")
    assert (row.id, row.status, row.result) == (f"{map_id}.1", "completed", "text 0")
    assert "text 0" in static_block(row.log)
    found = default_store().find(f"{map_id}.2")
    assert found is not None
    assert (found.status, found.parent_run_id, found.task) == ("failed", map_id, "shout")
    assert (found.requests, found.input_tokens, found.output_tokens) == (1, 10, 5)
    assert str(found.error).endswith("no")
    assert default_store().is_saved(f"{map_id}.3")
    for unknown in (f"{map_id}.4", f"{map_id}.", "r99.1", ".1", f"{map_id}.1.1"):
        assert default_store().find(unknown) is None
        with pytest.raises(UsageError, match="There is no run"):
            aesop_nb.run(unknown)


def test_a_row_that_failed_can_be_resumed() -> None:
    model = Answering(lambda text: failure("no") if model.asked[1:] == [] else result("now"))
    run_id = shouting(model).map(["a"])["_run_id"][0]
    assert shouting(model).task("a").resume(run_id).wait(5) == "now"


def test_the_commands_of_a_session_say_that_a_row_is_one() -> None:
    shouting(Answering(echo)).map(texts(1))
    map_id = aesop_nb.last.id
    with pytest.raises(UsageError, match=f"'{map_id}.1' is a row of the map '{map_id}'"):
        find_run(f"{map_id}.1")


def test_a_row_with_events_that_cannot_be_read_is_not_found() -> None:
    shouting(Answering(echo)).map(texts(1))
    path, map_id = default_store().path, aesop_nb.last.id
    assert path is not None
    with looking_into(path) as other:
        other.execute("UPDATE map_rows SET events = '[{\"number\": 0}]'")
    assert default_store().find(f"{map_id}.1") is None
    with pytest.raises(aesop_nb.StoreError):
        aesop_nb.run(f"{map_id}.1")


def test_the_places_of_the_cells_and_what_all_rows_share_make_a_row_another_one() -> None:
    model = Answering(echo)

    @task(model=model)
    def compare(a: str, b: str) -> str:
        """Compares."""
        raise NotImplementedError

    rows = [{"x": "1", "y": "2"}]
    compare.map(rows, {"a": "x", "b": "y"})
    assert compare.map(rows, {"b": "x", "a": "y"}).attrs["aesop"]["reused"] == 0
    assert compare.map(rows, {"b": "y", "a": "x"}).attrs["aesop"]["reused"] == 0
    assert compare.map(rows, {"a": "x", "b": "y"}).attrs["aesop"]["reused"] == 1
    shouting(model, context={"more": 1}).map(["text"])
    assert shouting(model, context={"more": 2}).map(["text"]).attrs["aesop"]["reused"] == 0
    assert shouting(model, context={"more": 1}).map(["text"]).attrs["aesop"]["reused"] == 1


# Two maps of one process --------------------------------------------------------------------------------


def test_two_maps_of_one_process_share_their_rows_also_those_that_fail() -> None:
    model = Answering(
        lambda text: failure("no") if last_line(text) == "text 1" else echo(text), delay_seconds=0.1
    )
    shout = shouting(model)
    both = [shout.mapping(texts(8), concurrency=4).start() for _ in range(2)]
    for run in both:
        assert run.wait(10)["_status"].value_counts()[["completed", "failed"]].tolist() == [7, 1]
    assert len(model.asked) == 8


def test_rows_stay_with_a_map_that_began_later_and_claimed_them_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    claim, turn = MapRows.claim, itertools.count()
    is_waiting, has_claimed = threading.Event(), threading.Event()

    def in_other_order(self: MapRows, *args: Any) -> Any:
        if next(turn) == 0:
            is_waiting.set()
            assert has_claimed.wait(5)
            return claim(self, *args)
        try:
            return claim(self, *args)
        finally:
            has_claimed.set()

    monkeypatch.setattr(MapRows, "claim", in_other_order)
    model = Answering(echo, delay_seconds=0.3)
    shout = shouting(model)
    earlier = shout.mapping(texts(8), concurrency=4).start()
    assert is_waiting.wait(5)
    later = shout.mapping(texts(8), concurrency=4).start()
    for run in (earlier, later):
        assert run.wait(10)["shout"].tolist() == texts(8)
    assert len(model.asked) == 8


def test_a_map_that_is_cancelled_gives_back_the_rows_it_has_not_done() -> None:
    model = Answering(echo, delay_seconds=60)
    run = shouting(model).mapping(texts(40), concurrency=4).start()
    assert model.wait_for_requests(4)
    path = default_store().path
    assert path is not None

    def claims() -> int:
        with looking_into(path) as other:
            return int(other.execute("SELECT COUNT(*) FROM map_claims").fetchone()[0])

    assert eventually(lambda: claims() > 4, within_seconds=5)
    run.cancel()
    run.wait_for_end(5)
    assert claims() == 0
