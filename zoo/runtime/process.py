"""Know whether zoo owns this process, and let a worker report to the process that started it.

Settings of a whole process (memory allocation, environment variables, output of other libraries) belong to its owner. zoo
changes them only in its own processes: the command line and its workers. In a worker, long computations call `alive`,
`emit` and `settle`; in other processes these do nothing.
"""

from __future__ import annotations

from typing import Any, Protocol


class Reporter(Protocol):
    """What a worker offers to the code that it runs; see the functions below."""

    def alive(self) -> None:
        """Report that the call makes progress."""

    def emit(self, event: Any) -> None:
        """Send an event of a long measurement."""

    def settle(self, error: Exception) -> None:
        """Fix the error of the call if it cannot finish."""


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


def alive() -> None:
    """Report that the current call makes progress, which renews its time limit (see limits.Limits)."""
    if _reporter is not None:
        _reporter.alive()


def emit(event: Any) -> None:
    """Send an event of a long measurement to the process that started this worker; it must be picklable."""
    if _reporter is not None:
        _reporter.emit(event)


def settle(error: Exception) -> None:
    """Fix the error of the current call: from now on it ends with this one, also when a limit ends it.

    For an answer that is known before a search for its reason begins, which may take long.
    """
    if _reporter is not None:
        _reporter.settle(error)
