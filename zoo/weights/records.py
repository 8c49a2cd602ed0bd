"""Keep a record of each file in the store: where it came from, and the size and time that show whether it has changed.

A record is beside its file, in `.record-2.json`; its modification time is the time of the last use. A file without a
record is complete too, and is hashed again.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from zoo.runtime.storage import home, write_atomically

FILE_NAME, EARLIER_FILE_NAME = ".record-2.json", ".record.json"
"""The names of records, and of those of zoo 0.1, which are not trusted: their files are hashed again."""


@dataclass(frozen=True, slots=True)
class BlobRecord:
    """The measured digest and size of a file in the store, where it came from, and when it was stored."""

    sha256: str
    size_bytes: int
    mtime_ns: int
    origin: str
    stored: str


def is_blob(path: Path) -> bool:
    """Return whether the path is that of a file in the store."""
    return path.parent.parent == home() / "blobs"


def record_path(blob: Path) -> Path:
    """Return the path of the record of a file in the store; its modification time is the time of the last use."""
    return blob.parent / FILE_NAME


def earlier_record_path(blob: Path) -> Path:
    """Return the path of zoo 0.1's record of a file in the store."""
    return blob.parent / EARLIER_FILE_NAME


def origin_of(blob: Path) -> str:
    """Return where a file in the store came from; empty when unknown.

    A record of zoo 0.1 counts too, since the origin proves nothing about the bytes.
    """
    record = _read_record(blob)
    if record is not None:
        return record.origin
    earlier = _load(earlier_record_path(blob))
    origin = earlier.get("origin") if isinstance(earlier, dict) else None
    return origin if isinstance(origin, str) else ""


def current_record(path: Path) -> BlobRecord | None:
    """Return the record of a file in the store; None when the file has changed since, or has no valid record."""
    record = _read_record(path) if is_blob(path) else None
    if record is None:
        return None
    return record if (record.size_bytes, record.mtime_ns) == stamp(path.stat()) else None


def write_record(blob: Path, sha256: str, origin: str) -> None:
    """Write the record of a file in the store. Errors are ignored: without a record the file is only hashed again."""
    record = BlobRecord(sha256, *stamp(blob.stat()), origin, time_now())
    with suppress(OSError):
        write_atomically(record_path(blob), json.dumps({"record": 2, **asdict(record)}))
        earlier_record_path(blob).unlink(missing_ok=True)


def note_use(blob: Path, sha256: str, origin: str) -> None:
    """Set the time of a record, which `zoo cache prune` reads. Errors are ignored: another user may own the store."""
    with suppress(OSError):
        if current_record(blob) is None:
            write_record(blob, sha256, origin)
        else:
            os.utime(record_path(blob))


def stamp(status: os.stat_result) -> tuple[int, int]:
    """Return a file's size in bytes and modification time in ns, which show whether it has changed."""
    return status.st_size, status.st_mtime_ns


def time_now() -> str:
    """Return the current time in the format of records."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def _read_record(blob: Path) -> BlobRecord | None:
    match _load(record_path(blob)):
        case {
            "record": 2,
            "sha256": str(sha256),
            "size_bytes": int(size_bytes),
            "mtime_ns": int(mtime_ns),
            "origin": str(origin),
            "stored": str(stored),
        }:
            return BlobRecord(sha256, size_bytes, mtime_ns, origin, stored)
    return None


def _load(path: Path) -> Any:
    """Return the JSON value in a file; None when it is not readable."""
    try:
        # Reading a pipe would block.
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    except (OSError, ValueError, RecursionError):
        return None
