"""Read a repository of the Hub: its files, commits, tags and pull requests. Nothing here changes it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path

from zoo.errors import Refused, UsageError, ZooError
from zoo.publishing.hub_client import HubClient, WaitPolicy
from zoo.publishing.hub_errors import client_errors, repository_missing, revision_missing
from zoo.publishing.hub_files import file_of_info, file_of_tree
from zoo.publishing.readme import ReleaseAddress
from zoo.publishing.release import README, SMALL_BYTES, TEXTS, WEIGHTS, PublishedFile

MAX_COMMITS = 50
"""How many commits are searched, at most, for the README that zoo wrote last."""


@dataclass(frozen=True, slots=True)
class HubOptions:
    """How to publish to a repository of the Hub. Raises UsageError for a pull request with a tag.

    branch, tag: where the commit goes, and the tag it gets; for a check, the tag or else the branch to read. private:
    others must not see the repository. pull_request: open a pull request instead of committing to the branch. create:
    create a repository or branch that does not exist.
    """

    branch: str = "main"
    tag: str | None = None
    private: bool = False
    pull_request: bool = False
    create: bool = True

    def __post_init__(self) -> None:
        if self.pull_request and self.tag:
            raise UsageError(
                "cannot combine --pr with --tag: a pull request has no commit to tag yet",
                hint="merge the pull request, then publish with --tag",
            )

    def given(self) -> tuple[str, ...]:
        """Return the command line's names of the options that differ from their defaults."""
        names = {"pull_request": "--pr", "create": "--no-create"}
        given = [item.name for item in fields(self) if getattr(self, item.name) != item.default]
        return tuple(names.get(name, f"--{name}") for name in given)


@dataclass(frozen=True, slots=True)
class RepositoryState:
    """A repository at one commit. has_branch: the commit is the branch's, not the default branch's."""

    head: str
    private: bool
    files: Mapping[str, PublishedFile]
    has_branch: bool = True


