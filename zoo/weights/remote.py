"""Read the size and the safetensors header of a weights file at its address, without downloading the file.

This takes two range requests: 9 bytes, then the header. Neither the server's answer nor the header proves anything
about the bytes of the tensors, so the result is not an Artifact.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple

from zoo.errors import TransferFailed, WrongContent
from zoo.registry.card import Rename, Weights
from zoo.weights.sources import FileRange, SourceError, Sources, StreamSource, redact_url
from zoo.weights.tensors import Shapes, header_bytes, under_own_names

LENGTH_BYTES = 8
"""The size of the number before the header that gives the header's length (see tensors.is_safetensors)."""
STALL_SECONDS = 30.0
DTYPES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2", "I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8", "U8": "uint8", "BOOL": "bool",
}  # fmt: skip
"""The types' names in safetensors and in torch (github.com/huggingface/safetensors, README, seen 2026-11-24)."""
BITS = {"F64": 64, "I64": 64, "F32": 32, "I32": 32, "F16": 16, "BF16": 16, "I16": 16}
"""The bits of an element; all other known types have 8."""
MAX_DIMENSIONS = 64
"""The most dimensions of a torch tensor (ATen/WrapDimUtilsMulti.h). Multiplying the sizes that fit into a header,
more than a million, would take over an hour."""


@dataclass(frozen=True, slots=True)
class Header:
    """Each tensor's shape and type in a safetensors header, by the architecture's names.

    notes: the removed prefixes and the renames, for people.
    """

    shapes: Shapes
    dtypes: Mapping[str, str]
    notes: tuple[str, ...]

    @property
    def main_dtype(self) -> str:
        """The type of most elements, as `float32`; `none` without tensors."""
        elements: dict[str, int] = {}
        for name, shape in self.shapes.items():
            elements[self.dtypes[name]] = elements.get(self.dtypes[name], 0) + prod(shape)
        return max(elements, key=lambda name: elements[name], default="none")


class _TensorEntry(NamedTuple):
    """A tensor in a header: its bytes are `begin` up to `end`, counted from the end of the header."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file at its address.

    size_bytes: None when the server does not report it. header: None when the file is not safetensors. read_bytes: how
    many bytes were read.
    """

    url: str
    size_bytes: int | None
    header: Header | None
    read_bytes: int


def look(weights: Weights) -> RemoteFile:
    """Return the size and header of the file at the first of its addresses that works.

    Raises TransferFailed when no address works, WrongContent when the header is not valid.
    """
    failures = []
    with Sources() as sources:
        for url in weights.urls:
            try:
                return _look(sources, url, weights)
            except SourceError as error:
                failures.append(f"{redact_url(url)}: {error.what}")
    what = f"cannot read {weights.file} at any of its addresses: {'; '.join(failures)}"
    raise TransferFailed(what, where=str(weights.where), hint="try again later")


def parse_header(file: str, text: bytes, body_bytes: int | None, renames: Sequence[Rename] = ()) -> Header:
    """Parse the header of a safetensors file. body_bytes: the size of the tensors after it, None when unknown.

    Raises WrongContent when it is not valid, or does not fit `body_bytes`.
    """
    entries = _parse_entries(file, text)
    end = 0
    for entry in sorted(entries, key=lambda entry: (entry.begin, entry.end, entry.name)):
        expected_bytes = prod(entry.shape) * BITS.get(entry.dtype, 8) // 8
        if entry.begin != end or (entry.end - entry.begin != expected_bytes and entry.dtype in DTYPES):
            what = f"the header of {file} is not valid: {entry.name} cannot have bytes {entry.begin} to {entry.end}"
            raise WrongContent(what)
        end = entry.end
    if body_bytes is not None and end != body_bytes:
        raise WrongContent(f"the header of {file} describes {end} bytes of tensors, the file has {body_bytes}")
    shapes, notes = under_own_names({entry.name: entry.shape for entry in entries}, renames)
    dtypes, _ = under_own_names({entry.name: DTYPES.get(entry.dtype, entry.dtype) for entry in entries}, renames)
    return Header(shapes, dtypes, notes)


def _parse_entries(file: str, text: bytes) -> list[_TensorEntry]:
    try:
        data: dict[str, Any] = json.loads(text)
        return [_parse_entry(name, entry) for name, entry in data.items() if name != "__metadata__"]
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise WrongContent(f"the header of {file} is not a valid safetensors header") from error


def _parse_entry(name: str, entry: Mapping[str, Any]) -> _TensorEntry:
    shape = tuple(int(size) for size in entry["shape"])
    if len(shape) > MAX_DIMENSIONS or any(not 0 <= size < 1 << 63 for size in shape):
        raise ValueError(name)
    begin, end = entry["data_offsets"]
    return _TensorEntry(name, str(entry["dtype"]), shape, int(begin), int(end))


def _look(sources: Sources, url: str, weights: Weights) -> RemoteFile:
    start = _read_range(sources, url, 0, LENGTH_BYTES + 1)
    if start.data[LENGTH_BYTES:] != b"{":
        return RemoteFile(redact_url(url), start.size_bytes, None, len(start.data))
    length = header_bytes(weights.file, start.data, start.size_bytes)
    rest = _read_range(sources, url, LENGTH_BYTES, LENGTH_BYTES + length)
    if len(rest.data) < length:
        raise SourceError("the header is incomplete", where=redact_url(url), is_temporary=True)
    body_bytes = None if start.size_bytes is None else start.size_bytes - LENGTH_BYTES - length
    header = parse_header(weights.file, rest.data, body_bytes, weights.rename)
    return RemoteFile(redact_url(url), start.size_bytes, header, len(start.data) + len(rest.data))


def _read_range(sources: Sources, url: str, start: int, stop: int) -> FileRange:
    """Return the bytes from `start` up to `stop`, or fewer at the end of the file. Raises SourceError."""
    source = sources.for_url(url)
    if not isinstance(source, StreamSource):
        return source.read_range(url, start, stop, timeout_seconds=STALL_SECONDS)
    response = source.open(url, start=start, stop=stop, timeout_seconds=STALL_SECONDS)
    try:
        # A server without ranges sends the file from its beginning: the bytes before `start` are dropped.
        count, data = stop - response.start, bytearray()
        while len(data) < count and (block := response.read(count - len(data))):
            data += block
        return FileRange(bytes(data[start - response.start :]), response.version.size_bytes)
    finally:
        response.close()
