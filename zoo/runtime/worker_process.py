"""Start a worker process, send it calls, receive its messages, and end it: the other end of zoo.runtime.worker.

A worker is a new Python process that imports zoo alone. It is not a fork: a process that has used torch has threads, and
a fork of it may wait for ever for a lock that one of them held (docs.python.org/3/library/multiprocessing.html, "Contexts
and start methods", 2026-11-24). It is not a process of multiprocessing either: that imports the caller's `__main__`, which
runs a script without `if __name__ == "__main__"` again, and fails for `python -`.

It is the leader of its own process group, so that ending it ends the processes that it started. What it prints is kept for
the message about its death and shown nowhere else.
"""

from __future__ import annotations

import atexit
import io
import os
import pickle
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo.runtime import limits, process
from zoo.runtime.engines import WORKER, cores
from zoo.runtime.limits import Limits
from zoo.runtime.worker import HEAD, Message, Request

START_SECONDS = 120.0
"""How long a worker may take to start and to import torch, which takes a minute from a cold network disk."""
END_SECONDS = 5.0
"""How long a killed process may take to end. One that waits for a device does not end before the device answers."""
MAX_FRAME_BYTES = 1 << 28
OUTPUT_BYTES = 1000
"""How much of the end of a worker's output is kept."""
_BLOCK_BYTES = 1 << 16
_ROOT = str(Path(__file__).parents[2])
_START = """\
import sys
own = [folder for folder in sys.path if folder]
sys.path[:] = [folder for folder in {path!a} if folder in own or folder not in {left_out!a}]
import signal
signal.signal(signal.SIGINT, signal.SIG_IGN)
from zoo.runtime import worker
worker.serve({descriptor})
"""
"""What a worker runs. `python -c` puts the working folder on the path, so before that is corrected only `sys` is imported,
which is built in. Ctrl-C reaches all processes of a terminal: the caller decides."""


class MalformedMessage(Exception):
    """A worker sent bytes that are not a message of its current call."""


@dataclass
class _Watch:
    """What is watched of the current call: its number, its limits, and when it runs out of time."""

    number: int
    limits: Limits
    deadline: float
    is_started: bool = False


