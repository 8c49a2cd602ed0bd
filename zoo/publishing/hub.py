"""Release -> repository of the Hugging Face Hub, in one commit, and the proof of what is there afterwards.

    preflight   offline? who are we? may we write, create, see? is the tag free?        before any weights are read
    push        create if need be -> upload -> one commit on the head that was seen -> read back -> tag
    there       what the repository holds, from its listing and its small files: what `--check` judges

Nothing is retried blindly: a commit whose outcome is unknown is looked for in the repository first. The client's errors
become ours in hub_errors. Behaviour of the client: huggingface_hub 2.4.0, its source read 2026-11-24.
The only module that pushes.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from zoo.errors import CannotCheck, Refused, UsageError, WrongContent, ZooError
from zoo.publishing import signing
from zoo.publishing.audit import released
from zoo.publishing.hub_errors import (
    PAUSE_SECONDS,
    RepositoryLocation,
    client_errors,
    explained,
    is_unknown,
    missing,
    seconds_to_wait,
    short,
    token_source,
)
from zoo.publishing.readme import ReleaseAddress
from zoo.publishing.release import (
    README,
    SIGNATURE,
    SMALL_BYTES,
    TEXTS,
    WEIGHTS,
    Change,
    PublishedFile,
    Release,
    ReleaseFile,
)
from zoo.runtime.environment import zoo_version
from zoo.weights.sources.hf import parse

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    from zoo.registry.card import Weights
    from zoo.weights.store import Artifact


T = TypeVar("T")
TRIES_OF_A_COMMIT = 3
TITLE_CHARACTERS, DESCRIPTION_CHARACTERS = 60, 150
"""What a Collection's texts may have: the description's limit is in huggingface_hub 2.4.0, hf_api.py, create_collection; the
title's is a cautious one."""
MOST_COMMITS = 50
"""How far back the README is looked for that zoo wrote last."""
XET_RETRY_DURATION = "60s"
"""Xet's own default is six silent minutes (xet-runtime 1.5.2, config/groups/client.rs, retry_max_duration)."""


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a release goes, and what may be done there.

    private: it must not be seen by others. pull_request: offer the commit, do not make it. create: what is not there
    may be created, a repository or a branch.
    """

    repo_id: str
    branch: str = "main"
    tag: str | None = None
    private: bool = False
    pull_request: bool = False
    create: bool = True


@dataclass(frozen=True, slots=True)
class WaitPolicy:
    """How long to wait: for rate limits in all (their window is 5 minutes: huggingface.co/docs/hub/rate-limits, seen
    2026-11-24), and between two tries of a commit."""

    rate_limit_seconds: float = 330.0
    pause_seconds: float = PAUSE_SECONDS


@dataclass(frozen=True, slots=True)
class Pushed:
    """What a push did: the commit that holds the release now, its page, and what changed in it."""

    commit: str
    page: str
    changes: tuple[Change, ...]

    @property
    def is_new(self) -> bool:
        """Whether there is a commit that was not there before."""
        return any(change.kind != "same" for change in self.changes)


@dataclass(frozen=True, slots=True)
class _State:
    """A repository as it was seen at one commit."""

    head: str
    private: bool
    files: Mapping[str, PublishedFile]


class Repository:
    """One repository, as the token of this machine sees it."""

    def __init__(
        self,
        destination: Destination,
        *,
        tell: Callable[[str], None] = lambda line: None,
        patience: WaitPolicy | None = None,
    ) -> None:
        """tell: called with what is waited for."""
        os.environ.setdefault("HF_XET_CLIENT_RETRY_MAX_DURATION", XET_RETRY_DURATION)
        from huggingface_hub import HfApi
        from huggingface_hub.utils.tqdm import disable_progress_bars

        if "/" not in destination.repo_id:
            raise UsageError(f"{destination.repo_id!r} is no repository of the Hub", hint="give hf:ORGANIZATION/NAME")
        if destination.pull_request and destination.tag:
            raise UsageError("a pull request has no commit to tag yet", hint="merge it, then publish with --tag")
        if not sys.stderr.isatty():
            disable_progress_bars()
        self._wanted = destination
        self._api = HfApi(library_name="zoo", library_version=zoo_version())
        self._tell, self._patience = tell, patience or WaitPolicy()
        self._state: _State | None = None
        self._is_known = True
        self._branch_is_missing = self._tag_is_taken = False
        self._user: str | None = None

    @property
    def page(self) -> str:
        """The repository's web page."""
        return f"{self._api.endpoint}/{self._wanted.repo_id}"

    @property
    def _spot(self) -> RepositoryLocation:
        return RepositoryLocation(self._wanted.repo_id, self.page, self._api.endpoint)

    @property
    def address(self) -> ReleaseAddress:
        """How the release's README calls it."""
        return ReleaseAddress(self._wanted.repo_id, self.page)

    # --- before ---------------------------------------------------------------------------------------------------

    def preflight(self, *, is_dry: bool) -> None:
        """Find out whether a push can succeed, and remember the commit that it will stand on; changes nothing.

        A dry run only looks; where the Hub cannot be asked it says so. Raises CannotCheck: offline, not logged in, may
        not write, a repository that is not private enough, a taken tag.
        """
        if is_dry:
            self._look_if_possible()
            return
        self._refuse_offline()
        namespaces = self._namespaces()
        self._state = self._look()
        if self._state is None:
            self._refuse_creation(namespaces)
            return
        if self._wanted.private and not self._state.private:
            raise CannotCheck(
                f"{self._wanted.repo_id} is public, and --private was asked for",
                where=self.page,
                hint="make it private in its settings, or publish without --private",
            )
        self._check_rights()
        self._refuse_taken_tag(self._state.head)

    def read(self, path: str) -> bytes | None:
        """A file of the commit that was seen, None when it is not there.

        Where the Hub could not be asked: the copy that an earlier run left in the client's cache.
        """
        if not self._is_known:
            return self._cached(path)
        if self._state is None or path not in self._state.files:
            return None
        return self._read(path, self._state.head)

    def find_readme(self, is_wanted: Callable[[str], bool]) -> str | None:
        """The newest README of the branch's commits before the one that was seen, if one of them is wanted."""
        if self._state is None:
            return None
        commits = self._call(
            "reading commits", lambda: self._api.list_repo_commits(self._wanted.repo_id, revision=self._wanted.branch)
        )
        for commit in commits[:MOST_COMMITS]:
            with suppress(ZooError):  # a commit without a README, or with one that cannot be read
                text = self._read(README, commit.commit_id).decode(errors="replace")
                if is_wanted(text):
                    return text
        return None

    def changes(self, release: Release) -> tuple[Change, ...]:
        """What a push of the release would change of the commit that was seen."""
        if not self._is_known:
            return tuple(Change(item, "unknown") for item in release.files)
        files = self._state.files if self._state else {}
        return tuple(Change(item, _kind(item, files.get(item.path))) for item in release.files)

    # --- the push -------------------------------------------------------------------------------------------------

    def put(self, release: Release, *, title: str) -> str:
        """See push; the page of the release."""
        return self.push(release, title=title).page

    def push(self, release: Release, *, title: str) -> Pushed:
        """Put the release there in one commit, read it back, and tag it; with nothing changed there is no commit.

        Raises Refused when somebody else published meanwhile, WrongContent when what is there afterwards is not the
        release, TransferFailed and CannotCheck as the table of errors says. The repository is as before, or whole.
        """
        if self._state is None:
            self._state = self._create()
        changes = self.changes(release)
        commit, page = self._state.head, f"{self.page}/tree/{self._state.head}"
        if self._branch_is_missing:
            self._make_branch(self._state)
        if any(change.kind != "same" for change in changes):
            if self._tag_is_taken:
                raise self._tag_taken(self._state.head)
            offered = self._offered(changes, self._open_offers()) if self._wanted.pull_request else None
            if offered is not None:
                self._tell(f"a pull request with this release is open already: {offered[1]}")
            commit, page = offered or self._commit(changes, self._state, title)
        self._read_back(release, commit)
        if self._wanted.tag and not self._tag_is_taken:
            self._tag(self._wanted.tag, commit)
        return Pushed(commit, page, changes)

    def there(self) -> Mapping[str, PublishedFile]:
        """Every file with its size and SHA-256: of large files as the listing has it, of small ones as they are read.

        Of the tag, where there is one to look at, else of the branch.
        """
        self._refuse_offline()
        state = self._look(self._wanted.tag)
        if state is None:
            raise missing(self._spot)
        self._state = state
        return {path: self._with_content(item, state.head) for path, item in state.files.items()}

    def count_elements(self) -> int:
        """How many numbers the header of model.safetensors announces; only the header is downloaded."""
        head = self._state.head if self._state else self._wanted.branch
        found = self._call(
            "reading the header of the weights",
            lambda: self._api.parse_safetensors_file_metadata(self._wanted.repo_id, WEIGHTS, revision=head),
        )
        return sum(found.parameter_count.values())

    # --- steps of preflight ---------------------------------------------------------------------------------------

    def _look_if_possible(self) -> None:
        try:
            self._refuse_offline()
            self._state = self._look()
        except CannotCheck as error:
            self._is_known = False
            self._tell(f"not compared with {self._wanted.repo_id}: {error.what}")

    def _refuse_offline(self) -> None:
        from huggingface_hub import constants

        if constants.is_offline_mode():
            raise CannotCheck(
                "the Hub's client is in offline mode (HF_HUB_OFFLINE)",
                where=self.page,
                hint="unset HF_HUB_OFFLINE; `--dry-run` works without the Hub",
            )

    def _namespaces(self) -> frozenset[str] | None:
        """Where this token's user may write: the user and the organizations; None when the token does not say.

        A Trusted Publisher's token is for one repository and stands for no user, so it is not asked who it is.
        """
        if os.environ.get("HF_OIDC_RESOURCE"):
            return None
        found: dict[str, Any] = self._call("logging in", self._api.whoami)
        self._user = found["name"]
        token = found.get("auth", {}).get("accessToken", {})
        if token.get("role") == "read":
            raise CannotCheck(
                f"the token {token.get('displayName', '')!r} of {found['name']} may only read",
                where=token_source(),
                hint=f"make a token that may write at {self._api.endpoint}/settings/tokens, then `hf auth login`",
            )
        return frozenset({found["name"], *(item["name"] for item in found.get("orgs", ()) if _may_write(item))})

    def _look(self, revision: str | None = None) -> _State | None:
        """The repository at the branch's head; None when there is no such repository. A missing branch is created later."""
        from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

        def info(at: str | None) -> _State:
            found = self._api.model_info(self._wanted.repo_id, revision=at, files_metadata=True)
            files = {item.rfilename: _there(item) for item in found.siblings or ()}
            return _State(str(found.sha), bool(found.private), files)

        wanted = revision or (None if self._wanted.branch == "main" else self._wanted.branch)
        try:
            return self._waiting("looking at the repository", lambda: info(wanted))
        except GatedRepoError as error:
            raise self._explained(error, "looking at the repository") from error
        except RepositoryNotFoundError:
            return None
        except RevisionNotFoundError as error:
            if revision is not None or not self._wanted.create:
                raise self._explained(error, "looking at the branch") from error
            self._branch_is_missing = True
            return self._call("looking at the repository", lambda: info(None))
        except client_errors() as error:
            raise self._explained(error, "looking at the repository") from error

    def _refuse_creation(self, namespaces: frozenset[str] | None) -> None:
        namespace = self._wanted.repo_id.partition("/")[0]
        if not self._wanted.create or self._wanted.pull_request:
            raise missing(self._spot)
        if namespaces is not None and namespace not in namespaces:
            raise CannotCheck(
                f"{self._wanted.repo_id} does not exist or is private, and this token's user may not create it:"
                f" {namespace} is none of {', '.join(sorted(namespaces))}",
                where=token_source(),
                hint="ask for the write role there, or publish to another name",
            )

    def _check_rights(self) -> None:
        write = not self._wanted.pull_request
        self._call("checking rights", lambda: self._api.auth_check(self._wanted.repo_id, write=write))

    def _refuse_taken_tag(self, head: str) -> None:
        """A tag is never moved. One that stands on the head already may be right: the push will tell."""
        taken = self._tagged() if self._wanted.tag else None
        if taken is not None and taken != head:
            raise self._tag_taken(taken)
        self._tag_is_taken = taken is not None

    def _tagged(self) -> str | None:
        """The commit that has the tag."""
        refs = self._call("reading tags", lambda: self._api.list_repo_refs(self._wanted.repo_id))
        return next((str(item.target_commit) for item in refs.tags if item.name == self._wanted.tag), None)

    # --- steps of a push ------------------------------------------------------------------------------------------

    def _create(self) -> _State:
        """Create the repository. That it exists already is no error to the client, whoever's it is: rights are checked."""
        self._call(
            "creating the repository",
            lambda: self._api.create_repo(self._wanted.repo_id, private=self._wanted.private or None, exist_ok=True),
        )
        self._check_rights()
        state = self._look()
        if state is None:
            raise missing(self._spot)
        return state

    def _commit(self, changes: tuple[Change, ...], state: _State, title: str) -> tuple[str, str]:
        """The oid and the page of the one commit with all changes."""
        operations = self._operations(changes, state)
        stamps = _stamps(changes)
        self._check_readme(changes)
        self._upload(operations)
        if _stamps(changes) != stamps or _sent_otherwise(operations, changes):
            raise WrongContent("a file was changed while it was uploaded; nothing was published", hint="publish again")
        offers = self._offers() if self._wanted.pull_request else {}
        for attempt in range(1, TRIES_OF_A_COMMIT + 1):
            try:
                return self._waiting("committing", lambda: self._send(operations, state, title))
            except client_errors() as error:
                if not is_unknown(error):
                    raise self._explained(error, "committing", parent=state.head) from error
                self._tell(f"the outcome of the commit is unknown ({short(error)}): looking for it")
                made = self._find_commit(changes, state, offers, error)
                if made is not None:
                    return made
                if attempt == TRIES_OF_A_COMMIT:
                    raise self._explained(error, "committing") from error
                time.sleep(self._patience.pause_seconds * attempt)
        raise AssertionError("the last attempt returns or raises")

    def _operations(
        self, changes: tuple[Change, ...], state: _State
    ) -> list[CommitOperationAdd | CommitOperationDelete]:
        """What the commit changes. A signature that the release has not is of another release: it goes."""
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete
        from huggingface_hub.utils._runtime import is_xet_available

        operations: list[CommitOperationAdd | CommitOperationDelete] = []
        for change in changes:
            if change.kind == "same":
                continue
            content = change.file.content
            operation = CommitOperationAdd(change.file.path, content if isinstance(content, bytes) else str(content))
            if not is_xet_available():  # measured already: not read once more; Xet measures what it sends anyway
                operation.upload_info.sha256 = bytes.fromhex(change.file.sha256)
            operations.append(operation)
        if SIGNATURE in state.files and SIGNATURE not in {change.file.path for change in changes}:
            operations.append(CommitOperationDelete(SIGNATURE))
        return operations

    def _check_readme(self, changes: tuple[Change, ...]) -> None:
        """Ask the Hub whether it takes the README's metadata, before anything is uploaded."""
        for change in changes:
            if change.file.path == README and change.kind != "same":
                text = change.file.read().decode()
                self._call("checking the README", partial(_validate, text))

    def _upload(self, operations: list[CommitOperationAdd | CommitOperationDelete]) -> None:
        from huggingface_hub import CommitOperationAdd

        additions = [item for item in operations if isinstance(item, CommitOperationAdd)]
        self._call(
            "uploading",
            lambda: self._api.preupload_lfs_files(
                self._wanted.repo_id,
                additions,
                revision=self._wanted.branch,
                create_pr=self._wanted.pull_request,
                free_memory=False,
            ),
        )

    def _send(
        self, operations: list[CommitOperationAdd | CommitOperationDelete], state: _State, title: str
    ) -> tuple[str, str]:
        info = self._api.create_commit(
            self._wanted.repo_id,
            operations,
            commit_message=title,
            revision=self._wanted.branch,
            parent_commit=state.head,
            create_pr=self._wanted.pull_request,
        )
        return info.oid, info.pr_url or info.commit_url

    def _find_commit(
        self, changes: tuple[Change, ...], state: _State, offers: Mapping[str, str], error: Exception
    ) -> tuple[str, str] | None:
        """Our commit, if it was made; None when it was not. Raises Refused when there is another one in its place."""
        try:
            if self._wanted.pull_request:
                new = {ref: commit for ref, commit in self._offers().items() if ref not in offers}
                return self._offered(changes, new)
            commits = self._waiting(
                "reading commits",
                lambda: self._api.list_repo_commits(self._wanted.repo_id, revision=self._wanted.branch),
            )
            head = commits[0].commit_id
            if head == state.head:
                return None
            ours = len(commits) > 1 and commits[1].commit_id == state.head and self._holds(changes, head)
        except _errors_while_looking() as second:
            raise CannotCheck(
                f"it is not known whether the commit was made: {short(error)}; nor could that be found out: {short(second)}",
                where=f"{self.page}/commits/{self._wanted.branch}",
                hint="publish again: what was made is recognised, and nothing is uploaded twice",
            ) from second
        if not ours:
            raise self._overtaken(state.head, head)
        return head, f"{self.page}/commit/{head}"

    def _offered(self, changes: tuple[Change, ...], offers: Mapping[str, str]) -> tuple[str, str] | None:
        """The commit and the page of the first of these pull requests that holds the release."""
        for ref, commit in offers.items():
            if self._holds(changes, commit):
                return commit, f"{self.page}/discussions/{ref.rpartition('/')[2]}"
        return None

    def _open_offers(self) -> dict[str, str]:
        """The pull requests of this token's user that are open, as `_offers` gives them."""
        found = self._call(
            "reading pull requests",
            lambda: list(
                self._api.get_repo_discussions(
                    self._wanted.repo_id,
                    author=self._user,
                    discussion_type="pull_request",
                    discussion_status="open",
                )
            ),
        )
        refs = {f"refs/pr/{item.num}" for item in found}
        return {ref: commit for ref, commit in self._offers().items() if ref in refs}

    def _offers(self) -> dict[str, str]:
        """All pull requests, merged and closed ones too: ref to commit."""
        refs = self._call(
            "reading pull requests",
            lambda: self._api.list_repo_refs(self._wanted.repo_id, include_pull_requests=True),
        )
        return {item.ref: str(item.target_commit) for item in refs.pull_requests or ()}

    def _holds(self, changes: tuple[Change, ...], commit: str) -> bool:
        files = self._files_of(commit)
        return all(_kind(change.file, files.get(change.file.path)) == "same" for change in changes)

    def _files_of(self, commit: str) -> Mapping[str, PublishedFile]:
        from huggingface_hub.hf_api import RepoFile

        listed = self._call(
            "reading back",
            lambda: list(self._api.list_repo_tree(self._wanted.repo_id, recursive=True, revision=commit)),
        )
        return {item.path: _listed(item) for item in listed if isinstance(item, RepoFile)}

    def _read_back(self, release: Release, commit: str) -> None:
        files = self._files_of(commit)
        wrong = [item for item in release.files if _kind(item, files.get(item.path)) != "same"]
        if wrong:
            told = "; ".join(_difference(item, files.get(item.path)) for item in wrong)
            raise WrongContent(
                f"what {self._wanted.repo_id} holds at {commit[:12]} is not what was published: {told}",
                where=f"{self.page}/tree/{commit}",
                hint="look at it, and publish again",
            )

    def _make_branch(self, state: _State) -> None:
        self._call(
            f"creating the branch {self._wanted.branch}",
            lambda: self._api.create_branch(
                self._wanted.repo_id, branch=self._wanted.branch, revision=state.head, exist_ok=True
            ),
        )

    def _tag(self, tag: str, commit: str) -> None:
        """Tag the commit; a tag that stands on it already is as good, whoever's answer was lost."""
        try:
            self._waiting(
                f"tagging {tag}", lambda: self._api.create_tag(self._wanted.repo_id, tag=tag, revision=commit)
            )
        except client_errors() as error:
            taken = None
            with suppress(ZooError):
                taken = self._tagged()
            if taken == commit:
                return
            if taken is not None:
                raise self._tag_taken(taken) from error
            raise CannotCheck(
                f"{commit[:12]} is published, but not tagged {tag}: {self._explained(error, f'tagging {tag}').what}",
                where=f"{self.page}/tree/{commit}",
                hint="publish again with the same --tag: only the tag will be made",
            ) from error

    def keep_in_collection(self, name: str, description: str) -> str:
        """Put the repository into the Collection of that title in its namespace, made if need be; the page of it."""
        namespace = self._wanted.repo_id.partition("/")[0]
        made = self._call(
            "keeping the collection",
            lambda: self._api.create_collection(
                title=name[:TITLE_CHARACTERS],
                namespace=namespace,
                description=description[:DESCRIPTION_CHARACTERS] or None,
                private=self._wanted.private,
                exists_ok=True,
            ),
        )
        self._call(
            "keeping the collection",
            lambda: self._api.add_collection_item(made.slug, self._wanted.repo_id, "model", exists_ok=True),
        )
        return f"{self._api.endpoint}/collections/{made.slug}"

    # --- reading --------------------------------------------------------------------------------------------------

    def _read(self, path: str, revision: str) -> bytes:
        found = self._call(
            f"reading {path}",
            lambda: self._api.hf_hub_download(self._wanted.repo_id, path, revision=revision),
        )
        return Path(found).read_bytes()

    def _with_content(self, item: PublishedFile, revision: str) -> PublishedFile:
        if item.path not in TEXTS or item.size_bytes > SMALL_BYTES:
            return item
        content = self._read(item.path, revision)
        return PublishedFile(item.path, len(content), hashlib.sha256(content).hexdigest(), item.git_sha1, content)

    def _cached(self, path: str) -> bytes | None:
        """The newest copy in the client's cache, whichever commit it is of."""
        from huggingface_hub import constants

        folder = Path(constants.HF_HUB_CACHE) / f"models--{self._wanted.repo_id.replace('/', '--')}" / "snapshots"
        found = sorted(folder.glob(f"*/{path}"), key=lambda item: item.lstat().st_mtime)
        return found[-1].read_bytes() if found else None

    # --- waiting and explaining -----------------------------------------------------------------------------------

    def _call(self, doing: str, function: Callable[[], T]) -> T:
        """The function's value; the client's errors become ours, rate limits are waited for."""
        try:
            return self._waiting(doing, function)
        except client_errors() as error:
            raise self._explained(error, doing) from error

    def _waiting(self, doing: str, function: Callable[[], T]) -> T:
        """The function's value, asked for again after each 429, for as long as patience has it."""
        waited = 0.0
        while True:
            try:
                return function()
            except client_errors() as error:
                seconds = seconds_to_wait(error, self._patience.pause_seconds)
                if seconds is None or waited + seconds > self._patience.rate_limit_seconds:
                    raise
                self._tell(f"{doing}: too many requests, waiting {seconds:g} s as the Hub asks")
                time.sleep(seconds)
                waited += seconds

    def _explained(self, error: Exception, doing: str, *, parent: str = "") -> ZooError:
        """The client's error in our words. A stale parent is somebody else's commit, which is named."""
        if getattr(getattr(error, "response", None), "status_code", None) != 412:
            return explained(error, doing, self._spot)
        head = ""
        with suppress(ZooError):
            state = self._look()
            head = state.head if state else ""
        return self._overtaken(parent, head)

    def _overtaken(self, parent: str, head: str) -> Refused:
        now = f", it is at {head[:12]} now" if head else ""
        return Refused(
            f"somebody else published to {self._wanted.repo_id} since {parent[:12]}{now}; nothing of ours was published",
            where=f"{self.page}/commits/{self._wanted.branch}",
            hint="look at that commit, then publish again",
        )

    def _tag_taken(self, commit: str) -> Refused:
        return Refused(
            f"the tag {self._wanted.tag} of {self._wanted.repo_id} stands on {commit[:12]}, and a tag is never moved",
            where=f"{self.page}/tree/{self._wanted.tag}",
            hint="give another --tag",
        )


