"""Write cards: change values in their text, and write new cards. No other module writes cards.

A change modifies only the lines of the changed values: comments, order and layout stay. The new text is parsed again and
rejected when anything but the planned values differs. It replaces the file atomically, and only when the file has not
changed since it was read.
"""

from __future__ import annotations

import copy
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from zoo.errors import CannotCheck, CardError, UsageError
from zoo.registry import files
from zoo.registry.document import Document, parse, read_text
from zoo.registry.position import Pointer, json_pointer
from zoo.registry.yaml_nodes import Plain, scalar
from zoo.runtime.storage import write_atomically
from zoo.runtime.text import terminal

MAX_COLUMNS = 120
"""A mapping or list is written on one line when it fits into this many columns."""


def apply(document: Document, changes: Mapping[Pointer, Any]) -> str:
    """Return the document's text with a value set at each pointer; a value that does not exist is added.

    A pointer that ends in the length of a list appends to the list. The parent of an added value must exist.
    Raises CannotCheck when the file's layout does not allow the change without changing other values.
    """
    for pointer, value in changes.items():
        text = _set_value(document, pointer, value)
        changed = parse(text, document.path, document.label)
        if changed.problems or changed.data != _planned(document.data, pointer, value):
            raise CannotCheck(
                f"cannot write {json_pointer(pointer)} without changing other values",
                where=str(document.place(pointer)),
                hint=f"edit the file: set {json_pointer(pointer)} to {flow(value)}",
            )
        document = changed
    return document.text


def rename_key(document: Document, pointer: Pointer, name: str) -> str:
    """Return the document's text with a key renamed; raises CannotCheck when that would change other values."""
    mark = document.marks[pointer]
    lines = document.text.splitlines(keepends=True)
    start = sum(map(len, lines[: mark.line - 1])) + mark.column - 1
    old = str(pointer[-1])
    for written in (old, f'"{old}"', f"'{old}'"):
        if document.text.startswith(written, start):
            text = document.text[:start] + _text(name) + document.text[start + len(written) :]
            return _verify_change(document, text, _with_key(document.data, pointer, name), pointer)
    raise CannotCheck(
        f"cannot find the key {old!r} in the text", where=str(document.place(pointer)), hint=f"rename it to {name}"
    )


def prepend_line(document: Document, line: str, fields: Mapping[str, Any]) -> str:
    """Return the document's text with a line added before its first field; `fields` are the values in that line.

    Raises CannotCheck when that would change other values.
    """
    lines = document.text.splitlines(keepends=True)
    at = document.start[0] - 1
    text = "".join([*lines[:at], line, *lines[at:]])
    return _verify_change(document, text, {**document.data, **fields}, ())


def _verify_change(document: Document, text: str, planned: Any, pointer: Pointer) -> str:
    changed = parse(text, document.path, document.label)
    if changed.data != planned:
        what = f"cannot change {json_pointer(pointer) or 'the file'} without changing other values"
        raise CannotCheck(what, where=str(document.place(pointer)), hint="edit the file")
    return text


def _with_key(data: Any, pointer: Pointer, name: str) -> Any:
    if len(pointer) == 1:
        return {name if key == pointer[0] else key: value for key, value in data.items()}
    first, rest = pointer[0], pointer[1:]
    if isinstance(data, list):
        return [_with_key(item, rest, name) if at == first else item for at, item in enumerate(data)]
    return {key: _with_key(value, rest, name) if key == first else value for key, value in data.items()}


def save(document: Document, text: str) -> None:
    """Replace the document's file by the text, atomically; of a link within its folder, the file that it leads to.

    Raises UsageError when the file has changed since the document was read; CannotCheck when it is a link out of its folder,
    or writing fails.
    """
    try:
        current = read_text(document.path)
    except (CardError, OSError, UnicodeDecodeError) as error:
        what = error.what if isinstance(error, CardError) else str(error)
        raise CannotCheck(f"cannot write the file: {what}", where=document.label) from error
    if current != document.text:
        raise UsageError("the file changed while zoo was using it", where=document.label, hint="run the command again")
    _write(files.real_path(document.path), text)


