"""Address of a file of weights -> its size, and what a safetensors header there says of its tensors, without a download.

Two requests by Range, of 9 bytes and of the header. What a server says and a header announces is no proof of the bytes
behind it: nothing here becomes an Artifact.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple

from zoo.errors import TransferFailed, WrongContent
from zoo.registry.card import Rename, Weights
from zoo.weights.sources import Fault, Peek, Sources, Streams, redact_url
from zoo.weights.tensors import Shapes, header_bytes, under_own_names

LENGTH_BYTES = 8
"""The length of the header comes before it, in so many bytes (see tensors.is_safetensors)."""
STALL_SECONDS = 30.0
DTYPES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2", "I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8", "U8": "uint8", "BOOL": "bool",
}  # fmt: skip
"""safetensors' names of types and torch's (github.com/huggingface/safetensors, README, seen 2026-11-24)."""
BITS = {"F64": 64, "I64": 64, "F32": 32, "I32": 32, "F16": 16, "BF16": 16, "I16": 16}
"""Of each element; all others that are known have 8."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a safetensors header announces: each tensor's shape and type, under the names that the card gives them."""

    shapes: Shapes
    dtypes: Mapping[str, str]
    notes: tuple[str, ...]

    @property
    def main_dtype(self) -> str:
        """The type that most of the elements have."""
        elements: dict[str, int] = {}
        for name, shape in self.shapes.items():
            elements[self.dtypes[name]] = elements.get(self.dtypes[name], 0) + prod(shape)
        return max(elements, key=lambda name: elements[name], default="none")


class _TensorSpan(NamedTuple):
    """Where a tensor's bytes are, counted from the end of the header."""

    begin: int
    end: int
    name: str


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """What the first address that answers has. header: None when the file is no safetensors; read_bytes: what was read."""

    url: str
    size_bytes: int | None
    header: Header | None
    read_bytes: int


def look(weights: Weights) -> RemoteFile:
    """What the first of the file's addresses that answers has.

    Raises TransferFailed when none answers, WrongContent when a header there cannot be one.
    """
    failures = []
    with Sources() as sources:
        for url in weights.urls:
            try:
                return _look(sources, url, weights)
            except Fault as fault:
                failures.append(f"{redact_url(url)}: {fault.what}")
    raise TransferFailed(f"no address answers: {'; '.join(failures)}", where=str(weights.where), hint="try again later")


def parse_header(file: str, text: bytes, body_bytes: int | None, renames: Sequence[Rename] = ()) -> Header:
    """The header of a safetensors file. body_bytes: of the tensors behind it, None when unknown.

    Raises WrongContent when it is none, or announces other bytes than there are.
    """
    try:
        entries: dict[str, Any] = json.loads(text)
        entries.pop("__metadata__", None)
        shapes = {name: tuple(int(size) for size in entry["shape"]) for name, entry in entries.items()}
        types = {name: str(entry["dtype"]) for name, entry in entries.items()}
        spans = [_span(name, entry["data_offsets"]) for name, entry in entries.items()]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise WrongContent(f"the header of {file} is none of safetensors: {type(error).__name__}") from error
    end = 0
    for span in sorted(spans):
        expected_bytes = prod(shapes[span.name]) * BITS.get(types[span.name], 8) // 8
        if span.begin != end or (span.end - span.begin != expected_bytes and types[span.name] in DTYPES):
            what = f"the header of {file} gives {span.name} bytes {span.begin} to {span.end}, which are not its own"
            raise WrongContent(what)
        end = span.end
    if body_bytes is not None and end != body_bytes:
        raise WrongContent(f"the header of {file} announces {end} bytes of tensors, the file has {body_bytes}")
    own, notes = under_own_names(shapes, renames)
    kinds, _ = under_own_names(types, renames)
    return Header(own, {name: DTYPES.get(kind, kind) for name, kind in kinds.items()}, notes)


def _span(name: str, offsets: Sequence[Any]) -> _TensorSpan:
    begin, end = offsets
    return _TensorSpan(int(begin), int(end), name)


def _look(sources: Sources, url: str, weights: Weights) -> RemoteFile:
    start = _peek(sources, url, 0, LENGTH_BYTES + 1)
    if start.data[LENGTH_BYTES:] != b"{":
        return RemoteFile(redact_url(url), start.size_bytes, None, len(start.data))
    length = header_bytes(weights.file, start.data, start.size_bytes)
    rest = _peek(sources, url, LENGTH_BYTES, LENGTH_BYTES + length)
    if len(rest.data) < length:
        raise Fault("the header broke off", where=redact_url(url), is_passing=True)
    body_bytes = None if start.size_bytes is None else start.size_bytes - LENGTH_BYTES - length
    header = parse_header(weights.file, rest.data, body_bytes, weights.rename)
    return RemoteFile(redact_url(url), start.size_bytes, header, len(start.data) + len(rest.data))


def _peek(sources: Sources, url: str, start: int, stop: int) -> Peek:
    """The bytes from start to stop, which may be fewer at the end of the file. Raises Fault."""
    source = sources.of(url)
    if not isinstance(source, Streams):
        return source.peek(url, start, stop, timeout_seconds=STALL_SECONDS)
    reply = source.open(url, start=start, stop=stop, timeout_seconds=STALL_SECONDS)
    try:
        # A server without ranges sends all from the beginning: what comes first is read and thrown away.
        count, data = stop - reply.start, b""
        while len(data) < count and (part := reply.read(count - len(data))):
            data += part
        return Peek(data[start - reply.start :], reply.version.size_bytes)
    finally:
        reply.close()
