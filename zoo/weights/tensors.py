"""Read the tensors of a weights file by the architecture's names, and compare them with a module, key by key.

Only `weights_only` loading and safetensors are used: no code in a pickle is executed. Wrappers and prefixes around the
tensors are removed, and each such step is noted for the findings.
"""

from __future__ import annotations

import re
import struct
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Sized
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
"""The keys under which training scripts store a state dict; the first one in a file is used. Averaged weights come
before the last ones, as in timm's load_state_dict (timm/models/_helpers.py, 1.0.31, seen 2026-11-24)."""
PREFIXES = ("module.", "_orig_mod.")
"""The prefixes that torch.nn.DataParallel and torch.compile add to every name."""
MAX_HEADER_BYTES = 25_000_000
"""A longer safetensors header is rejected, not parsed: a tensor takes about 100 bytes of it. huggingface_hub has the
same limit (constants.py, SAFETENSORS_MAX_HEADER_LENGTH, 2.4.0, seen 2026-11-24)."""
MAX_NAMES = 4
"""How many of the differing keys a message names."""


@dataclass(frozen=True, slots=True)
class Contents:
    """The tensors of a file on the CPU, by the architecture's names.

    format: `safetensors` or `pickle`, by the bytes. notes: the wrappers, prefixes and renames, for people.
    """

    tensors: Mapping[str, Tensor]
    format: str
    notes: tuple[str, ...] = ()


def read(artifact: Artifact, renames: Sequence[Rename] = ()) -> Contents:
    """Read the tensors of a file without executing any code.

    Raises WrongContent when the file is damaged, does not contain a state dict, would run code when unpickled, or when
    two of its tensors would get the same name.
    """
    if is_safetensors(artifact.path):
        tensors, renamed = under_own_names(_read_safetensors(artifact.path), renames)
        return Contents(tensors, "safetensors", renamed)
    stored = _read_pickle(artifact.path)
    notes: tuple[str, ...] = ()
    wrappers = [name for name in WRAPPERS if isinstance(stored.get(name), Mapping)]
    if wrappers:
        stored = stored[wrappers[0]]
        notes = (f"read from `{wrappers[0]}`", *(f"ignored `{name}`" for name in wrappers[1:]))
    tensors, renamed = under_own_names(_only_tensors(stored, artifact.file), renames)
    return Contents(tensors, "pickle", (*notes, *renamed))


def under_own_names(named: Mapping[str, T], renames: Sequence[Rename]) -> tuple[dict[str, T], tuple[str, ...]]:
    """Return the values by the architecture's names instead of the file's, and a note for each step.

    Common prefixes are removed, then the renames are applied in order. Raises WrongContent when a rename is not a valid
    regular expression, or gives two tensors the same name.
    """
    values, notes = dict(named), list[str]()
    while prefix := next((item for item in PREFIXES if values and all(name.startswith(item) for name in values)), ""):
        values = {name.removeprefix(prefix): value for name, value in values.items()}
        notes.append(f"removed `{prefix}` from every name")
    for rename in renames:
        count, values = len(values), _apply(rename, values)
        step = (
            "renamed tensors" if rename.replacement is not None else f"removed {count - len(values)} of {count} tensors"
        )
        notes.append(f"`{rename.pattern}` {step}")
    return values, tuple(notes)


def _apply(rename: Rename, named: Mapping[str, T]) -> dict[str, T]:
    if rename.replacement is None:
        return {name: value for name, value in named.items() if not _has(rename, name)}
    names = {name: _substituted(rename, name) for name in named}
    twice = [name for name, count in Counter(names.values()).items() if count > 1]
    if twice:
        what = f"the rename {rename.pattern!r} gives two tensors the same name: {_listed(twice)}"
        raise WrongContent(what, where=str(rename.where))
    return {names[name]: value for name, value in named.items()}


def others(artifact: Artifact, renames: Sequence[Rename] = ()) -> Mapping[str, Mapping[str, Tensor]]:
    """Return the further state dicts of a training script's file, which `read` ignores, by their keys in the file."""
    if is_safetensors(artifact.path):
        return {}
    stored = _read_pickle(artifact.path)
    wrappers = [name for name in WRAPPERS if isinstance(stored.get(name), Mapping)][1:]
    return {name: under_own_names(_only_tensors(stored[name], artifact.file), renames)[0] for name in wrappers}


