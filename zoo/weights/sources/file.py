"""file: URLs: another place on this machine."""

from __future__ import annotations

import io
import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

from zoo.weights.sources import Fault, Version


def connect() -> FileSource:
    """A source of local files."""
    return FileSource()


def path_of(url: str) -> Path:
    """The path that `file:///folder/name` or `file://localhost/folder/name` stands for. Raises Fault for another host.

    Source: RFC 8089, section 2.
    """
    parts = urlsplit(url)
    path = Path(unquote(parts.path))
    if parts.netloc not in ("", "localhost") or not path.is_absolute():
        raise Fault(
            "a file: address names an absolute path on this machine", where=url, hint="write file:///folder/name"
        )
    return path


class FileSource:
    """A Streams source; a local file always has ranges."""

    def open(
        self,
        url: str,
        *,
        start: int = 0,
        stop: int | None = None,
        version: Version | None = None,
        timeout_seconds: float,
    ) -> FileReply:
        """See Streams. A file that is no longer the one of `version` is given whole."""
        try:
            file = path_of(url).open("rb", buffering=0)
            status = os.fstat(file.fileno())
        except OSError as error:
            raise Fault(f"the file cannot be read: {error.strerror}", where=url) from error
        current = Version(status.st_size, etag=f'"{status.st_mtime_ns}-{status.st_ino}"')
        return FileReply(
            file, start if version in (None, current) else 0, current, is_partial=version in (None, current)
        )

    def close(self) -> None:
        """Nothing is kept."""


class FileReply:
    """See Reply."""

    def __init__(self, file: io.FileIO, start: int, version: Version, *, is_partial: bool) -> None:
        self._file = file
        self._file.seek(start)
        self.start = start
        self.version = version
        self.is_partial = is_partial

    def read(self, size: int) -> bytes:
        """See Reply."""
        return self._file.read(size) or b""

    def interrupt(self) -> None:
        """A local read ends by itself."""

    def close(self) -> None:
        """Closes the file."""
        self._file.close()
