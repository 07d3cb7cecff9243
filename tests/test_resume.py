"""`run.resume()`: another run goes on with the conversation, and nothing is asked, paid for or done twice."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helping import event_types, eventually, last_text, run_python
from openai_server import asks, says

from aesop_nb import (
    Agent,
    LimitExceeded,
    NeedsHuman,
    OpenAIModel,
    ResultInvalid,
    Run,
    RunStateError,
    Task,
    TaskCancelled,
    TaskConfig,
    TaskFailed,
    UsageError,
    settings,
    temporary_settings,
    tool,
)
from aesop_nb import events as ev
from aesop_nb.engine import asking
from aesop_nb.engine.conversations import NOT_MADE, UNKNOWN, conversation_of
from aesop_nb.errors import ModelUnavailable
from aesop_nb.events import CallRequest
from aesop_nb.models.transcript import AssistantMessage, Message, Reply, ToolMessage
from aesop_nb.notebook.html import static_block
from aesop_nb.store import close_stores, default_store
from aesop_nb.stored_runs import StoredRun
from aesop_nb.testing import ScriptedModel, call, failure, result


@pytest.fixture(autouse=True)
def _own_store(tmp_path: Path) -> Iterator[None]:
    with temporary_settings(home=str(tmp_path / "home"), store="on"):
        yield
        close_stores()


@pytest.fixture
def form() -> Iterator[None]:
    """Somebody is there, who answers by calls."""

    def find() -> asking.Audience:
        return "widget"

    asking.audience_finders.insert(0, find)
    yield
    asking.audience_finders.remove(find)


def ended(run: Run[Any]) -> Run[Any]:
    run.wait_for_end(10)
    return run


def requests(task: Task[Any]) -> list[Any]:
    assert isinstance(task.model, ScriptedModel)
    return task.model.requests


def is_paired(messages: Any) -> bool:
    """Whether every tool call is followed by its own result, and no result stands alone."""
    due: list[str] = []
    for message in messages:
        if isinstance(message, ToolMessage):
            if not due or due.pop(0) != message.call_id:
                return False
        elif due:
            return False
        elif isinstance(message, AssistantMessage):
            due = [call.call_id for call in message.tool_calls]
    return not due


def told(task: Task[Any], tool_name: str) -> list[str]:
    """What the model read of the calls of one tool, in its last request."""
    messages = requests(task)[-1].messages
    assert is_paired(messages)
    return [
        message.text for message in messages if isinstance(message, ToolMessage) and message.tool == tool_name
    ]


class Counter:
    """Tools that count their calls."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def look(self, what: str = "") -> str:
        self.calls.append(f"look {what}")
        return f"seen {what}"

    def send(self, what: str = "") -> str:
        self.calls.append(f"send {what}")
        return f"sent {what}"

    async def hang(self, what: str = "") -> str:
        self.calls.append(f"hang {what}")
        await asyncio.sleep(60)
        return "never"


# A person who was not there ----------------------------------------------------------------------------


def test_after_needs_human_an_answer_is_all_it_takes() -> None:
    counter = Counter()
    model = ScriptedModel(
        call("look", what="a"),
        [
            call("look", what="b"),
            call("talk_to_user", question="Go on?"),
            call("talk_to_user", question="Sure?"),
        ],
        lambda request: " ".join(message.text for message in request.messages[-3:]),
    )
    task = Task("Ask", user_access=True, tools=[counter.look], model=model)
    run = ended(task.start())
    assert isinstance(run.error, NeedsHuman)
    assert "run.resume(answers=[…])" in str(run.error)
    resumed = run.resume(["yes", "very"])
    assert resumed.wait(10) == "seen b yes very"
    assert len(model.requests) == 3
    assert counter.calls == ["look a", "look b"]
    assert task.runs == [run, resumed]
    assert resumed.log.created is not None
    assert resumed.log.created.resumed_run_id == run.id
    assert [event.turn for event in resumed.events if isinstance(event, ev.TurnStarted)] == [2, 3]
    assert model.requests[2].messages[1:4] == model.requests[1].messages[1:]
    assert event_types(resumed)[:4] == ["run_created", "run_started", "turn_started", "user_asked"]


