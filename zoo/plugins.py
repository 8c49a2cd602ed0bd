"""Find and load plug-ins by kind and name. The folder is the registry, so there is no list to edit.

A check, rule, source, builder, data set, dialect, engine, format, convention or command is one file in the folder of its
kind (FOLDERS). Another distribution adds one through the entry-point group `zoo.<kind>`. Listing names and reading a
command's one-line summary import nothing. Two plug-ins of one kind and name are an error: the first would hide the second.

The contract of a kind is a Protocol in the folder's `__init__.py` (CONTRACTS). mypy holds the built-in plug-ins to it in
`zoo/contracts.py`; `load` holds those of other distributions to it, because mypy did not see them.
This module does not use pathlib, which would cost `zoo --help` a tenth of its time.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterator
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, overload

from zoo.errors import UnknownName, UsageError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from zoo.accuracy.datasets import Reader
    from zoo.commands import CommandModule
    from zoo.conversion.dialects import FileDialect, NamedDialect
    from zoo.flops.conventions import Convention
    from zoo.models.builders import ModelBuilder
    from zoo.runtime.engines import Engine
    from zoo.verification.checks import Check
    from zoo.verification.formats import Format
    from zoo.verification.rules import RuleModule
    from zoo.weights.sources import SourceModule

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


CONTRACTS = {
    "builders": ("ModelBuilder",),
    "checks": ("Check",),
    "commands": ("CommandModule",),
    "conventions": ("Convention",),
    "datasets": ("Reader",),
    "dialects": ("FileDialect", "NamedDialect"),
    "engines": ("Engine",),
    "formats": ("Format",),
    "rules": ("RuleModule",),
    "sources": ("SourceModule",),
}
"""The Protocols of each kind, in its folder's `__init__.py`; a plug-in offers at least one of them."""


def names(kind: str) -> tuple[str, ...]:
    """Return the names of the built-in plug-ins of a kind and of those under the entry points `zoo.<kind>`, sorted."""
    return tuple(sorted({*_files(kind), *_entry_points(kind)}))


@overload
def load(kind: Literal["builders"], name: str, *, where: str = ...) -> ModelBuilder: ...
@overload
def load(kind: Literal["checks"], name: str, *, where: str = ...) -> Check: ...
@overload
def load(kind: Literal["commands"], name: str, *, where: str = ...) -> CommandModule: ...
@overload
def load(kind: Literal["conventions"], name: str, *, where: str = ...) -> Convention: ...
@overload
def load(kind: Literal["datasets"], name: str, *, where: str = ...) -> Reader: ...
@overload
def load(kind: Literal["dialects"], name: str, *, where: str = ...) -> FileDialect | NamedDialect: ...
@overload
def load(kind: Literal["engines"], name: str, *, where: str = ...) -> Engine: ...
@overload
def load(kind: Literal["formats"], name: str, *, where: str = ...) -> Format: ...
@overload
def load(kind: Literal["rules"], name: str, *, where: str = ...) -> RuleModule: ...
@overload
def load(kind: Literal["sources"], name: str, *, where: str = ...) -> SourceModule: ...
def load(kind: str, name: str, *, where: str = "") -> Any:
    """Import and return the module that is the plug-in of that kind and name.

    Raises UnknownName with the nearest names, `where` being the place in a card that gave the name; UsageError when the
    plug-in of another distribution does not offer what its contract asks for.
    """
    module_name = name.replace("-", "_")
    if module_name in _files(kind):
        return importlib.import_module(f"{_package(kind)}.{module_name}")
    if module_name in _entry_points(kind):
        return _load_entry_point(kind, _entry_points(kind)[module_name])
    raise UnknownName(kind.removesuffix("s"), name, names(kind), where=where)


def missing(kind: str, module: ModuleType) -> tuple[str, ...]:
    """Return what a module lacks of the contract of a kind, a phrase each; nothing when it offers all of it.

    Where a kind has several Protocols, the answer is about the one that the module comes nearest to.
    """
    package = importlib.import_module(_package(kind))
    lacking = [tuple(_lacks(module, getattr(package, contract))) for contract in CONTRACTS[kind]]
    return min(lacking, key=len)


