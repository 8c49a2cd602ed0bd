"""Define the contract of a data set reader: one module per kind, which reads the images and labels of a copy.

Labels are positions in the dataset card's `classes`; the order of folders does not matter. An image is read once: its
SHA-256 is recorded when it is decoded, and saved with the file's size and time, so that computing the manifest's digest of
an unchanged copy reads no images.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from zoo import plugins
from zoo.errors import CardError, NotHere, WrongContent, ZooError
from zoo.models.images import to_rgb
from zoo.registry.card import Dataset, Split
from zoo.registry.catalog import Catalog
from zoo.registry.files import path_beside
from zoo.runtime.json_form import has_form, is_sha256, is_text, mapping_of
from zoo.runtime.storage import MAX_BYTES, JsonFolder, state_folder

if TYPE_CHECKING:
    from PIL.Image import Image


Label = tuple[int, ...]
"""The positions in the dataset card's classes of an image's right classes: one, or more in a data set with several labels."""
MAX_ENTRY_BYTES = 8192
"""The most bytes of an image's name, stamp and digest in the index of digests: Linux limits a path to 4,096."""
MAX_EQUAL_SHARE = 0.01
"""The share of images that may equal an earlier one in a copy whose manifest is not recorded. Published test sets have few
exact duplicates; a copy that repeats one image has nearly 100 %."""
MAX_NAMES = 3
"""The most classes or images that a message names."""


class DamagedImage(WrongContent):
    """An image that cannot be decoded."""


@dataclass(frozen=True, slots=True)
class DataProblem:
    """A difference of a copy from the dataset card; key: `classes`, `images`, `labels`, `decoding` or `manifest`."""

    key: str
    what: str
    hint: str = ""


class Images(Protocol):
    """One split of a copy of a data set, in the order of the classes and then of the images' names."""

    @property
    def labels(self) -> Sequence[Label]:
        """The label of each image."""

    @property
    def problems(self) -> Sequence[DataProblem]:
        """The differences of the copy's layout from the dataset card."""

    def name(self, index: int) -> str:
        """Return the image's name in the copy."""

    def stamp(self, index: int) -> str:
        """Return a text that changes with the stored bytes (size and time); empty when they are already in memory."""

    def read(self, index: int) -> bytes:
        """Return the image's bytes as they are stored."""

    def decode(self, index: int, content: bytes) -> Image:
        """Return the image of these bytes as RGB; raises DamagedImage when they are not a readable image."""


class Reader(Protocol):
    """What a module in this folder offers."""

    def open(self, dataset: Dataset, split: str, path: Path) -> Images:
        """Open a split of the copy at that path.

        Raises WrongContent when it is not a copy of that data set, NotHere when the path does not exist.
        """


@dataclass
class Copy:
    """One split of this machine's copy of a data set, and the known SHA-256s of its images."""

    dataset: Dataset
    split: str
    images: Images
    index: JsonFolder
    digests: list[str | None] = field(repr=False)
    _unsaved: dict[str, tuple[str, str]] = field(default_factory=dict, repr=False)
    _summaries: dict[str, str] = field(default_factory=dict, repr=False)

    @property
    def card(self) -> Split:
        """The split in the dataset card."""
        return self.dataset.splits[self.split]

    def __len__(self) -> int:
        return len(self.images.labels)

    @property
    def is_hashed(self) -> bool:
        """Whether every image's digest is known."""
        return None not in self.digests

    def note_digest(self, index: int, digest: str) -> None:
        """Record the SHA-256 of the image's stored bytes, 64 hex digits."""
        self.digests[index] = digest
        self._summaries.clear()
        self._unsaved[self.images.name(index)] = (self.images.stamp(index), digest)

    def hash_all(self) -> None:
        """Read and hash the images whose digest is not known, and save the digests."""
        for index, known in enumerate(self.digests):
            if known is None:
                self.note_digest(index, sha256(self.images.read(index)))
        self.save()

    def forget_digests(self) -> None:
        """Forget the digests of images that are in files, so that they are read again."""
        self.index.clear()
        self._summaries.clear()
        self.digests[:] = [None if self.images.stamp(index) else known for index, known in enumerate(self.digests)]

    def save(self) -> None:
        """Save the recorded digests, except those of images in memory, which are hashed each time."""
        entries = {name: list(pair) for name, pair in self._unsaved.items() if pair[0]}
        self._unsaved.clear()
        if not entries:
            return
        if self.is_hashed:
            pairs = ([self.images.stamp(index), str(digest)] for index, digest in enumerate(self.digests))
            self.index.replace({"images": dict(zip(map(self.images.name, range(len(self))), pairs, strict=True))})
        else:
            self.index.add({"images": entries})

    def lines_sha256(self, indices: Iterable[int]) -> str | None:
        """Return the SHA-256 of the manifest's lines for these images; None when one of their digests is not known."""
        digest = hashlib.sha256()
        for index in indices:
            known = self.digests[index]
            if known is None:
                return None
            digest.update(f"{known} {self._class_of(index)}\n".encode())
        return digest.hexdigest()

    @property
    def manifest_sha256(self) -> str | None:
        """The SHA-256 of the split's manifest; None when an image's digest is not known.

        The manifest has for each image in order the SHA-256 of its bytes, a space, its class or classes (separated by commas),
        and a newline.
        """
        if not self.is_hashed:
            return None
        if "manifest" not in self._summaries:
            self._summaries["manifest"] = str(self.lines_sha256(range(len(self))))
        return self._summaries["manifest"]

    @property
    def content_sha256(self) -> str | None:
        """The SHA-256 of the images' digests in ascending order, each followed by a newline: it ignores the classes."""
        if not self.is_hashed:
            return None
        if "content" not in self._summaries:
            lines = "".join(f"{digest}\n" for digest in sorted(map(str, self.digests)))
            self._summaries["content"] = sha256(lines.encode())
        return self._summaries["content"]

    @property
    def equal_images(self) -> int:
        """The number of images whose bytes equal those of an earlier image, among those whose digest is known."""
        known = [digest for digest in self.digests if digest is not None]
        return len(known) - len(set(known))

    @property
    def has_suspect_images(self) -> bool:
        """Whether more than MAX_EQUAL_SHARE of the images are equal, and no manifest says that this is right."""
        return self.card.manifest_sha256 is None and self.equal_images > MAX_EQUAL_SHARE * len(self)

    def _class_of(self, index: int) -> str:
        return ",".join(self.dataset.classes[label] for label in self.images.labels[index])

    @cached_property
    def layout_problems(self) -> tuple[DataProblem, ...]:
        """The problems that are found without reading images: the classes and their numbers of images."""
        return (*self.images.problems, *_count_problems(self))

    def problems(self) -> tuple[DataProblem, ...]:
        """Return all problems of the copy; digests are compared only if all of them are known."""
        return (*self.layout_problems, *_digest_problems(self))


