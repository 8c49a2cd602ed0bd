"""Image files in a folder for each class, or in one folder with a file of labels; PATH may be an uncompressed tar archive.

The layout is PATH/<split>/<class>/<image>, PATH/<class>/<image>, or images anywhere below PATH with one of the split's
`label_files` directly below PATH. Such a file has lines with an image's name and its class (separated by spaces, tabs or
commas), or a JSON list with a list of label numbers for each image in the order of the names (ImageNet-ReaL's real.json).
"""

from __future__ import annotations

import json
import os
import re
import stat
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from zoo.accuracy.datasets import DamagedImage, DataProblem, Label, abbreviate, decode_image
from zoo.errors import NotHere, UsageError, WrongContent
from zoo.registry.card import Dataset

if TYPE_CHECKING:
    from PIL.Image import Image


SUFFIXES = frozenset({".jpeg", ".jpg", ".png", ".bmp", ".webp", ".ppm"})
MAX_FILE_BYTES = 2**28
"""The largest image or file of labels that is read into memory."""
SHORT = {"validation": "val"}
"""torchvision's and timm's scripts call the folder of ImageNet's validation images `val`."""


@dataclass(frozen=True, slots=True)
class StoredImage:
    """A stored file: its name below the copy's root, the place of its bytes, and a stamp that changes with them."""

    name: PurePosixPath
    path: Path
    size: int
    stamp: str
    offset: int = 0

    def read(self) -> bytes:
        """Return the file's bytes; raises DamagedImage when it has more than MAX_FILE_BYTES."""
        if self.size > MAX_FILE_BYTES:
            what = f"{self.name} has {self.size} bytes, more than the limit of {MAX_FILE_BYTES}"
            raise DamagedImage(what, where=str(self.path), hint="get another copy of the data set")
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
        """Return the image's path below the copy's root."""
        return str(self.entries[index].name)

    def stamp(self, index: int) -> str:
        """Return the file's size and modification time, or those of the archive with the place in it."""
        return self.entries[index].stamp

    def read(self, index: int) -> bytes:
        """Return the image file's bytes."""
        return self.entries[index].read()

    def decode(self, index: int, content: bytes) -> Image:
        """Return the decoded image as RGB; raises DamagedImage when the file is not a readable image."""
        return decode_image(content, name=self.name(index), where=str(self.entries[index].path))


def open(dataset: Dataset, split: str, path: Path) -> ImageFolder:
    """Open the images of a split below that path, or in that tar archive.

    Raises NotHere when the path does not exist, WrongContent when it has neither class folders nor a file of labels, or when
    the file of labels is not valid.
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
            "the images are not in class folders, and there is no file of labels", where=str(path), hint=f"add {names}"
        )
    return _label_by_class(dataset, images)


def read_image(path: Path) -> Image:
    """Return the image in a file as RGB; raises UsageError when the file is not a readable image."""
    name = PurePosixPath(path.as_posix())
    try:
        content = path.read_bytes()
        return ImageFolder((StoredImage(name, path, len(content), ""),), ((),)).decode(0, content)
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", where=str(path)) from error
    except DamagedImage as error:
        raise UsageError("not a readable image", where=str(path), hint="give a JPEG or PNG file") from error


def _folder_files(root: Path, dataset: Dataset) -> Iterator[StoredImage]:
    if not root.is_dir():
        raise NotHere(
            f"the folder of {dataset.name} does not exist", where=str(root), hint=f"give --data {dataset.name}=PATH"
        )
    for path, status in _files_below(root):
        name = PurePosixPath(path.relative_to(root).as_posix())
        yield StoredImage(name, path, status.st_size, f"{status.st_size} {status.st_mtime_ns}")


def _files_below(root: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Yield the regular files below a folder without those whose name starts with a dot, and their status.

    Links are followed, because the user chose the folder; each folder is read once, so that links may form a circle.
    """
    seen: set[tuple[int, int]] = set()
    for folder, subfolders, names in os.walk(root, followlinks=True):
        status = Path(folder).stat()
        is_new = (status.st_dev, status.st_ino) not in seen
        seen.add((status.st_dev, status.st_ino))
        subfolders[:] = sorted(name for name in subfolders if is_new and not name.startswith("."))
        for name in names if is_new else ():
            path = Path(folder, name)
            with suppress(OSError):  # a link to a file that does not exist
                if not name.startswith(".") and stat.S_ISREG((status := path.stat()).st_mode):
                    yield path, status


