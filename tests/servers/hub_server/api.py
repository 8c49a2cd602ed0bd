"""The Hub's own origin: every call of the client that this server answers, in one table.

Each handler's docstring says what the client needs in the answer; the requests are those of huggingface_hub 2.4,
read in its source (hf_api.py, _commit_api.py, lfs.py, file_download.py). What is not in the table is a 404 that the
log calls `unknown`.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, quote, urlencode

from .accounts import Accounts, Token
from .card_check import check_card
from .collection import LISTED_ITEMS, Collection, Collections, add_item, check_texts
from .git import Blob, Commit, Files, LfsPointer, PullRequest, Repository, folder_id, timestamp
from .replies import Refusal, Reply, content_reply, json_reply
from .server import Request, Route
from .storage import Storage

Change = tuple[str, dict[str, Any]]
"""`file`, `lfsFile`, `deletedFile` or `deletedFolder`, with its value."""

REPO = "/api/{kind}/{namespace}/{name}"

ROUTES = (
    # Who is asking, and what may they do.
    Route("GET", "/api/whoami-v2", "whoami"),
    Route("GET", "/api/agent-harnesses", "agent_harnesses"),
    Route("GET", f"{REPO}/auth-check", "auth_check"),
    Route("GET", f"{REPO}/auth-check/write", "auth_check_write"),
    # Repositories and their refs.
    Route("POST", "/api/repos/create", "create_repo"),
    Route("DELETE", "/api/repos/delete", "delete_repo"),
    Route("GET", REPO, "repo_info"),
    Route("GET", f"{REPO}/revision/{{revision}}", "repo_info"),
    Route("GET", f"{REPO}/refs", "refs"),
    Route("GET", f"{REPO}/commits/{{revision}}", "commits"),
    Route("POST", f"{REPO}/branch/{{branch}}", "create_branch"),
    Route("DELETE", f"{REPO}/branch/{{branch}}", "delete_branch"),
    Route("POST", f"{REPO}/tag/{{revision}}", "create_tag"),
    Route("DELETE", f"{REPO}/tag/{{tag}}", "delete_tag"),
    # Upload: the README's check, how each file goes, the large files, the commit.
    Route("POST", "/api/validate-yaml", "validate_yaml"),
    Route("POST", f"{REPO}/preupload/{{revision}}", "preupload"),
    Route("GET", f"{REPO}/xet-write-token/{{revision}}", "xet_write_token"),
    Route("POST", "/{namespace}/{name}.git/info/lfs/objects/batch", "lfs_batch"),
    Route("POST", "/datasets/{namespace}/{name}.git/info/lfs/objects/batch", "dataset_lfs_batch"),
    Route("POST", "/api/complete_multipart", "complete_multipart"),
    Route("POST", f"{REPO}/lfs-verify", "lfs_verify"),
    Route("POST", f"{REPO}/commit/{{revision}}", "commit"),
    # Pull requests.
    Route("GET", f"{REPO}/discussions", "discussions"),
    Route("GET", f"{REPO}/discussions/{{number}}", "discussion"),
    Route("POST", f"{REPO}/discussions/{{number}}/merge", "merge"),
    # What is there, and its bytes.
    Route("GET", f"{REPO}/tree/{{revision}}", "tree"),
    Route("GET", f"{REPO}/tree/{{revision}}/{{path*}}", "tree"),
    Route("POST", f"{REPO}/paths-info/{{revision}}", "paths_info"),
    Route("GET", "/{namespace}/{name}/resolve/{revision}/{path*}", "resolve"),
    Route("GET", "/datasets/{namespace}/{name}/resolve/{revision}/{path*}", "resolve_dataset"),
    Route("GET", "/{namespace}/{name}/raw/{revision}/{path*}", "raw"),
    # Collections.
    Route("GET", "/api/collections", "list_collections"),
    Route("POST", "/api/collections", "create_collection"),
    Route("GET", "/api/collections/{namespace}/{slug}", "get_collection"),
    Route("PATCH", "/api/collections/{namespace}/{slug}", "update_collection"),
    Route("DELETE", "/api/collections/{namespace}/{slug}", "delete_collection"),
    Route("POST", "/api/collections/{namespace}/{slug}/items", "add_collection_item"),
    Route("PATCH", "/api/collections/{namespace}/{slug}/items/{item}", "update_collection_item"),
    Route("DELETE", "/api/collections/{namespace}/{slug}/items/{item}", "delete_collection_item"),
)


class Api:
    """The handlers; each is called under the listener's lock."""

    def __init__(self, accounts: Accounts, storage: Storage, *, page_size: int) -> None:
        self.origin = ""
        """`http://127.0.0.1:PORT`, known once the listener runs."""
        self.repositories: dict[tuple[str, str], Repository] = {}
        """By kind (`model`, `dataset`) and id."""
        self.xet_cas_url: str | None = None
        """Where a client that uploads over Xet is sent; None: this Hub gives no Xet token."""
        self._accounts = accounts
        self._storage = storage
        self._collections = Collections()
        self._page_size = page_size

    # Who is asking, and what may they do.

    def whoami(self, request: Request) -> Reply:
        """`name`, `orgs[].name`, `auth.accessToken.role` and `.displayName`."""
        if request.token is None:
            raise Refusal(401, "Invalid username or password.")
        return json_reply(self._accounts.identity(request.token))

    def agent_harnesses(self, request: Request) -> Reply:
        """An empty registry: `hf` asks for it once and then prints the same wherever it runs."""
        return json_reply({"standardEnvVars": [], "harnesses": {}})

    def auth_check(self, request: Request) -> Reply:
        """The status alone."""
        self._accounts.check_may_read_files(request.token, self._repo(request))
        return json_reply({})

    def auth_check_write(self, request: Request) -> Reply:
        """The status alone."""
        self._writable_repo(request)
        return json_reply({})

    # Repositories and their refs.

    def create_repo(self, request: Request) -> Reply:
        """`url`, also when the answer is 409: the client reads it to go on with `exist_ok`."""
        payload = request.json()
        kind = payload.get("type") or "model"
        repo_id = self._repo_id(request, payload)
        token = self._accounts.check_may_create(request.token, repo_id)
        url = self._web_url(kind, repo_id)
        if (kind, repo_id) in self.repositories:
            raise Refusal(409, f"You already created this {kind} repo: {repo_id}", extra={"url": url})
        self.add_repo(repo_id, kind=kind, owner=token.user, private=payload.get("visibility") == "private")
        return json_reply({"url": url, "name": repo_id})

    def delete_repo(self, request: Request) -> Reply:
        """The status alone."""
        payload = request.json()
        key = (payload.get("type") or "model", self._repo_id(request, payload))
        repo = self._accounts.check_visible(request.token, self.repositories.get(key))
        self._accounts.check_may_write(request.token, repo.repo_id)
        del self.repositories[key]
        return json_reply({})

    def repo_info(self, request: Request) -> Reply:
        """`id`; with `expand` that and the named keys; sizes and digests of `siblings` only with `blobs`."""
        repo = self._repo(request)
        info = self._info(repo, repo.resolve(request.parts.get("revision", "main")), with_blobs=request.flag("blobs"))
        expand = request.query.get("expand")
        if expand is None:
            return json_reply(info)
        unknown = [key for key in expand if key not in info]
        if unknown:
            raise Refusal(400, f'"expand" must not have {", ".join(unknown)}')
        return json_reply({key: info[key] for key in ("_id", "id", *expand)})

    def refs(self, request: Request) -> Reply:
        """`branches`, `tags`, `converts` and, when asked for, `pullRequests`: `name`, `ref`, `targetCommit`."""
        repo = self._repo(request)
        listed: dict[str, list[dict[str, str]]] = {
            "branches": [_ref(name, f"refs/heads/{name}", oid) for name, oid in repo.branches.items()],
            "tags": [_ref(name, f"refs/tags/{name}", oid) for name, oid in repo.tags.items()],
            "converts": [],
        }
        if request.flag("include_prs"):
            pull_requests = repo.pull_requests.values()
            listed["pullRequests"] = [_ref(ref := f"refs/pr/{pr.number}", ref, pr.head) for pr in pull_requests]
        return json_reply(listed)

    def commits(self, request: Request) -> Reply:
        """Pages of `id`, `title`, `message`, `date`, `authors[].user`, the newest first."""
        history = self._repo(request).history(request.parts["revision"])
        return self._page(request, [_commit_json(commit) for commit in history])

    def create_branch(self, request: Request) -> Reply:
        """The status; 409 when it exists."""
        repo, branch = self._writable_repo(request), request.parts["branch"]
        if branch in repo.branches:
            raise Refusal(409, f"Reference already exists: refs/heads/{branch}")
        repo.branches[branch] = repo.resolve(request.json().get("startingPoint") or "main").oid
        return json_reply({}, status=201)

    def delete_branch(self, request: Request) -> Reply:
        """The status alone."""
        repo, branch = self._writable_repo(request), request.parts["branch"]
        if branch == "main":
            raise Refusal(403, "Cannot delete the main branch")
        return _deleted(repo.branches, branch)

    def create_tag(self, request: Request) -> Reply:
        """The status; 409 when it exists, wherever it points."""
        repo, tag = self._writable_repo(request), request.json()["tag"]
        if tag in repo.tags:
            raise Refusal(409, f"Tag reference exists already: {tag}")
        repo.tags[tag] = repo.resolve(request.parts["revision"]).oid
        return json_reply({}, status=201)

    def delete_tag(self, request: Request) -> Reply:
        """The status alone."""
        return _deleted(self._writable_repo(request).tags, request.parts["tag"])

    # Upload.

    def validate_yaml(self, request: Request) -> Reply:
        """`warnings[].message` with 200; `errors[].message` with 400, which becomes a ValueError."""
        check = check_card(request.json()["content"])
        listed = {
            "errors": [{"message": message} for message in check.errors],
            "warnings": [{"message": message} for message in check.warnings],
        }
        return json_reply(listed, status=400 if check.errors else 200)

    def preupload(self, request: Request) -> Reply:
        """For each file `path`, `uploadMode`, `shouldIgnore`, and the `oid` of what is there: equal ones are left out.

        A .gitignore is not applied: nothing that is published here has one.
        """
        repo = self._repo(request)
        self._check_may_commit(request, repo)
        there = repo.resolve(request.parts["revision"]).files
        listed = []
        for file in request.json()["files"]:
            path, sample = file["path"], base64.b64decode(file["sample"])
            mode = repo.upload_mode(path, size_bytes=file["size"], sample=sample)
            known = {"oid": there[path].etag} if path in there else {}
            listed.append({"path": path, "uploadMode": mode, "shouldIgnore": False, **known})
        return json_reply({"files": listed})

    def xet_write_token(self, request: Request) -> Reply:
        """`casUrl`, `accessToken`, `exp`: hf_xet asks for these before its first upload."""
        repo = self._repo(request)
        self._check_may_commit(request, repo)
        if self.xet_cas_url is None:
            raise Refusal(404, "Not found")
        return json_reply({"casUrl": self.xet_cas_url, "accessToken": "xet", "exp": 4102444800})

    def lfs_batch(self, request: Request, kind: str = "model") -> Reply:
        """For each object `oid`, `size` and `actions`; no `actions` when it is there already.

        `ref` is left out when the upload is for a pull request: then reading rights are enough.
        """
        repo = self._repo(request, kind)
        payload = request.json()
        if "ref" in payload:
            self._check_may_commit(request, repo, payload["ref"]["name"])
        else:
            self._accounts.check_may_offer(request.token)
        objects = [self._lfs_object(repo, item["oid"], item["size"]) for item in payload["objects"]]
        return json_reply({"objects": objects}, headers={"Content-Type": "application/vnd.git-lfs+json"})

    def dataset_lfs_batch(self, request: Request) -> Reply:
        """As for a model."""
        return self.lfs_batch(request, "dataset")

    def _lfs_object(self, repo: Repository, sha256: str, size_bytes: int) -> dict[str, Any]:
        if sha256 in repo.lfs_objects:
            return {"oid": sha256, "size": size_bytes}
        complete_url = f"{self.origin}/api/complete_multipart"
        upload = self._storage.upload_action(repo, sha256, size_bytes, complete_url=complete_url)
        verify = {"href": f"{self.origin}/api/{repo.kind}s/{repo.repo_id}/lfs-verify"}
        return {"oid": sha256, "size": size_bytes, "actions": {"upload": upload, "verify": verify}}

    def complete_multipart(self, request: Request) -> Reply:
        """The status; the link is signed by its number, for the client sends no token with it."""
        return self._storage.complete(request.query["upload"][0], request.json())

    def lfs_verify(self, request: Request) -> Reply:
        """The status: is the object there with the size that was announced."""
        repo, payload = self._repo(request), request.json()
        sha256 = payload["oid"]
        if sha256 not in repo.lfs_objects or self._storage.path(sha256).stat().st_size != payload["size"]:
            raise Refusal(404, "Object does not exist on the server")
        return json_reply({})

    def commit(self, request: Request) -> Reply:
        """`commitUrl`, which contains `/commit/`, `commitOid`; with `create_pr` also `pullRequestUrl`.

        All or nothing: everything is checked before the first change. 412 when `parentCommit` is not the head.
        """
        repo, to = self._repo(request), request.parts["revision"]
        token = self._check_may_commit(request, repo)
        plan = CommitPlan.parse(request.body())
        head = repo.resolve(to)
        if not head.oid.startswith(plan.parent):
            raise Refusal(412, "A commit has happened since. Please refresh and try again.")
        files = self._changed(repo, head.files, plan.changes)
        words = {"to": to, "author": token.user, "title": plan.title, "description": plan.description}
        if not request.flag("create_pr"):
            return json_reply(self._made(repo, repo.commit(files, **words).oid))
        offer = repo.open_pull_request(files, **words)
        url = f"{self._web_url(repo.kind, repo.repo_id)}/discussions/{offer.number}"
        return json_reply(self._made(repo, offer.head) | {"pullRequestUrl": url})

    def _made(self, repo: Repository, oid: str) -> dict[str, Any]:
        url = f"{self._web_url(repo.kind, repo.repo_id)}/commit/{oid}"
        return {"success": True, "commitOid": oid, "commitUrl": url, "hookOutput": ""}

    def _changed(self, repo: Repository, files: Files, changes: Sequence[Change]) -> dict[str, Blob]:
        """The files after the changes of a commit; raises what the Hub would refuse it with."""
        changed = dict(files)
        for key, value in changes:
            path = value["path"]
            if key == "file":
                changed[path] = Blob(base64.b64decode(value["content"]))
            elif key == "lfsFile":
                changed[path] = self._pointer(repo, value["oid"])
            else:
                gone = [name for name in changed if name == path or name.startswith(f"{path.rstrip('/')}/")]
                if not gone:
                    raise Refusal(404, "A file with this name doesn't exist", "EntryNotFound")
                for name in gone:
                    del changed[name]
        if "README.md" in changed and changed["README.md"] != files.get("README.md"):
            errors = check_card(changed["README.md"].content.decode()).errors
            if errors:
                raise Refusal(400, "Invalid metadata in README.md", extra={"errors": [{"message": e} for e in errors]})
        return changed

    def _pointer(self, repo: Repository, sha256: str) -> Blob:
        if not self._storage.has(repo, sha256):
            raise Refusal(400, f"An LFS pointer pointed to a file that does not exist: {sha256}")
        return Blob.of_pointer(LfsPointer(sha256, self._storage.path(sha256).stat().st_size))

    # Pull requests.

    def discussions(self, request: Request) -> Reply:
        """`count`, `start` and `discussions`, of which all here are pull requests."""
        repo = self._repo(request)
        status, author = request.query.get("status", ["all"])[0], request.query.get("author", [None])[0]
        listed = [
            _pull_request_json(repo, pr)
            for pr in repo.pull_requests.values()
            if status in ("all", "open" if pr.status == "open" else "closed") and author in (None, pr.author)
        ]
        if request.query.get("type") == ["discussion"]:
            listed = []
        return json_reply({"discussions": listed, "count": len(listed), "start": 0})

    def discussion(self, request: Request) -> Reply:
        """`changes.base`, `filesWithConflicts` and `events`; comments and diffs are not kept."""
        repo = self._repo(request)
        pr = self._pull_request(request, repo)
        details = {"changes": {"base": f"refs/heads/{pr.base}"}, "filesWithConflicts": [], "events": [], "diff": ""}
        return json_reply(_pull_request_json(repo, pr) | details)

    def merge(self, request: Request) -> Reply:
        """The status alone."""
        repo = self._writable_repo(request)
        token = self._accounts.check_may_write(request.token, repo.repo_id)
        repo.merge(self._pull_request(request, repo).number, author=token.user)
        return json_reply({})

    def _pull_request(self, request: Request, repo: Repository) -> PullRequest:
        number = int(request.parts["number"])
        if number not in repo.pull_requests:
            raise Refusal(404, "Discussion not found")
        return repo.pull_requests[number]

    # What is there, and its bytes.

    def tree(self, request: Request) -> Reply:
        """Pages of `type`, `path`, `oid`, `size`, `lfs`, folders too; the next page's URL is in the Link header."""
        repo, revision = self._repo(request), request.parts["revision"]
        files, folder = repo.resolve(revision).files, request.parts.get("path", "")
        start = f"{folder}/" if folder else ""
        below = {path.removeprefix(start) for path in files if path.startswith(start)}
        if not below:
            raise Refusal(404, f'"{folder}" does not exist on "{revision}"', "EntryNotFound")
        folders = {path.rsplit("/", depth)[0] for path in below for depth in range(1, path.count("/") + 1)}
        names = sorted(below | folders)
        shown = names if request.flag("recursive") else [name for name in names if "/" not in name]
        expand = request.flag("expand")
        return self._page(request, [self._entry(repo, revision, f"{start}{name}", expand=expand) for name in shown])

    def paths_info(self, request: Request) -> Reply:
        """The same items for the paths of a form; unknown paths are left out."""
        repo, revision = self._repo(request), request.parts["revision"]
        files = repo.resolve(revision).files
        form = parse_qs(request.body().decode())
        known = [p for p in form.get("paths", []) if p in files or any(name.startswith(f"{p}/") for name in files)]
        expand = form.get("expand", [""])[0].lower() == "true"
        return json_reply([self._entry(repo, revision, path, expand=expand) for path in known])

    def resolve(self, request: Request, kind: str = "model") -> Reply:
        """`X-Repo-Commit` and an ETag; a large file is a redirect with `X-Linked-Etag` and `X-Linked-Size`."""
        commit, blob = self._file(request, kind)
        headers = {"X-Repo-Commit": commit.oid, "ETag": f'"{blob.etag}"'}
        if blob.lfs is None:
            return content_reply(blob.content, byte_range=request.byte_range, headers=headers)
        linked = {"X-Linked-Etag": f'"{blob.etag}"', "X-Linked-Size": str(blob.size_bytes)}
        return Reply(302, b"", {**headers, **linked, "Location": self._storage.link(blob.lfs.sha256)})

    def resolve_dataset(self, request: Request) -> Reply:
        """As for a model."""
        return self.resolve(request, "dataset")

    def raw(self, request: Request) -> Reply:
        """What git stores: for a large file its pointer."""
        commit, blob = self._file(request, "model")
        headers = {"X-Repo-Commit": commit.oid, "ETag": f'"{blob.oid}"', "Content-Type": "text/plain; charset=utf-8"}
        return Reply(200, blob.content, headers)

    def _file(self, request: Request, kind: str) -> tuple[Commit, Blob]:
        repo = self._repo(request, kind)
        self._accounts.check_may_read_files(request.token, repo)
        commit, path = repo.resolve(request.parts["revision"]), request.parts["path"]
        if path not in commit.files:
            raise Refusal(404, "Entry not found", "EntryNotFound", headers={"X-Repo-Commit": commit.oid})
        return commit, commit.files[path]

    def _entry(self, repo: Repository, revision: str, path: str, *, expand: bool) -> dict[str, Any]:
        """One file or folder as tree and paths-info show it; `expand` adds the last commit and the scan's result."""
        files = repo.resolve(revision).files
        shown: dict[str, Any]
        if path in files:
            blob = files[path]
            shown = {"type": "file", "path": path, "oid": blob.oid, "size": blob.size_bytes}
            if blob.lfs:
                shown["lfs"] = {"oid": blob.lfs.sha256, "size": blob.size_bytes, "pointerSize": len(blob.content)}
        else:
            shown = {"type": "directory", "path": path, "oid": folder_id(files, f"{path}/"), "size": 0}
        if expand:
            last = repo.last_change(revision, path)
            shown["lastCommit"] = {"id": last.oid, "title": last.title, "date": timestamp(last.date)}
        return shown

    # Collections.

    def list_collections(self, request: Request) -> Reply:
        """Pages of collections, each with its first items and without `position`, which the client counts itself."""
        owners, items = request.query.get("owner"), request.query.get("item")
        shown = [
            collection.as_json(items=LISTED_ITEMS)
            for collection in self._collections.all()
            if self._is_visible(request, collection)
            and (owners is None or collection.namespace in owners)
            and (items is None or any(f"{item.item_type}s/{item.item_id}" in items for item in collection.items))
        ]
        return self._page(request, shown)

    def create_collection(self, request: Request) -> Reply:
        """The collection; a 409 must carry the `slug` of the one that is there."""
        payload = request.json()
        self._accounts.check_may_create(request.token, f"{payload['namespace']}/collection")
        owner_type = "user" if request.token and request.token.user == payload["namespace"] else "org"
        return self._shown(self._collections.create(payload["namespace"], owner_type, payload))

    def get_collection(self, request: Request) -> Reply:
        """The collection with all of its items."""
        return self._shown(self._collection(request))

    def update_collection(self, request: Request) -> Reply:
        """The collection, under `data`."""
        collection, payload = self._writable_collection(request), request.json()
        check_texts(payload.get("title", collection.title), payload.get("description"))
        collection.title = payload.get("title", collection.title)
        collection.description = payload.get("description", collection.description)
        collection.private = payload.get("private", collection.private)
        return json_reply({"success": True, "data": collection.as_json() | {"position": 0}})

    def delete_collection(self, request: Request) -> Reply:
        """The status alone."""
        self._collections.delete(self._writable_collection(request).slug)
        return json_reply({})

    def add_collection_item(self, request: Request) -> Reply:
        """The collection; 409 when the item is in it, 404 when there is no such repository."""
        collection, payload = self._writable_collection(request), request.json()
        item = payload["item"]
        self._accounts.check_visible(request.token, self.repositories.get((item["type"], item["id"])))
        add_item(collection, item["id"], item["type"], payload.get("note"))
        return self._shown(collection)

    def update_collection_item(self, request: Request) -> Reply:
        """The status alone."""
        collection, payload = self._writable_collection(request), request.json()
        item = collection.find(request.parts["item"])
        item.note = payload.get("note", item.note)
        if "position" in payload:
            collection.items.remove(item)
            collection.items.insert(payload["position"], item)
        return json_reply({})

    def delete_collection_item(self, request: Request) -> Reply:
        """The status alone."""
        collection = self._writable_collection(request)
        collection.items.remove(collection.find(request.parts["item"]))
        return json_reply({})

    def _shown(self, collection: Collection) -> Reply:
        return json_reply(collection.as_json() | {"position": 0})

    def _is_visible(self, request: Request, collection: Collection) -> bool:
        user = request.token.user if request.token else ""
        return not collection.private or bool(self._accounts.role_in(user, collection.namespace))

    def _collection(self, request: Request) -> Collection:
        collection = self._collections.get(f"{request.parts['namespace']}/{request.parts['slug']}")
        if not self._is_visible(request, collection):
            raise Refusal(404, "Collection not found")
        return collection

    def _writable_collection(self, request: Request) -> Collection:
        collection = self._collection(request)
        self._accounts.check_may_create(request.token, f"{collection.namespace}/collection")
        return collection

    # What the handlers share.

    def add_repo(
        self, repo_id: str, *, kind: str, owner: str, private: bool = False, gated: str | bool = False
    ) -> Repository:
        repo = Repository(repo_id, kind=kind, owner=owner, private=private, gated=gated)
        self.repositories[(kind, repo_id)] = repo
        return repo

    def _repo(self, request: Request, kind: str = "") -> Repository:
        """The repository that the path names, if it may be seen."""
        kind = kind or request.parts["kind"].removesuffix("s")
        repo_id = f"{request.parts['namespace']}/{request.parts['name']}"
        return self._accounts.check_visible(request.token, self.repositories.get((kind, repo_id)))

    def _writable_repo(self, request: Request) -> Repository:
        repo = self._repo(request)
        self._accounts.check_may_write(request.token, repo.repo_id)
        return repo

    def _check_may_commit(self, request: Request, repo: Repository, revision: str = "") -> Token:
        """Write to a branch, or offer a pull request, or add to one's own."""
        offered = {f"refs/pr/{pr.number}": pr.author for pr in repo.pull_requests.values()}
        author = offered.get(revision or request.parts["revision"])
        if request.flag("create_pr") or (request.token and request.token.user == author):
            return self._accounts.check_may_offer(request.token)
        return self._accounts.check_may_write(request.token, repo.repo_id)

    def _repo_id(self, request: Request, payload: Mapping[str, Any]) -> str:
        """create_repo and delete_repo send the name and an organization, which is null for one's own."""
        if request.token is None:
            raise Refusal(401, "Invalid username or password.")
        return f"{payload.get('organization') or request.token.user}/{payload['name']}"

    def _web_url(self, kind: str, repo_id: str) -> str:
        return f"{self.origin}/{'' if kind == 'model' else f'{kind}s/'}{repo_id}"

    def _info(self, repo: Repository, commit: Commit, *, with_blobs: bool) -> dict[str, Any]:
        readme = commit.files.get("README.md", Blob(b""))
        metadata = check_card(readme.content.decode()).metadata
        history = repo.history()
        return {
            "_id": hashlib.sha256(repo.repo_id.encode()).hexdigest()[:24],
            "id": repo.repo_id,
            "author": repo.namespace,
            "sha": commit.oid,
            "createdAt": timestamp(history[-1].date),
            "lastModified": timestamp(history[0].date),
            "private": repo.private,
            "gated": repo.gated,
            "disabled": False,
            "downloads": 0,
            "likes": 0,
            "tags": _tags(metadata),
            "pipeline_tag": metadata.get("pipeline_tag"),
            "library_name": metadata.get("library_name"),
            "cardData": metadata,
            "model-index": metadata.get("model-index"),
            "usedStorage": sum(blob.size_bytes for blob in commit.files.values()),
            "siblings": [_sibling(path, blob, with_blobs=with_blobs) for path, blob in sorted(commit.files.items())],
            "spaces": [],
        }

    def _page(self, request: Request, items: list[dict[str, Any]]) -> Reply:
        """One page of a list; the Link header names the next one as GitHub does."""
        start = int(request.query.get("cursor", ["0"])[0])
        end = start + self._page_size
        headers = {}
        if end < len(items):
            query = urlencode({**request.query, "cursor": [str(end)]}, doseq=True, quote_via=quote)
            headers["Link"] = f'<{self.origin}{request.path}?{query}>; rel="next"'
        return json_reply(items[start:end], headers=headers)


