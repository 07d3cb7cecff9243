"""One pace for all live views."""

from __future__ import annotations

import asyncio
import time
from itertools import pairwise

from aesop_nb.notebook.pacing import MIN_GAP_SECONDS, Pace


def test_pace_keeps_a_gap_and_lets_all_have_their_turn() -> None:
    class Chatty:
        def __init__(self, name: str) -> None:
            self.name = name

        def flush(self) -> float:
            flushed.append((self.name, time.monotonic()))
            pace.ask(self)
            return 0.0

    flushed: list[tuple[str, float]] = []
    pace = Pace()

    async def talk() -> None:
        views = [Chatty("a"), Chatty("b")]
        for view_of in views:
            pace.ask(view_of)
        await asyncio.sleep(1)
        for view_of in views:
            pace.leave(view_of)

    asyncio.run(talk())
    names = [name for name, _ in flushed]
    assert names[:6] == ["a", "b"] * 3
    times = [at for name, at in flushed if name == "a"]
    assert all(after - before > MIN_GAP_SECONDS * 0.9 for before, after in pairwise(times))


def test_error_in_one_view_does_not_stop_the_others() -> None:
    class View:
        def __init__(self, cost: float | None) -> None:
            self.cost = cost

        def flush(self) -> float:
            flushed.append(self.cost)
            if self.cost is None:
                raise ValueError("broken")
            return self.cost

    flushed: list[float | None] = []
    pace = Pace()

    async def talk() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        pace.ask(View(None))
        pace.ask(View(0.0))
        await asyncio.sleep(0.3)

    asyncio.run(talk())
    assert flushed == [None, 0.0]
