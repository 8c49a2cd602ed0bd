"""Rank the label of each image among a model's outputs; accuracies are counted from the ranks.

On a CPU, each core decodes and ranks batches of its own, so that threads do not wait for each other inside an operator, which
is slow on a busy machine. On an accelerator, threads decode the next batches while it computes one.
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
from zoo.runtime import malloc, process

if TYPE_CHECKING:
    import torch
    from torch import nn


TOP = 5
RANKS = frozenset("012345")
"""The ranks that an image can have: its place among the first TOP outputs, else TOP."""
DTYPES = {"fp32": None, "bf16": "bfloat16", "fp16": "float16"}
BATCHES_AHEAD = 2
"""Batches decoded while an accelerator computes one: one that is ready and one in progress."""


@dataclass(frozen=True, slots=True)
class RankedImages:
    """Images of a split: their indices, the ranks of their labels (a digit each, `5` for not in the first five), their SHA-256s."""

    indices: tuple[int, ...]
    ranks: str
    digests: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Batch:
    """A batch of a part, and a function that waits for its ranks and digests."""

    part: Sequence[int]
    is_last: bool
    result: Callable[[], tuple[str, list[str]]]


@dataclass
class Ranker:
    """A model with everything needed to rank images: preprocessing, batch size, precision, the outputs that count."""

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
        """Return the same ranker with another model, on the same device and not compiled."""
        return replace(self, model=prepare_model(model.to(self.device)), compiled=False)

    @cached_property
    def _whole_batches(self) -> bool:
        """Whether one thread does a whole batch. A compiled model has its own threads and must not run in several."""
        return self.device.type == "cpu" and not self.compiled

    def rank(self, parts: Iterable[Sequence[int]]) -> Iterator[RankedImages]:
        """Rank the parts and yield them in order. Meanwhile the next batches are in progress, also those of the next part."""
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
        """Yield the five classes with the highest outputs for each image, the highest first."""
        for batch in _batches(indices, self.batch_size):
            logits = self.logits([self._prepare(index)[0] for index in batch])
            yield from map(tuple, logits.topk(min(TOP, logits.shape[1]), dim=1).indices.tolist())

    def _submitted_batches(self, pool: ThreadPoolExecutor, parts: Iterable[Sequence[int]]) -> Iterator[_Batch]:
        """Yield each batch as soon as enough batches after it are submitted."""
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
        process.alive()
        labels = [self.images.labels[index] for index in indices]
        return ranks_of(self.logits(pixels), labels), list(digests)

    def logits(self, pixels: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return the outputs that count, of shape (images, classes), for tensors of shape (channels, height, width)."""
        import torch

        batch = torch.empty((len(pixels), *pixels[0].shape), memory_format=torch.channels_last)
        for place, image in enumerate(pixels):
            batch[place] = image  # one copy for each image; stacking and then changing the format would make two
        logits = self.outputs(batch.to(self.device))
        return logits if self.restriction is None else logits[:, list(self.restriction)]

    def outputs(self, batch: torch.Tensor) -> torch.Tensor:
        """Return the logits of a batch, of shape (images, outputs). A batch that does not fit into memory is halved."""
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
    """Return the model in eval mode, with its weights in the memory format that makes convolutions fastest."""
    import torch

    return model.eval().to(memory_format=torch.channels_last)


def ranks_of(logits: torch.Tensor, labels: Sequence[Label]) -> str:
    """Return the best rank of each image's labels, `0` to `4`, or `5` when no label is among the five highest.

    logits: (images, classes). Raises WrongContent when a logit is not finite, or a label has no output.
    """
    import torch

    if not bool(logits.isfinite().all()):
        raise WrongContent("the model's outputs are not all finite", hint="look for NaN and Inf in the weights")
    highest = max(label for image in labels for label in image)
    if highest >= logits.shape[1]:
        what = f"the model has {logits.shape[1]} outputs, but the data set has label {highest}"
        raise WrongContent(what, hint="correct the card's builder or data set")
    right = torch.zeros(logits.shape, dtype=torch.bool)
    for row, image in enumerate(labels):
        right[row, list(image)] = True
    best = logits.topk(min(TOP, logits.shape[1]), dim=1).indices.cpu()
    hits = right.gather(1, best)
    first = torch.where(hits.any(1), hits.int().argmax(1), TOP)
    return "".join(map(str, first.tolist()))


def most_probable(model: nn.Module, images: Sequence[torch.Tensor]) -> list[list[tuple[int, float]]]:
    """Return the five most probable outputs of each image, with their probabilities; images: (channels, height, width)."""
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
    """Return the number of threads that torch uses, which is this process's share of the cores."""
    import torch

    return torch.get_num_threads()


def _use_one_thread() -> None:
    """Let a thread of the pool compute operators alone; the main thread still uses several threads."""
    import torch

    torch.set_num_threads(1)


def _reset_thread_count() -> None:
    """Make torch give new threads of this process as many threads as this one has: it gives them the last number set."""
    import torch

    torch.set_num_threads(torch.get_num_threads())


def _is_out_of_memory(error: RuntimeError) -> bool:
    """Return whether memory ran out. For accelerators torch has a class; for the CPU it has only a message
    (c10/core/impl/alloc_cpu.cpp: "DefaultCPUAllocator: can't allocate memory")."""
    import torch

    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def _batches(positions: Iterable[int], size: int) -> Iterator[list[int]]:
    iterator = iter(positions)
    while batch := list(islice(iterator, size)):
        yield batch
