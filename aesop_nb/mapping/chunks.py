"""A few rows on a worker: what is sent there, how it is done there, and what comes back, as JSON."""

from __future__ import annotations

import asyncio
import json
import os
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from .. import background
from ..config import settings
from ..engine.attempts import Brief
from ..errors import ModelError
from ..results.result_types import ResultType
from ..store.event_rows import row_of
from .row_briefs import Binding, RowBriefs
from .row_runs import RowRuns

if TYPE_CHECKING:
    from ..models.transcript import Model
    from .row_runs import RowRun
    from .rows import Row

_LOOK_SECONDS = 0.1
_KEPT_MAPS = 16
_MADE_ANEW = frozenset({"result", "model_of"})  # these hold what no process can give to another
_imported_as = uuid.uuid4().hex


@dataclass(frozen=True, eq=False)
class Sent:
    """All that the rows of a map share, in a form that another process can have.

    Attributes:
        map_id: The map.
        process: The one that sent it, see `this_process`.
        fields: Those of the `Brief` that are sent as they are.
        annotation: The result type, as it was given.
        validator: What looks at results.
        models: Those of the agents, in their order.
    """

    map_id: str
    process: str
    fields: Mapping[str, Any]
    annotation: Any
    validator: Any
    models: Sequence[Model]
    columns: tuple[Any, ...]
    inputs: Mapping[str, int]
    words: Mapping[str, int]

    @classmethod
    def of(cls, map_id: str, brief: Brief, binding: Binding) -> Sent:
        """Gives what is sent of a brief."""
        told = {field.name: getattr(brief, field.name) for field in fields(Brief)}
        return cls(
            map_id=map_id,
            process=this_process(),
            fields={name: value for name, value in told.items() if name not in _MADE_ANEW},
            annotation=brief.result.annotation,
            validator=brief.result.validator,
            models=[brief.model_of(agent) for agent in brief.agents],
            columns=binding.columns,
            inputs=dict(binding.inputs),
            words=dict(binding.words),
        )

    def briefs(self) -> RowBriefs:
        """Gives the briefs of the rows, made anew."""
        models = dict(zip(self.fields["agents"], self.models, strict=True))
        result = ResultType.of(self.annotation, self.validator)
        brief = Brief(**self.fields, result=result, model_of=models.__getitem__)
        nothing: Any = None
        return RowBriefs(
            brief, Binding(task=nothing, columns=self.columns, inputs=self.inputs, words=self.words)
        )


@dataclass(frozen=True, eq=False)
class Chunk:
    """Some rows of a map.

    Attributes:
        key: Names the attempt at the map.
        rows: Position and cells.
        flag: A file; once it is there the rows are to be stopped.
        requests_per_second: This process' share of what all may send.
    """

    key: str
    sent: Sent
    rows: Sequence[tuple[int, Row]]
    flag: str
    requests_per_second: float | None


def this_process() -> str:
    """Names this process; a fork of it is another one."""
    return f"{os.getpid()}-{_imported_as}"


def do_chunk(chunk: Chunk) -> list[str]:
    """Does the rows and gives what came of each, as JSON; for a thread of a worker.

    In another process than the map's nothing is stored from then on: the map's process stores what comes back.
    """
    if chunk.sent.process != this_process():
        settings.store = "off"
    told: list[Any] = []
    ended = background.Latch()
    background.call_soon(_begin, chunk, told, ended)
    background.wait_for(ended)
    (found,) = told
    if isinstance(found, BaseException):
        raise found
    return list(found)


def stop_chunks(key: str) -> None:
    """Stops the chunks of a map that are under way in this process, and those that come yet."""
    _stopped.add(key)


_stopped: set[str] = set()
_known: dict[str, tuple[RowBriefs, RowRuns]] = {}


def _begin(chunk: Chunk, told: list[Any], ended: background.Latch) -> None:
    """On the loop's thread."""

    def note(done: asyncio.Task[list[str]]) -> None:
        error = RuntimeError("the worker ends") if done.cancelled() else done.exception()
        told.append(error if error is not None else done.result())
        ended.set()

    asyncio.get_running_loop().create_task(_do(chunk)).add_done_callback(note)


async def _do(chunk: Chunk) -> list[str]:
    runs = _runs(chunk)
    made = [runs.make(row, position) for position, row in chunk.rows]
    watch = asyncio.get_running_loop().create_task(_stop_when_told(chunk, made))
    try:
        if not _is_stopped(chunk):
            await asyncio.gather(*(run.to_end() for run in made))
    finally:
        watch.cancel()
    return [_told(run) for run in made]


def _runs(chunk: Chunk) -> RowRuns:
    """Those of a map are made once: agents count their turns by them."""
    key = f"{chunk.key} {chunk.requests_per_second}"
    if key not in _known:
        briefs = chunk.sent.briefs()
        config = briefs.brief.config
        if config.requests_per_second != chunk.requests_per_second:
            config = config.model_copy(update={"requests_per_second": chunk.requests_per_second})
        briefs.brief = replace(briefs.brief, config=config)
        task: Any = SimpleNamespace(
            name=briefs.brief.name, config=config, result_type=briefs.brief.result.annotation
        )
        _known[key] = briefs, RowRuns(chunk.sent.map_id, task, briefs)
        while len(_known) > _KEPT_MAPS:
            _known.pop(next(iter(_known)))
    return _known[key][1]


def _is_stopped(chunk: Chunk) -> bool:
    return chunk.key in _stopped or Path(chunk.flag).exists()


async def _stop_when_told(chunk: Chunk, made: Sequence[RowRun]) -> None:
    while not _is_stopped(chunk):  # noqa: ASYNC110  # another process makes the file
        await asyncio.sleep(_LOOK_SECONDS)
    for run in made:
        if not run.status.is_final:
            run.stop("the map was cancelled")


def _told(run: RowRun) -> str:
    if not run.status.is_final:
        return "null"  # stopped before it began
    outcome = run.made()
    stored = run.stored("restorable", outcome)
    error = run.error
    failure = None
    if error is not None:
        failure = {"kind": type(error).__name__, "message": str(error), "limit": getattr(error, "limit", "")}
        if isinstance(error, ModelError):
            failure |= {"status_code": error.status_code, "retryable": error.retryable}
    return json.dumps(
        {
            "is_restorable": bool(stored.row_key),
            "stored": asdict(stored),
            "usage": run.usage.model_dump(),
            "failure": failure,
            "events": [json.loads(row_of(event, "").body) for event in run.events],
        }
    )
