"""The gate before a service: it narrows when the service is overloaded, and opens again."""

from __future__ import annotations

import asyncio
import time

import pytest

from aesop_nb.engine.limiting import Gate
from aesop_nb.errors import ModelUnavailable


def overloaded(retry_after: float | None = None) -> ModelUnavailable:
    return ModelUnavailable("429", retryable=True, status_code=429, retry_after_seconds=retry_after)


async def entered(gate: Gate, count: int) -> list[float]:
    return [await gate.enter(60, has_waited=False) for _ in range(count)]


def test_an_open_gate_lets_everybody_in() -> None:
    gate = Gate()
    asyncio.run(entered(gate, 500))
    assert (gate.under_way, gate.allowed) == (500, None)


def test_an_overload_halves_what_is_allowed_once_and_successes_open_the_gate_again() -> None:
    async def main() -> None:
        gate = Gate()
        times = await entered(gate, 16)
        for at in times[:8]:
            gate.leave(at, overloaded())
        assert gate.allowed == 8.0
        for at in times[8:]:
            gate.leave(at, None)
        for _ in range(200):
            gate.leave(await gate.enter(60, has_waited=False), None)
        assert gate.allowed is None

    asyncio.run(main())


def test_who_waits_is_let_in_as_places_become_free_and_a_cancelled_one_takes_none() -> None:
    async def main() -> None:
        gate = Gate()
        times = await entered(gate, 4)
        gate.leave(times[0], overloaded())
        waiting = [asyncio.create_task(gate.enter(60, has_waited=False)) for _ in range(6)]
        await asyncio.sleep(0)
        assert gate.under_way == 3
        waiting[0].cancel()
        for at in times[1:]:
            gate.leave(at, None)
        done, _ = await asyncio.wait(waiting[1:], timeout=0.05)
        assert len(done) == gate.under_way == int(gate.allowed or 99)
        for task in waiting:
            task.cancel()

    asyncio.run(main())


def test_a_pause_that_the_service_asks_for_holds_for_all_and_is_never_longer_than_the_time_left() -> None:
    async def main() -> float:
        gate = Gate()
        (at,) = await entered(gate, 1)
        gate.leave(at, overloaded(0.1))
        with pytest.raises(ModelUnavailable, match="pause") as caught:
            await gate.enter(0.01, has_waited=False)
        assert caught.value.requests == 0
        began = time.monotonic()
        await gate.enter(60, has_waited=False)
        return time.monotonic() - began

    assert 0.08 < asyncio.run(main()) < 2