@dataclass(frozen=True, slots=True)
class CommitPlan:
    """What a commit request asks for."""

    title: str
    description: str
    parent: str
    """The oid, perhaps shortened, that the head must have; empty: any."""
    changes: tuple[Change, ...]

    @classmethod
    def parse(cls, body: bytes) -> CommitPlan:
        """Read the NDJSON: a header, then one line for each change."""
        try:
            (first, header), *changes = [(line["key"], line["value"]) for line in map(json.loads, body.splitlines())]
        except (ValueError, KeyError) as error:
            raise Refusal(400, f"malformed commit: {error}") from error
        kinds = {key for key, _ in changes} - {"file", "lfsFile", "deletedFile", "deletedFolder"}
        if first != "header" or kinds:
            raise Refusal(400, f"malformed commit: {first}, {sorted(kinds)}")
        return cls(header["summary"], header.get("description", ""), header.get("parentCommit", ""), tuple(changes))


def _ref(name: str, ref: str, oid: str) -> dict[str, str]:
    return {"name": name, "ref": ref, "targetCommit": oid}


def _deleted(refs: dict[str, str], name: str) -> Reply:
    if name not in refs:
        raise Refusal(404, f"Invalid rev id: {name}", "RevisionNotFound")
    del refs[name]
    return json_reply({})


