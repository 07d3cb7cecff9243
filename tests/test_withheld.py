"""Secrets: the tool gets the value, the model a stand-in, and no record holds it."""

from __future__ import annotations

import base64
import json
import logging
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import pandas as pd
import pytest
from helping import eventually, last_text
from openai_server import Answer, Call, asks
from pydantic import BeforeValidator

from aesop_nb import (
    NeedsHuman,
    OpenAIModel,
    RehearsalModel,
    Run,
    Task,
    UsageError,
    memory,
    temporary_settings,
)
from aesop_nb.engine import asking
from aesop_nb.engine.withheld import Withheld
from aesop_nb.errors import ToolFailed
from aesop_nb.mapping.maps import Map
from aesop_nb.testing import ScriptedModel, call

if TYPE_CHECKING:
    from collections.abc import Iterator

SECRET = 'pa"ss wörd/2026'


@pytest.fixture(autouse=True)
def _form() -> Iterator[None]:
    def find() -> asking.Audience:
        return "widget"

    asking.audience_finders.insert(0, find)
    yield
    asking.audience_finders.remove(find)


def asks_and_calls(tool: str, *rest: Any, **arguments: Any) -> ScriptedModel:
    return ScriptedModel(
        call("talk_to_user", question="Password?", kind="secret"), call(tool, **arguments), *rest, last_text
    )


def answered(run: Run[Any], secret: str = SECRET) -> Run[Any]:
    assert eventually(
        lambda: run.question == "Password?", within_seconds=10
    )  # the client may be loaded first
    run.answer(secret)
    run.wait_for_end(10)
    return run


def sent_to(model: ScriptedModel) -> str:
    return repr([request.messages for request in model.requests])


def test_the_tool_gets_the_value_and_the_model_a_stand_in() -> None:
    got: list[Any] = []

    def log_in(user: str, options: dict[str, Any]) -> str:
        got.append((user, options))
        return "welcome"

    model = asks_and_calls("log_in", user="ann <secret:1>", options={"keys": ["<secret:1>"], "n": 1})
    run = answered(Task("Log in", tools=[log_in], user_access=True, model=model).start())
    assert run.result == "welcome"
    assert got == [(f"ann {SECRET}", {"keys": [SECRET], "n": 1})]
    assert "<secret:1>" in model.requests[1].messages[-1].text
    assert SECRET not in sent_to(model)
    (called,) = (event for event in run.events if event.type == "tool_called")
    assert called.arguments == {"user": "ann <secret:1>", "options": {"keys": ["<secret:1>"], "n": 1}}
    assert (run.log.exchanges[0].answer, run.log.exchanges[0].said) == ("", "(a secret, kept nowhere)")


def test_no_record_holds_it_whatever_a_tool_does_with_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def leak(key: str) -> Any:
        return {"plain": key, "quoted": repr(key), "in a URL": quote(key), "json": json.dumps({"k": key})}

    def encode(key: str) -> str:
        return "Basic " + base64.b64encode(key.encode()).decode()

    def fail(key: str) -> str:
        raise ValueError(f"wrong password {key!r}")

    def count(key: int) -> str:
        return "never"

    def inner(key: str) -> str:
        return Task("Use it", context={"key": key}, model=ScriptedModel(f"I saw {key}")).run()

    stand_in = {"key": "<secret:1>"}
    model = ScriptedModel(
        call("talk_to_user", question="Password?", kind="secret"),
        [call(tool.__name__, **stand_in) for tool in (leak, encode, fail, count, inner)],
        last_text,
    )
    caplog.set_level(logging.DEBUG)
    with temporary_settings(home=str(tmp_path)):
        task = Task("Leak", tools=[leak, encode, fail, count, inner], user_access=True, model=model)
        run = answered(task.start())
        run.store.flush()
    assert run.status == "completed", run.error
    held = [
        "".join(event.model_dump_json() for one in (run, *run.children) for event in one.events),
        sent_to(model),
        sent_to(run.children[0].task.model),
        caplog.text,
        repr(run) + repr(vars(run)) + repr(vars(run._driver)),
        str(run.result),
        b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()).decode("latin-1"),
    ]
    assert "<secret:1>" in held[-1]
    forms = [SECRET, "ss wörd", "ss w\\u00f6rd", quote(SECRET), base64.b64encode(SECRET.encode()).decode()]
    assert [form for text in held for form in forms if form in text] == []
    assert sum(step.state == "failed" for step in run.log.steps) == 2


