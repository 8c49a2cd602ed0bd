"""Compare the files of a release with those that the Hub lists: which are new, changed or the same.

Nothing here calls the Hub: the functions take the client's objects and return PublishedFile and Change.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from zoo.publishing.release import Change, PublishedFile, Release, ReleaseFile


def file_of_info(sibling: Any) -> PublishedFile:
    """Return a file of the client's model_info."""
    sha256 = sibling.lfs["sha256"] if sibling.lfs else ""
    return PublishedFile(sibling.rfilename, sibling.size or 0, sha256, "" if sibling.lfs else sibling.blob_id or "")


def file_of_tree(entry: Any) -> PublishedFile:
    """Return a file of the client's tree."""
    sha256 = entry.lfs.sha256 if entry.lfs else ""
    return PublishedFile(entry.path, entry.size, sha256, "" if entry.lfs else entry.blob_id)


def compare(file: ReleaseFile, published_file: PublishedFile | None) -> str:
    """Return `new`, `changed` or `same`, by size and digest: a large file's SHA-256, a small one's git blob id."""
    if published_file is None:
        return "new"
    if published_file.size_bytes != file.size_bytes:
        return "changed"
    if published_file.sha256:
        return "same" if published_file.sha256 == file.sha256 else "changed"
    return "same" if published_file.git_sha1 == file.git_sha1 else "changed"


def changes_of(release: Release, published_files: Mapping[str, PublishedFile]) -> tuple[Change, ...]:
    """Return what publishing the release over these files would do, file by file."""
    return tuple(Change(item, compare(item, published_files.get(item.path))) for item in release.files)


def is_published(changes: Iterable[Change], published_files: Mapping[str, PublishedFile]) -> bool:
    """Whether each file of the changes is published as it is in the release."""
    return all(compare(change.file, published_files.get(change.file.path)) == "same" for change in changes)


def differences(release: Release, published_files: Mapping[str, PublishedFile]) -> list[str]:
    """Describe each file of the release that is published differently or not at all; empty when there is none."""
    return [
        _describe_difference(item, published_files.get(item.path))
        for item in release.files
        if compare(item, published_files.get(item.path)) != "same"
    ]


def _describe_difference(file: ReleaseFile, published_file: PublishedFile | None) -> str:
    if published_file is None:
        return f"{file.path} is missing"
    digest = published_file.sha256 or published_file.git_sha1
    return (
        f"{file.path}: expected {file.size_bytes} bytes, sha256 {file.sha256},"
        f" got {published_file.size_bytes} bytes, digest {digest}"
    )


def is_upload_different(operations: Iterable[Any], changes: Iterable[Change]) -> bool:
    """Whether the client measured other bytes while it uploaded."""
    digests = {change.file.path: change.file.sha256 for change in changes}
    infos = {item.path_in_repo: item.upload_info for item in operations if hasattr(item, "upload_info")}
    return any(info.is_hashed and info.sha256.hex() != digests[path] for path, info in infos.items())


def file_stamps(changes: Iterable[Change]) -> list[tuple[int, int]]:
    """Return size and modification time, in nanoseconds, of the files on disk."""
    paths = [change.file.content for change in changes if isinstance(change.file.content, Path)]
    return [(status.st_size, status.st_mtime_ns) for status in (path.stat() for path in paths)]
