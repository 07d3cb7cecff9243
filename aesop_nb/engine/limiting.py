"""How fast requests go out: the limits that were set, and a gate that narrows when a service is overloaded.

All runs of the process share them. The gate works as TCP does: each time the service says that it is asked too
often, half as many requests may be under way; while it answers, the number grows again until the gate is open.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from ..errors import ModelError, ModelUnavailable

if TYPE_CHECKING:
    from ..config import TaskConfig
    from ..models.transcript import Model

OVERLOADED = frozenset({429, 503, 529})
"""The statuses with which services say that they are asked too often."""

_GROWTH = 0.1  # of what is allowed, at least one request, is added per round of answers


class Gate:
    """How many requests one service may have under way just now. Lives on the loop's thread.

    Attributes:
        allowed: The number, which may have a fraction; `None` while the service is not overloaded.
        under_way: How many there are.
    """

    def __init__(self) -> None:
        self.allowed: float | None = None
        self.under_way = 0
        self._enough = 0.0
        self._cut_at = 0.0
        self._paused_until = 0.0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    async def enter(self, left_seconds: float, *, has_waited: bool) -> float:
        """Waits for a place and gives the time it was taken.

        Args:
            left_seconds: How long the caller can wait at most.
            has_waited: Whether the caller has waited itself for as long as the service asked.

        Raises:
            ModelUnavailable: If the service asked for a longer pause than that.
        """
        pause = 0.0 if has_waited else self._paused_until - time.monotonic()
        if pause > left_seconds:
            error = ModelUnavailable(
                f"The service asks for a pause of {pause:,.0f} s, and only {left_seconds:,.0f} s are left."
            )
            error.requests = 0
            raise error
        if self._waiting or pause > 0 or not self._has_room:
            await self._until_let_in(has_waited=has_waited)
        else:
            self.under_way += 1
        return time.monotonic()

    def leave(self, entered_at: float, error: BaseException | None) -> None:
        """Gives the place back and learns from how the request ended."""
        self.under_way -= 1
        if isinstance(error, ModelError) and error.status_code in OVERLOADED and error.retryable:
            self._narrow(entered_at, error.retry_after_seconds)
        elif error is None and self.allowed is not None:
            self.allowed += max(1.0, self.allowed * _GROWTH) / self.allowed
            if self.allowed >= self._enough:
                self.allowed = None
        self._wake()

    @property
    def _has_room(self) -> bool:
        return self.allowed is None or self.under_way < max(1, int(self.allowed))

    def _narrow(self, entered_at: float, retry_after: float | None) -> None:
        now = time.monotonic()
        if retry_after is not None:
            self._paused_until = max(self._paused_until, now + retry_after)
        if entered_at < self._cut_at:
            return  # it was sent before the gate was narrowed, and says nothing about now
        before = self.under_way + 1 if self.allowed is None else self.allowed
        if self.allowed is None:
            self._enough = max(2.0, before)
        self.allowed, self._cut_at = max(1.0, before / 2), now

    async def _until_let_in(self, *, has_waited: bool) -> None:
        """Waits until `_wake` has counted the caller among those under way."""
        woken = asyncio.get_running_loop().create_future()
        if has_waited:
            self._waiting.appendleft(woken)
        else:
            self._waiting.append(woken)
        self._wake()
        try:
            await woken
        except asyncio.CancelledError:
            if woken.done() and not woken.cancelled():
                self.under_way -= 1  # let in and cancelled at once: the place is the next one's
                self._wake()
            else:
                with contextlib.suppress(ValueError):
                    self._waiting.remove(woken)
            raise

    def _wake(self) -> None:
        """Lets in as many as there is room for, or comes back when the pause is over."""
        pause = self._paused_until - time.monotonic() if self._waiting else 0.0
        if pause > 0:
            if self._timer is None:
                self._timer = asyncio.get_running_loop().call_later(pause, self._end_pause)
            return
        while self._waiting and self._has_room:
            woken = self._waiting.popleft()
            if not woken.done():
                self.under_way += 1
                woken.set_result(None)

    def _end_pause(self) -> None:
        self._timer = None
        self._wake()


class Limits:
    """The limits that a task set, for all runs with the same ones and the same service."""

    def __init__(self, concurrent: int | None, per_second: float | None) -> None:
        self._places = asyncio.Semaphore(concurrent) if concurrent else None
        self._gap_seconds = 1.0 / per_second if per_second else 0.0
        self._next_at = 0.0
        self._in_turn = asyncio.Lock()

    @contextlib.asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Holds one of the places inside the block, and begins no sooner than the rate allows."""
        async with self._places or contextlib.nullcontext():
            if self._gap_seconds:
                async with (
                    self._in_turn
                ):  # who is cancelled while waiting has taken nothing from the next one
                    await asyncio.sleep(max(0.0, self._next_at - time.monotonic()))
                    self._next_at = time.monotonic() + self._gap_seconds
            yield


_limits: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[tuple[Any, ...], Limits]] = WeakKeyDictionary()
_gates: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[tuple[str, str], Gate]] = WeakKeyDictionary()
_gates_of_models: WeakKeyDictionary[Any, Gate] = WeakKeyDictionary()


def limits_for(model: Model, config: TaskConfig) -> Limits | None:
    """Gives what holds the limits of `config` at the model's service; `None` if it sets none."""
    if config.concurrent_requests is None and config.requests_per_second is None:
        return None
    set_limits = (config.concurrent_requests, config.requests_per_second)
    of_loop = _limits.setdefault(asyncio.get_running_loop(), {})
    key = (getattr(model, "base_url", ""), model.name, *set_limits)
    if key not in of_loop:
        of_loop[key] = Limits(*set_limits)
    return of_loop[key]


def gate_for(model: Model) -> Gate:
    """Gives the gate of the model's service; a model that names none has one of its own."""
    base_url = getattr(model, "base_url", None)
    if isinstance(base_url, str):
        of_loop = _gates.setdefault(asyncio.get_running_loop(), {})
        key = (base_url, model.name)
        if key not in of_loop:
            of_loop[key] = Gate()
        return of_loop[key]
    try:
        return _gates_of_models.setdefault(model, Gate())
    except TypeError:  # a model of the person's that cannot be hashed or referred to
        return Gate()
