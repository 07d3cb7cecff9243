"""The live view and the form, on a page without a browser."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from helping import eventually
from pages import WIDGET, Page, open_page

from aesop_nb import (
    NeedsHuman,
    Run,
    Task,
    TaskCancelled,
    announcing,
    notebook,
    on_run_start,
    temporary_settings,
)
from aesop_nb.engine import asking
from aesop_nb.models.transcript import Delta, ModelRequest, Reply, TextDelta
from aesop_nb.testing import ScriptedModel, call, failure

HOSTILE = "<img src=x onerror=alert(1)>&\u202e\ud800\x1b[2J"


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> Iterator[Page]:
    with open_page(monkeypatch) as page:
        yield page


def asks(question: str = "Which one?", *choices: str, then: Any = "done") -> Task[str]:
    model = ScriptedModel(call("talk_to_user", question=question, choices=list(choices)), then)
    return Task("Ask", name="ask", user_access=True, model=model)


def answered(run: Run[Any]) -> list[tuple[str, str | None]]:
    return [(str(exchange.answer), exchange.source) for exchange in run.log.exchanges]


def waits(seconds: float) -> Any:
    async def wait(_: ModelRequest) -> str:
        await asyncio.sleep(seconds)
        return "done"

    return wait


# The view


def test_view_is_replaced_by_a_static_block_before_the_caller_goes_on(page: Page) -> None:
    run = Task("Wait", name="wait", model=ScriptedModel(waits(0.4))).start()
    assert eventually(lambda: WIDGET in page.shown())
    assert "running" in page.shown()["text/plain"]
    run.wait()
    assert set(page.shown()) == {"text/html", "text/plain"}
    assert "completed ✓ wait" in page.shown()["text/plain"]
    assert "<strong>completed" in page.shown()["text/html"]
    assert page.models == {}


def test_page_that_was_reloaded_meanwhile_is_left_with_the_record(
    page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such a page drops what is put in the place of the view; of the widgets that it has it hears."""
    run = Task("Wait", name="<b>wait", model=ScriptedModel(waits(0.6))).start()
    assert eventually(lambda: WIDGET in page.shown())
    view = page.shown()[WIDGET]["model_id"]
    page.load_again(monkeypatch)
    run.wait()
    (child,) = page.models[view]["children"]
    record = page.models[child.removeprefix("IPY_MODEL_")]["value"]
    assert "<strong>completed" in record
    assert "&lt;b&gt;wait" in record
    assert len(page.models) == 4  # these two, their layout and a style
    assert set(page.shown()) == {"text/html", "text/plain"}


def test_view_in_an_output_widget_is_left_with_the_record(page: Page) -> None:
    """Such a widget drops what is put in the place of the view, too."""
    import ipywidgets

    output = ipywidgets.Output()
    output.msg_id = "that of the cell"
    run = Task("Wait", name="wait", model=ScriptedModel(waits(0.3))).start()
    output.msg_id = ""
    view = page.displays[0][1][WIDGET]["model_id"]
    run.wait()
    (child,) = page.models[view]["children"]
    assert "<strong>completed" in page.models[child.removeprefix("IPY_MODEL_")]["value"]
    output.close()


@pytest.mark.parametrize(
    ("reply", "said"), [(failure("no such thing"), "failed ✗"), (ValueError("broken"), "failed ✗")]
)
def test_view_of_a_failed_run_says_so(page: Page, reply: Any, said: str) -> None:
    run = Task("Fail", model=ScriptedModel(reply)).start()
    run.wait_for_end()
    assert said in page.shown()["text/plain"]
    assert page.models == {}


def test_pending_run_shows_at_once_and_a_short_one_needs_no_widgets(page: Page) -> None:
    first: list[Any] = []
    take_out = on_run_start(lambda _: first.append(page.displays[-1][1]))
    try:
        Task("Quick", name="quick", model=ScriptedModel("done")).run()
    finally:
        take_out()
    assert "pending" in first[0]["text/html"]
    assert page.opened == 0
    assert len(page.displays) == 2


def test_step_shows_while_it_runs_and_when_it_is_done(page: Page) -> None:
    go = threading.Event()

    def search(query: str) -> list[str]:
        go.wait(5)
        return ["one", "two"]

    model = ScriptedModel(call("search", query="bakeries"), waits(0.5))
    run = Task("Search", tools=[search], model=model).start()
    assert eventually(lambda: "search(query=&quot;bakeries&quot;)" in page.html)
    go.set()
    assert eventually(lambda: "search → 2 results" in page.html)
    run.wait()


