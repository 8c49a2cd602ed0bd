"""A zoo with one card for each hostile file of weights, and what one run of `zoo verify` finds about each."""

from __future__ import annotations

import io
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from tests.attacks.helpers import MAX_SECONDS, findings, run_cli
from tests.helpers.fetching import sha256
from zoo.registry.edit import card_text

BUILDER = {
    "library": "timm",
    "entry": "resnest14d",
    "options": {"num_classes": 4, "channels": [4, 4, 8, 8], "stem_width": 4},
}
State = dict[str, torch.Tensor]


def fresh_state() -> State:
    """The tensors of the architecture, with random values."""
    import timm

    torch.manual_seed(1)
    return timm.create_model("resnest14d", num_classes=4, channels=(4, 4, 8, 8), stem_width=4).state_dict()


def saved(content: object, *, legacy: bool = False) -> bytes:
    """What torch.save writes, in its zip format or the one before that."""
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=not legacy)
    return buffer.getvalue()


def verify_files(
    folder: Path, files: Mapping[str, bytes], weights: Mapping[str, Mapping[str, Any]] | None = None
) -> dict[str, dict[str, Any]]:
    """Run `zoo verify --check loading` over cards that have these files: the finding `loading` of each, by its name.

    weights: more fields of the card's file, by name. The run is one process, with bounds of memory and time.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / f"{name}.bin").write_bytes(content)
        item = {
            "file": f"{name}.bin",
            "size_bytes": len(content),
            "sha256": sha256(content),
            **(weights or {}).get(name, {}),
        }
        text = card_text({"schema": 1, "name": name, "builder": BUILDER, "weights": [item]})
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    started = time.monotonic()
    ran = run_cli(
        "verify", "--all", "--cards", folder, "--check", "loading", "--format", "json", ZOO_HOME=str(folder / "home")
    )
    assert time.monotonic() - started < MAX_SECONDS
    assert ran.code in (0, 1, 3), ran.err
    found = {item["model"]: item for item in findings(ran)}
    assert found.keys() == files.keys()
    assert not [item for item in found.values() if item.get("evidence", {}).get("bug")], found
    return found