def test_a_tool_that_raises_ends_the_run_without_its_traceback() -> None:
    def fail(key: str) -> str:
        raise ValueError(f"wrong {key}")

    with temporary_settings(tools_raise_on_error=True):
        model = asks_and_calls("fail", key="<secret:1>")
        run = answered(Task("Fail", tools=[fail], user_access=True, model=model).start())
    assert isinstance(run.error, ToolFailed)
    assert "wrong <secret:1>" in str(run.error)
    assert run.error.__cause__ is None
    assert run.error.__context__ is None


def test_values_are_dropped_at_the_end_of_the_run() -> None:
    model = ScriptedModel(call("talk_to_user", question="Password?", kind="secret"), "done")
    run = answered(Task("Ask", user_access=True, model=model).start())
    assert not run._withheld
    assert run._withheld.masked(SECRET) == SECRET


def test_a_secret_given_beforehand_is_kept_as_one() -> None:
    got: list[str] = []

    def log_in(key: str) -> str:
        got.append(key)
        return "in"

    model = asks_and_calls("log_in", key="<secret:1>")
    run = Task("Log in", tools=[log_in], user_access=True, model=model).start(answers=[SECRET])
    assert run.wait(5) == "in"
    assert got == [SECRET]
    assert SECRET not in "".join(event.model_dump_json() for event in run.events)
    assert SECRET not in sent_to(model)


def test_a_secret_that_does_not_fit_is_not_repeated() -> None:
    model = ScriptedModel(call("talk_to_user", question="Password?", kind="secret"), "done")
    task = Task("Ask", user_access=True, model=model)
    with pytest.raises(NeedsHuman, match="at least 4") as caught:
        task.run(answers=["abc"])
    assert "abc" not in str(caught.value)


def test_a_secret_that_is_answered_too_short_leaves_the_question_open() -> None:
    model = ScriptedModel(call("talk_to_user", question="Password?", kind="secret"), "done")
    run = Task("Ask", user_access=True, model=model).start()
    assert eventually(lambda: run.question is not None)
    with pytest.raises(UsageError, match="stays open") as caught:
        run.answer("xyz")
    assert "xyz" not in str(caught.value)
    run.answer("xyz1")
    assert run.wait(5) == "done"


def test_unknown_stand_ins_stay_as_they_are() -> None:
    kept = Withheld()
    assert kept.put_in("<secret:1>") == "<secret:1>"
    assert kept.keep("hunter2") == kept.keep("hunter2") == "<secret:1>"
    assert kept.keep("hunter22") == "<secret:2>"
    assert kept.put_in(["<secret:1><secret:3>", "<secret:99999999999999>"]) == [
        "hunter2<secret:3>",
        "<secret:99999999999999>",
    ]
    assert kept.masked("hunter22 hunter2") == "<secret:2> <secret:1>"
    assert "hunter" not in repr(kept)
    inner = Withheld(kept)
    assert inner.masked("hunter2") == "<secret:1>"


# What a hostile model, an unlucky tool or an unlucky moment makes of a secret ---------------------------


def records_of(run: Run[Any]) -> str:
    return "".join(event.model_dump_json() for one in (run, *run.children) for event in one.events)


@pytest.mark.parametrize("annotation", [int, list[int], dict[str, int]])
def test_a_long_secret_that_a_tool_does_not_take_is_not_shown_in_part(annotation: Any) -> None:
    secret = "k" * 20 + "0123456789" * 20

    def use(key: Any) -> str:
        return "never"

    use.__annotations__["key"] = annotation
    key: Any = {int: "<secret:1>", list[int]: ["<secret:1>"]}.get(annotation, {"a": "<secret:1>"})
    model = asks_and_calls("use", key=key)
    run = answered(Task("Use", tools=[use], user_access=True, model=model).start(), secret)
    assert secret[:24] not in records_of(run) + sent_to(model)
    assert "<secret:1>" in run.result


def refuses(key: str) -> str:
    raise RuntimeError(f"{key} is refused")


def test_a_validator_that_fails_over_a_long_secret_does_not_show_it_in_part() -> None:
    secret = "0123456789abcdef" * 40

    def use(key: Annotated[str, BeforeValidator(refuses)]) -> str:
        return "never"

    model = asks_and_calls("use", key="<secret:1>")
    run = answered(Task("Use", tools=[use], user_access=True, model=model).start(), secret)
    assert secret[:40] not in records_of(run) + sent_to(model)
    assert "<secret:1> is refused" in run.result


