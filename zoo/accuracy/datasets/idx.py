"""Data sets in MNIST's format, IDX: a folder with a file of images and a file of labels for each split, optionally gzipped.

The names begin with `train-` or `t10k-`. An IDX file has two zero bytes, a byte for the type (8: unsigned byte), a byte for
the number of dimensions, each dimension as a 32-bit big-endian integer, then the values (yann.lecun.com/exdb/mnist,
"THE IDX FILE FORMAT").
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.accuracy.datasets import DataProblem, Label, abbreviate, unpack
from zoo.errors import NotHere, WrongContent
from zoo.registry.card import Dataset

if TYPE_CHECKING:
    from PIL.Image import Image


MAX_BYTES = 2**30
"""The largest content of a gzip file, which is unpacked into memory. MNIST's images have 47 MB."""
UNSIGNED_BYTE = 8
PREFIX = {"train": "train"}
"""Every other split is the test set, whose files begin with `t10k`."""


@dataclass(frozen=True, slots=True)
class Pixels:
    """The images of one split in the order of the file: their grey values, and their labels."""

    side: tuple[int, int]
    pixels: bytes
    labels: tuple[Label, ...]
    problems: tuple[DataProblem, ...] = ()

    def name(self, index: int) -> str:
        """Return the image's index in the file, from 0."""
        return str(index)

    def stamp(self, index: int) -> str:
        """Return an empty text, because the pixels are in memory."""
        return ""

    def read(self, index: int) -> bytes:
        """Return the image's pixels, one byte each."""
        size = prod(self.side)
        return self.pixels[index * size : (index + 1) * size]

    def decode(self, index: int, content: bytes) -> Image:
        """Return the image as RGB with three equal channels."""
        from PIL import Image

        height, width = self.side
        return Image.frombytes("L", (width, height), content).convert("RGB")


def open(dataset: Dataset, split: str, path: Path) -> Pixels:
    """Open the images of a split in the folder.

    Raises NotHere when a file does not exist, WrongContent when one is not a valid IDX file or their lengths differ.
    """
    prefix = PREFIX.get(split, "t10k")
    (count, *side), pixels = _read(path / f"{prefix}-images-idx3-ubyte", 3, dataset)
    (labelled,), labels = _read(path / f"{prefix}-labels-idx1-ubyte", 1, dataset)
    if labelled != count:
        what = f"the copy has {count} images, but {labelled} labels"
        raise WrongContent(what, where=str(path), hint=_repair_hint(dataset))
    outside = sorted({label for label in labels if label >= len(dataset.classes)})
    known = tuple((min(label, len(dataset.classes) - 1),) for label in labels)
    what = f"labels that are not classes of {dataset.name}: {abbreviate([*map(str, outside)])}"
    problems = (DataProblem("classes", what, _repair_hint(dataset)),) if outside else ()
    return Pixels((side[0], side[1]), pixels, known, problems)


def _read(path: Path, dimensions: int, dataset: Dataset) -> tuple[tuple[int, ...], bytes]:
    """Return the sizes and the values in the file of that name, or of that name with .gz."""
    packed = path.with_name(f"{path.name}.gz")
    file = next((candidate for candidate in (path, packed) if candidate.is_file()), None)
    if file is None:
        raise NotHere(f"{dataset.name} has no file {path.name}", where=str(path.parent), hint=_repair_hint(dataset))
    try:
        content = unpack(file, MAX_BYTES) if file == packed else file.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise WrongContent(f"{file.name} is damaged: {error}", where=str(file), hint=_repair_hint(dataset)) from error
    head = 4 + 4 * dimensions
    sizes = tuple(int.from_bytes(content[at : at + 4], "big") for at in range(4, head, 4))
    if content[:4] != bytes((0, 0, UNSIGNED_BYTE, dimensions)) or len(content) != head + prod(sizes):
        raise WrongContent(
            f"{file.name} is truncated, or not an IDX file of unsigned bytes with {dimensions} dimensions",
            where=str(file),
            hint=_repair_hint(dataset),
        )
    return sizes, content[head:]


def _repair_hint(dataset: Dataset) -> str:
    return dataset.obtain or f"get another copy of {dataset.name}"
