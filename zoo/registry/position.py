"""Define the types for places in a file: pointers, places, marks and problems."""

from __future__ import annotations

from dataclasses import dataclass

LONG = 80
"""Characters of a value or key in a message."""
Pointer = tuple[str | int, ...]
"""The path from a document's root to a value: keys and list indexes."""


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
    """The only possible correction, if there is one: ("rename", the key's name) or ("replace", the value)."""

    @property
    def key(self) -> str:
        """The RFC 6901 JSON pointer of the value; long keys are cut."""
        return json_pointer(tuple(shortened(part) if isinstance(part, str) else part for part in self.pointer))


@dataclass(frozen=True, slots=True)
class Mark:
    """The position of a value in the text: line and column of its key (or item) from 1; offsets of its own start and end."""

    line: int
    column: int
    start: int
    end: int


def json_pointer(pointer: Pointer) -> str:
    """Return the pointer in the notation of RFC 6901."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in pointer)


def shortened(text: str) -> str:
    """Return the text, cut to LONG characters."""
    return text if len(text) <= LONG else f"{text[: LONG - 3]}..."


def position(where: str) -> tuple[str, int, int]:
    """Split `file:line:column` into its three parts. Line and column are 1 when they are missing; file may be empty."""
    parts = where.rsplit(":", 2)
    if len(parts) == 3 and all(part.isdecimal() and len(part) < LONG for part in parts[1:]):
        return parts[0], int(parts[1]), int(parts[2])
    return where, 1, 1
