"""The one thread that owns the event loop of all runs, and where callers wait for them."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import contextvars
import logging
import os
import threading
import time
from collections import deque
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from .errors import UsageError
from .texts import visible_traceback

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from contextlib import AbstractContextManager

T = TypeVar("T")

_LOGGER = logging.getLogger("aesop_nb")

TICK_SECONDS = 0.25
"""A waiting thread looks up at least this often: Windows cannot interrupt a lock that waits for ever."""

MAX_TOOL_THREADS = 48
"""Synchronous tools that work at the same time in this process."""

INTERRUPT_GRACE_SECONDS = 5.0
"""After an interrupt the caller waits this long for the run to end, then leaves it behind."""


class Latch:
    """An event that is set once, from any thread, and can be waited for in any thread or loop."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._set = False
        self._callbacks: list[Callable[[], None]] = []

    def is_set(self) -> bool:
        """Whether `set()` was called."""
        return self._set

    def set(self) -> None:
        """Sets the latch and calls everybody who asked for it; a second call does nothing."""
        with self._lock:
            if self._set:
                return
            self._set = True
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()

    def on_set(self, callback: Callable[[], None]) -> None:
        """Calls `callback` once, in the thread that sets the latch, or now if it is set."""
        with self._lock:
            if not self._set:
                self._callbacks.append(callback)
                return
        callback()

    def forget(self, callback: Callable[[], None]) -> None:
        """Takes back an `on_set`."""
        with self._lock, contextlib.suppress(ValueError):
            self._callbacks.remove(callback)


class Wait:
    """One caller that waits for a latch; other threads can wake it or hand it work.

    A blocker (see `Blocker`) sets `waker`, which may be called from any thread, and `user_code`, inside
    which an interrupt raises at once and not at the next `block()`.
    """

    def __init__(self, latch: Latch) -> None:
        self.latch = latch
        self.thread = threading.current_thread()
        self.waker: Callable[[], None] = lambda: None
        self.user_code: Callable[[], AbstractContextManager[object]] = contextlib.nullcontext
        self._work: deque[tuple[Callable[[], Any], Future[Any]]] = deque()

    def wake(self) -> None:
        """Ends the current `block()` of the waiting thread, or the next one at once."""
        self.waker()

    def submit(self, function: Callable[[], T]) -> Future[T]:
        """Has the waiting thread call `function`; used for `input()`, which belongs to that thread."""
        future: Future[T] = Future()
        self._work.append((function, future))
        self.wake()
        return future

    def run_submitted(self) -> None:
        """Calls, in the waiting thread, what other threads submitted."""
        while self._work:
            function, future = self._work.popleft()
            if not future.set_running_or_notify_cancel():
                continue
            try:
                with self.user_code():
                    value = function()
            except Exception as exc:  # noqa: BLE001  # told to the one who awaits
                future.set_exception(exc)
            except BaseException:
                # An interrupt is for the caller, who cancels the run; the loop must not get one.
                future.set_exception(InterruptedError("the waiting thread was interrupted"))
                raise
            else:
                future.set_result(value)

    def abandon_submitted(self) -> None:
        """Cancels what was submitted and not called."""
        while self._work:
            self._work.popleft()[1].cancel()


class Blocker(Protocol):
    """How a caller spends its time while it waits; the notebook brings one that listens to widgets."""

    def applies(self) -> bool:
        """Whether this blocker can serve the calling thread now."""
        ...

    def blocking(self, wait: Wait) -> AbstractContextManager[Callable[[float], None]]:
        """Gives `block(seconds)`, which returns when `wait.wake()` was called or the time is over.

        `block` raises KeyboardInterrupt at a moment when nothing can be lost by it.
        """
        ...

    def listening(self) -> AbstractContextManager[None]:
        """The same for a coroutine: the loop that runs already does the work while it awaits."""
        ...


class _PlainBlocker:
    """Waits on an event; the right thing in scripts, terminals, tests and threads."""

    def applies(self) -> bool:
        return True

    @contextlib.contextmanager
    def blocking(self, wait: Wait) -> Iterator[Callable[[float], None]]:
        event = threading.Event()
        wait.waker = event.set

        def block(seconds: float) -> None:
            event.wait(seconds)
            event.clear()

        yield block

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        yield


_blockers: list[Blocker] = [_PlainBlocker()]


def add_blocker(blocker: Blocker) -> Callable[[], None]:
    """Puts `blocker` before the others; the function it gives back takes it out again."""
    _blockers.insert(0, blocker)
    return lambda: _blockers.remove(blocker)


