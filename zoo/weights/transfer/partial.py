"""Write a part file and its sidecar, which records the finished ranges and the version, to resume from them.

    <key>.<writer>.part     the bytes, at their offsets
    <key>.<writer>.json     the sidecar: address, version, size, finished ranges and writer

Two processes never write to one part file, so no lock is needed: on some cluster file systems several processes get the
same lock (huggingface_hub#4306, seen 2026-11-24). A process takes over a part by renaming it when the writer is gone,
and by copying its finished ranges when the writer is silent, since a silent writer may go on.
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import shutil
import socket
import stat
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path
from typing import Any, Literal

from zoo.errors import CannotCheck
from zoo.runtime.json_form import has_form, is_count, is_text, one_of
from zoo.runtime.storage import home, read_json, sealed
from zoo.weights.sources import Version
from zoo.weights.transfer.spans import RecentBlocks, Span, joined

HASH_BLOCK_BYTES = NOTIFY_BYTES = 1 << 20
MIN_SAVE_BYTES, MAX_SAVE_BYTES, SAVES = 256 << 10, 8 << 20, 64
"""The sidecar is written after each 64th of the file, within these bounds, so a killed process loses about 2 %."""
SMALL_BYTES = 4 << 20
"""A file up to this size gets a sidecar only when its download takes long: starting again costs little."""
CLIENT_SUFFIX = ".client"
"""The suffix of the folder beside a part file in which a source's own client works."""
SILENT_SECONDS = 60.0
"""A live writer touches its sidecar every few seconds, also while it waits for a server."""


@dataclass(frozen=True, slots=True)
class Writer:
    """The process that writes a part. `machine` differs between hosts, boots and containers, as process ids do."""

    machine: str
    pid: int

    @classmethod
    def current(cls) -> Writer:
        """Return the writer for this process."""
        marks = [socket.gethostname()]
        with suppress(OSError):
            marks.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip())
        with suppress(OSError):
            marks.append(str(Path("/proc/self/ns/pid").stat().st_ino))
        return cls("/".join(marks), os.getpid())


@dataclass(frozen=True, slots=True)
class PartialFile:
    """A part file with the content of its sidecar. `silent_seconds`: since its writer touched the sidecar."""

    sidecar: Path
    file: str
    url: str
    version: Version
    done_spans: tuple[Span, ...]
    writer: Writer
    silent_seconds: float

    @property
    def path(self) -> Path:
        """The part file."""
        return self.sidecar.with_suffix(".part")

    def remove(self) -> None:
        """Remove the part file, its sidecar and its client's folder."""
        _remove(self.path, self.sidecar)
        shutil.rmtree(self.sidecar.with_suffix(CLIENT_SUFFIX), ignore_errors=True)

    @property
    def done_bytes(self) -> int:
        """The number of finished bytes."""
        return sum(span.size_bytes for span in self.done_spans)


def writer_state(
    writer: Writer, this_process: Writer, silent_seconds: float, is_running: bool
) -> Literal["gone", "silent", "live"]:
    """Return the state of a part's writer. `is_running` counts only for a process id of this machine."""
    if writer.pid == 0 or (writer.machine == this_process.machine and not is_running):
        return "gone"
    return "silent" if silent_seconds > SILENT_SECONDS else "live"


def partial_files(folder: Path, key: str = "*") -> Iterator[PartialFile]:
    """Yield the part files in a folder that have a valid sidecar, in the order of their names.

    `silent_seconds` is measured by the clock of the folder's file system, which other machines may share.
    """
    try:
        sidecars = sorted(folder.glob(f"{key}.*.json"))
    except FileNotFoundError:  # another process has removed the folder
        return
    now = _file_system_time(folder) if sidecars else 0.0
    for sidecar in sidecars:
        data = read_json(sidecar, lambda value: has_form(value, _SIDECAR))
        if data is None:
            continue
        with suppress(OSError):
            yield PartialFile(
                sidecar,
                data["file"],
                data["url"],
                Version(data["size_bytes"], data["etag"], data["modified"]),
                _valid_spans(data["done"], sidecar.with_suffix(".part").stat().st_size),
                Writer(data["machine"], data["pid"]),
                now - sidecar.stat().st_mtime,
            )