def test_without_answers_the_question_is_put_again(form: None) -> None:
    task = Task(
        "Ask", user_access=True, model=ScriptedModel(call("talk_to_user", question="Which town?"), last_text)
    )
    run = task.start()
    assert eventually(lambda: run.question is not None)
    run.cancel()
    resumed = ended(run).resume()
    assert eventually(lambda: resumed.question == "Which town?")
    assert len(requests(task)) == 1
    resumed.answer("Lyon")
    assert resumed.wait(10) == "Lyon"


def test_answers_of_a_list_are_used_once_and_those_by_words_stay() -> None:
    model = [call("talk_to_user", question="First?"), call("talk_to_user", question="Second?"), last_text]
    task = Task("Ask", user_access=True, model=ScriptedModel(*model))
    resumed = ended(ended(task.start(answers=["one"])).resume())
    assert isinstance(resumed.error, NeedsHuman)
    assert ended(resumed.resume("two")).result == "two"

    known: dict[str, str] = {}
    task = Task("Ask", user_access=True, model=ScriptedModel(*model))
    run = ended(task.start(answers=lambda question: known.get(question)))
    known |= {"First?": "1", "Second?": "2"}
    assert run.resume().wait(10) == "2"


def test_a_pending_approval_is_asked_again_and_the_call_made_once(form: None) -> None:
    counter = Counter()
    for is_approved in (True, False):
        model = ScriptedModel([call("look"), call("send", what="it")], last_text)
        task = Task("Send", tools=[counter.look, tool(counter.send, requires_approval=True)], model=model)
        run = task.start()
        assert eventually(lambda run=run: run.log.approval is not None)  # type: ignore[misc]
        run.cancel()
        resumed = ended(run).resume()
        assert eventually(lambda run=resumed: run.log.approval is not None)  # type: ignore[misc]
        assert counter.calls.count("send it") == 0 if is_approved else 1
        resumed.approve() if is_approved else resumed.deny("not today")
        said = resumed.wait(10)
        assert said == "sent it" if is_approved else "not today" in str(said)
        assert told(task, "look") == ["seen "]
    assert counter.calls.count("send it") == 1
    assert counter.calls.count("look ") == 2


def test_a_secret_is_not_kept_and_the_model_is_told() -> None:
    model = ScriptedModel(
        call("talk_to_user", question="Key?", kind="secret"),
        call("talk_to_user", question="Go?"),
        "done",
    )
    task = Task("Ask", user_access=True, model=model)
    run = ended(task.start(answers={"key": "SENTINEL-KEY"}))
    resumed = ended(run.resume({"go": "yes"}))
    assert resumed.result == "done"
    first, second = told(task, "talk_to_user")
    assert "secrets are not kept" in first
    assert second == "yes"
    assert "SENTINEL" not in repr(conversation_of(run.events))


# Calls that were interrupted ---------------------------------------------------------------------------


@pytest.mark.parametrize("side_effects", [True, False])
def test_a_call_that_was_begun_is_told_and_never_made_again(side_effects: bool) -> None:
    counter = Counter()
    hang = tool(counter.hang, side_effects=side_effects)
    task = Task(
        "Hang",
        tools=[counter.look, hang],
        model=ScriptedModel([call("look", what="a"), call("hang", what="b")], "done"),
    )
    run = task.start()
    assert eventually(lambda: sorted(counter.calls) == ["hang b", "look a"] and len(run.log.steps) == 2)
    assert eventually(lambda: any(step.state == "done" for step in run.log.steps))
    run.cancel()
    assert isinstance(ended(run).error, TaskCancelled)
    assert run.resume().wait(10) == "done"
    assert sorted(counter.calls) == ["hang b", "look a"]
    assert (told(task, "look"), told(task, "hang")) == (["seen a"], [UNKNOWN])


