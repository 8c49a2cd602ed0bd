"""Call the Hub's client: wait while requests are limited, and turn its errors into zoo's."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from zoo.errors import CannotCheck, ZooError
from zoo.publishing.hub_errors import PAUSE_SECONDS, RepositoryLocation, client_errors, explain, seconds_to_wait
from zoo.runtime import process
from zoo.runtime.environment import zoo_version

T = TypeVar("T")
XET_RETRY_DURATION = "60s"
"""Xet's default is to retry silently for six minutes (xet-runtime 1.5.2, config/groups/client.rs,
retry_max_duration)."""


@dataclass(frozen=True, slots=True)
class WaitPolicy:
    """How long to wait: for rate limits in total (their window is 5 minutes: huggingface.co/docs/hub/rate-limits, seen
    2026-11-24), and before a commit is tried again."""

    rate_limit_seconds: float = 330.0
    pause_seconds: float = PAUSE_SECONDS


class HubClient:
    """The Hub's client for one repository, with this machine's token.

    api: the client itself, for the functions given to `call` and `retry_limited`. location: the repository that errors
    name. report_progress: called with each reason to wait.
    """

    def __init__(
        self,
        repo_id: str,
        *,
        report_progress: Callable[[str], None] = lambda line: None,
        wait_policy: WaitPolicy | None = None,
    ) -> None:
        if process.is_ours():
            _configure_client()
        from huggingface_hub import HfApi

        self.api = HfApi(library_name="zoo", library_version=zoo_version())
        self.location = RepositoryLocation(repo_id, f"{self.api.endpoint}/{repo_id}", self.api.endpoint)
        self.report_progress, self.wait_policy = report_progress, wait_policy or WaitPolicy()

    def call(self, doing: str, function: Callable[[], T]) -> T:
        """Return the function's value; wait for rate limits, and raise the client's errors as zoo's.

        doing: for messages, such as "reading tags".
        """
        try:
            return self.retry_limited(doing, function)
        except client_errors() as error:
            raise self.explain(error, doing) from error

    def retry_limited(self, doing: str, function: Callable[[], T]) -> T:
        """Return the function's value; call it again after each 429, as long as the wait policy allows."""
        waited = 0.0
        while True:
            try:
                return function()
            except client_errors() as error:
                seconds = seconds_to_wait(error, self.wait_policy.pause_seconds)
                if seconds is None or waited + seconds > self.wait_policy.rate_limit_seconds:
                    raise
                self.report_progress(f"{doing}: too many requests, waiting {seconds:g} s as the Hub asks")
                time.sleep(seconds)
                waited += seconds

    def explain(self, error: Exception, doing: str) -> ZooError:
        """Return the client's error as one of zoo's."""
        return explain(error, doing, self.location)

    def refuse_offline(self) -> None:
        """Raise CannotCheck where the client is in offline mode."""
        from huggingface_hub import constants

        if constants.is_offline_mode():
            raise CannotCheck(
                "the Hub's client is in offline mode (HF_HUB_OFFLINE)",
                where=self.location.page,
                hint="unset HF_HUB_OFFLINE; `--dry-run` works without the Hub",
            )


def _configure_client() -> None:
    """Shorten Xet's silent retries, show progress bars on a terminal only, and log safely, all for the whole process."""
    process.log_safely()
    os.environ.setdefault("HF_XET_CLIENT_RETRY_MAX_DURATION", XET_RETRY_DURATION)
    from huggingface_hub.utils.tqdm import disable_progress_bars

    if not sys.stderr.isatty():
        disable_progress_bars()
