"""The contract of a source, which reads the bytes of URLs of one scheme.

A source is one file in this folder, named after its scheme, with a function `open_source()`. It only moves bytes. It
does not know the digest or the size in the card, so it cannot skip their verification: `transfer` writes the bytes and
hashes what it wrote, whatever the source reports.

There are two kinds. A `StreamSource` opens a URL at an offset, and `transfer` does everything else: part files,
connections, retries, resuming. A `DownloadSource` has its own client, which downloads the whole file into a folder.
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
from zoo.runtime import process


@dataclass(frozen=True, slots=True)
class Version:
    """What a server says about the identity of a file's bytes: equal versions that are known mean equal bytes."""

    size_bytes: int | None = None
    etag: str = ""
    """A strong entity tag with its quotes; a weak one (`W/`) does not promise equal bytes and is left out."""
    modified: str = ""
    """The date of the last change, as the server wrote it."""

    @property
    def is_known(self) -> bool:
        """Whether a later reply can be recognised as the same bytes."""
        return bool(self.etag or self.modified)


class Response(Protocol):
    """An open body of a file that begins at offset `start`, in bytes.

    `is_partial`: the server supports ranges and sent the requested one.
    """

    start: int
    version: Version
    is_partial: bool

    def read(self, size: int) -> bytes:
        """Return up to `size` bytes, as soon as some have arrived, or none at the end.

        Raises SourceError when the body breaks off or stalls.
        """

    def interrupt(self) -> None:
        """End a `read` that another thread is waiting in."""

    def close(self) -> None:
        """Close the connection if the body was not read to its end."""


@dataclass(frozen=True, slots=True)
class FileRange:
    """Some bytes of a file, and the size of the whole file where the server reports it."""

    data: bytes
    size_bytes: int | None


@runtime_checkable
class StreamSource(Protocol):
    """A source that opens a URL at an offset."""

    def open(
        self,
        url: str,
        *,
        start: int = 0,
        stop: int | None = None,
        version: Version | None = None,
        timeout_seconds: float,
    ) -> Response:
        """Open the bytes from `start` up to `stop`, or the whole file.

        The response is the whole file when the server does not support ranges or no longer has `version`. With
        `start=0, stop=None` the request has no range. The body stalls when no byte arrives for `timeout_seconds`.
        Raises SourceError.
        """

    def close(self) -> None:
        """Close idle connections."""


@runtime_checkable
class DownloadSource(Protocol):
    """A source whose own client downloads a whole file."""

    def download(self, url: str, folder: Path, *, timeout_seconds: float, on_bytes: Callable[[int], None]) -> Path:
        """Download the file into `folder` or below it, and return its path.

        Calls `on_bytes` with the number of bytes downloaded so far. May resume from what an earlier try left in
        `folder`. Raises SourceError.
        """

    def read_range(self, url: str, start: int, stop: int, *, timeout_seconds: float) -> FileRange:
        """Return the bytes from `start` up to `stop`, or fewer at the end of the file. Raises SourceError."""

    def close(self) -> None:
        """Release what the client holds."""


class SourceError(TransferFailed):
    """A source could not move bytes.

    `is_temporary`: another try may succeed, after `wait_seconds` if the server sent a Retry-After header.
    """

    def __init__(
        self,
        what: str,
        *,
        where: str = "",
        hint: str = "",
        is_temporary: bool = False,
        wait_seconds: float | None = None,
    ) -> None:
        super().__init__(what, where=where, hint=hint)
        self.is_temporary = is_temporary
        self.wait_seconds = wait_seconds


LEAST_BYTES_PER_SECOND, LEAST_SECONDS = 1000.0, 60.0
"""A body stalls that is slower for so long: the slowest network that people download weights over is a hundred times
faster. Without this limit, a server can hold a connection for ever with a byte now and then."""


class Pace:
    """Notices a body that arrives too slowly. Only the time that a reader waits for it counts."""

    def __init__(
        self, url: str, bytes_per_second: float = LEAST_BYTES_PER_SECOND, seconds: float = LEAST_SECONDS
    ) -> None:
        self._url, self._bytes_per_second, self._seconds = url, bytes_per_second, seconds
        self._read_bytes, self._waited_seconds = 0, 0.0

    def note(self, read_bytes: int, waited_seconds: float) -> None:
        """Count what was read in that time. Raises SourceError when it was too slow for too long."""
        self._read_bytes += read_bytes
        self._waited_seconds += waited_seconds
        if self._waited_seconds < self._seconds:
            return
        if self._read_bytes < self._bytes_per_second * self._waited_seconds:
            rate, least = self._read_bytes / self._waited_seconds, self._bytes_per_second / 1000
            what = f"the server sends {rate:.0f} bytes a second, less than {least:g} kB"
            raise SourceError(what, where=redact_url(self._url), is_temporary=True)
        self._read_bytes, self._waited_seconds = 0, 0.0


class SourceModule(Protocol):
    """What a module in this folder offers."""

    def open_source(self) -> StreamSource | DownloadSource:
        """Return a source with connections of its own; the caller closes it."""


_SECRET = re.compile(r"(?i)((?:^|&)[^=&]*(?:token|key|secret|signature|sig|password|auth|credential)[^=&]*=)[^&]*")


def redact_url(url: str) -> str:
    """Return the URL without user, password, fragment and values that look secret, fit for messages and files."""
    try:
        parts = urlsplit(url)
    except ValueError:  # brackets that hold no address: not a valid URL, so nothing is ever fetched from it
        return re.sub(r"//[^/]*@", "//", re.split("[?#]", url)[0])
    return urlunsplit(
        (parts.scheme, parts.netloc.rpartition("@")[2], parts.path, _SECRET.sub(r"\1...", parts.query), "")
    )


class Sources:
    """The open sources, one for each scheme, each with its own connections. Leaving the context closes them."""

    def __init__(self) -> None:
        self._open: dict[str, StreamSource | DownloadSource] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> Sources:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for source in self._open.values():
            source.close()

    def for_url(self, url: str) -> StreamSource | DownloadSource:
        """Return the source for the URL's scheme. Raises UnknownName for an unknown scheme."""
        scheme = url.partition(":")[0].lower() if ":" in url.partition("/")[0] else ""
        name = "https" if scheme == "http" else scheme
        with self._lock:
            if name not in self._open:
                if name not in plugins.names("sources"):
                    raise UnknownName("source", scheme, plugins.names("sources"), where=redact_url(url))
                process.log_safely()
                self._open[name] = plugins.load("sources", name).open_source()
            return self._open[name]
