"""The history: what ran is kept, filtered, read back, summed up and replayed like it was."""

from __future__ import annotations

import os
import sys
from collections import deque
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from helping import at_every_start, one_tool_task, said_by, waiting_for_ever
from pages import open_page
from pydantic import BaseModel
from stored import looking_into

import aesop_nb
from aesop_nb import (
    LimitExceeded,
    NeedsHuman,
    Task,
    TaskCancelled,
    TaskConfig,
    UsageError,
    settings,
    temporary_settings,
)
from aesop_nb.history.replaying import Replay
from aesop_nb.notebook.html import static_block
from aesop_nb.places import find_notebook, notebook_finders
from aesop_nb.store import close_stores, default_store
from aesop_nb.stored_runs import StoredRun
from aesop_nb.testing import ScriptedModel, call, result


@pytest.fixture(autouse=True)
def _no_runs_of_other_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs that were not saved stay in the process and would be part of every history."""
    monkeypatch.setattr("aesop_nb.sessions._recent", deque(maxlen=100))


class Company(BaseModel):
    name: str
    staff: int


def stored(run: Any) -> StoredRun:
    default_store().flush()
    return StoredRun(default_store().events(run.id))


def say(text: str = "hi", name: str = "say", **options: Any) -> Any:
    run = Task("Say", name=name, model=ScriptedModel(text), **options).start()
    run.wait()
    return run


def test_a_stored_run_says_what_the_live_one_says() -> None:
    live = one_tool_task().start()
    live.wait()
    back = stored(live)
    assert (back.id, back.status, back.usage, back.result) == (live.id, live.status, live.usage, 8)
    assert back.duration_seconds == live.duration_seconds
    assert static_block(back.log) == static_block(live.log)
    for table in ("events_df", "messages_df", "tool_calls_df"):
        pd.testing.assert_frame_equal(getattr(back, table)(), getattr(live, table)())
    assert back.outcome() == 8
    assert repr(back) == f"<StoredRun {live.id} 'Double 4': completed>"


def test_the_result_of_a_stored_run_is_json_and_its_frame_a_table() -> None:
    rows = [{"name": "a", "staff": 3}, {"name": "b", "staff": 4}]
    run = Task("Find", result_type=list[Company], model=ScriptedModel(result(rows))).start()
    run.wait()
    back = stored(run)
    assert back.result == rows
    assert back.frame.to_dict("records") == rows
    assert back.frame.attrs["aesop"]["run_id"] == run.id


def test_errors_come_back_with_their_class_and_words() -> None:
    cases: list[tuple[Any, type[BaseException]]] = [
        (Task("x", config=TaskConfig(max_turns=1), model=ScriptedModel(call("nope"))), LimitExceeded),
        (Task("x", user_access=True, model=ScriptedModel(call("talk_to_user", question="Who?"))), NeedsHuman),
        (waiting_for_ever(), TaskCancelled),
    ]
    for made, kind in cases:
        run = made.start()
        if kind is TaskCancelled:
            run.cancel()
        run.wait_for_end(5)
        back = stored(run)
        assert type(back.error) is type(run.error) is kind
        assert back.error.run is back  # type: ignore[union-attr]
        with pytest.raises(kind):
            back.outcome()
        if kind is not TaskCancelled:
            assert str(back.error) == str(run.error)
    assert back.error is not None
    assert "cancelled by the person" in str(back.error)


def test_a_run_is_the_live_one_while_the_kernel_has_it_and_the_stored_one_later() -> None:
    run = say()
    assert aesop_nb.run(run.id) is run
    code = f"""
