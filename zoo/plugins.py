"""(folder, name) -> module: the folder is the registry, so there is no list to edit.

A check, source, builder, dataset kind, dialect, engine, format or command is one file in the folder of that name.
Another distribution adds one through the entry-point group `zoo.<folder>`. Names are listed, and a command's one-line
summary is read, without importing anything. Two files of one name are an error: the first would hide the second.
Imports errors, and no pathlib: it would cost `zoo --help` a tenth of its time.
"""

from __future__ import annotations

import importlib
import os
import sys
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING

from zoo.errors import UnknownName, UsageError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint


def names(folder: str) -> tuple[str, ...]:
    """The names that the folder and the entry points `zoo.<folder>` offer, sorted."""
    return tuple(sorted({*_files(folder), *_entry_points(folder)}))


def load(folder: str, name: str, *, where: str = "") -> ModuleType:
    """The module of that name in `zoo/<folder>/`, imported now.

    Raises UnknownName with the nearest names; `where` is the place in a card that gave the name.
    """
    name = name.replace("-", "_")
    if name in _files(folder):
        return importlib.import_module(f"zoo.{folder}.{name}")
    if name in _entry_points(folder):
        module = _entry_points(folder)[name].load()
        if not isinstance(module, ModuleType):
            raise UsageError(f"the entry point {name!r} of group 'zoo.{folder}' is not a module")
        return module
    raise UnknownName(folder.removesuffix("s"), name, names(folder), where=where)


def summary(folder: str, name: str) -> str:
    """The first line of the module's docstring, read from its text so that listing commands imports none of them."""
    path = _files(folder).get(name.replace("-", "_"))
    if path is None:
        return (load(folder, name).__doc__ or "").strip().partition("\n")[0]
    with open(path, encoding="utf-8") as file:
        return file.readline().strip().strip('"')


@cache
def _files(folder: str) -> dict[str, str]:
    """The paths of the folder's modules by name."""
    entries = os.scandir(f"{__file__.removesuffix('plugins.py')}{folder}")
    return {entry.name.removesuffix(".py"): entry.path for entry in entries if _is_module(entry.name)}


def _is_module(name: str) -> bool:
    return name.endswith(".py") and not name.startswith(("_", "."))


@cache
def _entry_points(folder: str) -> dict[str, EntryPoint]:
    if not _installed_by_others():
        return {}
    from importlib.metadata import entry_points

    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=f"zoo.{folder}"):
        if point.name in found or point.name in _files(folder):
            raise UsageError(f"two plug-ins of zoo/{folder} are called {point.name!r}", where=point.value)
        found[point.name] = point
    return found


@cache
def _installed_by_others() -> bool:
    """Whether any installed distribution has an entry point of ours.

    Reading those small files takes a millisecond; importlib.metadata alone would double the time of `zoo --help`.
    """
    for folder in filter(None, dict.fromkeys(sys.path)):
        try:
            entries = [entry for entry in os.scandir(folder) if entry.name.endswith((".dist-info", ".egg-info"))]
        except OSError:  # not every entry of sys.path is a folder
            continue
        if any(_mentions_us(f"{entry.path}/entry_points.txt") for entry in entries):
            return True
    return False


def _mentions_us(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return b"[zoo." in file.read()
    except OSError:
        return False
