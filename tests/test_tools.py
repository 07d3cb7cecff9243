"""Tools: what the model sees of a function, which arguments reach it, and whatever it may do then."""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import itertools
import re
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pandas as pd
import pytest
from helping import last_text
from pydantic import AfterValidator, BaseModel, Field

from aesop_nb import Task, TaskConfig, Tool, UsageError, task, tool
from aesop_nb.testing import ScriptedModel, call, result

if TYPE_CHECKING:
    from collections.abc import Callable


def used(function: Callable[..., Any] | Tool, **arguments: Any) -> str:
    """What the model is told after one call of the tool."""
    name = Tool.of(function).name
    model = ScriptedModel(call(name, **arguments), last_text)
    return Task("Use it", tools=[function], model=model).start().wait(5)


def properties(function: Callable[..., Any]) -> dict[str, Any]:
    return dict(Tool.of(function).spec.parameters["properties"])


# What the model sees ----------------------------------------------------------------------------------


def test_name_docstring_and_parameters_describe_a_tool() -> None:
    def add(first: Annotated[int, "the first number"], second: int = 2, *, third: str | None = None) -> int:
        """Adds numbers.

        Slowly but surely.

        Args:
            first: not this one
            second: The second
                number.
        """
        return first + second

    made = Tool.of(add)
    assert (made.name, made.description) == ("add", "Adds numbers.\n\nSlowly but surely.")
    assert made.spec.parameters["required"] == ["first"]
    assert made.spec.parameters["additionalProperties"] is False
    assert properties(add)["first"]["description"] == "the first number"
    assert properties(add)["second"]["description"].split() == ["The", "second", "number."]
    assert properties(add)["second"]["default"] == 2


def test_a_tool_without_docstring_works() -> None:
    def bare(x: int) -> int:
        return x

    assert Tool.of(bare).description == ""
    assert used(bare, x=3) == "3"


class Shop:
    def __init__(self) -> None:
        self.stock = 3

    def count(self, times: int) -> int:
        return self.stock * times

    async def count_slowly(self, times: int) -> int:
        await asyncio.sleep(0)
        return self.stock * times

    def __call__(self, times: int) -> int:
        return self.stock * times


async def on_the_loop(times: int) -> int:
    return 3 * times


@pytest.mark.parametrize(
    "function",
    [
        Shop().count,
        Shop().count_slowly,
        Shop(),
        on_the_loop,
        tool(functools.partial(Shop().count), name="part"),
        tool(lambda times: int(times) * 3, name="three"),
    ],
    ids=["method", "async method", "object", "async", "partial", "lambda"],
)
def test_functions_methods_and_objects_are_accepted(function: Any) -> None:
    assert used(function, times=2) == "6"


def test_a_task_function_is_a_tool_with_its_types() -> None:
    model = ScriptedModel("bug")

    @task(model=model)
    def classify(text: str, strict: bool = False) -> str:
        """Say what it is."""
        raise AssertionError("the body is never executed")

    @task(model=ScriptedModel("idea"))
    async def classify_slowly(text: str) -> str:
        """Say what it is."""
        raise AssertionError("the body is never executed")

    assert properties(classify)["text"]["type"] == "string"
    assert properties(classify)["strict"]["type"] == "boolean"
    assert Tool.of(classify).description == "Say what it is."
    assert used(classify, text="It crashes") == "bug"
    assert used(classify_slowly, text="It could") == "idea"
    assert "It crashes" in last_text(model.requests[0])


def test_options_of_a_tool() -> None:
    @tool(name="send", description="Sends.", side_effects=True, timeout_seconds=3)
    def send_mail() -> None: ...

    @tool
    def plain() -> int:
        return 3

    assert (send_mail.name, send_mail.description, send_mail.timeout_seconds) == ("send", "Sends.", 3)
    assert send_mail.spec.side_effects
    assert plain() == 3
    assert Tool.of(plain) is plain


