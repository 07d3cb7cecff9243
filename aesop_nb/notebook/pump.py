"""Lets clicks on our widgets reach Python while a cell waits: the pump.

A kernel reads its next message when the cell has ended, so a cell that waits for a person's answer would wait
for ever. While a cell waits in `blocking()` or `listening()`, the pump stands where the kernel's own callback
stood on the stream that feeds the cell's thread. Messages of our widgets are handled at once; everything else
goes, in the order of arrival, to the kernel's callback, which only queues it.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import math
import signal
import socket
import threading
import time
import types
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any

from .feeds import DeafError, Feed, feed, kernel_version

if TYPE_CHECKING:
    from collections.abc import Awaitable, Generator, Iterator

    from ..background import Wait

_UserCode = Callable[[], AbstractContextManager[object]]

_CONTROL_TARGET = "jupyter.widget.control"
"""Over this comm a reloaded page asks for the state of all widgets."""

_REQUESTS = frozenset({"comm_info_request", "kernel_info_request"})
"""What a front end asks when it connects again; it shows no widget before it has both answers."""

_served: set[str] = set()


def serve(comm_id: str) -> None:
    """Has messages of this comm handled while any cell waits."""
    _served.add(comm_id)


def unserve(comm_id: str) -> None:
    """Takes back `serve`: messages of the comm wait for the end of the cell again."""
    _served.discard(comm_id)


def serve_widgets(*widgets: Any) -> Callable[[], None]:
    """Serves the comms of these ipywidgets and of all widgets inside them.

    Returns:
        A function that takes these comms out again, also after the widgets were closed.
    """
    comm_ids: set[str] = set()
    _collect_comm_ids(widgets, comm_ids)
    _served.update(comm_ids)
    return lambda: _served.difference_update(comm_ids)


def _collect_comm_ids(value: Any, found: set[str]) -> None:
    from ipywidgets import Widget

    if isinstance(value, list | tuple):
        for item in value:
            _collect_comm_ids(item, found)
    elif isinstance(value, Widget) and value.model_id is not None and value.model_id not in found:
        found.add(value.model_id)
        for name in list(value.keys):
            _collect_comm_ids(getattr(value, name), found)


class CellPump:
    """A `Blocker` for the threads in which an ipykernel runs cells."""

    def applies(self) -> bool:
        """Whether the calling thread runs a cell of an ipykernel that is built as we know it."""
        return why_not() is None

    @contextlib.contextmanager
    def blocking(self, wait: Wait) -> Iterator[Callable[[float], None]]:
        """Gives `block(seconds)`, which handles clicks until `wait.wake()` or the time is over."""
        tap = _Tap.on(feed())
        with _SoftInterrupt() as interrupt, _Waker() as waker, tap.open(copy_context()):
            wait.waker = interrupt.wake = waker.wake
            wait.user_code = interrupt.user_code
            try:
                yield _Blocked(tap, waker, interrupt).block
            finally:
                wait.user_code = nullcontext

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Handles clicks from the running loop, for a coroutine that awaits inside."""
        with _Tap.on(feed()).open(copy_context()):
            yield


def why_not() -> str | None:
    """One sentence that says why clicks cannot be heard while this cell runs; `None` when they can."""
    try:
        feed()
    except DeafError as exc:
        return str(exc)
    return None


def kernel_line() -> str:
    """One line for `%aesop doctor`: the kernel, and the way a click takes into a running cell, or why none."""
    try:
        route = feed().route.name
    except DeafError as exc:
        return f"clicks do not reach a running cell: {exc}"
    return f"ipykernel {kernel_version()}: clicks reach a running cell over {route}"