def _tar_files(path: Path) -> Iterator[StoredImage]:
    status = path.stat()
    try:
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                name = PurePosixPath(member.name)
                is_plain = member.isfile() and not member.issparse() and bool(name.parts)
                if is_plain and not any(part.startswith(".") for part in name.parts):
                    stamp = f"{status.st_size} {status.st_mtime_ns} {member.offset_data}"
                    yield StoredImage(name, path, member.size, stamp, member.offset_data)
    except (tarfile.TarError, ValueError, OverflowError, EOFError) as error:  # damaged headers raise several kinds
        raise WrongContent(
            f"not an uncompressed tar archive: {error}", where=str(path), hint="unpack it, or give an uncompressed .tar"
        ) from error


def _split_files(entries: Iterable[StoredImage], split: str) -> list[StoredImage]:
    """Return the files of the split's folder if there is one, else all, with names below it and without a common top folder."""
    files = list(entries)
    for _ in range(2):  # the split's folder may be below a top folder of the archive
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
    """Return the images sorted by label and then file name, so that the manifest does not depend on the layout."""
    ordered = sorted(pairs, key=lambda pair: (pair[1], pair[0].name.name))
    return ImageFolder(tuple(entry for entry, _ in ordered), tuple(label for _, label in ordered), tuple(problems))


def _class_problems(dataset: Dataset, folders: set[str]) -> Iterator[DataProblem]:
    hint = dataset.obtain or f"get another copy of {dataset.name}"
    missing = [name for name in dataset.classes if name not in folders]
    extra = sorted(folders - set(dataset.classes))
    if missing:
        what = f"missing classes ({len(missing)} of {len(dataset.classes)}): {abbreviate(missing)}"
        yield DataProblem("classes", what, hint)
    if extra:
        what = f"folders that are not classes of {dataset.name}: {abbreviate(extra)}"
        yield DataProblem("classes", what, "move them out of the copy")


def _label_by_table(dataset: Dataset, images: Sequence[StoredImage], table: StoredImage) -> ImageFolder:
    ordered = sorted(images, key=lambda entry: entry.name.name)
    text = table.read().decode("utf-8", errors="replace")
    if table.name.suffix == ".json":
        labels = _labels_from_json(dataset, ordered, text, str(table.name))
    else:
        labels = _labels_from_lines(dataset, text, str(table.name))
    pairs = [(entry, labels[entry.name.stem]) for entry in ordered if labels.get(entry.name.stem)]
    unlabelled = [entry.name.name for entry in ordered if entry.name.stem not in labels]
    stems = {entry.name.stem for entry in ordered}
    missing = sorted(name for name, label in labels.items() if label and name not in stems)
    problems = []
    if unlabelled:
        problems.append(DataProblem("labels", f"images without a line in {table.name}: {abbreviate(unlabelled)}"))
    if missing:
        problems.append(DataProblem("images", f"missing images of {table.name}: {abbreviate(missing)}"))
    return _sorted_folder(pairs, problems)


def _labels_from_lines(dataset: Dataset, text: str, file: str) -> Mapping[str, Label]:
    position = {name: place for place, name in enumerate(dataset.classes)}
    labels: dict[str, Label] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        fields = re.split(r"[\s,;]+", line.strip())
        if len(fields) < 2:
            continue
        if fields[1] in position:
            labels[PurePosixPath(fields[0]).stem] = (position[fields[1]],)
        elif number > 1:  # the first line may be a header
            raise WrongContent(f"{fields[1]!r} is not a class of {dataset.name}", where=f"{file}:{number}")
    return labels


def _labels_from_json(dataset: Dataset, images: Sequence[StoredImage], text: str, file: str) -> Mapping[str, Label]:
    hint = "download the file again"
    try:
        rows: Any = json.loads(text)
        numbers = [tuple(sorted(int(number) for number in row)) for row in rows]
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise WrongContent(f"not a JSON list of lists of labels: {error}", where=file, hint=hint) from error
    if len(numbers) != len(images):
        what = f"the file has labels for {len(numbers)} images, but the copy has {len(images)}"
        raise WrongContent(what, where=file, hint=hint)
    if any(not 0 <= number < len(dataset.classes) for row in numbers for number in row):
        raise WrongContent(f"a label is not between 0 and {len(dataset.classes) - 1}", where=file, hint=hint)
    return {entry.name.stem: row for entry, row in zip(images, numbers, strict=True)}