def test_calls_that_were_never_begun_are_made_unless_they_have_effects() -> None:
    counter = Counter()
    task = Task(
        "Look",
        tools=[counter.look, tool(counter.send, side_effects=True)],
        model=ScriptedModel([call("look", what="a"), call("send", what="b"), call("nope")], "done"),
        config=TaskConfig(max_tool_calls=2),
    )
    run = ended(task.start())
    assert isinstance(run.error, LimitExceeded)
    assert counter.calls == []
    assert run.resume().wait(10) == "done"
    assert counter.calls == ["look a"]
    assert (told(task, "look"), told(task, "send")) == (["seen a"], [NOT_MADE])
    assert "There is no tool 'nope'" in told(task, "nope")[0]


def test_that_a_tool_with_effects_will_be_called_is_in_the_store_before_it_is() -> None:
    seen: list[Any] = []

    def stored() -> list[str]:
        with sqlite3.connect(Path(settings.home or "") / "aesop.sqlite") as connection:
            return [row[0] for row in connection.execute("SELECT type FROM events ORDER BY number")]

    def send() -> None:
        seen.append(stored())

    model = ScriptedModel(call("send"), "done")
    assert Task("Send", tools=[tool(send, side_effects=True)], model=model).run() == "done"
    assert seen[0][-1] == "tool_called"


# Other ends --------------------------------------------------------------------------------------------


def test_a_model_that_could_not_be_reached_is_asked_again_from_there() -> None:
    counter = Counter()
    model = ScriptedModel(call("look", what="a"), ModelUnavailable("down"), "done")
    task = Task("Look", tools=[counter.look], model=model)
    run = ended(task.start())
    assert isinstance(run.error, ModelUnavailable)
    resumed = run.resume()
    assert resumed.wait(10) == "done"
    assert counter.calls == ["look a"]
    assert model.requests[2].messages == model.requests[1].messages
    assert resumed.usage.requests == 1


def test_limits_are_counted_anew_and_turns_on() -> None:
    counter = Counter()
    task = Task(
        "Look",
        tools=[counter.look],
        model=ScriptedModel(*[call("look", what=str(number)) for number in range(4)], "done"),
        config=TaskConfig(max_turns=2, max_tool_calls=2),
    )
    first = ended(task.start())
    second = ended(first.resume())
    assert [type(run.error) for run in (first, second)] == [LimitExceeded, LimitExceeded]
    third = second.resume()
    assert third.wait(10) == "done"
    assert counter.calls == ["look 0", "look 1", "look 2", "look 3"]
    assert told(task, "look") == ["seen 0", "seen 1", "seen 2", "seen 3"]
    assert [run.log.turn for run in (first, second, third)] == [2, 4, 5]
    assert [run.log.turns for run in (first, second, third)] == [2, 2, 1]
    assert len({call.call_id for message in requests(task)[-1].messages for call in _calls(message)}) == 4


def _calls(message: Message) -> tuple[CallRequest, ...]:
    return message.tool_calls if isinstance(message, AssistantMessage) else ()


def test_a_model_that_gave_up_is_told_to_go_on() -> None:
    task = Task("Try", model=ScriptedModel(failure("too hard"), "done"))
    run = ended(task.start())
    assert isinstance(run.error, TaskFailed)
    assert run.resume().wait(10) == "done"
    assert "try again" in told(task, "mark_failed")[0]


def test_results_that_were_rejected_stay_rejected() -> None:
    bad = result("many")
    task = Task("Count", result_type=int, model=ScriptedModel(bad, "a few", bad, result(3)))
    run = ended(task.start())
    assert isinstance(run.error, ResultInvalid)
    assert run.resume().wait(10) == 3
    first, last = told(task, "mark_successful")
    assert first == last
    assert first.startswith("That is not accepted as the result:")
    (said,) = [m.text for m in requests(task)[-1].messages[3:] if type(m).__name__ == "UserMessage"]
    assert said.startswith("That is not accepted as the result:")


