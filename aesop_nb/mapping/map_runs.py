"""`MapRun`: one attempt at a map, with what is done so far at any time."""

from __future__ import annotations

import asyncio
import logging
import warnings
from collections.abc import Callable, Generator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .. import background, scopes
from .. import events as ev
from ..announcing import announce_rehearsal
from ..console import following
from ..engine.withheld import Withheld, masked_event
from ..errors import AesopError, LimitExceeded, RunInterrupted, TaskCancelled, TaskFailed
from ..listening import Listened
from ..places import find_notebook
from ..runlogs import Status
from ..sessions import remember
from ..store import default_store
from ..texts import clean_text, one_line, visible_traceback
from .budgets import Budget
from .dispatching import Dispatcher
from .keepers import Keeper
from .map_logs import MapLog
from .row_briefs import RowBriefs
from .row_runs import RowRuns
from .workers import Workers

if TYPE_CHECKING:
    import pandas as pd

    from ..engine.attempts import Brief
    from ..engine.clocks import RunClock
    from ..running import Run
    from .maps import Map
    from .row_briefs import Binding
    from .rows import Rows

_LOGGER = logging.getLogger("aesop_nb")
_TELL_SECONDS = 1.0


_start_hooks: list[Callable[[MapRun], object]] = [following.begin]


def on_map_start(hook: Callable[[MapRun], object]) -> Callable[[], None]:
    """Calls `hook(run)` for every map from now on, in the thread that starts it, before it begins.

    Returns:
        A function that takes the hook out again.
    """
    _start_hooks.append(hook)
    return lambda: _start_hooks.remove(hook)


