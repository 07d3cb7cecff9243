"""Sending to a model: how fast, how often again, and never past the run's time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import TYPE_CHECKING

from .. import events as ev
from ..errors import ModelError
from ..texts import one_line
from .limiting import gate_for, limits_for

if TYPE_CHECKING:
    from ..config import TaskConfig
    from ..models.transcript import Delta, Model, ModelRequest, Reply
    from .clocks import RunClock

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
    limits, gate = limits_for(model, config), gate_for(model)

    async def reply() -> Reply:
        entered_at = await gate.enter(clock.left_seconds, has_waited=attempt > 1)
        try:
            given = await _reply(model, request, turn=turn, attempt=attempt, on_delta=on_delta, add=add)
        except BaseException as exc:
            gate.leave(entered_at, exc)
            raise
        gate.leave(entered_at, None)
        return given

    for attempt in range(1, config.max_retries + 2):
        try:
            if limits is None:
                return await reply()
            async with limits.place():
                return await reply()
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
