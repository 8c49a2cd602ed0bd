"""Put a release into a repository of the Hub, in one commit, and prove what the repository holds afterwards.

    read, find_readme, changes    compare with the commit that was seen
    push                          create if need be -> upload -> one commit on that commit -> read back -> tag

Nothing is retried blindly: a commit whose outcome is unknown is looked for in the repository first. The only module
that pushes.
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
"""What a Collection's texts may have: the description's limit is in huggingface_hub 2.4.0, hf_api.py, create_collection; the
title's is a cautious one."""


@dataclass(frozen=True, slots=True)
class PushResult:
    """What a push did: the commit that holds the release now, its page, and what changed in it."""

    commit: str
    page: str
    changes: tuple[Change, ...]

    @property
    def is_new(self) -> bool:
        """Whether there is a commit that was not there before."""
        return any(change.kind != "same" for change in self.changes)


class HubPreview:
    """What a release is compared with: a repository at the commit that was seen, or none where it does not exist yet."""

    def __init__(self, repository: Repository, state: RepositoryState | None) -> None:
        self._repository, self._state = repository, state

    def read(self, path: str) -> bytes | None:
        """Read a file of the commit that was seen; None when it is not there."""
        if self._state is None or path not in self._state.files:
            return None
        return self._repository.read(path, self._state.head)

    def find_readme(self, matches: Callable[[str], bool]) -> str | None:
        """Return the newest README of the branch's commits that matches; None when none does."""
        return None if self._state is None else self._repository.find_readme(matches)

    def changes(self, release: Release) -> tuple[Change, ...]:
        """List what a push of the release would change of the commit that was seen."""
        return changes_of(release, self._state.files if self._state else {})


class CachedPreview:
    """What a dry run compares with where the Hub could not be asked: what an earlier run left in the client's cache."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository

    def read(self, path: str) -> bytes | None:
        """Read the newest copy in the client's cache; None when there is none."""
        return self._repository.read_cached(path)

    def find_readme(self, matches: Callable[[str], bool]) -> str | None:
        """Return None: the cache has no history."""
        return None

    def changes(self, release: Release) -> tuple[Change, ...]:
        """List the files: what a push would do with them is not known."""
        return tuple(Change(item, "unknown") for item in release.files)


