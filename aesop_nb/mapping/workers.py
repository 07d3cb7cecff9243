"""Doing the rows: some coroutines that take one row after the other, and one that keeps them supplied."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .. import background
from ..errors import LimitExceeded, ModelNotConfigured, ModelRefused, ModelUnavailable, UsageError
from ..models.choosing import HOW_TO_CONNECT
from ..results.result_types import ResultMismatch
from ..runlogs import Status
from .map_logs import MapLog, Origin, RowOutcome

if TYPE_CHECKING:
    from ..store.map_rows import StoredRow
    from .budgets import Budget
    from .dispatching import Dispatcher, SentRow
    from .keepers import Keeper
    from .row_briefs import RowBriefs
    from .row_runs import RowRun, RowRuns
    from .rows import Row, Rows

MAX_REHEARSED_ROWS = 50
"""More rows than these want a model: placeholders in thousands help nobody and look like results."""

_CHUNK_ROWS = 64
_SLOW_SECONDS = 0.05  # rows of an iterator that takes its time are passed on this soon
_ELSEWHERE_SECONDS = 0.25
_HOPELESS = frozenset({401, 402, 403, 404, 429})  # a refusal with one of these meets every row


def refuse_long_rehearsal(rows: int, *, is_rehearsal: bool) -> None:
    """Raises `ModelNotConfigured` for more rows than may be rehearsed."""
    if is_rehearsal and rows > MAX_REHEARSED_ROWS:
        raise ModelNotConfigured(
            f"A map of more than {MAX_REHEARSED_ROWS} rows wants a model, and none is connected: "
            f"{HOW_TO_CONNECT}. "
            f"To rehearse, take some of them: limit={MAX_REHEARSED_ROWS}."
        )


@dataclass(slots=True)
class Item:
    """A row on its way; `key` is empty where it has none."""

    position: int
    row: Row
    key: str


class Workers:
    """Does all rows of one map, some at a time. Lives on the loop's thread.

    Attributes:
        cause: Why it was stopped before all rows were done, or `None`.
    """

    def __init__(
        self,
        rows: Rows,
        briefs: RowBriefs,
        runs: RowRuns | Dispatcher,
        keeper: Keeper,
        log: MapLog,
        budget: Budget,
        *,
        concurrency: int,
        reuse: bool,
        dedupe: bool,
        raise_first: bool,
        is_rehearsal: bool,
    ) -> None:
        self.cause: BaseException | None = None
        self._rows = rows
        self._briefs = briefs
        self._runs = runs
        self._keeper = keeper
        self._log = log
        self._budget = budget
        self._concurrency = concurrency
        self._chunk = max(_CHUNK_ROWS, concurrency)
        self._reuse = reuse
        self._dedupe = dedupe
        self._raise_first = raise_first
        self._is_rehearsal = is_rehearsal
        self._queue: asyncio.Queue[Item | None] = asyncio.Queue(self._chunk)
        self._active: set[RowRun | SentRow] = set()
        self._drawn = 0
        self._first: dict[str, int] = {}
        self._equal: dict[int, list[int]] = {}
        self._elsewhere: dict[str, Item] = {}
        self._changed = asyncio.Event()
        self._is_stopped = False
        self._unavailable_in_a_row = 0
        self._feeder: asyncio.Task[None] | None = None

    async def work(self) -> None:
        """Does the rows; returns when all have ended and are committed, or the map was stopped."""
        loop = asyncio.get_running_loop()
        self._feeder = loop.create_task(self._feed())
        workers = [loop.create_task(self._work()) for _ in range(self._concurrency)]
        try:
            await asyncio.gather(*workers)
        finally:
            for task in (self._feeder, *workers):
                task.cancel()
            await asyncio.gather(self._feeder, *workers, return_exceptions=True)

    @property
    def drawn(self) -> int:
        """How many rows were drawn so far."""
        return self._drawn

    def stop(self, cause: BaseException | None, *, cancel: str = "") -> None:
        """Begins no more rows; those under way go on unless `cancel` says why they should not."""
        if not self._is_stopped:
            self._is_stopped, self.cause = True, cause
            if self._feeder is not None:
                self._feeder.cancel()
            while not self._queue.empty():
                self._queue.get_nowait()
            for _ in range(self._concurrency):
                self._queue.put_nowait(None)
            self._tell()
        if cancel:
            for run in tuple(self._active):
                run.stop(cancel)

    # Supplying -----------------------------------------------------------------------------------------

    async def _feed(self) -> None:
        try:
            while rows := await self._draw():
                for item in await self._unknown(self._items(rows)):
                    await self._queue.put(item)
            if self._log.total is None:
                self._log.total = self._drawn
            await self._until_others_end()
        except Exception as exc:  # noqa: BLE001  # the person's iterator, or a row that does not fit
            self.stop(exc)
            return
        for _ in range(self._concurrency):
            await self._queue.put(None)

    async def _draw(self) -> list[Row]:
        if not self._rows.is_slow:
            return self._rows.draw(self._chunk)
        return await background.call_in_thread(self._draw_for_a_moment, "rows")

    def _draw_for_a_moment(self) -> list[Row]:
        rows: list[Row] = []
        until = time.monotonic() + _SLOW_SECONDS
        while len(rows) < self._chunk and time.monotonic() < until and (drawn := self._rows.draw(1)):
            rows += drawn
        return rows

    def _items(self, rows: list[Row]) -> list[Item]:
        """Gives the rows that are not equal to an earlier one."""
        items = []
        refuse_long_rehearsal(self._drawn + len(rows), is_rehearsal=self._is_rehearsal)
        for row in rows:
            position, self._drawn = self._drawn, self._drawn + 1
            key = self._briefs.key_of(row) or ""
            if key and key in self._first:
                if self._dedupe:
                    self._wait_for_equal(position, row, self._first[key])
                    continue
                count = self._first[key] = self._first[key] + 1
                key = f"{key}.{count}"
            elif key:
                self._first[key] = position if self._dedupe else 0
            items.append(Item(position, row, key))
        return items

    def _wait_for_equal(self, position: int, row: Row, first: int) -> None:
        known = self._log.outcomes.get(first)
        if known is not None:
            self._add(position, row, known, "equal")
        else:
            self._equal.setdefault(first, []).append(position)

    async def _unknown(self, items: list[Item], *, again: bool = False) -> list[Item]:
        """Gives the rows to be asked; takes the results of those that are stored."""
        if not self._reuse or not self._keeper.is_on:
            return items
        claims = await self._keeper.claim([item.key for item in items if item.key], again=again)
        wanted = []
        for item in items:
            claim = claims.get(item.key, "ours")
            if claim == "elsewhere":
                self._elsewhere[item.key] = item
            elif claim == "ours" or not self._take_stored(item, claim, "elsewhere" if again else "stored"):
                wanted.append(item)
        return wanted

    def _take_stored(self, item: Item, stored: StoredRow, origin: Origin) -> bool:
        outcome = RowOutcome(
            status=Status(stored.status),
            error=stored.error,
            run_id=stored.run_id,
            seconds=stored.seconds,
            tokens=stored.input_tokens + stored.output_tokens,
        )
        if outcome.status is Status.COMPLETED:
            try:
                outcome.value = self._briefs.brief.result.restore(json.loads(stored.result or "null"))
            except (ResultMismatch, ValueError):
                return False
        self._end(item, outcome, origin)
        return True

    async def _until_others_end(self) -> None:
        """Takes what other processes make of the rows they have under way, and does what they leave."""
        while self._elsewhere:
            await asyncio.sleep(_ELSEWHERE_SECONDS)
            waiting, self._elsewhere = list(self._elsewhere.values()), {}
            for item in await self._unknown(waiting, again=True):
                await self._queue.put(item)

    # Working -------------------------------------------------------------------------------------------

    async def _work(self) -> None:
        while (item := await self._queue.get()) is not None:
            if await self._is_admitted():
                await self._do(item)

    async def _is_admitted(self) -> bool:
        while not self._is_stopped:
            verdict = self._budget.admits(len(self._active))
            if verdict == "yes":
                return True
            if verdict == "no":
                self.stop(LimitExceeded(f"{self._budget.reached} is reached", limit=self._budget.limit))
            else:
                await self._until_changed()
        return False

    async def _do(self, item: Item) -> None:
        run = self._runs.make(item.row, item.position)
        self._active.add(run)
        self._log.running += 1
        try:
            await run.to_end()
        finally:
            self._active.discard(run)
            self._tell()
        self._budget.spend(run.usage)
        self._log.usage += run.usage
        outcome = run.made()
        self._learn(run)
        if outcome.status is not Status.CANCELLED:
            # The next row waits for the commit: a kill can then cost no more rows than are done at a time.
            await self._keeper.save(run.stored(item.key, outcome), item.position + 1, run.events)
        self._log.running -= 1
        self._end(item, outcome, "asked")
        self._tell()

    def _end(self, item: Item, outcome: RowOutcome, origin: Origin) -> None:
        self._add(item.position, item.row, outcome, origin)
        for equal in self._equal.pop(item.position, ()):
            self._add(equal, item.row, outcome, "equal")

    def _add(self, position: int, row: Row, outcome: RowOutcome, origin: Origin) -> None:
        label = self._rows.label(position) if outcome.status is not Status.CANCELLED else ""
        self._log.add(position, outcome, label, origin, lambda: self._briefs.words_of(row))

    def _learn(self, run: RowRun | SentRow) -> None:
        """Stops the map where going on is of no use."""
        error = run.error
        if run.status is Status.COMPLETED:
            self._unavailable_in_a_row = 0
            if self._budget.needs_tokens and not run.usage.total_tokens and not self._is_rehearsal:
                text = "max_tokens cannot be kept: the service reports no tokens"
                self.stop(LimitExceeded(text, limit="max_tokens"))
        elif isinstance(error, UsageError) or (
            isinstance(error, ModelRefused) and error.status_code in _HOPELESS
        ):
            self.stop(error)
        elif run.status is Status.FAILED and self._raise_first:
            self.stop(error, cancel="another row failed")
        elif isinstance(error, ModelUnavailable):
            self._unavailable_in_a_row += 1
            if self._unavailable_in_a_row >= max(20, 2 * self._concurrency):
                self.stop(error)

    # Waking --------------------------------------------------------------------------------------------

    def _tell(self) -> None:
        self._changed.set()

    async def _until_changed(self) -> None:
        self._changed.clear()
        await self._changed.wait()
