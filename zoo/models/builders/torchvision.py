"""Classification models of torchvision. No other module imports torchvision.

An entry is a model's name, optionally followed by a dot and the name of its weights: `resnet50.IMAGENET1K_V2`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from fnmatch import fnmatch
from math import log2
from typing import TYPE_CHECKING, Any

from zoo.errors import CannotCheck, UnknownName, WrongContent, did_you_mean, nearest
from zoo.models.adapt import Adaptation, take_over
from zoo.models.builders import Published, timm, with_options

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


LOADS_WEIGHTS = ("weights", "weights_backbone", "pretrained", "progress")
"""Arguments of torchvision's functions that make them download files, which a card's options must not do."""
AS_PUBLISHED: Mapping[str, Mapping[str, Any]] = {
    "googlenet": {"aux_logits": False, "transform_input": True, "init_weights": False},
    "inception_v3": {"transform_input": True, "init_weights": False},
}
"""Options that torchvision's own functions set when they are called with weights, and that zoo therefore sets itself: the
published weights of both expect another normalisation, and GoogLeNet is published without its untrained auxiliary heads
(torchvision/models/googlenet.py and inception.py, 0.29, seen 2026-11-24). A card's options override these."""
MAX_HALVINGS = 5
"""The side of a feature map is a half to a thirty-second of the image's, as in timm's feature extractors."""


def build(entry: str, options: Mapping[str, Any]) -> nn.Module:
    """Build the architecture `entry` with fresh weights, as torchvision publishes it, in eval mode.

    Raises WrongContent when torchvision has no such classification model or the options do not fit it, CannotCheck when
    torchvision is not installed.
    """
    models = _library()
    architecture, _, tag = entry.partition(".")
    known = models.list_models(module=models)
    if architecture not in known:
        hint = did_you_mean(nearest(architecture, known), "call `torchvision.models.list_models()` for the names")
        raise WrongContent(f"torchvision has no classification model {entry!r}", hint=hint)
    for name in LOADS_WEIGHTS:
        if name in options:
            what = f"the option {name!r} would load weights that zoo does not verify"
            raise WrongContent(what, hint="remove the option; list the files under `weights`")
    arguments = {**AS_PUBLISHED.get(architecture, {}), **options}
    published = _published_weights(architecture, tag)
    try:
        module: nn.Module = models.get_model(architecture, weights=None, **arguments).eval()
    except (TypeError, ValueError, AssertionError, RuntimeError, KeyError, IndexError, AttributeError) as error:
        # An architecture may raise any of these for options that do not fit.
        what = f"torchvision cannot build {entry}{with_options(options)}: {error}"
        raise WrongContent(what, hint="correct `options`") from error
    module.published = published  # a plain attribute, like timm's pretrained_cfg
    return module


def adapt(
    entry: str, options: Mapping[str, Any], adaptation: Adaptation, state: Mapping[str, Tensor] | None = None
) -> nn.Module:
    """Build the architecture, load `state` if given, and replace classifier, first convolution or outputs, in eval mode.

    Raises CannotCheck for in_chans when the network normalises three channels itself, and for features_only when it has
    no feature maps of several sizes.
    """
    from torch import nn

    classes = {"num_classes": adaptation.num_classes} if adaptation.num_classes else {}
    module = build(entry, {**options, **classes})
    parts = traits(module)
    if state is not None:
        auxiliary = [name for name, _ in module.named_children() if "aux" in name.lower()]
        take_over(module, state, new_parts=[parts["classifier"], *auxiliary] if classes else [])
    if adaptation.num_classes == 0:
        module.set_submodule(parts["classifier"], nn.Identity())
    if adaptation.in_chans is not None:
        _change_channels(module, entry, parts["first_conv"], adaptation.in_chans, has_weights=state is not None)
    return _feature_maps(module, entry) if adaptation.features_only else module


