"""Locate the folder where zoo keeps its state, and write files there atomically."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo.errors import UsageError

STATE_VERSION = 2
"""The version of the state below `home()`. Version 1, of zoo 0.1, kept its folders directly there."""


def home() -> Path:
    """Return the folder of everything that zoo keeps: ZOO_HOME, else `zoo` in the user's cache folder.

    Raises UsageError when ZOO_HOME names the home folder of an unknown user.
    """
    configured = os.environ.get("ZOO_HOME")
    if configured:
        return _expanded(configured).absolute()
    import platformdirs

    return platformdirs.user_cache_path("zoo")


def state_folder(*names: str) -> Path:
    """Return a folder, by its names, in the state of this version of zoo: facts, ranks, indexes or reports.

    An earlier version's folders are elsewhere, so zoo never reads them (see zoo.weights.upgrade).
    """
    return home().joinpath(f"v{STATE_VERSION}", *names)


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write the content (text as UTF-8) to a file, completely or not at all, also when several processes write it at once.

    A replaced file keeps its permissions. Raises OSError when writing fails.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)
        with suppress(OSError):  # a new file has no permissions to keep, and some file systems have none at all
            temporary.chmod(stat.S_IMODE(path.stat().st_mode))


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield the path of a new file in the same folder, which replaces `path` unless the block raises.

    Every process gets a file of its own, so several may write the same `path` at once. Raises OSError when writing fails.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class JsonFolder:
    """The JSON values in the files of one folder. The folder need not exist."""

    folder: Path

    def read(self) -> Iterator[Any]:
        """Yield the value of every readable file, in no particular order."""
        for path in sorted(self.folder.glob("*.json")):
            try:
                yield json.loads(path.read_text(encoding="utf-8"))
            except (OSError, ValueError):
                continue

    def add(self, value: Any) -> None:
        """Add one value. When writing fails, this run goes on, and a later run computes the value again."""
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        try:
            write_atomically(self.folder / f"{os.urandom(8).hex()}.json", text)
        except OSError:
            return

    def replace(self, value: Any) -> None:
        """Replace all current values by one."""
        old = list(self.folder.glob("*.json"))
        self.add(value)
        _remove(old)

    def clear(self) -> None:
        """Remove all values."""
        _remove(list(self.folder.glob("*.json")))


def _expanded(path: str) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError as error:  # pathlib's error for a home folder that it cannot determine
        user = path.partition("/")[0]
        raise UsageError(
            f"ZOO_HOME is {path}, but there is no home folder {user}", hint="export ZOO_HOME=/absolute/path"
        ) from error


def _remove(paths: list[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)
