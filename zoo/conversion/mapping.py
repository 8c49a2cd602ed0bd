"""Convert entries of foreign documents into card data and back, by a table of fields, without losing anything.

A value that the card can reproduce exactly is stored in the card's own field only. The rest of the entry (unknown keys, raw
spellings such as `33G`, nulls) is the residue, which the card keeps under `extra`. Writing starts from the residue; where
the card has another value, the card's value is written, so an edited card is exported with its edits.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from zoo.registry.document import Document
from zoo.registry.position import Pointer
from zoo.registry.yaml_nodes import Plain


class _Missing:
    """The type of MISSING, which stands for an absent value; None is a present value."""

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = _Missing()


@dataclass(frozen=True, slots=True)
class SourceValue:
    """The location of a foreign value; without a document, the value has no source."""

    document: Document | None = None
    pointer: Pointer = ()

    def __truediv__(self, part: str | int) -> SourceValue:
        return SourceValue(self.document, (*self.pointer, part))

    @property
    def key(self) -> str:
        """The last key, as it is spelled in the document."""
        return str(self.pointer[-1]) if self.pointer else ""

    @property
    def source(self) -> dict[str, str]:
        """`{"source": "file:line"}`, or an empty mapping without a document."""
        if self.document is None:
            return {}
        place = self.document.place(self.pointer)
        return {"source": f"{place.file}:{place.line}"}

    def written(self, value: object) -> object:
        """Return the text of a float in the document, such as `72.50`, which keeps its decimals; another value unchanged."""
        if isinstance(value, float) and self.document is not None and self.pointer in self.document.marks:
            return self.document.written(self.pointer)
        return value


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a foreign format and the place of its value in the data of a card.

    keys: the path in the foreign entry, in the format's spelling. spellings: other names of the last key, in lower case
    without spaces and punctuation. pointer: the path in the card's data. read: converts a foreign value to the card's, or
    returns MISSING when the value cannot be parsed with certainty. write: converts the card's value to the format's, given
    the card's data too, or returns MISSING. same: whether two of the card's values are equal in this format.
    """

    keys: tuple[str, ...]
    pointer: Pointer
    read: Callable[[Any, SourceValue], Any]
    write: Callable[[Any, Mapping[str, Any]], Any]
    spellings: frozenset[str] = frozenset()
    same: Callable[[Any, Any], bool] | None = None

    def agrees(self, first: Any, second: Any) -> bool:
        """Return whether two values of the card are equal, regardless of their origin and rounding."""
        if first is MISSING or second is MISSING:
            return first is second
        return self.same(first, second) if self.same else strip_origin(first) == strip_origin(second)


