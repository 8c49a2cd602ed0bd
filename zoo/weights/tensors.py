"""Read the tensors of a weights file by the architecture's names, and compare them with a module, key by key.

Only `weights_only` loading and safetensors are used: no code in a pickle is executed. Wrappers and prefixes around the
tensors are removed, and each such step is noted for the findings. The bytes are read once, and are those that were measured.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Sized
from dataclasses import dataclass
from math import prod
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from zoo.errors import CannotCheck, WrongContent
from zoo.registry.card import Rename
from zoo.runtime.limits import is_out_of_memory
from zoo.weights.contents import read_measured
from zoo.weights.headers import DTYPES, LENGTH_BYTES, MAX_DIMENSIONS, TensorEntry, header_bytes, parse_entries
from zoo.weights.pickles import load_pickle
from zoo.weights.renames import listed, under_own_names
from zoo.weights.store import Artifact

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


WRAPPERS = ("state_dict_ema", "model_ema", "state_dict", "model")
"""The keys under which training scripts store a state dict; the first one in a file is used. Averaged weights come
before the last ones, as in timm's load_state_dict (timm/models/_helpers.py, 1.0.31, seen 2026-11-24)."""
MAX_COPIES, FREE_BYTES = 16, 64 << 20
"""Tensors may share their bytes: in a file they take at most so many times its size, and FREE_BYTES. Some models use a block
a dozen times; a pickle of 1 kB can have a tensor of 1 TB."""
VARIANCE = "running_var"
"""The end of the name of batch norm's variances (torch.nn.BatchNorm2d). Below zero, their square root is NaN."""


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

    Raises WrongContent when the file changed after it was measured, is damaged, does not contain a state dict, would run
    code when unpickled, or when two of its tensors would get the same name; CannotCheck when it needs more memory than there
    is, or has tensors that zoo does not read: sparse, quantized or nested ones.
    """
    content = read_measured(artifact.path, artifact.file, artifact.measured)
    if _is_safetensors(content):
        tensors, renamed = under_own_names(_read_safetensors(content, artifact.file), renames)
        return Contents(tensors, "safetensors", renamed)
    stored = load_pickle(content, artifact.file)
    notes: tuple[str, ...] = ()
    wrappers = [name for name in WRAPPERS if isinstance(stored.get(name), Mapping)]
    if wrappers:
        stored = stored[wrappers[0]]
        notes = (f"read from `{wrappers[0]}`", *(f"ignored `{name}`" for name in wrappers[1:]))
    tensors, renamed = under_own_names(_only_tensors(stored, artifact), renames)
    return Contents(tensors, "pickle", (*notes, *renamed))


def others(artifact: Artifact, renames: Sequence[Rename] = ()) -> Mapping[str, Mapping[str, Tensor]]:
    """Return the further state dicts of a training script's file, which `read` ignores, by their keys in the file."""
    content = read_measured(artifact.path, artifact.file, artifact.measured)
    if _is_safetensors(content):
        return {}
    stored = load_pickle(content, artifact.file)
    wrappers = [name for name in WRAPPERS if isinstance(stored.get(name), Mapping)][1:]
    return {name: under_own_names(_only_tensors(stored[name], artifact), renames)[0] for name in wrappers}


def is_safetensors(path: Path) -> bool:
    """Return whether the file begins as safetensors: 8 bytes with the header's length, then a JSON object.

    Source: github.com/huggingface/safetensors, README, "Format", seen 2026-11-24.
    """
    with path.open("rb") as file:
        return _is_safetensors(file.read(LENGTH_BYTES + 1))


def main_dtype(tensors: Mapping[str, Tensor]) -> str:
    """Return the type of most elements, as `float32`; `none` without tensors."""
    elements: Counter[str] = Counter()
    for tensor in tensors.values():
        elements[_dtype(tensor)] += tensor.numel()
    return elements.most_common(1)[0][0] if elements else "none"


def refuse_unsound(tensors: Mapping[str, Tensor], file: str) -> None:
    """Raise WrongContent with the names of the tensors of `file` that have values which no trained model has.

    These are NaN, Inf, variances below zero, and booleans of another byte than 0 and 1.
    """
    for is_wrong, what, hint in (
        (_is_not_finite, "NaN or Inf", "ask the publisher for corrected weights"),
        (_is_not_boolean, "booleans that are neither true nor false", "ask the publisher for corrected weights"),
    ):
        broken = [name for name, tensor in tensors.items() if is_wrong(tensor)]
        if broken:
            verb = "contain" if len(broken) > 1 else "contains"
            raise WrongContent(f"{_counted(broken, 'tensor')} of {file} {verb} {what}: {listed(broken)}", hint=hint)
    negative = [name for name, tensor in tensors.items() if name.endswith(VARIANCE) and _has_negative(tensor)]
    if negative:
        verb = "have" if len(negative) > 1 else "has"
        raise WrongContent(
            f"{_counted(negative, 'variance')} of {file} {verb} values below zero: {listed(negative)}",
            hint="ask the publisher for corrected weights",
        )


