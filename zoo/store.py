"""The weights of a card -> an Artifact: a file on this machine of which size and sha256 are measured.

Below `home()`:

    blobs/<sha256>/<file>           read-only, put there whole and right by one rename, or not at all; no symlinks
    blobs/<sha256>/.record.json     where it came from, and the stamp by which a later change is noticed
    partial/                        what interrupted transfers left; see transfer
    quarantine/                     files that were not what their card says, each with the reason beside it

Reading and measuring stand apart from judging: `locate` looks, `measure` reads, `disagreement` judges, `fetch` does all
three and gets what is missing. Imports errors, card, plugins, sources, transfer.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from zoo.card import Card, Weights
from zoo.errors import CannotCheck, UsageError
from zoo.sources import shown

_BLOCK_BYTES = 1 << 20
_RECORD = ".record.json"


@dataclass(frozen=True, slots=True)
class Artifact:
    """A file of weights that was read from end to end; only this module makes one. All that it says was measured."""

    path: Path
    file: str
    """The file's name in the card; `path` may end in another one when two cards share a file."""
    format: str | None
    size_bytes: int
    sha256: str
    """All 64 digits, whatever the card has of them."""
    origin: str
    """The URL that served it, without credentials, or `beside the card`, or another cache on this machine."""
    evidence: tuple[str, ...] = ()
    """What else a report should tell: when it was measured, which mirrors failed, that the card's digest is weak."""


def home() -> Path:
    """The folder of everything that zoo keeps: ZOO_HOME, else the user's cache folder."""
    given = os.environ.get("ZOO_HOME")
    if given:
        return Path(given).expanduser().absolute()
    import platformdirs

    return platformdirs.user_cache_path("zoo")


def locate(card: Card, weights: Weights) -> Path | None:
    """Where the file lies on this machine, or None: beside the card when it has no URL, or in the store.

    Nothing is read and nothing is fetched: a file beside the card is found by its name, one in the store by the card's
    digest or its first digits, and without a digest by the URL that it came from.
    """
    beside = card.path.absolute().parent / _plain_name(weights)
    if not weights.urls and beside.is_file():
        return beside
    return next(_stored(weights), None)


def measure(weights: Weights, path: Path) -> Artifact:
    """Read the file and measure its size and sha256, without judging them.

    A file of the store that is unchanged since it was measured is not read again.
    Raises CannotCheck when the file cannot be read or changes meanwhile.
    """
    record = _record_of(path)
    if record is not None:
        evidence = (f"measured {record['stored']}, unchanged since",)
        return _artifact(weights, path, record["size_bytes"], record["sha256"], record["origin"], evidence)
    size_bytes, sha256 = digest(path)
    return _artifact(weights, path, size_bytes, sha256, "the store" if _is_blob(path) else "beside the card")


def disagreement(weights: Weights, size_bytes: int, sha256: str) -> str:
    """How a measured file differs from the card, size first; empty when all that the card says agrees."""
    if weights.size_bytes is not None and size_bytes != weights.size_bytes:
        return f"{weights.file} has {size_bytes} bytes, the card says {weights.size_bytes}"
    if weights.sha256 is not None and not sha256.startswith(weights.sha256):
        return f"sha256 of {weights.file} is {sha256}, the card says {weights.sha256}"
    return ""


def digest(path: Path) -> tuple[int, str]:
    """Size in bytes and sha256 of a file, read once through one block of memory.

    Raises CannotCheck when it cannot be read, or changes while it is read.
    """
    seen, block = hashlib.sha256(), memoryview(bytearray(_BLOCK_BYTES))
    try:
        with path.open("rb", buffering=0) as file:
            before = _stamp(os.fstat(file.fileno()))
            while count := file.readinto(block):
                seen.update(block[:count])
            if _stamp(os.fstat(file.fileno())) != before:
                raise CannotCheck(f"{path.name} was changed while it was read", where=str(path), mend="try again")
    except OSError as error:
        raise CannotCheck(f"{path.name} cannot be read: {error.strerror}", where=str(path)) from error
    return before[0], seen.hexdigest()


def _artifact(
    weights: Weights, path: Path, size_bytes: int, sha256: str, origin: str, evidence: tuple[str, ...] = ()
) -> Artifact:
    if weights.sha256 is not None and len(weights.sha256) < len(sha256):
        evidence = (*evidence, f"weak: the card gives {len(weights.sha256)} of 64 digits")
    if weights.sha256 is None:
        evidence = (*evidence, "unverified: the card gives no digest")
    return Artifact(path, weights.file, weights.format, size_bytes, sha256, origin, evidence)


def _plain_name(weights: Weights) -> str:
    if weights.file in {"", ".", ".."} or "/" in weights.file or "\\" in weights.file or weights.file.startswith("."):
        raise UsageError(
            f"{weights.file!r} is no plain file name", where=str(weights.where["file"]), mend="give a name without a path"
        )
    return weights.file


def _stored(weights: Weights) -> Iterator[Path]:
    """Files of the store that may be this one, by digest and size, else by origin."""
    blobs = home() / "blobs"
    if weights.sha256 is None:
        origins = {shown(url) for url in weights.urls}
        found = (path for path in sorted(blobs.glob(f"*/{_plain_name(weights)}")) if _origin(path) in origins)
    elif len(weights.sha256) == 64:
        found = (path for path in _files(blobs / weights.sha256, weights.file))
    else:
        folders = sorted(path for path in blobs.glob(f"{weights.sha256}*"))
        found = (path for folder in folders for path in _files(folder, weights.file))
    return (path for path in found if weights.size_bytes in (None, path.stat().st_size))


def _files(folder: Path, preferred: str) -> list[Path]:
    """The files of a blob's folder, the preferred name first: all its names are of the same bytes."""
    if not folder.is_dir():
        return []
    names = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    return sorted(names, key=lambda path: path.name != preferred)


def _is_blob(path: Path) -> bool:
    return path.parent.parent == home() / "blobs"


def _read_record(folder: Path) -> Mapping[str, Any] | None:
    try:
        record = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) and record.get("record") == 1 else None


def _origin(path: Path) -> str:
    record = _read_record(path.parent)
    return str(record["origin"]) if record else ""


def _record_of(path: Path) -> Mapping[str, Any] | None:
    """The record of a file of the store, if the file is still as it was measured."""
    record = _read_record(path.parent) if _is_blob(path) else None
    if record is None:
        return None
    return record if [record["size_bytes"], record["mtime_ns"]] == list(_stamp(path.stat())) else None


def _stamp(status: os.stat_result) -> tuple[int, int]:
    return status.st_size, status.st_mtime_ns


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
