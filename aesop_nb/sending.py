"""Sending to a model: how fast, how often again, and never past the run's time."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

from . import events as ev
from .errors import ModelError
from .texts import one_line

if TYPE_CHECKING:
    from .clocks import RunClock
    from .config import TaskConfig
    from .models.transcript import Delta, Model, ModelRequest, Reply

MAX_DELAY_SECONDS = 8.0
"""The longest wait of our own choosing before a request is sent again."""


async def send(
    model: Model,
    request: ModelRequest,
    *,
    turn: int,
    config: TaskConfig,
    clock: RunClock,
    on_delta: Callable[[Delta], None],
    add: Callable[[ev.Event], None],
) -> Reply:
    """Gives the model's reply; sends at most `max_retries` more times when that may help.

    Raises:
        ModelError: If the last send failed, if sending again cannot help, or if the wait that the service
            asks for is longer than the time left.
    """
    limiter = _limiter_for(model, config)
    for attempt in range(1, config.max_retries + 2):
        try:
            async with limiter.place():
                return await _reply(model, request, turn=turn, attempt=attempt, on_delta=on_delta, add=add)
        except ModelError as exc:
            delay = _delay_before(attempt, exc, config)
            again = exc.retryable and attempt <= config.max_retries and delay < clock.left_seconds
            add(
                ev.SendFailed(
                    turn=turn,
                    attempt=attempt,
                    error=type(exc).__name__,
                    message=one_line(str(exc), 300),
                    retry_in_seconds=delay if again else None,
                    usage=ev.Usage(requests=exc.requests),
                )
            )
            if not again:
                raise
        await asyncio.sleep(delay)
    raise AssertionError("the last attempt returns or raises")


async def _reply(
    model: Model,
    request: ModelRequest,
    *,
    turn: int,
    attempt: int,
    on_delta: Callable[[Delta], None],
    add: Callable[[ev.Event], None],
) -> Reply:
    """Gives the reply; a request that is under way when the run is stopped is counted too."""
    try:
        return await model.reply(request, on_delta)
    except asyncio.CancelledError:
        stopped = "the run was stopped while it was under way"
        add(ev.SendFailed(turn=turn, attempt=attempt, error="CancelledError", message=stopped))
        raise


def _delay_before(attempt: int, error: ModelError, config: TaskConfig) -> float:
    """Exponential with jitter, or what the service asked for."""
    if error.retry_after_seconds is not None:
        return error.retry_after_seconds + random.uniform(0.0, 0.25)  # noqa: S311
    longest = min(MAX_DELAY_SECONDS, config.retry_delay_seconds * 2**attempt)
    return random.uniform(longest / 2, longest)  # noqa: S311


class _Limiter:
    """How many requests at a time and how many a second, for all runs with the same limits and model."""

    def __init__(self, concurrent: int | None, per_second: float | None) -> None:
        self._places = asyncio.Semaphore(concurrent) if concurrent else None
        self._gap_seconds = 1.0 / per_second if per_second else 0.0
        self._next_at = 0.0
        self._in_turn = asyncio.Lock()

    @contextlib.asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        async with self._places or contextlib.nullcontext():
            if self._gap_seconds:
                async with (
                    self._in_turn
                ):  # who is cancelled while waiting has taken nothing from the next one
                    await asyncio.sleep(max(0.0, self._next_at - time.monotonic()))
                    self._next_at = time.monotonic() + self._gap_seconds
            yield


_limiters: dict[tuple[object, ...], _Limiter] = {}
_UNLIMITED = _Limiter(None, None)


def _limiter_for(model: Model, config: TaskConfig) -> _Limiter:
    if config.concurrent_requests is None and config.requests_per_second is None:
        return _UNLIMITED
    limits = (config.concurrent_requests, config.requests_per_second)
    key = (asyncio.get_running_loop(), model.name, *limits)
    return _limiters.setdefault(key, _Limiter(*limits))