@pytest.mark.parametrize("reply", [result("ready"), "ready"])
def test_a_result_that_nobody_had_looked_at_is_looked_at_without_asking_again(reply: Any) -> None:
    interrupts = [SystemExit("killed")]

    def check(value: str) -> str:
        if interrupts:
            raise interrupts.pop()
        return value.upper()

    task = Task("Say", result_validator=check, model=ScriptedModel(reply))
    run = ended(task.start())
    assert run.status == "failed"
    assert run.resume().wait(10) == "READY"
    assert len(requests(task)) == 1


def test_a_reply_that_was_cut_short_is_no_part_of_the_conversation() -> None:
    cut = Reply(
        text="half",
        tool_calls=(CallRequest(call_id="c", tool="look", arguments="{"),),
        finish_reason="length",
    )
    task = Task("Look", model=ScriptedModel(cut, "whole"))
    assert ended(task.start()).resume().wait(10) == "whole"
    assert requests(task)[1].messages == requests(task)[0].messages


def test_what_only_the_service_understands_is_given_back_to_it() -> None:
    sealed = ({"type": "reasoning", "encrypted_content": "x" * 50},)
    made = Reply(
        tool_calls=(CallRequest(call_id="c", tool="talk_to_user", arguments='{"question": "Go?"}'),),
        finish_reason="tool_calls",
        wire="responses",
        opaque=sealed,
    )
    task = Task("Ask", user_access=True, model=ScriptedModel(made, "done"))
    run = ended(task.start())
    default_store().flush()
    assert task.resume(StoredRun(default_store().events(run.id)), answers=["yes"]).wait(10) == "done"
    assert requests(task)[1].messages[2] == made.message()


@pytest.mark.parametrize("wire", ["responses", "chat"])
def test_the_service_reads_the_same_conversation_or_all_of_it_that_it_can(
    openai_server: Any, wire: str
) -> None:
    asked = asks("talk_to_user", {"question": "Go?"}, call_id="a", reasoning="c2VhbGVk")
    server = openai_server([asked, says("done")])

    def ask(api: str) -> Task[Any]:
        model = OpenAIModel("gpt-5-test", base_url=server.url, api_key="sk-test", api=api)
        return Task("Ask", user_access=True, model=model)

    run = ended(ask("responses").start())
    default_store().flush()
    stored = StoredRun(default_store().events(run.id))
    assert ask(wire).resume(stored, answers=["yes"]).wait(10) == "done"
    first, second = server.requests
    if wire == "responses":
        told = second.body["input"]
        assert told[: len(first.body["input"])] == first.body["input"]
        assert [item["type"] for item in told[-3:]] == ["reasoning", "function_call", "function_call_output"]
        assert told[-3]["encrypted_content"] == "c2VhbGVk"
    else:
        assert [message["role"] for message in second.body["messages"][-2:]] == ["assistant", "tool"]
        assert b"c2VhbGVk" not in second.raw


def test_the_agent_that_had_begun_goes_on() -> None:
    counter = Counter()
    model = ScriptedModel("b", call("look", what="x"), ModelUnavailable("down"), "done")
    agents = [Agent(name="a"), Agent(name="b", tools=[counter.look])]
    task = Task("Look", agents=agents, model=model)
    model_named = model.requests
    run = ended(task.start())
    assert run.resume().wait(10) == "done"
    assert len(model_named) == 4
    assert task.runs[-1].log.agent == "b"


# The inputs --------------------------------------------------------------------------------------------


def test_the_saved_words_hold_and_tasks_before_it_are_not_run_again() -> None:
    before = Task("Find a town", model=ScriptedModel("Lyon"))
    context: dict[str, Any] = {"town": before, "note": "old"}
    task = Task("Describe", context=context, model=ScriptedModel(ModelUnavailable("down"), "done"))
    run = ended(task.start())
    changed = Task("Describe", context={"note": "new"}, model=task.model)
    before.runs.clear()
    assert changed.resume(run.id).wait(10) == "done"
    assert before.runs == []
    assert requests(task)[1].messages[1] == requests(task)[0].messages[1]
    assert "Lyon" in requests(task)[1].messages[1].text


