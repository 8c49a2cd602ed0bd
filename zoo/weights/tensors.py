"""A file of weights -> its tensors by the architecture's names, and whether they fit a module, key by key.

Only `weights_only` loading and safetensors are used: nothing is executed from a pickle. What a file wraps its tensors in
is taken off, and every such step is noted, so that a finding can tell.
"""

from __future__ import annotations

import re
import struct
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from zoo.errors import WrongContent
from zoo.registry.card import Rename
from zoo.weights.store import Artifact

if TYPE_CHECKING:
    from torch import Tensor, nn


T = TypeVar("T")
WRAPPERS = ("state_dict_ema", "model_ema", "state_dict", "model")
"""What training scripts store a state dict under, the first that is there: averaged weights before the last ones, as
timm's load_state_dict prefers them (timm/models/_helpers.py, 1.0.31, seen 2026-11-24)."""
PREFIXES = ("module.", "_orig_mod.")
"""What torch.nn.DataParallel and torch.compile put before every name."""
MOST_HEADER_BYTES = 25_000_000
"""A longer safetensors header is refused, not parsed: a tensor takes about 100 bytes of it. huggingface_hub stops there
too (constants.py, SAFETENSORS_MAX_HEADER_LENGTH, 2.4.0, seen 2026-11-24)."""
MOST_NAMES = 4
"""How many of the keys that differ a message names."""


@dataclass(frozen=True, slots=True)
class Contents:
    """The tensors of a file on the CPU, by the names that they have once everything around them is taken off.

    format: `safetensors` or `pickle`, by the bytes. notes: what was taken off or renamed, for people.
    """

    tensors: Mapping[str, Tensor]
    format: str
    notes: tuple[str, ...] = ()


def read(artifact: Artifact, renames: Sequence[Rename] = ()) -> Contents:
    """The tensors of a file, read without executing anything.

    Raises WrongContent when the file is damaged, holds no state dict, would run code when unpickled, or when two of its
    tensors would get one name.
    """
    if is_safetensors(artifact.path):
        tensors, renamed = under_own_names(_read_safetensors(artifact.path), renames)
        return Contents(tensors, "safetensors", renamed)
    stored = _read_pickle(artifact.path)
    notes: tuple[str, ...] = ()
    wrappers = [name for name in WRAPPERS if isinstance(stored.get(name), Mapping)]
    if wrappers:
        stored = stored[wrappers[0]]
        notes = (f"taken from `{wrappers[0]}`", *(f"not from `{name}`" for name in wrappers[1:]))
    tensors, renamed = under_own_names(_only_tensors(stored, artifact.file), renames)
    return Contents(tensors, "pickle", (*notes, *renamed))


def under_own_names(named: Mapping[str, T], renames: Sequence[Rename]) -> tuple[dict[str, T], tuple[str, ...]]:
    """What is given by a file's names, by the architecture's, and a note for each step that was taken.

    Raises WrongContent when a rename is no regular expression, or gives two tensors one name.
    """
    values, notes = dict(named), list[str]()
    while prefix := next((item for item in PREFIXES if values and all(name.startswith(item) for name in values)), ""):
        values = {name.removeprefix(prefix): value for name, value in values.items()}
        notes.append(f"`{prefix}` taken off every name")
    for rename in renames:
        count, values = len(values), _apply(rename, values)
        step = (
            "renamed tensors"
            if rename.replacement is not None
            else f"left out {count - len(values)} of {count} tensors"
        )
        notes.append(f"`{rename.pattern}` {step}")
    return values, tuple(notes)


def _apply(rename: Rename, named: Mapping[str, T]) -> dict[str, T]:
    if rename.replacement is None:
        return {name: value for name, value in named.items() if not _has(rename, name)}
    names = {name: _substituted(rename, name) for name in named}
    twice = [name for name, count in Counter(names.values()).items() if count > 1]
    if twice:
        what = f"the rename {rename.pattern!r} gives two tensors one name: {_listed(twice)}"
        raise WrongContent(what, where=str(rename.where))
    return {names[name]: value for name, value in named.items()}


def others(artifact: Artifact, renames: Sequence[Rename] = ()) -> Mapping[str, Mapping[str, Tensor]]:
    """What a training script's file has beside the tensors that `read` takes, by the name that it stores them under."""
    if is_safetensors(artifact.path):
        return {}
    stored = _read_pickle(artifact.path)
    wrappers = [name for name in WRAPPERS if isinstance(stored.get(name), Mapping)][1:]
    return {name: under_own_names(_only_tensors(stored[name], artifact.file), renames)[0] for name in wrappers}


