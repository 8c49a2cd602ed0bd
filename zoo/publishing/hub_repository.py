"""Look at a repository of the Hub: its files, commits, tags and pull requests. Nothing here changes it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from zoo.errors import Refused, UsageError, ZooError
from zoo.publishing.hub_client import HubClient, WaitPolicy
from zoo.publishing.hub_errors import client_errors, repository_missing
from zoo.publishing.hub_files import file_of_info, file_of_tree
from zoo.publishing.readme import ReleaseAddress
from zoo.publishing.release import README, SMALL_BYTES, TEXTS, WEIGHTS, PublishedFile

MOST_COMMITS = 50
"""How far back the README is looked for that zoo wrote last."""


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a release goes, and what may be done there; what cannot be meant is a UsageError.

    private: it must not be seen by others. pull_request: offer the commit, do not make it. create: what is not there
    may be created, a repository or a branch.
    """

    repo_id: str
    branch: str = "main"
    tag: str | None = None
    private: bool = False
    pull_request: bool = False
    create: bool = True

    def __post_init__(self) -> None:
        if "/" not in self.repo_id:
            raise UsageError(f"{self.repo_id!r} is no repository of the Hub", hint="give hf:ORGANIZATION/NAME")
        if self.pull_request and self.tag:
            raise UsageError("a pull request has no commit to tag yet", hint="merge it, then publish with --tag")


@dataclass(frozen=True, slots=True)
class RepositoryState:
    """A repository as it was seen at one commit. has_branch: the commit is the branch's, not the default branch's."""

    head: str
    private: bool
    files: Mapping[str, PublishedFile]
    has_branch: bool = True


