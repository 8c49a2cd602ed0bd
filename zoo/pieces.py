"""Values -> a folder of small JSON files, each written whole, so that a killed run loses only what it was doing.

Several processes may add pieces at once. A damaged piece counts as not there. Imports facts.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo.facts import write_atomically


@dataclass(frozen=True, slots=True)
class Pieces:
    """The pieces in one folder, which need not exist yet."""

    folder: Path

    def read(self) -> Iterator[Any]:
        """Every piece's value, in no particular order."""
        for path in sorted(self.folder.glob("*.json")):
            try:
                yield json.loads(path.read_text(encoding="utf-8"))
            except (OSError, ValueError):
                continue

    def add(self, value: Any) -> None:
        """Put one more piece there. A folder that cannot be written costs a repetition later, not this run."""
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        try:
            write_atomically(self.folder / f"{os.urandom(8).hex()}.json", text)
        except OSError:
            return

    def replace(self, value: Any) -> None:
        """Put one piece in the place of all that are there now."""
        old = list(self.folder.glob("*.json"))
        self.add(value)
        _remove(old)

    def clear(self) -> None:
        """Remove all pieces."""
        _remove(list(self.folder.glob("*.json")))


def _remove(paths: list[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)
