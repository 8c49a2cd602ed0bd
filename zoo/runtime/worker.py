"""Run calls in a worker process, one after another, for the process that started it (see zoo.runtime.sandbox).

Messages are frames on a socket: eight bytes with the length, then a pickle. The worker ends when the socket is closed.
A worker may run code that a card names, if the user allows that. Such code can do all that the user can do, so what is
done here protects from mistakes only: a fork of the worker does not use the socket, and every call begins in the same
working folder.
"""

from __future__ import annotations

import importlib
import os
import pickle
import select
import signal
import socket
import struct
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from zoo.errors import CannotCheck
from zoo.runtime import limits, process
from zoo.runtime.engines import Outcome, dumps
from zoo.runtime.limits import LimitExceeded, Limits

HEAD = struct.Struct("!Q")
"""The length of a frame, before the frame."""
ALIVE_SECONDS = 1.0
"""The shortest time between two signs of life."""
ALARM_SECONDS = 10.0
"""How long after its time limit a call ends when the process that started the worker cannot end it."""


@dataclass(frozen=True, slots=True)
class Request:
    """A call for a worker. call: pickled (function, arguments, whether the context is the first argument).

    imports: modules to import before time and memory count.
    """

    number: int
    limits: Limits
    imports: tuple[str, ...]
    call: bytes


@dataclass(frozen=True, slots=True)
class Message:
    """What a worker sends during the call of that number: `started`, `alive`, `event`, `settled` or `done`.

    content: the pickled Outcome of `settled` and `done`, the pickled event, or nothing.
    """

    number: int
    kind: str
    content: bytes = b""


def serve(descriptor: int) -> None:
    """Do calls for the process at the other end of this socket until it closes the socket or ends: the life of a worker."""
    with socket.socket(fileno=descriptor) as channel:
        worker = _Worker(channel)
        process.claim(worker)
        threading.Thread(target=_end_with, args=(descriptor,), daemon=True).start()
        with suppress(EOFError, OSError):
            worker.serve()


class _Worker:
    """The state of this process as a worker, and its Reporter."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel, self._lock = channel, threading.Lock()
        self._owner, self._folder = os.getpid(), os.open(".", os.O_RDONLY)
        self._packed_context = b""
        self._context: Any = None
        self._request: Request | None = None
        self._settled: bytes | None = None
        self._last_alive = 0.0
        self._baseline_bytes = 0

    def alive(self) -> None:
        """Report that the call makes progress, at most once in ALIVE_SECONDS."""
        now = time.monotonic()
        if self._request is not None and now - self._last_alive >= ALIVE_SECONDS:
            self._last_alive = now
            self._set_alarm(self._request.limits)
            self._send("alive")

    def emit(self, event: Any) -> None:
        """Send an event."""
        self._send("event", dumps(event))

    def settle(self, result: Any) -> None:
        """Fix the result of the call if it cannot finish."""
        is_error = isinstance(result, Exception)
        self._settled = dumps(Outcome(0, error=_sendable(result)) if is_error else Outcome(0, result))
        self._send("settled", self._settled)

    def serve(self) -> None:
        """Do calls. A frame of bytes is the pickled context of the calls after it."""
        while True:
            received = pickle.loads(_receive_frame(self._channel))
            if isinstance(received, Request):
                self._do(received)
            else:
                self._packed_context, self._context = received, None

    def _do(self, request: Request) -> None:
        self._request, self._settled, self._last_alive = request, None, time.monotonic()
        outcome = self._outcome(request)
        if os.getpid() != self._owner:  # a fork that the call made
            os._exit(1)
        signal.setitimer(signal.ITIMER_REAL, 0)
        with suppress(OSError):
            os.fchdir(self._folder)
        self._send("done", outcome)
        self._request = None

    def _outcome(self, request: Request) -> bytes:
        try:
            function, arguments = self._load(request)
            with limits.memory_limited(self._baseline_bytes, request.limits.memory_bytes):
                self._set_alarm(request.limits)
                self._send("started")
                return dumps(Outcome(0, function(*arguments)))
        except BaseException as error:  # code that a card names may raise SystemExit or KeyboardInterrupt
            limit = _as_limit(error, request.limits)
            if limit is not None and self._settled is not None:
                return self._settled
            text = "".join(traceback.format_exception(error))
            failed: Outcome[Any] = Outcome(0, error=limit or _sendable(error), traceback=text)
            return dumps(failed)

    def _load(self, request: Request) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        unloaded = [name for name in request.imports if name not in sys.modules]
        for name in unloaded:
            with suppress(ImportError):  # the call raises it again, with a message
                importlib.import_module(name)
        function, arguments, takes_context = pickle.loads(request.call)
        if takes_context and self._packed_context:
            self._context, self._packed_context = pickle.loads(self._packed_context), b""
        if unloaded or not self._baseline_bytes:
            self._baseline_bytes = limits.allocated_bytes()
        return function, (self._context, *arguments) if takes_context else arguments

    def _set_alarm(self, call_limits: Limits) -> None:
        """Let SIGALRM end this process some time after the limit: its default action needs no Python to run."""
        if call_limits.seconds is not None:
            signal.setitimer(signal.ITIMER_REAL, call_limits.seconds + ALARM_SECONDS)

    def _send(self, kind: str, content: bytes = b"") -> None:
        if os.getpid() == self._owner and self._request is not None:
            frame = pickle.dumps(Message(self._request.number, kind, content))
            with self._lock:
                self._channel.sendall(HEAD.pack(len(frame)) + frame)


def _as_limit(error: BaseException, call_limits: Limits) -> LimitExceeded | None:
    if type(error).__name__ == "OutOfMemoryError":  # torch's, of an accelerator
        return LimitExceeded("the device does not have enough memory", hint=call_limits.hint)
    return call_limits.out_of_memory() if limits.is_out_of_memory(error) else None


def _sendable(error: BaseException) -> Exception:
    """Return the error, or one that says the same where the receiver may not have its class or it cannot be pickled."""
    module = type(error).__module__
    if isinstance(error, Exception) and (module == "builtins" or module.startswith("zoo.")):
        with suppress(Exception):  # pickling may fail in any way that the exception's class chooses
            copy: Exception = pickle.loads(dumps(error))
            return copy
    return CannotCheck(f"{type(error).__name__}: {error}")


def _receive_frame(channel: socket.socket) -> bytes:
    (length,) = HEAD.unpack(_receive(channel, HEAD.size))
    return _receive(channel, length)


def _receive(channel: socket.socket, length: int) -> bytes:
    """Return exactly so many bytes; raises EOFError when the other end closes the socket before."""
    received = bytearray()
    while len(received) < length:
        block = channel.recv(min(length - len(received), 1 << 20))
        if not block:
            raise EOFError
        received += block
    return bytes(received)


def _end_with(descriptor: int) -> None:
    """End this worker and the processes that it started as soon as the other end of the socket is closed."""
    poll = select.poll()
    poll.register(descriptor, 0)  # a hang-up is reported in any case
    poll.poll()
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)
