"""A Hugging Face Hub on loopback, for tests: the unmodified huggingface_hub and the `hf` command talk to it.

    with HubServer() as hub:
        hub.add_org("lab", {"ada": "write"})
        ada = hub.add_user("ada")                               # a write token
        api = huggingface_hub.HfApi(endpoint=hub.endpoint, token=ada)
        api.create_repo("lab/net")
        hub.on("POST", "*/commit/*", drop_after())              # the next commit is made, its answer is lost
        ...
        assert hub.repo("lab/net").head == before
        assert hub.log.uploaded_lfs_bytes == 0

What it has: accounts.py (users, organizations, scopes), git.py (commits, branches, tags, pull requests), api.py (the
calls, in one table), storage.py (large files, on an origin of their own), faults.py (what goes wrong), traffic.py (the
log), xet.py (uploads over Xet, once `accept_xet` was called; downloads are plain HTTP). What it has not: spaces,
comments, likes, search.

HF_ENDPOINT, HF_HUB_DISABLE_XET, HF_HUB_OFFLINE and HF_HOME are read when huggingface_hub is imported. A subprocess
gets them from `HubServer.environment`. In a process that has imported it already, `HfApi(endpoint=, token=)` is enough
for all calls but uploads of large files, which go to Xet unless `constants.HF_HUB_DISABLE_XET` is set;
`HubServer.configure_client` sets that, and the endpoint for code that names none.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from .accounts import Accounts
from .api import ROUTES, Api
from .faults import (
    Action,
    Dropped,
    Faults,
    Rule,
    answer,
    answer_html,
    call_before,
    cut_body,
    drop_after,
    drop_before,
)
from .git import Blob, Commit, LfsPointer, PullRequest, Repository
from .replies import Reply
from .server import Listener
from .storage import ROUTES as STORAGE_ROUTES
from .storage import Storage
from .traffic import Exchange, TrafficLog

__all__ = [
    "Action",
    "Blob",
    "Commit",
    "Dropped",
    "Exchange",
    "HubServer",
    "PullRequest",
    "Reply",
    "Repository",
    "answer",
    "answer_html",
    "call_before",
    "cut_body",
    "drop_after",
    "drop_before",
]


class Patches(Protocol):
    """The part of pytest's MonkeyPatch that is used here."""

    def setattr(self, target: object, name: str, value: object) -> None: ...
    def setenv(self, name: str, value: str) -> None: ...
    def delenv(self, name: str, raising: bool) -> None: ...


