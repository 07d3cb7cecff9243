"""How the rows of a map are done: how many at a time, how often, until when, and what stops them all."""

from __future__ import annotations

import asyncio
import itertools
import random
import threading
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from helping import eventually
from mapping_helpers import Answering, echo, input_of, last_line, shouting, texts
from openai_server import OpenAIServer, Request, asks, fails

import aesop_nb
from aesop_nb import (
    LimitExceeded,
    ModelNotConfigured,
    ModelRefused,
    ModelUnavailable,
    OpenAIModel,
    Task,
    TaskConfig,
    UsageError,
    task,
)
from aesop_nb.testing import call, failure, result

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Server = "Callable[[Any], OpenAIServer]"


# How many, in which order ------------------------------------------------------------------------------


def test_no_more_rows_than_allowed_are_under_way() -> None:
    model = Answering(echo, delay_seconds=0.002)
    out = shouting(model).map(texts(60), concurrency=7)
    assert (model.most_at_once, len(model.asked)) == (7, 60)
    assert out["shout"].tolist() == texts(60)


def test_rows_keep_their_places_whatever_order_they_end_in() -> None:
    pace = random.Random(7)
    model = Answering(echo, delay_seconds=lambda text: pace.uniform(0, 0.02))
    out = shouting(model).map(texts(200), concurrency=50)
    assert out["shout"].tolist() == texts(200)


def test_an_endless_generator_is_drawn_as_far_as_the_limit_and_not_much_further() -> None:
    drawn = []

    def numbers() -> Iterator[str]:
        for number in itertools.count():
            drawn.append(number)
            yield str(number)

    out = shouting().map(numbers(), limit=10)
    assert out["shout"].tolist() == list(map(str, range(10)))
    assert len(drawn) <= 11


def test_ten_thousand_rows_do_not_make_ten_thousand_coroutines() -> None:
    most = 0

    def answer(text: str) -> Any:
        nonlocal most
        most = max(most, len(asyncio.all_tasks()))
        return result("x")

    run = shouting(Answering(answer, delay_seconds=0.001)).mapping(texts(10_000), concurrency=20).start()
    assert eventually(lambda: run.map_log.completed >= 200, within_seconds=20)
    run.cancel()
    run.wait_for_end(10)
    assert most <= 60


def test_an_iterator_that_raises_stops_the_map_and_keeps_what_is_done() -> None:
    def broken() -> Iterator[str]:
        yield from texts(3)
        raise OSError("the file is gone")

    with pytest.raises(aesop_nb.TaskFailed, match="the file is gone") as caught:
        shouting().map(broken(), concurrency=1)
    assert caught.value.run.status == "failed"


def test_equal_rows_are_asked_once_unless_that_is_not_wanted() -> None:
    model = Answering(echo, delay_seconds=0.01)
    out = shouting(model).map(["a", "b", "a", "a"])
    assert (sorted(map(last_line, model.asked)), out["shout"].tolist()) == (["a", "b"], ["a", "b", "a", "a"])
    assert out["_run_id"].nunique() == 2
    other = Answering(echo, name="other")
    shouting(other).map(["a", "b", "a", "a"], dedupe=False)
    assert len(other.asked) == 4
    shouting(other).map(["a", "b", "a", "a"], dedupe=False)
    assert len(other.asked) == 4


def test_a_map_works_in_a_running_loop_and_its_frame_can_be_read_at_any_time() -> None:
    gate = threading.Event()

    def answer(text: str) -> Any:
        return result(last_line(text)) if last_line(text) != "slow" or gate.is_set() else failure("early")

    async def main() -> Any:
        model = Answering(answer, delay_seconds=lambda text: 0.3 if last_line(text) == "slow" else 0)
        run = shouting(model).mapping(["a", "slow"]).start()
        while not run.map_log.completed:
            await asyncio.sleep(0.005)
        partial = run.frame
        gate.set()
        return partial, await run

    partial, whole = asyncio.run(main())
    assert partial["_status"].tolist()[0] == "completed"
    assert partial["_status"].tolist()[1] == "pending"
    assert whole["shout"].tolist() == ["a", "slow"]
    assert asyncio.run(shouting().map_async(["x"]))["shout"].tolist() == ["x"]


