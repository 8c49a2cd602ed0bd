"""Know whether zoo owns this process, and let a worker report to the process that started it.

Settings of a whole process (memory allocation, environment variables, output of other libraries) belong to its owner. zoo
changes them only in its own processes: the command line and its workers. In a worker, long computations call `alive`,
`emit` and `settle`; in other processes these do nothing.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import logging


class Reporter(Protocol):
    """What a worker offers to the code that it runs; see the functions below."""

    def alive(self) -> None:
        """Report that the call makes progress."""

    def emit(self, event: Any) -> None:
        """Send an event of a long measurement."""

    def settle(self, result: Any) -> None:
        """Fix the result of the call if it cannot finish."""


_is_ours = False
_reporter: Reporter | None = None


def claim(reporter: Reporter | None = None) -> None:
    """Declare that zoo owns this process, from now on. A worker gives its reporter."""
    global _is_ours, _reporter
    _is_ours, _reporter = True, reporter


def is_ours() -> bool:
    """Return whether zoo owns this process."""
    return _is_ours


def is_worker() -> bool:
    """Return whether this process is a worker, which may import heavy libraries and run foreign code."""
    return _reporter is not None


def log_safely() -> None:
    """Make what libraries log safe for the terminal; to call before one is used that logs what servers say.

    huggingface_hub, for example, logs each X-HF-Warning header of an answer to stderr.
    """
    if not _is_ours:
        return
    import logging

    from zoo.runtime.text import terminal_lines

    make = logging.getLogRecordFactory()

    def make_safe(*arguments: Any, **options: Any) -> logging.LogRecord:
        record = make(*arguments, **options)
        with suppress(Exception):  # a message that does not fit its arguments; logging reports it
            record.msg, record.args = terminal_lines(record.getMessage().split("\n")), ()
        return record

    if make.__name__ != make_safe.__name__:
        logging.setLogRecordFactory(make_safe)


def alive() -> None:
    """Report that the current call makes progress, which renews its time limit (see limits.Limits)."""
    if _reporter is not None:
        _reporter.alive()


def emit(event: Any) -> None:
    """Send an event of a long measurement to the process that started this worker; it must be picklable."""
    if _reporter is not None:
        _reporter.emit(event)


def settle(result: Any) -> None:
    """Fix the result of the current call, a value or an error to raise, for the case that a limit ends the call.

    For a result that is known before an optional search begins, which may need too much time or memory.
    """
    if _reporter is not None:
        _reporter.settle(result)
