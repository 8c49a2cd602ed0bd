"""Card + Artifact -> nn.Module, strictly loaded; and Subject, which makes the costly things about a card once.

Imports errors, card, catalog, plugins, engines, store, tensors, remote, builders.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo import plugins, remote, store, tensors
from zoo.builders import Transform
from zoo.card import BUILDERS_OF_CODE, Builder, Card, Input, Rename, Weights
from zoo.catalog import Catalog
from zoo.engines import Options, worker_number
from zoo.errors import CannotCheck, NotHere, UsageError, WrongContent, ZooError
from zoo.remote import RemoteFile
from zoo.store import Artifact

if TYPE_CHECKING:
    import torch
    from torch import nn

DEVICE_NODES = ("nvidia[0-9]*", "kfd", "dri/render*", "davinci[0-9]*")
"""Device nodes of the drivers of NVIDIA, AMD, Intel and Ascend."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How accuracies are measured.

    limit: at most so many images, drawn with `seed`; all when None. early_stop: end as soon as the claim is refuted.
    level: the probability with which a right claim may be called wrong. precision: `fp32`, `bf16` or `fp16`.
    batch_size: images at a time; chosen for the device when None. max_age_days: older facts are measured again.
    engine, options: where the parts of one evaluation run.
    """

    limit: int | None = None
    seed: int = 0
    early_stop: bool = False
    level: float = 0.001
    precision: str = "fp32"
    batch_size: int | None = None
    compile: bool = False
    max_age_days: float | None = None
    engine: str = "local"
    options: Options = field(default_factory=Options)


@dataclass(frozen=True, slots=True)
class Settings:
    """What a run may do: download, use a device (`auto`, `cpu`, `cuda:0`, `mps`), read copies of data sets.

    tell: called with each event of a long measurement, in this process only. allow_code: run the factories that cards
    name (`builder: {library: python}`). remote: ask the servers of files what they say of them.
    """

    fetch: bool = False
    device: str = "auto"
    data: Mapping[str, Path] = field(default_factory=dict)
    refresh: bool = False
    evaluation: Evaluation = Evaluation()
    allow_code: bool = False
    remote: bool = False
    tell: Callable[[Any], None] | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Subject:
    """One card under examination. Files are measured, modules built and weights loaded at most once, when first used."""

    card: Card
    catalog: Catalog
    settings: Settings
    _artifacts: dict[str, Artifact] = field(default_factory=dict, repr=False, compare=False)
    _remote: dict[str, RemoteFile | ZooError] = field(default_factory=dict, repr=False, compare=False)

    @property
    def builder(self) -> Builder:
        """How the card's architecture is built; raises NotHere when the card does not say, or it needs a permission."""
        if self.card.builder is None:
            raise NotHere(
                "the card names no builder",
                where=str(self.card.where),
                mend="add `builder: {library: timm, entry: ...}`",
            )
        refuse_code(self.card.builder, allow_code=self.settings.allow_code)
        return self.card.builder

    @property
    def input(self) -> Input:
        """What the model takes; raises NotHere when the card does not say."""
        if self.card.input is None or self.card.input.size is None:
            raise NotHere(
                "the card has no input size", where=str(self.card.where), mend="add `input: {size: [3, 224, 224]}`"
            )
        return self.card.input

    @property
    def input_size(self) -> tuple[int, int, int]:
        """(channels, height, width) of one input; raises NotHere when the card does not say."""
        channels, height, width = self.input.size or ()
        return (channels, height, width)

    def artifact(self, weights: Weights) -> Artifact:
        """The measured file, whether or not it is what the card says.

        Raises NotHere when it is not on this machine and fetching was not asked for, TransferFailed or WrongContent
        when it cannot be got.
        """
        if weights.file not in self._artifacts:
            self._artifacts[weights.file] = self._measure(weights)
        return self._artifacts[weights.file]

    def look(self, weights: Weights) -> RemoteFile:
        """What the file's server says of it, asked once; raises as `remote.look` does."""
        if weights.file not in self._remote:
            try:
                self._remote[weights.file] = remote.look(weights)
            except ZooError as error:  # one answer to all questions, also where there is none
                self._remote[weights.file] = error
        found = self._remote[weights.file]
        if isinstance(found, ZooError):
            raise found
        return found

    @property
    def measured(self) -> tuple[Artifact, ...]:
        """The files that were measured so far, in the card's order."""
        return tuple(self._artifacts[item.file] for item in self.card.weights if item.file in self._artifacts)

    def _measure(self, weights: Weights) -> Artifact:
        path = store.locate(self.card, weights)
        if path is not None:
            return store.measure(weights, path)
        if not self.settings.fetch and weights.urls:
            raise NotHere(
                f"{weights.file} is not on this machine", where=str(weights.where), mend=f"zoo fetch {self.card.name}"
            )
        return store.fetch(self.card, weights)

    @cached_property
    def meta(self) -> nn.Module:
        """The architecture on the meta device, in eval mode: shapes and no memory."""
        from zoo.tracing import meta_build

        with meta_build():
            return build(self.builder, allow_code=self.settings.allow_code)

    def loaded(self, weights: Weights) -> nn.Module:
        """The model with the file's weights, strictly loaded, in eval mode, on the settings' device."""
        module = load(self.builder, self.artifact(weights), weights.rename, allow_code=self.settings.allow_code)
        return module.to(device(self.settings.device))

    @cached_property
    def model(self) -> nn.Module:
        """The model with the card's preferred weights, on the settings' device."""
        if not self.card.weights:
            raise NotHere("the card lists no weights", where=str(self.card.where), mend="add `weights: [{file: ...}]`")
        return self.loaded(self.card.weights[0])


