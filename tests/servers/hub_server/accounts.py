"""Who may do what: users, organizations, tokens with scopes, and the refusals that the Hub answers with.

What the client can tell apart, and cannot: a private repository looks like a missing one; a bad token is a 401
everywhere, even on public data; a read-only token and another's repository are both a 403.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from .git import Repository
from .replies import Refusal


@dataclass(frozen=True, slots=True)
class Token:
    """A token's holder and scope."""

    value: str = field(repr=False)
    user: str
    role: str
    """`write`, `read` or `fineGrained`."""
    writes: tuple[str, ...] = ()
    """Patterns of the repositories that a fine-grained token may write to, such as `lab/*`."""

    def may_write_to(self, repo_id: str) -> bool:
        return self.role == "write" or any(fnmatchcase(repo_id, pattern) for pattern in self.writes)


class Accounts:
    """Users, their organizations and tokens."""

    def __init__(self) -> None:
        self._orgs: dict[str, dict[str, str]] = {}
        self._users: set[str] = set()
        self._tokens: dict[str, Token] = {}

    def add_user(self, name: str) -> None:
        self._users.add(name)

    def add_org(self, name: str, members: dict[str, str]) -> None:
        """`members`: user to role in it (`admin`, `write`, `read`)."""
        self._orgs.setdefault(name, {}).update(members)

    def add_token(self, user: str, role: str, writes: tuple[str, ...]) -> Token:
        if user not in self._users:
            raise KeyError(user)
        token = Token(f"hf_{secrets.token_hex(17)}", user, role, writes)
        self._tokens[token.value] = token
        return token

    def authenticate(self, authorization: str | None) -> Token | None:
        """The token in an Authorization header, None without a header; a token that nobody has is a 401."""
        if authorization is None:
            return None
        token = self._tokens.get(authorization.removeprefix("Bearer "))
        if token is None:
            raise Refusal(401, "Invalid credentials in Authorization header")
        return token

    def identity(self, token: Token) -> dict[str, Any]:
        """The answer of whoami-v2."""
        orgs = [
            {"type": "org", "name": name, "roleInOrg": members[token.user]}
            for name, members in sorted(self._orgs.items())
            if token.user in members
        ]
        access: dict[str, Any] = {"displayName": f"{token.user}-{token.role}", "role": token.role}
        if token.role == "fineGrained":
            scoped = [{"entity": {"name": pattern}, "permissions": ["repo.write"]} for pattern in token.writes]
            access["fineGrained"] = {"canReadGatedRepos": True, "global": [], "scoped": scoped}
        auth = {"type": "access_token", "accessToken": access}
        return {"type": "user", "name": token.user, "fullname": token.user.title(), "orgs": orgs, "auth": auth}

    def role_in(self, user: str, namespace: str) -> str:
        """`admin` at home, the role in an organization, else empty."""
        return "admin" if user == namespace else self._orgs.get(namespace, {}).get(user, "")

    def check_visible(self, token: Token | None, repo: Repository | None) -> Repository:
        """The repository, unless it is missing or private to others: the answer is the same for both."""
        if repo is not None and not repo.private:
            return repo
        if token is None:
            raise Refusal(401, "Invalid username or password.", "RepoNotFound")
        if repo is None or not self.role_in(token.user, repo.namespace):
            raise Refusal(404, "Repository not found", "RepoNotFound")
        return repo

    def check_may_read_files(self, token: Token | None, repo: Repository) -> None:
        """A gated repository shows its listing to all and its files to whom it has accepted."""
        if not repo.gated or (token and (token.user in repo.accepted or self.role_in(token.user, repo.namespace))):
            return
        page = f"Access to model {repo.repo_id} is restricted. You must have access to it and be authenticated."
        raise Refusal(403 if token else 401, page, "GatedRepo")

    def check_may_write(self, token: Token | None, repo_id: str) -> Token:
        if token is None:
            raise Refusal(401, "Invalid username or password.")
        if not token.may_write_to(repo_id):
            raise Refusal(403, "Forbidden: you must use a write token to upload to a repository")
        if self.role_in(token.user, repo_id.split("/")[0]) not in ("admin", "write"):
            raise Refusal(403, "Forbidden: pass `create_pr=1` as a query parameter to create a Pull Request")
        return token

    def check_may_offer(self, token: Token | None) -> Token:
        """Whoever sees a repository may offer a pull request, but not with a read-only token."""
        if token is None:
            raise Refusal(401, "Invalid username or password.")
        if token.role == "read":
            raise Refusal(403, "Forbidden: you must use a write token to open a pull request")
        return token

    def check_may_create(self, token: Token | None, repo_id: str) -> Token:
        if token is None:
            raise Refusal(401, "Invalid username or password.")
        namespace = repo_id.split("/")[0]
        if not token.may_write_to(repo_id) or self.role_in(token.user, namespace) not in ("admin", "write"):
            raise Refusal(403, f'You don\'t have the rights to create a model under the namespace "{namespace}"')
        return token