import json, aesop_nb
run = aesop_nb.run({run.id!r})
print(json.dumps([type(run).__name__, run.result, run.status, len(aesop_nb.runs())]))
"""
    default_store().flush()
    home = {"AESOP_HOME": str(settings.home)}
    assert said_by(code, environment=home) == ["StoredRun", "hi", "completed", 1]


def test_an_unknown_run_is_an_error_that_names_the_latest() -> None:
    with pytest.raises(UsageError, match=r"no run 'r99'.*Nothing has run yet"):
        aesop_nb.run("r99")
    latest = say().id
    with pytest.raises(UsageError, match=f"The latest is '{latest}'"):
        aesop_nb.run("r99")
    with pytest.raises(UsageError, match="not 7"):
        aesop_nb.run(7)  # type: ignore[arg-type]


def test_runs_can_be_filtered() -> None:
    a, b, c = say(name="a"), say(name="b"), waiting_for_ever().start()
    c.cancel()
    c.wait_for_end(5)

    def ids(**filters: Any) -> list[str]:
        return list(aesop_nb.runs(**filters)["run_id"])

    assert ids() == [a.id, b.id, c.id]
    assert ids(task="b") == [b.id]
    assert ids(status="cancelled") == ids(status=c.status) == [c.id]
    assert ids(limit=2) == [b.id, c.id]
    assert ids(since=timedelta(hours=1)) == ids(since=date.today()) == [a.id, b.id, c.id]
    assert ids(since=datetime.now(UTC) + timedelta(hours=1)) == ids(since="2999-01-01") == []
    assert ids(notebook="nope.ipynb") == []


@pytest.mark.parametrize(
    ("filters", "words"),
    [
        ({"status": "complete"}, "Did you mean 'completed'"),
        ({"since": "yesterday"}, "'2026-03-01'"),
        ({"since": 5}, "since=5"),
        ({"limit": 0}, "at least 1"),
        ({"task": 3}, "task=3"),
    ],
)
def test_a_filter_that_cannot_be_understood_is_an_error(filters: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        aesop_nb.runs(**filters)


def test_runs_say_whether_they_are_saved_also_when_nothing_is() -> None:
    saved = say()
    settings.store = "off"
    unsaved = say()
    frame = aesop_nb.runs().set_index("run_id")
    assert not frame.loc[unsaved.id, "saved"]
    settings.store = "on"
    frame = aesop_nb.runs().set_index("run_id")
    assert frame.loc[[saved.id, unsaved.id], "saved"].tolist() == [True, False]


def test_the_table_is_typed_when_there_is_nothing() -> None:
    settings.home = str(settings.home) + "empty"
    settings.store = "off"
    empty = aesop_nb.runs(task="nothing like it")
    settings.store = "on"
    say()
    full = aesop_nb.runs()
    assert len(empty) == 0
    assert empty.dtypes.to_dict() == full.dtypes.to_dict()
    assert not Path(str(settings.home) + "other").exists()


def test_a_run_inside_another_and_its_events_are_kept_without_gaps_after_the_end() -> None:
    def inner(text: str) -> str:
        return str(Task("Inner", name="inner", model=ScriptedModel("in")).run())

    outer = Task(
        "Outer", name="outer", tools=[inner], model=ScriptedModel(call("inner", text="x"), "out")
    ).start()
    outer.wait()
    default_store().flush()
    (child,) = default_store().summaries(task="inner")
    assert child.parent_run_id == outer.id
    assert [event.number for event in stored(outer).events] == list(range(len(outer.events)))
    assert stored(outer).events == outer.events


# Where from ------------------------------------------------------------------------------------------


def test_the_notebook_is_named_relative_to_the_folder_and_never_by_its_path(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for path, name in (
        ("notes.ipynb", "notes.ipynb"),
        (str(tmp_path / "deep" / "notes.ipynb"), os.path.join("deep", "notes.ipynb")),
        ("/elsewhere/secret/notes.ipynb", "notes.ipynb"),
    ):
        monkeypatch.setenv("JPY_SESSION_NAME", path)
        assert find_notebook() == name
    monkeypatch.setattr("aesop_nb.places.notebook_finders", [lambda: None, lambda: "/x/other.ipynb"])
    assert say().log.created.notebook == "other.ipynb"
    assert aesop_nb.runs(notebook="other.ipynb")["notebook"].tolist() == ["other.ipynb"]
    assert notebook_finders == []


def test_a_script_is_named_and_a_module_is_not(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    main = sys.modules["__main__"]
    monkeypatch.setattr(main, "__file__", str(tmp_path / "job.py"), raising=False)
    monkeypatch.setattr(main, "__spec__", None, raising=False)
    assert find_notebook() == "job.py"
    monkeypatch.setattr(main, "__spec__", object(), raising=False)
    assert find_notebook() == ""


# Costs -----------------------------------------------------------------------------------------------


def priced_task(name: str, cost: float | None, **options: Any) -> None:
    from aesop_nb import Usage
    from aesop_nb.models.transcript import Reply

    usage = Usage(requests=1, input_tokens=10, output_tokens=5, cost_usd=cost)
    model = ScriptedModel(Reply(text="x", usage=usage), name=options.pop("model", "m"))
    Task("Say", name=name, model=model, **options).run()


def test_costs_are_summed_up_and_what_is_not_known_is_not_0() -> None:
    priced_task("a", 0.25)
    priced_task("a", None)
    priced_task("b", None, model="other")
    frame = aesop_nb.costs("task").set_index("task")
    assert frame.loc["a", "cost_usd"] == 0.25
    assert pd.isna(frame.loc["b", "cost_usd"])
    assert frame["unpriced_runs"].tolist() == [1, 1]
    assert frame["input_tokens"].tolist() == [20, 10]
    assert aesop_nb.costs("model")["model"].tolist() == ["m", "other"]
    assert aesop_nb.costs("run")["runs"].tolist() == [1, 1, 1]
    days = aesop_nb.costs("day")
    assert days["runs"].tolist() == [3]
    assert days["day"][0].date() == datetime.now(UTC).date()
    with pytest.raises(UsageError, match="Did you mean 'model'"):
        aesop_nb.costs("modell")  # type: ignore[arg-type]


@pytest.mark.parametrize("by", ["run", "task", "model", "day"])
def test_costs_are_typed_when_there_is_nothing(by: Any) -> None:
    settings.home = str(settings.home) + "empty"
    empty = aesop_nb.costs(by)
    priced_task("a", 0.25)
    full = aesop_nb.costs(by)
    assert len(empty) == 0
    assert empty.dtypes.to_dict() == full.dtypes.to_dict()


# Replay ----------------------------------------------------------------------------------------------


def test_a_replay_shows_the_same_events_and_stores_nothing() -> None:
    live = one_tool_task().start()
    live.wait()
    seen: list[Any] = []
    begun: list[Any] = []

    def watch(run: Any) -> None:
        begun.append((run.id, run.status))
        run.listen(seen.append, watches=True)

    with at_every_start(watch):
        again = aesop_nb.replay(live.id)
        assert again.wait(5) == 8
    assert begun == [(live.id, "pending")]
    assert tuple(seen) == live.events[1:]
    assert again.events == live.events
    assert static_block(again.log) == static_block(live.log)
    assert len(aesop_nb.runs()) == 1


@pytest.mark.parametrize("speed", [None, 1])
def test_a_replay_has_a_view_like_the_run_had(monkeypatch: pytest.MonkeyPatch, speed: float | None) -> None:
    """A slow one gets widgets, a quick one none; both leave the record of the run behind."""
    live = Task("Wait", name="wait", model=ScriptedModel("late", delay_seconds=0.3)).start()
    live.wait()
    with open_page(monkeypatch) as page:
        aesop_nb.replay(live.id, speed=speed).wait(5)
        assert page.shown()["text/html"] == static_block(live.log)
        assert bool(page.opened) is (speed is not None)


def test_a_replay_of_a_failure_raises_it_again() -> None:
    run = Task("x", config=TaskConfig(max_turns=1), model=ScriptedModel(call("nope"))).start()
    run.wait_for_end(5)
    with pytest.raises(LimitExceeded, match="max_turns"):
        aesop_nb.replay(run.id).wait(5)


def test_a_replay_takes_its_time_and_can_be_stopped() -> None:
    live = Task("Wait", model=ScriptedModel("late", delay_seconds=0.2)).start()
    live.wait()
    assert aesop_nb.replay(live.id, speed=50).wait(5) == "late"
    slow = aesop_nb.replay(live.id, speed=0.001)
    with pytest.raises(TimeoutError):
        slow.wait(0.01)
    slow.cancel()
    with pytest.raises(TaskCancelled):
        slow.wait(5)
    assert aesop_nb.run(live.id).status == "completed"


def test_only_a_run_that_has_ended_is_replayed() -> None:
    run = waiting_for_ever().start()
    with pytest.raises(UsageError, match="only one that has ended"):
        aesop_nb.replay(run.id)
    run.cancel()
    run.wait_for_end(5)
    with pytest.raises(UsageError, match="above 0"):
        aesop_nb.replay(run.id, speed=0)
    assert isinstance(aesop_nb.replay(run.id), Replay)


def test_the_history_says_when_it_has_outgrown_its_bound() -> None:
    from aesop_nb.history.histories import size_warning

    say()
    default_store().flush()
    assert size_warning() == ""
    settings.history_max_mb = 0.0001
    assert "more than history_max_mb=0.0001" in size_warning()
    close_stores()


def family() -> Any:
    def inner() -> str:
        return str(Task("Inner", name="inner", model=ScriptedModel("in")).run())

    outer = Task("Outer", name="outer", tools=[inner], model=ScriptedModel(call("inner"), "out")).start()
    outer.wait()
    return outer


def test_a_stored_run_has_the_runs_inside_it_and_shows_them(monkeypatch: pytest.MonkeyPatch) -> None:
    live = family()
    monkeypatch.setattr("aesop_nb.sessions._recent", deque(maxlen=100))
    back = aesop_nb.run(live.id)
    assert isinstance(back, StoredRun)
    assert [(inner.id, inner.result) for inner in back.children] == [(live.children[0].id, "in")]
    assert back.children[0].children == ()
    assert static_block(back.log, back.children) == static_block(live.log, live.children)


def test_stored_runs_that_are_said_to_be_inside_each_other_end_somewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    live = family()
    monkeypatch.setattr("aesop_nb.sessions._recent", deque(maxlen=100))
    default_store().flush()
    assert default_store().path is not None
    with looking_into(default_store().path) as other:  # type: ignore[arg-type]
        other.execute("UPDATE runs SET parent_run_id = ? WHERE parent_run_id IS NULL", (live.children[0].id,))
    back = aesop_nb.run(live.id)
    assert [inner.id for inner in back.children] == [live.children[0].id]
    assert back.children[0].children == ()


def test_a_replay_of_a_run_inside_another_is_nobodys_child() -> None:
    inner = family().children[0]
    again = aesop_nb.replay(inner.id)
    assert again.wait(5) == "in"
    assert again.parent is None
    assert again.events == inner.events


def test_runs_that_are_not_to_be_stored_are_counted_and_do_not_hide_stored_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept = say("kept")
    monkeypatch.setattr("aesop_nb.sessions._recent", deque(maxlen=100))
    with temporary_settings(store="off"):
        first, second = say("one"), say("two")
        assert first.id[0] == "r"
        assert int(second.id[1:]) == int(first.id[1:]) + 1 > int(kept.id[1:])
        assert aesop_nb.run(first.id) is first
        first.id = kept.id  # as it would be named in a kernel that has made none before
        assert aesop_nb.run(kept.id) is first
    assert aesop_nb.run(kept.id).result == "kept"
    assert sorted(aesop_nb.runs()["saved"]) == [False, False, True]


@pytest.mark.parametrize(
    "filters",
    [
        {"since": "0001-01-01"},
        {"since": datetime.min},
        {"since": timedelta(days=10**8)},
        {"limit": 10**30},
    ],
)
def test_filters_at_the_end_of_time_and_beyond_all_numbers_find_everything(filters: dict[str, Any]) -> None:
    say()
    assert len(aesop_nb.runs(**filters)) == 1


def test_names_that_cannot_be_written_are_names_of_nothing() -> None:
    say()
    assert len(aesop_nb.runs(task="x\ud800")) == 0
    assert len(aesop_nb.runs(since="9999-12-31")) == 0
    for name in ("\ud800", "r1; DROP TABLE runs", "", "../r1"):
        with pytest.raises(UsageError, match="There is no run"):
            aesop_nb.run(name)


def test_a_few_of_many_runs_are_read_without_reading_all(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [say(str(number)) for number in range(6)]
    monkeypatch.setattr("aesop_nb.sessions._recent", deque(maxlen=100))
    asked: list[Any] = []
    whole = type(default_store()).summaries
    monkeypatch.setattr(
        type(default_store()), "summaries", lambda store, **how: asked.append(how) or whole(store, **how)
    )
    assert aesop_nb.runs(limit=2)["run_id"].tolist() == [run.id for run in runs[-2:]]
    assert asked[0]["limit"] == 2
