"""The decisions of a download, without disk or network: number of connections, sizes, waits and retries."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.weights.sources import SourceError, Version
from zoo.weights.transfer.partial import SILENT_SECONDS, Writer, writer_state
from zoo.weights.transfer.policy import (
    MIN_SEGMENT_BYTES,
    RetryPolicy,
    block_bytes,
    connection_count,
    is_same_version,
    is_too_slow,
    segment_bytes,
    sniff_type,
    wait_seconds,
)
from zoo.weights.transfer.spans import RECENT_BYTES, RecentBlocks, Span, gaps, joined

MIB = 1 << 20
TEMPORARY = SourceError("x", is_temporary=True)


@pytest.mark.parametrize(
    ("size_bytes", "limit", "count"), [(0, 8, 1), (MIB, 8, 1), (9 * MIB, 8, 3), (1 << 40, 8, 8), (1 << 40, 1, 1)]
)
def test_there_is_a_connection_for_each_segment_up_to_the_limit(size_bytes: int, limit: int, count: int) -> None:
    assert connection_count(size_bytes, limit) == count


def test_segments_are_half_an_equal_share_within_bounds() -> None:
    assert [segment_bytes(left, 4) for left in (1 << 40, 128 * MIB, MIB)] == [64 * MIB, 16 * MIB, MIN_SEGMENT_BYTES]


def test_blocks_grow_when_reads_are_fast_and_shrink_when_they_are_slow() -> None:
    assert block_bytes(128 << 10, 0.001) == 256 << 10
    assert block_bytes(128 << 10, 0.05) == 128 << 10
    assert block_bytes(128 << 10, 0.5) == 64 << 10
    assert (block_bytes(64 << 10, 9), block_bytes(512 << 10, 0)) == (64 << 10, 512 << 10)


@pytest.mark.parametrize(
    ("left_bytes", "moved_bytes", "seconds", "too_slow"),
    [(8 * MIB, MIB, 2.0, True), (8 * MIB, 8 * MIB, 2.0, False), (8 * MIB, 0, 0.5, False), (8 * MIB, 0, 5.0, True), (9, 0, 5.0, False)],
)  # fmt: skip
def test_a_segment_is_split_when_its_connection_needs_long_for_the_rest(
    left_bytes: int, moved_bytes: int, seconds: float, too_slow: bool
) -> None:
    assert is_too_slow(left_bytes, moved_bytes, seconds) is too_slow


def test_waits_double_until_the_tries_are_used_up() -> None:
    retry_policy = RetryPolicy(tries=5, first_wait_seconds=1, longest_wait_seconds=5)
    waits = [wait_seconds(failures, TEMPORARY, retry_policy, jitter=1.0) for failures in range(1, 6)]
    assert waits == [1, 2, 4, 5, None]
    assert wait_seconds(2, TEMPORARY, retry_policy, jitter=0.0) == 1


def test_a_permanent_error_is_not_retried() -> None:
    assert wait_seconds(1, SourceError("404"), RetryPolicy(), jitter=1.0) is None


def test_the_servers_wait_is_respected_up_to_the_limit() -> None:
    asked = SourceError("429", is_temporary=True, wait_seconds=17)
    assert wait_seconds(1, asked, RetryPolicy(longest_wait_seconds=60), jitter=0.0) == 17
    assert wait_seconds(1, asked, RetryPolicy(longest_wait_seconds=10), jitter=0.0) is None


@pytest.mark.parametrize(
    ("known", "received", "same"),
    [
        (Version(5, '"a"'), Version(5, '"a"'), True),
        (Version(5, '"a"'), Version(5, '"b"'), False),
        (Version(5), Version(6), False),
        (Version(None), Version(6, '"a"'), True),
        (Version(5, '"a"', "Mon"), Version(5, '"a"', "Tue"), True),
        (Version(5, "", "Mon"), Version(5, "", "Tue"), False),
        (Version(5, '"a"'), Version(5, "", "Tue"), True),
    ],
)
def test_two_responses_have_the_same_version(known: Version, received: Version, same: bool) -> None:
    assert is_same_version(known, received) is same


@pytest.mark.parametrize(
    ("head", "what"),
    [
        (b"", "an empty file"),
        (b"\xef\xbb\xbf\r\n <!DOCTYPE HTML>", "an HTML page"),
        (b"<html lang=en>", "an HTML page"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:00",
            "a git-lfs pointer",
        ),
        (b"<?xml version='1.0'?><Error>AccessDenied", "an XML document"),
        (b'{"error":"not found"}', "a JSON error message"),
        (b"PK\x03\x04", ""),
        (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19", ""),
        (b'\x40\x00\x00\x00\x00\x00\x00\x00{"__metadata__":', ""),
    ],
)
def test_the_type_of_a_file_is_recognised(head: bytes, what: str) -> None:
    assert sniff_type(head) == what


THIS_PROCESS = Writer("this machine", 100)


@pytest.mark.parametrize(
    ("writer", "silent_seconds", "is_running", "state"),
    [
        (Writer("this machine", 7), 0, False, "gone"),
        (Writer("this machine", 7), 0, True, "live"),
        (Writer("this machine", 7), SILENT_SECONDS + 1, True, "silent"),
        (Writer("another", 7), 0, False, "live"),
        (Writer("another", 7), SILENT_SECONDS + 1, False, "silent"),
        (Writer("another", 0), 0, False, "gone"),
    ],
)
def test_the_state_of_a_writer(writer: Writer, silent_seconds: float, is_running: bool, state: str) -> None:
    assert writer_state(writer, THIS_PROCESS, silent_seconds, is_running) == state


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 20)), max_size=12))
def test_spans_and_gaps_cover_the_file(pieces: list[tuple[int, int]]) -> None:
    done: tuple[Span, ...] = ()
    for start, size in pieces:
        done = joined(done, Span(start, start + size))
    missing = gaps(done, 80)
    present = {byte for start, size in pieces for byte in range(start, start + size)}
    assert {byte for span in done for byte in range(span.start, span.stop)} == present
    assert {byte for span in missing for byte in range(span.start, span.stop)} == set(range(80)) - present
    assert all(a.stop < b.start for a, b in itertools.pairwise(done))


def test_only_the_last_blocks_are_kept_in_memory() -> None:
    recent_blocks = RecentBlocks()
    size = RECENT_BYTES // 4
    for number in range(6):
        recent_blocks.put(number * size, bytes([number]) * size)
    assert recent_blocks.take(0) == recent_blocks.take(size) == b""
    assert recent_blocks.next_start(0, 100 * size) == 2 * size
    assert recent_blocks.next_start(0, size) == size
    assert recent_blocks.take(2 * size) == b"\2" * size
    assert recent_blocks.take(2 * size) == b""
    recent_blocks.put(6 * size, b"6" * size)
    assert recent_blocks.take(3 * size) == b"\3" * size  # it was not displaced


@settings(deadline=None)  # it copies 24 MiB, which takes long on a busy machine
@given(st.permutations(range(24)))
def test_a_reader_in_order_gets_every_byte_whatever_the_order_of_writing(order: list[int]) -> None:
    size = RECENT_BYTES // 8
    file = b"".join(bytes([number]) * size for number in range(24))
    recent_blocks = RecentBlocks()
    for number in order:
        recent_blocks.put(number * size, file[number * size :][:size])
    content = b""
    while len(content) < len(file):
        content += (
            recent_blocks.take(len(content))
            or file[len(content) : recent_blocks.next_start(len(content), len(content) + 3 * size)]
        )
    assert content == file