def test_that_the_task_has_other_words_now_is_said() -> None:
    def told_to(*, objective: str = "Describe", **context: Any) -> Task[Any]:
        model = ScriptedModel(ModelUnavailable("down"), "done")
        return Task(objective, name="describe", context=context, model=model)

    run = ended(told_to(town="Lyon", year=1).start())
    same = ended(told_to(town="Lyon", year=1).resume(run))
    other = told_to(objective="Describe it", town="Nice", year=1)
    chained = ended(other.resume(same))

    def notices(resumed: Run[Any]) -> list[str]:
        return [event.text for event in resumed.events if isinstance(event, ev.NoticeGiven)]

    assert notices(same) == []
    assert notices(chained) == [
        "It goes on with what it began with. Changed since: the objective or the instructions, the input 'town'."
    ]


def test_views_and_records_say_which_run_it_goes_on_from() -> None:
    task = Task("Ask", user_access=True, model=ScriptedModel(call("talk_to_user", question="Go?"), "done"))
    run = ended(task.start())
    resumed = ended(run.resume(["yes"]))
    for log in (resumed.log, StoredRun(default_store().events(resumed.id)).log):
        assert f"run {resumed.id} · goes on from {run.id}" in static_block(log)
    assert "goes on from r" not in static_block(run.log)


def test_a_run_that_never_began_starts_from_its_beginning() -> None:
    before = Task("Find a town", model=ScriptedModel(ModelUnavailable("down"), "Lyon"))
    task = Task(
        "Describe", context={"town": before}, model=ScriptedModel(lambda request: request.messages[1].text)
    )
    run = ended(task.start())
    assert run.status == "failed"
    resumed = run.resume()
    assert "Lyon" in resumed.wait(10)


# What cannot be resumed --------------------------------------------------------------------------------


def test_what_cannot_be_resumed_says_why() -> None:
    task = Task("Say", name="say", model=ScriptedModel("done", call("nope"), "b"))
    run = ended(task.start())
    with pytest.raises(RunStateError, match=r"is completed; there is nothing to go on with"):
        run.resume()
    parked = task.run_once()
    with pytest.raises(RunStateError, match=r"is running.*task\.run\(\) after run_once\(\)"):
        parked.resume()
    parked.cancel()
    ended(parked)
    with pytest.raises(UsageError, match=r"is one of the task 'say', not of 'tell'"):
        Task("Tell", name="tell", model=task.model).resume(parked.id)
    with pytest.raises(UsageError, match=r"no run 'r999', neither in this session nor in the store"):
        task.resume("r999")
    with pytest.raises(UsageError, match=rf"does not hold its task.*task\.resume\('{parked.id}'\)"):
        StoredRun(parked.events).resume()
    with pytest.raises(UsageError, match=r"a run or its id, for example 'r7', not 7"):
        task.resume(7)  # type: ignore[arg-type]
    assert parked.resume().wait(10) == "b"


def test_a_model_does_not_go_on_with_a_rehearsal() -> None:
    with temporary_settings(banner=False):
        run = ended(Task("Ask", name="ask", user_access=True).start())
    assert isinstance(run.error, NeedsHuman)
    real = Task("Ask", name="ask", user_access=True, model=ScriptedModel("done"))
    with pytest.raises(UsageError, match="was a rehearsal, and what it holds is made up"):
        real.resume(run)
    assert real.runs == []
    with temporary_settings(banner=False):
        assert run.resume(["yes"]).wait(10)


def test_a_conversation_without_its_beginning_is_refused() -> None:
    model = ScriptedModel(call("talk_to_user", question="Go?"), "done")
    task = Task("Ask", user_access=True, model=model)
    second = ended(ended(task.start()).resume())
    events = list(second.events)
    assert isinstance(events[0], ev.RunCreated)
    for gone in ("r999", second.id):
        events[0] = events[0].model_copy(update={"resumed_run_id": gone})
        with pytest.raises(UsageError, match=f"goes on with run '{gone}', which is no longer there"):
            task.resume(StoredRun(events))


