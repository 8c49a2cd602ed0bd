"""Follow a part file while it grows, each follower in its own thread: hash it, write it to the disk."""

from __future__ import annotations

import hashlib
import threading

from zoo.weights.transfer.partial import HASH_BLOCK_BYTES, Part

SYNC_BYTES = 16 << 20
"""Written to the disk whenever so much has come: at the end there is little left to wait for."""


class Follower(threading.Thread):
    """Follows a part that others write, in a thread of its own: waits for `ready` bytes, then takes a `step`."""

    def __init__(self, part: Part) -> None:
        super().__init__(daemon=True)
        self._part = part
        self._is_over = False
        self._is_abandoned = False
        self._failure: Exception | None = None

    def ready(self) -> int:
        """How many bytes there are to step over now."""
        raise NotImplementedError

    def step(self, count: int) -> None:
        """Take so many bytes."""
        raise NotImplementedError

    def run(self) -> None:
        """Step until told to end, and then over what is left."""
        try:
            while (count := self._wait()) > 0:
                self.step(count)
        except Exception as error:  # raised again where the result is asked for
            self._failure = error

    def end(self) -> None:
        """Wait until nothing is left. Raises CannotCheck when a step failed."""
        self._end()
        if self._failure is not None:
            raise self._failure

    def abandon(self) -> None:
        """End without a result; does nothing when it has ended."""
        self._is_abandoned = True
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
            return 0 if self._is_abandoned else self.ready()


class Hashing(Follower):
    """Hashes a part in order, what is there from its beginning on."""

    def __init__(self, part: Part) -> None:
        super().__init__(part)
        self._hasher = hashlib.sha256()
        self._position = 0
        self._block = memoryview(bytearray(HASH_BLOCK_BYTES))

    def ready(self) -> int:
        """What is whole from where it stands."""
        return self._part.frontier - self._position

    def step(self, count: int) -> None:
        """Hash one block, from memory if it came just now."""
        with self._part.changed:
            block = self._part.recent_blocks.take(self._position)
            stop = self._part.recent_blocks.before(self._position, self._position + min(count, HASH_BLOCK_BYTES))
        if block:
            self._hasher.update(block)
            self._position += len(block)
        else:
            count = self._part.read_into(self._block[: stop - self._position], self._position)
            self._hasher.update(self._block[:count])
            self._position += count

    def finish(self) -> str:
        """The sha256 of all that is there, in hex."""
        self.end()
        return self._hasher.hexdigest()


class Syncing(Follower):
    """Has a part written to the disk while it grows, so that the end is not a long wait."""

    def __init__(self, part: Part) -> None:
        super().__init__(part)
        self._synced_bytes = 0

    def ready(self) -> int:
        """What came since the last time, once it is enough or all."""
        new_bytes = self._part.done_bytes - self._synced_bytes
        return new_bytes if self._is_over or new_bytes >= SYNC_BYTES else 0

    def step(self, count: int) -> None:
        """Write all that is there."""
        self._part.sync()
        self._synced_bytes += count
