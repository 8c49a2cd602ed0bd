"""The contract of a dialect: one file per foreign format, which reads documents into drafts of cards and writes cards.

A draft remembers what it was upstream, so that the importer can give it a name and a file, and that writing gives back data
equal to the source. A library that publishes models (timm, torchvision) is a dialect whose documents are its own tables.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from zoo.registry.card import Card
from zoo.registry.catalog import Catalog
from zoo.registry.position import Problem


@dataclass(frozen=True, slots=True)
class Draft:
    """A card or collection (`kind`) as its source has it, before it has a name and a file of its own.

    title: what it is called upstream. data: its fields, without `name`; `collection` is the title of one. document: the
    file it is from; line: where it begins there; index: its position among its kind. entry: the source's own data, by
    which two drafts are told to be one. frame: what the document holds besides its entries, on one of its drafts.
    is_nameless: the source gives no name, and the title was made up from where it stands.
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
    """What a source gave. `imports` are further files that it names; `problems` are why it, or a part, was not read."""

    drafts: tuple[Draft, ...] = ()
    imports: tuple[Path, ...] = ()
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file that may be a document: its text, and what it is called in messages and cards."""

    path: Path
    label: str
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class WrittenDocument:
    """A document that was written: under which name, and its text."""

    document: str
    text: str


class FileDialect(Protocol):
    """What a module in this folder offers that reads files."""

    suffixes: tuple[str, ...]

    def recognises(self, file: SourceFile) -> bool:
        """Whether the file looks like a document of this format; reading it may still find it broken."""

    def read(self, file: SourceFile) -> ReadResult:
        """The drafts in a file: all of a document's or none."""

    def write(self, cards: Sequence[Card], catalog: Catalog) -> Sequence[WrittenDocument]:
        """The documents that these cards make."""


class NamedDialect(Protocol):
    """What a module in this folder offers that reads `NAME:PATTERN`, the models that a library or a service publishes."""

    def published(self, pattern: str, results: Path | None) -> ReadResult:
        """The drafts of the models that fit the pattern; `results` is a table of measured accuracies."""