def _blocker() -> Blocker:
    return next(blocker for blocker in _blockers if blocker.applies())


# The loop ---------------------------------------------------------------------------------------------


class _LoopThread:
    """The loop of all runs and its daemon thread."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.is_closing = False
        self.loop = asyncio.new_event_loop()
        self.tool_slots = asyncio.Semaphore(MAX_TOOL_THREADS)
        self.thread = threading.Thread(target=self._run, name="aesop-loop", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        while True:
            try:
                self.loop.run_forever()
                return
            except (SystemExit, KeyboardInterrupt) as exc:
                # asyncio lets these two stop the loop; a validator that calls sys.exit() ends its own run only
                said = visible_traceback(exc)
                _LOGGER.error("code of a task tried to end the process from the loop of all runs\n%s", said)

    def close(self) -> None:
        """Cancels what still runs, calls the closers and stops; gives up after a second."""
        if self.pid != os.getpid():
            return
        done = asyncio.run_coroutine_threadsafe(self._wind_down(), self.loop)
        with contextlib.suppress(Exception):
            done.result(1.0)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(0.5)
        if not self.thread.is_alive():
            self.loop.close()

    async def _wind_down(self) -> None:
        self.is_closing = True
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=0.5)
        for closer in _closers:
            with contextlib.suppress(Exception):
                await closer()


_closers: list[Callable[[], Coroutine[Any, Any, None]]] = []
_current: _LoopThread | None = None
_starting = threading.Lock()


def _loop_thread() -> _LoopThread:
    global _current
    current = _current
    if current is None or current.pid != os.getpid():  # a fork leaves the thread behind
        with _starting:
            if _current is None or _current.pid != os.getpid():
                _current = _LoopThread()
                atexit.register(_current.close)
            current = _current
    return current


def at_close(closer: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Has the loop await `closer()` before the process ends; for clients with open sockets."""
    _closers.append(closer)


def is_loop_thread() -> bool:
    """Whether the caller runs on the loop's thread, where waiting would stop everything."""
    return _current is not None and threading.current_thread() is _current.thread


def is_closing() -> bool:
    """Whether the process is ending and the loop is winding down."""
    return _current is not None and _current.is_closing


def is_awaited() -> bool:
    """Whether some coroutine outside the loop's thread awaits a run."""
    return bool(_awaiting)


def is_being_cancelled() -> bool:
    """Whether the current asyncio task is stopped, and not something that it was awaiting."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def call_soon(function: Callable[..., Any], *args: Any) -> None:
    """Calls `function` soon on the loop, with the caller's context variables.

    Prints and displays made under those variables land in the cell that started the run.
    """
    _loop_thread().loop.call_soon_threadsafe(function, *args, context=contextvars.copy_context())


# Waiting ----------------------------------------------------------------------------------------------


def refuse_loop_thread() -> None:
    """Raises `UsageError` on the loop's own thread, which would wait for itself."""
    if is_loop_thread():
        raise UsageError(
            "A task was run synchronously inside an async tool, where it would wait for itself. "
            "Use `await task.run_async()` there, or make the tool a plain `def`."
        )


_waits: list[Wait] = []


def wait_for(
    latch: Latch, *, timeout_seconds: float | None = None, on_interrupt: Callable[[], None] = lambda: None
) -> bool:
    """Blocks the calling thread until `latch` is set; `False` if the time is over first.

    Args:
        latch: What to wait for.
        timeout_seconds: How long; `None` waits for ever.
        on_interrupt: Called at the first interrupt; the wait then lasts at most 5 s longer.

    Raises:
        KeyboardInterrupt: After an interrupt, once the latch is set, or at a second interrupt.
        UsageError: If called on the loop's own thread, which would wait for itself.
    """
    refuse_loop_thread()
    _give_back_place()
    wait = Wait(latch)
    until = None if timeout_seconds is None else time.monotonic() + timeout_seconds
    interrupted = False
    with _blocker().blocking(wait) as block, _registered(wait):
        latch.on_set(wait.wake)
        while not latch.is_set():
            left = TICK_SECONDS if until is None else until - time.monotonic()
            if left <= 0:
                break
            try:
                block(min(left, TICK_SECONDS))
                wait.run_submitted()
            except KeyboardInterrupt:
                if interrupted:
                    raise
                interrupted, until = True, time.monotonic() + INTERRUPT_GRACE_SECONDS
                on_interrupt()
        latch.forget(wait.wake)
    if interrupted:
        raise KeyboardInterrupt
    return latch.is_set()


