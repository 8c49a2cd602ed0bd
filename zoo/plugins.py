"""Find plug-ins: (kind, name) -> module. The folder is the registry, so there is no list to edit.

A check, rule, source, builder, data set, dialect, engine, format, convention or command is one file in the folder of its
kind (FOLDERS). Another distribution adds one through the entry-point group `zoo.<kind>`. Listing names and reading a
command's one-line summary import nothing. Two files of one name are an error: the first would hide the second.
This module does not use pathlib, which would cost `zoo --help` a tenth of its time.
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

FOLDERS = {
    "builders": "models/builders",
    "checks": "verification/checks",
    "commands": "commands",
    "conventions": "flops/conventions",
    "datasets": "accuracy/datasets",
    "dialects": "conversion/dialects",
    "engines": "runtime/engines",
    "formats": "verification/formats",
    "rules": "verification/rules",
    "sources": "weights/sources",
}
"""Where the built-in plug-ins of each kind stand, below `zoo/`."""


def names(kind: str) -> tuple[str, ...]:
    """Return the names of the built-in plug-ins of a kind and of those under the entry points `zoo.<kind>`, sorted."""
    return tuple(sorted({*_files(kind), *_entry_points(kind)}))


def load(kind: str, name: str, *, where: str = "") -> ModuleType:
    """Import and return the plug-in of that kind and name.

    Raises UnknownName with the nearest names; `where` is the place in a card that gave the name.
    """
    name = name.replace("-", "_")
    if name in _files(kind):
        return importlib.import_module(f"zoo.{FOLDERS[kind].replace('/', '.')}.{name}")
    if name in _entry_points(kind):
        module = _entry_points(kind)[name].load()
        if not isinstance(module, ModuleType):
            raise UsageError(f"the entry point {name!r} of group 'zoo.{kind}' is not a module")
        return module
    raise UnknownName(kind.removesuffix("s"), name, names(kind), where=where)


def summary(kind: str, name: str) -> str:
    """The first line of the module's docstring, read from its text so that listing commands imports none of them."""
    path = _files(kind).get(name.replace("-", "_"))
    if path is None:
        return (load(kind, name).__doc__ or "").strip().partition("\n")[0]
    with open(path, encoding="utf-8") as file:
        return file.readline().strip().strip('"')


@cache
def _files(kind: str) -> dict[str, str]:
    """Return the paths of the built-in modules of a kind, by name."""
    entries = os.scandir(f"{__file__.removesuffix('plugins.py')}{FOLDERS[kind]}")
    return {entry.name.removesuffix(".py"): entry.path for entry in entries if _is_module(entry.name)}


def _is_module(name: str) -> bool:
    return name.endswith(".py") and not name.startswith(("_", "."))


@cache
def _entry_points(kind: str) -> dict[str, EntryPoint]:
    if not _installed_by_others():
        return {}
    from importlib.metadata import entry_points

    points: dict[str, EntryPoint] = {}
    for point in entry_points(group=f"zoo.{kind}"):
        if point.name in points or point.name in _files(kind):
            raise UsageError(f"two plug-ins of zoo.{kind} are called {point.name!r}", where=point.value)
        points[point.name] = point
    return points


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
        if any(_has_zoo_group(f"{entry.path}/entry_points.txt") for entry in entries):
            return True
    return False


def _has_zoo_group(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return b"[zoo." in file.read()
    except OSError:
        return False
