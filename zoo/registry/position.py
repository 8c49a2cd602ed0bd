"""Give the types of a place in a file: pointers, positions, marks and problems."""

from __future__ import annotations

from dataclasses import dataclass

Pointer = tuple[str | int, ...]
"""The way from a document's root to a value: keys and list positions."""


@dataclass(frozen=True, slots=True)
class Place:
    """A position in a file; line and column count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a document."""

    pointer: Pointer
    place: Place
    what: str
    hint: str = ""
    fix: tuple[str, str] | None = None
    """What mends it without a choice: ("rename", a key's name) or ("replace", the value)."""

    @property
    def key(self) -> str:
        """The RFC 6901 JSON pointer of the value."""
        return json_pointer(self.pointer)


@dataclass(frozen=True, slots=True)
class Mark:
    """Where a value stands in the text: its key's (or item's) line and column from 1, its own first and last offset."""

    line: int
    column: int
    start: int
    end: int


def json_pointer(pointer: Pointer) -> str:
    """The pointer in RFC 6901's notation."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in pointer)


def position(where: str) -> tuple[str, int, int]:
    """(file, line, column) of `file:line:column`; line and column are 1 where they are not told, file is empty for none."""
    parts = where.rsplit(":", 2)
    if len(parts) == 3 and parts[1].isdigit() and parts[2].isdigit():
        return parts[0], int(parts[1]), int(parts[2])
    return where, 1, 1
