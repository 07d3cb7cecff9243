"""Events: stored and read back unchanged; and the fold of any events never leaves the five states' paths."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from datetime import UTC, datetime
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from aesop_nb import Status, Usage
from aesop_nb import events as ev
from aesop_nb.errors import RunStateError
from aesop_nb.runlogs import RunLog

EVENT_CLASSES: tuple[type[Any], ...] = get_args(get_args(ev.Event)[0])
NOON = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
COUNT = st.integers(0, 10**9)
SECONDS = st.floats(0, 10**6)
USAGE = st.builds(
    Usage,
    requests=COUNT,
    input_tokens=COUNT,
    output_tokens=COUNT,
    cached_tokens=COUNT,
    cost_usd=st.none() | st.floats(0, 10**6),
)
CALL = st.builds(ev.CallRequest, call_id=TEXT, tool=TEXT, arguments=TEXT)
BY_FIELD: dict[str, Any] = {
    "at": st.datetimes(timezones=st.just(UTC)),
    "version": COUNT,
    "number": COUNT,
    "turn": COUNT,
    "attempt": COUNT,
    "index": COUNT,
    "is_rehearsal": st.booleans(),
    "restarted": st.booleans(),
    "inputs": st.dictionaries(TEXT, TEXT, max_size=3),
    "limits": st.dictionaries(TEXT, JSON, max_size=3),
    "arguments": TEXT,
    "result": JSON,
    "usage": USAGE,
    "tool_calls": st.lists(CALL, max_size=3),
    "opaque": st.lists(st.dictionaries(TEXT, JSON, max_size=3), max_size=3),
    "duration_seconds": SECONDS,
    "waited_seconds": SECONDS,
    "seconds": SECONDS,
    "bytes": COUNT,
    "status": st.none() | COUNT,
    "retry_in_seconds": st.none() | SECONDS,
    "time_limit_seconds": st.none() | SECONDS,
    **dict.fromkeys(("completed", "reused", "failed"), COUNT),
    "is_skipped": st.booleans(),
    "is_restorable": st.booleans(),
    "is_optional": st.booleans(),
    "approved": st.booleans(),
    "kind": st.sampled_from(get_args(ev.AnswerKind)),
    "default": st.none() | TEXT,
    "parent_run_id": st.none() | TEXT,
    "resumed_run_id": st.none() | TEXT,
    "reuse_parts": st.dictionaries(TEXT, TEXT, max_size=3),
    "limit": st.none() | TEXT,
    **{name: st.lists(TEXT, max_size=3) for name in ("agents", "tools", "choices", "pending_tools")},
}


def events_of(kind: type[Any]) -> st.SearchStrategy[Any]:
    fields = {name: BY_FIELD.get(name, TEXT) for name in kind.model_fields if name != "type"}
    if kind in (ev.ToolCalled, ev.ApprovalAsked):
        fields["arguments"] = st.dictionaries(TEXT, JSON, max_size=3)
    return st.builds(kind, **fields)


# Stored and read back ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", EVENT_CLASSES, ids=lambda kind: kind.__name__)
def test_every_event_comes_back_from_json_as_it_was(kind: type[Any]) -> None:
    @given(events_of(kind))
    def comes_back(event: Any) -> None:
        again = ev.event_from_json(event.model_dump_json())
        assert again == event
        assert type(again) is kind
        assert again.model_dump_json() == event.model_dump_json()

    comes_back()


def test_there_is_one_type_for_each_class_and_a_version_in_the_first() -> None:
    types = [kind.model_fields["type"].default for kind in EVENT_CLASSES]
    assert len(set(types)) == len(types) == 25
    assert ev.RunCreated(task="a", objective="b").version == ev.EVENTS_VERSION == 1


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        '{"type": "nope"}',
        '{"type": "turn_ended"}',
        '{"type": "turn_ended", "turn": 1, "extra": 2}',
        "[1]",
    ],
)
def test_what_is_no_event_of_this_version_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        ev.event_from_json(text)


def test_an_event_does_not_change_and_knows_when_it_was() -> None:
    before = datetime.now(UTC)
    event = ev.TurnEnded(turn=1)
    assert before <= event.at <= datetime.now(UTC)
    with pytest.raises(ValidationError, match="frozen"):
        event.turn = 2  # type: ignore[misc]


def test_usage_adds_up_and_a_cost_is_known_when_that_of_all_parts_is() -> None:
    one = Usage(requests=1, input_tokens=2, output_tokens=3, cached_tokens=1)
    priced = Usage(requests=1, cost_usd=0.5)
    assert one + one == Usage(requests=2, input_tokens=4, output_tokens=6, cached_tokens=2)
    assert (one + priced).cost_usd is None
    assert (priced + priced).cost_usd == 1.0
    assert (one + one).total_tokens == 10


# The fold ---------------------------------------------------------------------------------------------

LEGAL = {
    Status.PENDING: {Status.RUNNING, Status.CANCELLED},
    Status.RUNNING: {Status.COMPLETED, Status.FAILED, Status.CANCELLED},
    Status.COMPLETED: set(),
    Status.FAILED: set(),
    Status.CANCELLED: set(),
}


def small_events() -> st.SearchStrategy[Any]:
    """Events of all kinds, with few ids, so that they meet each other."""
    ids = st.sampled_from(["a", "b"])
    simple = [
        st.builds(ev.RunStarted),
        st.builds(ev.RunCompleted),
        st.builds(ev.RunFailed, error=ids, message=ids),
        st.builds(ev.RunCancelled, reason=ids),
        st.builds(ev.CancelRequested, reason=ids),
        st.builds(ev.TurnStarted, turn=COUNT),
        st.builds(ev.TurnEnded, turn=COUNT),
        st.builds(ev.TextStreamed, turn=COUNT, text=TEXT, restarted=st.booleans()),
        st.builds(ev.ToolCallStreamed, turn=COUNT, index=st.integers(0, 2), tool=ids),
        st.builds(ev.SendFailed, turn=COUNT, attempt=COUNT, error=ids, message=ids),
        st.builds(ev.ModelReplied, turn=COUNT, usage=USAGE),
        st.builds(ev.ToolFailed, turn=COUNT, call_id=ids, tool=ids, error=ids),
        st.builds(ev.ToolCalled, turn=COUNT, call_id=ids, tool=ids, arguments=st.just({})),
        st.builds(ev.UserAsked, question_id=ids, question=ids),
        st.builds(ev.ApprovalAsked, call_id=ids, tool=ids, arguments=st.just({})),
        st.builds(ev.ResultReused, source_run_id=ids),
        st.builds(ev.NoticeGiven, text=ids),
        st.builds(ev.AgentChosen, agent=ids, reason=ids),
        st.builds(ev.ResultRejected, turn=COUNT, reason=ids, raw=ids),
    ]
    return st.one_of(simple)


@given(st.lists(small_events(), max_size=30))
def test_no_events_in_any_order_make_an_illegal_change_of_state(events: list[Any]) -> None:
    log = RunLog.of([ev.RunCreated(task="t", objective="o")])
    accepted: list[Any] = []
    for event in events:
        before = log.status
        try:
            log.apply(event)
        except RunStateError:
            assert log.status is before
            continue
        assert not before.is_final
        accepted.append(event)
        assert log.status is before or log.status in LEGAL[before]
        assert (log.ended_at is not None) is log.status.is_final
        if log.status.is_final:
            assert log.question is None
            assert log.current_action == ""
        if log.status in (Status.FAILED, Status.CANCELLED):
            assert not log.writing
            assert all(step.state in ("done", "failed") for step in log.steps)
    assert RunLog.of([ev.RunCreated(task="t", objective="o"), *accepted]).status is log.status


@pytest.mark.parametrize(
    "end", [ev.RunCompleted(), ev.RunFailed(error="e", message="m"), ev.RunCancelled(reason="r")]
)
@pytest.mark.parametrize("kind", EVENT_CLASSES, ids=lambda kind: kind.__name__)
def test_nothing_follows_an_end(end: Any, kind: type[Any]) -> None:
    log = RunLog.of([ev.RunCreated(task="t", objective="o"), ev.RunStarted(), end])
    before = log.status

    @given(events_of(kind))
    def is_refused(event: Any) -> None:
        with contextlib.suppress(RunStateError):
            log.apply(event)
            raise AssertionError(f"{event.type} was accepted after {before}")

    is_refused.hypothesis.inner_test(_example(kind))  # type: ignore[attr-defined]
    assert log.status is before


def _example(kind: type[Any]) -> Any:
    """One event of that kind with plain values in its required fields."""
    plain = {
        "turn": 1,
        "index": 0,
        "attempt": 1,
        "duration_seconds": 0.0,
        "arguments": "{}",
        "approved": True,
    }
    if kind in (ev.ToolCalled, ev.ApprovalAsked):
        plain["arguments"] = {}
    required = [name for name, field in kind.model_fields.items() if field.is_required()]
    return kind(**{name: plain.get(name, "x") for name in required})


def test_a_pending_run_cannot_end_but_by_being_cancelled() -> None:
    created = ev.RunCreated(task="t", objective="o")
    for end in (ev.RunCompleted(), ev.RunFailed(error="e", message="m")):
        with pytest.raises(RunStateError, match="is pending and cannot become"):
            RunLog.of([created, end])
    assert RunLog.of([created, ev.RunCancelled(reason="r")]).status == "cancelled"
    with pytest.raises(RunStateError):
        RunLog.of([created, ev.RunStarted(), ev.RunStarted()])


def test_calls_that_interleave_are_paired_by_their_ids() -> None:
    log = RunLog.of(
        [
            ev.RunCreated(task="t", objective="o", run_id="r1"),
            ev.RunStarted(at=NOON),
            ev.TurnStarted(turn=1),
            ev.ToolCalled(turn=1, call_id="a", tool="slow", arguments={"n": 1}),
            ev.ToolCalled(turn=1, call_id="b", tool="quick", arguments={}),
            ev.ToolReturned(call_id="b", tool="quick", output="2", duration_seconds=0.1),
            ev.ToolFailed(turn=1, call_id="c", tool="nope", arguments="{", error="no tool"),
            ev.ToolFailed(turn=1, call_id="a", tool="slow", error="late", duration_seconds=3.0),
        ]
    )
    assert [(s.tool, s.state, s.output, s.error) for s in log.steps] == [
        ("slow", "failed", None, "late"),
        ("quick", "done", "2", None),
        ("nope", "failed", None, "no tool"),
    ]
    assert log.steps[2].arguments == "{"
    assert (log.run_id, log.task, log.turn) == ("r1", "t", 1)
    assert log.duration_seconds(NOON) == 0.0


def test_what_runs_at_the_end_has_stopped_with_it() -> None:
    log = RunLog.of(
        [
            ev.RunCreated(task="t", objective="o"),
            ev.RunStarted(),
            ev.ToolCalled(turn=1, call_id="a", tool="slow", arguments={}),
            ev.CancelRequested(reason="enough"),
        ]
    )
    assert log.current_action == "cancelling…"
    log.apply(ev.RunCancelled(reason="enough"))
    assert [(step.state, step.error) for step in log.steps] == [("failed", "stopped with the run")]


def test_streamed_pieces_add_up_and_a_restart_drops_them() -> None:
    log = RunLog.of([ev.RunCreated(task="t", objective="o"), ev.RunStarted(), ev.TurnStarted(turn=1)])
    log.apply(ev.TextStreamed(turn=1, text="half "))
    log.apply(ev.ToolCallStreamed(turn=1, index=0, tool="sea", arguments='{"q'))
    log.apply(ev.ToolCallStreamed(turn=1, index=0, tool="rch", arguments='": 1}'))
    assert (log.text, log.writing[0].tool, log.writing[0].arguments) == ("half ", "search", '{"q": 1}')
    assert log.current_action == "writing a call of search"
    log.apply(ev.TextStreamed(turn=1, text="whole", restarted=True))
    assert (log.text, log.writing) == ("whole", {})
    log.apply(ev.SendFailed(turn=1, attempt=1, error="ModelUnavailable", message="503", retry_in_seconds=1.0))
    assert log.current_action == "sending again after ModelUnavailable"
    log.apply(ev.ModelReplied(turn=1, text="whole thing"))
    assert (log.text, log.usage.requests) == ("whole thing", 1)


def test_many_streamed_pieces_take_time_in_proportion() -> None:
    pieces = 200_000
    log = RunLog.of([ev.RunCreated(task="t", objective="o"), ev.RunStarted(), ev.TurnStarted(turn=1)])
    text = ev.TextStreamed(turn=1, text="x" * 20)
    call = ev.ToolCallStreamed(turn=1, index=0, tool="", arguments="y" * 20)
    began = time.process_time()
    for _ in range(pieces):
        log.apply(text)
        log.apply(call)
    assert time.process_time() - began < 2
    assert len(log.text) == len(log.writing[0].arguments) == 20 * pieces


def test_the_current_action_can_be_read_while_calls_are_written() -> None:
    """Another thread may add and drop calls between any two steps of the reader."""
    log = RunLog.of([ev.RunCreated(task="t", objective="o"), ev.RunStarted(), ev.TurnStarted(turn=1)])
    done = threading.Event()

    def write() -> None:
        for _ in range(20_000):
            log.apply(ev.ToolCallStreamed(turn=1, index=0, tool="search", arguments=""))
            log.apply(ev.TextStreamed(turn=1, text="", restarted=True))
        done.set()

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        writer = threading.Thread(target=write)
        writer.start()
        while not done.is_set():
            assert log.current_action in ("writing a call of search", "writing a call of a tool", "thinking")
        writer.join()
    finally:
        sys.setswitchinterval(interval)
