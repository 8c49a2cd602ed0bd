"""Find out why a model is less accurate than its card claims, by trying to undo each of the common mistakes.

On a sample, each mistake is undone alone: another interpolation, crop, input size, mean and std, reversed channels, labels
in another order, other tensors of the same file, the weights of a similar card. A cause explains the gap when undoing it
corrects significantly more images than it breaks, and the accuracy is then consistent with the claim.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from zoo.accuracy.datasets import Images, Label
from zoo.accuracy.evaluate import RankQuery, count_ranks, make_ranker, open_sound_copy, random_order
from zoo.accuracy.intervals import Claim, clopper_pearson, regularised_beta
from zoo.accuracy.ranking import Ranker
from zoo.errors import ZooError
from zoo.models import facts
from zoo.models.build import build_model, make_transform
from zoo.models.builders import Transform
from zoo.models.facts import Fact
from zoo.models.subject import Subject
from zoo.registry.card import Card, Dataset, Input
from zoo.registry.catalog import Member
from zoo.runtime.json_form import has_form, is_count, is_number, is_text
from zoo.weights import tensors
from zoo.weights.store import locate

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor, nn


FIRST_SAMPLE = 128
SAMPLE = 1024
FINALISTS = 4
"""Every cause is tried on 128 images, and the best four on 1,024, about as many as it takes to detect a gap of two points."""
CHANCE = 1e-4
"""The significance level of the sign test on the images that change, low because about 40 causes are tried."""
LEVEL = 0.01
"""The claim must be inside or below the 99 % interval of the accuracy without the mistake."""
PER_CLASS = 3
"""Images of each class that are needed to learn which output the model has for it."""
DISTINCT = 0.8
"""The part of the learned outputs that must be distinct; a model may confuse a few classes with similar ones."""
INTERPOLATIONS = ("bilinear", "bicubic", "lanczos")
CROPS = (1.0, 0.95, 0.9, 0.875, 0.8)
SIZES = (
    24,
    28,
    32,
    40,
    48,
    64,
    96,
    112,
    128,
    160,
    176,
    192,
    224,
    240,
    256,
    288,
    299,
    320,
    336,
    384,
    416,
    448,
    480,
    512,
)
"""Input sizes that published models are evaluated at (timm's results, 1.0.31). The nearest are tried."""
MEANS: Mapping[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "ImageNet's": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "Inception's": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "CLIP's": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
    "DPN's": ((124 / 255, 117 / 255, 104 / 255), (1 / (0.0167 * 255),) * 3),
    "no": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    "Caffe's": ((0.485, 0.456, 0.406), (1 / 255,) * 3),
}
"""Mean and std of pixel values in 0 to 1 (timm/data/constants.py, 1.0.31). Caffe's models take 0 to 255, without a std."""


@dataclass(frozen=True, slots=True)
class Cause:
    """A mistake that explains the gap: its name, how to fix it, and the accuracy (a fraction) without it, on `images` images."""

    name: str
    hint: str
    accuracy: float = 0.0
    images: int = 0


@dataclass(frozen=True, slots=True)
class Suspect:
    """A possible mistake, and a function that makes the ranker that undoes it."""

    name: str
    hint: str
    make_ranker: Callable[[], Ranker]


def diagnose(subject: Subject, dataset: Dataset, split: str, claim: Claim, top_k: int) -> Cause | None:
    """Return the cause of an accuracy below the claim; None when none of the common causes explains it. Cached as a fact."""
    query = RankQuery(subject, open_sound_copy(subject, dataset, split))
    key = facts.architecture_key(
        "diagnosis",
        subject.builder,
        measured_by=(__name__, query.reader),
        manifest_sha256=query.copy.manifest_sha256,
        siblings=[sibling.weights[0].sha256 for sibling in _siblings(subject)],
        claim=[claim.value, claim.tolerance, top_k],
        seed=subject.settings.evaluation.seed,
        **query.inputs,
    )
    fact = subject.fact(key, lambda: _as_fact(_find_cause(subject, query, claim, top_k)), _is_diagnosis)
    return Cause(**fact.evidence) if fact.value else None


def _as_fact(cause: Cause | None) -> Fact:
    return Fact(cause.name if cause else None, asdict(cause) if cause else {})


def _is_diagnosis(fact: Fact) -> bool:
    """Return whether it is no cause, or one with a possible accuracy."""
    if fact.value is None:
        return has_form(fact.evidence, {})
    form = {"name": fact.value, "hint": is_text, "accuracy": is_number, "images": is_count}
    return is_text(fact.value) and has_form(fact.evidence, form) and 0 <= fact.evidence["accuracy"] <= 1


def _find_cause(subject: Subject, query: RankQuery, claim: Claim, top_k: int) -> Cause | None:
    order = random_order(len(query.copy), subject.settings.evaluation.seed)
    sample = order[: min(SAMPLE, -(-len(order) // 2))]
    first, ranker = sample[:FIRST_SAMPLE], make_ranker(query)
    before = _correctness(ranker, sample, top_k)
    tried = [
        (suspect, _try_suspect(suspect, first, top_k))
        for suspect in suspects(subject, query, ranker, order[len(sample) :])
    ]
    promising = sorted(
        (pair for pair in tried if sum(pair[1]) > sum(before[: len(first)])),
        key=lambda pair: sum(pair[1]),
        reverse=True,
    )
    best: Cause | None = None
    for suspect, _ in promising[:FINALISTS]:
        after = _try_suspect(suspect, sample, top_k)
        share = sum(after) / len(sample)
        if _explains(before, after, claim) and (best is None or share > best.accuracy):
            best = Cause(suspect.name, suspect.hint, share, len(sample))
    return best


def suspects(subject: Subject, query: RankQuery, ranker: Ranker, spare_indices: Sequence[int]) -> Iterator[Suspect]:
    """Yield the common mistakes, the most frequent first; spare_indices: images for learning the order of the labels."""
    for name, hint, candidate in other_inputs(subject.input):
        yield Suspect(name, hint, lambda candidate=candidate: replace(ranker, transform=make_transform(candidate)))  # type: ignore[misc]
    hint = "the weights expect BGR images: reverse the channels of the first layer, or use another file"
    yield Suspect("channel order", hint, lambda: replace(ranker, transform=_with_swapped_channels(ranker.transform)))
    for name, mapping in relabelings(query, ranker, spare_indices):
        hint = f"{name}: write `classes` of the dataset card, or the copy's labels, in the order of the outputs"
        yield Suspect("label order", hint, lambda m=mapping: replace(ranker, images=Relabelled(ranker.images, m)))  # type: ignore[misc]
    for name, hint, make_model in _other_weights(subject):
        yield Suspect(name, hint, lambda make_model=make_model: ranker.with_model(make_model()))  # type: ignore[misc]


def other_inputs(card_input: Input) -> Iterator[tuple[str, str, Input]]:
    """Yield other preprocessings than the card's: (what differs, the hint, the input)."""
    for mode in INTERPOLATIONS:
        if mode != (card_input.interpolation or "bilinear"):
            yield (
                "interpolation",
                f"write `interpolation: {mode}` in the card's input",
                replace(card_input, interpolation=mode),
            )
    for crop in CROPS:
        if crop != (card_input.crop_pct or 0.875):
            yield "crop", f"write `crop_pct: {crop}` in the card's input", replace(card_input, crop_pct=crop)
    for mode in ("center", "squash", "border"):
        if mode != (card_input.crop_mode or "center"):
            hint = f"write `crop_mode: {mode}` in the card's input"
            yield "crop mode", hint, replace(card_input, crop_mode=mode, crop_pct=1.0)
    for name, (mean, std) in MEANS.items():
        if (mean, std) != (card_input.mean or MEANS["ImageNet's"][0], card_input.std or MEANS["ImageNet's"][1]):
            numbers = f"`mean: {_format_list(mean)}` and `std: {_format_list(std)}`"
            yield "mean and std", f"write {name} {numbers} in the card's input", replace(card_input, mean=mean, std=std)
    for size in _nearest_sizes(card_input.size or (3, 224, 224)):
        yield "input size", f"write `size: {_format_list(size)}` in the card's input", replace(card_input, size=size)


def _nearest_sizes(size: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """Yield the three common sizes below the card's, and the three above."""
    channels, height = size[0], size[1]
    below, above = [s for s in SIZES if s < height][-3:], [s for s in SIZES if s > height][:3]
    yield from ((channels, side, side) for side in (*below, *above))


def _format_list(numbers: Sequence[float]) -> str:
    return f"[{', '.join(f'{number:.6g}' for number in numbers)}]"


def _with_swapped_channels(transform: Transform) -> Transform:
    def swapped(image: Image) -> Tensor:
        from PIL import Image as Images_

        return transform(Images_.merge("RGB", image.split()[::-1]))

    return swapped


@dataclass(frozen=True, slots=True)
class Relabelled:
    """The same images, with each label replaced by the output that the model may have for it."""

    images: Images
    mapping: Mapping[int, int]

    @property
    def labels(self) -> Sequence[Label]:
        """The labels in the order that the model may have."""
        return [tuple(self.mapping.get(label, label) for label in image) for image in self.images.labels]

    @property
    def problems(self) -> Sequence[Any]:
        """The problems of the images."""
        return self.images.problems

    def name(self, index: int) -> str:
        """Return the image's name."""
        return self.images.name(index)

    def stamp(self, index: int) -> str:
        """Return the image's stamp."""
        return self.images.stamp(index)

    def read(self, index: int) -> bytes:
        """Return the image's bytes."""
        return self.images.read(index)

    def decode(self, index: int, content: bytes) -> Image:
        """Return the image as RGB."""
        return self.images.decode(index, content)


def relabelings(
    query: RankQuery, ranker: Ranker, spare_indices: Sequence[int]
) -> Iterator[tuple[str, Mapping[int, int]]]:
    """Yield other orders of the labels: (description, the output for each label)."""
    classes = query.copy.dataset.classes
    places = range(len(classes))
    yield "the outputs have an additional class before the first", {place: place + 1 for place in places}
    yield "the outputs lack the first class", {place: place - 1 for place in places if place}
    for name, key in (("sorted as text", str), ("sorted as numbers", _as_number)):
        ordered = sorted(places, key=lambda place: key(classes[place]))
        mapping = {place: position for position, place in enumerate(ordered)}
        if any(place != position for place, position in mapping.items()):
            yield f"the outputs are in the order of the classes {name}", mapping
    learned = _learn_labels(ranker, spare_indices[: 2 * PER_CLASS * len(classes)], len(classes))
    if learned:
        changed = sum(place != output for place, output in learned.items())
        yield f"{changed} classes have other outputs than in the dataset card", learned


def _as_number(name: str) -> tuple[int, str]:
    digits = "".join(character for character in name if character.isdecimal())
    return int(digits or 0), name


def _learn_labels(ranker: Ranker, indices: Sequence[int], classes: int) -> Mapping[int, int]:
    """Return the most frequent output for the images of each class, from images outside of the sample.

    Empty when there are too few images, or when too many classes have the same output.
    """
    if len(indices) < PER_CLASS * classes:
        return {}
    votes: defaultdict[int, Counter[int]] = defaultdict(Counter)
    for index, outputs in zip(indices, ranker.top_outputs(indices), strict=True):
        for label in ranker.images.labels[index]:
            votes[label][outputs[0]] += 1
    learned = {label: outputs.most_common(1)[0][0] for label, outputs in votes.items()}
    return learned if len(set(learned.values())) >= DISTINCT * len(learned) else {}


def _other_weights(subject: Subject) -> Iterator[tuple[str, str, Callable[[], nn.Module]]]:
    """Yield other weights for the architecture: further tensors of the same file, and the weights of similar cards."""
    weights = subject.card.weights[0]
    artifact = subject.artifact(weights)
    for name, state in tensors.others(artifact, weights.rename).items():
        hint = f"the claim is about the tensors under `{name}` in {weights.file}: publish them in a separate file"

        def make_model(state: Mapping[str, Tensor] = state) -> nn.Module:
            module = build_model(subject.builder, allow_code=subject.settings.allow_code)
            tensors.fit(module, state, weights.file)
            return module

        yield "averaged weights", hint, make_model
    for sibling in _siblings(subject):
        hint = f"the claim is about the weights of {sibling.name}: write the right file under `weights`"
        yield "weights file", hint, partial(_model_of, Subject(Member(sibling, subject.catalog), subject.settings))


def _model_of(subject: Subject) -> nn.Module:
    return subject.model


def _siblings(subject: Subject) -> list[Card]:
    """Return the cards of the same architecture with other weights that are on this machine."""
    cards = (card for card in subject.catalog.cards if card.name != subject.card.name)
    return [card for card in cards if _is_sibling(subject.card, card) and locate(card, card.weights[0]) is not None]


def _is_sibling(card: Card, candidate: Card) -> bool:
    """Return whether the other card has other weights for the same architecture."""
    if not candidate.weights or candidate.builder is None or card.builder is None:
        return False
    same = (candidate.builder.library, candidate.builder.entry.partition(".")[0], dict(candidate.builder.options)) == (
        card.builder.library,
        card.builder.entry.partition(".")[0],
        dict(card.builder.options),
    )
    return same and candidate.weights[0].sha256 != card.weights[0].sha256


def _try_suspect(suspect: Suspect, indices: Sequence[int], top_k: int) -> list[bool]:
    """Return which images are right without the mistake; none when the model cannot run without it."""
    try:
        return _correctness(suspect.make_ranker(), indices, top_k)
    except (ZooError, RuntimeError, ValueError, AssertionError, IndexError):
        # An architecture may raise any of these for an input that does not fit.
        return [False] * len(indices)


def _correctness(ranker: Ranker, indices: Sequence[int], top_k: int) -> list[bool]:
    (ranked,) = ranker.rank([indices])
    return [bool(count_ranks([rank]).of(top_k)) for rank in ranked.ranks]


def _explains(before: Sequence[bool], after: Sequence[bool], claim: Claim) -> bool:
    """Return whether the gain is significant and the accuracy is then consistent with the claim."""
    gained = sum(new and not old for old, new in zip(before, after, strict=True))
    lost = sum(old and not new for old, new in zip(before, after, strict=True))
    by_chance = regularised_beta(0.5, gained, lost + 1) if gained else 1.0
    return by_chance < CHANCE and clopper_pearson(sum(after), len(after), LEVEL).high >= claim.range[0]
