"""One address of a file + a part -> the rest of the file in that part, brought by several connections.

They write their segments in place while one thread hashes behind them, and one has the disk take what came. A
connection that fails gives its segment back; one that is slow shares it.
"""

from __future__ import annotations

import random
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from zoo.errors import WrongContent
from zoo.runtime import malloc
from zoo.weights.sources import Fault, Reply, Sources, Streams, Version, redact_url
from zoo.weights.transfer.followers import Hashing, Syncing
from zoo.weights.transfer.partial import SMALL_BYTES, Part, check_room
from zoo.weights.transfer.policy import (
    FAST_BYTES_PER_SECOND,
    LEAST_BLOCK_BYTES,
    LEAST_SEGMENT_BYTES,
    RAMP_BYTES,
    RAMP_SECONDS,
    RetryPolicy,
    block_bytes,
    connection_count,
    is_same_version,
    is_too_slow,
    segment_bytes,
    sniff_type,
    wait_seconds,
)
from zoo.weights.transfer.spans import Span, gaps

LARGE_BYTES = 32 << 20
"""From here on what memory costs is felt, see malloc."""
PROGRESS_BYTES = 64 << 10
"""A try that brought this much did get on, and the next failure counts as the first."""
HEAD_BYTES = 1024
TICK_SECONDS = 0.2
TOUCH_SECONDS = 5.0
"""How often a sidecar is written though little came, so that its writer is known to live."""


@dataclass(frozen=True, slots=True)
class DownloadRequest:
    """A file to transfer. `identity` is the digest as far as it is known; with one, all addresses hold equal bytes."""

    model: str
    file: str
    urls: tuple[str, ...]
    size_bytes: int | None = None
    identity: str = ""

    @property
    def identity_or_url(self) -> str:
        """What part files of it are kept under: the digest, else the first address."""
        return self.identity or redact_url(self.urls[0])


@dataclass(frozen=True, slots=True)
class DownloadProgress:
    """How far a transfer is; `note` says what it waits for, if it waits."""

    model: str
    file: str
    done_bytes: int
    total_bytes: int | None
    note: str = ""


@dataclass(frozen=True, slots=True)
class DownloadContext:
    """What transfers of one run share."""

    sources: Sources
    connections: int = 8
    retry_policy: RetryPolicy = field(default_factory=RetryPolicy)
    stop: threading.Event = field(default_factory=threading.Event)
    """Set to end every transfer soon; what is done is kept."""
    report_progress: Callable[[DownloadProgress], None] = lambda progress: None


class VersionChanged(Exception):
    """The server has another version than the bytes that are here are of."""


@dataclass(slots=True, eq=False)
class _Segment:
    """What one connection is at: bytes from `position` up to `stop`, or to the end where the size is not known."""

    position: int
    stop: int | None
    moved_bytes: int = 0
    started: float = field(default_factory=time.monotonic)


