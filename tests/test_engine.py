"""The loop of a run: turns, tool calls and their failures, limits, and what a model may get wrong."""

from __future__ import annotations

import base64
import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from helping import event_types, last_text, offered

from aesop_nb import (
    Agent,
    LimitExceeded,
    ResultInvalid,
    Run,
    Task,
    TaskConfig,
    TaskFailed,
    ToolFailed,
    temporary_settings,
)
from aesop_nb.errors import ModelReplyInvalid
from aesop_nb.events import CallRequest, Usage
from aesop_nb.models.transcript import AssistantMessage, Reply, ToolMessage
from aesop_nb.testing import ScriptedModel, call, failure, result

DATA = Path(__file__).parent / "data"


class Counter:
    """A tool that counts its calls."""

    def __init__(self) -> None:
        self.calls: list[int] = []
        self._lock = threading.Lock()

    def count(self, number: int = 0) -> int:
        with self._lock:
            self.calls.append(number)
            return len(self.calls)


def raw(arguments: str, *, tool: str = "count", call_id: str = "c1") -> Reply:
    return Reply(tool_calls=(CallRequest(call_id=call_id, tool=tool, arguments=arguments),))


def task_with(counter: Counter, *replies: Any, **options: Any) -> Task[str]:
    return Task("Count", name="count_it", tools=[counter.count], model=ScriptedModel(*replies), **options)


def told(task: Task[Any]) -> list[list[ToolMessage]]:
    """What the tools' results were, turn by turn, as the model read them."""
    model = task.model
    assert isinstance(model, ScriptedModel)
    turns: list[list[ToolMessage]] = []
    for message in model.requests[-1].messages:
        if isinstance(message, AssistantMessage):
            turns.append([])
        elif isinstance(message, ToolMessage):
            turns[-1].append(message)
    return turns


# Tool calls -------------------------------------------------------------------------------------------


def test_a_tool_that_raises_is_told_to_the_model_and_the_run_goes_on() -> None:
    def explode() -> None:
        raise ValueError("<img src=x onerror=alert(1)>")

    task = Task("Explode", tools=[explode], model=ScriptedModel(call("explode"), "done"))
    assert task.run() == "done"
    assert told(task)[0][0].text == "Error: ValueError: <img src=x onerror=alert(1)>"
    step = task.runs[0].log.steps[0]
    assert (step.state, step.error) == ("failed", "ValueError: <img src=x onerror=alert(1)>")


def test_a_tool_that_raises_ends_the_run_where_the_setting_says_so() -> None:
    def explode() -> None:
        raise ValueError("no")

    task = Task("Explode", tools=[explode], model=ScriptedModel([call("explode")] * 2, "done"))
    with (
        temporary_settings(tools_raise_on_error=True),
        pytest.raises(ToolFailed, match=r"'explode'.*no") as caught,
    ):
        task.run()
    assert isinstance(caught.value.__cause__, ValueError)
    assert task.status == "failed"


@pytest.mark.parametrize(
    "arguments", ['{"a": 1,', "null", "[]", '"x"', "3", '{"number": "many"}', '{"nope": 1}']
)
def test_arguments_that_do_not_fit_never_reach_the_tool_and_are_corrected_twice_at_most(
    arguments: str,
) -> None:
    counter = Counter()
    task = task_with(counter, raw(arguments), raw('{"number": 1}', call_id="c2"), "done")
    assert task.run() == "done"
    assert counter.calls == [1]
    (first,), (second,) = told(task)
    assert first.text.startswith("Error: ")
    assert second.text == "1"

    hopeless = task_with(counter, *[raw(arguments)] * 9)
    with pytest.raises(ModelReplyInvalid, match="unusable calls 3 times in a row"):
        hopeless.run()
    assert counter.calls == [1]
    assert hopeless.runs[0].log.turn == 3


def test_no_malformed_arguments_break_a_run() -> None:
    rows = [json.loads(line) for line in (DATA / "json_malformed.jsonl").read_text().splitlines()]
    texts = [base64.b64decode(row["b64"]).decode("utf-8", "replace") for row in rows]
    texts += ['{"number": ' + "[" * depth + "]" * depth + "}" for depth in (90, 300, 700, 2_000, 100_000)]
    texts += ['{"number": ' + "9" * 5_000 + "}", '{"number": NaN}', '{"number": 1e999}']

    def anything(**given: Any) -> str:
        return "ok"

    for text in texts:
        task = Task("Count", tools=[anything], model=ScriptedModel(raw(text, tool="anything"), "done"))
        assert task.run() == "done", text[:80]
        assert [m.call_id for m in told(task)[0]] == ["c1"]
        for event in task.runs[0].events:
            event.model_dump_json()


