"""The clocks of runs and of tool calls: they stand still while a person is asked."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

from .. import scopes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator


class RunClock:
    """Measures a run's own time, monotonic, and calls `on_expired` when it is used up.

    Lives on the loop's thread. It begins stopped; `running()` lets it go.
    """

    def __init__(self, limit_seconds: float, on_expired: Callable[[], None]) -> None:
        self.limit_seconds = limit_seconds
        self._on_expired = on_expired
        self._used_seconds = 0.0
        self._since: float | None = None
        self._stops = 1
        self._timer: asyncio.TimerHandle | None = None

    @property
    def used_seconds(self) -> float:
        """Time used so far."""
        return self._used_seconds + (time.monotonic() - self._since if self._since is not None else 0.0)

    @property
    def left_seconds(self) -> float:
        """Time left; never below 0."""
        return max(0.0, self.limit_seconds - self.used_seconds)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Lets the clock run inside the block."""
        self._resume()
        try:
            yield
        finally:
            self._stop()

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """Stops the clock inside the block; blocks may overlap."""
        self._stop()
        try:
            yield
        finally:
            self._resume()

    def _resume(self) -> None:
        self._stops -= 1
        if self._stops == 0:
            self._since = time.monotonic()
            self._timer = asyncio.get_running_loop().call_later(self.left_seconds, self._on_expired)

    def _stop(self) -> None:
        self._stops += 1
        if self._stops == 1:
            self._used_seconds = self.used_seconds
            self._since = None
            if self._timer:
                self._timer.cancel()


@contextlib.asynccontextmanager
async def call_time(limit_seconds: float | None) -> AsyncIterator[asyncio.Timeout]:
    """Limits the block as `asyncio.timeout` does, without the time in which a run inside asks the person."""
    async with asyncio.timeout(None) as timer:
        if limit_seconds is None:
            yield timer
            return
        clock = RunClock(limit_seconds, lambda: timer.reschedule(0))
        inside = scopes.call_clock.set(clock)
        try:
            with clock.running():
                yield timer
        finally:
            scopes.call_clock.reset(inside)
