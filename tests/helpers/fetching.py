"""What the tests of fetching share: contents, cards about them, retries that are quick."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterable
from pathlib import Path

from zoo.registry.card import Card
from zoo.registry.catalog import load_catalog
from zoo.weights import store
from zoo.weights.transfer.policy import RetryPolicy

MIB = 1 << 20
QUICK_RETRIES = RetryPolicy(tries=5, first_wait_seconds=0.001, longest_wait_seconds=2.0, stall_seconds=0.5)


def noise(size_bytes: int, seed: int = 0) -> bytes:
    """Bytes that no part of resembles another."""
    return random.Random(seed).randbytes(size_bytes)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def card_about(
    folder: Path, content: bytes | None, urls: Iterable[str] = (), *, name: str = "net", **changes: object
) -> Card:
    """A card with one file of weights, which says the truth about `content` but for `changes`; None leaves it out."""
    truth = {} if content is None else {"size_bytes": len(content), "sha256": sha256(content)}
    weights = {"file": f"{name}.pth", "format": "pickle", "urls": list(urls), **truth, **changes}
    fields = {key: value for key, value in weights.items() if value not in (None, [])}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.yaml").write_text(json.dumps({"schema": 1, "name": name, "weights": [fields]}), encoding="utf-8")
    return load_catalog([folder]).find(name)


def fetch(card: Card, **options: object) -> store.Artifact:
    """The card's only file, with quick retries."""
    return store.fetch(card, card.weights[0], **{"retry_policy": QUICK_RETRIES, **options})  # type: ignore[arg-type]  # as given


def files_below(folder: Path) -> list[str]:
    """The files below a folder, relative to it; the index of the cards that a command has read is no weights."""
    names = (str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    return sorted(name for name in names if not name.startswith("index/"))
