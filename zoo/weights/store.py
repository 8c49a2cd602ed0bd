"""Find or download the weights of a card, and return an Artifact: a file on this machine with measured size and sha256.

Below `home()`:

    blobs/<sha256>/<file>           a complete and verified file: read-only, no symlink, put there by one rename
    blobs/<sha256>/.record-2.json   where it came from, and what shows that it has changed; see records
    partial/                        part files of running and interrupted downloads; see transfer
    quarantine/                     files that did not match their card, each with a JSON file that gives the reason

`locate` finds a file, `measure` hashes it, `disagreement` compares it with the card. `fetch` does all three, and
downloads a file that is not here.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from zoo.errors import CannotCheck, NotHere, TransferFailed, WrongContent, ZooError
from zoo.registry import files
from zoo.registry.card import Card, Weights
from zoo.runtime.storage import clear_way, home, write_atomically
from zoo.weights import other_caches, records
from zoo.weights.contents import FileDigest, Stamp, copy_file, measure_file
from zoo.weights.sources import Sources, redact_url
from zoo.weights.transfer.connections import HEAD_BYTES, DownloadContext, DownloadProgress, DownloadRequest
from zoo.weights.transfer.download import transfer
from zoo.weights.transfer.lock import download_lock
from zoo.weights.transfer.partial import cannot_write, folder_in_home, sync
from zoo.weights.transfer.policy import RetryPolicy, sniff_type

WRONG_FILE_TRIES = 3


@dataclass(frozen=True, slots=True)
class Artifact:
    """A weights file with measured size and digest. Only this module creates one."""

    path: Path
    file: str
    """The file's name in the card; `path` may have another name when two cards share a file."""
    format: str | None
    size_bytes: int
    sha256: str
    """All 64 digits, also when the card has fewer."""
    origin: str
    """The URL that it came from, without credentials, or `beside the card`, or the name of another cache."""
    evidence: tuple[str, ...] = ()
    """Notes for the report: when it was measured, which mirrors failed, that the card's digest is short."""
    stamp: Stamp | None = None
    """What shows that the file is unchanged since it was measured; without one, whoever reads the file hashes it again."""

    @property
    def measured(self) -> FileDigest:
        """What was measured of the bytes."""
        return FileDigest(self.size_bytes, self.sha256, self.stamp)


def locate(card: Card, weights: Weights) -> Path | None:
    """Return the path of the file on this machine, or None: beside the card when it has no URL, or in the store.

    Neither reads nor downloads the file. A file beside the card is found by its name; a file in the store by the card's
    digest or its first digits, or, without a digest, by the URL that it came from. Raises CardError when the card's file
    name has a path, or the file beside the card is not a regular one there; CannotCheck when the store is not readable.
    """
    return _path_beside_card(card, weights) or next(iter(_stored_paths(weights)), None)


def measure(weights: Weights, path: Path, *, refresh: bool = False) -> Artifact:
    """Measure the size and sha256 of the file, without comparing them with the card.

    A file in the store that has not changed since it was measured is not read again, except with `refresh`.
    Raises CannotCheck when the file is not readable or changes at the same time.
    """
    record = None if refresh else records.current_record(path)
    if record is not None and record.stamp is not None:
        evidence = (f"measured {record.stored}, unchanged since",)
        measured = FileDigest(record.stamp.size_bytes, record.sha256, record.stamp)
        return _artifact(weights, path, measured, record.origin, evidence)
    measured = measure_file(path)
    if not records.is_blob(path):
        return _artifact(weights, path, measured, "beside the card")
    origin = records.origin_of(path) or "the store"
    if measured.sha256 == path.parent.name:
        records.write_record(path, measured.sha256, origin, measured.stamp)
    else:
        records.forget(path)
    return _artifact(weights, path, measured, origin)


def measure_copy(weights: Weights, path: Path, target: Path) -> Artifact:
    """Copy the file to a new one, and return the copy with its size and sha256, without comparing them with the card.

    Raises CannotCheck as `contents.copy_file` does.
    """
    origin = (records.origin_of(path) or "the store") if records.is_blob(path) else "beside the card"
    return _artifact(weights, target, copy_file(path, target), origin)


def disagreement(weights: Weights, size_bytes: int, sha256: str) -> str:
    """Return how a measured file differs from the card, size first; empty when it matches what the card says."""
    if weights.size_bytes is not None and size_bytes != weights.size_bytes:
        return f"{weights.file} has {size_bytes} bytes, the card says {weights.size_bytes}"
    if weights.sha256 is not None and not sha256.startswith(weights.sha256):
        return f"sha256 of {weights.file} is {sha256}, the card says {weights.sha256}"
    return ""