def only_by_position(a: int, /) -> None: ...
def strange(a: object()) -> None: ...  # type: ignore[valid-type]
def unknown_name(a: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821
def mark_successful() -> None: ...


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (only_by_position, "position"),
        (strange, "strange"),
        (unknown_name, "Nowhere"),
        (mark_successful, "engine's own"),
        (lambda: None, "cannot name a tool"),
        (3, "function"),
    ],
)
def test_what_cannot_be_a_tool_is_an_error_that_says_why(function: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Tool.of(function)


@pytest.mark.parametrize("seconds", [0, -1])
def test_a_time_limit_must_be_above_zero(seconds: float) -> None:
    with pytest.raises(UsageError, match="timeout_seconds"):
        tool(Shop().count, timeout_seconds=seconds)


def test_the_tools_own_time_limit_beats_that_of_the_task() -> None:
    @tool(timeout_seconds=0.05)
    async def rest() -> None:
        await asyncio.sleep(5)

    model = ScriptedModel(call("rest"), last_text)
    made = Task("Rest", tools=[rest], config=TaskConfig(tool_timeout_seconds=4), model=model)
    assert made.start().wait(2) == "Error: TimeoutError: no answer within 0.05 s"


# Arguments --------------------------------------------------------------------------------------------


class Address(BaseModel):
    city: str
    code: int | None = None


@dataclass
class Point:
    x: int


def test_arguments_arrive_as_the_annotations_want_them() -> None:
    seen: list[Any] = []

    def take(
        address: Address,
        point: Point,
        kind: Literal["a", "b"],
        many: list[int],
        json: dict[str, Any],
        _hidden: int = 1,
        model_name: str = "m",
        **rest: Any,
    ) -> None:
        seen.append((address, point, kind, many, json, _hidden, model_name, rest))

    given = {
        "address": {"city": "Lyon"},
        "point": {"x": "1"},
        "kind": "b",
        "many": ["1", 2],
        "json": {"a": None},
    }
    used(take, **given, other=3)
    assert seen == [(Address(city="Lyon"), Point(1), "b", [1, 2], {"a": None}, 1, "m", {"other": 3})]


def test_defaults_that_were_not_given_are_the_functions_own() -> None:
    marker = object()
    seen: list[Any] = []

    def take(number: int = 3, thing: Any = marker) -> None:
        seen.append((number, thing))

    used(take)
    assert seen == [(3, marker)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "number: Field required"),
        ({"number": 0}, "number: .*greater than 0"),
        ({"number": 1, "extra": 1}, "extra: "),
        ({"number": "x" * 1_000}, "number: .*integer"),
    ],
)
def test_arguments_that_do_not_fit_are_explained(arguments: dict[str, Any], message: str) -> None:
    calls = []

    def take(number: Annotated[int, Field(gt=0)]) -> None:
        calls.append(number)

    text = used(take, **arguments)
    assert re.search(message, text)
    assert len(text) < 300
    assert calls == []


def look_up(code: str) -> str:
    return {"a": "A"}[code]


def test_a_validator_that_raises_something_else_is_explained_and_the_run_goes_on() -> None:
    def take(code: Annotated[str, AfterValidator(look_up)]) -> str:
        return code

    assert used(take, code="a") == "A"
    assert used(take, code="b") == "Error: the arguments could not be checked: KeyError: 'b'"


# What a tool may do -----------------------------------------------------------------------------------


class Odd:
    def __str__(self) -> str:
        raise ValueError("no text")


class OddError(Exception):
    def __str__(self) -> str:
        raise ValueError("no text")


def give(value: Any) -> Callable[[], Any]:
    def given() -> Any:
        return value

    return given


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        ("as\tit  is", "as\tit  is"),
        (3.5, "3.5"),
        (Address(city="Lyon"), '{"city":"Lyon","code":null}'),
        ([Point(1)], '[{"x":1}]'),
        ({1, 2}, "[1,2]"),
        (float("nan"), "NaN"),
        (b"\xff\xfe", "b'\\xff\\xfe'"),
        (Odd(), '"<Odd>"'),
        ([Odd()], '["<Odd>"]'),
        ("\ud800", "\ufffd"),
    ],
)
def test_what_a_tool_gives_is_text_for_the_model(value: Any, text: str) -> None:
    assert used(give(value)) == text


def test_a_table_is_summed_up_for_the_model() -> None:
    frame = pd.DataFrame({"name": [f"n{i}" for i in range(20)], "staff": range(20)})
    text = used(give(frame))
    assert text.startswith("A table of 20 rows and 2 columns.")
    assert "n7,7" in text
    assert "n8,8" not in text


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame(),
        pd.DataFrame([[1, 2]], columns=["a", "a"]),
        pd.DataFrame([[1, 2]], columns=pd.MultiIndex.from_tuples([("a", 1), ("b", 2)])),
        pd.DataFrame({"a": [Odd()]}),
        pd.DataFrame({"\ud800": ["\ud800"]}),
        pd.DataFrame({"a": [[1], {"b": 2}, None]}),
        pd.Series([1, 2], name=None),
        pd.DataFrame({"a": [1 + 2j] * 20}),
    ],
    ids=["empty", "same names", "two levels", "odd object", "surrogate", "nested", "series", "complex"],
)
def test_no_table_breaks_a_run(frame: Any) -> None:
    assert used(give(frame))
    inputs = Task("Read", context={"frame": frame}, model=ScriptedModel("done"))
    assert inputs.start().wait(2) == "done"


