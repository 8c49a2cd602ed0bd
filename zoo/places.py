"""Where zoo keeps what it knows, and writing there: whole or not at all, also when several processes do it at once."""

from __future__ import annotations

import os
from pathlib import Path


def home() -> Path:
    """The folder of everything that zoo keeps: ZOO_HOME, else the user's cache folder."""
    given = os.environ.get("ZOO_HOME")
    if given:
        return Path(given).expanduser().absolute()
    import platformdirs

    return platformdirs.user_cache_path("zoo")


def write_bytes(path: Path, content: bytes) -> None:
    """The content at that path, by a temporary file of this process and `os.replace`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def position(where: str) -> tuple[str, int, int]:
    """(file, line, column) of `file:line:column`; line and column are 1 where they are not told, file is empty for none."""
    parts = where.rsplit(":", 2)
    if len(parts) == 3 and parts[1].isdigit() and parts[2].isdigit():
        return parts[0], int(parts[1]), int(parts[2])
    return where, 1, 1
