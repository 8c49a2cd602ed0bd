"""Check the bounds of a document that JSON Schema cannot express: areas, and the size of mappings with free keys."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from zoo.registry.document import Document
from zoo.registry.position import Pointer, Problem

MAX_AREA = 64_000_000
"""Pixels of an input. A larger one does not fit the memory of the machines that evaluate image models."""
MAX_INPUT_VALUES = 4 * MAX_AREA
"""Channels x height x width of an input."""


@dataclass(frozen=True, slots=True)
class FreeBounds:
    """The bounds of a mapping with free keys. integer: whole numbers must be below this, on either side of 0."""

    depth: int
    values: int
    characters: int
    integer: int | None = None


OPTIONS = FreeBounds(depth=32, values=1000, characters=10_000, integer=2**53)
"""Builders receive these; integers of 2^53 and more are not exact in JSON (RFC 8259, section 6)."""
PROSE = FreeBounds(depth=32, values=10_000, characters=100_000)
_FREE: Mapping[str, tuple[tuple[Pointer, FreeBounds], ...]] = {
    "card": ((("builder", "options"), OPTIONS), (("training",), PROSE), (("extra",), PROSE)),
    "collection": ((("training",), PROSE), (("extra",), PROSE)),
    "dataset": ((("extra",), PROSE),),
}


def problems(document: Document, kind: str) -> Iterator[Problem]:
    """Yield what exceeds these bounds in a document that is valid under the schema of its kind."""
    data = document.data
    for pointer, bounds in _FREE.get(kind, ()):
        value: Any = data
        for part in pointer:
            value = value.get(part) if value else None
        if value and not _is_within(value, bounds):
            yield from _exceeded(document, pointer, value, bounds)
    if kind == "card":
        for pointer, size in _sizes(data):
            yield from _large_size(document, pointer, size)


def _is_within(value: Any, bounds: FreeBounds) -> bool:
    """Return whether no bound is exceeded. It looks at each value once, without its place: most cards are within."""
    level, values = [value], 0
    for _ in range(bounds.depth + 1):
        following: list[Any] = []
        for item in level:
            kind = type(item)
            if kind is dict:
                following += item.values()
                if max(map(len, item), default=0) > bounds.characters:
                    return False
            elif kind is list:
                following += item
            elif kind is str:
                if len(item) > bounds.characters:
                    return False
            elif kind is int and bounds.integer is not None and abs(item) >= bounds.integer:
                return False
        values += len(following)
        if values > bounds.values:
            return False
        if not following:
            return True
        level = following
    return False


def _sizes(data: Mapping[str, Any]) -> Iterator[tuple[Pointer, list[int]]]:
    """Yield the pointer and the value of each input size in a card."""
    if size := (data.get("input") or {}).get("size"):
        yield ("input", "size"), size
    for index, claim in enumerate((data.get("claims") or {}).get("flops") or ()):
        if size := claim.get("input"):
            yield ("claims", "flops", index, "input"), size


def _large_size(document: Document, pointer: Pointer, size: list[int]) -> Iterator[Problem]:
    channels, height, width = size
    if height * width > MAX_AREA:
        what = f"expected at most {MAX_AREA} pixels, got {height * width} ({height} x {width})"
        yield Problem(pointer, document.place(pointer), what, "correct the height and width")
    elif channels * height * width > MAX_INPUT_VALUES:
        what = f"expected at most {MAX_INPUT_VALUES} values, got {channels * height * width} ({channels} channels)"
        yield Problem(pointer, document.place(pointer), what, "write the channels first")


def _exceeded(document: Document, pointer: Pointer, value: Any, bounds: FreeBounds) -> Iterator[Problem]:
    """Yield one problem with the mapping when it exceeds a bound."""
    left = bounds.values
    waiting: list[tuple[Pointer, Any, int]] = [(pointer, value, 0)]
    while waiting:
        at, item, depth = waiting.pop()
        left -= 1
        if left < -1:  # the mapping itself is not a value
            what = f"expected at most {bounds.values} values in {pointer[-1]!r}, got more"
            yield Problem(pointer, document.place(pointer), what, "remove values")
            return
        fault = _fault(item, depth, bounds)
        if fault:
            yield Problem(at, document.place(at), fault, "correct the value")
            return
        pairs = item.items() if isinstance(item, dict) else enumerate(item) if isinstance(item, list) else ()
        waiting += [((*at, key), inner, depth + 1) for key, inner in pairs]


def _fault(item: Any, depth: int, bounds: FreeBounds) -> str:
    if isinstance(item, (dict, list)) and depth >= bounds.depth:
        return f"nested deeper than {bounds.depth} levels"
    if isinstance(item, str) and len(item) > bounds.characters:
        return f"expected at most {bounds.characters} characters, got {len(item)}"
    if isinstance(item, dict) and any(len(key) > bounds.characters for key in item):
        return f"a key has more than {bounds.characters} characters"
    is_integer = isinstance(item, int) and not isinstance(item, bool)
    if is_integer and bounds.integer is not None and abs(item) >= bounds.integer:
        return "expected a whole number below 2^53, got a larger one"
    return ""
