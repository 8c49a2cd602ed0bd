"""Read torchvision's weights enums: parameters, multiply-adds, metrics, transforms, and URLs with the start of a SHA-256."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from zoo.conversion.card_fields import result_fields
from zoo.conversion.dialects import Draft, ReadResult
from zoo.models.builders import Published
from zoo.models.builders import torchvision as builder
from zoo.registry.metrics import METRICS, metric_name
from zoo.registry.quantities import Quantity, digest_in_name, measure
from zoo.runtime.environment import version_of

DATASETS = {"ImageNet-1K": "imagenet-1k"}


def published(pattern: str, results: Path | None) -> ReadResult:
    """Return a draft for each of torchvision's weights that matches the pattern, and for each of their collections.

    Patterns are names such as `resnet50` and `resnet50.IMAGENET1K_V2`, also with wildcards, such as `vit_*`.
    """
    models = builder.published(pattern)
    document = f"torchvision {version_of('torchvision')}"
    families = dict.fromkeys(item.family for item in models)
    collections = [Draft("collection", name, {}, document, 1, index, name) for index, name in enumerate(families)]
    return ReadResult((*collections, *(_draft(item, document, index) for index, item in enumerate(models))))


def _draft(item: Published, document: str, index: int) -> Draft:
    results = [
        {"dataset": DATASETS.get(dataset, dataset), "metric": metric_name(metric), **result_fields(quantity, {})}
        for dataset, metrics in item.metrics.items()
        for metric, value in metrics.items()
        if (quantity := _quantity(metric, value)) is not None
    ]
    claims = {**item.card.get("claims", {}), **({"results": results} if results else {})}
    data: dict[str, Any] = {
        "collection": item.family,
        **item.card,
        "weights": [{**file, **_digest(file["urls"][0])} for file in item.card["weights"]],
        "extra": {"torchvision": dict(item.extra)},
        **({"claims": claims} if claims else {}),
    }
    return Draft("card", item.name, data, document, 1, index, {"name": item.name})


def _quantity(metric: str, value: float) -> Quantity | None:
    """Return the value with its rounding, None for NaN. torchvision gives accuracies to three decimals; a float drops zeros."""
    quantity = measure(value)
    return Quantity(value, 0.001, "percent") if quantity and metric_name(metric) in METRICS else quantity


def _digest(url: str) -> dict[str, str]:
    digest = digest_in_name(url)
    return {"sha256": digest} if digest else {}
