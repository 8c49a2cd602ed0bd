"""Define the contract of a dialect: one module per foreign format, which reads documents into drafts and writes cards.

A draft keeps its place and name in the source. The importer needs them to give it a name and a file, and the writer to give
back data equal to the source. A library that publishes models (timm, torchvision) is a dialect without files.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from zoo.registry.card import Card
from zoo.registry.catalog import Catalog
from zoo.registry.position import Problem


@dataclass(frozen=True, slots=True)
class Draft:
    """A card or collection as its source describes it, before it has a name and a file in the zoo.

    kind: `card` or `collection`. title: its name in the source. data: its fields, without `name`; `collection` is a title.
    document, line: the file and line where it begins. index: its position among the drafts of its kind. entry: the source's
    own data; drafts with the same title and entry become one card. frame: the document without its entries, on the first of
    its drafts. is_nameless: the source has no name, and the title is made from the place.
    """

    kind: str
    title: str
    data: Mapping[str, Any]
    document: str
    line: int
    index: int
    entry: Any
    frame: Mapping[str, Any] | None = None
    is_nameless: bool = False


@dataclass(frozen=True, slots=True)
class ReadResult:
    """The result of reading a source. imports: further files that it names. problems: why it, or a part of it, was not read."""

    drafts: tuple[Draft, ...] = ()
    imports: tuple[Path, ...] = ()
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file that can be a document, with its text. label: its name in messages and cards."""

    path: Path
    label: str
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class WrittenDocument:
    """The text of a document to write, and the document's name."""

    document: str
    text: str


@runtime_checkable
class FileDialect(Protocol):
    """A module in this folder that reads and writes files."""

    @property
    def suffixes(self) -> tuple[str, ...]:
        """The suffixes of files of this format, in lower case with their dot."""

    @property
    def only_if_asked(self) -> bool:
        """Whether files are read only when the user names them, not when they are found in a folder."""

    def recognises(self, file: SourceFile) -> bool:
        """Return whether the file looks like a document of this format; it can still have problems."""

    def read(self, file: SourceFile) -> ReadResult:
        """Return the drafts in a file; a document with a problem gives no drafts."""

    def write(self, cards: Sequence[Card], catalog: Catalog) -> Sequence[WrittenDocument]:
        """Return the documents of these cards. Imported cards give back the data of their source."""


@runtime_checkable
class CollectionDialect(Protocol):
    """A module in this folder whose documents can hold collections without models."""

    def of_collections(self, names: Iterable[str], catalog: Catalog) -> Sequence[WrittenDocument]:
        """Return the documents that hold these collections and no models."""


@runtime_checkable
class NamedDialect(Protocol):
    """A module in this folder that reads `NAME:PATTERN`, the models that a library or a service publishes."""

    def published(self, pattern: str, results: Path | None) -> ReadResult:
        """Return the drafts of the models that match the pattern. results: a CSV of measured accuracies, or None."""