def digest(path: Path) -> tuple[int, str]:
    """Return the size in bytes and the sha256 of a file. Raises as `measure_file` does."""
    measured = measure_file(path)
    return measured.size_bytes, measured.sha256


def fetch(
    card: Card,
    weights: Weights,
    *,
    offline: bool = False,
    connections: int = 8,
    retry_policy: RetryPolicy | None = None,
    progress: Callable[[DownloadProgress], None] | None = None,
) -> Artifact:
    """Return the file, which matches the card, from this machine or else from the first of its addresses that works.

    A file in the store, beside the card, or in another tool's cache is used without a connection.
    connections: the most to one server. progress: called a few times a second from the calling thread.
    Raises NotHere (offline, or no file and no address), TransferFailed (no download completed, or each had different
    bytes), WrongContent (the file does not match the card), CannotCheck (disk full or not writable).
    """
    with Sources() as sources:
        return _fetch(card, weights, _context(sources, connections, retry_policy, progress), offline=offline)


def quarantine(path: Path, file: str, *, size_bytes: int, sha256: str, origin: str, reason: str) -> Path:
    """Move a wrong file to the quarantine, write the reason beside it, and return its new path.

    Its name there is the beginning of its digest and `file`, so equal files replace each other.
    Raises CannotCheck when writing fails.
    """
    target = folder_in_home("quarantine") / f"{sha256[:16]}-{file}"
    explanation = {
        "reason": reason,
        "origin": origin,
        "size_bytes": size_bytes,
        "sha256": sha256,
        "when": records.time_now(),
    }
    try:
        path.replace(target)
        write_atomically(target.with_name(f"{target.name}.json"), json.dumps(explanation))
    except OSError as error:
        raise cannot_write(target.parent, error) from error
    return target


@dataclass(frozen=True, slots=True)
class Fetched:
    """A requested file, and its artifact or error."""

    card: Card
    weights: Weights
    outcome: Artifact | ZooError


@dataclass(frozen=True, slots=True)
class Planned:
    """A file that `fetch_all` would return: its path if it is on this machine, else None."""

    card: Card
    weights: Weights
    path: Path | None


def plan(files: Sequence[tuple[Card, Weights]]) -> tuple[Planned, ...]:
    """Return which files are on this machine and which ones `fetch_all` would download, without reading any."""
    return tuple(Planned(card, weights, locate(card, weights)) for card, weights in files)


def free_bytes() -> int:
    """Return the free space on the disk of the store, in bytes."""
    return shutil.disk_usage(next(path for path in (home(), *home().parents) if path.exists())).free


def fetch_all(
    files: Sequence[tuple[Card, Weights]],
    *,
    jobs: int = 4,
    offline: bool = False,
    connections: int = 8,
    retry_policy: RetryPolicy | None = None,
    progress: Callable[[DownloadProgress], None] | None = None,
) -> Generator[Fetched, None, None]:
    """Yield the result of `fetch` for each file, in the order of `files`; `jobs` files are fetched at a time.

    An error of one file does not stop the others. progress: called from several threads.
    """

    def fetch_one(pair: tuple[Card, Weights]) -> Fetched:
        try:
            return Fetched(*pair, _fetch(*pair, context, offline=offline))
        except ZooError as error:
            return Fetched(*pair, error)

    with Sources() as sources, ThreadPoolExecutor(max_workers=jobs) as pool:
        context = _context(sources, connections, retry_policy, progress)
        try:
            yield from pool.map(fetch_one, files)
        except BaseException:
            context.stop.set()
            pool.shutdown(cancel_futures=True)
            raise


def _context(
    sources: Sources,
    connections: int,
    retry_policy: RetryPolicy | None,
    progress: Callable[[DownloadProgress], None] | None,
) -> DownloadContext:
    return DownloadContext(
        sources, connections, retry_policy or RetryPolicy(), report_progress=progress or (lambda progress: None)
    )


def _fetch(card: Card, weights: Weights, context: DownloadContext, *, offline: bool) -> Artifact:
    artifact = _from_card_folder(card, weights) or _from_store(weights) or _from_other_caches(weights)
    if artifact is not None:
        return artifact
    if offline or not weights.urls:
        raise _not_here(card, weights)
    request = DownloadRequest(card.name, weights.file, weights.urls, weights.size_bytes, weights.sha256 or "")
    with download_lock(request, context):
        return _from_store(weights) or _from_addresses(weights, request, context)