class _Tap:
    """Stands in the place of the kernel's callback on one stream, for all that wait in its thread."""

    def __init__(self, feed: Feed) -> None:
        self.feed = feed
        self._kernel_callback = feed.callback
        self._ours = self._take_from_loop  # kept, because a bound method is a new object each time
        self._contexts: list[Context] = []
        self._queued: set[asyncio.Future[Any]] = set()

    @classmethod
    def on(cls, feed: Feed) -> _Tap:
        """The tap that stands on this stream already, shared by nested and parallel waits, or a new one."""
        return _taps.get(feed.stream) or cls(feed)

    @contextlib.contextmanager
    def open(self, context: Context) -> Iterator[None]:
        """Takes over until the last of those who opened it leaves; they may leave in any order.

        Args:
            context: The cell's context. Messages the loop brings are handled in copies of it.
        """
        if not self._contexts:
            _taps[self.feed.stream] = self
            self.feed.send_to(self._ours)
        self._contexts.append(context)
        try:
            yield
        finally:
            del self._contexts[[one is context for one in self._contexts].index(True)]
            callback = self.feed.callback
            if not self._contexts:
                del _taps[self.feed.stream]
                # Somebody else who stands there now passes on to us, and we to the kernel.
                if callback is self._ours:
                    callback = self._kernel_callback
            self.feed.send_to(callback)

    def _take_from_loop(self, frames: Any) -> None:
        """Takes a message that the loop has read."""
        if not self.feed.is_busy():
            self._pass_on(frames)
            return
        context = self._contexts[-1].copy() if self._contexts else copy_context()
        try:
            self.take(frames, context, nullcontext)
        except KeyboardInterrupt:
            # A callback waited itself and was interrupted. This must not end the kernel's loop: the
            # handler that stands now knows whether to raise here or to cancel the cell.
            signal.raise_signal(signal.SIGINT)

    def take(self, frames: Any, context: Context, user_code: _UserCode) -> None:
        """Handles a message of ours in `context`, a copy of the cell's, or passes it on."""
        if self._contexts and (found := self._read_if_ours(frames)):
            context.run(self._handle, *found, user_code)
        else:
            self._pass_on(frames)

    def _pass_on(self, frames: Any) -> None:
        assert self._kernel_callback is not None
        queued = self._kernel_callback(frames)
        if inspect.isawaitable(queued):
            self._keep(asyncio.ensure_future(queued))

    def _keep(self, future: asyncio.Future[Any]) -> None:
        # The loop itself holds tasks weakly.
        self._queued.add(future)
        future.add_done_callback(self._queued.discard)

    def _read_if_ours(self, frames: Any) -> tuple[Any, dict[str, Any]] | None:
        """The sender and the message, or `None` when it is for the kernel to queue."""
        session, copy = self.feed.session, self.feed.copy
        try:
            idents, parts = session.feed_identities(frames, copy=copy)
            # Without its content a message is only looked at. With it, the session notes the signature
            # and refuses to read the message again.
            peek = session.deserialize(parts, content=False, copy=copy)
            msg_type = peek["header"]["msg_type"]
            content = session.unpack(peek["content"]) if msg_type.startswith("comm_") else {}
            if self._is_ours(msg_type, content):
                return idents, session.deserialize(parts, content=True, copy=copy)
        except Exception:
            self.feed.log.debug("aesop_nb leaves a message to the kernel", exc_info=True)
        return None

    def _is_ours(self, msg_type: str, content: dict[str, Any]) -> bool:
        if msg_type == "comm_open":
            return content["target_name"] == _CONTROL_TARGET
        if msg_type in {"comm_msg", "comm_close"}:
            comm_id = content["comm_id"]
            target = getattr(self.feed.comms.get(comm_id), "target_name", None)
            return comm_id in _served or target == _CONTROL_TARGET
        return msg_type in _REQUESTS

    def _handle(self, idents: Any, message: dict[str, Any], user_code: _UserCode) -> None:
        """Does what the kernel does with a message, but leaves the cell the parent of all output."""
        is_request = message["header"]["msg_type"] in _REQUESTS
        # A front end sends one update of a widget and holds back the next until it hears `idle` for it.
        self.feed.publish("busy", message)
        try:
            with nullcontext() if is_request else user_code():
                result = self.feed.handle(idents, message)
                if inspect.isawaitable(result):
                    self._run(result)
        except Exception:
            self.feed.log.error("Exception in message handler:", exc_info=True)
        finally:
            self.feed.route.flush_replies()
            self.feed.publish("idle", message)
            if self.feed.is_busy():
                self.feed.publish("busy")

    def _run(self, handler: Awaitable[Any]) -> None:
        """Runs a handler's coroutine now; one that stops to wait for something goes on with the loop."""
        steps = handler.__await__()
        with contextlib.suppress(StopIteration):
            waits_for = next(steps)
            self._keep(asyncio.ensure_future(_rest(steps, waits_for)))


async def _rest(steps: Generator[Any, None, Any], waits_for: Any) -> None:
    @types.coroutine
    def resume() -> Generator[Any, None, None]:
        yield waits_for
        yield from steps

    await resume()


_taps: dict[Any, _Tap] = {}