class MapRun(Listened["pd.DataFrame"]):
    """One attempt at a map; made by `Map.start()`. Any thread may use it.

    Attributes:
        id: Names the map, for example `r7`; its rows are the runs `r7.1`, `r7.2` and so on.
        map: What it is an attempt at.
        task: The task for all rows.
        map_log: Where it stands: counts, rate, spend, the last errors and the first results.
        view: How much is to be shown: `"full"`, `"compact"` or `"off"`.
        children: Runs that end with it; rows are not among them.
    """

    def __init__(self, described: Map, brief: Brief, binding: Binding, rows: Rows) -> None:
        self.store = default_store()
        super().__init__(self.store.new_run_id())
        self.map = described
        self.task = binding.task
        self.map_log = MapLog(total=rows.length)
        self.view = described.options.view or scopes.view_level()
        self.children: list[Run[Any]] = []
        self.is_on_demand = False
        self.audience = "nobody"
        self._brief = brief
        self._binding = binding
        self._rows = rows
        self._ended = background.Latch()
        self._workers: Workers | None = None
        self._cancel_reason: str | None = None
        self._told = (0, 0, 0, ev.Usage())
        self._why_pending: str | None = None
        self._parent: Run[Any] | None = scopes.parent_run.get()
        self._withheld = Withheld(self._parent._withheld if self._parent else None)
        created = brief.created(self._parent.id if self._parent else None)
        self._add(created.model_copy(update={"notebook": find_notebook(), "inputs": self._inputs()}))

    # What it says ------------------------------------------------------------------------------------

    @property
    def parent(self) -> Run[Any] | None:
        """The run whose tool started this map, or `None`."""
        return self._parent

    @property
    def may_ask(self) -> bool:
        """Never: a thousand rows cannot ask a person."""
        return False

    @property
    def is_cancelling(self) -> bool:
        """Whether it was told to stop and has not ended yet."""
        return self._cancel_reason is not None and not self.status.is_final

    @property
    def input_columns(self) -> list[str]:
        """The columns that rows are asked with."""
        return [str(column) for column in self._binding.columns]

    @property
    def result_type(self) -> Any:
        """The type of a row's result."""
        return self._brief.result.annotation

    @property
    def counts(self) -> dict[str, int]:
        """How many rows have each status."""
        return self.map_log.counts

    @property
    def usage(self) -> ev.Usage:
        """What was sent and spent so far, failed requests included; rows from the store cost nothing."""
        return self.map_log.usage

    @property
    def current_action(self) -> str:
        """What it is doing, in a few words; empty once it has ended."""
        if self.status is not Status.RUNNING:
            return ""
        if self._cancel_reason is not None:
            return "cancelling…"
        log = self.map_log
        return f"{log.ended:,} of {log.total:,} rows" if log.total is not None else f"{log.ended:,} rows"

    @property
    def progress(self) -> float | None:
        """From 0 to 1; `None` while the number of rows is not known."""
        log = self.map_log
        if self.status is Status.COMPLETED or log.total == 0:
            return 1.0
        return None if log.total is None else log.ended / log.total

    @property
    def frame(self) -> pd.DataFrame:
        """The table as far as it is, at any time.

        Returns:
            The index of the data, in its order. A column per field of the result type, or one column for a
            result that is no record. Then, unless `on_error="null"`: `_status` category (pending, running,
            completed, failed, cancelled), `_error` str, `_run_id` str, `_seconds` float64 and `_tokens` Int64 of
            the run that made the result, which for a row from the store was an earlier one. A rehearsal adds
            `_model`. `attrs["aesop"]` says which map made it.
        """
        from .map_frames import map_frame

        options, log = self.map.options, self.map_log
        count = self._workers.drawn if self._workers is not None and log.total is None else log.total or 0
        return map_frame(
            [log.outcomes.get(position) for position in range(count)],
            self._rows.index(count),
            self._brief.result.annotation,
            into=self.map.column_name,
            is_prefix=options.into is not None,
            with_status=options.on_error != "null",
            model=self.log.created.model if self.is_rehearsal and self.log.created else None,
            why_pending=self._why_pending,
            attributes={**self._origin(), "rows": count, **self.counts, "reused": log.reused},
        )

    @property
    def result(self) -> pd.DataFrame | None:
        """The table; `None` until the map is completed."""
        return self.frame if self.status is Status.COMPLETED else None

    # Commands ----------------------------------------------------------------------------------------

    def cancel(self, reason: str = "cancelled by the person") -> None:
        """Stops it; what is done is kept. Does nothing once it has ended."""
        self._cancel_reason = self._cancel_reason or clean_text(reason)
        background.call_soon(self._halt)

    def retry(self) -> MapRun:
        """Starts the map again; rows that were completed are taken from the store."""
        return self.map.start()

    def wait(self, timeout_seconds: float | None = None) -> pd.DataFrame:
        """Waits for the end and gives the table.

        Raises:
            TaskFailed: If it was stopped by what meets every row, as a refused key does, or by the first failure
                with `on_error="raise"`. The error's `.run` is this map; its `.frame` has what is done.
            TaskCancelled: If it was cancelled.
            RunInterrupted: If the wait was interrupted; the map is cancelled then, and `.run` is this map.
            TimeoutError: If it has not ended in time; it goes on.
        """
        self.wait_for_end(timeout_seconds)
        return self.outcome()

    def wait_for_end(self, timeout_seconds: float | None = None) -> None:
        """Waits like `wait()`, and does not raise when it failed or was cancelled."""
        try:
            reached = background.wait_for(
                self._ended, timeout_seconds=timeout_seconds, on_interrupt=lambda: self.cancel("interrupted")
            )
        except KeyboardInterrupt:
            raise self.interrupted() from None
        if not reached:
            raise TimeoutError(f"Map {self.id!r} has not ended within {timeout_seconds} s; it goes on.")

    def __await__(self) -> Generator[Any, None, pd.DataFrame]:
        """Awaits the end, on any event loop, and gives the table; cancelling it cancels the map."""
        return self._awaited().__await__()

    async def _awaited(self) -> pd.DataFrame:
        await self.until_end()
        return self.outcome()

    async def until_end(self) -> None:
        """Awaits the end, and does not raise when it failed or was cancelled."""
        try:
            await background.wait_for_async(self._ended)
        except asyncio.CancelledError:
            self.cancel("interrupted")
            raise

    def interrupted(self) -> RunInterrupted:
        """Cancels the map and gives the error for the one who was waiting for it."""
        self.cancel("interrupted")
        return RunInterrupted(f"{self.task.name} was interrupted; {self._far()}", run=self)  # type: ignore[arg-type]

    def outcome(self) -> pd.DataFrame:
        """Gives the table of a map that has ended, or raises what it ended with.

        A limit of tokens or money that was reached is a warning, unless `on_error="raise"`: so much was asked for.
        """
        error = self._error
        if isinstance(error, LimitExceeded) and self.map.options.on_error != "raise":
            warnings.warn(str(error), stacklevel=3)
        elif error is not None:
            raise error.with_traceback(None)
        return self.frame

    # Life, on the loop's thread from here on ---------------------------------------------------------

    def begin(self) -> None:
        """Has the loop take it up."""
        remember(self)  # type: ignore[arg-type]
        if self._parent is not None:
            self._parent.children.append(self)  # type: ignore[arg-type]
        for hook in tuple(_start_hooks):
            self._guard(hook, self)
        if self.is_rehearsal:
            announce_rehearsal()
        background.call_soon(self._drive)

    def _drive(self) -> None:
        scopes.parent_run.set(self)
        body = asyncio.get_running_loop().create_task(self._live(), name=f"aesop map {self.id}")
        body.add_done_callback(self._body_ended)

    def _halt(self) -> None:
        if self._workers is not None and not self.status.is_final:
            self._workers.stop(None, cancel=self._cancel_reason or "cancelled")

    async def _live(self) -> None:
        brief, failure = await self.task.with_upstream_results(self._brief)
        self._add(ev.RunStarted())
        if failure is not None:
            raise failure
        self._brief = brief
        options, keeper = self.map.options, Keeper(self.store, self.id)
        briefs = RowBriefs(replace(brief, config=self.map.row_config(brief.config)), self._binding)
        workers = self._workers = Workers(
            self._rows,
            briefs,
            self._doing(briefs),
            keeper,
            self.map_log,
            Budget(options.max_tokens, options.max_cost_usd),
            concurrency=self.map.concurrency(brief.config),
            reuse=options.reuse,
            dedupe=options.dedupe,
            raise_first=options.on_error == "raise",
            is_rehearsal=self.is_rehearsal,
        )
        self._say_what_is_not_kept(keeper, briefs)
        telling = asyncio.get_running_loop().create_task(self._keep_telling())
        try:
            if self._cancel_reason is not None:
                self._halt()
            await workers.work()
        finally:
            telling.cancel()
            self._tell_rows()
            await keeper.close()
        self._say_what_is_not_kept(keeper, briefs)
        if workers.cause is not None:
            raise workers.cause

    def _doing(self, briefs: RowBriefs) -> RowRuns | Dispatcher:
        """Gives what does the rows: this process, or the executor."""
        executor = self.map.options.executor
        if executor is None:
            return RowRuns(self.id, self.task, briefs)
        concurrency = self.map.concurrency(briefs.brief.config)
        return Dispatcher(executor, self.id, briefs.brief, self._binding, concurrency=concurrency)

    def _say_what_is_not_kept(self, keeper: Keeper, briefs: RowBriefs) -> None:
        why = keeper.problem or briefs.obstacle
        if why:
            self._notice(f"Running this map again would ask all rows again: {why.rstrip('.')}.")

    def _notice(self, text: str) -> None:
        if text not in self.map_log.notices:
            self.map_log.notice(text)
            self._add(ev.NoticeGiven(text=text))

    async def _keep_telling(self) -> None:
        while True:
            await asyncio.sleep(_TELL_SECONDS)
            self._tell_rows()

    def _tell_rows(self) -> None:
        """Writes down how many rows have ended since the last time."""
        log, (completed, failed, reused, usage) = self.map_log, self._told
        if (log.completed, log.failed) == (completed, failed) and log.usage == usage:
            return
        spent = log.usage
        self._told = (log.completed, log.failed, log.reused, spent)
        cost = None if spent.cost_usd is None else spent.cost_usd - (usage.cost_usd or 0.0)
        self._add(
            ev.RowsEnded(
                completed=log.completed - completed,
                failed=log.failed - failed,
                reused=log.reused - reused,
                usage=ev.Usage(
                    requests=spent.requests - usage.requests,
                    input_tokens=spent.input_tokens - usage.input_tokens,
                    output_tokens=spent.output_tokens - usage.output_tokens,
                    cached_tokens=spent.cached_tokens - usage.cached_tokens,
                    cost_usd=cost,
                ),
            )
        )

    def _body_ended(self, body: asyncio.Task[None]) -> None:
        error = None if body.cancelled() else body.exception()
        if self.status is Status.PENDING:
            self._add(ev.RunStarted())
        if body.cancelled() or (self._cancel_reason is not None and error is None):
            self._write_cancelled(self._cancel_reason or "the process is ending")
        elif error is not None:
            self._write_failed(error)
        else:
            log = self.map_log
            counts = {
                "rows": log.ended,
                "completed": log.completed,
                "failed": log.failed,
                "reused": log.reused,
            }
            self._add(ev.RunCompleted(result=counts, text=self._far()))

    def _write_cancelled(self, reason: str) -> None:
        self._why_pending = f"not asked: {reason}"
        text = f"{self.task.name} was cancelled ({reason}); {self._far()}"
        self._error = TaskCancelled(text, run=self)  # type: ignore[arg-type]
        self._add(ev.RunCancelled(reason=reason))

    def _write_failed(self, error: BaseException) -> None:
        text = one_line(str(error), 600).rstrip(".")
        self._why_pending = f"not asked: {text}"
        failure: AesopError
        if isinstance(error, AesopError):
            failure = error
            failure.args = (f"{self.task.name}: {text}; {self._far()}",)
        else:
            _LOGGER.error("map %s ended with an unexpected error\n%s", self.id, visible_traceback(error))
            failure = TaskFailed(f"{self.task.name}: {type(error).__name__}: {text}; {self._far()}")
            failure.__cause__ = error
        if isinstance(failure, TaskFailed):
            failure.run = self  # type: ignore[assignment]
        self._error = failure
        limit = failure.limit if isinstance(failure, LimitExceeded) else None
        self._add(ev.RunFailed(error=type(failure).__name__, message=clean_text(str(failure)), limit=limit))

    def _far(self) -> str:
        """How far it got, and how to go on."""
        log = self.map_log
        of = f"{log.total:,}" if log.total is not None else "an unknown number of"
        parts = [f"{log.completed:,} of {of} rows are completed"]
        if log.failed:
            parts.append(f"{log.failed:,} failed")
        if log.reused:
            parts.append(f"{log.reused:,} were in the store")
        again = "" if log.completed == log.total or not self.is_kept else "; run it again to do the rest"
        return f"{', '.join(parts)}{again}."

    @property
    def is_kept(self) -> bool:
        """Whether the rows that are completed need not be asked again."""
        return not self.map_log.notices and self.map.options.reuse

    def _inputs(self) -> dict[str, str]:
        count = "rows" if self._rows.length is None else f"{self._rows.length:,} rows"
        bound = {**self._binding.words, **self._binding.inputs}
        of_rows = {
            name: f"column {str(self._binding.columns[place])!r} of {count}" for name, place in bound.items()
        }
        shared = self.log.created.inputs if self.log.created else {}
        return {
            clean_text(str(name)): clean_text(one_line(text, 200))
            for name, text in {**shared, **of_rows}.items()
        }

    def _clocks(self) -> list[RunClock]:
        return self._parent._clocks() if self._parent else []

    def _add(self, event: ev.Event) -> None:
        if self.status.is_final:
            return
        event = event.model_copy(update={"run_id": self.id, "number": len(self._events)})
        if self._withheld:
            event = masked_event(event, self._withheld)
        self._events.append(event)
        self.log.apply(event)
        self.store.record(event)
        if self._listeners:
            self._tell(event)
        if self.status.is_final:
            for child in self.children:
                child.cancel(f"its parent {self.id} ended")
            self._withheld.forget()
            self._ended.set()
