"""`@task`: what a function's name, docstring, arguments and annotations become."""

from __future__ import annotations

import asyncio
import inspect
import threading
from typing import Annotated, Any, Literal

import pytest
from helping import last_text
from pydantic import BaseModel, Field

from aesop_nb import (
    Agent,
    Task,
    TaskConfig,
    TaskFunction,
    UsageError,
    settings,
    task,
    temporary_settings,
    tool,
)
from aesop_nb.testing import ScriptedModel, call, result

Positive = Annotated[int, Field(gt=0)]


class Brief(BaseModel):
    title: str


def test_a_lazy_function_gives_a_task_and_calls_no_model() -> None:
    model = ScriptedModel()

    @task(lazy=True, model=model)
    def return_42() -> int:
        """Return the number 42"""
        raise AssertionError("the body is never executed")

    made = return_42()
    assert isinstance(made, Task)
    assert (made.result_type, made.instructions, made.objective, made.name) == (
        int,
        "Return the number 42",
        "Return 42",
        "return_42",
    )
    assert model.requests == []


def test_eager_is_the_default_and_asks_the_model_once() -> None:
    model = ScriptedModel(result(42))

    @task(model=model)
    def return_42() -> int:
        raise AssertionError("the body is never executed")

    assert settings.eager_mode is True
    assert return_42() == 42
    assert len(model.requests) == 1


def test_the_setting_is_read_at_the_call_and_not_at_the_definition() -> None:
    @task(model=ScriptedModel(result(42)))
    def return_42() -> int: ...  # type: ignore[empty-body]

    with temporary_settings(eager_mode=False):
        assert isinstance(return_42(), Task)
    assert return_42() == 42


@pytest.mark.parametrize("setting", [True, False])
@pytest.mark.parametrize("lazy", [True, False, None])
@pytest.mark.parametrize("lazy_", [True, False, None])
def test_the_call_beats_the_decorator_which_beats_the_setting(
    setting: bool, lazy: bool | None, lazy_: bool | None
) -> None:
    @task(lazy=lazy, model=ScriptedModel(result(42)))
    def return_42() -> int: ...  # type: ignore[empty-body]

    wanted = next(value for value in (lazy_, lazy, not setting) if value is not None)
    with temporary_settings(eager_mode=setting):
        given = return_42(lazy_=lazy_)  # type: ignore[call-arg]
    assert isinstance(given, Task) is wanted
    if not wanted:
        assert given == 42


def test_annotation_and_objective() -> None:
    @task(objective="List the colours", name="colours", instructions="Only warm ones.")
    def f() -> list[str]:
        """Not this."""

    made = f.task()
    assert (made.result_type, made.objective, made.name) == (list[str], "List the colours", "colours")
    assert made.instructions == "Only warm ones."


@pytest.mark.parametrize(
    ("name", "objective"),
    [
        ("generate_summary", "Generate summary"),
        ("parseHTMLPage", "Parse HTML page"),
        ("_private_thing", "Private thing"),
        ("x", "X"),
        ("läuft_gut", "Läuft gut"),
    ],
)
def test_the_objective_is_the_name_as_words(name: str, objective: str) -> None:
    def f() -> None: ...

    f.__name__ = name
    assert task(f).task().objective == objective


def test_result_types_from_annotations() -> None:
    def nothing_said(): ...  # type: ignore[no-untyped-def]
    def none() -> None: ...
    def choice() -> Literal["a", "b"]: ...  # type: ignore[empty-body]
    def annotated() -> Positive: ...  # type: ignore[empty-body]
    def model() -> Brief: ...  # type: ignore[empty-body]

    assert task(nothing_said).result_type is str
    assert task(none).result_type is None
    assert task(choice).result_type == Literal["a", "b"]
    assert task(annotated).result_type is Positive
    assert task(model).result_type is Brief
    assert task(result_type=int)(model).result_type is int
    assert task(result_type=None)(model).result_type is None


def test_arguments_are_the_context_with_defaults() -> None:
    @task
    def f(a: int, b: str = "x", *rest: int, c: bool = False, **more: Any) -> None: ...

    assert f.task(1).context == {"a": 1, "b": "x", "c": False}
    assert f.task(1, "y", 2, 3, d=4).context == {"a": 1, "b": "y", "rest": (2, 3), "c": False, "d": 4}
    assert task(context={"extra": 1})(f.__wrapped__).task(1).context["extra"] == 1


@pytest.mark.parametrize(("args", "kwargs"), [((), {}), ((1, 2), {}), ((1,), {"a": 1}), ((1,), {"nope": 1})])
def test_wrong_arguments_are_a_type_error_before_any_request(args: Any, kwargs: Any) -> None:
    model = ScriptedModel("x")

    @task(model=model)
    def summarise(a: int) -> str: ...  # type: ignore[empty-body]

    with pytest.raises(TypeError, match=r"summarise\(\): "):
        summarise(*args, **kwargs)
    assert model.requests == []


