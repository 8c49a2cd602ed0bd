"""A file of weights -> where other tools keep it on this machine, and taking it from there without a network."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from zoo.registry.card import Weights
from zoo.weights.transfer.partial import cannot_write, check_room, folder_in_home, sync


def paths(weights: Weights) -> Iterator[tuple[Path, str]]:
    """Where else a file of that name, or of that digest, may lie: torch hub's checkpoints and the Hugging Face cache.

    Source: torch.hub.get_dir and huggingface_hub.constants, read 2026-11-24. Of the latter's blobs, those in git-lfs or
    Xet are named by their sha256.
    """
    caches = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    torch_home = Path(os.environ.get("TORCH_HOME") or caches / "torch").expanduser()
    hf_home = Path(os.environ.get("HF_HOME") or caches / "huggingface").expanduser()
    hf_cache = Path(os.environ.get("HF_HUB_CACHE") or hf_home / "hub").expanduser()
    candidates = [(torch_home / "hub" / "checkpoints" / weights.file, "torch hub's checkpoints")]
    candidates += [
        (path, "the Hugging Face cache") for path in sorted(hf_cache.glob(f"models--*/blobs/{weights.sha256}*"))
    ]
    for path, origin in candidates:
        with suppress(OSError):
            if path.is_file() and weights.size_bytes in (None, path.stat().st_size) and os.access(path, os.R_OK):
                yield path, origin


def link_or_copy(path: Path) -> Path:
    """The file under a second name among what is not yet placed, or a copy where there is no linking.

    A linked file becomes read-only under both names once it is placed; the other tool can still replace or remove it.
    """
    folder = folder_in_home("partial")
    target = folder / f"{secrets.token_hex(8)}.part"
    try:
        os.link(path.resolve(), target)
    except OSError:
        try:
            check_room(folder, path.stat().st_size)
            shutil.copyfile(path, target)
            sync(target)
        except OSError as error:
            raise cannot_write(folder, error) from error
    return target
