"""Folders of images, one a class, or a flat folder with a file of labels; on disk, or in a tar archive that stays packed.

PATH/<split>/<class>/<image>, PATH/<class>/<image>, or images anywhere below PATH with one of the split's `label_files` at
its top: lines of an image's name and its class (spaces, tabs or commas between), or a JSON list with a list of label
numbers for each image in the order of their names (as ImageNet-ReaL's real.json is).
"""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from zoo.accuracy.datasets import DamagedImage, DataProblem, Label, abbreviate, decode_image
from zoo.errors import NotHere, UsageError, WrongContent
from zoo.registry.card import Dataset

if TYPE_CHECKING:
    from PIL.Image import Image


SUFFIXES = frozenset({".jpeg", ".jpg", ".png", ".bmp", ".webp", ".ppm"})
SHORT = {"validation": "val"}
"""The folder of ImageNet's validation images is called `val` by torchvision's and timm's scripts."""


@dataclass(frozen=True, slots=True)
class StoredImage:
    """A stored file: its name below the copy's root, and where its bytes are; `stamp` changes when they do."""

    name: PurePosixPath
    path: Path
    size: int
    stamp: str
    offset: int = 0

    def read(self) -> bytes:
        """Its bytes."""
        with self.path.open("rb") as file:
            file.seek(self.offset)
            return file.read(self.size)


@dataclass(frozen=True, slots=True)
class ImageFolder:
    """The image files of one split, by class and name, and their labels."""

    entries: tuple[StoredImage, ...]
    labels: tuple[Label, ...]
    problems: tuple[DataProblem, ...] = ()

    def name(self, index: int) -> str:
        """The image's path below the copy's root."""
        return str(self.entries[index].name)

    def stamp(self, index: int) -> str:
        """Size and time of last change of the file, or of the archive and the place in it."""
        return self.entries[index].stamp

    def read(self, index: int) -> bytes:
        """The image file's bytes."""
        return self.entries[index].read()

    def decode(self, index: int, content: bytes) -> Image:
        """The decoded image as RGB. Raises DamagedImage when the file is no sound image."""
        return decode_image(content, name=self.name(index), where=str(self.entries[index].path))


def open(dataset: Dataset, split: str, path: Path) -> ImageFolder:
    """The images of a split below that path, or in that tar archive.

    Raises NotHere when nothing is there, WrongContent when it has neither class folders nor a file of labels, or the
    file of labels cannot be read.
    """
    entries = _split_files(_tar_files(path) if path.is_file() else _folder_files(path, dataset), split)
    images = [entry for entry in entries if entry.name.suffix.lower() in SUFFIXES]
    tables = {str(entry.name): entry for entry in entries if len(entry.name.parts) == 1}
    table = next((tables[name] for name in dataset.splits[split].label_files if name in tables), None)
    if table is not None:
        return _label_by_table(dataset, images, table)
    if images and all(len(entry.name.parts) == 1 for entry in images):
        names = " or ".join(dataset.splits[split].label_files) or "a file named in the split's `label_files`"
        raise WrongContent(
            "the images are not in class folders and there is no file of labels", where=str(path), hint=f"add {names}"
        )
    return _label_by_class(dataset, images)


def read_image(path: Path) -> Image:
    """The image in a file, as RGB; raises UsageError when the file is none."""
    name = PurePosixPath(path.as_posix())
    try:
        content = path.read_bytes()
        return ImageFolder((StoredImage(name, path, len(content), ""),), ((),)).decode(0, content)
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", where=str(path)) from error
    except DamagedImage as error:
        raise UsageError("is no image that can be decoded", where=str(path), hint="give a JPEG or PNG") from error


def _folder_files(root: Path, dataset: Dataset) -> Iterator[StoredImage]:
    if not root.is_dir():
        raise NotHere(
            f"there is no folder with {dataset.name}", where=str(root), hint=f"give --data {dataset.name}=PATH"
        )
    for path in root.rglob("*"):
        name = PurePosixPath(path.relative_to(root).as_posix())
        if not any(part.startswith(".") for part in name.parts) and path.is_file():
            status = path.stat()
            yield StoredImage(name, path, status.st_size, f"{status.st_size} {status.st_mtime_ns}")


def _tar_files(path: Path) -> Iterator[StoredImage]:
    status = path.stat()
    try:
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                name = PurePosixPath(member.name)
                if member.isfile() and not any(part.startswith(".") for part in name.parts):
                    stamp = f"{status.st_size} {status.st_mtime_ns} {member.offset_data}"
                    yield StoredImage(name, path, member.size, stamp, member.offset_data)
    except tarfile.TarError as error:
        raise WrongContent(
            f"not an uncompressed tar archive: {error}", where=str(path), hint="unpack it, or give the .tar itself"
        ) from error


