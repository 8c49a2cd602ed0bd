"""Models of a Python function that the card names, `package.module:function`.

This runs arbitrary code, so build_model uses it only with the user's permission (`--allow-code`).
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.errors import CannotCheck, WrongContent
from zoo.models.adapt import Adaptation
from zoo.models.builders import with_options

if TYPE_CHECKING:
    from torch import Tensor, nn


def build(entry: str, options: Mapping[str, Any]) -> nn.Module:
    """Call the factory with the options as keyword arguments, and return its module in eval mode.

    Raises WrongContent when the entry is not a factory or the factory does not return a module, CannotCheck when its
    package is not installed.
    """
    from torch import nn

    package, names = _parse(entry)
    try:
        factory: Any = importlib.import_module(package)
        for name in names:
            factory = getattr(factory, name)
        module = factory(**options)
    except ModuleNotFoundError as error:
        hint = "install the package that contains it, or add its folder to PYTHONPATH"
        raise CannotCheck(f"{error.name} cannot be imported", hint=hint) from error
    except Exception as error:  # a factory may raise any exception, and it is not a bug in zoo
        what = f"{entry} cannot be built{with_options(options)}: {type(error).__name__}: {error}"
        raise WrongContent(what, hint="correct `entry` or `options`") from error
    if not isinstance(module, nn.Module):
        what = f"{entry} returned a {type(module).__name__}, not a torch.nn.Module"
        raise WrongContent(what, hint="correct `entry`")
    return module.eval()


def adapt(
    entry: str, options: Mapping[str, Any], adaptation: Adaptation, state: Mapping[str, Tensor] | None = None
) -> nn.Module:
    """Raise CannotCheck, because zoo does not know the classifier and the first layer of a factory's model."""
    hint = "create the model without num_classes, in_chans and features_only, and replace its layers yourself"
    raise CannotCheck(f"zoo cannot adapt the model of the factory {entry}", hint=hint)


def default_input(module: nn.Module) -> dict[str, Any]:
    """Return nothing, because a factory does not say what its model takes."""
    return {}


def traits(module: nn.Module) -> dict[str, Any]:
    """Return the number of classes, if the module has such an attribute."""
    classes = getattr(module, "num_classes", None)
    return {"num_classes": classes} if isinstance(classes, int) else {}


def versions() -> tuple[str, ...]:
    """Return the distributions whose versions can change what is built, besides the factory's own."""
    return ("torch",)


def source_sha256(entry: str) -> str:
    """Return the SHA-256, in hex, of the source of the factory's package, which may change without a new version.

    Other packages that it imports are not included. Empty when the package is not installed. Runs no code of it.
    """
    top = _parse(entry)[0].partition(".")[0]
    try:
        spec = importlib.util.find_spec(top)
    except ValueError:  # a module without a spec, such as __main__
        spec = None
    folders = [Path(folder) for folder in (spec.submodule_search_locations or ())] if spec else []
    files = sorted(path for folder in folders for path in folder.rglob("*.py"))
    if spec is not None and not folders and spec.origin is not None and Path(spec.origin).is_file():
        files = [Path(spec.origin)]
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.name}\n".encode() + path.read_bytes())
    return digest.hexdigest() if files else ""


def _parse(entry: str) -> tuple[str, tuple[str, ...]]:
    match = re.fullmatch(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)", entry)
    if match is None:
        raise WrongContent(f"{entry!r} is not the name of a factory", hint="write `package.module:function`")
    return match[1], tuple(match[2].split("."))
