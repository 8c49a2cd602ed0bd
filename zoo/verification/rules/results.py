"""Judge evaluation results: ranges, top-1 against top-5, chance, the family, units, data sets."""

from __future__ import annotations

from collections.abc import Iterator

from zoo.errors import did_you_mean, nearest
from zoo.registry.card import Card, ResultClaim
from zoo.registry.catalog import Member
from zoo.registry.metrics import METRICS
from zoo.runtime.spelling import is_typo
from zoo.verification.rules import FINE, Rule, Verdict, family, suspect, wrong

NEAR_CHANCE = 2.0
"""An accuracy up to twice that of guessing is suspect. Trained models are far above it: the weakest of timm's 1,556 measured
models has 41 % top-1 on ImageNet, 410 times chance (results/results-imagenet.csv of huggingface/pytorch-image-models)."""
FAR_BELOW = 1 / 3
"""A share of the family's median top-1."""
LARGEST_RATIO = 3.0
"""Top-5 / top-1 is 1.1 to 1.7 for the trained models in the same table, and 5 for an untrained model."""
NO_DATASET = frozenset({"unknown", "none", "n/a", "na", "tbd", "?", "-"})


def pairs(card: Card) -> Iterator[tuple[ResultClaim, ResultClaim]]:
    """Yield (top-1, top-5) of each evaluation: the claims on one split, paired in order when there are as many of each."""
    by_split: dict[tuple[str, str], dict[str, list[ResultClaim]]] = {}
    for claim in card.results:
        if claim.metric in ("top1", "top5"):
            by_split.setdefault((claim.dataset, claim.split), {}).setdefault(claim.metric, []).append(claim)
    for claims in by_split.values():
        if len(claims.get("top1", ())) == len(claims.get("top5", ())):
            yield from zip(claims["top1"], claims["top5"], strict=True)


def ranges(member: Member) -> Iterator[Verdict]:
    """Check that each metric that zoo knows is in its range, in percent or as a fraction."""
    for claim in member.card.results:
        metric = METRICS.get(claim.metric)
        if metric is None:
            continue
        if claim.unit not in (None, "percent", "fraction"):
            reason = f"{claim.metric} is in percent or a fraction, but its unit is {claim.unit!r}"
            yield wrong(claim.where.at("unit"), reason, "write `unit: percent` or `unit: fraction`", claim.unit)
            continue
        scale = claim.whole / 100
        if metric.low * scale <= claim.value <= metric.high * scale:
            yield FINE
            continue
        unit = claim.unit or "percent"
        reason = f"{claim.metric} is {claim.value} {unit}, outside {metric.low * scale:g} to {metric.high * scale:g}"
        is_percent = unit == "fraction" and claim.value <= 100
        hint = "write `unit: percent` if it is in percent" if is_percent else "correct the value or its unit"
        yield wrong(claim.where.at("value"), reason, hint, claim.value, unit=unit)


def top1_top5(member: Member) -> Iterator[Verdict]:
    """Check that top-1 <= top-5 <= 5 x top-1.

    A first guess that is right is also right among five. Five guesses, the best first, are right at most five times as
    often as the first one.
    """
    for first, five in pairs(member.card):
        top1, top5 = first.percent, five.percent
        if not (0 <= top1 <= 100 and 0 <= top5 <= 100):
            continue  # one of them is out of its range, and the rule `ranges` reports it
        if top1 > top5 and first.unit == five.unit:
            reason = f"top-1 ({first.value}) is above top-5 ({five.value})"
            yield wrong(
                first.where.at("value"), reason, "swap the values, or correct one of them", first.value, five.value
            )
        elif top1 > 0 and top5 > 5 * top1 and top1 > 1.5 * _slack(first, five):
            reason = f"top-5 ({five.value}) is {top5 / top1:.1f} times top-1 ({first.value}), but 5 times is the most possible"
            yield wrong(first.where.at("value"), reason, "correct top-1 or top-5", first.value, five.value)
        else:
            yield FINE


def _slack(first: ResultClaim, five: ResultClaim) -> float:
    return max(first.rounded_to or 0, five.rounded_to or 0)


def near_chance(member: Member) -> Iterator[Verdict]:
    """Check that a top-k accuracy is above that of guessing, which is k divided by the number of classes."""
    for claim in member.card.results:
        metric, dataset = METRICS.get(claim.metric), member.catalog.dataset(claim.dataset)
        if metric is None or not metric.top_k or dataset is None or not dataset.classes:
            continue
        chance = 100 * metric.top_k / len(dataset.classes)
        if claim.percent > NEAR_CHANCE * chance or len(dataset.classes) < 2 * NEAR_CHANCE * metric.top_k:
            yield FINE
            continue
        reason = (
            f"{claim.metric} {claim.value} on {len(dataset.classes):,} classes, where guessing gives {chance:g} %;"
            " an untrained model or other labels would explain it"
        )
        yield suspect(claim.where.at("value"), reason, "check the value and its unit", claim.value, chance)


