"""Agents: who is free, who suits, and who takes the next turn."""

from __future__ import annotations

import os
import threading
from typing import Any

import pytest
from helping import event_types, eventually, last_text, offered, run_python, system_text

from aesop_nb import Agent, LimitExceeded, Task, TaskConfig, TaskFailed, UsageError
from aesop_nb import events as ev
from aesop_nb.events import Usage
from aesop_nb.models.transcript import ModelRequest, Reply
from aesop_nb.testing import ScriptedModel, call, result


def chosen(task: Task[Any]) -> list[tuple[str, str]]:
    return [(e.agent, e.reason) for e in task.runs[-1].events if isinstance(e, ev.AgentChosen)]


def turns(task: Task[Any]) -> list[str]:
    return [e.agent for e in task.runs[-1].events if isinstance(e, ev.TurnStarted)]


def picks(name: str) -> Any:
    return call("choose_agent", name=name)


WRITER = Agent(name="writer", description="writes well")
CODER = Agent(name="coder", description="programs well")


# What an agent is -------------------------------------------------------------------------------------


def test_an_agent_is_described_to_the_model_with_its_instructions_and_tools() -> None:
    def search() -> None: ...

    agent = Agent(name="Ann", description="Knows bakeries.", instructions="Be brief.", tools=[search])
    model = ScriptedModel("done")
    Task("Find", agents=agent, model=model).run()
    said = system_text(model.requests[0])
    assert said.startswith("You are Ann,")
    assert "Knows bakeries." in said
    assert said.endswith("Be brief.")
    assert offered(model.requests[0])[0] == "search"