def to_card(
    entry: Mapping[str, Any], fields: Iterable[Field], location: SourceValue, known: Mapping[str, Any] | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return (data, residue): what the fields read in the entry, and the part of the entry that they would not write back.

    known: card data that do not come from the fields.
    """
    data: dict[str, Any] = dict(copy.deepcopy(known or {}))
    residue = dict(copy.deepcopy(entry))
    for field in fields:
        path = find(entry, field)
        if path is None:
            continue
        raw, where = get(entry, path), location
        for part in path:
            where = where / part
        value = field.read(raw, where)
        if value is MISSING or not put(data, field.pointer, value):
            continue
        if path == field.keys and equal(field.write(value, data), raw):
            _remove(residue, path)
    return data, residue


def to_entry(data: Mapping[str, Any], residue: Mapping[str, Any], fields: Iterable[Field]) -> dict[str, Any]:
    """Return the entry that the card's current data describe: the residue, with the card's values in their places."""
    entry: dict[str, Any] = dict(copy.deepcopy(residue))
    for field in fields:
        now = get(data, field.pointer)
        path = find(residue, field)
        then = field.read(get(residue, path), SourceValue(None, path)) if path is not None else MISSING
        if path is not None and (field.agrees(then, now) or (then is MISSING and now is MISSING)):
            continue
        if now is MISSING:
            if path is not None and then is not MISSING and _has_room(data, field.pointer):
                _remove(entry, path)
            continue
        written = field.write(now, data)
        if written is not MISSING and field.read(written, SourceValue(None, field.keys)) is not MISSING:
            put(entry, path or field.keys, written)
    return entry


def find(entry: Mapping[str, Any], field: Field) -> tuple[str, ...] | None:
    """Return the path to a field's value in an entry, with the spelling of the entry's keys; None when it is absent."""
    path: list[str] = []
    node: Any = entry
    for depth, key in enumerate(field.keys):
        if not isinstance(node, Mapping):
            return None
        spellings = field.spellings if depth == len(field.keys) - 1 else frozenset[str]()
        spelling = next(_keys_like(node, key, spellings), None)
        if spelling is None:
            return None
        path.append(spelling)
        node = node[spelling]
    return tuple(path)


def get(data: Any, pointer: Sequence[str | int]) -> Any:
    """Return the value at a pointer, or MISSING."""
    for part in pointer:
        is_present = part in data if isinstance(data, Mapping) else isinstance(part, int) and _has(data, part)
        if not is_present:
            return MISSING
        data = data[part]
    return data


def _has(data: Any, index: int) -> bool:
    return isinstance(data, list) and index < len(data)


def put(data: dict[str, Any], pointer: Sequence[str | int], value: Any) -> bool:
    """Set a value and create missing mappings on its path. Return False, with no change, when an item of a list is missing."""
    if not _has_room(data, pointer):
        return False
    node: Any = data
    for part in pointer[:-1]:
        node = node.setdefault(part, {}) if isinstance(node, dict) else node[part]
        if not isinstance(node, (dict, list)):
            return False
    node[pointer[-1]] = value
    return True


def _has_room(data: Mapping[str, Any], pointer: Sequence[str | int]) -> bool:
    """Return whether the list items on the path exist: the size of a file, for example, needs an entry for the file."""
    lists = [at for at, part in enumerate(pointer) if isinstance(part, int)]
    return not lists or isinstance(get(data, pointer[: lists[-1] + 1]), Mapping)


def strip_origin(value: Any) -> Any:
    """Return a value of a card without its source, origin and rounding."""
    if isinstance(value, Mapping):
        return {k: strip_origin(v) for k, v in value.items() if k not in ("source", "origin", "rounded_to")}
    return [strip_origin(item) for item in value] if isinstance(value, list) else value


def equal(first: Any, second: Any) -> bool:
    """Return whether two values are equal at every depth; 1, 1.0 and True differ, and so do plain and quoted text."""
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        return first.keys() == second.keys() and all(equal(first[key], second[key]) for key in first)
    if isinstance(first, list) and isinstance(second, list):
        return len(first) == len(second) and all(map(equal, first, second))
    return type(first) is type(second) and bool(first == second)


def normalize(key: str) -> str:
    """Return a key in lower case without spaces and punctuation, for comparing spellings."""
    return re.sub(r"[^a-z0-9]", "", str(key).lower())


def _keys_like(node: Mapping[str, Any], key: str, spellings: frozenset[str]) -> Iterator[str]:
    if key in node:
        yield key
    normalized = {normalize(key), *spellings}
    yield from (name for name in node if name != key and normalize(name) in normalized)


def _remove(entry: dict[str, Any], path: Sequence[str]) -> None:
    """Remove a value, and the mappings that become empty."""
    nodes = [entry]
    for part in path[:-1]:
        nodes.append(nodes[-1][part])
    del nodes[-1][path[-1]]
    for node, part in zip(reversed(nodes[:-1]), reversed(path[:-1]), strict=True):
        if node[part]:
            break
        del node[part]


def read_text(raw: Any, location: SourceValue) -> Any:
    """Return a text that a card's field can hold unchanged; MISSING for blank text, raw scalars and other types."""
    return raw if isinstance(raw, str) and raw.strip() and not isinstance(raw, Plain) else MISSING


def unchanged(value: Any, data: Mapping[str, Any]) -> Any:
    """Return a card's value as it is, for fields that the format writes like a card."""
    return value
