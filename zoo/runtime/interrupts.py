"""Raise KeyboardInterrupt after a Ctrl-C, also when a library caught it or raised its own error instead.

When Ctrl-C arrives while safetensors 0.8 reads a file, it raises "could not determine the shape": zoo would report the
file as wrong. So code that turns an error into a finding or a message calls `raise_if_interrupted` first.
"""

from __future__ import annotations

import signal
from typing import NoReturn

_is_requested = False
"""A plain bool, not a threading.Event: a second Ctrl-C while the first one sets the Event would wait for its lock forever."""


def install_handler() -> None:
    """Record each Ctrl-C from now on. Where SIGINT is ignored, as in a shell's background job, it stays ignored."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)


def raise_if_interrupted() -> None:
    """Raise KeyboardInterrupt when this process received a Ctrl-C."""
    if _is_requested:
        raise KeyboardInterrupt


def _interrupt(number: int, frame: object) -> NoReturn:
    global _is_requested
    _is_requested = True
    raise KeyboardInterrupt
