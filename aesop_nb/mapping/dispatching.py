"""Rows that others do: they go out in small chunks to an executor, and come back to be stored here."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import tempfile
import time
import uuid
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from .. import background, errors
from .. import events as ev
from ..errors import AesopError, LimitExceeded, ModelError, TaskCancelled, TaskFailed, UsageError
from ..models.openai_model import OpenAIModel
from ..results.result_types import ResultMismatch
from ..runlogs import Status
from ..store.map_rows import StoredRow
from ..texts import one_line
from .chunks import Chunk, Sent, do_chunk, stop_chunks
from .map_logs import RowOutcome

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from ..engine.attempts import Brief
    from .row_briefs import Binding
    from .rows import Row

_GATHER_SECONDS = 0.01
_MAX_CHUNK_ROWS = 32
_COUNT_SECONDS = 1.0  # workers come and go
_GRACE_SECONDS = 1.0  # for workers to say what they had done when they were stopped
_STDLIB_LIMIT = "is defined in __main__, and the processes of a ProcessPoolExecutor cannot have it from there"


def check_executor(executor: Any) -> None:
    """Raises `UsageError` for what is neither an executor nor a client of dask.distributed."""
    if (
        executor is None
        or isinstance(executor, Executor)
        or callable(getattr(executor, "get_executor", None))
    ):
        return
    raise UsageError(
        f"executor={one_line(repr(executor), 80)} must be an executor of concurrent.futures, or a "
        "dask.distributed Client."
    )


class Dispatcher:
    """Gives the rows of one map to an executor. Lives on the loop's thread.

    Args:
        executor: What does them: a `concurrent.futures.Executor` or a `dask.distributed.Client`.
        map_id: The map.
        brief: What all rows share.
        binding: Where the cells go.
        concurrency: How many rows are under way at the same time.

    Raises:
        UsageError: If the task cannot be sent to other processes; nothing was.
    """

    def __init__(
        self, executor: Any, map_id: str, brief: Brief, binding: Binding, *, concurrency: int
    ) -> None:
        self.map_id = map_id
        self.result = brief.result
        self._client = executor if hasattr(executor, "get_executor") else None
        self._executor: Executor = executor.get_executor(pure=False) if self._client is not None else executor
        _refuse_what_cannot_be_sent(self._executor, brief)
        self._sent = Sent.of(map_id, brief, binding)
        self._key = uuid.uuid4().hex
        self._flag = Path(tempfile.gettempdir()) / f"aesop-{self._key}.stopped"
        self._concurrency = concurrency
        self._rate = brief.config.requests_per_second
        self._waiting: list[SentRow] = []
        self._futures: dict[Future[list[str]], list[SentRow]] = {}
        self._chunks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._reason = ""
        self._places = (concurrency, 1)
        self._counted_at: float | None = None

    def make(self, row: Row, position: int) -> SentRow:
        """Gives the run of a row, elsewhere."""
        return SentRow(self, row, position)

    def add(self, row: SentRow) -> None:
        """Sends a row soon, together with others."""
        self._waiting.append(row)
        if self._reason:
            self._end_waiting()
        elif self._counted_at is not None and len(self._waiting) >= self._chunk_rows():
            self._send()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_GATHER_SECONDS, self._send)

    def stop(self, reason: str) -> None:
        """Stops all rows, here and on the workers."""
        if self._reason:
            return
        self._reason = reason
        self._end_waiting()
        if self._chunks:
            with contextlib.suppress(OSError):
                self._flag.touch()
        loop = asyncio.get_running_loop()
        client = self._client
        if client is None:
            for future in tuple(self._futures):
                future.cancel()
        else:
            self._go_on_with(self._tell_workers(client))
        loop.call_later(_GRACE_SECONDS, self._give_up)

    async def _tell_workers(self, client: Any) -> None:
        with contextlib.suppress(Exception):  # a cluster that is gone has nothing to stop
            await background.call_in_thread(
                lambda: client.run(stop_chunks, self._key, on_error="ignore"), "map"
            )

    def _give_up(self) -> None:
        for future, rows in tuple(self._futures.items()):
            future.cancel()
            for row in rows:
                row.end_cancelled(self._reason)

    def _end_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        for row in waiting:
            row.end_cancelled(self._reason)

    # Sending -------------------------------------------------------------------------------------------

    def _chunk_rows(self) -> int:
        """So many that all workers have something to do, and few, as a worker that dies loses a chunk."""
        return max(1, min(_MAX_CHUNK_ROWS, self._concurrency // self._places[0]))

    def _count_places(self) -> tuple[int, int]:
        """How many chunks can be under way, and in how many processes, as far as the executor says."""
        if self._client is not None:
            threads = list(self._client.nthreads().values())
            return max(1, sum(threads)), max(1, len(threads))
        places = getattr(self._executor, "_max_workers", None) or os.cpu_count() or 1
        return places, 1 if isinstance(self._executor, ThreadPoolExecutor) else places

    def _send(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._waiting:
            rows, self._waiting = self._waiting, []
            self._go_on_with(self._portion(rows))

    def _go_on_with(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._chunks.add(task)
        task.add_done_callback(self._chunk_ended)

    async def _portion(self, rows: list[SentRow]) -> None:
        """Sends rows in chunks that suit the workers that are there now."""
        now = time.monotonic()
        if self._counted_at is None or now - self._counted_at > _COUNT_SECONDS:
            self._counted_at = now
            try:
                self._places = await background.call_in_thread(self._count_places, "map")
            except Exception as exc:  # noqa: BLE001  # a cluster that is gone
                self._end_lost(rows, _trouble(exc))
                return
        size = self._chunk_rows()
        for begin in range(0, len(rows), size):
            self._go_on_with(self._do(rows[begin : begin + size]))

    async def _do(self, rows: list[SentRow]) -> None:
        if self._reason:  # stopped while workers were counted
            self._end_lost(rows, TaskFailed(self._reason))
            return
        try:
            # In a thread, as it may block. A fork of the loop's thread would take the loop along, too.
            future = await background.call_in_thread(lambda: self._submitted(rows), "map")
            self._futures[future] = rows
            try:
                told = await asyncio.wrap_future(future)
            finally:
                self._futures.pop(future, None)
        except asyncio.CancelledError:
            if background.is_being_cancelled():
                raise
            self._end_lost(rows, UsageError("The executor gave the rows up: it was closed, or is gone."))
        except Exception as exc:  # noqa: BLE001  # whatever an executor raises
            self._end_lost(rows, _trouble(exc))
        else:
            for row, text in zip(rows, told, strict=True):
                row.take(text, self._reason)

    def _submitted(self, rows: Sequence[SentRow]) -> Future[list[str]]:
        share = None if self._rate is None else self._rate / self._places[1]
        cells = [(row.position, row.cells) for row in rows]
        return self._executor.submit(do_chunk, Chunk(self._key, self._sent, cells, str(self._flag), share))

    def _chunk_ended(self, chunk: asyncio.Task[None]) -> None:
        self._chunks.discard(chunk)
        if self._reason and not self._chunks:
            with contextlib.suppress(OSError):
                self._flag.unlink(missing_ok=True)

    def _end_lost(self, rows: Sequence[SentRow], error: AesopError) -> None:
        for row in rows:
            if self._reason:
                row.end_cancelled(self._reason)
            else:
                row.end_failed(error)


class SentRow:
    """The run of a row on a worker. Lives on the loop's thread.

    Attributes:
        usage: What it sent and spent.
        status: Where it stands.
        error: What it ended with, or `None`.
        events: What happened in it.
    """

    def __init__(self, dispatcher: Dispatcher, cells: Row, position: int) -> None:
        self.cells = cells
        self.position = position
        self.usage = ev.Usage()
        self.status = Status.RUNNING
        self.error: BaseException | None = None
        self.events: tuple[ev.Event, ...] = ()
        self._dispatcher = dispatcher
        self._run_id = f"{dispatcher.map_id}.{position + 1}"
        self._value: Any = None
        self._stored: StoredRow | None = None
        self._is_restorable = False
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def to_end(self) -> None:
        """Has it done; returns when it has ended."""
        self._dispatcher.add(self)
        await self._ended

    def stop(self, reason: str) -> None:
        """Cancels it, with all others."""
        self._dispatcher.stop(reason)

    def end_cancelled(self, reason: str) -> None:
        """Ends it as cancelled."""
        self._end(Status.CANCELLED, TaskCancelled(f"The row was cancelled ({reason})."))

    def end_failed(self, error: BaseException) -> None:
        """Ends it as failed."""
        self._end(Status.FAILED, error)

    def _end(self, status: Status, error: BaseException | None) -> None:
        if not self._ended.done():
            self.status, self.error = status, error
            self._ended.set_result(None)

    def take(self, text: str, reason: str) -> None:
        """Takes what a worker says of it."""
        if self._ended.done():
            return
        try:
            self._read(json.loads(text), reason)
        except (ValueError, TypeError, KeyError, ResultMismatch) as exc:
            said = one_line(str(exc), 200)
            self.end_failed(TaskFailed(f"What the worker sent back cannot be read: {said}"))

    def _read(self, told: Any, reason: str) -> None:
        if told is None:
            self.end_cancelled(reason)
            return
        self._stored = stored = StoredRow(**told["stored"])
        self._is_restorable = told["is_restorable"]
        self.usage = ev.Usage(**told["usage"])
        created, *later = [ev.event_from_json(json.dumps(event)) for event in told["events"]]
        self.events = (created.model_copy(update={"parent_run_id": self._dispatcher.map_id}), *later)
        status = Status(stored.status)
        error = None if told["failure"] is None else _error(told["failure"])
        if status is Status.COMPLETED:
            if not self._is_restorable:
                self.end_failed(TaskFailed("The result cannot be sent back: JSON does not give it again."))
                return
            self._value = self._dispatcher.result.restore(json.loads(stored.result or "null"))
        self._end(status, error)

    def made(self) -> RowOutcome:
        """Gives what came of it."""
        stored = self._stored
        return RowOutcome(
            status=self.status,
            value=self._value,
            error=None if self.error is None else f"{type(self.error).__name__}: {self.error}",
            run_id=self._run_id if stored else None,
            seconds=stored.seconds if stored else None,
            tokens=self.usage.total_tokens if stored else None,
        )

    def stored(self, key: str | None, outcome: RowOutcome) -> StoredRow:
        """Gives what is kept of it."""
        is_done = outcome.status is Status.COMPLETED
        return StoredRow(
            run_id=self._run_id,
            row_key=key or "",
            status=outcome.status.value,
            result=self._stored.result if self._stored and is_done else None,
            error=outcome.error,
            seconds=outcome.seconds or 0.0,
            input_tokens=self.usage.input_tokens,
            output_tokens=self.usage.output_tokens,
            cost_usd=self.usage.cost_usd,
        )


def _error(failure: dict[str, Any]) -> BaseException:
    kind = getattr(errors, failure["kind"], TaskFailed)
    if not (isinstance(kind, type) and issubclass(kind, AesopError)):
        kind = TaskFailed
    made: Any
    if issubclass(kind, LimitExceeded):
        made = kind(failure["message"], limit=failure["limit"])
    elif issubclass(kind, errors.NeedsHuman):
        made = kind(failure["message"], question="")
    else:
        made = kind(failure["message"])
    if isinstance(made, ModelError):
        made.status_code, made.retryable = failure["status_code"], failure["retryable"]
    return made  # type: ignore[no-any-return]


def _trouble(exc: Exception) -> AesopError:
    """Says what an executor's own error means; a `UsageError` meets every row and so stops the map."""
    said = f"{type(exc).__name__}: {one_line(str(exc), 300)}"
    if type(exc).__name__ == "KilledWorker":
        return TaskFailed(f"The workers that were given this row died: {said}")
    if isinstance(exc, AesopError):
        return exc
    return UsageError(
        f"The executor cannot do the rows: {said}. Its workers need aesop_nb and the modules of the task, and all "
        "that the task is made of must be such that it can be sent to them."
    )


