"""The run of one row: a real one, which nobody watches and which is not kept once it has ended."""

from __future__ import annotations

import asyncio
import contextvars
import json
from typing import TYPE_CHECKING, Any

from ..engine.asking import GivenAnswers
from ..reusing import is_restorable
from ..runlogs import Status
from ..running import Run
from ..scopes import parent_run
from ..store import Store
from ..store.map_rows import StoredRow
from .map_logs import RowOutcome

if TYPE_CHECKING:
    from .. import events as ev
    from ..background import Latch
    from ..engine.attempts import Brief
    from ..tasks import Task
    from .row_briefs import RowBriefs
    from .rows import Row

_NOBODY = GivenAnswers(None)


class _RowStore(Store):
    """Gives rows their ids and writes nothing: a row is stored as a whole, when it has ended."""

    def __init__(self, map_id: str) -> None:
        super().__init__(None)
        self._map_id = map_id
        self.number = 0

    def new_run_id(self) -> str:
        return f"{self._map_id}.{self.number}"

    def record(self, event: ev.Event) -> None:
        """Nothing: the run keeps its events until it is stored."""


class _RowTask:
    """The task as a row's run needs it; what ran before it has run once for all rows."""

    upstream = ()

    def __init__(self, task: Task[Any]) -> None:
        self.name = task.name
        self.config = task.config
        self.result_type = task.result_type
        self.runs: list[Any] = []

    async def with_upstream_results(self, brief: Brief) -> tuple[Brief, None]:
        return brief, None


class RowRuns:
    """Makes the runs of the rows of one map."""

    def __init__(self, map_id: str, task: Task[Any], briefs: RowBriefs) -> None:
        self._store = _RowStore(map_id)
        self._task = _RowTask(task)
        self._briefs = briefs

    def make(self, row: Row, position: int) -> RowRun:
        """Gives the run of a row; on the loop's thread."""
        self._store.number = position + 1
        return RowRun(self._task, self._briefs.brief_of(row), self._store)


class RowRun(Run[Any]):
    """One row's attempt. Lives on the loop's thread; tools inside it find it as their run."""

    def __init__(self, task: Any, brief: Brief, store: Store) -> None:
        super().__init__(task, brief, given=_NOBODY, audience="nobody", store=store)

    async def to_end(self) -> None:
        """Runs it; on the event loop of all runs."""
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        context = contextvars.copy_context()
        context.run(self._begin_row, self._driver.unpark())
        self._ended.on_set(lambda: None if ended.done() else ended.set_result(None))
        await ended

    def _begin_row(self, parked: Latch) -> None:
        parent_run.set(self)
        self._driver.begin(parked, once=False)

    def stop(self, reason: str) -> None:
        """Cancels it; on the loop's thread."""
        self._is_cancelling = True
        self._driver.request_cancel(reason)

    def made(self) -> RowOutcome:
        """Gives what came of it."""
        error = self._error
        return RowOutcome(
            status=self.status,
            value=self._result if self.status is Status.COMPLETED else None,
            error=None if error is None else f"{type(error).__name__}: {error}",
            run_id=self.id,
            seconds=round(self.duration_seconds, 6),
            tokens=self.usage.total_tokens,
        )

    def stored(self, key: str | None, outcome: RowOutcome) -> StoredRow:
        """Gives what is kept of it; a result that could not be made again from its JSON has no key."""
        usage, text = self.usage, None
        if outcome.status is Status.COMPLETED:
            text = json.dumps(self.log.result, ensure_ascii=False)
            key = key if is_restorable(self._brief.result, self._result, self.log.result) else None
        return StoredRow(
            run_id=self.id,
            row_key=key or "",
            status=outcome.status.value,
            result=text,
            error=outcome.error,
            seconds=outcome.seconds or 0.0,
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            cost_usd=usage.cost_usd,
        )
