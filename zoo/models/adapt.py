"""Adapt a model to another task: another classifier, another number of input channels, or feature maps instead of logits.

The builder of the card's library adapts the architecture, because it knows the library's classifiers and first
convolutions. The tensors come from the card's own model, into which the file was loaded strictly.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from zoo import plugins
from zoo.errors import CannotCheck, UsageError
from zoo.registry.card import Builder

if TYPE_CHECKING:
    from torch import Tensor, nn


MAX_NAMES = 3
"""The most tensors that a message names."""


@dataclass(frozen=True, slots=True)
class Adaptation:
    """How a model differs from its card's. A field that is None or False changes nothing.

    num_classes: the outputs of a new classifier with fresh weights, or 0 to remove the classifier, so that the model returns
    pooled features. in_chans: the channels of an input image. features_only: return a list of feature maps (batch,
    channels, height, width), the largest first, instead of logits. Raises UsageError for invalid values.
    """

    num_classes: int | None = None
    in_chans: int | None = None
    features_only: bool = False

    def __post_init__(self) -> None:
        if self.num_classes is not None and self.num_classes < 0:
            raise UsageError(f"num_classes is {self.num_classes}", hint="give 0 to remove the classifier, or more")
        if self.in_chans is not None and self.in_chans < 1:
            raise UsageError(f"in_chans is {self.in_chans}", hint="give 1 for grey images, 3 for RGB, or more")
        if self.features_only and self.num_classes is not None:
            hint = "omit one of them"
            raise UsageError("num_classes has no effect with features_only, which removes the classifier", hint=hint)

    @property
    def options(self) -> dict[str, int | bool]:
        """The fields that change something, by name. The names are those of timm's create_model."""
        fields = {
            "num_classes": self.num_classes,
            "in_chans": self.in_chans,
            "features_only": self.features_only or None,
        }
        return {name: value for name, value in fields.items() if value is not None}


UNCHANGED = Adaptation()


def adapt(builder: Builder, adaptation: Adaptation, state: Mapping[str, Tensor] | None = None) -> nn.Module:
    """Return the adapted architecture in eval mode.

    state: the state dict of the card's own model. All tensors but those of a new classifier come from it; all are fresh
    when it is None. Raises CannotCheck when the architecture cannot be adapted in this way.
    """
    library = plugins.load("builders", builder.library, where=str(builder.where["library"]))
    try:
        return library.adapt(builder.entry, builder.options, adaptation, state)
    except CannotCheck as error:
        raise CannotCheck(error.what, where=error.where or str(builder.where["entry"]), hint=error.hint) from error


def take_over(
    module: nn.Module,
    state: Mapping[str, Tensor],
    *,
    new_parts: Sequence[str] = (),
    original_name: Callable[[str], str] = lambda name: name,
) -> None:
    """Load the tensors of the card's own model into an adapted module.

    new_parts: submodules whose tensors keep their values when the state dict has none of that name and shape.
    original_name: returns the name in the state dict for a name in the module. Raises CannotCheck when the state dict has no
    tensor of that name and shape for another submodule.
    """
    own = module.state_dict()
    taken: dict[str, Tensor] = {}
    missing = []
    for name, value in own.items():
        loaded = state.get(original_name(name))
        if loaded is not None and loaded.shape == value.shape:
            taken[name] = loaded
        elif is_below(name, new_parts):
            taken[name] = value
        else:
            missing.append(name)
    if missing:
        names = ", ".join(missing[:MAX_NAMES]) + (", ..." if len(missing) > MAX_NAMES else "")
        many = (
            f"{len(missing)} tensors of the adapted model are"
            if len(missing) > 1
            else "a tensor of the adapted model is"
        )
        raise CannotCheck(f"{many} not in the weights: {names}", hint="create the model without this adaptation")
    module.load_state_dict(taken, strict=True)


def is_below(name: str, parts: Sequence[str]) -> bool:
    """Return whether the tensor of that name belongs to one of the submodules."""
    return any(name.startswith(f"{part}.") for part in parts)