def test_tools_of_a_row_work_and_tasks_inside_them_belong_to_it() -> None:
    inner: list[Any] = []

    def look(word: str) -> str:
        """Looks."""
        made = Task("Inside", model=Answering(lambda text: "found"))
        value = made.run()
        inner.append(made.runs[0])
        return value

    def answer(text: str) -> Any:
        return call("look", word="x") if not inner else result("done")

    out = shouting(Answering(answer), tools=[look]).map(["a"])
    assert out["shout"].tolist() == ["done"]
    assert inner[0].parent.id == out["_run_id"][0]


def test_a_task_that_all_rows_depend_on_runs_once() -> None:
    first = Task("Find the rules", model=Answering(lambda text: "be kind"))
    model = Answering(lambda text: "be kind" if "be kind" in text else "?")
    out = pd.DataFrame({"text": ["a", "b"]}).aesop.map(
        "Judge {{text}}", model=model, context={"rules": first}
    )
    assert out["result"].tolist() == ["be kind"] * 2
    assert len(first.runs) == 1


# What is kept of it ------------------------------------------------------------------------------------


def test_a_map_is_one_run_and_its_rows_are_none() -> None:
    begun = datetime.now(UTC)
    out = shouting().map(texts(30))
    assert aesop_nb.last.id == out.attrs["aesop"]["run_id"]
    listed = aesop_nb.runs(since=begun)  # those before are of other tests
    assert listed["run_id"].tolist() == [aesop_nb.last.id]
    assert listed["status"].tolist() == ["completed"]
    assert (listed["requests"].iloc[0], listed["input_tokens"].iloc[0]) == (30, 300)
    assert out["_run_id"].tolist() == [f"{aesop_nb.last.id}.{n}" for n in range(1, 31)]


def test_the_store_has_the_events_of_each_row() -> None:
    out = shouting().map(texts(3))
    events = aesop_nb.last.store.events(out["_run_id"][1])
    assert events[0].type == "run_created"
    assert events[-1].type == "run_completed"
    assert events[-1].result == "text 1"


def test_what_starts_is_told_to_the_hooks_and_the_log_folds_the_rows() -> None:
    seen: list[Any] = []
    stop = aesop_nb.on_map_start(lambda run: seen.append((run, run.status.value)))
    model = Answering(lambda text: failure("bad") if last_line(text) == "text 3" else result("x"))
    try:
        shouting(model).map(texts(10))
    finally:
        stop()
    (run, status), log = seen[0], seen[0][0].map_log
    assert status == "pending"
    assert run.counts == {"pending": 0, "running": 0, "completed": 9, "failed": 1, "cancelled": 0}
    assert (log.usage.requests, log.usage.total_tokens) == (10, 150)
    assert [(line.label, line.run_id) for line in log.errors] == [("3", f"{run.id}.4")]
    assert len(log.results) == 5
    assert run.progress == 1.0


# What stops it -----------------------------------------------------------------------------------------


def test_more_than_fifty_rows_want_a_model() -> None:
    @task
    def rate(text: str) -> int:
        """Rates."""
        raise NotImplementedError

    with pytest.raises(ModelNotConfigured, match=r"50 rows.*OPENAI_API_KEY.*limit=50"):
        rate.map(texts(51))
    with pytest.raises(ModelNotConfigured, match="50 rows"):
        rate.map(iter(texts(51)))
    out = rate.map(texts(51), limit=50)
    assert out["_model"].eq("rehearsal").all()
    assert out.attrs["aesop"]["is_rehearsal"]


def test_a_budget_of_tokens_stops_it_and_says_how_far_it_got() -> None:
    model = Answering(echo)
    shout = shouting(model)
    with pytest.warns(UserWarning, match=r"max_tokens=300.*20 of 100 rows"):
        out = shout.map(texts(100), max_tokens=300, concurrency=10)
    assert out["_status"].value_counts()["completed"] == 20
    assert out["_error"].iloc[-1].startswith("not asked: max_tokens=300")
    assert aesop_nb.last.error.limit == "max_tokens"
    with pytest.raises(LimitExceeded, match="40 of 100"):
        shout.map(texts(100), max_tokens=300, concurrency=10, on_error="raise")
    assert len(model.asked) == 40


