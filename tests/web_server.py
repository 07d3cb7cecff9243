"""A local web site for the tests of the web tools; it counts what reaches it.

with WebSite({"/": page("Hello")}) as site:
    fetch(site.url("/"))
assert site.paths == ["/robots.txt", "/"]
"""

from __future__ import annotations

import contextlib
import gzip
import socket
import socketserver
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias


@dataclass(frozen=True, kw_only=True)
class Request:
    """A request as it arrived; header names are in lower case, and all values are kept."""

    path: str
    headers: dict[str, list[str]]


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What the site answers; without `size`, the length is not told and the connection's end ends the body."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | Iterable[bytes] = b""


Route: TypeAlias = "Reply | Callable[[Request], Reply]"


def page(text: str, kind: str = "text/html; charset=utf-8", **headers: str) -> Reply:
    return Reply(headers={"Content-Type": kind, **headers}, body=text.encode())


def packed(text: str) -> Reply:
    return Reply(
        headers={"Content-Type": "text/html", "Content-Encoding": "gzip"}, body=gzip.compress(text.encode())
    )


def redirect(location: str, status: int = 302) -> Reply:
    return Reply(status=status, headers={"Location": location, "Content-Length": "0"})


class WebSite:
    """The site; serves between `__enter__` and `__exit__`. What has no route is a 404.

    Attributes:
        requests: Every request, in the order of arrival.
        connections: How many connections were made.
    """

    def __init__(self, routes: Mapping[str, Route] | Callable[[Request], Reply], tls: Any = None) -> None:
        self.routes = routes
        self.requests: list[Request] = []
        self.connections = 0
        self.stopped = threading.Event()
        self._lock = threading.Lock()
        site = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                with contextlib.suppress(OSError, ValueError):
                    site._serve(self.rfile, self.wfile)

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = True
            daemon_threads = True
            block_on_close = False
            request_queue_size = 128

            def get_request(self) -> tuple[socket.socket, Any]:
                connection, address = super().get_request()
                site.connections += 1
                if tls is not None:
                    try:
                        connection = tls.wrap_socket(connection, server_side=True)
                    except OSError:
                        connection.close()
                        raise
                return connection, address

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> WebSite:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stopped.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    @property
    def host(self) -> str:
        """Host and port, as they are written in `allowed_domains`."""
        return f"127.0.0.1:{self.port}"

    def url(self, path: str = "/") -> str:
        return f"http://{self.host}{path}"

    @property
    def paths(self) -> list[str]:
        return [request.path for request in self.requests]

    @property
    def pages(self) -> list[str]:
        """The paths that were asked for, without robots.txt."""
        return [path for path in self.paths if path != "/robots.txt"]

    def _serve(self, incoming: Any, outgoing: Any) -> None:
        request = _read(incoming)
        if request is None:
            return
        with self._lock:
            self.requests.append(request)
        reply = self._reply(request)
        lines = [f"HTTP/1.1 {reply.status} OK", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in reply.headers.items()]
        outgoing.write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
        outgoing.flush()
        for part in (reply.body,) if isinstance(reply.body, bytes) else reply.body:
            outgoing.write(part)
            outgoing.flush()

    def _reply(self, request: Request) -> Reply:
        if not isinstance(self.routes, dict):
            return self.routes(request)  # type: ignore[operator]
        route = self.routes.get(request.path, Reply(status=404))
        return route if isinstance(route, Reply) else route(request)


def _read(incoming: Any) -> Request | None:
    first = incoming.readline().decode("latin-1").split()
    if len(first) != 3:
        return None
    headers: dict[str, list[str]] = {}
    while line := incoming.readline().decode("latin-1").strip():
        name, _, value = line.partition(":")
        headers.setdefault(name.lower(), []).append(value.strip())
    return Request(path=first[1], headers=headers)
