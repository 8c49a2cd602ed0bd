"""Say what this machine has: versions of distributions, Python, platform."""

from __future__ import annotations

import os
import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

DISTRIBUTION = "zoo-verify"


def zoo_version() -> str:
    """The version of this package."""
    return version_of(DISTRIBUTION) or "unknown"


@cache  # reading it takes a millisecond or more, and every fact is asked for by several
def version_of(distribution: str) -> str | None:
    """The version of an installed distribution, found without importing it; None when it is not installed."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def this_environment() -> dict[str, Any]:
    """What of this machine can change a measurement, found without importing torch."""
    libraries = ("torch", "torchvision", "timm", "safetensors", "pillow", "numpy", "huggingface_hub")
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "libraries": {name: installed for name in libraries if (installed := version_of(name))},
    }
