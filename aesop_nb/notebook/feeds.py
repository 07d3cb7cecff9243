"""How an ipykernel feeds the thread in which a cell runs: every private name we use is in this module.

Where the names were seen; when one is missing, `feed()` says which, and nothing listens to clicks.

- `ipykernel` 6.29 to 7.4: `Kernel.shell_handlers`, `Kernel._publish_status(status, channel, parent)`.
- `ipykernel` 6.29 to 6.31, and 7.x without subshells: `Kernel.shell_stream`.
- `ipykernel` 7.0 to 7.4: `Kernel.shell_channel_thread.manager`, its methods
  `get_shell_channel_to_subshell_pair(None).to_stream` and `get_subshell_to_shell_channel_socket(None)`;
  `SubshellThread.shell_channel_to_subshell.to_stream` and `.subshell_to_shell_channel.from_socket`.
- `ipykernel` 7.0 to 7.4: `SubshellThread.asyncio_lock`. 6.29 to 7.4: SIGINT is ignored in the main thread but
  while a request is handled (`IPKernelApp.init_signal`, `Kernel.pre_handler_hook`).
- `pyzmq` 26 and 27: `ZMQStream._recv_callback` and `._recv_copy`, what `on_recv()` was given.
- `tornado` 6: `IOLoop.asyncio_loop`.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable


class DeafError(Exception):
    """Says in one sentence why this thread cannot hear clicks."""


class Route(Protocol):
    """The way of messages between the front end and one thread; each line of ipykernel has its own."""

    stream: Any
    """The ZMQStream that feeds the thread."""
    replies: Any
    """What the kernel's handlers send their replies to."""
    name: str

    def flush_replies(self) -> None:
        """Sends what a handler put into `replies`."""
        ...


class _ShellStream:
    """One stream reads requests and sends replies: ipykernel 6, and 7 without subshells."""

    name = "the shell stream"

    def __init__(self, kernel: Any) -> None:
        self.stream = self.replies = kernel.shell_stream

    def flush_replies(self) -> None:
        import zmq

        # A stream sends from the loop, and the loop stands still while the cell blocks it.
        self.stream.flush(zmq.POLLOUT)


class _SocketPair:
    """A thread reads the shell channel and passes on to the main thread and to subshells: ipykernel 7."""

    def __init__(self, kernel: Any) -> None:
        thread: Any = threading.current_thread()
        if hasattr(thread, "shell_channel_to_subshell"):
            self.name = "the socket pair of this subshell"
            self.stream = thread.shell_channel_to_subshell.to_stream
            self.replies = thread.subshell_to_shell_channel.from_socket
        else:
            self.name = "the socket pair of the main shell"
            manager = kernel.shell_channel_thread.manager
            self.stream = manager.get_shell_channel_to_subshell_pair(None).to_stream
            self.replies = manager.get_subshell_to_shell_channel_socket(None)

    def flush_replies(self) -> None:
        """Nothing to do: a plain socket sends at once."""


class Feed:
    """The kernel and the route of the calling thread, in the words the pump needs."""

    def __init__(self, kernel: Any, route: Route) -> None:
        self.route = route
        self.session = kernel.session
        self.log = kernel.log
        self.comms = kernel.comm_manager.comms
        self.stream = route.stream
        self.socket = route.stream.socket
        self.loop: asyncio.AbstractEventLoop = route.stream.io_loop.asyncio_loop
        self.copy: bool = route.stream._recv_copy
        self._handlers = kernel.shell_handlers
        self._publish_status = kernel._publish_status
        _ = self.callback

    @property
    def callback(self) -> Callable[[Any], Any] | None:
        """What gets the frames of each message now; `None` when nobody reads."""
        callback: Callable[[Any], Any] | None = self.stream._recv_callback
        return callback

    def send_to(self, callback: Callable[[Any], Any] | None) -> None:
        """Gives the frames of each message to `callback` from now on.

        Also wakes the loop for messages that came while the socket was polled by hand: a loop is told of each
        only once and would sleep on them.
        """
        self.stream.on_recv(callback, copy=self.copy)

    def is_busy(self) -> bool:
        """Whether the kernel handles a request in this thread, and so will publish `idle` for it.

        It does not while only a task runs that a cell left behind on the loop.
        """
        thread: Any = threading.current_thread()
        if thread is threading.main_thread():
            return signal.getsignal(signal.SIGINT) is not signal.SIG_IGN
        lock = getattr(thread, "asyncio_lock", None)
        return lock is None or bool(lock.locked())

    def handle(self, idents: Any, message: dict[str, Any]) -> Any:
        """Calls the kernel's handler for this message; gives a coroutine for some types."""
        return self._handlers[message["header"]["msg_type"]](self.route.replies, idents, message)

    def publish(self, status: str, message: dict[str, Any] | None = None) -> None:
        """Tells the front end `busy` or `idle`, for `message` or for the cell."""
        self._publish_status(status, "shell", message)


def feed() -> Feed:
    """What feeds the calling thread.

    Raises:
        DeafError: No cell runs in this thread, or the kernel is built in a way we do not know.
    """
    kernelbase = sys.modules.get("ipykernel.kernelbase")
    if kernelbase is None or not kernelbase.Kernel.initialized():
        raise DeafError("no ipykernel runs in this process, so there are no widgets to click.")
    kernel = kernelbase.Kernel.instance()
    try:
        has_one_stream = getattr(kernel, "shell_channel_thread", None) is None
        found = Feed(kernel, _ShellStream(kernel) if has_one_stream else _SocketPair(kernel))
    except AttributeError as exc:
        raise DeafError(f"ipykernel {kernel_version()} is built in a way we do not know: {exc}.") from exc
    # A socket belongs to one thread. The loop that reads it runs here exactly when a cell does.
    if _running_loop() is not found.loop:
        raise DeafError("this thread runs no cell.")
    if found.callback is None:
        raise DeafError("the kernel has stopped reading messages.")
    return found


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def kernel_version() -> str:
    """The version of the imported ipykernel."""
    return str(getattr(sys.modules.get("ipykernel"), "__version__", "of unknown version"))


def kernel_warning() -> str | None:
    """One sentence about a fault of the running kernel that we cannot mend, or `None`."""
    version = getattr(sys.modules.get("ipykernel"), "version_info", (0, 0))
    if (7, 0) <= tuple(version[:2]) < (7, 4):
        return (
            f"ipykernel {kernel_version()} can hang in Run All "
            "(https://github.com/ipython/ipykernel/issues/1554): install ipykernel>=7.4."
        )
    return None
