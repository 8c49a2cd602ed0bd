"""Write one part file with its sidecar, which says which ranges of which version of a file are here, to resume from them.

    <key>.<writer>.part     the bytes, each at its place
    <key>.<writer>.json     address, version, size, finished ranges, and who writes

Two processes never write to one part file, so no lock is needed: on some cluster file systems a lock says yes to
everybody (huggingface_hub#4306, seen 2026-11-24). A part is taken over by renaming it when its writer is certainly gone,
and by copying what it finished when its writer is merely silent.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import shutil
import socket
import stat
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from zoo.errors import CannotCheck
from zoo.runtime.storage import home
from zoo.weights.sources import Version
from zoo.weights.transfer.spans import RecentBlocks, Span, joined

HASH_BLOCK_BYTES = NOTIFY_BYTES = 1 << 20
LEAST_SAVE_BYTES, MOST_SAVE_BYTES, SAVES = 256 << 10, 8 << 20, 64
"""The sidecar is written every 64th of the file, within bounds: what a kill can lose is then about 2 %."""
SMALL_BYTES = 4 << 20
"""Up to here a file that is killed may as well begin anew; it gets a sidecar when it takes long."""
CLIENT_SUFFIX = ".client"
"""Of the folder beside a part file in which a source's own client works."""
SILENT_SECONDS = 60.0
"""A live writer touches its sidecar every few seconds, also while it waits for a server."""


@dataclass(frozen=True, slots=True)
class Writer:
    """Who writes: `machine` differs between hosts, boots and containers, which count their process ids anew."""

    machine: str
    pid: int

    @classmethod
    def current(cls) -> Writer:
        """This process."""
        marks = [socket.gethostname()]
        with suppress(OSError):
            marks.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip())
        with suppress(OSError):
            marks.append(str(Path("/proc/self/ns/pid").stat().st_ino))
        return cls("/".join(marks), os.getpid())


@dataclass(frozen=True, slots=True)
class PartialFile:
    """What a sidecar says of a part file."""

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
        """Remove all that there is of it."""
        _remove(self.path, self.sidecar)
        shutil.rmtree(self.sidecar.with_suffix(CLIENT_SUFFIX), ignore_errors=True)

    @property
    def done_bytes(self) -> int:
        """How much of the file is there."""
        return sum(span.size_bytes for span in self.done_spans)


def writer_state(
    writer: Writer, this_process: Writer, silent_seconds: float, is_running: bool
) -> Literal["gone", "silent", "live"]:
    """Whether the writer of a part is still at it; a process id means something on its own machine only."""
    if writer.pid == 0 or (writer.machine == this_process.machine and not is_running):
        return "gone"
    return "silent" if silent_seconds > SILENT_SECONDS else "live"


def partial_files(folder: Path, key: str = "*") -> Iterator[PartialFile]:
    """The sidecars below a folder that can be read and have their part file, in the order of their names.

    Silence is told against the clock of the folder's file system, which other machines may share.
    """
    sidecars = sorted(folder.glob(f"{key}.*.json"))
    now = _file_system_time(folder) if sidecars else 0.0
    for sidecar in sidecars:
        with suppress(OSError, ValueError, KeyError, TypeError):
            data = json.loads(sidecar.read_text(encoding="utf-8"))
            longest = sidecar.with_suffix(".part").stat().st_size
            spans = (Span(max(0, int(start)), min(int(stop), longest)) for start, stop in data["done"])
            size_bytes = None if data["size_bytes"] is None else int(data["size_bytes"])
            yield PartialFile(
                sidecar,
                str(data["file"]),
                str(data["url"]),
                Version(size_bytes, str(data["etag"]), str(data["modified"])),
                tuple(span for span in spans if span.size_bytes > 0),
                Writer(str(data["machine"]), int(data["pid"])),
                now - sidecar.stat().st_mtime,
            )


def key_of(identity: str) -> str:
    """The short name of what a file is known by, under which its part files stand."""
    return hashlib.sha256(identity.encode()).hexdigest()[:16]


def state_of(partial_file: PartialFile, writer: Writer) -> Literal["gone", "silent", "live"]:
    """See writer_state; looks whether the writer's process runs."""
    return writer_state(partial_file.writer, writer, partial_file.silent_seconds, _is_running(partial_file.writer.pid))


def is_being_written(folder: Path, key: str, writer: Writer) -> bool:
    """Whether some live process is at a file of that key."""
    return any(state_of(partial_file, writer) == "live" for partial_file in partial_files(folder, key))


