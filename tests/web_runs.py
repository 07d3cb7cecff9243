"""What the tests of the web tools share: a web without a network, and runs that read it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aesop_nb import Run, Task, TaskConfig
from aesop_nb.testing import ScriptedModel, call
from aesop_nb.web import fetch_page, network

if TYPE_CHECKING:
    from web_server import WebSite

DATA = Path(__file__).parent / "data"

PUBLIC = "93.184.215.14"


def rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (DATA / f"{name}.jsonl").read_text().splitlines()]


class FakeWeb:
    """Names with public addresses, all of which lead to one local site; counts look-ups and connections.

    Args:
        monkeypatch: Takes the names back.
        site: Where all of them lead.
        encrypts: Whether encryption is real; otherwise the site need not know it.

    Attributes:
        answers: What a look-up gives, where it is not the one public address.
        looked_up: The names, in order.
        connected: Address and port of every connection, in order.
    """

    def __init__(self, monkeypatch: Any, site: WebSite, *, encrypts: bool = True) -> None:
        self.answers: dict[str, Callable[[], Sequence[str]]] = {}
        self.looked_up: list[str] = []
        self.connected: list[tuple[str, int]] = []
        self._lock = threading.Lock()
        connect = network.connect

        def look_up(host: str, port: int) -> list[str]:
            with self._lock:
                self.looked_up.append(host)
            return list(self.answers.get(host, lambda: [PUBLIC])())

        async def connect_here(address: str, port: int) -> Any:
            self.connected.append((address, port))
            stream = await connect("127.0.0.1", site.port)
            return stream if encrypts else _Plain(stream)

        monkeypatch.setattr(network, "look_up", look_up)
        monkeypatch.setattr(network, "connect", connect_here)


class _Plain:
    """A stream that says it is encrypted and is not."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    async def start_tls(self, *_: Any, **__: Any) -> _Plain:
        return self


def local(site: WebSite, **limits: Any) -> TaskConfig:
    """Limits that allow a site of this machine."""
    return TaskConfig(allowed_domains=[site.host], allow_private_hosts=True, **limits)


def run_with(config: TaskConfig, *turns: Any, **options: Any) -> Run[Any]:
    """A run whose model makes these turns and then says that it is done."""
    run = Task("Read", model=ScriptedModel(*turns, "done"), config=config, **options).start()
    run.wait_for_end(30)
    return run


def fetches(*urls: str) -> list[Any]:
    """A turn that asks for several pages at once."""
    return [call("fetch_page", url=url) for url in urls]


def read(url: str, config: TaskConfig) -> str:
    """What the model is told of a page: its text, or why it could not be read."""
    run = run_with(config, call("fetch_page", url=url), tools=[fetch_page])
    [step] = run.log.steps
    return step.output if step.output is not None else f"Error: {step.error}"


def read_all(urls: Iterable[str], config: TaskConfig) -> list[str]:
    """What the model would be told of each of many pages, read one after the other in one run."""
    told: list[str] = []

    async def read_each() -> None:
        for url in urls:
            try:
                told.append(await fetch_page(url))
            except Exception as exc:
                told.append(f"Error: {exc}")

    run_with(config, call("read_each"), tools=[read_each])
    return told
