"""Decide how a download goes on: number of connections, sizes of requests and blocks, waits between retries.

The functions are pure: connections and download act on their results.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from zoo.weights.sources import LEAST_BYTES_PER_SECOND, LEAST_SECONDS, SourceError, Version

MIN_SEGMENT_BYTES = 4 << 20
"""Below this size one more request costs more than it saves: a round trip of 50 ms is 4 MiB at 80 MB/s."""
MAX_SEGMENT_BYTES = 64 << 20
MIN_BLOCK_BYTES, MAX_BLOCK_BYTES = 64 << 10, 512 << 10
"""The size of one read of a connection, which is lost when the connection breaks off."""
SLOW_SECONDS = 2.0
"""Several round trips on any network, so a new request costs less than waiting."""
FAST_BYTES_PER_SECOND, RAMP_BYTES, RAMP_SECONDS = 250e6, 16 << 20, 0.1
"""A first connection of this speed is enough: the disk and sha256 (1.3 GB/s of one core) are the next limits. The speed
is measured after so many bytes or seconds. On loopback with two cores one connection took 0.60 s for 445 MB, eight took
0.70 s (2026-11-24)."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When a download gives up: after `tries` failures in a row without progress.

    The waits between the tries double, from `first_wait_seconds` up to `longest_wait_seconds`. A connection stalls when
    no byte arrives for `stall_seconds`, or fewer than `slow_bytes_per_second` in `slow_seconds`. max_bytes: the most bytes
    of a file whose size the card does not give.
    """

    tries: int = 5
    first_wait_seconds: float = 1.0
    longest_wait_seconds: float = 60.0
    stall_seconds: float = 30.0
    slow_bytes_per_second: float = LEAST_BYTES_PER_SECOND
    slow_seconds: float = LEAST_SECONDS
    max_bytes: int = 20_000_000_000


def connection_count(size_bytes: int, limit: int) -> int:
    """Return the number of connections for a file: one for each MIN_SEGMENT_BYTES, up to the limit."""
    return max(1, min(limit, math.ceil(size_bytes / MIN_SEGMENT_BYTES)))


def segment_bytes(left_bytes: int, connections: int) -> int:
    """Return the size of the next segment, where `left_bytes` are not assigned to a connection yet.

    It is half an equal share: segments shrink towards the end, so that all connections finish together and the hash,
    which is computed in order, is never far behind. Source: guided self-scheduling, Polychronopoulos and Kuck 1987,
    with a factor of 2.
    """
    return max(MIN_SEGMENT_BYTES, min(MAX_SEGMENT_BYTES, left_bytes // (2 * connections)))


def block_bytes(last_bytes: int, seconds: float) -> int:
    """Return the size of a connection's next read, when its last read of `last_bytes` took so many seconds.

    Large blocks cost less, small ones are written sooner: a block should take between 10 and 100 ms.
    """
    ideal_bytes = last_bytes * 2 if seconds < 0.01 else last_bytes // 2 if seconds > 0.1 else last_bytes
    return max(MIN_BLOCK_BYTES, min(MAX_BLOCK_BYTES, ideal_bytes))


def is_too_slow(left_bytes: int, moved_bytes: int, seconds: float) -> bool:
    """Return whether an idle connection should take over half of another's segment.

    That is when the other connection needs SLOW_SECONDS or more for the rest. seconds: how long it has worked on the
    segment; the first second is too short to judge.
    """
    return seconds > 1.0 and left_bytes > 2 * MIN_BLOCK_BYTES and left_bytes * seconds > moved_bytes * SLOW_SECONDS


def wait_seconds(failures: int, error: SourceError, retry_policy: RetryPolicy, jitter: float) -> float | None:
    """Return how long to wait after so many failures in a row, or None to give up.

    jitter: 0 to 1. A wait that the server asks for is respected, up to `longest_wait_seconds`; a longer one gives up.
    Source: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/, its "equal jitter".
    """
    if not error.is_temporary or failures >= retry_policy.tries:
        return None
    if error.wait_seconds is not None:
        return error.wait_seconds if error.wait_seconds <= retry_policy.longest_wait_seconds else None
    longest = min(retry_policy.longest_wait_seconds, retry_policy.first_wait_seconds * 2.0 ** (failures - 1))
    return longest * (0.5 + 0.5 * jitter)


def is_same_version(known: Version, received: Version) -> bool:
    """Return whether a response has the same version of the file as the earlier ones, as far as both versions say."""
    if known.size_bytes is not None and received.size_bytes is not None and known.size_bytes != received.size_bytes:
        return False
    if known.etag and received.etag:
        return known.etag == received.etag
    return not (known.modified and received.modified) or known.modified == received.modified


def sniff_type(head: bytes) -> str:
    """Return what a file is, by its first bytes, when it is certainly not weights; else an empty string.

    Source: https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md for the pointer, WHATWG MIME Sniffing for HTML.
    """
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not head:
        return "an empty file"
    if text.startswith(b"version https://git-lfs.github.com/spec/"):
        return "a git-lfs pointer"
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<body", b"<script")):
        return "an HTML page"
    if text.startswith(b"<?xml"):
        return "an XML document"
    if text.startswith((b'{"error', b'{"message')):
        return "a JSON error message"
    return ""
