"""Texts: cleaned on the way in, visible and short on the way out; and no text breaks a task."""

from __future__ import annotations

import json
import time
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from helping import last_text, system_text
from hypothesis import given
from hypothesis import strategies as st

from aesop_nb import Agent, Task, TaskCancelled, TaskFailed, Tool, instructions
from aesop_nb import events as ev
from aesop_nb.errors import ModelReplyInvalid
from aesop_nb.events import CallRequest
from aesop_nb.models.transcript import Reply
from aesop_nb.runlogs import RunLog
from aesop_nb.testing import ScriptedModel, call, failure, result
from aesop_nb.texts import clean_text, humanize, nearest, one_line, shorten, visible

ANY_TEXT = st.text(st.characters(categories=None))  # lone surrogates too
NAUGHTY = [
    json.loads(line)["s"] for line in (Path(__file__).parent / "data" / "blns.jsonl").read_text().splitlines()
]
NASTY = [
    "\ud800",
    "a\udfffb\ud83d",
    "\x00",
    "\x1b[2J\x1b]52;c;eA==\x07",
    "\u202eabc\u202c",
    "\u2066x",
    "\r\n\x85\u2028",
    "\ufeff",
    "🏴‍☠️ é 中文",
]


# Single texts -----------------------------------------------------------------------------------------


@given(ANY_TEXT)
def test_a_cleaned_text_can_be_stored_and_only_lone_surrogates_change(text: str) -> None:
    cleaned = clean_text(text)
    assert cleaned.encode("utf-8").decode() == cleaned
    assert clean_text(cleaned) == cleaned
    if not any("\ud800" <= character <= "\udfff" for character in text):
        assert cleaned == text


def test_a_lone_surrogate_becomes_the_replacement_character_and_a_pair_its_character() -> None:
    assert clean_text("a\ud800b") == "a\ufffdb"
    assert clean_text("\ud83d\ude00") == "😀"


@given(ANY_TEXT)
def test_a_visible_text_holds_nothing_that_hides(text: str) -> None:
    for character in visible(text):
        assert character in "\n\t\u200c\u200d" or unicodedata.category(character) not in (
            "Cc",
            "Cf",
            "Cs",
            "Co",
            "Cn",
            "Zl",
            "Zp",
        )


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J", "\\x1b[2J"),
        ("a\u202eb", "a\\u202eb"),
        ("\x00", "\\x00"),
        ("line\nline\ttab", "line\nline\ttab"),
        ("\u2028", "\\u2028"),
        ("é 中文 🏴‍☠️", "é 中文 🏴‍☠️"),
        ("\U000e0041", "\\U000e0041"),
        ("\u3164", "\\u3164"),
        ("\r", "\\x0d"),
    ],
)
def test_what_would_hide_is_shown_as_an_escape(text: str, shown: str) -> None:
    assert visible(text) == shown


@given(ANY_TEXT, st.integers(min_value=40, max_value=300))
def test_a_shortened_text_is_never_longer_and_says_so(text: str, limit: int) -> None:
    short = shorten(text, limit)
    assert len(short) <= limit
    assert short == text or f"[shortened: {len(text):,} characters]" in short


@given(ANY_TEXT, st.integers(min_value=2, max_value=100))
def test_one_line_is_one_line(text: str, limit: int) -> None:
    line = one_line(text, limit)
    assert len(line) <= limit
    assert len(line.splitlines()) <= 1


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("generate_summary", "Generate summary"),
        ("generateSummary", "Generate summary"),
        ("parseHTMLPage", "Parse HTML page"),
        ("HTTPServer2Go", "HTTP server2 go"),
        ("__init__", "Init"),
        ("A", "A"),
        ("___", "___"),
        ("return_42", "Return 42"),
    ],
)
def test_a_name_becomes_words(name: str, words: str) -> None:
    assert humanize(name) == words


def test_the_nearest_name_is_suggested_only_where_there_is_one() -> None:
    assert nearest("modle", ["model", "tools"]) == " Did you mean 'model'?"
    assert nearest("xyz", ["model", "tools"]) == ""


# Through all doors ------------------------------------------------------------------------------------


def assert_sound(task: Task[Any]) -> None:
    """Every event of the latest run can be stored and read back, and says the same then."""
    run = task.runs[-1]
    stored = [event.model_dump_json().encode() for event in run.events]
    read = [ev.event_from_json(text) for text in stored]
    assert read == list(run.events)
    assert RunLog.of(read) == run.log
    assert repr(run).isprintable() or "\\" in repr(run)


def test_there_are_naughty_strings_to_test_with() -> None:
    assert len(NAUGHTY) > 200