@contextlib.contextmanager
def _registered(wait: Wait) -> Iterator[None]:
    _waits.append(wait)
    try:
        yield
    finally:
        _waits.remove(wait)
        wait.abandon_submitted()


async def wait_for_async(latch: Latch) -> None:
    """Awaits `latch` on whatever loop runs."""
    _give_back_place()  # a tool in a thread may run a loop of its own
    loop = asyncio.get_running_loop()
    woken = loop.create_future()

    def finish() -> None:
        if not woken.done():
            woken.set_result(None)

    def wake() -> None:
        with contextlib.suppress(RuntimeError):  # that loop was closed meanwhile: nobody waits there
            loop.call_soon_threadsafe(finish)

    latch.on_set(wake)
    try:
        if is_loop_thread():
            await woken
            return
        with _blocker().listening(), _counted_as_awaiting(latch):
            # The tick is what lets ■ end an awaiting cell: https://github.com/ipython/ipykernel/issues/881
            while not woken.done():
                await asyncio.wait({woken}, timeout=TICK_SECONDS)
    finally:
        latch.forget(wake)


_awaiting: list[Latch] = []


@contextlib.contextmanager
def _counted_as_awaiting(latch: Latch) -> Iterator[None]:
    _awaiting.append(latch)
    try:
        yield
    finally:
        _awaiting.remove(latch)


def callers_loop() -> asyncio.AbstractEventLoop:
    """Gives the event loop that runs in this thread.

    Raises:
        UsageError: If there is none.
    """
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise UsageError(
            'loop="caller" needs an event loop that runs in this thread, as a notebook has.'
        ) from None


def wait_on_callers_loop(latch: Latch) -> None:
    """Blocks until `latch` is set while the loop that runs in this thread goes on running.

    For tools that are bound to the notebook's own loop. It patches asyncio for the whole process
    (`nest_asyncio2.apply`), which is why nothing does it unasked.
    """
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError as exc:
        raise UsageError(
            'loop="caller" needs a running event loop in this thread, as a notebook has.'
        ) from exc
    import nest_asyncio2

    nest_asyncio2.apply(loop)
    loop.run_until_complete(wait_for_async(latch))


def submit_to_waiting_thread(function: Callable[[], T]) -> Future[T] | None:
    """Has a thread that waits for a run call `function`, the main thread first; `None` if none waits."""
    waits = sorted(_waits, key=lambda wait: wait.thread is threading.main_thread())
    return waits[-1].submit(function) if waits else None


# Threads for synchronous tools ------------------------------------------------------------------------

_local = threading.local()


async def call_in_thread(function: Callable[[], T], name: str) -> T:
    """Calls `function` in a daemon thread that sees the caller's context variables.

    At most `MAX_TOOL_THREADS` work at a time; one that waits for a run of its own gives its place to
    others, so that tasks inside tools cannot block each other. A cancelled call is left behind and counts no
    more, for a thread cannot be stopped; daemon threads never keep a kernel from ending.
    """
    home = _loop_thread()
    loop = asyncio.get_running_loop()
    future: asyncio.Future[tuple[T | None, BaseException | None]] = loop.create_future()
    context = contextvars.copy_context()
    await home.tool_slots.acquire()
    place = _Place(home)

    def deliver(value: T | None, error: BaseException | None) -> None:
        if not future.done():
            future.set_result((value, error))

    def work() -> None:
        _local.place = place
        value, error = None, None
        try:
            value = context.run(function)
        except BaseException as exc:  # noqa: BLE001  # told to the one who awaits, SystemExit included
            error = exc
        place.give_back()
        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
            loop.call_soon_threadsafe(deliver, value, error)

    try:
        threading.Thread(target=work, name=f"aesop-tool {name}", daemon=True).start()
    except RuntimeError:  # no more threads
        place.give_back()
        raise
    try:
        value, error = await future
    except asyncio.CancelledError:
        place.give_back()  # a tool that hangs for ever must not keep the others from working
        raise
    if error is not None:
        raise error
    return value  # type: ignore[return-value]


class _Place:
    """One of the `MAX_TOOL_THREADS` places; given back once, from any thread."""

    def __init__(self, home: _LoopThread) -> None:
        self._home = home
        self._lock = threading.Lock()
        self._is_taken = True

    def give_back(self) -> None:
        with self._lock:
            was_taken, self._is_taken = self._is_taken, False
        if was_taken:
            with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
                self._home.loop.call_soon_threadsafe(self._home.tool_slots.release)


def _give_back_place() -> None:
    place: _Place | None = getattr(_local, "place", None)
    if place is not None:
        place.give_back()
