"""Folders of YAML -> Catalog: the cards, families and data sets of a zoo, what could not be read, and finding them.

A folder's `collection.yaml` is a family; what lies in a folder called `datasets` is a data set; any other `*.yaml` is a
card. A file that is no valid card becomes Broken, with its problems, and hides nothing else. Imports card, document and schema.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar, overload

from zoo import index
from zoo.card import Card, Collection, Dataset
from zoo.document import Document, Problem
from zoo.errors import CardError, UnknownName, UsageError
from zoo.index import Key, Slot
from zoo.schema import data_root

_Kind = TypeVar("_Kind", bound="Card | Collection | Dataset")


@dataclass(frozen=True, slots=True)
class Broken:
    """A file that is no valid card, family or data set, called by its `name` if it has one, else by its file name."""

    kind: str
    name: str
    document: Document
    problems: tuple[Problem, ...]


class Shelf(Sequence[_Kind]):
    """Cards, families or data sets in the order of their files, each built when it is first asked for.

    slots: the files, or what reads them when somebody first asks for one.
    """

    def __init__(self, cls: type[_Kind], slots: Iterable[Slot] | Callable[[], Iterable[Slot]] = ()) -> None:
        self.cls: type[_Kind] = cls
        self._slots = slots if callable(slots) else tuple(slots)

    @overload
    def __getitem__(self, index: int) -> _Kind: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[_Kind, ...]: ...
    def __getitem__(self, index: int | slice) -> _Kind | tuple[_Kind, ...]:
        if isinstance(index, slice):
            return tuple(slot.built(self.cls) for slot in self.slots[index])
        item: _Kind = self.slots[index].built(self.cls)
        return item

    def __len__(self) -> int:
        return len(self.slots)

    @cached_property
    def slots(self) -> tuple[Slot, ...]:
        """The files."""
        return tuple(self._slots() if callable(self._slots) else self._slots)

    @property
    def names(self) -> tuple[str, ...]:
        """Their names, without building one."""
        return tuple(slot.name for slot in self.slots)


@dataclass(frozen=True)
class Catalog:
    """The cards of a zoo in the order of their files, with its families, data sets and unreadable files."""

    cards: Shelf[Card] = field(default_factory=lambda: Shelf(Card))
    collections: Shelf[Collection] = field(default_factory=lambda: Shelf(Collection))
    datasets: Shelf[Dataset] = field(default_factory=lambda: Shelf(Dataset))
    broken: tuple[Broken, ...] = ()
    selected: frozenset[Path] = field(default=frozenset(), repr=False)
    _derived: dict[Hashable, Any] = field(default_factory=dict, repr=False, compare=False)

    def find(self, name: str) -> Card:
        """The card of that name or alias.

        Raises UnknownName with the nearest names, CardError when its file is there and is no valid card.
        """
        position = self._by_name.get(name)
        if position is not None:
            return self.cards[position]
        for item in self.broken:
            if item.kind == "card" and item.name == name:
                problem = item.problems[0]
                raise CardError(problem.what, where=str(problem.place), mend=problem.mend)
        raise UnknownName("model", name, self._by_name)

    def collection_of(self, card: Card) -> Collection | None:
        """The family that the card names, if there is one."""
        position = self._collections.get(card.collection) if card.collection else None
        return None if position is None else self.collections[position]

    def dataset(self, name: str) -> Dataset | None:
        """The data set of that name or alias, if there is one; case, spaces and punctuation do not count."""
        return self._datasets.get(_bare(name))

    @property
    def dataset_names(self) -> tuple[str, ...]:
        """The names and aliases of the data sets."""
        return tuple(name for item in self.datasets for name in (item.name, *item.aliases))

    def derived(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """What was made of the whole catalogue under that key, made when it is first asked for."""
        if key not in self._derived:
            self._derived[key] = make()
        return self._derived[key]

    def sharing(self, key: str, value: str | int | None, *, most: int | None = None) -> tuple[Card, ...]:
        """The cards, or the first `most`, that have this `name`, `url`, `sha256` (by its first 8 digits), `size_bytes` or
        `collection`."""
        return tuple(self.cards[position] for position in self.positions.get((key, value), ())[:most])

    def with_files(self, paths: Iterable[Path]) -> Catalog:
        """This catalogue with the cards of some files or folders put in, and those selected; they replace namesakes."""
        paths = tuple(paths)
        found = _sorted_out(slot for top in paths for slot in _slots(top))
        families = {path.parent / "collection.yaml" for path in paths if path.is_file()}
        around = _sorted_out(index.read(path) for path in sorted(families) if path.is_file())
        names = {slot.name for slot in found.cards.slots} | {item.name for item in found.broken}
        return replace(
            self,
            cards=Shelf(Card, (*(slot for slot in self.cards.slots if slot.name not in names), *found.cards.slots)),
            collections=_merged(self.collections, around.collections, found.collections),
            datasets=_merged(self.datasets, found.datasets),
            broken=(*self.broken, *found.broken),
            selected=frozenset(slot.path for slot in found.cards.slots)
            | frozenset(item.document.path for item in found.broken),
            _derived={},
        )

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of the cards, in their order."""
        return self.cards.names

    @cached_property
    def positions(self) -> Mapping[Key, Sequence[int]]:
        """By each value that cards are found by, their positions."""
        found: dict[Key, list[int]] = {}
        for position, slot in enumerate(self.cards.slots):
            for key in slot.keys:
                found.setdefault(key, []).append(position)
        return found

    @cached_property
    def _by_name(self) -> Mapping[str, int]:
        named = {str(value): positions[0] for (key, value), positions in self.positions.items() if key == "name"}
        return named | {name: position for position, name in reversed(list(enumerate(self.names)))}

    @cached_property
    def _collections(self) -> Mapping[str, int]:
        return {name: position for position, name in enumerate(self.collections.names)}

    @cached_property
    def _datasets(self) -> Mapping[str, Dataset]:
        named = {_bare(alias): item for item in self.datasets for alias in item.aliases}
        return named | {_bare(item.name): item for item in self.datasets}


