"""Hash a file, and read it into memory, so that what zoo reports is about the bytes that it used.

A file is measured when it is hashed, and read when its tensors are loaded, perhaps much later and by another process. In
between a training script may replace it. Its stamp shows that, unless the file changed within one tick of the file
system's clock: then the bytes in memory are hashed too. They stay in memory, since a mapped file changes with the file.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import stat
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from zoo.errors import CannotCheck, WrongContent

SETTLED_NS = 20_000_000
"""After this time since the last change, another change has another time: a tick of a file system's clock is at most
10 ms (CONFIG_HZ=100), and since Linux 6.13 less (Documentation/filesystems/multigrain-ts.rst)."""
PASSES = 3
"""How often a file is hashed whose permissions or links change at the same time."""
REHASHED_BYTES = 1 << 30
"""A file that has grown beyond this size since it was measured is not hashed again for the message."""
_BLOCK_BYTES = 1 << 20
_COPIED_BYTES = 1 << 25
"""How much the kernel copies at a time, while the block before is hashed."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """What shows whether a file is the same and unchanged. Permissions and hard links change only `ctime_ns`.

    Writing sets `mtime_ns`, which a program may then set back; nothing but a change of the system's clock sets back
    `ctime_ns`.
    """

    inode: int
    size_bytes: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> Stamp:
        """Return the stamp of a file with that status."""
        return cls(status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


@dataclass(frozen=True, slots=True)
class FileDigest:
    """The size and sha256 of a file. stamp: what shows that it is unchanged; None when it has just been changed."""

    size_bytes: int
    sha256: str
    stamp: Stamp | None


def measure_file(path: Path) -> FileDigest:
    """Return the size and the sha256 of a file, which is read block by block.

    Raises CannotCheck when it is not a regular file, is not readable, or is written at the same time.
    """
    with _opened(path) as descriptor:
        before, is_settled = _settled_stamp(descriptor)
        for _ in range(PASSES):
            sha256 = _digest(descriptor)
            after = Stamp.of(os.fstat(descriptor))
            if (after.size_bytes, after.mtime_ns) != (before.size_bytes, before.mtime_ns):
                break
            if after == before:
                return FileDigest(before.size_bytes, sha256, before if is_settled else None)
            # Other permissions or links, or a write that set back its time: the bytes are hashed again.
            before, is_settled = _settled_stamp(descriptor)
    raise CannotCheck(f"{path.name} changed while zoo was reading it", where=str(path), hint="run the command again")


def read_measured(path: Path, file: str, measured: FileDigest) -> memoryview:
    """Return the bytes of a file that was measured before, in anonymous memory that only this process has.

    A stamp that is equal before and after reading proves that they are the measured bytes; otherwise they are hashed.
    file: its name for the message. Raises WrongContent when they are other bytes, CannotCheck when the file is not readable
    or does not fit into memory.
    """
    with _opened(path) as descriptor:
        before = Stamp.of(os.fstat(descriptor))
        if before.size_bytes != measured.size_bytes:
            sha256 = _digest(descriptor) if before.size_bytes <= max(REHASHED_BYTES, measured.size_bytes) else ""
            raise _changed(file, measured, before.size_bytes, sha256)
        is_proven = before == measured.stamp
        hasher = None if is_proven else hashlib.sha256()
        content = _read(descriptor, measured.size_bytes, hasher)
        if is_proven and Stamp.of(os.fstat(descriptor)) != before:
            hasher = hashlib.sha256(content)
    if hasher is not None and hasher.hexdigest() != measured.sha256:
        raise _changed(file, measured, len(content), hasher.hexdigest())
    return content


def copy_file(path: Path, target: Path) -> FileDigest:
    """Copy a file to a new one, and return the size and the sha256 of the bytes in the copy.

    A file that is written at the same time gives a copy of mixed bytes, with their digest. Raises CannotCheck when the file is
    not a regular one, is not readable, or does not fit on the disk of the copy.
    """
    hasher, size_bytes = hashlib.sha256(), 0
    with _opened(path) as source, ThreadPoolExecutor(max_workers=1) as pool:
        try:
            with target.open("x+b", buffering=0) as copy:
                hashing = pool.submit(_update, hasher, copy.fileno(), 0, 0)
                for count in _copied(source, copy.fileno()):
                    hashing.result()
                    hashing = pool.submit(_update, hasher, copy.fileno(), size_bytes, count)
                    size_bytes += count
                hashing.result()
        except OSError as error:
            what = f"cannot copy {path.name} to {target.parent}: {error.strerror}"
            raise CannotCheck(what, hint="set TMPDIR to a folder with enough free space") from error
    return FileDigest(size_bytes, hasher.hexdigest(), None)


def _copied(source: int, copy: int) -> Iterator[int]:
    """Copy a file block by block, and yield the size of each; the kernel copies where the file systems allow it."""
    if hasattr(os, "copy_file_range"):
        with suppress(
            OSError
        ):  # on two file systems, or on one that does not support it; a full disk fails again below
            while count := os.copy_file_range(source, copy, _COPIED_BYTES):
                yield count
    while block := memoryview(os.read(source, _BLOCK_BYTES)):
        count = len(block)
        while block:
            block = block[os.write(copy, block) :]
        yield count


def _update(hasher: hashlib._Hash, descriptor: int, position: int, count: int) -> None:
    """Hash so many bytes of a file from a position on."""
    block, end = memoryview(bytearray(min(_BLOCK_BYTES, count))), position + count
    while position < end and (read := os.preadv(descriptor, [block[: end - position]], position)):
        hasher.update(block[:read])
        position += read


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    """Yield a descriptor of a regular file. Opening never blocks: the path may have become a pipe."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise CannotCheck(f"{path.name} is not a regular file", where=str(path))
            yield descriptor
        finally:
            os.close(descriptor)
    except OSError as error:
        raise CannotCheck(f"cannot read {path.name}: {error.strerror}", where=str(path)) from error