class _Blocked:
    """One `blocking()`: waits for the stream's socket and for the waker."""

    def __init__(self, tap: _Tap, waker: _Waker, interrupt: _SoftInterrupt) -> None:
        import zmq

        self._tap = tap
        self._socket = tap.feed.socket
        self._waker = waker
        self._interrupt = interrupt
        self._wakes = 0
        self._no_wait, self._no_message = zmq.NOBLOCK, zmq.Again
        self._poller = zmq.Poller()
        self._poller.register(self._socket, zmq.POLLIN)
        self._poller.register(waker.fileno(), zmq.POLLIN)

    def block(self, seconds: float) -> None:
        """Handles messages until somebody wakes us or the time is over.

        Raises:
            KeyboardInterrupt: The kernel was interrupted. No message is lost by it.
        """
        deadline = time.monotonic() + seconds
        wakes = self._wakes  # a callback that comes back to this very function takes the wake from the socket
        with self._interrupt.deferred():
            while True:
                left = max(0.0, deadline - time.monotonic())
                ready = dict(self._poller.poll(math.ceil(left * 1000)))
                if self._waker.fileno() in ready:
                    self._waker.clear()
                    self._wakes += 1
                if self._socket in ready:
                    self._take_one()
                self._interrupt.raise_if_pending()
                if self._wakes != wakes or not left:
                    return

    def _take_one(self) -> None:
        try:
            # Not stream.flush(): it cannot be entered twice, and a callback may wait itself.
            frames = self._socket.recv_multipart(self._no_wait, copy=self._tap.feed.copy)
        except self._no_message:
            return
        self._tap.take(frames, copy_context(), self._interrupt.user_code)


class _Waker:
    """A socket that becomes readable when any thread, or a signal handler, calls `wake()`."""

    def __enter__(self) -> _Waker:
        # An RLock, because a signal handler may wake in the middle of wake().
        self._lock = threading.RLock()
        self._near, self._far = socket.socketpair()
        self._near.setblocking(False)
        self._far.setblocking(False)
        self._is_open = True
        return self

    def __exit__(self, *exc_info: object) -> None:
        # Under the lock, or a late wake() writes into whatever file gets the number of the closed one.
        with self._lock:
            self._is_open = False
            self._near.close()
            self._far.close()

    def fileno(self) -> int:
        return self._near.fileno()

    def wake(self) -> None:
        # A full buffer is readable, too.
        with self._lock, contextlib.suppress(BlockingIOError):
            if self._is_open:
                self._far.send(b"\0")

    def clear(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._near.recv(4096):
                pass


class _SoftInterrupt:
    """While entered in the main thread, lets SIGINT wait for a moment at which no message is lost.

    Python raises KeyboardInterrupt between any two steps, so also between taking a message from a socket and
    handing it over. Here it is raised by `raise_if_pending`; at once in `user_code`; and at once outside
    `deferred` when a second SIGINT finds the first still pending.
    """

    def __init__(self) -> None:
        self.wake: Callable[[], None] = lambda: None
        self._is_pending = False
        self._is_user_code = False
        self._is_deferred = False
        self._previous: Callable[[int, types.FrameType | None], Any] | None = None

    def __enter__(self) -> _SoftInterrupt:
        if threading.current_thread() is threading.main_thread():
            previous = signal.getsignal(signal.SIGINT)
            # A kernel ignores interrupts while no cell runs: a KeyboardInterrupt would end its loop then.
            if callable(previous):
                self._previous = previous
                signal.signal(signal.SIGINT, self._on_sigint)
        return self

    def __exit__(self, exc_type: type[BaseException] | None, *_: object) -> None:
        if self._previous is None:
            return
        signal.signal(signal.SIGINT, self._previous)
        if self._is_pending and not (exc_type and issubclass(exc_type, KeyboardInterrupt)):
            self._previous(signal.SIGINT, None)

    def _on_sigint(self, signum: int, frame: types.FrameType | None) -> None:
        if self._is_user_code or (self._is_pending and not self._is_deferred):
            # One signal, one exception, even when it falls on the very last step of user code.
            self._is_user_code = self._is_pending = False
            raise KeyboardInterrupt
        self._is_pending = True
        self.wake()

    def raise_if_pending(self) -> None:
        if self._is_pending:
            self._is_pending = False
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def user_code(self) -> Iterator[None]:
        """Inside, an interrupt raises at once."""
        before = self._is_user_code
        self._is_user_code = True
        try:
            yield
        finally:
            self._is_user_code = before

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Inside, no interrupt raises, but in `user_code`."""
        before = self._is_user_code, self._is_deferred
        self._is_user_code, self._is_deferred = False, True
        try:
            yield
        finally:
            self._is_user_code, self._is_deferred = before
