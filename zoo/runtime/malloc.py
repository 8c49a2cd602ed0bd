"""Make glibc keep freed memory, so that allocating large blocks repeatedly causes no page faults.

By default, glibc returns each large block to the system when it is freed, and the kernel maps and zeroes new pages for the
next one. For 400 images through a mobile net in two threads these are 620,000 pages and a fifth of the time; for a download
of 445 MB, 20,000 pages and a tenth of the time (tests/bench/evaluate.py and fetch.py, 2026-11-24).
"""

from __future__ import annotations

import sys
from functools import cache

from zoo.runtime import process

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
"""Source: mallopt(3) and glibc's malloc.h."""
THRESHOLD_BYTES = 1 << 30
OLD_MAX_THRESHOLD_BYTES = 32 << 20
"""The largest M_MMAP_THRESHOLD that an older glibc accepts, half of its HEAP_MAX_SIZE; glibc 2.36 accepts more."""


def keep_freed() -> None:
    """Keep freed blocks in this process, for all its threads, from now on.

    The memory of the process then never falls below its peak. Does nothing in a process that zoo does not own, or when
    malloc is not glibc's.
    """
    if process.is_ours():
        _set_thresholds()


@cache
def _set_thresholds() -> None:
    if sys.platform != "linux":
        return
    import ctypes

    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # musl
        return
    mallopt(M_ARENA_MAX, 1)  # threads reuse each other's freed blocks; the heap of a thread's own arena ends at 64 MiB
    mallopt(M_TRIM_THRESHOLD, THRESHOLD_BYTES)
    mallopt(M_MMAP_THRESHOLD, THRESHOLD_BYTES) or mallopt(M_MMAP_THRESHOLD, OLD_MAX_THRESHOLD_BYTES)