def load(folders: Iterable[Path] = ()) -> Catalog:
    """The catalogue of these folders, or of the shipped cards when there are none.

    ZOO_CARDS (folders, separated as in PATH) does the same. The shipped data sets are visible in either case.
    Raises UsageError when a folder is not there.
    """
    folders = own_folders(folders)
    if not folders:
        return _sorted_out(index.scan(data_root() / "cards"))
    own = _sorted_out(slot for folder in folders for slot in index.scan(folder))
    return replace(own, datasets=Shelf(Dataset, partial(_and_shipped, own.datasets)))


def own_folders(folders: Iterable[Path] = ()) -> tuple[Path, ...]:
    """The folders of cards that were given, else those of ZOO_CARDS; none for the shipped cards."""
    folders = tuple(folders) or tuple(Path(part) for part in os.environ.get("ZOO_CARDS", "").split(os.pathsep) if part)
    for folder in folders:
        if not folder.is_dir():
            raise UsageError(f"there is no folder of cards at {folder}", mend="give a folder that holds *.yaml cards")
    return folders


def used_folders(folders: Iterable[Path] = ()) -> tuple[Path, ...]:
    """The folders that `load` reads cards from."""
    return own_folders(folders) or (data_root() / "cards",)


def selected(catalog: Catalog) -> list[Card | Broken]:
    """The cards that `with_files` put in, and its unreadable files."""
    chosen: list[Card | Broken] = [slot.built(Card) for slot in catalog.cards.slots if slot.path in catalog.selected]
    return chosen + [item for item in catalog.broken if item.document.path in catalog.selected]


def _slots(top: Path) -> Iterable[Slot]:
    if top.is_dir():
        return index.scan(top)
    if not top.exists():
        raise UsageError(f"there is no file or folder {top}")
    return [index.read(top)]


def _sorted_out(slots: Iterable[Slot]) -> Catalog:
    kinds: dict[str, list[Slot]] = {"card": [], "collection": [], "dataset": []}
    broken: list[Broken] = []
    for slot in slots:
        if slot.is_valid:
            kinds[slot.kind].append(slot)
        else:
            broken.append(Broken(slot.kind, slot.name, slot.document, slot.document.problems))
    cards, families = Shelf(Card, kinds["card"]), Shelf(Collection, kinds["collection"])
    return Catalog(cards, families, Shelf(Dataset, kinds["dataset"]), tuple(broken))


def _and_shipped(datasets: Shelf[Dataset]) -> Iterable[Slot]:
    """Read when a data set is asked for: to list or fetch models, none is."""
    return _merged(_sorted_out(index.scan(data_root() / "cards" / "datasets")).datasets, datasets).slots


def _bare(name: str) -> str:
    """ImageNet-1k and imagenet_1k are one data set."""
    return re.sub(r"[\W_]", "", name.casefold())


def _merged(old: Shelf[_Kind], *new: Shelf[_Kind]) -> Shelf[_Kind]:
    """Those of the old whose names none of the new has, and the new."""
    added = [slot for shelf in new for slot in shelf.slots]
    names = {slot.name for slot in added}
    return Shelf(old.cls, (*(slot for slot in old.slots if slot.name not in names), *added))
