"""The evaluation metrics that zoo measures, and their names in other formats."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric that zoo can measure: its names, its range in percent, the k of a top-k accuracy.

    title: its name within a sentence. hub_type and hub_name: `type` and `name` in the front matter of a Hub model card;
    the types are distinct, because the Hub's `metrics` list has only those. model_index: its key in Papers with Code's
    model-index.
    """

    title: str
    hub_type: str
    hub_name: str
    model_index: str
    top_k: int
    low: float = 0.0
    high: float = 100.0


METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        "top1": Metric("top-1 accuracy", "accuracy", "Top-1 Accuracy", "Top 1 Accuracy", top_k=1),
        "top5": Metric("top-5 accuracy", "top_5_accuracy", "Top-5 Accuracy", "Top 5 Accuracy", top_k=5),
    }
)
"""The metrics that zoo knows, by their name in a card. Any other metric is kept and shown, but no check measures it."""
_SPELLINGS = re.compile(
    r"(?:top([15])(?:acc(?:uracy)?)?|acc(?:uracy)?(?:top|at)?([15])|acc(?:uracy)?@([15]))(?:percent|%)?\Z"
)


def metric_name(written: str) -> str:
    """Return the card's name of a metric: `top1` for `Top 1 Accuracy`, `Acc@1` and the like; other names stay as they are.

    The result for an empty name is `unknown`.
    """
    match = _SPELLINGS.match(re.sub(r"[^a-z0-9@%]", "", written.lower()))
    return f"top{next(filter(None, match.groups()))}" if match else written.strip() or "unknown"