def zeros(tensors: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Return the names of the tensors whose elements are all zero: those with fractions, and those of 2 dimensions and more."""
    return tuple(
        name
        for name, tensor in tensors.items()
        if tensor.numel() and (tensor.dim() > 1 or _kind(tensor.dtype) in _FRACTIONS) and _is_zero(tensor)
    )


def without_fractions(expected: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Return the names of the tensors of 2 dimensions and more with whole numbers, where an architecture has fractions."""
    return tuple(
        name
        for name, tensor in tensors.items()
        if tensor.dim() > 1 and _kind(tensor.dtype) not in _FRACTIONS and _kind(expected[name].dtype) in _FRACTIONS
    )


def fit(module: nn.Module, tensors: Mapping[str, Tensor], file: str) -> None:
    """Load the tensors into the module. Raises WrongContent with the keys and shapes that differ."""
    refuse_misfit(module, tensors, file)
    try:
        module.load_state_dict(dict(tensors), strict=True)
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        reason = str(error).strip().splitlines()[-1].strip()
        raise WrongContent(f"the tensors of {file} do not load into the architecture: {reason}") from error


def refuse_misfit(module: nn.Module, tensors: Mapping[str, Tensor], file: str) -> None:
    """Raise WrongContent with the keys and shapes that differ between the tensors of `file` and the module's."""
    expected = module.state_dict()
    different = misfit(shapes(expected), shapes(tensors)) or misfit_types(expected, tensors)
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
    return "; ".join(f"{len(names)} {word}: {listed(names)}" for word, names in differing.items() if names)


def misfit_types(expected: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> str:
    """Return which tensors have a type that torch does not turn into the architecture's; empty when there is none.

    It drops the imaginary part of complex numbers without an error, so these do not fit either. The names are the same.
    """
    differing = [
        f"{name} is {_dtype(tensor)}, not {_dtype(expected[name])}"
        for name, tensor in tensors.items()
        if tensor.dtype != expected[name].dtype and not _can_become(tensor.dtype, expected[name].dtype)
    ]
    return f"{len(differing)} of another type: {listed(differing)}" if differing else ""


def _can_become(dtype: torch.dtype, expected: torch.dtype) -> bool:
    import torch

    if dtype.is_complex and not expected.is_complex:
        return False
    try:
        torch.empty(1, dtype=expected).copy_(
            torch.empty(1, dtype=torch.uint8).expand(dtype.itemsize).clone().view(dtype)
        )
    except RuntimeError:  # such as NotImplementedError for types of less than a byte
        return False
    return True


def difference(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> str:
    """Return how two files' tensors differ in names or values; empty when they are equal.

    Where the types differ, the wider one is rounded to the narrower.
    """
    names = set(first).symmetric_difference(second)
    if names:
        return f"{_counted(sorted(names), 'tensor')} only in one of them: {listed(sorted(names))}"
    differing = [name for name in first if not _same_bits(*_in_one_type(first[name], second[name]))]
    if differing:
        verb = "differ" if len(differing) > 1 else "differs"
        return f"{_counted(differing, 'tensor')} {verb}: {listed(differing)}"
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
    """Return the tensors with equal types if their kinds are equal: fractions in the narrower type, whole numbers in the wider.

    A float32 of 0.3 is not equal to an int8 of 0.
    """
    if _kind(first.dtype) != _kind(second.dtype):
        return first, second
    narrow, wide = sorted((first.dtype, second.dtype), key=lambda dtype: dtype.itemsize)
    dtype = narrow if _kind(narrow) in _FRACTIONS else wide
    return first.to(dtype).contiguous(), second.to(dtype).contiguous()


# --- reading ------------------------------------------------------------------------------------------------------


def _is_safetensors(head: bytes | memoryview) -> bool:
    return head[LENGTH_BYTES : LENGTH_BYTES + 1] == b"{"


def _read_safetensors(content: memoryview, file: str) -> Mapping[str, Tensor]:
    """Return the tensors, which use the memory of `content` where the bytes of their elements are aligned in it."""
    start = LENGTH_BYTES + header_bytes(file, content, len(content))
    entries = parse_entries(file, content[LENGTH_BYTES:start], len(content) - start)
    try:
        return {entry.name: _tensor(content[start:], entry, file) for entry in entries}
    except (RuntimeError, ValueError, OverflowError, MemoryError) as error:
        if is_out_of_memory(error):
            raise CannotCheck(
                f"not enough memory to load {file}", hint="run it on a machine with more memory"
            ) from error
        raise WrongContent(f"{file} is not a valid safetensors file: {error}") from error


def _tensor(body: memoryview, entry: TensorEntry, file: str) -> Tensor:
    import torch

    dtype = getattr(torch, DTYPES.get(entry.dtype, ""), None)
    if dtype is None:
        raise CannotCheck(
            f"{entry.name} of {file} has the type {entry.dtype}, which torch {torch.__version__} does not read"
        )
    shape = list(entry.shape)
    if entry.dtype == "F4":  # torch counts pairs of elements
        if not shape or shape[-1] % 2:
            raise ValueError(f"{entry.name} has half a byte")
        shape[-1] //= 2
    if entry.begin == entry.end:
        return torch.empty(shape, dtype=dtype)
    data = torch.frombuffer(body, dtype=torch.uint8, count=entry.end - entry.begin, offset=entry.begin)
    if data.data_ptr() % dtype.itemsize:
        data = data.clone()
    return data.view(dtype).reshape(shape)


def _only_tensors(stored: Mapping[Any, Any], artifact: Artifact) -> dict[str, Tensor]:
    """Return the values by name, detached, if all are tensors with their values in memory, and reasonably many."""
    import torch

    file, tensors = artifact.file, {str(name): value for name, value in stored.items()}
    if len(tensors) < len(stored):
        raise WrongContent(f"{file} has a name twice, as text and as a number")
    wrong = [name for name, value in tensors.items() if not isinstance(value, torch.Tensor)]
    if wrong:
        raise WrongContent(f"{file} contains values that are not tensors: {listed(wrong)}")
    empty = [name for name, value in tensors.items() if value.is_meta]
    if empty:
        raise WrongContent(
            f"{file} contains {_counted(empty, 'tensor')} without values, on the device meta: {listed(empty)}"
        )
    for kind, is_kind in _NOT_READ.items():
        unread = [name for name, value in tensors.items() if is_kind(value)]
        if unread:
            raise CannotCheck(
                f"{file} contains {_counted(unread, f'{kind} tensor')}, which zoo does not read: {listed(unread)}",
                hint="save it with ordinary (dense) tensors",
            )
    large = [name for name, value in tensors.items() if value.dim() > MAX_DIMENSIONS]
    if large:
        raise WrongContent(f"{file} contains tensors of more than {MAX_DIMENSIONS} dimensions: {listed(large)}")
    total = sum(value.numel() * value.element_size() for value in tensors.values())
    if total > MAX_COPIES * artifact.size_bytes + FREE_BYTES:
        raise WrongContent(
            f"{file} has {artifact.size_bytes} bytes, but its tensors use them again and again, as {total} bytes"
        )
    return {name: value.detach().resolve_conj().resolve_neg() for name, value in tensors.items()}


_NOT_READ: Mapping[str, Callable[[Tensor], bool]] = MappingProxyType(
    {
        "nested": lambda tensor: tensor.is_nested,
        "quantized": lambda tensor: tensor.is_quantized,
        "sparse": lambda tensor: str(tensor.layout) != "torch.strided",
    }
)
"""The tensors that a pickle may contain and no architecture of a card has."""


# --- values -------------------------------------------------------------------------------------------------------

_FRACTIONS = ("float", "complex")


def _kind(dtype: torch.dtype) -> str:
    """Return `float`, `complex`, `bool`, or `int` for everything else."""
    if dtype.is_floating_point:
        return "float"
    if dtype.is_complex:
        return "complex"
    return "bool" if str(dtype) == "torch.bool" else "int"


def _is_not_finite(tensor: Tensor) -> bool:
    if _kind(tensor.dtype) not in _FRACTIONS or _is_float4(tensor):  # float4 has neither NaN nor Inf
        return False
    return not bool(_computable(tensor).isfinite().all())


def _is_not_boolean(tensor: Tensor) -> bool:
    import torch

    return _kind(tensor.dtype) == "bool" and bool((tensor.contiguous().view(torch.uint8) > 1).any())


def _has_negative(tensor: Tensor) -> bool:
    return _kind(tensor.dtype) == "float" and not _is_float4(tensor) and bool((_computable(tensor) < 0).any())


def _is_zero(tensor: Tensor) -> bool:
    import torch

    if _is_float4(tensor):  # two elements in a byte, each with its sign in the highest bit
        return not bool((tensor.contiguous().view(torch.uint8) & 0x77).any())
    return not bool(_computable(tensor).any())


def _computable(tensor: Tensor) -> Tensor:
    """Return the tensor in a type that torch can compute with: it has few functions for floats of one byte."""
    return tensor.float() if tensor.is_floating_point() and tensor.element_size() == 1 else tensor


def _is_float4(tensor: Tensor) -> bool:
    return str(tensor.dtype) == "torch.float4_e2m1fn_x2"


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _counted(names: Sized, noun: str) -> str:
    return f"{len(names)} {noun}{'s' if len(names) != 1 else ''}"
