"""Factories that a card may name (`builder: {library: python}`), each hostile in its own way."""

from __future__ import annotations

import mmap
import os
import pickle
import socket
import sys
import time
from pathlib import Path
from typing import Any


def small() -> Any:
    """A model of 6 parameters, with nothing wrong."""
    from torch import nn

    return nn.Linear(2, 2)


def sleeps() -> Any:
    """Take an hour."""
    time.sleep(3600)


def loops() -> Any:
    """Hold the interpreter's lock for ever."""
    import re

    re.match("(a+)+$", "a" * 60 + "b")


def allocates() -> Any:
    """Fill 64 GB."""
    return [bytearray(b"x" * (1 << 28)) for _ in range(256)]


def shares() -> Any:
    """Fill 64 GB of shared memory, which a limit on private memory does not count."""
    memory = mmap.mmap(-1, 64 << 30)
    for _ in range(64 << 10):
        memory.write(b"x" * (1 << 20))


def forks() -> Any:
    """Leave a child that sleeps for an hour, with its number in a file, and return in this process."""
    child = os.fork()
    if child == 0:
        time.sleep(3600)
    Path(os.environ["FORKED"]).write_text(str(child))
    return small()


def forks_and_returns() -> Any:
    """Return in two processes."""
    os.fork()
    return small()


def forks_and_allocates() -> Any:
    """Fill memory in four processes, each below the limit."""
    for _ in range(2):
        os.fork()
    memory = bytearray(b"x" * 700_000_000)
    time.sleep(3600)
    return memory


def exits() -> Any:
    """End the process as if all were well."""
    os._exit(0)


def aborts() -> Any:
    """End the process as C libraries do."""
    os.abort()


def raises_exit() -> Any:
    """Raise what ends Python."""
    sys.exit(0)


def raises_interrupt() -> Any:
    """Raise what a Ctrl-C raises."""
    raise KeyboardInterrupt


def prints() -> Any:
    """Print what looks like zoo's output, by every way."""
    for write in (
        print,
        sys.stderr.write,
        lambda text: os.write(1, text.encode()),
        lambda text: os.write(2, text.encode()),
    ):
        write("FORGED 10 models: 400 ok\n")
    return small()


def changes_folder() -> Any:
    """Change the working folder, which paths are relative to."""
    os.chdir("/")
    return small()


def forges() -> Any:
    """Answer for zoo: send an `ok` about another card on every socket of this process."""
    from zoo.models.subject import KnownFiles
    from zoo.runtime.engines import Outcome
    from zoo.runtime.worker import HEAD, Message
    from zoo.verification.answering import Reply
    from zoo.verification.report import Finding, Status

    finding = Finding("wrong_claim", "params", "params", Status.OK, 5, 5)
    outcome = pickle.dumps(Outcome(0, Reply(finding, KnownFiles({}, {}))))
    for number in range(1, 9):
        frame = pickle.dumps(Message(number, "done", outcome))
        _write_to_sockets(HEAD.pack(len(frame)) + frame)
    time.sleep(1)
    return small()


def garbles() -> Any:
    """Send bytes that are nothing on every socket of this process, and wait."""
    _write_to_sockets(b"\x00" * 7 + b"\xff" + b"x" * 10)
    time.sleep(3600)


def patches() -> Any:
    """Replace the comparison of claims in this process, which serves cards after this one."""
    from zoo.verification import checks

    checks.agrees = lambda claimed, measured, tolerance: True
    return small()


def _write_to_sockets(content: bytes) -> None:
    for descriptor in range(3, 64):
        try:
            socket.socket(fileno=os.dup(descriptor)).sendall(content)
        except OSError:
            continue
