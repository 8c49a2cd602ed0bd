"""Define Card, Collection and Dataset as frozen dataclasses; every value knows its file, line and column.

The JSON Schemas in `schemas/` are the contract. These dataclasses are their typed view, and one generic function builds
them from plain data. A test compares the two: same names, same types, same required fields.
"""

from __future__ import annotations

import hashlib
import json
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from zoo.errors import NotHere, UsageError
from zoo.registry.document import Document
from zoo.registry.position import Place, Pointer
from zoo.registry.quantities import percent, whole

T = TypeVar("T")
PROSE = frozenset({"paper", "description", "citation", "training", "extra"})
"""Fields that no check reads: after a change to them, earlier reports stay valid."""
BINDING_OF_DATASET = ("name", "aliases", "title", "kind", "splits", "classes", "class_names", "label_space")
"""Fields of a dataset card that decide what is measured and published: after a change to them, earlier reports are not valid."""
BUILDERS_OF_CODE = frozenset({"python"})
"""The builders that run code named by the card. They need the user's permission."""


@dataclass(frozen=True, slots=True)
class Where:
    """The place of a part of a document. Index it with a key, or a tuple of keys, for the place of a value in that part."""

    document: Document = field(repr=False)
    pointer: Pointer = ()

    def __getitem__(self, key: str | int | tuple[str | int, ...]) -> Place:
        return self.document.place((*self.pointer, *(key if isinstance(key, tuple) else (key,))))

    def at(self, *keys: str | int) -> Where:
        """Return the Where of a part of this part; its place is looked up only when it is read."""
        return Where(self.document, (*self.pointer, *keys))

    @property
    def place(self) -> Place:
        """The place where the part begins."""
        return self.document.place(self.pointer)

    def __str__(self) -> str:
        return str(self.place)


@dataclass(frozen=True, slots=True)
class Builder:
    """How to build the architecture: call `entry` of `library` with `options` as keyword arguments."""

    where: Where = field(repr=False, compare=False)
    library: str
    entry: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Input:
    """The model's input: `size` is (channels, height, width); mean and std refer to pixel values from 0 to 1."""

    where: Where = field(repr=False, compare=False)
    size: tuple[int, ...] | None = None
    interpolation: str | None = None
    crop_pct: float | None = None
    crop_mode: str | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    def as_data(self) -> dict[str, Any]:
        """Return the fields that the card gives, as JSON values."""
        values = {item.name: getattr(self, item.name) for item in fields(self) if item.name != "where"}
        return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Rename:
    """A regular expression for the names of tensors in a file, and the replacement that gives the architecture's names.

    Without a replacement, tensors whose names match are dropped, for example heads that only training uses.
    """

    where: Where = field(repr=False, compare=False)
    pattern: str
    replacement: str | None = None


@dataclass(frozen=True, slots=True)
class Weights:
    """One weights file. `sha256` has all 64 digits or at least the first 8. Without `urls`, the file is in the card's folder.

    rename: substitutions for the tensors' names in the file, applied in order.
    """

    where: Where = field(repr=False, compare=False)
    file: str
    format: str | None = None
    dtype: str | None = None
    size_bytes: int | None = None
    sha256: str | None = None
    urls: tuple[str, ...] = ()
    rename: tuple[Rename, ...] = ()
    source: str | None = None


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """The model's first logits for the image that zoo generates, and how far each may differ.

    It distinguishes architectures, and preprocessing, that accept the same weights.
    """

    where: Where = field(repr=False, compare=False)
    logits: tuple[float, ...]
    tolerance: float


@dataclass(frozen=True, slots=True)
class ParamsClaim:
    """The claimed number of parameters, exact or rounded to a step."""

    where: Where = field(repr=False, compare=False)
    value: int
    rounded_to: float | None = None
    origin: str | None = None
    source: str | None = None


@dataclass(frozen=True, slots=True)
class FlopsClaim:
    """A claimed count of operations for one image, under a convention, at an input size (channels, height, width)."""

    where: Where = field(repr=False, compare=False)
    value: float
    convention: str | None = None
    input: tuple[int, ...] | None = None
    rounded_to: float | None = None
    solved: bool = False
    origin: str | None = None
    source: str | None = None


@dataclass(frozen=True, slots=True)
class SplitName:
    """A split of a data set by its name, `DATASET/SPLIT`. `split` is empty in the name `DATASET`."""

    dataset: str
    split: str = ""

    @classmethod
    def parse(cls, text: str) -> SplitName:
        """Return the split that a text names; what follows the last `/` is the split."""
        dataset, slash, split = text.rpartition("/")
        return cls(dataset, split) if slash else cls(text)

    def __str__(self) -> str:
        return f"{self.dataset}/{self.split}" if self.split else self.dataset


