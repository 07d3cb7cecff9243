"""Tasks: what they take, what they inherit, what they wait for, and that running changes nothing in them."""

from __future__ import annotations

import enum
import threading
from dataclasses import dataclass
from typing import Any, Literal

import pytest
from helping import event_types, last_text, offered, system_text
from pydantic import BaseModel

from aesop_nb import (
    Agent,
    ResultInvalid,
    Status,
    Task,
    TaskCancelled,
    TaskConfig,
    TaskFailed,
    UsageError,
    instructions,
    scopes,
)
from aesop_nb.testing import ScriptedModel, call, failure, result


class Company(BaseModel):
    name: str
    staff: int | None = None


# What a task takes ------------------------------------------------------------------------------------


def test_a_new_task_is_pending_and_has_nothing() -> None:
    task = Task("Count the words")
    assert (task.status, task.result, task.error, task.runs) == (Status.PENDING, None, None, [])
    assert str(task.status) == "pending"


@pytest.mark.parametrize("given", [{}, {"instructions": "quickly"}, {"context": {"a": 1}}])
def test_a_task_needs_an_objective_or_a_name(given: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="needs an objective"):
        Task(**given)


@pytest.mark.parametrize("given", [{"objective": "  "}, {"name": ""}, {"description": "\n"}])
def test_an_empty_objective_or_name_is_an_error(given: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="empty"):
        Task(**given)


def test_an_unknown_field_is_an_error() -> None:
    with pytest.raises(TypeError, match="colour"):
        Task("Paint", colour="red")  # type: ignore[call-arg]


def test_the_other_vocabulary_is_accepted_as_written_and_reads_back() -> None:
    config = TaskConfig(
        max_pages=10, max_duration_seconds=300, allowed_domains=["wikipedia.org", "arxiv.org"]
    )
    task = Task(
        name="research_topic",
        description="Research and summarize information about a given topic",
        config=config,
        inputs={"topic": "artificial intelligence", "depth": "technical"},
        memory_scope="session",
    )
    assert task.name == "research_topic"
    assert task.objective == task.description == "Research and summarize information about a given topic"
    assert task.context == task.inputs == {"topic": "artificial intelligence", "depth": "technical"}
    assert task.config is config
    assert task.config.allowed_domains == ("wikipedia.org", "arxiv.org")
    assert task.memory_scope == "session"


def test_a_task_with_only_a_name_has_an_objective() -> None:
    assert Task(name="find_HTMLPages").objective == "Find HTML pages"


def test_a_task_without_a_name_is_called_by_its_first_words() -> None:
    assert (
        Task("Find five European bakery chains founded after 1990").name
        == "Find five European bakery chains founded"
    )
    assert len(Task("x" * 200).name) == 48


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ({"objective": "a", "description": "b"}, ("objective", "description")),
        ({"objective": "a", "context": {"x": 1}, "inputs": {"x": 2}}, ("context", "inputs")),
        ({"objective": "a", "user_access": True, "interactive": False}, ("user_access", "interactive")),
    ],
)
def test_two_words_for_one_field_with_different_values_name_both(
    given: dict[str, Any], names: tuple[str, str]
) -> None:
    with pytest.raises(UsageError, match=f"{names[0]}=.*{names[1]}="):
        Task(**given)