def _is_integer(value: Any) -> bool:
    return type(value) is int


_SIDECAR = {
    "part": 1,
    "file": is_text,
    "url": is_text,
    "size_bytes": one_of(None, is_count),
    "etag": is_text,
    "modified": is_text,
    "done": [(_is_integer, _is_integer)],
    "machine": is_text,
    "pid": _is_integer,
}


def _valid_spans(pairs: Iterable[tuple[int, int]], size_bytes: int) -> tuple[Span, ...]:
    spans = (Span(max(0, start), min(stop, size_bytes)) for start, stop in pairs)
    return reduce(joined, (span for span in spans if span.size_bytes > 0), ())


def key_of(identity: str) -> str:
    """Return the beginning of the names of a file's part files, for the digest or URL that identifies the file."""
    return hashlib.sha256(identity.encode()).hexdigest()[:16]


def state_of(partial_file: PartialFile, writer: Writer) -> Literal["gone", "silent", "live"]:
    """Return the state of a part file's writer, seen from this process (`writer`)."""
    return writer_state(partial_file.writer, writer, partial_file.silent_seconds, _is_running(partial_file.writer.pid))


def is_being_written(folder: Path, key: str, writer: Writer) -> bool:
    """Return whether a live process writes a part file with that key."""
    return any(state_of(partial_file, writer) == "live" for partial_file in partial_files(folder, key))


