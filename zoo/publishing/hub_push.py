"""Push a release to a repository of the Hub in one commit, and verify what the repository contains afterwards.

    read, find_readme, changes    compare with the commit that the preflight saw
    push                          create if necessary -> upload -> one commit on top of that one -> read back -> tag

Nothing is retried blindly: when the outcome of a commit is unknown, it is searched for in the repository first. This is
the only module that pushes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from zoo.errors import CannotCheck, Refused, WrongContent, ZooError
from zoo.publishing.hub_errors import client_errors, first_line, is_outcome_unknown, repository_missing
from zoo.publishing.hub_files import changes_of, differences, file_stamps, is_published, is_upload_different
from zoo.publishing.hub_repository import Repository, RepositoryState
from zoo.publishing.release import README, SIGNATURE, Change, Release

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    Operations = list[CommitOperationAdd | CommitOperationDelete]


COMMIT_ATTEMPTS = 3
TITLE_CHARACTERS, DESCRIPTION_CHARACTERS = 60, 150
"""The limits of a Collection's texts: the description's is from huggingface_hub 2.4.0, hf_api.py, create_collection;
the title's is a cautious guess."""


@dataclass(frozen=True, slots=True)
class PushResult:
    """What a push did: the commit that now holds the release, its page, and its changes."""

    commit: str
    page: str
    changes: tuple[Change, ...]

    @property
    def is_new(self) -> bool:
        """Whether the branch did not have the release before the push."""
        return any(change.kind != "same" for change in self.changes)


class HubPreview:
    """The repository at the commit that was seen, to compare a release with; empty where it does not exist yet."""

    def __init__(self, repository: Repository, state: RepositoryState | None) -> None:
        self._repository, self._state = repository, state

    def read(self, path: str) -> bytes | None:
        """Return the content of a file in the commit that was seen; None when it is not there."""
        if self._state is None or path not in self._state.files:
            return None
        return self._repository.read(path, self._state.head)

    def find_readme(self, matches: Callable[[str], bool]) -> str | None:
        """Return the newest README in the branch's commits that matches; None when none does."""
        return None if self._state is None else self._repository.find_readme(matches)

    def changes(self, release: Release) -> tuple[Change, ...]:
        """Return what a push of the release would change, compared with the commit that was seen."""
        return changes_of(release, self._state.files if self._state else {})


class CachedPreview:
    """The client's cache from earlier runs, for a dry run where the Hub cannot be read."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository

    def read(self, path: str) -> bytes | None:
        """Return the content of the newest copy in the client's cache; None when there is none."""
        return self._repository.read_cached(path)

    def find_readme(self, matches: Callable[[str], bool]) -> str | None:
        """Return None: the cache has no history."""
        return None

    def changes(self, release: Release) -> tuple[Change, ...]:
        """Return every file as `unknown`."""
        return tuple(Change(item, "unknown") for item in release.files)