# From another session ----------------------------------------------------------------------------------

_KILLED = """
import os, signal
from aesop_nb import Task
from aesop_nb.testing import ScriptedModel, call
from aesop_nb.store import default_store

def look() -> str:
    return "seen"

def send() -> None:
    os.kill(os.getpid(), signal.SIGKILL)

from aesop_nb import tool
model = ScriptedModel([call("look"), call("talk_to_user", question="Go?")], call("look"), call("send"))
task = Task("Work", tools=[look, tool(send, side_effects=True)], user_access=True, model=model)
print(task.run_once(answers=["yes"]).id, flush=True)
if STOP_EARLY:
    default_store().flush()
    os.kill(os.getpid(), signal.SIGKILL)
task.run()
"""


@pytest.mark.parametrize("stops_early", [True, False])
def test_a_run_of_a_kernel_that_was_killed_goes_on_in_another(stops_early: bool) -> None:
    died = run_python(
        _KILLED.replace("STOP_EARLY", str(stops_early)), environment={"AESOP_HOME": settings.home or ""}
    )
    assert died.returncode == -signal.SIGKILL
    run_id = died.stdout.split()[0]
    counter = Counter()

    def look() -> str:
        return counter.look()

    def send() -> str:
        return counter.send()

    task = Task(
        "Work",
        tools=[look, tool(send, side_effects=True)],
        user_access=True,
        model=ScriptedModel("done"),
    )
    resumed = task.resume(run_id)
    assert resumed.wait(10) == "done"
    assert counter.calls == []
    assert told(task, "talk_to_user") == ["yes"]
    assert told(task, "look") == ["seen"] * (1 if stops_early else 2)
    assert told(task, "send") == ([] if stops_early else [UNKNOWN])


# What the model saw ------------------------------------------------------------------------------------


def eventful_run() -> Run[Any]:
    """A run with all that can come of a call."""
    counter = Counter()

    def explode() -> None:
        raise ValueError("no")

    def long() -> str:
        return "x" * 50_000

    broken = Reply(
        tool_calls=(
            CallRequest(call_id="", tool="mark_successful", arguments='{"result": '),
            CallRequest(call_id="", tool="look", arguments="[]"),
        ),
        finish_reason="tool_calls",
    )
    model = ScriptedModel(
        [call("look", what=""), call("explode"), call("long"), call("nope"), call("look", wrong=1)],
        [
            call("talk_to_user", question="Which?", choices=["a", "b"]),
            call("talk_to_user", question=""),
            call("talk_to_user", question="When?", kind="date"),
            call("send"),
        ],
        call("look", what="once more"),
        broken,
        [result("many"), result("few")],
        call("look", what="again"),
        result(7),
    )
    return ended(
        Task(
            "Count",
            context={"text": "y" * 30_000},
            result_type=int,
            user_access=True,
            tools=[counter.look, explode, long, tool(counter.send, requires_approval=True)],
            model=model,
        ).start(answers=["A", "20260301"])
    )


def test_the_events_hold_all_that_the_model_saw() -> None:
    run = eventful_run()
    assert run.result == 7
    seen = requests(run.task)[-1].messages[1:]
    last_turn = next(
        event.number for event in run.events if isinstance(event, ev.TurnStarted) and event.turn == 7
    )
    for events in (run.events, default_store().events(run.id)):
        conversation = conversation_of(event for event in events if event.number < last_turn)
        assert conversation.messages == seen
        assert conversation.left is None


def test_a_run_stopped_anywhere_leaves_a_conversation_in_which_every_call_has_one_result() -> None:
    run = eventful_run()
    for stop in range(len(run.events) + 1):
        conversation = conversation_of(run.events[:stop])
        assert is_paired(conversation.messages)
        whole = [*conversation.messages, *(conversation.left.messages() if conversation.left else ())]
        assert is_paired(whole)
        assert len(whole) <= 1 or not isinstance(whole[-1], AssistantMessage)