def _refuse_what_cannot_be_sent(executor: Executor, brief: Brief) -> None:
    if isinstance(executor, ThreadPoolExecutor):
        return
    if brief.memory_scope is not None:
        raise UsageError(
            "memory_scope= stays in this process, and executor= does rows elsewhere. Leave one out."
        )
    if getattr(brief.result.kind, "kinds", None) is not None:
        raise UsageError("A table with named columns as the result of a row cannot be sent to an executor.")
    for model in dict.fromkeys(brief.model_of(agent) for agent in brief.agents):
        _refuse_key(model)
    if _is_of_the_standard_library(executor):
        for part in _parts(brief):
            if getattr(part, "__module__", "") == "__main__":
                name = getattr(part, "__qualname__", repr(part))
                raise UsageError(
                    f"{name} {_STDLIB_LIMIT}. Put it into a module, or take an executor of dask or loky."
                )


def _is_of_the_standard_library(executor: Executor) -> bool:
    """Whether its processes get everything by name; told by name itself, as its module is not everywhere."""
    return any(kind.__module__ == "concurrent.futures.process" for kind in type(executor).__mro__)


def _refuse_key(model: Any) -> None:
    has_own = model.has_key_of_its_own if isinstance(model, OpenAIModel) else getattr(model, "api_key", None)
    if has_own:
        raise UsageError(
            f"The model {model.name!r} was given an api_key=, and keys are not sent to an executor. Set "
            "OPENAI_API_KEY here and in the environment of the workers, and leave api_key= out."
        )


def _parts(brief: Brief) -> list[Any]:
    """The types, functions and objects of the person's that a task is made of."""
    tools: list[Any] = [*brief.tools, *(tool for agent in brief.agents for tool in agent.tools)]
    models = [type(brief.model_of(agent)) for agent in brief.agents]
    values = [type(value) for value in brief.context.values()]
    found = [brief.result.validator, brief.policy, *(tool.function for tool in tools), *models, *values]
    waiting = [brief.result.annotation]
    while waiting:
        part = waiting.pop()
        found.append(part)
        waiting += part if isinstance(part, (list, tuple, set, frozenset)) else get_args(part)
    return found
