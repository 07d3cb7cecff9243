"""The HTML of a run: what it says, that nothing in it can act, and that it stays small and readable."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import bleach
import html5lib
import pytest

from aesop_nb import Run
from aesop_nb import events as ev
from aesop_nb.notebook import html, lines
from aesop_nb.notebook import markup as pieces
from aesop_nb.notebook.asked import Asked, answered_row
from aesop_nb.notebook.inside import Branch
from aesop_nb.runlogs import RunLog
from aesop_nb.texts import visible

DATA = Path(__file__).parent / "data"
NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
LATER = NOON + timedelta(seconds=10.3)

# What JupyterLab 4.6 keeps of the elements and attributes that we use, styles left out as on GitHub.
LAB_TAGS = {
    *("details", "summary", "p", "pre", "div", "span", "strong", "progress"),
    *("table", "thead", "tbody", "tr", "th", "td"),
}
LAB_ATTRIBUTES = {
    "*": ["class", "title"],
    "details": ["open"],
    "progress": ["max", "value"],
    "td": ["colspan"],
    "th": ["scope"],
}


def payloads(name: str) -> list[str]:
    return [json.loads(line)["payload"] for line in (DATA / name).read_text("utf-8").splitlines()]


def log_of(*events: Any, run_id: str = "r7", seconds: float = 1.0) -> RunLog:
    """The log of events that happened `seconds` apart."""
    return RunLog.of(
        event.model_copy(update={"run_id": run_id, "number": n, "at": NOON + timedelta(seconds=n * seconds)})
        for n, event in enumerate(events)
    )


def created(**changes: Any) -> ev.RunCreated:
    return ev.RunCreated(
        **{
            "task": "find_companies",
            "objective": "Find five bakery chains.",
            "instructions": "Prefer primary sources.",
            "inputs": {"year": "1990"},
            "model": "gpt-5-mini",
            "limits": {"max_duration_seconds": 60},
            **changes,
        }
    )


def search(call_id: str = "c1", output: str = '["a", "b"]') -> list[Any]:
    return [
        ev.ToolCalled(turn=1, call_id=call_id, tool="search", arguments={"query": "bakery chains"}),
        ev.ToolReturned(call_id=call_id, tool="search", output=output, duration_seconds=1.7),
    ]


REPLIED = ev.ModelReplied(
    turn=1, usage=ev.Usage(requests=1, input_tokens=1800, output_tokens=350, cost_usd=0.0031)
)
BEGUN = [ev.RunStarted(), ev.TurnStarted(turn=1), REPLIED]


def everywhere(text: str) -> tuple[RunLog, RunLog]:
    """A finished and a running log with `text` in every place that a model, a page or a person can fill."""
    begun = [
        created(
            task=text,
            objective=text,
            instructions=text,
            inputs={text: text},
            model=text,
            limits={"allowed_domains": [text]},
        ),
        *BEGUN,
        ev.ToolCalled(turn=1, call_id="1", tool=text, arguments={text: text}),
        ev.ToolReturned(call_id="1", tool=text, output=text, duration_seconds=1),
        ev.ToolFailed(turn=1, call_id="2", tool=text, arguments=text, error=f"ValueError: {text}"),
        ev.ToolFailed(turn=1, call_id="3", tool=text, arguments=text, error=text),
        ev.UserAsked(question_id="q", question=text, choices=[text]),
        ev.UserAnswered(question_id="q", answer=text, source=text, waited_seconds=1),
        ev.NoticeGiven(text=text),
        ev.ToolCalled(turn=1, call_id="4", tool=text, arguments={text: text}),
    ]
    failed = ev.RunFailed(error=text, message=text, limit=text, pending_tools=[text])
    running = [*begun, ev.TurnStarted(turn=2), ev.TextStreamed(turn=2, text=text)]
    return log_of(*begun, failed, run_id=text), log_of(*running, run_id=text)


def views(text: str) -> dict[str, str]:
    done, running = everywhere(text)
    asking = log_of(created(task=text), *BEGUN, ev.UserAsked(question_id="q", question=text, choices=[text]))
    approving = log_of(
        created(task=text), *BEGUN, ev.ApprovalAsked(call_id="1", tool=text, arguments={text: text})
    )
    within = [Branch(done, [Branch(running)]), Branch(running)]
    return {
        "saved": html.static_block(done, within, problem=text),
        "header": lines.header(running, LATER, 60) + lines.header(done, LATER, 60, is_compact=True),
        "steps": "".join(lines.step_row(step) for step in [*done.steps, *running.steps]),
        "inside": lines.inside_rows(within, running) + lines.inside_rows(within, running, opens=False),
        "answer": lines.answer_text(running),
        "asked": "".join(asked_html(log, text) for log in (asking, approving)),
        "answered": "".join(map(answered_row, done.exchanges)),
    }


def asked_html(log: RunLog, asker: str) -> str:
    assert log.waiting_for is not None
    return Asked(("r7", "q"), log.waiting_for, Run.__new__(Run), asker).html(LATER)


def elements(markup: str) -> list[tuple[str, tuple[str, ...]]]:
    """Every element that a browser makes of `markup`, with the names of its attributes."""
    tree = html5lib.parseFragment(markup, namespaceHTMLElements=False)
    return [
        (element.tag, tuple(sorted(element.attrib)))
        for element in tree.iter()
        if isinstance(element.tag, str)
    ]


def text_of(markup: str) -> str:
    return "".join(html5lib.parseFragment(markup, namespaceHTMLElements=False).itertext())


def harmless(payload: str) -> str:
    """A text of the same shape, so that it is cut and folded at the same places."""
    return re.sub(r"\S", "x", visible(payload))


@pytest.mark.parametrize("name", ["xss_patt.jsonl", "xss_dompurify.jsonl", "xss_live_chromium156.jsonl"])
def test_no_payload_makes_an_element(name: str) -> None:
    """The tags are those of a harmless text, and no text between them begins another.

    A parser reads the same elements from the same tags; only where the tags differ it is asked itself.
    """
    known: set[tuple[str, ...]] = set()
    for payload in payloads(name):
        if not set(payload) & set("<>&\"'"):
            continue  # a bare name such as onAbort, which no parser can take for markup
        tags, texts = split(everything(payload))
        assert not re.search(r"[<>]|&(?!(?:amp|lt|gt|quot|#x27);)", texts), payload
        if tags not in known:
            known.add(split(everything(harmless(payload) or "x"))[0])
        assert tags in known, payload


def split(markup: str) -> tuple[tuple[str, ...], str]:
    """All tags as they are written, and all that stands between them."""
    return tuple(re.findall("<[^>]*>", markup)), re.sub("<[^>]*>", " ", markup)


@pytest.mark.parametrize("name", ["xss_patt.jsonl", "xss_dompurify.jsonl", "xss_live_chromium156.jsonl"])
def test_payloads_side_by_side_make_no_element(name: str) -> None:
    """What one payload opens another could close: a parser reads them all as one document."""
    found = payloads(name)
    ours = elements(crowd(["x" * 300] * 60) + crowd(["x"] * 60) + crowd(["x"] * 500))
    made = elements("".join(map(crowd, batches(found))))
    assert len(made) > len(found)
    assert set(made) <= set(ours)


def batches(texts: list[str]) -> list[list[str]]:
    return [texts[begin : begin + 60] for begin in range(0, len(texts), 60)]


def crowd(texts: list[str]) -> str:
    """A saved block with each text in a step, or in a question."""
    steps = [
        event
        for n, text in enumerate(texts)
        for event in (
            ev.ToolCalled(turn=1, call_id=str(n), tool=text[:20], arguments={"text": text}),
            ev.ToolReturned(call_id=str(n), tool=text[:20], output=text, duration_seconds=1),
        )
    ]
    said = ev.UserAnswered(question_id="q", answer=texts[-1], source="widget")
    asked = ev.UserAsked(question_id="q", question=texts[0], choices=texts[:5])
    return html.static_block(log_of(created(inputs={}), *BEGUN, *steps, asked, said, ev.RunCompleted()))


def everything(text: str) -> str:
    return "".join(f"<section>{markup}</section>" for markup in views(text).values())


def test_the_oracle_bites() -> None:
    """Unescaped, the payloads do make elements."""
    made = [payload for payload in payloads("xss_live_chromium156.jsonl") if len(elements(payload)) > 1]
    assert len(made) > 60


@pytest.mark.parametrize("payload", ["<b>x</b>", "&lt;b&gt;", '" onclick="x', "<!--", "]]>", "</pre><p>"])
def test_a_payload_is_shown_as_it_is_written(payload: str) -> None:
    for view, shown in views(payload).items():
        assert payload in text_of(shown), view


COUNT_DIALOGS = """() => {
    window.ran = 0;
    for (const name of ["alert", "confirm", "prompt"]) window[name] = () => { window.ran += 1 };
}"""


@pytest.mark.lab
def test_no_live_payload_runs_or_loads_in_chromium() -> None:
    chromium = shutil.which("chromium")
    if not chromium or not importlib.util.find_spec("playwright"):
        assert not os.environ.get("CI"), "Chromium and Playwright must be there in CI."
        pytest.skip("Chromium or Playwright is not installed")
    from playwright.sync_api import sync_playwright

    requests: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        page.goto("about:blank")
        page.on("request", lambda request: requests.append(request.url))
        page.evaluate(COUNT_DIALOGS)
        page.set_content("<img src=http://x.invalid/ onerror=alert(1)>")
        page.wait_for_function("window.ran === 1")  # the check bites
        assert requests
        requests.clear()
        page.evaluate(COUNT_DIALOGS)
        page.set_content("".join(map(everything, payloads("xss_live_chromium156.jsonl"))))
        page.evaluate("document.querySelectorAll('details').forEach(element => { element.open = true })")
        page.wait_for_function("document.readyState === 'complete'")
        assert page.evaluate("window.ran") == 0
        browser.close()
    assert requests == []


FORBIDDEN = re.compile(
    r"<(?:script|style|iframe|caption|svg|img|a)\b|\brole=|\baria-|\bid=|javascript:|url\("
)


@pytest.mark.parametrize("make", [lambda: everywhere("plain text")[0], lambda: everywhere("x\n" * 400)[0]])
def test_sanitisers_keep_all_elements_and_all_text(make: Callable[[], RunLog]) -> None:
    block = html.static_block(make())
    cleaned = bleach.clean(block, tags=LAB_TAGS, attributes=LAB_ATTRIBUTES, strip=True)
    assert text_of(cleaned) == text_of(block)
    assert [tag for tag, _ in elements(cleaned)] == [tag for tag, _ in elements(block)]
    assert {name for _, names in elements(block) for name in names} <= {
        "class",
        "style",
        "open",
        "colspan",
        "scope",
    }
    assert not FORBIDDEN.search(block)


def test_every_text_is_in_the_block() -> None:
    text = text_of(html.static_block(completed()))
    for word in [
        *("Find five bakery chains.", "Prefer primary sources.", "year", "1990", "max_duration_seconds 60"),
        *('search(query="bakery chains")', "2 results", '["a", "b"]', "1.7 s", "TimeoutError: slow"),
        *("Which one?", "choices: left, right", "left", "in the notebook, after 4.2 s", "Mind the gap."),
    ]:
        assert word in text, word


def completed(**changes: Any) -> RunLog:
    return log_of(
        created(**changes),
        *BEGUN,
        *search(),
        ev.ToolFailed(turn=1, call_id="c2", tool="fetch", arguments='{"a": 1}', error="TimeoutError: slow"),
        ev.UserAsked(question_id="q", question="Which one?", choices=["left", "right"]),
        ev.UserAnswered(question_id="q", answer="left", source="widget", waited_seconds=4.2),
        ev.NoticeGiven(text="Mind the gap."),
        ev.RunCompleted(result=[], text="done"),
        seconds=1.23,
    )


LINE = "completed ✓ find_companies · 11.1 s · 2 tool calls · 2,150 tokens · USD 0.0031 · gpt-5-mini · run r7"


def test_the_first_line_sums_the_run_up() -> None:
    block = html.static_block(completed())
    assert text_of(block.partition("</p>")[0]) == LINE
    assert html.plain_line(completed()) == LINE


def inner(*events: Any, run_id: str = "r8", **changes: Any) -> Branch:
    return Branch(log_of(created(task="summarise", **changes), *BEGUN, *events, run_id=run_id, seconds=0.01))


def test_runs_inside_are_told_of_with_their_steps() -> None:
    done = inner(*search(), ev.RunCompleted())
    text = text_of(html.static_block(completed(), [done, inner(ev.RunFailed(error="E", message="no luck"))]))
    assert "2 runs inside: 1 completed, 1 failed" in text
    assert "completed ✓ summarise · 0.1 s · 1 tool call" in text
    assert "Failed: E: no luck" in text
    assert text.count("2 results") == 2


def test_run_that_outlives_the_one_around_it_looks_the_same_whenever_it_is_shown() -> None:
    outer = log_of(created(), *BEGUN, ev.RunCancelled(reason="stopped"), seconds=0.001)
    going = [ev.ToolCalled(turn=1, call_id="1", tool="crunch", arguments={})]
    blocks = {
        html.static_block(outer, [inner(*going)]),
        html.static_block(outer, [inner(*going, ev.RunCancelled(reason="its parent ended"))]),
    }
    assert len(blocks) == 1
    assert "summarise · stopped with the run around it" in text_of(blocks.pop())


@pytest.mark.parametrize(
    "text", ["fine", "\U000e0001\x1b" * 4_000, "'\"&<>" * 4_000], ids=["", "invisible", "quotes"]
)
def test_a_block_with_a_thousand_runs_inside_is_at_most_64_kb(text: str) -> None:
    deepest = inner(*huge(100, text), ev.RunFailed(error=text, message=text), inputs={text: text})
    middle = Branch(deepest.log, [deepest] * 200)
    block = html.static_block(completed(task=text), [middle] * 1_000)
    assert len(block.encode()) <= 64_000
    assert "1,000 runs inside: 1,000 failed" in block


def test_a_run_that_goes_on_says_when_it_began_and_how_to_look_at_it() -> None:
    block = text_of(html.static_block(log_of(created(), ev.RunStarted())))
    assert block.startswith(
        "running ● find_companies · started 2026-03-01 12:00:01 UTC · gpt-5-mini · run r7"
    )
    assert "It had not ended when this was saved. %aesop show r7 tells what became of it." in block
    assert "Find five bakery chains." in block


def test_a_run_that_could_not_be_stored_says_why() -> None:
    assert "not saved: the disk is <full>" in text_of(
        html.static_block(completed(), problem="the disk is <full>")
    )
    assert "not saved" not in html.static_block(completed())


def test_the_block_is_a_table_in_details() -> None:
    tags = [tag for tag, _ in elements(html.static_block(completed()))]
    assert tags.count("table") == 2
    assert "details" in tags
    assert "th" in tags


def test_a_short_conversation_is_open_and_a_long_one_is_closed() -> None:
    def asked(number: int) -> RunLog:
        talk = [
            event
            for n in range(number)
            for event in (
                ev.UserAsked(question_id=str(n), question=f"Question {n}?"),
                ev.UserAnswered(question_id=str(n), answer="yes", source="given"),
            )
        ]
        return log_of(created(), *BEGUN, *talk, ev.RunCompleted())

    assert " open>" in html.static_block(asked(1))
    assert " open>" not in html.static_block(asked(20))


def test_the_same_log_gives_the_same_bytes() -> None:
    assert html.static_block(completed()) == html.static_block(completed())
    assert html.plain_line(completed()) == html.plain_line(completed())


def test_a_rehearsal_says_so_in_every_view() -> None:
    log = completed(is_rehearsal=True, model="rehearsal")
    for shown in (html.static_block(log), lines.header(log, LATER, 60), html.plain_line(log)):
        assert "rehearsal — not a language model" in shown
    assert "not a language model" not in html.static_block(completed())


def test_a_failed_run_says_why_and_what_it_kept() -> None:
    failed = ev.RunFailed(error="LimitExceeded", message="60 s are over.", pending_tools=["crunch"])
    log = log_of(created(), *BEGUN, *search(), failed)
    text = text_of(html.static_block(log))
    assert text.startswith("failed ✗ find_companies · kept 1 step · ")
    assert "Failed: LimitExceeded: 60 s are over. Still running when it was left: crunch." in text
    assert html.plain_line(log).endswith("· run r7 · LimitExceeded: 60 s are over.")


@pytest.mark.parametrize("begin", ["find_companies failed: ", "find_companies: "])
def test_a_failure_is_said_once(begin: str) -> None:
    log = log_of(created(), *BEGUN, ev.RunFailed(error="TaskFailed", message=f"{begin}No such model."))
    assert "Failed: No such model." in text_of(html.static_block(log))
    assert html.plain_line(log).endswith("· run r7 · No such model.")


def test_a_step_that_was_stopped_with_the_run_has_not_failed() -> None:
    log = log_of(created(), *BEGUN, *search(), search("c2")[0], ev.RunCancelled(reason="stopped"))
    text = text_of(html.static_block(log))
    assert "2 steps, 1 stopped" in text
    assert "⊘ stopped with the run" in text
    assert "✗" not in text


def test_a_cancelled_run_says_what_it_kept() -> None:
    three = [event for n in range(3) for event in search(str(n))]
    log = log_of(created(), *BEGUN, *three, ev.RunCancelled(reason="stopped"))
    assert "cancelled ⊘ find_companies · kept 3 steps · " in text_of(html.static_block(log))
    assert "Cancelled: stopped" in text_of(html.static_block(log))
    assert "cancelled · kept 3 steps" in text_of(lines.header(log, LATER, 60))


def huge(count: int, text: str) -> Iterator[Any]:
    for n in range(count):
        yield from search(str(n), output=text)


@pytest.mark.parametrize(
    "text",
    ["fine", "x" * 20_000, "'\"&<>" * 4_000, "\U000e0001\x1b" * 4_000, "line\n" * 4_000, "\N{BREAD}" * 5_000],
    ids=["short", "long", "quotes", "invisible", "lines", "wide"],
)
@pytest.mark.parametrize("steps", [0, 1, 40, 500])
def test_a_block_is_at_most_64_kb(steps: int, text: str) -> None:
    talk = [
        event
        for n in range(steps)
        for event in (
            ev.UserAsked(question_id=str(n), question=text, choices=[text] * 3),
            ev.UserAnswered(question_id=str(n), answer=text, source=text),
            ev.NoticeGiven(text=text),
        )
    ]
    inputs = {f"{n}{text}": text for n in range(max(1, steps))}
    log = log_of(
        created(
            task=text, objective=text, instructions=text, inputs=inputs, model=text, limits={"x": [text] * 9}
        ),
        *BEGUN,
        *huge(steps, text),
        *talk,
        ev.RunFailed(error=text, message=text, pending_tools=[text] * 9),
        run_id=text,
    )
    block = html.static_block(log)
    assert len(block.encode()) <= 64_000
    assert len(html.plain_line(log)) < 2_000
    if steps == 500:
        assert "of 500 not shown here" in block
    if len(text) > 10_000:
        assert "[shortened: 20,000 characters]" in block or text[0] != "x"
    for step in log.steps[:3]:
        assert len(lines.step_row(step).encode()) <= 64_000


def test_a_result_of_ten_megabytes_is_shown_cut_and_marked() -> None:
    log = log_of(created(), *BEGUN, *search(output="x" * 10_000_000), ev.RunCompleted())
    block = html.static_block(log)
    assert len(block.encode()) <= 64_000
    assert "[shortened: 10,000,000 characters]" in block


def test_first_and_last_steps_stay() -> None:
    log = log_of(created(), *BEGUN, *huge(500, "fine"), ev.RunCompleted())
    numbers = re.findall(r"<td style=\"[^\"]*right[^\"]*\">(\d+)</td>", html.static_block(log))
    assert numbers[0] == "1"
    assert numbers[-1] == "500"


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("\x1b[2J", r"\x1b[2J"),
        ("\u202eevil", r"\u202eevil"),
        ("a\x00b", r"a\x00b"),
        ("\x9b31m", r"\x9b31m"),
        ("\x1b]52;c;aGk=\x07", r"\x1b]52;c;aGk=\x07"),
        ("a\ud800b", "a\ufffdb"),
        ("a\rb", r"a\x0db"),
    ],
)
def test_invisible_characters_are_shown_as_escapes(raw: str, shown: str) -> None:
    for view, markup in views(raw).items():
        assert shown in text_of(markup) or "\r" in raw, view
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\ud800-\udfff]", markup), view
    done, _ = everywhere(raw)
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\ud800-\udfff]", html.plain_line(done))


def test_dollar_signs_are_kept_from_latex() -> None:
    for markup in views("$x$ and $y$").values():
        assert markup.count("mathjax_ignore") >= 1
        assert markup.startswith('<div class="mathjax_ignore')
    assert "$" not in html.static_block(completed())


# The live view


def test_a_pending_run_shows_its_name() -> None:
    assert "◌ pending  find_companies" in text_of(lines.header(log_of(created()), NOON, 60))


def test_a_running_header_shows_time_model_calls_and_tokens() -> None:
    log = log_of(created(), ev.RunStarted(), seconds=0)
    text = text_of(lines.header(log, NOON + timedelta(seconds=0.4), 60))
    assert text.startswith("● running · 0.4 s of 60 s · gpt-5-mini · 0 tool calls · 0 tokens")


def test_the_clock_stands_still_while_the_person_thinks() -> None:
    log = log_of(created(), *BEGUN, ev.UserAsked(question_id="q", question="?"), seconds=2)
    for wait in (0, 100):
        text = text_of(lines.header(log, NOON + timedelta(seconds=8 + wait), 60))
        assert text.startswith("● waiting for you · 6.0 s of 60 s")


def test_the_bar_shows_the_nearest_limit() -> None:
    log = log_of(created(limits={"max_tokens": 2_500}), *BEGUN)
    shown = lines.header(log, LATER, 60)
    assert 'value="0.860" max="1"' in shown
    assert "86% of the limit of tokens" in text_of(shown)
    assert "of the time" in lines.header(log, NOON + timedelta(seconds=59), 60)


def test_a_run_without_limits_has_no_bar() -> None:
    assert "<progress" not in lines.header(log_of(created(limits={}), ev.RunStarted()), LATER, None)


def test_cancelling_is_said_at_once() -> None:
    log = log_of(created(), *BEGUN, ev.CancelRequested(reason="Cancel"))
    assert text_of(lines.header(log, LATER, 60)).startswith("● cancelling… · ")


def test_a_step_is_one_line_from_call_to_outcome() -> None:
    called, returned = search(output=json.dumps(list(range(8))))

    def line(*events: Any) -> str:
        row = lines.step_row(log_of(created(), *BEGUN, *events).steps[-1])
        return text_of(row[row.index("<summary") : row.index("</summary>")])

    assert line(called) == '▸ search(query="bakery chains") …'
    assert line(called, returned) == "✓ search → 8 results · 1.7 s"
    assert line(*search(output="[1]")) == "✓ search → 1 result · 1.7 s"
    assert line(*search(output="some text\nmore")) == "✓ search → some text more · 1.7 s"
    failed = ev.ToolFailed(turn=1, call_id="c1", tool="fetch", arguments="{}", error="TimeoutError: slow")
    assert line(failed) == "✗ fetch(…) TimeoutError"


def test_a_step_opens_to_the_full_call() -> None:
    failed = ev.ToolFailed(
        turn=1, call_id="c1", tool="fetch", arguments='{"a": 1', error="TimeoutError: slow"
    )
    log = log_of(created(), *BEGUN, *search("c0"), failed)
    assert '"query": "bakery chains"' in text_of(lines.step_row(log.steps[0]))
    assert '["a", "b"]' in text_of(lines.step_row(log.steps[0]))
    assert '{"a": 1' in text_of(lines.step_row(log.steps[1]))
    assert "TimeoutError: slow" in text_of(lines.step_row(log.steps[1]))


def test_the_answer_shows_its_last_lines() -> None:
    def written(text: str) -> str:
        log = log_of(created(), *BEGUN, ev.TurnStarted(turn=2), ev.TextStreamed(turn=2, text=text))
        return text_of(lines.answer_text(log))

    assert written("") == ""
    assert written("one\ntwo") == "one\ntwo"
    shown = written("\n".join(f"line {n}" for n in range(100)))
    assert shown.startswith("…")
    assert shown.endswith("line 98\nline 99")
    assert len(written("x" * 100_000)) < 1_000


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0.0 s"),
        (12.34, "12.3 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min 00 s"),
        (125, "2 min 05 s"),
        (3599.7, "1 h 00 min"),
        (3725, "1 h 02 min"),
    ],
)
def test_durations_are_written_with_their_units(seconds: float, shown: str) -> None:
    log = log_of(created(), ev.RunStarted(), ev.RunCompleted(), seconds=0)
    log.ended_at = NOON + timedelta(seconds=seconds)
    assert f" · {shown} · " in html.plain_line(log)


@pytest.mark.parametrize(
    ("cost", "shown"),
    [
        (0.0, "USD 0.00"),
        (0.0031, "USD 0.0031"),
        (0.25, "USD 0.25"),
        (0.1, "USD 0.10"),
        (0.000012, "USD 0.000012"),
        (12.5, "USD 12.50"),
        (1234.5, "USD 1,234.50"),
    ],
)
def test_amounts_are_written_without_a_dollar_sign(cost: float, shown: str) -> None:
    replied = ev.ModelReplied(turn=1, usage=ev.Usage(requests=1, input_tokens=1, cost_usd=cost))
    line = html.plain_line(log_of(created(), ev.RunStarted(), replied, ev.RunCompleted()))
    assert f" · 0 tool calls · 1 token · {shown} · " in line


@pytest.mark.parametrize(
    ("limit", "shown"), [(60, "60 s"), (0.5, "0.5 s"), (300, "5 min"), (7200, "2 h"), (150, "2 min 30 s")]
)
def test_limits_are_written_as_a_person_sets_them(limit: float, shown: str) -> None:
    text = text_of(lines.header(log_of(created(), ev.RunStarted(), seconds=0), NOON, limit))
    assert f"0.0 s of {shown} · " in text


def test_a_large_output_that_is_not_ascii_is_cut_before_it_is_made_visible(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read: list[int] = []

    def visible(text: str) -> str:
        read.append(len(text))
        return text

    monkeypatch.setattr(html, "visible", visible)
    monkeypatch.setattr(pieces, "visible", visible)
    html.static_block(log_of(created(), *BEGUN, *search(output="é" * 1_000_000), ev.RunCompleted()))
    assert max(read) < 10_000
