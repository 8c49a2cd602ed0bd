"""Follow a part file while it grows, each follower in its own thread: hash it, flush it to the disk."""

from __future__ import annotations

import hashlib
import threading

from zoo.weights.transfer.partial import HASH_BLOCK_BYTES, Part

SYNC_BYTES = 16 << 20
"""The part is flushed to the disk each time so many bytes have been written, so that the end is not a long wait."""


class Follower(threading.Thread):
    """A thread that follows a part while others write it: it waits until bytes are `ready`, then processes a `step`."""

    def __init__(self, part: Part) -> None:
        super().__init__(daemon=True)
        self._part = part
        self._is_over = False
        self._is_cancelled = False
        self._failure: Exception | None = None

    def ready(self) -> int:
        """Return how many bytes can be processed now."""
        raise NotImplementedError

    def step(self, count: int) -> None:
        """Process up to so many bytes."""
        raise NotImplementedError

    def run(self) -> None:
        """Process bytes until `finish` or `cancel` is called."""
        try:
            while (count := self._wait()) > 0:
                self.step(count)
        except Exception as error:  # `finish` raises it in its own thread
            self._failure = error

    def finish(self) -> None:
        """Process the remaining bytes and wait for the end. Raises CannotCheck when a step failed."""
        self._end()
        if self._failure is not None:
            raise self._failure

    def cancel(self) -> None:
        """Stop without a result; does nothing when the thread has ended."""
        self._is_cancelled = True
        self._end()

    def _end(self) -> None:
        with self._part.changed:
            self._is_over = True
            self._part.changed.notify_all()
        self.join()

    def _wait(self) -> int:
        with self._part.changed:
            while not self.ready() and not self._is_over:
                self._part.changed.wait()
            return 0 if self._is_cancelled else self.ready()


class Hasher(Follower):
    """Hash a part in order, as far as it is complete from the beginning."""

    def __init__(self, part: Part) -> None:
        super().__init__(part)
        self._hash = hashlib.sha256()
        self._position = 0
        self._block = memoryview(bytearray(HASH_BLOCK_BYTES))

    def ready(self) -> int:
        """Return how many bytes are complete after the current position."""
        return self._part.prefix_bytes - self._position

    def step(self, count: int) -> None:
        """Hash one block, from memory if it is one of the last ones."""
        with self._part.changed:
            block = self._part.recent_blocks.take(self._position)
            stop = self._part.recent_blocks.next_start(self._position, self._position + min(count, HASH_BLOCK_BYTES))
        if block:
            self._hash.update(block)
            self._position += len(block)
        else:
            count = self._part.read_into(self._block[: stop - self._position], self._position)
            self._hash.update(self._block[:count])
            self._position += count

    def result(self) -> str:
        """Wait for the end and return the sha256 of the part, in hex. Raises CannotCheck when a step failed."""
        self.finish()
        return self._hash.hexdigest()


class Flusher(Follower):
    """Flush a part to the disk while it grows, so that the end is not a long wait."""

    def __init__(self, part: Part) -> None:
        super().__init__(part)
        self._flushed_bytes = 0

    def ready(self) -> int:
        """Return how many bytes are new, once there are SYNC_BYTES or the part is complete."""
        new_bytes = self._part.done_bytes - self._flushed_bytes
        return new_bytes if self._is_over or new_bytes >= SYNC_BYTES else 0

    def step(self, count: int) -> None:
        """Flush everything written so far."""
        self._part.sync()
        self._flushed_bytes += count
