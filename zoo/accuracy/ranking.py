"""Model + images -> the rank of each image's label among the outputs: what accuracies are counted from.

On a CPU each core ranks batches of its own, from decoding to ranks: the threads never wait for each other inside an
operator, which costs most where the machine is busy with other things too. On an accelerator threads decode the next
batches while one is computed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING

from zoo.accuracy.datasets import Images, Label, sha256
from zoo.errors import WrongContent
from zoo.models.builders import Transform
from zoo.runtime import malloc

if TYPE_CHECKING:
    import torch
    from torch import nn


TOP = 5
DTYPES = {"fp32": None, "bf16": "bfloat16", "fp16": "float16"}
BATCHES_AHEAD = 2
"""Batches that are decoded while an accelerator computes one: one ready and one in work."""


@dataclass(frozen=True, slots=True)
class RankedImages:
    """Some images of a split, the rank of each one's label among the outputs (`0` to `4`, `5` for none of the first
    five), and their SHA-256s."""

    indices: tuple[int, ...]
    ranks: str
    digests: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Batch:
    """The images of one batch, and where they are ranked: a future of (ranks, digests)."""

    part: Sequence[int]
    is_last: bool
    result: Callable[[], tuple[str, list[str]]]


@dataclass
class Ranker:
    """A model with all that it needs to rank images: preprocessing, batches, precision, which outputs count."""

    model: Callable[[torch.Tensor], torch.Tensor]
    images: Images
    device: torch.device
    transform: Transform
    batch_size: int
    restriction: tuple[int, ...] | None = None
    precision: str = "fp32"
    compiled: bool = False
    threads: int = field(default_factory=lambda: _thread_count())

    def with_model(self, model: nn.Module) -> Ranker:
        """The same with another model, which is put on the same device, uncompiled."""
        return replace(self, model=prepare_model(model.to(self.device)), compiled=False)

    @cached_property
    def _whole_batches(self) -> bool:
        """Whether a thread does all of a batch. A compiled model has threads of its own, and is not for several."""
        return self.device.type == "cpu" and not self.compiled

    def rank(self, parts: Iterable[Sequence[int]]) -> Iterator[RankedImages]:
        """The ranks of each part, in order; the next batches are in work meanwhile, also those of the next part."""
        malloc.keep_freed()
        with ThreadPoolExecutor(self.threads, "zoo-rank", initializer=_use_one_thread) as pool:
            results: list[tuple[str, list[str]]] = []
            try:
                for batch in self._submitted_batches(pool, parts):
                    results.append(batch.result())
                    if batch.is_last:
                        digests = tuple(digest for _, batch_digests in results for digest in batch_digests)
                        yield RankedImages(tuple(batch.part), "".join(ranks for ranks, _ in results), digests)
                        results = []
            finally:
                pool.shutdown(cancel_futures=True)
                _reset_thread_count()

    def top_outputs(self, indices: Iterable[int]) -> Iterator[tuple[int, ...]]:
        """The five classes with the highest outputs for each image, the highest first."""
        for batch in _batches(indices, self.batch_size):
            logits = self.logits([self._prepare(index)[0] for index in batch])
            yield from map(tuple, logits.topk(min(TOP, logits.shape[1]), dim=1).indices.tolist())

    def _submitted_batches(self, pool: ThreadPoolExecutor, parts: Iterable[Sequence[int]]) -> Iterator[_Batch]:
        """Each batch once enough of those after it are begun."""
        pending: deque[_Batch] = deque()
        for part in parts:
            batches = list(_batches(part, self.batch_size))
            for place, indices in enumerate(batches):
                pending.append(_Batch(part, place == len(batches) - 1, self._submit(pool, indices)))
                if len(pending) > (self.threads if self._whole_batches else BATCHES_AHEAD):
                    yield pending.popleft()
        yield from pending

    def _submit(self, pool: ThreadPoolExecutor, indices: list[int]) -> Callable[[], tuple[str, list[str]]]:
        if self._whole_batches:
            return pool.submit(lambda: self._rank_batch(indices, map(self._prepare, indices))).result
        decoding: list[Future[tuple[torch.Tensor, str]]] = [pool.submit(self._prepare, index) for index in indices]
        return lambda: self._rank_batch(indices, (future.result() for future in decoding))

    def _prepare(self, index: int) -> tuple[torch.Tensor, str]:
        content = self.images.read(index)
        return self.transform(self.images.decode(index, content)), sha256(content)

    def _rank_batch(
        self, indices: Sequence[int], prepared: Iterable[tuple[torch.Tensor, str]]
    ) -> tuple[str, list[str]]:
        pixels, digests = zip(*prepared, strict=True)
        labels = [self.images.labels[index] for index in indices]
        return ranks_of(self.logits(pixels), labels), list(digests)

    def logits(self, pixels: Sequence[torch.Tensor]) -> torch.Tensor:
        """The outputs that count, of tensors (channels, height, width): (images, classes)."""
        import torch

        batch = torch.empty((len(pixels), *pixels[0].shape), memory_format=torch.channels_last)
        for place, image in enumerate(pixels):
            batch[place] = image  # one copy an image, where stacking and then changing the format would make two
        logits = self.outputs(batch.to(self.device))
        return logits if self.restriction is None else logits[:, list(self.restriction)]

    def outputs(self, batch: torch.Tensor) -> torch.Tensor:
        """The logits of a batch (images, outputs); in halves where the device's memory does not hold it whole."""
        import torch

        dtype = DTYPES[self.precision]
        cast = torch.autocast(batch.device.type, getattr(torch, dtype)) if dtype else nullcontext()
        try:
            with torch.inference_mode(), cast:
                return self.model(batch).float()
        except RuntimeError as error:
            if len(batch) == 1 or not _is_out_of_memory(error):
                raise
        self.batch_size = max(1, len(batch) // 2)
        return torch.cat([self.outputs(half) for half in torch.split(batch, self.batch_size)])


def prepare_model(model: nn.Module) -> nn.Module:
    """The model in eval mode, its weights in the memory format that convolutions are fastest in."""
    import torch

    return model.eval().to(memory_format=torch.channels_last)


def ranks_of(logits: torch.Tensor, labels: Sequence[Label]) -> str:
    """The rank of the best placed of each image's labels, `0` to `4`, or `5`: logits (images, classes).

    Raises WrongContent when a logit is not finite, or a label has no output.
    """
    import torch

    if not bool(logits.isfinite().all()):
        raise WrongContent("the model's outputs are not all finite numbers", hint="check the weights for NaN and Inf")
    highest = max(label for image in labels for label in image)
    if highest >= logits.shape[1]:
        raise WrongContent(f"the model has {logits.shape[1]} outputs, the data set has label {highest}")
    right = torch.zeros(logits.shape, dtype=torch.bool)
    for row, image in enumerate(labels):
        right[row, list(image)] = True
    best = logits.topk(min(TOP, logits.shape[1]), dim=1).indices.cpu()
    hits = right.gather(1, best)
    first = torch.where(hits.any(1), hits.int().argmax(1), TOP)
    return "".join(map(str, first.tolist()))


def most_probable(model: nn.Module, images: Sequence[torch.Tensor]) -> list[list[tuple[int, float]]]:
    """For each image, a tensor (channels, height, width), the five most probable outputs with their probabilities."""
    import torch

    device = next(model.parameters()).device
    with torch.inference_mode():
        shares = (
            prepare_model(model)(torch.stack(list(images)).to(device, memory_format=torch.channels_last))
            .float()
            .softmax(1)
        )
    best = shares.topk(min(TOP, shares.shape[1]), dim=1)
    return [list(zip(*pair, strict=True)) for pair in zip(best.indices.tolist(), best.values.tolist(), strict=True)]


def _thread_count() -> int:
    """As many threads as torch computes with: this process's share of the cores."""
    import torch

    return torch.get_num_threads()


def _use_one_thread() -> None:
    """A thread of the pool computes alone, and does not call others for a part of an operator; the main one still does."""
    import torch

    torch.set_num_threads(1)


def _reset_thread_count() -> None:
    """Make torch give new threads of this process as many threads as this one has: it gives them the last number set."""
    import torch

    torch.set_num_threads(torch.get_num_threads())


def _is_out_of_memory(error: RuntimeError) -> bool:
    """Whether it is a lack of memory: torch has a class for accelerators; for the CPU it has a message only
    (c10/core/impl/alloc_cpu.cpp: "DefaultCPUAllocator: can't allocate memory")."""
    import torch

    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def _batches(positions: Iterable[int], size: int) -> Iterator[list[int]]:
    iterator = iter(positions)
    while batch := list(islice(iterator, size)):
        yield batch
