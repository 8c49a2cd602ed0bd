"""Run calls in a worker process, one after another, for the process that started it (see zoo.runtime.sandbox).

Messages are frames on a socket: eight bytes with the length, then a pickle. The worker ends when the socket is closed.
A worker may run code that a card names, if the user allows that. Such code can do what the user can do, so these defences
are against mistakes: a fork of the worker does not use its socket, and each call begins in the same working folder.
"""

from __future__ import annotations

import importlib
import io
import os
import pickle
import select
import signal
import socket
import struct
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from zoo.errors import CannotCheck, ZooError
from zoo.runtime import limits, process
from zoo.runtime.engines import Outcome, dumps
from zoo.runtime.limits import Limits, LimitExceeded

HEAD = struct.Struct("!Q")
"""The length of a frame, before the frame."""
MAX_FRAME_BYTES = 1 << 28
ALIVE_SECONDS = 1.0
"""The shortest time between two signs of life."""
ALARM_SECONDS = 10.0
"""How long after its time limit a call ends when the process that started the worker is stopped or was killed."""


@dataclass(frozen=True, slots=True)
class Request:
    """A call for a worker: `function(*arguments)`, or `function(context, *arguments)` with what the worker was given.

    call: the pickled function and arguments. imports: modules to import before time and memory count.
    """

    number: int
    limits: Limits
    imports: tuple[str, ...]
    call: bytes


@dataclass(frozen=True, slots=True)
class Message:
    """What a worker sends during the call of that number: `started`, `alive`, `event`, `settled` or `done`.

    content: the pickled event, error or Outcome; empty for the others.
    """

    number: int
    kind: str
    content: bytes = b""


class _Worker:
    """The state of this process as a worker; it implements `process.Reporter`."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel, self._lock = channel, threading.Lock()
        self._owner = os.getpid()
        self._folder = os.getcwd()
        self._context: list[Any] = []
        self._request: Request | None = None
        self._settled: Exception | None = None
        self._last_alive = 0.0
        self._baseline_bytes: int | None = None

    def alive(self) -> None:
        now = time.monotonic()
        if self._request is not None and now - self._last_alive >= ALIVE_SECONDS:
            self._last_alive = now
            self._set_alarm(self._request.limits)
            self._send("alive")

    def emit(self, event: Any) -> None:
        self._send("event", dumps(event))

    def settle(self, error: Exception) -> None:
        self._settled = error
        self._send("settled", dumps(error))

    def serve(self) -> None:
        """Do calls until the socket is closed."""
        while True:
            message = pickle.loads(_receive_frame(self._channel))
            if isinstance(message, Request):
                self._do(message)
            else:
                self._context = [message]

    def _do(self, request: Request) -> None:
        self._request, self._settled, self._last_alive = request, None, time.monotonic()
        outcome = self._outcome(request)
        signal.setitimer(signal.ITIMER_REAL, 0)
        if os.getpid() != self._owner:  # a fork that the call made
            os._exit(1)
        with suppress(OSError):
            os.chdir(self._folder)
        self._send("done", outcome)
        self._request = None

    def _outcome(self, request: Request) -> bytes:
        try:
            function, arguments = self._load(request)
            with limits.memory_limited(self._baseline_bytes or 0, request.limits.memory_bytes):
                self._set_alarm(request.limits)
                self._send("started")
                value = function(*arguments)
                return dumps(Outcome(0, value))
        except BaseException as error:  # also SystemExit and KeyboardInterrupt, which code of a card may raise
            text = "".join(traceback.format_exception(error))
            return dumps(Outcome[Any](0, error=self._error(error, request.limits), traceback=text))

    def _load(self, request: Request) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        loaded = [importlib.import_module(name) for name in request.imports]
        function, arguments, with_context = pickle.loads(request.call)
        if self._baseline_bytes is None or loaded:
            self._baseline_bytes = self._baseline_bytes or limits.allocated_bytes()
        if with_context:
            arguments = (self._loaded_context(), *arguments)
        return function, arguments

    def _loaded_context(self) -> Any:
        """Unpickle the context once, so that what it keeps (a model) serves all calls."""
        if isinstance(self._context[0], bytes):
            self._context[0] = pickle.loads(self._context[0])
        return self._context[0]

    def _error(self, error: BaseException, call_limits: Limits) -> Exception:
        if self._settled is not None:
            return self._settled
        if limits.is_out_of_memory(error):
            return call_limits.out_of_memory()
        return sendable(error)

    def _set_alarm(self, call_limits: Limits) -> None:
        if call_limits.seconds is not None:
            signal.setitimer(signal.ITIMER_REAL, call_limits.seconds + ALARM_SECONDS)

    def _send(self, kind: str, content: bytes = b"") -> None:
        if os.getpid() == self._owner and self._request is not None:
            frame = pickle.dumps(Message(self._request.number, kind, content))
            with self._lock:
                self._channel.sendall(HEAD.pack(len(frame)) + frame)
