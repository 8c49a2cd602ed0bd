"""Addresses of one file -> its bytes on this disk, with size and sha256; what an earlier process left is built upon.

`transfer` tries the addresses in order, each with several connections or its source's own client. Each writer has a part
file of its own, with a sidecar that says which ranges of which version are there, so that nothing depends on working locks;
and no sidecar is ever trusted for the content: only the final hash is, and that is judged elsewhere (store).
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from zoo.errors import TransferFailed, UnknownName, WrongContent, ZooError
from zoo.weights.sources import Downloads, Fault, Version, redact_url
from zoo.weights.transfer.connections import (
    Connections,
    DownloadContext,
    DownloadProgress,
    DownloadRequest,
    VersionChanged,
)
from zoo.weights.transfer.followers import Hashing
from zoo.weights.transfer.partial import CLIENT_SUFFIX, Part, Writer, check_room
from zoo.weights.transfer.policy import wait_seconds


@dataclass(frozen=True, slots=True)
class DownloadedFile:
    """A whole file as its server sent it, in a part file, measured and on the disk, not judged."""

    part: Part
    size_bytes: int
    sha256: str
    url: str
    resumed_bytes: int
    notes: tuple[str, ...]


def may_resume(part: Part, url: str, request: DownloadRequest) -> bool:
    """Whether the bytes in a part may be the beginning of what this address has.

    Either the digest is known, so that a mistake comes out at the end, or the server can tell that it is the same file.
    """
    is_size_right = request.size_bytes in (None, part.size_bytes) or part.size_bytes is None
    return is_size_right and (bool(request.identity) or (part.url == redact_url(url) and part.version.is_known))


def transfer(request: DownloadRequest, folder: Path, context: DownloadContext) -> DownloadedFile:
    """The file from the first of its addresses that has it, in a part file below `folder`.

    Raises WrongContent when an address has something else (another size, a page, a pointer) and no other has the file,
    TransferFailed when none could be asked or the body never came whole, CannotCheck when the disk refuses.
    """
    part = Part.resume(folder, request.file, request.identity_or_url, Writer.current())
    failures: list[ZooError] = []
    for url in request.urls:
        attempt = _Attempt(part, url, request, context)
        try:
            sha256 = attempt.run()
        except (TransferFailed, WrongContent, UnknownName) as error:
            failures.append(error)
            part = attempt.part
        except BaseException:
            attempt.part.leave()
            raise
        else:
            part = attempt.part
            notes = tuple(f"not from {error.where or request.file}: {error.what}" for error in failures)
            return DownloadedFile(part, part.done_bytes, sha256, redact_url(url), attempt.resumed_bytes, notes)
    part.leave()
    raise _all_failed(request, failures)


class _Attempt:
    """One address: as often from the beginning as the file there changes, within reason."""

    def __init__(self, part: Part, url: str, request: DownloadRequest, context: DownloadContext) -> None:
        self.part = part
        self.url = url
        self.resumed_bytes = 0
        self._request = request
        self._context = context

    def run(self) -> str:
        """The sha256 of the whole file, which is then in `part`."""
        source = self._context.sources.of(self.url)
        if isinstance(source, Downloads):
            return self._download_by_client(source)
        if self.part.done_spans and not may_resume(self.part, self.url, self._request):
            self.part = self.part.replace_with_empty()
        if self.part.url != redact_url(self.url):
            self.part.url, self.part.version = redact_url(self.url), Version(self.part.size_bytes)
        fault = Fault(
            "the file there changes faster than it can be read", where=redact_url(self.url), hint="try again later"
        )
        for restart in range(self._context.retry_policy.tries):
            limit = self._context.connections if restart < 2 else 1
            self.resumed_bytes = self.part.done_bytes
            connections = Connections(self.part, source, self.url, self._request, self._context, limit)
            try:
                return connections.run()
            except VersionChanged:
                fault = connections.last_fault or fault
                self.part = self.part.replace_with_empty()
                self.part.url = redact_url(self.url)
        raise fault

    def _download_by_client(self, source: Downloads) -> str:
        folder = self.part.path.with_suffix(CLIENT_SUFFIX)
        check_room(folder.parent, self._request.size_bytes or 0)
        self.part.save()
        try:
            path = self._retry(
                lambda: source.download(
                    self.url,
                    folder,
                    timeout_seconds=self._context.retry_policy.stall_seconds,
                    arrived=self._report_progress,
                )
            )
            self.part = self.part.replace_with(path)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        self.part.url = redact_url(self.url)
        hashing = Hashing(self.part)
        hashing.start()
        self.part.sync()
        return hashing.finish()

    def _retry(self, download: Callable[[], Path]) -> Path:
        failures = 0
        while True:
            try:
                return download()
            except Fault as fault:
                failures += 1
                seconds = wait_seconds(failures, fault, self._context.retry_policy, random.random())
                if seconds is None:
                    raise
                if self._context.stop.wait(seconds):
                    raise KeyboardInterrupt from fault

    def _report_progress(self, done_bytes: int) -> None:
        if self._context.stop.is_set():
            raise KeyboardInterrupt
        self._context.report_progress(
            DownloadProgress(self._request.model, self._request.file, done_bytes, self._request.size_bytes)
        )


def _all_failed(request: DownloadRequest, failures: Sequence[ZooError]) -> ZooError:
    """One error for all the addresses; that a file is wrong says more than that another could not be asked."""
    wrong = [error for error in failures if isinstance(error, WrongContent)]
    last = (wrong or failures)[-1]
    if len(failures) == 1:
        return last
    each = "".join(f"\n  {error.where}: {error.what}" for error in failures)
    kind = WrongContent if wrong else TransferFailed
    return kind(f"{request.file} could not be had from any of {len(failures)} addresses:{each}", hint=last.hint)
