"""Questions to the person: answered beforehand, by a call, in a terminal, or by nobody."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import pytest
from helping import at_every_start, event_types, eventually, last_text, said_by

from aesop_nb import NeedsHuman, Run, Task, TaskCancelled, TaskConfig, TaskFailed, UsageError, background
from aesop_nb import events as ev
from aesop_nb.engine import asking
from aesop_nb.errors import RunStateError
from aesop_nb.testing import ScriptedModel, call, result

if TYPE_CHECKING:
    from collections.abc import Iterator


def asks(*questions: str, **options: Any) -> Task[str]:
    replies = [call("talk_to_user", question=question) for question in questions]
    return Task("Ask", user_access=True, model=ScriptedModel(*replies, last_text), **options)


@pytest.fixture
def audience() -> Iterator[list[asking.Audience]]:
    """Who is there, as a front end would say it; `nobody` until a test says otherwise."""
    said: list[asking.Audience] = ["nobody"]

    def find() -> asking.Audience:
        return said[-1]

    asking.audience_finders.insert(0, find)
    yield said
    asking.audience_finders.remove(find)


@pytest.fixture
def form(audience: list[asking.Audience]) -> list[asking.Audience]:
    audience.append("widget")
    return audience


def open_question(run: Run[Any]) -> str:
    assert eventually(lambda: run.question is not None)
    assert run.current_action == "waiting for you"
    return str(run.question)


# Beforehand -------------------------------------------------------------------------------------------


def test_answers_in_order_by_words_and_by_a_function(audience: Any) -> None:
    assert asks("Which town?").run(answers="Lyon") == "Lyon"
    assert asks("Which town?", "Which year?").run(answers=["Lyon", "1990"]) == "1990"
    assert asks("Which town?", "Which YEAR?").run(answers={"year": "1990", "town": "Lyon"}) == "1990"
    assert asks("Which town?").run(answers=lambda question: question.upper()) == "WHICH TOWN?"


def test_each_answer_of_a_list_is_used_once_in_every_run(audience: Any) -> None:
    task = asks("One?", "Two?")
    with pytest.raises(NeedsHuman, match="Two"):
        task.run(answers=["1"])
    again = Task(
        "Ask", user_access=True, model=ScriptedModel(*[call("talk_to_user", question="?"), last_text] * 2)
    )
    run = again.start(answers=["1"])
    assert run.wait(2) == "1"
    assert run.retry().wait(2) == "1"


def test_a_function_that_passes_a_question_on_leaves_it_to_the_person(form: Any) -> None:
    run = asks("Which?").start(answers=lambda question: None)
    open_question(run)
    run.answer("this")
    assert run.wait(2) == "this"


def test_answers_of_another_kind_are_refused() -> None:
    with pytest.raises(UsageError, match="answers"):
        asks("Which?").run(answers=3)  # type: ignore[call-overload]


# Nobody -----------------------------------------------------------------------------------------------


def test_where_nobody_is_there_the_run_fails_at_once_and_names_the_question(audience: Any) -> None:
    begun = time.monotonic()
    task = asks("Which town?\x1b[2J")
    with pytest.raises(NeedsHuman, match="Which town") as caught:
        task.run()
    assert time.monotonic() - begun < 2
    assert caught.value.question == "Which town?\x1b[2J"
    assert "\x1b" not in str(caught.value)
    assert task.status == "failed"


# By a call --------------------------------------------------------------------------------------------


def test_an_answer_from_another_thread_resumes_the_run_once(form: Any) -> None:
    run = asks("Which?").start()
    assert open_question(run) == "Which?"
    outcomes: list[str] = []

    def click() -> None:
        try:
            run.answer("this", question_id="q1", source="widget")
            outcomes.append("taken")
        except RunStateError:
            outcomes.append("ignored")

    clicks = [threading.Thread(target=click) for _ in range(5)]
    for thread in clicks:
        thread.start()
    for thread in clicks:
        thread.join()
    assert run.wait(2) == "this"
    assert sorted(outcomes) == ["ignored"] * 4 + ["taken"]
    (exchange,) = run.log.exchanges
    assert (exchange.question, exchange.answer, exchange.source) == ("Which?", "this", "widget")
    assert event_types(run)[3:6] == ["model_replied", "user_asked", "user_answered"]


def test_an_answer_is_taken_as_soon_as_the_question_is_heard_of(form: Any) -> None:
    """Also while a function that answers beforehand is still thinking."""
    thinking = threading.Event()

    def slow(question: str) -> str:
        thinking.wait(3)
        return "too late"

    run = asks("Which?").start(answers=slow)
    open_question(run)
    run.answer("this")
    thinking.set()
    assert run.wait(2) == "this"


def test_whatever_goes_wrong_with_an_answer_the_caller_hears_of_it(
    form: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The caller waits for the loop, and would wait for ever."""
    run = asks("Which?").start()
    open_question(run)
    heard: list[BaseException] = []

    def fail(*_: Any) -> bool:
        raise RuntimeError("broken")

    def answer() -> None:
        try:
            run.answer("this")
        except RuntimeError as exc:
            heard.append(exc)

    with monkeypatch.context() as broken:
        broken.setattr(asking.Interview, "answer", fail)
        caller = threading.Thread(target=answer, daemon=True)
        caller.start()
        caller.join(2)
    assert [str(exc) for exc in heard] == ["broken"]
    run.answer("this")
    assert run.wait(2) == "this"