def refuse_code(builder: Builder, *, allow_code: bool) -> None:
    """Raises NotHere when the builder would run code that the card names and nobody has allowed that."""
    if builder.library in BUILDERS_OF_CODE and not allow_code:
        raise NotHere(
            f"the card would have {builder.entry} run, which is code of its own choice",
            where=str(builder.where["library"]),
            mend="if you trust the card and that package, give --allow-code",
        )


def build(builder: Builder, *, allow_code: bool = False) -> nn.Module:
    """The architecture with fresh weights, in eval mode, on torch's default device.

    Raises WrongContent at the card's line when the architecture does not exist or its options do not fit; NotHere as
    `refuse_code` does.
    """
    refuse_code(builder, allow_code=allow_code)
    library = plugins.load("builders", builder.library, where=str(builder.where["library"]))
    try:
        module: nn.Module = library.build(builder.entry, builder.options)
    except WrongContent as error:
        raise WrongContent(error.what, where=str(builder.where["entry"]), mend=error.mend) from error
    return module


def load(
    builder: Builder, artifact: Artifact, renames: Sequence[Rename] = (), *, allow_code: bool = False
) -> nn.Module:
    """The architecture with the artifact's tensors, strictly loaded, in eval mode, on the CPU."""
    module = build(builder, allow_code=allow_code)
    tensors.fit(module, tensors.read(artifact, renames).tensors, artifact.file)
    return module


def transform(wanted: Input) -> Transform:
    """The card's preprocessing: an RGB image -> float tensor (channels, height, width)."""
    made: Transform = plugins.load("builders", "timm").transform(wanted)
    return made


def device(name: str) -> torch.device:
    """The device of that name; `auto` is the accelerator when there is one, else the CPU. Workers take one each in turn.

    Raises UsageError when the name means nothing, CannotCheck when this machine has no such device.
    """
    import torch

    if name == "auto":
        accelerator = torch.accelerator.current_accelerator(check_available=True)
        if accelerator is None:
            return torch.device("cpu")
        number = worker_number()
        return accelerator if number is None else torch.device(accelerator.type, number % accelerators())
    try:
        wanted = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"{name!r} is no device", mend="give auto, cpu, cuda:0 or mps") from error
    try:
        torch.empty(1, device=wanted)
    except (RuntimeError, AssertionError) as error:
        raise CannotCheck(
            f"this machine cannot use the device {name}: {str(error).splitlines()[0]}", mend="give --device cpu"
        ) from error
    return wanted


def accelerators() -> int:
    """How many accelerators this machine has, 0 when it computes on its CPU."""
    import torch

    return torch.accelerator.device_count() if torch.accelerator.is_available() else 0


def device_kind(name: str) -> str:
    """The kind of the device of that name (`cpu`, `cuda`, `mps`), without importing torch where no accelerator can be.

    What torch can use as one shows as a device node of its driver on Linux, and is always there on a Mac with Apple's
    processor (docs.pytorch.org/docs/stable/accelerator.html lists the kinds, seen 2026-11-24).
    """
    if name != "auto":
        return name.partition(":")[0]
    apple = platform.system() == "Darwin" and platform.machine() == "arm64"
    if apple or any(node for pattern in DEVICE_NODES for node in Path("/dev").glob(pattern)):
        return device(name).type
    return "cpu"
