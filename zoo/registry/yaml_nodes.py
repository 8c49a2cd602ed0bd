"""Convert the nodes of a YAML text into plain data, strictly, and record the position of each value."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import yaml
from zoo.registry.position import Mark, Place, Pointer, Problem

MAX_DEPTH = 100
"""Levels of nesting. No schema here has more than eight; `extra` is free, but people write it by hand."""
MAX_VALUES = 100_000
"""Values after aliases are expanded: the limit makes an alias bomb harmless."""

MAX_DIGITS = 250
"""Digits of a whole number. 0x and 250 digits are below the largest double, 1.8e308."""


class Plain(str):
    """The text of a plain scalar in a foreign document that YAML 1.1 and YAML 1.2 read as different values.

    For example `1e-4`, `no`, `2021-05-28` and `012`. Written back without quotes, it means the same as in the source to
    every reader.
    """

    __slots__ = ()


ROOT = ""
"""The key under which `parse_foreign` stores the value of a document that is not a mapping."""


class UnsupportedYaml(Exception):
    """The text may be valid YAML, but cannot be a card: nested too deeply, too many values, or keys that are not text."""

    def __init__(self, what: str, line: int, column: int, hint: str) -> None:
        super().__init__(what)
        self.what, self.line, self.column, self.hint = what, line, column, hint


@cache
def yaml_loader() -> type[yaml.SafeLoader]:
    """Return PyYAML's fastest safe loader."""
    import yaml

    # The C parser is 3.5 times as fast; PyYAML is built without it where libyaml is missing.
    return getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@cache
def _composer() -> Any:
    """Return a loader that composes nodes without resolving tags, which takes half of the time; `scalar` resolves them."""
    import yaml

    text = "tag:yaml.org,2002:str"
    methods = {
        "resolve": lambda self, kind, value, implicit: text,
        "descend_resolver": lambda self, node, index: None,
        "ascend_resolver": lambda self: None,
    }
    return type("Composer", (yaml_loader(),), methods) if hasattr(yaml, "CSafeLoader") else yaml_loader()


def compose(text: str) -> Any:
    """Return the root node of a YAML text, None when the text is empty. Raises yaml.YAMLError."""
    loader = _composer()(text)
    try:
        return loader.get_single_node()
    finally:
        loader.dispose()


_DEEP_INDENTATION = re.compile(r"^[ \-?:]{250}", re.MULTILINE)


def refuse_large(text: str) -> None:
    """Raise UnsupportedYaml for nesting that would exhaust the C stack, and for more values than MAX_VALUES.

    The C parser composes recursively, and libyaml before 0.2.6 has no limit. A block level needs at least one more column of
    indentation (a list in a mapping shares it), and a flow level needs a bracket. So the function counts events only in
    texts with that much indentation or that many brackets, and in texts that may have more than MAX_VALUES: nodes of a
    few million values take seconds and 600 MB.
    """
    import yaml

    is_flat = text.count("[") + text.count("{") <= 500 and not _DEEP_INDENTATION.search(text)
    if is_flat and text.count(",") + text.count("\n") <= MAX_VALUES:
        return
    try:
        _count_levels(text, yaml_loader())
    except yaml.scanner.ScannerError as error:
        # libyaml 0.2.6 and newer have a limit of their own. The scanner looks ahead, so this error comes before the event
        # that exceeds MAX_DEPTH; PyYAML's own scanner finds its line.
        if error.problem == "exceeded maximum nesting depth":
            _count_levels(text, yaml.SafeLoader)
        raise


def _count_levels(text: str, loader: Any) -> None:
    """Raise UnsupportedYaml where a text exceeds MAX_DEPTH or, without the keys, MAX_VALUES."""
    import yaml

    depth = events = 0
    for event in yaml.parse(text, Loader=loader):
        events += isinstance(event, yaml.NodeEvent)
        if events > 2 * MAX_VALUES:
            mark: Any = event.start_mark
            raise UnsupportedYaml(f"more than {MAX_VALUES} values", mark.line + 1, mark.column + 1, "remove values")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            mark = event.start_mark
            what = f"nested deeper than {MAX_DEPTH} levels"
            raise UnsupportedYaml(what, mark.line + 1, mark.column + 1, "flatten it")


def yaml_message(text: str, error: yaml.MarkedYAMLError, line: int) -> tuple[str, str]:
    """Return (what, hint) for a text that the parser rejects at a line."""
    lines = text.splitlines()
    written = lines[line - 1] if line <= len(lines) else ""
    if "\t" in written[: len(written) - len(written.lstrip())]:
        return "tab in the indentation, which YAML forbids", "indent with spaces"
    context = f"{error.context}, " if error.context else ""
    return f"invalid YAML: {context}{error.problem}", ""


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
    """Return the value of a plain scalar under YAML 1.2's core schema (yaml.org/spec/1.2.2, 10.3.2), without `.inf` and `.nan`.

    A number that is too large for a double, or has more than MAX_DIGITS, stays text: it is a digest without quotes, or an
    attempt to make arithmetic slow.
    """
    if written in _WORDS:
        return _WORDS[written]
    if written[0] in "0123456789-+.":
        if _INT.match(written):
            return int(written, 0 if written[:2] in ("0o", "0x") else 10) if len(written) <= MAX_DIGITS else written
        if _FLOAT.match(written) and abs(number := float(written)) != float("inf"):
            return number
    return written


UNSURE = object()