def test_the_memory_never_gets_a_secret() -> None:
    model = asks_and_calls("remember", call("recall", key="token"), key="token", value={"k": ["<secret:1>"]})
    task = Task("Keep it", user_access=True, memory_scope="session", model=model)
    run = answered(task.start(), SECRET)
    assert '["<secret:1>"]' in run.result
    assert memory.get("token", scope="session") == {"k": ["<secret:1>"]}


@pytest.mark.parametrize("prefix", ["", "u:", "ann:", "käthe:"])
def test_a_secret_in_basic_auth_or_as_digits_is_masked(prefix: str) -> None:
    kept = Withheld()
    kept.keep("Aä?>hunter2")
    data = f"{prefix}Aä?>hunter2".encode()
    for encoded in (base64.b64encode(data), base64.urlsafe_b64encode(data), data.hex().encode()):
        shown = kept.masked(f"Authorization: Basic {encoded.decode()}")
        assert "<secret:1>" in shown, encoded
    assert kept.masked(data.hex().upper()).endswith("<secret:1>")


def test_a_large_secret_and_a_large_text_hold_nobody_up() -> None:
    kept = Withheld()
    text = "lorem ipsum dolor sit amet " * 600_000
    begun = time.monotonic()
    secret = "aé\"'/+\n" * 9_000
    kept.keep(secret)
    assert kept.masked(text) == text
    assert kept.masked(f"x{json.dumps(secret)}y") == 'x"<secret:1>"y'
    assert time.monotonic() - begun < 2


@pytest.mark.parametrize(
    "secret", ["true", "1234", "secret", "type", "(.*)[a-z]+", "a\nb\nc\nd", "<secret:1>", "\\\\\\\\"]
)
def test_a_secret_like_ordinary_words_leaves_the_conversation_readable(secret: str) -> None:
    def use(key: str, flag: bool, count: int) -> dict[str, Any]:
        return {"key": key, "flag": flag, "count": count}

    model = asks_and_calls(
        "use", call("use", key="a", flag=True, count=1234), key="<secret:1>", flag=True, count=1234
    )
    run = answered(Task("Use", tools=[use], user_access=True, model=model).start(), secret)
    assert run.status == "completed", run.error
    for event in run.events:
        for made in getattr(event, "tool_calls", []):
            json.loads(made.arguments)
    if secret != "<secret:1>":
        assert secret not in [event.arguments["key"] for event in run.events if event.type == "tool_called"]
        returned = [event.output for event in run.events if event.type == "tool_returned"]
        assert '"key":"<secret:1>"' in returned[0]
        assert returned[0] in sent_to(model)


def test_stand_ins_of_runs_inside_are_names_of_their_own() -> None:
    got: list[str] = []

    def send(key: str) -> str:
        got.append(key)
        return "sent"

    inner_model = ScriptedModel(
        call("talk_to_user", question="Inner?", kind="secret"),
        [call("send", key="<secret:1>"), call("send", key="<secret:2>")],
        "inner done",
    )

    def inner(key: str) -> str:
        return Task("In", context={"key": key}, tools=[send], user_access=True, model=inner_model).run()

    model = asks_and_calls("inner", key="<secret:1>")
    run = Task("Out", tools=[inner], user_access=True, model=model).start()
    assert eventually(lambda: run.question == "Password?")
    run.answer("outer secret")
    assert eventually(lambda: bool(run.children) and run.children[0].question == "Inner?")
    run.children[0].answer("inner secret")
    assert run.wait(5) == "inner done"
    assert sorted(got) == ["<secret:1>", "inner secret"]
    assert "outer secret" not in records_of(run)
    assert "inner secret" not in records_of(run)


def test_a_resumed_run_gives_a_new_secret_another_name() -> None:
    got: list[str] = []

    def log_in(key: str) -> str:
        got.append(key)
        return "in"

    model = ScriptedModel(
        call("talk_to_user", question="Password?", kind="secret"),
        call("log_in", key="<secret:1>"),
        call("mark_failed", reason="later"),
        call("talk_to_user", question="Password?", kind="secret"),
        [call("log_in", key="<secret:1>"), call("log_in", key="<secret:2>")],
        "done",
    )
    run = answered(Task("Log in", tools=[log_in], user_access=True, model=model).start(), "first one")
    assert run.status == "failed"
    again = answered(run.resume(), "second one")
    assert again.result == "done"
    assert got[0] == "first one"
    assert sorted(got[1:]) == ["<secret:1>", "second one"]


