"""The log of requests that tests assert on: what was asked, by whom, how many bytes went which way."""

from __future__ import annotations

import threading
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and what became of it."""

    origin: str
    """`hub` or `storage`."""
    route: str
    """The handler's name (`commit`, `preupload`, `lfs_batch`, `put_object`, ...), `unknown` when there is none."""
    method: str
    path: str
    """As it was sent, still quoted, without the query."""
    query: str
    user: str
    """Whose token was accepted; empty when none was, or when a fault kept the request from its handler."""
    sent_a_token: bool
    byte_range: str | None
    """The Range header."""
    request_bytes: int
    """Length of the body that arrived, also when the client left in the middle of it."""
    status: int
    """0: no answer was given (a drop, or the client left)."""
    reply_bytes: int
    """Length of the answer's body."""


class TrafficLog:
    """Exchanges in the order in which they were answered; an entry is there before its answer is sent. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._exchanges: list[Exchange] = []

    def add(self, exchange: Exchange) -> None:
        with self._lock:
            self._exchanges.append(exchange)

    def clear(self) -> None:
        with self._lock:
            self._exchanges.clear()

    def exchanges(self, *routes: str) -> list[Exchange]:
        """All exchanges, or those of the named routes."""
        with self._lock:
            return [exchange for exchange in self._exchanges if not routes or exchange.route in routes]

    def count(self, *routes: str) -> int:
        return len(self.exchanges(*routes))

    def routes(self) -> list[str]:
        return [exchange.route for exchange in self.exchanges()]

    @property
    def uploaded_lfs_bytes(self) -> int:
        """Bytes of weights that arrived at the storage."""
        return sum(exchange.request_bytes for exchange in self.exchanges("put_object", "put_part"))

    @property
    def uploaded_commit_bytes(self) -> int:
        """Bytes of commit requests: regular files in base64, and the pointers of large ones."""
        return sum(exchange.request_bytes for exchange in self.exchanges("commit"))

    @property
    def commits(self) -> int:
        """How many commit requests came, whatever became of them."""
        return self.count("commit")
