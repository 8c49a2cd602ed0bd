"""Find the cards that changed since a git revision, and the values that they share with other cards.

Runs the git command in the folder of the cards.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from zoo.errors import UsageError
from zoo.registry.document import parse, read
from zoo.registry.files import real_path
from zoo.registry.index import Key, keys_in, kind_of


@dataclass(frozen=True, slots=True)
class ChangedFiles:
    """The files that were changed, added or removed; the values that they are and were found by; whether one is a data set."""

    paths: frozenset[Path]
    keys: frozenset[Key]
    has_dataset: bool


def changes_since(revision: str, folders: Iterable[Path]) -> ChangedFiles:
    """Return what changed in these folders since the revision, including uncommitted changes.

    Raises UsageError when git is not installed, a folder is not in a repository, or the revision is unknown.
    """
    paths: set[Path] = set()
    keys: set[Key] = set()
    for folder in folders:
        top = Path(_git(folder, "rev-parse", "--show-toplevel").strip())
        base = _git(folder, "rev-parse", "--verify", "--end-of-options", f"{revision}^{{commit}}").strip()
        names = _git(folder, "diff", "--name-only", "--no-renames", "-z", base, "--", ".").split("\0")
        names += _git(folder, "ls-files", "--others", "--exclude-standard", "--full-name", "-z", ".").split("\0")
        for name in filter(None, names):
            path = top / name
            if path.suffix in (".yaml", ".yml"):
                paths.add(real_path(path))
                keys.update(_keys_then_and_now(folder, base, name, path))
    return ChangedFiles(frozenset(paths), frozenset(keys), any(kind_of(path) == "dataset" for path in paths))


def _keys_then_and_now(folder: Path, base: str, name: str, path: Path) -> Iterable[Key]:
    """Return the values that a file is found by, at the revision and now; for a family, only its names."""
    try:
        before = parse(_git(folder, "show", f"{base}:{name}"), path)
    except UsageError:
        before = None  # the file is new
    documents = [before] if before else []
    if path.is_file():
        documents.append(read(path))
    versions = [document.data for document in documents if isinstance(document.data.get("name"), str)]
    if kind_of(path) == "collection":
        return {("collection", str(data["name"])) for data in versions}
    return {key for data in versions for key in keys_in(data) if key != ("collection", None)}


def _git(folder: Path, *arguments: str) -> str:
    try:
        process = subprocess.run(("git", "-C", str(folder), *arguments), capture_output=True, check=False)
    except OSError as error:
        raise UsageError("git is not installed", hint="install git, or leave out --changed-since") from error
    if process.returncode:
        message = process.stderr.decode("utf-8", "replace").strip().partition("\n")[0]
        raise UsageError(f"git failed: {message}", where=str(folder), hint="give a revision of the cards' repository")
    return process.stdout.decode("utf-8", "replace")
