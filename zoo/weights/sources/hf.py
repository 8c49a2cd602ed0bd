"""Read hf://org/name@revision/path, a file of a Hugging Face repository, with the official client.

The client handles tokens, Xet, HF_ENDPOINT and its own retries. It has no limit for a download that stalls, so this
module watches the download and ends it.
"""

from __future__ import annotations

import errno
import queue
import re
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from zoo.errors import CannotCheck
from zoo.runtime import process
from zoo.weights.sources import FileRange, Pace, SourceError

POLL_SECONDS = 0.2
SILENCES = 4
"""A download stalls after so many times the timeout: with Xet the client writes nothing until a chunk of up to 64 MiB
is complete."""


def open_source() -> HubSource:
    """Return a source that downloads with huggingface_hub."""
    return HubSource()


@dataclass(frozen=True, slots=True)
class HubAddress:
    """The parts of an hf:// URL. `kind` is `model`, `dataset` or `space`; `revision` is None for the default branch."""

    kind: str
    repository: str
    revision: str | None
    path: str


def parse(url: str) -> HubAddress:
    """Return the parts of hf://[datasets/|spaces/]org/name[@revision]/path.

    A revision with slashes is quoted (refs%2Fpr%2F1). Raises SourceError when the URL has another form.
    """
    match = re.fullmatch(r"hf://(?:(dataset|space)s/)?([^/@]+/[^/@]+)(?:@([^/]+))?/(.+)", url)
    if match is None:
        raise SourceError("not the address of a file on the Hub", where=url, hint="write hf://org/name@revision/path")
    revision = unquote(match[3]) if match[3] else None
    return HubAddress(match[1] or "model", match[2], revision, unquote(match[4]))


class HubSource:
    """A DownloadSource for the Hugging Face Hub."""

    def download(self, url: str, folder: Path, *, timeout_seconds: float, on_bytes: Callable[[int], None]) -> Path:
        """Download the file, see DownloadSource.

        The client runs in a thread of its own, which this one watches and abandons when the download stalls.
        """
        address = parse(url)
        results: queue.Queue[Path | Exception] = queue.Queue()
        counter = _ProgressCounter()

        def run() -> None:
            try:
                results.put(_download(address, folder, counter))
            except Exception as error:  # the waiting thread raises it
                results.put(error)

        threading.Thread(target=run, daemon=True, name=f"hub {address.path}").start()
        try:
            result = _wait_for_result(results, folder, counter, timeout_seconds, on_bytes, url)
        except BaseException:
            counter.is_abandoned = True
            raise
        if isinstance(result, Exception):
            raise _zoo_error(result, url, address) from result
        return result

    def read_range(self, url: str, start: int, stop: int, *, timeout_seconds: float) -> FileRange:
        """Read a range, see DownloadSource: one request with the client's address, token and connections."""
        address = parse(url)
        try:
            return _read_range(address, start, stop, timeout_seconds)
        except Exception as error:  # the client may raise anything
            raise _zoo_error(error, url, address) from error

    def close(self) -> None:
        """Do nothing: the client keeps no connection for this source."""


def _read_range(address: HubAddress, start: int, stop: int, timeout_seconds: float) -> FileRange:
    from huggingface_hub import hf_hub_url, utils

    client: Any = utils  # type checkers do not see the names that it re-exports
    url = hf_hub_url(address.repository, address.path, repo_type=address.kind, revision=address.revision)
    headers = {**client.build_hf_headers(), "Range": f"bytes={start}-{stop - 1}", "Accept-Encoding": "identity"}
    with client.get_session().stream(
        "GET", url, headers=headers, follow_redirects=True, timeout=timeout_seconds
    ) as response:
        client.hf_raise_for_status(response)
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""))
        if response.status_code != 206 or match is None or int(match[1]) != start:
            raise SourceError("the Hub does not support ranges of this file", where=url)
        data, pace, waiting = bytearray(), Pace(url), time.monotonic()
        for block in response.iter_bytes():
            data += block
            if len(data) >= stop - start:
                break
            pace.note(len(block), time.monotonic() - waiting)
            waiting = time.monotonic()
        return FileRange(bytes(data[: stop - start]), int(match[2]))


class _ProgressCounter:
    """Counts the client's progress reports, which come from its threads.

    is_abandoned: whether the next report ends the download, because no caller waits for its result.
    """

    def __init__(self) -> None:
        self.count = 0
        self.is_abandoned = False

    def bar(self) -> Any:
        """Return the class of a progress bar that shows nothing."""
        from huggingface_hub.utils import tqdm

        counter = self

        class SilentBar(tqdm):
            """Counts the updates."""

            def __init__(self, *arguments: Any, **options: Any) -> None:
                super().__init__(*arguments, **{**options, "disable": True})  # type: ignore[no-untyped-call]  # no types

            def update(self, n: float | None = 1) -> None:
                counter.count += 1
                if counter.is_abandoned:
                    raise InterruptedError("zoo has abandoned this download")

        return SilentBar


