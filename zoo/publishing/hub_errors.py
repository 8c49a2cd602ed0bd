"""Turn the errors of the Hub's client into zoo's: what happened, where, and a hint.

The order of the cases matters: most of the client's errors are subclasses of others, and the errors of its HTTP library
come unchanged. Behaviour of the client: huggingface_hub 2.4.0, its source read 2026-11-24.
"""

from __future__ import annotations

import json
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from zoo.errors import CannotCheck, TransferFailed, WrongContent, ZooError

PAUSE_SECONDS = 2.0
"""The wait where the Hub does not say how long: before a commit is tried again, and after a 429 without a time."""


@dataclass(frozen=True, slots=True)
class RepositoryLocation:
    """The repository that an error is about: its id, its web page, and the Hub that it is on."""

    repo_id: str
    page: str
    endpoint: str


def explain(error: Exception, doing: str, location: RepositoryLocation) -> ZooError:
    """Return the client's error as one of zoo's; a ZooError stays as it is. doing: such as "reading tags"."""
    import httpx2
    from huggingface_hub import errors

    if isinstance(error, ZooError):
        return error
    no_access = _explain_no_access(error, location)
    if no_access is not None:
        return no_access
    page = location.page
    if isinstance(error, errors.HfHubHTTPError):
        return _explain_status(error, doing, location)
    if isinstance(error, httpx2.HTTPError):
        hint = "check the network, a proxy, HF_ENDPOINT; then publish again"
        return TransferFailed(
            f"cannot reach the Hub while {doing}: {first_line(error)}", where=location.endpoint, hint=hint
        )
    if isinstance(error, json.JSONDecodeError):
        hint = "try again later; if there is a proxy, check its answers"
        return TransferFailed(f"the Hub's answer while {doing} is not JSON but an error page", where=page, hint=hint)
    if isinstance(error, RuntimeError):
        cause = f": {first_line(error.__cause__)}" if error.__cause__ else ""
        hint = "publish again: only what is missing is uploaded"
        return TransferFailed(f"{first_line(error)}{cause}; nothing was published", where=page, hint=hint)
    if isinstance(error, ConnectionError):
        hint = "publish again; HF_HUB_DISABLE_XET=1 uploads without Xet"
        return TransferFailed(f"cannot reach Xet's storage while {doing}: {first_line(error)}", where=page, hint=hint)
    return WrongContent(
        f"the Hub rejects the README: {_readme_messages(error)}", where=page, hint="correct the card or the README"
    )


