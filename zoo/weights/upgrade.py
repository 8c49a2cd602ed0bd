"""Find what zoo 0.1 left below ZOO_HOME: it is never read, said once, and removed by `zoo cache prune`.

Only files whose names zoo 0.1 gave are meant: what else lies in those folders is the user's. Weights stay; a file of the
store whose record is outdated is hashed once more.
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
"""The files that zoo 0.1.0 wrote beside the weights, by the folder directly below ZOO_HOME: paths inside that folder."""


@dataclass(frozen=True, slots=True)
class Leftover:
    """A folder of zoo 0.1 with how many files of its own are in it, or the record of a file of weights."""

    path: Path
    files: int
    size_bytes: int


def leftovers() -> tuple[Leftover, ...]:
    """Return what zoo 0.1 left, less what cannot be read."""
    folders = [_measure(home() / name) for name in FILE_NAMES]
    return (*(folder for folder in folders if folder.files), *_outdated_records())


def has_report(card_sha256: str) -> bool:
    """Whether zoo 0.1 left a report about the card of that digest."""
    folder = home() / "reports"
    return any(path.parent.name == card_sha256 for path in _files(folder))


def remove(path: Path) -> None:
    """Remove a leftover: the record, or the files of zoo 0.1 in the folder with each folder that is then empty.

    Raises OSError when it cannot be removed.
    """
    if path.name not in FILE_NAMES:
        _remove_record(path)
        return
    parents: dict[Path, None] = {}
    for file in _files(path):
        file.unlink(missing_ok=True)
        parents |= dict.fromkeys(file.parents[: len(file.relative_to(path).parts)])
    for folder in sorted(parents, key=lambda folder: -len(folder.parts)):
        with suppress(OSError):  # something of the user's is in it, or it is a link
            folder.rmdir()


def notice() -> str:
    """Return a line about what zoo 0.1 left, once for each ZOO_HOME; empty when there is nothing to say.

    Never raises. Where nothing can be written it stays silent, since nothing could be removed either.
    """
    try:
        marker = state_folder("upgrade-notice")
        left = () if marker.exists() else leftovers()
        if not left:
            return ""
        write_atomically(marker, "")
    except (OSError, RuntimeError):  # a home of no user
        return ""
    files, size_bytes = sum(item.files for item in left), sum(item.size_bytes for item in left)
    return (
        f"not used any more: {files:,} {'files' if files != 1 else 'file'} ({size_bytes / 1e6:,.1f} MB) that zoo 0.1"
        f" left in {home()}; run `zoo cache prune`"
    )


def _measure(folder: Path) -> Leftover:
    sizes: list[int] = []
    for file in _files(folder):
        with suppress(OSError):  # removed meanwhile
            sizes.append(file.stat().st_size)
    return Leftover(folder, len(sizes), sum(sizes))


def _files(folder: Path) -> Iterator[Path]:
    """Yield the files of zoo 0.1 in one of its folders; none when it is not there or cannot be read."""
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
    """The folder keeps the record's time, which is that of the last use of the weights."""
    status = path.stat()
    path.unlink()
    os.utime(path.parent, ns=(status.st_atime_ns, status.st_mtime_ns))
