"""HTTP on loopback: one `Listener` is one origin, with a thread for each connection.

Between the socket and a handler stand, in this order: the route, the token, the fault rules, the log. Whatever a
handler raises that is not a `Refusal` is a bug of this server: it is kept and raised when the server is closed, so
that it is never taken for a fault of the client.
"""

from __future__ import annotations

import io
import json
import re
import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote

from .accounts import Accounts, Token
from .faults import Dropped, Faults
from .replies import FileSpan, Refusal, Reply
from .traffic import Exchange, TrafficLog

CHUNK_BYTES = 1024 * 1024
POLL_SECONDS = 0.005  # so long may a close take; there is one for each test
CLOSE_BY_RESET = struct.pack("ii", 1, 0)  # SO_LINGER, on, 0 seconds


@dataclass(frozen=True, slots=True)
class Route:
    """A method, a path and the name of the method that answers.

    `{name}` stands for one segment, `{path*}` for all that follow. Segments are split before they are unquoted:
    the client sends the revision refs/pr/1 as `refs%2Fpr%2F1`. GET routes answer HEAD too.
    With `streams` the handler reads the body itself, and not under the server's lock.
    """

    method: str
    pattern: str
    handler: str
    streams: bool = False
    regex: re.Pattern[str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        kinds = self.pattern.replace("{kind}", "(?P<kind>models|datasets)")
        rest = re.sub(r"\{(\w+)\*\}", r"(?P<\1>.+)", kinds)
        object.__setattr__(self, "regex", re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", rest)))

    def match(self, method: str, path: str) -> dict[str, str] | None:
        if self.method != ("GET" if method == "HEAD" else method):
            return None
        match = self.regex.fullmatch(path)
        return {name: unquote(value) for name, value in match.groupdict().items()} if match else None


class ClientLeft(Exception):
    """The connection ended before the whole request had come."""


class Request:
    """One request as a handler sees it."""

    def __init__(self, method: str, target: str, headers: Any, stream: io.BufferedIOBase) -> None:
        self.method = method
        self.path, _, self.query_text = target.partition("?")
        self.query: dict[str, list[str]] = parse_qs(self.query_text)
        self.parts: dict[str, str] = {}
        """What the route's `{...}` stand for."""
        self.token: Token | None = None
        self.authorization: str | None = headers.get("Authorization")
        self.byte_range: str | None = headers.get("Range")
        self.received_bytes = 0
        self._stream = stream
        self._left_bytes = int(headers.get("Content-Length") or 0)
        self._is_chunked = "chunked" in (headers.get("Transfer-Encoding") or "")
        self._body: bytes | None = None

    def body(self) -> bytes:
        if self._body is None:
            self._body = b"".join(self.chunks())
        return self._body

    def json(self) -> Any:
        try:
            return json.loads(self.body() or b"{}")
        except ValueError as error:
            raise Refusal(400, f"invalid JSON: {error}") from error

    def flag(self, name: str) -> bool:
        return self.query.get(name, [""])[0].lower() in ("1", "true")

    def chunks(self) -> Iterator[bytes]:
        """What has not been read of the body, piece by piece; raises ClientLeft when it ends too early."""
        while self._is_chunked:
            self._left_bytes = int(self._line().split(b";")[0], 16)
            self._is_chunked = self._left_bytes > 0
            yield from self._sized_chunks()
            self._line()
        yield from self._sized_chunks()

    def _line(self) -> bytes:
        line = self._stream.readline()
        if not line.endswith(b"\n"):
            raise ClientLeft
        return line

    def _sized_chunks(self) -> Iterator[bytes]:
        while self._left_bytes:
            chunk = self._stream.read(min(CHUNK_BYTES, self._left_bytes))
            if not chunk:
                raise ClientLeft
            self._left_bytes -= len(chunk)
            self.received_bytes += len(chunk)
            yield chunk


Handler = Callable[[Request], Reply]


class Listener:
    """One origin: a port, its routes and the object whose methods answer them."""

    def __init__(
        self, name: str, routes: Sequence[Route], target: object, *, accounts: Accounts, faults: Faults, log: TrafficLog
    ) -> None:
        self.name = name
        self.bugs: list[Exception] = []
        self.lock = threading.RLock()
        self._routes = routes
        self._target = target
        self._accounts = accounts
        self._faults = faults
        self._log = log
        self._server = _Server(self)
        self.origin = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(POLL_SECONDS,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Refuse connections from now on and end those that are open."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()
            self._server.hang_up()

    def answer(self, request: Request) -> Reply:
        """Route, authenticate, apply the faults, handle, log. Raises Dropped when there is to be no answer."""
        route = self._route(request)
        try:
            reply = self._handled(route, request)
            for _ in request.chunks():  # an unread rest would be taken for the next request
                pass
        except (ClientLeft, ConnectionError):
            self._record(route, request, None)
            raise Dropped from None
        except Dropped:
            self._record(route, request, None)
            raise
        self._record(route, request, reply)
        return reply

    def _route(self, request: Request) -> Route:
        for route in self._routes:
            parts = route.match(request.method, request.path)
            if parts is not None:
                request.parts = parts
                return route
        return Route(request.method, "", "unknown")

    def _handled(self, route: Route, request: Request) -> Reply:
        if not route.streams:
            request.body()
        action = self._faults.action_for(request.method, request.path)

        def handle() -> Reply:
            return self._handle(route, request)

        try:
            return action(handle) if action else handle()
        except Dropped:
            for _ in request.chunks():
                pass
            raise

    def _handle(self, route: Route, request: Request) -> Reply:
        try:
            request.token = self._accounts.authenticate(request.authorization)
            if route.handler == "unknown":
                raise Refusal(404, f"Not found: {request.method} {request.path}")
            handler: Handler = getattr(self._target, route.handler)
            if route.streams:
                return handler(request)
            with self.lock:
                return handler(request)
        except Refusal as refusal:
            return refusal.reply()
        except (ClientLeft, ConnectionError):
            raise
        except Exception as bug:
            self.bugs.append(bug)
            return Refusal(500, f"{type(bug).__name__}: {bug}").reply()

    def _record(self, route: Route, request: Request, reply: Reply | None) -> None:
        exchange = Exchange(
            origin=self.name,
            route=route.handler,
            method=request.method,
            path=request.path,
            query=request.query_text,
            user=request.token.user if request.token else "",
            sent_a_token=request.authorization is not None,
            byte_range=request.byte_range,
            request_bytes=request.received_bytes,
            status=reply.status if reply else 0,
            reply_bytes=reply.size_bytes if reply and request.method != "HEAD" else 0,
        )
        self._log.add(exchange)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self._connections: set[socket.socket] = set()
        super().__init__(("127.0.0.1", 0), _Connection)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """End a connection: in order, but where `CLOSE_BY_RESET` is set without the FIN that would come first."""
        self._connections.discard(request)
        lingers = request.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, len(CLOSE_BY_RESET))
        if lingers == CLOSE_BY_RESET:
            request.close()
        else:
            super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that leaves between two requests is no error; anything else is a bug of this server."""
        error = sys.exc_info()[1]
        if isinstance(error, Exception) and not isinstance(error, ConnectionError):
            self.listener.bugs.append(error)

    def hang_up(self) -> None:
        """End the connections that clients keep open for later: nobody is to be answered after the close."""
        for connection in list(self._connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class _Connection(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = io.DEFAULT_BUFFER_SIZE

    def serve(self) -> None:
        request = Request(self.command, self.path, self.headers, self.rfile)
        try:
            reply = self.server.listener.answer(request)
        except Dropped as dropped:
            self._hang_up(by_reset=dropped.by_reset)
            return
        with suppress(ConnectionError):  # the client may leave before it has read everything
            self._send(reply)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = serve

    def _send(self, reply: Reply) -> None:
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(reply.size_bytes))
        self.end_headers()
        if self.command != "HEAD":
            self._send_body(reply)

    def _send_body(self, reply: Reply) -> None:
        count = reply.size_bytes if reply.cut_after_bytes is None else min(reply.cut_after_bytes, reply.size_bytes)
        if isinstance(reply.body, FileSpan):
            self.wfile.flush()
            with reply.body.path.open("rb") as file:
                if count:
                    self.connection.sendfile(file, reply.body.start, count)
        else:
            self.wfile.write(reply.body[:count])
        if count < reply.size_bytes:
            self._hang_up(by_reset=False)

    def _hang_up(self, *, by_reset: bool) -> None:
        self.close_connection = True
        if by_reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, CLOSE_BY_RESET)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the traffic log has it."""
