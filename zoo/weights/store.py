"""Find or fetch the weights of a card, and return an Artifact: a file on this machine with measured size and sha256.

Below `home()`:

    blobs/<sha256>/<file>           read-only, put there whole and right by one rename, or not at all; no symlinks
    blobs/<sha256>/.record-2.json     where it came from, and the stamp by which a later change is noticed; see records
    partial/                        what interrupted transfers left; see transfer
    quarantine/                     files that were not what their card says, each with the reason beside it

Reading and measuring stand apart from judging: `locate` looks, `measure` reads, `disagreement` judges, `fetch` does all
three and gets what is missing.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from zoo.errors import CannotCheck, NotHere, TransferFailed, UsageError, WrongContent, ZooError
from zoo.registry.card import Card, Weights
from zoo.runtime.storage import home
from zoo.weights import other_caches, records
from zoo.weights.sources import Sources, redact_url
from zoo.weights.transfer.connections import HEAD_BYTES, DownloadContext, DownloadProgress, DownloadRequest
from zoo.weights.transfer.download import transfer
from zoo.weights.transfer.lock import download_lock
from zoo.weights.transfer.partial import cannot_write, folder_in_home, sync
from zoo.weights.transfer.policy import RetryPolicy, sniff_type

TRIES_OF_A_WRONG_FILE = 3
_BLOCK_BYTES = 1 << 20


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


def locate(card: Card, weights: Weights) -> Path | None:
    """Where the file lies on this machine, or None: beside the card when it has no URL, or in the store.

    Nothing is read and nothing is fetched: a file beside the card is found by its name, one in the store by the card's
    digest or its first digits, and without a digest by the URL that it came from.
    """
    path = card.path.absolute().parent / _plain_name(weights)
    if not weights.urls and path.is_file():
        return path
    return next(iter(_stored_paths(weights)), None)


def measure(weights: Weights, path: Path) -> Artifact:
    """Read the file and measure its size and sha256, without judging them.

    A file of the store that is unchanged since it was measured is not read again.
    Raises CannotCheck when the file cannot be read or changes meanwhile.
    """
    record = records.current_record(path)
    if record is not None:
        evidence = (f"measured {record.stored}, unchanged since",)
        return _artifact(weights, path, record.size_bytes, record.sha256, record.origin, evidence)
    size_bytes, sha256 = digest(path)
    if not records.is_blob(path):
        return _artifact(weights, path, size_bytes, sha256, "beside the card")
    origin = records.origin_of(path) or "the store"
    if sha256 == path.parent.name:
        records.note_use(path, sha256, origin)
    return _artifact(weights, path, size_bytes, sha256, origin)


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
    hasher, block = hashlib.sha256(), memoryview(bytearray(_BLOCK_BYTES))
    try:
        with path.open("rb", buffering=0) as file:
            before = records.stamp(os.fstat(file.fileno()))
            while count := file.readinto(block):
                hasher.update(block[:count])
            if records.stamp(os.fstat(file.fileno())) != before:
                raise CannotCheck(f"{path.name} was changed while it was read", where=str(path), hint="try again")
    except OSError as error:
        raise CannotCheck(f"{path.name} cannot be read: {error.strerror}", where=str(path)) from error
    return before[0], hasher.hexdigest()


def fetch(
    card: Card,
    weights: Weights,
    *,
    offline: bool = False,
    connections: int = 8,
    retry_policy: RetryPolicy | None = None,
    progress: Callable[[DownloadProgress], None] | None = None,
) -> Artifact:
    """The file, right by all that the card says of it, from this machine or else from its addresses in order.

    A file that is in the store, beside the card, or in another tool's cache is used without any connection.
    connections: at most so many to one server. progress: called a few times a second from the calling thread.
    Raises NotHere (offline, or no address and no file), TransferFailed (no address brought it whole, or each try other
    bytes), WrongContent (what is there is not what the card says), CannotCheck (disk full or not writable).
    """
    with Sources() as sources:
        return _fetch(card, weights, _context(sources, connections, retry_policy, progress), offline=offline)


def quarantine(path: Path, file: str, *, size_bytes: int, sha256: str, origin: str, reason: str) -> Path:
    """Move a wrong file to the quarantine, with the reason beside it; the same bytes again take the same place.

    file: the name to keep it under, after the beginning of its digest.

    Raises CannotCheck when it cannot be moved.
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
        target.with_name(f"{target.name}.json").write_text(json.dumps(explanation), encoding="utf-8")
    except OSError as error:
        raise cannot_write(target.parent, error) from error
    return target


