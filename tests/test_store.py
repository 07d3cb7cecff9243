"""The store: events in, the same events and one line per run out; opened when first used, for the user alone."""

from __future__ import annotations

import json
import stat
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from helping import eventually, said_by
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openai_server import Answer, Call, fails, says
from stored import (
    NOON,
    a_run,
    bytes_in,
    created,
    is_intact,
    looking_into,
    record,
    record_runs,
    warnings_in,
    without_pieces,
)

from aesop_nb import Task, temporary_settings
from aesop_nb import events as ev
from aesop_nb.errors import StoreError
from aesop_nb.models.openai_model import OpenAIModel
from aesop_nb.runlogs import RunLog
from aesop_nb.store import RunSummary, Store, default_store, defaults, reuse_key
from aesop_nb.testing import ScriptedModel

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "home" / "aesop.sqlite")
    yield opened
    opened.close()


def file_of(store: Store) -> Path:
    assert store.path is not None
    return store.path


# Events ------------------------------------------------------------------------------------------------


def test_a_run_is_read_back_as_it_was_without_the_pieces_of_its_replies(store: Store) -> None:
    run_id = store.new_run_id()
    told = a_run(run_id)
    record(store, told)
    assert store.events(run_id) == without_pieces(told)
    assert store.is_saved(run_id)


def test_an_unknown_run_has_no_events(store: Store) -> None:
    assert (store.events("r9"), store.find("r9"), store.is_saved("r9")) == ([], None, False)
    assert not file_of(store).exists()


def test_an_event_that_comes_twice_counts_once(store: Store) -> None:
    (run_id,) = record_runs(store)
    before = store.find(run_id)
    record(store, a_run(run_id))
    assert store.find(run_id) == before


@pytest.mark.benchmark
def test_recording_costs_the_caller_microseconds_and_is_committed_within_a_tenth_of_a_second(
    store: Store,
) -> None:
    (run_id, *_) = record_runs(store)
    events = [ev.TurnStarted(run_id=run_id, number=number, turn=1) for number in range(100, 1100)]
    begun = time.perf_counter()
    record(store, events)
    assert (time.perf_counter() - begun) / len(events) < 0.0005
    late = ev.TurnStarted(run_id=run_id, number=2000, turn=2)
    assert store.flush()
    begun = time.perf_counter()
    store.record(late)
    with looking_into(file_of(store)) as other:

        def is_there() -> bool:
            return bool(other.execute("SELECT COUNT(*) FROM events WHERE number = 2000").fetchone()[0])

        assert eventually(is_there)
    assert time.perf_counter() - begun < 0.5


def test_what_is_submitted_is_done_in_its_place_and_told_after_the_commit(store: Store) -> None:
    seen: list[Any] = []
    run_id = store.new_run_id()
    record(store, a_run(run_id))

    def look(connection: Any) -> None:
        seen.append(connection.row("SELECT COUNT(*) AS n FROM events")["n"])

    def committed() -> None:
        with looking_into(file_of(store)) as other:
            seen.append(other.execute("SELECT COUNT(*) FROM events").fetchone()[0])

    store.submit(look, committed)
    assert store.flush()
    assert seen == [8, 8]


