"""Remove the paths of this machine from what is published: reports, and the files of a release.

A message or an evidence names files for the person at this machine. Elsewhere their folders are of no use, and they tell the
names of users, customers and disks. Only the name of the file stays.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from zoo.runtime.storage import home

USUAL_FOLDERS = (
    "Applications", "Library", "Users", "Volumes", "data", "datasets", "dev", "etc", "export", "gpfs", "home", "lustre", "media",
    "mnt", "net", "nfs", "nix", "opt", "private", "proc", "project", "projects", "root", "run", "scratch", "srv", "sys", "tmp",
    "usr", "var", "work", "workspace",
)  # fmt: skip
"""Top-level folders of other machines that a report may come from; those of this machine are listed when it is asked for."""
REMOVED = "..."
_END = r"""[^\s'"`,;:()<>|\[\]{}=]*"""
"""The rest of a path up to a character that ends it in a sentence."""


def without_paths(value: Any) -> Any:
    """Return a JSON value in which every path in a text is replaced by `.../NAME`, or `...` for a folder.

    A path begins with `/` and a top-level folder, with `~`, with a drive or with `file:`, or with the folder of the user, of
    zoo, of temporary files, or the current one. Keys of objects stay.
    """
    folders = _own_folders()
    pattern = _paths(folders, _top_folders())

    def redacted(item: Any) -> Any:
        if isinstance(item, str):
            has_path = "/" in item or "\\" in item
            return pattern.sub(lambda match: _file_name(match[0], folders), item) if has_path else item
        if isinstance(item, dict):
            return {key: redacted(part) for key, part in item.items()}
        return [redacted(part) for part in item] if isinstance(item, (list, tuple)) else item

    return redacted(value)


def _file_name(path: str, folders: Iterable[str]) -> str:
    """Return `.../NAME` for the path of a file, which has a suffix, and `...` for that of a folder."""
    name = re.split(r"[/\\]", path.rstrip("/\\."))[-1]
    is_file = "." in name.strip(".") and path.rstrip("/\\.") not in folders
    end = path[len(path.rstrip(".")) :]  # the end of a sentence
    return (f"{REMOVED}/{name}" if is_file else REMOVED) + end


def _own_folders() -> tuple[str, ...]:
    """Return the absolute folders whose names are private, as they are written and with links resolved."""
    folders = [os.path.expanduser("~"), str(home()), tempfile.gettempdir()]  # noqa: PTH111  # as text
    with suppress(FileNotFoundError):  # the current folder was removed
        folders.append(str(Path.cwd()))
    folders += [
        value
        for name, value in os.environ.items()
        if name.startswith(("ZOO_", "HF_", "TORCH_", "XDG_")) and "/" in value
    ]
    absolute = {folder.rstrip("/") for folder in folders if folder.startswith("/")}
    resolved = {os.path.realpath(folder) for folder in absolute}
    return tuple(sorted((absolute | resolved) - {"", "/"}, key=len, reverse=True))


def _top_folders() -> tuple[str, ...]:
    try:
        here = [path.name for path in Path("/").iterdir()]
    except OSError:
        here = []
    return tuple(sorted({*USUAL_FOLDERS, *here}))


@lru_cache(maxsize=8)
def _paths(folders: tuple[str, ...], top_folders: tuple[str, ...]) -> re.Pattern[str]:
    """Return the pattern of a path. A URL has no match: its path follows a host."""
    own = "|".join(map(re.escape, folders))
    top = "|".join(map(re.escape, top_folders))
    return re.compile(
        rf"file:/*{_END}|(?<![\w/.~-])(?:{own})(?![\w-]){_END}|(?<![\w/.~-])/(?:{top})(?:/{_END})?(?![\w-])"
        rf"|(?<![\w/])~[\w.-]*/{_END}|(?<!\w)[A-Za-z]:[\\/](?!/){_END}|(?<!\w)\\\\\w{_END}",
        re.IGNORECASE if os.name == "nt" else 0,
    )