def _split_files(entries: Iterable[StoredImage], split: str) -> list[StoredImage]:
    """The entries below the split's folder, where there is one, by their names below it; a common top folder is dropped."""
    files = list(entries)
    for _ in range(2):  # the split's folder may lie below a top folder of the archive
        top_folders = {entry.name.parts[0] for entry in files if len(entry.name.parts) > 1}
        has_top_images = any(len(entry.name.parts) == 1 and entry.name.suffix.lower() in SUFFIXES for entry in files)
        split_folder = next((name for name in (split, SHORT.get(split, split)) if name in top_folders), None)
        if split_folder is not None:
            return [_strip_top(entry, split_folder) for entry in files if entry.name.parts[0] == split_folder] + [
                entry for entry in files if len(entry.name.parts) == 1
            ]
        depth = max((len(entry.name.parts) for entry in files), default=0)
        if len(top_folders) != 1 or has_top_images or depth < 3:
            break
        (top,) = top_folders
        files = [_strip_top(entry, top) if entry.name.parts[0] == top else entry for entry in files]
    return files


def _strip_top(entry: StoredImage, top: str) -> StoredImage:
    return StoredImage(entry.name.relative_to(top), entry.path, entry.size, entry.stamp, entry.offset)


def _label_by_class(dataset: Dataset, images: Sequence[StoredImage]) -> ImageFolder:
    label = {name: position for position, name in enumerate(dataset.classes)}
    pairs = [(entry, (label[entry.name.parts[0]],)) for entry in images if entry.name.parts[0] in label]
    return _sorted_folder(pairs, _class_problems(dataset, {entry.name.parts[0] for entry in images}))


def _sorted_folder(pairs: Iterable[tuple[StoredImage, Label]], problems: Iterable[DataProblem]) -> ImageFolder:
    """In the order of the labels and then of the file names, whatever the layout: one copy, one manifest."""
    ordered = sorted(pairs, key=lambda pair: (pair[1], pair[0].name.name))
    return ImageFolder(tuple(entry for entry, _ in ordered), tuple(label for _, label in ordered), tuple(problems))


def _class_problems(dataset: Dataset, folders: set[str]) -> Iterator[DataProblem]:
    hint = dataset.obtain or f"get a right copy of {dataset.name}"
    missing = [name for name in dataset.classes if name not in folders]
    extra = sorted(folders - set(dataset.classes))
    if missing:
        yield DataProblem(
            "classes", f"{len(missing)} of {len(dataset.classes)} classes are missing: {abbreviate(missing)}", hint
        )
    if extra:
        what = f"{len(extra)} folders are no class of {dataset.name}: {abbreviate(extra)}"
        yield DataProblem("classes", what, "move them out of the copy")


def _label_by_table(dataset: Dataset, images: Sequence[StoredImage], table: StoredImage) -> ImageFolder:
    ordered = sorted(images, key=lambda entry: entry.name.name)
    text = table.read().decode("utf-8", errors="replace")
    labels = (_labels_from_json if table.name.suffix == ".json" else _labels_from_lines)(
        dataset, ordered, text, str(table.name)
    )
    pairs = [(entry, labels[entry.name.stem]) for entry in ordered if labels.get(entry.name.stem)]
    unlabelled = [entry.name.name for entry in ordered if entry.name.stem not in labels]
    stems = {entry.name.stem for entry in ordered}
    missing = sorted(name for name, label in labels.items() if label and name not in stems)
    problems = []
    if unlabelled:
        problems.append(
            DataProblem("labels", f"{len(unlabelled)} images have no line in {table.name}: {abbreviate(unlabelled)}")
        )
    if missing:
        problems.append(
            DataProblem("images", f"{len(missing)} images of {table.name} are missing: {abbreviate(missing)}")
        )
    return _sorted_folder(pairs, problems)


def _labels_from_lines(dataset: Dataset, images: Sequence[StoredImage], text: str, file: str) -> Mapping[str, Label]:
    position = {name: place for place, name in enumerate(dataset.classes)}
    labels: dict[str, Label] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        fields = re.split(r"[\s,;]+", line.strip())
        if len(fields) < 2:
            continue
        if fields[1] in position:
            labels[PurePosixPath(fields[0]).stem] = (position[fields[1]],)
        elif number > 1:  # the first line may be a header
            raise WrongContent(f"{fields[1]!r} is no class of {dataset.name}", where=f"{file}:{number}")
    return labels


def _labels_from_json(dataset: Dataset, images: Sequence[StoredImage], text: str, file: str) -> Mapping[str, Label]:
    hint = "get the file again"
    try:
        rows: Any = json.loads(text)
        numbers = [tuple(sorted(int(number) for number in row)) for row in rows]
    except (ValueError, TypeError) as error:
        raise WrongContent(f"not a list of lists of labels: {error}", where=file, hint=hint) from error
    if len(numbers) != len(images):
        raise WrongContent(f"labels for {len(numbers)} images, but there are {len(images)}", where=file, hint=hint)
    if any(not 0 <= number < len(dataset.classes) for row in numbers for number in row):
        raise WrongContent(f"a label is not one of 0 to {len(dataset.classes) - 1}", where=file, hint=hint)
    return {entry.name.stem: row for entry, row in zip(images, numbers, strict=True)}
