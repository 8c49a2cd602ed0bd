"""timm's architectures and its evaluation transforms; the only module that imports timm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from zoo.errors import UnknownName, WrongContent, nearest
from zoo.models.builders import Published, Transform
from zoo.registry.card import Input

if TYPE_CHECKING:
    from torch import nn


LOADS_BY_ITSELF = ("pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir")
"""Arguments of timm.create_model that make it fetch or read files: a card may not ask for that."""


def build(entry: str, options: Mapping[str, Any]) -> nn.Module:
    """The architecture `entry` (a tag after a dot is dropped) with fresh weights, in eval mode.

    Raises WrongContent when timm has no such architecture or the options do not fit it.
    """
    import timm

    architecture = entry.partition(".")[0]
    if not timm.is_model(architecture):
        near = nearest(architecture, timm.list_models())
        hint = f"did you mean {' or '.join(near)}?" if near else "`timm.list_models()` lists what there is"
        raise WrongContent(f"timm {timm.__version__} has no architecture {entry!r}", hint=hint)
    for name in LOADS_BY_ITSELF:
        if name in options:
            raise WrongContent(
                f"the option {name!r} would load weights past the checks", hint="remove it; `weights` names the files"
            )
    try:
        return timm.create_model(architecture, pretrained=False, **_tuples(options)).eval()
    except (TypeError, ValueError, AssertionError, RuntimeError, KeyError, IndexError, AttributeError) as error:
        # What an architecture raises on options that do not fit is its own affair: any of these, in practice.
        raise WrongContent(
            f"timm cannot build {entry} with {dict(options)}: {error}", hint="correct the options"
        ) from error


def traits(module: nn.Module) -> dict[str, Any]:
    """What timm's and transformers' loaders read from a config.json besides the card: sizes, and where head and stem are.

    Only what the module really has: the names that timm's registry gives are looked up in it.
    """
    config: Any = getattr(module, "pretrained_cfg", {})
    parts = {name for name, _ in module.named_modules()}
    properties: dict[str, Any] = {name: getattr(module, name, None) for name in ("num_classes", "num_features")}
    properties["global_pool"] = getattr(getattr(module, "global_pool", None), "pool_type", None)
    for key in ("first_conv", "classifier"):
        named = config.get(key)
        names = [named] if isinstance(named, str) else list(named or ())
        properties[key] = named if names and parts.issuperset(names) else None
    properties["fixed_input_size"] = bool(config.get("fixed_input_size", False))
    return {key: value for key, value in properties.items() if isinstance(value, (bool, int, str, list, tuple))}


def versions() -> tuple[str, ...]:
    """The distributions whose versions can change what is built."""
    return ("timm", "torch")


def transform(card_input: Input) -> Transform:
    """Timm's evaluation transform: an RGB image -> float tensor (channels, height, width), normalised.

    What the card leaves out is timm's default: bilinear, crop 0.875, ImageNet's mean and std (timm/data/constants.py).
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
    return cast(Transform, create_transform(**config, is_training=False))


def default_input(module: nn.Module) -> dict[str, Any]:
    """What the library says that the architecture takes, under the names of a card's `input`."""
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
    """Lists as tuples: architectures take tuples for channels and depths, and a card has only lists."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in options.items()}


WRONG_ALIASES = {
    "ig_resnext101_32x16d": "resnext101_32x16d.fb_wsl_ig1b_ft_in1k",
    "ig_resnext101_32x32d": "resnext101_32x32d.fb_wsl_ig1b_ft_in1k",
    "ig_resnext101_32x48d": "resnext101_32x48d.fb_wsl_ig1b_ft_in1k",
}
"""Deprecated names that timm 1.0.31 resolves to resnext101_32x8d, a smaller network (timm/models/resnet.py,
register_model_deprecations, seen 2026-11-24), and what they stand for."""


def current_name(entry: str) -> tuple[str, str]:
    """(name, note): the name that timm has now for a deprecated one, and what there is to say; else (entry, "").

    The name is empty where timm has the network no more.
    """
    import timm
    from timm.models import _registry

    if entry in WRONG_ALIASES:
        right = WRONG_ALIASES[entry]
        note = f"timm {timm.__version__} takes the deprecated name {entry} for resnext101_32x8d, which is wrong"
        if timm.is_model(right.partition(".")[0]):
            return right, f"{note}: it is {right}"
        return "", f"{note}, and has the network itself no more: the card names no builder"
    deprecated: Any = getattr(_registry, "_deprecated_models", {})
    name = deprecated.get(entry)
    return (name, f"{entry} is deprecated in timm: it is now {name}") if name else (entry, "")


def published(pattern: str) -> list[Published]:
    """The models with weights that fit the pattern (as in timm.list_models; a deprecated name is resolved), with timm's own
    configuration of each. Raises UnknownName when there is none."""
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
        "builder": {"library": "timm", "entry": name, **_head_options(architecture, fields)},
        "input": {key: _as_json(fields[field]) for key, field in input_fields.items() if fields.get(field) is not None},
        **({"weights": weights} if weights else {}),
    }
    used = {*input_fields.values(), "license", "architecture", "tag", "custom_load"}
    extra = {key: _as_json(value) for key, value in fields.items() if key not in used}
    return Published(name, modules.get(architecture, architecture), card, extra, notes=notes)


def _head_options(architecture: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """`options` where the published weights have another number of classes than the architecture's own 1000."""
    classes = fields.get("num_classes")
    return {"options": {"num_classes": classes}} if classes not in (None, 1000) else {}


def _weights_entry(fields: Mapping[str, Any], key: str) -> dict[str, Any] | None:
    """A file of weights from a Hub repository's name or a URL."""
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
    """Tuples as lists: JSON values."""
    return [_as_json(item) for item in value] if isinstance(value, (list, tuple)) else value
