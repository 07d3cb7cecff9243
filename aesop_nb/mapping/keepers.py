"""What makes a map durable: rows are claimed before they are asked, and count once they are committed."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, TypeVar

from .. import background
from ..store.faults import Fault
from ..store.map_rows import RowWork

if TYPE_CHECKING:
    from .. import events as ev
    from ..store import Store
    from ..store.map_rows import Claim, StoredRow

T = TypeVar("T")

_LOOK_SECONDS = 0.25
_under_way: set[str] = set()


class Keeper:
    """Reads, claims and writes the rows of one map. Lives on the loop's thread.

    Attributes:
        problem: Why rows are not kept, or `None`.
    """

    def __init__(self, store: Store, map_id: str) -> None:
        self.problem: str | None = store.problem if store.path is None else None
        self._store = store
        self._map_id = map_id
        self._began_at = time.time()
        self._claimed: set[str] = set()
        self._next = 0
        self._open: dict[int, asyncio.Future[None]] = {}
        self._committed: deque[int] = deque()
        self._is_told = False
        self._loop = asyncio.get_running_loop()
        self._watch: asyncio.TimerHandle | None = None
        _under_way.add(map_id)

    @property
    def is_on(self) -> bool:
        """Whether there is a store at all."""
        return self._store.path is not None

    async def claim(self, keys: Collection[str], *, again: bool = False) -> dict[str, Claim]:
        """Gives the rows that are stored, and claims the others unless somebody has them under way.

        Args:
            keys: Whose rows.
            again: Whether these are rows that somebody had under way: one that has failed there is given then.
        """
        otherwise: dict[str, Claim] = dict.fromkeys(keys, "ours")
        since = self._began_at if again else None
        rows, map_id = self._store.map_rows, self._map_id

        def work() -> dict[str, Claim]:
            found: dict[str, Claim] = dict(rows.completed(keys))
            missing = [key for key in keys if key not in found]
            return {**found, **(rows.claim(missing, map_id, _under_way, since) if missing else {})}

        claims = await self._asked(work, otherwise)
        self._claimed.update(key for key, claim in claims.items() if claim == "ours")
        return claims

    async def _asked(self, work: Callable[[], T], otherwise: T) -> T:
        if not self.is_on:
            return otherwise
        try:
            return await background.call_in_thread(work, "map")
        except Fault as fault:
            self.problem = str(fault)
            return otherwise

    async def save(self, stored: StoredRow, number: int, events: tuple[ev.Event, ...]) -> None:
        """Has a row written; returns once it is committed, or cannot be for now."""
        if not self.is_on:
            return
        self._claimed.discard(stored.row_key)
        place, self._next = self._next, self._next + 1
        self._open[place] = self._loop.create_future()
        self._store.map_rows.put(
            RowWork(
                map_id=self._map_id,
                number=number,
                stored=stored,
                ended_at=time.time(),
                events=events,
                on_committed=lambda: self._note(place),
            )
        )
        if self._watch is None:
            self._watch = self._loop.call_later(_LOOK_SECONDS, self._look)
        await self._open[place]

    def _note(self, place: int) -> None:
        """Called in the store's thread."""
        self._committed.append(place)
        if not self._is_told:
            self._is_told = True
            self._loop.call_soon_threadsafe(self._take_committed)

    def _take_committed(self) -> None:
        self._is_told = False
        while self._committed:
            self._let_go(self._open.pop(self._committed.popleft(), None))

    def _let_go(self, waiting: asyncio.Future[None] | None) -> None:
        if waiting is not None and not waiting.done():
            waiting.set_result(None)

    def _look(self) -> None:
        """Lets rows count that the disk does not take: they stay in memory, and are written when it does."""
        self._watch = None
        if not self._open:
            return
        problem = self._store.problem
        if problem is not None:
            self.problem = problem
            given_up, self._open = self._open, {}
            for waiting in given_up.values():
                self._let_go(waiting)
        self._watch = self._loop.call_later(_LOOK_SECONDS, self._look)

    async def close(self) -> None:
        """Gives back what was claimed and not done."""
        _under_way.discard(self._map_id)
        if self._watch is not None:
            self._watch.cancel()
        claimed, self._claimed = self._claimed, set()
        if claimed:
            await self._asked(lambda: self._store.map_rows.release(claimed, self._map_id), None)
