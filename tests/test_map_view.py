"""The live view of a map and what is left of it, on a page without a browser."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import html5lib
import pandas as pd
import pytest
from helping import eventually, run_python
from IPython.core.interactiveshell import InteractiveShell
from pages import WIDGET, Page, open_page
from pydantic import BaseModel
from test_html import LAB_TAGS, LATER, elements, payloads
from test_terminal import UNSTORED, ended, spawn

from aesop_nb import MapRun, ModelRefused, Task, TaskCancelled, TaskFailed, task
from aesop_nb.events import Usage
from aesop_nb.models.transcript import CallRequest, Delta, ModelRequest, Reply
from aesop_nb.notebook import map_html, map_view, map_wording
from aesop_nb.testing import ScriptedModel, call
from aesop_nb.texts import visible

HOSTILE = "<img src=x onerror=alert(1)>&\u202e\ud800\x1b[2J"


class Model:
    """Answers each row with what `answer` makes of the request, and counts tokens."""

    name = "counted"
    is_rehearsal = False

    def __init__(
        self, answer: Callable[[str], Any], *, seconds: float = 0.0, usd: float | None = None
    ) -> None:
        self.answer = answer
        self.seconds = seconds
        self.usd = usd
        self.sends = 0

    async def reply(self, request: ModelRequest, on_delta: Callable[[Delta], None]) -> Reply:
        self.sends += 1
        await asyncio.sleep(self.seconds)
        made = self.answer(str(request.messages[-1]))
        if isinstance(made, threading.Event):
            while not made.is_set():
                await asyncio.sleep(0.01)
            made = "let go"
        tool, arguments = (
            ("mark_failed", {"reason": str(made)})
            if isinstance(made, Exception)
            else ("mark_successful", {"result": made})
        )
        usage = Usage(requests=1, input_tokens=90, output_tokens=10, cost_usd=self.usd)
        return Reply(
            tool_calls=(CallRequest(call_id="1", tool=tool, arguments=json.dumps(arguments)),),
            usage=usage,
            model=self.name,
        )


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> Iterator[Page]:
    with open_page(monkeypatch) as page:
        yield page


def started(data: Any, model: Any, *, returns: Any = str, **options: Any) -> MapRun:
    @task(model=model, result_type=returns)
    def label(text: str):  # type: ignore[no-untyped-def]
        """Say what it is about."""

    return label.mapping(data, **options).start()


def texts(count: int, begin: str = "text") -> pd.DataFrame:
    return pd.DataFrame({"text": [f"{begin} {number}" for number in range(count)]})


def every_seventh_fails(said: str) -> Any:
    number = int(re.findall(r"\d+", said)[-1])
    return ValueError(f"no idea about {number}") if number % 7 == 0 else f"topic {number}"


# While it goes on


def test_view_shows_counts_spend_errors_and_first_results(page: Page) -> None:
    go = threading.Event()

    def answer(said: str) -> Any:
        return go if "text 39" in said else every_seventh_fails(said)

    run = started(texts(40), Model(answer, usd=0.001), concurrency=2)
    assert eventually(lambda: "33 completed" in page.html)
    assert eventually(lambda: "no idea about 35" in page.html, within_seconds=8)
    assert "39 of 40 rows" in page.html
    assert "6 failed" in page.html
    assert "1 running" in page.html
    assert "3,900 tokens" in page.html
    assert "USD 0.039" in page.html
    assert '<progress value="0.9750"' in page.html
    assert "text 1" in page.html  # the input of the first result
    assert "topic 1" in page.html
    assert "row 35" in page.html
    assert f"aesop.run(&quot;{run.id}.36&quot;)" in page.html
    assert "running" in page.shown()["text/plain"]
    assert WIDGET in page.shown()
    go.set()
    run.wait()


def test_cancel_keeps_what_is_done(page: Page) -> None:
    go = threading.Event()
    run = started(texts(9), Model(lambda said: go if "text 6" in said else "fine"), concurrency=1)
    assert eventually(lambda: "6 completed" in page.html)
    page.click("Cancel")
    with pytest.raises(TaskCancelled):
        run.wait()
    shown = page.shown()
    assert set(shown) == {"text/html", "text/plain"}
    assert "cancelled ⊘ label · kept 6 of 9 rows" in shown["text/plain"]
    assert "6 of 9 rows are completed and kept; run it again to do the rest" in shown["text/html"]
    assert page.models == {}


def test_quick_map_needs_no_widgets(page: Page) -> None:
    run = started(texts(3), Model(lambda said: "fine"))
    run.wait()
    assert page.opened == 0
    assert len(page.displays) == 2
    assert "completed ✓ label · 3 rows" in page.shown()["text/plain"]


def test_ten_thousand_rows_cost_no_more_than_a_few_hundred_messages(page: Page) -> None:
    rows = pd.DataFrame({"text": [f"text {number % 500}" for number in range(10_000)]})  # asked 500 times
    run = started(rows, Model(every_seventh_fails, seconds=0.05), concurrency=50)
    run.wait_for_end(30)
    characters = sum(len(str(data)) for _, _, data in page.messages)
    characters += sum(len(str(bundle)) for _, bundle in page.displays)
    assert len(page.messages) + len(page.displays) <= 300
    assert characters <= 500_000
    assert page.most_models < 15
    assert "10,000 rows" in page.shown()["text/plain"]
    assert "9,500 equal to another row" in page.shown()["text/html"]


def test_updates_grow_rarer_the_longer_a_map_takes() -> None:
    """So that hours cost some hundred messages: 40 updates for each time its duration is multiplied by 2.7."""

    def updates(seconds: float) -> int:
        passed, count = 0.0, 0
        while passed < seconds:
            passed += map_view.tick_seconds(passed)
            count += 1
        return count

    assert map_view.tick_seconds(0) >= 0.1  # at most 10 a second
    assert map_view.tick_seconds(60) < 2
    assert updates(20 * 60) <= 270


def test_first_results_have_their_lines_before_they_are_there(page: Page) -> None:
    """So nothing below them moves when they come."""
    go = threading.Event()
    run = started(texts(9), Model(lambda said: go if "text 8" in said else "fine"), concurrency=2)
    first = page.shown()["text/html"]
    assert eventually(lambda: "8 completed" in page.html)
    assert first.count("<tr>") == page.html.count("<tr>") == 1 + 5
    go.set()
    run.wait()


def test_compact_view_is_one_line_and_the_bar(page: Page) -> None:
    go = threading.Event()
    run = started(
        texts(3), Model(lambda said: go if "text 2" in said else "fine"), view="compact", concurrency=1
    )
    assert eventually(lambda: "2 of 3 rows" in page.html)
    assert "<progress" in page.html
    assert "<table" not in page.html
    go.set()
    run.wait()
    assert "completed ✓" in page.shown()["text/plain"]


def test_view_off_shows_nothing(page: Page) -> None:
    started(texts(3), Model(lambda said: "fine"), view="off").wait()
    assert page.displays == []
    assert page.messages == []


def test_map_inside_a_run_has_no_view_of_its_own(page: Page) -> None:
    def label_all() -> int:
        started(texts(3), Model(lambda said: "fine")).wait()
        return 3

    Task("Label", tools=[label_all], model=ScriptedModel(call("label_all"), "done")).run()
    assert len({display_id for display_id, _ in page.displays}) == 1


# What is left


class Ticket(BaseModel):
    topic: str
    is_urgent: bool


def test_record_shows_errors_with_their_rows_and_first_results(page: Page) -> None:
    def answer(said: str) -> Any:
        found = every_seventh_fails(said)
        return found if isinstance(found, Exception) else {"topic": found, "is_urgent": True}

    data = texts(40).set_index(pd.Index([f"R{number}" for number in range(40)]))
    run = started(data, Model(answer, usd=0.001), returns=Ticket)
    run.wait()
    record, plain = page.shown()["text/html"], page.shown()["text/plain"]
    assert "completed ✓ label · 40 rows · 6 failed · " in plain
    assert f"4,000 tokens · USD 0.04 · counted · run {run.id}" in plain
    assert "34 completed" in record
    assert [label for label in re.findall(r">(R\d+)<", record) if int(label[1:]) % 7 == 0] == [
        *("R0", "R7", "R14", "R21", "R28", "R35")
    ]
    assert "no idea about 35" in record
    assert f">{run.id}.36<" in record
    assert f"aesop.run(&quot;{run.id}.1&quot;)" in record
    assert "is_urgent" in record
    assert record == map_html.static_block(run)


def test_record_counts_rows_that_were_in_the_store(page: Page) -> None:
    first = started(texts(8, "again"), Model(lambda said: "fine"))
    first.wait()
    second = first.retry()
    second.wait()
    ids = list(dict.fromkeys(known for known, _ in page.displays))
    record = page.shown(ids[-1])
    assert "8 from the store" in record["text/plain"]
    assert "0 tokens" in record["text/plain"]
    assert "8 taken from the store" in record["text/html"]


def test_record_of_a_map_at_its_budget_says_how_to_go_on(page: Page) -> None:
    run = started(texts(20), Model(lambda said: "fine"), max_tokens=500, concurrency=1)
    with pytest.warns(UserWarning, match="max_tokens"):
        run.wait()
    record = page.shown()
    assert "failed ✗ label · kept 5 of 20 rows" in record["text/plain"]
    assert "500 of 500 tokens" in record["text/plain"]
    assert "<strong>Stopped:</strong>" in record["text/html"]
    assert "max_tokens=500 is reached" in record["text/html"]
    assert "run it again to do the rest" in record["text/html"]
    assert "15 not asked" in record["text/html"]


def test_record_of_a_refused_key_says_why(page: Page) -> None:
    def refuse(said: str) -> Any:
        raise ModelRefused("the key is not accepted", status_code=401)

    run = started(texts(50), Model(refuse), concurrency=4)
    with pytest.raises(TaskFailed):
        run.wait()
    assert "the key is not accepted" in page.shown()["text/html"]
    assert "not asked" in page.shown()["text/html"]


def test_headless_notebook_gets_the_record_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    with open_page(monkeypatch, person=False) as page:
        started(texts(9), Model(every_seventh_fails, seconds=0.15)).wait()
        assert page.messages == []
        ((_, bundle),) = page.displays
    assert set(bundle) == {"text/html", "text/plain"}
    assert "completed ✓ label · 9 rows · 2 failed" in bundle["text/plain"]


def test_show_gives_the_record_of_a_map(page: Page) -> None:
    run = started(texts(3), Model(lambda said: "fine"))
    run.wait()
    shown = InteractiveShell.instance().run_line_magic("aesop", f"show {run.id}")
    assert shown._repr_html_() == page.shown()["text/html"]
    assert repr(shown) == page.shown()["text/plain"]


@pytest.mark.parametrize("text", [HOSTILE, *payloads("xss_live_chromium156.jsonl")[:6]])
def test_no_text_of_a_row_becomes_an_element(page: Page, text: str) -> None:
    def answer(said: str) -> Any:
        return ValueError(text) if "odd" in said else {text: text}

    data = pd.DataFrame({text: [text, f"{text} odd"]}, index=[text, text])
    run = started_by_words(data, Model(answer), text)
    run.wait()
    live = map_html.header(run, LATER) + map_html.last_errors(run.map_log, run.log.task)
    for shown in (live, map_html.preview(run), map_html.gone(run), map_html.static_block(run)):
        assert {tag for tag, _ in elements(shown)} <= {*LAB_TAGS, "DOCUMENT_FRAGMENT"}
        assert not [names for _, names in elements(shown) if any(name.startswith("on") for name in names)]
    assert visible(text).strip()[:20] in html5lib_text(map_html.static_block(run))


def test_record_stays_small_whatever_rows_say(page: Page) -> None:
    long = "\u20ac" * 3_000
    data = pd.DataFrame({f"{long}{n}": [f"{long}{row}" for row in range(25)] for n in range(12)})
    run = started_by_words(data, Model(lambda said: ValueError(long)), long)
    run.wait()
    assert run.map_log.failed == 25
    assert len(map_html.static_block(run).encode()) <= 64_000
    assert len(map_html.last_errors(run.map_log, run.log.task)) <= 64_000


def html5lib_text(markup: str) -> str:
    return "".join(html5lib.parseFragment(markup, namespaceHTMLElements=False).itertext())


def started_by_words(data: pd.DataFrame, model: Any, name: str) -> MapRun:
    labelled = Task("Say what it is", name=name, model=model, result_type=dict[str, str])
    return data.aesop.mapping(labelled).start()


# A terminal


def test_status_line_begins_with_what_matters(page: Page) -> None:
    go = threading.Event()
    run = started(texts(8), Model(lambda said: go if "text 4" in said else "fine"), concurrency=1)
    assert eventually(lambda: run.map_log.completed == 4)
    line = map_wording.status_line(run)
    assert line.startswith("● label ━━━━━━━━╌╌╌╌╌╌╌╌ 50 % · 4 of 8 rows")
    assert "400 tokens" in line
    go.set()
    run.wait()


SCRIPT = """
import asyncio
import pandas as pd
from aesop_nb import task
from aesop_nb.testing import ScriptedModel, failure, result

async def answer(request):
    await asyncio.sleep(0.1)
    return failure("no idea") if "text 3" in request.messages[-1].text else result("fine")

@task(model=ScriptedModel(*[answer] * 40))
def label(text: str) -> str:
    "Say what it is about."

label.map(pd.DataFrame({"text": [f"text {n}" for n in range(20)]}), concurrency=2)
"""


def test_terminal_repaints_one_line_with_a_bar(tmp_path: Path) -> None:
    process = spawn(tmp_path, SCRIPT, columns=100)
    process.expect("● label ━+╌+ [1-9][05] % · [0-9]+ of 20 rows · [^\\n]*\\r")
    text, code = ended(process)
    assert code == 0
    assert "completed ✓ label · 20 rows · 1 failed" in text
    assert text.count("\n") == 1


def test_log_has_a_line_for_each_tenth_at_most() -> None:
    done = run_python("import aesop_nb; aesop_nb.settings.progress = True" + SCRIPT, environment=UNSTORED)
    lines = done.stderr.splitlines()
    assert re.match(r"\w+ ● started: label", lines[0])
    assert "completed ✓ label · 20 rows · 1 failed" in lines[-1]
    assert len(lines) <= 11
    assert done.stdout == ""
