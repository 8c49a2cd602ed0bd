"""Give imported cards and collections names and file names that are unique in the new zoo.

Names are not unique in other formats. Equal drafts become one card, which records all of its documents. Different drafts of
one name become cards with different names.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from zoo.conversion.dialects import Draft
from zoo.registry.card import canonical_json
from zoo.registry.quantities import digest_in_name

T = TypeVar("T")
MAX_NAME = 120
"""Characters of a card's name and file name. File systems allow 255 bytes, which also hold `.yaml` and a number."""
_RESERVED = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d|collection|datasets)\Z", re.IGNORECASE)
"""Names that Windows reserves for devices (learn.microsoft.com/windows/win32/fileio/naming-a-file, seen 2026-11-24), and
names that have a meaning in the folders of a zoo."""


@dataclass(frozen=True, slots=True)
class NamedDrafts:
    """A card or collection to write. drafts: equal drafts, of which the first gives the data. file: without suffix."""

    drafts: tuple[Draft, ...]
    name: str
    file: str

    @property
    def first(self) -> Draft:
        """The draft that gives the data."""
        return self.drafts[0]


def name_drafts(drafts: Iterable[Draft]) -> list[NamedDrafts]:
    """Return each set of equal drafts with its name and file name, in the order of their sources."""
    distinct = _grouped(drafts, lambda draft: canonical_json([draft.title, draft.entry]))
    names = _names([same[0] for same in distinct])
    items: list[NamedDrafts] = []
    files: set[str] = set()
    for same, name in zip(distinct, names, strict=True):
        file = _free_name(name.lower(), files)
        files.add(file)
        items.append(NamedDrafts(tuple(same), name, file))
    return items


def describe_clashes(items: Iterable[NamedDrafts], kind: str) -> Iterator[str]:
    """Yield a note for each title that different items share. kind: `model` or `collection`."""
    for alike in _grouped(items, lambda item: slug(item.first.title).lower()):
        if len({item.first.title for item in alike}) < len(alike):
            names = ", ".join(item.name for item in alike)
            yield f"{len(alike)} different {kind}s are named {alike[0].first.title}; their new names are {names}"


def slug(title: str) -> str:
    """Return a title as a card's name: letters, digits, `.`, `_`, `+` and `-` stay, other characters become `-`."""
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]*", title) and len(title) <= MAX_NAME:
        return title
    name = re.sub(r"[^A-Za-z0-9._+-]+", "-", title).strip("-._+")
    if not name:
        name = re.sub(r"[^0-9a-f]", "", title.encode("utf-8", "replace").hex())[:16] or "unnamed"
    return name[:MAX_NAME] if re.match(r"[A-Za-z0-9]", name) else f"x{name}"[:MAX_NAME]


def folder_name(title: str) -> str:
    """Return the name of the folder for a collection that has no card of its own."""
    name = slug(title).lower()
    return f"{name}-models" if _RESERVED.match(name) else name


def _grouped(items: Iterable[T], key: Callable[[T], str]) -> list[list[T]]:
    groups: dict[str, list[T]] = defaultdict(list)
    for item in items:
        groups[key(item)].append(item)
    return list(groups.values())


def _names(drafts: Sequence[Draft]) -> list[str]:
    """Return a unique name for each of some different drafts."""
    groups = _grouped(range(len(drafts)), lambda index: slug(drafts[index].title).lower())
    names = {group[0]: slug(drafts[group[0]].title) for group in groups if len(group) == 1}
    taken = set(names.values())
    for group in groups:
        if len(group) > 1:
            for index, name in zip(group, _distinct_names([drafts[index] for index in group]), strict=True):
                names[index] = _free_name(name, taken)
                taken.add(names[index])
    return [names[index] for index in range(len(drafts))]


def _distinct_names(drafts: Sequence[Draft]) -> list[str]:
    """Return a name for each of some drafts with one title: the title, with the first trait in which all of them differ."""
    slugs = [slug(draft.title) for draft in drafts]
    if len(set(slugs)) == len(slugs):
        return slugs
    for traits in _traits(drafts):
        suffixes = [slug(trait).lower() for trait in traits if trait]
        if len(suffixes) == len(slugs) == len(set(suffixes)):
            return [f"{name}-{suffix}" for name, suffix in zip(slugs, suffixes, strict=True)]
    return slugs


def _traits(drafts: Sequence[Draft]) -> Iterator[list[str | None]]:
    """Yield lists of one trait for each draft: the weights' digest, collection, data set, image height, source folder."""
    yield [_digest(draft.data) for draft in drafts]
    yield [str(draft.data.get("collection") or "") for draft in drafts]
    yield [
        next((str(claim["dataset"]) for claim in draft.data.get("claims", {}).get("results", ())), None)
        for draft in drafts
    ]
    yield [str(draft.data.get("input", {}).get("size", [0, ""])[1]) for draft in drafts]
    paths = [Path(draft.document.partition("#")[0]).parts for draft in drafts]
    first = next((at for at, parts in enumerate(zip(*paths, strict=False)) if len(set(parts)) > 1), 0)
    yield [Path(parts[min(first, len(parts) - 1)]).stem for parts in paths]


def _digest(data: Mapping[str, Any]) -> str | None:
    for weights in data.get("weights", ()):
        digest = weights.get("sha256") or next(filter(None, map(digest_in_name, weights.get("urls", ()))), None)
        if digest:
            return str(digest)[:8]
    return None


def _free_name(name: str, taken: set[str]) -> str:
    """Return the name, or the name with the first number that makes it free, without distinguishing upper and lower case."""
    lowered = {item.lower() for item in taken}
    if name.lower() not in lowered and not _RESERVED.match(name):
        return name
    numbered = (f"{name}-{number}" for number in range(2, len(lowered) + 3))
    return next(item for item in numbered if item.lower() not in lowered)