def create(path: Path, text: str, *, top: Path | None = None) -> None:
    """Write the text to a new file, completely or not at all.

    top: the folder, chosen by the user, that the file must be in when all links are resolved. Raises UsageError when the
    file exists; CannotCheck when a link leads out of `top`, or writing fails.
    """
    if os.path.lexists(path):
        raise UsageError("the file already exists", where=str(path), hint="give another name, or remove the file")
    if top is not None and not files.is_inside(path.parent, top):
        raise CannotCheck(f"a link in the path leads out of {top}", where=str(path), hint="remove the link")
    _write(path, text)


def _write(path: Path, text: str) -> None:
    try:
        write_atomically(path, text)
    except OSError as error:
        raise CannotCheck(f"cannot write the file: {error.strerror}", where=str(path)) from error


def card_text(data: Mapping[str, Any] | Sequence[Any]) -> str:
    """Return the text of a new card, collection or dataset: fields in their order, short values on one line.

    `data` may also be a list, for documents of other formats.
    """
    return "".join(_block(data, 0) if isinstance(data, Mapping) else (part for item in data for part in _item(item, 0)))


def flow(value: Any) -> str:
    """Return the value as YAML on one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_text(key)}: {flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(flow(item) for item in value) + "]"
    return _text(value) if isinstance(value, str) else _number(value) if isinstance(value, float) else json.dumps(value)


def _number(value: float) -> str:
    """Return the shortest spelling, with a decimal point before the exponent: YAML 1.1 reads `1e-05` as text."""
    return re.sub(r"^(-?\d+)e", r"\1.0e", json.dumps(value))


_PLAIN = re.compile(r"[A-Za-z0-9_./(+](?:[A-Za-z0-9_./()+@=~%$^*<>&;! -]|:(?=[A-Za-z0-9_./(+@])|(?<=[^ ])#)*\Z")


def _text(value: str) -> str:
    """Return the text as a YAML scalar: plain when YAML 1.1 and YAML 1.2 both read it as text, else in double quotes."""
    if isinstance(value, Plain):
        return str.__str__(value)
    plain = (
        _PLAIN.match(value)
        and value == value.strip()
        and isinstance(scalar(value), str)
        and not value.startswith(("- ", "? "))
        and not re.match(r"[-+.0-9]|(?i:y|n|yes|no|on|off|true|false|null|\.inf|\.nan)\Z", value)
    )
    return value if plain else _quoted(value)


def _quoted(value: str) -> str:
    """Return the text as a JSON string, with the code points escaped that YAML forbids, or that no reader of the file sees.

    JSON allows them: DEL, C1 controls, surrogates, U+FFFE and U+FFFF, and format characters such as U+202E, for which YAML
    has the escape sequences of `terminal`.
    """
    quoted = json.dumps(value, ensure_ascii=False)
    return terminal(re.sub("[\x7f-\x9f\ud800-\udfff\ufffe\uffff]", lambda match: f"\\u{ord(match[0]):04x}", quoted))


def _block(data: Mapping[str, Any], depth: int) -> Iterator[str]:
    pad = "  " * depth
    for key, value in data.items():
        head = f"{pad}{_text(key)}:"
        line = f"{head} {flow(value)}"
        if isinstance(value, str) and _reads_as_block(value):
            body = "".join(f"{pad}  {part}\n" if part else "\n" for part in value.rstrip("\n").split("\n"))
            yield f"{head} |{'' if value.endswith(chr(10)) else '-'}\n{body}"
        elif isinstance(value, Mapping) and value and (depth == 0 or len(line) > MAX_COLUMNS):
            yield f"{head}\n"
            yield from _block(value, depth + 1)
        elif (
            isinstance(value, (list, tuple))
            and value
            and (len(line) > MAX_COLUMNS or any(isinstance(i, Mapping) for i in value))
        ):
            yield f"{head}\n"
            for item in value:
                yield from _item(item, depth + 1)
        else:
            yield f"{line}\n"


def _item(value: Any, depth: int) -> Iterator[str]:
    pad = "  " * depth
    line = f"{pad}- {flow(value)}"
    if isinstance(value, Mapping) and value and len(line) > MAX_COLUMNS:
        lines = list(_block(value, depth + 1))
        yield f"{pad}- {lines[0][len(pad) + 2 :]}"
        yield from lines[1:]
    else:
        yield f"{line}\n"


def _reads_as_block(value: str) -> bool:
    """Return whether a text of several lines is read back unchanged from a block scalar."""
    body = value[:-1] if value.endswith("\n") else value
    lines = body.split("\n")
    printable = all(part.isprintable() and part == terminal(part) for part in lines)
    return len(lines) > 1 and printable and bool(lines[0]) and not lines[0][0].isspace() and bool(lines[-1].strip())


# --- changing -----------------------------------------------------------------------------------------------------


def _set_value(document: Document, pointer: Pointer, value: Any) -> str:
    if pointer in document.marks and pointer:
        return _replace(document, pointer, value)
    parent, last = pointer[:-1], pointer[-1]
    if parent not in document.marks:
        return _set_value(document, parent, [value] if isinstance(last, int) else {last: value})
    mark = document.marks[parent]
    if document.text[mark.start : mark.start + 1] in ("{", "["):
        return _add_to_flow(document, parent, last, value)
    return _add_to_block(document, parent, last, value)


def _replace(document: Document, pointer: Pointer, value: Any) -> str:
    mark = document.marks[pointer]
    old = document.text[mark.start : mark.end]
    new = f'"{value}"' if isinstance(value, str) and old[:1] == '"' and _quoted(value) == f'"{value}"' else flow(value)
    return document.text[: mark.start] + new + document.text[mark.end :]


def _add_to_flow(document: Document, parent: Pointer, last: str | int, value: Any) -> str:
    mark = document.marks[parent]
    inside = document.text[mark.start + 1 : mark.end - 1]
    entry = flow(value) if isinstance(last, int) else f"{_text(last)}: {flow(value)}"
    comma = ", " if inside.strip() and not inside.rstrip().endswith(",") else ""
    entries = inside.rstrip() if "#" not in inside else inside
    return f"{document.text[: mark.start + 1]}{entries}{comma}{entry}{document.text[mark.end - 1 :]}"


def _add_to_block(document: Document, parent: Pointer, last: str | int, value: Any) -> str:
    """Add a line after the last one of the parent, with the indentation of its first key or item."""
    children = [at for at in document.marks if len(at) == len(parent) + 1 and at[: len(parent)] == parent]
    end = max(
        mark.end for at, mark in document.marks.items() if at[: len(parent)] == parent and not _is_block(document, at)
    )
    line_end = document.text.find("\n", max(end - 1, 0))
    head = document.text if line_end < 0 else document.text[: line_end + 1]
    tail = "" if line_end < 0 else document.text[line_end + 1 :]
    if not head.endswith("\n"):
        head += "\n"
    first = document.marks[children[0]]
    indent = first.column - 1 - (2 if isinstance(last, int) else 0)
    lines = _item(value, 0) if isinstance(last, int) else _block({last: value}, 1 if parent else 0)
    body = "".join(lines)
    if not isinstance(last, int) and parent:
        body = "".join(part[2:] if part.startswith("  ") else part for part in body.splitlines(keepends=True))
    added = "".join(" " * indent + part if part.strip() else part for part in body.splitlines(keepends=True))
    return head + added + tail


def _is_block(document: Document, pointer: Pointer) -> bool:
    """Return whether the value is a block mapping or list; its end mark is after the comments that follow it."""
    value: Any = document.data
    for part in pointer:
        value = value[part]
    mark = document.marks[pointer]
    return isinstance(value, (dict, list)) and document.text[mark.start : mark.start + 1] not in ("{", "[")


def _planned(data: Mapping[str, Any], pointer: Pointer, value: Any) -> Any:
    """Return the data after the change, as YAML represents it: tuples become lists."""
    planned: Any = copy.deepcopy(dict(data))
    node = planned
    for part, following in pairwise(pointer):
        if isinstance(node, list) and isinstance(part, int) and part == len(node):
            node.append([] if isinstance(following, int) else {})
        elif isinstance(node, dict) and part not in node:
            node[part] = [] if isinstance(following, int) else {}
        node = node[part]
    last, plain = pointer[-1], json.loads(json.dumps(value))
    if isinstance(node, list) and last == len(node):
        node.append(plain)
    else:
        node[last] = plain
    return planned


def in_order(data: Mapping[str, Any], order: Sequence[str]) -> dict[str, Any]:
    """Return the data with its keys in that order; keys that `order` does not have come last."""
    rank = {key: index for index, key in enumerate(order)}
    return dict(sorted(data.items(), key=lambda item: rank.get(item[0], len(rank))))