class Repository:
    """One repository, as the token of this machine sees it."""

    def __init__(
        self,
        destination: Destination,
        *,
        report_progress: Callable[[str], None] = lambda line: None,
        wait_policy: WaitPolicy | None = None,
    ) -> None:
        """report_progress: called with what is waited for."""
        self.destination = destination
        self.client = HubClient(destination.repo_id, report_progress=report_progress, wait_policy=wait_policy)

    @property
    def page(self) -> str:
        """The repository's web page."""
        return self.client.location.page

    @property
    def address(self) -> ReleaseAddress:
        """How the release's README calls it."""
        return ReleaseAddress(self.destination.repo_id, self.page)

    # --- what was published ---------------------------------------------------------------------------------------

    def published_files(self) -> Mapping[str, PublishedFile]:
        """Return every file with its size and SHA-256: of large files as the listing has it, of small ones as they are read.

        Of the tag, where there is one to look at, else of the branch.
        """
        state = self._published
        return {path: self._with_content(item, state.head) for path, item in state.files.items()}

    def count_elements(self) -> int:
        """Count the numbers that the header of model.safetensors announces; only the header is downloaded."""
        head = self._published.head
        metadata = self.client.call(
            "reading the header of the weights",
            lambda: self.client.api.parse_safetensors_file_metadata(self.destination.repo_id, WEIGHTS, revision=head),
        )
        return sum(metadata.parameter_count.values())

    @cached_property
    def _published(self) -> RepositoryState:
        """The one commit that both of the above are about."""
        self.client.refuse_offline()
        state = self.look(self.destination.tag)
        if state is None:
            raise repository_missing(self.client.location)
        return state

    def _with_content(self, file: PublishedFile, revision: str) -> PublishedFile:
        if file.path not in TEXTS or file.size_bytes > SMALL_BYTES:
            return file
        content = self.read(file.path, revision)
        return PublishedFile(file.path, len(content), hashlib.sha256(content).hexdigest(), file.git_sha1, content)

    # --- commits and their files ----------------------------------------------------------------------------------

    def look(self, revision: str | None = None) -> RepositoryState | None:
        """Return the repository at a revision, else at the branch's head; None when there is no such repository.

        A missing branch that may be created stands where the default branch does.
        """
        from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

        branch = None if self.destination.branch == "main" else self.destination.branch
        try:
            return self.client.retry_limited("looking at the repository", lambda: self._state_at(revision or branch))
        except GatedRepoError as error:
            raise self.client.explain(error, "looking at the repository") from error
        except RepositoryNotFoundError:
            return None
        except RevisionNotFoundError as error:
            if revision is not None or not self.destination.create:
                raise self.client.explain(error, "looking at the branch") from error
            state = self.client.call("looking at the repository", lambda: self._state_at(None))
            return replace(state, has_branch=False)
        except client_errors() as error:
            raise self.client.explain(error, "looking at the repository") from error

    def _state_at(self, revision: str | None) -> RepositoryState:
        info = self.client.api.model_info(self.destination.repo_id, revision=revision, files_metadata=True)
        files = {item.rfilename: file_of_info(item) for item in info.siblings or ()}
        return RepositoryState(str(info.sha), bool(info.private), files)

    def files_at(self, commit: str) -> Mapping[str, PublishedFile]:
        """List the files of a commit, from its tree."""
        from huggingface_hub.hf_api import RepoFile

        entries = self.client.call(
            "reading back",
            lambda: list(self.client.api.list_repo_tree(self.destination.repo_id, recursive=True, revision=commit)),
        )
        return {item.path: file_of_tree(item) for item in entries if isinstance(item, RepoFile)}

    def read(self, path: str, revision: str) -> bytes:
        """Read a file at a revision."""
        local_path = self.client.call(
            f"reading {path}",
            lambda: self.client.api.hf_hub_download(self.destination.repo_id, path, revision=revision),
        )
        return Path(local_path).read_bytes()

    def read_cached(self, path: str) -> bytes | None:
        """Read the newest copy in the client's cache, whichever commit it is of; None when there is none."""
        from huggingface_hub import constants

        folder = Path(constants.HF_HUB_CACHE) / f"models--{self.destination.repo_id.replace('/', '--')}" / "snapshots"
        copies = sorted(folder.glob(f"*/{path}"), key=lambda item: item.lstat().st_mtime)
        return copies[-1].read_bytes() if copies else None

    def find_readme(self, matches: Callable[[str], bool]) -> str | None:
        """Return the newest README of the branch's commits that matches; None when none does."""
        commits = self.client.call(
            "reading commits",
            lambda: self.client.api.list_repo_commits(self.destination.repo_id, revision=self.destination.branch),
        )
        for commit in commits[:MOST_COMMITS]:
            with suppress(ZooError):  # a commit without a README, or with one that cannot be read
                text = self.read(README, commit.commit_id).decode(errors="replace")
                if matches(text):
                    return text
        return None

    # --- rights, tags and pull requests ---------------------------------------------------------------------------

    def check_rights(self) -> None:
        """Raise CannotCheck unless the token may write here, or read where a pull request is all that is asked for."""
        write = not self.destination.pull_request
        self.client.call("checking rights", lambda: self.client.api.auth_check(self.destination.repo_id, write=write))

    def tagged_commit(self) -> str | None:
        """Return the commit that has the destination's tag; None when none has it."""
        refs = self.client.call("reading tags", lambda: self.client.api.list_repo_refs(self.destination.repo_id))
        return next((str(item.target_commit) for item in refs.tags if item.name == self.destination.tag), None)

    def tag_taken(self, commit: str) -> Refused:
        """Say that another commit has the tag."""
        return Refused(
            f"the tag {self.destination.tag} of {self.destination.repo_id} stands on {commit[:12]}, and a tag is never moved",
            where=f"{self.page}/tree/{self.destination.tag}",
            hint="give another --tag",
        )

    def pull_requests(self) -> dict[str, str]:
        """List all pull requests, merged and closed ones too: ref to commit."""
        refs = self.client.call(
            "reading pull requests",
            lambda: self.client.api.list_repo_refs(self.destination.repo_id, include_pull_requests=True),
        )
        return {item.ref: str(item.target_commit) for item in refs.pull_requests or ()}

    def open_pull_requests(self, author: str | None) -> dict[str, str]:
        """List the open pull requests of that author, as `pull_requests` does."""
        discussions = self.client.call(
            "reading pull requests",
            lambda: list(
                self.client.api.get_repo_discussions(
                    self.destination.repo_id,
                    author=author,
                    discussion_type="pull_request",
                    discussion_status="open",
                )
            ),
        )
        refs = {f"refs/pr/{item.num}" for item in discussions}
        return {ref: commit for ref, commit in self.pull_requests().items() if ref in refs}
