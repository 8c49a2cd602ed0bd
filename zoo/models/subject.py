"""Hold what is measured about one card: Settings say what may be done, Subject does each costly thing once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.errors import NotHere, ZooError
from zoo.models.build import build_model, choose_device, load_model, refuse_code
from zoo.registry.card import Builder, Card, Input, Weights
from zoo.registry.catalog import Catalog, Member
from zoo.runtime.engines import Options
from zoo.weights import remote, store
from zoo.weights.remote import RemoteFile
from zoo.weights.store import Artifact

if TYPE_CHECKING:
    from torch import nn


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

    on_progress: called with each event of a long measurement, in this process only. allow_code: run the factories that
    cards name (`builder: {library: python}`). remote: ask the servers of files what they say of them.
    """

    fetch: bool = False
    device: str = "auto"
    data: Mapping[str, Path] = field(default_factory=dict)
    refresh: bool = False
    evaluation: Evaluation = Evaluation()
    allow_code: bool = False
    remote: bool = False
    on_progress: Callable[[Any], None] | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Subject:
    """One card under examination. Files are measured, modules built and weights loaded at most once, when first used."""

    member: Member
    settings: Settings
    _artifacts: dict[str, Artifact] = field(default_factory=dict, repr=False, compare=False)
    _remote: dict[str, RemoteFile | ZooError] = field(default_factory=dict, repr=False, compare=False)

    @property
    def card(self) -> Card:
        """The card that is examined."""
        return self.member.card

    @property
    def catalog(self) -> Catalog:
        """The catalogue that the card belongs to."""
        return self.member.catalog

    @property
    def builder(self) -> Builder:
        """How the card's architecture is built; raises NotHere when the card does not say, or it needs a permission."""
        if self.card.builder is None:
            raise NotHere(
                "the card names no builder",
                where=str(self.card.where),
                hint="add `builder: {library: timm, entry: ...}`",
            )
        refuse_code(self.card.builder, allow_code=self.settings.allow_code)
        return self.card.builder

    @property
    def input(self) -> Input:
        """What the model takes; raises NotHere when the card does not say."""
        if self.card.input is None or self.card.input.size is None:
            raise NotHere(
                "the card has no input size", where=str(self.card.where), hint="add `input: {size: [3, 224, 224]}`"
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

    def remote_file(self, weights: Weights) -> RemoteFile:
        """What the file's server says of it, asked once; raises as `remote.look` does."""
        if weights.file not in self._remote:
            try:
                self._remote[weights.file] = remote.look(weights)
            except ZooError as error:  # one answer to all questions, also where there is none
                self._remote[weights.file] = error
        answer = self._remote[weights.file]
        if isinstance(answer, ZooError):
            raise answer
        return answer

    @property
    def measured_files(self) -> tuple[Artifact, ...]:
        """The files that were measured so far, in the card's order."""
        return tuple(self._artifacts[item.file] for item in self.card.weights if item.file in self._artifacts)

    def _measure(self, weights: Weights) -> Artifact:
        path = store.locate(self.card, weights)
        if path is not None:
            return store.measure(weights, path)
        if not self.settings.fetch and weights.urls:
            raise NotHere(
                f"{weights.file} is not on this machine", where=str(weights.where), hint=f"zoo fetch {self.card.name}"
            )
        return store.fetch(self.card, weights)

    @cached_property
    def meta(self) -> nn.Module:
        """The architecture on the meta device, in eval mode: shapes and no memory."""
        from zoo.models.meta import meta_build

        with meta_build():
            return build_model(self.builder, allow_code=self.settings.allow_code)

    def load_weights(self, weights: Weights) -> nn.Module:
        """The model with the file's weights, strictly loaded, in eval mode, on the settings' device."""
        module = load_model(self.builder, self.artifact(weights), weights.rename, allow_code=self.settings.allow_code)
        return module.to(choose_device(self.settings.device))

    @cached_property
    def model(self) -> nn.Module:
        """The model with the card's preferred weights, on the settings' device."""
        if not self.card.weights:
            raise NotHere("the card lists no weights", where=str(self.card.where), hint="add `weights: [{file: ...}]`")
        return self.load_weights(self.card.weights[0])
