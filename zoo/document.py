"""YAML text -> plain data that knows where each value stands.

`read` never raises for what a file holds: whatever is wrong is a Problem at its line and column, so that one bad card
does not hide the others. YAML is read strictly, as YAML 1.2: duplicate keys, tags, tabs and alias bombs are problems,
`1e-4` is a number, `no` and `2020-01-01` are text. This is the only module that uses yaml. Imports errors.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.errors import UsageError

if TYPE_CHECKING:
    import yaml

Pointer = tuple[str | int, ...]
"""The way from a document's root to a value: keys and list positions."""

LARGEST_BYTES = 4 * 2**20
"""A card is a few kB; the largest real catalogue file seen is 130 kB. More than this is not a card."""
DEEPEST = 100
"""Levels of nesting; no schema here has more than eight, `extra` holds what people write by hand."""
MOST_VALUES = 100_000
"""Values after aliases are expanded: what makes an alias bomb harmless."""


@dataclass(frozen=True, slots=True)
class Place:
    """A position in a file; line and column count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a document."""

    pointer: Pointer
    place: Place
    what: str
    mend: str = ""
    fix: tuple[str, str] | None = None
    """What mends it without a choice: ("rename", a key's name) or ("replace", the value)."""

    @property
    def key(self) -> str:
        """The RFC 6901 JSON pointer of the value."""
        return json_pointer(self.pointer)


@dataclass(frozen=True, slots=True)
class Mark:
    """Where a value stands in the text: its key's (or item's) line and column from 1, its own first and last offset."""

    line: int
    column: int
    start: int
    end: int


@dataclass(frozen=True)
class Document:
    """A YAML file as it was read. `data` is empty when `problems` says that the text is no YAML mapping.

    Most documents are right, and nobody asks where their values stand: the marks are made when they are first asked for.
    """

    path: Path
    label: str
    data: Mapping[str, Any]
    problems: tuple[Problem, ...] = ()
    given: str | None = field(default=None, repr=False)
    """The text, or None for one that is read again when it is asked for."""
    sha256: str = ""
    """Of the text that was not kept."""
    is_foreign: bool = False
    start: tuple[int, int] = (1, 1)
    """Line and column of the first key."""

    @cached_property
    def text(self) -> str:
        """The text that `data` is from; raises UsageError when the file holds another one by now."""
        if self.given is not None:
            return self.given
        text = read_text(self.path)
        if hashlib.sha256(text.encode()).hexdigest() != self.sha256:
            raise UsageError("the file was changed while it was in use", where=self.label, mend="run the command again")
        return text

    @cached_property
    def marks(self) -> Mapping[Pointer, Mark]:
        """Where each value stands, by its pointer."""
        return _marks(self.text, self.label, self.is_foreign)

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


def json_pointer(pointer: Pointer) -> str:
    """The pointer in RFC 6901's notation."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in pointer)


def read(path: Path) -> Document:
    """The document in a file; the file's own unreadability is a Problem too."""
    label = display(path)
    try:
        if path.stat().st_size > LARGEST_BYTES:
            return _unread(path, label, f"larger than {LARGEST_BYTES} bytes: not a card")
        raw = path.read_bytes()
    except OSError as error:
        return _unread(path, label, f"cannot be read: {error.strerror or error}")
    return decoded(raw, path, label)


def decoded(raw: bytes, path: Path, label: str) -> Document:
    """The document in the bytes of a file."""
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        column = error.start - (raw.rfind(b"\n", 0, error.start) + 1) + 1
        what = f"byte 0x{raw[error.start]:02x} is not UTF-8"
        return _unread(path, label, what, line, column, mend="save the file as UTF-8")
    return parse(text, path, label)


def read_text(path: Path) -> str:
    """The text of a file as `read` takes it."""
    return path.read_bytes().decode("utf-8-sig")


