"""The contract of the consistency rules: what each says of one card in the light of the others, from the cards alone.

`wrong` is what cannot be; `suspect` is what has legitimate explanations, which the rule names. A rule yields a Verdict
for each thing that it finds, FINE where it looked and found nothing, and nothing where there is nothing to look at.
Each file here has a tuple RULES; what they share about families is here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from statistics import median
from typing import Any

from zoo import plugins
from zoo.models.facts import Value
from zoo.registry.card import Builder, Card, FlopsClaim, Where
from zoo.registry.catalog import Catalog
from zoo.registry.position import Place
from zoo.verification.report import Status


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a rule finds on a card. `where` is the place of the value that is to be mended."""

    status: Status
    where: Place | None
    reason: str = ""
    hint: str = ""
    claimed: Value = None
    measured: Value = None
    unit: str = ""


FINE = Verdict(Status.OK, None)
Judge = Callable[[Card, Catalog], Iterator[Verdict]]


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule by its id, with the one line that says why, and what it proposes; the judge's docstring has the sources."""

    id: str
    why: str
    hint: str
    judge: Judge


@cache
def all_rules() -> dict[str, Rule]:
    """All rules by id, those of plug-ins too."""
    rules = [rule for name in plugins.names("rules") for rule in plugins.load("rules", name).RULES]
    return {rule.id: rule for rule in sorted(rules, key=lambda rule: rule.id)}


def wrong(
    where: Where, reason: str, hint: str, claimed: Value = None, measured: Value = None, unit: str = ""
) -> Verdict:
    """What cannot be."""
    return Verdict(Status.WRONG, where.place, reason, hint, claimed, measured, unit)


def suspect(
    where: Where, reason: str, hint: str, claimed: Value = None, measured: Value = None, unit: str = ""
) -> Verdict:
    """What may be legitimate; the reason says by what."""
    return Verdict(Status.SUSPECT, where.place, reason, hint, claimed, measured, unit)


# --- what the rules share -----------------------------------------------------------------------------------------


def params(card: Card) -> int | None:
    """The claimed number of parameters, where it is more than none."""
    claim = card.claims.params if card.claims else None
    return claim.value if claim and claim.value > 0 else None


def input_area(card: Card, claim: FlopsClaim) -> int | None:
    """Height x width of the input that a count is of, where the card says it."""
    size = claim.input or (card.input.size if card.input else None)
    return size[1] * size[2] if size and len(size) == 3 else None


def intensity(card: Card, claim: FlopsClaim) -> float | None:
    """Operations per parameter: how often a parameter is used in one pass."""
    count = params(card)
    return claim.value / count if count and claim.value else None


def is_image_task(card: Card) -> bool:
    """Whether every parameter of the model is used at least once for each image."""
    task = card.task or ""
    return any(word in task for word in ("image", "object-detection", "segmentation", "keypoint"))


def is_classification(card: Card) -> bool:
    """Whether the card says that the model classifies images; one that is built by timm does where nothing else is said."""
    return card.task == "image-classification" or (
        card.task is None and card.builder is not None and card.builder.library == "timm"
    )


@dataclass(frozen=True, slots=True)
class Family:
    """What is usual in a family, for cards of one task: the median of operations per parameter, over the input's area
    where all its members say one, and of top-1 by data set; None where there are fewer than LEAST members."""

    intensity: float | None
    by_area: float | None
    top1: dict[tuple[str, str], float]
    members: int


LEAST = 4
"""A median of fewer members is no rule: with four, one wrong value does not move it far."""


def family(card: Card, catalog: Catalog) -> Family:
    """The family of a card: the cards of its collection and task."""
    if card.collection is None:
        return Family(None, None, {}, 1)
    result: Family = catalog.derived(("family", card.collection, card.task), lambda: _family(card, catalog))
    return result


def _family(card: Card, catalog: Catalog) -> Family:
    cards = [member for member in catalog.sharing("collection", card.collection) if member.task == card.task]
    usual = [
        (value, input_area(member, member.flops[0]))
        for member in cards
        if member.flops and (value := intensity(member, member.flops[0]))
    ]
    areas = [value / area for value, area in usual if area]
    top1: dict[tuple[str, str], list[float]] = {}
    for member in cards:
        for claim in member.results:
            if claim.metric == "top1":
                top1.setdefault((claim.dataset, claim.split), []).append(claim.value)
    return Family(
        median(value for value, _ in usual) if len(usual) >= LEAST else None,
        median(areas) if len(areas) >= LEAST and len(areas) == len(usual) else None,
        {key: median(values) for key, values in top1.items() if len(values) >= LEAST},
        len(cards),
    )


def same_model(card: Card, other: Card) -> bool | None:
    """Whether two cards can share a file: the same architecture, or as many parameters as far as their rounding tells.

    None where the cards do not say enough.
    """
    if card.builder and other.builder and _built(card.builder) == _built(other.builder):
        return True
    claim, other_claim = (item.claims.params if item.claims else None for item in (card, other))
    if claim is None or other_claim is None:
        return True if other.name in card.aliases or card.name in other.aliases else None
    return abs(claim.value - other_claim.value) <= ((claim.rounded_to or 0) + (other_claim.rounded_to or 0)) / 2


def are_different_architectures(card: Card, other: Card) -> bool:
    """Whether both cards name an architecture of one library, and not the same."""
    mine, theirs = card.builder, other.builder
    return bool(
        mine and theirs and mine.library == theirs.library and _architecture(mine.entry) != _architecture(theirs.entry)
    )


def _built(builder: Builder) -> tuple[str, str, dict[str, Any]]:
    return builder.library, _architecture(builder.entry), dict(builder.options)


def _architecture(entry: str) -> str:
    return entry.partition(".")[0]
