"""The digits as files: copies of a data set in every layout, to be read, damaged and evaluated on."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.helpers.project import ROOT
from zoo.accuracy.datasets import open_copy
from zoo.registry.card import Dataset
from zoo.registry.catalog import Catalog, load_catalog

CARD = """\
schema: 1
name: digit-files
kind: folder
splits:
  validation: {{images: {images}{more}}}
classes: [zero, one, two, three, four, five, six, seven, eight, nine]
"""
NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def save_digits(folder: Path, each: int | None = None) -> list[str]:
    """The held-out digits (the first `each` of a class) as PNG files in class folders; their names, `class/number.png`."""
    shipped = load_catalog((ROOT / "cards",)).dataset("digits")
    assert shipped is not None
    images = open_copy(shipped, "validation", {}).images
    names: list[str] = []
    for index, (label,) in enumerate(images.labels):
        if each is None or sum(name.startswith(f"{NAMES[label]}/") for name in names) < each:
            names.append(f"{NAMES[label]}/{index:03}.png")
            (folder / names[-1]).parent.mkdir(parents=True, exist_ok=True)
            images.decode(index, images.read(index)).save(folder / names[-1])
    return names


def picture_zoo(folder: Path, *, images: int = 360, more: str = "", card: str = CARD) -> Catalog:
    """A zoo whose only model is resnest_digits, claiming its accuracy on the data set digit-files."""
    shutil.copytree(ROOT / "cards" / "digits", folder / "digits")
    (folder / "datasets").mkdir()
    (folder / "datasets" / "digit-files.yaml").write_text(card.format(images=images, more=more))
    path = folder / "digits" / "resnest_digits.yaml"
    path.write_text(path.read_text().replace("dataset: digits,", "dataset: digit-files,"))
    return load_catalog((folder,))


def dataset(zoo: Catalog, name: str = "digit-files") -> Dataset:
    """The data set of that name."""
    card = zoo.dataset(name)
    assert card is not None
    return card
