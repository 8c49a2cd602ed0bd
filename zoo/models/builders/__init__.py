"""The contract of a builder: one file per library that makes modules, and the only door to that library.

A builder turns a card's `builder` into a module and its `input` into a transform; it never fetches or loads weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor, nn


Transform = Callable[["Image"], "Tensor"]
"""An RGB image -> a float tensor (channels, height, width), normalised."""


@dataclass(frozen=True, slots=True)
class Published:
    """A model that a library publishes: its `name` with the tag of its weights, the `family` it is kept with, and what the
    library's own tables say of it, as fields of a card. `extra` has what a card has no field for, `metrics` values by data
    set and metric under the library's names, `notes` what was changed."""

    name: str
    family: str
    card: Mapping[str, Any]
    extra: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


class ModelBuilder(Protocol):
    """What a module in this folder offers."""

    def build(self, entry: str, options: Mapping[str, Any]) -> nn.Module:
        """The architecture with fresh weights, in eval mode, on torch's current default device.

        Raises WrongContent when the library has no such architecture or the options do not fit it, CannotCheck when
        the library is not installed.
        """

    def default_input(self, module: nn.Module) -> dict[str, Any]:
        """What the library says that the architecture takes, under the names of a card's `input`; empty if nothing."""

    def traits(self, module: nn.Module) -> Mapping[str, Any]:
        """What other loaders must know of a module, as JSON values: `num_classes`, `num_features`, `global_pool`,
        `first_conv`, `classifier` (names of its parts), `fixed_input_size`; without those that it does not have.
        """

    def versions(self) -> tuple[str, ...]:
        """The distributions whose versions can change what `build` makes."""
