"""Download the missing ranges of a part file from one address over several connections.

Each connection writes its segment of the file in place, while one thread hashes the part and another flushes it to the
disk. A connection that fails gives its segment back; the segment of a slow connection is split.
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
from zoo.weights.sources import Pace, Response, SourceError, Sources, StreamSource, Version, redact_url
from zoo.weights.transfer.followers import Flusher, Hasher
from zoo.weights.transfer.partial import SMALL_BYTES, Part, check_free_space
from zoo.weights.transfer.policy import (
    FAST_BYTES_PER_SECOND,
    MIN_BLOCK_BYTES,
    MIN_SEGMENT_BYTES,
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
"""From this size on the cost of allocating memory is noticeable, see zoo.runtime.malloc."""
PROGRESS_BYTES = 64 << 10
"""A try that moved so many bytes made progress, and the next failure counts as the first one."""
HEAD_BYTES = 1024
TICK_SECONDS = 0.2
TOUCH_SECONDS = 5.0
"""How often the sidecar is written although few bytes arrived, so that other processes see a live writer."""


@dataclass(frozen=True, slots=True)
class DownloadRequest:
    """A file to download. `sha256`: the digits that the card gives; with any, all addresses must have equal bytes."""

    model: str
    file: str
    urls: tuple[str, ...]
    size_bytes: int | None = None
    sha256: str = ""

    def refuse_excess(self, size_bytes: int, retry_policy: RetryPolicy, url: str) -> None:
        """Raise TooLarge when so many bytes are more than the card gives, or without that, than the policy allows."""
        most_bytes = retry_policy.max_bytes if self.size_bytes is None else self.size_bytes
        if size_bytes > most_bytes:
            raise TooLarge(
                f"the file at this address has more than {most_bytes} bytes",
                where=redact_url(url),
                hint="add size_bytes to the card, or use a larger --max-size" if self.size_bytes is None else "",
            )

    @property
    def identity(self) -> str:
        """What identifies the file among the part files: the digest, else the first address."""
        return self.sha256 or redact_url(self.urls[0])


@dataclass(frozen=True, slots=True)
class DownloadProgress:
    """How far a download is; `note` says what it is doing or waiting for, if it is not receiving bytes."""

    model: str
    file: str
    done_bytes: int
    total_bytes: int | None
    note: str = ""


@dataclass(frozen=True, slots=True)
class DownloadContext:
    """What the downloads of one run share."""

    sources: Sources
    connections: int = 8
    retry_policy: RetryPolicy = field(default_factory=RetryPolicy)
    stop: threading.Event = field(default_factory=threading.Event)
    """Set it to stop every download soon; the finished ranges are kept."""
    report_progress: Callable[[DownloadProgress], None] = lambda progress: None


class TooLarge(SourceError):
    """The file is larger than it may be. What has arrived of it is removed."""


class VersionChanged(Exception):
    """The server has another version of the file than the part."""


@dataclass(slots=True, eq=False)
class _Segment:
    """The range of one connection: from `position` up to `stop`, or to the end of the file when its size is unknown."""

    position: int
    stop: int | None
    moved_bytes: int = 0
    started: float = field(default_factory=time.monotonic)


class Connections:
    """The connections that download one version of a file from one address into a part."""

    def __init__(
        self, part: Part, source: StreamSource, url: str, request: DownloadRequest, context: DownloadContext, limit: int
    ) -> None:
        self._part, self._source, self._url, self._request, self._context = part, source, url, request, context
        self._limit = limit
        self._changed = threading.Condition()
        self._threads: list[threading.Thread] = []
        self._active: set[threading.Thread] = set()
        self._responses: set[Response] = set()
        self._is_over = False
        self._failure: BaseException | None = None
        self._note = ""
        self._in_progress: list[_Segment] = []
        self.last_error: SourceError | None = None
        size_bytes = part.size_bytes if part.size_bytes is not None else request.size_bytes
        self._pending_spans = (
            [Span(part.prefix_bytes, sys.maxsize)] if size_bytes is None else list(gaps(part.done_spans, size_bytes))
        )
        self._has_accepted = False
        self._extra_connections, self._ramp_started, self._ramp_start_bytes = 0, 0.0, 0
        self._is_one_enough = False
        self._block = MIN_BLOCK_BYTES

    def run(self) -> str:
        """Download the missing ranges and return the sha256 of the whole file, in hex.

        The calling thread reports progress and receives Ctrl-C. Raises SourceError when the address fails, WrongContent
        when the file has another size, VersionChanged, and CannotCheck when the disk fails.
        """
        if sum(span.size_bytes for span in self._pending_spans) > LARGE_BYTES:
            malloc.keep_freed()
        hasher, flusher = Hasher(self._part), Flusher(self._part)
        hasher.start()
        flusher.start()
        try:
            self._start_connections(1)
            self._watch()
            if self._failure is not None:
                raise self._failure
            self._report_progress("verifying")
            flusher.finish()
            sha256 = hasher.result()
            self._report_progress("")
            return sha256
        finally:
            self._stop()
            hasher.cancel()
            flusher.cancel()

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

    def _stop(self) -> None:
        """Stop every connection. One that waits for the server's response stops when the response arrives."""
        with self._changed:
            self._is_over = True
            self._changed.notify_all()
            for response in self._responses:
                response.interrupt()
        for thread in self._threads:
            thread.join(timeout=1.0)

    def _start_connections(self, count: int) -> None:
        with self._changed:
            for _ in range(count):
                thread = threading.Thread(target=self._work, daemon=True, name=f"fetch {self._request.file}")
                self._threads.append(thread)
                self._active.add(thread)
                thread.start()

    def _start_extra_connections(self, now: float) -> None:
        """Start more connections once it is known that the first one is slower than the machine can hash and write."""
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
        except BaseException as error:  # `run` raises it in its own thread
            with self._changed:
                self._failure = self._failure or error
                self._is_over = True
        finally:
            with self._changed:
                self._active.discard(threading.current_thread())
                self._changed.notify_all()

    def _transfer_segments(self) -> None:
        failures = 0
        while (segment := self._next_segment()) is not None:
            try:
                self._transfer(segment)
                self._put_back(segment)
                failures = 0
            except SourceError as error:
                self.last_error = error
                failures = 1 if segment.moved_bytes >= PROGRESS_BYTES else failures + 1
                self._put_back(segment)
                if not segment.moved_bytes and self._leave_to_others():
                    return
                seconds = wait_seconds(failures, error, self._context.retry_policy, random.random())
                if seconds is None:
                    raise
                self._pause(seconds, error)

    def _next_segment(self) -> _Segment | None:
        """Return the next segment in the order of the file, else half of a slow connection's; None when all are done.

        Before the server's first response only one connection is active.
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
        """Return the second half of the largest slow segment; None when no segment is slow."""
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

    def _put_back(self, segment: _Segment) -> None:
        """Give back what is left of a segment."""
        with self._changed:
            self._in_progress.remove(segment)
            stop = sys.maxsize if segment.stop is None else segment.stop
            if segment.position < stop:
                self._pending_spans.insert(0, Span(segment.position, stop))
            self._changed.notify_all()

    def _leave_to_others(self) -> bool:
        """Return whether this connection may end because others are active: the server may allow no more connections.

        It is removed in the same step, so that of several connections that fail at once the last one stays.
        """
        with self._changed:
            if len(self._active) < 2:
                return False
            self._active.discard(threading.current_thread())
            return True

    def _pause(self, seconds: float, error: SourceError) -> None:
        with self._changed:
            self._note = f"{error.what}; retrying in {seconds:.0f} s"
            self._changed.wait_for(lambda: self._is_over, seconds)
            self._note = ""

    def _transfer(self, segment: _Segment) -> None:
        response = self._open(segment)
        with self._changed:
            self._responses.add(response)
        try:
            if self._is_over:
                return
            self._accept(segment, response)
            self._copy_body(segment, response)
        finally:
            with self._changed:
                self._responses.discard(response)
            response.close()

    def _open(self, segment: _Segment) -> Response:
        stop = segment.stop
        if stop is None and self._limit > 1:
            stop = segment.position + MIN_SEGMENT_BYTES
        if segment.position == 0 and stop == self._request.size_bytes:
            stop = None  # the whole file needs no range
        stall_seconds = self._context.retry_policy.stall_seconds
        return self._source.open(
            self._url, start=segment.position, stop=stop, version=self._part.version, timeout_seconds=stall_seconds
        )

    def _accept(self, segment: _Segment, response: Response) -> None:
        """Compare a response with the request and the part. The first one gives the size and number of connections.

        Raises WrongContent for another size than the card's, VersionChanged for another version than the part's.
        """
        expected, size_bytes = self._request.size_bytes, response.version.size_bytes
        if expected is not None and size_bytes is not None and size_bytes != expected:
            raise self._wrong_size(f"{size_bytes} bytes", response)
        self._request.refuse_excess(size_bytes or 0, self._context.retry_policy, self._url)
        if not response.is_partial:
            self._accept_whole(segment, response)
            return
        if not is_same_version(self._part.version, response.version):
            raise VersionChanged
        with self._changed:
            is_first, self._has_accepted = not self._has_accepted, True
            if is_first:
                self._set_version(response.version)
                if segment.stop is None and size_bytes is not None:
                    segment.stop = min(segment.position + MIN_SEGMENT_BYTES, size_bytes)
                    self._pending_spans = [span for span in (Span(segment.stop, size_bytes),) if span.size_bytes]
                left_bytes = sum(span.size_bytes for span in self._pending_spans) + MIN_SEGMENT_BYTES
                self._extra_connections = connection_count(left_bytes, self._limit) - 1
                self._ramp_started, self._ramp_start_bytes = time.monotonic(), self._part.done_bytes

    def _accept_whole(self, segment: _Segment, response: Response) -> None:
        if self._part.done_spans:
            raise VersionChanged
        self._set_version(response.version)
        with self._changed:
            size_bytes = response.version.size_bytes
            segment.position, segment.stop = 0, self._request.size_bytes if size_bytes is None else size_bytes
            self._pending_spans.clear()

    def _set_version(self, version: Version) -> None:
        self._part.version = version
        self._part.size_bytes = version.size_bytes if version.size_bytes is not None else self._request.size_bytes
        if self._part.size_bytes is not None:
            check_free_space(self._part.path.parent, self._part.size_bytes - self._part.done_bytes)
        if self._part.size_bytes is None or self._part.size_bytes > SMALL_BYTES:
            self._part.save()

    def _copy_body(self, segment: _Segment, response: Response) -> None:
        block, policy = self._block, self._context.retry_policy
        pace = Pace(self._url, policy.slow_bytes_per_second, policy.slow_seconds)
        while not self._is_over and (segment.stop is None or segment.position < segment.stop):
            started = time.monotonic()
            data = response.read(block if segment.stop is None else min(block, segment.stop - segment.position))
            if not data or self._is_over:
                break
            now = time.monotonic()
            self._block = block = block_bytes(block, now - started)
            pace.note(len(data), now - started)
            self._request.refuse_excess(segment.position + len(data), policy, self._url)
            self._part.write(*self._advance(segment, data))
            if self._extra_connections:
                self._start_extra_connections(now)
        if self._is_over:
            return
        if segment.stop is None:
            self._part.size_bytes = segment.stop = segment.position
        elif segment.position < segment.stop:
            what = f"the response ended {segment.stop - segment.position} bytes too early"
            raise SourceError(what, where=redact_url(self._url), is_temporary=True)
        elif response.version.size_bytes is None and response.read(1):
            raise self._wrong_size(f"more than {segment.stop} bytes", response)

    def _advance(self, segment: _Segment, data: bytes) -> tuple[int, bytes]:
        """Move the segment's position. Return the offset of the data, and the data up to the segment's end.

        The end may have moved since the read, when the segment was split. No byte is written twice, so that the blocks
        hashed from memory are equal to the file.
        """
        with self._changed:
            start = segment.position
            if segment.stop is not None:
                data = data[: segment.stop - start]
            segment.position += len(data)
            segment.moved_bytes += len(data)
        return start, data

    def _wrong_size(self, size: str, response: Response) -> WrongContent:
        head = b""
        with suppress(SourceError):
            head = response.read(HEAD_BYTES) if response.start == 0 and not self._part.done_spans else b""
        kind = f" and is {sniff_type(head)}" if head and sniff_type(head) else ""
        what = f"the file at this address has {size}{kind}, the card says {self._request.size_bytes}"
        return WrongContent(what, where=redact_url(self._url), hint="correct the address or size_bytes in the card")
