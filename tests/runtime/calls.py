"""Functions for workers to call: each does one thing that a worker must survive or its caller must notice."""

from __future__ import annotations

import mmap
import os
import pickle
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

from zoo.errors import NotHere
from zoo.runtime import process
from zoo.runtime.engines import Outcome
from zoo.runtime.worker import HEAD, Message

BLOCK_BYTES = 1 << 20


def process_id() -> int:
    return os.getpid()


def allocate(size_bytes: int) -> int:
    """Return the size of a block that was allocated and filled."""
    return len(bytearray(b"x") * size_bytes)


def allocate_tensor(elements: int) -> int:
    import torch

    return torch.ones(elements).numel()


def allocate_hidden() -> None:
    """Run out of memory inside a library that turns the error into one of its own."""
    try:
        allocate(1 << 40)
    except MemoryError as error:
        raise NotHere("cannot be built") from error


def share(size_bytes: int) -> None:
    """Fill shared memory, which RLIMIT_DATA does not count."""
    memory = mmap.mmap(-1, size_bytes)
    for _ in range(size_bytes // BLOCK_BYTES):
        memory.write(b"x" * BLOCK_BYTES)
    time.sleep(60)


def progress(seconds: float, steps: int) -> str:
    """Show a sign of life after every step of so many seconds."""
    for step in range(steps):
        time.sleep(seconds)
        process.alive()
        process.emit(step)
    return "done"


def emit_id_and_sleep() -> None:
    process.emit(os.getpid())
    time.sleep(60)


def settle_and_sleep(result: Any) -> None:
    process.settle(result)
    time.sleep(60)


def settle_and_allocate(result: Any) -> None:
    process.settle(result)
    allocate(1 << 40)


def settle_and_improve(result: Any) -> str:
    process.settle(result)
    return "better"


def leave(code: int) -> None:
    os._exit(code)


def kill(number: int) -> None:
    os.kill(os.getpid(), number)


def abort_like_c_plus_plus() -> None:
    os.write(2, b"terminate called after throwing an instance of 'std::bad_alloc'\n")
    os.abort()


def raise_(kind: type[BaseException]) -> None:
    raise kind("on purpose")


def fork_and_return() -> int:
    """Return in both processes."""
    os.fork()
    return os.getpid()


def fork_and_leave(file: Path) -> None:
    """Die, and leave a child that holds the connection; its number is in the file."""
    child = os.fork()
    if child == 0:
        time.sleep(60)
    file.write_text(str(child))
    os._exit(7)


def chatter(lines: int) -> int:
    """Print much, by every way."""
    for _ in range(lines):
        print("out" * 1000)
        print("err" * 1000, file=sys.stderr)
        os.write(1, b"raw" * 1000)
    return lines


def change_folder() -> str:
    """Return the working folder, and change it."""
    before = str(Path.cwd())
    os.chdir("/")
    return before


def garble(content: bytes) -> int:
    """Send bytes on the worker's connection."""
    for descriptor in range(3, 64):
        try:
            socket.socket(fileno=os.dup(descriptor)).sendall(content)
        except OSError:
            continue
    time.sleep(0.5)
    return 1


def forged(value: Any, number: int = 1) -> bytes:
    """Return a frame that looks like the end of the call of that number."""
    frame = pickle.dumps(Message(number, "done", pickle.dumps(Outcome(0, value))))
    return HEAD.pack(len(frame)) + frame


def start_of_frame() -> bytes:
    """Return the head of a frame that never comes."""
    return HEAD.pack(1000) + b"x"


def with_context(context: list[int], added: int) -> list[int]:
    """Append to the context of this worker."""
    context.append(added)
    return [os.getpid(), *context]


def tensor() -> Any:
    import torch

    return torch.ones(1)


def ignored_signals() -> bool:
    return signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def backtrack() -> None:
    """Hold the interpreter's lock for ever."""
    import re

    re.match("(a+)+$", "a" * 50 + "b")
