"""How a transfer goes on: sizes, times and failures so far -> connections, segments, blocks, waits.

Decides, and does nothing: connections and download act by it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from zoo.weights.sources import Fault, Version

LEAST_SEGMENT_BYTES = 4 << 20
"""Below this a further request costs more than it gains: a round trip of 50 ms is 4 MiB at 80 MB/s."""
MOST_SEGMENT_BYTES = 64 << 20
LEAST_BLOCK_BYTES, MOST_BLOCK_BYTES = 64 << 10, 512 << 10
"""Read at once by a connection, and lost by it when it breaks off."""
SLOW_SECONDS = 2.0
"""Several round trips anywhere, so that asking anew costs less than waiting."""
FAST_BYTES_PER_SECOND, RAMP_BYTES, RAMP_SECONDS = 250e6, 16 << 20, 0.1
"""One connection that brings so much leaves little for others to gain: disks and sha256 (1.3 GB/s of one core) are next.
It is known after so many bytes or seconds. On loopback with two cores one connection took 0.60 s for 445 MB, eight 0.70 s
(2026-11-24)."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long to go on: `tries` in a row without progress, waits that double between them, and what is a stall."""

    tries: int = 5
    first_wait_seconds: float = 1.0
    longest_wait_seconds: float = 60.0
    stall_seconds: float = 30.0


def connection_count(size_bytes: int, limit: int) -> int:
    """Connections for a file: one for each LEAST_SEGMENT_BYTES, up to the limit."""
    return max(1, min(limit, math.ceil(size_bytes / LEAST_SEGMENT_BYTES)))


def segment_bytes(left_bytes: int, connections: int) -> int:
    """How much the next connection takes of what nobody has taken yet.

    Half an equal share: segments shrink towards the end, so that all connections end together and the hash, which goes
    in order, is never far behind. Source: guided self-scheduling, Polychronopoulos and Kuck 1987, with a factor of 2.
    """
    return max(LEAST_SEGMENT_BYTES, min(MOST_SEGMENT_BYTES, left_bytes // (2 * connections)))


def block_bytes(last_bytes: int, seconds: float) -> int:
    """How much a connection reads at once, when the last block took so long.

    Large blocks cost less, small ones are sooner written: a block is to take between 10 and 100 ms.
    """
    ideal_bytes = last_bytes * 2 if seconds < 0.01 else last_bytes // 2 if seconds > 0.1 else last_bytes
    return max(LEAST_BLOCK_BYTES, min(MOST_BLOCK_BYTES, ideal_bytes))


def is_too_slow(left_bytes: int, moved_bytes: int, seconds: float) -> bool:
    """Whether an idle connection should take over half of what another is at: it would go on for SLOW_SECONDS or more.

    seconds: how long it has been at it; before a second has gone, nothing can be said.
    """
    return seconds > 1.0 and left_bytes > 2 * LEAST_BLOCK_BYTES and left_bytes * seconds > moved_bytes * SLOW_SECONDS


def wait_seconds(failures: int, fault: Fault, retry_policy: RetryPolicy, jitter: float) -> float | None:
    """How long to wait after so many failures in a row, or None to give up.

    jitter: 0 to 1. A wait that the server asks for is kept to, unless it is longer than `longest_wait_seconds`.
    Source: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/, its "equal jitter".
    """
    if not fault.is_passing or failures >= retry_policy.tries:
        return None
    if fault.wait_seconds is not None:
        return fault.wait_seconds if fault.wait_seconds <= retry_policy.longest_wait_seconds else None
    longest = min(retry_policy.longest_wait_seconds, retry_policy.first_wait_seconds * 2.0 ** (failures - 1))
    return longest * (0.5 + 0.5 * jitter)


def is_same_version(known: Version, received: Version) -> bool:
    """Whether a reply is of the version that the segments before it are of, as far as both of them tell."""
    if known.size_bytes is not None and received.size_bytes is not None and known.size_bytes != received.size_bytes:
        return False
    if known.etag and received.etag:
        return known.etag == received.etag
    return not (known.modified and received.modified) or known.modified == received.modified


def sniff_type(head: bytes) -> str:
    """What a file is instead of weights, by its first bytes; empty when it may well be weights.

    Source: https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md for the pointer, WHATWG MIME Sniffing for HTML.
    """
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not head:
        return "an empty file"
    if text.startswith(b"version https://git-lfs.github.com/spec/"):
        return "a git-lfs pointer, not the file that it stands for"
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<body", b"<script")):
        return "an HTML page"
    if text.startswith(b"<?xml"):
        return "an XML text"
    if text.startswith((b'{"error', b'{"message')):
        return "an error text in JSON"
    return ""
