"""Decide which dataset cards of a zoo are used, so that a data set's name means one data set.

A zoo may have dataset cards of its own beside the shipped ones. One that has a shipped name must define the same images and
classes. It may add the digests that the shipped card lacks, and say where the data are. A dataset card that defines anything
else, shares a name with another one, or is not valid is a problem, and no card is used in its place.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from zoo.registry.document import Document
from zoo.registry.index import IndexEntry
from zoo.registry.position import Pointer, Problem, shortened

SAME = ("kind", "label_space", "classes", "class_names")
"""The fields of a dataset card that decide what is measured and shown, beside its splits."""
MAY_BE_MISSING = frozenset({"class_names"})
SAME_IN_SPLIT = ("images", "images_per_class", "label_files")
MOST_PLACES = 5
"""Places of other cards, and differences, that the problems of one card name."""
DIGESTS = ("manifest_sha256", "content_sha256")
"""What a zoo's own card may add to a shipped one."""


@dataclass(frozen=True, slots=True)
class Datasets:
    """The dataset cards that are used; those that are not, with their problems; and the names that these stand for.

    unusable: by each name that has no dataset card because of a problem, the document that has it.
    """

    entries: tuple[IndexEntry, ...]
    conflicts: tuple[tuple[IndexEntry, tuple[Problem, ...]], ...]
    unusable: Mapping[str, Document]


def normalized(name: str) -> str:
    """Return a name without case and punctuation: ImageNet-1k and imagenet_1k are one data set."""
    return re.sub(r"[\W_]", "", name.casefold())


def choose(own: Sequence[IndexEntry], invalid: Iterable[Document], shipped: Sequence[IndexEntry]) -> Datasets:
    """Return what the dataset cards of a zoo mean.

    own: its valid ones; invalid: its files that are not valid; shipped: those that come with zoo.
    """
    by_name: dict[str, list[IndexEntry]] = {}
    for entry in own:
        for name in names_of(entry.document):
            by_name.setdefault(name, []).append(entry)
    shipped_names = [(entry, names_of(entry.document)) for entry in shipped]
    found = [(entry, (*_shared_names(entry, by_name), *_redefinitions(entry, shipped_names))) for entry in own]
    conflicts = tuple((entry, problems) for entry, problems in found if problems)
    used = [entry for entry, problems in found if not problems]
    unusable: dict[str, Document] = {}
    for document in (*invalid, *(replace(entry.document, problems=problems) for entry, problems in conflicts)):
        unusable |= dict.fromkeys(names_of(document), document)
    kept: list[IndexEntry] = []
    for entry, names in shipped_names:
        in_its_place = [unusable[name] for name in names if name in unusable]
        if in_its_place:
            unusable |= dict.fromkeys(names, in_its_place[0])
        elif not any(name in by_name for name in names):
            kept.append(entry)
    return Datasets((*kept, *used), conflicts, unusable)


def names_of(document: Document) -> frozenset[str]:
    """Return the normalized names that a dataset card claims; for one without a name, that of its file."""
    name, aliases = document.data.get("name"), document.data.get("aliases")
    claimed = [name if isinstance(name, str) else document.path.stem, *(aliases if isinstance(aliases, list) else ())]
    return frozenset(normalized(item) for item in claimed if isinstance(item, str))


def _shared_names(entry: IndexEntry, by_name: Mapping[str, Sequence[IndexEntry]]) -> Iterator[Problem]:
    """Yield a problem when another card of the zoo has a name of this one."""
    document = entry.document
    for name in sorted(names_of(document)):
        others = [other for other in by_name[name] if other is not entry]
        if others:
            pointer = _pointer(document, {name})
            places = ", ".join(str(other.document.place(("name",))) for other in others[:MOST_PLACES])
            what = f"the name {_written(document, pointer)} is also in use at {places}"
            hint = "rename one of the data sets, or remove one of the files"
            yield Problem(pointer, document.place(pointer), what, hint)


def _redefinitions(entry: IndexEntry, shipped: Iterable[tuple[IndexEntry, frozenset[str]]]) -> Iterator[Problem]:
    """Yield a problem for each value that differs from the shipped card of a name that this card has."""
    document = entry.document
    for other, names in shipped:
        shared = names_of(document) & names
        if not shared:
            continue
        if normalized(entry.name) != normalized(other.name):
            pointer = _pointer(document, shared)
            what = f"{_written(document, pointer)} is a name of {other.name}, which comes with zoo"
            hint = f"write `name: {other.name}`, or choose another name"
            yield Problem(pointer, document.place(pointer), what, hint)
            continue
        for at, mine, theirs in islice(_differences(document.data, other.document.data), MOST_PLACES):
            what = f"{other.name} comes with zoo: {_field(at)} is {_value(theirs)} there, {_value(mine)} here"
            hint = f"{'remove it' if theirs is None else 'write the same value'}, or choose another name"
            yield Problem(at, document.place(at), what, hint)


def _differences(own: Mapping[str, Any], shipped: Mapping[str, Any]) -> Iterator[tuple[Pointer, Any, Any]]:
    """Yield (pointer, own value, shipped value) of what must be equal and is not. None stands for a missing value."""
    for name in SAME:
        mine, theirs = own.get(name), shipped.get(name)
        if isinstance(mine, list) and isinstance(theirs, list) and len(mine) == len(theirs):
            yield from (
                ((name, at), *pair) for at, pair in enumerate(zip(mine, theirs, strict=True)) if pair[0] != pair[1]
            )
        elif mine != theirs and not (name in MAY_BE_MISSING and None in (mine, theirs)):
            yield (name,), mine, theirs
    splits, shipped_splits = own["splits"], shipped["splits"]
    for split in dict.fromkeys((*shipped_splits, *splits)):
        if split not in splits or split not in shipped_splits:
            yield ("splits", split), "given" if split in splits else None, "given" if split in shipped_splits else None
            continue
        known = shipped_splits[split]
        for name in (*SAME_IN_SPLIT, *(digest for digest in DIGESTS if digest in known)):
            if splits[split].get(name) != known.get(name):
                yield ("splits", split, name), splits[split].get(name), known.get(name)


def _pointer(document: Document, shared: Collection[str]) -> Pointer:
    """Return the place of the first of the card's names that is one of these."""
    if normalized(str(document.data["name"])) in shared:
        return ("name",)
    return ("aliases", next(at for at, alias in enumerate(document.data["aliases"]) if normalized(alias) in shared))


def _written(document: Document, pointer: Pointer) -> str:
    return str(document.data["name"] if pointer == ("name",) else document.data["aliases"][pointer[1]])


def _field(pointer: Pointer) -> str:
    return ".".join(map(str, pointer))


def _value(value: Any) -> str:
    if value is None:
        return "missing"
    return f"a list of {len(value)}" if isinstance(value, list) else shortened(str(value))