def _from_card_folder(card: Card, weights: Weights) -> Artifact | None:
    path = _path_beside_card(card, weights)
    if path is None:
        return None
    artifact = measure(weights, path)
    wrong = disagreement(weights, artifact.size_bytes, artifact.sha256)
    if wrong:
        hint = "put the right file beside the card, or correct size_bytes and sha256 in the card"
        raise WrongContent(wrong, where=str(weights.where), hint=hint)
    return artifact


def _from_store(weights: Weights) -> Artifact | None:
    for path in _stored_paths(weights):
        artifact = measure(weights, path)
        if artifact.sha256 == path.parent.name:
            records.note_use(path)
            return artifact
        reason = f"the file changed in the store: its sha256 was {path.parent.name}"
        _quarantine_artifact(path, artifact, reason)
    return None


def _from_other_caches(weights: Weights) -> Artifact | None:
    """Link or copy a matching file from another tool's cache into the store; None when there is none."""
    if weights.sha256 is None:
        return None
    for path, origin in other_caches.paths(weights):
        target = other_caches.link_or_copy(path)
        measured = measure_file(target)
        if not disagreement(weights, measured.size_bytes, measured.sha256):
            return _place(target, _artifact(weights, path, measured, origin))
        target.unlink()
    return None


def _from_addresses(weights: Weights, request: DownloadRequest, context: DownloadContext) -> Artifact:
    """Download the file. A wrong one is quarantined and downloaded again, from the next address if there is one.

    Two downloads with the same wrong bytes mean that the publisher's file is wrong; different bytes each time mean that
    the connection damages them.
    """
    urls, digests, notes = list(weights.urls), set[str](), list[str]()
    while True:
        downloaded = transfer(replace(request, urls=tuple(urls)), folder_in_home("partial"), context)
        measured = FileDigest(downloaded.size_bytes, downloaded.sha256, None)
        artifact = _artifact(weights, downloaded.part.path, measured, downloaded.url)
        artifact = replace(artifact, evidence=(*artifact.evidence, *notes, *downloaded.notes))
        downloaded.part.close()
        if not downloaded.part.path.exists():  # another process considered this one gone, and took the part over
            if stored := _from_store(weights):
                return stored
            continue
        wrong = disagreement(weights, downloaded.size_bytes, downloaded.sha256)
        looks_like = sniff_type(_head(downloaded.part.path)) if wrong or weights.sha256 is None else ""
        if not wrong and not looks_like:
            return _place(downloaded.part.path, artifact)
        reason = "; ".join(filter(None, (wrong, f"it is {looks_like}" if looks_like else "")))
        quarantined = _quarantine_artifact(downloaded.part.path, artifact, reason)
        if looks_like:
            urls = [url for url in urls if redact_url(url) != downloaded.url]
        if (looks_like and not urls) or downloaded.sha256 in digests:
            raise _wrong_file(weights, artifact, looks_like, quarantined)
        if len(digests) == WRONG_FILE_TRIES - 1:
            raise _damaged_download(weights, artifact, quarantined)
        digests.add(downloaded.sha256)
        notes.append(f"tried {downloaded.url}: {reason}")
        urls = urls[1:] + urls[:1] if redact_url(urls[0]) == downloaded.url else urls


def _wrong_file(weights: Weights, artifact: Artifact, looks_like: str, quarantined: Path) -> WrongContent:
    if looks_like:
        what = f"{artifact.origin} has {looks_like} instead of {weights.file}"
        hint = f"look at {quarantined}, then correct the address in the card"
        return WrongContent(what, where=str(weights.where), hint=hint)
    what = (
        f"the publisher's {weights.file} does not match the card (two downloads were equal): it has"
        f" {artifact.size_bytes} bytes, sha256 {artifact.sha256}; the card says {_claimed(weights)}"
    )
    hint = f"if the publisher changed the file on purpose, correct size_bytes and sha256 in the card; see {quarantined}"
    return WrongContent(what, where=str(weights.where["sha256"]), hint=hint)


def _claimed(weights: Weights) -> str:
    size = "" if weights.size_bytes is None else f"{weights.size_bytes} bytes"
    return ", ".join(filter(None, (size, "" if weights.sha256 is None else f"sha256 {weights.sha256}")))


