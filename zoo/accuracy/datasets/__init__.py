"""The contract of a data set reader: one file per kind, which turns a copy of a data set into images and labels.

Labels are positions in the dataset card's `classes`, never the luck of a folder's order. An image is read once: whoever
decodes it notes its SHA-256 in the Copy, and what was noted is kept with the file's size and time, so that the manifest's
digest of an unchanged copy costs no reading at all.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from zoo import plugins
from zoo.errors import NotHere, UsageError, WrongContent
from zoo.models.images import to_rgb
from zoo.registry.card import Dataset, Split
from zoo.registry.catalog import Catalog
from zoo.runtime.storage import JsonFolder, state_folder

if TYPE_CHECKING:
    from PIL.Image import Image


Label = tuple[int, ...]
"""The positions, in the dataset card's classes, of the classes that an image may rightly be given: one, or more in a
data set of several labels."""
MOST_NAMES = 3
"""How many of the classes or images that something is wrong with a message names."""


class DamagedImage(WrongContent):
    """An image that cannot be decoded."""


@dataclass(frozen=True, slots=True)
class DataProblem:
    """Something wrong with a copy: `key` is `classes`, `images`, `labels`, `decoding` or `manifest`."""

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
        """What the copy's layout has that the dataset card does not, and the other way round."""

    def name(self, index: int) -> str:
        """What the image is called in the copy."""

    def stamp(self, index: int) -> str:
        """A text that changes when the stored bytes do (size and time); empty when they are in memory already."""

    def read(self, index: int) -> bytes:
        """The image's bytes as they are stored."""

    def decode(self, index: int, content: bytes) -> Image:
        """The image of these bytes, as RGB. Raises DamagedImage when they are no sound image."""


class Reader(Protocol):
    """What a module in this folder offers."""

    def open(self, dataset: Dataset, split: str, path: Path) -> Images:
        """The images of a split of the copy at that path.

        Raises WrongContent when it is no copy of that data set, NotHere when nothing is there.
        """


@dataclass
class Copy:
    """One split of this machine's copy of a data set, and the SHA-256 of each image as far as it is known."""

    dataset: Dataset
    split: str
    images: Images
    index: JsonFolder
    digests: list[str | None] = field(repr=False)
    _unsaved: dict[str, tuple[str, str]] = field(default_factory=dict, repr=False)

    @property
    def card(self) -> Split:
        """What the dataset card says of the split."""
        return self.dataset.splits[self.split]

    def __len__(self) -> int:
        return len(self.images.labels)

    @property
    def is_hashed(self) -> bool:
        """Whether every image's digest is known."""
        return None not in self.digests

    def note_digest(self, index: int, digest: str) -> None:
        """Remember the SHA-256 of the image at that position: 64 hex digits over its stored bytes."""
        self.digests[index] = digest
        self._unsaved[self.images.name(index)] = (self.images.stamp(index), digest)

    def hash_all(self) -> None:
        """Read and hash the images whose digest is not known yet."""
        for index, known in enumerate(self.digests):
            if known is None:
                self.note_digest(index, sha256(self.images.read(index)))
        self.save()

    def forget_digests(self) -> None:
        """Forget the digests of images that are in files, so that they are read again."""
        self.index.clear()
        self.digests[:] = [None if self.images.stamp(index) else known for index, known in enumerate(self.digests)]

    def save(self) -> None:
        """Keep what was noted, for this and other processes; images that are in memory are hashed in no time."""
        entries = {name: list(pair) for name, pair in self._unsaved.items() if pair[0]}
        self._unsaved.clear()
        if not entries:
            return
        if self.is_hashed:
            names = range(len(self))
            self.index.replace({self.images.name(i): [self.images.stamp(i), self.digests[i]] for i in names})
        else:
            self.index.add(entries)

    def lines_sha256(self, indices: Iterable[int]) -> str | None:
        """SHA-256 over the manifest's lines of these images; None when one of their digests is not known."""
        digest = hashlib.sha256()
        for index in indices:
            known = self.digests[index]
            if known is None:
                return None
            digest.update(f"{known} {self._class_of(index)}\n".encode())
        return digest.hexdigest()

    @property
    def manifest_sha256(self) -> str | None:
        """SHA-256 of the split's manifest: for each image in order, the SHA-256 of its bytes, a space, its class (several
        with commas between them), a newline. None when an image's digest is not known."""
        return self.lines_sha256(range(len(self)))

    @property
    def content_sha256(self) -> str | None:
        """SHA-256 of the images' digests in ascending order, whatever their classes: a newline after each."""
        if not self.is_hashed:
            return None
        return hashlib.sha256("".join(f"{digest}\n" for digest in sorted(map(str, self.digests))).encode()).hexdigest()

    def _class_of(self, index: int) -> str:
        return ",".join(self.dataset.classes[label] for label in self.images.labels[index])

    @cached_property
    def layout_problems(self) -> tuple[DataProblem, ...]:
        """What is wrong with the copy that shows without reading an image: its classes and their numbers of images."""
        return (*self.images.problems, *_count_problems(self))

    def problems(self) -> tuple[DataProblem, ...]:
        """All that is known to be wrong with the copy; the digests count as far as they are known."""
        return (*self.layout_problems, *_digest_problems(self))


