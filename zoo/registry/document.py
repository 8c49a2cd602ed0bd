"""Read YAML into plain data, with the line and column of every value.

`read` never raises because of a file's content: each error is a Problem at its line and column, so one bad card does not
hide the others. YAML is read strictly, as YAML 1.2: duplicate keys, tags, tabs and alias bombs are problems, `1e-4` is a
number, `no` and `2020-01-01` are text. Only this module and yaml_nodes.py use yaml.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from zoo.errors import UsageError, ZooError
from zoo.registry import files
from zoo.registry.files import FoundFile
from zoo.registry.position import Mark, Place, Pointer, Problem
from zoo.registry.yaml_nodes import (
    ROOT,
    UNSURE,
    Construction,
    ForeignConstruction,
    UnsupportedYaml,
    compose,
    construct_quickly,
    marks_of,
    refuse_large,
    yaml_message,
)

MAX_BYTES = 4 * 2**20
"""The largest file that is read. A card is a few kB; the largest real catalogue file seen is 130 kB."""


@dataclass(frozen=True)
class Document:
    """A YAML file as it was read. `data` is empty when the text is not a YAML mapping; then `problems` says why.

    The marks are computed on first use, because only documents with problems need them.
    """

    path: Path
    label: str
    data: Mapping[str, Any]
    problems: tuple[Problem, ...] = ()
    loaded_text: str | None = field(default=None, repr=False)
    """The text, or None: then `text` reads the file again."""
    sha256: str = ""
    """SHA-256 of the text when `loaded_text` is None, in hex."""
    is_foreign: bool = False
    start: tuple[int, int] = (1, 1)
    """Line and column of the first key."""
    duplicates: tuple[Problem, ...] = ()
    """The duplicate keys of a foreign document; the last one is used."""

    @cached_property
    def text(self) -> str:
        """The text that `data` was read from; raises UsageError when the file has changed since."""
        if self.loaded_text is not None:
            return self.loaded_text
        try:
            text = read_text(self.path)
        except (ZooError, OSError, UnicodeDecodeError):
            text = ""
        if hashlib.sha256(text.encode()).hexdigest() != self.sha256:
            raise UsageError("the file changed while zoo was using it", where=self.label, hint="run the command again")
        return text

    @cached_property
    def marks(self) -> Mapping[Pointer, Mark]:
        """The position of each value, by its pointer."""
        return marks_of(self.text, self.label, self.is_foreign)

    @property
    def digest(self) -> str:
        """SHA-256 of the text, as hex."""
        return self.sha256 or hashlib.sha256(self.text.encode()).hexdigest()

    def place(self, pointer: Pointer) -> Place:
        """Return the place of a value, or of the nearest enclosing value when the document does not have it."""
        if not pointer:
            return Place(self.label, *self.start)
        while pointer and pointer not in self.marks:
            pointer = pointer[:-1]
        mark = self.marks.get(pointer)
        return Place(self.label, mark.line, mark.column) if mark else Place(self.label, 1, 1)

    def written(self, pointer: Pointer) -> str:
        """Return the text of a value as it is in the file, with its quotes."""
        mark = self.marks[pointer]
        return self.text[mark.start : mark.end]


def read(path: Path, found: FoundFile | None = None) -> Document:
    """Read the document in a file. A file that cannot be read gives a document with a Problem.

    found: what `files.walk` found, when the file must still be that one.
    """
    label = display(path)
    try:
        raw = files.read(path, MAX_BYTES, folder=found.top if found else None, found=found.status if found else None)
    except ZooError as error:
        return _unreadable(path, label, error.what, hint=error.hint)
    except OSError as error:
        return _unreadable(path, label, f"cannot read the file: {error.strerror or error}")
    return decode(raw, path, label)


def unread(path: Path, what: str, hint: str = "") -> Document:
    """Return the document of a file that is not read, with a Problem that says why."""
    return _unreadable(path, display(path), what, hint=hint)


def decode(raw: bytes, path: Path, label: str) -> Document:
    """Read the document in the bytes of a file."""
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        column = error.start - (raw.rfind(b"\n", 0, error.start) + 1) + 1
        what = f"byte 0x{raw[error.start]:02x} is not valid UTF-8"
        return _unreadable(path, label, what, line, column, hint="save the file as UTF-8")
    return parse(text, path, label)


def read_text(path: Path) -> str:
    """Return the text of a file, decoded as `read` decodes it.

    Raises CardError or CannotCheck as `files.read` does, OSError when it is not readable, UnicodeDecodeError.
    """
    return files.read(path, MAX_BYTES).decode("utf-8-sig")


def parse(text: str, path: Path, label: str | None = None) -> Document:
    """Read the document in a text. `path` is the file of the text, `label` its name in messages."""
    import yaml

    label = label or display(path)
    try:
        refuse_large(text)
        root = compose(text)
    except (UnsupportedYaml, yaml.YAMLError, ValueError) as error:
        return _invalid(path, label, text, error)
    construction = Construction(label)
    try:
        data = construct_quickly(root) if root is not None else None
        if data is UNSURE:
            data = construction.value(root, (), 0)
    except UnsupportedYaml as error:
        return _unreadable(path, label, error.what, error.line, error.column, hint=error.hint)
    if not isinstance(data, dict):
        got = "the file is empty" if data is None else f"got {'a list' if isinstance(data, list) else 'a single value'}"
        return _unreadable(path, label, f"expected fields, {got}", hint="start the file with `name: ...`")
    start = (root.start_mark.line + 1, root.start_mark.column + 1)
    return Document(path, label, data, tuple(construction.problems), text, start=start)


def parse_foreign(text: str, path: Path, label: str) -> Document:
    """Read a document that was not written for zoo, without losing anything.

    Differences from `parse`: scalars that other readers interpret differently are Plain; `<<` is merged; of duplicate keys
    the last one is used, as in PyYAML's safe_load, and noted in `duplicates`; a document may be a list, under the key ROOT.
    """
    import yaml

    try:
        refuse_large(text)
        root: Any = yaml.compose(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        construction = ForeignConstruction(label)
        at: Pointer = () if root is None or root.id == "mapping" else (ROOT,)
        data = construction.value(root, at, 0) if root is not None else None
    except (UnsupportedYaml, yaml.YAMLError, ValueError) as error:
        return _invalid(path, label, text, error)
    problems, duplicates = tuple(construction.problems), tuple(construction.duplicates)
    data = {ROOT: data} if at else data or {}
    return Document(path, label, data, problems, text, is_foreign=True, duplicates=duplicates)


def to_yaml(data: Mapping[str, Any]) -> str:
    """Return plain data as YAML in block style, in the order of its keys; equal data give equal text."""
    import yaml

    return str(yaml.safe_dump(dict(data), sort_keys=False, allow_unicode=True, width=1000)) if data else ""


def display(path: Path | str) -> str:
    """Return the path for messages: relative when it is below the current folder."""
    text, here = str(path), f"{os.getcwd().rstrip('/')}/"  # noqa: PTH109  # called for each of ten thousand cards
    if not text.isascii():  # a name that is not UTF-8 has surrogates, which cannot be printed
        text = os.fsencode(text).decode(errors="replace")
    return text.removeprefix(here)


def _invalid(path: Path, label: str, text: str, error: Exception) -> Document:
    """Return the document of a text that is not valid YAML, or that cannot be read safely."""
    import yaml

    if isinstance(error, UnsupportedYaml):
        return _unreadable(path, label, error.what, error.line, error.column, hint=error.hint)
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        what, hint = yaml_message(text, error, line)
        return _unreadable(path, label, what, line, column, hint=hint)
    what = f"invalid YAML: {str(error).splitlines()[0]}"
    return _unreadable(path, label, what, hint="remove the control character")


def _unreadable(path: Path, label: str, what: str, line: int = 1, column: int = 1, *, hint: str = "") -> Document:
    return Document(path, label, {}, (Problem((), Place(label, line, column), what, hint),), "")