def test_an_answer_to_another_question_or_to_none_is_an_error(form: Any) -> None:
    run = asks("Which?").start()
    open_question(run)
    with pytest.raises(RunStateError, match="waits for no answer"):
        run.answer("late", question_id="q0")
    run.answer("this")
    run.wait(2)
    with pytest.raises(RunStateError, match="is completed"):
        run.answer("again")


def test_questions_of_one_turn_are_asked_one_at_a_time(form: Any) -> None:
    model = ScriptedModel([call("talk_to_user", question=q) for q in "ab"], result("done"))
    run = Task("Ask", user_access=True, model=model).start()
    for question in "ab":
        assert eventually(lambda question=question: run.question == question)
        run.answer(f"{question}!")
    assert run.wait(2) == "done"
    assert [getattr(m, "text", "") for m in model.requests[1].messages[-2:]] == ["a!", "b!"]


def test_a_handler_of_the_question_may_answer_it(form: Any) -> None:
    def watch(run: Run[Any]) -> None:
        run.on("user_asked", lambda event: asyncio.get_running_loop().call_soon(run.answer, "mine"))

    with at_every_start(watch):
        assert asks("Which?").start().wait(2) == "mine"


def test_the_clock_stands_still_while_the_person_thinks(form: Any) -> None:
    run = asks("Which?", config=TaskConfig(max_duration_seconds=0.15)).start()
    open_question(run)
    threading.Event().wait(0.3)
    run.answer("this")
    assert run.wait(2) == "this"
    assert run.log.asked_seconds >= 0.3


def test_a_run_is_cancelled_while_it_waits_for_the_person(form: Any) -> None:
    run = asks("Which?").start()
    open_question(run)
    run.cancel()
    with pytest.raises(TaskCancelled):
        run.wait(2)
    assert run.question is None
    with pytest.raises(RunStateError, match="is cancelled"):
        run.answer("late")


def test_choices_reach_the_question_and_anything_may_be_answered(form: Any) -> None:
    model = ScriptedModel(call("talk_to_user", question="Which?", choices=["a", "b"]), last_text)
    run = Task("Ask", user_access=True, model=model).start()
    open_question(run)
    assert run.log.question is not None
    assert run.log.question.choices == ["a", "b"]
    run.answer("neither")
    assert run.wait(2) == "neither"


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"question": ""},
        {"question": 3},
        {"question": "?", "choices": "ab"},
        {"question": "?", "choices": [1]},
        {"question": "?", "kind": "colour"},
        {"question": "?", "kind": "int", "default": "many"},
        {"question": "?", "kind": "int", "choices": ["one"]},
        {"question": "?", "kind": "yes_no", "choices": ["maybe"]},
        {"question": "?", "kind": "secret", "default": "hunter2"},
        {"question": "?", "default": ["a"]},
        {"question": "?", "time_limit_seconds": 0},
        {"question": "?", "time_limit_seconds": True},
        {"question": "?", "optional": "yes"},
        {"question": "?", "choices": ["a", " \n"]},
        {"question": "?" * 20_001},
        {"question": "?", "choices": ["a"] + [str(number) for number in range(500)]},
        {"question": "?", "choices": ["a" * 2_001]},
        {"question": "?", "time_limit_seconds": -1},
        {"question": "?", "time_limit_seconds": float("nan")},
        {"question": "?", "time_limit_seconds": float("inf")},
        {"question": "?", "kind": ["int"]},
    ],
)
def test_a_question_that_asks_nothing_goes_back_to_the_model(
    audience: Any, arguments: dict[str, Any]
) -> None:
    model = ScriptedModel({"tool": "talk_to_user", "arguments": arguments}, last_text)
    text = Task("Ask", user_access=True, model=model).run(answers=["never"])
    assert text.startswith("Error: `")