class Part:
    """A part file that this process writes. `write` and `save` may be called from several threads.

    The constructor raises CannotCheck when the folder is not writable.
    """

    def __init__(self, path: Path, file: str, key: str, writer: Writer) -> None:
        self.path = path
        self.file = file
        self.key = key
        self.writer = writer
        self.url = ""
        self.version = Version()
        self.size_bytes: int | None = None
        self.done_spans: tuple[Span, ...] = ()
        self.recent_blocks = RecentBlocks()
        self.changed = threading.Condition()
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise cannot_write(path.parent, error) from error
        self._saved_bytes = 0
        self._notified_bytes = 0
        self._saving = threading.Lock()

    @classmethod
    def resume(cls, folder: Path, file: str, identity: str, writer: Writer) -> Part:
        """Return a new part of this process, with the ranges that a writer that is gone or silent had finished.

        identity: the digest or URL that identifies the file. Raises CannotCheck when the folder is not writable.
        """
        key = key_of(identity)
        try:
            part: Part | None = None
            for partial_file in sorted(partial_files(folder, key), key=lambda partial_file: -partial_file.done_bytes):
                state = state_of(partial_file, writer)
                if part is None and state != "live":
                    part = _take_over(cls, partial_file, key, writer, is_copied=state == "silent")
                elif state == "gone":
                    partial_file.remove()
            return part or cls(_new_path(folder, key), file, key, writer)
        except OSError as error:
            raise cannot_write(folder, error) from error

    @property
    def sidecar(self) -> Path:
        """The path of the sidecar."""
        return self.path.with_suffix(".json")

    @property
    def done_bytes(self) -> int:
        """The number of finished bytes."""
        return sum(span.size_bytes for span in self.done_spans)

    @property
    def prefix_bytes(self) -> int:
        """The number of bytes that are finished from the beginning of the file without a gap."""
        return self.done_spans[0].stop if self.done_spans and self.done_spans[0].start == 0 else 0

    def write(self, offset: int, data: bytes) -> None:
        """Write bytes at an offset, then record them as finished. Raises CannotCheck when writing fails."""
        view, position = memoryview(data), offset
        try:
            while view:
                count = os.pwrite(self._fd, view, position)
                view, position = view[count:], position + count
        except OSError as error:
            raise cannot_write(self.path, error) from error
        with self.changed:
            self.done_spans = joined(self.done_spans, Span(offset, position))
            self.recent_blocks.put(offset, data)
            done_bytes = self.done_bytes
            if done_bytes - self._notified_bytes >= NOTIFY_BYTES or done_bytes == self.size_bytes:
                self._notified_bytes = done_bytes
                self.changed.notify_all()
        step = max(MIN_SAVE_BYTES, min(MAX_SAVE_BYTES, (self.size_bytes or 0) // SAVES))
        if done_bytes - self._saved_bytes >= step and (self.size_bytes is None or self.size_bytes > SMALL_BYTES):
            self.save()

    def read_into(self, block: memoryview, offset: int) -> int:
        """Read bytes at an offset into the block, and return their number. Raises CannotCheck when reading fails."""
        try:
            count = os.preadv(self._fd, [block], offset)
        except OSError as error:
            raise CannotCheck(f"cannot read the file: {error.strerror}", where=str(self.path)) from error
        if count == 0:
            what = f"the file ends at byte {offset}, although zoo has written more"
            raise CannotCheck(what, where=str(self.path), hint="run the command again")
        return count

    def save(self, *, is_released: bool = False) -> None:
        """Write the sidecar, unless another thread is doing so. `is_released`: the part has no writer any more."""
        if not self._saving.acquire(blocking=is_released):
            return
        try:
            with self.changed:
                self._saved_bytes, done_spans = self.done_bytes, self.done_spans
            version = replace(self.version, size_bytes=self.size_bytes)
            writer = replace(self.writer, pid=0) if is_released else self.writer
            _write_sidecar(self.sidecar, _sidecar_data(self.file, self.url, version, done_spans, writer))
        finally:
            self._saving.release()

    def sync(self) -> None:
        """Flush the bytes that were written so far to the disk. Raises CannotCheck when that fails."""
        try:
            os.fsync(self._fd)
        except OSError as error:
            raise cannot_write(self.path, error) from error

    def release(self) -> None:
        """Stop writing and keep the finished bytes for the next download to resume from."""
        if self.done_spans:
            self.save(is_released=True)
            self._close()
        else:
            self.discard()

    def close(self) -> None:
        """Stop writing and remove the sidecar. The part file stays, for the caller to move."""
        self._close()
        _remove(self.sidecar)

    def discard(self) -> None:
        """Stop writing and remove the part file and the sidecar."""
        self.close()
        _remove(self.path)

    def replace_with_empty(self) -> Part:
        """Return a new empty part and remove this one. It is not truncated, since others may have it open."""
        self.discard()
        return Part(_new_path(self.path.parent, self.key), self.file, self.key, self.writer)

    def replace_with_file(self, path: Path) -> Part:
        """Return a new part with the whole file at `path`, which is moved, and remove this one."""
        self.discard()
        target = _new_path(self.path.parent, self.key)
        try:
            path.replace(target)
        except OSError as error:
            raise cannot_write(target.parent, error) from error
        part = Part(target, self.file, self.key, self.writer)
        part.size_bytes = target.stat().st_size
        part.done_spans = joined((), Span(0, part.size_bytes))
        return part

    def _close(self) -> None:
        """Close the descriptor. A thread that writes later gets an error, not another file with the same number."""
        descriptor, self._fd = self._fd, -1
        os.close(descriptor)


def cannot_write(place: Path, error: OSError) -> CannotCheck:
    """Return the error for a failed write: the disk is full, the store is read-only, or a folder is a file."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return CannotCheck(f"the disk is full: {error.strerror}", where=str(place), hint=_FREE_SPACE_HINT)
    hint = "set ZOO_HOME to a folder that you can write to"
    return CannotCheck(f"cannot write: {error.strerror}", where=str(place), hint=hint)


_FREE_SPACE_HINT = "free some space with `zoo cache prune`, or set ZOO_HOME to a folder on a larger disk"


def make_folder(folder: Path, top: Path) -> Path:
    """Create a folder below `top` with the permissions of `top`, so that users can share it, and return it.

    Raises CannotCheck when that fails.
    """
    try:
        if folder == top:
            folder.mkdir(parents=True, exist_ok=True)
        elif not folder.is_dir():
            mode = stat.S_IMODE(make_folder(folder.parent, top).stat().st_mode)
            folder.mkdir(exist_ok=True)
            with suppress(PermissionError):  # another user has just created it
                folder.chmod(mode)
    except OSError as error:
        raise cannot_write(folder, error) from error
    return folder


def check_free_space(folder: Path, needed_bytes: int) -> None:
    """Raise CannotCheck when the disk of a folder has less free space than `needed_bytes`."""
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < needed_bytes:
        what = f"not enough disk space: {free_bytes} bytes free, {needed_bytes} needed"
        raise CannotCheck(what, where=str(folder), hint=_FREE_SPACE_HINT)


def _take_over(cls: type[Part], old: PartialFile, key: str, writer: Writer, *, is_copied: bool) -> Part | None:
    """Return the partial file as a part of this process, or None when another process or user has it.

    The process that renames the part file owns it. The new sidecar is written before the rename, so that no process
    sees the part without a live writer.
    """
    if not os.access(old.path, os.R_OK if is_copied else os.R_OK | os.W_OK):
        return None
    path = _new_path(old.path.parent, key)
    _write_sidecar(path.with_suffix(".json"), _sidecar_data(old.file, old.url, old.version, old.done_spans, writer))
    try:
        old.path.rename(path)
    except OSError:
        _remove(path.with_suffix(".json"))
        return None
    if is_copied:
        taken_path = path.rename(path.with_suffix(".taken"))
        part = cls(path, old.file, key, writer)
        _copy(taken_path, old.done_spans, part)
        _remove(taken_path)
    else:
        part = cls(path, old.file, key, writer)
    old.remove()
    part.done_spans, part.url = old.done_spans, old.url
    part.version, part.size_bytes = old.version, old.version.size_bytes
    part.save()
    return part


def _copy(source: Path, spans: Iterable[Span], part: Part) -> None:
    with source.open("rb") as file:
        for span in spans:
            file.seek(span.start)
            for start in range(span.start, span.stop, HASH_BLOCK_BYTES):
                part.write(start, file.read(min(HASH_BLOCK_BYTES, span.stop - start)))


def _sidecar_data(file: str, url: str, version: Version, done_spans: Iterable[Span], writer: Writer) -> dict[str, Any]:
    return {
        "part": 1,
        "file": file,
        "url": url,
        "size_bytes": version.size_bytes,
        "etag": version.etag,
        "modified": version.modified,
        "done": [[span.start, span.stop] for span in done_spans],
        "machine": writer.machine,
        "pid": writer.pid,
    }


def _write_sidecar(sidecar: Path, data: Mapping[str, Any]) -> None:
    """Overwrite the sidecar in one write, and ignore errors, which cost only a chance to resume.

    Readers ignore an incomplete sidecar: its checksum is wrong. It is not replaced by a rename, because each rename
    would wait for the disk: ext4 flushes a file that replaces another.
    """
    with suppress(OSError):
        text = sealed(sidecar, data)
        file = os.open(sidecar, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            os.pwrite(file, text.ljust(os.fstat(file).st_size), 0)
        finally:
            os.close(file)


def _new_path(folder: Path, key: str) -> Path:
    return folder / f"{key}.{secrets.token_hex(4)}.part"


def _is_running(pid: int) -> bool:
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):  # a damaged sidecar may have a number that is no process id
        return False
    except PermissionError:
        return True
    return True


def _file_system_time(folder: Path) -> float:
    """Return the time of a folder's file system, in seconds since the epoch; 0 when the folder is not writable."""
    mark = folder / f".{secrets.token_hex(4)}.now"
    try:
        mark.touch()
        return mark.stat().st_mtime
    except OSError:
        return 0.0
    finally:
        _remove(mark)


def _remove(*paths: Path) -> None:
    for path in paths:
        with suppress(OSError):
            path.unlink()


def sync(path: Path) -> None:
    """Flush a file or a folder to the disk. Raises OSError when that fails."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def folder_in_home(*names: str) -> Path:
    """Return the folder of these names below ZOO_HOME, created if necessary. Raises CannotCheck when that fails."""
    return make_folder(home().joinpath(*names), home())
