"""A real HTTP server on 127.0.0.1 with a behaviour for each path, chosen by the test, that records its requests.

A behaviour is a function of an Exchange. `good` is a correct server; the others fail in the way that their name says. The
server counts the accepted connections and the body bytes passed to the system, and keeps every request.
"""

from __future__ import annotations

import re
import socket
import socketserver
import ssl
import struct
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from types import TracebackType

SEND_BYTES = 64 << 10
Behaviour = Callable[["Exchange"], None]


@dataclass(frozen=True)
class Request:
    """A request; header names are lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    count: int
    """The number of earlier requests for this path."""

    @property
    def range(self) -> tuple[int, int | None] | None:
        """The requested range: the first byte, and one past the last one."""
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("range", ""))
        return (int(match[1]), int(match[2]) + 1 if match[2] else None) if match else None


@dataclass
class Exchange:
    """One request, and the methods to respond to it."""

    request: Request
    server: FaultServer
    connection: socket.socket
    is_over: bool = field(default=False)

    def head(self, status: int, headers: Mapping[str, object]) -> None:
        """Send a status line and headers."""
        lines = [f"HTTP/1.1 {status} Reason", *(f"{name}: {value}" for name, value in headers.items())]
        self.connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        self.is_over = self.is_over or str(headers.get("Connection", "")).lower() == "close"

    def body(self, data: bytes) -> None:
        """Send bytes of a body, and count those that the system accepted."""
        if self.request.method == "HEAD":
            return
        view = memoryview(data)
        while view and not self.server.closing.is_set():
            sent = self.connection.send(view[:SEND_BYTES])
            self.server.count_bytes(sent)
            view = view[sent:]
            if self.server.bytes_per_second:
                time.sleep(sent / self.server.bytes_per_second)

    def end(self) -> None:
        """Close the connection after this exchange."""
        self.is_over = True

    def reset(self) -> None:
        """Reset the connection."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.is_over = True

    def stall(self) -> None:
        """Send nothing until the server is closed."""
        self.server.closing.wait()
        self.is_over = True


class FaultServer:
    """A context manager that runs the server. `site` maps paths to behaviours; every other path is a 404."""

    def __init__(self, *, bytes_per_second: float = 0, tls: ssl.SSLContext | None = None) -> None:
        """tls: serve https with this context's certificate."""
        self.site: dict[str, Behaviour] = {}
        self.requests: list[Request] = []
        self.connections = 0
        self.bytes_served = 0
        self.bytes_per_second = bytes_per_second
        self.closing = threading.Event()
        self._lock = threading.Lock()
        self._bytes_changed = threading.Condition(self._lock)
        self._server = _Tcp(("127.0.0.1", 0), _Handler)
        self._server.owner = self
        self.scheme = "https" if tls else "http"
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)

    def __enter__(self) -> FaultServer:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()

    @property
    def port(self) -> int:
        """The port of the server."""
        return int(self._server.server_address[1])

    def url(self, path: str, *, host: str = "127.0.0.1", login: str = "") -> str:
        """Return the URL of a path."""
        return f"{self.scheme}://{login + '@' if login else ''}{host}:{self.port}{path}"

    def requests_for(self, path: str) -> list[Request]:
        """Return the requests for a path, in their order."""
        with self._lock:
            return [request for request in self.requests if request.path == path]

    def count_bytes(self, count: int) -> None:
        """Add to the number of body bytes sent, and wake the threads in `wait_for_bytes`."""
        with self._bytes_changed:
            self.bytes_served += count
            self._bytes_changed.notify_all()

    def wait_for_bytes(self, count: int) -> bool:
        """Wait until so many body bytes were sent in all; false after 60 s, so that the test ends."""
        with self._bytes_changed:
            return self._bytes_changed.wait_for(lambda: self.bytes_served >= count, 60)

    def note_connection(self) -> None:
        """Count one accepted connection."""
        with self._lock:
            self.connections += 1

    def note(self, method: str, path: str, headers: Mapping[str, str]) -> Request:
        """Record a request and return it."""
        with self._lock:
            count = sum(request.path == path for request in self.requests)
            request = Request(method, path, {name.lower(): value for name, value in headers.items()}, count)
            self.requests.append(request)
            return request


