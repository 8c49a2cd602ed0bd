"""Find the files that zoo 0.1 left below ZOO_HOME: zoo reports them once, and `zoo cache prune` removes them.

Only files with the names that zoo 0.1 wrote count: all others in those folders belong to the user. Weights stay; a file
in the store with a record of zoo 0.1 is hashed once more.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from zoo.runtime.storage import home, state_folder, write_atomically
from zoo.weights import records

FILE_NAMES = {
    "facts": re.compile(r"[0-9a-f]{2}/[0-9a-f]{64}\.json"),
    "ranks": re.compile(r"[0-9a-f]{2}/[0-9a-f]{64}/[0-9a-f]{16}\.json"),
    "data": re.compile(r"[0-9a-f]{32}(?:/[0-9a-f]{16}\.json|\.json|\.images)"),
    "index": re.compile(r"[0-9a-f]{32}\.(?:cards|verdicts)"),
    "reports": re.compile(r"[0-9a-f]{64}/\d{4}-\d\d-\d\dT\d{6}Z\.json"),
}
"""The paths of the files that zoo 0.1.0 wrote, inside their folder directly below ZOO_HOME."""


@dataclass(frozen=True, slots=True)
class Leftover:
    """A folder of zoo 0.1 with the number and size of its own files, or the record of a weights file."""

    path: Path
    files: int
    size_bytes: int


def leftovers() -> tuple[Leftover, ...]:
    """Return what zoo 0.1 left, as far as it is readable."""
    folders = [_measure(home() / name) for name in FILE_NAMES]
    return (*(folder for folder in folders if folder.files), *_outdated_records())


def has_report(card_sha256: str) -> bool:
    """Return whether zoo 0.1 left a report about the card with that digest."""
    folder = home() / "reports"
    return any(path.parent.name == card_sha256 for path in _files(folder))


def remove(path: Path) -> None:
    """Remove a leftover: a record, or the files of zoo 0.1 in a folder and each folder that is then empty.

    Raises OSError when that fails.
    """
    if path.name not in FILE_NAMES:
        _remove_record(path)
        return
    parents: dict[Path, None] = {}
    for file in _files(path):
        file.unlink(missing_ok=True)
        parents |= dict.fromkeys(file.parents[: len(file.relative_to(path).parts)])
    for folder in sorted(parents, key=lambda folder: -len(folder.parts)):
        with suppress(OSError):  # it contains a file of the user, or it is a link
            folder.rmdir()


def notice() -> str:
    """Return a line about what zoo 0.1 left, once for each ZOO_HOME; empty when there is nothing to report.

    Never raises. The result is empty where ZOO_HOME is not writable, since nothing can be removed there either.
    """
    try:
        marker = state_folder("upgrade-notice")
        left = () if marker.exists() else leftovers()
        if not left:
            return ""
        write_atomically(marker, "")
    except (OSError, RuntimeError):  # RuntimeError: the user has no home folder
        return ""
    files, size_bytes = sum(item.files for item in left), sum(item.size_bytes for item in left)
    return (
        f"{home()} has {files:,} {'files' if files != 1 else 'file'} ({size_bytes / 1e6:,.1f} MB) of zoo 0.1 that this"
        " version does not use; run `zoo cache prune`"
    )


def _measure(folder: Path) -> Leftover:
    sizes: list[int] = []
    for file in _files(folder):
        with suppress(OSError):  # removed by another process
            sizes.append(file.stat().st_size)
    return Leftover(folder, len(sizes), sum(sizes))


def _files(folder: Path) -> Iterator[Path]:
    """Yield the files of zoo 0.1 in one of its folders; none when the folder does not exist or is not readable."""
    pattern = FILE_NAMES[folder.name]
    for place, _, names in os.walk(folder):
        for name in names:
            path = Path(place, name)
            if pattern.fullmatch(path.relative_to(folder).as_posix()):
                yield path


def _outdated_records() -> Iterator[Leftover]:
    with suppress(OSError):
        for path in sorted((home() / "blobs").glob(f"*/{records.EARLIER_FILE_NAME}")):
            if path.is_file():
                yield Leftover(path, 1, path.stat().st_size)


def _remove_record(path: Path) -> None:
    """Remove the record, and set its folder's time to the record's, which is the time of the last use."""
    status = path.stat()
    path.unlink()
    os.utime(path.parent, ns=(status.st_atime_ns, status.st_mtime_ns))
