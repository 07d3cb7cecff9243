"""Small things that the tests of the core share."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aesop_nb
from aesop_nb import Run, Task
from aesop_nb.testing import ScriptedModel, call, result

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from aesop_nb.models.transcript import ModelRequest

REPOSITORY = Path(__file__).parents[1]


def event_types(run: Run[Any]) -> list[str]:
    return [event.type for event in run.events]


def system_text(request: ModelRequest) -> str:
    return request.messages[0].text


def last_text(request: ModelRequest) -> str:
    """What the model was told last: a tool's result, a correction, or the task."""
    message = request.messages[-1]
    return str(getattr(message, "text", ""))


def offered(request: ModelRequest) -> list[str]:
    return [tool.name for tool in request.tools]


def eventually(holds: Callable[[], bool], *, within_seconds: float = 2.0) -> bool:
    """Looks every 5 ms whether something holds, and gives up after a time."""
    until = time.monotonic() + within_seconds
    while time.monotonic() < until:
        if holds():
            return True
        time.sleep(0.005)
    return holds()


@contextmanager
def at_every_start(hook: Callable[[Run[Any]], object]) -> Iterator[None]:
    """Calls `hook(run)` for the runs started inside the block."""
    stop = aesop_nb.on_run_start(lambda run: (hook(run), None)[1])
    try:
        yield
    finally:
        stop()


def run_python(
    code: str, *, environment: Mapping[str, str] | None = None, timeout_seconds: float = 30
) -> subprocess.CompletedProcess[str]:
    """Runs `code` in a fresh interpreter that finds this package and no key or setting."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "AESOP_"))}
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={**clean, "PYTHONPATH": str(REPOSITORY), **(environment or {})},
        capture_output=True,
        text=True,
        timeout=timeout_seconds,
        check=False,
    )


def said_by(code: str, **options: Any) -> Any:
    """What `code` printed as JSON in a fresh interpreter that ended well."""
    done = run_python(code, **options)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def waiting_for_ever(**options: Any) -> Task[str]:
    return Task("Wait", name="wait", model=ScriptedModel("late", delay_seconds=60), **options)


def double(number: int) -> int:
    return number * 2


def one_tool_task() -> Task[int]:
    return Task(
        "Double 4",
        result_type=int,
        tools=[double],
        model=ScriptedModel(call("double", number=4), result(8)),
    )


def tasks_on_the_loop() -> list[asyncio.Task[Any]]:
    """The asyncio tasks of all runs, read on the loop itself by an async tool of a run."""
    found: list[asyncio.Task[Any]] = []

    async def look() -> None:
        found.extend(asyncio.all_tasks() - {asyncio.current_task()})

    Task("Look", tools=[look], model=ScriptedModel(call("look"), "seen")).start().wait(5)
    return [task for task in found if not task.done()]


def open_files() -> int:
    """File descriptors in use; 0 where the system does not say."""
    listing = Path("/proc/self/fd")
    return len(list(listing.iterdir())) if listing.is_dir() else 0


def tool_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("aesop-tool")]