def test_a_budget_in_dollars_needs_prices_and_is_kept() -> None:
    with pytest.raises(UsageError, match=r"max_cost_usd=1.*no price"):
        shouting().map(texts(3), max_cost_usd=1.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("aesop_nb.prices._has_price", lambda model: True)
        with pytest.warns(UserWarning, match=r"max_cost_usd=0.05.*5 of 9 rows"):
            shouting(Answering(echo, cost_usd=0.01)).map(texts(9), max_cost_usd=0.05)


def test_a_budget_of_tokens_cannot_be_kept_with_a_service_that_reports_none() -> None:
    with pytest.warns(UserWarning, match="reports no tokens"):
        shouting(Answering(echo, tokens=(0, 0))).map(texts(100), max_tokens=10_000, concurrency=2)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (fails(401, "bad key"), "API key"),
        (fails(403, "not you"), "does not allow"),
        (fails(429, "pay", code="insufficient_quota"), "no quota"),
    ],
    ids=["401", "403", "quota"],
)
def test_what_meets_every_row_stops_the_map_within_one_round(
    openai_server: Callable[[Any], OpenAIServer], answer: Any, error: str
) -> None:
    server = openai_server(answer)
    shout = shouting(OpenAIModel("gpt-test", base_url=server.url, api_key="sk-test"))
    with pytest.raises(ModelRefused, match=error) as caught:
        shout.map(texts(1000), concurrency=16)
    assert server.sends <= 16
    assert "0 of 1,000 rows" in str(caught.value)
    frame = caught.value.run.frame
    assert (frame["_status"] == "pending").sum() >= 1000 - 16
    assert len(frame) == 1000


def test_a_service_that_is_gone_stops_the_map() -> None:
    config = TaskConfig(max_retries=0)
    model = Answering(lambda text: ModelUnavailable("gone", retryable=True))
    with pytest.raises(ModelUnavailable, match="gone"):
        shouting(model, config=config).map(texts(1000), concurrency=4)
    assert len(model.asked) <= 30


def test_every_seventh_row_fails_and_only_these_are_asked_again(
    openai_server: Callable[[Any], OpenAIServer],
) -> None:
    is_mended = False

    def answer(request: Request) -> Any:
        number = int(input_of(request).split()[1])
        if number % 7 == 0 and not is_mended:
            return fails(500, "broken")
        return asks("mark_successful", {"result": f"done {number}"}, delay_seconds=random.uniform(0, 0.01))

    server = openai_server(answer)
    model = OpenAIModel("gpt-test", base_url=server.url, api_key="sk-test")
    shout = shouting(model, config=TaskConfig(retry_delay_seconds=0.001))
    out = shout.map(texts(200), concurrency=32, retries=1)
    assert out["_status"].value_counts()[["completed", "failed"]].tolist() == [171, 29]
    assert server.sends == 171 + 2 * 29
    is_mended = True
    out = shout.map(texts(200), concurrency=32)
    assert server.sends == 171 + 3 * 29
    assert out["shout"].tolist() == [f"done {number}" for number in range(200)]


def test_a_service_that_is_asked_too_often_is_asked_less_and_then_more_again(
    openai_server: Callable[[Any], OpenAIServer],
) -> None:
    """At most eight at a time are answered; all others get a 429."""
    under_way, refused = [0.0], [0]

    def answer(request: Request) -> Any:
        now = time.monotonic()
        recent = [at for at in under_way if now - at < 0.05]
        under_way[:] = recent
        if len(recent) >= 8:
            refused[0] += 1
            return fails(429, "slow down", headers={"retry-after-ms": "20"})
        under_way.append(now)
        return asks("mark_successful", {"result": "x"}, delay_seconds=0.05)

    server = openai_server(answer)
    model = OpenAIModel("gpt-test", base_url=server.url, api_key="sk-test")
    shout = shouting(model, config=TaskConfig(retry_delay_seconds=0.01, max_retries=10))
    out = shout.map(texts(120), concurrency=40)
    assert out["_status"].eq("completed").all()
    assert refused[0] < 240


# Cancelling --------------------------------------------------------------------------------------------