class WorkerProcess:
    """A worker and our end of the socket to it."""

    def __init__(self, number: int, jobs: int, context: bytes) -> None:
        """Start the worker with that number, one of `jobs` that share the cores. context: what its calls have in common."""
        self._channel, theirs = socket.socketpair()
        self._output, output = os.pipe()
        os.set_blocking(self._output, False)
        command = [sys.executable, *subprocess._args_from_interpreter_flags(), "-c", _start_code(theirs.fileno())]  # type: ignore[attr-defined]  # what multiprocessing uses too
        share = {} if jobs == 1 else {"OMP_NUM_THREADS": str(max(1, cores() // jobs))}
        self._process = subprocess.Popen(
            command,
            env={**share, **os.environ, WORKER: str(number)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=[theirs.fileno()],
            start_new_session=not process.is_worker(),  # a worker's own workers end with its group
        )
        theirs.close()  # so that the worker's death ends the connection
        os.close(output)
        atexit.register(self._process.kill)
        self._channel.setblocking(False)
        self._received, self._tail = bytearray(), deque[bytes](maxlen=2)
        self._watch: _Watch | None = None
        self._calls = 0
        if context:
            self._send(context)

    @property
    def handles(self) -> tuple[int, ...]:
        """File descriptors that are readable when there is something to receive."""
        return (self._channel.fileno(), self._output) if self._output >= 0 else (self._channel.fileno(),)

    @property
    def deadline(self) -> float:
        """When the current call runs out of time, by time.monotonic(); infinite without a limit."""
        return self._watch.deadline if self._watch else float("inf")

    def begin(self, limits: Limits, imports: tuple[str, ...], call: bytes) -> None:
        """Send a call. Its time begins with the message `started`."""
        self._calls += 1
        self._tail.clear()
        self._watch = _Watch(self._calls, limits, time.monotonic() + START_SECONDS)
        self._send(Request(self._calls, limits, imports, call))

    def messages(self) -> Iterator[Message]:
        """Yield the messages of the current call that have arrived.

        Raises MalformedMessage for other bytes, EOFError when the worker has closed its end of the socket.
        """
        self._read_output()
        is_open = self._read_channel()
        while (frame := self._next_frame()) is not None:
            message = loads(frame)
            if not isinstance(message, Message) or self._watch is None or message.number != self._watch.number:
                raise MalformedMessage
            self._note(message)
            yield message
        if not is_open:
            raise EOFError

    def is_late(self) -> bool:
        """Return whether the current call has run out of time."""
        return time.monotonic() >= self.deadline

    def is_started(self) -> bool:
        """Return whether the current call has started."""
        return self._watch is not None and self._watch.is_started

    def has_ended(self) -> bool:
        """Return whether the process has ended. It is not reaped, so that its group keeps its number."""
        if not hasattr(os, "waitid"):  # macOS before Python 3.13
            return False
        flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
        with suppress(ChildProcessError):
            return os.waitid(os.P_PID, self._process.pid, flags) is not None
        return True

    def used_bytes(self) -> int:
        """Return the memory that the worker and the processes that it started use (see limits.tree_bytes)."""
        return limits.tree_bytes(self._process.pid)

    def end(self, wait_seconds: float = 0.0) -> int | None:
        """End the worker and the processes of its group; wait so long for an end of its own.

        Return its exit code if it ended of its own, -N for signal N; otherwise None.
        """
        until = time.monotonic() + wait_seconds
        while not (had_ended := self.has_ended()) and time.monotonic() < until:
            time.sleep(0.01)
        with suppress(ProcessLookupError, PermissionError):  # not reaped yet, so the group's number is still its own
            self._process.kill() if process.is_worker() else os.killpg(self._process.pid, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(END_SECONDS)
        self._read_output()
        self._channel.close()
        if self._output >= 0:
            os.close(self._output)
            self._output = -1
        atexit.unregister(self._process.kill)
        return self._process.returncode if had_ended else None

    def close(self) -> None:
        """End the worker, which does nothing, at the end of a run."""
        self.end()

    def output(self) -> str:
        """Return the end of what the worker printed."""
        return b"".join(self._tail)[-OUTPUT_BYTES:].decode(errors="replace").strip()

    def _note(self, message: Message) -> None:
        watch = self._watch
        assert watch is not None
        if message.kind == "started":
            watch.is_started = True
        if message.kind == "started" or watch.limits.renewable:
            seconds = watch.limits.seconds
            watch.deadline = float("inf") if seconds is None else time.monotonic() + seconds
        if message.kind == "done":
            self._watch = None

    def _send(self, value: Any) -> None:
        frame = pickle.dumps(value)
        self._channel.settimeout(START_SECONDS)
        with suppress(OSError):  # the worker is dead or does not read: receiving shows it
            self._channel.sendall(HEAD.pack(len(frame)) + frame)
        self._channel.setblocking(False)

    def _read_channel(self) -> bool:
        """Append what has arrived to `_received`; return whether the connection is open."""
        while len(self._received) <= MAX_FRAME_BYTES:
            try:
                block = self._channel.recv(_BLOCK_BYTES)
            except BlockingIOError:
                return True
            except OSError:
                return False
            if not block:
                return False
            self._received += block
        return True

    def _next_frame(self) -> bytes | None:
        if len(self._received) < HEAD.size:
            return None
        (length,) = HEAD.unpack_from(self._received)
        if length > MAX_FRAME_BYTES:
            raise MalformedMessage
        if len(self._received) < HEAD.size + length:
            return None
        frame = bytes(self._received[HEAD.size : HEAD.size + length])
        del self._received[: HEAD.size + length]
        return frame

    def _read_output(self) -> None:
        if self._output < 0:
            return
        try:
            block = os.read(self._output, _BLOCK_BYTES)
        except BlockingIOError:
            return
        if block:
            self._tail.append(block)
        else:  # all processes that had it have ended
            os.close(self._output)
            self._output = -1


class _Unpickler(pickle.Unpickler):
    """It imports modules of zoo only: the other ones must be loaded, so that a message does not import torch here."""

    def find_class(self, module: str, name: str) -> Any:
        if module.partition(".")[0] != "zoo" and module not in sys.modules:
            raise pickle.UnpicklingError(f"the worker sent an object of {module}.{name}")
        return super().find_class(module, name)


def loads(content: bytes) -> Any:
    """Unpickle what a worker sent; raises MalformedMessage when that is not possible."""
    try:
        return _Unpickler(io.BytesIO(content)).load()
    except Exception as error:  # damaged content may raise anything
        raise MalformedMessage(f"{type(error).__name__}: {error}") from error


def _start_code(descriptor: int) -> str:
    """Return the program of a worker, which imports from the folders that this process imports from.

    The working folder and the script's are left out unless Python has them for another reason (PYTHONPATH, an editable
    installation): a file there must not take the place of a library.
    """
    script = getattr(sys.modules.get("__main__"), "__file__", None)
    folders = {os.path.realpath("."), *([str(Path(script).resolve().parent)] if script else [])}
    path = [folder for folder in sys.path if isinstance(folder, str)]
    left_out = [folder for folder in path if os.path.realpath(folder) in folders and folder != _ROOT]
    return _START.format(path=[*path, _ROOT], left_out=left_out, descriptor=descriptor)
