"""Load and look up the cards, families and data sets of a zoo.

A file `collection.yaml` is a family, a file in a folder `datasets` is a data set, any other `*.yaml` is a card. A file that
is not valid becomes Broken, with its problems, and the other files are still loaded.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar, overload

from zoo.errors import CardError, UnknownName, UsageError
from zoo.registry import index
from zoo.registry.card import Card, Collection, Dataset, card_sha256
from zoo.registry.document import Document
from zoo.registry.index import IndexEntry, Key
from zoo.registry.position import Problem
from zoo.registry.schema import data_root

_Kind = TypeVar("_Kind", bound="Card | Collection | Dataset")


@dataclass(frozen=True, slots=True)
class Broken:
    """A file that is not a valid card, family or data set. `name` is the file's own `name` if it has one, else its stem."""

    kind: str
    name: str
    document: Document
    problems: tuple[Problem, ...]


class LazyList(Sequence[_Kind]):
    """Cards, families or data sets in the order of their files, each built on first use.

    entries: the files, or a function that returns them, which is called on first use.
    """

    def __init__(
        self, cls: type[_Kind], entries: Iterable[IndexEntry] | Callable[[], Iterable[IndexEntry]] = ()
    ) -> None:
        self.cls: type[_Kind] = cls
        self._entries = entries if callable(entries) else tuple(entries)

    @overload
    def __getitem__(self, index: int) -> _Kind: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[_Kind, ...]: ...
    def __getitem__(self, index: int | slice) -> _Kind | tuple[_Kind, ...]:
        if isinstance(index, slice):
            return tuple(entry.built(self.cls) for entry in self.entries[index])
        item: _Kind = self.entries[index].built(self.cls)
        return item

    def __len__(self) -> int:
        return len(self.entries)

    @cached_property
    def entries(self) -> tuple[IndexEntry, ...]:
        """The files."""
        return tuple(self._entries() if callable(self._entries) else self._entries)

    @property
    def names(self) -> tuple[str, ...]:
        """The names, without building an item."""
        return tuple(entry.name for entry in self.entries)


