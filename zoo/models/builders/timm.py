"""Architectures of timm, and its preprocessing for evaluation. No other module imports timm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from zoo.errors import CannotCheck, UnknownName, WrongContent, did_you_mean, nearest
from zoo.models.adapt import Adaptation, take_over
from zoo.models.builders import Published, Transform, with_options
from zoo.models.images import to_rgb
from zoo.registry.card import Input

if TYPE_CHECKING:
    from torch import Tensor, nn


LOADS_WEIGHTS = ("pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir")
"""Arguments of timm.create_model that make it download or read files, which a card's options must not do."""


def build(entry: str, options: Mapping[str, Any]) -> nn.Module:
    """Build the architecture `entry` with fresh weights, in eval mode; a tag after a dot is ignored.

    Raises WrongContent when timm has no such architecture or the options do not fit it.
    """
    import timm

    architecture = entry.partition(".")[0]
    if not timm.is_model(architecture):
        hint = did_you_mean(nearest(architecture, timm.list_models()), "call `timm.list_models()` for the names")
        raise WrongContent(f"timm {timm.__version__} has no architecture {entry!r}", hint=hint)
    for name in LOADS_WEIGHTS:
        if name in options:
            what = f"the option {name!r} would load weights that zoo does not verify"
            raise WrongContent(what, hint="remove the option; list the files under `weights`")
    try:
        return timm.create_model(architecture, pretrained=False, **_tuples(options)).eval()
    except (TypeError, ValueError, AssertionError, RuntimeError, KeyError, IndexError, AttributeError) as error:
        # An architecture may raise any of these for options that do not fit.
        what = f"timm cannot build {entry}{with_options(options)}: {error}"
        raise WrongContent(what, hint="correct `options`") from error


def adapt(
    entry: str, options: Mapping[str, Any], adaptation: Adaptation, state: Mapping[str, Tensor] | None = None
) -> nn.Module:
    """Build the architecture with timm's arguments for the adaptation, in eval mode, and load `state` if given.

    Feature maps come from timm's own extractor, which has `feature_info`. Raises CannotCheck when timm cannot adapt the
    architecture in this way, or when tensors outside of a new classifier would keep fresh values.
    """
    try:
        module = build(entry, {**options, **adaptation.options})
    except WrongContent as error:
        build(entry, options)  # raises when the entry or the card's own options are wrong
        raise CannotCheck(error.what, hint=f"create the model without {' and '.join(adaptation.options)}") from error
    config: Any = module.pretrained_cfg
    first_convs = _named_parts(config, "first_conv")
    if adaptation.in_chans is not None and not first_convs:
        raise CannotCheck(f"timm does not name the first convolution of {entry}", hint="omit in_chans")
    if state is None:
        return module
    adapted = dict(state)
    if adaptation.in_chans is not None:
        channels = options.get("in_chans", config["input_size"][0])
        for name in first_convs:
            adapted[f"{name}.weight"] = adapt_input_weight(state[f"{name}.weight"], adaptation.in_chans, channels)
    take_over(
        module,
        adapted,
        new_parts=() if adaptation.num_classes is None else _named_parts(config, "classifier"),
        original_name=lambda name: _name_before_extraction(name, state) if adaptation.features_only else name,
    )
    return module


def adapt_input_weight(weight: Tensor, in_chans: int, channels: int = 3) -> Tensor:
    """Return the weight of a first convolution (out, channels, height, width) for images of in_chans channels.

    For one channel, the weights of all channels are added. For more, they are repeated and scaled by channels / in_chans.
    Source: adapt_input_conv in timm/models/_manipulate.py (1.0.31). Raises CannotCheck when this is not possible, for
    example for a linear first layer.
    """
    from timm.models import adapt_input_conv

    try:
        return adapt_input_conv(in_chans, weight, base_chans=channels)
    except (NotImplementedError, AssertionError) as error:
        shape = "x".join(map(str, weight.shape))
        what = f"timm cannot adapt a first layer of shape {shape} from {channels} to {in_chans} channels"
        raise CannotCheck(what, hint="omit in_chans") from error


