"""Rules about evaluation results: ranges, top-1 against top-5, chance, the family, units, data sets."""

from __future__ import annotations

from collections.abc import Iterator

from zoo.errors import nearest
from zoo.registry.card import METRICS, Card, ResultClaim
from zoo.registry.catalog import Catalog
from zoo.runtime.spelling import is_typo
from zoo.verification.rules import FINE, Rule, Verdict, family, suspect, wrong

NEAR_CHANCE = 2.0
"""Up to twice what guessing gives. A trained model is far above it: the weakest of timm's 1,556 measured models has 41 %
top-1 on ImageNet, 410 times chance (results/results-imagenet.csv of huggingface/pytorch-image-models)."""
FAR_BELOW = 1 / 3
"""Of the family's median top-1."""
LARGEST_RATIO = 3.0
"""top-5 / top-1 of trained models is 1.1 to 1.7 in the same table; an untrained one's is 5."""
NO_DATASET = frozenset({"unknown", "none", "n/a", "na", "tbd", "?", "-"})


def percent(claim: ResultClaim) -> float:
    """The claimed value in percent."""
    return claim.value * (100 if claim.unit == "fraction" else 1)


def pairs(card: Card) -> Iterator[tuple[ResultClaim, ResultClaim]]:
    """(top-1, top-5) of each evaluation: on one split in the order of the card, where there are as many of each."""
    by_split: dict[tuple[str, str], dict[str, list[ResultClaim]]] = {}
    for claim in card.results:
        if claim.metric in ("top1", "top5"):
            by_split.setdefault((claim.dataset, claim.split), {}).setdefault(claim.metric, []).append(claim)
    for claims in by_split.values():
        if len(claims.get("top1", ())) == len(claims.get("top5", ())):
            yield from zip(claims["top1"], claims["top5"], strict=True)


def ranges(card: Card, catalog: Catalog) -> Iterator[Verdict]:
    """A metric lies in its range, for those whose range is known (`METRICS`)."""
    for claim in card.results:
        metric = METRICS.get(claim.metric)
        if metric is None:
            continue
        scale = 0.01 if claim.unit == "fraction" else 1.0
        if metric.low * scale <= claim.value <= metric.high * scale:
            yield FINE
            continue
        unit = claim.unit or "percent"
        reason = f"{claim.metric} is {claim.value} {unit}, outside {metric.low * scale:g} to {metric.high * scale:g}"
        hint = "it may be in percent" if unit == "fraction" and claim.value <= 100 else "correct the value or its unit"
        yield wrong(claim.where.at("value"), reason, hint, claim.value, unit=unit)


def top1_top5(card: Card, catalog: Catalog) -> Iterator[Verdict]:
    """What is right first is right among five: top-1 <= top-5. And five guesses, the best first, are right at most five
    times as often as the first."""
    for first, five in pairs(card):
        top1, top5 = percent(first), percent(five)
        if not (0 <= top1 <= 100 and 0 <= top5 <= 100):
            continue  # one of them is out of its range, and `ranges` says so
        if top1 > top5 and first.unit == five.unit:
            reason = f"top-1 is {first.value}, above top-5, {five.value}"
            yield wrong(first.where.at("value"), reason, "they may be swapped", first.value, five.value)
        elif top1 > 0 and top5 > 5 * top1 and top1 > 1.5 * _slack(first, five):
            reason = f"top-5 ({five.value}) is {top5 / top1:.1f} times top-1 ({first.value}), and no more than 5 can be: the first guess is the best of five"
            yield wrong(first.where.at("value"), reason, "correct top-1 or top-5", first.value, five.value)
        else:
            yield FINE


def _slack(first: ResultClaim, five: ResultClaim) -> float:
    return max(first.rounded_to or 0, five.rounded_to or 0)


def near_chance(card: Card, catalog: Catalog) -> Iterator[Verdict]:
    """An accuracy is above what guessing gives, k in as many as the data set has classes."""
    for claim in card.results:
        metric, dataset = METRICS.get(claim.metric), catalog.dataset(claim.dataset)
        if metric is None or not metric.top_k or dataset is None or not dataset.classes:
            continue
        chance = 100 * metric.top_k / len(dataset.classes)
        if percent(claim) > NEAR_CHANCE * chance or len(dataset.classes) < 2 * NEAR_CHANCE * metric.top_k:
            yield FINE
            continue
        reason = f"{claim.metric} {claim.value} on {len(dataset.classes):,} classes, where guessing gives {chance:g} %: an untrained model, or other labels, would explain it"
        yield suspect(claim.where.at("value"), reason, "check the value and its unit", claim.value, chance)


