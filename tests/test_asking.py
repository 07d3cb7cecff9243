"""Questions to the person: answered beforehand, by a call, in a terminal, or by nobody."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from helping import at_every_start, event_types, eventually, last_text, said_by

from aesop_nb import NeedsHuman, Run, Task, TaskCancelled, TaskConfig, UsageError, asking
from aesop_nb import events as ev
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
    ],
)
def test_a_question_that_asks_nothing_goes_back_to_the_model(
    audience: Any, arguments: dict[str, Any]
) -> None:
    model = ScriptedModel({"tool": "talk_to_user", "arguments": arguments}, last_text)
    text = Task("Ask", user_access=True, model=model).run(answers=["never"])
    assert text.startswith("Error: `")


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
    assert asked == [("Which?\\x07\n  - a\n> ", "MainThread")]
    assert task.runs[0].log.exchanges[0].source == "terminal"


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
from aesop_nb import asking
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
