"""Read the size and the safetensors header of a weights file at its address, without downloading the file.

This takes two range requests: 9 bytes, then the header. Neither the server's answer nor the header proves anything
about the bytes of the tensors, so the result is not an Artifact.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

from zoo.errors import TransferFailed
from zoo.registry.card import Rename, Weights
from zoo.weights.headers import DTYPES, LENGTH_BYTES, header_bytes, parse_entries
from zoo.weights.renames import under_own_names
from zoo.weights.sources import FileRange, Pace, SourceError, Sources, StreamSource, redact_url
from zoo.weights.tensors import Shapes

STALL_SECONDS = 30.0


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
    entries = parse_entries(file, text, body_bytes)
    shapes, notes = under_own_names({entry.name: entry.shape for entry in entries}, renames)
    dtypes, _ = under_own_names({entry.name: DTYPES.get(entry.dtype, entry.dtype) for entry in entries}, renames)
    return Header(shapes, dtypes, notes)


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
        count, data, pace = stop - response.start, bytearray(), Pace(url)
        started = time.monotonic()
        while len(data) < count and (block := response.read(count - len(data))):
            data += block
            pace.note(len(block), time.monotonic() - started)
            started = time.monotonic()
        return FileRange(bytes(data[start - response.start :]), response.version.size_bytes)
    finally:
        response.close()