class Repository:
    """One repository, as this machine's token can see it."""

    def __init__(
        self,
        repo_id: str,
        options: HubOptions | None = None,
        *,
        report_progress: Callable[[str], None] = lambda line: None,
        wait_policy: WaitPolicy | None = None,
    ) -> None:
        """repo_id: ORG/NAME; UsageError when it is not valid. report_progress: called with each reason to wait."""
        _refuse_invalid(repo_id)
        self.repo_id, self.options = repo_id, options or HubOptions()
        self.client = HubClient(repo_id, report_progress=report_progress, wait_policy=wait_policy)

    @property
    def page(self) -> str:
        """The repository's web page."""
        return self.client.location.page

    @property
    def address(self) -> ReleaseAddress:
        """The address that the release's README gives."""
        return ReleaseAddress(self.repo_id, self.page)

    # --- what is published ----------------------------------------------------------------------------------------

    def published_files(self) -> Mapping[str, PublishedFile]:
        """Return every file by path with size and SHA-256: a large one's from the listing, a small one's from its
        content.

        Reads the tag if the options have one, else the branch. Raises CannotCheck when it, or the repository, does not
        exist.
        """
        state = self._published
        return {path: self._with_content(item, state.head) for path, item in state.files.items()}

    def count_elements(self) -> int:
        """Return the number of elements in the header of model.safetensors, which is all that is downloaded of it."""
        head = self._published.head
        metadata = self.client.call(
            "reading the header of the weights",
            lambda: self.client.api.parse_safetensors_file_metadata(self.repo_id, WEIGHTS, revision=head),
        )
        return sum(metadata.parameter_count.values())

    @cached_property
    def _published(self) -> RepositoryState:
        """The one commit that both methods above read. It is never another branch's than the one asked for."""
        from huggingface_hub.errors import RevisionNotFoundError

        self.client.refuse_offline()
        revision = self.options.tag or self.options.branch
        try:
            state = self._look_at(revision)
        except RevisionNotFoundError as error:
            raise revision_missing(
                self.client.location, revision, hint="check the name of the branch or tag"
            ) from error
        if state is None:
            raise repository_missing(self.client.location)
        return state

    def _with_content(self, file: PublishedFile, revision: str) -> PublishedFile:
        if file.path not in TEXTS or file.size_bytes > SMALL_BYTES:
            return file
        content = self.read(file.path, revision)
        return PublishedFile(file.path, len(content), hashlib.sha256(content).hexdigest(), file.git_sha1, content)

    # --- commits and their files ----------------------------------------------------------------------------------

    def look(self) -> RepositoryState | None:
        """Return the repository at the branch's head; None when the repository does not exist.

        Where the branch does not exist but may be created, return the state at the default branch's head, from which it
        would be created. Raises CannotCheck where it may not be created.
        """
        from huggingface_hub.errors import RevisionNotFoundError

        branch = self.options.branch
        try:
            return self._look_at(branch)
        except RevisionNotFoundError as error:
            if not self.options.create:
                hint = "create the branch, or publish without --no-create"
                raise revision_missing(self.client.location, branch, hint=hint) from error
        state = self.client.call("looking up the repository", lambda: self._state_at(None))
        return replace(state, has_branch=False)

    def _look_at(self, revision: str) -> RepositoryState | None:
        """Return the repository at a revision; None when there is no repository. Raises RevisionNotFoundError."""
        from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

        try:
            return self.client.retry_limited("looking up the repository", lambda: self._state_at(revision))
        except GatedRepoError as error:  # a kind of RepositoryNotFoundError
            raise self.client.explain(error, "looking up the repository") from error
        except RepositoryNotFoundError:
            return None
        except RevisionNotFoundError:
            raise
        except client_errors() as error:
            raise self.client.explain(error, "looking up the repository") from error

    def _state_at(self, revision: str | None) -> RepositoryState:
        info = self.client.api.model_info(self.repo_id, revision=revision, files_metadata=True)
        files = {item.rfilename: file_of_info(item) for item in info.siblings or ()}
        return RepositoryState(str(info.sha), bool(info.private), files)

    def files_at(self, commit: str) -> Mapping[str, PublishedFile]:
        """Return the files of a commit by path, from its tree."""
        from huggingface_hub.hf_api import RepoFile

        entries = self.client.call(
            "reading the published files back",
            lambda: list(self.client.api.list_repo_tree(self.repo_id, recursive=True, revision=commit)),
        )
        return {item.path: file_of_tree(item) for item in entries if isinstance(item, RepoFile)}

    def read(self, path: str, revision: str) -> bytes:
        """Return the content of a file at a revision."""
        local_path = self.client.call(
            f"reading {path}", lambda: self.client.api.hf_hub_download(self.repo_id, path, revision=revision)
        )
        return Path(local_path).read_bytes()

    def read_cached(self, path: str) -> bytes | None:
        """Return the newest copy of a file in the client's cache, from any commit; None when there is none."""
        from huggingface_hub import constants

        folder = Path(constants.HF_HUB_CACHE) / f"models--{self.repo_id.replace('/', '--')}" / "snapshots"
        copies = sorted(folder.glob(f"*/{path}"), key=lambda item: item.lstat().st_mtime)
        return copies[-1].read_bytes() if copies else None

    def find_readme(self, matches: Callable[[str], bool]) -> str | None:
        """Return the newest README in the branch's last MAX_COMMITS commits that matches; None when none does."""
        commits = self.client.call(
            "reading commits",
            lambda: self.client.api.list_repo_commits(self.repo_id, revision=self.options.branch),
        )
        for commit in commits[:MAX_COMMITS]:
            with suppress(ZooError):  # the commit has no README, or an unreadable one
                text = self.read(README, commit.commit_id).decode(errors="replace")
                if matches(text):
                    return text
        return None

    # --- rights, tags and pull requests ---------------------------------------------------------------------------

    def check_rights(self) -> None:
        """Raise CannotCheck unless the token may write to the repository; for a pull request, read access is enough."""
        write = not self.options.pull_request
        self.client.call("checking rights", lambda: self.client.api.auth_check(self.repo_id, write=write))

    def tagged_commit(self) -> str | None:
        """Return the commit of the options' tag; None when the tag does not exist."""
        refs = self.client.call("reading tags", lambda: self.client.api.list_repo_refs(self.repo_id))
        return next((str(item.target_commit) for item in refs.tags if item.name == self.options.tag), None)

    def tag_taken(self, commit: str) -> Refused:
        """Return the error for a tag that is on another commit."""
        tag = self.options.tag
        return Refused(
            f"the tag {tag} of {self.repo_id} is on commit {commit[:12]}, and zoo never moves a tag",
            where=f"{self.page}/tree/{tag}",
            hint="give another --tag",
        )

    def pull_requests(self) -> dict[str, str]:
        """Return the commits of all pull requests by ref, including merged and closed ones."""
        refs = self.client.call(
            "reading pull requests",
            lambda: self.client.api.list_repo_refs(self.repo_id, include_pull_requests=True),
        )
        return {item.ref: str(item.target_commit) for item in refs.pull_requests or ()}

    def open_pull_requests(self, author: str | None) -> dict[str, str]:
        """Return the commits of that author's open pull requests by ref; of all authors' when it is None."""
        discussions = self.client.call(
            "reading pull requests",
            lambda: list(
                self.client.api.get_repo_discussions(
                    self.repo_id, author=author, discussion_type="pull_request", discussion_status="open"
                )
            ),
        )
        refs = {f"refs/pr/{item.num}" for item in discussions}
        return {ref: commit for ref, commit in self.pull_requests().items() if ref in refs}


def _refuse_invalid(repo_id: str) -> None:
    """Raise UsageError unless it is ORG/NAME in the Hub's alphabet."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repo_id)
        is_valid = "/" in repo_id
    except HFValidationError:
        is_valid = False
    if not is_valid:
        raise UsageError(f"not a valid repository of the Hub: {repo_id!r}", hint="give hf:ORG/REPO")
