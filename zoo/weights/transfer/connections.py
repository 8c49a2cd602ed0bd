"""One address of a file + a part -> the rest of the file in that part, brought by several connections.

They write their pieces in place while one thread hashes behind them, and one has the disk take what came. A connection
that fails gives its piece back; one that is slow shares it.
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
from zoo.weights.sources import Fault, Reply, Sources, Streams, Version, shown
from zoo.weights.transfer.followers import Hashing, Syncing
from zoo.weights.transfer.partial import SMALL_BYTES, Part, check_room
from zoo.weights.transfer.policy import (
    FAST_BYTES_PER_SECOND,
    LEAST_BLOCK_BYTES,
    LEAST_PIECE_BYTES,
    RAMP_BYTES,
    RAMP_SECONDS,
    RetryPolicy,
    appearance,
    block_bytes,
    connection_count,
    is_same,
    is_too_slow,
    piece_bytes,
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
    def known_by(self) -> str:
        """What part files of it are kept under: the digest, else the first address."""
        return self.identity or shown(self.urls[0])


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
    patience: RetryPolicy = field(default_factory=RetryPolicy)
    stop: threading.Event = field(default_factory=threading.Event)
    """Set to end every transfer soon; what is done is kept."""
    tell: Callable[[DownloadProgress], None] = lambda progress: None


class Changed(Exception):
    """The server has another version than the bytes that are here are of."""


@dataclass(slots=True, eq=False)
class _Piece:
    """What one connection is at: bytes from `position` up to `stop`, or to the end where the size is not known."""

    position: int
    stop: int | None
    moved_bytes: int = 0
    begun: float = field(default_factory=time.monotonic)


class Connections:
    """The connections that bring one version of a file from one address into a part."""

    def __init__(
        self, part: Part, source: Streams, url: str, wanted: DownloadRequest, means: DownloadContext, connections: int
    ) -> None:
        self._part, self._source, self._url, self._wanted, self._means = part, source, url, wanted, means
        self._connections = connections
        self._changed = threading.Condition()
        self._threads: list[threading.Thread] = []
        self._active = 0
        self._replies: set[Reply] = set()
        self._is_over = False
        self._failure: BaseException | None = None
        self._note = ""
        self._under_way: list[_Piece] = []
        self.last_fault: Fault | None = None
        size_bytes = part.size_bytes if part.size_bytes is not None else wanted.size_bytes
        self._todo = [Span(part.frontier, sys.maxsize)] if size_bytes is None else list(gaps(part.done, size_bytes))
        self._is_admitted = False
        self._reserve, self._begun, self._begun_bytes = 0, 0.0, 0
        self._is_enough = False
        self._block = LEAST_BLOCK_BYTES

    def run(self) -> str:
        """Bring what is missing; the sha256 of all of it. The calling thread tells of progress and feels Ctrl-C."""
        if sum(span.size_bytes for span in self._todo) > LARGE_BYTES:
            malloc.keep_freed()
        hashing, syncing = Hashing(self._part), Syncing(self._part)
        hashing.start()
        syncing.start()
        try:
            self._hire(1)
            self._watch()
            if self._failure is not None:
                raise self._failure
            self._tell("checking")
            syncing.end()
            sha256 = hashing.finish()
            self._tell("")
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
            if self._means.stop.is_set():
                raise KeyboardInterrupt
            self._tell(self._note)
            if self._part.done and time.monotonic() - touched > TOUCH_SECONDS:
                touched = time.monotonic()
                self._part.save()

    def _tell(self, note: str) -> None:
        total = self._part.size_bytes if self._part.size_bytes is not None else self._wanted.size_bytes
        self._means.tell(DownloadProgress(self._wanted.model, self._wanted.file, self._part.done_bytes, total, note))

    def _end(self) -> None:
        """Make every connection stop. One that still waits for an answer finds that all is over when it comes."""
        with self._changed:
            self._is_over = True
            self._changed.notify_all()
            for reply in self._replies:
                reply.interrupt()
        for thread in self._threads:
            thread.join(timeout=1.0)

    def _hire(self, count: int) -> None:
        with self._changed:
            for _ in range(count):
                thread = threading.Thread(target=self._work, daemon=True, name=f"fetch {self._wanted.file}")
                self._threads.append(thread)
                self._active += 1
                thread.start()

    def _call_reserve(self, now: float) -> None:
        """More connections, as soon as the first one alone does not bring what a machine can hash and write."""
        moved_bytes, seconds = self._part.done_bytes - self._begun_bytes, now - self._begun
        if moved_bytes < RAMP_BYTES and seconds < RAMP_SECONDS:
            return
        self._begun, self._begun_bytes = now, self._part.done_bytes
        self._is_enough = moved_bytes >= FAST_BYTES_PER_SECOND * seconds
        if not self._is_enough:
            count, self._reserve = self._reserve, 0
            self._hire(count)

    def _work(self) -> None:
        try:
            self._move_pieces()
        except BaseException as error:  # carried to the thread that runs the crew, which raises it
            with self._changed:
                self._failure = self._failure or error
                self._is_over = True
        finally:
            with self._changed:
                self._active -= 1
                self._changed.notify_all()

    def _move_pieces(self) -> None:
        failures = 0
        while (piece := self._take()) is not None:
            try:
                self._move(piece)
                self._give_back(piece)
                failures = 0
            except Fault as fault:
                self.last_fault = fault
                failures = 1 if piece.moved_bytes >= PROGRESS_BYTES else failures + 1
                if self._give_back(piece) and not piece.moved_bytes:
                    return  # a connection too many: the others get on without it
                seconds = wait_seconds(failures, fault, self._means.patience, random.random())
                if seconds is None:
                    raise
                self._pause(seconds, fault)

    def _take(self) -> _Piece | None:
        """The next piece, in the order of the file, or half of what a slow connection is at; None when all is done.

        Until a server has answered, there is one taker.
        """
        with self._changed:
            while not self._is_over:
                piece = self._next() if self._todo else self._half()
                if piece is not None:
                    self._under_way.append(piece)
                    return piece
                if not self._under_way:
                    break
                self._changed.wait(TICK_SECONDS)
            return None

    def _next(self) -> _Piece:
        span = self._todo.pop(0)
        if span.stop == sys.maxsize:
            return _Piece(span.start, None)
        left_bytes = span.size_bytes + sum(other.size_bytes for other in self._todo)
        most = left_bytes if self._connections == 1 or self._is_enough else piece_bytes(left_bytes, self._connections)
        if span.size_bytes > most:
            self._todo.insert(0, Span(span.start + most, span.stop))
        return _Piece(span.start, min(span.stop, span.start + most))

    def _half(self) -> _Piece | None:
        """The second half of the piece that would take longest, if it is worth a request."""
        now = time.monotonic()
        slow = [
            piece
            for piece in self._under_way
            if piece.stop is not None and is_too_slow(piece.stop - piece.position, piece.moved_bytes, now - piece.begun)
        ]
        if not slow:
            return None
        piece = max(slow, key=lambda piece: (piece.stop or 0) - piece.position)
        stop = piece.stop
        piece.stop = middle = (piece.position + (stop or 0)) // 2
        return _Piece(middle, stop)

    def _give_back(self, piece: _Piece) -> bool:
        """Put what is left of a piece back; says whether there are other connections."""
        with self._changed:
            self._under_way.remove(piece)
            stop = sys.maxsize if piece.stop is None else piece.stop
            if piece.position < stop:
                self._todo.insert(0, Span(piece.position, stop))
            self._changed.notify_all()
            return self._active > 1

    def _pause(self, seconds: float, fault: Fault) -> None:
        with self._changed:
            self._note = f"{fault.what}; again in {seconds:.0f} s"
            self._changed.wait_for(lambda: self._is_over, seconds)
            self._note = ""

    def _move(self, piece: _Piece) -> None:
        reply = self._open(piece)
        with self._changed:
            self._replies.add(reply)
        try:
            if self._is_over:
                return
            self._admit(piece, reply)
            self._copy(piece, reply)
        finally:
            with self._changed:
                self._replies.discard(reply)
            reply.close()

    def _open(self, piece: _Piece) -> Reply:
        stop = piece.stop
        if stop is None and self._connections > 1:
            stop = piece.position + LEAST_PIECE_BYTES
        if piece.position == 0 and stop == self._wanted.size_bytes:
            stop = None  # all of it: no range needed
        patience = self._means.patience.stall_seconds
        return self._source.open(
            self._url, start=piece.position, stop=stop, version=self._part.version, timeout_seconds=patience
        )

    def _admit(self, piece: _Piece, reply: Reply) -> None:
        """Hold a reply against what is known; the first one says how large the file is and how many may help."""
        expected, size_bytes = self._wanted.size_bytes, reply.version.size_bytes
        if expected is not None and size_bytes is not None and size_bytes != expected:
            raise self._wrong_size(f"{size_bytes} bytes", reply)
        if not reply.is_partial:
            self._admit_whole(piece, reply)
            return
        if not is_same(self._part.version, reply.version):
            raise Changed
        with self._changed:
            is_first, self._is_admitted = not self._is_admitted, True
            if is_first:
                self._settle(reply.version)
                if piece.stop is None and size_bytes is not None:
                    piece.stop = min(piece.position + LEAST_PIECE_BYTES, size_bytes)
                    self._todo = [span for span in (Span(piece.stop, size_bytes),) if span.size_bytes]
                left_bytes = sum(span.size_bytes for span in self._todo) + LEAST_PIECE_BYTES
                self._reserve = connection_count(left_bytes, self._connections) - 1
                self._begun, self._begun_bytes = time.monotonic(), self._part.done_bytes

    def _admit_whole(self, piece: _Piece, reply: Reply) -> None:
        if self._part.done:
            raise Changed
        self._settle(reply.version)
        with self._changed:
            size_bytes = reply.version.size_bytes
            piece.position, piece.stop = 0, self._wanted.size_bytes if size_bytes is None else size_bytes
            self._todo.clear()

    def _settle(self, version: Version) -> None:
        self._part.version = version
        self._part.size_bytes = version.size_bytes if version.size_bytes is not None else self._wanted.size_bytes
        if self._part.size_bytes is not None:
            check_room(self._part.path.parent, self._part.size_bytes - self._part.done_bytes)
        if self._part.size_bytes is None or self._part.size_bytes > SMALL_BYTES:
            self._part.save()

    def _copy(self, piece: _Piece, reply: Reply) -> None:
        block = self._block
        while not self._is_over and (piece.stop is None or piece.position < piece.stop):
            started = time.monotonic()
            data = reply.read(block if piece.stop is None else min(block, piece.stop - piece.position))
            if not data or self._is_over:
                break
            now = time.monotonic()
            self._block = block = block_bytes(block, now - started)
            self._part.write(*self._claim(piece, data))
            if self._reserve:
                self._call_reserve(now)
        if self._is_over:
            return
        if piece.stop is None:
            self._part.size_bytes = piece.stop = piece.position
        elif piece.position < piece.stop:
            what = f"the body ended {piece.stop - piece.position} bytes too early"
            raise Fault(what, where=shown(self._url), is_passing=True)
        elif reply.version.size_bytes is None and reply.read(1):
            raise self._wrong_size(f"more than {piece.stop} bytes", reply)

    def _claim(self, piece: _Piece, data: bytes) -> tuple[int, bytes]:
        """Where the data go, and as much of them as the piece still has: its end may have been given to another meanwhile.

        No byte is written twice, so that what is hashed from memory is what the file has.
        """
        with self._changed:
            start = piece.position
            if piece.stop is not None:
                data = data[: piece.stop - start]
            piece.position += len(data)
            piece.moved_bytes += len(data)
        return start, data

    def _wrong_size(self, size: str, reply: Reply) -> WrongContent:
        head = b""
        with suppress(Fault):
            head = reply.read(HEAD_BYTES) if reply.start == 0 and not self._part.done else b""
        it_is = f" and is {appearance(head)}" if head and appearance(head) else ""
        what = f"the file there has {size}{it_is}, the card says {self._wanted.size_bytes}"
        return WrongContent(what, where=shown(self._url), hint="correct the address or size_bytes in the card")