# Kinds, skipping and time limits ----------------------------------------------------------------------


def asks_for(kind: str, **options: Any) -> Task[str]:
    model = ScriptedModel(call("talk_to_user", question="How many?", kind=kind, **options), last_text)
    return Task("Ask", user_access=True, model=model)


def test_an_answer_that_does_not_fit_is_refused_and_the_question_stays_open(form: Any) -> None:
    run = asks_for("int").start()
    open_question(run)
    with pytest.raises(
        UsageError, match=r"a whole number, such as 42, is expected, and 'many' is none\. The q"
    ):
        run.answer("many")
    assert run.question == "How many?"
    run.answer(" 07 ")
    assert run.wait(2) == "7"


@pytest.mark.parametrize("answers", [["many"], {"how": "many"}, lambda question: "many"])
def test_an_answer_given_beforehand_that_does_not_fit_fails_the_run_and_is_named(
    form: Any, answers: Any
) -> None:
    with pytest.raises(NeedsHuman, match=r"given beforehand does not fit the question 'How many.'.*'many'"):
        asks_for("int").run(answers=answers)


def test_a_default_answer_of_the_task_that_does_not_fit_fails_the_run(audience: Any) -> None:
    task = asks_for("int")
    task.default_answer = "many"
    with pytest.raises(NeedsHuman, match="default_answer does not fit"):
        task.run()


def test_where_nobody_is_there_the_default_of_the_question_is_taken(audience: Any) -> None:
    task = asks_for("int", default="5")
    assert task.run() == "5"
    assert task.runs[0].log.exchanges[0].source == "default"


def test_where_nobody_is_there_an_optional_question_is_skipped(audience: Any) -> None:
    assert "skipped" in asks_for("int", optional=True).run()
    with pytest.raises(NeedsHuman):
        asks_for("text").run()


def test_a_text_can_be_skipped_and_a_number_only_if_it_is_optional(form: Any) -> None:
    run = asks_for("text").start()
    open_question(run)
    run.skip()
    assert run.wait(2) == "The person skipped this question."
    assert (run.log.exchanges[0].is_skipped, run.log.exchanges[0].said) == (True, "(skipped)")
    run = asks_for("int").start()
    open_question(run)
    with pytest.raises(UsageError, match="cannot be skipped"):
        run.skip()
    run.answer("1")
    run.wait(2)
    with pytest.raises(RunStateError, match="waits for no answer"):
        run.skip()


@pytest.mark.parametrize(
    ("options", "told", "source"),
    [
        ({"default": "5"}, "5", "default"),
        ({}, "The person did not answer in time; the question was skipped.", "time_limit"),
    ],
)
def test_when_the_time_is_over_the_default_is_taken_or_the_question_skipped(
    form: Any, options: dict[str, Any], told: str, source: str
) -> None:
    run = asks_for("int", time_limit_seconds=0.05, **options).start()
    assert run.wait(2) == told
    (exchange,) = run.log.exchanges
    assert (exchange.source, exchange.is_skipped) == (source, source == "time_limit")
    assert exchange.waited_seconds >= 0.05


def test_an_answer_before_the_time_is_over_is_taken(form: Any) -> None:
    run = asks_for("int", time_limit_seconds=30, default="5").start()
    open_question(run)
    run.answer("6")
    assert run.wait(2) == "6"


def test_a_function_of_the_persons_that_times_out_fails_the_run_as_any_error(form: Any) -> None:
    def slow(question: str) -> str:
        raise TimeoutError("mine")

    with pytest.raises(TaskFailed, match="TimeoutError: mine"):
        asks_for("int", time_limit_seconds=30, default="5").run(answers=slow)


def test_a_question_may_be_long_and_have_many_choices(form: Any) -> None:
    choices = [f"<b>{number}</b>" for number in range(250)]
    model = ScriptedModel(
        call("talk_to_user", question="?" * 10_000, choices=[*choices, *choices], time_limit_seconds=1e9),
        last_text,
    )
    run = Task("Ask", user_access=True, model=model).start()
    assert open_question(run) == "?" * 10_000
    assert run.log.question is not None
    assert run.log.question.choices == choices
    run.answer(" <B>249</b> ")
    assert run.wait(2) == "<b>249</b>"