def _change_channels(module: nn.Module, entry: str, first_conv: str, in_chans: int, *, has_weights: bool) -> None:
    """Replace the first convolution with one for images of in_chans channels."""
    from torch import nn

    old: Any = module.get_submodule(first_conv)
    if in_chans == old.in_channels:
        return
    if getattr(module, "transform_input", False):
        what = f"{entry} normalises the three channels of its input itself"
        raise CannotCheck(what, hint="omit in_chans")
    shape = (in_chans, old.out_channels, old.kernel_size, old.stride, old.padding, old.dilation, old.groups)
    new = nn.Conv2d(*shape, bias=old.bias is not None, padding_mode=old.padding_mode)
    if has_weights:
        weight = timm.adapt_input_weight(old.weight.detach(), in_chans, old.in_channels)
        new.load_state_dict({**old.state_dict(), "weight": weight})
    module.set_submodule(first_conv, new)


def _feature_maps(module: nn.Module, entry: str) -> nn.Module:
    """Return a module whose output is a list of feature maps: the last one of each size, the largest first.

    Raises CannotCheck when the network has fewer than two.
    """
    from torchvision.models.feature_extraction import create_feature_extractor

    layers = _last_layers(module)
    if len(layers) < 2:
        what = f"{entry} has no layers with feature maps (batch, channels, height, width) of several sizes"
        raise CannotCheck(what, hint="use num_classes=0, which returns one feature vector for each image")
    extractor: Any = create_feature_extractor(module, return_nodes=layers)
    for graph in (extractor.train_graph, extractor.eval_graph):
        output = next(node for node in graph.nodes if node.op == "output")
        output.args = (list(output.args[0].values()),)  # a list, as timm's extractors return, instead of a dict
    extractor.recompile()
    features: nn.Module = extractor.eval()
    return features


def _last_layers(module: nn.Module) -> list[str]:
    """Return the names of the layers whose output is the last feature map of a size, the largest map first.

    Only the top two levels of layers count, because deeper ones are parts of a block. A copy of the network runs on the
    meta device.
    """
    import torch

    parts, side = traits(module), _image_side(module)
    head = parts["classifier"].partition(".")[0]
    network, shapes = deepcopy(module).to("meta"), list[tuple[str, torch.Size]]()
    for name, layer in network.named_modules():
        if name and name.count(".") < 2 and name.partition(".")[0] != head:
            layer.register_forward_hook(_note_shape(name, shapes))
    with torch.inference_mode():
        network(torch.empty(1, _channels(module, parts["first_conv"]), side, side, device="meta"))
    last: dict[int, str] = {}
    for name, shape in shapes:
        if len(shape) == 4 and shape[2] == shape[3]:
            halvings = round(log2(side / shape[2]))  # rounded, because networks without padding lose a few pixels
            if 1 <= halvings <= MAX_HALVINGS:
                last[halvings] = name
    return [last[halvings] for halvings in sorted(last)]


def _note_shape(name: str, shapes: list[tuple[str, torch.Size]]) -> Callable[[nn.Module, Any, Any], None]:
    """Return a forward hook that records the shape of a layer's output, if it is one tensor."""

    def note(layer: nn.Module, inputs: Any, output: Any) -> None:
        shape = getattr(output, "shape", None)
        if shape is not None:
            shapes.append((name, shape))

    return note


def _channels(module: nn.Module, first_conv: str) -> int:
    layer: Any = module.get_submodule(first_conv)
    return int(layer.in_channels)


def _image_side(module: nn.Module) -> int:
    size: int = default_input(module).get("size", (3, VIT_SIZE, VIT_SIZE))[1]
    return int(getattr(module, "image_size", size))


