"""Know whether zoo owns this process, or runs as a library in the process of another program.

Settings of a whole process (memory allocation, environment variables, output of other libraries) belong to its owner. zoo
changes them only in its own processes: the command line and the workers of an engine.
"""

from __future__ import annotations

_is_ours = False


def claim() -> None:
    """Declare that zoo owns this process, from now on."""
    global _is_ours
    _is_ours = True


def is_ours() -> bool:
    """Return whether zoo owns this process."""
    return _is_ours