def test_cancelling_keeps_what_is_done_and_closes_all_sockets(
    openai_server: Callable[[Any], OpenAIServer],
) -> None:
    def answer(request: Request) -> Any:
        is_quick = int(input_of(request).split()[1]) < 20
        return asks("mark_successful", {"result": "x"}, delay_seconds=0 if is_quick else 60)

    server = openai_server(answer)
    shout = shouting(OpenAIModel("gpt-test", base_url=server.url, api_key="sk-test"))
    run = shout.mapping(texts(400), concurrency=200).start()
    assert server.wait_for_sends(220, 20)
    assert eventually(lambda: run.map_log.completed == 20, within_seconds=5)
    began = time.monotonic()
    run.cancel()
    run.wait_for_end(5)
    assert server.wait_for_connections(0, 5)
    assert time.monotonic() - began < 2.0  # 0.5 s on a machine that does nothing else
    with pytest.raises(aesop_nb.TaskCancelled, match="20 of 400 rows are completed; run it again"):
        run.wait()
    assert run.frame["_status"].value_counts()[["completed", "cancelled", "pending"]].tolist() == [
        20,
        200,
        180,
    ]


def test_an_interrupt_raises_with_what_is_done() -> None:
    import _thread

    model = Answering(echo, delay_seconds=lambda text: 0 if last_line(text) == "text 0" else 60)
    shout = shouting(model)

    def interrupt(run: Any) -> None:
        def when_ready() -> None:
            assert eventually(lambda: run.map_log.completed == 1, within_seconds=10)
            _thread.interrupt_main()

        threading.Thread(target=when_ready).start()

    stop = aesop_nb.on_map_start(interrupt)
    try:
        with pytest.raises(aesop_nb.RunInterrupted, match="1 of 9 rows") as caught:
            shout.map(texts(9))
    finally:
        stop()
    assert caught.value.run.frame["shout"][0] == "text 0"
    assert caught.value.run.status == "cancelled"


# Estimates and the accessor's shortcuts -------------------------------------------------------------------


def test_an_estimate_sends_nothing_and_learns_from_rows_that_are_stored() -> None:
    model = Answering(echo, tokens=(100, 20))
    shout = shouting(model)
    before = shout.mapping(texts(50)).estimate()
    assert (before.rows, before.output_tokens, before.cost_usd, model.asked) == (50, None, None, [])
    assert before.input_tokens is not None
    assert before.input_tokens > 50 * 50
    shout.map(texts(50), limit=10)
    after = shout.mapping(texts(50)).estimate()
    assert (after.stored_rows, after.input_tokens, after.output_tokens) == (10, 4_000, 800)
    assert "10 rows of this map" in repr(after)
    assert len(model.asked) == 10


def test_describe_shows_the_first_row_and_sends_nothing() -> None:
    model = Answering(echo)
    df = pd.DataFrame({"body": ["first", "second"]})
    assert "Rate first" in repr(df.aesop.describe("Rate {{body}}", model=model))
    assert "text:\nfirst" in repr(shouting(model).mapping(df, columns="body").describe())
    assert not model.asked


def test_filter_gives_the_rows_that_fit_as_they_are() -> None:
    df = pd.DataFrame({"name": ["ant", "fox", "cow"], "legs": [6, 4, 4]}, index=[5, 5, 7])
    model = Answering(lambda text: result("ant" not in text))
    kept = df.aesop.filter("{{name}} is a mammal", model=model)
    pd.testing.assert_frame_equal(kept, df[[False, True, True]])
    unsure = Answering(lambda text: failure("hm") if "fox" in text else result(True), name="unsure")
    with pytest.raises(aesop_nb.TaskFailed, match="1 of 3 rows"):
        df.aesop.filter("{{name}} is a mammal", model=unsure)


def test_classify_and_extract() -> None:
    df = pd.DataFrame({"body": ["it crashes", "nice"]})
    model = Answering(lambda text: result("bug" if "crash" in text else "praise"))
    told = df.aesop.classify("body", ["bug", "praise"], model=model)
    assert told["label"].tolist() == ["bug", "praise"]
    assert str(told["label"].dtype) == "category"
    assert df["body"].aesop.classify(["bug", "praise"], model=model)["label"].tolist() == ["bug", "praise"]

    from aesop_nb.results.columns import parse_columns

    reader = Answering(lambda text: result({"words": len(last_line(text).split())}))
    assert df.aesop.extract(parse_columns("words:int"), "body", model=reader)["words"].tolist() == [2, 1]
