"""Call the Hub's client: wait while it is limited, and turn its errors into ours."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from zoo.errors import CannotCheck, ZooError
from zoo.publishing.hub_errors import PAUSE_SECONDS, RepositoryLocation, client_errors, explain, seconds_to_wait
from zoo.runtime.environment import zoo_version

T = TypeVar("T")
XET_RETRY_DURATION = "60s"
"""Xet's own default is six silent minutes (xet-runtime 1.5.2, config/groups/client.rs, retry_max_duration)."""


@dataclass(frozen=True, slots=True)
class WaitPolicy:
    """How long to wait: for rate limits in all (their window is 5 minutes: huggingface.co/docs/hub/rate-limits, seen
    2026-11-24), and between two tries of a commit."""

    rate_limit_seconds: float = 330.0
    pause_seconds: float = PAUSE_SECONDS


class HubClient:
    """The Hub's client, as the token of this machine sees one repository.

    api: the client itself, for the functions that `call` and `retry_limited` run. location: what its errors name.
    report_progress: called with what is waited for.
    """

    def __init__(
        self,
        repo_id: str,
        *,
        report_progress: Callable[[str], None] = lambda line: None,
        wait_policy: WaitPolicy | None = None,
    ) -> None:
        os.environ.setdefault("HF_XET_CLIENT_RETRY_MAX_DURATION", XET_RETRY_DURATION)
        from huggingface_hub import HfApi
        from huggingface_hub.utils.tqdm import disable_progress_bars

        if not sys.stderr.isatty():
            disable_progress_bars()
        self.api = HfApi(library_name="zoo", library_version=zoo_version())
        self.location = RepositoryLocation(repo_id, f"{self.api.endpoint}/{repo_id}", self.api.endpoint)
        self.report_progress, self.wait_policy = report_progress, wait_policy or WaitPolicy()

    def call(self, doing: str, function: Callable[[], T]) -> T:
        """Return the function's value; the client's errors become ours, rate limits are waited for."""
        try:
            return self.retry_limited(doing, function)
        except client_errors() as error:
            raise self.explain(error, doing) from error

    def retry_limited(self, doing: str, function: Callable[[], T]) -> T:
        """Return the function's value, asked for again after each 429, for as long as the wait policy has it."""
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
        """Say the client's error in our words."""
        return explain(error, doing, self.location)

    def refuse_offline(self) -> None:
        """Raise CannotCheck where the client is told not to ask the Hub."""
        from huggingface_hub import constants

        if constants.is_offline_mode():
            raise CannotCheck(
                "the Hub's client is in offline mode (HF_HUB_OFFLINE)",
                where=self.location.page,
                hint="unset HF_HUB_OFFLINE; `--dry-run` works without the Hub",
            )
