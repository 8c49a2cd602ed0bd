"""Ctrl-C -> KeyboardInterrupt, also where a library caught it and made an error of its own, or nothing, of it.

safetensors 0.8 answers a Ctrl-C in the middle of a file with "could not determine the shape": the file would be reported as
wrong. So whoever turns an error into a finding or a message asks here first.
"""

from __future__ import annotations

import signal
from typing import NoReturn

_is_requested = False
"""No Event: a second Ctrl-C while the first one sets it would wait for its lock for ever."""


def install_handler() -> None:
    """Remembers a Ctrl-C from now on; where it is ignored, as in a background job of a shell, it stays so."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)


def raise_if_interrupted() -> None:
    """Raises KeyboardInterrupt when a Ctrl-C came and this process still runs."""
    if _is_requested:
        raise KeyboardInterrupt


def _interrupt(number: int, frame: object) -> NoReturn:
    global _is_requested
    _is_requested = True
    raise KeyboardInterrupt
