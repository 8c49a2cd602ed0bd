"""Plain data -> Card, Collection and Dataset: frozen, and every value knows the file, line and column that it is from.

The JSON Schemas in `schemas/` are the contract; these dataclasses are its reading view, built by one generic function.
A test holds the two together: same names, same types, same required fields.
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

from zoo.registry.document import Document
from zoo.registry.position import Place, Pointer

T = TypeVar("T")
PROSE = frozenset({"paper", "description", "citation", "training", "extra"})
"""Fields that no check reads: an edit of them needs no new proof."""
BUILDERS_OF_CODE = frozenset({"python"})
"""The builders that run code which the card names: only for who allows it."""


@dataclass(frozen=True, slots=True)
class Where:
    """The place of a part of a document; index it with a key, or keys, for the place there."""

    document: Document = field(repr=False)
    pointer: Pointer = ()

    def __getitem__(self, key: str | int | tuple[str | int, ...]) -> Place:
        return self.document.place((*self.pointer, *(key if isinstance(key, tuple) else (key,))))

    def at(self, *keys: str | int) -> Where:
        """A part of this part, whose place nobody has looked up yet."""
        return Where(self.document, (*self.pointer, *keys))

    @property
    def place(self) -> Place:
        """Where the part itself begins."""
        return self.document.place(self.pointer)

    def __str__(self) -> str:
        return str(self.place)


@dataclass(frozen=True, slots=True)
class Builder:
    """How the architecture is built: `entry` of `library`, with `options` as keyword arguments."""

    where: Where = field(repr=False, compare=False)
    library: str
    entry: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Input:
    """What the model takes: `size` is (channels, height, width); mean and std are of pixel values in 0 to 1."""

    where: Where = field(repr=False, compare=False)
    size: tuple[int, ...] | None = None
    interpolation: str | None = None
    crop_pct: float | None = None
    crop_mode: str | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    def as_data(self) -> dict[str, Any]:
        """What the card says of the input, as JSON values."""
        values = {item.name: getattr(self, item.name) for item in fields(self) if item.name != "where"}
        return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Rename:
    """A regular expression for foreign names of tensors, and what stands in its place in the architecture's.

    Without a replacement the tensors whose names match are left out, as heads that only training uses.
    """

    where: Where = field(repr=False, compare=False)
    pattern: str
    replacement: str | None = None


@dataclass(frozen=True, slots=True)
class Weights:
    """One file of weights. `sha256` has all 64 digits or the first 8 and more; without `urls` it lies beside the card.

    rename: applied in order to the names in the file.
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
    """What the model with its weights answers to the picture that zoo generates: its first logits, and how far each may
    be off. It tells apart architectures and preprocessings into which the same weights load."""

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
    """A claimed count of operations of one image, under a convention, at an input (channels, height, width)."""

    where: Where = field(repr=False, compare=False)
    value: float
    convention: str | None = None
    input: tuple[int, ...] | None = None
    rounded_to: float | None = None
    solved: bool = False
    origin: str | None = None
    source: str | None = None


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


@dataclass(frozen=True, slots=True)
class Claims:
    """What the card promises."""

    where: Where = field(repr=False, compare=False)
    params: ParamsClaim | None = None
    flops: tuple[FlopsClaim, ...] = ()
    results: tuple[ResultClaim, ...] = ()


@dataclass(frozen=True, slots=True)
class Ignore:
    """A suspicion that is known to be unfounded: `rule` is `check` or `check/key`."""

    where: Where = field(repr=False, compare=False)
    rule: str
    reason: str


@dataclass(frozen=True, slots=True)
class Card:
    """One model: what it is, which files hold its weights, what is claimed of it."""

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
        """The card's file; the files that have no URL lie beside it."""
        return self.where.document.path

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
    """One part of a data set and what a right copy of it holds."""

    where: Where = field(repr=False, compare=False)
    images: int
    images_per_class: int | None = None
    manifest_sha256: str | None = None
    content_sha256: str | None = None
    label_files: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Dataset:
    """A data set that results are claimed on; `classes` are in label order. Where they are some of the classes of
    another data set, whose labels the models' outputs are, that one is the `label_space`."""

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
        """The dataset card's file; `file` lies beside it."""
        return self.where.document.path


@dataclass(frozen=True, slots=True)
class Metric:
    """What is known of a metric: its range in percent, whether more is better, the k of a top-k accuracy (or 0)."""

    title: str
    low: float = 0.0
    high: float = 100.0
    higher_is_better: bool = True
    top_k: int = 0


METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        "top1": Metric("top-1 accuracy", top_k=1),
        "top5": Metric("top-5 accuracy", top_k=5),
    }
)
"""The metrics that zoo knows. Any other is kept and shown, and is skipped: no evaluator here measures it."""
DEFAULT_TOLERANCE_PERCENT = 0.05
"""How far an accuracy may differ beyond its rounding, in points. Decoders, resizers and kernels differ by about
0.02 points on ImageNet between library versions (pytorch/vision#5958, seen 2026-11-24)."""


def from_document(cls: type[T], document: Document) -> T:
    """The document as a Card, Collection or Dataset; it must have no problems under its schema."""
    return _from_data(cls, document.data, Where(document))


def card_sha256(card: Card, collection: Collection | None) -> str:
    """SHA-256 of what the card claims: the canonical JSON of card and collection without prose."""
    parts = [card.where.document.data, collection.where.document.data if collection else {}]
    claims = [{key: value for key, value in part.items() if key not in PROSE} for part in parts]
    return hashlib.sha256(canonical_json(claims).encode()).hexdigest()


def canonical_json(value: object) -> str:
    """JSON with sorted keys and no spaces: equal data give equal text."""
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
    """How a value of that type is read from plain data."""
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
    if hint is int:  # JSON Schema's integer admits 1.0
        return lambda value, document, at: int(value)
    return lambda value, document, at: value


def required_fields(cls: type) -> tuple[str, ...]:
    """The fields of one of the dataclasses here that have no default."""
    assert is_dataclass(cls)
    return tuple(
        item.name
        for item in fields(cls)
        if item.name != "where" and item.default is MISSING and item.default_factory is MISSING
    )
