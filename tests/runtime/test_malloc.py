"""Freed blocks stay with a process that zoo owns: page faults, which the system counts, show it."""

from __future__ import annotations

import platform
import resource
import subprocess
import sys

import pytest

BLOCK_BYTES = 40 << 20
"""More than glibc keeps by default, 32 MiB."""
FAULTS = f"""
import resource, sys, threading
if "own" in sys.argv:
    from zoo.runtime import process
    process.claim()
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
    """Return how many page faults a thread causes that allocates, fills and frees eight large blocks one after the other."""
    process = subprocess.run([sys.executable, "-c", FAULTS, *arguments], capture_output=True, text=True, check=True)
    return int(process.stdout)


def keeps_so_much() -> bool:
    """Return whether this is a glibc that can keep blocks as large as these."""
    library, version = platform.libc_ver()
    return library == "glibc" and tuple(map(int, version.split("."))) >= (2, 36)


@pytest.mark.skipif(not keeps_so_much(), reason="only glibc has the setting, and before 2.36 it keeps 32 MiB at most")
def test_a_freed_block_serves_the_next_one_in_a_process_that_zoo_owns() -> None:
    assert faults("own", "keep") * 4 < faults()


def test_memory_is_as_it_was_in_a_process_of_another_program() -> None:
    blocks = 8 * BLOCK_BYTES // resource.getpagesize()
    assert faults("keep") > blocks // 2