@dataclass(frozen=True, slots=True)
class ResultClaim:
    """A claimed evaluation result; `rounded_to` and `tolerance` are in the result's unit."""

    where: Where = field(repr=False, compare=False)
    dataset: str
    metric: str
    value: float
    split: str = "validation"
    unit: str | None = None
    rounded_to: float | None = None
    tolerance: float | None = None
    origin: str | None = None
    source: str | None = None

    @property
    def split_name(self) -> SplitName:
        """The split that the result is claimed on."""
        return SplitName(self.dataset, self.split)

    @property
    def key(self) -> str:
        """The key of the accuracy finding about this claim, `DATASET/SPLIT/METRIC`."""
        return f"{self.split_name}/{self.metric}"

    @property
    def percent(self) -> float:
        """The claimed value in percent."""
        return percent(self.value, self.unit)

    @property
    def whole(self) -> float:
        """100 % in the claim's unit: 1.0 or 100.0."""
        return whole(self.unit)


@dataclass(frozen=True, slots=True)
class Claims:
    """What the card claims about the model."""

    where: Where = field(repr=False, compare=False)
    params: ParamsClaim | None = None
    flops: tuple[FlopsClaim, ...] = ()
    results: tuple[ResultClaim, ...] = ()


@dataclass(frozen=True, slots=True)
class Ignore:
    """A suspect finding that is known to be a false alarm: `rule` is `check`, `consistency/RULE` or `check/key`."""

    where: Where = field(repr=False, compare=False)
    rule: str
    reason: str


@dataclass(frozen=True, slots=True)
class MissingPart:
    """A part that a card lacks and something needs: what to say, and how to add it to the card."""

    what: str
    hint: str

    def error(self, card: Card) -> NotHere:
        """Return the error at the card's place."""
        return NotHere(self.what, where=str(card.where), hint=self.hint)


NO_WEIGHTS = MissingPart("the card lists no weights", "add `weights: [{file: ...}]`")
NO_BUILDER = MissingPart("the card names no builder", "add `builder: {library: timm, entry: ...}`")
NO_INPUT = MissingPart("the card has no input size", "add `input: {size: [3, 224, 224]}`")