def parse(text: str, path: Path, label: str | None = None) -> Document:
    """The document in a text; `path` is where the text is from, `label` how messages call it."""
    import yaml

    label = label or display(path)
    try:
        _refuse_deep(text)
        root = _compose(text)
    except (_Unacceptable, yaml.YAMLError, ValueError) as error:
        return _refused(path, label, text, error)
    construction = _Construction(label)
    try:
        data = _quickly(root) if root is not None else None
        if data is _UNSURE:
            data = construction.value(root, (), 0)
    except _Unacceptable as error:
        return _unread(path, label, error.what, error.line, error.column, mend=error.mend)
    if not isinstance(data, dict):
        return _unread(path, label, "holds no mapping of fields", mend="start it with `name: ...`")
    start = (root.start_mark.line + 1, root.start_mark.column + 1)
    return Document(path, label, data, tuple(construction.problems), text, start=start)


class Plain(str):
    """A plain scalar of a foreign document that readers of YAML 1.1 and 1.2 take for different things, as it is written.

    `1e-4`, `no`, `2021-05-28`, `012`: written back plain, it means to every reader what it meant in the source.
    """

    __slots__ = ()


ROOT = ""
"""The key under which `parse_foreign` puts what a document holds when that is no mapping."""


def parse_foreign(text: str, path: Path, label: str) -> Document:
    """A document that was not written for zoo, read so that nothing of it is lost.

    Differs from `parse`: scalars that are read differently by others are Plain, `<<` is merged, of two equal keys the
    last counts (as for PyYAML's safe_load) and the problem is noted, and a document may be a list, under the key ROOT.
    """
    import yaml

    try:
        _refuse_deep(text)
        root: Any = yaml.compose(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        construction = _Foreign(label)
        at: Pointer = () if root is None or root.id == "mapping" else (ROOT,)
        data = construction.value(root, at, 0) if root is not None else None
    except (_Unacceptable, yaml.YAMLError, ValueError) as error:
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


class _Unacceptable(Exception):
    """The text may be YAML, but is not one that can be a card."""

    def __init__(self, what: str, line: int, column: int, mend: str) -> None:
        super().__init__(what)
        self.what, self.line, self.column, self.mend = what, line, column, mend


def _refused(path: Path, label: str, text: str, error: Exception) -> Document:
    """The document of a text that is no YAML, or none that can be read safely."""
    import yaml

    if isinstance(error, _Unacceptable):
        return _unread(path, label, error.what, error.line, error.column, mend=error.mend)
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        what, mend = _yaml_message(text, error, line)
        return _unread(path, label, what, line, column, mend=mend)
    return _unread(path, label, f"not YAML: {str(error).splitlines()[0]}", mend="remove the control character")


def _unread(path: Path, label: str, what: str, line: int = 1, column: int = 1, *, mend: str = "") -> Document:
    return Document(path, label, {}, (Problem((), Place(label, line, column), what, mend),), "")


@cache
def _loader() -> type[yaml.SafeLoader]:
    import yaml

    # The C parser is 3.5 times as fast; PyYAML is built without it where libyaml is missing.
    return getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@cache
def _composer() -> Any:
    """A loader that composes nodes and does not resolve their tags, which takes half of the time: `scalar` does that."""
    import yaml

    text = "tag:yaml.org,2002:str"
    methods = {
        "resolve": lambda self, kind, value, implicit: text,
        "descend_resolver": lambda self, node, index: None,
        "ascend_resolver": lambda self: None,
    }
    return type("Composer", (_loader(),), methods) if hasattr(yaml, "CSafeLoader") else _loader()


def _compose(text: str) -> Any:
    loader = _composer()(text)
    try:
        return loader.get_single_node()
    finally:
        loader.dispose()


_FAR_IN = re.compile(r"^[ \-?:]{250}", re.MULTILINE)


def _refuse_deep(text: str) -> None:
    """Refuse nesting that would exhaust the C stack: the C parser composes recursively, libyaml before 0.2.6 without limit.

    A block level takes at least one more column of indentation (two levels share it when a list stands in a mapping),
    a flow level a bracket, so the events are only counted when that bound is exceeded.
    """
    import yaml

    if text.count("[") + text.count("{") <= 500 and not _FAR_IN.search(text):
        return
    try:
        _count_levels(text, _loader())
    except yaml.scanner.ScannerError as error:
        # libyaml's own limit, from 0.2.6 on: it looks ahead, and says so before the events tell where DEEPEST is passed
        if error.problem == "exceeded maximum nesting depth":
            _count_levels(text, yaml.SafeLoader)
        raise


def _count_levels(text: str, loader: Any) -> None:
    """Raises _Unacceptable where a text passes DEEPEST."""
    import yaml

    depth = 0
    for event in yaml.parse(text, Loader=loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            mark: Any = event.start_mark
            raise _Unacceptable(f"nested deeper than {DEEPEST} levels", mark.line + 1, mark.column + 1, "flatten it")


def _yaml_message(text: str, error: yaml.MarkedYAMLError, line: int) -> tuple[str, str]:
    """(what, mend) for a text that the parser refuses."""
    lines = text.splitlines()
    written = lines[line - 1] if line <= len(lines) else ""
    if "\t" in written[: len(written) - len(written.lstrip())]:
        return "a tab in the indentation, which YAML forbids", "indent with spaces"
    context = f", {error.context}" if error.context else ""
    return f"not YAML: {error.problem}{context}", ""


_INT = re.compile(r"[-+]?[0-9]+\Z|0o[0-7]+\Z|0x[0-9a-fA-F]+\Z")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z")
_WORDS: dict[str, bool | None] = {
    "": None,
    "~": None,
    "null": None,
    "Null": None,
    "NULL": None,
    "true": True,
    "True": True,
    "TRUE": True,
    "false": False,
    "False": False,
    "FALSE": False,
}
_IMPLICIT = tuple(
    f"tag:yaml.org,2002:{name}"
    for name in ("str", "int", "float", "bool", "null", "timestamp", "merge", "value", "yaml", "map", "seq")
)


def scalar(written: str) -> Any:
    """The value of a plain scalar under YAML 1.2's core schema (yaml.org/spec/1.2.2, 10.3.2), less `.inf` and `.nan`.

    A number that no double can hold stays text: it is a digest or a version that lost its quotes.
    """
    if written in _WORDS:
        return _WORDS[written]
    if written[0] in "0123456789-+.":
        try:
            if _INT.match(written):
                return int(written, 0 if written[:2] in ("0o", "0x") else 10)
            if _FLOAT.match(written) and abs(number := float(written)) != float("inf"):
                return number
        except ValueError:  # more digits than int() takes from a text
            return written
    return written


_UNSURE = object()


def _quickly(root: Any) -> Any:
    """The data of nodes that hold nothing to complain of, or _UNSURE: then _Construction looks closely."""
    left = MOST_VALUES

    def value(node: Any, depth: int) -> Any:
        nonlocal left
        left -= 1
        if left < 0 or depth > DEEPEST or node.tag not in _IMPLICIT:
            raise _Doubt
        held = node.value
        if isinstance(held, str):
            return held if node.style else scalar(held)
        depth += 1
        if node.id == "sequence":
            return [value(item, depth) for item in held]
        data = {key.value: value(item, depth) for key, item in held if isinstance(key.value, str)}
        if len(data) != len(held):
            raise _Doubt
        return data

    try:
        return value(root, 0)
    except _Doubt:
        return _UNSURE


class _Doubt(Exception):
    """Something that is not plainly right."""


def _marks(text: str, label: str, is_foreign: bool) -> Mapping[Pointer, Mark]:
    """Where each value of a text stands that was read before; empty where it is no YAML."""
    import yaml

    try:
        root: Any = yaml.compose(text, Loader=_loader()) if is_foreign else _compose(text)
        construction = _Foreign(label) if is_foreign else _Construction(label)
        if root is not None:
            construction.value(root, () if root.id == "mapping" or not is_foreign else (ROOT,), 0)
    except (yaml.YAMLError, ValueError, _Unacceptable):
        return {}
    return construction.marks


class _Construction:
    """Nodes -> plain data, with a mark for each value; collects the problems that leave the data usable."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.marks: dict[Pointer, Mark] = {}
        self.problems: list[Problem] = []
        self.values = 0

    def value(self, node: Any, pointer: Pointer, depth: int, at: Any = None) -> Any:
        begin = (at or node).start_mark
        self.values += 1
        if self.values > MOST_VALUES:
            what = f"more than {MOST_VALUES} values once its aliases are expanded"
            raise _Unacceptable(what, begin.line + 1, begin.column + 1, "write the values out")
        if depth > DEEPEST:
            what = f"nested deeper than {DEEPEST} levels"
            raise _Unacceptable(what, begin.line + 1, begin.column + 1, "flatten it, and use no alias of itself")
        if node.tag not in _IMPLICIT:
            self._problem(pointer, begin, f"the tag {node.tag} means nothing in a card", "remove the tag")
        self.marks[pointer] = Mark(begin.line + 1, begin.column + 1, node.start_mark.index, node.end_mark.index)
        if isinstance(node.value, str):
            return node.value if node.style else scalar(node.value)
        if node.id == "sequence":
            return [self.value(item, (*pointer, index), depth + 1) for index, item in enumerate(node.value)]
        return self._mapping(node, pointer, depth)

    def _mapping(self, node: Any, pointer: Pointer, depth: int) -> dict[str, Any]:
        data: dict[str, Any] = {}
        for key, item in node.value:
            if not isinstance(key.value, str):
                self._problem(pointer, key.start_mark, "a key must be text", "write a plain name before the colon")
                continue
            name = str(key.value)
            here = (*pointer, name)
            if name in data:
                first = self.marks[here].line
                self._problem(
                    here,
                    key.start_mark,
                    f"the key {name!r} is here twice, first in line {first}",
                    "remove one of the two",
                )
                continue
            data[name] = self.value(item, here, depth + 1, key)
        return data

    def _problem(self, pointer: Pointer, mark: Any, what: str, mend: str) -> None:
        self.problems.append(Problem(pointer, Place(self.label, mark.line + 1, mark.column + 1), what, mend))


_YAML_1_1 = {"null": type(None), "bool": bool, "int": int, "float": float}
"""What the tags that PyYAML resolves plain scalars to are read as; any other is text or a date."""


class _Foreign(_Construction):
    """Nodes of a document that was not written for zoo -> plain data."""

    def value(self, node: Any, pointer: Pointer, depth: int, at: Any = None) -> Any:
        data = super().value(node, pointer, depth, at)
        return _plain(node, data) if isinstance(node.value, str) and not node.style else data

    def _mapping(self, node: Any, pointer: Pointer, depth: int) -> dict[str, Any]:
        data: dict[str, Any] = {}
        merged: list[Any] = []
        for key, item in node.value:
            if not isinstance(key.value, str):
                what = "a key must be text"
                raise _Unacceptable(what, key.start_mark.line + 1, key.start_mark.column + 1, "write a plain name")
            if key.value == "<<" and not key.style:
                merged += item.value if item.id == "sequence" else [item]
                continue
            name = key.value if key.style else str.__str__(key.value)
            if not key.style and not isinstance(scalar(name), str):
                name = Plain(name)
            if name in data:
                self._problem(
                    (*pointer, name), key.start_mark, f"{name!r} is here twice; the last counts", "remove one"
                )
                del data[name]
            data[name] = self.value(item, (*pointer, name), depth + 1, key)
        for base in merged:
            if base.id == "mapping":
                for name, item in self._mapping(base, pointer, depth + 1).items():
                    data.setdefault(name, item)
        return data


def _plain(node: Any, data: Any) -> Any:
    """The value of a plain scalar, or the scalar itself where YAML 1.1 reads something else in it."""
    tag = node.tag.rpartition(":")[2]
    same = isinstance(data, _YAML_1_1.get(tag, str)) and tag != "timestamp"
    octal = tag == "int" and not re.match(r"[-+]?(0|[1-9][0-9]*)\Z", node.value)
    return data if same and not octal else Plain(node.value)