def check_signature(weights: Weights, artifact: Artifact, key: Path) -> None:
    """Fail unless the file is signed by that public key, in the release of a repository that the card names by hf://.

    Raises WrongContent when it is not, CannotCheck when no such repository can be asked.
    """
    addresses = [parse(url) for url in weights.urls if url.startswith("hf://")]
    if not addresses:
        hint = "give an hf:// address under `urls`, or fetch without --signature"
        raise CannotCheck(
            f"{weights.file} has no address on the Hub, where its signature would be",
            where=str(weights.where),
            hint=hint,
        )
    address = addresses[0]
    there = Repository(Destination(address.repository, address.revision or "main", create=False)).there()
    signature = there[SIGNATURE].content if SIGNATURE in there else None
    if signature is None:
        raise WrongContent(f"{address.repository} is not signed", where=str(weights.where), hint="ask its publisher")
    digests = released(there)
    signing.verify(signature, digests, key)
    if digests.get(address.path) != artifact.sha256:
        what = f"{artifact.file} is not the file that was signed: sha256 {artifact.sha256}, signed {digests.get(address.path, 'nothing')}"
        raise WrongContent(what, where=str(weights.where), hint="do not use it; ask the publisher")


def _validate(readme: str) -> None:
    from huggingface_hub import RepoCard

    RepoCard(readme, ignore_metadata_errors=True).validate(repo_type="model")