@dataclass(frozen=True, slots=True)
class Card:
    """One model: what it is, which files hold its weights, and what the card claims about it."""

    where: Where = field(repr=False, compare=False)
    name: str
    schema: int = 1
    aliases: tuple[str, ...] = ()
    deprecated: str | None = None
    collection: str | None = None
    license: str | None = None
    license_file: str | None = None
    task: str | None = None
    base_model: str | None = None
    code: str | None = None
    class_names: tuple[str, ...] = ()
    builder: Builder | None = None
    input: Input | None = None
    weights: tuple[Weights, ...] = ()
    fingerprint: Fingerprint | None = None
    claims: Claims | None = None
    training: Mapping[str, Any] = field(default_factory=dict)
    ignore: tuple[Ignore, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        """The card's file; weights files without a URL are in the same folder."""
        return self.where.document.path

    @property
    def preferred_weights(self) -> Weights:
        """The first file of weights; raises NotHere when the card lists none."""
        if not self.weights:
            raise NO_WEIGHTS.error(self)
        return self.weights[0]

    @property
    def required_builder(self) -> Builder:
        """How the architecture is built; raises NotHere when the card names no builder."""
        if self.builder is None:
            raise NO_BUILDER.error(self)
        return self.builder

    @property
    def required_input(self) -> Input:
        """The input, which has a size; raises NotHere when the card has no input size."""
        if self.input is None or self.input.size is None:
            raise NO_INPUT.error(self)
        return self.input

    @property
    def flops(self) -> tuple[FlopsClaim, ...]:
        """The claimed counts of operations."""
        return self.claims.flops if self.claims else ()

    @property
    def results(self) -> tuple[ResultClaim, ...]:
        """The claimed evaluation results."""
        return self.claims.results if self.claims else ()


@dataclass(frozen=True, slots=True)
class Paper:
    """The paper of a family."""

    where: Where = field(repr=False, compare=False)
    title: str | None = None
    url: str | None = None


@dataclass(frozen=True, slots=True)
class Collection:
    """A family of models that share a paper."""

    where: Where = field(repr=False, compare=False)
    name: str
    schema: int = 1
    title: str | None = None
    paper: Paper | None = None
    description: str | None = None
    citation: str | None = None
    code: str | None = None
    architecture: tuple[str, ...] = ()
    techniques: tuple[str, ...] = ()
    training: Mapping[str, Any] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Split:
    """One split of a data set, and what a correct copy of it contains."""

    where: Where = field(repr=False, compare=False)
    images: int
    images_per_class: int | None = None
    manifest_sha256: str | None = None
    content_sha256: str | None = None
    label_files: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Dataset:
    """A data set that cards claim results on; `classes` are in label order.

    When the classes are a subset of another data set's classes, and the models' outputs follow that data set's labels, then
    `label_space` names that data set.
    """

    where: Where = field(repr=False, compare=False)
    name: str
    kind: str
    splits: Mapping[str, Split]
    classes: tuple[str, ...]
    schema: int = 1
    title: str | None = None
    aliases: tuple[str, ...] = ()
    description: str | None = None
    license: str | None = None
    homepage: str | None = None
    source: str | None = None
    citation: str | None = None
    obtain: str | None = None
    file: str | None = None
    installed_at: str | None = None
    label_space: str | None = None
    class_names: tuple[str, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        """The dataset card's file; `file` is in the same folder."""
        return self.where.document.path

    def find_split(self, name: str) -> Split:
        """Return the split of that name; raises UsageError when the data set has none of that name."""
        if name not in self.splits:
            hint = f"it has {', '.join(self.splits)}"
            raise UsageError(f"{self.name} has no split {name!r}", where=str(self.where), hint=hint)
        return self.splits[name]


DEFAULT_TOLERANCE_PERCENT = 0.05
"""How far a measured accuracy may be from the claim beyond its rounding, in percentage points. Decoders, resizers and
kernels of different library versions change it by about 0.02 points on ImageNet (pytorch/vision#5958, seen 2026-11-24)."""


def from_document(cls: type[T], document: Document) -> T:
    """Return the document as a Card, Collection or Dataset. The document must be valid under its schema."""
    return _from_data(cls, document.data, Where(document))


def card_sha256(card: Card, collection: Collection | None) -> str:
    """Return the SHA-256 of what the card claims, in hex: of the canonical JSON of card and collection without prose."""
    parts = [card.where.document.data, collection.where.document.data if collection else {}]
    claims = [{key: value for key, value in part.items() if key not in PROSE} for part in parts]
    return hashlib.sha256(canonical_json(claims).encode()).hexdigest()


def dataset_sha256(dataset: Dataset) -> str:
    """Return the SHA-256, in hex, of what the dataset card says about images, classes and names: of its canonical JSON."""
    data = dataset.where.document.data
    said = {key: data[key] for key in BINDING_OF_DATASET if key in data}
    return hashlib.sha256(canonical_json(said).encode()).hexdigest()


def canonical_json(value: object) -> str:
    """Return JSON with sorted keys and no spaces: equal data give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _from_data(cls: type[T], data: Mapping[str, Any], where: Where) -> T:
    values: dict[str, Any] = {"where": where}
    for name, read in _readers(typing.cast("Any", cls)):
        if data.get(name) is not None:
            values[name] = read(data[name], where.document, (*where.pointer, name))
    return cls(**values)


_Reader = Callable[[Any, Document, Pointer], Any]


@cache
def _readers(cls: Any) -> tuple[tuple[str, _Reader], ...]:
    assert isinstance(cls, type) and is_dataclass(cls)
    hints = typing.get_type_hints(cls)
    return tuple((item.name, _reader(hints[item.name])) for item in fields(cls) if item.name != "where")


def _reader(hint: Any) -> _Reader:
    """Return the function that reads a value of that type from plain data."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is types.UnionType:
        return _reader(next(part for part in arguments if part is not type(None)))
    if origin is tuple:
        item = _reader(arguments[0])
        return lambda value, document, at: tuple(item(v, document, (*at, i)) for i, v in enumerate(value))
    if origin is not None and is_dataclass(arguments[-1]):
        item = _reader(arguments[-1])
        return lambda value, document, at: MappingProxyType({k: item(v, document, (*at, k)) for k, v in value.items()})
    if is_dataclass(hint):
        return lambda value, document, at: _from_data(typing.cast(type, hint), value, Where(document, at))
    if hint is int:  # JSON Schema's integer allows 1.0
        return lambda value, document, at: int(value)
    return lambda value, document, at: value


def required_fields(cls: type) -> tuple[str, ...]:
    """Return the fields without a default of one of the dataclasses in this module."""
    assert is_dataclass(cls)
    return tuple(
        item.name
        for item in fields(cls)
        if item.name != "where" and item.default is MISSING and item.default_factory is MISSING
    )