class HubSession(HubPreview):
    """A repository that passed the preflight; a push commits on top of the commit seen then. Only HubTarget makes one.

    user: the token's user, where it is known. has_tag: the commit that was seen already has the tag.
    """

    def __init__(
        self, repository: Repository, state: RepositoryState | None, *, user: str | None, has_tag: bool
    ) -> None:
        super().__init__(repository, state)
        self._client, self._repo_id, self._options = repository.client, repository.repo_id, repository.options
        self._user, self._has_tag = user, has_tag

    def put(self, release: Release, *, title: str) -> str:
        """Push, and return the page of the release."""
        return self.push(release, title=title).page

    def push(self, release: Release, *, title: str) -> PushResult:
        """Commit the release, read it back, and tag it; where nothing changed there is no commit.

        Raises Refused when another process published in the meantime, WrongContent when the repository afterwards does
        not contain the release, TransferFailed and CannotCheck as `explain` says. The repository has the complete
        release, or is as before.
        """
        state = self._state or self._create()
        changes = changes_of(release, state.files)
        commit, page = state.head, f"{self._repository.page}/tree/{state.head}"
        if not state.has_branch:
            self._make_branch(state)
        if any(change.kind != "same" for change in changes):
            if self._has_tag:
                raise self._repository.tag_taken(state.head)
            pull_request = self._open_pull_request(changes) if self._options.pull_request else None
            if pull_request is not None:
                self._client.report_progress(f"a pull request with this release is already open: {pull_request[1]}")
            commit, page = pull_request or self._commit(changes, state, title)
        self._read_back(release, commit)
        if self._options.tag and not self._has_tag:
            self._tag(self._options.tag, commit)
        return PushResult(commit, page, changes)

    def add_to_collection(self, name: str, description: str) -> str:
        """Add the repository to the Collection of that title, which is created if necessary; return its page."""
        namespace = self._repo_id.partition("/")[0]
        collection = self._client.call(
            "updating the collection",
            lambda: self._client.api.create_collection(
                title=name[:TITLE_CHARACTERS],
                namespace=namespace,
                description=description[:DESCRIPTION_CHARACTERS] or None,
                private=self._options.private,
                exists_ok=True,
            ),
        )
        self._client.call(
            "updating the collection",
            lambda: self._client.api.add_collection_item(collection.slug, self._repo_id, "model", exists_ok=True),
        )
        return f"{self._client.location.endpoint}/collections/{collection.slug}"

    # --- the repository and its branch ----------------------------------------------------------------------------

    def _create(self) -> RepositoryState:
        """Create the repository, then check the rights, because the client also accepts another owner's repository."""
        self._client.call(
            "creating the repository",
            lambda: self._client.api.create_repo(self._repo_id, private=self._options.private or None, exist_ok=True),
        )
        self._repository.check_rights()
        state = self._repository.look()
        if state is None:
            raise repository_missing(self._client.location)
        return state

    def _make_branch(self, state: RepositoryState) -> None:
        self._client.call(
            f"creating the branch {self._options.branch}",
            lambda: self._client.api.create_branch(
                self._repo_id, branch=self._options.branch, revision=state.head, exist_ok=True
            ),
        )

    # --- the commit -----------------------------------------------------------------------------------------------

    def _commit(self, changes: tuple[Change, ...], state: RepositoryState, title: str) -> tuple[str, str]:
        """Make one commit with all changes; return its id and page."""
        operations = _operations(changes, state)
        stamps = file_stamps(changes)
        self._check_readme(changes)
        self._upload(operations)
        if file_stamps(changes) != stamps or is_upload_different(operations, changes):
            raise WrongContent("a file changed while it was uploaded; nothing was published", hint="publish again")
        pull_requests = self._repository.pull_requests() if self._options.pull_request else {}
        for attempt in range(1, COMMIT_ATTEMPTS + 1):
            try:
                return self._client.retry_limited("committing", lambda: self._send(operations, state, title))
            except client_errors() as error:
                if not is_outcome_unknown(error):
                    raise self._explain_commit(error, state) from error
                self._client.report_progress(
                    f"the outcome of the commit is unknown ({first_line(error)}): searching for it"
                )
                commit = self._find_commit(changes, state, pull_requests, error)
                if commit is not None:
                    return commit
                if attempt == COMMIT_ATTEMPTS:
                    raise self._explain_commit(error, state) from error
                time.sleep(self._client.wait_policy.pause_seconds * attempt)
        raise AssertionError("the last attempt returns or raises")

    def _check_readme(self, changes: tuple[Change, ...]) -> None:
        """Have the Hub validate the README's metadata, before anything is uploaded."""
        for change in changes:
            if change.file.path == README and change.kind != "same":
                text = change.file.read().decode()
                self._client.call("checking the README", partial(_validate, text))

    def _upload(self, operations: Operations) -> None:
        from huggingface_hub import CommitOperationAdd

        additions = [item for item in operations if isinstance(item, CommitOperationAdd)]
        self._client.call(
            "uploading",
            lambda: self._client.api.preupload_lfs_files(
                self._repo_id,
                additions,
                revision=self._options.branch,
                create_pr=self._options.pull_request,
                free_memory=False,
            ),
        )

    def _send(self, operations: Operations, state: RepositoryState, title: str) -> tuple[str, str]:
        info = self._client.api.create_commit(
            self._repo_id,
            operations,
            commit_message=title,
            revision=self._options.branch,
            parent_commit=state.head,
            create_pr=self._options.pull_request,
        )
        return info.oid, info.pr_url or info.commit_url

    def _find_commit(
        self, changes: tuple[Change, ...], state: RepositoryState, pull_requests: Mapping[str, str], error: Exception
    ) -> tuple[str, str] | None:
        """Return our commit and its page; None when it was not made.

        Raises Refused when another commit is in its place. pull_requests: those from before the commit. error: why the
        outcome is unknown.
        """
        try:
            if self._options.pull_request:
                refs = self._repository.pull_requests()
                return self._matching(
                    changes, {ref: commit for ref, commit in refs.items() if ref not in pull_requests}
                )
            commits = self._client.retry_limited(
                "reading commits",
                lambda: self._client.api.list_repo_commits(self._repo_id, revision=self._options.branch),
            )
            head = commits[0].commit_id
            if head == state.head:
                return None
            is_ours = len(commits) > 1 and commits[1].commit_id == state.head and self._holds(changes, head)
        except _errors_while_looking() as second:
            raise CannotCheck(
                f"the outcome of the commit is unknown: {first_line(error)};"
                f" searching for it failed: {first_line(second)}",
                where=f"{self._repository.page}/commits/{self._options.branch}",
                hint="publish again: a commit that was made is recognised, and nothing is uploaded twice",
            ) from second
        if not is_ours:
            raise self._overtaken(state.head, head)
        return head, f"{self._repository.page}/commit/{head}"

    def _open_pull_request(self, changes: tuple[Change, ...]) -> tuple[str, str] | None:
        """Return commit and page of this user's open pull request with the release; None when there is none."""
        return self._matching(changes, self._repository.open_pull_requests(self._user))

    def _matching(self, changes: tuple[Change, ...], pull_requests: Mapping[str, str]) -> tuple[str, str] | None:
        """Return commit and page of the first of these pull requests with the release; None when there is none."""
        for ref, commit in pull_requests.items():
            if self._holds(changes, commit):
                return commit, f"{self._repository.page}/discussions/{ref.rpartition('/')[2]}"
        return None

    def _holds(self, changes: tuple[Change, ...], commit: str) -> bool:
        return is_published(changes, self._repository.files_at(commit))

    def _explain_commit(self, error: Exception, state: RepositoryState) -> ZooError:
        """Return the client's error as one of zoo's. A stale parent means another commit, which the message names."""
        if getattr(getattr(error, "response", None), "status_code", None) != 412:
            return self._client.explain(error, "committing")
        head = ""
        with suppress(ZooError):
            latest = self._repository.look()
            head = latest.head if latest else ""
        return self._overtaken(state.head, head)

    def _overtaken(self, parent: str, head: str) -> Refused:
        now = f", now at {head[:12]}" if head else ""
        return Refused(
            f"{self._repo_id} changed since commit {parent[:12]}{now}; nothing was published",
            where=f"{self._repository.page}/commits/{self._options.branch}",
            hint="review that commit, then publish again",
        )

    # --- afterwards -----------------------------------------------------------------------------------------------

    def _read_back(self, release: Release, commit: str) -> None:
        wrong = differences(release, self._repository.files_at(commit))
        if wrong:
            raise WrongContent(
                f"{self._repo_id} at commit {commit[:12]} is not what was published: {'; '.join(wrong)}",
                where=f"{self._repository.page}/tree/{commit}",
                hint="review that commit, then publish again",
            )

    def _tag(self, tag: str, commit: str) -> None:
        """Tag the commit. When the Hub's answer is lost, a tag that is on the commit counts as made."""
        try:
            self._client.retry_limited(
                f"tagging {tag}",
                lambda: self._client.api.create_tag(self._repo_id, tag=tag, revision=commit),
            )
        except client_errors() as error:
            tagged_commit = None
            with suppress(ZooError):
                tagged_commit = self._repository.tagged_commit()
            if tagged_commit == commit:
                return
            if tagged_commit is not None:
                raise self._repository.tag_taken(tagged_commit) from error
            reason = self._client.explain(error, f"tagging {tag}").what
            raise CannotCheck(
                f"commit {commit[:12]} is published, but not tagged {tag}: {reason}",
                where=f"{self._repository.page}/tree/{commit}",
                hint="publish again with the same --tag: only the tag is missing",
            ) from error


def _operations(changes: tuple[Change, ...], state: RepositoryState) -> Operations:
    """Return the commit's operations. A signature that is not in the release belongs to another one and is deleted."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete
    from huggingface_hub.utils._runtime import is_xet_available

    operations: Operations = []
    for change in changes:
        if change.kind == "same":
            continue
        content = change.file.content
        operation = CommitOperationAdd(change.file.path, content if isinstance(content, bytes) else str(content))
        if not is_xet_available():  # no need to read the file again; Xet measures what it sends in any case
            operation.upload_info.sha256 = bytes.fromhex(change.file.sha256)
        operations.append(operation)
    if SIGNATURE in state.files and SIGNATURE not in {change.file.path for change in changes}:
        operations.append(CommitOperationDelete(SIGNATURE))
    return operations


def _errors_while_looking() -> tuple[type[Exception], ...]:
    return (*client_errors(), ZooError)


def _validate(readme: str) -> None:
    from huggingface_hub import RepoCard

    RepoCard(readme, ignore_metadata_errors=True).validate(repo_type="model")
