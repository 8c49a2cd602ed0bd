"""Data sets of the Hub: a folder with a repository's Parquet files, or `OWNER/NAME@REVISION` to download them (extra `hf`).

The files of a split are called `<split>-00000-of-00003.parquet`, in any folder, like those that the Hub converts data sets
to. Their columns are `image` (with the image file's bytes) and `label`. Parquet files are read in groups of about a hundred
images, but images are evaluated in random order, so that the bytes are first copied to one file, from which each image is
read.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.accuracy.datasets import DataProblem, Label, decode_image
from zoo.errors import CannotCheck, NotHere, WrongContent
from zoo.registry.card import Dataset
from zoo.runtime import process, storage
from zoo.runtime.json_form import has_form, is_count

if TYPE_CHECKING:
    from PIL.Image import Image


MAX_INDEX_BYTES = 1 << 30
"""The largest index that is read: that of 50 million images."""
IMAGE, LABEL = "image", "label"
"""The names of the columns in the Hub's image data sets
(huggingface.co/docs/datasets/image_dataset, seen 2026-11-24)."""


@dataclass(frozen=True, slots=True)
class Rows:
    """The images of one split, concatenated in one file: the offset of each, and their labels."""

    file: Path
    offsets: tuple[int, ...]
    labels: tuple[Label, ...]
    source: str
    problems: tuple[DataProblem, ...] = ()

    def name(self, index: int) -> str:
        """Return the row's index in the split, from 0."""
        return str(index)

    def stamp(self, index: int) -> str:
        """Return a digest of the paths, sizes and times of the Parquet files."""
        return self.source

    def read(self, index: int) -> bytes:
        """Return the image file's bytes."""
        with self.file.open("rb") as file:
            file.seek(self.offsets[index])
            return file.read(self.offsets[index + 1] - self.offsets[index])

    def decode(self, index: int, content: bytes) -> Image:
        """Return the decoded image as RGB; raises DamagedImage when the bytes are not a readable image."""
        return decode_image(content, name=self.name(index), where=str(self.file))


def open(dataset: Dataset, split: str, path: Path) -> Rows:
    """Open the images of a split in the Parquet files below that path, in the files' order.

    Raises CannotCheck when pyarrow is not installed, NotHere when there are no such files, WrongContent when they have
    other columns or labels.
    """
    root = _download(path)
    files = sorted(root.rglob(f"{split}-*.parquet"))
    if not files:
        hint = dataset.obtain or f"give --data {dataset.name}=FOLDER, or =OWNER/NAME@REVISION"
        raise NotHere(f"{dataset.name} has no file {split}-*.parquet", where=str(root), hint=hint)
    stamps = [f"{file.absolute()} {file.stat().st_size} {file.stat().st_mtime_ns}" for file in files]
    source = sha256("\n".join(stamps).encode()).hexdigest()
    unpacked = storage.state_folder("data", f"{source[:32]}.images")
    index_path = unpacked.with_suffix(".json")
    index = storage.read_json(index_path, _is_index, max_bytes=MAX_INDEX_BYTES)
    if index is None or index["stamp"] != _stamp(unpacked):
        sizes, labels = _unpack(files, unpacked)
        index = {"sizes": sizes, "labels": labels, "stamp": _stamp(unpacked)}
        storage.keep_json(index_path, index)
    offsets = tuple(accumulate(index["sizes"], initial=0))
    return Rows(unpacked, offsets, _labels(index["labels"], dataset, root), source)


def _is_index(index: Any) -> bool:
    """Return whether it has the sizes and labels of images, and the stamp of the file with their bytes."""
    form = {"sizes": [is_count], "labels": [is_count], "stamp": (is_count, is_count, is_count, is_count)}
    return (
        has_form(index, form)
        and len(index["sizes"]) == len(index["labels"])
        and sum(index["sizes"]) == index["stamp"][1]
    )


def _stamp(file: Path) -> list[int]:
    """Return the inode, size in bytes, and times of change of a regular file, which show whether it is still the same."""
    try:
        status = file.lstat()
    except OSError:
        return []
    is_file = stat.S_ISREG(status.st_mode)
    return [status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns] if is_file else []


def _unpack(files: Sequence[Path], target: Path) -> tuple[list[int], list[int]]:
    """Write the images' bytes to the target, completely or not at all; return their sizes in bytes and their labels.

    Raises CannotCheck when ZOO_HOME is not writable or its disk is full.
    """
    sizes, labels = [], []
    try:
        storage.clear_way(target)
        with storage.replacing(target) as part, part.open("wb") as out:
            for content, label in (row for file in files for row in _rows(file)):
                sizes.append(out.write(content))
                labels.append(label)
    except OSError as error:
        hint = "set ZOO_HOME to a folder on a disk with enough space that you can write to"
        raise CannotCheck(f"cannot unpack the images: {error.strerror}", where=str(target), hint=hint) from error
    return sizes, labels


def _rows(file: Path) -> Iterator[tuple[bytes, int]]:
    try:
        yield from _rows_of(_parquet().ParquetFile(file), file)
    except (WrongContent, CannotCheck, MemoryError):
        raise
    except Exception as error:  # damaged files make pyarrow raise errors of many kinds
        what = f"{file.name} is not a readable Parquet file of images: {str(error).partition(chr(10))[0]}"
        raise WrongContent(what, where=str(file), hint="get the file again") from error


def _rows_of(parquet_file: Any, file: Path) -> Iterator[tuple[bytes, int]]:
    if not {IMAGE, LABEL} <= set(parquet_file.schema_arrow.names):
        raise WrongContent(f"{file.name} has no columns `{IMAGE}` and `{LABEL}`", where=str(file))
    for group in range(parquet_file.num_row_groups):
        table = parquet_file.read_row_group(group, columns=[IMAGE, LABEL])
        for image, label in zip(table[IMAGE], table[LABEL], strict=True):
            yield image.as_py()["bytes"], int(label.as_py())


def _labels(numbers: Sequence[int], dataset: Dataset, root: Path) -> tuple[Label, ...]:
    unknown = [label for label in numbers if not 0 <= label < len(dataset.classes)]
    if unknown:
        raise WrongContent(f"label {unknown[0]} is not a class of {dataset.name}", where=str(root))
    return tuple((label,) for label in numbers)


def _download(path: Path) -> Path:
    """Return the folder, or that of the repository that the path names, which is downloaded if it is not in the Hub's cache."""
    match = re.fullmatch(r"([\w.-]+/[\w.-]+)@([0-9a-f]{40})", path.as_posix())
    if match is None or path.exists():
        return path
    process.log_safely()
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    name, revision = match.groups()
    try:
        return Path(snapshot_download(name, repo_type="dataset", revision=revision, allow_patterns="*.parquet"))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise CannotCheck(f"cannot download {name}: {str(error).splitlines()[0]}", hint="try again") from error


def _parquet() -> Any:
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise CannotCheck("pyarrow is not installed", hint="run `pip install 'zoo-verify[hf]'`") from error
    return pyarrow.parquet