def test_an_unknown_tool_is_an_error_that_lists_the_tools_and_is_corrected_twice_at_most() -> None:
    counter = Counter()
    task = task_with(counter, call("cuont"), call("count"), "done")
    assert task.run() == "done"
    text = told(task)[0][0].text
    assert "no tool 'cuont'" in text
    assert "Did you mean 'count'?" in text
    assert "mark_successful" in text
    hopeless = task_with(counter, *[call("nope")] * 9)
    with pytest.raises(ModelReplyInvalid, match="3 times in a row"):
        hopeless.run()


def test_good_calls_between_bad_ones_start_the_count_again() -> None:
    counter = Counter()
    replies = [call("nope"), call("nope"), call("count"), call("nope"), call("nope"), "done"]
    assert task_with(counter, *replies).run() == "done"


def test_calls_of_one_turn_run_at_the_same_time_and_are_answered_in_order() -> None:
    meeting = threading.Barrier(3, timeout=3)

    def meet(number: int) -> int:
        time.sleep(0.03 * (3 - number))
        meeting.wait()
        return number

    task = Task("Meet", tools=[meet], model=ScriptedModel([call("meet", number=n) for n in range(3)], "done"))
    task.run()
    assert [message.text for message in told(task)[0]] == ["0", "1", "2"]


def test_calls_with_one_id_or_none_run_once_each_and_all_are_answered() -> None:
    counter = Counter()
    calls = tuple(
        CallRequest(call_id=call_id, tool="count", arguments=f'{{"number": {number}}}')
        for number, call_id in enumerate(["same", "same", "", "", "turn1_call2"])
    )
    task = task_with(counter, Reply(tool_calls=calls), "done")
    task.run()
    assert sorted(counter.calls) == [0, 1, 2, 3, 4]
    ids = [message.call_id for message in told(task)[0]]
    assert len(set(ids)) == 5
    model = task.model
    assert isinstance(model, ScriptedModel)
    asked = next(m for m in model.requests[-1].messages if isinstance(m, AssistantMessage))
    assert [made.call_id for made in asked.tool_calls] == ids
    assert [step.state for step in task.runs[0].log.steps] == ["done"] * 5


def test_an_id_that_comes_again_in_a_later_turn_is_another_call() -> None:
    """Some servers count the calls of each reply from 0."""
    counter = Counter()
    task = task_with(counter, raw('{"number": 1}'), raw('{"number": 2}'), raw("nonsense"), "done")
    assert task.run() == "done"
    assert counter.calls == [1, 2]
    assert [(step.output, step.state) for step in task.runs[0].log.steps] == [
        ("1", "done"),
        ("2", "done"),
        (None, "failed"),
    ]
    assert len({message.call_id for turn in told(task) for message in turn}) == 3


def test_of_five_hundred_calls_in_one_turn_sixty_four_are_made_and_all_are_answered() -> None:
    counter = Counter()
    task = task_with(counter, [call("count", number=n) for n in range(500)], "done")
    assert task.run() == "done"
    assert sorted(counter.calls) == list(range(64))
    (turn,) = told(task)
    assert len(turn) == len({message.call_id for message in turn}) == 500
    assert sum("only 64 calls" in message.text for message in turn) == 436


def test_every_call_of_a_conversation_has_exactly_one_answer() -> None:
    counter = Counter()
    replies = [[call("count"), call("nope"), result(3)], raw("{"), [call("count"), call("count")], "done"]
    task = task_with(counter, *replies, result_validator=lambda text: text)
    assert task.run() is not None
    replies = [[call("count"), call("nope")], raw("{", call_id="x"), [call("count"), call("count")], "done"]
    task = task_with(counter, *replies)
    task.run()
    model = task.model
    assert isinstance(model, ScriptedModel)
    messages = model.requests[-1].messages
    asked = [c.call_id for m in messages if isinstance(m, AssistantMessage) for c in m.tool_calls]
    answered = [m.call_id for m in messages if isinstance(m, ToolMessage)]
    assert asked == answered
    assert len(asked) == 5


