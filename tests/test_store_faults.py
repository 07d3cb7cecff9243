"""What can be wrong with the disk: the run goes on, nothing of anybody's is destroyed, one line says why."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from helping import eventually
from stored import a_run, created, looking_into, record, record_runs, warnings_in, without_pieces

from aesop_nb import Task, temporary_settings
from aesop_nb import events as ev
from aesop_nb.errors import StoreError
from aesop_nb.store import Store, default_store, writer
from aesop_nb.testing import ScriptedModel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

on_posix = pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX system")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "aesop.sqlite"


@pytest.fixture
def opened(path: Path) -> Iterator[Callable[[], Store]]:
    stores: list[Store] = []

    def open_store() -> Store:
        stores.append(Store(path))
        return stores[-1]

    yield open_store
    for store in stores:
        store.close()


def limit_pages(store: Store, pages: int) -> None:
    """A disk without room for more, or one with room again."""
    assert store._database is not None
    store._database.page_limit = pages


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# No room, no rights ------------------------------------------------------------------------------------


def test_a_full_disk_stops_no_run_warns_once_and_is_made_up_for(
    opened: Callable[[], Store], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "RETRY_SECONDS", 0.1)
    store = opened()
    (saved,) = record_runs(store)
    limit_pages(store, 1)
    ids = [store.new_run_id() for _ in range(30)]
    for run_id in ids:
        record(store, a_run(run_id, instructions="long " * 1000))
    assert not store.flush()
    unsaved = next(run_id for run_id in ids if not store.is_saved(run_id))
    assert store.events(unsaved) == without_pieces(a_run(unsaved, instructions="long " * 1000))
    assert store.events(saved)
    assert "no room left" in str(store.problem)
    assert len(warnings_in(caplog)) == 1
    assert "up to 64 MB" in caplog.text
    limit_pages(store, 1_000_000)
    assert eventually(lambda: store.problem is None, within_seconds=5)
    assert store.flush()
    assert all(len(store.events(run_id)) == 8 for run_id in ids)
    assert len(store.summaries(status="completed")) == 31


def test_a_run_that_got_its_id_while_nothing_could_be_written_is_stored_under_a_free_one(
    path: Path, opened: Callable[[], Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "RETRY_SECONDS", 0.05)
    path.parent.parent.mkdir(exist_ok=True)
    path.parent.write_text("in the way")
    store = opened()
    run_id, child = store.new_run_id(), store.new_run_id()
    assert (run_id[0], child[0]) == ("u", "u")
    record(store, a_run(run_id))
    record(store, a_run(child, parent_run_id=run_id))
    assert not store.flush()
    assert not store.is_saved(run_id)
    path.parent.unlink()
    assert eventually(lambda: store.is_saved(child), within_seconds=5)
    stored = store.find(run_id)
    assert stored is not None
    assert stored.run_id[0] == "r"
    assert [event.run_id for event in store.events(run_id)] == [run_id] * 8
    by_parent = {summary.parent_run_id for summary in store.summaries()}
    assert by_parent == {None, stored.run_id}
    assert store.new_run_id() not in {summary.run_id for summary in store.summaries()}


def test_what_waits_is_bounded_and_the_oldest_runs_go_first(
    opened: Callable[[], Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened()
    record_runs(store)
    limit_pages(store, 1)
    monkeypatch.setattr(writer, "MAX_WAITING_BYTES", 200_000)
    ids = [store.new_run_id() for _ in range(10)]
    for run_id in ids:
        record(store, a_run(run_id, instructions="x" * 50_000))
    assert not store.flush()
    kept = [run_id for run_id in ids if store.events(run_id)]
    assert kept == ids[-len(kept) :]
    assert 1 <= len(kept) <= 4
    limit_pages(store, 1_000_000)
    assert store.flush()
    assert not store.is_saved(ids[0])
    assert store.is_saved(ids[-1])


def test_a_task_gives_its_result_where_nothing_can_be_stored(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("mine")
    with temporary_settings(home=str(tmp_path / "file" / "home")):
        run = Task("Say", model=ScriptedModel("hello")).start()
        assert run.wait(5) == "hello"
        assert Task("Say", model=ScriptedModel("hello")).run() == "hello"
        store = default_store()
        assert not store.flush()
        assert len(store.events(run.id)) == len(without_pieces(list(run.events)))
    about_the_store = [line for line in warnings_in(caplog) if "store" in line]
    assert len(about_the_store) == 1
    assert "sqlite3." not in caplog.text


@on_posix
@pytest.mark.skipif(hasattr(os, "getuid") and os.getuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_said_before_anything_is_tried(path: Path, opened: Callable[[], Store]) -> None:
    path.parent.mkdir(parents=True)
    path.parent.chmod(0o500)
    store = opened()
    assert "read-only" in str(store.problem)
    assert store.new_run_id()[0] == "u"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=512k,mode=700", "tmpfs", str(folder)],
        capture_output=True,
        check=False,
    )
    if done.returncode:
        pytest.skip("this user may not mount")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.skipif(sys.platform != "linux", reason="mounts a tmpfs")
def test_a_disk_that_really_fills_up_loses_nothing_once_there_is_room(
    small_disk: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "RETRY_SECONDS", 0.1)
    store = Store(small_disk / "aesop.sqlite")
    ids = [store.new_run_id() for _ in range(40)]
    for run_id in ids:
        record(store, a_run(run_id, instructions="x" * 20_000))
    assert not store.flush()
    assert store.problem is not None
    assert len(warnings_in(caplog)) == 1
    assert all(len(store.events(run_id)) == 8 for run_id in ids)
    subprocess.run(["mount", "-o", "remount,size=16m", str(small_disk)], check=True)
    assert eventually(lambda: store.flush(1), within_seconds=5)
    assert all(store.is_saved(run_id) for run_id in ids)
    store.close()


@pytest.mark.skipif(sys.platform != "linux", reason="mounts a tmpfs")
def test_a_disk_that_becomes_read_only_stops_no_run(
    small_disk: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "RETRY_SECONDS", 0.1)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with temporary_settings(home=str(small_disk)):
        run = Task("Say", model=ScriptedModel("hello")).start()
        assert run.wait(5) == "hello"
        assert not default_store().flush()
        assert len(warnings_in(caplog)) == 1
        assert "read-only" in caplog.text.lower()
        subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
        assert eventually(lambda: default_store().is_saved(run.id), within_seconds=5)
        default_store().close()


# Damage ------------------------------------------------------------------------------------------------


def no_header(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(bytes(100))


def cut_in_half(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def noise(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(random.Random(7).randbytes(20_000))


@pytest.mark.parametrize("damage", [no_header, cut_in_half, noise])
def test_a_damaged_store_is_kept_under_another_name_and_a_new_one_is_begun(
    path: Path, opened: Callable[[], Store], caplog: pytest.LogCaptureFixture, damage: Callable[[Path], None]
) -> None:
    store = opened()
    record_runs(store, 40, instructions="long " * 300)
    store.close()
    damage(path)
    before = digest(path)
    later = opened()
    record_runs(later)
    aside = [found for found in path.parent.iterdir() if ".corrupt-" in found.name]
    assert [digest(found) for found in aside] == [before]
    assert len(later.summaries()) == 1
    assert later.problem is None
    assert len(warnings_in(caplog)) == 1
    assert aside[0].name in caplog.text
    assert "sqlite3." not in caplog.text


def test_runs_under_way_are_whole_in_the_store_that_takes_the_place_of_a_damaged_one(
    path: Path, opened: Callable[[], Store], caplog: pytest.LogCaptureFixture
) -> None:
    store = opened()
    record_runs(store, 3)
    told = a_run(store.new_run_id())
    record(store, told[:5])
    assert store.flush()
    assert store._database is not None
    store._database.erase_traces()  # all is in the file itself, which is then damaged under the store
    with path.open("r+b") as file:
        file.write(b"\xff" * path.stat().st_size)
    record(store, told[5:])
    assert store.flush()
    assert store.events(told[0].run_id) == without_pieces(told)
    assert len(warnings_in(caplog)) == 1
    assert int(store.new_run_id()[1:]) > int(told[0].run_id[1:])


@on_posix
def test_a_store_that_is_deleted_under_a_running_kernel_is_made_anew(
    path: Path, opened: Callable[[], Store]
) -> None:
    store = opened()
    told = a_run(store.new_run_id())
    record(store, told[:5])
    assert store.flush()
    for found in path.parent.iterdir():
        found.unlink()
    record(store, told[5:])
    assert store.flush()
    assert store.events(told[0].run_id) == without_pieces(told)
    assert store.new_run_id() == "r2"


def test_an_event_that_cannot_be_understood_is_an_error_that_names_the_run(
    path: Path, opened: Callable[[], Store]
) -> None:
    store = opened()
    good, bad = record_runs(store, 2)
    with looking_into(path) as other:
        other.execute("UPDATE events SET body = ? WHERE run_id = ? AND number = 2", ("{}", bad))
    with pytest.raises(StoreError, match=f"run '{bad}' in the store cannot be understood"):
        store.events(bad)
    assert store.events(good)


@pytest.mark.parametrize("body", ["[", '[{"a": 1}]', "[5]", "5", "[" * 100_000])
def test_the_events_of_a_row_that_cannot_be_understood_are_the_same_error(
    path: Path, opened: Callable[[], Store], body: str
) -> None:
    store = opened()
    (run_id,) = record_runs(store)
    with looking_into(path) as other:
        other.execute(
            "INSERT INTO map_rows (run_id, map_id, status, seconds, input_tokens, output_tokens, ended_at, "
            "events) VALUES (?, ?, 'completed', 0, 0, 0, 0, ?)",
            (f"{run_id}.0", run_id, body),
        )
    with pytest.raises(StoreError, match=rf"run '{run_id}\.0' in the store cannot be understood"):
        store.events(f"{run_id}.0")


# Not ours ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"Dear diary,\n" * 400, b"x", bytes(range(256)) * 40])
def test_a_file_that_is_no_store_is_refused_and_nothing_is_made_beside_it(
    path: Path, opened: Callable[[], Store], caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    before = digest(path)
    store = opened()
    run_id = store.new_run_id()
    record(store, a_run(run_id))
    assert not store.flush()
    assert str(path) in str(store.problem)
    assert len(store.events(run_id)) == 8
    with pytest.raises(StoreError, match="is left alone"):
        store.memory.set("n", "k", "1")
    store.close()
    assert digest(path) == before
    assert [found.name for found in path.parent.iterdir()] == [path.name]
    assert len(warnings_in(caplog)) == 1


def test_a_database_of_another_program_is_left_alone(path: Path, opened: Callable[[], Store]) -> None:
    path.parent.mkdir()
    with looking_into(path) as other:
        other.execute("CREATE TABLE runs (x INTEGER)")
    before = digest(path)
    store = opened()
    assert "another program" in str(store.problem)
    assert [found.name for found in path.parent.iterdir()] == [path.name]
    assert store.new_run_id()[0] == "u"
    assert "another program" in str(store.problem)
    store.close()
    assert digest(path) == before
    assert [found.name for found in path.parent.iterdir()] == [path.name]


def test_a_newer_format_is_refused_with_what_to_do(path: Path, opened: Callable[[], Store]) -> None:
    store = opened()
    record_runs(store)
    store.close()
    with looking_into(path) as other:
        other.execute("UPDATE aesop_format SET version = 99")
    later = opened()
    assert "has format 99" in str(later.problem)
    record(later, [created("r5")])
    assert not later.flush()
    assert "has format 99" in str(later.problem)
    assert "Upgrade aesop_nb" in str(later.problem)
    assert later.summaries() == []
    later.close()
    with looking_into(path) as other:
        assert other.execute("SELECT COUNT(*) FROM runs").fetchone() == (1,)


@on_posix
def test_a_link_is_not_followed(path: Path, tmp_path: Path, opened: Callable[[], Store]) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"")
    path.parent.mkdir()
    path.symlink_to(target)
    store = opened()
    record(store, [created(store.new_run_id())])
    assert not store.flush()
    assert "symbolic link" in str(store.problem)
    assert target.read_bytes() == b""


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("what", ["file", "folder"])
def test_what_belongs_to_another_user_is_refused(path: Path, opened: Callable[[], Store], what: str) -> None:
    path.parent.mkdir()
    path.touch()
    os.chown(path if what == "file" else path.parent, 12345, 12345)
    store = opened()
    assert store.new_run_id()[0] == "u"
    assert "belongs to another user" in str(store.problem)
    assert path.read_bytes() == b""


def test_a_crafted_store_runs_nothing_and_breaks_nothing(path: Path, opened: Callable[[], Store]) -> None:
    store = opened()
    record_runs(store)
    store.close()
    with looking_into(path) as other:
        other.execute("DROP TABLE events")
        other.execute("CREATE VIEW events AS SELECT 1 AS run_id")
    later = opened()
    record(later, a_run(later.new_run_id()))
    assert not later.flush()
    assert "does not hold the tables" in str(later.problem)
    assert later.events("r1") == []


@on_posix
def test_without_a_write_ahead_log_it_works_more_slowly_and_says_so_once(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store(path, vfs="unix-dotfile")  # like a network drive: no memory that processes share
    record_runs(store, 3)
    store.memory.set("n", "k", '"sentinel"')
    store.memory.clear("n")
    assert len(store.summaries()) == 3
    assert store.problem is None
    store.close()
    assert [found.name for found in path.parent.iterdir()] == [path.name]
    assert len(warnings_in(caplog)) == 1
    assert "network drive" in caplog.text
    assert b"sentinel" not in path.read_bytes()


def test_another_process_that_writes_for_long_only_delays(
    path: Path, opened: Callable[[], Store], caplog: pytest.LogCaptureFixture
) -> None:
    store = opened()
    record_runs(store)
    run_id = store.new_run_id()
    with looking_into(path) as other:
        other.execute("BEGIN IMMEDIATE")
        store.record(ev.RunCreated(run_id=run_id, number=0, task="t", objective="o"))
        assert not store.flush(0.3)
        other.execute("COMMIT")
    assert store.flush()
    assert store.is_saved(run_id)
    assert not warnings_in(caplog)