def far_below_family(card: Card, catalog: Catalog) -> Iterator[Verdict]:
    """A model far below its family is as sure of its guesses as a trained one: top-5 is no more than 3 times top-1."""
    usual = family(card, catalog).top1
    for first, five in pairs(card):
        median = usual.get((first.dataset, first.split))
        ratio = percent(five) / percent(first) if first.value > 0 else 0.0
        if median and first.value < FAR_BELOW * median:
            reason = f"top-1 is {first.value}, and {median:g} is usual in {card.collection}; top-5 is {ratio:.1f} times top-1"
            reason += ", as in no trained model" if ratio > LARGEST_RATIO else ": a much smaller model would explain it"
            yield suspect(first.where.at("value"), reason, "check the value", first.value, median)
        elif LARGEST_RATIO < ratio <= 5 and percent(first) < 30:
            reason = f"top-5 is {ratio:.1f} times top-1: trained models have 1.1 to 1.7; a very hard data set would explain it"
            yield suspect(first.where.at("value"), reason, "check both", first.value, five.value)
        else:
            yield FINE


def fraction_percent(card: Card, catalog: Catalog) -> Iterator[Verdict]:
    """A fraction is not given as per cent."""
    for claim in card.results:
        if claim.metric not in METRICS or claim.unit == "fraction":
            continue
        if 0 < claim.value <= 1:
            unit = "per cent" if claim.unit else "nothing, which means per cent"
            reason = f"{claim.metric} {claim.value} is less than 1 %, and its unit is {unit}: it may be a fraction"
            yield suspect(
                claim.where.at("value"), reason, "add `unit: fraction` if it is one", claim.value, claim.value * 100
            )
        else:
            yield FINE


def duplicate_result(card: Card, catalog: Catalog) -> Iterator[Verdict]:
    """One metric of one split has one value; said once a card, for the first that has two."""
    values: dict[tuple[str, str, str], float] = {}
    twice: list[ResultClaim] = []
    for claim in card.results:
        key = (claim.dataset, claim.split, claim.metric)
        if key in values:
            twice.append(claim)
        values.setdefault(key, claim.value)
    if twice:
        first = twice[0]
        value = values[first.dataset, first.split, first.metric]
        more = f", and {len(twice) - 1} more" if len(twice) > 1 else ""
        reason = f"{first.metric} on {first.dataset} is here twice, as {value} and {first.value}{more}: two tasks or settings would explain it"
        yield suspect(
            first.where.at("value"), reason, "tell them apart by split or metric, or remove one", first.value, value
        )
    elif len(card.results) > 1:
        yield FINE


def unknown_dataset(card: Card, catalog: Catalog) -> Iterator[Verdict]:
    """The data set of a result is one that there is: a name that differs by a slip from a dataset card's is misspelt, and
    a split is one of those that the dataset card has."""
    for claim in card.results:
        dataset = catalog.dataset(claim.dataset)
        if claim.dataset.strip().lower() in NO_DATASET:
            reason = f"nothing says what {claim.metric} {claim.value} was measured on"
            yield suspect(claim.where.at("dataset"), reason, "name the data set", claim.dataset)
        elif dataset is None:
            near = [name for name in nearest(claim.dataset, catalog.dataset_names) if is_typo(claim.dataset, name)]
            if near:
                reason = f"no dataset card is called {claim.dataset}: another data set would explain it"
                yield suspect(claim.where.at("dataset"), reason, f"did you mean {near[0]}?", claim.dataset)
        elif claim.split not in dataset.splits and (*claim.where.pointer, "split") in claim.where.document.marks:
            reason = f"{dataset.name} has no split {claim.split}, but {', '.join(dataset.splits)}"
            yield suspect(claim.where.at("split"), reason, "name one of those", claim.split)
        else:
            yield FINE


RULES = (
    Rule("ranges", "a metric lies in its range", "correct the value or its unit", ranges),
    Rule("top1-top5", "top-1 <= top-5 <= 5 x top-1", "correct the one or the other", top1_top5),
    Rule("near-chance", "a trained model does better than guessing", "check the value and its unit", near_chance),
    Rule("far-below-family", "relatives are about as accurate", "check the value", far_below_family),
    Rule("fraction-percent", "a fraction is no per cent", "add the unit", fraction_percent),
    Rule("duplicate-result", "one measurement has one value", "remove one, or tell them apart", duplicate_result),
    Rule("unknown-dataset", "a result names its data set", "name the data set as its card does", unknown_dataset),
)
