"""A data set as folders of images, one folder a class: PATH/<split>/<class>/<image>, or PATH/<class>/<image>."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.card import Dataset
from zoo.errors import NotHere, WrongContent

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = frozenset({".jpeg", ".jpg", ".png", ".bmp", ".webp", ".ppm"})
SHORT = {"validation": "val"}
"""The folder of ImageNet's validation images is called `val` by torchvision's and timm's scripts."""


@dataclass(frozen=True, slots=True)
class Folder:
    """The image files of one split, by class and name, and their labels."""

    files: tuple[Path, ...]
    labels: tuple[int, ...]

    def image(self, index: int) -> Image:
        """The decoded image as RGB. Raises WrongContent when the file is damaged."""
        import PIL.Image

        path = self.files[index]
        try:
            with PIL.Image.open(path) as image:
                decoded: Image = image.convert("RGB")
                return decoded
        except (OSError, SyntaxError, ValueError) as error:
            raise WrongContent(
                f"the image cannot be decoded: {error}", where=str(path), mend="get a right copy of the data"
            ) from error

    def content_sha256(self, index: int) -> str:
        """SHA-256 of the image's file."""
        return hashlib.sha256(self.files[index].read_bytes()).hexdigest()


def open(dataset: Dataset, split: str, path: Path) -> Folder:
    """The images of a split below that path, in the order of the dataset card's classes, then of their names.

    Raises NotHere when there is no such folder, WrongContent when its folders are not the data set's classes.
    """
    if not path.is_dir():
        raise NotHere(
            f"there is no folder with {dataset.name}", where=str(path), mend=f"give --data {dataset.name}=PATH"
        )
    names = (split, SHORT.get(split, split))
    root = next((path / name for name in names if (path / name).is_dir()), path)
    found = {folder.name for folder in root.iterdir() if folder.is_dir() and not folder.name.startswith(".")}
    _refuse_others(dataset, root, found)
    files = [(image, label) for label, name in enumerate(dataset.classes) for image in _images(root / name)]
    return Folder(tuple(image for image, _ in files), tuple(label for _, label in files))


def _images(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)


def _refuse_others(dataset: Dataset, root: Path, found: set[str]) -> None:
    missing = sorted(set(dataset.classes) - found)
    extra = sorted(found - set(dataset.classes))
    for names, word in ((missing, "are missing"), (extra, f"are no class of {dataset.name}")):
        if names:
            few = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
            raise WrongContent(
                f"{len(names)} class folders {word}: {few}", where=str(root), mend="get a right copy of the data"
            )