def _damaged_download(weights: Weights, artifact: Artifact, quarantined: Path) -> TransferFailed:
    what = (
        f"downloads of {weights.file} are damaged: {WRONG_FILE_TRIES} tries returned {WRONG_FILE_TRIES} different"
        f" files, none with {_claimed(weights)}"
    )
    hint = f"try another network, or no proxy; the last download is {quarantined}"
    return TransferFailed(what, where=artifact.origin, hint=hint)


def _not_here(card: Card, weights: Weights) -> NotHere:
    if weights.urls:
        return NotHere(
            f"{weights.file} is not on this machine", where=str(weights.where), hint=f"run `zoo fetch {card.name}`"
        )
    hint = f"put it beside {card.path}, or add its address to `urls`"
    return NotHere(f"{weights.file} is not beside its card and has no address", where=str(weights.where), hint=hint)


def _place(path: Path, artifact: Artifact) -> Artifact:
    """Move a verified file that is flushed to the disk into the store, and write its record."""
    target = folder_in_home("blobs", artifact.sha256) / artifact.file
    try:
        with suppress(PermissionError):  # a link to another user's file
            path.chmod(0o444)
        if target.is_dir():  # not of zoo
            clear_way(target)
        path.replace(target)
        sync(target.parent)
        sync(target.parent.parent)
        status = target.stat()
    except OSError as error:
        raise cannot_write(target.parent, error) from error
    # The other tool may have changed a linked file since it was hashed, and moving it has changed its stamp.
    stamp = Stamp.of(status) if status.st_nlink == 1 else None
    records.write_record(target, artifact.sha256, artifact.origin, stamp)
    return replace(artifact, path=target, stamp=stamp)


def _quarantine_artifact(path: Path, artifact: Artifact, reason: str) -> Path:
    size_bytes, sha256, origin = artifact.size_bytes, artifact.sha256, artifact.origin
    return quarantine(path, artifact.file, size_bytes=size_bytes, sha256=sha256, origin=origin, reason=reason)


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(HEAD_BYTES)


def _artifact(
    weights: Weights, path: Path, measured: FileDigest, origin: str, evidence: tuple[str, ...] = ()
) -> Artifact:
    if weights.sha256 is not None and len(weights.sha256) < len(measured.sha256):
        evidence = (*evidence, f"weak: the card has only {len(weights.sha256)} of 64 digits")
    if weights.sha256 is None:
        evidence = (*evidence, "unverified: the card has no sha256")
    size_bytes, sha256 = measured.size_bytes, measured.sha256
    return Artifact(path, weights.file, weights.format, size_bytes, sha256, origin, evidence, measured.stamp)


def _plain_name(weights: Weights) -> str:
    return files.plain_name(weights.file, str(weights.where["file"]))


def _path_beside_card(card: Card, weights: Weights) -> Path | None:
    """Return the path of the file in the card's folder; None when it has URLs, or is not there."""
    _plain_name(weights)
    return None if weights.urls else files.path_beside(card.path, weights.file, str(weights.where["file"]))


def _stored_paths(weights: Weights) -> list[Path]:
    """Return the paths in the store that may be this file, by digest and size, or without a digest by origin.

    Raises CannotCheck when the store is not readable.
    """
    name, blobs = _plain_name(weights), home() / "blobs"
    try:
        if weights.sha256 is None:
            origins = {redact_url(url) for url in weights.urls}
            paths = [folder / name for folder in _folders(blobs, "") if (folder / name).is_file()]
            paths = [path for path in paths if records.origin_of(path) in origins]
        elif len(weights.sha256) == 64:
            paths = _files(blobs / weights.sha256, name)
        else:
            paths = [path for folder in _folders(blobs, weights.sha256) for path in _files(folder, name)]
        return [path for path in paths if weights.size_bytes in (None, path.stat().st_size)]
    except FileNotFoundError:  # pruned at the same time
        return []
    except OSError as error:
        hint = "ask its owner for read access, or set ZOO_HOME to another folder"
        raise CannotCheck(f"cannot read the store: {error.strerror}", where=str(blobs), hint=hint) from error


def _folders(blobs: Path, digits: str) -> list[Path]:
    return sorted(path for path in blobs.iterdir() if path.name.startswith(digits)) if blobs.is_dir() else []


def _files(folder: Path, preferred: str) -> list[Path]:
    """Return the files in a blob's folder, which all have the same bytes, the preferred name first."""
    if not folder.is_dir():
        return []
    names = sorted(path for path in folder.iterdir() if not path.name.startswith(".") and path.is_file())
    return sorted(names, key=lambda path: path.name != preferred)