def test_methods_leave_self_out() -> None:
    class Report:
        @task(lazy=True)
        def summarise(self, text: str) -> str: ...  # type: ignore[empty-body]

        @classmethod
        @task(lazy=True)
        def title(cls, text: str) -> str: ...  # type: ignore[empty-body]

        @staticmethod
        @task(lazy=True)
        def count(text: str) -> int: ...  # type: ignore[empty-body]

    report = Report()
    assert report.summarise.task("a").context == {"text": "a"}
    assert Report.count.task("a").context == {"text": "a"}
    assert str(inspect.signature(report.summarise)) == "(text: 'str') -> 'str'"
    made: Any = Report.title("a")
    assert made.context == {"text": "a"}


async def test_a_function_that_is_async_gives_an_awaitable_and_another_the_value() -> None:
    @task(model=ScriptedModel(result(1)))
    async def slow() -> int: ...  # type: ignore[empty-body]

    @task(model=ScriptedModel(result(2)))
    def quick() -> int: ...  # type: ignore[empty-body]

    waiting = slow()
    assert inspect.isawaitable(waiting)
    assert await waiting == 1
    assert quick() == 2


def test_a_decorated_function_works_in_a_thread_and_in_a_loop_and_gives_a_run() -> None:
    @task(model=ScriptedModel(*[result(1)] * 4))
    def one() -> int: ...  # type: ignore[empty-body]

    values: list[int] = []
    thread = threading.Thread(target=lambda: values.append(one()))
    thread.start()
    thread.join(3)

    async def inside() -> int:
        return one()

    assert [*values, asyncio.run(inside()), one(), one.start().wait(2)] == [1, 1, 1, 1]


def test_answers_can_be_given_at_the_call() -> None:
    @task(user_access=True, model=ScriptedModel(call("talk_to_user", question="Who?"), last_text))
    def greet() -> str: ...  # type: ignore[empty-body]

    assert greet(answers_=["Ann"]) == "Ann"  # type: ignore[call-arg]


def test_options_reach_the_task() -> None:
    def search() -> None: ...

    agent, config = Agent(name="writer"), TaskConfig(max_turns=3)

    @task(
        agents=agent,
        agent_policy="round_robin",
        tools=[search],
        interactive=True,
        config=config,
        memory_scope="session",
        result_validator=str.upper,
        model=ScriptedModel("quiet"),
    )
    def shout() -> str: ...  # type: ignore[empty-body]

    made = shout.task()
    assert made.agents == (agent,)
    assert [t.name for t in made.tools] == ["search"]
    assert (made.config, made.memory_scope, made.user_access) == (config, "session", True)
    assert made.run() == "QUIET"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"agents": []}, "agents"),
        ({"tools": [3]}, "function"),
        ({"tools": "len"}, "tools must be functions.*'len'"),
        ({"tools": 3}, "tools must be functions.*3"),
        ({"memory_scope": "x"}, "memory_scope"),
        ({"config": 3}, "TaskConfig"),
        ({"result_type": []}, "choose"),
    ],
)
def test_a_wrong_option_is_an_error_at_the_definition(options: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):

        @task(**options)
        def f() -> str: ...  # type: ignore[empty-body]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tool": [len]}, "@task has no option 'tool'.*'tools'"),
        ({"result_typ": int}, "'result_typ'.*'result_type'"),
        ({"lasy": True}, "'lasy'.*'lazy'"),
        ({"zzz": 1}, "'zzz'"),
    ],
)
def test_an_unknown_option_is_an_error_before_anything_is_decorated(options: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        task(**options)


def test_one_function_is_taken_as_one_tool() -> None:
    def search() -> None: ...

    @task(tools=search)
    def f() -> str: ...  # type: ignore[empty-body]

    @task(tools=tool(search, name="look"))
    def g() -> str: ...  # type: ignore[empty-body]

    assert [[t.name for t in made.task().tools] for made in (f, g)] == [["search"], ["look"]]


def test_what_is_no_function_is_refused() -> None:
    with pytest.raises(UsageError, match="function"):
        task(3)  # type: ignore[call-overload]
    with pytest.raises(UsageError, match="above @task"):
        task(staticmethod(lambda: None))
    with pytest.raises(UsageError, match="unknown"):

        @task
        def f() -> Nowhere: ...  # type: ignore[name-defined]  # noqa: F821


def test_it_still_looks_like_the_function() -> None:
    @task
    def summarise(text: str) -> str:
        """Sum it up."""

    assert isinstance(summarise, TaskFunction)
    assert (summarise.__name__, summarise.__doc__) == ("summarise", "Sum it up.")
    assert list(inspect.signature(summarise).parameters) == ["text"]
    assert repr(summarise) == "<task summarise(text: 'str') -> 'str'>"