def _named_parts(config: Mapping[str, Any], key: str) -> tuple[str, ...]:
    """Return the names of submodules in a field of timm's configuration, which has one name, several or none."""
    named = config.get(key)
    return (named,) if isinstance(named, str) else tuple(named or ())


def _name_before_extraction(name: str, state: Mapping[str, Tensor]) -> str:
    """Return the name in the whole model of a tensor of timm's feature extractor.

    An extractor keeps the names, adds the prefix `model` or `body`, or flattens a top-level nn.Sequential, which renames
    `features.3` to `features_3` (FeatureGetterNet, FeatureHookNet and FeatureListNet in timm/models/_features.py, 1.0.31).
    """
    top, _, rest = name.partition(".")
    flattened = (f"{top[:at]}.{top[at + 1 :]}.{rest}" for at, character in enumerate(top) if character == "_")
    return next((known for known in (name, rest, *flattened) if known in state), name)


def traits(module: nn.Module) -> dict[str, Any]:
    """Return what the loaders of timm and transformers read from config.json and the card does not have.

    A submodule is named only if the module has it: timm's configuration may have names from another version.
    """
    config: Any = getattr(module, "pretrained_cfg", {})
    parts = {name for name, _ in module.named_modules()}
    properties: dict[str, Any] = {name: getattr(module, name, None) for name in ("num_classes", "num_features")}
    properties["global_pool"] = getattr(getattr(module, "global_pool", None), "pool_type", None)
    for key in ("first_conv", "classifier"):
        names = _named_parts(config, key)
        properties[key] = config[key] if names and parts.issuperset(names) else None
    properties["fixed_input_size"] = bool(config.get("fixed_input_size", False))
    return {key: value for key, value in properties.items() if isinstance(value, (bool, int, str, list, tuple))}


def versions() -> tuple[str, ...]:
    """Return the distributions whose versions can change what is built."""
    return ("timm", "torch")


def source_sha256(entry: str) -> None:
    """Return None, because the versions of the distributions identify their source."""


def transform(card_input: Input) -> Transform:
    """Return timm's transform for evaluation, from an image of any mode to a normalised float tensor (channels, height, width).

    Values that the card does not have are timm's defaults: bilinear, crop 0.875, ImageNet's mean and std
    (timm/data/constants.py).
    """
    from timm.data.config import resolve_data_config
    from timm.data.transforms_factory import create_transform

    fields = {
        "input_size": card_input.size,
        "interpolation": card_input.interpolation,
        "crop_pct": card_input.crop_pct,
        "crop_mode": card_input.crop_mode,
        "mean": card_input.mean,
        "std": card_input.std,
    }
    resolve: Any = resolve_data_config  # timm has no annotations there
    config = resolve(pretrained_cfg={key: value for key, value in fields.items() if value is not None})
    composed: Any = create_transform(**config, is_training=False)
    composed.transforms.insert(0, to_rgb)
    return cast(Transform, composed)


def default_input(module: nn.Module) -> dict[str, Any]:
    """Return the preprocessing that timm's configuration has, by the names of a card's `input`."""
    config: dict[str, Any] = getattr(module, "pretrained_cfg", {})
    names = {
        "size": "input_size",
        "interpolation": "interpolation",
        "crop_pct": "crop_pct",
        "mean": "mean",
        "std": "std",
    }
    values = {ours: config[theirs] for ours, theirs in names.items() if config.get(theirs) is not None}
    return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}


