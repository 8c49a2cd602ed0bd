"""Load and look up the cards, families and data sets of a zoo.

A file `collection.yaml` is a family, a file in a folder `datasets` is a data set, any other `*.yaml` is a card. A file that
is not valid becomes Broken, with its problems, and the other files are still loaded.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar, overload

from zoo.errors import CardError, UnknownName, UsageError
from zoo.registry import index
from zoo.registry.card import Card, Collection, Dataset, card_sha256
from zoo.registry.datasets import Datasets, choose, names_of, normalized
from zoo.registry.document import Document
from zoo.registry.files import real_path
from zoo.registry.index import IndexEntry, Key
from zoo.registry.position import Problem
from zoo.registry.schema import data_root

_Kind = TypeVar("_Kind", bound="Card | Collection | Dataset")


@dataclass(frozen=True, slots=True)
class Broken:
    """A file that is not a valid card, family or data set. `name` is the file's own `name` if it has one, else its stem.

    kind: `card`, `collection` or `dataset`; `folder` for a link to a folder, which is not followed.
    """

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

    own_datasets: the zoo's own dataset cards. invalid: the files that are not valid. selected: the files that `with_files`
    added.
    """

    cards: LazyList[Card] = field(default_factory=lambda: LazyList(Card))
    collections: LazyList[Collection] = field(default_factory=lambda: LazyList(Collection))
    own_datasets: tuple[IndexEntry, ...] = ()
    invalid: tuple[Broken, ...] = ()
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

    @cached_property
    def datasets(self) -> LazyList[Dataset]:
        """The data sets that cards may use: the shipped ones, and the zoo's own ones, which replace them."""
        return LazyList(Dataset, partial(_usable, self._datasets) if self._has_own else _shipped_datasets)

    @cached_property
    def broken(self) -> tuple[Broken, ...]:
        """The files that are not valid, and dataset cards that contradict another one of the same name."""
        conflicts = self._datasets.conflicts if self._has_own else ()
        return (*self.invalid, *(_broken(entry, problems) for entry, problems in conflicts))

    def dataset(self, name: str) -> Dataset | None:
        """Return the data set of that name or alias, or None; case, spaces and punctuation are ignored.

        None also stands for a name whose dataset card is not valid; `dataset_problem` tells the two apart.
        """
        position = None if self.dataset_problem(name) else self._dataset_positions.get(normalized(name))
        return None if position is None else self.datasets[position]

    def dataset_problem(self, name: str) -> Problem | None:
        """Return what is wrong with the dataset card of that name or alias; None when it is valid or does not exist."""
        document = self._datasets.unusable.get(normalized(name)) if self._has_own else None
        return document.problems[0] if document else None

    def refuse_invalid_dataset(self, name: str) -> None:
        """Raise CardError when the dataset card of that name or alias is not valid."""
        problem = self.dataset_problem(name)
        if problem is not None:
            what = f"the dataset card of {name} is not valid: {problem.what}"
            raise CardError(what, where=str(problem.place), hint=problem.hint)

    def find_dataset(self, name: str) -> Dataset:
        """Return the data set of that name or alias.

        Raises UnknownName with the nearest names, CardError when the dataset card of that name is not valid.
        """
        self.refuse_invalid_dataset(name)
        dataset = self.dataset(name)
        if dataset is None:
            raise UnknownName("data set", name, self.dataset_names)
        return dataset

    def is_own_manifest(self, dataset: Dataset, split: str) -> bool:
        """Return whether the manifest's digest of a split was recorded by this zoo, not by the card that comes with zoo."""
        name = normalized(dataset.name)
        shipped = [entry for entry in _shipped_datasets() if normalized(entry.name) == name]
        known = shipped[0].document.data["splits"].get(split, {}) if shipped else {}
        return dataset.splits[split].manifest_sha256 is not None and "manifest_sha256" not in known

    @cached_property
    def datasets_sha256(self) -> str:
        """SHA-256, in hex, of everything that a rule may read of data sets: the dataset cards, and problems with them."""
        parts = [entry.sha256 for entry in self.datasets.entries]
        if self._has_own:
            parts += [f"{name} {document.problems[0]}" for name, document in sorted(self._datasets.unusable.items())]
        return hashlib.sha256("\n".join(parts).encode(errors="replace")).hexdigest()

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
        names = {entry.name for entry in added.cards.entries} | {item.name for item in added.invalid}
        dataset_names = {name for entry in added.own_datasets for name in names_of(entry.document)}
        files = {real_path(item.document.path) for item in added.invalid}
        return Catalog(
            LazyList(Card, (*(entry for entry in self.cards.entries if entry.name not in names), *added.cards.entries)),
            _merged(self.collections, families.collections, added.collections),
            (
                *(entry for entry in self.own_datasets if not dataset_names & names_of(entry.document)),
                *added.own_datasets,
            ),
            (*(item for item in self.invalid if real_path(item.document.path) not in files), *added.invalid),
            frozenset(
                (
                    *(entry.path for entry in (*added.cards.entries, *added.own_datasets)),
                    *(item.document.path for item in added.invalid),
                )
            ),
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
    def _has_own(self) -> bool:
        """Whether the zoo has dataset cards of its own, valid or not. Without any, the shipped ones are read on first use."""
        return bool(self.own_datasets) or any(item.kind == "dataset" for item in self.invalid)

    @cached_property
    def _datasets(self) -> Datasets:
        invalid = [item.document for item in self.invalid if item.kind == "dataset"]
        return choose(self.own_datasets, invalid, _shipped_datasets())

    @cached_property
    def _dataset_positions(self) -> Mapping[str, int]:
        items = list(enumerate(self.datasets.entries))
        aliases = {name: position for position, entry in items for name in names_of(entry.document)}
        return aliases | {normalized(entry.name): position for position, entry in items}


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
        shipped = _catalog_of(index.scan(data_root() / "cards"))
        return replace(shipped, own_datasets=())
    return _catalog_of(entry for folder in folders for entry in index.scan(folder))


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
    invalid: list[Broken] = []
    for entry in entries:
        if entry.is_valid:
            kinds[entry.kind].append(entry)
        else:
            invalid.append(_broken(entry, entry.document.problems))
    cards, families = LazyList(Card, kinds["card"]), LazyList(Collection, kinds["collection"])
    return Catalog(cards, families, tuple(kinds["dataset"]), tuple(invalid))


def _broken(entry: IndexEntry, problems: tuple[Problem, ...]) -> Broken:
    return Broken(entry.kind, entry.name, replace(entry.document, problems=problems), problems)


def _shipped_datasets() -> tuple[IndexEntry, ...]:
    """Return the shipped data sets. It is called on first use, because listing or fetching models needs none."""
    return _catalog_of(index.scan(data_root() / "cards" / "datasets")).own_datasets


def _usable(datasets: Datasets) -> tuple[IndexEntry, ...]:
    return datasets.entries


def _merged(old: LazyList[_Kind], *new: LazyList[_Kind]) -> LazyList[_Kind]:
    """Return the new items, and before them those old ones whose names are not among the new."""
    added = [entry for items in new for entry in items.entries]
    names = {entry.name for entry in added}
    return LazyList(old.cls, (*(entry for entry in old.entries if entry.name not in names), *added))