def _commit_json(commit: Commit) -> dict[str, Any]:
    return {
        "id": commit.oid,
        "title": commit.title,
        "message": commit.description,
        "date": timestamp(commit.date),
        "authors": [{"user": commit.author}],
    }


def _pull_request_json(repo: Repository, pr: PullRequest) -> dict[str, Any]:
    return {
        "num": pr.number,
        "title": pr.title,
        "author": {"name": pr.author},
        "createdAt": timestamp(pr.date),
        "status": pr.status,
        "repo": {"name": repo.repo_id, "type": repo.kind},
        "isPullRequest": True,
    }


def _sibling(path: str, blob: Blob, *, with_blobs: bool) -> dict[str, Any]:
    shown: dict[str, Any] = {"rfilename": path}
    if with_blobs:
        shown |= {"size": blob.size_bytes, "blobId": blob.oid}
        if blob.lfs:
            shown["lfs"] = {"sha256": blob.lfs.sha256, "size": blob.size_bytes, "pointerSize": len(blob.content)}
    return shown


def _tags(metadata: Mapping[str, Any]) -> list[str]:
    """The card's own tags and those that the Hub makes of other keys."""
    made = [metadata[key] for key in ("library_name", "pipeline_tag") if key in metadata]
    made += [str(tag) for tag in metadata.get("tags") or []]
    made += [f"license:{metadata['license']}"] if "license" in metadata else []
    made += [f"dataset:{name}" for name in _as_list(metadata.get("datasets"))]
    return [*dict.fromkeys(made), "region:us"]


def _as_list(value: object) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]
