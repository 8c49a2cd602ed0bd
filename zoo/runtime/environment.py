"""Describe this machine: versions of distributions, Python and the platform."""

from __future__ import annotations

import os
import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

DISTRIBUTION = "zoo-verify"


def zoo_version() -> str:
    """Return the version of this package, `unknown` when it is not installed."""
    return version_of(DISTRIBUTION) or "unknown"


@cache  # reading it takes a millisecond or more, and the key of every fact needs several
def version_of(distribution: str) -> str | None:
    """Return the version of an installed distribution without importing it; None when it is not installed."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def this_environment() -> dict[str, Any]:
    """Return the properties of this machine that can change a measurement, without importing torch."""
    libraries = ("torch", "torchvision", "timm", "safetensors", "pillow", "numpy", "huggingface_hub")
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "libraries": {name: installed for name in libraries if (installed := version_of(name))},
    }