def far_below_family(member: Member) -> Iterator[Verdict]:
    """Check that top-1 is not far below the family's median, and that top-5 is at most 3 times top-1.

    An untrained model has a top-5 of 5 times top-1.
    """
    card = member.card
    usual = family(member).top1
    for first, five in pairs(card):
        median = usual.get((first.dataset, first.split))
        ratio = five.percent / first.percent if first.value > 0 else 0.0
        if median and first.percent < FAR_BELOW * median:
            reason = f"top-1 is {first.percent:g} %, but the median of {card.collection} is {median:g} %; "
            if ratio > LARGEST_RATIO:
                reason += f"top-5 is {ratio:.1f} times top-1, which no trained model has"
            else:
                reason += "a much smaller model would explain it"
            yield suspect(first.where.at("value"), reason, "check the value", first.percent, median, "percent")
        elif LARGEST_RATIO < ratio <= 5 and first.percent < 30:
            reason = f"top-5 is {ratio:.1f} times top-1, but trained models have 1.1 to 1.7; a very hard data set would explain it"
            yield suspect(first.where.at("value"), reason, "check top-1 and top-5", first.value, five.value)
        else:
            yield FINE


def fraction_percent(member: Member) -> Iterator[Verdict]:
    """Check that a value in percent is not a fraction."""
    for claim in member.card.results:
        if claim.metric not in METRICS or claim.unit == "fraction":
            continue
        if 0 < claim.value <= 1:
            unit = f"its unit is {claim.unit}" if claim.unit else "a value without a unit is in percent"
            reason = f"{claim.metric} {claim.value} is at most 1 %, because {unit}; it may be a fraction"
            hint = "write `unit: fraction` if it is a fraction"
            yield suspect(claim.where.at("value"), reason, hint, claim.value, claim.value * 100)
        else:
            yield FINE


def duplicate_result(member: Member) -> Iterator[Verdict]:
    """Check that each metric on each split has one value. A card has one finding at most, for the first repeated metric."""
    values: dict[tuple[str, str, str], float] = {}
    repeated: list[ResultClaim] = []
    for claim in member.card.results:
        key = (claim.dataset, claim.split, claim.metric)
        if key in values:
            repeated.append(claim)
        values.setdefault(key, claim.value)
    if repeated:
        first = repeated[0]
        value = values[first.dataset, first.split, first.metric]
        others = len(repeated) - 1
        more = f" ({others} more result{'s' if others > 1 else ''} repeated)" if others else ""
        reason = (
            f"{first.metric} on {first.dataset} is listed twice, as {value} and {first.value}{more};"
            " two tasks or settings would explain it"
        )
        hint = "give them different splits or metrics, or remove one"
        yield suspect(first.where.at("value"), reason, hint, first.value, value)
    elif len(member.card.results) > 1:
        yield FINE


def unknown_dataset(member: Member) -> Iterator[Verdict]:
    """Check that a result names its data set, not a misspelt one, that its dataset card is valid, and that it has the split."""
    for claim in member.card.results:
        dataset = member.catalog.dataset(claim.dataset)
        if problem := member.catalog.dataset_problem(claim.dataset):
            reason = f"the dataset card of {claim.dataset} is not valid: {problem.place}: {problem.what}"
            yield wrong(claim.where.at("dataset"), reason, problem.hint, claim.dataset)
        elif claim.dataset.strip().lower() in NO_DATASET:
            reason = f"the card does not say on which data set {claim.metric} {claim.value} was measured"
            yield suspect(claim.where.at("dataset"), reason, "write the data set's name", claim.dataset)
        elif dataset is None:
            names = nearest(claim.dataset, member.catalog.dataset_names)
            near = [name for name in names if is_typo(claim.dataset, name)]
            if near:
                reason = f"no dataset card has the name {claim.dataset!r}; another data set would explain it"
                yield suspect(claim.where.at("dataset"), reason, did_you_mean(near[:1]), claim.dataset)
        elif claim.split not in dataset.splits and (*claim.where.pointer, "split") in claim.where.document.marks:
            reason = f"{dataset.name} has no split {claim.split!r}"
            yield suspect(
                claim.where.at("split"), reason, f"write one of its splits: {', '.join(dataset.splits)}", claim.split
            )
        else:
            yield FINE


RULES = (
    Rule("ranges", "a metric is in its range", "correct the value or its unit", ranges),
    Rule("top1-top5", "top-1 <= top-5 <= 5 x top-1", "correct top-1 or top-5", top1_top5),
    Rule("near-chance", "a trained model is better than guessing", "check the value and its unit", near_chance),
    Rule("far-below-family", "models of a family have similar accuracy", "check the value", far_below_family),
    Rule("fraction-percent", "a value in percent is not a fraction", "write `unit: fraction`", fraction_percent),
    Rule("duplicate-result", "a metric on a split has one value", "remove one of the results", duplicate_result),
    Rule("unknown-dataset", "a result names its data set", "write the name of the dataset card", unknown_dataset),
)
