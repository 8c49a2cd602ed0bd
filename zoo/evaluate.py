"""Model + images -> integer counts: how many the model got right, exactly and mergeably.

Counts are integers over a known set of images, so parts add up to the whole, without padding and without rounding.
Imports datasets, model.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from zoo.builders import Transform
from zoo.datasets import Images
from zoo.errors import WrongContent

if TYPE_CHECKING:
    import torch
    from torch import nn

BATCH_SIZE = 16
"""On a CPU, a batch that fits its cache, in channels_last, is twice as fast as the usual 64 in NCHW
(tests/bench/evaluate.py measures it)."""


@dataclass(frozen=True, slots=True)
class Counts:
    """How many of `images` have their label first (top1), and among the five highest outputs (top5)."""

    images: int = 0
    top1: int = 0
    top5: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.images + other.images, self.top1 + other.top1, self.top5 + other.top5)

    def of(self, top_k: int) -> int:
        """The count for top-1 or top-5."""
        return {1: self.top1, 5: self.top5}[top_k]


def evaluate(
    model: nn.Module,
    images: Images,
    transform: Transform,
    *,
    indices: Sequence[int] | None = None,
    batch_size: int = BATCH_SIZE,
) -> Counts:
    """Count the images at those positions (all by default) that the model gets right, on the model's own device.

    Raises WrongContent when an output is not finite, or has fewer values than there are labels.
    """
    import torch

    model = model.eval().to(memory_format=torch.channels_last)
    positions = range(len(images.labels)) if indices is None else indices
    counts = Counts()
    with torch.inference_mode():
        for batch in _batches(positions, batch_size):
            counts = counts + _count(model, images, transform, batch)
    return counts


def _count(model: nn.Module, images: Images, transform: Transform, batch: Sequence[int]) -> Counts:
    import torch

    where = next(model.parameters()).device
    pixels = torch.stack([transform(images.image(index)) for index in batch])
    logits: torch.Tensor = model(pixels.to(where, memory_format=torch.channels_last))
    labels = torch.tensor([images.labels[index] for index in batch], device=where)
    return counts_of(logits, labels)


def counts_of(logits: torch.Tensor, labels: torch.Tensor) -> Counts:
    """The counts of a batch: logits (images, classes), labels (images,).

    Raises WrongContent when a logit is not finite, or a label has no output.
    """
    if not bool(logits.isfinite().all()):
        raise WrongContent("the model's outputs are not all finite numbers", mend="check the weights for NaN and Inf")
    if int(labels.max()) >= logits.shape[1]:
        raise WrongContent(f"the model has {logits.shape[1]} outputs, the data set has label {int(labels.max())}")
    ranked = logits.topk(min(5, logits.shape[1]), dim=1).indices == labels[:, None]
    return Counts(len(labels), int(ranked[:, :1].sum()), int(ranked.sum()))


def _batches(positions: Iterable[int], size: int) -> Iterator[list[int]]:
    iterator = iter(positions)
    while batch := list(islice(iterator, size)):
        yield batch
