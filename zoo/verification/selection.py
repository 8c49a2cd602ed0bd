"""Choose the cards of a run: by name or file, all of them, those that changed in git, or one part of several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from zoo.errors import CardError, UsageError
from zoo.registry.card import Card
from zoo.registry.catalog import Broken, Catalog, load_catalog, used_folders
from zoo.registry.document import Document
from zoo.verification import lint

ReportLine = Callable[[str], None]
"""A function that is called with a line of text for the user."""


def ignore_line(line: str) -> None:
    """Do nothing with the line."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Cards by their positions in a catalogue, and files that cannot be read as cards."""

    catalog: Catalog
    positions: tuple[int, ...]
    broken: tuple[Broken, ...]

    @property
    def documents(self) -> tuple[Document, ...]:
        """The files of the cards, and the broken files."""
        entries = [self.catalog.cards.entries[position] for position in self.positions]
        return (*(entry.document for entry in entries), *(item.document for item in self.broken))


def find(catalog: Catalog, name: str, report_line: ReportLine = ignore_line) -> Card:
    """Return the card of that name or alias; report an alias and a deprecated card.

    Raises UnknownName with the nearest names, CardError when the file of that name is not a valid card.
    """
    card = catalog.find(name)
    if name != card.name:
        report_line(f"{name} is an alias of {card.name}")
    if card.deprecated:
        report_line(f"{card.name} is deprecated: {card.deprecated}")
    return card


def find_all(catalog: Catalog, names: Sequence[str], report_line: ReportLine = ignore_line) -> list[Card]:
    """Return the cards of these names as `find` does; raises UsageError when there is no name."""
    if not names:
        raise UsageError("no model is named", hint="name one or more models")
    return [find(catalog, name, report_line) for name in names]


def choose(
    catalog: Catalog, names: Sequence[str], *, everything: bool = False, report_line: ReportLine = ignore_line
) -> list[Card | Broken]:
    """Return the cards of these names, each once; with `everything`, all cards and all broken files.

    Raises UsageError when there is neither a name nor `everything`, UnknownName for an unknown name.
    """
    if everything:
        return [*catalog.cards, *catalog.broken]
    if not names:
        raise UsageError("no model is named", hint="name one or more models, or give --all")
    cards: list[Card | Broken] = []
    for name in dict.fromkeys(names):
        try:
            cards.append(find(catalog, name, report_line))
        except CardError:
            cards += [item for item in catalog.broken if item.name == name]
    return cards


def choose_part(
    catalog: Catalog,
    names: Sequence[str],
    folders: Sequence[Path],
    *,
    everything: bool = False,
    changed_since: str | None = None,
    shard: str | None = None,
    report_line: ReportLine = ignore_line,
) -> list[Card | Broken]:
    """Return the cards that `choose` returns, or those that changed since a git revision; of these, one part of N.

    folders: where the catalogue's cards are, all of them for the shipped cards; shard: `I/N`.
    """
    cards: list[Card | Broken]
    if changed_since is None:
        cards = choose(catalog, names, everything=everything, report_line=report_line)
    else:
        positions, broken = lint.changed_since(catalog, changed_since, used_folders(folders))
        cards = [*(catalog.cards[position] for position in positions), *broken]
    return lint.shard(cards, shard) if shard else cards


def select(
    targets: Sequence[str],
    folders: Sequence[Path],
    *,
    everything: bool = False,
    changed_since: str | None = None,
    report_line: ReportLine = ignore_line,
) -> Selection:
    """Return the cards of these targets: names, and paths of card files or of folders of cards.

    The cards of a path join those of the folders, and replace cards of equal name. Raises UsageError when nothing is
    named, or a path or a folder does not exist; UnknownName for an unknown name.
    """
    paths = [Path(target) for target in targets if _is_path(target)]
    catalog = load_catalog(folders).with_files(paths)
    if changed_since is not None:
        changed, broken = lint.changed_since(catalog, changed_since, used_folders(folders))
        return Selection(catalog, tuple(changed), tuple(broken))
    if everything:
        return Selection(catalog, tuple(range(len(catalog.cards))), catalog.broken)
    if not targets:
        raise UsageError("no model is named", hint="name one or more models or files, or give --all")
    positions = {position for position, entry in enumerate(catalog.cards.entries) if entry.path in catalog.selected}
    broken = [item for item in catalog.broken if item.document.path in catalog.selected]
    for name in targets:
        if Path(name) in paths:
            continue
        try:
            positions.add(catalog.names.index(find(catalog, name, report_line).name))
        except CardError:
            broken += [item for item in catalog.broken if item.name == name]
    return Selection(catalog, tuple(sorted(positions)), tuple(broken))


def _is_path(target: str) -> bool:
    return "/" in target or target.endswith((".yaml", ".yml")) or Path(target).exists()
