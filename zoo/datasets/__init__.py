"""The contract of a data set reader: one file per kind, which turns a copy of a data set into images and labels.

Labels are positions in the dataset card's `classes`, never the luck of a folder's order.
Imports errors, card and plugins.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from zoo import plugins
from zoo.card import Dataset
from zoo.errors import NotHere

if TYPE_CHECKING:
    from PIL.Image import Image


class Images(Protocol):
    """One split of a copy of a data set, in a fixed order."""

    @property
    def labels(self) -> Sequence[int]:
        """The label of each image: its class's position in the dataset card."""

    def image(self, index: int) -> Image:
        """The image at that position, as RGB."""

    def content_sha256(self, index: int) -> str:
        """SHA-256 of the image's stored bytes, 64 hex digits."""


class Reader(Protocol):
    """What a module in this folder offers."""

    def open(self, dataset: Dataset, split: str, path: Path) -> Images:
        """The images of a split of the copy at that path.

        Raises WrongContent when it is no copy of that data set, NotHere when nothing is there.
        """


@dataclass(frozen=True, slots=True)
class Copy:
    """One split of this machine's copy of a data set, and the SHA-256 of its manifest."""

    images: Images
    manifest_sha256: str


def open_copy(dataset: Dataset, split: str, given: Mapping[str, Path]) -> Copy:
    """This machine's copy of a split, its images hashed.

    Raises NotHere when there is no copy, WrongContent when it is no copy of that data set.
    """
    path = location(dataset, given)
    reader = plugins.load("datasets", dataset.kind, where=str(dataset.where["kind"]))
    images: Images = reader.open(dataset, split, path)
    return Copy(images, manifest_sha256(images, dataset.classes))


def manifest_sha256(images: Images, classes: Sequence[str]) -> str:
    """SHA-256 of the split's manifest: for each image in order, the SHA-256 of its bytes, a space, its class, a newline."""
    digest = hashlib.sha256()
    for index, label in enumerate(images.labels):
        digest.update(f"{images.content_sha256(index)} {classes[label]}\n".encode())
    return digest.hexdigest()


def location(dataset: Dataset, given: Mapping[str, Path]) -> Path:
    """Where this machine's copy is: what was given, the variable ZOO_DATA_<NAME>, or the file beside the dataset card.

    Raises NotHere, with how to get a copy, when there is none.
    """
    variable = "ZOO_DATA_" + "".join(c if c.isalnum() else "_" for c in dataset.name).upper()
    if dataset.name in given:
        return given[dataset.name]
    if os.environ.get(variable):
        return Path(os.environ[variable])
    if dataset.file is not None:
        return dataset.path.parent / dataset.file
    obtain = f"{dataset.obtain}, then " if dataset.obtain else ""
    raise NotHere(
        f"no copy of {dataset.name} on this machine",
        where=str(dataset.where),
        mend=f"{obtain}give --data {dataset.name}=PATH or set {variable}",
    )
