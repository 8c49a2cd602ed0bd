"""A repository as the Hub keeps it: git objects with git's own ids, branches, tags and pull requests, in memory.

The ids are real (`git write-tree` over the same files gives the same tree), because the client compares them: a
regular file by its blob's sha1, a large file by the sha256 in its LFS pointer.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from .replies import Refusal

FIRST_COMMIT_TIME = datetime(2026, 1, 1, tzinfo=timezone.utc)
"""Commits are one second apart from here on: the ids do not depend on the clock."""

REGULAR_LIMIT_BYTES = 5_000_000
"""Larger files go to LFS whatever they hold. Source: huggingface_hub 2.4, CommitOperationAdd._local_oid: a regular
file "is guaranteed to be <=5MB"."""

GITATTRIBUTES = b"".join(
    f"{pattern} filter=lfs diff=lfs merge=lfs -text\n".encode()
    for pattern in ("*.bin", "*.h5", "*.npz", "*.onnx", "*.pickle", "*.pkl", "*.pt", "*.pth", "*.safetensors", "*.zip")
)
"""The first commit of every new repository holds this one file."""


def timestamp(date: datetime) -> str:
    """A time as the client parses it, and no other way: `2026-01-01T00:00:00.000Z`."""
    return date.strftime("%Y-%m-%dT%H:%M:%S.000Z")


def object_id(kind: str, body: bytes) -> str:
    """Git's id of an object: sha1 over `kind size NUL body`."""
    return hashlib.sha1(b"%s %d\0" % (kind.encode(), len(body)) + body).hexdigest()


@dataclass(frozen=True, slots=True)
class LfsPointer:
    """What git keeps in place of a large file. Source: git-lfs/docs/spec.md, version 1."""

    sha256: str
    size_bytes: int

    @property
    def text(self) -> bytes:
        lines = ("version https://git-lfs.github.com/spec/v1", f"oid sha256:{self.sha256}", f"size {self.size_bytes}")
        return "".join(f"{line}\n" for line in lines).encode()


@dataclass(frozen=True, slots=True)
class Blob:
    """One file: its bytes in git, and the pointer when these are a pointer's."""

    content: bytes
    lfs: LfsPointer | None = None

    @classmethod
    def of_pointer(cls, pointer: LfsPointer) -> Blob:
        return cls(pointer.text, pointer)

    @property
    def oid(self) -> str:
        return object_id("blob", self.content)

    @property
    def size_bytes(self) -> int:
        return self.lfs.size_bytes if self.lfs else len(self.content)

    @property
    def etag(self) -> str:
        """What the client names the file by in its cache and compares before an upload."""
        return self.lfs.sha256 if self.lfs else self.oid


Files = Mapping[str, Blob]


def folder_id(files: Files, folder: str = "") -> str:
    """Git's id of the tree at `folder` ("" is the root) of these files."""
    entries: dict[str, tuple[str, str]] = {}
    for path, blob in files.items():
        if not path.startswith(folder):
            continue
        name, _, below = path.removeprefix(folder).partition("/")
        if not below:
            entries[name] = ("100644", blob.oid)
        elif name not in entries:
            entries[name] = ("40000", folder_id(files, f"{folder}{name}/"))
    in_git_order = sorted(entries.items(), key=lambda entry: entry[0] + ("/" if entry[1][0] == "40000" else ""))
    return object_id(
        "tree", b"".join(f"{mode} {name}\0".encode() + bytes.fromhex(oid) for name, (mode, oid) in in_git_order)
    )


@dataclass(frozen=True, slots=True)
class Commit:
    """A snapshot of all files and the commit before it."""

    oid: str
    parent: str | None
    author: str
    date: datetime
    title: str
    description: str
    files: Files = field(repr=False)

    @classmethod
    def create(
        cls, files: Files, *, parent: str | None, author: str, date: datetime, title: str, description: str = ""
    ) -> Commit:
        person = f"{author} <{author}@users.noreply.localhost> {int(date.timestamp())} +0000"
        lines = [f"tree {folder_id(files)}", *([f"parent {parent}"] if parent else [])]
        lines += [f"author {person}", f"committer {person}", "", title, *(["", description] if description else [])]
        oid = object_id("commit", "\n".join([*lines, ""]).encode())
        return cls(oid, parent, author, date, title, description, dict(files))


@dataclass(slots=True)
class PullRequest:
    """An offer of commits; its head is the ref `refs/pr/<number>`."""

    number: int
    author: str
    title: str
    base: str
    head: str
    date: datetime
    status: str = "open"


