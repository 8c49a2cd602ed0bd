"""Keep a record of each file in the store: its digest, the stamp that shows whether it has changed, where it came from.

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

from zoo.runtime.json_form import has_form, is_sha256, is_text, one_of
from zoo.runtime.storage import home, read_file, read_json, write_json
from zoo.weights.contents import Stamp

FILE_NAME, EARLIER_FILE_NAME = ".record-2.json", ".record.json"
"""The names of records, and of those of zoo 0.1, which are not trusted: their files are hashed again."""
MAX_BYTES = 1 << 20
"""A record has less than 3,000 bytes."""
_STAMP = dict.fromkeys(("inode", "size_bytes", "mtime_ns", "ctime_ns"), lambda value: type(value) is int)
_RECORD = {"record": 2, "sha256": is_sha256, "stamp": one_of(None, _STAMP), "origin": is_text, "stored": is_text}


@dataclass(frozen=True, slots=True)
class BlobRecord:
    """The digest of a file in the store, its stamp when it was hashed, where it came from, and when it was recorded.

    stamp: None for a file that another tool may change; it is hashed when it is used.
    """

    sha256: str
    stamp: Stamp | None
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
    return origin if isinstance(origin, str) and is_text(origin) else ""


def current_record(path: Path) -> BlobRecord | None:
    """Return the record of a file in the store; None when the file has changed since, or has no valid record."""
    record = _read_record(path) if is_blob(path) else None
    with suppress(OSError):
        return record if record is not None and record.stamp == Stamp.of(path.stat()) else None
    return None


def write_record(blob: Path, sha256: str, origin: str, stamp: Stamp | None) -> None:
    """Write the record of a file in the store. Errors are ignored: without a record the file is only hashed again."""
    record = BlobRecord(sha256, stamp, origin, time_now())
    with suppress(OSError, ValueError):
        write_json(record_path(blob), {"record": 2, **asdict(record)})
        earlier_record_path(blob).unlink(missing_ok=True)


def note_use(blob: Path) -> None:
    """Set the time of a record, which `zoo cache prune` reads. Errors are ignored: another user may own the store."""
    with suppress(OSError):
        os.utime(record_path(blob))


def forget(blob: Path) -> None:
    """Remove the record of a file whose bytes are no longer those of the record."""
    with suppress(OSError):
        record_path(blob).unlink(missing_ok=True)


def time_now() -> str:
    """Return the current time in the format of records."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def _read_record(blob: Path) -> BlobRecord | None:
    data = read_json(record_path(blob), lambda value: has_form(value, _RECORD), max_bytes=MAX_BYTES)
    if data is None or data["sha256"] != blob.parent.name:
        return None
    stamp = None if data["stamp"] is None else Stamp(**data["stamp"])
    return BlobRecord(data["sha256"], stamp, data["origin"], data["stored"])


def _load(path: Path) -> Any:
    """Return the JSON value in a file; None when it is not readable."""
    content = read_file(path, MAX_BYTES)
    try:
        return None if content is None else json.loads(content)
    except (ValueError, RecursionError):
        return None