def construct_quickly(root: Any) -> Any:
    """Return the data of nodes that have no problem, else UNSURE: then Construction finds the problems."""
    left = MAX_VALUES

    def value(node: Any, depth: int) -> Any:
        nonlocal left
        left -= 1
        if left < 0 or depth > MAX_DEPTH or node.tag not in _IMPLICIT:
            raise _Unsure
        content = node.value
        if isinstance(content, str):
            return content if node.style else scalar(content)
        depth += 1
        if node.id == "sequence":
            return [value(item, depth) for item in content]
        data = {key.value: value(item, depth) for key, item in content if isinstance(key.value, str)}
        if len(data) != len(content):
            raise _Unsure
        return data

    try:
        return value(root, 0)
    except _Unsure:
        return UNSURE


class _Unsure(Exception):
    """The node may have a problem."""


def marks_of(text: str, label: str, is_foreign: bool) -> Mapping[Pointer, Mark]:
    """Return the position of each value of a text that was read before; empty when it is not valid YAML."""
    import yaml

    try:
        root: Any = yaml.compose(text, Loader=yaml_loader()) if is_foreign else compose(text)
        construction = ForeignConstruction(label) if is_foreign else Construction(label)
        if root is not None:
            construction.value(root, () if root.id == "mapping" or not is_foreign else (ROOT,), 0)
    except (yaml.YAMLError, ValueError, UnsupportedYaml):
        return {}
    return construction.marks


class Construction:
    """Converts nodes into plain data, with a mark for each value, and collects the problems that leave the data usable."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.marks: dict[Pointer, Mark] = {}
        self.problems: list[Problem] = []
        self.values = 0

    def value(self, node: Any, pointer: Pointer, depth: int, at: Any = None) -> Any:
        """Return the data of a node. Its mark begins at the node `at`, which is its key's node when it has a key.

        Raises UnsupportedYaml when the text exceeds MAX_VALUES or MAX_DEPTH.
        """
        begin = (at or node).start_mark
        self.values += 1
        if self.values > MAX_VALUES:
            what = f"more than {MAX_VALUES} values after aliases are expanded"
            raise UnsupportedYaml(what, begin.line + 1, begin.column + 1, "remove aliases")
        if depth > MAX_DEPTH:
            what = f"nested deeper than {MAX_DEPTH} levels"
            hint = "flatten it, and remove aliases that contain themselves"
            raise UnsupportedYaml(what, begin.line + 1, begin.column + 1, hint)
        if node.tag not in _IMPLICIT:
            self._problem(pointer, begin, f"unsupported tag {node.tag}", "remove the tag")
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
            item_pointer = (*pointer, name)
            if name in data:
                first = self.marks[item_pointer].line
                self._problem(
                    item_pointer,
                    key.start_mark,
                    f"duplicate key {name!r}, first in line {first}",
                    "remove one of them",
                )
                continue
            data[name] = self.value(item, item_pointer, depth + 1, key)
        return data

    def _problem(self, pointer: Pointer, mark: Any, what: str, hint: str) -> None:
        self.problems.append(Problem(pointer, Place(self.label, mark.line + 1, mark.column + 1), what, hint))


_YAML_1_1 = {"null": type(None), "bool": bool, "int": int, "float": float}
"""The Python type of each tag that PyYAML resolves a plain scalar to; any other tag is text or a date."""


class ForeignConstruction(Construction):
    """Converts the nodes of a document that was not written for zoo into plain data. Duplicate keys are not problems."""

    def __init__(self, label: str) -> None:
        super().__init__(label)
        self.duplicates: list[Problem] = []

    def value(self, node: Any, pointer: Pointer, depth: int, at: Any = None) -> Any:
        """Return the data of a node, a Plain where YAML 1.1 and YAML 1.2 read different values."""
        data = super().value(node, pointer, depth, at)
        return _plain(node, data) if isinstance(node.value, str) and not node.style else data

    def _mapping(self, node: Any, pointer: Pointer, depth: int) -> dict[str, Any]:
        data: dict[str, Any] = {}
        merged: list[Any] = []
        for key, item in node.value:
            if not isinstance(key.value, str):
                what = "a key must be text"
                hint = "write a plain name before the colon"
                raise UnsupportedYaml(what, key.start_mark.line + 1, key.start_mark.column + 1, hint)
            if key.value == "<<" and not key.style:
                merged += item.value if item.id == "sequence" else [item]
                continue
            name = key.value if key.style else str.__str__(key.value)
            if not key.style and not isinstance(scalar(name), str):
                name = Plain(name)
            if name in data:
                what = f"duplicate key {name!r}; the last one is used"
                place = Place(self.label, key.start_mark.line + 1, key.start_mark.column + 1)
                self.duplicates.append(Problem((*pointer, name), place, what, "remove one of them"))
                del data[name]
            data[name] = self.value(item, (*pointer, name), depth + 1, key)
        for base in merged:
            if base.id == "mapping":
                for name, item in self._mapping(base, pointer, depth + 1).items():
                    data.setdefault(name, item)
        return data


def _plain(node: Any, data: Any) -> Any:
    """Return the value of a plain scalar, or its text as a Plain when YAML 1.1 reads another value."""
    tag = node.tag.rpartition(":")[2]
    same = isinstance(data, _YAML_1_1.get(tag, str)) and tag != "timestamp"
    octal = tag == "int" and not re.match(r"[-+]?(0|[1-9][0-9]*)\Z", node.value)
    return data if same and not octal else Plain(node.value)
