"""Let one process at a time download a file, where file locks work."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from zoo.weights.transfer.connections import DownloadContext, DownloadProgress, DownloadRequest
from zoo.weights.transfer.partial import (
    SILENT_SECONDS,
    Writer,
    cannot_write,
    folder_in_home,
    is_being_written,
    key_of,
)

LOCK_POLL_SECONDS = 0.1


@contextmanager
def download_lock(request: DownloadRequest, context: DownloadContext) -> Iterator[None]:
    """Wait until no other process downloads the file, where file locks work. The lock only saves bandwidth.

    A lock whose holder has written nothing for SILENT_SECONDS is ignored. Raises CannotCheck when the store is not
    writable.
    """
    key, writer, waited_seconds = key_of(request.identity), Writer.current(), 0.0
    path = folder_in_home("partial") / f"{key}.lock"
    while (file := _try_lock(path)) is None:
        context.report_progress(
            DownloadProgress(request.model, request.file, 0, request.size_bytes, "waiting for another zoo process")
        )
        if context.stop.wait(LOCK_POLL_SECONDS):
            raise KeyboardInterrupt
        waited_seconds += LOCK_POLL_SECONDS
        if waited_seconds > SILENT_SECONDS and not is_being_written(path.parent, key, writer):
            break
    try:
        yield
    finally:
        if file is not None:
            with suppress(OSError):
                if os.path.samestat(path.stat(), os.fstat(file)):  # another user's lock stays
                    path.unlink()
            os.close(file)


def _try_lock(path: Path) -> int | None:
    """Return an open file when this process has the lock or locks do not work; None when another process has it."""
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    except PermissionError:  # another user's lock, or a read-only store, which the first write reports
        return os.open(os.devnull, os.O_RDONLY)
    except OSError as error:
        if os.path.lexists(path):  # a folder, a link or a socket, not of zoo
            return os.open(os.devnull, os.O_RDONLY)
        raise cannot_write(path.parent, error) from error
    if _acquire(file):
        with suppress(OSError):
            if os.path.samestat(path.stat(), os.fstat(file)):
                return file
        # the previous holder has removed the locked file: the next try locks the new one
    os.close(file)
    return None


def _acquire(file: int) -> bool:
    """Return whether this process has the lock now; also true where locks do not work."""
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True
