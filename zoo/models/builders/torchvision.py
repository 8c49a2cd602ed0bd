"""torchvision's classification models; the only module that imports torchvision.

An entry is a model's name, with the name of its weights after a dot where they matter: `resnet50.IMAGENET1K_V2`.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatch
from typing import TYPE_CHECKING, Any

from zoo.errors import CannotCheck, UnknownName, WrongContent, nearest
from zoo.models.builders import Published

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
        hint = (
            f"did you mean {' or '.join(near)}?" if near else "`torchvision.models.list_models()` lists what there is"
        )
        raise WrongContent(f"torchvision has no classification model {entry!r}", hint=hint)
    for name in LOADS_BY_ITSELF:
        if name in options:
            raise WrongContent(
                f"the option {name!r} would load weights past the checks", hint="remove it; `weights` names the files"
            )
    arguments = {**AS_PUBLISHED.get(architecture, {}), **options}
    published = _published_weights(architecture, tag)
    try:
        module: nn.Module = models.get_model(architecture, weights=None, **arguments).eval()
    except (TypeError, ValueError, AssertionError, RuntimeError, KeyError, IndexError, AttributeError) as error:
        # What an architecture raises on options that do not fit is its own affair: any of these, in practice.
        raise WrongContent(
            f"torchvision cannot build {entry} with {dict(options)}: {error}", hint="correct the options"
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
    properties: dict[str, Any] = {"first_conv": stem}
    if head is not None and isinstance(head[1], nn.Linear):
        properties |= {"classifier": head[0], "num_classes": head[1].out_features, "num_features": head[1].in_features}
    elif head is not None and isinstance(head[1], nn.Conv2d):  # SqueezeNet's classifier
        properties |= {"classifier": head[0], "num_classes": head[1].out_channels, "num_features": head[1].in_channels}
    # ViT checks the size of its input; every other one takes any.
    properties["fixed_input_size"] = hasattr(module, "image_size")
    return {key: value for key, value in properties.items() if value is not None}


def versions() -> tuple[str, ...]:
    """The distributions whose versions can change what is built."""
    return ("torchvision", "torch")


def _published_weights(architecture: str, tag: str) -> Any:
    """The member of torchvision's weights enumeration that the tag names, else the default one; None where there are none."""
    models = _library()
    known = models.get_model_weights(architecture)
    if tag and tag not in known.__members__:
        near = nearest(tag, known.__members__)
        hint = f"did you mean {' or '.join(near)}?" if near else f"it has {', '.join(known.__members__)}"
        raise WrongContent(f"torchvision's {architecture} has no weights {tag!r}", hint=hint)
    return known[tag] if tag else getattr(known, "DEFAULT", None)


def _library() -> Any:
    try:
        from torchvision import models
    except ImportError as error:
        raise CannotCheck(f"torchvision cannot be imported: {error}", hint="pip install torchvision") from error
    return models


TASKS = {
    "detection": "object-detection",
    "segmentation": "image-segmentation",
    "video": "video-classification",
    "optical_flow": "optical-flow",
}
"""Tasks by the sub-package of torchvision.models that an architecture is in; it is image-classification in none of them."""


def published(pattern: str) -> list[Published]:
    """The weights whose `model.WEIGHTS`, or whose model, fits the pattern, with what their enum says of them.

    `_ops` are 1e9 multiply-adds, whatever their name, and `_file_size` is in MiB (torchvision 0.29, models/_meta.py and
    test/test_extended_models.py, seen 2026-11-24). Raises UnknownName when there is none.
    """
    models = _library()
    every = [(model, entry) for model in models.list_models() for entry in models.get_model_weights(model)]
    names = {f"{model}.{entry.name}": (model, entry) for model, entry in every}
    matching = [name for name, (model, _) in names.items() if fnmatch(name, pattern) or fnmatch(model, pattern)]
    if not matching:
        raise UnknownName("published model of torchvision", pattern, [*names, *(model for model, _ in every)])
    return [_describe_published(name, *names[name]) for name in matching]


def _describe_published(name: str, model: str, entry: Any) -> Published:
    meta = dict(entry.meta)
    module = str(_library().get_model_builder(model).__module__).removeprefix("torchvision.models.")
    card_input, other_fields = _preset(entry)
    operations, size = meta.pop("_ops", 0), meta.pop("_file_size", None)
    flops = {
        "flops": [
            {"value": round(operations * 1e9), "convention": "macs", "rounded_to": 1_000_000, "origin": "upstream"}
        ]
    }
    claims = {
        **({"params": {"value": meta.pop("num_params"), "origin": "upstream"}} if "num_params" in meta else {}),
        **(flops if operations > 0 else {}),
    }
    classes = meta.pop("categories", ())
    card: dict[str, Any] = {
        "task": TASKS.get(module.partition(".")[0], "image-classification"),
        "builder": {"library": "torchvision", "entry": name, **_options(model, card_input)},
        **({"class_names": list(classes)} if classes and len(classes) != IMAGENET_CLASSES else {}),
        **({"input": card_input} if card_input else {}),
        "weights": [{"file": entry.url.rpartition("/")[2], "format": "pickle", "urls": [entry.url], **_renames(model)}],
        **({"claims": claims} if claims else {}),
    }
    metrics = meta.pop("_metrics", {})
    extra = {
        **{key: _as_json(value) for key, value in meta.items()},
        **({"file_size_mib": size} if size else {}),
        **other_fields,
    }
    return Published(name, module.rpartition(".")[2], card, extra, metrics)


def _options(model: str, card_input: Mapping[str, Any]) -> dict[str, Any]:
    """A ViT has a table of positions for one size of image, 224 unless its weights are for another."""
    size = card_input["size"][1] if "size" in card_input else VIT_SIZE
    return {"options": {"image_size": size}} if model.startswith("vit_") and size != VIT_SIZE else {}


def _renames(model: str) -> dict[str, Any]:
    """GoogLeNet's file has the auxiliary heads that torchvision takes off after loading (see AS_PUBLISHED)."""
    return {"rename": [{"pattern": r"^aux[12]\."}]} if model == "googlenet" else {}


VIT_SIZE = 224
IMAGENET_CLASSES = 1000
"""The names of ImageNet's classes are the data set's, not every card's."""


def _preset(entry: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """(a card's input, what else the transforms say) of published weights."""
    preset = entry.transforms()
    crop, resize = getattr(preset, "crop_size", None), getattr(preset, "resize_size", None)
    if not (crop and resize and len(crop) == 1 and len(resize) == 1):
        return {}, {"transforms": type(preset).__name__}
    interpolation = str(getattr(preset.interpolation, "value", preset.interpolation))
    # Unrounded: the resized side is the crop divided by it, rounded down, and must not come out a pixel short.
    card_input = {"size": [3, crop[0], crop[0]], "interpolation": interpolation, "crop_pct": crop[0] / resize[0]}
    return {**card_input, "mean": list(preset.mean), "std": list(preset.std)}, {"resize_size": resize[0]}


def _as_json(value: Any) -> Any:
    """Tuples as lists, text without its indentation, what is no JSON value as text."""
    if isinstance(value, str):
        return " ".join(value.split())
    if isinstance(value, (list, tuple)):
        return [_as_json(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _as_json(item) for key, item in value.items()}
    return value if isinstance(value, (int, float, bool)) or value is None else str(value)