def _settled_stamp(descriptor: int) -> tuple[Stamp, bool]:
    """Return the stamp of an open file, and whether a change from now on changes it; wait for that a moment."""
    stamp = Stamp.of(os.fstat(descriptor))
    left_ns = stamp.ctime_ns + SETTLED_NS - time.time_ns()
    if 0 < left_ns <= SETTLED_NS:
        time.sleep(left_ns / 1e9)
        stamp = Stamp.of(os.fstat(descriptor))
    return stamp, time.time_ns() - stamp.ctime_ns >= SETTLED_NS


def _digest(descriptor: int) -> str:
    hasher, block = hashlib.sha256(), memoryview(bytearray(_BLOCK_BYTES))
    os.lseek(descriptor, 0, os.SEEK_SET)
    while count := os.readv(descriptor, [block]):
        hasher.update(block[:count])
    return hasher.hexdigest()


def _read(descriptor: int, size_bytes: int, hasher: hashlib._Hash | None) -> memoryview:
    """Return up to so many bytes of the file, and hash them block by block while they are in the processor's cache."""
    if size_bytes == 0:
        return memoryview(b"")
    try:
        content = memoryview(mmap.mmap(-1, size_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
    except (OSError, ValueError, OverflowError) as error:
        what = f"not enough memory to read {size_bytes / 1e6:,.1f} MB"
        raise CannotCheck(what, hint="run it on a machine with more memory") from error
    position = 0
    os.lseek(descriptor, 0, os.SEEK_SET)
    while position < size_bytes and (count := os.readv(descriptor, [content[position : position + _BLOCK_BYTES]])):
        if hasher is not None:
            hasher.update(content[position : position + count])
        position += count
    return content[:position]


def _changed(file: str, measured: FileDigest, size_bytes: int, sha256: str) -> WrongContent:
    sizes = f" ({measured.size_bytes} bytes, now {size_bytes})" if size_bytes != measured.size_bytes else ""
    now = f", now {sha256}" if sha256 else ""
    return WrongContent(
        f"{file} changed after it was measured: its sha256 was {measured.sha256}{now}{sizes}",
        hint="run the command again when no other program writes the file",
    )
