"""Find what zoo 0.1 left below ZOO_HOME: it is never read, said once, and removed by `zoo cache prune`.

Weights stay: a file of the store is named by its digest, and is read again because its record is outdated.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from zoo.runtime.storage import home, state_folder, write_atomically
from zoo.weights import records

FOLDERS = ("facts", "ranks", "data", "index", "reports")
"""What zoo 0.1 kept directly below ZOO_HOME beside the weights."""


def leftovers() -> tuple[Path, ...]:
    """Return the folders and records that zoo 0.1 left; none when ZOO_HOME cannot be read."""
    with suppress(OSError):
        folders = [path for name in FOLDERS if (path := home() / name).is_dir()]
        outdated = [path for path in (home() / "blobs").glob(f"*/{records.FILE_NAME}") if records.is_outdated(path)]
        return (*folders, *sorted(outdated))
    return ()


def has_report(card_sha256: str) -> bool:
    """Whether zoo 0.1 left a report about the card of that digest."""
    return (home() / "reports" / card_sha256).is_dir()


def notice() -> str:
    """Return a line about what zoo 0.1 left, once for each ZOO_HOME; empty when there is nothing to say."""
    marker = state_folder("upgrade-notice")
    if marker.exists():
        return ""
    sizes = [size for path in leftovers() for size in _sizes(path)]
    if not sizes:
        return ""
    with suppress(OSError):  # then it is said again
        write_atomically(marker, "")
    return (
        f"{len(sizes):,} files ({sum(sizes) / 1e6:,.1f} MB) that zoo 0.1 left in {home()} are not used any more;"
        " `zoo cache prune` removes them"
    )


def _sizes(path: Path) -> Iterator[int]:
    """Yield the size in bytes of a file, or of each file below a folder."""
    if not path.is_dir():
        yield path.stat().st_size
        return
    for folder, _, names in os.walk(path):
        for name in names:
            with suppress(OSError):
                yield (Path(folder) / name).lstat().st_size
