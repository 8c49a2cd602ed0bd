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


class Target(Protocol):
    """Where a release goes: a folder, or a repository of the Hub."""

    @property
    def address(self) -> ReleaseAddress:
        """How the release's README calls it."""

    def preflight(self, *, is_dry: bool) -> None:
        """Find out whether `put` can succeed, changing nothing; a dry run only looks, and does without if it must."""

    def read(self, path: str) -> bytes | None:
        """A small file that is there, None when it is not."""

    def find_readme(self, is_wanted: Callable[[str], bool]) -> str | None:
        """The newest README that was published here before and is the one that is asked for."""

    def changes(self, release: Release) -> tuple[Change, ...]:
        """What `put` would do."""

    def put(self, release: Release, *, title: str) -> str:
        """Put the release there, whole or not at all, and say where it is; what is there already stays as it is."""

    def there(self) -> Mapping[str, PublishedFile]:
        """Every file that is there, measured without reading large ones where the place knows their digest."""

    def count_elements(self) -> int:
        """How many numbers the header of model.safetensors there announces."""


@dataclass(frozen=True, slots=True)
class FolderTarget:
    """A folder of this machine as a Place."""

    path: Path

    @property
    def address(self) -> ReleaseAddress:
        """A folder's README does not name it."""
        return ReleaseAddress()

    def preflight(self, *, is_dry: bool) -> None:
        """Raises UsageError when the path is no folder."""
        if self.path.exists() and not self.path.is_dir():
            raise UsageError(f"{self.path} is no folder", hint="give folder:PATH")

    def read(self, path: str) -> bytes | None:
        """See Place."""
        return (self.path / path).read_bytes() if (self.path / path).is_file() else None

    def find_readme(self, is_wanted: Callable[[str], bool]) -> str | None:
        """A folder has no history."""
        return None

    def changes(self, release: Release) -> tuple[Change, ...]:
        """See Place; the files there are read."""
        return tuple(Change(item, _kind(item, self.path / item.path)) for item in release.files)

    def put(self, release: Release, *, title: str) -> str:
        """See Place; raises WrongContent when what is there afterwards is not the release."""
        write(release, self.path)
        differing = [change.file.path for change in self.changes(release) if change.kind != "same"]
        if differing:
            raise WrongContent(
                f"{', '.join(differing)} came out differently", where=str(self.path), hint="look at the disk"
            )
        return str(self.path)

    def there(self) -> Mapping[str, PublishedFile]:
        """See Place."""
        paths = [path for path in sorted(self.path.rglob("*")) if path.is_file() and not path.name.startswith(".")]
        return {found.path: found for found in (_measured(path, self.path) for path in paths)}

    def count_elements(self) -> int:
        """See Place."""
        return count_elements(self.path / WEIGHTS)


def write(release: Release, folder: Path) -> tuple[Change, ...]:
    """Put the release into a folder, each file whole or not at all, and say what was done; other files there stay.

    Raises CannotCheck when the folder cannot be written, or a file changed while it was copied.
    """
    changes = FolderTarget(folder).changes(release)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for change in changes:
            if change.kind != "same":
                _put(change.file, folder / change.file.path)
        if SIGNATURE not in {change.file.path for change in changes}:
            (folder / SIGNATURE).unlink(missing_ok=True)  # it is of another release
    except OSError as error:
        raise CannotCheck(
            f"{folder} cannot be written: {error.strerror or error}", hint="give another folder"
        ) from error
    return changes


def _measured(path: Path, folder: Path) -> PublishedFile:
    size_bytes, sha256 = store.digest(path)
    content = path.read_bytes() if size_bytes <= SMALL_BYTES else None
    return PublishedFile(path.relative_to(folder).as_posix(), size_bytes, sha256, content=content)


def _kind(file: ReleaseFile, path: Path) -> str:
    if not path.is_file():
        return "new"
    return "same" if path.stat().st_size == file.size_bytes and store.digest(path)[1] == file.sha256 else "changed"


def _put(file: ReleaseFile, target: Path) -> None:
    """Copy to a file of its own beside the target, hashing what is written, and move it there when it is right."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}.{secrets.token_hex(4)}")
    seen = hashlib.sha256()
    try:
        with temporary.open("wb") as out:
            for block in blocks_of(file.content):
                seen.update(block)
                out.write(block)
        if seen.hexdigest() != file.sha256:
            raise CannotCheck(f"{file.path} was changed while it was copied", hint="try again")
        temporary.replace(target)
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()
