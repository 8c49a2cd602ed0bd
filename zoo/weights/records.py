"""A file of the store -> its record: where it came from, and the stamp by which a later change is noticed.

A record stands beside its file, in `.record-2.json`; its time is that of the last use. A file without one is whole and
right as well, and only has to be read again.
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
"""Of records, and of those of zoo 0.1, which are not trusted: their files are read again."""


@dataclass(frozen=True, slots=True)
class BlobRecord:
    """What was measured of a file when it was put into the store, where it came from, and when that was."""

    sha256: str
    size_bytes: int
    mtime_ns: int
    origin: str
    stored: str


def is_blob(path: Path) -> bool:
    """Whether that is the place of a file of the store."""
    return path.parent.parent == home() / "blobs"


def record_path(blob: Path) -> Path:
    """Where the record of a file of the store is; its time is that of the last use."""
    return blob.parent / FILE_NAME


def earlier_record_path(blob: Path) -> Path:
    """Return where zoo 0.1 kept the record of a file of the store."""
    return blob.parent / EARLIER_FILE_NAME


def origin_of(blob: Path) -> str:
    """Return where a file of the store came from; empty when that is not known.

    A record of zoo 0.1 is asked too: where a file came from proves nothing of its bytes.
    """
    record = _read_record(blob)
    if record is not None:
        return record.origin
    earlier = _load(earlier_record_path(blob))
    origin = earlier.get("origin") if isinstance(earlier, dict) else None
    return origin if isinstance(origin, str) else ""


def current_record(path: Path) -> BlobRecord | None:
    """The record of a file of the store, if the file is still as it was measured."""
    record = _read_record(path) if is_blob(path) else None
    if record is None:
        return None
    return record if (record.size_bytes, record.mtime_ns) == stamp(path.stat()) else None


def write_record(blob: Path, sha256: str, origin: str) -> None:
    """Without its record a file of the store is only read once more, so a failure to write one is none."""
    record = BlobRecord(sha256, *stamp(blob.stat()), origin, time_now())
    with suppress(OSError):
        write_atomically(record_path(blob), json.dumps({"record": 2, **asdict(record)}))
        earlier_record_path(blob).unlink(missing_ok=True)


def note_use(blob: Path, sha256: str, origin: str) -> None:
    """The time of a record is that of the last use, which `prune` goes by; others' stores cannot be marked."""
    with suppress(OSError):
        if current_record(blob) is None:
            write_record(blob, sha256, origin)
        else:
            os.utime(record_path(blob))


def stamp(status: os.stat_result) -> tuple[int, int]:
    """Size and time of the last change: what tells that a file was changed."""
    return status.st_size, status.st_mtime_ns


def time_now() -> str:
    """The time as records have it."""
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
    """Return the JSON value in a file; None when it cannot be read. A pipe of that name would be waited for."""
    try:
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    except (OSError, ValueError, RecursionError):
        return None
