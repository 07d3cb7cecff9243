"""What agents get of the memory: `remember` and `recall`, for tasks with a `memory_scope` and no others."""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING, Any

from ..engine.prompts import fenced
from ..errors import StoreError, UsageError
from ..tools import Tool, make_tool
from .memories import MemoryScope, memory
from .shelves import permanence_problem

if TYPE_CHECKING:
    from collections.abc import Iterable

_MAX_KEYS_LISTED = 200


@cache
def memory_tools(scope: MemoryScope | None) -> tuple[Tool, ...]:
    """Gives the tools of a task with this `memory_scope`; none where it has no memory.

    The scope is fixed here: the model chooses keys and values, and nothing else.
    """
    if scope is None:
        return ()

    def remember(key: str, value: Any) -> str:
        """Keeps a value under a key, in place of what was there.

        Args:
            key: A short name to find it by again.
            value: A text, number, list or object.
        """
        memory.set(key, value, scope=scope)
        return "Remembered."

    def recall(key: str | None = None) -> str:
        """Gives what was remembered under a key; without a key, which keys there are.

        Args:
            key: The name it was remembered by, exactly.
        """
        return _listed(memory.keys(scope=scope)) if key is None else _recalled(key, scope)

    # A rehearsal leaves tools with side effects alone: its placeholders are nothing to remember. A secret is
    # kept nowhere, so not here either.
    return make_tool(remember, side_effects=True, takes_secrets=False), make_tool(recall, takes_secrets=False)


def refuse_taken_names(scope: MemoryScope | None, tools: Iterable[Tool]) -> None:
    """Refuses tools of the person's that are named like those of the memory, where it is offered.

    Raises:
        UsageError: If there is one.
    """
    own = {tool.name: tool for tool in memory_tools(scope)}
    for tool in tools:
        if tool.name in own and tool is not own[tool.name]:
            raise UsageError(
                f"{tool.name!r} is a tool that memory_scope={scope!r} brings. Give yours another name: "
                "tool(f, name=…)."
            )


def refuse_missing_memory(scope: MemoryScope | None) -> None:
    """Makes sure, before a task starts, that the memory it is promised can be read and kept.

    Raises:
        StoreError: If it is the permanent one, and the store cannot be used.
    """
    problem = permanence_problem() if scope == "permanent" else None
    if problem is not None:
        raise StoreError(f"memory_scope='permanent' cannot be kept. {problem}")


_MISSING = object()


def _recalled(key: str, scope: MemoryScope) -> str:
    value = memory.get(key, _MISSING, scope=scope)
    if value is _MISSING:
        return f"Nothing is remembered under this key. {_listed(memory.keys(scope=scope))}"
    return fenced(json.dumps(value, ensure_ascii=False), "what was remembered under this key, as JSON")


def _listed(keys: list[str]) -> str:
    if not keys:
        return "Nothing is remembered yet."
    shown = json.dumps(keys[:_MAX_KEYS_LISTED], ensure_ascii=False)
    counted = (
        f"the keys, {len(keys):,} in all"
        if len(keys) <= _MAX_KEYS_LISTED
        else (f"the first {_MAX_KEYS_LISTED} of {len(keys):,} keys")
    )
    return fenced(shown, f"{counted}, as JSON")
