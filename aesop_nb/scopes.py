"""What surrounds a task while it is made: standing instructions, the parent task, a flow's defaults."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .config import settings

if TYPE_CHECKING:
    from .agents import Agent
    from .engine.clocks import RunClock


@dataclass(frozen=True, kw_only=True)
class Defaults:
    """What a surrounding flow gives to the tasks inside it that say nothing of their own."""

    agents: tuple[Agent, ...] = ()
    tools: tuple[Callable[..., Any], ...] = field(default=())
    instructions: tuple[str, ...] = ()
    model: Any = None


flow_defaults: ContextVar[Defaults] = ContextVar("aesop_flow_defaults", default=Defaults())  # noqa: B039
"""The innermost flow's defaults; a flow sets it for its `with` block."""

parent_task: ContextVar[Any] = ContextVar("aesop_parent_task", default=None)
"""The innermost `with task:`."""

parent_run: ContextVar[Any] = ContextVar("aesop_parent_run", default=None)
"""The run inside which code is called, if any: a task that a tool starts is its child."""

held_agents: ContextVar[frozenset[Agent]] = ContextVar("aesop_held_agents", default=frozenset())
"""The agents whose turns surround this code: a task inside a tool may use them although they are busy."""

call_clock: ContextVar[RunClock | None] = ContextVar("aesop_call_clock", default=None)
"""The clock of the tool call inside which code is called, if its time is limited."""

_standing: ContextVar[tuple[str, ...]] = ContextVar("aesop_instructions", default=())


@contextlib.contextmanager
def instructions(text: str | None) -> Iterator[None]:
    """Adds `text` to the instructions of every task made inside the block; `None` and `""` add nothing."""
    token = _standing.set((*_standing.get(), text) if text else _standing.get())
    try:
        yield
    finally:
        _standing.reset(token)


def standing_instructions() -> tuple[str, ...]:
    """The instructions of the flow and of all open `instructions(…)` blocks, outermost first."""
    return (*flow_defaults.get().instructions, *_standing.get())


_view: ContextVar[str | None] = ContextVar("aesop_view", default=None)


@contextlib.contextmanager
def viewed(level: str | None) -> Iterator[None]:
    """Shows the runs started inside the block that much, whatever `settings.view` says; `None` changes nothing."""
    token = _view.set(level or _view.get())
    try:
        yield
    finally:
        _view.reset(token)


def view_level() -> str:
    """How much is shown of a run that is started here: `"full"`, `"compact"` or `"off"`."""
    return _view.get() or settings.view
