"""Change what zoo keeps below ZOO_HOME, with or without the checksum that shows a change."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from zoo.runtime.storage import sealed


def load(path: Path) -> dict[str, Any]:
    """The object in a file of zoo, without its checksum."""
    data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    del data["checksum"]
    return data


def rewrite(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change the object in a file of zoo as zoo would: with a new checksum. `change` changes it, or returns another."""
    data = load(path)
    changed = change(data)
    path.write_bytes(sealed(path, data if changed is None else changed))
