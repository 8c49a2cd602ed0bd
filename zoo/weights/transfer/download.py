"""Download one file from its addresses, resume what an earlier process left, and return its size and sha256.

`transfer` tries the addresses in order, each with several connections or its source's own client. Each process writes a
part file of its own, with a sidecar that records the finished ranges and the version, so nothing depends on working
locks. A sidecar proves nothing about the content: only the final hash does, and zoo.weights.store compares it with the
card.
"""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from zoo.errors import TransferFailed, UnknownName, WrongContent, ZooError
from zoo.runtime.text import terminal_lines
from zoo.weights.sources import DownloadSource, SourceError, Version, redact_url
from zoo.weights.transfer.connections import (
    TOUCH_SECONDS,
    Connections,
    DownloadContext,
    DownloadProgress,
    DownloadRequest,
    TooLarge,
    VersionChanged,
)
from zoo.weights.transfer.followers import Hasher
from zoo.weights.transfer.partial import CLIENT_SUFFIX, Part, Writer, check_free_space
from zoo.weights.transfer.policy import wait_seconds

CLIENT_BYTES = 1 << 20
"""What a source's own client may write beside the file: its metadata."""


@dataclass(frozen=True, slots=True)
class DownloadedFile:
    """A whole file as its server sent it, in a part file that is flushed to the disk: measured, but not compared."""

    part: Part
    size_bytes: int
    sha256: str
    url: str
    notes: tuple[str, ...]


def may_resume(part: Part, url: str, request: DownloadRequest) -> bool:
    """Return whether the bytes in a part may belong to the file at this address.

    Either the digest is known, so that the final hash finds a mistake, or the server can confirm the version.
    """
    is_size_right = request.size_bytes in (None, part.size_bytes) or part.size_bytes is None
    return is_size_right and (bool(request.sha256) or (part.url == redact_url(url) and part.version.is_known))


def transfer(request: DownloadRequest, folder: Path, context: DownloadContext) -> DownloadedFile:
    """Download the file from the first of its addresses that has it, into a part file in `folder`.

    Raises WrongContent when an address has another file (by its size) and no address has the right one, TransferFailed
    when no download completed, CannotCheck when the disk is full or not writable.
    """
    part = Part.resume(folder, request.file, request.identity, Writer.current())
    failures: list[ZooError] = []
    for url in request.urls:
        attempt = _Attempt(part, url, request, context)
        try:
            sha256 = attempt.run()
        except (TransferFailed, WrongContent, UnknownName) as error:
            failures.append(error)
            part = attempt.part
        except BaseException:
            attempt.part.release()
            raise
        else:
            part = attempt.part
            notes = tuple(f"tried {error.where or request.file}: {error.what}" for error in failures)
            return DownloadedFile(part, part.done_bytes, sha256, redact_url(url), notes)
    part.release()
    raise _all_failed(request, failures)


class _Attempt:
    """The download from one address, which starts again when the file changes on the server."""

    def __init__(self, part: Part, url: str, request: DownloadRequest, context: DownloadContext) -> None:
        self.part = part
        self.url = url
        self._saved_at = 0.0
        self._request = request
        self._context = context

    def run(self) -> str:
        """Download the file into `part` and return its sha256. Raises what `transfer` does, for one address."""
        source = self._context.sources.for_url(self.url)
        if isinstance(source, DownloadSource):
            return self._download_by_client(source)
        if self.part.done_spans and not may_resume(self.part, self.url, self._request):
            self.part = self.part.replace_with_empty()
        if self.part.url != redact_url(self.url):
            self.part.url, self.part.version = redact_url(self.url), Version(self.part.size_bytes)
        error = SourceError(
            "the file on the server changes during each download", where=redact_url(self.url), hint="try again later"
        )
        for restart in range(self._context.retry_policy.tries):
            limit = self._context.connections if restart < 2 else 1
            connections = Connections(self.part, source, self.url, self._request, self._context, limit)
            try:
                return connections.run()
            except TooLarge:
                self.part = self.part.replace_with_empty()
                raise
            except VersionChanged:
                error = connections.last_error or error
                self.part = self.part.replace_with_empty()
                self.part.url = redact_url(self.url)
        raise error

    def _download_by_client(self, source: DownloadSource) -> str:
        folder = self.part.path.with_suffix(CLIENT_SUFFIX)
        check_free_space(folder.parent, self._request.size_bytes or 0)
        self.part.save()
        try:
            path = self._retry(
                lambda: source.download(
                    self.url,
                    folder,
                    timeout_seconds=self._context.retry_policy.stall_seconds,
                    on_bytes=self._report_progress,
                )
            )
            self.part = self.part.replace_with_file(path)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        self.part.url = redact_url(self.url)
        hasher = Hasher(self.part)
        hasher.start()
        self.part.sync()
        return hasher.result()

    def _retry(self, download: Callable[[], Path]) -> Path:
        failures = 0
        while True:
            try:
                return download()
            except SourceError as error:
                failures += 1
                seconds = wait_seconds(failures, error, self._context.retry_policy, random.random())
                if seconds is None:
                    raise
                if self._context.stop.wait(seconds):
                    raise KeyboardInterrupt from error

    def _report_progress(self, done_bytes: int) -> None:
        if self._context.stop.is_set():
            raise KeyboardInterrupt
        self._request.refuse_excess(done_bytes - CLIENT_BYTES, self._context.retry_policy, self.url)
        if time.monotonic() - self._saved_at > TOUCH_SECONDS:  # else other processes would take over the part
            self._saved_at = time.monotonic()
            self.part.save()
        self._context.report_progress(
            DownloadProgress(self._request.model, self._request.file, done_bytes, self._request.size_bytes)
        )


def _all_failed(request: DownloadRequest, failures: Sequence[ZooError]) -> ZooError:
    """Return one error for all addresses: WrongContent if any is one, since it says more than a failed request."""
    wrong = [error for error in failures if isinstance(error, WrongContent)]
    last = (wrong or failures)[-1]
    if len(failures) == 1:
        return last
    head = f"cannot download {request.file} from any of its {len(failures)} addresses:"
    each = (f"  {error.where}: {error.what}" for error in failures)
    kind = WrongContent if wrong else TransferFailed
    return kind(terminal_lines((head, *each)), hint=last.hint)
