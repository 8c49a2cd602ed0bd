"""Publish to a repository of the Hugging Face Hub: find out whether a push can succeed, before any weights are read.

    preview      a dry run: compares with the repository as it is, or with the client's cache where it cannot be read
    preflight    offline? whose token? may it write, create, see? is the tag free? returns a HubSession, which pushes

hub_errors turns the client's errors into zoo's. Behaviour of the client: huggingface_hub 2.4.0, its source read
2026-11-24.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from zoo.errors import CannotCheck
from zoo.publishing.hub_errors import repository_missing, token_source
from zoo.publishing.hub_push import CachedPreview, HubPreview, HubSession
from zoo.publishing.hub_repository import Repository


@dataclass(frozen=True, slots=True)
class _Account:
    """The token's user, and the namespaces that it may write to: the user's own and those of organizations."""

    name: str
    namespaces: frozenset[str]


class HubTarget(Repository):
    """A repository as the Target of a release."""

    def preview(self) -> HubPreview | CachedPreview:
        """Return the repository as it is; where the Hub cannot be read, report that and return the client's cache."""
        try:
            self.client.refuse_offline()
            return HubPreview(self, self.look())
        except CannotCheck as error:
            self.client.report_progress(f"not compared with {self.repo_id}: {error.what}")
            return CachedPreview(self)

    def preflight(self) -> HubSession:
        """Find out whether a push can succeed, and return the session for it. Changes nothing.

        The push goes on top of the commit seen now. Raises CannotCheck: offline, not logged in, no right to write, a
        public repository with `private`. Raises Refused: the tag is on another commit.
        """
        self.client.refuse_offline()
        account = self._log_in()
        state = self.look()
        user = account.name if account else None
        if state is None:
            self._refuse_creation(account)
            return HubSession(self, None, user=user, has_tag=False)
        if self.options.private and not state.private:
            raise CannotCheck(
                f"{self.repo_id} is public, but --private was given",
                where=self.page,
                hint="make it private in its settings, or publish without --private",
            )
        self.check_rights()
        return HubSession(self, state, user=user, has_tag=self._has_tag(state.head))

    def _log_in(self) -> _Account | None:
        """Return the token's account; None for the token of a Trusted Publisher.

        Such a token is for one repository and has no user, so the Hub cannot say whose it is.
        """
        if os.environ.get("HF_OIDC_RESOURCE"):
            return None
        user: dict[str, Any] = self.client.call("logging in", self.client.api.whoami)
        token = user.get("auth", {}).get("accessToken", {})
        if token.get("role") == "read":
            tokens_page = f"{self.client.location.endpoint}/settings/tokens"
            raise CannotCheck(
                f"the token {token.get('displayName', '')!r} of {user['name']} is read-only",
                where=token_source(),
                hint=f"create a token with write access at {tokens_page}, then run `hf auth login`",
            )
        organizations = (item["name"] for item in user.get("orgs", ()) if _may_write(item))
        return _Account(user["name"], frozenset({user["name"], *organizations}))

    def _refuse_creation(self, account: _Account | None) -> None:
        """Raise CannotCheck unless the repository may be created, as far as the account says."""
        namespace = self.repo_id.partition("/")[0]
        if not self.options.create or self.options.pull_request:
            raise repository_missing(self.client.location)
        if account is not None and namespace not in account.namespaces:
            raise CannotCheck(
                f"{self.repo_id} does not exist or is private, and this token cannot create it:"
                f" it can create repositories of {', '.join(sorted(account.namespaces))}",
                where=token_source(),
                hint=f"ask for the write role in {namespace}, or publish to another organization",
            )

    def _has_tag(self, head: str) -> bool:
        """Whether the head has the tag, which only the push can judge; raises Refused when another commit has it."""
        commit = self.tagged_commit() if self.options.tag else None
        if commit is not None and commit != head:
            raise self.tag_taken(commit)
        return commit is not None


def _may_write(organization: Mapping[str, Any]) -> bool:
    """Whether the role in an organization allows new repositories (huggingface.co/docs/hub/organizations-security)."""
    return organization.get("roleInOrg") in (None, "write", "admin", "contributor")
