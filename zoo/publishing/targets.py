"""Define where a release can go: the Target contract, and a folder of this machine as a Target."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from zoo.errors import CannotCheck, UsageError, WrongContent
from zoo.publishing.readme import ReleaseAddress
from zoo.publishing.release import (
    SIGNATURE,
    SMALL_BYTES,
    WEIGHTS,
    Change,
    PublishedFile,
    Release,
    ReleaseFile,
    blocks_of,
    count_elements,
)
from zoo.runtime.storage import replacing
from zoo.weights import store


class Preview(Protocol):
    """A target as it is, to compare a release with."""

    def read(self, path: str) -> bytes | None:
        """Return the content of a small file; None when it does not exist."""

    def find_readme(self, matches: Callable[[str], bool]) -> str | None:
        """Return the newest earlier README of the target that matches; None when there is none."""

    def changes(self, release: Release) -> tuple[Change, ...]:
        """Return what publishing the release would do, file by file."""


class Session(Preview, Protocol):
    """A target that passed the preflight, so that a release can be written to it."""

    def put(self, release: Release, *, title: str) -> str:
        """Write the release, completely or not at all, and return its location; equal files are not written again."""


class Target(Protocol):
    """A place for one release: a folder, or a repository of the Hub."""

    @property
    def address(self) -> ReleaseAddress:
        """The address that the release's README gives."""

    def preview(self) -> Preview:
        """Return the target as it is, for a dry run. A target that cannot be read is no error."""

    def preflight(self) -> Session:
        """Find out whether a release can be written, without changing anything."""

    def published_files(self) -> Mapping[str, PublishedFile]:
        """Return every published file by path; large files are not read where the target knows their digest."""

    def count_elements(self) -> int:
        """Return the number of elements in the header of the published model.safetensors."""


@dataclass(frozen=True, slots=True)
class FolderTarget:
    """A folder of this machine as a Target."""

    path: Path

    @property
    def address(self) -> ReleaseAddress:
        """The address of any folder: the README does not name this one."""
        return ReleaseAddress()

    def preview(self) -> Preview:
        """See Target; the same as `preflight`."""
        return self.preflight()

    def preflight(self) -> FolderSession:
        """See Target; raises UsageError when the path is not a folder."""
        if self.path.exists() and not self.path.is_dir():
            raise UsageError(f"not a folder: {self.path}", hint="give folder:PATH")
        return FolderSession(self.path)

    def published_files(self) -> Mapping[str, PublishedFile]:
        """See Target; hidden files are left out."""
        paths = [path for path in sorted(self.path.rglob("*")) if path.is_file() and not path.name.startswith(".")]
        return {file.path: file for file in (_measure(path, self.path) for path in paths)}

    def count_elements(self) -> int:
        """See Target."""
        return count_elements(self.path / WEIGHTS)


@dataclass(frozen=True, slots=True)
class FolderSession:
    """A folder as a Session."""

    path: Path

    def read(self, path: str) -> bytes | None:
        """See Preview."""
        return (self.path / path).read_bytes() if (self.path / path).is_file() else None

    def find_readme(self, matches: Callable[[str], bool]) -> str | None:
        """Return None: a folder has no history."""
        return None

    def changes(self, release: Release) -> tuple[Change, ...]:
        """See Preview; files of equal size are read."""
        return tuple(Change(item, _compare(item, self.path / item.path)) for item in release.files)

    def put(self, release: Release, *, title: str) -> str:
        """See Session; raises WrongContent when the folder afterwards does not contain the release."""
        self._write(release)
        differing = [change.file.path for change in self.changes(release) if change.kind != "same"]
        if differing:
            raise WrongContent(
                f"{', '.join(differing)}: not what was written", where=str(self.path), hint="check the disk"
            )
        return str(self.path)

    def _write(self, release: Release) -> None:
        """Write each new or changed file atomically; other files in the folder stay.

        Raises CannotCheck when the folder cannot be written, or a file changes while it is copied.
        """
        changes = self.changes(release)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            for change in changes:
                if change.kind != "same":
                    _copy(change.file, self.path / change.file.path)
            if SIGNATURE not in {change.file.path for change in changes}:
                (self.path / SIGNATURE).unlink(missing_ok=True)  # it belongs to another release
        except OSError as error:
            raise CannotCheck(
                f"cannot write {self.path}: {error.strerror or error}", hint="give another folder"
            ) from error


def _measure(path: Path, folder: Path) -> PublishedFile:
    size_bytes, sha256 = store.digest(path)
    content = path.read_bytes() if size_bytes <= SMALL_BYTES else None
    return PublishedFile(path.relative_to(folder).as_posix(), size_bytes, sha256, content=content)


def _compare(file: ReleaseFile, path: Path) -> str:
    if not path.is_file():
        return "new"
    return "same" if path.stat().st_size == file.size_bytes and store.digest(path)[1] == file.sha256 else "changed"


def _copy(file: ReleaseFile, target: Path) -> None:
    """Copy the file, and hash what is written; raises CannotCheck, and leaves the target as it was, when it differs."""
    digest = hashlib.sha256()
    with replacing(target) as temporary:
        with temporary.open("wb") as out:
            for block in blocks_of(file.content):
                digest.update(block)
                out.write(block)
        if digest.hexdigest() != file.sha256:
            raise CannotCheck(f"{file.path} changed while it was copied", hint="try again")
