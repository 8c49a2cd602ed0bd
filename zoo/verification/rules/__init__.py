"""Define the contract of the consistency rules: each judges one card, compared with the other cards of the catalogue.

`wrong` is a claim that cannot be true. `suspect` is a claim that has legitimate explanations, which the rule names. A rule
yields one Verdict for each problem, FINE for each value without a problem, and nothing for a card without such a value.
Each module in this folder has a tuple RULES. What the rules share is here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from statistics import median
from typing import Any, Protocol

from zoo import plugins
from zoo.models.facts import Value
from zoo.registry.card import Builder, Card, FlopsClaim, Where
from zoo.registry.catalog import Member
from zoo.registry.position import Place
from zoo.verification.report import Status


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a rule finds on a card. `where` is the place of the value to correct; None stands for the whole card."""

    status: Status
    where: Place | None
    reason: str = ""
    hint: str = ""
    claimed: Value = None
    measured: Value = None
    unit: str = ""


class RuleModule(Protocol):
    """What a module in this folder offers."""

    @property
    def RULES(self) -> tuple[Rule, ...]:
        """The rules of the file."""


FINE = Verdict(Status.OK, None)
Judge = Callable[[Member], Iterator[Verdict]]


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule: its id, one line that says what holds for a correct card, a hint, and the function that judges a card.

    `zoo validate --explain` shows the docstring of `judge`, which gives the sources. can_be_ignored: whether a card's `ignore`
    accepts a suspect finding of the rule.
    """

    id: str
    why: str
    hint: str
    judge: Judge
    can_be_ignored: bool = True


@cache
def all_rules() -> dict[str, Rule]:
    """Return all rules by id, including those of other distributions."""
    rules = [rule for name in plugins.names("rules") for rule in plugins.load("rules", name).RULES]
    return {rule.id: rule for rule in sorted(rules, key=lambda rule: rule.id)}


def wrong(
    where: Where, reason: str, hint: str, claimed: Value = None, measured: Value = None, unit: str = ""
) -> Verdict:
    """Return a verdict on a claim that cannot be true."""
    return Verdict(Status.WRONG, where.place, reason, hint, claimed, measured, unit)


def suspect(
    where: Where, reason: str, hint: str, claimed: Value = None, measured: Value = None, unit: str = ""
) -> Verdict:
    """Return a verdict on a claim that may be legitimate; the reason names the explanation."""
    return Verdict(Status.SUSPECT, where.place, reason, hint, claimed, measured, unit)


# --- shared by the rules ------------------------------------------------------------------------------------------


def params(card: Card) -> int | None:
    """Return the claimed number of parameters; None when the card claims none, or 0."""
    claim = card.claims.params if card.claims else None
    return claim.value if claim and claim.value > 0 else None


def input_area(card: Card, claim: FlopsClaim) -> int | None:
    """Return height x width of the input that a count refers to, in pixels; None when the card does not say."""
    size = claim.input or (card.input.size if card.input else None)
    return size[1] * size[2] if size and len(size) == 3 else None


def intensity(card: Card, claim: FlopsClaim) -> float | None:
    """Return operations per parameter, that is how often a parameter is used in one forward pass; None when not claimed."""
    count = params(card)
    return claim.value / count if count and claim.value else None


def is_image_task(card: Card) -> bool:
    """Return whether the task takes images, so that each image uses every parameter at least once."""
    task = card.task or ""
    return any(word in task for word in ("image", "object-detection", "segmentation", "keypoint"))


def is_classification(card: Card) -> bool:
    """Return whether the model classifies images: by its task, or without a task because timm builds it."""
    return card.task == "image-classification" or (
        card.task is None and card.builder is not None and card.builder.library == "timm"
    )


@dataclass(frozen=True, slots=True)
class Family:
    """The medians of a family, over its cards of one task. A median of fewer than FEWEST_RELATIVES cards is None.

    intensity: operations per parameter. by_area: the same per pixel of the input, when every card gives its input size.
    top1: claimed top-1 in percent, by (data set, split). members: the number of cards.
    """

    intensity: float | None
    by_area: float | None
    top1: dict[tuple[str, str], float]
    members: int


FEWEST_RELATIVES = 4
"""The fewest values for a median: among four, one wrong value does not move it far."""


def family(member: Member) -> Family:
    """Return the medians of the card's family: the cards of its collection with the same task."""
    card = member.card
    if card.collection is None:
        return Family(None, None, {}, 1)
    result: Family = member.catalog.derived(("family", card.collection, card.task), lambda: _family(member))
    return result


def _family(member: Member) -> Family:
    relatives = member.catalog.sharing("collection", member.card.collection)
    cards = [card for card in relatives if card.task == member.card.task]
    usual = [
        (value, input_area(card, card.flops[0]))
        for card in cards
        if card.flops and (value := intensity(card, card.flops[0]))
    ]
    areas = [value / area for value, area in usual if area]
    top1: dict[tuple[str, str], list[float]] = {}
    for card in cards:
        for claim in card.results:
            if claim.metric == "top1":
                top1.setdefault((claim.dataset, claim.split), []).append(claim.percent)
    return Family(
        median(value for value, _ in usual) if len(usual) >= FEWEST_RELATIVES else None,
        median(areas) if len(areas) >= FEWEST_RELATIVES and len(areas) == len(usual) else None,
        {key: median(values) for key, values in top1.items() if len(values) >= FEWEST_RELATIVES},
        len(cards),
    )


def is_first_of_collection(member: Member) -> bool:
    """Return whether the card is the first of its collection. Findings about the collection are shown with that card."""
    return member.catalog.sharing("collection", member.card.collection, most=1)[0] is member.card


def same_model(card: Card, other: Card) -> bool | None:
    """Return whether two cards can share a file: the same architecture, or equal parameters within their rounding.

    None when the cards do not say enough.
    """
    if card.builder and other.builder and _built(card.builder) == _built(other.builder):
        return True
    claim, other_claim = (item.claims.params if item.claims else None for item in (card, other))
    if claim is None or other_claim is None:
        return True if other.name in card.aliases or card.name in other.aliases else None
    return abs(claim.value - other_claim.value) <= ((claim.rounded_to or 0) + (other_claim.rounded_to or 0)) / 2


def are_different_architectures(card: Card, other: Card) -> bool:
    """Return whether the cards name two different architectures of the same library."""
    mine, theirs = card.builder, other.builder
    return bool(
        mine and theirs and mine.library == theirs.library and _architecture(mine.entry) != _architecture(theirs.entry)
    )


def _built(builder: Builder) -> tuple[str, str, dict[str, Any]]:
    return builder.library, _architecture(builder.entry), dict(builder.options)


def _architecture(entry: str) -> str:
    return entry.partition(".")[0]