class Part:
    """A file that is being written. `write` and `save` may be called from several threads.

    Making one raises CannotCheck when the folder cannot be written.
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
        """A part of this process's own, with what a writer that is gone or silent had finished of the same file.

        identity: what the file is known by. Raises CannotCheck when nothing can be written there.
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
        """The file that says what is there."""
        return self.path.with_suffix(".json")

    @property
    def done_bytes(self) -> int:
        """How much of the file is there."""
        return sum(span.size_bytes for span in self.done_spans)

    @property
    def frontier(self) -> int:
        """Up to where the file is there from its beginning on."""
        return self.done_spans[0].stop if self.done_spans and self.done_spans[0].start == 0 else 0

    def write(self, offset: int, data: bytes) -> None:
        """Put bytes at their place, then count them as there. Raises CannotCheck when the disk does not take them."""
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
        step = max(LEAST_SAVE_BYTES, min(MOST_SAVE_BYTES, (self.size_bytes or 0) // SAVES))
        if done_bytes - self._saved_bytes >= step and (self.size_bytes is None or self.size_bytes > SMALL_BYTES):
            self.save()

    def read_into(self, block: memoryview, offset: int) -> int:
        """Fill the block from what was written; returns how many bytes that were. Raises CannotCheck when it fails."""
        try:
            count = os.preadv(self._fd, [block], offset)
        except OSError as error:
            raise CannotCheck(f"what was written cannot be read: {error.strerror}", where=str(self.path)) from error
        if count == 0:
            raise CannotCheck("what was written is not there any more", where=str(self.path), hint="try again")
        return count

    def save(self, *, is_left: bool = False) -> None:
        """Write the sidecar, unless another thread is doing so. With `is_left` it says that nobody writes any more."""
        if not self._saving.acquire(blocking=is_left):
            return
        try:
            with self.changed:
                self._saved_bytes, done_spans = self.done_bytes, self.done_spans
            version = replace(self.version, size_bytes=self.size_bytes)
            writer = replace(self.writer, pid=0) if is_left else self.writer
            _write_sidecar(self.sidecar, _sidecar_data(self.file, self.url, version, done_spans, writer))
        finally:
            self._saving.release()

    def sync(self) -> None:
        """Wait until the bytes that were written so far are on the disk."""
        try:
            os.fsync(self._fd)
        except OSError as error:
            raise cannot_write(self.path, error) from error

    def leave(self) -> None:
        """Stop writing and leave what is there to whoever comes next."""
        if self.done_spans:
            self.save(is_left=True)
            self._close()
        else:
            self.discard()

    def close(self) -> None:
        """Stop writing and forget the sidecar; the file stays, for somebody to move."""
        self._close()
        _remove(self.sidecar)

    def discard(self) -> None:
        """Stop writing and remove everything."""
        self.close()
        _remove(self.path)

    def replace_with_empty(self) -> Part:
        """An empty part in place of this one, which is removed, not emptied: others may hold it open."""
        self.discard()
        return Part(_new_path(self.path.parent, self.key), self.file, self.key, self.writer)

    def replace_with(self, path: Path) -> Part:
        """A part in place of this one that is the file at `path`, moved here, all of it there."""
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
        """A thread that is late then finds no file, rather than the next one to get this number."""
        descriptor, self._fd = self._fd, -1
        os.close(descriptor)


def cannot_write(place: Path, error: OSError) -> CannotCheck:
    """The error for a disk that is full, a store that is read-only, a folder that is a file."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        hint = "make room with `zoo cache prune`, or set ZOO_HOME to a place with more"
        return CannotCheck(f"the disk is full: {error.strerror}", where=str(place), hint=hint)
    return CannotCheck(f"cannot write: {error.strerror}", where=str(place), hint="set ZOO_HOME to a folder of yours")


def make_folder(folder: Path, top: Path) -> Path:
    """Make a folder below `top`, open to the same people as `top` is, so that users can share it; returns it.

    Raises CannotCheck when it cannot be made.
    """
    try:
        if folder == top:
            folder.mkdir(parents=True, exist_ok=True)
        elif not folder.is_dir():
            mode = stat.S_IMODE(make_folder(folder.parent, top).stat().st_mode)
            folder.mkdir(exist_ok=True)
            with suppress(PermissionError):  # somebody else was faster
                folder.chmod(mode)
    except OSError as error:
        raise cannot_write(folder, error) from error
    return folder


def check_room(folder: Path, needed_bytes: int) -> None:
    """Raises CannotCheck when the disk below a folder has less room than that."""
    free = shutil.disk_usage(folder).free
    if free < needed_bytes:
        what = f"the disk has {free} bytes free, {needed_bytes} are needed"
        hint = "make room with `zoo cache prune`, or set ZOO_HOME to a place with more"
        raise CannotCheck(what, where=str(folder), hint=hint)


def _take_over(cls: type[Part], old: PartialFile, key: str, writer: Writer, *, is_copied: bool) -> Part | None:
    """The partial file as a part of ours, or None when somebody else was faster or it is another user's.

    Who renames the part file has it; our sidecar is there before, so that nobody finds it without a live writer.
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
    """Over the one before, in one write: a torn one is no JSON and is ignored, and one that cannot be written costs only
    a chance to go on later. A rename would have the disk wait for each (ext4 flushes a file that replaces another).
    """
    with suppress(OSError):
        file = os.open(sidecar, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            text = json.dumps(data).encode()
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
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _file_system_time(folder: Path) -> float:
    """The time now as the file system has it."""
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
    """Wait until a file or a folder is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def folder_in_home(*names: str) -> Path:
    """Return the folder of these names below ZOO_HOME, made if need be; raises CannotCheck when it cannot be made."""
    return make_folder(home().joinpath(*names), home())