@dataclass(frozen=True, slots=True)
class Fetched:
    """One file that was asked for, and what came of it."""

    card: Card
    weights: Weights
    outcome: Artifact | ZooError


@dataclass(frozen=True, slots=True)
class Planned:
    """One file that would be fetched: where it is already, or None."""

    card: Card
    weights: Weights
    path: Path | None


def plan(files: Sequence[tuple[Card, Weights]]) -> tuple[Planned, ...]:
    """What fetch_all would find here and what it would have to get; nothing is read and nothing is fetched."""
    return tuple(Planned(card, weights, locate(card, weights)) for card, weights in files)


def free_bytes() -> int:
    """Room on the disk that holds the store."""
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
    """See fetch: `jobs` files at a time, given in the order of `files`; a failure stops none of the others.

    progress: called from several threads.
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
    path = card.path.absolute().parent / _plain_name(weights)
    if weights.urls or not path.is_file():
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
            records.note_use(path, artifact.sha256, artifact.origin)
            return artifact
        reason = f"it was changed in the store, where it was {path.parent.name}"
        _quarantine_artifact(path, artifact, reason)
    return None


def _from_other_caches(weights: Weights) -> Artifact | None:
    """A file that another tool keeps on this machine, if it is the right one, linked or copied into the store."""
    if weights.sha256 is None:
        return None
    for path, origin in other_caches.paths(weights):
        target = other_caches.link_or_copy(path)
        size_bytes, sha256 = digest(target)
        if not disagreement(weights, size_bytes, sha256):
            return _place(target, _artifact(weights, path, size_bytes, sha256, origin))
        target.unlink()
    return None


def _from_addresses(weights: Weights, request: DownloadRequest, context: DownloadContext) -> Artifact:
    """The file from the network. A wrong one is put aside and asked for again, from the next address if there is one.

    The same wrong bytes twice are the publisher's; other bytes each time are damaged on the way.
    """
    urls, digests, notes = list(weights.urls), set[str](), list[str]()
    while True:
        downloaded = transfer(replace(request, urls=tuple(urls)), folder_in_home("partial"), context)
        artifact = _artifact(weights, downloaded.part.path, downloaded.size_bytes, downloaded.sha256, downloaded.url)
        artifact = replace(artifact, evidence=(*artifact.evidence, *notes, *downloaded.notes))
        downloaded.part.close()
        if not downloaded.part.path.exists():  # we were taken for dead, and it was taken over
            if stored := _from_store(weights):
                return stored
            continue
        wrong = disagreement(weights, downloaded.size_bytes, downloaded.sha256)
        looks_like = sniff_type(_head(downloaded.part.path)) if wrong or weights.sha256 is None else ""
        if not wrong and not looks_like:
            return _place(downloaded.part.path, artifact)
        reason = wrong + f"; it is {looks_like}" * bool(looks_like)
        quarantined = _quarantine_artifact(downloaded.part.path, artifact, reason)
        if looks_like:
            urls = [url for url in urls if redact_url(url) != downloaded.url]
        if (looks_like and not urls) or downloaded.sha256 in digests:
            raise _wrong_file(weights, artifact, looks_like, quarantined)
        if len(digests) == TRIES_OF_A_WRONG_FILE - 1:
            raise _damaged(weights, artifact, quarantined)
        digests.add(downloaded.sha256)
        notes.append(f"not from {downloaded.url}: {reason}")
        urls = urls[1:] + urls[:1] if redact_url(urls[0]) == downloaded.url else urls


def _wrong_file(weights: Weights, artifact: Artifact, looks_like: str, quarantined: Path) -> WrongContent:
    if looks_like:
        what = f"{artifact.origin} has {looks_like}, in place of {weights.file}"
        return WrongContent(
            what, where=str(weights.where), hint=f"look at {quarantined}, and correct the address in the card"
        )
    what = (
        f"the publisher's {weights.file} is not what the card says, two downloads were the same:"
        f" {artifact.size_bytes} bytes, sha256 {artifact.sha256}; the card says {weights.size_bytes or 'nothing'}"
        f" and {weights.sha256}"
    )
    hint = "ask the publisher; if the file was changed on purpose, put its size_bytes and sha256 into the card"
    return WrongContent(what, where=str(weights.where["sha256"]), hint=f"{hint} (it is kept as {quarantined})")


def _damaged(weights: Weights, artifact: Artifact, quarantined: Path) -> TransferFailed:
    what = (
        f"the download of {weights.file} is damaged: {TRIES_OF_A_WRONG_FILE} tries brought {TRIES_OF_A_WRONG_FILE}"
        f" different files, none with sha256 {weights.sha256}"
    )
    hint = f"try again, from another network or without a proxy; the last one is kept as {quarantined}"
    return TransferFailed(what, where=artifact.origin, hint=hint)


def _not_here(card: Card, weights: Weights) -> NotHere:
    if weights.urls:
        return NotHere(
            f"{weights.file} is not on this machine", where=str(weights.where), hint=f"run `zoo fetch {card.name}`"
        )
    hint = f"put it beside {card.path}, or give its address under `urls`"
    return NotHere(f"{weights.file} is not beside its card and has no address", where=str(weights.where), hint=hint)


def _place(path: Path, artifact: Artifact) -> Artifact:
    """Move a whole, right and synced file to its place in the store, and write the record of it."""
    target = folder_in_home("blobs", artifact.sha256) / artifact.file
    try:
        with suppress(PermissionError):  # a link to somebody else's file
            path.chmod(0o444)
        path.replace(target)
        sync(target.parent)
        sync(target.parent.parent)
    except OSError as error:
        raise cannot_write(target.parent, error) from error
    records.write_record(target, artifact.sha256, artifact.origin)
    return replace(artifact, path=target)


def _quarantine_artifact(path: Path, artifact: Artifact, reason: str) -> Path:
    return quarantine(path, artifact.file, size_bytes=artifact.size_bytes, sha256=artifact.sha256, origin=artifact.origin,
                     reason=reason)  # fmt: skip


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(HEAD_BYTES)


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
            f"{weights.file!r} is no plain file name",
            where=str(weights.where["file"]),
            hint="give a name without a path",
        )
    return weights.file


def _stored_paths(weights: Weights) -> list[Path]:
    """Files of the store that may be this one, by digest and size, else by origin.

    Raises CannotCheck when the store cannot be looked into.
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
    except FileNotFoundError:  # pruned meanwhile
        return []
    except OSError as error:
        hint = "have its owner open it to you, or set ZOO_HOME to a folder of yours"
        raise CannotCheck(f"the store cannot be read: {error.strerror}", where=str(blobs), hint=hint) from error


def _folders(blobs: Path, digits: str) -> list[Path]:
    return sorted(path for path in blobs.iterdir() if path.name.startswith(digits)) if blobs.is_dir() else []


def _files(folder: Path, preferred: str) -> list[Path]:
    """The files of a blob's folder, the preferred name first: all its names are of the same bytes."""
    if not folder.is_dir():
        return []
    names = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    return sorted(names, key=lambda path: path.name != preferred)
