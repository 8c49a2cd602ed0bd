"""Build the module of a card, load its weights strictly, and choose the device that it runs on."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from zoo import plugins
from zoo.errors import CannotCheck, NotHere, UsageError, WrongContent
from zoo.models import facts
from zoo.models.adapt import UNCHANGED, Adaptation, adapt
from zoo.models.builders import Transform, timm
from zoo.models.facts import Fact
from zoo.registry.card import BUILDERS_OF_CODE, Builder, Input, Rename
from zoo.runtime import process, sandbox
from zoo.runtime.engines import worker_number
from zoo.runtime.json_form import is_count, is_text
from zoo.weights import tensors
from zoo.weights.store import Artifact

if TYPE_CHECKING:
    import torch
    from torch import nn


DEVICE_NODES = ("nvidia[0-9]*", "kfd", "dri/render*", "davinci[0-9]*")
"""Device nodes of the drivers of NVIDIA, AMD, Intel and Ascend."""
VISIBLE_DEVICES = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "ZE_AFFINITY_MASK")
"""The variables that hide accelerators from torch."""
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
"""A file that is different after each start of the system (Linux, proc_sys_kernel(5))."""


def refuse_code(builder: Builder, *, allow_code: bool) -> None:
    """Raise NotHere when the builder runs arbitrary code and the user has not allowed it."""
    if builder.library in BUILDERS_OF_CODE and not allow_code:
        raise NotHere(
            f"this card's builder runs arbitrary code ({builder.entry})",
            where=str(builder.where["library"]),
            hint="if you trust the card and that package, give --allow-code",
        )


def build_model(builder: Builder, *, allow_code: bool = False, adaptation: Adaptation = UNCHANGED) -> nn.Module:
    """Return the architecture with fresh weights, in eval mode, on torch's default device.

    Raises WrongContent with the card's line when the architecture does not exist or its options do not fit, NotHere as
    `refuse_code` does, and CannotCheck when it cannot be adapted.
    """
    refuse_code(builder, allow_code=allow_code)
    if adaptation != UNCHANGED:
        return adapt(builder, adaptation)
    library = plugins.load("builders", builder.library, where=str(builder.where["library"]))
    try:
        module: nn.Module = library.build(builder.entry, builder.options)
    except WrongContent as error:
        raise WrongContent(error.what, where=str(builder.where["entry"]), hint=error.hint) from error
    return module


def load_model(
    builder: Builder,
    artifact: Artifact,
    renames: Sequence[Rename] = (),
    *,
    allow_code: bool = False,
    adaptation: Adaptation = UNCHANGED,
) -> nn.Module:
    """Return the architecture with the artifact's tensors, in eval mode, on the CPU.

    The tensors are loaded strictly into the card's own architecture, which is adapted afterwards. Raises as `build_model`
    does, and WrongContent when the tensors do not fit.
    """
    import torch

    with torch.random.fork_rng(
        devices=[]
    ):  # the initial values are replaced, so that the caller's random numbers need not change
        module = build_model(builder, allow_code=allow_code)
    tensors.fit(module, tensors.read(artifact, renames).tensors, artifact.file)
    return module if adaptation == UNCHANGED else adapt(builder, adaptation, module.state_dict())


def make_transform(card_input: Input) -> Transform:
    """Return the card's preprocessing, from an image of any mode to a normalised float tensor (channels, height, width)."""
    return timm.transform(card_input)


def choose_device(name: str) -> torch.device:
    """Return the device of that name. `auto` is the accelerator, or the CPU without one; workers take accelerators in turn.

    Raises UsageError when the name is not one of a device, CannotCheck when this machine does not have the device.
    """
    import torch

    if name == "auto":
        accelerator = torch.accelerator.current_accelerator(check_available=True)
        if accelerator is None:
            return torch.device("cpu")
        number = worker_number()
        devices = torch.accelerator.device_count()
        return accelerator if number is None else torch.device(accelerator.type, number % devices)
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"unknown device {name!r}", hint="give auto, cpu, cuda:0 or mps") from error
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise CannotCheck(
            f"this machine cannot use the device {name}: {str(error).splitlines()[0]}", hint="give --device cpu"
        ) from error
    return device


def count_accelerators() -> int:
    """Return the number of accelerators of this machine; see `device_kind`."""
    return _accelerators()[1]


def device_kind(name: str) -> str:
    """Return the kind of the device of that name, such as `cpu`, `cuda` or `mps`.

    torch is not imported in this process unless it is a worker. `auto` is the CPU unless this machine may have an
    accelerator: on Linux its driver has a device node, and a Mac with Apple's processor always has one
    (docs.pytorch.org/docs/stable/accelerator.html lists the kinds, seen 2026-11-24). Then a worker looks, once after each
    start of the system.
    """
    return _accelerators()[0] if name == "auto" else name.partition(":")[0]


def _accelerators() -> tuple[str, int]:
    """Return the kind and the number of this machine's accelerators, `cpu` and 0 when it has none."""
    nodes = sorted(str(node) for pattern in DEVICE_NODES for node in Path("/dev").glob(pattern))
    if not nodes and not (platform.system() == "Darwin" and platform.machine() == "arm64"):
        return "cpu", 0
    if process.is_worker():
        return _find_accelerators()
    key = facts.fact_key(
        "accelerators",
        measured_by=(__name__,),
        libraries=("torch",),
        machine=platform.node(),
        nodes=nodes,
        boot=BOOT_ID.read_text() if BOOT_ID.exists() else "",
        visible={name: os.environ.get(name) for name in VISIBLE_DEVICES},
    )
    known = facts.recall(key, facts.with_form(is_text, {"number": is_count}))
    if known is not None:
        return str(known.value), known.evidence["number"]
    kind, number = sandbox.call(_find_accelerators)
    facts.keep(key, Fact(kind, {"number": number}))
    return kind, number


def _find_accelerators() -> tuple[str, int]:
    import torch

    accelerator = torch.accelerator.current_accelerator(check_available=True)
    return ("cpu", 0) if accelerator is None else (accelerator.type, torch.accelerator.device_count())