class Connections:
    """The connections that bring one version of a file from one address into a part."""

    def __init__(
        self, part: Part, source: Streams, url: str, request: DownloadRequest, context: DownloadContext, limit: int
    ) -> None:
        self._part, self._source, self._url, self._request, self._context = part, source, url, request, context
        self._limit = limit
        self._changed = threading.Condition()
        self._threads: list[threading.Thread] = []
        self._active = 0
        self._replies: set[Reply] = set()
        self._is_over = False
        self._failure: BaseException | None = None
        self._note = ""
        self._in_progress: list[_Segment] = []
        self.last_fault: Fault | None = None
        size_bytes = part.size_bytes if part.size_bytes is not None else request.size_bytes
        self._pending_spans = (
            [Span(part.frontier, sys.maxsize)] if size_bytes is None else list(gaps(part.done_spans, size_bytes))
        )
        self._has_accepted = False
        self._extra_connections, self._ramp_started, self._ramp_start_bytes = 0, 0.0, 0
        self._is_one_enough = False
        self._block = LEAST_BLOCK_BYTES

    def run(self) -> str:
        """Bring what is missing; the sha256 of all of it. The calling thread tells of progress and feels Ctrl-C."""
        if sum(span.size_bytes for span in self._pending_spans) > LARGE_BYTES:
            malloc.keep_freed()
        hashing, syncing = Hashing(self._part), Syncing(self._part)
        hashing.start()
        syncing.start()
        try:
            self._start_connections(1)
            self._watch()
            if self._failure is not None:
                raise self._failure
            self._report_progress("checking")
            syncing.end()
            sha256 = hashing.finish()
            self._report_progress("")
            return sha256
        finally:
            self._end()
            hashing.abandon()
            syncing.abandon()

    def _watch(self) -> None:
        touched = time.monotonic()
        while True:
            with self._changed:
                if not self._active:
                    return
                self._changed.wait(TICK_SECONDS)
            if self._context.stop.is_set():
                raise KeyboardInterrupt
            self._report_progress(self._note)
            if self._part.done_spans and time.monotonic() - touched > TOUCH_SECONDS:
                touched = time.monotonic()
                self._part.save()

    def _report_progress(self, note: str) -> None:
        total = self._part.size_bytes if self._part.size_bytes is not None else self._request.size_bytes
        self._context.report_progress(
            DownloadProgress(self._request.model, self._request.file, self._part.done_bytes, total, note)
        )

    def _end(self) -> None:
        """Make every connection stop. One that still waits for an answer finds that all is over when it comes."""
        with self._changed:
            self._is_over = True
            self._changed.notify_all()
            for reply in self._replies:
                reply.interrupt()
        for thread in self._threads:
            thread.join(timeout=1.0)

    def _start_connections(self, count: int) -> None:
        with self._changed:
            for _ in range(count):
                thread = threading.Thread(target=self._work, daemon=True, name=f"fetch {self._request.file}")
                self._threads.append(thread)
                self._active += 1
                thread.start()

    def _start_extra_connections(self, now: float) -> None:
        """More connections, as soon as the first one alone does not bring what a machine can hash and write."""
        moved_bytes, seconds = self._part.done_bytes - self._ramp_start_bytes, now - self._ramp_started
        if moved_bytes < RAMP_BYTES and seconds < RAMP_SECONDS:
            return
        self._ramp_started, self._ramp_start_bytes = now, self._part.done_bytes
        self._is_one_enough = moved_bytes >= FAST_BYTES_PER_SECOND * seconds
        if not self._is_one_enough:
            count, self._extra_connections = self._extra_connections, 0
            self._start_connections(count)

    def _work(self) -> None:
        try:
            self._transfer_segments()
        except BaseException as error:  # carried to the thread that runs the connections, which raises it
            with self._changed:
                self._failure = self._failure or error
                self._is_over = True
        finally:
            with self._changed:
                self._active -= 1
                self._changed.notify_all()

    def _transfer_segments(self) -> None:
        failures = 0
        while (segment := self._next_segment()) is not None:
            try:
                self._transfer(segment)
                self._put_back(segment)
                failures = 0
            except Fault as fault:
                self.last_fault = fault
                failures = 1 if segment.moved_bytes >= PROGRESS_BYTES else failures + 1
                if self._put_back(segment) and not segment.moved_bytes:
                    return  # a connection too many: the others get on without it
                seconds = wait_seconds(failures, fault, self._context.retry_policy, random.random())
                if seconds is None:
                    raise
                self._pause(seconds, fault)

    def _next_segment(self) -> _Segment | None:
        """The next segment, in the order of the file, or half of what a slow connection is at; None when all is done.

        Until a server has answered, there is one taker.
        """
        with self._changed:
            while not self._is_over:
                segment = self._pop_segment() if self._pending_spans else self._split_slowest()
                if segment is not None:
                    self._in_progress.append(segment)
                    return segment
                if not self._in_progress:
                    break
                self._changed.wait(TICK_SECONDS)
            return None

    def _pop_segment(self) -> _Segment:
        span = self._pending_spans.pop(0)
        if span.stop == sys.maxsize:
            return _Segment(span.start, None)
        left_bytes = span.size_bytes + sum(pending.size_bytes for pending in self._pending_spans)
        most = left_bytes if self._limit == 1 or self._is_one_enough else segment_bytes(left_bytes, self._limit)
        if span.size_bytes > most:
            self._pending_spans.insert(0, Span(span.start + most, span.stop))
        return _Segment(span.start, min(span.stop, span.start + most))

    def _split_slowest(self) -> _Segment | None:
        """The second half of the segment that would take longest, if it is worth a request."""
        now = time.monotonic()
        slow = [
            segment
            for segment in self._in_progress
            if segment.stop is not None
            and is_too_slow(segment.stop - segment.position, segment.moved_bytes, now - segment.started)
        ]
        if not slow:
            return None
        segment = max(slow, key=lambda segment: (segment.stop or 0) - segment.position)
        stop = segment.stop
        segment.stop = middle = (segment.position + (stop or 0)) // 2
        return _Segment(middle, stop)

    def _put_back(self, segment: _Segment) -> bool:
        """Put what is left of a segment back; says whether there are other connections."""
        with self._changed:
            self._in_progress.remove(segment)
            stop = sys.maxsize if segment.stop is None else segment.stop
            if segment.position < stop:
                self._pending_spans.insert(0, Span(segment.position, stop))
            self._changed.notify_all()
            return self._active > 1

    def _pause(self, seconds: float, fault: Fault) -> None:
        with self._changed:
            self._note = f"{fault.what}; again in {seconds:.0f} s"
            self._changed.wait_for(lambda: self._is_over, seconds)
            self._note = ""

    def _transfer(self, segment: _Segment) -> None:
        reply = self._open(segment)
        with self._changed:
            self._replies.add(reply)
        try:
            if self._is_over:
                return
            self._accept(segment, reply)
            self._copy_body(segment, reply)
        finally:
            with self._changed:
                self._replies.discard(reply)
            reply.close()

    def _open(self, segment: _Segment) -> Reply:
        stop = segment.stop
        if stop is None and self._limit > 1:
            stop = segment.position + LEAST_SEGMENT_BYTES
        if segment.position == 0 and stop == self._request.size_bytes:
            stop = None  # all of it: no range needed
        stall_seconds = self._context.retry_policy.stall_seconds
        return self._source.open(
            self._url, start=segment.position, stop=stop, version=self._part.version, timeout_seconds=stall_seconds
        )

    def _accept(self, segment: _Segment, reply: Reply) -> None:
        """Hold a reply against what is known; the first one says how large the file is and how many may help."""
        expected, size_bytes = self._request.size_bytes, reply.version.size_bytes
        if expected is not None and size_bytes is not None and size_bytes != expected:
            raise self._wrong_size(f"{size_bytes} bytes", reply)
        if not reply.is_partial:
            self._accept_whole(segment, reply)
            return
        if not is_same_version(self._part.version, reply.version):
            raise VersionChanged
        with self._changed:
            is_first, self._has_accepted = not self._has_accepted, True
            if is_first:
                self._set_version(reply.version)
                if segment.stop is None and size_bytes is not None:
                    segment.stop = min(segment.position + LEAST_SEGMENT_BYTES, size_bytes)
                    self._pending_spans = [span for span in (Span(segment.stop, size_bytes),) if span.size_bytes]
                left_bytes = sum(span.size_bytes for span in self._pending_spans) + LEAST_SEGMENT_BYTES
                self._extra_connections = connection_count(left_bytes, self._limit) - 1
                self._ramp_started, self._ramp_start_bytes = time.monotonic(), self._part.done_bytes

    def _accept_whole(self, segment: _Segment, reply: Reply) -> None:
        if self._part.done_spans:
            raise VersionChanged
        self._set_version(reply.version)
        with self._changed:
            size_bytes = reply.version.size_bytes
            segment.position, segment.stop = 0, self._request.size_bytes if size_bytes is None else size_bytes
            self._pending_spans.clear()

    def _set_version(self, version: Version) -> None:
        self._part.version = version
        self._part.size_bytes = version.size_bytes if version.size_bytes is not None else self._request.size_bytes
        if self._part.size_bytes is not None:
            check_room(self._part.path.parent, self._part.size_bytes - self._part.done_bytes)
        if self._part.size_bytes is None or self._part.size_bytes > SMALL_BYTES:
            self._part.save()

    def _copy_body(self, segment: _Segment, reply: Reply) -> None:
        block = self._block
        while not self._is_over and (segment.stop is None or segment.position < segment.stop):
            started = time.monotonic()
            data = reply.read(block if segment.stop is None else min(block, segment.stop - segment.position))
            if not data or self._is_over:
                break
            now = time.monotonic()
            self._block = block = block_bytes(block, now - started)
            self._part.write(*self._advance(segment, data))
            if self._extra_connections:
                self._start_extra_connections(now)
        if self._is_over:
            return
        if segment.stop is None:
            self._part.size_bytes = segment.stop = segment.position
        elif segment.position < segment.stop:
            what = f"the body ended {segment.stop - segment.position} bytes too early"
            raise Fault(what, where=redact_url(self._url), is_passing=True)
        elif reply.version.size_bytes is None and reply.read(1):
            raise self._wrong_size(f"more than {segment.stop} bytes", reply)

    def _advance(self, segment: _Segment, data: bytes) -> tuple[int, bytes]:
        """Where the data go, and as much of them as the segment still has: its end may have become another's meanwhile.

        No byte is written twice, so that what is hashed from memory is what the file has.
        """
        with self._changed:
            start = segment.position
            if segment.stop is not None:
                data = data[: segment.stop - start]
            segment.position += len(data)
            segment.moved_bytes += len(data)
        return start, data

    def _wrong_size(self, size: str, reply: Reply) -> WrongContent:
        head = b""
        with suppress(Fault):
            head = reply.read(HEAD_BYTES) if reply.start == 0 and not self._part.done_spans else b""
        it_is = f" and is {sniff_type(head)}" if head and sniff_type(head) else ""
        what = f"the file there has {size}{it_is}, the card says {self._request.size_bytes}"
        return WrongContent(what, where=redact_url(self._url), hint="correct the address or size_bytes in the card")
