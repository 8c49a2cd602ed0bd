"""torchvision's weights enums: parameters, multiply-adds, metrics, transforms, and a URL with the digest's first digits."""

from __future__ import annotations

from math import isfinite
from pathlib import Path
from typing import Any

from zoo import plugins
from zoo.conversion.dialects import Draft, ReadResult
from zoo.models.builders import Published
from zoo.registry.quantities import digest_in_name, measure
from zoo.runtime.environment import version_of

DATASETS = {"ImageNet-1K": "imagenet-1k"}
METRICS = {"acc@1": "top1", "acc@5": "top5"}
"""How torchvision calls them; any other name is kept as it is."""


def published(pattern: str, results: Path | None) -> ReadResult:
    """A draft for each of torchvision's weights that fits the pattern (`resnet50`, `resnet50.IMAGENET1K_V2`, `vit_*`)."""
    models = plugins.load("builders", "torchvision").published(pattern)
    document = f"torchvision {version_of('torchvision')}"
    families = dict.fromkeys(item.family for item in models)
    collections = [Draft("collection", name, {}, document, 1, index, name) for index, name in enumerate(families)]
    return ReadResult((*collections, *(_draft(item, document, index) for index, item in enumerate(models))))


def _draft(item: Published, document: str, index: int) -> Draft:
    results = [
        {
            "dataset": DATASETS.get(dataset, dataset),
            "metric": METRICS.get(metric, metric),
            **_value(metric, value),
            "origin": "upstream",
        }
        for dataset, metrics in item.metrics.items()
        for metric, value in metrics.items()
        if isfinite(value)
    ]
    claims = {**item.card.get("claims", {}), **({"results": results} if results else {})}
    weights = [{**file, **_digest(file["urls"][0])} for file in item.card["weights"]]
    data: dict[str, Any] = {
        "collection": item.family,
        **item.card,
        "weights": weights,
        "extra": {"torchvision": dict(item.extra)},
    }
    return Draft(
        "card", item.name, {**data, **({"claims": claims} if claims else {})}, document, 1, index, {"name": item.name}
    )


def _value(metric: str, value: float) -> dict[str, Any]:
    quantity = measure(value)
    if metric in METRICS:  # three decimals, of which a float does not tell the last zeros
        return {"value": value, "unit": "percent", "rounded_to": 0.001}
    return {"value": value, **({"rounded_to": quantity.rounded_to} if quantity else {})}


def _digest(url: str) -> dict[str, str]:
    digest = digest_in_name(url)
    return {"sha256": digest} if digest else {}
