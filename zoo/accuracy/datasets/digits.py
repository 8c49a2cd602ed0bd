"""Handwritten digits of scikit-learn in a gzipped CSV file: each row has 64 pixels from 0 to 16 and the class."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.accuracy.datasets import DataProblem, Label, unpack
from zoo.errors import NotHere, WrongContent
from zoo.registry.card import Dataset

if TYPE_CHECKING:
    from PIL.Image import Image


MAX_BYTES = 2**26
"""The largest content of the file. The shipped one has 0.3 MB."""
SIDE = 8
BRIGHTEST = 16
"""Images are 8 x 8 with values from 0 to 16: the numbers of set pixels in 4 x 4 blocks of a 32 x 32 bitmap
(archive.ics.uci.edu/dataset/80, seen 2026-11-24)."""
HELD_OUT_EVERY = 5
"""Row i is in the validation split when i % 5 == 0: 360 of 1,797 rows. The original file has no splits."""


@dataclass(frozen=True, slots=True)
class Digits:
    """The images of one split: 64 bytes each, row by row, and their labels."""

    pixels: tuple[bytes, ...]
    labels: tuple[Label, ...]
    problems: tuple[DataProblem, ...] = ()

    def name(self, index: int) -> str:
        """Return the image's index in the split, from 0."""
        return str(index)

    def stamp(self, index: int) -> str:
        """Return an empty text, because the pixels are in memory."""
        return ""

    def read(self, index: int) -> bytes:
        """Return the 64 pixels as they are in the file, one byte each."""
        return self.pixels[index]

    def decode(self, index: int, content: bytes) -> Image:
        """Return the 8 x 8 image as RGB, with its values scaled to 0 to 255."""
        from PIL import Image

        scaled = bytes(value * 255 // BRIGHTEST for value in content)
        return Image.frombytes("L", (SIDE, SIDE), scaled).convert("RGB")


def open(dataset: Dataset, split: str, path: Path) -> Digits:
    """Open the split `train` or `validation` in the file.

    Raises NotHere when the file does not exist, WrongContent with its first line that is not valid.
    """
    rows = [_row(line, number, dataset, path) for number, line in enumerate(_lines(path), start=1)]
    held_out = split == "validation"
    chosen = [row for index, row in enumerate(rows) if (index % HELD_OUT_EVERY == 0) is held_out]
    return Digits(tuple(pixels for pixels, _ in chosen), tuple((label,) for _, label in chosen))


def _lines(path: Path) -> list[str]:
    try:
        return unpack(path, MAX_BYTES).decode("ascii").splitlines()
    except FileNotFoundError as error:
        raise NotHere(
            "the file of the digits does not exist", where=str(path), hint="reinstall zoo, or give --data digits=PATH"
        ) from error
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise WrongContent(
            f"the file of the digits is damaged: {error}", where=str(path), hint="reinstall zoo"
        ) from error


def _row(line: str, number: int, dataset: Dataset, path: Path) -> tuple[bytes, int]:
    *pixels, name = line.split(",")
    if name not in dataset.classes:
        raise WrongContent(f"{name!r} is not a class of {dataset.name}", where=f"{path}:{number}")
    if len(pixels) != SIDE * SIDE or not all(p.isdecimal() and int(p) <= BRIGHTEST for p in pixels):
        raise WrongContent(
            f"the line does not have {SIDE * SIDE} values from 0 to {BRIGHTEST}", where=f"{path}:{number}"
        )
    return bytes(map(int, pixels)), dataset.classes.index(name)