@pytest.mark.parametrize("is_async", [False, True], ids=["def", "async def"])
@pytest.mark.parametrize("beside", [0, 1], ids=["alone", "beside another"])
@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("no"), "Error: ValueError: no"),
        (KeyError("k"), "Error: KeyError: 'k'"),
        (SystemExit(3), "Error: SystemExit: 3"),
        (KeyboardInterrupt(), "Error: KeyboardInterrupt"),
        (GeneratorExit(), "Error: GeneratorExit"),
        (StopIteration("end"), "StopIteration"),
        (StopAsyncIteration("end"), "StopAsyncIteration"),
        (asyncio.CancelledError(), "Error: CancelledError"),
        (concurrent.futures.CancelledError(), "Error: CancelledError"),
        (TimeoutError("mine"), "Error: TimeoutError: mine"),
        (RecursionError("deep"), "Error: RecursionError: deep"),
        (OddError(), "Error: OddError"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"), "Error: UnicodeDecodeError"),
        (ValueError("\ud800"), "Error: ValueError: \ufffd"),
        (ExceptionGroup("several", [ValueError("a")]), "Error: ExceptionGroup: several"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_whatever_a_tool_raises_is_told_to_the_model_and_the_run_goes_on(
    error: BaseException, text: str, is_async: bool, beside: int
) -> None:
    def explode() -> None:
        raise error

    async def explode_async() -> None:
        raise error

    def fine() -> str:
        return "fine"

    function: Callable[..., Any] = explode_async if is_async else explode
    model = ScriptedModel([*[call("fine")] * beside, call(function.__name__)], last_text)
    made = Task("Explode", tools=[function, fine], model=model)
    assert text in made.start().wait(2)
    assert made.runs[0].log.steps[-1].state == "failed"


def test_a_tool_that_awaits_something_cancelled_has_failed_and_the_run_goes_on() -> None:
    async def wait_for_nothing() -> None:
        waiting = asyncio.ensure_future(asyncio.sleep(60))
        waiting.cancel()
        await waiting

    assert used(wait_for_nothing) == "Error: CancelledError"


def test_a_plain_function_that_gives_a_coroutine_is_awaited() -> None:
    def later() -> Any:
        return on_the_loop(2)

    assert used(later) == "6"


def generator(times: int) -> Any:
    yield from range(times)


async def async_generator(times: int) -> Any:
    for number in range(times):
        await asyncio.sleep(0)
        yield number


class Items:
    def generator(self, times: int) -> Any:
        yield from range(times)

    async def __call__(self, times: int) -> Any:
        for number in range(times):
            yield number


@pytest.mark.parametrize(
    "function",
    [
        generator,
        async_generator,
        Items().generator,
        tool(Items(), name="items"),
        tool(functools.partial(async_generator), name="part"),
        tool(lambda times: map(int, range(int(times))), name="map"),
        tool(lambda times: filter(lambda n: n >= 0, range(int(times))), name="filter"),
        tool(lambda times: iter(range(int(times))), name="iter"),
    ],
    ids=["generator", "async generator", "method", "object", "partial", "map", "filter", "iter"],
)
def test_the_items_of_a_generator_or_an_iterator_are_given_as_a_list(function: Any) -> None:
    assert used(function, times=3) == "[0,1,2]"


def test_a_generator_function_keeps_its_parameters_and_works_in_a_thread() -> None:
    threads: list[str] = []

    def numbers(times: Annotated[int, "how many"]) -> Any:
        threads.append(threading.current_thread().name)
        yield times

    assert properties(numbers)["times"]["description"] == "how many"
    assert used(numbers, times=1) == "[1]"
    assert threads[0].startswith("aesop-tool")
    assert list(Tool.of(numbers)(2)) == [2]


async def without_end() -> Any:
    while True:
        yield 1


def counting() -> Any:
    return itertools.count()


@pytest.mark.parametrize("function", [counting, without_end])
def test_an_iterator_without_end_is_an_error_that_says_so(function: Any) -> None:
    assert "more than 100,000 items" in used(function)


def test_what_a_generator_raises_is_told_to_the_model() -> None:
    def numbers() -> Any:
        yield 1
        raise KeyError("k")

    assert used(numbers) == "Error: KeyError: 'k'"


def test_recursion_without_end_in_a_tool_is_an_error_like_another() -> None:
    def deeper(number: int) -> int:
        return deeper(number + 1) + 1

    assert used(deeper, number=1).startswith("Error: RecursionError")


def test_a_result_beside_a_failing_tool_still_counts() -> None:
    def explode() -> None:
        raise ValueError("no")

    model = ScriptedModel([call("explode"), result("done")])
    assert Task("Try", tools=[explode], model=model).run() == "done"