class _Tcp(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    owner: FaultServer

    def handle_error(self, request: object, client_address: object) -> None:
        if not isinstance(sys.exc_info()[1], (ConnectionError, ssl.SSLError)):  # tests kill clients on purpose
            super().handle_error(request, client_address)  # type: ignore[arg-type]  # as in the base class


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Tcp

    def setup(self) -> None:
        self.server.owner.note_connection()
        self.request.setsockopt(
            socket.SOL_SOCKET, socket.SO_SNDBUF, 128 << 10
        )  # so that few bytes are counted and never read
        super().setup()

    def answer(self) -> None:
        request = self.server.owner.note(self.command, self.path, dict(self.headers.items()))
        exchange = Exchange(request, self.server.owner, self.connection)
        try:
            self.server.owner.site.get(request.path, status(404))(exchange)
        except (BrokenPipeError, ConnectionResetError):
            exchange.is_over = True
        self.close_connection = self.close_connection or exchange.is_over

    do_GET = do_HEAD = answer

    def log_message(self, format: str, *args: object) -> None:
        pass


def good(content: bytes, *, etag: str = '"1"', modified: str = "") -> Behaviour:
    """Support ranges, If-Range and an entity tag, as a server should."""

    def behave(x: Exchange) -> None:
        validators = {name: value for name, value in (("ETag", etag), ("Last-Modified", modified)) if value}
        byte_range, condition = x.request.range, x.request.headers.get("if-range")
        if byte_range is None or (condition is not None and condition not in (etag, modified)):
            x.head(200, {"Content-Length": len(content), "Accept-Ranges": "bytes", **validators})
            x.body(content)
        elif byte_range[0] >= len(content):
            x.head(416, {"Content-Range": f"bytes */{len(content)}", "Content-Length": 0})
        else:
            part = content[byte_range[0] : byte_range[1]]
            last = byte_range[0] + len(part) - 1
            span = f"bytes {byte_range[0]}-{last}/{len(content)}"
            x.head(206, {"Content-Length": len(part), "Content-Range": span, **validators})
            x.body(part)

    return behave


def without_ranges(content: bytes) -> Behaviour:
    """Always send the whole file, with its length."""

    def behave(x: Exchange) -> None:
        x.head(200, {"Content-Length": len(content)})
        x.body(content)

    return behave


def without_length(content: bytes) -> Behaviour:
    """Send the whole file without its length, and close the connection."""

    def behave(x: Exchange) -> None:
        x.head(200, {"Connection": "close"})
        x.body(content)

    return behave


def chunked(content: bytes) -> Behaviour:
    """Send the whole file in chunks, without its length."""

    def behave(x: Exchange) -> None:
        x.head(200, {"Transfer-Encoding": "chunked"})
        for start in range(0, len(content), SEND_BYTES):
            chunk = content[start : start + SEND_BYTES]
            x.body(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
        x.body(b"0\r\n\r\n")

    return behave


def broken_after(count: int, content: bytes, break_off: Callable[[Exchange], None] = Exchange.end) -> Behaviour:
    """Behave as `good`, but break off every body after so many bytes: by closing, a reset or a stall."""

    def behave(x: Exchange) -> None:
        sent = 0
        send = x.body

        def body(data: bytes) -> None:
            nonlocal sent
            send(data[: count - sent])
            sent += len(data[: count - sent])
            if sent >= count:
                break_off(x)

        x.body = body  # type: ignore[method-assign]  # this exchange only
        good(content)(x)

    return behave


def status(code: int, headers: Mapping[str, object] | None = None, body: bytes = b"") -> Behaviour:
    """Send a status with a short body."""

    def behave(x: Exchange) -> None:
        x.head(code, {"Content-Length": len(body), **(headers or {})})
        x.body(body)

    return behave


def redirect(target: str) -> Behaviour:
    """Redirect to another URL."""
    return status(302, {"Location": target})


def first(count: int, behaviour: Behaviour, *, then: Behaviour) -> Behaviour:
    """Use one behaviour for the first requests, and another one after them."""
    return lambda x: (behaviour if x.request.count < count else then)(x)


def in_turn(*behaviours: Behaviour) -> Behaviour:
    """Use one behaviour for each request in turn, and the last one for all further requests."""
    return lambda x: behaviours[min(x.request.count, len(behaviours) - 1)](x)
