"""torchvision's classification models; the only module that imports torchvision.

An entry is a model's name, with the name of its weights after a dot where they matter: `resnet50.IMAGENET1K_V2`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from zoo.errors import CannotCheck, WrongContent, nearest

if TYPE_CHECKING:
    from torch import nn

LOADS_BY_ITSELF = ("weights", "weights_backbone", "pretrained", "progress")
"""Arguments of torchvision's builders that make them fetch files: a card may not ask for that."""

AS_PUBLISHED: Mapping[str, Mapping[str, Any]] = {
    "googlenet": {"aux_logits": False, "transform_input": True, "init_weights": False},
    "inception_v3": {"transform_input": True, "init_weights": False},
}
"""What torchvision's own builders change in an architecture as soon as weights are asked for, which would be lost here: the
published weights of both expect another normalisation, and GoogLeNet is published without its untrained auxiliary heads
(torchvision/models/googlenet.py and inception.py, 0.29, seen 2026-11-24). A card's options come before these."""


def build(entry: str, options: Mapping[str, Any]) -> nn.Module:
    """The architecture `entry` with fresh weights, as torchvision publishes it, in eval mode.

    Raises WrongContent when torchvision has no such classification model or the options do not fit it, CannotCheck when
    torchvision is not installed.
    """
    models = _library()
    architecture, _, tag = entry.partition(".")
    known = models.list_models(module=models)
    if architecture not in known:
        near = nearest(architecture, known)
        mend = (
            f"did you mean {' or '.join(near)}?" if near else "`torchvision.models.list_models()` lists what there is"
        )
        raise WrongContent(f"torchvision has no classification model {entry!r}", mend=mend)
    for name in LOADS_BY_ITSELF:
        if name in options:
            raise WrongContent(
                f"the option {name!r} would load weights past the checks", mend="remove it; `weights` names the files"
            )
    taken = {**AS_PUBLISHED.get(architecture, {}), **options}
    published = _published(architecture, tag)
    try:
        module: nn.Module = models.get_model(architecture, weights=None, **taken).eval()
    except (TypeError, ValueError, AssertionError, RuntimeError, KeyError, IndexError, AttributeError) as error:
        # What an architecture raises on options that do not fit is its own affair: any of these, in practice.
        raise WrongContent(
            f"torchvision cannot build {entry} with {dict(options)}: {error}", mend="correct the options"
        ) from error
    module.published = published  # a plain attribute, as timm's pretrained_cfg is one
    return module


def default_input(module: nn.Module) -> dict[str, Any]:
    """What torchvision says that the weights of the entry take, or else the architecture's default weights.

    crop_pct is the crop divided by the resized side: all of torchvision's classification presets resize the shorter side,
    then crop the centre (torchvision/transforms/_presets.py, ImageClassification).
    """
    published: Any = getattr(module, "published", None)
    if published is None:
        return {}
    preset = published.transforms()
    crop, resized = preset.crop_size[0], preset.resize_size[0]
    return {
        "size": [len(preset.mean), crop, crop],
        "interpolation": preset.interpolation.value,
        "crop_pct": crop / resized,
        "mean": list(preset.mean),
        "std": list(preset.std),
    }


def traits(module: nn.Module) -> dict[str, Any]:
    """What other loaders must know: the number of classes, the features before them, and where head and stem are."""
    from torch import nn

    layers = [(name, layer) for name, layer in module.named_modules() if isinstance(layer, (nn.Linear, nn.Conv2d))]
    stem = next((name for name, layer in layers if isinstance(layer, nn.Conv2d)), None)
    head = next(((name, layer) for name, layer in reversed(layers) if "aux" not in name.lower()), None)
    found: dict[str, Any] = {"first_conv": stem}
    if head is not None and isinstance(head[1], nn.Linear):
        found |= {"classifier": head[0], "num_classes": head[1].out_features, "num_features": head[1].in_features}
    elif head is not None and isinstance(head[1], nn.Conv2d):  # SqueezeNet's classifier
        found |= {"classifier": head[0], "num_classes": head[1].out_channels, "num_features": head[1].in_channels}
    # ViT checks the size of its input; every other one takes any.
    found["fixed_input_size"] = hasattr(module, "image_size")
    return {key: value for key, value in found.items() if value is not None}


def versions() -> tuple[str, ...]:
    """The distributions whose versions can change what is built."""
    return ("torchvision", "torch")


def _published(architecture: str, tag: str) -> Any:
    """The member of torchvision's weights enumeration that the tag names, else the default one; None where there are none."""
    models = _library()
    known = models.get_model_weights(architecture)
    if tag and tag not in known.__members__:
        near = nearest(tag, known.__members__)
        mend = f"did you mean {' or '.join(near)}?" if near else f"it has {', '.join(known.__members__)}"
        raise WrongContent(f"torchvision's {architecture} has no weights {tag!r}", mend=mend)
    return known[tag] if tag else getattr(known, "DEFAULT", None)


def _library() -> Any:
    try:
        from torchvision import models
    except ImportError as error:
        raise CannotCheck(f"torchvision cannot be imported: {error}", mend="pip install torchvision") from error
    return models
