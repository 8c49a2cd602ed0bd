"""Where zoo keeps what it knows, and writing there: whole or not at all, also when several processes do it at once."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STATE_VERSION = 2
"""Of what zoo remembers below `home()`. Version 1, of zoo 0.1, kept its folders directly there."""


def home() -> Path:
    """The folder of everything that zoo keeps: ZOO_HOME, else the user's cache folder."""
    configured = os.environ.get("ZOO_HOME")
    if configured:
        return Path(configured).expanduser().absolute()
    import platformdirs

    return platformdirs.user_cache_path("zoo")


def state_folder(*names: str) -> Path:
    """Return the folder of these names among what this version of zoo remembers: facts, ranks, indexes, reports.

    An earlier version's folders lie elsewhere, so that nothing of them is ever read (see zoo.weights.upgrade).
    """
    return home().joinpath(f"v{STATE_VERSION}", *names)


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write the content (text as UTF-8) to a file, whole or not at all, also when several processes write it at once.

    Raises OSError when it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    try:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class JsonFolder:
    """The values in the files of one folder, which need not exist yet."""

    folder: Path

    def read(self) -> Iterator[Any]:
        """The value of every file, in no particular order."""
        for path in sorted(self.folder.glob("*.json")):
            try:
                yield json.loads(path.read_text(encoding="utf-8"))
            except (OSError, ValueError):
                continue

    def add(self, value: Any) -> None:
        """Put one more value there. A folder that cannot be written costs a repetition later, not this run."""
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        try:
            write_atomically(self.folder / f"{os.urandom(8).hex()}.json", text)
        except OSError:
            return

    def replace(self, value: Any) -> None:
        """Put one value in the place of all that are there now."""
        old = list(self.folder.glob("*.json"))
        self.add(value)
        _remove(old)

    def clear(self) -> None:
        """Remove all files."""
        _remove(list(self.folder.glob("*.json")))


def _remove(paths: list[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)
