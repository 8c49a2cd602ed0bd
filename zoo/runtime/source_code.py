"""Find the modules that a module depends on, by the imports in their source, and digest them.

The digest is part of the key of a measured fact, so that a changed measurement does not answer from an earlier one. The
modules are derived from the source, without importing them: a list typed by hand would miss the next import.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Mapping
from functools import cache

from zoo import plugins

PACKAGE = __file__.removesuffix("/runtime/source_code.py")
_TYPES_ONLY = re.compile(r"^( *)if TYPE_CHECKING:\n(?:(?:\1 +.*)?\n)+", re.MULTILINE)
_FROM = re.compile(r"from (zoo[.\w]*) import (\([^)]*\)|.*)")
_IMPORT = re.compile(r"import (zoo[.\w]*)")
_PLUGIN = re.compile(r"""plugins\.load\(\s*["'](\w+)["'],\s*["'](\w+)["']""")
_COMMENT = re.compile(r"#.*")
_MEMBER = re.compile(r"(\w+)(?: as \w+)?")


@cache
def sha256(modules: tuple[str, ...], without: tuple[str, ...] = ()) -> str:
    """Return the SHA-256, in hex, of the names and source of these modules and of all that `depends_on` finds for them."""
    digest = hashlib.sha256()
    for module in depends_on(modules, without):
        source = _read(module)
        digest.update(f"{module} {len(source)}\n".encode() + source)
    return digest.hexdigest()


def depends_on(modules: Iterable[str], without: Iterable[str] = ()) -> tuple[str, ...]:
    """Return the dotted names, sorted, of these modules and of all modules of zoo that they import, however indirectly.

    An import inside a function counts, as does `plugins.load` of a plug-in named in the source; an import for the type
    checker does not. Of a module of another distribution, which a plug-in may be, only imports of zoo are followed.
    without: modules and packages that are left out, with everything that only they import.
    """
    left_out = tuple(f"{name}." for name in without)
    found: set[str] = set()
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        if module not in found:
            found.add(module)
            waiting += [name for name in imported_by(module) if not f"{name}.".startswith(left_out)]
    return tuple(sorted(found))


@cache
def imported_by(module: str) -> tuple[str, ...]:
    """Return the dotted names of the modules and packages of zoo that a module imports itself, each once.

    Importing a module runs its packages too, so that they count; `zoo` itself, which imports nothing, does not.
    """
    text = _TYPES_ONLY.sub("", _read(module).decode(errors="replace"))
    names = dict.fromkeys(_IMPORT.findall(text))
    for package, members in _FROM.findall(text):
        names |= dict.fromkeys((package, *_submodules(package, members)))
    for kind, name in _PLUGIN.findall(text):
        names[f"zoo.{plugins.FOLDERS[kind].replace('/', '.')}.{name}"] = None
    with_packages = dict.fromkeys(package for name in names for package in _packages(name))
    return tuple(name for name in with_packages if name != module and name in _files())  # prose may look like an import


def _submodules(package: str, members: str) -> list[str]:
    """Return the members of a `from package import members` that are modules, by their dotted names."""
    names = (f"{package}.{member}" for member in _MEMBER.findall(_COMMENT.sub("", members)))
    return [name for name in names if name in _files()]


def _packages(module: str) -> Iterable[str]:
    """Return a module of zoo and the packages that it is in, from the outermost on, without `zoo`."""
    parts = module.split(".")
    return (".".join(parts[:count]) for count in range(2, len(parts) + 1))


@cache
def _files() -> Mapping[str, str]:
    """Return the files of all modules and packages of zoo, by dotted name; not by pathlib, which takes ten times as long."""
    files = {}
    for folder, folders, names in os.walk(PACKAGE):
        folders[:] = [name for name in folders if not name.startswith("_")]
        package = f"zoo{folder.removeprefix(PACKAGE).replace('/', '.')}"
        for name in names:
            if name.endswith(".py"):
                module = package if name == "__init__.py" else f"{package}.{name.removesuffix('.py')}"
                files[module] = f"{folder}/{name}"
    return files


@cache
def _read(module: str) -> bytes:
    """Return the content of a module's file, which may be compiled where it is of another distribution; empty without a file."""
    path = _files()[module] if module.startswith("zoo.") else _path_elsewhere(module)
    if path is None:
        return b""
    with open(path, "rb") as file:
        return file.read()


def _path_elsewhere(module: str) -> str | None:
    import importlib.util

    spec = importlib.util.find_spec(module)
    return spec.origin if spec is not None and spec.has_location else None