class HubSession(HubPreview):
    """A push that the preflight let through: it stands on the commit that was seen then. Only HubTarget makes one.

    user: whose token it is, where that is known. has_tag: the commit that was seen has the tag already.
    """

    def __init__(
        self, repository: Repository, state: RepositoryState | None, *, user: str | None, has_tag: bool
    ) -> None:
        super().__init__(repository, state)
        self._client, self._destination = repository.client, repository.destination
        self._user, self._has_tag = user, has_tag

    def put(self, release: Release, *, title: str) -> str:
        """Push, and return the page of the release."""
        return self.push(release, title=title).page

    def push(self, release: Release, *, title: str) -> PushResult:
        """Put the release there in one commit, read it back, and tag it; with nothing changed there is no commit.

        Raises Refused when somebody else published meanwhile, WrongContent when what is there afterwards is not the
        release, TransferFailed and CannotCheck as the table of errors says. The repository is as before, or whole.
        """
        state = self._state or self._create()
        changes = changes_of(release, state.files)
        commit, page = state.head, f"{self._repository.page}/tree/{state.head}"
        if not state.has_branch:
            self._make_branch(state)
        if any(change.kind != "same" for change in changes):
            if self._has_tag:
                raise self._repository.tag_taken(state.head)
            pull_request = self._open_pull_request(changes) if self._destination.pull_request else None
            if pull_request is not None:
                self._client.report_progress(f"a pull request with this release is open already: {pull_request[1]}")
            commit, page = pull_request or self._commit(changes, state, title)
        self._read_back(release, commit)
        if self._destination.tag and not self._has_tag:
            self._tag(self._destination.tag, commit)
        return PushResult(commit, page, changes)

    def add_to_collection(self, name: str, description: str) -> str:
        """Put the repository into the Collection of that title in its namespace, made if need be; return its page."""
        namespace = self._destination.repo_id.partition("/")[0]
        collection = self._client.call(
            "keeping the collection",
            lambda: self._client.api.create_collection(
                title=name[:TITLE_CHARACTERS],
                namespace=namespace,
                description=description[:DESCRIPTION_CHARACTERS] or None,
                private=self._destination.private,
                exists_ok=True,
            ),
        )
        self._client.call(
            "keeping the collection",
            lambda: self._client.api.add_collection_item(
                collection.slug, self._destination.repo_id, "model", exists_ok=True
            ),
        )
        return f"{self._client.location.endpoint}/collections/{collection.slug}"

    # --- the repository and its branch ----------------------------------------------------------------------------

    def _create(self) -> RepositoryState:
        """Create the repository. That it exists already is no error to the client, whoever's it is: rights are checked."""
        self._client.call(
            "creating the repository",
            lambda: self._client.api.create_repo(
                self._destination.repo_id, private=self._destination.private or None, exist_ok=True
            ),
        )
        self._repository.check_rights()
        state = self._repository.look()
        if state is None:
            raise repository_missing(self._client.location)
        return state

    def _make_branch(self, state: RepositoryState) -> None:
        self._client.call(
            f"creating the branch {self._destination.branch}",
            lambda: self._client.api.create_branch(
                self._destination.repo_id, branch=self._destination.branch, revision=state.head, exist_ok=True
            ),
        )

    # --- the commit -----------------------------------------------------------------------------------------------

    def _commit(self, changes: tuple[Change, ...], state: RepositoryState, title: str) -> tuple[str, str]:
        """The oid and the page of the one commit with all changes."""
        operations = _operations(changes, state)
        stamps = file_stamps(changes)
        self._check_readme(changes)
        self._upload(operations)
        if file_stamps(changes) != stamps or is_upload_different(operations, changes):
            raise WrongContent("a file was changed while it was uploaded; nothing was published", hint="publish again")
        pull_requests = self._repository.pull_requests() if self._destination.pull_request else {}
        for attempt in range(1, COMMIT_ATTEMPTS + 1):
            try:
                return self._client.retry_limited("committing", lambda: self._send(operations, state, title))
            except client_errors() as error:
                if not is_outcome_unknown(error):
                    raise self._explain_commit(error, state) from error
                self._client.report_progress(
                    f"the outcome of the commit is unknown ({first_line(error)}): looking for it"
                )
                commit = self._find_commit(changes, state, pull_requests, error)
                if commit is not None:
                    return commit
                if attempt == COMMIT_ATTEMPTS:
                    raise self._explain_commit(error, state) from error
                time.sleep(self._client.wait_policy.pause_seconds * attempt)
        raise AssertionError("the last attempt returns or raises")

    def _check_readme(self, changes: tuple[Change, ...]) -> None:
        """Ask the Hub whether it takes the README's metadata, before anything is uploaded."""
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
                self._destination.repo_id,
                additions,
                revision=self._destination.branch,
                create_pr=self._destination.pull_request,
                free_memory=False,
            ),
        )

    def _send(self, operations: Operations, state: RepositoryState, title: str) -> tuple[str, str]:
        info = self._client.api.create_commit(
            self._destination.repo_id,
            operations,
            commit_message=title,
            revision=self._destination.branch,
            parent_commit=state.head,
            create_pr=self._destination.pull_request,
        )
        return info.oid, info.pr_url or info.commit_url

    def _find_commit(
        self, changes: tuple[Change, ...], state: RepositoryState, pull_requests: Mapping[str, str], error: Exception
    ) -> tuple[str, str] | None:
        """Our commit, if it was made; None when it was not. Raises Refused when there is another one in its place.

        pull_requests: those that were there before. error: why it has to be looked for.
        """
        try:
            if self._destination.pull_request:
                refs = self._repository.pull_requests()
                return self._matching(
                    changes, {ref: commit for ref, commit in refs.items() if ref not in pull_requests}
                )
            commits = self._client.retry_limited(
                "reading commits",
                lambda: self._client.api.list_repo_commits(
                    self._destination.repo_id, revision=self._destination.branch
                ),
            )
            head = commits[0].commit_id
            if head == state.head:
                return None
            is_ours = len(commits) > 1 and commits[1].commit_id == state.head and self._holds(changes, head)
        except _errors_while_looking() as second:
            raise CannotCheck(
                f"it is not known whether the commit was made: {first_line(error)};"
                f" nor could that be found out: {first_line(second)}",
                where=f"{self._repository.page}/commits/{self._destination.branch}",
                hint="publish again: what was made is recognised, and nothing is uploaded twice",
            ) from second
        if not is_ours:
            raise self._overtaken(state.head, head)
        return head, f"{self._repository.page}/commit/{head}"

    def _open_pull_request(self, changes: tuple[Change, ...]) -> tuple[str, str] | None:
        """The commit and the page of a pull request of this token's user that is open and holds the release."""
        return self._matching(changes, self._repository.open_pull_requests(self._user))

    def _matching(self, changes: tuple[Change, ...], pull_requests: Mapping[str, str]) -> tuple[str, str] | None:
        """The commit and the page of the first of these pull requests that holds the release."""
        for ref, commit in pull_requests.items():
            if self._holds(changes, commit):
                return commit, f"{self._repository.page}/discussions/{ref.rpartition('/')[2]}"
        return None

    def _holds(self, changes: tuple[Change, ...], commit: str) -> bool:
        return is_published(changes, self._repository.files_at(commit))

    def _explain_commit(self, error: Exception, state: RepositoryState) -> ZooError:
        """The client's error in our words. A stale parent is somebody else's commit, which is named."""
        if getattr(getattr(error, "response", None), "status_code", None) != 412:
            return self._client.explain(error, "committing")
        head = ""
        with suppress(ZooError):
            latest = self._repository.look()
            head = latest.head if latest else ""
        return self._overtaken(state.head, head)

    def _overtaken(self, parent: str, head: str) -> Refused:
        now = f", it is at {head[:12]} now" if head else ""
        return Refused(
            f"somebody else published to {self._destination.repo_id} since {parent[:12]}{now}; nothing of ours was published",
            where=f"{self._repository.page}/commits/{self._destination.branch}",
            hint="look at that commit, then publish again",
        )

    # --- afterwards -----------------------------------------------------------------------------------------------

    def _read_back(self, release: Release, commit: str) -> None:
        wrong = differences(release, self._repository.files_at(commit))
        if wrong:
            raise WrongContent(
                f"what {self._destination.repo_id} holds at {commit[:12]} is not what was published: {'; '.join(wrong)}",
                where=f"{self._repository.page}/tree/{commit}",
                hint="look at it, and publish again",
            )

    def _tag(self, tag: str, commit: str) -> None:
        """Tag the commit; a tag that stands on it already is as good, whoever's answer was lost."""
        try:
            self._client.retry_limited(
                f"tagging {tag}",
                lambda: self._client.api.create_tag(self._destination.repo_id, tag=tag, revision=commit),
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
                f"{commit[:12]} is published, but not tagged {tag}: {reason}",
                where=f"{self._repository.page}/tree/{commit}",
                hint="publish again with the same --tag: only the tag will be made",
            ) from error


def _operations(changes: tuple[Change, ...], state: RepositoryState) -> Operations:
    """What the commit changes. A signature that the release has not is of another release: it goes."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete
    from huggingface_hub.utils._runtime import is_xet_available

    operations: Operations = []
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


def _errors_while_looking() -> tuple[type[Exception], ...]:
    return (*client_errors(), ZooError)


def _validate(readme: str) -> None:
    from huggingface_hub import RepoCard

    RepoCard(readme, ignore_metadata_errors=True).validate(repo_type="model")
