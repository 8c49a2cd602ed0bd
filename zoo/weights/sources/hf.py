"""hf://org/name@revision/path: a file of a Hugging Face repository, through the official client.

Tokens, Xet, HF_ENDPOINT and the client's own tries are its affair. What it has no limit for is watched here: a download
that brings nothing is ended.
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
from zoo.weights.sources import Fault, Peek

POLL_SECONDS = 0.2
SILENCES = 4
"""Stalls in a row that are still waited for: over Xet the client writes nothing until a chunk of up to 64 MiB is whole."""


def connect() -> HubSource:
    """A source that downloads with huggingface_hub."""
    return HubSource()


@dataclass(frozen=True, slots=True)
class HubAddress:
    """What an hf:// URL names; `kind` is `model`, `dataset` or `space`."""

    kind: str
    repository: str
    revision: str | None
    path: str


def parse(url: str) -> HubAddress:
    """The parts of hf://[datasets/|spaces/]org/name[@revision]/path; a revision with slashes is quoted (refs%2Fpr%2F1).

    Raises Fault when it is none.
    """
    match = re.fullmatch(r"hf://(?:(dataset|space)s/)?([^/@]+/[^/@]+)(?:@([^/]+))?/(.+)", url)
    if match is None:
        raise Fault("no address of a file on the Hub", where=url, hint="write hf://org/name@revision/path")
    revision = unquote(match[3]) if match[3] else None
    return HubAddress(match[1] or "model", match[2], revision, unquote(match[4]))


class HubSource:
    """A Downloads source."""

    def download(self, url: str, folder: Path, *, timeout_seconds: float, arrived: Callable[[int], None]) -> Path:
        """See Downloads. The client runs in a thread of its own, so that it can be watched and left alone."""
        address = parse(url)
        results: queue.Queue[Path | Exception] = queue.Queue()
        counter = _ProgressCounter()

        def run() -> None:
            try:
                results.put(_download(address, folder, counter))
            except Exception as error:  # raised again in the thread that waits
                results.put(error)

        threading.Thread(target=run, daemon=True, name=f"hub {address.path}").start()
        result = _wait_for_result(results, folder, counter, timeout_seconds, arrived, url)
        if isinstance(result, Exception):
            raise _translated_error(result, url, address) from result
        return result

    def peek(self, url: str, start: int, stop: int, *, timeout_seconds: float) -> Peek:
        """See Downloads: one request with a Range header, with the client's address, token and connections."""
        address = parse(url)
        try:
            return _peek(address, start, stop, timeout_seconds)
        except Exception as error:  # whatever the client raises is explained, as after a download
            raise _translated_error(error, url, address) from error

    def close(self) -> None:
        """Nothing is kept."""


def _peek(address: HubAddress, start: int, stop: int, timeout_seconds: float) -> Peek:
    from huggingface_hub import hf_hub_url, utils

    client: Any = utils  # it re-exports what follows without saying so to type checkers
    url = hf_hub_url(address.repository, address.path, repo_type=address.kind, revision=address.revision)
    headers = {**client.build_hf_headers(), "Range": f"bytes={start}-{stop - 1}", "Accept-Encoding": "identity"}
    with client.get_session().stream(
        "GET", url, headers=headers, follow_redirects=True, timeout=timeout_seconds
    ) as response:
        client.hf_raise_for_status(response)
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""))
        if response.status_code != 206 or match is None or int(match[1]) != start:
            raise Fault("the Hub sends no ranges of this file", where=url)
        data = b""
        for part in response.iter_bytes():
            data += part
            if len(data) >= stop - start:
                break
        return Peek(data[: stop - start], int(match[2]))


