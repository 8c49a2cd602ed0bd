"""Make glibc keep freed memory, so that large blocks that are used again and again cause no page faults.

As it comes, every large block goes back to the system when it is freed, and the pages of the next one are made and zeroed
anew: for 400 images through a mobile net in two threads 620,000 pages, a fifth of the time; for a download of 445 MB 20,000
pages, a tenth (tests/bench/evaluate.py and fetch.py, 2026-11-24).
"""

from __future__ import annotations

import sys
from functools import cache

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
"""Source: mallopt(3) and glibc's malloc.h."""
NEVER_BYTES = 1 << 30
MOST_BEFORE_BYTES = 32 << 20
"""What an older glibc takes at most for M_MMAP_THRESHOLD, half of its HEAP_MAX_SIZE; 2.36 takes more."""


@cache
def keep_freed() -> None:
    """From now on freed blocks stay with this process, for all of its threads; does nothing where malloc is not glibc's.

    A program that uses zoo as a library keeps this setting: its memory then never falls below its own peak.
    """
    if sys.platform != "linux":
        return
    import ctypes

    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # musl
        return
    mallopt(M_ARENA_MAX, 1)  # a block that one thread frees serves the others; the heaps of threads are cut at 64 MiB
    mallopt(M_TRIM_THRESHOLD, NEVER_BYTES)
    mallopt(M_MMAP_THRESHOLD, NEVER_BYTES) or mallopt(M_MMAP_THRESHOLD, MOST_BEFORE_BYTES)
