"""A factory that the card names, `package.module:function`: for models that no library has.

It runs code of the card's choice, so it is used only for who allows it (`--allow-code`); build_model sees to that.
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

if TYPE_CHECKING:
    from torch import nn


def build(entry: str, options: Mapping[str, Any]) -> nn.Module:
    """What the factory returns for the options as keyword arguments, in eval mode.

    Raises WrongContent when the entry names no factory, or it gives no module; CannotCheck when its package is not
    installed.
    """
    from torch import nn

    package, names = _parse(entry)
    try:
        factory: Any = importlib.import_module(package)
        for name in names:
            factory = getattr(factory, name)
        module = factory(**options)
    except ModuleNotFoundError as error:
        hint = "install the package that has it, or put its folder on PYTHONPATH"
        raise CannotCheck(f"{error.name} cannot be imported", hint=hint) from error
    except Exception as error:  # whatever a foreign factory raises, it is that factory's fault and not ours
        what = f"{entry} cannot be built with {dict(options)}: {type(error).__name__}: {error}"
        raise WrongContent(what, hint="correct entry or options") from error
    if not isinstance(module, nn.Module):
        raise WrongContent(f"{entry} gives a {type(module).__name__}, not a torch.nn.Module", hint="correct the entry")
    return module.eval()


def default_input(module: nn.Module) -> dict[str, Any]:
    """Nothing: a factory does not say what its model takes."""
    return {}


def traits(module: nn.Module) -> dict[str, Any]:
    """The number of classes, where the module has such an attribute."""
    classes = getattr(module, "num_classes", None)
    return {"num_classes": classes} if isinstance(classes, int) else {}


def versions() -> tuple[str, ...]:
    """The distributions whose versions can change what is built, besides the factory's own."""
    return ("torch",)


def source_sha256(entry: str) -> str:
    """A digest of the source of the package that has the factory: no version stands for it, and it may change any day.

    What that package imports from others is not seen. Empty when the package is not there. Runs nothing.
    """
    top = _parse(entry)[0].partition(".")[0]
    try:
        spec = importlib.util.find_spec(top)
    except ValueError:  # a module without a spec, as __main__ is
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
        raise WrongContent(f"{entry!r} names no factory", hint="write package.module:function")
    return match[1], tuple(match[2].split("."))