def open_copy(dataset: Dataset, split: str, paths: Mapping[str, Path]) -> Copy:
    """This machine's copy of a split; images in memory are hashed, those in files as far as it was done before.

    Raises NotHere when there is no copy, WrongContent when it is no copy of that data set, UsageError when the dataset
    card has no such split.
    """
    dataset.find_split(split)
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
    except (OSError, SyntaxError, ValueError, PIL.Image.DecompressionBombError, UsageError) as error:
        what = f"the image {name} cannot be decoded: {str(error).partition(' <')[0].partition(chr(10))[0]}"
        raise DamagedImage(what, where=where, hint="get a right copy of the data") from error


def sha256(content: bytes) -> str:
    """SHA-256 of the bytes, 64 hex digits."""
    return hashlib.sha256(content).hexdigest()


def location(dataset: Dataset, paths: Mapping[str, Path]) -> Path:
    """Where this machine's copy is: what was given, the variable ZOO_DATA_<NAME>, the folder that the dataset card says a
    package puts it into, or the file beside the card. A variable that is set to nothing says that there is none.

    Raises NotHere, with how to get a copy, when there is none.
    """
    variable = "ZOO_DATA_" + "".join(c if c.isalnum() else "_" for c in dataset.name).upper()
    if dataset.name in paths:
        return paths[dataset.name]
    setting = os.environ.get(variable)
    if setting:
        return Path(setting)
    if setting is None and dataset.file is not None:
        return dataset.path.parent / dataset.file
    if setting is None and dataset.installed_at is not None and Path(dataset.installed_at).exists():
        return Path(dataset.installed_at)
    obtain = f"{dataset.obtain}, then " if dataset.obtain and dataset.installed_at is None else dataset.obtain or ""
    option_hint = f"give --data {dataset.name}=PATH or set {variable}"
    raise NotHere(
        f"no copy of {dataset.name} on this machine",
        where=str(dataset.where),
        hint=f"{obtain}, or {option_hint}" if dataset.installed_at and obtain else f"{obtain}{option_hint}",
    )


def output_indices(dataset: Dataset, catalog: Catalog) -> tuple[int, ...] | None:
    """Which of a model's outputs the data set's classes are, where they are some of another data set's classes.

    None when the outputs are the classes. Raises UsageError when the label space or one of its classes is not known.
    """
    if dataset.label_space is None:
        return None
    where = str(dataset.where["label_space"])
    space = catalog.dataset(dataset.label_space)
    if space is None:
        raise UsageError(f"no data set is called {dataset.label_space!r}", where=where)
    position = {name: place for place, name in enumerate(space.classes)}
    unknown = [name for name in dataset.classes if name not in position]
    if unknown:
        raise UsageError(f"{abbreviate(unknown)} of {dataset.name} are no classes of {space.name}", where=where)
    return tuple(position[name] for name in dataset.classes)


def abbreviate(names: Sequence[str]) -> str:
    """The first of the names, and that there are more."""
    return ", ".join(names[:MOST_NAMES]) + (", ..." if len(names) > MOST_NAMES else "")


def _recall_digests(copy: Copy) -> None:
    images = copy.images
    known: dict[str, list[str]] = {}
    for piece in copy.index.read():
        known.update(piece)
    for index in range(len(copy)):
        stamp = images.stamp(index)
        if not stamp:
            copy.digests[index] = sha256(images.read(index))
        elif known.get(images.name(index), [""])[0] == stamp:
            copy.digests[index] = known[images.name(index)][1]


def _count_problems(copy: Copy) -> Iterable[DataProblem]:
    images, hint = len(copy), copy.dataset.obtain or f"get a right copy of {copy.dataset.name}"
    if images != copy.card.images:
        yield DataProblem("images", f"the copy has {images} images, the dataset card says {copy.card.images}", hint)
    per_class = copy.card.images_per_class
    if per_class is not None:
        counts = Counter(label for labels in copy.images.labels for label in labels)
        deviating = [
            f"{name} ({counts[i]})" for i, name in enumerate(copy.dataset.classes) if counts[i] not in (0, per_class)
        ]
        if deviating:
            yield DataProblem(
                "images", f"{len(deviating)} classes do not have {per_class} images: {abbreviate(deviating)}", hint
            )


def _digest_problems(copy: Copy) -> Iterable[DataProblem]:
    claimed, measured = copy.card.manifest_sha256, copy.manifest_sha256
    if claimed is None or measured is None or claimed == measured:
        return
    if copy.card.content_sha256 is not None and copy.card.content_sha256 == copy.content_sha256:
        hint = "put each image into the class of the original; `zoo data verify` compares them with the dataset card"
        yield DataProblem(
            "labels", "the images are the right ones, but not in the right classes: labels are permuted", hint
        )
        return
    what = f"the manifest's sha256 is {measured[:8]}..., the dataset card says {claimed[:8]}..."
    hint = copy.dataset.obtain or f"get a right copy of {copy.dataset.name}; this one was changed or is damaged"
    yield DataProblem("manifest", what, hint)
