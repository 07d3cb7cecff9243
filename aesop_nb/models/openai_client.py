"""Sending through the `openai` client: one client per service and key, one clock, failures in our words."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import sys
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from ..errors import ModelError, ModelReplyInvalid
from .connections import BodyRefused, Lanes, http_library
from .replies import MAX_REPLY_BYTES, Reading
from .service_errors import Endpoint, Rejection, silent, unreachable
from .sse import EventReader

if TYPE_CHECKING:
    from .transcript import Reply

_CONNECT_SECONDS = 10.0
_DRAIN_SECONDS = 0.1  # for the few bytes after the last event, so that the connection can be used again
_STREAM_MARKS = (b"data:", b"event:", b":")


class _Client:
    """An `AsyncOpenAI` that makes one attempt, follows no redirect and does not know the key."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.openai = importlib.import_module("openai")
        self.http = http_library()
        self.mask = endpoint.key.mask_bytes
        transport = self.openai.DefaultAsyncHttpxClient(
            transport=Lanes(endpoint.base_url),
            follow_redirects=False,
            auth=endpoint.key.sign,
        )
        self.client = self.openai.AsyncOpenAI(
            base_url=endpoint.base_url,
            api_key="unused",  # the transport signs: the key is then in none of the client's attributes
            max_retries=0,
            # The clock of `send` counts what this one cannot: data, instead of any byte.
            timeout=self.http.Timeout(None, connect=_CONNECT_SECONDS),
            default_headers={"Accept-Encoding": "identity"},
            http_client=transport,
        )

    async def post(self, path: str, body: dict[str, Any]) -> Any:
        """Gives the response as soon as its headers are there."""
        return await self.client.post(
            path,
            body=body,
            cast_to=self.http.Response,
            stream=True,
            stream_cls=self.openai.AsyncStream[object],
        )


_clients: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Endpoint, _Client]] = WeakKeyDictionary()


async def _client_for(endpoint: Endpoint) -> _Client:
    """Gives this loop's client for the service: a client used from two loops breaks."""
    clients = _clients.setdefault(asyncio.get_running_loop(), {})
    if endpoint not in clients:
        if "openai" not in sys.modules:
            # It takes a second or two, in which the loop has cancels and deadlines to look after.
            await asyncio.to_thread(importlib.import_module, "openai")
        if endpoint not in clients:
            clients[endpoint] = _Client(endpoint)
    return clients[endpoint]


async def close_clients() -> None:
    """Closes the clients of the running event loop, with their idle connections."""
    for client in _clients.pop(asyncio.get_running_loop(), {}).values():
        await client.client.close()


async def send(
    endpoint: Endpoint, path: str, body: dict[str, Any], reading: Reading, idle_seconds: float
) -> Reply | Rejection:
    """Sends one request, once, and gives the reply, or the service's refusal with its status.

    Args:
        endpoint: Where to.
        path: Below the base URL, for example `/responses`.
        body: The request as JSON values.
        reading: Takes the answer, plain or streamed, whichever the service gives.
        idle_seconds: How long the service may send no data; a plain reply is one datum, comments are none.

    Raises:
        ModelUnavailable: If there is no connection, or it breaks off, or stays silent.
        ModelReplyInvalid: If the answer is not a whole, usable reply.
    """
    client, loop = await _client_for(endpoint), asyncio.get_running_loop()
    error: ModelError
    try:
        async with asyncio.timeout(idle_seconds) as clock:
            return await _exchange(
                client, path, body, reading, lambda: clock.reschedule(loop.time() + idle_seconds)
            )
    except TimeoutError:
        error = silent(endpoint, idle_seconds)
    except client.openai.APIStatusError as exc:
        return Rejection.read(exc.status_code, exc.response.headers, exc.response.content, endpoint.key)
    except BodyRefused as exc:
        error = ModelReplyInvalid(f"{endpoint.host} sent {exc}.")
    except (client.openai.OpenAIError, client.http.HTTPError, OSError) as exc:
        error = unreachable(endpoint, exc)
    # Raised here and not above: the frames of a chained traceback hold the request, and with it the key.
    raise error


async def _exchange(
    client: _Client, path: str, body: dict[str, Any], reading: Reading, restart_clock: Callable[[], None]
) -> Reply:
    response = await client.post(path, body)
    # A service may send the key back. It is masked before anything can keep it, a traceback's variables included.
    pieces = (client.mask(piece) async for piece in response.aiter_raw())
    try:
        if response.headers.get("content-type", "").startswith("text/event-stream"):
            return await _read_stream(pieces, reading, restart_clock, client.http.HTTPError)
        raw = b"".join([piece async for piece in pieces])
    finally:
        await response.aclose()
    if raw[:16].lstrip().startswith(_STREAM_MARKS):
        return _read_whole_stream(raw, reading)
    return reading.whole(raw)


async def _read_stream(
    pieces: AsyncIterator[bytes],
    reading: Reading,
    restart_clock: Callable[[], None],
    broken: type[Exception],
) -> Reply:
    events = EventReader()
    try:
        async for piece in pieces:
            for data in events.feed(piece):
                restart_clock()
                if reading.event(data):
                    await _drain(pieces)
                    return reading.finish()
            if events.pending_bytes > MAX_REPLY_BYTES:
                raise BodyRefused(f"more than {MAX_REPLY_BYTES // 2**20} MiB for one reply")
    except broken:
        if not reading.complete:
            raise
        return reading.finish()
    for data in events.close():
        reading.event(data)
    return reading.finish()


def _read_whole_stream(raw: bytes, reading: Reading) -> Reply:
    """Reads events that came under the name of something else."""
    events = EventReader()
    for data in (*events.feed(raw), *events.close()):
        if reading.event(data):
            break
    return reading.finish()


async def _drain(pieces: AsyncIterator[bytes]) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_DRAIN_SECONDS):
            async for _ in pieces:
                pass
