"""Tools that need a person's yes: no yes, no call; and a yes holds for one call and its arguments."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import pytest
from helping import event_types, eventually, last_text
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, BeforeValidator

from aesop_nb import (
    RehearsalModel,
    Run,
    Task,
    TaskCancelled,
    TaskConfig,
    Tool,
    UsageError,
    temporary_settings,
    tool,
)
from aesop_nb.engine import asking
from aesop_nb.engine.terminals import call_text, read_decision
from aesop_nb.errors import RunStateError
from aesop_nb.testing import ScriptedModel, call

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def audience() -> Iterator[list[asking.Audience]]:
    """Who is there: a person in front of a form until a test says otherwise."""
    said: list[asking.Audience] = ["widget"]

    def find() -> asking.Audience:
        return said[-1]

    asking.audience_finders.insert(0, find)
    yield said
    asking.audience_finders.remove(find)


class Bodies:
    """Tools that write down what they were called with."""

    def __init__(self, **options: Any) -> None:
        self.calls: list[Any] = []

        def delete(path: str, options: list[str] | None = None) -> str:
            self.calls.append((path, options))
            return f"deleted {path}"

        self.delete = tool(delete, requires_approval=True, **options)

    def start(self, *replies: Any, **options: Any) -> Run[Any]:
        self.model = ScriptedModel(*replies)
        return Task("Tidy up", tools=[self.delete], model=self.model, **options).start()


def waits(run: Run[Any]) -> Any:
    assert eventually(lambda: run.log.approval is not None)
    assert run.current_action == "waiting for you"
    return run.log.approval


def approve_next(run: Run[Any]) -> Any:
    approval = waits(run)
    run.approve(approval.call_id)
    assert eventually(lambda: approval.approved is not None)
    return approval


def decisions(run: Run[Any]) -> list[tuple[bool | None, str | None]]:
    return [(approval.approved, approval.source) for approval in run.log.approvals]


def test_the_call_waits_for_a_yes_and_shows_all_its_arguments(audience: Any) -> None:
    bodies = Bodies()
    run = bodies.start(call("delete", path="a.txt", options=["-r", "x" * 5_000]), last_text)
    approval = waits(run)
    assert approval.arguments == {"path": "a.txt", "options": ["-r", "x" * 5_000]}
    assert run.question is not None
    assert run.question.startswith('May delete be called? {"path": "a.txt"')
    assert bodies.calls == []
    run.approve()
    assert run.wait(2) == "deleted a.txt"
    assert bodies.calls == [("a.txt", ["-r", "x" * 5_000])]
    assert decisions(run) == [(True, "call")]
    assert event_types(run)[4:8] == ["approval_asked", "approval_decided", "tool_called", "tool_returned"]


def test_a_denied_call_is_not_made_and_the_model_is_told_why(audience: Any) -> None:
    bodies = Bodies()
    run = bodies.start(call("delete", path="a.txt"), last_text)
    waits(run)
    run.deny("keep it")
    assert run.wait(2) == "Error: the person denied this call, so it was not made. The reason: keep it"
    assert bodies.calls == []
    assert "tool_called" not in event_types(run)
    assert (run.log.steps[0].state, run.log.approvals[0].reason) == ("failed", "keep it")


def test_where_nobody_is_there_the_call_is_denied_at_once(audience: Any) -> None:
    audience.append("nobody")
    bodies = Bodies()
    run = bodies.start(call("delete", path="a.txt"), last_text)
    assert "nobody is there" in run.wait(2)
    assert (bodies.calls, decisions(run)) == ([], [(False, "nobody")])


def test_no_decision_in_time_is_a_no(audience: Any) -> None:
    bodies = Bodies(approval_timeout_seconds=0.05)
    run = bodies.start(call("delete", path="a.txt"), last_text)
    assert "in time" in run.wait(2)
    assert (bodies.calls, decisions(run)) == ([], [(False, "time_limit")])


def test_a_cancelled_run_has_not_called(audience: Any) -> None:
    bodies = Bodies()
    run = bodies.start(call("delete", path="a.txt"), last_text)
    waits(run)
    run.cancel()
    with pytest.raises(TaskCancelled):
        run.wait(2)
    with pytest.raises(RunStateError, match="waits for no approval"):
        run.approve()
    assert bodies.calls == []
    assert run.question is None


def test_arguments_that_do_not_fit_are_refused_before_anybody_is_asked(audience: Any) -> None:
    bodies = Bodies()
    run = bodies.start(call("delete", path=["a"]), last_text)
    assert "path" in run.wait(2)
    assert "approval_asked" not in event_types(run)


def test_the_clock_stands_still_while_the_person_decides(audience: Any) -> None:
    bodies = Bodies()
    run = bodies.start(
        call("delete", path="a"),
        last_text,
        config=TaskConfig(max_duration_seconds=0.3, tool_timeout_seconds=0.2),
    )
    waits(run)
    threading.Event().wait(0.5)
    run.approve()
    assert run.wait(2) == "deleted a"
    assert run.log.asked_seconds >= 0.5


def test_a_decision_holds_for_the_call_it_names(audience: Any) -> None:
    bodies = Bodies()
    run = bodies.start([call("delete", path="a"), call("delete", path="b")], lambda request: "done")
    first = waits(run)
    with pytest.raises(RunStateError, match="waits for no approval"):
        run.approve("another call")
    with pytest.raises(RunStateError, match="waits for no answer"):
        run.answer("yes")
    run.approve(first.call_id)
    assert eventually(lambda: run.log.approval not in (None, first))
    with pytest.raises(RunStateError, match="waits for no approval"):
        run.approve(first.call_id)
    run.deny(call_id=waits(run).call_id)
    assert run.wait(2) == "done"
    assert bodies.calls == [(first.arguments["path"], None)]


def test_calls_of_one_turn_are_asked_one_after_the_other_and_others_go_on(audience: Any) -> None:
    bodies, looked = Bodies(), threading.Event()

    def look() -> str:
        looked.set()
        return "seen"

    model = ScriptedModel([call("delete", path="a"), call("look"), call("delete", path="b")], "done")
    run = Task("Tidy", tools=[bodies.delete, look], model=model).start()
    waits(run)
    assert looked.wait(2)
    assert len(run.log.approvals) == 1
    for _ in range(2):
        approve_next(run)
    run.wait(2)
    assert len(bodies.calls) == 2


def test_a_tool_may_be_approved_for_the_whole_run_and_for_this_one_only(audience: Any) -> None:
    bodies, other = Bodies(), Bodies()
    erase = tool(other.delete.function, name="erase", requires_approval=True)
    replies = [
        [call("delete", path="a"), call("delete", path="b")],
        call("delete", path="c"),
        call("erase", path="d"),
        "done",
    ]
    task = Task("Tidy", tools=[bodies.delete, erase], model=ScriptedModel(*replies, *replies))
    run = task.start()
    waits(run)
    run.approve(whole_run=True)
    assert eventually(lambda: run.log.approval is not None and run.log.approval.tool == "erase")
    run.deny()
    run.wait(2)
    assert len(bodies.calls) == 3
    assert other.calls == []
    assert decisions(run) == [(True, "call"), (True, "earlier"), (True, "earlier"), (False, "call")]
    again = task.start()
    waits(again)
    again.cancel()
    assert len(bodies.calls) == 3


@pytest.mark.parametrize("who", ["widget", "nobody"])
def test_a_task_approves_beforehand_by_name_or_by_a_function(audience: Any, who: asking.Audience) -> None:
    audience.append(who)
    for approve in (
        ["delete"],
        "delete",
        lambda name, arguments: name == "delete" and arguments["path"] == "a",
    ):
        bodies = Bodies()
        run = bodies.start(call("delete", path="a"), last_text, approve=approve)
        assert run.wait(2) == "deleted a"
        assert decisions(run) == [(True, "given")]


def test_a_function_denies_before_all_else_and_none_has_the_person_asked(audience: Any) -> None:
    bodies = Bodies()

    def approve(name: str, arguments: dict[str, Any]) -> bool | None:
        arguments["path"] = "/"  # its own copy
        return None if len(bodies.calls) == 0 else False

    run = bodies.start(call("delete", path="a"), call("delete", path="b"), last_text, approve=approve)
    waits(run)
    run.approve(whole_run=True)
    assert "the task does not allow this call" in run.wait(2)
    assert bodies.calls == [("a", None)]


def test_what_cannot_approve_is_an_error(audience: Any) -> None:
    with pytest.raises(UsageError, match="approve"):
        Task("Tidy", approve=3)  # type: ignore[arg-type]
    bodies = Bodies()
    run = bodies.start(call("delete", path="a"), last_text, approve=lambda name, arguments: "yes")
    with pytest.raises(UsageError, match=r"True, False or None.*'yes'"):
        run.wait(2)
    assert bodies.calls == []


def test_answers_given_beforehand_approve_nothing(audience: Any) -> None:
    audience.append("nobody")
    bodies = Bodies()
    model = ScriptedModel(call("delete", path="a"), last_text)
    task = Task("Tidy", tools=[bodies.delete], user_access=True, model=model, default_answer="approve")
    assert "nobody is there" in task.run(answers=lambda question: "approve")
    assert bodies.calls == []


def test_what_is_approved_is_what_is_called_whatever_others_change(audience: Any) -> None:
    """Neither a listener nor another tool that holds on to its arguments can change the call."""
    shared: list[Any] = []

    def first(items: list[Any]) -> str:
        shared.append(items)
        return "ok"

    calls: list[Any] = []

    def second(items: list[Any]) -> str:
        calls.append(items)
        return "ok"

    model = ScriptedModel(call("first", items=[["a"]]), call("second", items=[["a"]]), "done")
    run = Task("Go", tools=[first, tool(second, requires_approval=True)], model=model).start()

    def meddle(event: Any) -> None:
        event.arguments["items"].append("b")
        for items in shared:
            items[0].append("c")

    run.on("approval_asked", meddle)
    waits(run)
    run.approve()
    run.wait(2)
    assert calls == [[["a"]]]


_box: list[str] = []


def into_box(value: list[str]) -> list[str]:
    _box[:] = value
    return _box


def test_a_validator_that_gives_one_object_to_all_calls_cannot_change_an_approved_one(audience: Any) -> None:
    calls: list[list[str]] = []

    def send(to: Annotated[list[str], BeforeValidator(into_box)]) -> str:
        calls.append(list(to))
        return "sent"

    model = ScriptedModel([call("send", to=["ann"]), call("send", to=["eve"])], "done")
    run = Task("Send", tools=[tool(send, requires_approval=True)], model=model).start()
    seen = []
    for _ in range(2):
        seen.append(approve_next(run).arguments["to"])
    run.wait(2)
    assert calls == seen == [["ann"], ["eve"]]


class Forging(ScriptedModel):
    """Names its calls of ordinary tools all alike."""

    def __init__(self, call_id: str, *replies: Any) -> None:
        super().__init__(*replies)
        self.call_id = call_id

    async def reply(self, request: Any, on_delta: Any) -> Any:
        said = await super().reply(request, on_delta)
        calls = [
            made if made.tool == "talk_to_user" else made.model_copy(update={"call_id": self.call_id})
            for made in said.tool_calls
        ]
        return replace(said, tool_calls=tuple(calls))


class Uncopyable:
    """An argument that everybody shares, since it cannot be copied."""

    held: ClassVar[list[Uncopyable]] = []

    def __init__(self, text: str) -> None:
        self.text = text
        self.held.append(self)

    def __deepcopy__(self, _: Any) -> Any:
        raise TypeError("cannot be copied")

    def __str__(self) -> str:
        return self.text


def shared(text: str) -> Any:
    return Uncopyable(text)


def test_an_argument_that_changed_while_it_was_looked_at_is_not_used(audience: Any) -> None:
    """With and without a secret among the arguments, whose values are never shown."""
    for key in ("plain", "<secret:1>"):
        Uncopyable.held.clear()
        calls: list[str] = []

        def send(to: Annotated[Any, BeforeValidator(shared)], key: str, calls: list[str] = calls) -> str:
            calls.append(f"{to} {key}")
            return "sent"

        model = ScriptedModel(
            call("talk_to_user", question="Password?", kind="secret"),
            call("send", to="ann", key=key),
            last_text,
        )
        used = Task("Send", tools=[tool(send, requires_approval=True)], user_access=True, model=model)
        run = used.start(answers=["hunter2"])
        waits(run)
        Uncopyable.held[-1].text = "eve"
        run.approve()
        assert "changed after they were approved" in run.wait(2)
        assert calls == []


def test_a_run_inside_an_approved_call_asks_and_is_approved_by_itself(audience: Any) -> None:
    """An approval, a question and a secret of one turn, and the same of a run inside."""
    bodies, got = Bodies(), []

    def use(key: str) -> str:
        inner = ScriptedModel([call("delete", path="in"), call("talk_to_user", question="In?")], "inner")
        got.append((key, Task("In", tools=[bodies.delete], user_access=True, model=inner).run()))
        return "used"

    model = ScriptedModel(
        [call("delete", path="out"), call("talk_to_user", question="Key?", kind="secret")],
        call("use", key="<secret:1>"),
        last_text,
    )
    tools = [bodies.delete, tool(use, requires_approval=True)]
    run = Task("Out", tools=tools, user_access=True, model=model).start()
    seen: list[str] = []
    while not run.status.is_final:
        for one in (run, *run.children):
            waiting = one.log.waiting_for
            if waiting is None:
                continue
            with contextlib.suppress(RunStateError):
                if waiting.name.startswith("q"):
                    one.answer("hunter2" if waiting.words == "Key?" else "here", question_id=waiting.name)
                else:
                    one.approve(waiting.name)
                seen.append(waiting.words.split("?")[0])
    assert run.result == "used"
    assert got == [("hunter2", "inner")]
    assert sorted(bodies.calls) == [("in", None), ("out", None)]
    assert sorted(set(seen)) == ["In", "Key", "May delete be called", "May use be called"]
    assert "hunter2" not in "".join(e.model_dump_json() for one in (run, *run.children) for e in one.events)


@pytest.mark.parametrize("call_id", ["q1", "", "<b>", "q1\u202e", "../../x"])
def test_a_call_id_that_a_model_makes_up_answers_nothing_else(audience: Any, call_id: str) -> None:
    bodies = Bodies()
    forged = call("delete", path="a")
    model = Forging(call_id, [call("talk_to_user", question="Which?"), forged], forged, last_text)
    run = Task("Tidy", tools=[bodies.delete], user_access=True, model=model).start()
    assert eventually(lambda: run.log.question is not None)
    with pytest.raises(RunStateError):
        run.approve("q1")
    run.answer("yes", question_id="q1")
    first = waits(run)
    with pytest.raises(RunStateError):
        run.answer("yes", question_id=first.call_id)
    run.deny(call_id=first.call_id)
    assert eventually(lambda: run.log.approval not in (None, first))
    second = waits(run)
    assert second.call_id != first.call_id
    run.deny(call_id=second.call_id)
    run.wait(2)
    assert bodies.calls == []


class Mail(BaseModel):
    to: list[str]
    rows: list[dict[str, float]]


def test_arguments_as_large_as_a_table_are_shown_whole(audience: Any) -> None:
    sent: list[Any] = []

    def send(mail: Mail, *, copies: int = 1) -> str:
        sent.append(mail)
        return "sent"

    rows = [{"x": number / 7, "y": -number} for number in range(20_000)]
    model = ScriptedModel(call("send", mail={"to": ["ann"], "rows": rows}), "done")
    run = Task("Send", tools=[tool(send, requires_approval=True)], model=model).start()
    approval = waits(run)
    assert approval.arguments["mail"]["rows"] == rows
    assert '"y": -19999' in call_text(approval.tool, approval.arguments)
    run.approve(approval.call_id)
    assert run.wait(5) == "done"
    assert [mail.rows for mail in sent] == [rows]


def test_a_rehearsal_leaves_such_tools_alone(audience: Any) -> None:
    bodies = Bodies()
    task = Task("Tidy", tools=[bodies.delete], model=RehearsalModel(), context={"path": "a"})
    assert "Not called" in task.run()
    assert bodies.calls == []


@pytest.mark.parametrize(
    ("typed", "approved", "reason"),
    [
        (["approve"], True, ""),
        (["y"], True, ""),
        (["what?", "", "deny: too late"], False, "too late"),
        ([], False, ""),
    ],
)
def test_a_terminal_is_asked_with_the_whole_call(
    audience: Any, monkeypatch: pytest.MonkeyPatch, typed: list[str], approved: bool, reason: str
) -> None:
    prompts: list[str] = []

    def type_in(prompt: str) -> str:
        prompts.append(prompt)
        if not typed:
            raise EOFError
        return typed[len(prompts) - 1]

    audience.append("terminal")
    monkeypatch.setattr("builtins.input", type_in)
    bodies = Bodies()
    run = bodies.start(call("delete", path="a\x1b[2J\nb"), last_text)
    run.wait_for_end(5)
    assert bool(bodies.calls) is approved
    assert run.log.approvals[0].reason == reason
    assert 'delete(\n  path = "a\\u001b[2J\\nb"\n)' in prompts[0]
    assert len(prompts) == max(1, len(typed))


def test_a_call_is_shown_whole_and_nothing_in_it_can_pretend() -> None:
    assert call_text("now", {}) == "now()"
    shown = call_text("send", {"to": 'x"\n  cc = "boss', "n": [1, None], "\u202eeve": "\u202e"})
    assert shown == 'send(\n  to = "x\\"\\n  cc = \\"boss"\n  n = [1, null]\n  \\u202eeve = "\\u202e"\n)'


@given(st.text(max_size=30))
def test_only_plain_words_approve(typed: str) -> None:
    decision = read_decision(typed, "terminal")
    words = typed.casefold().split()
    if decision is not None and decision.approved:
        assert words[0].rstrip(":") in ("approve", "yes", "y")


def test_options_of_tools() -> None:
    for seconds in (0, -1, float("nan"), float("inf")):
        with pytest.raises(UsageError, match=f"approval_timeout_seconds={seconds}"):
            tool(Bodies().delete.function, approval_timeout_seconds=seconds)
        with pytest.raises(UsageError, match=f"timeout_seconds={seconds}"):
            tool(Bodies().delete.function, timeout_seconds=seconds)
    assert Tool(name="x", description="", function=print).requires_approval is False


OUTCOMES = st.sampled_from(["deny", "cancel", "nobody", "time", "function", "raises", "bad arguments"])


@settings(max_examples=1_000, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(OUTCOMES, min_size=1, max_size=1))
def test_no_unapproved_call_is_ever_made(audience: Any, outcomes: list[str]) -> None:
    """1,000 calls that nobody approves, in all the ways there are."""
    (outcome,) = outcomes
    audience.append("nobody" if outcome == "nobody" else "widget")
    bodies = Bodies(**({"approval_timeout_seconds": 0.001} if outcome == "time" else {}))
    approve: Any = {"function": lambda *_: False, "raises": lambda *_: 1 / 0}.get(outcome)
    arguments = {"path": 3} if outcome == "bad arguments" else {"path": "a"}
    with temporary_settings(store="off"):
        run = bodies.start(call("delete", **arguments), "done", approve=approve)

        def on_asked(event: Any) -> None:
            if outcome == "deny":
                run.deny()
            elif outcome == "cancel":
                run.cancel()

        run.on("approval_asked", on_asked)
        if outcome in ("deny", "cancel") and run.log.approval:  # asked before the handler was there
            on_asked(None)
        run.wait_for_end(5)
    assert run.status.is_final
    assert bodies.calls == []
    assert not any(approval.approved for approval in run.log.approvals)
