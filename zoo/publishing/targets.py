"""Give the places that a release can go to: the Target contract, and a folder of this machine."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
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
from zoo.weights import store


class Preview(Protocol):
    """What a release is compared with: the place as it was seen."""

    def read(self, path: str) -> bytes | None:
        """A small file that is there, None when it is not."""

    def find_readme(self, matches: Callable[[str], bool]) -> str | None:
        """The newest README that was published here before and matches."""

    def changes(self, release: Release) -> tuple[Change, ...]:
        """What putting the release there would do."""


class Session(Preview, Protocol):
    """A preview of a place that the preflight let through, so that a release can be put there."""

    def put(self, release: Release, *, title: str) -> str:
        """Put the release there, whole or not at all, and say where it is; what is there already stays as it is."""


class Target(Protocol):
    """Where a release goes: a folder, or a repository of the Hub."""

    @property
    def address(self) -> ReleaseAddress:
        """How the release's README calls it."""

    def preview(self) -> Preview:
        """Only look, for a dry run; does without the place if it must."""

    def preflight(self) -> Session:
        """Find out whether a release can be put there, changing nothing."""

    def published_files(self) -> Mapping[str, PublishedFile]:
        """Every file that is there, measured without reading large ones where the place knows their digest."""

    def count_elements(self) -> int:
        """How many numbers the header of model.safetensors there announces."""


@dataclass(frozen=True, slots=True)
class FolderTarget:
    """A folder of this machine as a Target."""

    path: Path

    @property
    def address(self) -> ReleaseAddress:
        """A folder's README does not name it."""
        return ReleaseAddress()

    def preview(self) -> Preview:
        """See Target; asks what a preflight asks."""
        return self.preflight()

    def preflight(self) -> FolderSession:
        """Raises UsageError when the path is no folder."""
        if self.path.exists() and not self.path.is_dir():
            raise UsageError(f"{self.path} is no folder", hint="give folder:PATH")
        return FolderSession(self.path)

    def published_files(self) -> Mapping[str, PublishedFile]:
        """See Target."""
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
        """A folder has no history."""
        return None

    def changes(self, release: Release) -> tuple[Change, ...]:
        """See Preview; the files there are read."""
        return tuple(Change(item, _compare(item, self.path / item.path)) for item in release.files)

    def put(self, release: Release, *, title: str) -> str:
        """See Session; raises WrongContent when what is there afterwards is not the release."""
        self._write(release)
        differing = [change.file.path for change in self.changes(release) if change.kind != "same"]
        if differing:
            raise WrongContent(
                f"{', '.join(differing)} came out differently", where=str(self.path), hint="look at the disk"
            )
        return str(self.path)

    def _write(self, release: Release) -> None:
        """Put the release into the folder, each file whole or not at all; other files there stay.

        Raises CannotCheck when the folder cannot be written, or a file changed while it was copied.
        """
        changes = self.changes(release)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            for change in changes:
                if change.kind != "same":
                    _copy(change.file, self.path / change.file.path)
            if SIGNATURE not in {change.file.path for change in changes}:
                (self.path / SIGNATURE).unlink(missing_ok=True)  # it is of another release
        except OSError as error:
            raise CannotCheck(
                f"{self.path} cannot be written: {error.strerror or error}", hint="give another folder"
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
    """Copy to a file of its own beside the target, hashing what is written, and move it there when it is right."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}.{secrets.token_hex(4)}")
    digest = hashlib.sha256()
    try:
        with temporary.open("wb") as out:
            for block in blocks_of(file.content):
                digest.update(block)
                out.write(block)
        if digest.hexdigest() != file.sha256:
            raise CannotCheck(f"{file.path} was changed while it was copied", hint="try again")
        temporary.replace(target)
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()