def _tuples(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options with tuples for lists: architectures take tuples, and YAML has only lists."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in options.items()}


WRONG_ALIASES = {
    "ig_resnext101_32x16d": "resnext101_32x16d.fb_wsl_ig1b_ft_in1k",
    "ig_resnext101_32x32d": "resnext101_32x32d.fb_wsl_ig1b_ft_in1k",
    "ig_resnext101_32x48d": "resnext101_32x48d.fb_wsl_ig1b_ft_in1k",
}
"""Deprecated names that timm 1.0.31 resolves to resnext101_32x8d, a smaller network (timm/models/resnet.py,
register_model_deprecations, seen 2026-11-24), and the models that they really mean."""


def current_name(entry: str) -> tuple[str, str]:
    """Return the current name for a deprecated one, and a note about it; for any other name, the name and an empty note.

    The name is empty when timm no longer has the network.
    """
    import timm
    from timm.models import _registry

    if entry in WRONG_ALIASES:
        right = WRONG_ALIASES[entry]
        note = f"timm {timm.__version__} resolves the deprecated name {entry} to the wrong model, resnext101_32x8d"
        if timm.is_model(right.partition(".")[0]):
            return right, f"{note}; the card uses {right}"
        return "", f"{note}, and no longer has the right one; the card has no builder"
    deprecated: Any = getattr(_registry, "_deprecated_models", {})
    name = deprecated.get(entry)
    return (name, f"{entry} is deprecated in timm; the card uses {name}") if name else (entry, "")


def published(pattern: str) -> list[Published]:
    """Return the models with weights whose name matches the pattern, with timm's configuration of each.

    pattern: as in timm.list_models; a deprecated name is resolved. Raises UnknownName when no model matches.
    """
    import timm
    from timm.models import _registry

    name, note = current_name(pattern)
    names = timm.list_models(name or pattern, pretrained=True) or timm.list_models(
        f"{name or pattern}.*", pretrained=True
    )
    if not names:
        raise UnknownName("pretrained model of timm", pattern, timm.list_models(pretrained=True))
    modules: Any = getattr(_registry, "_model_to_module", {})
    notes = (note,) if note else ()
    configs = ((model, timm.get_pretrained_cfg(model)) for model in names)
    return [_describe_published(model, config, modules, notes) for model, config in configs if config is not None]


def _describe_published(name: str, config: Any, modules: Mapping[str, str], notes: tuple[str, ...]) -> Published:
    fields = {key: value for key, value in vars(config).items() if value not in (None, "")}
    architecture = name.partition(".")[0]
    weights = [entry for key in ("hf_hub_id", "url") if (entry := _weights_entry(fields, key))]
    input_fields = {
        "size": "input_size",
        "interpolation": "interpolation",
        "crop_pct": "crop_pct",
        "crop_mode": "crop_mode",
        "mean": "mean",
        "std": "std",
    }
    card = {
        "task": "image-classification" if fields.get("num_classes") else "image-feature-extraction",
        **({"license": fields["license"]} if fields.get("license") else {}),
        "builder": {"library": "timm", "entry": name, **_head_options(fields)},
        "input": {key: _as_json(fields[field]) for key, field in input_fields.items() if fields.get(field) is not None},
        **({"weights": weights} if weights else {}),
    }
    used = {*input_fields.values(), "license", "architecture", "tag", "custom_load"}
    extra = {key: _as_json(value) for key, value in fields.items() if key not in used}
    return Published(name, modules.get(architecture, architecture), card, extra, notes=notes)


def _head_options(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the `options` of a card whose weights do not have the architecture's default of 1000 classes."""
    classes = fields.get("num_classes")
    return {"options": {"num_classes": classes}} if classes not in (None, 1000) else {}


def _weights_entry(fields: Mapping[str, Any], key: str) -> dict[str, Any] | None:
    """Return an entry of a card's `weights` from the name of a Hub repository or a URL; None when there is none."""
    if key not in fields:
        return None
    if key == "hf_hub_id":
        file = fields.get("hf_hub_filename") or "model.safetensors"
        form = "safetensors" if str(file).endswith(".safetensors") else "pickle"
        repository, _, revision = str(fields[key]).partition("@")
        return {"file": file, "format": form, "urls": [f"hf://{repository}{'@' if revision else ''}{revision}/{file}"]}
    url = str(fields[key])
    return {"file": url.rpartition("/")[2].partition("?")[0], "urls": [url]}


def _as_json(value: Any) -> Any:
    """Return the value with lists for tuples, as JSON has them."""
    return [_as_json(item) for item in value] if isinstance(value, (list, tuple)) else value