class _ProgressCounter:
    """Counts the client's own reports of progress; they come from its threads."""

    def __init__(self) -> None:
        self.count = 0

    def bar(self) -> Any:
        """A progress bar for the client, that shows nothing."""
        from huggingface_hub.utils import tqdm  # type: ignore[attr-defined]  # exported, but not said to be

        counter = self

        class SilentBar(tqdm):
            """Counts, and draws nothing."""

            def __init__(self, *arguments: Any, **options: Any) -> None:
                super().__init__(*arguments, **{**options, "disable": True})  # type: ignore[no-untyped-call]  # tqdm has none

            def update(self, n: float | None = 1) -> None:
                counter.count += 1

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
    arrived: Callable[[int], None],
    url: str,
) -> Path | Exception:
    """What the client's thread gives; tells of what has come, and ends the waiting when nothing more does."""
    last_state, since = (0, 0), time.monotonic()
    while True:
        with suppress(queue.Empty):
            return results.get(timeout=POLL_SECONDS)
        state = (_bytes_below(folder), counter.count)
        arrived(state[0])
        if state != last_state:
            last_state, since = state, time.monotonic()
        elif time.monotonic() - since > SILENCES * timeout_seconds:
            hint = "set HF_HUB_DISABLE_XET=1 to go without Xet, or give a longer --stall"
            raise Fault(f"nothing came for {SILENCES * timeout_seconds:g} s", where=url, hint=hint, is_passing=True)


def _bytes_below(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with suppress(OSError):  # the client renames its files meanwhile
            total += path.stat().st_size if path.is_file() else 0
    return total


def _translated_error(error: Exception, url: str, address: HubAddress) -> CannotCheck:
    """The client's error in our words; the order matters, most of its errors are kinds of others.

    Source: huggingface_hub 2.4.0, errors.py.
    """
    from huggingface_hub import errors

    if isinstance(error, Fault):
        return error
    login = "run `hf auth login`, or set HF_TOKEN"
    if isinstance(error, errors.OfflineModeIsEnabled):
        return Fault("the client is offline, HF_HUB_OFFLINE is set", where=url, hint="unset HF_HUB_OFFLINE")
    if isinstance(error, errors.GatedRepoError):
        hint = f"ask for access on the page of {address.repository}, then {login}"
        return Fault(f"{address.repository} is gated", where=url, hint=hint)
    if isinstance(error, errors.RepositoryNotFoundError):
        return Fault(f"{address.repository} does not exist or is private", where=url, hint=f"if it is private, {login}")
    if isinstance(error, errors.RevisionNotFoundError):
        return Fault(f"{address.repository} has no revision {address.revision}", where=url)
    if isinstance(error, errors.LocalEntryNotFoundError):
        return Fault("the Hub cannot be reached", where=url, is_passing=True)
    if isinstance(error, errors.EntryNotFoundError):
        return Fault(f"{address.repository} has no file {address.path} there", where=url)
    if isinstance(error, errors.HfHubHTTPError):
        status = error.response.status_code
        return Fault(f"the Hub answers {status}", where=url, is_passing=status in (408, 429) or status >= 500)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
        return CannotCheck(f"cannot write: {error.strerror}", where=str(error.filename or url))
    if isinstance(error, ValueError):
        return Fault(f"no address that the Hub knows: {error}", where=url)
    return Fault(f"the client gave up: {type(error).__name__}", where=url, is_passing=True)


@dataclass(frozen=True, slots=True)
class RepositoryFile:
    """A file of a repository, with its size and, for large ones, SHA-256."""

    path: str
    size_bytes: int | None
    sha256: str | None


def repository_files(repository: str, revision: str | None = None) -> tuple[str, list[RepositoryFile]]:
    """(commit, files) of a model's repository, without downloading one. Raises Fault, as a download does."""
    import huggingface_hub

    address = HubAddress("model", repository, revision, "")
    try:
        info = huggingface_hub.HfApi().model_info(repository, revision=revision, files_metadata=True)
    except Exception as error:  # whatever the client raises is explained, as after a download
        raise _translated_error(error, f"hf://{repository}", address) from error
    files = [
        RepositoryFile(item.rfilename, item.size, item.lfs.sha256 if item.lfs else None) for item in info.siblings or ()
    ]
    return str(info.sha), files
