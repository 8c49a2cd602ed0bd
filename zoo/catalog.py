"""Folders of YAML -> Catalog: the cards, families and data sets of a zoo, what could not be read, and finding them.

A folder's `collection.yaml` is a family; what lies in a folder called `datasets` is a data set; any other `*.yaml` is a
card. A file that is no valid card becomes Broken, with its problems, and hides nothing else. Imports card and schema.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from zoo.card import Card, Collection, Dataset, build
from zoo.errors import CardError, UnknownName, UsageError
from zoo.schema import Document, Problem, data_root, problems, read

_Named = TypeVar("_Named", bound=Collection | Dataset)


@dataclass(frozen=True, slots=True)
class Broken:
    """A file that is no valid card, family or data set, called by its `name` if it has one, else by its file name."""

    kind: str
    name: str
    document: Document
    problems: tuple[Problem, ...]


@dataclass(frozen=True)
class Catalog:
    """The cards of a zoo in the order of their files, with its families, data sets and unreadable files."""

    cards: tuple[Card, ...] = ()
    collections: tuple[Collection, ...] = ()
    datasets: tuple[Dataset, ...] = ()
    broken: tuple[Broken, ...] = ()
    selected: frozenset[Path] = field(default=frozenset(), repr=False)
    _derived: dict[Hashable, Any] = field(default_factory=dict, repr=False, compare=False)

    def find(self, name: str) -> Card:
        """The card of that name or alias.

        Raises UnknownName with the nearest names, CardError when its file is there and is no valid card.
        """
        card = self._by_name.get(name)
        if card is not None:
            return card
        for item in self.broken:
            if item.kind == "card" and item.name == name:
                problem = item.problems[0]
                raise CardError(problem.what, where=str(problem.place), mend=problem.mend)
        raise UnknownName("model", name, self._by_name)

    def collection_of(self, card: Card) -> Collection | None:
        """The family that the card names, if there is one."""
        return self._collections.get(card.collection) if card.collection else None

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

    def sharing(self, key: str, value: object) -> tuple[Card, ...]:
        """The cards that have this `name`, `url`, `sha256` (by its first 8 digits), `size_bytes` or `collection`."""
        return self._inverted[key].get(value, ())

    def with_files(self, paths: Iterable[Path]) -> Catalog:
        """This catalogue with the cards of some files or folders put in, and those selected; they replace namesakes."""
        paths = tuple(paths)
        found = _read_all(path for top in paths for path in _card_files(top))
        around = _read_all(path.parent / "collection.yaml" for path in paths if path.is_file())
        names = {card.name for card in found.cards} | {item.name for item in found.broken}
        return replace(
            self,
            cards=(*(card for card in self.cards if card.name not in names), *found.cards),
            collections=_merged(self.collections, (*around.collections, *found.collections)),
            datasets=_merged(self.datasets, found.datasets),
            broken=(*self.broken, *found.broken),
            selected=frozenset(item.where.document.path for item in found.cards)
            | frozenset(item.document.path for item in found.broken),
            _derived={},
        )

    @cached_property
    def _by_name(self) -> Mapping[str, Card]:
        named = {alias: card for card in reversed(self.cards) for alias in card.aliases}
        return MappingProxyType(named | {card.name: card for card in reversed(self.cards)})

    @cached_property
    def _collections(self) -> Mapping[str, Collection]:
        return {item.name: item for item in self.collections}

    @cached_property
    def _datasets(self) -> Mapping[str, Dataset]:
        named = {_bare(alias): item for item in self.datasets for alias in item.aliases}
        return named | {_bare(item.name): item for item in self.datasets}

    @cached_property
    def _inverted(self) -> Mapping[str, Mapping[object, tuple[Card, ...]]]:
        return {key: _invert(self.cards, values) for key, values in _INDEXED.items()}


def load(folders: Iterable[Path] = ()) -> Catalog:
    """The catalogue of these folders, or of the shipped cards when there are none.

    ZOO_CARDS (folders, separated as in PATH) does the same. The shipped data sets are visible in either case.
    Raises UsageError when a folder is not there.
    """
    folders = tuple(folders) or tuple(Path(part) for part in os.environ.get("ZOO_CARDS", "").split(os.pathsep) if part)
    for folder in folders:
        if not folder.is_dir():
            raise UsageError(f"there is no folder of cards at {folder}", mend="give a folder that holds *.yaml cards")
    shipped = data_root() / "cards"
    if not folders:
        return _read_all(_card_files(shipped))
    own = _read_all(path for folder in folders for path in _card_files(folder))
    return replace(own, datasets=_merged(_read_all(_card_files(shipped / "datasets")).datasets, own.datasets))


def selected(catalog: Catalog) -> list[Card | Broken]:
    """The cards that `with_files` put in, and its unreadable files."""
    chosen: list[Card | Broken] = [card for card in catalog.cards if card.path in catalog.selected]
    return chosen + [item for item in catalog.broken if item.document.path in catalog.selected]


def _card_files(top: Path) -> Iterator[Path]:
    if not top.is_dir():
        if not top.exists():
            raise UsageError(f"there is no file or folder {top}")
        yield top
        return
    for path in sorted(top.rglob("*.y*ml")):
        hidden = any(part.startswith(".") for part in path.relative_to(top).parts)
        if path.suffix in (".yaml", ".yml") and path.is_file() and not hidden:
            yield path


def _kind(path: Path) -> str:
    if path.stem == "collection":
        return "collection"
    return "dataset" if path.absolute().parent.name == "datasets" else "card"


def _read_all(paths: Iterable[Path]) -> Catalog:
    cards: list[Card] = []
    collections: list[Collection] = []
    datasets: list[Dataset] = []
    broken: list[Broken] = []
    for path in paths:
        if path.name == "collection.yaml" and not path.exists():
            continue
        kind, document = _kind(path), read(path)
        wrong = problems(document, kind)
        if wrong:
            name = document.data.get("name")
            broken.append(Broken(kind, name if isinstance(name, str) and name else path.stem, document, wrong))
        elif kind == "card":
            cards.append(build(Card, document))
        elif kind == "collection":
            collections.append(build(Collection, document))
        else:
            datasets.append(build(Dataset, document))
    return Catalog(tuple(cards), tuple(collections), tuple(datasets), tuple(broken))


def _bare(name: str) -> str:
    """ImageNet-1k and imagenet_1k are one data set."""
    return re.sub(r"[\W_]", "", name.casefold())


def _merged(old: tuple[_Named, ...], new: tuple[_Named, ...]) -> tuple[_Named, ...]:
    names = {item.name for item in new}
    return (*(item for item in old if item.name not in names), *new)


def _invert(cards: Iterable[Card], values: Callable[[Card], Iterable[object]]) -> Mapping[object, tuple[Card, ...]]:
    found: defaultdict[object, list[Card]] = defaultdict(list)
    for card in cards:
        for value in dict.fromkeys(values(card)):
            found[value].append(card)
    return {value: tuple(sharing) for value, sharing in found.items()}


_INDEXED: Mapping[str, Callable[[Card], Iterable[object]]] = MappingProxyType(
    {
        "name": lambda card: (card.name, *card.aliases),
        "url": lambda card: (url for item in card.weights for url in item.urls),
        "sha256": lambda card: (item.sha256[:8] for item in card.weights if item.sha256),
        "size_bytes": lambda card: (item.size_bytes for item in card.weights if item.size_bytes),
        "collection": lambda card: (card.collection,),
    }
)
