"""A table of fields -> reading a foreign entry into a card's data and writing it back, without losing anything.

What a card reproduces exactly lives in the card alone. All else of an entry (unknown keys, raw spellings such as `33G`,
nulls) is its residue, which the card keeps under `extra`. Writing back starts from the residue and takes the card's word
wherever that differs from what the residue says, so that an edited card is exported as it was edited.
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
    """The value of what is not there; None is a value that is."""

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = _Missing()


@dataclass(frozen=True, slots=True)
class SourceValue:
    """Where a foreign value stands; without a document, nowhere."""

    document: Document | None = None
    pointer: Pointer = ()

    def __truediv__(self, part: str | int) -> SourceValue:
        return SourceValue(self.document, (*self.pointer, part))

    @property
    def key(self) -> str:
        """The last key, as it is spelt."""
        return str(self.pointer[-1]) if self.pointer else ""

    @property
    def source(self) -> dict[str, str]:
        """`{"source": "file:line"}`, or nothing."""
        if self.document is None:
            return {}
        place = self.document.place(self.pointer)
        return {"source": f"{place.file}:{place.line}"}

    def written(self, value: object) -> object:
        """A number as the text has it (`72.50`), for its decimals; any other value as it is."""
        if isinstance(value, float) and self.document is not None and self.pointer in self.document.marks:
            return self.document.written(self.pointer)
        return value


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a foreign format and the place of its value in the data of a card.

    keys: the way to it, as the format spells them; `spellings`: other names of the last key, in lower case without
    spaces and punctuation. pointer: the way in the card. read: the foreign value as the card has it, or MISSING where it
    cannot be read for certain. write: the card's value as the format has it, given the whole card too, or MISSING.
    same: whether two of the card's values say the same to this format.
    """

    keys: tuple[str, ...]
    pointer: Pointer
    read: Callable[[Any, SourceValue], Any]
    write: Callable[[Any, Mapping[str, Any]], Any]
    spellings: frozenset[str] = frozenset()
    same: Callable[[Any, Any], bool] | None = None

    def agrees(self, first: Any, second: Any) -> bool:
        """Whether two values of the card say the same, wherever and however exactly they were written."""
        if first is MISSING or second is MISSING:
            return first is second
        return self.same(first, second) if self.same else strip_origin(first) == strip_origin(second)


def to_card(
    entry: Mapping[str, Any], fields: Iterable[Field], location: SourceValue, known: Mapping[str, Any] | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """(data, residue): what the fields read in the entry, and what of the entry they would not write back.

    known: what is known of the card already, without the fields.
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
    """The entry that the card stands for now: the residue, with what the card says in its place."""
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
    """The way to a field's value in an entry, under whichever spelling its keys have there."""
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
    """The value at a pointer, or MISSING."""
    for part in pointer:
        is_present = part in data if isinstance(data, Mapping) else isinstance(part, int) and _has(data, part)
        if not is_present:
            return MISSING
        data = data[part]
    return data


def _has(data: Any, index: int) -> bool:
    return isinstance(data, list) and index < len(data)


def put(data: dict[str, Any], pointer: Sequence[str | int], value: Any) -> bool:
    """Set a value; mappings on the way are made, items of lists are not. False, and nothing done, where one is missing."""
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
    """Whether the items of lists on the way are there: a size belongs to a file, and without one it has no place."""
    lists = [at for at, part in enumerate(pointer) if isinstance(part, int)]
    return not lists or isinstance(get(data, pointer[: lists[-1] + 1]), Mapping)


def strip_origin(value: Any) -> Any:
    """A value of a card without where it was read and how it was rounded."""
    if isinstance(value, Mapping):
        return {k: strip_origin(v) for k, v in value.items() if k not in ("source", "origin", "rounded_to")}
    return [strip_origin(item) for item in value] if isinstance(value, list) else value


def equal(first: Any, second: Any) -> bool:
    """Equality that tells 1 from 1.0 and from True, and plain text from quoted, all the way down."""
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        return first.keys() == second.keys() and all(equal(first[key], second[key]) for key in first)
    if isinstance(first, list) and isinstance(second, list):
        return len(first) == len(second) and all(map(equal, first, second))
    return type(first) is type(second) and bool(first == second)


def normalize(key: str) -> str:
    """A key without case, spaces and punctuation: how spellings are compared."""
    return re.sub(r"[^a-z0-9]", "", str(key).lower())


def _keys_like(node: Mapping[str, Any], key: str, spellings: frozenset[str]) -> Iterator[str]:
    if key in node:
        yield key
    normalized = {normalize(key), *spellings}
    yield from (name for name in node if name != key and normalize(name) in normalized)


def _remove(entry: dict[str, Any], path: Sequence[str]) -> None:
    """Take a value out, and the mappings that it leaves empty."""
    nodes = [entry]
    for part in path[:-1]:
        nodes.append(nodes[-1][part])
    del nodes[-1][path[-1]]
    for node, part in zip(reversed(nodes[:-1]), reversed(path[:-1]), strict=True):
        if node[part]:
            break
        del node[part]


def plain_text(value: Any) -> str | None:
    """A text that can be kept as it is in a field; None for anything else, the empty text and raw scalars."""
    return value if isinstance(value, str) and value.strip() and not isinstance(value, Plain) else None
