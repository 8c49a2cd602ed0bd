"""Build the module of a card, load its weights strictly, and choose the device that it runs on."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from zoo import plugins
from zoo.errors import CannotCheck, NotHere, UsageError, WrongContent
from zoo.models.builders import Transform
from zoo.registry.card import BUILDERS_OF_CODE, Builder, Input, Rename
from zoo.runtime.engines import worker_number
from zoo.weights import tensors
from zoo.weights.store import Artifact

if TYPE_CHECKING:
    import torch
    from torch import nn


DEVICE_NODES = ("nvidia[0-9]*", "kfd", "dri/render*", "davinci[0-9]*")
"""Device nodes of the drivers of NVIDIA, AMD, Intel and Ascend."""


def refuse_code(builder: Builder, *, allow_code: bool) -> None:
    """Raises NotHere when the builder would run code that the card names and the user has not allowed that."""
    if builder.library in BUILDERS_OF_CODE and not allow_code:
        raise NotHere(
            f"the card would have {builder.entry} run, which is code of its own choice",
            where=str(builder.where["library"]),
            hint="if you trust the card and that package, give --allow-code",
        )


def build_model(builder: Builder, *, allow_code: bool = False) -> nn.Module:
    """The architecture with fresh weights, in eval mode, on torch's default device.

    Raises WrongContent at the card's line when the architecture does not exist or its options do not fit; NotHere as
    `refuse_code` does.
    """
    refuse_code(builder, allow_code=allow_code)
    library = plugins.load("builders", builder.library, where=str(builder.where["library"]))
    try:
        module: nn.Module = library.build(builder.entry, builder.options)
    except WrongContent as error:
        raise WrongContent(error.what, where=str(builder.where["entry"]), hint=error.hint) from error
    return module


def load_model(
    builder: Builder, artifact: Artifact, renames: Sequence[Rename] = (), *, allow_code: bool = False
) -> nn.Module:
    """The architecture with the artifact's tensors, strictly loaded, in eval mode, on the CPU."""
    module = build_model(builder, allow_code=allow_code)
    tensors.fit(module, tensors.read(artifact, renames).tensors, artifact.file)
    return module


def make_transform(card_input: Input) -> Transform:
    """The card's preprocessing: an RGB image -> float tensor (channels, height, width)."""
    transform: Transform = plugins.load("builders", "timm").transform(card_input)
    return transform


def choose_device(name: str) -> torch.device:
    """The device of that name; `auto` is the accelerator when there is one, else the CPU. Workers take one each in turn.

    Raises UsageError when the name means nothing, CannotCheck when this machine has no such device.
    """
    import torch

    if name == "auto":
        accelerator = torch.accelerator.current_accelerator(check_available=True)
        if accelerator is None:
            return torch.device("cpu")
        number = worker_number()
        return accelerator if number is None else torch.device(accelerator.type, number % count_accelerators())
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"{name!r} is no device", hint="give auto, cpu, cuda:0 or mps") from error
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise CannotCheck(
            f"this machine cannot use the device {name}: {str(error).splitlines()[0]}", hint="give --device cpu"
        ) from error
    return device


def count_accelerators() -> int:
    """How many accelerators this machine has, 0 when it computes on its CPU."""
    import torch

    return torch.accelerator.device_count() if torch.accelerator.is_available() else 0


def device_kind(name: str) -> str:
    """The kind of the device of that name (`cpu`, `cuda`, `mps`), without importing torch where no accelerator can be.

    What torch can use as one shows as a device node of its driver on Linux, and is always there on a Mac with Apple's
    processor (docs.pytorch.org/docs/stable/accelerator.html lists the kinds, seen 2026-11-24).
    """
    if name != "auto":
        return name.partition(":")[0]
    apple = platform.system() == "Darwin" and platform.machine() == "arm64"
    if apple or any(node for pattern in DEVICE_NODES for node in Path("/dev").glob(pattern)):
        return choose_device(name).type
    return "cpu"