def open_copy(dataset: Dataset, split: str, paths: Mapping[str, Path]) -> Copy:
    """Open this machine's copy of a split. It has the digests of images in memory, and those that were saved before.

    Raises NotHere when there is no copy, WrongContent when it is not a copy of that data set, CardError when the dataset card
    does not have the split, or names a file that is not in its folder.
    """
    if split not in dataset.splits:
        hint = f"write one of its splits: {', '.join(dataset.splits)}"
        raise CardError(f"{dataset.name} has no split {split!r}", hint=hint)
    path = location(dataset, paths)
    reader = plugins.load("datasets", dataset.kind, where=str(dataset.where["kind"]))
    images: Images = reader.open(dataset, split, path)
    name = hashlib.sha256(f"{path.absolute()}\n{dataset.kind}\n{split}".encode()).hexdigest()
    copy = Copy(dataset, split, images, JsonFolder(state_folder("data", name[:32])), [None] * len(images.labels))
    _recall_digests(copy)
    return copy


def decode_image(content: bytes, *, name: str, where: str) -> Image:
    """Return the image in the content of an image file, as RGB.

    name, where: the image and its file, for the message. Raises DamagedImage when the content is not a readable image.
    """
    import PIL.Image

    try:
        with PIL.Image.open(io.BytesIO(content)) as image:
            image.load()
            return to_rgb(image)
    except MemoryError:
        raise
    except Exception as error:  # damaged files make Pillow's decoders raise errors of many kinds
        what = f"the image {name} cannot be decoded: {str(error).partition(' <')[0].partition(chr(10))[0]}"
        raise DamagedImage(what, where=where, hint="get another copy of the data set") from error


def unpack(path: Path, most_bytes: int) -> bytes:
    """Return the unpacked content of a gzip file.

    Raises WrongContent when it has more than `most_bytes`; OSError, EOFError or zlib.error when it is damaged.
    """
    with gzip.open(path) as file:
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise WrongContent(f"{path.name} unpacks to more than {most_bytes} bytes, the limit", where=str(path))
    return content


def sha256(content: bytes) -> str:
    """Return the SHA-256 of the bytes, 64 hex digits."""
    return hashlib.sha256(content).hexdigest()


