"""`memory`: what is remembered between tasks, by key and scope; agents use it through `memory_tools.py`."""

from __future__ import annotations

import contextlib
import inspect
import json
import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from .. import scopes
from ..config import settings
from ..errors import UsageError
from ..texts import nearest, visible_traceback
from .memory_values import as_json, checked_key
from .projects import project_namespace
from .shelves import OwnShelf, Shelf, StoredShelf, permanence_problem

if TYPE_CHECKING:
    import pandas as pd

MemoryScope: TypeAlias = Literal["task", "session", "permanent"]
SCOPES: tuple[MemoryScope, ...] = get_args(MemoryScope)
"""Where something is remembered, from the shortest to the longest."""

Subscriber: TypeAlias = Callable[[str, Any, MemoryScope], object]

_LOGGER = logging.getLogger("aesop_nb")


@dataclass(frozen=True, slots=True)
class _Place:
    """One memory: a scope, and whose it is (the run of a task's, the project of a permanent one)."""

    scope: MemoryScope
    owner: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class _Subscription:
    function: Subscriber
    places: tuple[_Place, ...]
    hears_all_tasks: bool

    def hears(self, place: _Place) -> bool:
        return place in self.places or (self.hears_all_tasks and place.scope == "task")


class Memory:
    """Keys and JSON values that outlive a task: `memory.set("tone", "dry")`, `memory.get("tone")`.

    There are three scopes, and none sees into another:

    - `"task"` belongs to one run and the runs inside it, and is gone when it ends. Only code inside the run can
      use it: its tools and its result validator. Of runs inside each other it belongs to the outermost whose
      task has `memory_scope="task"`, else to the outermost.
    - `"session"` belongs to this process, in a notebook to the kernel.
    - `"permanent"` is kept in the store, for this project: `settings.project`, else the folder that holds the
      `pyproject.toml` or `.git`, else the working folder.

    Where no scope is given, it is the `memory_scope` of the task inside which the code runs, else `"session"`.
    Keys are exact texts, `"A"` is not `"a"`. Values are what JSON can hold; what comes back is a copy.
    All methods may be called from any thread. A tool that goes on after the end of its run changes nothing.
    """

    def __init__(self) -> None:
        self._session = OwnShelf()
        self._of_runs: dict[str, OwnShelf] = {}
        self._subscriptions: list[_Subscription] = []

    def __repr__(self) -> str:
        return "<aesop_nb.memory: get, set, delete, keys, clear, subscribe, to_frame>"

    def get(self, key: str, default: Any = None, *, scope: MemoryScope | None = None) -> Any:
        """Gives the value under `key`, or `default` if there is none.

        Raises:
            UsageError: If the key is no text, or the scope cannot be used here.
            StoreError: If the permanent memory cannot be read.
        """
        text = self._shelf(self._place(scope)).get(checked_key(key))
        return default if text is None else json.loads(text)

    def set(self, key: str, value: Any, *, scope: MemoryScope | None = None) -> None:
        """Remembers `value` under `key`, in place of what was there.

        Args:
            key: Any text that is not empty, at most `MAX_KEY_CHARACTERS` long.
            value: `None`, a bool, int, float or text, or lists and dicts of them; at most 1 MiB.
            scope: See `Memory`.

        Raises:
            UsageError: If the value is something else or too large, or the scope cannot be used here.
            StoreError: If the permanent memory cannot be written.
        """
        key = checked_key(key)
        text = as_json(key, value)
        place = self._place_to_change(scope)
        self._shelf(place).set(key, text)
        self._tell(place, key, text)

    def delete(self, key: str, *, scope: MemoryScope | None = None) -> bool:
        """Forgets what is under `key`; gives whether there was something.

        Raises:
            UsageError: If the key is no text, or the scope cannot be used here.
            StoreError: If the permanent memory cannot be written.
        """
        key = checked_key(key)
        place = self._place_to_change(scope)
        is_gone = self._shelf(place).delete(key)
        if is_gone:
            self._tell(place, key, "null")
        return is_gone

    def keys(self, *, scope: MemoryScope | None = None) -> list[str]:
        """Gives the keys of a scope, sorted.

        Raises:
            UsageError: If the scope cannot be used here.
            StoreError: If the permanent memory cannot be read.
        """
        return self._shelf(self._place(scope)).keys()

    def clear(self, *, scope: MemoryScope | None = None) -> int:
        """Forgets everything in one scope, and gives how many keys there were; nothing of it stays on disk.

        Raises:
            UsageError: If the scope cannot be used here.
            StoreError: If the permanent memory cannot be written.
        """
        place = self._place_to_change(scope)
        gone = self._shelf(place).clear()
        for key in gone:
            self._tell(place, key, "null")
        return len(gone)

    def subscribe(self, function: Subscriber, *, scope: MemoryScope | None = None) -> Callable[[], None]:
        """Calls `function(key, value, scope)` after each change that this process makes.

        It is called in the thread that made the change, with `None` as the value of a key that was deleted. What
        it raises is logged and harms nothing.

        Args:
            function: What is called; it gets a copy of the value.
            scope: Which changes it hears of; `None` is all. Of the `"task"` scope, code inside a run hears of
                its own, other code of every run's. Of the permanent memory, it hears of this project's.

        Returns:
            A function that ends it.

        Raises:
            UsageError: If there is no such scope.
        """
        if not callable(function) or inspect.iscoroutinefunction(function):
            raise UsageError(f"subscribe() takes a plain function of key, value and scope, not {function!r}.")
        wanted = SCOPES if scope is None else (_checked_scope(scope),)
        inside = scopes.parent_run.get() is not None
        subscription = _Subscription(
            function,
            tuple(self._place(each) for each in wanted if each != "task" or inside),
            hears_all_tasks="task" in wanted and not inside,
        )
        self._subscriptions.append(subscription)

        def stop() -> None:
            with contextlib.suppress(ValueError):
                self._subscriptions.remove(subscription)

        return stop

    def to_frame(self, *, scope: MemoryScope | None = None) -> pd.DataFrame:
        """One row per key, by scope and key.

        Args:
            scope: Which scope; `None` is all that can be seen from here. Without a store there is no
                permanent memory; where the store cannot be used, a warning says that it is left out.

        Returns:
            Columns: `scope` category (task, session, permanent), `key` str, `value` object (a JSON value),
            `updated_at` datetime64[us, UTC]. Index: 0..n-1.

        Raises:
            UsageError: If the scope cannot be used here.
            StoreError: If the permanent memory is asked for and cannot be read.
        """
        from ..frames import memory_df

        places = self._all_places() if scope is None else [self._place(scope)]
        return memory_df(
            (place.scope, entry.key, json.loads(entry.json), entry.updated_at)
            for place in places
            for entry in self._shelf(place).entries()
        )

    # Which memory is meant ---------------------------------------------------------------------------

    def _place(self, scope: MemoryScope | None) -> _Place:
        scope = _default_scope() if scope is None else _checked_scope(scope)
        if scope == "task":
            return _Place(scope, _owner().id)
        return _Place(scope, project_namespace() if scope == "permanent" else "")

    def _place_to_change(self, scope: MemoryScope | None) -> _Place:
        """Refuses changes by tools that were left behind: nothing is written after the end of a run."""
        ended = next((run for run in _runs_around() if run.status.is_final), None)
        if ended is not None:
            raise UsageError(f"Run {ended.id!r} has ended, and what it left behind changes no memory.")
        return self._place(scope)

    def _all_places(self) -> list[_Place]:
        """The memories that can be seen from here."""
        places = [self._place("session")]
        if scopes.parent_run.get() is not None:
            places.insert(0, self._place("task"))
        problem = permanence_problem()
        if problem is None:
            places.append(self._place("permanent"))
        elif settings.store != "off":
            warnings.warn(f"The permanent memory is left out. {problem}", stacklevel=3)
        return places

    def _shelf(self, place: _Place) -> Shelf:
        if place.scope == "session":
            return self._session
        if place.scope == "permanent":
            return StoredShelf(place.owner)
        return self._of_runs.get(place.owner) or self._new_shelf(place.owner)

    def _new_shelf(self, owner: str) -> Shelf:
        """Gives a shelf that is thrown away with the end of the run around this code."""
        run = _owner()
        shelf = self._of_runs.setdefault(owner, OwnShelf())
        run.on("*", lambda _: self._of_runs.pop(owner, None) if run.status.is_final else None)
        if run.status.is_final:  # a tool that was left behind goes on
            self._of_runs.pop(owner, None)
            raise UsageError(f"Run {owner!r} has ended, and its task's memory with it.")
        return shelf

    def _tell(self, place: _Place, key: str, text: str) -> None:
        for subscription in tuple(self._subscriptions):
            # One that is called before it may have ended this one.
            if subscription.hears(place) and subscription in self._subscriptions:
                try:
                    subscription.function(key, json.loads(text), place.scope)
                except Exception as exc:  # noqa: BLE001  # the person's own function
                    _LOGGER.error("a subscriber of the memory raised\n%s", visible_traceback(exc))


def _runs_around() -> list[Any]:
    """The runs inside which this code is called, the innermost first; of a map these are its rows."""
    runs, run = [], scopes.parent_run.get()
    while run is not None:
        if hasattr(run, "memory_scope"):  # a map has none: what one row remembers is not the others'
            runs.append(run)
        run = run.parent
    return runs


def _default_scope() -> MemoryScope:
    said: list[MemoryScope] = [run.memory_scope for run in _runs_around() if run.memory_scope]
    return said[0] if said else "session"


def _owner() -> Any:
    """The run whose task memory this code uses."""
    runs = _runs_around()
    if not runs:
        raise UsageError(
            "scope='task' belongs to a run and can be used only inside one, for example in a tool. "
            "Use scope='session' or 'permanent' here."
        )
    return next((run for run in reversed(runs) if run.memory_scope == "task"), runs[-1])


def _checked_scope(scope: MemoryScope) -> MemoryScope:
    if scope not in SCOPES:
        close = nearest(scope, SCOPES) if isinstance(scope, str) else ""
        raise UsageError(f"scope={scope!r} is none of {', '.join(SCOPES)}.{close}")
    return scope


memory = Memory()
"""The memory of this process."""
