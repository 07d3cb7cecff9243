"""`%aesop doctor --check`: the one place that opens connections nobody's task has asked for."""

from __future__ import annotations

import asyncio
import http.client
import json
import re
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from .. import background
from ..errors import AesopError
from ..models.keys import Key
from ..models.transcript import Model, ModelRequest, SystemMessage, UserMessage
from ..texts import one_line
from .findings import Finding
from .wording import count, duration

T = TypeVar("T")

MODEL_SECONDS = 15.0
SERVER_SECONDS = 1.0

LOCAL_SERVERS = {11434: "Ollama", 1234: "LM Studio", 8080: "llama.cpp", 8000: "vLLM"}
"""Where servers of models listen on this machine unless told otherwise."""

_MAX_LIST_BYTES = 256_000
_MODEL_NAME = re.compile(r"[\w.:/@+-]{1,100}", re.ASCII)


def answering(model: Model) -> Finding:
    """Sends one tiny request, and says whether an answer comes."""
    about = "answer"
    request = ModelRequest(
        messages=(SystemMessage(text="Answer in one word."), UserMessage(text="Say ok.")),
    )
    begun = time.monotonic()
    try:
        reply = _on_the_loop(lambda: asyncio.wait_for(model.reply(request, lambda _: None), MODEL_SECONDS))
    except TimeoutError:
        return Finding(
            about,
            f"none within {MODEL_SECONDS:g} s",
            "Look at the address, and whether the server is loading a model.",
        )
    except AesopError as exc:
        said = Key(None).mask_all(one_line(str(exc), 300))
        return Finding(
            about, f"none: {type(exc).__name__}", f"{said} Mend it, then run %aesop doctor --check again."
        )
    took = duration(time.monotonic() - begun)
    return Finding(about, f"it answers: {took}, {count(reply.usage.total_tokens, 'token')}")


def _on_the_loop(make: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Runs a coroutine on the loop of all runs, which owns the clients, and waits for it here."""
    latch = background.Latch()
    tasks: list[asyncio.Task[T]] = []

    def begin() -> None:
        tasks.append(asyncio.get_running_loop().create_task(make()))
        tasks[0].add_done_callback(lambda _: latch.set())

    background.call_soon(begin)
    background.wait_for(latch, on_interrupt=lambda: background.call_soon(lambda: tasks[0].cancel()))
    return tasks[0].result()


def local_servers() -> list[Finding]:
    """Asks the usual ports of this machine for the models they offer."""
    with ThreadPoolExecutor(len(LOCAL_SERVERS)) as threads:
        found = list(threads.map(_models_at, LOCAL_SERVERS))
    servers = [
        _server(port, models) for port, models in zip(LOCAL_SERVERS, found, strict=True) if models is not None
    ]
    ports = ", ".join(map(str, LOCAL_SERVERS))
    return servers or [Finding("servers", f"none on this machine answers at the ports {ports}")]


def _server(port: int, models: list[str]) -> Finding:
    name = models[0] if models else "NAME"
    address = f"http://localhost:{port}/v1"
    use = f'import aesop_nb; aesop_nb.settings.base_url = "{address}"; aesop_nb.settings.model = "{name}"'
    offers = ", ".join(models[:5]) or "no model that it names"
    more = f" and {len(models) - 5} more" if models[5:] else ""
    return Finding(
        "server", f"one at port {port} ({LOCAL_SERVERS[port]}?) offers {offers}{more}", f"Use it: {use}"
    )


def _models_at(port: int) -> list[str] | None:
    """The models that a server at this port names, or `None` if none speaks as one of them does."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SERVER_SECONDS)
    try:
        connection.request("GET", "/v1/models", headers={"Accept": "application/json"})
        response = connection.getresponse()
        listed = json.loads(response.read(_MAX_LIST_BYTES)) if response.status == 200 else None
    except (OSError, http.client.HTTPException, ValueError, RecursionError):
        return None
    finally:
        connection.close()
    entries = listed.get("data") if isinstance(listed, dict) else None
    if not isinstance(entries, list):
        return None
    names = (entry.get("id") for entry in entries if isinstance(entry, dict))
    # A name becomes part of a line to be typed: nothing may stand in it that ends the string.
    return [name for name in names if isinstance(name, str) and _MODEL_NAME.fullmatch(name)]
