"""Measure one card: Settings say what a run may do, and a Subject does each costly step once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.errors import NotHere, ZooError
from zoo.models import facts
from zoo.models.build import build_model, choose_device, load_model, refuse_code
from zoo.models.facts import Fact, FactCheck
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

    limit: the maximum number of images, drawn with `seed`; None for all. early_stop: stop as soon as the claim is refuted.
    level: the probability of refuting a claim that is right. precision: `fp32`, `bf16` or `fp16`. batch_size: images in
    a batch; None to choose it for the device. max_age_days: the age from which facts are measured again. engine, options:
    where the parts of one evaluation run.
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
    """What a run may do.

    fetch: download weights. device: `auto`, `cpu`, `cuda:0`, `mps`. data: this machine's copies of data sets, by name.
    refresh: measure cached facts again. allow_code: run the factories that cards name (`builder: {library: python}`).
    remote: ask servers for the size and header of files. on_progress: called in this process with each event of a long
    measurement. may_measure: build, load and evaluate models in this process, which only workers do.
    """

    fetch: bool = False
    device: str = "auto"
    data: Mapping[str, Path] = field(default_factory=dict)
    refresh: bool = False
    evaluation: Evaluation = Evaluation()
    allow_code: bool = False
    remote: bool = False
    may_measure: bool = True
    on_progress: Callable[[Any], None] | None = field(default=None, compare=False, repr=False)


class NotMeasured(Exception):
    """Something is not known and would have to be measured, which the settings do not allow in this process.

    It is not a ZooError: it says nothing about the card, and only the code that asks a worker catches it.
    """


@dataclass(frozen=True, slots=True)
class KnownFiles:
    """What was measured of a card's files, and what servers said about them, by the file's name in the card."""

    artifacts: Mapping[str, Artifact]
    remote: Mapping[str, RemoteFile | ZooError]


@dataclass(frozen=True)
class Subject:
    """A card that is being measured. Files are hashed, modules built and weights loaded at most once, on first use."""

    member: Member
    settings: Settings
    _artifacts: dict[str, Artifact] = field(default_factory=dict, repr=False, compare=False)
    _remote: dict[str, RemoteFile | ZooError] = field(default_factory=dict, repr=False, compare=False)

    @property
    def card(self) -> Card:
        """The card that is measured."""
        return self.member.card

    @property
    def catalog(self) -> Catalog:
        """The catalogue that contains the card."""
        return self.member.catalog

    @property
    def builder(self) -> Builder:
        """How the architecture is built; raises NotHere when the card has no builder or its code is not allowed to run."""
        builder = self.card.required_builder
        refuse_code(builder, allow_code=self.settings.allow_code)
        return builder

    @property
    def input(self) -> Input:
        """The model's input; raises NotHere when the card has no input size."""
        return self.card.required_input

    @property
    def input_size(self) -> tuple[int, int, int]:
        """The input's (channels, height, width); raises NotHere when the card has no input size."""
        channels, height, width = self.input.size or ()
        return (channels, height, width)

    def fact(self, key: str, measure: Callable[[], Fact], check: FactCheck) -> Fact:
        """Return the cached fact, or measure and cache it; with `settings.refresh` it is always measured.

        Raises NotMeasured when it would have to be measured and the settings do not allow that.
        """

        def measure_if_allowed() -> Fact:
            self.require_measuring()
            return measure()

        return facts.recall_or_measure(key, measure_if_allowed, check, refresh=self.settings.refresh)

    def require_measuring(self) -> None:
        """Raise NotMeasured unless the settings allow measuring in this process."""
        if not self.settings.may_measure:
            raise NotMeasured

    def artifact(self, weights: Weights) -> Artifact:
        """Return the measured file, even when it differs from the card.

        Raises NotHere when it is not on this machine and may not be downloaded, TransferFailed or WrongContent when the
        download fails.
        """
        if weights.file not in self._artifacts:
            self._artifacts[weights.file] = self._measure(weights)
        return self._artifacts[weights.file]

    def remote_file(self, weights: Weights) -> RemoteFile:
        """Return what the file's server says of it; the server is asked once. Raises as `remote.look` does."""
        if weights.file not in self._remote:
            try:
                self._remote[weights.file] = remote.look(weights)
            except ZooError as error:  # kept, so that the server is not asked again
                self._remote[weights.file] = error
        answer = self._remote[weights.file]
        if isinstance(answer, ZooError):
            raise answer
        return answer

    @property
    def measured_files(self) -> tuple[Artifact, ...]:
        """The files that are already measured, in the card's order."""
        return tuple(self._artifacts[item.file] for item in self.card.weights if item.file in self._artifacts)

    @property
    def known_files(self) -> KnownFiles:
        """What is known of the files so far: for a Subject of the same card in another process."""
        return KnownFiles(dict(self._artifacts), dict(self._remote))

    def learn(self, known: KnownFiles) -> None:
        """Take over what another process knows of the files, so that both use the same ones."""
        self._artifacts.update(known.artifacts)
        self._remote.update(known.remote)

    def _measure(self, weights: Weights) -> Artifact:
        path = store.locate(self.card, weights)
        if path is not None:
            return store.measure(weights, path, refresh=self.settings.refresh)
        if not self.settings.fetch and weights.urls:
            raise NotHere(
                f"{weights.file} is not on this machine", where=str(weights.where), hint=f"zoo fetch {self.card.name}"
            )
        return store.fetch(self.card, weights)

    @cached_property
    def meta(self) -> nn.Module:
        """The architecture on the meta device, in eval mode: it has shapes, but no values."""
        from zoo.models.meta import meta_build

        self.require_measuring()
        with meta_build():
            return build_model(self.builder, allow_code=self.settings.allow_code)

    def load_weights(self, weights: Weights) -> nn.Module:
        """Return the model with the file's weights, strictly loaded, in eval mode, on the settings' device."""
        self.require_measuring()
        module = load_model(self.builder, self.artifact(weights), weights.rename, allow_code=self.settings.allow_code)
        return module.to(choose_device(self.settings.device))

    @cached_property
    def model(self) -> nn.Module:
        """The model with the card's preferred weights, on the settings' device."""
        return self.load_weights(self.card.preferred_weights)
