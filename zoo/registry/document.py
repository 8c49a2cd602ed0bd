"""YAML text -> plain data that knows where each value stands.

`read` never raises for what a file holds: whatever is wrong is a Problem at its line and column, so that one bad card
does not hide the others. YAML is read strictly, as YAML 1.2: duplicate keys, tags, tabs and alias bombs are problems,
`1e-4` is a number, `no` and `2020-01-01` are text. Only this module and yaml_nodes.py use yaml.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from zoo.errors import UsageError
from zoo.registry.position import Mark, Place, Pointer, Problem
from zoo.registry.yaml_nodes import (
    ROOT,
    UNSURE,
    Construction,
    ForeignConstruction,
    Unacceptable,
    compose,
    construct_quickly,
    marks_of,
    refuse_deep,
    yaml_message,
)

LARGEST_BYTES = 4 * 2**20
"""A card is a few kB; the largest real catalogue file seen is 130 kB. More than this is not a card."""


@dataclass(frozen=True)
class Document:
    """A YAML file as it was read. `data` is empty when `problems` says that the text is no YAML mapping.

    Most documents are right, and nobody asks where their values stand: the marks are made when they are first asked for.
    """

    path: Path
    label: str
    data: Mapping[str, Any]
    problems: tuple[Problem, ...] = ()
    loaded_text: str | None = field(default=None, repr=False)
    """The text, or None for one that is read again when it is asked for."""
    sha256: str = ""
    """Of the text that was not kept."""
    is_foreign: bool = False
    start: tuple[int, int] = (1, 1)
    """Line and column of the first key."""

    @cached_property
    def text(self) -> str:
        """The text that `data` is from; raises UsageError when the file holds another one by now."""
        if self.loaded_text is not None:
            return self.loaded_text
        text = read_text(self.path)
        if hashlib.sha256(text.encode()).hexdigest() != self.sha256:
            raise UsageError("the file was changed while it was in use", where=self.label, hint="run the command again")
        return text

    @cached_property
    def marks(self) -> Mapping[Pointer, Mark]:
        """Where each value stands, by its pointer."""
        return marks_of(self.text, self.label, self.is_foreign)

    @property
    def digest(self) -> str:
        """SHA-256 of the text, as hex."""
        return self.sha256 or hashlib.sha256(self.text.encode()).hexdigest()

    def place(self, pointer: Pointer) -> Place:
        """Where the value stands, or the nearest value around it that exists."""
        if not pointer:
            return Place(self.label, *self.start)
        while pointer and pointer not in self.marks:
            pointer = pointer[:-1]
        mark = self.marks.get(pointer)
        return Place(self.label, mark.line, mark.column) if mark else Place(self.label, 1, 1)

    def written(self, pointer: Pointer) -> str:
        """The value as the file has it, quotes and all."""
        mark = self.marks[pointer]
        return self.text[mark.start : mark.end]


def read(path: Path) -> Document:
    """The document in a file; the file's own unreadability is a Problem too."""
    label = display(path)
    try:
        if path.stat().st_size > LARGEST_BYTES:
            return _unreadable(path, label, f"larger than {LARGEST_BYTES} bytes: not a card")
        raw = path.read_bytes()
    except OSError as error:
        return _unreadable(path, label, f"cannot be read: {error.strerror or error}")
    return decode(raw, path, label)


def decode(raw: bytes, path: Path, label: str) -> Document:
    """The document in the bytes of a file."""
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        column = error.start - (raw.rfind(b"\n", 0, error.start) + 1) + 1
        what = f"byte 0x{raw[error.start]:02x} is not UTF-8"
        return _unreadable(path, label, what, line, column, hint="save the file as UTF-8")
    return parse(text, path, label)


def read_text(path: Path) -> str:
    """The text of a file as `read` takes it."""
    return path.read_bytes().decode("utf-8-sig")


def parse(text: str, path: Path, label: str | None = None) -> Document:
    """The document in a text; `path` is where the text is from, `label` how messages call it."""
    import yaml

    label = label or display(path)
    try:
        refuse_deep(text)
        root = compose(text)
    except (Unacceptable, yaml.YAMLError, ValueError) as error:
        return _refused(path, label, text, error)
    construction = Construction(label)
    try:
        data = construct_quickly(root) if root is not None else None
        if data is UNSURE:
            data = construction.value(root, (), 0)
    except Unacceptable as error:
        return _unreadable(path, label, error.what, error.line, error.column, hint=error.hint)
    if not isinstance(data, dict):
        return _unreadable(path, label, "holds no mapping of fields", hint="start it with `name: ...`")
    start = (root.start_mark.line + 1, root.start_mark.column + 1)
    return Document(path, label, data, tuple(construction.problems), text, start=start)


def parse_foreign(text: str, path: Path, label: str) -> Document:
    """A document that was not written for zoo, read so that nothing of it is lost.

    Differs from `parse`: scalars that are read differently by others are Plain, `<<` is merged, of two equal keys the
    last counts (as for PyYAML's safe_load) and the problem is noted, and a document may be a list, under the key ROOT.
    """
    import yaml

    try:
        refuse_deep(text)
        root: Any = yaml.compose(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        construction = ForeignConstruction(label)
        at: Pointer = () if root is None or root.id == "mapping" else (ROOT,)
        data = construction.value(root, at, 0) if root is not None else None
    except (Unacceptable, yaml.YAMLError, ValueError) as error:
        return _refused(path, label, text, error)
    return Document(
        path, label, {ROOT: data} if at else data or {}, tuple(construction.problems), text, is_foreign=True
    )


def to_yaml(data: Mapping[str, Any]) -> str:
    """Plain data as YAML in blocks, in the order of its keys; what is equal gives equal text."""
    import yaml

    return str(yaml.safe_dump(dict(data), sort_keys=False, allow_unicode=True, width=1000)) if data else ""


def display(path: Path | str) -> str:
    """The path as people know it: relative when it lies below the current folder."""
    text, here = str(path), f"{os.getcwd().rstrip('/')}/"  # noqa: PTH109  # asked for each of ten thousand cards
    return text.removeprefix(here)


def _refused(path: Path, label: str, text: str, error: Exception) -> Document:
    """The document of a text that is no YAML, or none that can be read safely."""
    import yaml

    if isinstance(error, Unacceptable):
        return _unreadable(path, label, error.what, error.line, error.column, hint=error.hint)
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        what, hint = yaml_message(text, error, line)
        return _unreadable(path, label, what, line, column, hint=hint)
    return _unreadable(path, label, f"not YAML: {str(error).splitlines()[0]}", hint="remove the control character")


def _unreadable(path: Path, label: str, what: str, line: int = 1, column: int = 1, *, hint: str = "") -> Document:
    return Document(path, label, {}, (Problem((), Place(label, line, column), what, hint),), "")
