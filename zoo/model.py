"""Card + Artifact -> nn.Module, strictly loaded; and Subject, which makes the costly things about a card once.

Only `weights_only` loading and safetensors are used: nothing is executed from a pickle.
Imports errors, card, catalog, plugins, store, builders.
"""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo import plugins, store
from zoo.builders import Transform
from zoo.card import Builder, Card, Input, Weights
from zoo.catalog import Catalog
from zoo.engines import Options, worker_number
from zoo.errors import CannotCheck, NotHere, UsageError, WrongContent
from zoo.store import Artifact

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

DEVICE_NODES = ("nvidia[0-9]*", "kfd", "dri/render*", "davinci[0-9]*")
"""Device nodes of the drivers of NVIDIA, AMD, Intel and Ascend."""
MOST_NAMES = 4
"""How many of the keys that differ a message names."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How accuracies are measured.

    limit: at most so many images, drawn with `seed`; all when None. early_stop: end as soon as the claim is refuted.
    level: the probability with which a right claim may be called wrong. precision: `fp32`, `bf16` or `fp16`.
    batch_size: images at a time; chosen for the device when None. max_age_days: older facts are measured again.
    engine, options: where the parts of one evaluation run.
    """

    limit: int | None = None
    seed: int = 0
    early_stop: bool = False
    level: float = 0.001
    precision: str = "fp32"
    batch_size: int | None = None
    compile: bool = False
    max_age_days: float | None = None
    engine: str = "local"
    options: Options = field(default_factory=Options)


@dataclass(frozen=True, slots=True)
class Settings:
    """What a run may do: download, use a device (`auto`, `cpu`, `cuda:0`, `mps`), read copies of data sets.

    tell: called with each event of a long measurement, in this process only.
    """

    fetch: bool = False
    device: str = "auto"
    data: Mapping[str, Path] = field(default_factory=dict)
    refresh: bool = False
    evaluation: Evaluation = Evaluation()
    tell: Callable[[Any], None] | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Subject:
    """One card under examination. Files are measured, modules built and weights loaded at most once, when first used."""

    card: Card
    catalog: Catalog
    settings: Settings
    _artifacts: dict[str, Artifact] = field(default_factory=dict, repr=False, compare=False)

    @property
    def builder(self) -> Builder:
        """How the card's architecture is built; raises NotHere when the card does not say."""
        if self.card.builder is None:
            raise NotHere(
                "the card names no builder",
                where=str(self.card.where),
                mend="add `builder: {library: timm, entry: ...}`",
            )
        return self.card.builder

    @property
    def input(self) -> Input:
        """What the model takes; raises NotHere when the card does not say."""
        if self.card.input is None or self.card.input.size is None:
            raise NotHere(
                "the card has no input size", where=str(self.card.where), mend="add `input: {size: [3, 224, 224]}`"
            )
        return self.card.input

    @property
    def input_size(self) -> tuple[int, int, int]:
        """(channels, height, width) of one input; raises NotHere when the card does not say."""
        channels, height, width = self.input.size or ()
        return (channels, height, width)

    def artifact(self, weights: Weights) -> Artifact:
        """The measured file, whether or not it is what the card says.

        Raises NotHere when it is not on this machine and fetching was not asked for, TransferFailed or WrongContent
        when it cannot be got.
        """
        if weights.file not in self._artifacts:
            self._artifacts[weights.file] = self._measure(weights)
        return self._artifacts[weights.file]

    @property
    def measured(self) -> tuple[Artifact, ...]:
        """The files that were measured so far, in the card's order."""
        return tuple(self._artifacts[item.file] for item in self.card.weights if item.file in self._artifacts)

    def _measure(self, weights: Weights) -> Artifact:
        path = store.locate(self.card, weights)
        if path is not None:
            return store.measure(weights, path)
        if not self.settings.fetch and weights.urls:
            raise NotHere(
                f"{weights.file} is not on this machine", where=str(weights.where), mend=f"zoo fetch {self.card.name}"
            )
        return store.fetch(self.card, weights)

    @cached_property
    def meta(self) -> nn.Module:
        """The architecture on the meta device, in eval mode: shapes and no memory."""
        from zoo.counting import meta_build

        with meta_build():
            return build(self.builder)

    def loaded(self, weights: Weights) -> nn.Module:
        """The model with the file's weights, strictly loaded, in eval mode, on the settings' device."""
        return load(self.builder, self.artifact(weights)).to(device(self.settings.device))

    @cached_property
    def model(self) -> nn.Module:
        """The model with the card's preferred weights, on the settings' device."""
        if not self.card.weights:
            raise NotHere("the card lists no weights", where=str(self.card.where), mend="add `weights: [{file: ...}]`")
        return self.loaded(self.card.weights[0])


def build(builder: Builder) -> nn.Module:
    """The architecture with fresh weights, in eval mode, on torch's default device.

    Raises WrongContent at the card's line when the architecture does not exist or its options do not fit.
    """
    library = plugins.load("builders", builder.library, where=str(builder.where["library"]))
    try:
        module: nn.Module = library.build(builder.entry, builder.options)
    except WrongContent as error:
        raise WrongContent(error.what, where=str(builder.where["entry"]), mend=error.mend) from error
    return module


def load(builder: Builder, artifact: Artifact) -> nn.Module:
    """The architecture with the artifact's tensors, strictly loaded, in eval mode, on the CPU."""
    module = build(builder)
    fit(module, read_state_dict(artifact), artifact.file)
    return module


def fit(module: nn.Module, state: Mapping[str, Tensor], file: str) -> None:
    """Put the tensors into the module; raises WrongContent naming the keys and shapes that differ."""
    refuse_misfit(module, state, file)
    module.load_state_dict(dict(state), strict=True)