def location(dataset: Dataset, paths: Mapping[str, Path]) -> Path:
    """Return the path of this machine's copy.

    It is, in this order: the given path, the variable ZOO_DATA_<NAME>, the file beside the dataset card, or the folder
    where the dataset card says that a package installs it. An empty variable means that there is no copy. The card chooses
    only the file beside it, which must fulfil `files.path_beside`.
    Raises NotHere, with a hint how to get a copy, when there is none.
    """
    variable = "ZOO_DATA_" + "".join(c if c.isalnum() else "_" for c in dataset.name).upper()
    if dataset.name in paths:
        return paths[dataset.name]
    setting = os.environ.get(variable)
    if setting:
        return Path(setting)
    if setting is None and dataset.file is not None:
        path = path_beside(dataset.path, dataset.file, str(dataset.where["file"]))
        return path or dataset.path.absolute().parent / dataset.file
    if setting is None and dataset.installed_at is not None and Path(dataset.installed_at).exists():
        return Path(dataset.installed_at)
    obtain = f"{dataset.obtain}, then " if dataset.obtain and dataset.installed_at is None else dataset.obtain or ""
    option_hint = f"give --data {dataset.name}=PATH or set {variable}"
    raise NotHere(
        f"no copy of {dataset.name} on this machine",
        where=str(dataset.where),
        hint=f"{obtain}, or {option_hint}" if dataset.installed_at and obtain else f"{obtain}{option_hint}",
    )


def place_text(dataset: Dataset, paths: Mapping[str, Path]) -> str:
    """Return where this machine's copy is, or how to get one, as text for the user."""
    try:
        return str(location(dataset, paths))
    except NotHere as error:
        return f"not here: {error.hint}"
    except ZooError as error:
        return f"wrong: {error.what}"


def output_indices(dataset: Dataset, catalog: Catalog) -> tuple[int, ...] | None:
    """Return which of a model's outputs are the data set's classes, if these are a part of another data set's classes.

    None when all outputs count. Raises CardError when the label space does not exist or does not have one of the classes.
    """
    if dataset.label_space is None:
        return None
    where = str(dataset.where["label_space"])
    space = catalog.dataset(dataset.label_space)
    if space is None:
        raise CardError(
            f"unknown data set {dataset.label_space!r}", where=where, hint="write the name of a dataset card"
        )
    position = {name: place for place, name in enumerate(space.classes)}
    unknown = [name for name in dataset.classes if name not in position]
    if unknown:
        what = f"{space.name} does not have these classes of {dataset.name}: {abbreviate(unknown)}"
        raise CardError(what, where=where, hint="correct the classes, or `label_space`")
    return tuple(position[name] for name in dataset.classes)


def abbreviate(names: Sequence[str]) -> str:
    """Return the first names, and the number of all if there are more."""
    return ", ".join(names[:MAX_NAMES]) + (f", ... ({len(names)} in all)" if len(names) > MAX_NAMES else "")


def _recall_digests(copy: Copy) -> None:
    images = copy.images
    known: dict[str, list[str]] = {}
    for piece in copy.index.read(_is_index, max_bytes=MAX_BYTES + MAX_ENTRY_BYTES * len(copy)):
        known.update(piece["images"])
    for index in range(len(copy)):
        stamp = images.stamp(index)
        if not stamp:
            copy.digests[index] = sha256(images.read(index))
        elif known.get(images.name(index), [""])[0] == stamp:
            copy.digests[index] = known[images.name(index)][1]


def _is_index(piece: Any) -> bool:
    """Return whether it has the stamps and digests of images, by name."""
    return has_form(piece, {"images": mapping_of((is_text, is_sha256))})


def _count_problems(copy: Copy) -> Iterable[DataProblem]:
    images, hint = len(copy), copy.dataset.obtain or f"get another copy of {copy.dataset.name}"
    if images != copy.card.images:
        yield DataProblem("images", f"the copy has {images} images, but the dataset card says {copy.card.images}", hint)
    per_class = copy.card.images_per_class
    if per_class is not None:
        counts = Counter(label for labels in copy.images.labels for label in labels)
        deviating = [
            f"{name} ({counts[i]})" for i, name in enumerate(copy.dataset.classes) if counts[i] not in (0, per_class)
        ]
        if deviating:
            what = f"classes that do not have {per_class} images: {abbreviate(deviating)}"
            yield DataProblem("images", what, hint)


def _digest_problems(copy: Copy) -> Iterable[DataProblem]:
    """Yield what the recorded digests say: `content_sha256` decides about the images, `manifest_sha256` about their labels."""
    card, hint = copy.card, copy.dataset.obtain or f"get another copy of {copy.dataset.name}"
    if not copy.is_hashed:
        return
    images_differ = card.content_sha256 not in (None, copy.content_sha256)
    if images_differ:
        yield DataProblem("images", _difference("images'", copy.content_sha256, card.content_sha256), hint)
    if card.manifest_sha256 in (None, copy.manifest_sha256):
        return
    if card.content_sha256 is not None and not images_differ:
        hint = "put each image into its original class, then run `zoo data verify` again"
        yield DataProblem("labels", "the images are right, but some are in the wrong class: labels are permuted", hint)
    else:
        yield DataProblem("manifest", _difference("manifest's", copy.manifest_sha256, card.manifest_sha256), hint)


def _difference(whose: str, measured: str | None, claimed: str | None) -> str:
    return f"the {whose} sha256 is {str(measured)[:8]}..., but the dataset card says {str(claimed)[:8]}..."
