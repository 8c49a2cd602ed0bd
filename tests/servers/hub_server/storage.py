"""The second origin: where large files are put and fetched, by signed links and without any token.

The real Hub redirects to a storage host of its own. The client relies on that: it keeps `X-Repo-Commit` only when the
redirect leaves the Hub's origin, and it must not send the token there. Objects lie in a folder, never in memory.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from typing import Any

from .git import Repository
from .replies import Refusal, Reply, content_reply, json_reply
from .server import Request, Route
from .xet import XetStore

ROUTES = (
    Route("PUT", "/upload/{upload}", "put_object", streams=True),
    Route("PUT", "/upload/{upload}/{part}", "put_part", streams=True),
    Route("GET", "/object/{sha256}", "get_object"),
)


@dataclass(slots=True)
class Upload:
    """One object on its way: for a repository, with the digest and size that were announced."""

    number: str
    repo: Repository
    sha256: str
    size_bytes: int
    part_bytes: int | None
    parts: dict[int, tuple[str, Path]] = field(default_factory=dict)
    """Part number to the etag given for it and its file."""


class Storage:
    """Objects by sha256 below a folder, and the uploads under way."""

    def __init__(self, folder: Path, *, part_bytes: int | None) -> None:
        self.origin = ""
        """`http://127.0.0.1:PORT`, known once the listener runs."""
        self.xet = XetStore(folder / "xet")
        self._folder = folder
        self._part_bytes = part_bytes
        self._uploads: dict[str, Upload] = {}
        self._secret = secrets.token_bytes(16)
        folder.mkdir(parents=True)

    def path(self, sha256: str) -> Path:
        return self._folder / sha256

    def link(self, sha256: str) -> str:
        """A URL that whoever holds it may read the object at."""
        return f"{self.origin}/object/{sha256}?signature={self._sign(sha256)}"

    def add(self, repo: Repository, content: bytes) -> str:
        """Keep `content` for a repository without an upload; its sha256."""
        sha256 = hashlib.sha256(content).hexdigest()
        self.path(sha256).write_bytes(content)
        repo.lfs_objects.add(sha256)
        return sha256

    def has(self, repo: Repository, sha256: str) -> bool:
        """Whether the object was uploaded for this repository, as an LFS object or over Xet."""
        if sha256 not in repo.lfs_objects and self.xet.fetch(sha256, self.path(sha256)):
            repo.lfs_objects.add(sha256)
        return sha256 in repo.lfs_objects

    def upload_action(self, repo: Repository, sha256: str, size_bytes: int, *, complete_url: str) -> dict[str, Any]:
        """The `upload` action of an LFS batch reply: one link, or with `chunk_size` one link for each numbered part."""
        is_multipart = self._part_bytes is not None and size_bytes > self._part_bytes
        upload = Upload(secrets.token_hex(8), repo, sha256, size_bytes, self._part_bytes if is_multipart else None)
        self._uploads[upload.number] = upload
        url = f"{self.origin}/upload/{upload.number}"
        if upload.part_bytes is None:
            return {"href": url}
        count = ceil(size_bytes / upload.part_bytes)
        header = {f"{number:05d}": f"{url}/{number}" for number in range(1, count + 1)}
        header["chunk_size"] = str(upload.part_bytes)
        return {"href": f"{complete_url}?upload={upload.number}", "header": header}

    def put_object(self, request: Request) -> Reply:
        upload = self._upload(request.parts["upload"])
        received, sha256, _ = self._receive(request)
        self._place(received, sha256, upload)
        return Reply(200, headers={"ETag": f'"{sha256}"'})

    def put_part(self, request: Request) -> Reply:
        """The reply's ETag is what the client must give back to complete the upload."""
        upload = self._upload(request.parts["upload"])
        received, _, md5 = self._receive(request)
        upload.parts[int(request.parts["part"])] = (f'"{md5}"', received)
        return Reply(200, headers={"ETag": f'"{md5}"'})

    def complete(self, number: str, body: dict[str, Any]) -> Reply:
        """Join the parts of a multipart upload; body: `{oid, parts: [{partNumber, etag}]}`."""
        upload = self._upload(number)
        named = [(part["partNumber"], part["etag"]) for part in body["parts"]]
        there = [(part, etag) for part, (etag, _) in sorted(upload.parts.items())]
        if named != there or body["oid"] != upload.sha256:
            raise Refusal(400, "InvalidPart: the parts that were named are not the parts that are there")
        digest = hashlib.sha256()
        joined = self._new_file()
        with joined.open("wb") as target:
            for _, (_, path) in sorted(upload.parts.items()):
                content = path.read_bytes()
                digest.update(content)
                target.write(content)
                path.unlink()
        self._place(joined, digest.hexdigest(), upload)
        return json_reply({})

    def get_object(self, request: Request) -> Reply:
        sha256 = request.parts["sha256"]
        if request.query.get("signature") != [self._sign(sha256)] or not self.path(sha256).exists():
            raise Refusal(403, "AccessDenied")
        return content_reply(self.path(sha256), byte_range=request.byte_range, headers={"ETag": f'"{sha256}"'})

    def _upload(self, number: str) -> Upload:
        if number not in self._uploads:
            raise Refusal(403, "AccessDenied")
        return self._uploads[number]

    def _receive(self, request: Request) -> tuple[Path, str, str]:
        """Write the body to a new file; its path, sha256 and md5."""
        sha256, md5 = hashlib.sha256(), hashlib.md5()
        path = self._new_file()
        with path.open("wb") as file:
            for chunk in request.chunks():
                sha256.update(chunk)
                md5.update(chunk)
                file.write(chunk)
        return path, sha256.hexdigest(), md5.hexdigest()

    def _place(self, received: Path, sha256: str, upload: Upload) -> None:
        if sha256 != upload.sha256 or received.stat().st_size != upload.size_bytes:
            received.unlink()
            raise Refusal(400, "BadDigest: the content is not the object that was announced")
        received.replace(self.path(sha256))
        upload.repo.lfs_objects.add(sha256)

    def _new_file(self) -> Path:
        return self._folder / f"receiving-{secrets.token_hex(8)}"

    def _sign(self, sha256: str) -> str:
        return hmac.new(self._secret, sha256.encode(), "sha256").hexdigest()
