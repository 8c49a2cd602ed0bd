"""The contract of a source: a URL of one scheme -> its bytes.

A source is one file here, named for its scheme, with a function `connect() -> Source`. It only moves bytes. It is told
neither the digest nor the size that the card promises, so it has no way to skip their verification: `transfer` writes
what it gives and hashes what was written, whatever the source says about it.

There are two kinds. A `Streams` source opens a URL at an offset, and `transfer` does everything else: parts,
connections, tries, resuming. A `Downloads` source has a client of its own, which puts the whole file into a folder.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, runtime_checkable
from urllib.parse import urlsplit, urlunsplit

from zoo import plugins
from zoo.errors import TransferFailed, UnknownName


@dataclass(frozen=True, slots=True)
class Version:
    """Which bytes a URL stands for, as far as its server tells: two equal versions that say anything are one file."""

    size_bytes: int | None = None
    etag: str = ""
    """A strong entity tag with its quotes; a weak one (`W/`) does not promise equal bytes and is left out."""
    modified: str = ""
    """The date of the last change as the server wrote it."""

    @property
    def is_known(self) -> bool:
        """Whether a later reply can be recognised as the same bytes."""
        return bool(self.etag or self.modified)


class Reply(Protocol):
    """An open body, from `start` on. `is_partial` says that the server sends ranges and sent the one that was asked."""

    start: int
    version: Version
    is_partial: bool

    def read(self, size: int) -> bytes:
        """Up to `size` bytes; empty at the end. Raises Fault when the body breaks off or stalls."""

    def interrupt(self) -> None:
        """Ends a read that another thread is in."""

    def close(self) -> None:
        """Drops the connection if the body was not read to its end."""


@dataclass(frozen=True, slots=True)
class Peek:
    """A few bytes of a file, and its whole size where the server tells."""

    data: bytes
    size_bytes: int | None


@runtime_checkable
class Streams(Protocol):
    """A source that opens a URL at an offset."""

    def open(
        self,
        url: str,
        *,
        start: int = 0,
        stop: int | None = None,
        version: Version | None = None,
        timeout_seconds: float,
    ) -> Reply:
        """The body from `start` up to `stop`, or all of it where the server has no ranges or the version is gone.

        `timeout_seconds` without a byte is a stall. `start=0, stop=None` asks for the whole body, without a range.
        Raises Fault.
        """

    def close(self) -> None:
        """Lets go of idle connections."""


@runtime_checkable
class Downloads(Protocol):
    """A source whose own client fetches a whole file."""

    def download(self, url: str, folder: Path, *, timeout_seconds: float, arrived: Callable[[int], None]) -> Path:
        """Puts the file somewhere below `folder` and returns where; `arrived` is called with counts of bytes.

        What is below `folder` from an earlier try may be built upon. Raises Fault.
        """

    def peek(self, url: str, start: int, stop: int, *, timeout_seconds: float) -> Peek:
        """The bytes from start up to stop, or fewer at the end of the file. Raises Fault."""

    def close(self) -> None:
        """Lets go of what the client holds."""


class Fault(TransferFailed):
    """A source could not move bytes. What `is_passing` is worth another try, after `wait_seconds` if a server says so."""

    def __init__(
        self,
        what: str,
        *,
        where: str = "",
        hint: str = "",
        is_passing: bool = False,
        wait_seconds: float | None = None,
    ) -> None:
        super().__init__(what, where=where, hint=hint)
        self.is_passing = is_passing
        self.wait_seconds = wait_seconds


_SECRET = re.compile(r"(?i)((?:^|&)[^=&]*(?:token|key|secret|signature|sig|password|auth|credential)[^=&]*=)[^&]*")


def redact_url(url: str) -> str:
    """The URL as it may stand in messages and files: without user, password, fragment and values that look secret."""
    try:
        parts = urlsplit(url)
    except ValueError:  # brackets that hold no address: it is no URL, and nothing will be fetched from it
        return url
    return urlunsplit(
        (parts.scheme, parts.netloc.rpartition("@")[2], parts.path, _SECRET.sub(r"\1...", parts.query), "")
    )


class Sources:
    """The sources in use, one for each scheme, each with its own connections."""

    def __init__(self) -> None:
        self._open: dict[str, Streams | Downloads] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> Sources:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for source in self._open.values():
            source.close()

    def of(self, url: str) -> Streams | Downloads:
        """The source for the scheme of that URL. Raises UnknownName when there is none."""
        scheme = url.partition(":")[0].lower() if ":" in url.partition("/")[0] else ""
        name = "https" if scheme == "http" else scheme
        with self._lock:
            if name not in self._open:
                if name not in plugins.names("sources"):
                    raise UnknownName("source", scheme, plugins.names("sources"), where=redact_url(url))
                self._open[name] = plugins.load("sources", name).connect()
            return self._open[name]
