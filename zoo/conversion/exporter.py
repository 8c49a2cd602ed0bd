"""Write cards as documents of another format. Imported cards give back the data of their source."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from zoo import plugins
from zoo.conversion.dialects import CollectionDialect, FileDialect, WrittenDocument
from zoo.errors import UnknownName, UsageError
from zoo.registry.card import Card
from zoo.registry.catalog import Catalog
from zoo.registry.edit import create
from zoo.runtime.text import terminal


def export(names: Sequence[str], catalog: Catalog, format_name: str) -> tuple[WrittenDocument, ...]:
    """Return the documents of models in a format.

    names: models, or collections for all their models; no names for the whole catalog. Raises UnknownName with the nearest
    names, UsageError when there is nothing to write.
    """
    dialect = plugins.load("dialects", format_name)
    if not isinstance(dialect, FileDialect):
        formats = ", ".join(name.replace("_", "-") for name in plugins.names("dialects") if _can_write(name))
        raise UsageError(f"zoo does not write the format {format_name}", hint=f"use one of {formats}")
    cards = select_cards(names, catalog)
    written = tuple(dialect.write(cards, catalog)) if cards else ()
    if isinstance(dialect, CollectionDialect):
        document_names = {item.document for item in written}
        written += tuple(
            item
            for item in dialect.of_collections(_collections(names, catalog), catalog)
            if item.document not in document_names
        )
    if not written:
        raise UsageError(
            f"there is nothing to write in the format {format_name}",
            hint="name models or collections; `zoo list` shows them",
        )
    return written


def select_cards(names: Sequence[str], catalog: Catalog) -> list[Card]:
    """Return the cards of models and collections by name, each once; all cards for no names."""
    cards: dict[str, Card] = {}
    collections = {item.name for item in catalog.collections}
    for name in names:
        if name in collections and not any(card.name == name for card in catalog.sharing("name", name)):
            cards |= {card.name: card for card in catalog.sharing("collection", name)}
        else:
            card = _find(name, catalog, collections)
            cards[card.name] = card
    return list(cards.values()) if names else list(catalog.cards)


def save(documents: Sequence[WrittenDocument], folder: Path) -> list[Path]:
    """Write each document to a file below the folder and return the paths. Raises UsageError when a file exists.

    A file has the name of the document that its cards were imported from, with the suffix `.yml` unless the name ends in
    `.yml`, `.yaml`, `.csv` or `README.md`.
    """
    paths = [folder / _file_path(document.document) for document in documents]
    for path, document in zip(paths, documents, strict=True):
        create(path, document.text, top=folder)
    return paths


def printable(text: str) -> str:
    """Return the text of documents, which can be printed as it is; raise UsageError when it would control a terminal or the CI.

    The text cannot be escaped: it is the document, and a Markdown page or a table has no escape sequences.
    """
    for number, line in enumerate(text.split("\n"), 1):
        shown = line.replace("\t", " ").removesuffix("\r")
        if terminal(shown) != shown:
            what = f"line {number} of the output would control the terminal or the CI that shows it: {shown[:80]}"
            raise UsageError(what, hint="write files with --to FOLDER")
    return text


def _can_write(format_name: str) -> bool:
    return isinstance(plugins.load("dialects", format_name), FileDialect)


def _file_path(name: str) -> Path:
    """Return the relative path for a document's name; `#2`, which marks the second document of a page, becomes `-2`."""
    parts = Path(name.replace("#", "-")).parts
    path = Path(*(part for part in parts if part not in ("/", "..", "")))
    is_complete = path.suffix in (".yml", ".yaml", ".csv") or path.name == "README.md"
    return path if is_complete else path.with_name(f"{path.name}.yml")


def _collections(names: Sequence[str], catalog: Catalog) -> list[str]:
    return [item.name for item in catalog.collections if not names or item.name in names]


def _find(name: str, catalog: Catalog, collections: set[str]) -> Card:
    try:
        return catalog.find(name)
    except UnknownName as error:
        if error.hint:
            raise
        known = [*(card.name for card in catalog.cards), *collections]
        raise UnknownName("model or collection", name, known) from error
