"""Hand typed, bounded tasks to language-model agents from a notebook and get DataFrames back."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .mapping.registering import register_when_pandas_is_there

if TYPE_CHECKING:
    from .agents import Agent
    from .config import Settings, TaskConfig, settings, temporary_settings
    from .decorators import TaskFunction, task
    from .errors import (
        AesopError,
        LimitExceeded,
        ModelError,
        ModelNotConfigured,
        ModelRefused,
        ModelReplyInvalid,
        ModelUnavailable,
        NeedsHuman,
        ResultInvalid,
        RunInterrupted,
        RunStateError,
        StoreError,
        TaskCancelled,
        TaskFailed,
        ToolFailed,
        UpstreamFailed,
        UsageError,
    )
    from .events import Usage
    from .history.histories import costs, replay, run, runs, why_not_reused
    from .history.transfer import export_history, import_history
    from .mapping.map_runs import MapRun, on_map_start
    from .mapping.maps import Map
    from .models.openai_model import OpenAIModel
    from .models.rehearsal import RehearsalModel
    from .quick import ask
    from .remembering.memories import memory
    from .runlogs import Status
    from .running import Run, on_run_start
    from .scopes import instructions
    from .tasks import Task
    from .tools import Tool, tool

    last: Run[Any] | None

__version__ = "0.1.0"

_HOMES = {
    "Agent": "agents",
    "AesopError": "errors",
    "LimitExceeded": "errors",
    "ModelError": "errors",
    "ModelNotConfigured": "errors",
    "ModelRefused": "errors",
    "ModelReplyInvalid": "errors",
    "ModelUnavailable": "errors",
    "NeedsHuman": "errors",
    "OpenAIModel": "models.openai_model",
    "RehearsalModel": "models.rehearsal",
    "ResultInvalid": "errors",
    "Run": "running",
    "RunInterrupted": "errors",
    "RunStateError": "errors",
    "Settings": "config",
    "Status": "runlogs",
    "StoreError": "errors",
    "Task": "tasks",
    "TaskCancelled": "errors",
    "TaskConfig": "config",
    "TaskFailed": "errors",
    "TaskFunction": "decorators",
    "Tool": "tools",
    "ToolFailed": "errors",
    "UpstreamFailed": "errors",
    "Usage": "events",
    "UsageError": "errors",
    "ask": "quick",
    "instructions": "scopes",
    "Map": "mapping.maps",
    "MapRun": "mapping.map_runs",
    "memory": "remembering.memories",
    "on_map_start": "mapping.map_runs",
    "on_run_start": "running",
    "runs": "history.histories",
    "costs": "history.histories",
    "export_history": "history.transfer",
    "import_history": "history.transfer",
    "replay": "history.histories",
    "run": "history.histories",
    "why_not_reused": "history.histories",
    "settings": "config",
    "task": "decorators",
    "temporary_settings": "config",
    "tool": "tools",
}

__all__ = [  # noqa: RUF022  # sorted without regard to case, as people look names up
    "AesopError",
    "Agent",
    "ask",
    "costs",
    "export_history",
    "import_history",
    "instructions",
    "last",
    "LimitExceeded",
    "load_ipython_extension",
    "Map",
    "MapRun",
    "memory",
    "ModelError",
    "ModelNotConfigured",
    "ModelRefused",
    "ModelReplyInvalid",
    "ModelUnavailable",
    "NeedsHuman",
    "on_map_start",
    "on_run_start",
    "OpenAIModel",
    "RehearsalModel",
    "replay",
    "ResultInvalid",
    "run",
    "Run",
    "RunInterrupted",
    "runs",
    "RunStateError",
    "Settings",
    "settings",
    "Status",
    "StoreError",
    "Task",
    "task",
    "TaskCancelled",
    "TaskConfig",
    "TaskFailed",
    "TaskFunction",
    "temporary_settings",
    "tool",
    "Tool",
    "ToolFailed",
    "unload_ipython_extension",
    "UpstreamFailed",
    "Usage",
    "UsageError",
    "why_not_reused",
]


def __getattr__(name: str) -> Any:
    """Loads a public name when it is first used, so that importing the package costs nothing."""
    if name == "last":
        return importlib.import_module(".sessions", __name__).last_run()
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{home}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


def load_ipython_extension(shell: Any) -> None:
    """Adds the magics and the live view to an IPython shell; `%load_ext aesop_nb` calls it."""
    importlib.import_module(".notebook", __name__).load(shell)


def unload_ipython_extension(shell: Any) -> None:
    """Takes them out again; `%unload_ext aesop_nb` calls it."""
    importlib.import_module(".notebook", __name__).unload(shell)


register_when_pandas_is_there()