@pytest.mark.parametrize("seconds", [0.001, 0.02])
def test_answers_at_the_very_end_of_the_time_count_once(form: Any, seconds: float) -> None:
    for _ in range(30):
        run = asks_for("int", time_limit_seconds=seconds, default="5").start()
        taken = False
        while not run.status.is_final and not taken:
            with contextlib.suppress(RunStateError):
                run.answer("6")
                taken = True
        assert run.wait(2) == ("6" if taken else "5")


@pytest.mark.parametrize(
    ("kind", "typed", "read"),
    [
        ("int", "１２３", "123"),
        ("int", "٣", "3"),
        ("int", "1_000", "1000"),
        ("int", "-0", "0"),
        ("int", "1.0", None),
        ("int", "1,000", None),
        ("int", "9" * 5_000, None),
        ("int", "0x10", None),
        ("float", "1.234,5", None),
        ("float", "1,5", None),
        ("float", "٣.٥", "3.5"),
        ("float", "1e400", None),
        ("float", "inf", None),
        ("float", "NaN", None),
        ("float", "-1e-3", "-0.001"),
        ("date", "2026-02-30", None),
        ("date", "31.03.2026", None),
        ("date", "20260331", "2026-03-31"),
        ("date", "2026-03-31T12:00", None),
        ("date", "\ud800", None),
        ("yes_no", "ＹＥＳ", None),
        ("yes_no", " N ", "no"),
    ],
)
def test_what_is_typed_in_other_places_of_the_world(
    form: Any, kind: str, typed: str, read: str | None
) -> None:
    run = asks_for(kind).start()
    open_question(run)
    if read is None:
        with pytest.raises(UsageError, match="stays open"):
            run.answer(typed)
        run.cancel()
        run.wait_for_end(2)
    else:
        run.answer(typed)
        assert run.wait(2) == read


def test_a_tools_time_stands_still_while_a_run_inside_asks(form: Any) -> None:
    def inner() -> str:
        return asks("Which?").run()

    model = ScriptedModel(call("inner"), last_text)
    task = Task("Out", tools=[inner], model=model, config=TaskConfig(tool_timeout_seconds=0.2))
    run = task.start()
    assert eventually(lambda: bool(run.children) and run.children[0].question == "Which?")
    threading.Event().wait(0.4)
    run.children[0].answer("this")
    assert run.wait(2) == "this"


def test_a_tools_time_goes_on_when_the_run_inside_has_asked(form: Any) -> None:
    def inner() -> str:
        asks("Which?").run(answers="this")
        threading.Event().wait(1)
        return "late"

    model = ScriptedModel(call("inner"), last_text)
    config = TaskConfig(tool_timeout_seconds=0.1)
    assert "no answer within 0.1 s" in Task("Out", tools=[inner], model=model, config=config).run()


def test_one_turn_at_a_time_with_a_question_in_each(form: Any) -> None:
    task = asks("One?", "Two?")
    turns: list[Run[Any]] = []
    for number in range(3):
        worker = threading.Thread(target=lambda: turns.append(task.run_once()))
        worker.start()
        if number < 2:
            assert eventually(
                lambda number=number: bool(task.runs) and task.runs[0].question == ["One?", "Two?"][number]
            )
            task.runs[0].answer(str(number))
        worker.join(3)
    run = task.runs[0]
    assert (run.wait(2), len(task.runs)) == ("1", 1)


def test_an_async_tool_on_the_callers_loop_beside_a_question(form: Any) -> None:
    async def look() -> str:
        await asyncio.sleep(0)
        return "seen"

    model = ScriptedModel([call("look"), call("talk_to_user", question="Which?")], last_text)
    task = Task("Ask", user_access=True, tools=[look], model=model)
    code: list[Any] = []

    async def cell() -> None:
        threading.Thread(target=click).start()
        code.append(await task.run_async())

    def click() -> None:
        assert eventually(lambda: bool(task.runs) and task.runs[0].question == "Which?")
        task.runs[0].answer("this")

    asyncio.run(cell())
    assert code == ["this"]


def test_one_task_asks_in_two_threads_each_in_its_own_run(form: Any) -> None:
    task = Task(
        "Ask",
        user_access=True,
        model=ScriptedModel(*[call("talk_to_user", question="Which?")] * 2, last_text, last_text),
    )
    results: dict[int, str] = {}
    workers = [threading.Thread(target=lambda n=n: results.update({n: task.run()})) for n in range(2)]
    for worker in workers:
        worker.start()
    assert eventually(lambda: [run.question for run in task.runs] == ["Which?"] * 2)
    for number, run in enumerate(task.runs):
        run.answer(str(number))
    for worker in workers:
        worker.join(3)
    assert sorted(results.values()) == ["0", "1"]