def is_safetensors(path: Path) -> bool:
    """Whether the file begins as safetensors does: 8 bytes of header length, then a JSON object
    (github.com/huggingface/safetensors, README, "Format", seen 2026-11-24)."""
    with path.open("rb") as file:
        return file.read(9)[8:9] == b"{"


def main_dtype(tensors: Mapping[str, Tensor]) -> str:
    """The type that most of the elements have, as `float32`; `none` when there are no tensors."""
    elements: Counter[str] = Counter()
    for tensor in tensors.values():
        elements[_dtype(tensor)] += tensor.numel()
    return elements.most_common(1)[0][0] if elements else "none"


def refuse_unsound(tensors: Mapping[str, Tensor], file: str) -> None:
    """Raises WrongContent naming the tensors of `file` that hold NaN or Inf."""
    broken = [name for name, tensor in tensors.items() if tensor.is_floating_point() and not _is_finite(tensor)]
    if broken:
        raise WrongContent(
            f"{_counted(broken, 'tensor')} of {file} {'hold' if len(broken) > 1 else 'holds'} NaN or Inf: {_listed(broken)}",
            hint="ask the publisher for sound weights",
        )


def zeros(tensors: Mapping[str, Tensor]) -> tuple[str, ...]:
    """The names of tensors of numbers that are zero everywhere."""
    return tuple(name for name, value in tensors.items() if value.is_floating_point() and not bool(value.any()))


def fit(module: nn.Module, tensors: Mapping[str, Tensor], file: str) -> None:
    """Put the tensors into the module; raises WrongContent naming the keys and shapes that differ."""
    refuse_misfit(module, tensors, file)
    module.load_state_dict(dict(tensors), strict=True)


def refuse_misfit(module: nn.Module, tensors: Mapping[str, Tensor], file: str) -> None:
    """Raises WrongContent naming the keys and shapes that differ between the tensors of `file` and the module's."""
    different = misfit(shapes(module.state_dict()), shapes(tensors))
    if different:
        raise WrongContent(f"the tensors of {file} do not fit the architecture: {different}")


Shapes = Mapping[str, tuple[int, ...]]


def shapes(tensors: Mapping[str, Tensor]) -> Shapes:
    """The shape of each tensor, by name."""
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def parameters(tensor_shapes: Shapes) -> int:
    """How many elements the tensors have that are no statistics of a batch norm: about the parameters."""
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    return sum(prod(shape) for name, shape in tensor_shapes.items() if not name.endswith(statistics))


def misfit(expected: Shapes, actual: Shapes) -> str:
    """How the tensors of a file differ from an architecture's, the first few of each kind named; empty when they fit.

    A missing `num_batches_tracked` is none: files of torch before 0.4.1 have no such counters, torch itself fills them in
    (torch/nn/modules/batchnorm.py, version 2), and nothing reads them in eval mode.
    """
    differing = {
        "missing": [name for name in expected if name not in actual and not name.endswith("num_batches_tracked")],
        "too many": [name for name in actual if name not in expected],
        "of another shape": [
            f"{name} is {actual[name]}, not {shape}"
            for name, shape in expected.items()
            if name in actual and actual[name] != shape
        ],
    }
    return "; ".join(f"{len(names)} {word}: {_listed(names)}" for word, names in differing.items() if names)


