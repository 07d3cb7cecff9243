"""What a task was made with, and tasks that differ from another one in a few arguments."""

from __future__ import annotations

from typing import Any

from .tasks import Task


def arguments_of(task: Task[Any]) -> dict[str, Any]:
    """Gives the arguments by name: `Task(**arguments_of(task))` is an equal task without runs."""
    return {
        "objective": task.objective,
        "name": task.name,
        "instructions": task.instructions,
        "context": task.context,
        "result_type": task._result_type,
        "agents": task._agents,
        "agent_policy": task._policy,
        "tools": task.tools,
        "user_access": task.user_access,
        "default_answer": task.default_answer,
        "approve": task.approve,
        "model": task.model,
        "config": task.config,
        "memory_scope": task.memory_scope,
        "reuse": task.reuse,
        "depends_on": task.depends_on,
        "parent": task.parent,
    }


def varied(task: Task[Any], **changes: Any) -> Task[Any]:
    """Gives a task like `task` with some arguments changed, inside the same flow and instructions.

    Raises:
        UsageError: If a changed argument does not fit.
    """
    made: Task[Any] = Task(**{**arguments_of(task), **changes})
    made._standing, made._flow = task._standing, task._flow
    return made
