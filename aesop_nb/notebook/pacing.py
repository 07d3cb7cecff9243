"""When live views send what is new: one pace for all of them, for they share one connection to the page."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol

MIN_GAP_SECONDS = 0.1
"""Between two updates of one view."""

BURST_SECONDS = 1.0
"""So much of the pace below may be spent ahead: a view opens its widgets and goes on at once."""

MAX_DELAY_SECONDS = 1.0
"""However much was sent, the next update waits no longer than this, if it is the only one."""

MESSAGES_PER_SECOND = 18
CHARACTERS_PER_SECOND = 150_000
"""Of all views together. A Jupyter server drops output above 1,000 messages or 1 MB a second, and a page
that gets a fraction of that stutters."""


class Paced(Protocol):
    """What sends something now and then."""

    def flush(self) -> float:
        """Sends what is new; gives what `cost_seconds` says of it."""
        ...


def cost_seconds(messages: int, characters: int) -> float:
    """Gives how long the connection is taken by so many messages with so many characters in all."""
    return max(messages / MESSAGES_PER_SECOND, characters / CHARACTERS_PER_SECOND)


class Pace:
    """Lets views flush in turn. Lives on the loop's thread."""

    def __init__(self) -> None:
        self._waiting: dict[Paced, None] = {}
        self._free_at = 0.0
        self._spent_until = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._is_flushing = False

    def ask(self, view: Paced) -> None:
        """Has `view` flush as soon as it is its turn; asking again before that changes nothing."""
        self._waiting.setdefault(view)
        self._arm()

    def hurry(self, view: Paced) -> None:
        """Has `view` flush at the next step of the loop: a person waits for it."""
        self._waiting = {view: None, **self._waiting}
        self._free_at = 0.0
        if self._timer:
            self._timer.cancel()
            self._timer = None
        self._arm()

    def leave(self, view: Paced) -> None:
        """Forgets `view`, which has ended."""
        self._waiting.pop(view, None)

    def _arm(self) -> None:
        if self._timer is None and self._waiting and not self._is_flushing:
            delay = max(0.0, self._free_at - time.monotonic())
            self._timer = asyncio.get_running_loop().call_later(delay, self._next)

    def _next(self) -> None:
        self._timer = None
        if not self._waiting:
            return
        view = next(iter(self._waiting))
        del self._waiting[view]
        gap = MIN_GAP_SECONDS / 2 if self._waiting else MIN_GAP_SECONDS
        cost = 0.0
        self._is_flushing = True
        try:
            cost = view.flush()
        finally:
            self._is_flushing = False
            now = time.monotonic()
            spent = max(now, self._spent_until) + cost
            self._spent_until = min(spent, now + BURST_SECONDS + MAX_DELAY_SECONDS)
            self._free_at = max(now + gap, self._spent_until - BURST_SECONDS)
            self._arm()


pace = Pace()
"""That of all views."""
