"""Parse the header of a safetensors file: each tensor's name, type, shape and place.

The format: 8 bytes with the header's length, a JSON object, the tensors' bytes without gaps (github.com/huggingface/
safetensors, README, "Format", seen 2026-11-24). The parser refuses what the format forbids, and duplicate names, of which
readers may take either.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from types import MappingProxyType
from typing import Any

from zoo.errors import WrongContent

LENGTH_BYTES = 8
"""The size of the number before the header that gives the header's length."""
MAX_HEADER_BYTES = 25_000_000
"""A longer header is rejected, not parsed: a tensor takes about 100 bytes of it. huggingface_hub has the same limit
(constants.py, SAFETENSORS_MAX_HEADER_LENGTH, 2.4.0, seen 2026-11-24)."""
DTYPES: Mapping[str, str] = MappingProxyType({
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "F8_E4M3FNUZ": "float8_e4m3fnuz", "F8_E5M2FNUZ": "float8_e5m2fnuz",
    "F8_E8M0": "float8_e8m0fnu", "F4": "float4_e2m1fn_x2", "C64": "complex64",
    "I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8",
    "U64": "uint64", "U32": "uint32", "U16": "uint16", "U8": "uint8", "BOOL": "bool",
})  # fmt: skip
"""The types' names in safetensors and in torch (safetensors/src/tensor.rs, 0.8.0, seen 2026-11-28)."""
BITS: Mapping[str, int] = MappingProxyType(
    {
        **{"F64": 64, "C64": 64, "I64": 64, "U64": 64, "F32": 32, "I32": 32, "U32": 32},
        **{"F16": 16, "BF16": 16, "I16": 16, "U16": 16, "F6_E2M3": 6, "F6_E3M2": 6, "F4": 4},
    }
)
"""The bits of an element; all other known types have 8."""
MAX_DIMENSIONS = 64
"""The most dimensions of a torch tensor (ATen/WrapDimUtilsMulti.h). Multiplying the sizes that fit into a header,
more than a million, would take over an hour."""
MAX_ELEMENTS = 1 << 63
"""torch counts elements, and the steps between them, in 64 bits with a sign."""
METADATA = "__metadata__"


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """A tensor in a header: its bytes are `begin` up to `end`, counted from the end of the header."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def header_bytes(file: str, head: bytes | memoryview, size_bytes: int | None) -> int:
    """Return the length of a safetensors header in bytes, from the first 8 bytes of the file (`head`).

    Raises WrongContent when the header is longer than the file or than MAX_HEADER_BYTES.
    """
    if len(head) < LENGTH_BYTES:
        raise WrongContent(f"{file} is not a valid safetensors file: it has only {len(head)} bytes")
    length = int.from_bytes(head[:LENGTH_BYTES], "little")
    if size_bytes is not None and length + LENGTH_BYTES > size_bytes:
        what = f"{file} is not a valid safetensors file: its header has {length} bytes, the whole file {size_bytes}"
        raise WrongContent(what)
    if length > MAX_HEADER_BYTES:
        raise WrongContent(f"the header of {file} has {length} bytes, more than the limit of {MAX_HEADER_BYTES}")
    return length


def parse_entries(file: str, text: bytes | memoryview, body_bytes: int | None) -> tuple[TensorEntry, ...]:
    """Return the tensors in a header, in the order of the header. body_bytes: their bytes in all, None when unknown.

    Raises WrongContent when the header is not valid, has a name twice, or does not cover the body without gaps.
    """
    entries = _entries(file, text)
    end = 0
    for entry in sorted(entries, key=lambda entry: (entry.begin, entry.end, entry.name)):
        is_known = entry.dtype in DTYPES or entry.dtype in BITS
        bits = prod(entry.shape) * BITS.get(entry.dtype, 8)
        has_size = not is_known or ((entry.end - entry.begin) * 8 == bits)
        if entry.begin != end or entry.end < entry.begin or not has_size:
            raise _invalid(file, f"{entry.name[:100]} cannot have bytes {entry.begin} to {entry.end}")
        end = entry.end
    if body_bytes is not None and end != body_bytes:
        raise _invalid(file, f"it describes {end} bytes of tensors, the file has {body_bytes}")
    return entries


def _entries(file: str, text: bytes | memoryview) -> tuple[TensorEntry, ...]:
    try:
        data = json.loads(str(text, "utf-8"), object_pairs_hook=_unique, parse_constant=_refuse)
        if not all(isinstance(value, str) for value in (data.get(METADATA) or {}).values()):
            raise ValueError(METADATA)
        return tuple(_entry(name, entry) for name, entry in data.items() if name != METADATA)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = (
            str(error) if isinstance(error, _DuplicateName) else "it is not the JSON object that the format describes"
        )
        raise _invalid(file, reason) from error


def _invalid(file: str, reason: str) -> WrongContent:
    return WrongContent(f"{file} is not a valid safetensors file: the header of {file} is wrong: {reason}")


class _DuplicateName(ValueError):
    pass


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) != len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]  # None
        raise _DuplicateName(f"it has the name {twice[:100]!a} twice")
    return data


def _refuse(constant: str) -> Any:
    raise ValueError(constant)  # NaN and Infinity are not JSON


def _entry(name: str, entry: Mapping[str, Any]) -> TensorEntry:
    shape, (begin, end), dtype = entry["shape"], entry["data_offsets"], entry["dtype"]
    numbers = (*shape, begin, end)
    if any(type(number) is not int or not 0 <= number < MAX_ELEMENTS for number in numbers) or not isinstance(
        dtype, str
    ):
        raise ValueError(name)
    if len(shape) > MAX_DIMENSIONS or prod(size for size in shape if size) >= MAX_ELEMENTS:
        raise ValueError(name)
    name.encode()  # a half of a surrogate pair is no text
    return TensorEntry(name, dtype, tuple(shape), begin, end)
