"""Keep the standard streams of a zoo process usable: open those that are closed, and notice output that is lost."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import TextIO


def open_closed() -> None:
    """Open each standard stream that the process was started without, on /dev/null.

    Otherwise the next file that zoo opens gets the stream's number, and a library that prints writes into that file.
    Output to a closed stdout is lost: it is opened for reading only, so that the first write fails.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number is this one, because those below are open.
            opened = os.open(os.devnull, os.O_WRONLY if name == "stderr" else os.O_RDONLY)
            os.set_inheritable(opened, True)
            stream = open(opened, mode, encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115  # stays open
            setattr(sys, name, stream)


def settle(stream: TextIO) -> OSError | None:
    """Flush a stream. When that fails, drop its output, so that Python's own flush at exit succeeds, and return the error."""
    try:
        stream.flush()
    except OSError as error:
        with suppress(OSError, ValueError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, stream.fileno())
            os.close(null)
            stream.flush()
        return error
    except ValueError:  # it is closed
        return None
    return None
