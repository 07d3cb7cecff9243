"""Tasks before a task: finding them in its inputs, running them, and putting their results in their place."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from . import scopes
from .errors import AesopError, TaskFailed, UpstreamFailed, UsageError
from .runlogs import Status

if TYPE_CHECKING:
    from .running import Run
    from .tasks import Task

_PLAIN = frozenset({str, int, float, bool, type(None), bytes})


def find_inside(value: Any, wanted: type) -> Iterator[Any]:
    """Gives the objects of class `wanted` anywhere in lists, tuples, sets and dicts."""
    if isinstance(value, wanted):
        yield value
        return
    items = value.values() if isinstance(value, Mapping) else value
    if not isinstance(value, (Mapping, list, tuple, set, frozenset)):
        return
    if set(map(type, items)) <= _PLAIN:  # so that millions of numbers cost milliseconds
        return
    for item in items:
        yield from find_inside(item, wanted)


def replace_inside(value: Any, wanted: type, replacement: Callable[[Any], Any]) -> Any:
    """Gives `value` with every object of class `wanted` replaced; containers are copied only if they change."""
    if isinstance(value, wanted):
        return replacement(value)
    if next(find_inside(value, wanted), None) is None:
        return value
    if isinstance(value, Mapping):
        return {name: replace_inside(item, wanted, replacement) for name, item in value.items()}
    items = [replace_inside(item, wanted, replacement) for item in value]
    if isinstance(value, (set, frozenset)):  # a result need not be hashable
        return items
    return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)


def refuse_cycles(task: Task[Any]) -> None:
    """Refuses tasks that wait for each other.

    Raises:
        UsageError: If there are any among those before `task`.
    """
    _refuse_cycles(task, (), set())


def _refuse_cycles(task: Task[Any], above: tuple[Task[Any], ...], clear: set[Task[Any]]) -> None:
    if task in above:
        names = " → ".join(repr(each.name) for each in (*above[above.index(task) :], task))
        raise UsageError(f"These tasks wait for each other: {names}.")
    if task in clear:
        return
    for before in task.upstream:
        _refuse_cycles(before, (*above, task), clear)
    clear.add(task)


async def results_before(task: Task[Any]) -> tuple[dict[Task[Any], Any], TaskFailed | None]:
    """Gives the results of the tasks before `task`, or why it cannot run; runs those that have not run.

    Called on the loop's thread.
    """
    runs: dict[Task[Any], Run[Any]] = {}
    try:
        for before in task.upstream:
            try:
                runs[before] = _needed_run(before)
            except AesopError as exc:
                return {}, UpstreamFailed(f"{task.name} did not run: {before.name!r} before it: {exc}")
        for before, run in runs.items():
            await before.until_ended(run)
    finally:
        for run in runs.values():
            run.needed_by -= 1
            if run.is_on_demand and not run.needed_by:
                run.cancel("nothing needs it any more")
    for before, run in runs.items():
        if run.status is not Status.COMPLETED:
            cause = f"{run.status}: {run.error}"
            failure = UpstreamFailed(f"{task.name} did not run: {before.name!r} before it {cause}")
            failure.__cause__ = run.error
            return {}, failure
    return {before: run.result for before, run in runs.items()}, None


def _needed_run(task: Task[Any]) -> Run[Any]:
    """Gives the run whose result is used, begun if need be; nobody's child, since several may need it."""
    if task.runs and (task.status is Status.COMPLETED or not task.status.is_final):
        run = task.runs[-1]
    else:
        nobody = scopes.parent_run.set(None)
        try:
            run = task.start()
        finally:
            scopes.parent_run.reset(nobody)
        run.is_on_demand = True
    run.needed_by += 1
    return run
