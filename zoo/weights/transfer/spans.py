"""Represent the byte ranges of a file that are complete, and the blocks that were written last."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

RECENT_BYTES = 4 << 20
"""Kept in memory for the hash: reading 445 MB back from the page cache costs 0.07 s of a core (2026-11-24)."""


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """The bytes from `start` up to `stop`."""

    start: int
    stop: int

    @property
    def size_bytes(self) -> int:
        """The length of the span."""
        return self.stop - self.start


def joined(spans: Iterable[Span], new: Span) -> tuple[Span, ...]:
    """Return the spans with a new one, sorted; spans that touch or overlap become one."""
    result: list[Span] = []
    for span in sorted((*spans, new)):
        if result and span.start <= result[-1].stop:
            result[-1] = Span(result[-1].start, max(span.stop, result[-1].stop))
        elif span.size_bytes:
            result.append(span)
    return tuple(result)


def gaps(spans: Iterable[Span], size_bytes: int) -> tuple[Span, ...]:
    """Return what is missing from a file of that size. `spans` are sorted and do not touch."""
    result, position = [], 0
    for span in (*spans, Span(size_bytes, size_bytes)):
        if span.start > position:
            result.append(Span(position, span.start))
        position = span.stop
    return tuple(result)


class RecentBlocks:
    """The blocks that were written last, up to RECENT_BYTES, for a reader that goes through the file in order.

    New blocks displace the oldest ones, which the reader then finds in the page cache. Not thread-safe.
    """

    def __init__(self) -> None:
        self._blocks: dict[int, bytes] = {}
        self._size_bytes = 0

    def put(self, offset: int, block: bytes) -> None:
        """Keep the block that begins at `offset`, and drop the oldest ones if there are too many bytes."""
        self.take(offset)
        self._blocks[offset] = block
        self._size_bytes += len(block)
        while self._size_bytes > RECENT_BYTES:
            self.take(next(iter(self._blocks)))

    def take(self, offset: int) -> bytes:
        """Remove and return the block that begins at `offset`; empty when it is not kept."""
        block = self._blocks.pop(offset, b"")
        self._size_bytes -= len(block)
        return block

    def next_start(self, offset: int, stop: int) -> int:
        """Return the start of the first kept block after `offset`, at most `stop`."""
        return min((start for start in self._blocks if offset < start < stop), default=stop)
