"""What the kernel tests import inside the kernel: waiting without the rest of the product."""

import asyncio
import signal
import threading
import time

import ipywidgets

from aesop_nb.background import Latch, Wait
from aesop_nb.notebook.feeds import feed
from aesop_nb.notebook.pump import CellPump, kernel_line, serve, serve_widgets, unserve, why_not

__all__ = [
    "Latch",
    "Wait",
    "asyncio",
    "button",
    "how_the_kernel_listens",
    "ipywidgets",
    "kernel_line",
    "listen_for",
    "pump",
    "serve",
    "serve_widgets",
    "set_after",
    "signal",
    "threading",
    "time",
    "unserve",
    "wait_for",
    "wait_with",
    "why_not",
]

pump = CellPump()


def button(on_click=None, *, ours=True):
    """A button that prints when it was clicked; `ours` are the ones the pump serves."""
    made = ipywidgets.Button()
    made.latch = Latch()

    def clicked(_):
        print("clicked", time.time(), threading.current_thread() is threading.main_thread())
        if on_click is not None:
            on_click()
        made.latch.set()

    made.on_click(clicked)
    if ours:
        serve_widgets(made)
    return made


def wait_for(latch, seconds=20.0):
    """Waits as the product does: looks up at each tick, runs what others submit."""
    wait_with(Wait(latch), seconds)


def wait_with(wait, seconds=20.0):
    """The same for a wait that others know."""
    latch = wait.latch
    end = time.monotonic() + seconds
    assert pump.applies()
    with pump.blocking(wait) as block:
        latch.on_set(wait.wake)
        while not latch.is_set():
            if time.monotonic() > end:
                raise TimeoutError("nobody set the latch")
            wait.run_submitted()
            block(0.25)


async def listen_for(latch, seconds=20.0, tick=0.25):
    """The awaiting form."""
    done = asyncio.get_running_loop().create_future()
    loop = asyncio.get_running_loop()
    latch.on_set(lambda: loop.call_soon_threadsafe(lambda: done.done() or done.set_result(None)))
    end = time.monotonic() + seconds
    assert pump.applies()
    with pump.listening():
        while not done.done():
            if time.monotonic() > end:
                raise TimeoutError("nobody set the latch")
            await asyncio.wait({done}, timeout=tick)


def set_after(seconds):
    """A latch that another thread sets after some time."""
    latch = Latch()
    timer = threading.Timer(seconds, latch.set)
    timer.daemon = True
    timer.start()
    return latch


def how_the_kernel_listens():
    """What must be the same before and after a wait."""
    return id(feed().callback), signal.getsignal(signal.SIGINT)