def test_a_long_tool_result_is_cut_for_the_model_and_kept_whole() -> None:
    def long() -> str:
        return "x" * 100_000

    task = Task("Read", tools=[long], model=ScriptedModel(call("long"), "done"))
    task.run()
    text = told(task)[0][0].text
    assert len(text) == 24_000
    assert text.endswith("[shortened: 100,000 characters]")
    assert task.runs[0].log.steps[0].output == "x" * 100_000


# Finishing --------------------------------------------------------------------------------------------


def test_the_first_completion_wins() -> None:
    task = Task("Count", result_type=int, model=ScriptedModel([result(1), result(2), failure("no")]))
    assert task.run() == 1
    assert task.status == "completed"


def test_ordinary_calls_beside_the_result_are_made_first() -> None:
    counter = Counter()
    task = task_with(counter, [result("done"), call("count", number=7)])
    assert task.run() == "done"
    assert counter.calls == [7]


def test_plain_text_is_the_result_of_a_text_task_only() -> None:
    assert Task("Say", model=ScriptedModel("hello")).run() == "hello"
    model = ScriptedModel("about three", "```json\n3\n```")
    assert Task("Count", result_type=int, model=model).run() == 3
    assert "mark_successful" in last_text(model.requests[1])


def test_an_empty_reply_is_not_a_result() -> None:
    model = ScriptedModel("", " \n", "", "")
    with pytest.raises(ResultInvalid, match="after 3 tries"):
        Task("Say", model=model).run()
    assert len(model.requests) == 3


@pytest.mark.parametrize(
    ("reason", "message"), [("length", "output limit"), ("content_filter", "content filter")]
)
def test_a_reply_that_was_cut_or_filtered_is_never_a_result(reason: Any, message: str) -> None:
    for reply in (
        Reply(text="half a rep", finish_reason=reason),
        Reply(
            tool_calls=(CallRequest(call_id="c", tool="mark_successful", arguments='{"result": "ha"}'),),
            finish_reason=reason,
        ),
    ):
        task = Task("Say", model=ScriptedModel(reply))
        with pytest.raises(ModelReplyInvalid, match=message):
            task.run()
        assert task.result is None


def test_a_missing_result_is_told_to_the_model() -> None:
    model = ScriptedModel(call("mark_successful"), result(3))
    assert Task("Count", result_type=int, model=model).run() == 3
    assert "`result`" in last_text(model.requests[1])


def test_finishing_calls_with_unreadable_arguments_are_corrected() -> None:
    model = ScriptedModel(raw("{", tool="mark_successful"), result(3))
    assert Task("Count", result_type=int, model=model).run() == 3
    assert last_text(model.requests[1]).startswith("Error: ")


# Limits -----------------------------------------------------------------------------------------------


def assert_limit(task: Task[Any], limit: str) -> Run[Any]:
    with pytest.raises(LimitExceeded, match=limit) as caught:
        task.run()
    assert caught.value.limit == limit
    assert task.status == "failed"
    assert task.result is None
    return task.runs[0]


def test_the_same_call_again_and_again_stops_at_max_turns() -> None:
    counter = Counter()
    task = task_with(counter, *[call("count", number=1)] * 1_000)
    assert_limit(task, "max_turns")
    assert len(counter.calls) == 20
    assert len(task.model.requests) == 20  # type: ignore[union-attr]


def test_max_turns() -> None:
    counter = Counter()
    assert_limit(task_with(counter, *[call("count")] * 9, config=TaskConfig(max_turns=2)), "max_turns")
    assert len(counter.calls) == 2
    assert task_with(counter, call("count"), "done", config=TaskConfig(max_turns=2)).run() == "done"


def test_max_tool_calls_allows_none_of_the_calls_that_go_beyond() -> None:
    counter = Counter()
    config = TaskConfig(max_tool_calls=3)
    task = task_with(counter, [call("count")] * 2, [call("count")] * 2, "done", config=config)
    assert_limit(task, "max_tool_calls")
    assert len(counter.calls) == 2
    assert task_with(counter, [call("count")] * 3, result("done"), config=config).run() == "done"