@pytest.mark.parametrize(
    ("given", "message"),
    [({"name": " "}, "name"), ({"max_concurrent": 0}, "max_concurrent"), ({"tools": [3]}, "function")],
)
def test_what_does_not_fit_is_an_error(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Agent(**given)


def test_agents_of_one_task_need_different_names() -> None:
    with pytest.raises(UsageError, match="different names"):
        Task("Say", agents=[Agent(name="a"), Agent(name="a")])


# Who takes the turn -----------------------------------------------------------------------------------


def test_one_agent_is_not_asked_for() -> None:
    model = ScriptedModel("done")
    task = Task("Say", agents=WRITER, model=model)
    task.run()
    assert len(model.requests) == 1
    assert chosen(task) == []
    assert turns(task) == ["writer"]


def test_the_model_is_asked_once_who_suits_by_name_and_description() -> None:
    model = ScriptedModel(picks("coder"), "hm", result(3))
    task = Task("Program it", result_type=int, agents=[WRITER, CODER], model=model)
    assert task.run() == 3
    question, *rest = model.requests
    assert "- writer: writes well\n- coder: programs well" in system_text(question)
    assert "Program it" in last_text(question)
    assert question.tools[0].parameters["properties"]["name"]["enum"] == ["writer", "coder"]
    assert chosen(task) == [("coder", "picked by the model as the best suited")]
    assert turns(task) == ["coder", "coder"]
    assert all("You are coder" in system_text(request) for request in rest)
    assert task.runs[0].usage.requests == 3
    assert event_types(task.runs[0])[:4] == ["run_created", "run_started", "agent_chosen", "turn_started"]


@pytest.mark.parametrize(
    "reply", [picks("nobody"), "I do not know", {"tool": "choose_agent", "arguments": "{"}, call("other")]
)
def test_where_the_model_picks_nobody_the_first_free_one_takes_it(reply: Any) -> None:
    task = Task("Say", agents=[WRITER, CODER], model=ScriptedModel(reply, "done"))
    assert task.run() == "done"
    assert turns(task) == ["writer"]


def test_a_name_in_plain_text_is_a_pick_too() -> None:
    task = Task("Say", agents=[WRITER, CODER], model=ScriptedModel(" coder\n", "done"))
    task.run()
    assert turns(task) == ["coder"]


def test_what_the_pick_costs_counts_against_the_limit() -> None:
    reply = Reply(text="coder", usage=Usage(requests=1, input_tokens=50))
    task = Task(
        "Say",
        result_type=int,
        agents=[WRITER, CODER],
        config=TaskConfig(max_tokens=60),
        model=ScriptedModel(reply, Reply(text="hm", usage=Usage(requests=1, input_tokens=20)), result(3)),
    )
    with pytest.raises(LimitExceeded, match="max_tokens"):
        task.run()
    assert task.runs[0].usage.total_tokens == 70


def test_round_robin_takes_turns() -> None:
    third = Agent(name="third")
    task = Task(
        "Talk",
        result_type=int,
        agents=[WRITER, CODER, third],
        agent_policy="round_robin",
        model=ScriptedModel(call("nope"), call("nope"), "hm", result(3)),
    )
    task.run()
    assert turns(task) == ["writer", "coder", "third", "writer"]


def test_a_function_may_choose_among_the_free_ones() -> None:
    seen: list[list[str]] = []

    def last(agents: Any) -> Agent:
        seen.append([agent.name for agent in agents])
        return agents[-1]  # type: ignore[no-any-return]

    task = Task("Say", agents=[WRITER, CODER], agent_policy=last, model=ScriptedModel("done"))
    task.run()
    assert seen == [["writer", "coder"]]
    assert chosen(task) == [("coder", "last")]


def test_a_function_that_chooses_somebody_else_fails_the_run() -> None:
    task = Task(
        "Say", agents=[WRITER, CODER], agent_policy=lambda agents: Agent(name="x"), model=ScriptedModel("y")
    )
    with pytest.raises(TaskFailed, match="none of the task's agents"):
        task.run()


def test_each_agent_may_have_its_own_model() -> None:
    small, large = ScriptedModel(picks("large"), name="small"), ScriptedModel("done", name="large")
    task = Task("Say", agents=[Agent(name="small", model=small), Agent(name="large", model=large)])
    assert task.run() == "done"
    created = task.runs[0].log.created
    assert created is not None
    assert created.model == "small, large"


# Who is free ------------------------------------------------------------------------------------------


class Gate:
    """A reply that comes when the gate is opened."""

    def __init__(self) -> None:
        self.is_open = False
        self.waiting = 0

    async def reply(self, request: ModelRequest) -> str:
        import asyncio

        self.waiting += 1
        while not self.is_open:
            await asyncio.sleep(0.005)
        return "done"


def busy_run(agent: Agent, gate: Gate) -> Any:
    run = Task("Be busy", agents=agent, model=ScriptedModel(gate.reply)).start()
    assert eventually(lambda: not agent.is_free)
    return run


def test_only_free_agents_are_considered_and_one_alone_is_not_asked_for() -> None:
    gate, one = Gate(), Agent(name="one", max_concurrent=1)
    first = busy_run(one, gate)
    task = Task("Say", agents=[one, CODER], model=ScriptedModel("done"))
    assert task.run() == "done"
    assert chosen(task) == [("coder", "the only free one")]
    gate.is_open = True
    first.wait(2)
    assert one.is_free


def test_where_all_are_busy_the_run_waits_until_one_is_free() -> None:
    gate, one = Gate(), Agent(name="one", max_concurrent=1)
    first = busy_run(one, gate)
    model = ScriptedModel("done")
    second = Task("Wait", agents=one, model=model).start()
    assert eventually(lambda: second.status == "running")
    threading.Event().wait(0.05)
    assert model.requests == []
    gate.is_open = True
    assert (first.wait(2), second.wait(2)) == ("done", "done")


def test_waiting_for_an_agent_is_within_the_time_limit_and_can_be_cancelled() -> None:
    gate, one = Gate(), Agent(name="one", max_concurrent=1)
    first = busy_run(one, gate)
    with pytest.raises(LimitExceeded, match="max_duration_seconds"):
        Task("Wait", agents=one, config=TaskConfig(max_duration_seconds=0.1), model=ScriptedModel("x")).run()
    waiting = Task("Wait", agents=one, model=ScriptedModel("x")).start()
    assert eventually(lambda: waiting.status == "running")
    waiting.cancel()
    waiting.wait_for_end(2)
    assert waiting.status == "cancelled"
    gate.is_open = True
    first.wait(2)
    assert one.is_free


def test_an_agent_is_free_again_after_a_turn_that_failed_or_was_cancelled() -> None:
    one = Agent(name="one", max_concurrent=1)
    Task("Break", agents=one, model=ScriptedModel(call("nope"), ValueError("no"))).run(raise_on_failure=False)
    assert one.is_free
    run = busy_run(one, Gate())
    run.cancel()
    run.wait_for_end(2)
    assert eventually(lambda: one.is_free)


FORK = """
import os, time, warnings
from aesop_nb import Agent, Task
from aesop_nb.testing import ScriptedModel

warnings.simplefilter("ignore", DeprecationWarning)  # newer Pythons warn of every fork beside a thread
one = Agent(name="one", max_concurrent=1)
run = Task("Wait", agents=one, model=ScriptedModel("late", delay_seconds=60)).start()
until = time.monotonic() + 5
while one.is_free and time.monotonic() < until:
    time.sleep(0.005)
pid = os.fork()
if not pid:
    try:
        done = one.is_free and Task("Say", agents=one, model=ScriptedModel("done")).start().wait(5) == "done"
        os._exit(0 if done else 1)
    finally:
        os._exit(2)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
assert not one.is_free
run.cancel()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_after_a_fork_the_turns_of_the_parent_do_not_count() -> None:
    done = run_python(FORK)
    assert done.returncode == 0, done.stderr


def test_at_no_time_does_an_agent_take_more_turns_than_it_may() -> None:
    """Twenty runs ask the model at the same moment who suits, and it always says the same."""
    import asyncio

    agents = [Agent(name="one", max_concurrent=1), Agent(name="two", max_concurrent=2)]
    at_work, most = {"one": 0, "two": 0}, {"one": 0, "two": 0}

    async def pick(request: ModelRequest) -> Any:
        await asyncio.sleep(0.02)
        return picks("one")

    async def work(request: ModelRequest) -> Any:
        name = "one" if "You are one" in system_text(request) else "two"
        at_work[name] += 1
        most[name] = max(most[name], at_work[name])
        await asyncio.sleep(0.005)
        at_work[name] -= 1
        return result(3)

    def either(request: ModelRequest) -> Any:
        return pick(request) if request.tool("choose_agent") else work(request)

    tasks = [
        Task("Work", result_type=int, agents=agents, model=ScriptedModel(either, either)) for _ in range(20)
    ]
    assert [run.wait(5) for run in [task.start() for task in tasks]] == [3] * 20
    assert most == {"one": 1, "two": 2}