def is_safetensors(path: Path) -> bool:
    """Return whether the file begins as safetensors: 8 bytes with the header's length, then a JSON object.

    Source: github.com/huggingface/safetensors, README, "Format", seen 2026-11-24.
    """
    with path.open("rb") as file:
        return file.read(9)[8:9] == b"{"


def main_dtype(tensors: Mapping[str, Tensor]) -> str:
    """Return the type of most elements, as `float32`; `none` without tensors."""
    elements: Counter[str] = Counter()
    for tensor in tensors.values():
        elements[_dtype(tensor)] += tensor.numel()
    return elements.most_common(1)[0][0] if elements else "none"


def refuse_unsound(tensors: Mapping[str, Tensor], file: str) -> None:
    """Raise WrongContent with the names of the tensors of `file` that contain NaN or Inf."""
    broken = [name for name, tensor in tensors.items() if tensor.is_floating_point() and not _is_finite(tensor)]
    if broken:
        verb = "contain" if len(broken) > 1 else "contains"
        raise WrongContent(
            f"{_counted(broken, 'tensor')} of {file} {verb} NaN or Inf: {_listed(broken)}",
            hint="ask the publisher for corrected weights",
        )


def zeros(tensors: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Return the names of the floating-point tensors whose elements are all zero."""
    return tuple(name for name, value in tensors.items() if value.is_floating_point() and not bool(value.any()))


def fit(module: nn.Module, tensors: Mapping[str, Tensor], file: str) -> None:
    """Load the tensors into the module. Raises WrongContent with the keys and shapes that differ."""
    refuse_misfit(module, tensors, file)
    module.load_state_dict(dict(tensors), strict=True)


def refuse_misfit(module: nn.Module, tensors: Mapping[str, Tensor], file: str) -> None:
    """Raise WrongContent with the keys and shapes that differ between the tensors of `file` and the module's."""
    different = misfit(shapes(module.state_dict()), shapes(tensors))
    if different:
        raise WrongContent(f"the tensors of {file} do not fit the architecture: {different}")


Shapes = Mapping[str, tuple[int, ...]]


def shapes(tensors: Mapping[str, Tensor]) -> Shapes:
    """Return the shape of each tensor, by name."""
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def parameters(tensor_shapes: Shapes) -> int:
    """Return the number of elements without the statistics of batch norms: about the number of parameters."""
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    return sum(prod(shape) for name, shape in tensor_shapes.items() if not name.endswith(statistics))


def misfit(expected: Shapes, actual: Shapes) -> str:
    """Return how the tensors of a file differ from an architecture's, with the first few names; empty when they fit.

    A missing `num_batches_tracked` does not count: files of torch before 0.4.1 have no such counters, torch itself adds
    them (torch/nn/modules/batchnorm.py, version 2), and nothing reads them in eval mode.
    """
    differing = {
        "missing": [name for name in expected if name not in actual and not name.endswith("num_batches_tracked")],
        "unexpected": [name for name in actual if name not in expected],
        "of another shape": [
            f"{name} is {list(actual[name])}, not {list(shape)}"
            for name, shape in expected.items()
            if name in actual and actual[name] != shape
        ],
    }
    return "; ".join(f"{len(names)} {word}: {_listed(names)}" for word, names in differing.items() if names)


def difference(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> str:
    """Return how two files' tensors differ in names or values; empty when they are equal.

    Where the types differ, the wider one is rounded to the narrower.
    """
    names = set(first).symmetric_difference(second)
    if names:
        return f"{_counted(sorted(names), 'tensor')} only in one of them: {_listed(sorted(names))}"
    differing = [name for name in first if not _same_bits(*_in_one_type(first[name], second[name]))]
    if differing:
        verb = "differ" if len(differing) > 1 else "differs"
        return f"{_counted(differing, 'tensor')} {verb}: {_listed(differing)}"
    return ""


def write_safetensors(source: Artifact, target: Path, renames: Sequence[Rename] = ()) -> None:
    """Write the tensors of a weights file as safetensors, and verify names, types, shapes and every bit of the copy.

    Raises WrongContent when the source cannot be loaded safely, or has a tensor that safetensors does not support.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    state = _in_own_memory(read(source, renames).tensors)
    try:
        save_file(state, target, metadata={"format": "pt"})
    except (SafetensorError, RuntimeError, ValueError, TypeError, KeyError) as error:
        raise WrongContent(f"cannot write {source.file} as safetensors: {error}") from error
    _refuse_difference(state, target, source.file)


def _in_own_memory(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors without shared memory, which safetensors rejects: views and duplicates are copied."""
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
        raise WrongContent(
            f"{_counted(differing, 'tensor')} of {source} changed in the safetensors file, first {first}"
        )


def _same_bits(first: Tensor, second: Tensor) -> bool:
    """Return whether two tensors have equal type, shape and bits. Unlike with ==, NaN equals itself and 0 is not -0."""
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
        raise WrongContent(f"{path.name} is not a valid safetensors file: {error}") from error
    return tensors


def header_bytes(file: str, head: bytes, size_bytes: int | None) -> int:
    """Return the length of a safetensors header in bytes, from the first 8 bytes of the file (`head`).

    Raises WrongContent when the header is longer than the file or than MAX_HEADER_BYTES.
    """
    if len(head) < 8:
        raise WrongContent(f"{file} is not a valid safetensors file: it has only {len(head)} bytes")
    length = int.from_bytes(head[:8], "little")
    if size_bytes is not None and length + 8 > size_bytes:
        what = f"{file} is not a valid safetensors file: its header has {length} bytes, the whole file {size_bytes}"
        raise WrongContent(what)
    if length > MAX_HEADER_BYTES:
        raise WrongContent(f"the header of {file} has {length} bytes, more than the limit of {MAX_HEADER_BYTES}")
    return length


def _read_pickle(path: Path) -> Mapping[Any, Any]:
    import argparse
    import pickle
    import warnings

    import torch

    try:
        # timm's training checkpoints hold their arguments beside the tensors; a Namespace does nothing.
        with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about an unusual pickle protocol: damaged files are reported below
            state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = str(error).partition("\n")[0][:200]
        raise WrongContent(
            f"{path.name} cannot be loaded without executing code, which zoo never does: {reason}",
            hint="ask the publisher for a safetensors file, or for a file with only tensors",
        ) from error
    except _DAMAGE as error:
        raise WrongContent(
            f"{path.name} is not a valid weights file: {str(error).partition(chr(10))[0][:200]}"
        ) from error
    if not isinstance(state, Mapping):
        raise WrongContent(f"{path.name} contains a {type(state).__name__}, not a state dict")
    return state


_DAMAGE = (
    *(RuntimeError, EOFError, OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, AssertionError),
    *(OverflowError, ImportError, struct.error),
)
"""What torch.load raises for damaged files besides UnpicklingError, as seen with flipped bytes; undocumented."""


def _only_tensors(stored: Mapping[Any, Any], file: str) -> dict[str, Tensor]:
    import torch

    wrong = [str(name) for name, value in stored.items() if not isinstance(value, torch.Tensor)]
    if wrong:
        raise WrongContent(f"{file} contains values that are not tensors: {_listed(wrong)}")
    return {str(name): value.detach() for name, value in stored.items()}


def _has(rename: Rename, name: str) -> bool:
    try:
        return re.search(rename.pattern, name) is not None
    except re.error as error:
        raise WrongContent(f"{rename.pattern!r} is not a valid pattern: {error}", where=str(rename.where)) from error


def _substituted(rename: Rename, name: str) -> str:
    try:
        return re.sub(rename.pattern, rename.replacement or "", name)
    except (re.error, IndexError) as error:
        raise WrongContent(
            f"{rename.pattern!r} -> {rename.replacement!r} is not a valid substitution: {error}",
            where=str(rename.where),
        ) from error


def _is_finite(tensor: Tensor) -> bool:
    # torch has no isfinite for one-byte types
    return bool((tensor.float() if tensor.element_size() == 1 else tensor).isfinite().all())


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _counted(names: Sized, noun: str) -> str:
    return f"{len(names)} {noun}{'s' if len(names) != 1 else ''}"


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:MAX_NAMES]) + (", ..." if len(names) > MAX_NAMES else "")
