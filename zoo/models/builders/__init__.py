"""Define the contract of a builder: one module per library that has architectures, the only one that imports the library.

A builder turns a card's `builder` into a torch module. It never downloads or loads weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor, nn

    from zoo.models.adapt import Adaptation


Transform = Callable[["Image"], "Tensor"]
"""A function from an image of any mode to a normalised float tensor (channels, height, width)."""


@dataclass(frozen=True, slots=True)
class Published:
    """A model that a library publishes.

    name: with the tag of its weights; family: the module that the library keeps it in; card: the library's metadata as
    fields of a card; extra: metadata that a card has no field for; metrics: values by data set and metric, under the
    library's names; notes: what was changed.
    """

    name: str
    family: str
    card: Mapping[str, Any]
    extra: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def with_options(options: Mapping[str, Any]) -> str:
    """Return the options as a part of a message: ` with num_classes=10, depth=50`, empty without options."""
    return f" with {', '.join(f'{name}={value}' for name, value in options.items())}" if options else ""


class ModelBuilder(Protocol):
    """What a module in this folder offers."""

    def build(self, entry: str, options: Mapping[str, Any]) -> nn.Module:
        """Return the architecture with fresh weights, in eval mode, on torch's current default device.

        Raises WrongContent when the library has no such architecture or the options do not fit it, CannotCheck when
        the library is not installed.
        """

    def adapt(
        self,
        entry: str,
        options: Mapping[str, Any],
        adaptation: Adaptation,
        state: Mapping[str, Tensor] | None = None,
    ) -> nn.Module:
        """Return the adapted architecture in eval mode, with the tensors of `state`, or fresh ones.

        state: the state dict of the unadapted architecture. Raises CannotCheck when the architecture cannot be adapted
        in that way.
        """

    def default_input(self, module: nn.Module) -> dict[str, Any]:
        """Return the library's preprocessing for the architecture, by the names of a card's `input`; empty if it has none."""

    def traits(self, module: nn.Module) -> Mapping[str, Any]:
        """Return what other loaders need to know of a module, as JSON values; a trait that it does not have is missing.

        The traits are `num_classes`, `num_features`, `global_pool`, `fixed_input_size`, and the names of the submodules
        `first_conv` and `classifier`.
        """

    def versions(self) -> tuple[str, ...]:
        """Return the distributions whose versions can change what `build` returns."""

    def source_sha256(self, entry: str) -> str | None:
        """Return a digest of source code that `versions` do not cover; None when they cover all of it."""