class Repository:
    """All that the Hub knows about one repository. Not thread-safe: the server calls it under its lock."""

    def __init__(self, repo_id: str, *, kind: str, owner: str, private: bool, gated: str | bool) -> None:
        self.repo_id = repo_id
        self.kind = kind
        """`model` or `dataset`."""
        self.private = private
        self.gated = gated
        """False, `auto` or `manual`; the files of a gated repository are for its namespace and `accepted` only."""
        self.accepted: set[str] = set()
        self.lfs_objects: set[str] = set()
        """sha256 of the large files that were uploaded for this repository, committed or not."""
        self.branches: dict[str, str] = {}
        self.tags: dict[str, str] = {}
        self.pull_requests: dict[int, PullRequest] = {}
        self._commits: dict[str, Commit] = {}
        first = self._store({".gitattributes": Blob(GITATTRIBUTES)}, None, owner, "initial commit", "")
        self.branches["main"] = first.oid

    @property
    def namespace(self) -> str:
        return self.repo_id.split("/")[0]

    @property
    def head(self) -> str:
        """The oid of main's last commit."""
        return self.branches["main"]

    def refs(self) -> dict[str, str]:
        """Every ref's full name and target: equal before and after means that nothing was written."""
        heads = {f"refs/heads/{name}": oid for name, oid in self.branches.items()}
        tags = {f"refs/tags/{name}": oid for name, oid in self.tags.items()}
        return heads | tags | {f"refs/pr/{number}": pr.head for number, pr in self.pull_requests.items()}

    def resolve(self, revision: str) -> Commit:
        """The commit that a branch, tag, `refs/pr/N`, full ref name or 40-digit oid names."""
        refs = self.refs()
        for name in (f"refs/heads/{revision}", f"refs/tags/{revision}", revision):
            if name in refs:
                return self._commits[refs[name]]
        if revision in self._commits:
            return self._commits[revision]
        raise Refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")

    def history(self, revision: str = "main") -> list[Commit]:
        """The commits that lead to a revision, the newest first."""
        return list(self._ancestors(self.resolve(revision)))

    def _ancestors(self, commit: Commit) -> Iterator[Commit]:
        yield commit
        while commit.parent:
            commit = self._commits[commit.parent]
            yield commit

    def commit(self, files: Files, *, to: str, author: str, title: str, description: str = "") -> Commit:
        """Make `files` the next snapshot of a branch or of an open pull request, in one step."""
        made = self._store(files, self._writable_head(to), author, title, description)
        if to in self.branches:
            self.branches[to] = made.oid
        else:
            self._open_pull_request(to).head = made.oid
        return made

    def open_pull_request(
        self, files: Files, *, to: str, author: str, title: str, description: str = ""
    ) -> PullRequest:
        """Offer `files` as the next snapshot of a branch, which stays as it is."""
        made = self._store(files, self._writable_head(to), author, title, description)
        number = len(self.pull_requests) + 1
        self.pull_requests[number] = PullRequest(number, author, title, to, made.oid, made.date)
        return self.pull_requests[number]

    def merge(self, number: int, *, author: str) -> Commit:
        """Take what a pull request changed over into its base."""
        pr = self._open_pull_request(f"refs/pr/{number}")
        changed = self._changes(pr)
        files = {path: blob for path, blob in self.resolve(pr.base).files.items() if changed.get(path, blob)}
        files |= {path: blob for path, blob in changed.items() if blob}
        made = self.commit(files, to=pr.base, author=author, title=f"{pr.title} (#{number})")
        pr.status = "merged"
        return made

    def _changes(self, pr: PullRequest) -> dict[str, Blob | None]:
        """Path to new content, None where it was removed, since the pull request left its base."""
        offered = self.resolve(pr.head)
        known = {commit.oid for commit in self.history(pr.base)}
        start = next(commit for commit in self._ancestors(offered) if commit.oid in known)
        paths = start.files.keys() | offered.files.keys()
        return {path: offered.files.get(path) for path in paths if start.files.get(path) != offered.files.get(path)}

    def _writable_head(self, revision: str) -> str:
        if revision in self.branches:
            return self.branches[revision]
        return self._open_pull_request(revision).head

    def _open_pull_request(self, ref: str) -> PullRequest:
        match = re.fullmatch(r"refs/pr/(\d+)", ref)
        pr = self.pull_requests.get(int(match.group(1))) if match else None
        if pr is None:
            raise Refusal(404, f"Invalid rev id: {ref}", "RevisionNotFound")
        if pr.status != "open":
            raise Refusal(403, f"Pull request {pr.number} is {pr.status}")
        return pr

    def _store(self, files: Files, parent: str | None, author: str, title: str, description: str) -> Commit:
        date = FIRST_COMMIT_TIME + timedelta(seconds=len(self._commits))
        made = Commit.create(files, parent=parent, author=author, date=date, title=title, description=description)
        self._commits[made.oid] = made
        return made

    def last_change(self, revision: str, path: str) -> Commit:
        """The newest commit that changed a file or anything in a folder."""
        history = self.history(revision)
        for newer, older in zip(history, [*history[1:], None], strict=True):
            if _below(newer.files, path) != (_below(older.files, path) if older else {}):
                return newer
        return history[-1]

    def upload_mode(self, path: str, *, size_bytes: int, sample: bytes) -> str:
        """`lfs` for what .gitattributes on main names, for binary content, and above 5 MB; else `regular`."""
        attributes = self.resolve("main").files.get(".gitattributes", Blob(b"")).content.decode()
        patterns = [line.split()[0] for line in attributes.splitlines() if "filter=lfs" in line]
        is_named = any(fnmatchcase(PurePosixPath(path).name, pattern) for pattern in patterns)
        return "lfs" if is_named or size_bytes > REGULAR_LIMIT_BYTES or b"\0" in sample else "regular"


def _below(files: Files, path: str) -> dict[str, Blob]:
    return {name: blob for name, blob in files.items() if name == path or name.startswith(f"{path}/")}
