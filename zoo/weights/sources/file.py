"""Read file: URLs, which name files on this machine."""

from __future__ import annotations

import io
import os
import stat
from pathlib import Path
from urllib.parse import unquote, urlsplit

from zoo.weights.sources import SourceError, Version


def open_source() -> FileSource:
    """Return a source of local files."""
    return FileSource()


def path_of(url: str) -> Path:
    """Return the path in `file:///folder/name` or `file://localhost/folder/name`.

    Raises SourceError for another host or a relative path. Source: RFC 8089, section 2.
    """
    parts = urlsplit(url)
    path = Path(unquote(parts.path))
    if parts.netloc not in ("", "localhost") or not path.is_absolute():
        raise SourceError(
            "not an absolute path on this machine", where=url, hint="write the address as file:///folder/name"
        )
    return path


class FileSource:
    """A StreamSource of local files, which always support ranges. Pipes and devices, which may never end, are not files."""

    def open(
        self,
        url: str,
        *,
        start: int = 0,
        stop: int | None = None,
        version: Version | None = None,
        timeout_seconds: float,
    ) -> FileResponse:
        """Open the file, see StreamSource. The whole file is read when it no longer has `version`."""
        try:
            descriptor = os.open(path_of(url), os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
            file = io.FileIO(descriptor)
            status = os.fstat(descriptor)
        except (OSError, ValueError) as error:  # ValueError: a NUL in the path
            raise SourceError(f"cannot read the file: {getattr(error, 'strerror', error)}", where=url) from error
        if not stat.S_ISREG(status.st_mode):
            file.close()
            raise SourceError("not a regular file", where=url)
        current = Version(status.st_size, etag=f'"{status.st_mtime_ns}-{status.st_ino}"')
        return FileResponse(
            file, start if version in (None, current) else 0, current, is_partial=version in (None, current)
        )

    def close(self) -> None:
        """Do nothing: no file stays open."""


class FileResponse:
    """The Response of a FileSource."""

    def __init__(self, file: io.FileIO, start: int, version: Version, *, is_partial: bool) -> None:
        self._file = file
        self._file.seek(start)
        self.start = start
        self.version = version
        self.is_partial = is_partial

    def read(self, size: int) -> bytes:
        """Return up to `size` bytes, see Response."""
        return self._file.read(size) or b""

    def interrupt(self) -> None:
        """Do nothing: a local read does not wait."""

    def close(self) -> None:
        """Close the file."""
        self._file.close()