# A terminal -------------------------------------------------------------------------------------------


def test_a_terminal_is_asked_with_input_in_the_thread_that_waits(
    audience: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str]] = []

    def typed(prompt: str) -> str:
        asked.append((prompt, threading.current_thread().name))
        return "typed"

    audience.append("terminal")
    monkeypatch.setattr("builtins.input", typed)
    model = ScriptedModel(call("talk_to_user", question="Which?\x07", choices=["a"]), last_text)
    task = Task("Ask", user_access=True, model=model)
    assert task.run() == "typed"
    assert asked == [("Which?\\x07\n  - a\n(empty to skip)\n> ", "MainThread")]
    assert task.runs[0].log.exchanges[0].source == "terminal"


@pytest.mark.parametrize(
    ("kind", "options", "lines", "told"),
    [
        ("int", {}, ["many", "", "3"], "3"),
        ("int", {"default": "5"}, [""], "5"),
        ("int", {"optional": True}, [""], "The person skipped this question."),
        ("text", {}, ["  "], "The person skipped this question."),
        ("yes_no", {}, ["maybe", "Y"], "yes"),
    ],
)
def test_a_terminal_asks_again_until_the_answer_fits(
    audience: Any,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    options: dict[str, Any],
    lines: list[str],
    told: str,
) -> None:
    prompts: list[str] = []

    def typed(prompt: str) -> str:
        prompts.append(prompt)
        return lines[len(prompts) - 1]

    audience.append("terminal")
    monkeypatch.setattr("builtins.input", typed)
    assert asks_for(kind, **options).run() == told
    assert len(prompts) == len(lines)
    assert all("expected" in prompt for prompt in prompts[1:])


def test_a_terminal_asks_for_a_secret_without_showing_it(
    audience: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts: list[str] = []

    def typed(prompt: str) -> str:
        prompts.append(prompt)
        return ["abc", "hunter2"][len(prompts) - 1]

    audience.append("terminal")
    monkeypatch.setattr("getpass.getpass", typed)
    assert "<secret:1>" in asks_for("secret").run()
    assert len(prompts) == 2


def test_a_terminal_is_left_when_the_time_is_over(audience: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that is being typed is read to its end first: `input()` cannot be stopped."""
    is_over = threading.Event()

    def typed(prompt: str) -> str:
        is_over.wait(3)
        return "too late"

    audience.append("terminal")
    monkeypatch.setattr("builtins.input", typed)
    run = asks_for("text", time_limit_seconds=0.05, default="mine").start()
    run.on("user_answered", lambda event: is_over.set())
    assert run.wait(4) == "mine"


def test_a_wait_that_ends_leaves_the_question_of_another_run_to_the_next_wait(
    audience: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was submitted to a waiting thread that went away is submitted to the next one."""
    audience.append("terminal")
    monkeypatch.setattr("builtins.input", lambda prompt: "typed")
    submit, left = background.submit_to_waiting_thread, ["once"]

    def gone(function: Any) -> Any:
        if not left:
            return submit(function)
        left.pop()
        future: Future[Any] = Future()
        future.cancel()
        return future

    monkeypatch.setattr(background, "submit_to_waiting_thread", gone)
    assert asks("Which?").run() == "typed"
    assert left == []


def test_a_closed_terminal_is_nobody(audience: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(prompt: str) -> str:
        raise EOFError

    audience.append("terminal")
    monkeypatch.setattr("builtins.input", closed)
    with pytest.raises(NeedsHuman, match="closed"):
        asks("Which?").run()


def test_the_terminal_is_found_only_where_there_is_one() -> None:
    code = """
import json, sys
from aesop_nb.engine import asking
found = [asking.find_audience()]
sys.stdin.close()
found.append(asking.find_audience())
sys.stdin = None
found.append(asking.find_audience())
print(json.dumps(found))
"""
    assert said_by(code) == ["nobody"] * 3


def test_the_conversation_is_in_the_events_without_the_terminals_tricks(audience: Any) -> None:
    task = asks("Which \ud800?")
    task.run(answers=["an\ud800swer"])
    asked, answered = (e for e in task.runs[0].events if isinstance(e, (ev.UserAsked, ev.UserAnswered)))
    assert isinstance(asked, ev.UserAsked)
    assert isinstance(answered, ev.UserAnswered)
    assert (asked.question, answered.answer) == ("Which \ufffd?", "an\ufffdswer")