def _explain_no_access(error: Exception, location: RepositoryLocation) -> CannotCheck | None:
    """Return the error of a client that is offline, has no token or no access; None for other errors."""
    from huggingface_hub import errors

    repo, page = location.repo_id, location.page
    if isinstance(error, errors.OfflineModeIsEnabled):
        return CannotCheck("the Hub's client is in offline mode", where=page, hint="unset HF_HUB_OFFLINE")
    if isinstance(error, errors.LocalTokenNotFoundError):
        return CannotCheck(
            f"not logged in to {location.endpoint}", where=page, hint="run `hf auth login`, or set HF_TOKEN"
        )
    if isinstance(error, errors.OIDCError):
        hint = "give the job `permissions: id-token: write`, or unset HF_OIDC_RESOURCE"
        return CannotCheck(
            f"no token for {os.environ.get('HF_OIDC_RESOURCE', '')}: {first_line(error)}", where=page, hint=hint
        )
    if isinstance(error, errors.GatedRepoError):
        return CannotCheck(
            f"{repo} is gated, and this account has no access to it", where=page, hint=f"ask for access on {page}"
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return repository_missing(location)
    if isinstance(error, errors.RevisionNotFoundError):
        return CannotCheck(
            f"{repo} has no such branch, tag or commit", where=page, hint="give a branch or tag that exists"
        )
    return None


def _explain_status(error: Any, doing: str, location: RepositoryLocation) -> ZooError:
    repo, page, status = location.repo_id, location.page, error.response.status_code
    message = f": {error.server_message.splitlines()[0][:200]}" if error.server_message else ""
    if status == 401:
        hint = f"run `hf auth login` with a token from {location.endpoint}/settings/tokens"
        return CannotCheck(f"the Hub does not accept the token from {token_source()}", where=page, hint=hint)
    if status == 403:
        hint = "open a pull request with --pr, or use a token with write access"
        return CannotCheck(f"this token cannot write to {repo}{message}", where=token_source(), hint=hint)
    if status == 429:
        seconds = seconds_to_wait(error, PAUSE_SECONDS)
        return CannotCheck(f"too many requests while {doing}", where=page, hint=f"try again in {seconds:g} s")
    if status == 400:
        what = f"the Hub rejected the request while {doing}{message}"
        return WrongContent(what, where=page, hint="correct the card or the README")
    hint = "publish again later: nothing is uploaded twice"
    return TransferFailed(f"the Hub answered {status} while {doing}{message}", where=page, hint=hint)


def repository_missing(location: RepositoryLocation, *, hint: str = "check the name and the token") -> CannotCheck:
    """Return the error for a repository that this token cannot see."""
    what = f"{location.repo_id} does not exist or is private (the Hub does not say which)"
    return CannotCheck(what, where=location.page, hint=hint)


def revision_missing(location: RepositoryLocation, revision: str, *, hint: str) -> CannotCheck:
    """Return the error for a branch, tag or commit that the repository does not have."""
    return CannotCheck(f"{location.repo_id} has no branch, tag or commit {revision!r}", where=location.page, hint=hint)


def client_errors() -> tuple[type[Exception], ...]:
    """Return the types of all that the client raises for reasons other than a bug in zoo."""
    import httpx2
    from huggingface_hub.errors import OIDCError

    return (httpx2.HTTPError, RuntimeError, OSError, ValueError, OIDCError)


def is_outcome_unknown(error: Exception) -> bool:
    """Whether a commit may have been made: there was no answer, a server error, or an answer that is not JSON."""
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError

    if isinstance(error, HfHubHTTPError):
        return error.response.status_code >= 500 or error.response.status_code == 408
    return isinstance(error, (httpx2.HTTPError, json.JSONDecodeError))


def seconds_to_wait(error: Exception, default: float) -> float | None:
    """Return how long a 429 asks to wait, from Retry-After or the reset of the RateLimit header.

    Returns `default` where the Hub does not say, None for other errors. Source: RFC 9110, 10.2.3;
    huggingface.co/docs/hub/rate-limits (`RateLimit: "api";r=0;t=55`), seen 2026-11-24.
    """
    response = getattr(error, "response", None)
    if response is None or response.status_code != 429:
        return None
    after = re.fullmatch(r"\d+", response.headers.get("Retry-After", "").strip())
    reset = re.search(r";\s*t=(\d+)", response.headers.get("RateLimit", ""))
    seconds = after.group(0) if after else reset.group(1) if reset else None
    return default if seconds is None else float(seconds)


def token_source() -> str:
    """Return where the token comes from; never the token itself."""
    from huggingface_hub import constants

    if os.environ.get("HF_OIDC_RESOURCE"):
        return "the Trusted Publisher of HF_OIDC_RESOURCE"
    name = next((name for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN") if os.environ.get(name)), None)
    return f"the environment variable {name}" if name else f"the file {constants.HF_TOKEN_PATH}"


def first_line(error: BaseException) -> str:
    """Return the first line that is not empty, without the queries of URLs, because those of uploads are signed."""
    lines = [re.sub(r"\?[^\s'\"]*=[^\s'\"]*", "", line).strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:200]


def _readme_messages(error: BaseException) -> str:
    """Return what is wrong with a README: from the Hub's JSON answer, or from the client's list."""
    text = str(error)
    with suppress(ValueError, KeyError, TypeError):
        text = "\n".join(item["message"] for item in json.loads(text)["errors"])
    return "; ".join(line.strip(" -")[:100] for line in text.splitlines() if line.strip())[:500]
