"""The handwritten digits of scikit-learn, from one gzipped CSV: 64 pixels of 0 to 16, then the class, a row an image."""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.accuracy.datasets import DataProblem, Label
from zoo.errors import NotHere, WrongContent
from zoo.registry.card import Dataset

if TYPE_CHECKING:
    from PIL.Image import Image


SIDE = 8
BRIGHTEST = 16
"""Images are 8 x 8 with values of 0 to 16: counts of set pixels in 4 x 4 blocks of a 32 x 32 bitmap
(archive.ics.uci.edu/dataset/80, seen 2026-11-24)."""
HELD_OUT_EVERY = 5
"""Row i is held out for validation when i % 5 == 0: 360 of 1,797. The original test set has no split of its own."""


@dataclass(frozen=True, slots=True)
class Digits:
    """The images of one split: 64 bytes each, row by row, and their labels."""

    pixels: tuple[bytes, ...]
    labels: tuple[Label, ...]
    problems: tuple[DataProblem, ...] = ()

    def name(self, index: int) -> str:
        """The image's number in the split, counted from 0."""
        return str(index)

    def stamp(self, index: int) -> str:
        """Empty: the pixels are in memory."""
        return ""

    def read(self, index: int) -> bytes:
        """The 64 pixels as they are in the file, one byte each."""
        return self.pixels[index]

    def decode(self, index: int, content: bytes) -> Image:
        """The 8 x 8 image, its values stretched to 0 to 255, as RGB."""
        from PIL import Image

        stretched = bytes(value * 255 // BRIGHTEST for value in content)
        return Image.frombytes("L", (SIDE, SIDE), stretched).convert("RGB")


def open(dataset: Dataset, split: str, path: Path) -> Digits:
    """The images of `train` or `validation` in the file.

    Raises NotHere when there is no such file, WrongContent at its first line that is no image of a digit.
    """
    rows = [_row(line, number, dataset, path) for number, line in enumerate(_lines(path), start=1)]
    held_out = split == "validation"
    chosen = [row for index, row in enumerate(rows) if (index % HELD_OUT_EVERY == 0) is held_out]
    return Digits(tuple(pixels for pixels, _ in chosen), tuple((label,) for _, label in chosen))


def _lines(path: Path) -> list[str]:
    try:
        return gzip.decompress(path.read_bytes()).decode("ascii").splitlines()
    except FileNotFoundError as error:
        raise NotHere(
            "the file of the digits is not there", where=str(path), hint="reinstall zoo, or give --data digits=PATH"
        ) from error
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise WrongContent(
            f"the file of the digits is damaged: {error}", where=str(path), hint="reinstall zoo"
        ) from error


def _row(line: str, number: int, dataset: Dataset, path: Path) -> tuple[bytes, int]:
    *pixels, name = line.split(",")
    if name not in dataset.classes:
        raise WrongContent(f"{name!r} is no class of {dataset.name}", where=f"{path}:{number}")
    if len(pixels) != SIDE * SIDE or not all(p.isdecimal() and int(p) <= BRIGHTEST for p in pixels):
        raise WrongContent(f"not {SIDE * SIDE} values of 0 to {BRIGHTEST}", where=f"{path}:{number}")
    return bytes(map(int, pixels)), dataset.classes.index(name)