def refuse_misfit(module: nn.Module, state: Mapping[str, Tensor], file: str) -> None:
    """Raises WrongContent naming the keys and shapes that differ between the tensors of `file` and the module's."""
    own = module.state_dict()
    differing = {
        "missing": [name for name in own if name not in state],
        "too many": [name for name in state if name not in own],
        "of another shape": [
            f"{name} is {tuple(state[name].shape)}, not {tuple(tensor.shape)}"
            for name, tensor in own.items()
            if name in state and state[name].shape != tensor.shape
        ],
    }
    parts = [
        f"{len(names)} {word}: {', '.join(names[:MOST_NAMES])}{', ...' if len(names) > MOST_NAMES else ''}"
        for word, names in differing.items()
        if names
    ]
    if parts:
        raise WrongContent(f"the tensors of {file} do not fit the architecture: {'; '.join(parts)}")


def read_state_dict(artifact: Artifact) -> dict[str, Tensor]:
    """The tensors of a file by name, on the CPU, read without executing anything.

    Raises WrongContent when the file holds no state dict or would run code when unpickled.
    """
    state = _read_safetensors(artifact.path) if is_safetensors(artifact.path) else _read_pickle(artifact.path)
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]
    import torch

    wrong = [str(name) for name, value in state.items() if not isinstance(value, torch.Tensor)]
    if wrong:
        raise WrongContent(f"{artifact.file} holds more than tensors: {', '.join(wrong[:MOST_NAMES])}")
    return {str(name): value for name, value in state.items()}


def main_dtype(state: Mapping[str, Tensor]) -> str:
    """The type that most of the elements have, as `float32`; `none` when there are no tensors."""
    elements: Counter[str] = Counter()
    for tensor in state.values():
        elements[str(tensor.dtype).removeprefix("torch.")] += tensor.numel()
    return elements.most_common(1)[0][0] if elements else "none"


def is_safetensors(path: Path) -> bool:
    """Whether the file begins as safetensors does: 8 bytes of header length, then a JSON object
    (github.com/huggingface/safetensors, README, "Format", seen 2026-11-24)."""
    with path.open("rb") as file:
        return file.read(9)[8:9] == b"{"


def write_safetensors(source: Artifact, target: Path) -> None:
    """The tensors of a file of weights as safetensors, proved equal: names, types, shapes and every bit.

    Raises WrongContent when the source cannot be loaded safely, or has a tensor that safetensors cannot hold.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    state = _apart(read_state_dict(source))
    try:
        save_file(state, target, metadata={"format": "pt"})
    except (SafetensorError, RuntimeError, ValueError, TypeError, KeyError) as error:
        raise WrongContent(f"{source.file} cannot be written as safetensors: {error}") from error
    _refuse_difference(state, target, source.file)


def _apart(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors each in memory of its own, as safetensors asks for: a view, and the second of two in one place, are copied."""
    found: dict[str, Tensor] = {}
    places: set[int] = set()
    for name, value in state.items():
        tensor = value.detach().contiguous()
        is_whole = tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()
        found[name] = tensor if is_whole and tensor.data_ptr() not in places else tensor.clone()
        places.add(found[name].data_ptr())
    return found


def _refuse_difference(state: Mapping[str, Tensor], path: Path, source: str) -> None:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as written:
        names = set(written.keys())
        differing = names.symmetric_difference(state)
        differing |= {name for name in names & set(state) if not _same_bits(state[name], written.get_tensor(name))}
    if differing:
        first = sorted(differing)[0]
        raise WrongContent(f"{len(differing)} tensors of {source} came out differently as safetensors, first {first}")


def _same_bits(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are equal in type, shape and every bit; unlike ==, NaN equals itself and 0 is not -0."""
    import torch

    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    return torch.equal(one.reshape(-1).view(torch.uint8), other.reshape(-1).view(torch.uint8))


def _read_safetensors(path: Path) -> Mapping[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise WrongContent(f"{path.name} is no sound safetensors file: {error}") from error


def _read_pickle(path: Path) -> Mapping[str, Any]:
    import pickle

    import torch

    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = str(error).splitlines()[0][:200]
        raise WrongContent(
            f"{path.name} cannot be loaded without executing code, which zoo never does: {reason}"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WrongContent(f"{path.name} is no sound file of weights: {str(error).splitlines()[0][:200]}") from error
    if not isinstance(state, Mapping):
        raise WrongContent(f"{path.name} holds a {type(state).__name__}, not a state dict")
    return state


def transform(wanted: Input) -> Transform:
    """The card's preprocessing: an RGB image -> float tensor (channels, height, width)."""
    made: Transform = plugins.load("builders", "timm").transform(wanted)
    return made


def device(name: str) -> torch.device:
    """The device of that name; `auto` is the accelerator when there is one, else the CPU. Workers take one each in turn.

    Raises UsageError when the name means nothing, CannotCheck when this machine has no such device.
    """
    import torch

    if name == "auto":
        accelerator = torch.accelerator.current_accelerator(check_available=True)
        if accelerator is None:
            return torch.device("cpu")
        number = worker_number()
        return accelerator if number is None else torch.device(accelerator.type, number % accelerators())
    try:
        wanted = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"{name!r} is no device", mend="give auto, cpu, cuda:0 or mps") from error
    try:
        torch.empty(1, device=wanted)
    except (RuntimeError, AssertionError) as error:
        raise CannotCheck(
            f"this machine cannot use the device {name}: {str(error).splitlines()[0]}", mend="give --device cpu"
        ) from error
    return wanted


def accelerators() -> int:
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
        return device(name).type
    return "cpu"
