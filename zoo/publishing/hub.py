"""Publish to a repository of the Hugging Face Hub: find out what a push could do, before any weights are read.

    preview      a dry run: compares with the repository as it is, or with the client's cache where it cannot be asked
    preflight    offline? who are we? may we write, create, see? is the tag free?        then: a HubSession, which pushes

The client's errors become ours in hub_errors. Behaviour of the client: huggingface_hub 2.4.0, its source read 2026-11-24.
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
    """Whose token it is, and where it may write: the user and the organizations."""

    name: str
    namespaces: frozenset[str]


class HubTarget(Repository):
    """A repository as the Target of a release."""

    def preview(self) -> HubPreview | CachedPreview:
        """Look at the repository, for a dry run, which only looks; where the Hub cannot be asked it says so."""
        try:
            self.client.refuse_offline()
            return HubPreview(self, self.look())
        except CannotCheck as error:
            self.client.report_progress(f"not compared with {self.destination.repo_id}: {error.what}")
            return CachedPreview(self)

    def preflight(self) -> HubSession:
        """Find out whether a push can succeed, and return it; it will stand on the commit seen now. Changes nothing.

        Raises CannotCheck: offline, not logged in, may not write, a repository that is not private enough; Refused: a
        taken tag.
        """
        self.client.refuse_offline()
        account = self._log_in()
        state = self.look()
        user = account.name if account else None
        if state is None:
            self._refuse_creation(account)
            return HubSession(self, None, user=user, has_tag=False)
        if self.destination.private and not state.private:
            raise CannotCheck(
                f"{self.destination.repo_id} is public, and --private was asked for",
                where=self.page,
                hint="make it private in its settings, or publish without --private",
            )
        self.check_rights()
        return HubSession(self, state, user=user, has_tag=self._has_tag(state.head))

    def _log_in(self) -> _Account | None:
        """Ask whose token it is; None when the token does not say.

        A Trusted Publisher's token is for one repository and stands for no user, so it is not asked who it is.
        """
        if os.environ.get("HF_OIDC_RESOURCE"):
            return None
        user: dict[str, Any] = self.client.call("logging in", self.client.api.whoami)
        token = user.get("auth", {}).get("accessToken", {})
        if token.get("role") == "read":
            raise CannotCheck(
                f"the token {token.get('displayName', '')!r} of {user['name']} may only read",
                where=token_source(),
                hint=f"make a token that may write at {self.client.location.endpoint}/settings/tokens, then `hf auth login`",
            )
        organizations = (item["name"] for item in user.get("orgs", ()) if _may_write(item))
        return _Account(user["name"], frozenset({user["name"], *organizations}))

    def _refuse_creation(self, account: _Account | None) -> None:
        """Raise CannotCheck unless the repository may be created, as far as the account says."""
        namespace = self.destination.repo_id.partition("/")[0]
        if not self.destination.create or self.destination.pull_request:
            raise repository_missing(self.client.location)
        if account is not None and namespace not in account.namespaces:
            raise CannotCheck(
                f"{self.destination.repo_id} does not exist or is private, and this token's user may not create it:"
                f" {namespace} is none of {', '.join(sorted(account.namespaces))}",
                where=token_source(),
                hint="ask for the write role there, or publish to another name",
            )

    def _has_tag(self, head: str) -> bool:
        """Whether the head has the tag, which may be right: the push will tell. A tag is never moved from elsewhere."""
        commit = self.tagged_commit() if self.destination.tag else None
        if commit is not None and commit != head:
            raise self.tag_taken(commit)
        return commit is not None


def _may_write(organization: Mapping[str, Any]) -> bool:
    """Whether the role in an organization allows new repositories (huggingface.co/docs/hub/organizations-security)."""
    return organization.get("roleInOrg") in (None, "write", "admin", "contributor")