class HubServer:
    """The server; running from its creation to `close()`, or as a context manager."""

    def __init__(self, *, part_bytes: int | None = None, page_size: int = 1000) -> None:
        """part_bytes: large files above this size go up in parts of this size; None: all in one piece.

        page_size: how many items a page of a listing has.
        """
        self.log = TrafficLog()
        self._folder = tempfile.TemporaryDirectory(prefix="hub-server-", ignore_cleanup_errors=True)
        self._faults = Faults()
        self._closing = threading.Event()
        self._accounts = Accounts()
        self._storage = Storage(Path(self._folder.name) / "objects", part_bytes=part_bytes)
        self._api = Api(self._accounts, self._storage, page_size=page_size)
        shared: dict[str, Any] = {"accounts": self._accounts, "faults": self._faults, "log": self.log}
        self._hub_listener = Listener("hub", ROUTES, self._api, **shared)
        self._storage_listener = Listener("storage", STORAGE_ROUTES, self._storage, **shared)
        self._api.origin = self.endpoint = self._hub_listener.origin
        self._storage.origin = self.storage_origin = self._storage_listener.origin

    def __enter__(self) -> HubServer:
        return self

    def __exit__(self, error_type: type[BaseException] | None, *_: object) -> None:
        self.close()
        self._folder.cleanup()
        bugs = [*self._hub_listener.bugs, *self._storage_listener.bugs]
        if bugs and error_type is None:
            raise AssertionError(f"{len(bugs)} bugs in the test server itself, the first is its cause") from bugs[0]

    def close(self) -> None:
        """Be unreachable from now on; what was published can still be read with `repo` and `read`."""
        self._closing.set()
        self._hub_listener.close()
        self._storage_listener.close()

    def close_storage(self) -> None:
        """Make only the large files' origin unreachable."""
        self._storage_listener.close()

    # Accounts.

    def add_user(self, name: str) -> str:
        """A new user; a token of theirs that may write."""
        self._accounts.add_user(name)
        return self.add_token(name)

    def add_token(self, user: str, role: str = "write", *, writes: tuple[str, ...] = ()) -> str:
        """A token with the role `write`, `read` or `fineGrained`; `writes`: what a fine-grained one may write to."""
        return self._accounts.add_token(user, role, writes).value

    def add_org(self, name: str, members: Mapping[str, str]) -> None:
        """An organization, or more members of one: user name to `admin`, `write` or `read`."""
        self._accounts.add_org(name, dict(members))

    # Repositories, from the inside.

    def add_repo(
        self, repo_id: str, *, private: bool = False, gated: str | bool = False, kind: str = "model"
    ) -> Repository:
        """A new repository with its first commit; `kind` is `model` or `dataset`."""
        with self._hub_listener.lock:
            owner = repo_id.split("/")[0]
            return self._api.add_repo(repo_id, kind=kind, owner=owner, private=private, gated=gated)

    def repo(self, repo_id: str, *, kind: str = "model") -> Repository:
        """What the server has; KeyError when it has none. Read only: `commit` writes."""
        return self._api.repositories[(kind, repo_id)]

    def has_repo(self, repo_id: str, *, kind: str = "model") -> bool:
        return (kind, repo_id) in self._api.repositories

    def commit(
        self,
        repo_id: str,
        changes: Mapping[str, bytes | None],
        *,
        author: str = "somebody",
        title: str = "change",
        branch: str = "main",
        kind: str = "model",
    ) -> Commit:
        """Commit as another publisher would: path to new content, None removes the file."""
        with self._hub_listener.lock:
            repo = self.repo(repo_id, kind=kind)
            files = {path: blob for path, blob in repo.resolve(branch).files.items() if path not in changes}
            added = {path: self._blob(repo, path, content) for path, content in changes.items() if content is not None}
            return repo.commit(files | added, to=branch, author=author, title=title)

    def _blob(self, repo: Repository, path: str, content: bytes) -> Blob:
        if repo.upload_mode(path, size_bytes=len(content), sample=content[:512]) == "regular":
            return Blob(content)
        return Blob.of_pointer(LfsPointer(self._storage.add(repo, content), len(content)))

    def read(self, repo_id: str, path: str, *, revision: str = "main", kind: str = "model") -> bytes:
        """The bytes that a download would give; KeyError when there is no such file."""
        blob = self.repo(repo_id, kind=kind).resolve(revision).files[path]
        return self._storage.path(blob.lfs.sha256).read_bytes() if blob.lfs else blob.content

    # Faults.

    def on(self, method: str, path: str, action: Action, *, first: int = 1, times: int | None = 1) -> None:
        """Let requests go wrong: those of `method` (`*`: any) whose path matches the pattern `path`.

        path: shell-style, over the whole path as it is sent, such as `*/commit/*`; large files are `/upload/*` and
        `/object/*` on the storage's origin. first, times: from the n-th such request on, and how many; None: all.
        """
        self._faults.add(Rule(method, path, action, first, times))

    def heal(self) -> None:
        """Forget all faults."""
        self._faults.clear()

    def stall(self, handle: Callable[[], Reply]) -> Reply:
        """An action: take the request in and be silent until the server is closed."""
        self._closing.wait()
        raise Dropped

    def send_xet_to(self, cas_url: str) -> None:
        """Send uploads over Xet to this URL. Until this is called they are refused with a 404."""
        self._api.xet_cas_url = cas_url

    def accept_xet(self) -> None:
        """Take uploads over Xet too."""
        self.send_xet_to(self._storage.xet.url)

    # The client's settings.

    def environment(self, home: Path, *, token: str | None = None) -> dict[str, str]:
        """The environment for a subprocess: this one's without its Hugging Face settings and proxies, and with ours.

        home: HF_HOME, where the cache and a saved token are. For offline mode or Xet add HF_HUB_OFFLINE=1 or
        HF_HUB_DISABLE_XET=0.
        """
        foreign = ("HF_", "HUGGING", "TRANSFORMERS_")
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(foreign) and not name.lower().endswith("_proxy")
        }
        ours = {
            "HF_ENDPOINT": self.endpoint,
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_UPDATE_CHECK": "1",  # else `hf` asks a package index for its newest version
            "HF_HUB_DISABLE_XET": "1",
        }
        return kept | ours | ({"HF_TOKEN": token} if token else {})

    def configure_client(self, patches: Patches, home: Path, *, token: str | None = None) -> None:
        """The same settings for a huggingface_hub that was imported before; `patches` is pytest's monkeypatch."""
        from huggingface_hub import constants

        settings = {
            "ENDPOINT": self.endpoint,
            "HUGGINGFACE_CO_URL_TEMPLATE": f"{self.endpoint}/{{repo_id}}/resolve/{{revision}}/{{filename}}",
            "HF_HOME": str(home),
            "HF_HUB_CACHE": str(home / "hub"),
            "HF_TOKEN_PATH": str(home / "token"),
            "HF_STORED_TOKENS_PATH": str(home / "stored_tokens"),
            "HF_HUB_DISABLE_TELEMETRY": True,
            "HF_HUB_DISABLE_XET": True,
            "HF_HUB_OFFLINE": False,
        }
        for name, value in settings.items():
            patches.setattr(constants, name, value)
        for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
            patches.delenv(name, raising=False)
        if token:
            patches.setenv("HF_TOKEN", token)