def _errors_while_looking() -> tuple[type[Exception], ...]:
    return (*client_errors(), ZooError)


def _may_write(organization: Mapping[str, Any]) -> bool:
    """Whether the role in an organization allows new repositories (huggingface.co/docs/hub/organizations-security)."""
    return organization.get("roleInOrg") in (None, "write", "admin", "contributor")


def _there(sibling: Any) -> PublishedFile:
    """A file as model_info lists it."""
    sha256 = sibling.lfs["sha256"] if sibling.lfs else ""
    return PublishedFile(sibling.rfilename, sibling.size or 0, sha256, "" if sibling.lfs else sibling.blob_id or "")


def _listed(file: Any) -> PublishedFile:
    """A file as the tree lists it."""
    sha256 = file.lfs.sha256 if file.lfs else ""
    return PublishedFile(file.path, file.size, sha256, "" if file.lfs else file.blob_id)


def _kind(file: ReleaseFile, there: PublishedFile | None) -> str:
    """`new`, `changed` or `same`, by size and digest: a large file's SHA-256, a small one's git blob id."""
    if there is None:
        return "new"
    if there.size_bytes != file.size_bytes:
        return "changed"
    equal = there.sha256 == file.sha256 if there.sha256 else there.git_sha1 == file.git_sha1
    return "same" if equal else "changed"


def _difference(file: ReleaseFile, there: PublishedFile | None) -> str:
    if there is None:
        return f"{file.path} is missing"
    return f"{file.path} has {there.size_bytes} bytes, digest {there.sha256 or there.git_sha1}, not {file.size_bytes}, {file.sha256}"


def _sent_otherwise(operations: Iterable[Any], changes: tuple[Change, ...]) -> bool:
    """Whether the client measured other bytes while it uploaded."""
    digests = {change.file.path: change.file.sha256 for change in changes}
    infos = {item.path_in_repo: item.upload_info for item in operations if hasattr(item, "upload_info")}
    return any(info.is_hashed and info.sha256.hex() != digests[path] for path, info in infos.items())


def _stamps(changes: tuple[Change, ...]) -> list[tuple[int, int]]:
    """Size and time of change of the files on disk."""
    paths = [change.file.content for change in changes if isinstance(change.file.content, Path)]
    return [(status.st_size, status.st_mtime_ns) for status in (path.stat() for path in paths)]
