"""A local OpenAI-compatible service with scripted answers, for tests of the real client over real sockets.

    with OpenAIServer([asks("search", {"query": "bakery"}), says("done")]) as server:
        model = OpenAIModel("gpt-test", base_url=server.url, api_key="sk-test")
        ...
    assert server.sends == 2
    assert server.requests[0].body["messages"][0]["role"] == "system"

It answers `/chat/completions` and `/responses`, plain or streamed, as each request asks. The script is a list
(used in order; a request beyond its end is answered with 400), one `Answer` for every request, or a function
from the `Request` to an `Answer`. `server.url` ends in `/v1`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from openai_answers import Answer, Call, asks, content_of, fails, says, sends

__all__ = ["Answer", "Call", "OpenAIServer", "Request", "asks", "fails", "says", "sends"]


@dataclass(frozen=True, kw_only=True)
class Request:
    """A request as it arrived; header names are in lower case, `at` is `time.monotonic()`."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any
    raw: bytes
    at: float = field(default_factory=time.monotonic)


Script: TypeAlias = "Sequence[Answer] | Answer | Callable[[Request], Answer]"


class OpenAIServer:
    """The service; runs in its own thread between `__enter__` and `__exit__`.

    Attributes:
        requests: Every request, in the order of arrival.
        most_connections: The most connections that were open at once.
    """

    def __init__(self, script: Script = ()) -> None:
        self.script = script
        self.requests: list[Request] = []
        self.most_connections = 0
        self._changed = threading.Condition()
        self._writers: set[asyncio.StreamWriter] = set()
        self._handlers: set[asyncio.Task[Any]] = set()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="openai-test-server", daemon=True)
        self._loop: asyncio.AbstractEventLoop
        self._stop: asyncio.Event
        self._port = 0

    def __enter__(self) -> OpenAIServer:
        self._thread.start()
        self._ready.wait(10)
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Ends the service; its connections are reset. A second call does nothing."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(10)

    @property
    def url(self) -> str:
        """The base URL to give to a client."""
        return f"http://127.0.0.1:{self._port}/v1"

    @property
    def sends(self) -> int:
        """How many requests arrived."""
        return len(self.requests)

    @property
    def open_connections(self) -> int:
        """How many clients are connected now."""
        return len(self._writers)

    def wait_for_sends(self, count: int, timeout_seconds: float = 5.0) -> bool:
        """Whether at least `count` requests arrived in time."""
        with self._changed:
            return self._changed.wait_for(lambda: self.sends >= count, timeout_seconds)

    def wait_for_connections(self, count: int, timeout_seconds: float = 5.0) -> bool:
        """Whether the number of open connections became `count` in time."""
        with self._changed:
            return self._changed.wait_for(lambda: self.open_connections == count, timeout_seconds)

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0, limit=2**20, backlog=1024)
        self._port = server.sockets[0].getsockname()[1]
        self._ready.set()
        async with server:
            await self._stop.wait()
            for task in self._handlers:
                task.cancel()
            await asyncio.gather(*self._handlers, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._handlers.add(task)
        self._note(lambda: self._writers.add(writer))
        self.most_connections = max(self.most_connections, len(self._writers))
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                while await self._answer_one(reader, writer):
                    pass
        finally:
            writer.transport.abort()
            self._note(lambda: self._writers.discard(writer))
            self._handlers.discard(task)

    def _note(self, change: Callable[[], object]) -> None:
        with self._changed:
            change()
            self._changed.notify_all()

    async def _answer_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        request = await _read_request(reader)
        number = len(self.requests)
        self._note(lambda: self.requests.append(request))
        answer = self._scripted(number, request)
        if (answer.delay_seconds and await _gone(reader, answer.delay_seconds)) or answer.fault:
            return await _break(answer, reader, writer)
        content_type, body = content_of(answer, request.path, request.body or {})
        streamed = content_type.startswith("text/event-stream")
        writer.write(_head(answer, content_type, None if streamed else len(body)))
        return await _Body(answer, reader, writer, streamed).send(body)

    def _scripted(self, number: int, request: Request) -> Answer:
        if isinstance(self.script, Answer):
            return self.script
        if callable(self.script):
            return self.script(request)
        if number < len(self.script):
            return self.script[number]
        return fails(400, f"the script has {len(self.script)} answers and this is request {number + 1}")


class _Body:
    """Writes one body with its faults; `send` says whether the connection can be used again."""

    def __init__(
        self, answer: Answer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, streamed: bool
    ) -> None:
        self.answer, self.reader, self.writer, self.streamed = answer, reader, writer, streamed

    async def send(self, body: bytes) -> bool:
        answer = self.answer
        end = min((n for n in (answer.cut_after, answer.stall_after) if n is not None), default=len(body))
        if answer.comments:
            return await self._comments()
        step = 1 if answer.drip_seconds else answer.piece_bytes or max(1, end)
        for start in range(0, end, step):
            self._write(body[start : min(start + step, end)])
            if answer.drip_seconds and await _gone(self.reader, answer.drip_seconds):
                return False
            if step < end:
                await self.writer.drain()
                await asyncio.sleep(0)
        return await self._finish()

    def _write(self, piece: bytes) -> None:
        self.writer.write(b"%x\r\n%b\r\n" % (len(piece), piece) if self.streamed else piece)

    async def _finish(self) -> bool:
        if self.answer.stall_after is not None or self.answer.linger:
            await _gone(self.reader, 600)
            return False
        if self.answer.cut_after is not None:
            await self.writer.drain()
            self.writer.close()
            return False
        if self.streamed:
            self.writer.write(b"0\r\n\r\n")
        await self.writer.drain()
        return True

    async def _comments(self) -> bool:
        while True:
            self._write(b": keep-alive\n\n")
            if await _gone(self.reader, 0.02):
                return False


async def _read_request(reader: asyncio.StreamReader) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, path, _ = head[0].split(" ", 2)
    headers = {
        name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])
    }
    raw = await reader.readexactly(int(headers.get("content-length", 0)))
    return Request(method=method, path=path, headers=headers, raw=raw, body=json.loads(raw) if raw else None)


async def _gone(reader: asyncio.StreamReader, seconds: float) -> bool:
    """Waits, and says whether the client left meanwhile."""
    try:
        return not await asyncio.wait_for(reader.read(1), seconds)
    except TimeoutError:
        return False


async def _break(answer: Answer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    if answer.fault == "reset":
        connection = writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    if answer.fault == "silent":
        await _gone(reader, 600)
    return False


def _head(answer: Answer, content_type: str, length: int | None) -> bytes:
    size = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    lines = [f"HTTP/1.1 {answer.status} Scripted", size, "x-request-id: req_test"]
    if "content_type" not in answer.without:
        lines.append(f"Content-Type: {content_type}")
    lines += [f"{name}: {value}" for name, value in answer.headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