def test_a_submitted_change_that_raises_harms_no_event_beside_it(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    run_id, called = store.new_run_id(), []
    store.submit(lambda connection: {}["missing"], lambda: called.append(1))
    record(store, a_run(run_id))
    assert store.flush()
    assert len(store.events(run_id)) == 8
    assert not called
    assert "left out (KeyError)" in caplog.text


def test_hostile_texts_come_back_equal_and_lone_surrogates_as_replacements(store: Store) -> None:
    naughty = ["\x00a\x00", "\u202eevil\u2066", "'; DROP TABLE runs; --", "🏴‍☠️" * 3, "\x1b[2J", "%_\\"]
    run_id = store.new_run_id()
    told = a_run(run_id, task="\x00; --", instructions="\u202e", inputs={word: word for word in naughty})
    record(store, told)
    lone = ev.NoticeGiven(run_id=run_id, number=7, text="a\ud800b")
    other = store.new_run_id()
    record(
        store,
        [
            created(other, task="\udfff"),
            ev.ToolCalled(
                run_id=other, number=1, turn=1, call_id="c", tool="t", arguments={"\ud800": ["\udc00"]}
            ),
            lone.model_copy(update={"run_id": other}),
        ],
    )
    assert store.events(run_id) == without_pieces(told)
    assert [summary.task for summary in store.summaries()] == ["\x00; --", "\ufffd"]
    called, notice = store.events(other)[1:]
    assert called.arguments == {"\ufffd": ["\ufffd"]}
    assert notice.text == "a\ufffdb"


def test_values_that_no_json_can_hold_are_stored_as_texts(store: Store) -> None:
    run_id, deep = store.new_run_id(), []
    for _ in range(3000):
        deep = [deep]
    record(
        store,
        [
            created(run_id),
            ev.RunCompleted(run_id=run_id, number=1, result={"a": object, "b": [float("nan")]}),
        ],
    )
    other = store.new_run_id()
    record(store, [created(other), ev.RunCompleted(run_id=other, number=1, result=deep, text="deep")])
    assert "object" in store.events(run_id)[-1].result["a"]
    assert store.events(other)[-1].text == "deep"


def test_a_text_of_sixteen_mebibytes_is_kept_whole_and_a_longer_one_is_cut_and_says_so(store: Store) -> None:
    limit = 16 * 1024 * 1024
    run_id, parts = store.new_run_id(), {"inputs": "0"}
    record(store, [created(run_id, reuse_parts=parts), ev.RunStarted(run_id=run_id, number=1)])
    store.record(
        ev.ToolReturned(
            run_id=run_id, number=2, call_id="c", tool="t", output="x" * limit, duration_seconds=1
        )
    )
    store.record(ev.RunCompleted(run_id=run_id, number=3, result="é" * limit, text="short"))
    assert store.flush(20)
    events = store.events(run_id)
    assert events[2].output == "x" * limit
    assert events[3].result.endswith(f"… [cut by the store: {2 * limit:,} bytes]")
    assert events[3].text == "short"
    assert store.reusable(str(reuse_key(parts))) is None  # what is not whole is nobody's result


# Runs --------------------------------------------------------------------------------------------------


def test_the_line_of_a_run_says_what_the_fold_of_its_events_says(store: Store) -> None:
    run_id = store.new_run_id()
    told = a_run(run_id, agents=["writer"], notebook="a.ipynb", is_rehearsal=True)
    refused = ev.ToolFailed(run_id=run_id, number=20, turn=1, call_id="c2", tool="x", error="no such tool")
    failed = ev.ToolFailed(run_id=run_id, number=21, turn=1, call_id="c1", tool="count", error="late")
    told[-1:] = [refused, failed, told[-1].model_copy(update={"number": 22})]
    record(store, told)
    log, found = RunLog.of(told), store.find(run_id)
    assert found == RunSummary(
        run_id=run_id, task=log.task, objective="Count", status="completed", model="gpt-5-mini",
        agents=("writer",),
        notebook="a.ipynb", is_rehearsal=True, created_at=told[0].at, started_at=log.started_at,
        ended_at=log.ended_at, requests=log.usage.requests, input_tokens=log.usage.input_tokens,
        output_tokens=log.usage.output_tokens, cached_tokens=log.usage.cached_tokens,
        cost_usd=log.usage.cost_usd, tool_calls=len(log.steps), error=None, parent_run_id=None,
        reused_from=None, reuse_key=None, reuse_parts={},
    )  # fmt: skip


usages = st.builds(
    ev.Usage,
    requests=st.integers(0, 3),
    input_tokens=st.integers(0, 5),
    output_tokens=st.integers(0, 5),
    cached_tokens=st.integers(0, 5),
    cost_usd=st.none() | st.sampled_from([0.0, 0.25, 1.0]),
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(usages, max_size=6))
def test_usage_adds_up_like_that_of_a_run_that_is_live(store: Store, parts: list[ev.Usage]) -> None:
    run_id = store.new_run_id()
    store.record(created(run_id))
    for number, usage in enumerate(parts, 1):
        store.record(ev.ModelReplied(run_id=run_id, number=number, turn=number, usage=usage))
    found = store.find(run_id)
    assert found is not None
    log = RunLog.of(store.events(run_id))
    assert ev.Usage(**{name: getattr(found, name) for name in ev.Usage.model_fields}) == log.usage


def test_counts_that_no_column_can_hold_lose_no_event(store: Store) -> None:
    run_id = store.new_run_id()
    huge = ev.ModelReplied(run_id=run_id, number=1, turn=1, usage=ev.Usage(input_tokens=10**30))
    record(store, [created(run_id), huge])
    assert store.events(run_id)[1] == huge


@pytest.mark.parametrize(
    ("end", "status", "error"),
    [
        (ev.RunFailed(error="LimitExceeded", message="max_turns"), "failed", "LimitExceeded: max_turns"),
        (ev.RunCancelled(reason="by hand"), "cancelled", "cancelled: by hand"),
    ],
)
def test_how_a_run_ended_is_in_its_line(store: Store, end: Any, status: str, error: str) -> None:
    run_id = store.new_run_id()
    record(store, [created(run_id), end.model_copy(update={"run_id": run_id, "number": 1})])
    found = store.find(run_id)
    assert found is not None
    assert (found.status, found.error) == (status, error)


def test_runs_are_found_by_what_is_asked_oldest_first(store: Store) -> None:
    ids = [store.new_run_id() for _ in range(4)]
    for hours, run_id in enumerate(ids):
        fields = {"task": "even" if hours % 2 == 0 else "odd", "notebook": f"{hours}.ipynb"}
        record(store, a_run(run_id, at=NOON + timedelta(hours=hours), **fields))
    record(store, [created(waiting := store.new_run_id(), task="waiting")])

    def found(**wanted: Any) -> list[str]:
        return [summary.run_id for summary in store.summaries(**wanted)]

    assert found() == [*ids, waiting]
    assert found(task="even") == [ids[0], ids[2]]
    assert found(status="pending") == [waiting]
    assert found(notebook="3.ipynb") == [ids[3]]
    assert found(since=NOON + timedelta(hours=2), status="completed") == ids[2:]
    assert found(limit=2) == [ids[3], waiting]
    assert found(task="even", limit=1) == [ids[2]]
    assert found(limit=0) == found(task="%") == found(task="even' OR 1=1 --") == []


def test_the_latest_completed_run_with_a_key_can_be_used_again(store: Store) -> None:
    parts = {"inputs": "a" * 64, "model": "b" * 64}
    key = reuse_key(parts)
    assert key == reuse_key(dict(reversed(parts.items()))) != reuse_key({**parts, "model": "c"})
    first, second = record_runs(store, 2, reuse_parts=parts)
    record(store, a_run(third := store.new_run_id(), reuse_parts=parts)[:-1])
    (plain,) = record_runs(store)
    found = store.reusable(str(key))
    assert found is not None
    assert (found.run_id, found.reuse_parts) == (second, parts)
    assert store.reusable("") is None
    like = store.latest_like("count")
    assert like is not None
    assert like.run_id == second
    assert {first, second, third, plain} == {summary.run_id for summary in store.summaries()}


def test_parts_that_are_known_at_the_start_only_count_as_well(store: Store) -> None:
    run_id, parts = store.new_run_id(), {"inputs": "a" * 64}
    told = a_run(run_id)
    told[1] = told[1].model_copy(update={"reuse_parts": parts})
    record(store, told)
    assert store.reusable(str(reuse_key(parts))) is not None


def test_clearing_deletes_what_has_ended_and_gives_the_room_back(store: Store) -> None:
    old = record_runs(store, 300, instructions="long " * 200)
    new = record_runs(store, 2, at=NOON + timedelta(days=1))
    record(store, [created(open_run := store.new_run_id())])
    before = store.size_bytes()
    assert store.clear(NOON + timedelta(hours=1)) == len(old)
    assert [summary.run_id for summary in store.summaries()] == [*new, open_run]
    assert store.size_bytes() < before / 3
    assert store.clear() == 2
    assert store.clear() == 0
    assert len(store.events(open_run)) == 1


# Ids ---------------------------------------------------------------------------------------------------


def test_ids_go_on_where_the_last_process_stopped_and_are_never_given_twice(store: Store) -> None:
    ids: list[str] = []

    def take() -> None:
        ids.extend([store.new_run_id() for _ in range(50)])

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(ids, key=lambda name: int(name[1:])) == [f"r{number}" for number in range(1, 201)]
    store.close()
    later = Store(file_of(store))
    assert later.new_run_id() == "r201"
    later.close()


def test_ids_leave_gaps_only_where_runs_follow_each_other_fast_and_a_process_is_killed(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aesop_nb.store.run_ids._FAST_SECONDS", 0.0)
    assert store.new_run_id() == "r1"
    beside = Store(file_of(store))
    assert beside.new_run_id() == "r2"
    assert store.new_run_id() == "r3"
    monkeypatch.setattr("aesop_nb.store.run_ids._FAST_SECONDS", 60.0)
    assert [store.new_run_id() for _ in range(4)] == ["r4", "r5", "r6", "r7"]
    assert int(beside.new_run_id()[1:]) > 7  # what the other has taken for the next ones is not given twice
    beside.close()
    store.close()


def test_a_thousand_runs_wait_for_the_disk_a_few_times(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    assert store._database is not None
    writes: list[object] = []
    whole = store._database.write
    monkeypatch.setattr(store._database, "write", lambda work: writes.append(work) or whole(work))
    for _ in range(1_000):
        store.new_run_id()
    assert len(writes) < 30


def test_one_event_that_does_not_fit_costs_no_other_of_its_run(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    told = a_run(store.new_run_id())
    told[5] = told[5].model_copy(update={"number": 2**70})
    record(store, told)
    assert store.flush()
    assert len(store.events(told[0].run_id)) == 7
    assert "one entry could not be stored" in caplog.text


# Where it is -------------------------------------------------------------------------------------------


def test_importing_it_and_asking_an_empty_store_makes_and_loads_nothing(tmp_path: Path) -> None:
    code = """
import json, sys, threading
from aesop_nb.store import default_store
store = default_store()
asked = [store.summaries(), store.events("r1"), store.size_bytes(), store.memory.keys("n"), store.problem]
print(json.dumps([asked, "sqlite3" in sys.modules, threading.active_count()]))
"""
    home = tmp_path / "home"
    assert said_by(code, environment={"AESOP_HOME": str(home)}) == [[[], [], 0, [], None], False, 1]
    assert not home.exists()


def test_the_default_store_follows_the_settings(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    with temporary_settings(home=str(one)):
        first = default_store()
        assert default_store() is first
        assert first.path == one / "aesop.sqlite"
    with temporary_settings(home=str(other)):
        assert default_store() is not first


def test_a_switched_off_store_reads_and_writes_nothing(tmp_path: Path) -> None:
    with temporary_settings(home=str(tmp_path / "home"), store="off"):
        store = default_store()
        run_id = store.new_run_id()
        record(store, a_run(run_id))
        assert run_id[0] == "r"
        assert store.flush()
        assert store.events(run_id) == []
        assert "'off'" in str(store.problem)
        with pytest.raises(StoreError, match="there is no store"):
            store.memory.set("n", "k", "1")
    assert not (tmp_path / "home").exists()


def test_an_address_that_is_no_store_is_named_without_its_password(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(defaults, "_said", set())
    with temporary_settings(store="postgresql://me:sentinel@host/db"):
        default_store()
        assert "'postgresql'" in str(default_store().problem)
        assert "sentinel" not in str(default_store().problem)
        assert len(warnings_in(caplog)) == 1
        assert "sentinel" not in caplog.text


@pytest.mark.parametrize(
    "home",
    ["~nobody-of-this-name/x", "a\0b", f"/{'long' * 100}", "/dev/null/x"],
    ids=lambda home: repr(home[:8]),
)
def test_a_folder_that_cannot_be_stops_no_run_and_is_said_once(
    home: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(defaults, "_said", set())
    with temporary_settings(home=home):
        assert [Task("Count", model=ScriptedModel("3")).run() for _ in range(2)] == ["3", "3"]
        store = default_store()
        assert store.problem
        assert (store.summaries(), store.find("r1"), store.size_bytes(), store.clear()) == ([], None, 0, 0)
        assert store.memory.get("n", "k") is None
        with pytest.raises(StoreError):
            store.memory.set("n", "k", "1")
    assert len(warnings_in(caplog)) == 1


@pytest.mark.parametrize("setting", ["OFF", " off ", "On", ""])
def test_how_the_switch_is_written_does_not_matter(tmp_path: Path, setting: str) -> None:
    with temporary_settings(home=str(tmp_path), store=setting):
        assert (default_store().path is None) is ("off" in setting.lower())


def test_asking_for_an_unknown_run_changes_nothing(store: Store) -> None:
    (run_id,) = record_runs(store)
    for unknown in ("u99", "unheard of"):
        assert store.find(unknown) is None
        assert store.events(unknown) == []
        assert not store.is_saved(unknown)
    assert store.new_run_id() == f"r{int(run_id[1:]) + 1}"
    store.close()
    assert store.find("u99") is None


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such modes")
def test_file_and_folder_are_the_users_alone(store: Store) -> None:
    record_runs(store)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in file_of(store).parent.iterdir()}
    assert modes == {"aesop.sqlite": 0o600, "aesop.sqlite-wal": 0o600, "aesop.sqlite-shm": 0o600}
    assert stat.S_IMODE(file_of(store).parent.stat().st_mode) == 0o700


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such modes")
def test_rights_that_others_have_are_taken_from_them(store: Store) -> None:
    file_of(store).parent.mkdir(mode=0o755)
    file_of(store).touch(mode=0o644)
    record_runs(store)
    assert stat.S_IMODE(file_of(store).stat().st_mode) == 0o600
    assert stat.S_IMODE(file_of(store).parent.stat().st_mode) == 0o700


def test_durability_can_be_raised_to_survive_a_loss_of_power(store: Store) -> None:
    seen: list[Any] = []
    for wanted in ("normal", "full"):
        with temporary_settings(durability=wanted):
            store.submit(lambda connection: seen.append(connection.pragma("synchronous")))
            assert store.flush()
    assert seen == [1, 2]


def test_a_task_leaves_a_whole_run_behind() -> None:
    run = Task("Say", model=ScriptedModel("hello")).start()
    run.wait(5)
    assert default_store().events(run.id) == without_pieces(list(run.events))


@pytest.mark.parametrize("api", ["chat", "responses"])
def test_a_key_that_the_service_echoes_is_nowhere_in_the_files(openai_server: Any, api: str) -> None:
    key = "sk-test-sentinel0123456789"
    calls = (Call(tool="look", arguments=json.dumps({"word": key})),)
    server = openai_server([Answer(text=f"Your key is {key}", calls=calls), says(f"It was {key}")])

    def look(word: str) -> str:
        return word

    model = OpenAIModel("gpt-test", base_url=server.url, api_key=key, api=api)
    run = Task("Look", tools=[look], model=model).start()
    run.wait_for_end(10)
    refused = openai_server([fails(401, f"Incorrect API key provided: {key}")])
    other = OpenAIModel("gpt-test", base_url=refused.url, api_key=key, api=api)
    Task("Look", model=other).start().wait_for_end(10)
    store = default_store()
    assert [summary.status for summary in store.summaries()] == ["completed", "failed"]
    folder = file_of(store).parent
    assert bytes_in(folder, b"It was") > 0
    assert bytes_in(folder, b"sentinel0123456789") == 0


# Formats -----------------------------------------------------------------------------------------------


def test_each_step_to_a_newer_format_is_whole_or_not_there(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    from aesop_nb.store import migrations

    (run_id,), newest = record_runs(store), len(migrations.MIGRATIONS)
    store.close()
    broken = [*migrations.MIGRATIONS, ("CREATE TABLE half (x INTEGER)", "CREATE NONSENSE")]
    monkeypatch.setattr(migrations, "MIGRATIONS", broken)
    later = Store(file_of(store))
    assert later.new_run_id().startswith("u")
    assert later.problem is not None
    later.close()
    with looking_into(file_of(store)) as other:
        assert other.execute("SELECT version FROM aesop_format").fetchall() == [(newest,)]
        assert not other.execute("SELECT 1 FROM sqlite_master WHERE name = 'half'").fetchall()
    mended = [*broken[:newest], ("CREATE TABLE half (x INTEGER)",), ("CREATE TABLE whole (x INTEGER)",)]
    monkeypatch.setattr(migrations, "MIGRATIONS", mended)
    latest = Store(file_of(store))
    assert len(latest.events(run_id)) == 8
    latest.close()
    with looking_into(file_of(store)) as other:
        assert other.execute("SELECT version FROM aesop_format").fetchall() == [(newest + 2,)]
    assert is_intact(file_of(store))


@pytest.mark.benchmark
def test_a_store_with_a_hundred_thousand_events_opens_within_a_second(store: Store) -> None:
    record_runs(store)
    store.close()
    body = a_run("r1")[4].model_dump_json()
    with looking_into(file_of(store)) as other:
        other.execute("BEGIN")
        other.executemany(
            "INSERT INTO events (run_id, number, type, body) VALUES (?, ?, 'model_replied', ?)",
            ((f"x{number // 100}", number % 100, body) for number in range(100_000)),
        )
        other.execute("COMMIT")
    later = Store(file_of(store))
    begun = time.perf_counter()
    assert later.new_run_id() == "r2"
    assert len(later.summaries()) == 1
    assert time.perf_counter() - begun < 1
    later.close()
