"""The forms for typed answers, secrets and approvals, on a page without a browser."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from helping import eventually
from pages import CLICK, Page, open_page

from aesop_nb import Run, Task, tool
from aesop_nb.events import CallRequest
from aesop_nb.models.transcript import Reply
from aesop_nb.notebook import ask
from aesop_nb.testing import ScriptedModel, call

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> Iterator[Page]:
    with open_page(monkeypatch) as page:
        yield page


def start(*replies: Any, **options: Any) -> Run[Any]:
    return Task("Ask", name="ask", user_access=True, model=ScriptedModel(*replies, "done"), **options).start()


def asks(question: str = "How many?", **arguments: Any) -> Run[Any]:
    return start(call("talk_to_user", question=question, **arguments))


def answers(run: Run[Any]) -> list[tuple[str | None, str | None]]:
    return [(exchange.said, exchange.source) for exchange in run.log.exchanges]


def type_line(page: Page, text: str, kind: str = "TextModel") -> str:
    field = page.wait_for(kind)
    page.send(field, {"method": "update", "state": {"value": text}})
    return field


def buttons(page: Page) -> list[str]:
    """What stands on the buttons, in the order in which the Tab key goes through them."""
    children = page.models[page.wait_for("BoxModel")]["children"]
    models = [page.models[child.removeprefix("IPY_MODEL_")] for child in children]
    return [model["description"] for model in models if model["_model_name"] == "ButtonModel"]


def test_a_number_is_checked_before_it_is_sent_and_the_text_stays(page: Page) -> None:
    run = asks(kind="int")
    field = type_line(page, "many")
    page.click("Send")
    assert eventually(
        lambda: "A whole number, such as 42, is expected, and &#x27;many&#x27; is none." in page.html
    )
    assert run.question == "How many?"
    assert {"value": ""} not in [data.get("state") for _, kind, data in page.messages if kind == "comm_msg"]
    assert "Skip" not in buttons(page)
    type_line(page, " 07 ")
    page.send(field, {"method": "custom", "content": {"event": "submit"}})  # the Enter key
    run.wait(5)
    assert answers(run) == [("7", "widget")]
    assert page.most_models < 15


def test_yes_and_no_are_buttons(page: Page) -> None:
    run = asks("Sure?", kind="yes_no", optional=True)
    assert eventually(lambda: "No" in buttons(page))
    assert buttons(page) == ["Cancel", "Yes", "No", "Skip"]
    page.click("No")
    run.wait(5)
    assert answers(run) == [("no", "widget")]


def test_a_text_can_be_skipped(page: Page) -> None:
    run = asks()
    page.type_text("half an ans")
    page.click("Skip")
    run.wait(5)
    assert answers(run) == [("(skipped)", "widget")]
    assert "half an ans" not in str(page.models)


def test_nothing_is_sent_as_the_default(page: Page) -> None:
    run = asks(kind="date", default="2026-03-31")
    field = page.wait_for("TextModel")
    assert "2026-03-31" in page.models[field]["placeholder"]
    page.click("Send")
    run.wait(5)
    assert answers(run) == [("2026-03-31", "widget")]


def test_a_secret_is_gone_from_the_page_at_once(page: Page) -> None:
    run = asks("Password?", kind="secret")
    field = type_line(page, "hunter2", "PasswordModel")
    clicked_at = time.monotonic()
    page.click("Send")
    assert eventually(lambda: field not in page.models)
    assert time.monotonic() - clicked_at < 0.2
    run.wait(5)
    sent = [data for _, kind, data in page.messages if kind == "comm_msg"]
    assert {"value": ""} in [data.get("state") for data in sent]
    # A stock widget echoes what a page has sent to all pages.
    assert "hunter2" not in str(page.messages)
    assert "hunter2" not in str(page.displays)
    assert "a secret, kept nowhere" in page.shown()["text/html"]


def test_the_time_that_is_left_is_counted_down_and_the_default_taken(page: Page) -> None:
    run = asks("Where?", choices=["Lyon", "Lille"], default="Lyon", time_limit_seconds=2.2)
    assert eventually(lambda: "waiting for you · answer within 0:03, else “Lyon”" in page.html)
    assert eventually(lambda: "answer within 0:02" in page.html)
    assert eventually(lambda: "answer within 0:01" in page.html)
    run.wait(5)
    assert answers(run) == [("Lyon", "default")]
    headers = [data for _, _, data in page.messages if "answer within" in str(data)]
    assert len(headers) <= 5


def delete(path: str) -> str:
    """Deletes a file."""
    return f"deleted {path}"


def approvals(*replies: Any) -> Run[Any]:
    return start(*replies, tools=[tool(delete, requires_approval=True)])


HOSTILE = "<img src=x onerror=alert(1)>\u202e"


def test_a_call_is_approved_with_all_its_arguments_in_sight(page: Page) -> None:
    long = "x" * 20_000
    run = approvals(call("delete", path=HOSTILE + long))
    assert eventually(lambda: "Deny" in buttons(page))
    assert buttons(page) == ["Cancel", "Approve", ask.WHOLE_RUN, "Deny"]
    assert long in page.html
    assert "<img" not in page.html
    assert "\\u202e" in page.html
    page.click("Approve")
    run.wait(5)
    assert run.log.steps[0].output == f"deleted {HOSTILE}{long}"
    assert page.most_models < 15
    shown = page.shown()["text/html"]
    assert "approved ✓" in shown
    assert "1 approval" in shown


def test_a_call_is_denied_with_a_reason(page: Page) -> None:
    run = approvals(call("delete", path="a"))
    type_line(page, "keep <b>it</b>")
    page.click("Deny")
    run.wait(5)
    assert (run.log.approvals[0].approved, run.log.approvals[0].reason) == (False, "keep <b>it</b>")
    assert "denied ✗: keep &lt;b&gt;it" in page.shown()["text/html"]


def test_all_calls_of_a_run_are_approved_with_one_click(page: Page) -> None:
    run = approvals([call("delete", path=name) for name in "abc"])
    page.click(ask.WHOLE_RUN)
    run.wait(5)
    assert [approval.source for approval in run.log.approvals] == ["widget", "earlier", "earlier"]


def test_a_double_click_does_not_approve_the_next_call(page: Page) -> None:
    run = approvals([call("delete", path="a"), call("delete", path="b")])
    first = page.wait_for("ButtonModel", description="Approve")
    page.send(first, CLICK)
    page.send(first, CLICK)
    assert eventually(lambda: page.find("ButtonModel", description="Approve") not in (None, first))
    page.click("Approve")  # where the first one stood
    time.sleep(ask.DOUBLE_CLICK_SECONDS)
    assert run.log.approval is not None
    page.click("Approve")
    run.wait(5)
    assert len(run.log.steps) == 2


def test_two_runs_ask_at_the_same_time_each_in_its_own_place(page: Page) -> None:
    runs = [asks(f"Which {word}?", choices=[word, "none"]) for word in ("town", "year")]
    page.click("year")
    page.click("town")
    assert [run.wait(5) for run in runs] == ["done", "done"]
    assert [answers(run)[0][0] for run in runs] == ["town", "year"]


def test_an_approval_of_a_run_inside_a_tool_shows_in_the_outer_view(page: Page) -> None:
    def delegate() -> str:
        model = ScriptedModel(call("delete", path="a"), "inner done")
        return Task("Tidy", name="inner", tools=[tool(delete, requires_approval=True)], model=model).run()

    run = start(call("delegate"), tools=[delegate])
    assert eventually(lambda: "inner asks" in page.html)
    page.click("Approve")
    run.wait(5)
    assert run.children[0].log.approvals[0].approved


def test_a_call_named_like_the_question_before_it_gets_a_form_of_its_own(page: Page) -> None:
    deleted: list[str] = []

    def delete(path: str) -> str:
        deleted.append(path)
        return "deleted"

    forged = Reply(tool_calls=(CallRequest(call_id="q1", tool="delete", arguments='{"path": "a"}'),))
    run = start(
        call("talk_to_user", question="Sure?", kind="yes_no"),
        forged,
        tools=[tool(delete, requires_approval=True)],
    )
    page.wait_for("ButtonModel", description="Yes")
    run.answer("yes")  # at once, so that both are seen by one update of the view
    assert eventually(lambda: page.find("ButtonModel", description="Approve") is not None)
    run.approve()
    run.wait(5)
    assert deleted == ["a"]


@pytest.mark.parametrize("count", [4, 500])
def test_hundreds_of_choices_are_one_list(page: Page, count: int) -> None:
    choices = [f"<img src=x onerror=alert({number})>" for number in range(count)]
    run = asks("Which?", choices=choices)
    field = page.wait_for("ToggleButtonsModel")
    assert page.models[field]["_options_labels"][-1] == f"{count}. {choices[-1]}"
    page.send(field, {"method": "update", "state": {"index": count - 1}})
    page.click("Send")
    run.wait(5)
    assert answers(run) == [(choices[-1], "widget")]
    assert page.most_models < 15


def test_a_long_question_and_a_large_call_are_sent_once(page: Page) -> None:
    def send(rows: list[int]) -> str:
        return "sent"

    run = start(
        call("talk_to_user", question="?" * 10_000, time_limit_seconds=60, default="x"),
        call("send", rows=list(range(20_000))),
        tools=[tool(send, requires_approval=True)],
    )
    assert eventually(lambda: "?" * 10_000 in page.html)
    time.sleep(1.2)  # a second of the countdown
    assert sum("?" * 10_000 in str(data) for _, _, data in page.messages) == 1
    run.answer("go")
    assert eventually(lambda: ", 19999]" in page.html, within_seconds=5)
    assert sum(", 19999]" in str(data) for _, _, data in page.messages) <= 2
    run.approve()
    run.wait(5)
