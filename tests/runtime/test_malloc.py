"""Freed blocks stay with the process: told by page faults, which the system counts, in a process of its own."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

BLOCK_BYTES = 40 << 20
"""More than what glibc comes to keep by itself, 32 MiB."""
FAULTS = f"""
import resource, sys, threading
if "keep" in sys.argv:
    from zoo.runtime import malloc
    malloc.keep_freed()
    malloc.keep_freed()

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def work():
    before = faults()
    for number in range(8):
        bytearray(bytes([number + 1])) * {BLOCK_BYTES}
    print(faults() - before)

thread = threading.Thread(target=work)
thread.start()
thread.join()
"""


def faults(*arguments: str) -> int:
    """How many pages a thread has made for it that allocates, fills and frees eight large blocks one after the other."""
    process = subprocess.run([sys.executable, "-c", FAULTS, *arguments], capture_output=True, text=True, check=True)
    return int(process.stdout)


def keeps_so_much() -> bool:
    """Whether this is a glibc that can be told to keep blocks as large as these."""
    library, version = platform.libc_ver()
    return library == "glibc" and tuple(map(int, version.split("."))) >= (2, 36)


@pytest.mark.skipif(not keeps_so_much(), reason="only glibc is told anything, and before 2.36 it keeps 32 MiB at most")
def test_a_freed_block_serves_the_next_one() -> None:
    assert faults("keep") * 4 < faults()