def test_two_words_for_one_field_with_the_same_value_are_fine() -> None:
    task = Task("a", description="a", context={"x": 1}, inputs={"x": 1}, user_access=True, interactive=True)
    assert task.interactive


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"config": {"max_turns": 3}}, "TaskConfig"),
        ({"memory_scope": "forever"}, "memory_scope"),
        ({"agent_policy": "cheapest"}, "agent_policy"),
        ({"agents": []}, "agents"),
        ({"agents": ["writer"]}, "Agent"),
        ({"depends_on": ["other"]}, "depends_on"),
        ({"context": {"": 1}}, "named by texts"),
        ({"context": {3: 1}}, "named by texts"),
        ({"tools": [3]}, "function"),
        ({"result_type": []}, "choose"),
        ({"model": 3}, "model"),
    ],
)
def test_what_does_not_fit_is_one_error_that_names_it(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Task("Do it", **given).start()


def test_a_task_keeps_its_own_copy_of_the_context() -> None:
    context = {"year": 1990}
    task = Task("Count", context=context)
    context["year"] = 2000
    assert task.context == {"year": 1990}


def test_its_repr_says_name_and_status() -> None:
    task = Task("Count", model=ScriptedModel("3"))
    assert repr(task) == "<Task 'Count': pending>"
    task.run()
    assert repr(task) == "<Task 'Count': completed>"


# Parents, agents, tools, instructions -----------------------------------------------------------------


def test_the_innermost_open_task_is_the_parent() -> None:
    with Task("a") as a, Task("b") as b:
        c = Task("c")
    assert (c.parent, b.parent, a.parent) == (b, a, None)
    assert Task("d").parent is None


def test_a_parent_given_beats_the_open_task() -> None:
    other = Task("other")
    with Task("a"):
        assert Task("b", parent=other).parent is other


def test_a_task_is_no_longer_the_parent_after_an_error_in_its_block() -> None:
    with pytest.raises(ZeroDivisionError), Task("a"):
        1 / 0  # noqa: B018
    assert Task("b").parent is None


def test_a_task_can_be_opened_twice() -> None:
    a = Task("a")
    with a, a:
        pass
    with a:
        assert Task("b").parent is a
    assert Task("c").parent is None


def test_agents_are_its_own_then_its_parents_then_the_flows_then_the_default() -> None:
    own, parents, flows = Agent(name="own"), Agent(name="parents"), Agent(name="flows")
    parent = Task("parent", agents=[parents])
    token = scopes.flow_defaults.set(scopes.Defaults(agents=(flows,)))
    try:
        inside = Task("inside")
        child = Task("child", parent=Task("middle", parent=parent))
        independent = Task("independent", parent=parent, agents=own)
        orphan = Task("orphan", parent=Task("says nothing"))
    finally:
        scopes.flow_defaults.reset(token)
    assert independent.agents == (own,)
    assert child.agents == (parents,)
    assert orphan.agents == inside.agents == (flows,)
    assert [agent.name for agent in Task("outside").agents] == ["Aesop"]


def test_tools_of_task_agent_and_flow_are_all_offered() -> None:
    def of_task() -> None: ...
    def of_agent() -> None: ...
    def of_flow() -> None: ...

    model = ScriptedModel("done")
    token = scopes.flow_defaults.set(scopes.Defaults(tools=(of_flow, of_task)))
    try:
        Task("Use them", tools=[of_task], agents=Agent(name="a", tools=[of_agent]), model=model).run()
    finally:
        scopes.flow_defaults.reset(token)
    assert offered(model.requests[0]) == ["of_task", "of_flow", "of_agent", "mark_successful", "mark_failed"]


def test_two_different_tools_of_one_name_are_an_error_before_anything_is_sent() -> None:
    def search() -> None: ...

    def make() -> Any:
        def search() -> int:
            return 1

        return search

    model = ScriptedModel("done")
    with pytest.raises(UsageError, match="'search'"):
        Task("Search", tools=[search], agents=Agent(name="a", tools=[make()]), model=model).start()
    assert model.requests == []


def test_the_model_is_the_tasks_then_the_agents_then_the_flows() -> None:
    of_task, of_agent, of_flow = (ScriptedModel("x", name=name) for name in ("task", "agent", "flow"))
    agent = Agent(name="a", model=of_agent)
    token = scopes.flow_defaults.set(scopes.Defaults(model=of_flow))
    try:
        for task in (Task("1", agents=agent, model=of_task), Task("2", agents=agent), Task("3")):
            task.run()
    finally:
        scopes.flow_defaults.reset(token)
    assert [len(model.requests) for model in (of_task, of_agent, of_flow)] == [1, 1, 1]


def test_instructions_nest_and_unwind_and_nothing_is_no_instruction() -> None:
    model = ScriptedModel("1", "2", "3")
    with instructions("Write in French."), instructions(None), instructions(""):
        with instructions("Be brief."):
            both = Task("Greet", model=model)
        one = Task("Greet", model=model)
    both.run()
    one.run()
    Task("Greet", model=model).run()
    first, second, third = map(system_text, model.requests)
    assert first.endswith("Write in French.\n\nBe brief.")
    assert second.endswith("Write in French.")
    assert "French" not in third


def test_objective_instructions_and_context_reach_the_model() -> None:
    model = ScriptedModel("done")
    Task(
        "Summarise the report",
        instructions='Use {} and $x, 100 % as written: {"a": 1}',
        context={"report": "It went well.", "rows": [1, 2], "company": Company(name="Paul")},
        model=model,
    ).run()
    said = last_text(model.requests[0])
    for part in (
        "Summarise the report",
        'Use {} and $x, 100 % as written: {"a": 1}',
        "report:\nIt went well.",
        "rows:\n[1,2]",
        'company:\n{"name":"Paul","staff":null}',
    ):
        assert part in said
    assert model.requests[0].context["rows"] == [1, 2]


# Results ----------------------------------------------------------------------------------------------


class Size(enum.Enum):
    SMALL = "s"
    LARGE = "l"


@dataclass
class Point:
    x: int
    y: int


@pytest.mark.parametrize(
    ("result_type", "handed_in", "expected"),
    [
        (str, "hello", "hello"),
        (int, 3, 3),
        (dict[str, int], {"a": 5, "b": "6"}, {"a": 5, "b": 6}),
        (list[str], ["a"], ["a"]),
        (Company, {"name": "Paul"}, Company(name="Paul")),
        (list[Company], [{"name": "Paul", "staff": 3}], [Company(name="Paul", staff=3)]),
        (Point, {"x": 1, "y": 2}, Point(1, 2)),
        (int | None, None, None),
        (Literal["bug", "idea"], "idea", "idea"),
        (["bad", "good", "medium"], 1, "good"),
        (["bad", "good", "medium"], "medium", "medium"),
        (bool, True, True),
    ],
)
def test_a_result_becomes_its_type(result_type: Any, handed_in: Any, expected: Any) -> None:
    task = Task("Find it", result_type=result_type, model=ScriptedModel(result(handed_in)))
    assert task.run() == expected
    assert task.status == "completed"
    assert task.result == expected


def test_the_original_object_comes_back_from_choices() -> None:
    companies = [Company(name="Paul"), Company(name="Kamps")]
    task = Task("Pick one", result_type=companies, model=ScriptedModel(result(1)))
    assert task.run() is companies[1]


def test_an_enum_gives_its_member() -> None:
    assert Task("Pick", result_type=Size, model=ScriptedModel(result("SMALL"))).run() is Size.SMALL


def test_a_value_that_is_no_choice_goes_back_to_the_model() -> None:
    model = ScriptedModel(result(7), result(5))
    task = Task("Pick", result_type=(4, 5, 6), model=model)
    picked = task.run()
    assert picked in (4, 5, 6)
    assert "not accepted" in last_text(model.requests[1])
    assert event_types(task.runs[0]).count("result_rejected") == 1


def test_the_validator_sees_the_typed_value_and_may_change_it() -> None:
    seen = []

    def round_down(value: int) -> int:
        seen.append(value)
        return value // 10 * 10

    task = Task("Guess", result_type=int, result_validator=round_down, model=ScriptedModel(result("44")))
    assert task.run() == 40
    assert seen == [44]


def test_what_the_validator_raises_reaches_the_model_and_the_run_goes_on() -> None:
    def above_ten(value: int) -> None:
        if value <= 10:
            raise ValueError("it must be above ten")

    model = ScriptedModel(result(4), result(40))
    assert Task("Guess", result_type=int, result_validator=above_ten, model=model).run() == 40
    assert "it must be above ten" in last_text(model.requests[1])


def test_without_a_result_type_a_value_is_an_error_and_none_completes() -> None:
    model = ScriptedModel(result(3), result())
    task = Task("Tidy up", result_type=None, model=model)
    assert task.run() is None
    assert task.status == "completed"
    assert "no result" in last_text(model.requests[1])


def test_a_result_that_never_fits_fails_after_two_corrections_and_keeps_the_raw_text() -> None:
    model = ScriptedModel(*[result("many")] * 5)
    task = Task("Count", result_type=int, model=model)
    with pytest.raises(ResultInvalid, match="Count: no int after 3 tries") as caught:
        task.run()
    assert len(model.requests) == 3
    assert caught.value.raw == '{"result": "many"}'
    assert [e.raw for e in task.runs[0].events if e.type == "result_rejected"] == ['{"result": "many"}'] * 3


def test_a_failure_by_the_model_raises_with_name_and_reason() -> None:
    task = Task("Find it", name="find_it", model=ScriptedModel(failure("there is none")))
    with pytest.raises(TaskFailed, match="find_it failed: there is none") as caught:
        task.run()
    assert caught.value.run is task.runs[0]
    assert (task.status, task.result) == ("failed", None)
    assert "there is none" in str(task.error)


def test_a_failure_does_not_raise_unasked() -> None:
    task = Task("Find it", model=ScriptedModel(failure("there is none")))
    assert task.run(raise_on_failure=False) is None
    assert (task.status, task.result) == ("failed", None)
    assert "there is none" in str(task.error)


async def test_a_failure_does_not_raise_unasked_when_awaited() -> None:
    task = Task("Find it", model=ScriptedModel(failure("there is none")))
    assert await task.run_async(raise_on_failure=False) is None
    assert task.status == "failed"


# Running twice, once, again ---------------------------------------------------------------------------


def test_running_twice_gives_two_runs_and_the_latest_counts() -> None:
    task = Task("Count", result_type=int, model=ScriptedModel(result(1), result(2)))
    assert (task.run(), task.run()) == (1, 2)
    first, second = task.runs
    assert first is not second
    assert first.id != second.id
    assert (first.result, second.result, task.result) == (1, 2, 2)


def test_a_failed_run_after_a_good_one_is_what_the_task_says() -> None:
    task = Task("Count", result_type=int, model=ScriptedModel(result(1), failure("no"), result(3)))
    task.run()
    task.run(raise_on_failure=False)
    assert (task.status, task.result) == ("failed", None)
    assert task.runs[-1].retry().wait(5) == 3
    assert len(task.runs) == 3
    assert task.error is None


def test_run_once_takes_one_turn_with_its_calls_and_run_goes_on_from_there() -> None:
    noted = []

    def note(text: str) -> None:
        noted.append(text)

    model = ScriptedModel(
        [call("note", text="a"), call("note", text="b")], call("note", text="c"), result("done")
    )
    task = Task("Take notes", tools=[note], model=model)
    run = task.run_once()
    assert (sorted(noted), len(model.requests), run.status) == (["a", "b"], 1, "running")
    assert run.is_parked
    assert task.run_once() is run
    assert (len(noted), len(model.requests), run.status) == (3, 2, "running")
    assert task.run() == "done"
    assert (task.runs, run.status, run.log.turn) == ([run], "completed", 3)


async def test_run_once_then_run_async() -> None:
    task = Task("Talk", result_type=int, model=ScriptedModel("hm", result(3)))
    run = task.run_once()
    assert await task.run_async() == 3
    assert task.runs == [run]


def test_run_once_that_finishes_gives_an_ended_run_and_the_next_one_is_new() -> None:
    task = Task("Count", result_type=int, model=ScriptedModel(result(1), result(2)))
    first = task.run_once()
    assert (first.status, first.result, first.wait(1)) == ("completed", 1, 1)
    second = task.run_once()
    assert second is not first
    assert second.result == 2


def test_run_once_does_not_raise_when_the_turn_fails() -> None:
    run = Task("Count", model=ScriptedModel(failure("no"))).run_once()
    assert run.status == "failed"


def test_time_between_run_once_and_run_does_not_count() -> None:
    task = Task(
        "Talk",
        result_type=int,
        model=ScriptedModel("hm", result(3)),
        config=TaskConfig(max_duration_seconds=0.1),
    )
    task.run_once()
    threading.Event().wait(0.15)
    assert task.run() == 3


def test_a_run_that_stands_between_turns_can_be_cancelled() -> None:
    task = Task("Talk", result_type=int, model=ScriptedModel("hm"))
    run = task.run_once()
    task.cancel()
    with pytest.raises(TaskCancelled):
        run.wait(2)


def test_cancelling_a_task_without_runs_does_nothing() -> None:
    Task("Talk").cancel()
