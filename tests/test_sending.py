"""Sending to a model: how often, after which wait, how many at a time, and what is counted."""

from __future__ import annotations

import asyncio
import time
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from helping import event_types, eventually

from aesop_nb import LimitExceeded, ModelError, Task, TaskConfig
from aesop_nb import events as ev
from aesop_nb.errors import ModelRefused, ModelReplyInvalid, ModelUnavailable
from aesop_nb.testing import ScriptedModel, result

if TYPE_CHECKING:
    from aesop_nb.models.transcript import ModelRequest

QUICK = {"retry_delay_seconds": 0.001}


def overloaded(**options: Any) -> ModelUnavailable:
    return ModelUnavailable("503: overloaded", retryable=True, status_code=503, **options)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The waits that were asked for; none of them lasts longer than a moment."""
    asked: list[float] = []
    sleep = asyncio.sleep

    async def short(seconds: float, *rest: Any) -> None:
        if seconds > 0.01:
            asked.append(seconds)
        await sleep(min(seconds, 0.001))

    monkeypatch.setattr("aesop_nb.engine.sending.asyncio.sleep", short)
    return asked


def sends_failed(task: Task[Any]) -> list[ev.SendFailed]:
    return [event for event in task.runs[-1].events if isinstance(event, ev.SendFailed)]


def test_a_failed_request_is_sent_again_and_all_sends_are_counted() -> None:
    model = ScriptedModel(overloaded(), overloaded(), "done")
    task = Task("Say", config=TaskConfig(**QUICK), model=model)
    assert task.run() == "done"
    assert len(model.requests) == task.runs[0].usage.requests == 3
    assert [(e.turn, e.attempt, e.error) for e in sends_failed(task)] == [
        (1, 1, "ModelUnavailable"),
        (1, 2, "ModelUnavailable"),
    ]
    assert event_types(task.runs[0])[2:6] == ["turn_started", "send_failed", "send_failed", "model_replied"]


def test_at_most_three_are_sent_and_the_error_says_what_happened() -> None:
    model = ScriptedModel(*[overloaded(request_id="req_7")] * 9)
    task = Task("Say", config=TaskConfig(**QUICK), model=model)
    with pytest.raises(ModelError, match="503: overloaded") as caught:
        task.run()
    assert (caught.value.status_code, caught.value.request_id) == (503, "req_7")
    assert len(model.requests) == task.runs[0].usage.requests == 3
    assert sends_failed(task)[-1].retry_in_seconds is None


def test_every_turn_has_its_own_three_sends() -> None:
    replies = [overloaded(), overloaded(), "hm", overloaded(), overloaded(), result(3)]
    assert (
        Task("Count", result_type=int, config=TaskConfig(**QUICK), model=ScriptedModel(*replies)).run() == 3
    )


def test_max_retries_says_how_often() -> None:
    model = ScriptedModel(*[overloaded()] * 9)
    Task("Say", config=TaskConfig(max_retries=0, **QUICK), model=model).run(raise_on_failure=False)
    assert len(model.requests) == 1
    Task("Say", config=TaskConfig(max_retries=4, **QUICK), model=model).run(raise_on_failure=False)
    assert len(model.requests) == 1 + 5


@pytest.mark.parametrize("error", [ModelRefused("401: the key", status_code=401), ModelReplyInvalid("junk")])
def test_what_cannot_help_is_sent_once(error: ModelError) -> None:
    model = ScriptedModel(error, "never")
    task = Task("Say", model=model)
    with pytest.raises(type(error)):
        task.run()
    assert len(model.requests) == task.runs[0].usage.requests == 1


def test_requests_that_the_service_made_us_repeat_are_counted() -> None:
    error = ModelRefused("400: use the other wire")
    error.requests = 2
    task = Task("Say", model=ScriptedModel(error))
    task.run(raise_on_failure=False)
    assert task.runs[0].usage.requests == 2


def test_waits_grow_with_jitter_from_half_a_second_to_eight(waits: list[float]) -> None:
    for _ in range(10):
        del waits[:]
        model = ScriptedModel(*[overloaded()] * 9)
        Task("Say", config=TaskConfig(max_retries=6), model=model).run(raise_on_failure=False)
        assert len(waits) == 6
        for number, seconds in enumerate(waits):
            longest = min(8.0, 0.5 * 2 ** (number + 1))
            assert longest / 2 <= seconds <= longest
    task = Task("Say", model=ScriptedModel(*[overloaded()] * 9))
    seen = {round(wait, 6) for _ in range(5) for wait in _waits_of(task, waits)}
    assert len(seen) > 5


def _waits_of(task: Task[Any], waits: list[float]) -> list[float]:
    del waits[:]
    Task("Say", model=ScriptedModel(*[overloaded()] * 9)).run(raise_on_failure=False)
    return list(waits)


def test_what_the_service_asks_for_is_obeyed_within_a_second(waits: list[float]) -> None:
    model = ScriptedModel(overloaded(retry_after_seconds=20.0), overloaded(retry_after_seconds=0.02), "done")
    assert Task("Say", model=model).run() == "done"
    first, second = waits
    assert 20.0 <= first < 21.0
    assert 0.02 <= second < 1.0


def test_the_wait_is_never_longer_than_the_time_that_is_left() -> None:
    model = ScriptedModel(overloaded(retry_after_seconds=20.0), "never")
    begun = time.monotonic()
    task = Task("Say", config=TaskConfig(max_duration_seconds=5), model=model)
    with pytest.raises(ModelUnavailable):
        task.run()
    assert time.monotonic() - begun < 1
    assert len(model.requests) == 1


def test_the_time_limit_ends_a_wait() -> None:
    config = TaskConfig(max_duration_seconds=0.2, retry_delay_seconds=0.09, max_retries=10)
    with pytest.raises((LimitExceeded, ModelUnavailable)):
        Task("Say", config=config, model=ScriptedModel(*[overloaded()] * 20)).run()
    run = Task(
        "Say", config=TaskConfig(retry_delay_seconds=8), model=ScriptedModel(overloaded(), "never")
    ).start()
    assert eventually(lambda: run.current_action == "sending again after ModelUnavailable")
    run.cancel()
    run.wait_for_end(0.5)
    assert run.status == "cancelled"


def test_a_restarted_stream_drops_what_came_before() -> None:
    from helping import at_every_start

    from aesop_nb.models.transcript import Reply, TextDelta

    class Stuttering(ScriptedModel):
        async def reply(self, request: ModelRequest, on_delta: Any) -> Reply:
            if not self.requests:
                on_delta(TextDelta("half a th"))
            else:
                on_delta(TextDelta("", restarted=True))
            return await super().reply(request, on_delta)

    texts: list[str] = []
    with at_every_start(lambda run: run.on("text_streamed", lambda event: texts.append(run.log.text))):
        task = Task("Say", config=TaskConfig(**QUICK), model=Stuttering(overloaded(), "a whole thought"))
        assert task.run() == "a whole thought"
    assert texts[-1] == "a whole thought"


def test_no_more_requests_at_a_time_than_allowed_over_all_runs() -> None:
    at_once, most = 0, 0

    async def work(request: ModelRequest) -> str:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0.01)
        at_once -= 1
        return "done"

    config = TaskConfig(concurrent_requests=3)
    model = ScriptedModel(*[work] * 20, name="narrow")
    runs = [Task("Work", config=config, model=model).start() for _ in range(20)]
    assert [run.wait(5) for run in runs] == ["done"] * 20
    assert most == 3


def test_no_more_requests_a_second_than_allowed_over_all_runs() -> None:
    times: list[float] = []

    def note(request: ModelRequest) -> str:
        times.append(time.monotonic())
        return "done"

    config = TaskConfig(requests_per_second=50)
    model = ScriptedModel(*[note] * 10, name="slow")
    runs = [Task("Work", config=config, model=model).start() for _ in range(10)]
    assert [run.wait(5) for run in runs] == ["done"] * 10
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert times[-1] - times[0] >= 9 / 50 - 0.01
    assert min(gaps) > 0.01


def test_a_run_that_is_cancelled_in_the_queue_gives_its_place_to_others() -> None:
    config = TaskConfig(concurrent_requests=1)
    model = ScriptedModel("first", "second", "third", name="one at a time", delay_seconds=0.05)
    first, second, third = (Task("Work", config=config, model=model).start() for _ in range(3))
    second.cancel()
    assert first.wait(2)
    assert third.wait(2)
    second.wait_for_end(2)
    assert second.status == "cancelled"
    assert len(model.requests) == 2
