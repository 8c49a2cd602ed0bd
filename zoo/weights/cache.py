"""List the files in the store, verify them, and decide which ones `zoo cache prune` removes.

The time of a file's last use is the modification time of its record, see zoo.weights.records.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from zoo.errors import CannotCheck
from zoo.runtime.storage import home
from zoo.weights import store, upgrade
from zoo.weights.records import earlier_record_path, origin_of, record_path
from zoo.weights.transfer.partial import Writer, partial_files, state_of

DAY_SECONDS = 86_400.0
KEPT_SECONDS = 7 * DAY_SECONDS
"""How long interrupted downloads and quarantined files are kept by default: a week, to look into them."""


@dataclass(frozen=True, slots=True)
class CachedFile:
    """A file below ZOO_HOME that prune may remove, or a folder with `files` files.

    used: the time of its last use, in seconds since the epoch.
    """

    kind: Literal["blob", "partial", "quarantine", "earlier version"]
    path: Path
    size_bytes: int
    used: float
    origin: str = ""
    files: int = 1

    @property
    def sha256(self) -> str:
        """The digest that names a blob's folder; empty for other kinds."""
        return self.path.parent.name if self.kind == "blob" else ""


@dataclass(frozen=True, slots=True)
class Interrupted:
    """An incomplete download: how much of it is here, and the state of its writer."""

    file: str
    url: str
    done_bytes: int
    size_bytes: int | None
    state: Literal["gone", "silent", "live"]


@dataclass(frozen=True, slots=True)
class CheckedBlob:
    """A blob that was hashed. A wrong one has been moved to `quarantined`; problem: why it could not be hashed."""

    entry: CachedFile
    sha256: str
    quarantined: Path | None = None
    problem: str = ""


def blobs() -> tuple[CachedFile, ...]:
    """Return the files in the store, in the order of their digests. Another process may remove some at the same time."""
    paths = [path for folder in _entries(home() / "blobs") for path in _entries(folder)]
    return _existing(_entry("blob", path, _used(path), origin_of(path)) for path in paths)


def interrupted() -> tuple[Interrupted, ...]:
    """Return the incomplete downloads in `partial/`, in the order of the files' names."""
    writer = Writer.current()
    downloads = [
        Interrupted(
            partial.file, partial.url, partial.done_bytes, partial.version.size_bytes, state_of(partial, writer)
        )
        for partial in partial_files(home() / "partial")
    ]
    return tuple(sorted(downloads, key=lambda download: (download.file, download.url)))


def verify(entries: Iterable[CachedFile], *, jobs: int) -> Iterator[CheckedBlob]:
    """Hash each blob, `jobs` at a time, and compare it with its folder's name; wrong ones are quarantined.

    A blob that another process removes at the same time is left out.
    """
    with ThreadPoolExecutor(max_workers=jobs) as pool:
        yield from (checked for checked in pool.map(_check_blob, entries) if checked is not None)


def removable(
    blobs: Sequence[CachedFile],
    rest: Sequence[CachedFile],
    *,
    now: float,
    older_than_seconds: float | None,
    max_bytes: int | None,
) -> tuple[CachedFile, ...]:
    """Return what prune removes.

    rest: interrupted and quarantined files; they are removed after `older_than_seconds`, by default after a week.
    blobs: they are removed after `older_than_seconds` if it is given, and while they have more than `max_bytes`, the
    least recently used first.
    """
    age = KEPT_SECONDS if older_than_seconds is None else older_than_seconds
    removed = [entry for entry in rest if now - entry.used > age]
    by_use = sorted(blobs, key=lambda entry: entry.used)
    left_bytes = sum(entry.size_bytes for entry in blobs)
    for entry in by_use:
        is_old = older_than_seconds is not None and now - entry.used > older_than_seconds
        if is_old or (max_bytes is not None and left_bytes > max_bytes):
            removed.append(entry)
            left_bytes -= entry.size_bytes
    return tuple(removed)


def rest() -> tuple[CachedFile, ...]:
    """Return the files of downloads without a live writer, and the quarantined files."""
    writer, partial, quarantine = Writer.current(), home() / "partial", home() / "quarantine"
    live = {file.path.stem for file in partial_files(partial) if state_of(file, writer) == "live"}
    paths = [path for path in _entries(partial) if path.stem not in live and path.suffix != ".lock"]
    return (
        *_existing(_entry("partial", path, path) for path in paths),
        *_existing(_entry("quarantine", path, path) for path in _entries(quarantine)),
    )


def of_earlier_version() -> tuple[CachedFile, ...]:
    """Return what zoo 0.1 left; prune removes it at any age."""
    return tuple(
        CachedFile("earlier version", item.path, item.size_bytes, 0.0, files=item.files) for item in upgrade.leftovers()
    )


def remove(entry: CachedFile) -> None:
    """Remove the file, and its folder when that is then empty. Raises CannotCheck when the store is not writable."""
    try:
        if entry.kind == "earlier version":
            upgrade.remove(entry.path)
        elif entry.path.is_dir() and not entry.path.is_symlink():
            shutil.rmtree(entry.path)
        else:
            entry.path.unlink(missing_ok=True)
        if entry.kind == "blob" and not _entries(entry.path.parent):
            record_path(entry.path).unlink(missing_ok=True)
            earlier_record_path(entry.path).unlink(missing_ok=True)
            with suppress(OSError):
                entry.path.parent.rmdir()
    except FileNotFoundError:  # another process has removed it
        return
    except OSError as error:
        raise CannotCheck(f"cannot remove: {error.strerror or error}", where=str(entry.path)) from error


def _check_blob(entry: CachedFile) -> CheckedBlob | None:
    """Hash a blob; None when it does not exist any more."""
    try:
        size_bytes, sha256 = store.digest(entry.path)
        if sha256 == entry.sha256:
            return CheckedBlob(entry, sha256)
        reason = f"the file changed in the store: its sha256 was {entry.sha256}"
        quarantined = store.quarantine(
            entry.path, entry.path.name, size_bytes=size_bytes, sha256=sha256, origin=entry.origin, reason=reason
        )
    except CannotCheck as error:
        return CheckedBlob(entry, "", problem=error.what) if os.path.lexists(entry.path) else None
    return CheckedBlob(entry, sha256, quarantined)


def _entries(folder: Path) -> list[Path]:
    """Return what is in a folder, sorted, without names that start with a dot; empty when it is not a readable folder."""
    with suppress(OSError):
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    return []


def _existing(entries: Iterable[CachedFile | None]) -> tuple[CachedFile, ...]:
    return tuple(entry for entry in entries if entry is not None)


def _used(blob: Path) -> Path:
    """Return the path with the time of a blob's last use: its record, or else its folder (see upgrade.remove)."""
    paths = (record_path(blob), earlier_record_path(blob))
    return next((path for path in paths if os.path.lexists(path)), blob.parent)


def _entry(
    kind: Literal["blob", "partial", "quarantine", "earlier version"], path: Path, used: Path, origin: str = ""
) -> CachedFile | None:
    """Return what is at a path, which may be no regular file; None when it does not exist any more."""
    try:
        status = path.lstat()
    except OSError:
        return None
    size_bytes = _folder_bytes(path) if stat.S_ISDIR(status.st_mode) else status.st_size
    with suppress(OSError):
        return CachedFile(kind, path, size_bytes, used.lstat().st_mtime, origin)
    return CachedFile(kind, path, size_bytes, status.st_mtime, origin)


def _folder_bytes(folder: Path) -> int:
    size_bytes = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                size_bytes += os.lstat(os.path.join(place, name)).st_size  # noqa: PTH118  # for each of many files
    return size_bytes
