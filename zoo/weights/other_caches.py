"""Find a weights file in the caches of other tools on this machine, and link or copy it into the store."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from zoo.registry.card import Weights
from zoo.weights.transfer.partial import cannot_write, check_free_space, folder_in_home, sync


def paths(weights: Weights) -> Iterator[tuple[Path, str]]:
    """Yield the paths of files with that name or digest in torch hub's checkpoints and the Hugging Face cache.

    Each path comes with the name of its cache. Source: torch.hub.get_dir and huggingface_hub.constants, read
    2026-11-24. A blob of the Hugging Face cache that is in Git LFS or Xet is named by its sha256.
    """
    caches = _folder("XDG_CACHE_HOME", Path("~/.cache"))
    torch_home = _folder("TORCH_HOME", caches / "torch")
    hf_home = _folder("HF_HOME", caches / "huggingface")
    hf_cache = _folder("HF_HUB_CACHE", hf_home / "hub")
    candidates = [(torch_home / "hub" / "checkpoints" / weights.file, "torch hub's checkpoints")]
    candidates += [
        (path, "the Hugging Face cache") for path in sorted(hf_cache.glob(f"models--*/blobs/{weights.sha256}*"))
    ]
    for path, origin in candidates:
        with suppress(OSError):
            if path.is_file() and weights.size_bytes in (None, path.stat().st_size) and os.access(path, os.R_OK):
                yield path, origin


def link_or_copy(path: Path) -> Path:
    """Link the file into the folder of partial files, or copy it where links do not work, and return the new path.

    A linked file becomes read-only under both names once it is in the store; the other tool can still replace or remove
    it. Raises CannotCheck when writing fails.
    """
    folder = folder_in_home("partial")
    target = folder / f"{secrets.token_hex(8)}.part"
    try:
        os.link(path.resolve(), target)
    except OSError:
        try:
            check_free_space(folder, path.stat().st_size)
            shutil.copyfile(path, target)
            sync(target)
        except OSError as error:
            raise cannot_write(folder, error) from error
    return target


def _folder(variable: str, default: Path) -> Path:
    """Return the folder in a variable, or the default, as torch and huggingface_hub do."""
    return Path(os.path.expanduser(os.environ.get(variable) or default))  # noqa: PTH111  # Path's raises for an unknown user