def test_max_tool_calls_of_zero_allows_finishing_and_asking() -> None:
    task = Task(
        "Ask",
        user_access=True,
        config=TaskConfig(max_tool_calls=0),
        model=ScriptedModel(call("talk_to_user", question="?"), result("done")),
    )
    assert task.run(answers="yes") == "done"


def test_max_tokens_counts_what_the_service_says() -> None:
    def spending(tokens: int) -> Reply:
        return Reply(text="hm", usage=Usage(requests=1, input_tokens=tokens - 1, output_tokens=1))

    task = Task(
        "Count",
        result_type=int,
        config=TaskConfig(max_tokens=100),
        model=ScriptedModel(spending(60), spending(60), result(3)),
    )
    run = assert_limit(task, "max_tokens")
    assert (run.usage.total_tokens, run.usage.requests) == (120, 2)


def test_max_tokens_holds_by_an_estimate_where_the_service_says_nothing() -> None:
    task = Task(
        "Count", result_type=int, config=TaskConfig(max_tokens=10), model=ScriptedModel("hm", result(3))
    )
    run = assert_limit(task, "max_tokens")
    assert any("reports no tokens" in notice for notice in run.log.notices)


def test_tool_timeout_is_told_to_the_model_for_both_kinds_of_tools() -> None:
    import asyncio

    release = threading.Event()

    def sleepy() -> str:
        release.wait(5)
        return "late"

    async def rest() -> str:
        await asyncio.sleep(5)
        return "late"

    task = Task(
        "Rest",
        tools=[sleepy, rest],
        config=TaskConfig(tool_timeout_seconds=0.1),
        model=ScriptedModel([call("sleepy"), call("rest")], "done"),
    )
    begun = time.monotonic()
    assert task.run() == "done"
    assert time.monotonic() - begun < 1
    assert [m.text for m in told(task)[0]] == ["Error: TimeoutError: no answer within 0.1 s"] * 2
    release.set()


def test_limits_that_were_set_are_in_the_first_event() -> None:
    run = Task("Say", config=TaskConfig(max_turns=3, max_tokens=7), model=ScriptedModel("x")).start()
    assert run.log.created is not None
    assert run.log.created.limits == {"max_turns": 3, "max_tokens": 7}


# Access to the person ---------------------------------------------------------------------------------


def test_without_user_access_asking_is_not_offered_and_a_forged_call_is_an_error() -> None:
    model = ScriptedModel(call("talk_to_user", question="Password?"), "done")
    task = Task("Ask", model=model)
    assert task.run(answers=["secret"]) == "done"
    assert offered(model.requests[0]) == ["mark_successful", "mark_failed"]
    assert "no tool 'talk_to_user'" in told(task)[0][0].text
    assert "user_asked" not in event_types(task.runs[0])


@pytest.mark.parametrize("options", [{"user_access": True}, {"agents": Agent(name="a", user_access=True)}])
def test_user_access_of_task_or_agent_offers_asking(options: dict[str, Any]) -> None:
    model = ScriptedModel(call("talk_to_user", question="Which?"), "done")
    task = Task("Ask", model=model, **options)
    assert task.run(answers=["this"]) == "done"
    assert "talk_to_user" in offered(model.requests[0])
    assert told(task)[0][0].text == "this"


def test_usage_is_the_sum_of_all_replies() -> None:
    usage = Usage(requests=1, input_tokens=10, output_tokens=2, cached_tokens=4, cost_usd=0.5)
    replies = [
        Reply(text="hm", usage=usage),
        Reply(text="3", usage=Usage(requests=2, input_tokens=1, cost_usd=0.25)),
    ]
    run = Task("Count", result_type=int, model=ScriptedModel(*replies)).start()
    run.wait(2)
    assert run.usage == Usage(requests=3, input_tokens=11, output_tokens=2, cached_tokens=4, cost_usd=0.75)


def test_what_a_broken_policy_raises_fails_the_run() -> None:
    def policy(agents: Any) -> Any:
        raise KeyError("who")

    agents = [Agent(name="a"), Agent(name="b")]
    with pytest.raises(TaskFailed, match="KeyError"):
        Task("Say", agents=agents, agent_policy=policy, model=ScriptedModel("x")).run()
