"""Permanent memory in the store: exact names, whole values, and nothing left on the disk of what was deleted."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from stored import NOON, a_run, bytes_in, created, looking_into, record

from aesop_nb import events as ev
from aesop_nb.errors import StoreError
from aesop_nb.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator

NAUGHTY = Path(__file__).parent / "data" / "blns.jsonl"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "home" / "aesop.sqlite")
    yield opened
    opened.close()


def folder_of(store: Store) -> Path:
    assert store.path is not None
    return store.path.parent


def naughty_strings() -> list[str]:
    lines = (json.loads(line) for line in NAUGHTY.read_text().splitlines() if line.strip())
    return [str(next(iter(line.values()))) if isinstance(line, dict) else str(line) for line in lines]


def test_every_naughty_string_is_a_name_and_a_value_like_any_other(store: Store) -> None:
    texts = list(
        dict.fromkeys([*naughty_strings(), "a\x00b", "a\x00c", "%", "_", "A", "a", "Ａ", "é", "e\u0301"])
    )
    assert len(texts) > 200

    def write_all(connection: Any) -> None:
        for text in texts:
            connection.change(
                "INSERT INTO memories (namespace, name, value, changed_at) VALUES ('n', :text, :value, 0)",
                text=text,
                value=json.dumps(text),
            )

    store.submit(write_all)
    assert store.flush()
    assert dict(store.memory.items("n")) == {text: json.dumps(text) for text in texts}
    for text in texts[::20]:
        assert store.memory.get("n", text) == json.dumps(text)
        store.memory.set(text, "k", json.dumps(text))
        assert store.memory.items(text) == [("k", json.dumps(text))]
        assert store.memory.delete("n", text)
        assert not store.memory.delete("n", text)
    assert len(store.memory.keys("n")) == len(texts) - len(texts[::20])


def test_a_lone_surrogate_counts_as_a_replacement_character(store: Store) -> None:
    store.memory.set("n", "a\ud800", '"b\udfff"')
    assert store.memory.items("n") == [("a\ufffd", '"b\ufffd"')]
    assert store.memory.get("n", "a\ud800") == '"b\ufffd"'


def test_a_value_of_sixteen_mebibytes_is_kept_and_a_longer_one_refused(store: Store) -> None:
    whole = "x" * (16 * 1024 * 1024)
    store.memory.set("n", "k", whole)
    assert store.memory.get("n", "k") == whole
    with pytest.raises(StoreError, match="longer than 16,777,216 bytes"):
        store.memory.set("n", "k", whole + "x")
    assert store.memory.get("n", "k") == whole


@pytest.mark.parametrize("size", [40, 3_000, 300_000])
def test_nothing_of_a_deleted_value_is_left_in_the_files(store: Store, size: int) -> None:
    secret = b"sentinel-" + os.urandom(8).hex().encode()
    value = json.dumps(secret.decode() * (size // len(secret) + 1))
    store.memory.set("other", "k", '"stays"')
    for number in range(20):
        store.memory.set("n", f"k{number}", value)
    store.memory.set("n", "k0", '"short"')  # what was there before must go as well
    assert bytes_in(folder_of(store), secret) > 0
    assert store.memory.delete("n", "k1")
    assert store.memory.clear("n") == 19
    assert bytes_in(folder_of(store), secret) == 0
    assert store.memory.items("other") == [("k", '"stays"')]


def test_nothing_is_left_either_once_a_reader_beside_it_has_finished(store: Store) -> None:
    secret = b"sentinel-" + os.urandom(8).hex().encode()
    store.memory.set("n", "k", json.dumps(secret.decode()))
    record(store, [created(store.new_run_id())])  # a run under way keeps the store's thread awake
    assert store.flush()
    reads, may_end = threading.Event(), threading.Event()

    def read() -> None:
        with looking_into(folder_of(store) / "aesop.sqlite") as other:
            other.execute("BEGIN")
            other.execute("SELECT * FROM memories").fetchall()
            reads.set()
            may_end.wait(10)

    reader = threading.Thread(target=read)
    reader.start()
    assert reads.wait(5)
    threading.Timer(0.2, may_end.set).start()
    assert store.memory.clear("n") == 1
    reader.join()
    assert bytes_in(folder_of(store), secret) == 0


def test_nothing_is_left_of_runs_that_were_cleared(store: Store) -> None:
    secret = "sentinel-" + os.urandom(8).hex()
    for _ in range(30):
        record(store, a_run(store.new_run_id(), instructions=secret * 50))
    assert store.flush()
    assert bytes_in(folder_of(store), secret.encode()) > 0
    assert store.clear() == 30
    assert bytes_in(folder_of(store), secret.encode()) == 0


names = st.sampled_from(["a", "A", "b", "", "a\x00", "%", "é"])
values = st.text(max_size=5).map(json.dumps) | st.integers().map(json.dumps)
ends = st.sampled_from(["completed", "failed", "cancelled"])


class StoreAgainstDicts(RuleBasedStateMachine):
    """The store says what two dictionaries say, however it is used, closed and opened again."""

    folder: Path

    @initialize()
    def begin(self) -> None:
        type(self).count += 1
        self.path = self.folder / str(type(self).count) / "aesop.sqlite"
        self.store = Store(self.path)
        self.memory: dict[str, dict[str, str]] = {}
        self.runs: dict[str, str] = {}

    count = 0

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.close()

    @rule(namespace=names, key=names, value=values)
    def keep(self, namespace: str, key: str, value: str) -> None:
        self.store.memory.set(namespace, key, value)
        self.memory.setdefault(namespace, {})[key] = value

    @rule(namespace=names, key=names)
    def delete(self, namespace: str, key: str) -> None:
        there = self.memory.get(namespace, {}).pop(key, None) is not None
        assert self.store.memory.delete(namespace, key) == there

    @rule(namespace=names)
    def clear(self, namespace: str) -> None:
        assert self.store.memory.clear(namespace) == len(self.memory.pop(namespace, {}))

    @rule(task=names)
    def create_run(self, task: str) -> None:
        run_id = self.store.new_run_id()
        assert run_id not in self.runs
        self.store.record(created(run_id, task=task, at=NOON))
        self.runs[run_id] = "pending"

    @rule(data=st.data(), end=ends)
    def end_run(self, data: st.DataObject, end: str) -> None:
        waiting = [run_id for run_id, status in self.runs.items() if status == "pending"]
        if waiting:
            run_id = data.draw(st.sampled_from(waiting))
            made = {
                "completed": ev.RunCompleted(),
                "failed": ev.RunFailed(error="TaskFailed", message="m"),
                "cancelled": ev.RunCancelled(reason="r"),
            }[end]
            self.store.record(made.model_copy(update={"run_id": run_id, "number": 1}))
            self.runs[run_id] = end

    @rule()
    def forget_runs(self) -> None:
        ended = [run_id for run_id, status in self.runs.items() if status != "pending"]
        assert self.store.clear() == len(ended)
        for run_id in ended:
            del self.runs[run_id]

    @rule()
    def open_again(self) -> None:
        self.store.close()
        self.store = Store(self.path)

    @invariant()
    def says_the_same(self) -> None:
        if hasattr(self, "store"):
            assert {found.run_id: found.status for found in self.store.summaries()} == self.runs
            for namespace in ("a", "A", "%"):
                assert dict(self.store.memory.items(namespace)) == self.memory.get(namespace, {})


def test_the_store_says_what_dictionaries_say(tmp_path: Path) -> None:
    from hypothesis.stateful import run_state_machine_as_test

    StoreAgainstDicts.folder = tmp_path
    run_state_machine_as_test(
        StoreAgainstDicts, settings=settings(max_examples=12, stateful_step_count=20, deadline=None)
    )
