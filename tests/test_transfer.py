"""Export and import: all or nothing, ids made free, ties kept, and nothing twice."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from helping import eventually, waiting_for_ever

import aesop_nb
from aesop_nb import StoreError, Task, UsageError, export_history, import_history, settings
from aesop_nb.store import Store, default_store
from aesop_nb.testing import ScriptedModel, call


def say(text: str = "hi", **options: Any) -> Any:
    run = Task("Say", name="say", model=ScriptedModel(text), **options).start()
    run.wait()
    return run


def family() -> Any:
    def inner() -> str:
        return str(Task("Inner", name="inner", model=ScriptedModel("in")).run())

    outer = Task("Outer", name="outer", tools=[inner], model=ScriptedModel(call("inner"), "out")).start()
    outer.wait()
    return outer


def move_elsewhere() -> None:
    settings.home = f"{settings.home}-elsewhere"


def summaries() -> list[Any]:
    return default_store().summaries()


def test_a_history_comes_back_as_it_was_under_ids_that_are_free(tmp_path: Path) -> None:
    file = tmp_path / "history.jsonl"
    outer, first = family(), say(reuse=True)
    say("not asked", reuse=True)
    before = summaries()
    assert export_history(file) == 4
    assert len(file.read_text().splitlines()) == 1 + sum(
        len(default_store().events(s.run_id)) for s in before
    )
    move_elsewhere()
    say("already here")
    assert import_history(file) == 4
    after = [summary for summary in summaries() if summary.run_id != "r1"]
    assert [s.run_id for s in after] == ["r2", "r3", "r4", "r5"]
    assert [(s.task, s.status, s.created_at, s.requests) for s in after] == [
        (s.task, s.status, s.created_at, s.requests) for s in before
    ]
    by_task = {s.task: s for s in after}
    assert by_task["inner"].parent_run_id == by_task["outer"].run_id
    assert after[-1].reused_from == after[-2].run_id
    assert aesop_nb.run(by_task["outer"].run_id).result == outer.result
    assert first.result == "hi"


def test_importing_twice_adds_nothing_twice(tmp_path: Path) -> None:
    file = tmp_path / "history.jsonl"
    family()
    export_history(file)
    assert import_history(file) == 0
    move_elsewhere()
    assert [import_history(file), import_history(file)] == [2, 0]
    assert len(summaries()) == 2


def test_chosen_runs_bring_those_they_are_tied_to(tmp_path: Path) -> None:
    file = tmp_path / "history.jsonl"
    outer, _ = family(), say()
    assert export_history(file, [outer.id]) == 2
    with pytest.raises(UsageError, match="no stored run 'r99'"):
        export_history(file, ["r99"])


def test_an_imported_result_is_reused(tmp_path: Path) -> None:
    file = tmp_path / "history.jsonl"
    say("paid for")
    export_history(file)
    move_elsewhere()
    import_history(file)
    again = say("not asked", reuse=True)
    assert again.result == "paid for"


def test_a_run_that_had_not_ended_is_imported_as_cancelled(tmp_path: Path) -> None:
    file = tmp_path / "history.jsonl"
    run = waiting_for_ever().start()
    assert eventually(lambda: run.status == "running")
    export_history(file)
    run.cancel()
    run.wait_for_end(5)
    move_elsewhere()
    assert import_history(file) == 1
    (summary,) = summaries()
    assert (summary.status, summary.error) == (
        "cancelled",
        "cancelled: it had not ended when it was exported",
    )


BAD_LINES = {
    "not JSON": "{",
    "no event": '{"type": "nothing"}',
    "an unknown field": '{"type": "run_started", "run_id": "r1", "number": 9, "x": 1}',
    "no such run": '{"type": "run_started", "run_id": "r77", "number": 1}',
    "after the end": '{"type": "run_started", "run_id": "r1", "number": 99}',
    "before the last": '{"type": "turn_ended", "turn": 1, "run_id": "r1", "number": 0}',
    "an unknown call": '{"type": "tool_returned", "call_id": "x", "tool": "t", "output": "", '
    '"duration_seconds": 1, "run_id": "r1", "number": 99}',
}


@pytest.mark.parametrize("bad", BAD_LINES)
def test_a_bad_line_is_named_and_nothing_is_imported(bad: str, tmp_path: Path) -> None:
    file = tmp_path / "history.jsonl"
    say()
    export_history(file)
    lines = file.read_text().splitlines()
    file.write_text("\n".join([*lines, BAD_LINES[bad]]) + "\n")
    move_elsewhere()
    with pytest.raises(UsageError, match=rf"Line {len(lines) + 1} of .*Nothing was imported"):
        import_history(file)
    assert summaries() == []


@pytest.mark.parametrize("head", ["", "x", "{}", json.dumps({"format": "aesop_nb history", "version": 99})])
def test_another_file_is_no_history(head: str, tmp_path: Path) -> None:
    file = tmp_path / "other.txt"
    file.write_text(f"{head}\n")
    with pytest.raises(UsageError, match="Line 1 of"):
        import_history(file)


def test_files_that_cannot_be_used_are_errors(tmp_path: Path) -> None:
    say()
    with pytest.raises(UsageError, match="cannot be read"):
        import_history(tmp_path / "nope")
    with pytest.raises(UsageError, match="cannot be written"):
        export_history(tmp_path / "no" / "folder")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="not UTF-8"):
        import_history(tmp_path / "bytes")
    settings.store = "off"
    with pytest.raises(StoreError, match="no history"):
        export_history(tmp_path / "x")


def test_an_import_that_the_disk_refuses_in_the_middle_leaves_nothing(tmp_path: Path) -> None:
    file = tmp_path / "history.jsonl"
    for number in range(40):
        say(f"{number} " + "long " * 4_000)
    assert export_history(file) == 40
    move_elsewhere()
    say("already here")
    default_store().flush()
    database = default_store()._database
    assert database is not None
    database.page_limit = 60
    with pytest.raises(StoreError, match=r"no room left.*Nothing was imported"):
        import_history(file)
    database.page_limit = 1_000_000
    assert [summary.run_id for summary in summaries()] == ["r1"]
    assert import_history(file) == 40
    assert len(summaries()) == 41


def test_a_result_taken_over_from_a_run_that_is_gone_does_not_name_another(tmp_path: Path) -> None:
    file = tmp_path / "history.jsonl"
    first = say(reuse=True)
    cutoff = datetime.now(UTC)
    say("not asked", reuse=True)
    assert default_store().clear(cutoff) == 1
    assert export_history(file) == 1
    move_elsewhere()
    assert import_history(file) == 1
    (summary,) = summaries()
    assert summary.reused_from == "unknown"
    assert first.id == "r1"
    assert say("next").id == "r2"


@pytest.mark.parametrize("kept_lines", [0, 1, 3, -1])
def test_a_file_that_is_cut_between_two_lines_is_refused(tmp_path: Path, kept_lines: int) -> None:
    file = tmp_path / "history.jsonl"
    say()
    export_history(file)
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:kept_lines]))
    move_elsewhere()
    with pytest.raises(UsageError, match=r"is not whole|does not begin an exported history"):
        import_history(file)
    assert summaries() == []


def test_a_byte_order_mark_and_other_line_ends_change_nothing(tmp_path: Path) -> None:
    file = tmp_path / "history.jsonl"
    say("né \u2028 💬")
    export_history(file)
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes().replace(b"\n", b"\r\n"))
    move_elsewhere()
    assert import_history(file) == 1
    assert aesop_nb.run("r1").result == "né \u2028 💬"


def test_a_run_that_is_deleted_while_the_history_is_written_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "history.jsonl"
    first, second = say(), say()
    whole = Store.events
    monkeypatch.setattr(Store, "events", lambda store, name: [] if name == first.id else whole(store, name))
    assert export_history(file) == 1
    monkeypatch.undo()
    move_elsewhere()
    assert import_history(file) == 1
    assert second.id != first.id
