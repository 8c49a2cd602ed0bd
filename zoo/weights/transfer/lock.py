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
    """One process at a time for one file, where locks work; only to save bandwidth, nothing here depends on it."""
    key, writer, waited_seconds = key_of(request.identity_or_url), Writer.current(), 0.0
    path = folder_in_home("partial") / f"{key}.lock"
    while (file := _try_lock(path)) is None:
        context.report_progress(
            DownloadProgress(request.model, request.file, 0, request.size_bytes, "another process is fetching it")
        )
        if context.stop.wait(LOCK_POLL_SECONDS):
            raise KeyboardInterrupt
        waited_seconds += LOCK_POLL_SECONDS
        if waited_seconds > SILENT_SECONDS and not is_being_written(path.parent, key, writer):
            break  # whoever holds the lock does nothing
    try:
        yield
    finally:
        if file is not None:
            with suppress(OSError):
                path.unlink()
            os.close(file)


def _try_lock(path: Path) -> int | None:
    """The open lock file when the lock is ours now, or where locks do not work; None when somebody else has it."""
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except PermissionError:  # another user's, or a store that we may not write: that is said when it is written
        return os.open(os.devnull, os.O_RDONLY)
    except OSError as error:
        raise cannot_write(path.parent, error) from error
    if _acquire(file):
        with suppress(OSError):
            if path.stat().st_ino == os.fstat(file).st_ino:
                return file
        # whoever had it has removed the file that was locked: ask for the new one
    os.close(file)
    return None


def _acquire(file: int) -> bool:
    """Whether the lock is ours now; true as well where there are no locks."""
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True
