"""The decisions of a transfer, without disk or network: how many connections, how large pieces, when to give up."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoo.weights.sources import Fault, Version
from zoo.weights.transfer.partial import SILENT_SECONDS, Writer, writer_state
from zoo.weights.transfer.policy import (
    LEAST_SEGMENT_BYTES,
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
PASSING = Fault("x", is_passing=True)


@pytest.mark.parametrize(
    ("size_bytes", "limit", "count"), [(0, 8, 1), (MIB, 8, 1), (9 * MIB, 8, 3), (1 << 40, 8, 8), (1 << 40, 1, 1)]
)
def test_a_connection_for_each_piece_up_to_the_limit(size_bytes: int, limit: int, count: int) -> None:
    assert connection_count(size_bytes, limit) == count


def test_pieces_are_half_an_equal_share_within_bounds() -> None:
    assert [segment_bytes(left, 4) for left in (1 << 40, 128 * MIB, MIB)] == [64 * MIB, 16 * MIB, LEAST_SEGMENT_BYTES]


def test_blocks_grow_while_they_are_quick_and_shrink_when_they_are_not() -> None:
    assert block_bytes(128 << 10, 0.001) == 256 << 10
    assert block_bytes(128 << 10, 0.05) == 128 << 10
    assert block_bytes(128 << 10, 0.5) == 64 << 10
    assert (block_bytes(64 << 10, 9), block_bytes(512 << 10, 0)) == (64 << 10, 512 << 10)


@pytest.mark.parametrize(
    ("left_bytes", "moved_bytes", "seconds", "too_slow"),
    [(8 * MIB, MIB, 2.0, True), (8 * MIB, 8 * MIB, 2.0, False), (8 * MIB, 0, 0.5, False), (8 * MIB, 0, 5.0, True), (9, 0, 5.0, False)],
)  # fmt: skip
def test_half_is_taken_from_a_connection_that_would_go_on_for_long(
    left_bytes: int, moved_bytes: int, seconds: float, too_slow: bool
) -> None:
    assert is_too_slow(left_bytes, moved_bytes, seconds) is too_slow


def test_waits_double_and_end_with_the_tries() -> None:
    retry_policy = RetryPolicy(tries=5, first_wait_seconds=1, longest_wait_seconds=5)
    waits = [wait_seconds(failures, PASSING, retry_policy, jitter=1.0) for failures in range(1, 6)]
    assert waits == [1, 2, 4, 5, None]
    assert wait_seconds(2, PASSING, retry_policy, jitter=0.0) == 1


def test_what_does_not_pass_is_not_waited_for() -> None:
    assert wait_seconds(1, Fault("404"), RetryPolicy(), jitter=1.0) is None


def test_a_servers_wish_is_kept_to_within_bounds() -> None:
    wish = Fault("429", is_passing=True, wait_seconds=17)
    assert wait_seconds(1, wish, RetryPolicy(longest_wait_seconds=60), jitter=0.0) == 17
    assert wait_seconds(1, wish, RetryPolicy(longest_wait_seconds=10), jitter=0.0) is None


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
def test_two_replies_are_of_one_version(known: Version, received: Version, same: bool) -> None:
    assert is_same_version(known, received) is same


@pytest.mark.parametrize(
    ("head", "what"),
    [
        (b"", "an empty file"),
        (b"\xef\xbb\xbf\r\n <!DOCTYPE HTML>", "an HTML page"),
        (b"<html lang=en>", "an HTML page"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:00",
            "a git-lfs pointer, not the file that it stands for",
        ),
        (b"<?xml version='1.0'?><Error>AccessDenied", "an XML text"),
        (b'{"error":"not found"}', "an error text in JSON"),
        (b"PK\x03\x04", ""),
        (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19", ""),
        (b'\x40\x00\x00\x00\x00\x00\x00\x00{"__metadata__":', ""),
    ],
)
def test_what_a_file_looks_like(head: bytes, what: str) -> None:
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
def test_whether_a_writer_is_still_at_it(writer: Writer, silent_seconds: float, is_running: bool, state: str) -> None:
    assert writer_state(writer, THIS_PROCESS, silent_seconds, is_running) == state


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 20)), max_size=12))
def test_what_is_there_and_what_is_missing_make_the_whole(pieces: list[tuple[int, int]]) -> None:
    done: tuple[Span, ...] = ()
    for start, size in pieces:
        done = joined(done, Span(start, start + size))
    missing = gaps(done, 80)
    present = {byte for start, size in pieces for byte in range(start, start + size)}
    assert {byte for span in done for byte in range(span.start, span.stop)} == present
    assert {byte for span in missing for byte in range(span.start, span.stop)} == set(range(80)) - present
    assert all(a.stop < b.start for a, b in itertools.pairwise(done))


def test_the_last_blocks_are_in_memory_and_the_older_ones_only_in_the_file() -> None:
    recent_blocks = RecentBlocks()
    size = RECENT_BYTES // 4
    for number in range(6):
        recent_blocks.put(number * size, bytes([number]) * size)
    assert recent_blocks.take(0) == recent_blocks.take(size) == b""
    assert recent_blocks.before(0, 100 * size) == 2 * size
    assert recent_blocks.before(0, size) == size
    assert recent_blocks.take(2 * size) == b"\2" * size
    assert recent_blocks.take(2 * size) == b""
    recent_blocks.put(6 * size, b"6" * size)
    assert recent_blocks.take(3 * size) == b"\3" * size  # there was room


@given(st.permutations(range(24)))
def test_who_reads_in_order_misses_nothing_whatever_came_first(order: list[int]) -> None:
    size = RECENT_BYTES // 8
    file = b"".join(bytes([number]) * size for number in range(24))
    recent_blocks = RecentBlocks()
    for number in order:
        recent_blocks.put(number * size, file[number * size :][:size])
    content = b""
    while len(content) < len(file):
        content += (
            recent_blocks.take(len(content))
            or file[len(content) : recent_blocks.before(len(content), len(content) + 3 * size)]
        )
    assert content == file