def difference(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> str:
    """How two files' tensors differ in names or values; empty when they are equal, the wider rounded to the narrower."""
    names = set(first).symmetric_difference(second)
    if names:
        return f"{_counted(sorted(names), 'tensor')} in one of them only: {_listed(sorted(names))}"
    differing = [name for name in first if not _same_bits(*_in_one_type(first[name], second[name]))]
    if differing:
        verb = "differ" if len(differing) > 1 else "differs"
        return f"{_counted(differing, 'tensor')} {verb}: {_listed(differing)}"
    return ""


def write_safetensors(source: Artifact, target: Path, renames: Sequence[Rename] = ()) -> None:
    """The tensors of a file of weights as safetensors, proved equal: names, types, shapes and every bit.

    Raises WrongContent when the source cannot be loaded safely, or has a tensor that safetensors cannot hold.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    state = _in_own_memory(read(source, renames).tensors)
    try:
        save_file(state, target, metadata={"format": "pt"})
    except (SafetensorError, RuntimeError, ValueError, TypeError, KeyError) as error:
        raise WrongContent(f"{source.file} cannot be written as safetensors: {error}") from error
    _refuse_difference(state, target, source.file)


def _in_own_memory(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors each in memory of its own, as safetensors asks for: a view, and the second of two in one place, are copied."""
    separate: dict[str, Tensor] = {}
    places: set[int] = set()
    for name, value in state.items():
        tensor = value.detach().contiguous()
        is_whole = tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()
        separate[name] = tensor if is_whole and tensor.data_ptr() not in places else tensor.clone()
        places.add(separate[name].data_ptr())
    return separate


def _refuse_difference(state: Mapping[str, Tensor], path: Path, source: str) -> None:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as written:
        names = set(written.keys())
        differing = names.symmetric_difference(state)
        differing |= {name for name in names & set(state) if not _same_bits(state[name], written.get_tensor(name))}
    if differing:
        first = sorted(differing)[0]
        raise WrongContent(f"{len(differing)} tensors of {source} came out differently as safetensors, first {first}")


def _same_bits(first: Tensor, second: Tensor) -> bool:
    """Whether two tensors are equal in type, shape and every bit; unlike ==, NaN equals itself and 0 is not -0."""
    import torch

    if first.dtype != second.dtype or first.shape != second.shape:
        return False
    return torch.equal(first.reshape(-1).view(torch.uint8), second.reshape(-1).view(torch.uint8))


def _in_one_type(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    if first.element_size() > second.element_size():
        return first.to(second.dtype).contiguous(), second.contiguous()
    return first.contiguous(), second.to(first.dtype).contiguous()


# --- reading ------------------------------------------------------------------------------------------------------


def _read_safetensors(path: Path) -> Mapping[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    with path.open("rb") as file:
        header_bytes(path.name, file.read(8), path.stat().st_size)
    try:
        tensors: Mapping[str, Tensor] = load_file(path)
    except (SafetensorError, OSError, ValueError, RuntimeError, KeyError, AttributeError) as error:
        raise WrongContent(f"{path.name} is no sound safetensors file: {error}") from error
    return tensors


def header_bytes(file: str, head: bytes, size_bytes: int | None) -> int:
    """The length in bytes of the header that the first 8 bytes of a safetensors file announce.

    Raises WrongContent when it is longer than the file or than any sound one.
    """
    length = int.from_bytes(head[:8], "little")
    if len(head) < 8 or (size_bytes is not None and length + 8 > size_bytes):
        raise WrongContent(
            f"{file} is no sound safetensors file: its header says {length} bytes, the file has {size_bytes}"
        )
    if length > MOST_HEADER_BYTES:
        raise WrongContent(f"the header of {file} has {length} bytes, which no sound safetensors file needs")
    return length


def _read_pickle(path: Path) -> Mapping[Any, Any]:
    import argparse
    import pickle
    import warnings

    import torch

    try:
        # timm's training checkpoints hold their arguments beside the tensors; a Namespace does nothing.
        with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of an odd pickle protocol: a damaged file is told as one below
            state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = str(error).partition("\n")[0][:200]
        raise WrongContent(
            f"{path.name} cannot be loaded without executing code, which zoo never does: {reason}",
            hint="ask the publisher for safetensors, or for a file of tensors alone",
        ) from error
    except _DAMAGE as error:
        raise WrongContent(
            f"{path.name} is no sound file of weights: {str(error).partition(chr(10))[0][:200]}"
        ) from error
    if not isinstance(state, Mapping):
        raise WrongContent(f"{path.name} holds a {type(state).__name__}, not a state dict")
    return state


_DAMAGE = (
    *(RuntimeError, EOFError, OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, AssertionError),
    *(OverflowError, ImportError, struct.error),
)
"""What torch.load raises on damaged files, besides UnpicklingError: it does not say; these were seen on flipped bytes."""


def _only_tensors(stored: Mapping[Any, Any], file: str) -> dict[str, Tensor]:
    import torch

    wrong = [str(name) for name, value in stored.items() if not isinstance(value, torch.Tensor)]
    if wrong:
        raise WrongContent(f"{file} holds more than tensors: {_listed(wrong)}")
    return {str(name): value.detach() for name, value in stored.items()}


def _has(rename: Rename, name: str) -> bool:
    try:
        return re.search(rename.pattern, name) is not None
    except re.error as error:
        raise WrongContent(f"{rename.pattern!r} is no pattern: {error}", where=str(rename.where)) from error


def _substituted(rename: Rename, name: str) -> str:
    try:
        return re.sub(rename.pattern, rename.replacement or "", name)
    except (re.error, IndexError) as error:
        raise WrongContent(
            f"{rename.pattern!r} -> {rename.replacement!r} is no substitution: {error}", where=str(rename.where)
        ) from error


def _is_finite(tensor: Tensor) -> bool:
    # torch has no isfinite for types of one byte
    return bool((tensor.float() if tensor.element_size() == 1 else tensor).isfinite().all())


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _counted(names: Sequence[str], noun: str) -> str:
    return f"{len(names)} {noun}{'s' if len(names) != 1 else ''}"


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:MOST_NAMES]) + (", ..." if len(names) > MOST_NAMES else "")