@dataclass(frozen=True)
class Catalog:
    """The cards of a zoo in the order of their files, with its families, data sets and broken files.

    selected: the files that `with_files` added.
    """

    cards: LazyList[Card] = field(default_factory=lambda: LazyList(Card))
    collections: LazyList[Collection] = field(default_factory=lambda: LazyList(Collection))
    datasets: LazyList[Dataset] = field(default_factory=lambda: LazyList(Dataset))
    broken: tuple[Broken, ...] = ()
    selected: frozenset[Path] = field(default=frozenset(), repr=False)
    _derived: dict[Hashable, Any] = field(default_factory=dict, repr=False, compare=False)

    def find(self, name: str) -> Card:
        """Return the card of that name or alias.

        Raises UnknownName with the nearest names, CardError when the file of that name is not a valid card.
        """
        position = self._by_name.get(name)
        if position is not None:
            return self.cards[position]
        for item in self.broken:
            if item.kind == "card" and item.name == name:
                problem = item.problems[0]
                raise CardError(problem.what, where=str(problem.place), hint=problem.hint)
        raise UnknownName("model", name, self._by_name)

    def collection_of(self, card: Card) -> Collection | None:
        """Return the family that the card names; None when it names none or the catalogue does not have it."""
        position = self._collections.get(card.collection) if card.collection else None
        return None if position is None else self.collections[position]

    def dataset(self, name: str) -> Dataset | None:
        """Return the data set of that name or alias, or None; case, spaces and punctuation are ignored."""
        return self._datasets.get(_normalized(name))

    def find_dataset(self, name: str) -> Dataset:
        """Return the data set of that name or alias; raises UnknownName with the nearest names."""
        dataset = self.dataset(name)
        if dataset is None:
            raise UnknownName("data set", name, self.dataset_names)
        return dataset

    @property
    def dataset_names(self) -> tuple[str, ...]:
        """The names and aliases of the data sets."""
        return tuple(name for item in self.datasets for name in (item.name, *item.aliases))

    def derived(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """Return the value that is computed from the whole catalogue under that key; `make` is called on first use."""
        if key not in self._derived:
            self._derived[key] = make()
        return self._derived[key]

    def sharing(self, key: str, value: str | int | None, *, most: int | None = None) -> tuple[Card, ...]:
        """Return the cards, at most `most`, with this `name`, `url`, `sha256` (first 8 digits), `size_bytes` or `collection`."""
        return tuple(self.cards[position] for position in self.positions.get((key, value), ())[:most])

    def with_files(self, paths: Iterable[Path]) -> Catalog:
        """Return this catalogue with the cards of some files or folders added and selected; they replace cards of equal name.

        Raises UsageError when a path does not exist.
        """
        paths = tuple(paths)
        added = _catalog_of(entry for top in paths for entry in _entries(top))
        family_paths = {path.parent / "collection.yaml" for path in paths if path.is_file()}
        families = _catalog_of(index.read(path) for path in sorted(family_paths) if path.is_file())
        names = {entry.name for entry in added.cards.entries} | {item.name for item in added.broken}
        return replace(
            self,
            cards=LazyList(
                Card, (*(entry for entry in self.cards.entries if entry.name not in names), *added.cards.entries)
            ),
            collections=_merged(self.collections, families.collections, added.collections),
            datasets=_merged(self.datasets, added.datasets),
            broken=(*self.broken, *added.broken),
            selected=frozenset(entry.path for entry in added.cards.entries)
            | frozenset(item.document.path for item in added.broken),
            _derived={},
        )

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of the cards, in their order."""
        return self.cards.names

    @cached_property
    def positions(self) -> Mapping[Key, Sequence[int]]:
        """The positions of the cards, by each value that cards are found by."""
        positions: dict[Key, list[int]] = {}
        for position, entry in enumerate(self.cards.entries):
            for key in entry.keys:
                positions.setdefault(key, []).append(position)
        return positions

    @cached_property
    def _by_name(self) -> Mapping[str, int]:
        named = {str(value): positions[0] for (key, value), positions in self.positions.items() if key == "name"}
        return named | {name: position for position, name in reversed(list(enumerate(self.names)))}

    @cached_property
    def _collections(self) -> Mapping[str, int]:
        return {name: position for position, name in enumerate(self.collections.names)}

    @cached_property
    def _datasets(self) -> Mapping[str, Dataset]:
        named = {_normalized(alias): item for item in self.datasets for alias in item.aliases}
        return named | {_normalized(item.name): item for item in self.datasets}


@dataclass(frozen=True, slots=True)
class Member:
    """A card and its catalogue: what a rule or a check reads."""

    card: Card
    catalog: Catalog

    @property
    def collection(self) -> Collection | None:
        """The family that the card names; None when it names none or the catalogue does not have it."""
        return self.catalog.collection_of(self.card)

    @property
    def sha256(self) -> str:
        """SHA-256 of what the card and its collection claim, in hex; a report says which one it is about."""
        return card_sha256(self.card, self.collection)


def load_catalog(folders: Iterable[Path] = ()) -> Catalog:
    """Return the catalogue of these folders, else of those in ZOO_CARDS (separated as in PATH), else of the shipped cards.

    The catalogue always has the shipped data sets. Raises UsageError when a folder does not exist.
    """
    folders = own_folders(folders)
    if not folders:
        return _catalog_of(index.scan(data_root() / "cards"))
    catalog = _catalog_of(entry for folder in folders for entry in index.scan(folder))
    return replace(catalog, datasets=LazyList(Dataset, partial(_with_shipped, catalog.datasets)))


def own_folders(folders: Iterable[Path] = ()) -> tuple[Path, ...]:
    """Return the given folders of cards, else those in ZOO_CARDS; empty for the shipped cards.

    Raises UsageError when a folder does not exist.
    """
    folders = tuple(folders) or tuple(Path(part) for part in os.environ.get("ZOO_CARDS", "").split(os.pathsep) if part)
    for folder in folders:
        if not folder.is_dir():
            raise UsageError(f"no such folder: {folder}", hint="give a folder that has *.yaml cards")
    return folders


def used_folders(folders: Iterable[Path] = ()) -> tuple[Path, ...]:
    """Return the folders that `load_catalog` reads cards from."""
    return own_folders(folders) or (data_root() / "cards",)


def selected(catalog: Catalog) -> list[Card | Broken]:
    """Return the cards and the broken files that `with_files` added."""
    cards: list[Card | Broken] = [
        entry.built(Card) for entry in catalog.cards.entries if entry.path in catalog.selected
    ]
    return cards + [item for item in catalog.broken if item.document.path in catalog.selected]


def _entries(top: Path) -> Iterable[IndexEntry]:
    if top.is_dir():
        return index.scan(top)
    if not top.exists():
        raise UsageError(f"no such file or folder: {top}")
    return [index.read(top)]


def _catalog_of(entries: Iterable[IndexEntry]) -> Catalog:
    kinds: dict[str, list[IndexEntry]] = {"card": [], "collection": [], "dataset": []}
    broken: list[Broken] = []
    for entry in entries:
        if entry.is_valid:
            kinds[entry.kind].append(entry)
        else:
            broken.append(Broken(entry.kind, entry.name, entry.document, entry.document.problems))
    cards, families = LazyList(Card, kinds["card"]), LazyList(Collection, kinds["collection"])
    return Catalog(cards, families, LazyList(Dataset, kinds["dataset"]), tuple(broken))


def _with_shipped(datasets: LazyList[Dataset]) -> Iterable[IndexEntry]:
    """Return these data sets and the shipped ones. It is called on first use, because listing or fetching models needs none."""
    return _merged(_catalog_of(index.scan(data_root() / "cards" / "datasets")).datasets, datasets).entries


def _normalized(name: str) -> str:
    """Return a name without case and punctuation: ImageNet-1k and imagenet_1k are one data set."""
    return re.sub(r"[\W_]", "", name.casefold())


def _merged(old: LazyList[_Kind], *new: LazyList[_Kind]) -> LazyList[_Kind]:
    """Return the new items, and before them those old ones whose names are not among the new."""
    added = [entry for items in new for entry in items.entries]
    names = {entry.name for entry in added}
    return LazyList(old.cls, (*(entry for entry in old.entries if entry.name not in names), *added))
