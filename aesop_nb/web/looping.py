"""The web tools do their work on the loop of all runs, wherever they are awaited."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from .. import background

T = TypeVar("T")


async def on_the_loop(make: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Awaits `make()` on the loop of all runs, with the caller's context; cancelling it cancels that."""
    if background.is_loop_thread():
        return await make()
    done: concurrent.futures.Future[T] = concurrent.futures.Future()

    def begin() -> None:
        if not done.set_running_or_notify_cancel():
            return
        task = asyncio.get_running_loop().create_task(make())
        stops.append(lambda: background.call_soon(task.cancel))
        task.add_done_callback(lambda task: _hand_over(task, done))

    stops: list[Callable[[], None]] = []
    background.call_soon(begin)
    try:
        return await asyncio.wrap_future(done)
    except asyncio.CancelledError:
        for stop in stops:
            stop()
        raise


def _hand_over(task: asyncio.Task[T], done: concurrent.futures.Future[T]) -> None:
    if task.cancelled():
        done.set_exception(asyncio.CancelledError())
    elif (error := task.exception()) is not None:
        done.set_exception(error)
    else:
        done.set_result(task.result())
