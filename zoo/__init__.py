"""A model zoo you can trust: checked model cards, verified weights, measured claims.

The public names are imported on first use, so that `import zoo` is fast.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zoo.api import (
        check_published,
        count_flops,
        create_model,
        create_transform,
        evaluate,
        export_cards,
        fetch,
        import_cards,
        list_models,
        load_card,
        predict,
        publish,
        validate,
        verify,
    )
    from zoo.conversion.dialects import WrittenDocument
    from zoo.conversion.importer import ImportPlan
    from zoo.errors import (
        CannotCheck,
        CardError,
        NotHere,
        Refused,
        TransferFailed,
        UnknownName,
        UsageError,
        WrongContent,
        ZooError,
    )
    from zoo.flops.costs import CostReport
    from zoo.publishing.run import Publication
    from zoo.registry.card import Card, Collection, Dataset
    from zoo.verification.predict import Prediction
    from zoo.verification.report import Finding, Report, Status
    from zoo.verification.scores import Score

    __version__: str

_HOME = {
    "zoo.api": (
        *("check_published", "count_flops", "create_model", "create_transform", "evaluate", "export_cards", "fetch"),
        *("import_cards", "list_models", "load_card", "predict", "publish", "validate", "verify"),
    ),
    "zoo.conversion.dialects": ("WrittenDocument",),
    "zoo.conversion.importer": ("ImportPlan",),
    "zoo.errors": (
        *("CannotCheck", "CardError", "NotHere", "Refused", "TransferFailed", "UnknownName", "UsageError"),
        *("WrongContent", "ZooError"),
    ),
    "zoo.flops.costs": ("CostReport",),
    "zoo.publishing.run": ("Publication",),
    "zoo.registry.card": ("Card", "Collection", "Dataset"),
    "zoo.verification.predict": ("Prediction",),
    "zoo.verification.report": ("Finding", "Report", "Status"),
    "zoo.verification.scores": ("Score",),
}

__all__ = [
    "CannotCheck",
    "Card",
    "CardError",
    "Collection",
    "CostReport",
    "Dataset",
    "Finding",
    "ImportPlan",
    "NotHere",
    "Prediction",
    "Publication",
    "Refused",
    "Report",
    "Score",
    "Status",
    "TransferFailed",
    "UnknownName",
    "UsageError",
    "WrittenDocument",
    "WrongContent",
    "ZooError",
    "__version__",
    "check_published",
    "count_flops",
    "create_model",
    "create_transform",
    "evaluate",
    "export_cards",
    "fetch",
    "import_cards",
    "list_models",
    "load_card",
    "predict",
    "publish",
    "validate",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from zoo.runtime.environment import zoo_version

        return zoo_version()
    for module, public in _HOME.items():
        if name in public:
            return getattr(importlib.import_module(module), name)
    raise AttributeError(f"module 'zoo' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
