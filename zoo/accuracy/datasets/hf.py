"""Data sets from the Hub: a folder with the repository's Parquet files, or `OWNER/NAME@REVISION` to get them (extra `hf`).

The files of a split are `<split>-00000-of-00003.parquet`, in any folder, as the Hub converts data sets to; their columns
are `image` (with the image file's bytes) and `label`. Parquet can only be read a hundred images or so at a time, and images
are evaluated in a random order: the bytes are unpacked once into a file of zoo's own, from which each is read alone.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.accuracy.datasets import DataProblem, Label, decode_image
from zoo.errors import CannotCheck, NotHere, WrongContent
from zoo.registry.card import Dataset
from zoo.runtime.storage import state_folder, write_atomically

if TYPE_CHECKING:
    from PIL.Image import Image


IMAGE, LABEL = "image", "label"
"""The columns' names, as the Hub's image data sets have them
(huggingface.co/docs/datasets/image_dataset, seen 2026-11-24)."""


@dataclass(frozen=True, slots=True)
class Rows:
    """The images of one split, one behind the other in one file: where each begins, and their labels."""

    file: Path
    offsets: tuple[int, ...]
    labels: tuple[Label, ...]
    source: str
    problems: tuple[DataProblem, ...] = ()

    def name(self, index: int) -> str:
        """The row's number in the split, counted from 0."""
        return str(index)

    def stamp(self, index: int) -> str:
        """What tells the Parquet files from changed ones."""
        return self.source

    def read(self, index: int) -> bytes:
        """The image file's bytes."""
        with self.file.open("rb") as file:
            file.seek(self.offsets[index])
            return file.read(self.offsets[index + 1] - self.offsets[index])

    def decode(self, index: int, content: bytes) -> Image:
        """The decoded image as RGB. Raises DamagedImage when the bytes are no sound image."""
        return decode_image(content, name=self.name(index), where=str(self.file))


def open(dataset: Dataset, split: str, path: Path) -> Rows:
    """The images of a split in the Parquet files below that path, in the files' order.

    Raises CannotCheck without pyarrow, NotHere when there are no such files, WrongContent when they have other columns
    or labels.
    """
    root = _download(path)
    files = sorted(root.rglob(f"{split}-*.parquet"))
    if not files:
        hint = dataset.obtain or f"give --data {dataset.name}=FOLDER, or =OWNER/NAME@REVISION"
        raise NotHere(f"there is no {split}-*.parquet of {dataset.name}", where=str(root), hint=hint)
    stamps = [f"{file.absolute()} {file.stat().st_size} {file.stat().st_mtime_ns}" for file in files]
    source = sha256("\n".join(stamps).encode()).hexdigest()
    unpacked = state_folder("data", f"{source[:32]}.images")
    index_path = unpacked.with_suffix(".json")
    if not (index_path.is_file() and unpacked.is_file()):
        sizes, labels = _unpack(files, unpacked)
        write_atomically(index_path, json.dumps({"sizes": sizes, "labels": labels}))
    index = json.loads(index_path.read_text(encoding="utf-8"))
    offsets = tuple(accumulate(index["sizes"], initial=0))
    return Rows(unpacked, offsets, _labels(index["labels"], dataset, root), source)


def _unpack(files: Sequence[Path], target: Path) -> tuple[list[int], list[int]]:
    """(sizes in bytes, labels) of the images, whose bytes are then in the target, whole or not at all."""
    sizes, labels = [], []
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as out:
            for content, label in (row for file in files for row in _rows(file)):
                sizes.append(out.write(content))
                labels.append(label)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    return sizes, labels


def _rows(file: Path) -> Iterator[tuple[bytes, int]]:
    parquet_file = _parquet().ParquetFile(file)
    if not {IMAGE, LABEL} <= set(parquet_file.schema_arrow.names):
        raise WrongContent(f"{file.name} has no columns `{IMAGE}` and `{LABEL}`", where=str(file))
    for group in range(parquet_file.num_row_groups):
        table = parquet_file.read_row_group(group, columns=[IMAGE, LABEL])
        for image, label in zip(table[IMAGE], table[LABEL], strict=True):
            yield image.as_py()["bytes"], int(label.as_py())


def _labels(numbers: Sequence[int], dataset: Dataset, root: Path) -> tuple[Label, ...]:
    unknown = [label for label in numbers if not 0 <= label < len(dataset.classes)]
    if unknown:
        raise WrongContent(f"label {unknown[0]} is no class of {dataset.name}", where=str(root))
    return tuple((label,) for label in numbers)


def _download(path: Path) -> Path:
    """The folder, or the snapshot of the repository that the path names; fetched when it is not in the Hub's cache."""
    match = re.fullmatch(r"([\w.-]+/[\w.-]+)@([0-9a-f]{40})", path.as_posix())
    if match is None or path.exists():
        return path
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    name, revision = match.groups()
    try:
        return Path(snapshot_download(name, repo_type="dataset", revision=revision, allow_patterns="*.parquet"))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise CannotCheck(f"{name} could not be fetched: {str(error).splitlines()[0]}", hint="try again") from error


def _parquet() -> Any:
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise CannotCheck("pyarrow is not installed", hint="pip install 'zoo-verify[hf]'") from error
    return pyarrow.parquet
