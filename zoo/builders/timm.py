"""timm's architectures and its evaluation transforms; the only module that imports timm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from zoo.builders import Transform
from zoo.card import Input
from zoo.errors import WrongContent, nearest

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
        mend = f"did you mean {' or '.join(near)}?" if near else "`timm.list_models()` lists what there is"
        raise WrongContent(f"timm {timm.__version__} has no architecture {entry!r}", mend=mend)
    for name in LOADS_BY_ITSELF:
        if name in options:
            raise WrongContent(
                f"the option {name!r} would load weights past the checks", mend="remove it; `weights` names the files"
            )
    try:
        return timm.create_model(architecture, pretrained=False, **_tuples(options)).eval()
    except (TypeError, ValueError, AssertionError, RuntimeError, KeyError, IndexError, AttributeError) as error:
        # What an architecture raises on options that do not fit is its own affair: any of these, in practice.
        raise WrongContent(
            f"timm cannot build {entry} with {dict(options)}: {error}", mend="correct the options"
        ) from error


def traits(module: nn.Module) -> dict[str, Any]:
    """What timm's and transformers' loaders read from a config.json besides the card: sizes, and where head and stem are.

    Only what the module really has: the names that timm's registry gives are looked up in it.
    """
    config: Any = getattr(module, "pretrained_cfg", {})
    parts = {name for name, _ in module.named_modules()}
    found: dict[str, Any] = {name: getattr(module, name, None) for name in ("num_classes", "num_features")}
    found["global_pool"] = getattr(getattr(module, "global_pool", None), "pool_type", None)
    for key in ("first_conv", "classifier"):
        named = config.get(key)
        names = [named] if isinstance(named, str) else list(named or ())
        found[key] = named if names and parts.issuperset(names) else None
    found["fixed_input_size"] = bool(config.get("fixed_input_size", False))
    return {key: value for key, value in found.items() if isinstance(value, (bool, int, str, list, tuple))}


def versions() -> tuple[str, ...]:
    """The distributions whose versions can change what is built."""
    return ("timm", "torch")


def transform(wanted: Input) -> Transform:
    """Timm's evaluation transform: an RGB image -> float tensor (channels, height, width), normalised.

    What the card leaves out is timm's default: bilinear, crop 0.875, ImageNet's mean and std (timm/data/constants.py).
    """
    from timm.data.config import resolve_data_config
    from timm.data.transforms_factory import create_transform

    given = {
        "input_size": wanted.size,
        "interpolation": wanted.interpolation,
        "crop_pct": wanted.crop_pct,
        "crop_mode": wanted.crop_mode,
        "mean": wanted.mean,
        "std": wanted.std,
    }
    resolve: Any = resolve_data_config  # timm has no annotations there
    config = resolve(pretrained_cfg={key: value for key, value in given.items() if value is not None})
    return cast(Transform, create_transform(**config, is_training=False))


def default_input(module: nn.Module) -> dict[str, Any]:
    """What the library says that the architecture takes, under the names of a card's `input`."""
    config: dict[str, Any] = getattr(module, "pretrained_cfg", {})
    named = {
        "size": "input_size",
        "interpolation": "interpolation",
        "crop_pct": "crop_pct",
        "mean": "mean",
        "std": "std",
    }
    given = {ours: config[theirs] for ours, theirs in named.items() if config.get(theirs) is not None}
    return {key: list(value) if isinstance(value, tuple) else value for key, value in given.items()}


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


def current(entry: str) -> tuple[str, str]:
    """(name, note): the name that timm has now for a deprecated one, and what there is to say; else (entry, "")."""
    import timm
    from timm.models import _registry

    if entry in WRONG_ALIASES:
        right = WRONG_ALIASES[entry]
        return (
            right,
            f"{entry} is now {right}; timm {timm.__version__} itself takes it for resnext101_32x8d, which is wrong",
        )
    deprecated: Any = getattr(_registry, "_deprecated_models", {})
    name = deprecated.get(entry)
    return (name, f"{entry} is deprecated in timm: it is now {name}") if name else (entry, "")