def test_what_runs_inside_write_after_the_end_is_masked_too() -> None:
    """A tool that was left behind still holds the value, and may start tasks with it."""
    is_over, made = threading.Event(), []

    def late(key: str) -> str:
        is_over.wait(5)
        child = Task("Late", context={"key": key}, model=ScriptedModel("never"))
        made.append(child.start())
        return "late"

    model = asks_and_calls("late", key="<secret:1>")
    run = Task("Leave behind", tools=[late], user_access=True, model=model).start()
    assert eventually(lambda: run.question == "Password?")
    run.answer(SECRET)
    assert eventually(lambda: any(event.type == "tool_called" for event in run.events))
    run.cancel()
    run.wait_for_end(5)
    assert run.status == "cancelled"
    withheld = run._withheld
    is_over.set()
    assert eventually(lambda: bool(made))
    made[0].wait_for_end(5)
    assert "ss wörd" not in repr([event.model_dump() for event in made[0].events])
    assert eventually(lambda: not withheld)


def test_a_map_inside_a_tool_writes_no_secret_down() -> None:
    def spread(key: str) -> str:
        inner = Task(f"Use {key}", context={"key": key}, model=RehearsalModel())
        made.append(Map(inner, pd.DataFrame({"n": [1, 2]}), view="off").start())
        made[0].wait_for_end(5)
        return "spread"

    made: list[Any] = []
    run = answered(
        Task(
            "Map", tools=[spread], user_access=True, model=asks_and_calls("spread", key="<secret:1>")
        ).start()
    )
    assert run.result == "spread", run.error
    assert "<secret:1>" in repr([event.model_dump() for event in made[0].events])
    assert "ss wörd" not in repr([event.model_dump() for event in made[0].events])
    assert not run._withheld


@pytest.mark.parametrize("secret", ["abc ", "x" * 65_537])
def test_a_secret_that_is_too_short_or_too_long_is_not_taken(secret: str) -> None:
    model = ScriptedModel(call("talk_to_user", question="Password?", kind="secret"), "done")
    run = Task("Ask", user_access=True, model=model).start()
    assert eventually(lambda: run.question is not None)
    with pytest.raises(UsageError, match=r"at least 4 and at most 65,536 characters.*stays open") as caught:
        run.answer(secret)
    assert secret.strip() not in str(caught.value)
    run.cancel()
    run.wait_for_end(2)


@pytest.mark.parametrize("api", ["chat", "responses"])
def test_over_a_real_socket_the_service_never_gets_it(openai_server: Any, api: Any) -> None:
    """Calls of one turn that all have the same id, a stand-in too early, in a text and in the result."""
    got: list[str] = []

    def use(key: str) -> str:
        got.append(key)
        return f"used {key} {base64.b64encode(key.encode()).decode()}"

    question = {"question": "Password?", "kind": "secret"}
    same = [Call(tool="use", arguments={"key": f"{word} <secret:1>"}, call_id="same") for word in "ab"]
    server = openai_server(
        [
            Answer(calls=(Call(tool="talk_to_user", arguments=question, call_id="same"), *same)),
            Answer(text="I know <secret:1>", calls=tuple(same)),
            asks("mark_successful", {"result": "the key is <secret:1>"}),
        ]
    )
    model = OpenAIModel("gpt-test", base_url=server.url, api_key="sk-test", api=api)
    run = answered(Task("Use it", tools=[use], user_access=True, model=model).start())
    assert run.status == "completed", run.error
    assert run.result == "the key is <secret:1>"
    assert sorted(got) == ["a <secret:1>", f"a {SECRET}", "b <secret:1>", f"b {SECRET}"]
    sent = b"".join(request.raw for request in server.requests).decode()
    frames = [run.events_df(), run.messages_df(), run.tool_calls_df()]
    held = [sent, records_of(run), repr(run), *(frame.to_csv() for frame in frames)]
    forms = [
        SECRET,
        "ss wörd",
        "ss w\\u00f6rd",
        quote(SECRET),
        base64.b64encode(SECRET.encode()).decode()[:16],
    ]
    assert [form for text in held for form in forms if form in text] == []