def _download(address: HubAddress, folder: Path, counter: _ProgressCounter) -> Path:
    import huggingface_hub

    path = huggingface_hub.hf_hub_download(
        address.repository,
        address.path,
        repo_type=address.kind,
        revision=address.revision,
        local_dir=folder,
        tqdm_class=counter.bar(),
    )
    return Path(path)


def _wait_for_result(
    results: queue.Queue[Path | Exception],
    folder: Path,
    counter: _ProgressCounter,
    timeout_seconds: float,
    on_bytes: Callable[[int], None],
    url: str,
) -> Path | Exception:
    """Wait for the client's thread, call `on_bytes` meanwhile, and return its result. Raises SourceError at a stall."""
    last_state, since = (0, 0), time.monotonic()
    while True:
        with suppress(queue.Empty):
            return results.get(timeout=POLL_SECONDS)
        state = (_bytes_below(folder), counter.count)
        on_bytes(state[0])
        if state != last_state:
            last_state, since = state, time.monotonic()
        elif time.monotonic() - since > SILENCES * timeout_seconds:
            hint = "set HF_HUB_DISABLE_XET=1 to download without Xet, or use a longer --stall"
            what = f"no data from the Hub for {SILENCES * timeout_seconds:g} s"
            raise SourceError(what, where=url, hint=hint, is_temporary=True)


def _bytes_below(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with suppress(OSError):  # the client renames files at the same time
            total += path.stat().st_size if path.is_file() else 0
    return total


def _zoo_error(error: Exception, url: str, address: HubAddress) -> CannotCheck:
    """Return zoo's error for an error of the client. Subclasses come before their base classes.

    Source: huggingface_hub 2.4.0, errors.py.
    """
    from huggingface_hub import errors

    if isinstance(error, SourceError):
        return error
    login = "run `hf auth login`, or set HF_TOKEN"
    if isinstance(error, errors.OfflineModeIsEnabled):
        return SourceError("the client is offline: HF_HUB_OFFLINE is set", where=url, hint="unset HF_HUB_OFFLINE")
    if isinstance(error, errors.GatedRepoError):
        hint = f"request access on the page of {address.repository}, then {login}"
        return SourceError(f"{address.repository} is gated", where=url, hint=hint)
    if isinstance(error, errors.RepositoryNotFoundError):
        return SourceError(
            f"{address.repository} does not exist or is private", where=url, hint=f"if it is private, {login}"
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return SourceError(f"{address.repository} has no revision {address.revision}", where=url)
    if isinstance(error, errors.LocalEntryNotFoundError):
        return SourceError("cannot reach the Hub", where=url, is_temporary=True)
    if isinstance(error, errors.EntryNotFoundError):
        return SourceError(f"{address.repository} has no file {address.path} at that revision", where=url)
    if isinstance(error, errors.HfHubHTTPError):
        status = error.response.status_code
        return SourceError(f"the Hub returned {status}", where=url, is_temporary=status in (408, 429) or status >= 500)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
        return CannotCheck(f"cannot write: {error.strerror}", where=str(error.filename or url))
    if isinstance(error, ValueError):
        return SourceError(f"not a valid address on the Hub: {error}", where=url)
    return SourceError(f"the Hub's client failed: {type(error).__name__}", where=url, is_temporary=True)


@dataclass(frozen=True, slots=True)
class RepositoryFile:
    """A file of a repository: path, size, and the SHA-256 of files in Git LFS or Xet."""

    path: str
    size_bytes: int | None
    sha256: str | None


def repository_files(repository: str, revision: str | None = None) -> tuple[str, list[RepositoryFile]]:
    """Return the commit and the files of a model repository, without downloading any.

    Raises the same errors as a download: SourceError, or CannotCheck when a local file is not writable.
    """
    process.log_safely()
    import huggingface_hub

    address = HubAddress("model", repository, revision, "")
    try:
        info = huggingface_hub.HfApi().model_info(repository, revision=revision, files_metadata=True)
    except Exception as error:  # the client may raise anything
        raise _zoo_error(error, f"hf://{repository}", address) from error
    files = [
        RepositoryFile(item.rfilename, item.size, item.lfs.sha256 if item.lfs else None) for item in info.siblings or ()
    ]
    return str(info.sha), files
