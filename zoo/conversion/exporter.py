"""Cards -> documents of another format, with data equal to the source's where they were imported."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from zoo import plugins
from zoo.conversion.dialects import WrittenDocument
from zoo.errors import UnknownName, UsageError
from zoo.registry.card import Card
from zoo.registry.catalog import Catalog
from zoo.registry.edit import create


def documents(names: Sequence[str], catalog: Catalog, format_name: str) -> tuple[WrittenDocument, ...]:
    """The documents of these models and families; a family's name stands for its models, all of them for no name.

    Raises UnknownName with the nearest names, UsageError where there is nothing to write.
    """
    dialect = plugins.load("dialects", format_name)
    cards = select_cards(names, catalog)
    written = tuple(dialect.write(cards, catalog)) if cards else ()
    if hasattr(dialect, "of_collections"):
        document_names = {item.document for item in written}
        written += tuple(
            item
            for item in dialect.of_collections(_families(names, catalog), catalog)
            if item.document not in document_names
        )
    if not written:
        raise UsageError(f"nothing to write as {format_name}", hint="name models or families: `zoo list` shows them")
    return written


def select_cards(names: Sequence[str], catalog: Catalog) -> list[Card]:
    """The cards of these names, those of a family where a name is one's, each once; all of them for no name."""
    cards: dict[str, Card] = {}
    families = {item.name for item in catalog.collections}
    for name in names:
        if name in families and not any(card.name == name for card in catalog.sharing("name", name)):
            cards |= {card.name: card for card in catalog.sharing("collection", name)}
        else:
            card = _find(name, catalog, families)
            cards[card.name] = card
    return list(cards.values()) if names else list(catalog.cards)


def save(written: Sequence[WrittenDocument], folder: Path) -> list[Path]:
    """Each document in a file of its own below the folder, under the name of its source; YAML whatever that was."""
    paths: list[Path] = []
    for item in written:
        way = Path(item.document.replace("#", "-"))
        inside = Path(*(part for part in way.parts if part not in ("/", "..", "")))
        path = folder / (
            inside
            if inside.suffix in (".yml", ".yaml", ".csv") or inside.name == "README.md"
            else inside.with_name(f"{inside.name}.yml")
        )
        create(path, item.text)
        paths.append(path)
    return paths


def _families(names: Sequence[str], catalog: Catalog) -> list[str]:
    families = [item.name for item in catalog.collections]
    return [name for name in families if not names or name in names]


def _find(name: str, catalog: Catalog, families: set[str]) -> Card:
    try:
        return catalog.find(name)
    except UnknownName as error:
        if error.hint:
            raise
        raise UnknownName("model or family", name, [*(card.name for card in catalog.cards), *families]) from error
