"""A model zoo you can trust: cards that are checked, weights that are verified, claims that are proved.

The public names, loaded on first use, so that `import zoo` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zoo.api import create_model, create_transform, fetch, list_models, load_card, verify
    from zoo.errors import CannotCheck, WrongContent, ZooError
    from zoo.registry.card import Card, Collection, Dataset
    from zoo.verification.report import Finding, Report

_HOME = {
    "zoo.api": ("create_model", "create_transform", "fetch", "list_models", "load_card", "verify"),
    "zoo.registry.card": ("Card", "Collection", "Dataset"),
    "zoo.errors": ("CannotCheck", "WrongContent", "ZooError"),
    "zoo.verification.report": ("Finding", "Report"),
}

__all__ = [
    "CannotCheck",
    "Card",
    "Collection",
    "Dataset",
    "Finding",
    "Report",
    "WrongContent",
    "ZooError",
    "create_model",
    "create_transform",
    "fetch",
    "list_models",
    "load_card",
    "verify",
]


def __getattr__(name: str) -> Any:
    for module, public in _HOME.items():
        if name in public:
            return getattr(importlib.import_module(module), name)
    raise AttributeError(f"module 'zoo' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
