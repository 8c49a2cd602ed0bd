"""Define the limits of one call in a worker process, and enforce the limit on memory there.

Time is watched by the process that started the worker (see zoo.runtime.sandbox). Memory is limited by the worker itself,
on Linux only: RLIMIT_DATA counts private anonymous memory, so a mapped file does not count (setrlimit(2) and
mm/mmap.c::may_expand_vm, Linux 4.7 and later). macOS accepts the limit but does not enforce it: there, only time is limited.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from zoo.errors import CannotCheck

GB = 10**9
CALL_SECONDS = 60.0
"""To build, count or load a model on the meta device, which takes seconds for the largest published architectures."""
FILE_BYTES_PER_SECOND = 20_000_000
"""A file may take this much longer: a network file system reads 100 MB/s and more, and hashing and parsing take as long."""
CALL_BYTES = 2 * GB
"""To build or count a model on the meta device, where modules and shapes take memory, and values do not."""
FILE_COPIES = 3
"""The copies of a file that loading holds at most: the bytes, the tensors, and those of the model."""
MEMORY_SHARE = 0.8
"""The part of the machine's memory that all workers of a run may use to evaluate models."""
STALL_SECONDS = 1800.0
"""The longest time that an evaluation may take for one batch."""
SPARE_BYTES = GB // 4
"""What a call may allocate in any case, also when calls before it left more memory allocated than its limit allows."""
_OUT_OF_MEMORY = (
    "can't allocate memory",
    "bad_alloc",
    "Cannot allocate memory",
    "memory allocation of",
    "out of memory",
)
"""What torch, C++, glibc, Rust and CUDA print or raise when memory cannot be allocated."""
_CGROUPS = Path("/sys/fs/cgroup")


class LimitExceeded(CannotCheck):
    """A call in a worker needed more time or memory than its limits allow. It is not tried again."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one call in a worker may use; None for no limit.

    seconds: of wall-clock time; when `renewable`, since the last sign of life (`process.alive`) instead of the start.
    memory_bytes: of private anonymous memory, more than the worker had before its first call. hint: for the message.
    """

    seconds: float | None
    memory_bytes: int | None
    renewable: bool = False
    hint: str = ""

    def out_of_time(self) -> LimitExceeded:
        """Return the error of a call that took too long."""
        what = "made no progress for" if self.renewable else "took longer than"
        return LimitExceeded(f"{what} {self.seconds:.0f} s", hint=self.hint)

    def out_of_memory(self) -> LimitExceeded:
        """Return the error of a call that could not allocate memory."""
        if self.memory_bytes is None:
            return LimitExceeded("needs more memory than this machine has", hint=self.hint)
        return LimitExceeded(f"needs more than {self.memory_bytes / GB:.1f} GB of memory", hint=self.hint)


def for_building(calls: int = 1, *, hint: str = "") -> Limits:
    """Return the limits of building and counting a model so many times."""
    return Limits(CALL_SECONDS * calls, CALL_BYTES, hint=hint)


def for_files(size_bytes: int, *, hint: str = "") -> Limits:
    """Return the limits of a call that loads files of this size: time to read them, and memory for FILE_COPIES of them."""
    memory_bytes = min(FILE_COPIES * size_bytes + CALL_BYTES, max(CALL_BYTES, memory_share()))
    return Limits(CALL_SECONDS + size_bytes / FILE_BYTES_PER_SECOND, memory_bytes, hint=hint)


def for_evaluation(jobs: int = 1, *, hint: str = "") -> Limits:
    """Return the limits of an evaluation in one of so many workers: any time as long as it makes progress."""
    return Limits(STALL_SECONDS, memory_share(jobs), renewable=True, hint=hint)


def memory_share(jobs: int = 1) -> int:
    """Return how many bytes each of so many workers may use: an equal part of MEMORY_SHARE of the memory."""
    return int(MEMORY_SHARE * memory_bytes() / max(1, jobs))


def memory_bytes() -> int:
    """Return the memory that this process may use: the machine's, or less where a control group (cgroup) limits it."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min([machine, *_cgroup_limits()])


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether this error, or one that it was raised for, is a failed allocation.

    torch raises RuntimeError for it on a CPU (c10/core/impl/alloc_cpu.cpp), and libraries turn errors into their own.
    """
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        if isinstance(current, MemoryError) or (
            isinstance(current, (RuntimeError, OSError)) and is_memory_text(str(current))
        ):
            return True
        current = current.__cause__ or current.__context__
    return False


def is_memory_text(text: str) -> bool:
    """Return whether this message, or the last output of a process, says that memory could not be allocated."""
    return any(words in text for words in _OUT_OF_MEMORY)


def allocated_bytes() -> int:
    """Return the private anonymous memory that this process has allocated, used or not; 0 where the system does not tell."""
    return _status_bytes("self", "VmData")


@contextmanager
def memory_limited(baseline_bytes: int, memory_bytes: int | None) -> Iterator[None]:
    """Let allocations fail in this block beyond `memory_bytes` more than the baseline; on Linux only."""
    if sys.platform != "linux" or memory_bytes is None:
        yield
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = max(baseline_bytes + memory_bytes, allocated_bytes() + SPARE_BYTES)
    known = [value for value in (soft, hard) if value != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_DATA, (min([limit, *known]), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def tree_bytes(pid: int) -> int:
    """Return the anonymous and shared memory in use by a process and its children, in bytes; 0 where the system does not tell.

    Shared memory counts, which RLIMIT_DATA does not see, and so do the processes that a builder's own code starts.
    """
    return sum(_status_bytes(str(member), "RssAnon") + _status_bytes(str(member), "RssShmem") for member in _tree(pid))


def _tree(pid: int) -> Iterator[int]:
    waiting = [pid]
    while waiting:
        member = waiting.pop()
        yield member
        with suppress(OSError):
            for path in Path(f"/proc/{member}/task").glob("*/children"):
                waiting += map(int, path.read_text().split())


def _status_bytes(process: str, field: str) -> int:
    """Return a field of /proc/PROCESS/status, which is in KiB, in bytes; 0 where there is none."""
    with suppress(OSError):
        for line in Path(f"/proc/{process}/status").read_text().splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) * 1024
    return 0


def _cgroup_limits() -> Iterator[int]:
    """Yield the limits of the control groups that this process is in, from its own to the root; of versions 2 and 1."""
    with suppress(OSError, ValueError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, name = line.split(":", 2)
            top = _CGROUPS / "memory" if "memory" in controllers.split(",") else _CGROUPS
            file = "memory.max" if not controllers else "memory.limit_in_bytes"
            group = top / name.lstrip("/")
            for folder in (group, *group.parents):
                with suppress(OSError, ValueError):
                    yield int((folder / file).read_text())
                if folder == top:
                    break