class Talker:
    """A model that says something and then takes its time."""

    name, is_rehearsal = "talker", False

    async def reply(self, _: ModelRequest, on_delta: Callable[[Delta], None]) -> Reply:
        for number in range(300):
            on_delta(TextDelta(f"sentence {number}.\n"))
        await asyncio.sleep(0.5)
        return Reply(text="done")


def test_last_lines_of_streamed_text_show(page: Page) -> None:
    run = Task("Write", model=Talker()).start()
    assert eventually(lambda: "sentence 299." in page.html)
    assert "sentence 1." not in page.html
    run.wait()


def test_opened_line_is_not_written_again_when_others_end(page: Page) -> None:
    """A page that writes the HTML of a widget anew closes what a person has opened in it."""

    def look(number: int) -> int:
        time.sleep(0.15)
        return number

    model = ScriptedModel(*[call("look", number=number) for number in range(6)], waits(0.5))
    run = Task("Look", tools=[look], model=model).start()
    assert eventually(lambda: "look → 0" in page.html)
    (first,) = [key for key, model in page.models.items() if "look → 0" in str(model.get("value"))]
    writes: list[Any] = []
    before = page.take

    def watch(sender: Any, msg_type: str, data: Any) -> None:
        if sender.comm_id == first and msg_type == "comm_msg":
            writes.append(data)
        before(sender, msg_type, data)

    page.take = watch  # type: ignore[method-assign]
    assert eventually(lambda: "look → 4" in page.html, within_seconds=5)
    run.wait()
    assert writes == []