def summary(kind: str, name: str) -> str:
    """Return the first line of the module's docstring, read from its text so that listing commands imports none of them.

    A plug-in of another distribution is imported; when it cannot be loaded, the summary says so.
    """
    path = _files(kind).get(name.replace("-", "_"))
    if path is None:
        try:
            module = _load_entry_point(kind, _entry_points(kind)[name.replace("-", "_")])
        except UsageError as error:
            return f"(cannot be loaded: {error.what})"
        return (module.__doc__ or "").strip().partition("\n")[0]
    with open(path, encoding="utf-8") as file:
        return file.readline().strip().strip('"')


@cache
def _load_entry_point(kind: str, point: EntryPoint) -> ModuleType:
    where = f"entry point {point.name!r} of group 'zoo.{kind}' ({point.value})"
    try:
        module = point.load()
    except Exception as error:  # a plug-in's own code may raise anything while it is imported
        raise UsageError(f"the plug-in cannot be imported: {type(error).__name__}: {error}", where=where) from error
    if not isinstance(module, ModuleType):
        raise UsageError(f"the plug-in is not a module but {type(module).__name__}", where=where)
    lacking = missing(kind, module)
    if lacking:
        contract = " or ".join(CONTRACTS[kind])
        raise UsageError(
            f"the plug-in does not fit its contract: {'; '.join(lacking)}",
            where=where,
            hint=f"see {contract} in zoo/{FOLDERS[kind]}/__init__.py",
        )
    return module


def _package(kind: str) -> str:
    return f"zoo.{FOLDERS[kind].replace('/', '.')}"


def _lacks(module: ModuleType, contract: type) -> Iterator[str]:
    """Yield what the module lacks of a Protocol: a missing member, a value of another type, a signature that differs."""
    members = {name: value for base in reversed(contract.__mro__) for name, value in vars(base).items()}
    for name, member in sorted(members.items()):
        if name.startswith("_") or not (isinstance(member, property) or callable(member)):
            continue
        if not hasattr(module, name):
            yield f"`{name}` is missing"
        elif isinstance(member, property):
            yield from _wrong_type(name, getattr(module, name), member)
        else:
            yield from _wrong_signature(name, getattr(module, name), member)


def _wrong_type(name: str, value: object, member: property) -> Iterator[str]:
    """Yield a phrase when the value is not of the type that the Protocol's property names.

    Only the class is compared (a tuple, not what is in it); a type that is imported for type checkers only is not.
    """
    import typing

    try:
        expected = typing.get_type_hints(member.fget)["return"]
    except NameError:
        return
    expected = typing.get_origin(expected) or expected
    if isinstance(expected, type) and not isinstance(value, expected):
        yield f"`{name}` is of type {type(value).__name__}, not {expected.__name__}"


def _wrong_signature(name: str, function: object, member: Callable[..., object]) -> Iterator[str]:
    """Yield a phrase when the function cannot be called as the Protocol's method is."""
    import inspect

    if not callable(function):
        yield f"`{name}` is not a function"
        return
    expected = list(inspect.signature(member).parameters.values())[1:]  # without self
    positional = [object() for item in expected if item.kind is not item.KEYWORD_ONLY]
    by_keyword = {item.name: object() for item in expected if item.kind is item.KEYWORD_ONLY}
    required = {
        item.name: object() for item in expected if item.kind is item.KEYWORD_ONLY and item.default is item.empty
    }
    signature = inspect.signature(function)
    try:
        signature.bind(*positional, **by_keyword)
        signature.bind(
            *(value for value, item in zip(positional, expected, strict=False) if item.default is item.empty),
            **required,
        )
    except TypeError as error:
        call = ", ".join(item.name for item in expected)
        yield f"`{name}{signature}` cannot be called as `{name}({call})`: {error}"


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