@pytest.mark.parametrize("batch", range(8))
def test_no_text_breaks_a_task_whatever_door_it_comes_by(batch: int) -> None:
    """Objective, instructions, context, tool result and error, answer, model text, result and name."""
    for text in [*NAUGHTY, *NASTY][batch::8]:
        clean = clean_text(text)

        def echo(text: str) -> str:
            return text

        def hand_back(text: str = text) -> str:
            return text

        def explode(text: str = text) -> None:
            raise ValueError(text)

        model = ScriptedModel(
            [
                call("echo", text=clean),
                call("hand_back"),
                call("explode"),
                call("talk_to_user", question=clean or "?"),
            ]
            if clean.strip()
            else [call("echo", text=clean), call("hand_back"), call("explode")],
            result(clean),
        )
        agent = Agent(name=text if text.strip() else "x", description=text, instructions=text, model=model)
        with instructions(text):
            task = Task(
                text if text.strip() else "x",
                name="n" + text,
                instructions=text,
                context={"k" + text: text, "list": [text, {text: text}]},
                tools=[echo, hand_back, explode],
                agents=agent,
                user_access=True,
            )
        assert task.start(answers=[text]).wait(5) == clean
        for request in model.requests:
            for message in request.messages:
                getattr(message, "text", "").encode()
        run = task.runs[0]
        outputs = {step.tool: step.output for step in run.log.steps}
        assert outputs["echo"] == outputs["hand_back"] == clean
        assert run.log.result == clean
        assert all(exchange.answer == clean for exchange in run.log.exchanges)
        assert_sound(task)


@pytest.mark.parametrize("text", ["\x1b[2J", "a\ud800b", "\u202eabc", "nul\x00"])
def test_what_is_logged_holds_no_raw_control_characters(text: str, caplog: pytest.LogCaptureFixture) -> None:
    Task("Break", model=ScriptedModel(ValueError(text))).run(raise_on_failure=False)

    assert "ValueError" in caplog.text
    assert text not in caplog.text
    caplog.text.encode()


@pytest.mark.parametrize("text", NASTY)
def test_no_text_breaks_the_end_of_a_run(text: str) -> None:
    clean = clean_text(text)
    failing = Task("Fail", model=ScriptedModel(failure(clean)))
    broken = Task("Break", model=ScriptedModel(ValueError(text)))
    refused = Task("Say", result_validator=_refuse_with(text), model=ScriptedModel(*["x"] * 3))
    for task in (failing, broken, refused):
        run = task.start()
        with pytest.raises(TaskFailed) as caught:
            run.wait(2)
        str(caught.value).encode()
        assert_sound(task)
    junk = Task("Say", model=ScriptedModel(ModelReplyInvalid(text)))
    junk.run(raise_on_failure=False)
    assert_sound(junk)
    changed = Task("Say", result_validator=lambda value: text, model=ScriptedModel("x"))
    assert changed.start().wait(2) == text
    assert changed.runs[0].log.result == clean
    assert_sound(changed)
    stopped = Task("Wait", model=ScriptedModel("late", delay_seconds=60))
    run = stopped.start()
    run.cancel(text)
    with pytest.raises(TaskCancelled):
        run.wait(2)
    assert_sound(stopped)


def _refuse_with(text: str) -> Any:
    def refuse(value: str) -> None:
        raise ValueError(text)

    return refuse


@pytest.mark.parametrize("text", NASTY)
def test_no_text_breaks_plain_replies(text: str) -> None:
    model = ScriptedModel("a" + text + "b")
    task = Task("Say", model=model)
    assert task.start().wait(2) == "a" + clean_text(text) + "b"
    assert_sound(task)


@pytest.mark.parametrize("text", NASTY)
def test_no_text_breaks_a_call(text: str) -> None:
    """As a name, an id or raw arguments; a wire may hand any of them on as they came."""
    calls = (
        CallRequest(call_id=text, tool=text, arguments="{}"),
        CallRequest(call_id="c", tool="mark_successful", arguments=text),
        CallRequest(call_id=text, tool="mark_successful", arguments=f'{{"result": ["{text}"]}}'),
    )
    task = Task("Say", model=ScriptedModel(Reply(tool_calls=calls), "done"))
    assert task.start().wait(2) == "done"
    assert_sound(task)


def test_a_description_with_a_lone_surrogate_reaches_the_model_clean() -> None:
    def look() -> None: ...

    look.__doc__ = "Looks at \ud800."
    model = ScriptedModel("done")
    Task("Look", tools=[look], model=model).run()
    assert Tool.of(look).spec.description == "Looks at \ufffd."
    system_text(model.requests[0]).encode()
    last_text(model.requests[0]).encode()


def test_a_long_text_with_few_hidden_characters_is_made_visible_quickly() -> None:
    text = "é中文 text\n" * 200_000 + "\u202e"
    began = time.process_time()
    assert visible(text) == text[:-1] + "\\u202e"
    assert time.process_time() - began < 0.3