@pytest.mark.parametrize("may_ask", [False, True])
def test_models_stay_few_however_many_steps(
    page: Page, may_ask: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aesop_nb.notebook.panel.CHUNK_SECONDS", 0.0)

    def look(number: int) -> int:
        time.sleep(0.005)
        return number

    last = [call("talk_to_user", question="Enough?")] if may_ask else []
    model = ScriptedModel(*[call("look", number=number) for number in range(300)], *last, waits(0.2))
    run = Task("Look", tools=[look], model=model, user_access=may_ask, config=_many_turns()).start()
    if may_ask:
        assert eventually(lambda: "Enough?" in page.html, within_seconds=15)
        page.type_text("yes")
        page.click("Send")
    run.wait()
    assert page.opened < 15


def test_burst_of_steps_is_coalesced(page: Page) -> None:
    async def look(number: int) -> str:
        await asyncio.sleep(0.001)
        return "x" * 3_000

    model = ScriptedModel(*[call("look", number=number) for number in range(500)], waits(0.3))
    run = Task("Look", tools=[look], model=model, config=_many_turns()).start()
    run.wait()
    seconds = page.messages[-1][0] - page.messages[0][0]
    characters = sum(len(str(data)) for _, _, data in page.messages)
    assert seconds > 0.5
    # The first update and the end come in bursts of their own: opening and closing the widgets.
    assert len(page.updates()) <= 20 * seconds + 10
    assert characters <= 200_000 * seconds + 60_000


def _many_turns() -> Any:
    from aesop_nb import TaskConfig

    return TaskConfig(max_turns=1_000)


def test_many_runs_at_a_time_send_no_more_than_a_few(page: Page) -> None:
    runs = [Task(f"Wait {n}", model=ScriptedModel(waits(1.5))).start() for n in range(60)]
    begun = time.monotonic()
    for run in runs:
        run.wait()
    sent = [at for at in page.updates() if at > begun]
    assert len(sent) <= 20 * (time.monotonic() - begun) + 10
    assert page.opened <= 12 * 8
    assert page.models == {}


def test_cancel_is_heard_and_shows(page: Page) -> None:
    run = Task("Wait", name="wait", model=ScriptedModel(waits(60))).start()
    page.click("Cancel")
    begun = time.monotonic()
    with pytest.raises(TaskCancelled):
        run.wait()
    assert time.monotonic() - begun < 1
    assert "cancelled ⊘ wait" in page.shown()["text/plain"]


def test_hostile_texts_are_shown_as_text(page: Page) -> None:
    def look(path: str) -> str:
        """Looks."""
        raise ValueError(HOSTILE)

    model = ScriptedModel(
        call("look", path=HOSTILE),
        call("talk_to_user", question=HOSTILE, choices=[HOSTILE, "b"]),
        call("talk_to_user", question="Again?"),
        HOSTILE,
    )
    run = Task(HOSTILE, name=HOSTILE, tools=[look], model=model, user_access=True).start()
    page.wait_for("ButtonModel", description="b")
    assert "<img" not in page.html
    assert "&lt;img" in page.html
    assert "\u202e" not in page.html
    assert "\x1b" not in page.html
    page.click("b")
    page.type_text(HOSTILE)
    page.click("Send")
    run.wait()
    for bundle in (bundle for _, bundle in page.displays):
        assert "<img" not in bundle.get("text/html", "")
        assert "\x1b" not in str(bundle)


def test_rehearsal_is_said_once_in_a_banner_and_in_every_view(page: Page, monkeypatch: Any) -> None:
    monkeypatch.setattr(announcing, "_is_said", False)
    with temporary_settings(banner=False):
        Task("Nothing").run()
    assert not [bundle for _, bundle in page.displays if "To connect one" in bundle["text/plain"]]
    Task("Nothing").run()
    Task("Nothing").run()
    banners = [bundle for _, bundle in page.displays if "To connect one" in bundle["text/plain"]]
    assert len(banners) == 1
    assert "OPENAI_API_KEY" in banners[0]["text/html"]
    assert "rehearsal — not a language model" in page.shown()["text/html"]


# Runs inside a run


def test_runs_inside_show_indented_in_the_view_of_the_outermost(page: Page) -> None:
    go = {"inner": threading.Event(), "outer": threading.Event()}

    def held(name: str) -> Any:
        async def wait(_: ModelRequest) -> str:
            while not go[name].is_set():
                await asyncio.sleep(0.02)
            return "done"

        return wait

    def delegate() -> str:
        return Task("Look", name="inner", model=ScriptedModel(held("inner"))).run()

    run = Task("Outer", tools=[delegate], model=ScriptedModel(call("delegate"), held("outer"))).start()
    assert eventually(lambda: "running · inner · " in page.html)
    go["inner"].set()
    assert eventually(lambda: "completed · inner · " in page.html)
    assert "margin-left:1.2em" in page.html
    go["outer"].set()
    run.wait()
    assert len({known for known, _ in page.displays}) == 1
    assert "1 run inside: 1 completed" in page.shown()["text/html"]


def test_hundreds_of_runs_inside_cost_no_more_than_a_few(page: Page) -> None:
    def delegate() -> int:
        for _ in range(150):
            Task("Look", name="inner", model=ScriptedModel("done")).run()
        return 150

    run = Task("Outer", tools=[delegate], model=ScriptedModel(call("delegate"), waits(60))).start()
    assert eventually(lambda: "150 runs inside: 150 completed; the last:" in page.html, within_seconds=10)
    run.cancel()
    run.wait_for_end()
    assert "150 runs inside: 150 completed" in page.shown()["text/html"]
    seconds = page.messages[-1][0] - page.messages[0][0]
    assert page.opened < 15
    assert len(page.updates()) <= 20 * seconds + 10
    assert max(str(data).count("completed · inner") for _, _, data in page.messages) <= 5


# How much is shown


def test_compact_view_is_one_line_and_the_form(page: Page) -> None:
    def look() -> str:
        return "seen"

    model = ScriptedModel(call("look"), call("talk_to_user", question="Enough?"), waits(0.3))
    with temporary_settings(view="compact"):
        run = Task("Look", name="look", tools=[look], user_access=True, model=model).start()
    assert eventually(lambda: "Enough?" in page.html)
    assert "waiting for you" in page.html
    assert "1 tool call" in page.html
    assert "seen" not in page.html
    page.type_text("yes")
    page.click("Send")
    run.wait()
    assert "seen" in page.shown()["text/html"]


def test_view_that_is_off_shows_nothing(page: Page) -> None:
    with temporary_settings(view="off"):
        Task("Wait", model=ScriptedModel(waits(0.4))).run()
        run = Task("Fail", model=ScriptedModel(failure("no such thing"))).start()
        run.wait_for_end()
    assert page.displays == []
    assert page.opened == 0


def test_view_that_is_off_shows_the_form_and_then_what_was_said(page: Page) -> None:
    model = ScriptedModel(
        call("talk_to_user", question="First?"), waits_then_asks(0.4, "Second?"), waits(0.3)
    )
    with temporary_settings(view="off"):
        run = Task("Ask", user_access=True, model=model).start()
    page.type_text("one")
    shown = [page.models[child.removeprefix("IPY_MODEL_")] for child in _children(page)]
    assert "First?" in str(shown)
    assert "waiting for you" not in str(shown)
    page.click("Send")
    assert eventually(lambda: page.models == {})
    assert "First?" in page.shown()["text/html"]
    page.type_text("two")
    page.click("Send")
    run.wait()
    assert page.models == {}
    shown = page.shown()["text/html"]
    assert all(text in shown for text in ("First?", "one", "Second?", "two"))
    assert "tool call" not in shown
    assert len({known for known, _ in page.displays}) == 1


def waits_then_asks(seconds: float, question: str) -> Any:
    async def wait(_: ModelRequest) -> Any:
        await asyncio.sleep(seconds)
        return call("talk_to_user", question=question)

    return wait


def test_headless_view_that_is_off_keeps_no_block(monkeypatch: pytest.MonkeyPatch) -> None:
    with open_page(monkeypatch, person=False) as page, temporary_settings(view="off"):
        Task("Quick", model=ScriptedModel("done")).run()
        assert page.displays == []


# A notebook that is saved while it runs


def test_live_view_carries_a_record_for_whoever_opens_the_notebook_as_it_is_saved_now(page: Page) -> None:
    run = Task("Count the bakeries", name="count", model=ScriptedModel(waits(0.5))).start()
    assert eventually(lambda: WIDGET in page.shown())
    shown = page.shown()
    assert "running ● count · started " in shown["text/plain"]
    assert "It had not ended when this was saved." in shown["text/html"]
    assert "Count the bakeries" in shown["text/html"]
    run.wait()


# The form


def test_text_is_sent_once_and_second_click_is_ignored(page: Page) -> None:
    run = asks(then=waits(0.3)).start()
    page.type_text("the first")
    send = page.wait_for("ButtonModel", description="Send")
    page.click("Send")
    page.click("Send")
    assert eventually(lambda: run.log.exchanges[0].answer is not None)
    assert eventually(lambda: page.find("TextareaModel") is None)
    page.send(send, {"method": "custom", "content": {"event": "click"}})  # a click that comes too late
    assert run.wait() == "done"
    assert answered(run) == [("the first", "widget")]


def test_question_stands_right_above_its_form(page: Page) -> None:
    """The height that is kept free stands above the question, and the form takes some of it."""
    run = asks("Which one?", "a", "b").start()
    page.wait_for("ButtonModel", description="a")
    (shown,) = [model["value"] for model in page.models.values() if "Which one?" in str(model.get("value"))]
    assert "min-height:1.5em" in shown
    assert shown.index("margin-top:auto") < shown.index("Which one?")
    assert shown.endswith("Which one?</div></div></div>")
    page.click("a")
    run.wait()


def test_controls_are_disabled_and_emptied_by_the_first_click(page: Page) -> None:
    run = asks().start()
    page.type_text("secret plans")
    page.click("Send")
    run.wait()
    states = [data["state"] for _, kind, data in page.messages if kind == "comm_msg" and "state" in data]
    assert sum(state == {"disabled": True} for state in states) == 3  # the field, Send and Skip
    assert {"value": ""} in states
    assert "secret plans" not in str(page.models)


def test_each_choice_is_a_button(page: Page) -> None:
    run = asks("Which?", "Paul", "Kamps <b>", then=waits(0.2)).start()
    page.wait_for("ButtonModel", description="Paul")
    assert page.find("ButtonModel", description="Send") is None
    page.click("Kamps <b>")
    assert run.wait() == "done"
    assert answered(run) == [("Kamps <b>", "widget")]


def test_many_choices_are_a_list(page: Page) -> None:
    choices = [f"choice {number}" for number in range(30)]
    run = asks("Which?", *choices).start()
    chosen = page.wait_for("ToggleButtonsModel")
    page.click("Send")  # nothing is chosen yet
    page.send(chosen, {"method": "update", "state": {"index": 7}})
    page.click("Send")
    run.wait()
    assert answered(run) == [("choice 7", "widget")]
    assert page.opened < 15


@pytest.mark.parametrize("text", ["Grüße 🌍\n\tزبان فارسی", "x" * 200_000, "  spaces stay  "])
def test_any_text_arrives_whole(page: Page, text: str) -> None:
    run = asks().start()
    page.type_text(text)
    page.click("Send")
    run.wait()
    assert answered(run) == [(text, "widget")]


def test_click_may_come_on_another_thread_and_before_the_text(page: Page) -> None:
    """A page may send each widget's messages over a subshell of its own: they overtake each other."""
    run = asks().start()
    page.wait_for("TextareaModel")
    click = threading.Thread(target=page.click, args=("Send",))
    click.start()
    click.join()
    page.type_text("late")
    run.wait()
    assert answered(run) == [("late", "widget")]


def test_empty_text_is_not_sent(page: Page) -> None:
    run = asks().start()
    page.click("Send")
    time.sleep(0.7)  # longer than a click waits for a late text
    assert run.question == "Which one?"
    page.type_text("now")
    page.click("Send")
    run.wait()
    assert answered(run) == [("now", "widget")]


def test_each_question_has_a_fresh_form(page: Page) -> None:
    model = ScriptedModel(
        call("talk_to_user", question="First?"), call("talk_to_user", question="Second?"), "done"
    )
    run = Task("Ask", user_access=True, model=model).start()
    page.type_text("one")
    first = page.wait_for("TextareaModel")
    page.click("Send")
    assert eventually(lambda: "Second?" in page.html and page.find("TextareaModel") not in (None, first))
    assert page.models[page.wait_for("TextareaModel")]["value"] == ""
    page.type_text("two")
    page.click("Send")
    run.wait()
    assert answered(run) == [("one", "widget"), ("two", "widget")]


def test_answer_from_elsewhere_takes_the_form_away(page: Page) -> None:
    run = asks(then=waits(0.3)).start()
    page.wait_for("TextareaModel")
    run.answer("from a call")
    assert eventually(lambda: page.find("TextareaModel") is None and "from a call" in page.html)
    run.wait()
    assert answered(run) == [("from a call", "call")]


def test_given_answer_shows_no_form(page: Page) -> None:
    asks(then=waits(0.3)).run(answers=["yes"])
    assert page.opened > 0
    assert "TextareaModel" not in str(page.messages)


def test_form_is_not_drawn_anew_while_other_steps_end(page: Page) -> None:
    """What a person is typing stands only in the page; a new widget before the form would lose it."""

    def look(number: int) -> int:
        time.sleep(0.15 * number)
        return number

    question = call("talk_to_user", question="Which?")
    model = ScriptedModel([call("look", number=1), call("look", number=3), question], "done")
    run = Task("Ask", tools=[look], user_access=True, model=model).start()
    area = page.wait_for("TextareaModel")
    assert eventually(lambda: f"IPY_MODEL_{area}" in _children(page))
    before = _children(page)
    assert eventually(lambda: "look → 3" in page.html)
    assert _children(page) == before
    page.type_text("this")
    page.click("Send")
    run.wait()


def _children(page: Page) -> list[str]:
    return list(page.models[page.wait_for("BoxModel")]["children"])


def test_question_of_a_run_inside_a_tool_shows_in_the_outer_view(page: Page) -> None:
    def delegate() -> str:
        return asks("Inner question?").run()

    run = Task("Outer", tools=[delegate], model=ScriptedModel(call("delegate"), "outer done")).start()
    assert eventually(lambda: "Inner question?" in page.html)
    assert "ask asks" in page.html
    page.type_text("inner answer")
    page.click("Send")
    assert run.wait() == "outer done"
    assert answered(run.children[0]) == [("inner answer", "widget")]
    assert len({known for known, _ in page.displays}) == 1


# Without a person


def test_headless_run_makes_no_widgets_and_shows_one_block(monkeypatch: pytest.MonkeyPatch) -> None:
    with open_page(monkeypatch, person=False) as page:
        Task("Wait", name="wait", model=ScriptedModel(waits(0.3))).run()
        assert page.opened == 0
        ((display_id, bundle),) = page.displays
        assert display_id is None
        assert set(bundle) == {"text/html", "text/plain"}
        assert "completed ✓ wait" in bundle["text/plain"]


def test_headless_question_fails_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with open_page(monkeypatch, person=False) as page:
        begun = time.monotonic()
        with pytest.raises(NeedsHuman, match="Which one"):
            asks().run()
        assert time.monotonic() - begun < 2
        assert "failed ✗ ask" in page.displays[-1][1]["text/plain"]


def test_person_whose_clicks_are_not_heard_is_asked_with_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builtins.input", lambda prompt: f"typed at {prompt.splitlines()[0]}")
    with open_page(monkeypatch, can_click=False):
        run = asks().start()
        run.wait()
        assert answered(run) == [("typed at Which one?", "terminal")]


# Loading


def test_loading_twice_is_harmless_and_unloading_takes_everything_out(page: Page) -> None:
    shell = _shell()
    finders = len(asking.audience_finders)
    notebook.load(shell)
    assert len(asking.audience_finders) == finders
    Task("Quick", model=ScriptedModel("done")).run()
    assert len(page.displays) == 2
    notebook.unload(shell)
    notebook.unload(shell)
    assert "aesop" not in shell.magics_manager.magics["cell"]
    Task("Quick", model=ScriptedModel("done")).run()
    assert len(page.displays) == 2
    notebook.load(shell)


def _shell() -> Any:
    from IPython.core.interactiveshell import InteractiveShell

    return InteractiveShell.instance()


def test_importing_the_notebook_package_loads_no_widgets() -> None:
    code = (
        "import sys, IPython, aesop_nb.notebook\n"
        "print(sorted({'ipywidgets', 'ipykernel', 'openai', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