def default_input(module: nn.Module) -> dict[str, Any]:
    """Return the preprocessing of the entry's weights, or else of the architecture's default weights.

    crop_pct is the crop divided by the resized side, because all of torchvision's presets for classification resize the
    shorter side and then crop the centre (torchvision/transforms/_presets.py, ImageClassification).
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
    """Return what other loaders need to know: the numbers of classes and of features, and the names of head and stem."""
    from torch import nn

    layers = [(name, layer) for name, layer in module.named_modules() if isinstance(layer, (nn.Linear, nn.Conv2d))]
    stem = next((name for name, layer in layers if isinstance(layer, nn.Conv2d)), None)
    head = next(((name, layer) for name, layer in reversed(layers) if "aux" not in name.lower()), None)
    properties: dict[str, Any] = {"first_conv": stem}
    if head is not None and isinstance(head[1], nn.Linear):
        properties |= {"classifier": head[0], "num_classes": head[1].out_features, "num_features": head[1].in_features}
    elif head is not None and isinstance(head[1], nn.Conv2d):  # SqueezeNet's classifier
        properties |= {"classifier": head[0], "num_classes": head[1].out_channels, "num_features": head[1].in_channels}
    # Only ViT checks the size of its input.
    properties["fixed_input_size"] = hasattr(module, "image_size")
    return {key: value for key, value in properties.items() if value is not None}


def versions() -> tuple[str, ...]:
    """Return the distributions whose versions can change what is built."""
    return ("torchvision", "torch")


def source_sha256(entry: str) -> None:
    """Return None, because the versions of the distributions identify their source."""


def _published_weights(architecture: str, tag: str) -> Any:
    """Return the member of torchvision's weights enumeration that the tag names; without a tag the default one, or None."""
    models = _library()
    known = models.get_model_weights(architecture)
    if tag and tag not in known.__members__:
        hint = did_you_mean(nearest(tag, known.__members__), f"write one of {', '.join(known.__members__)}")
        raise WrongContent(f"torchvision's {architecture} has no weights {tag!r}", hint=hint)
    return known[tag] if tag else getattr(known, "DEFAULT", None)


def _library() -> Any:
    try:
        from torchvision import models
    except ImportError as error:
        raise CannotCheck(f"torchvision cannot be imported: {error}", hint="run `pip install torchvision`") from error
    return models


TASKS = {
    "detection": "object-detection",
    "segmentation": "image-segmentation",
    "video": "video-classification",
    "optical_flow": "optical-flow",
}
"""Tasks by the sub-package of torchvision.models; the task of all other architectures is image-classification."""


def published(pattern: str) -> list[Published]:
    """Return the weights whose `model.WEIGHTS`, or whose model, matches the pattern, with the metadata of their enumeration.

    `_ops` is in 1e9 multiply-adds and `_file_size` in MiB (torchvision 0.29, models/_meta.py and
    test/test_extended_models.py, seen 2026-11-24). Raises UnknownName when nothing matches.
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
    """Return the `options` of a ViT whose weights are not for images of 224: its position table has a fixed size."""
    size = card_input["size"][1] if "size" in card_input else VIT_SIZE
    return {"options": {"image_size": size}} if model.startswith("vit_") and size != VIT_SIZE else {}


def _renames(model: str) -> dict[str, Any]:
    """Return the `rename` that drops GoogLeNet's auxiliary heads, which torchvision removes after loading (see AS_PUBLISHED)."""
    return {"rename": [{"pattern": r"^aux[12]\."}]} if model == "googlenet" else {}


VIT_SIZE = 224
IMAGENET_CLASSES = 1000
"""A card with ImageNet's classes does not list their names: the card of the data set does."""


def _preset(entry: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a card's input for published weights, and the fields of their transforms that it cannot express."""
    preset = entry.transforms()
    crop, resize = getattr(preset, "crop_size", None), getattr(preset, "resize_size", None)
    if not (crop and resize and len(crop) == 1 and len(resize) == 1):
        return {}, {"transforms": type(preset).__name__}
    interpolation = str(getattr(preset.interpolation, "value", preset.interpolation))
    # Unrounded: the resized side is the crop divided by it, rounded down, and must not come out a pixel short.
    card_input = {"size": [3, crop[0], crop[0]], "interpolation": interpolation, "crop_pct": crop[0] / resize[0]}
    return {**card_input, "mean": list(preset.mean), "std": list(preset.std)}, {"resize_size": resize[0]}


def _as_json(value: Any) -> Any:
    """Return the value as JSON has it: lists for tuples, text without indentation, any other object as text."""
    if isinstance(value, str):
        return " ".join(value.split())
    if isinstance(value, (list, tuple)):
        return [_as_json(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _as_json(item) for key, item in value.items()}
    return value if isinstance(value, (int, float, bool)) or value is None else str(value)
