"""Judge counts: operations against parameters, input size and family, and the number of parameters itself."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator
from math import log

from zoo.registry.card import Card, FlopsClaim
from zoo.registry.catalog import Member
from zoo.verification.rules import (
    FINE,
    Rule,
    Verdict,
    family,
    input_area,
    intensity,
    is_classification,
    is_image_task,
    params,
    suspect,
    wrong,
)

LEAST_INTENSITY = 0.5
"""A forward pass of an image model uses every weight at least once: a fully connected network has one multiply-add per weight
(and none per bias). Half of that is less than any network can have."""
USUAL_INTENSITY = (5.0, 20_000.0)
"""timm's 1,444 measured models have from 15 (tinynet_e) to 6,552 (a ViT at 896 x 896) multiply-adds per parameter
(results/benchmark-infer-amp-nchw-pt240-cu124-rtx4090.csv of huggingface/pytorch-image-models)."""
MOST_OF_CLASSIFIERS, MOST_BY_AREA, LEAST_AREA = 3000.0, 0.03, 128 * 128
"""Of the same models, those at 384 x 384 and below have at most 2,234 (XCiT with patch size 8), and at most 0.021 per pixel.
Networks for tiny images (CIFAR) have more per pixel, so MOST_BY_AREA does not apply below LEAST_AREA."""
MOST_USES_A_PIXEL = 4.0
"""A weight is used at most once at each position of the input: one multiply-add, or two operations, per pixel. Twice that
allows for counts of a larger, uncropped image. Networks that enlarge their input are not classifiers."""
FAMILY_FACTOR = 6.0
"""How far a model may be from its family's median, as a factor: patch sizes 8, 16 and 32 of a vision transformer differ by a
factor of 4.4 each, stems and CIFAR variants by 3.5. None of these reaches a factor of ten."""
FEWEST_PARAMS = 1000
"""A smaller count is one in thousands or millions that lost its unit: LeNet-5 has 60,000 (LeCun et al. 1998)."""
NAME_FACTOR = 1.6
"""How far the name may be from the count, as a factor. RegNets are named after their multiply-adds, rounded: regnetx-4.0gf has
3.96 to 4.0 billion, regnety-16gf 15.9."""
_SCALES = {1000: "in thousands", 10**6: "in millions", 10**9: "in billions"}


def flops_params(member: Member) -> Iterator[Verdict]:
    """Check that an image model has more multiply-adds than parameters, and not more than its input allows.

    A forward pass uses every parameter at least once, and at most once at each position of the input.
    """
    card = member.card
    count = params(card)
    for claim in card.flops:
        ratio = intensity(card, claim)
        if ratio is not None and count is not None:
            yield _judge_intensity(card, claim, ratio, count)


def _judge_intensity(card: Card, claim: FlopsClaim, ratio: float, count: int) -> Verdict:
    where, area = claim.where.at("value"), input_area(card, claim)
    hint = "correct the operations or the parameters"
    ratio_text = f"{claim.value:,.12g} operations for {count:,} parameters are {ratio:,.3g} each"
    if ratio < LEAST_INTENSITY:
        reason = f"{ratio_text}, but an image uses every parameter at least once: the counter left out most layers, or {_unit_slip(ratio)}"
        return (wrong if is_image_task(card) else suspect)(where, reason, hint, claim.value, count)
    if is_classification(card) and area and ratio > MOST_USES_A_PIXEL * area:
        reason = f"{ratio_text}, but the input has only {area:,} positions; {_unit_slip(ratio)}"
        return wrong(where, reason, hint, claim.value, count)
    most = _most(card, area)
    if is_image_task(card) and not USUAL_INTENSITY[0] <= ratio <= most and count >= FEWEST_PARAMS:
        reason = (
            f"{ratio_text}, but image models have 15 to {most:,.0f}; {_unit_slip(ratio)}, or the input is very large"
        )
        return suspect(where, reason, "check the operations and the parameters", claim.value, count)
    return FINE


def _most(card: Card, area: int | None) -> float:
    """Return the most operations per parameter that are usual for such a card."""
    if not is_classification(card):
        return USUAL_INTENSITY[1]
    if area is None:
        return MOST_OF_CLASSIFIERS
    return max(MOST_OF_CLASSIFIERS, MOST_BY_AREA * area) if area >= LEAST_AREA else USUAL_INTENSITY[1]


def _unit_slip(ratio: float) -> str:
    """Return the mistake that would explain a number of operations per parameter outside the usual range."""
    low, high = 15.0, 6600.0
    slips = {
        "they may be swapped": 1 / ratio,
        "they may be swapped, each with the other's unit": 1e6 / ratio if ratio > 1 else 0.0,
        "one of them may have lost its unit (G or M)": ratio * 1000 if ratio < 1 else ratio / 1000,
        "one of them may have lost its unit (M)": ratio * 1e6 if ratio < 1 else ratio / 1e6,
        "one of them may have lost its unit (G)": ratio * 1e9 if ratio < 1 else ratio / 1e9,
    }
    fitting = [words for words, value in slips.items() if low <= value <= high]
    return fitting[0] if fitting else "the counter may have left out layers"


def params_plausible(member: Member) -> Iterator[Verdict]:
    """Check that the number of parameters is a count, not a number of thousands or millions."""
    card = member.card
    count = params(card)
    if count is None or not card.claims or not card.claims.params:
        return
    where = card.claims.params.where.at("value")
    if count >= FEWEST_PARAMS:
        yield FINE
        return
    flops = max((claim.value for claim in card.flops), default=0)
    fits = [words for scale, words in _SCALES.items() if 5 <= (flops / (count * scale) if flops else 0) <= 6600]
    bytes_ = card.weights[0].size_bytes if card.weights else None
    fits += [words for scale, words in _SCALES.items() if bytes_ and 0.4 <= bytes_ / (4 * count * scale) <= 1.6]
    reason = f"{count:,} parameters: the number may be {fits[0] if fits else 'in millions'}"
    yield (wrong if fits else suspect)(where, reason, "write the whole number of parameters", count)


def flops_family(member: Member) -> Iterator[Verdict]:
    """Check that operations per parameter are near the family's median; per pixel too if all its cards give an input size."""
    card = member.card
    for claim in card.flops[:1]:
        ratio = intensity(card, claim)
        usual = family(member)
        area = input_area(card, claim)
        median = usual.by_area * area if usual.by_area and area else usual.intensity
        if ratio is None or median is None or not 2 * USUAL_INTENSITY[0] <= median <= MOST_OF_CLASSIFIERS:
            continue  # most of the family is wrong, and flops-params reports it
        if 1 / FAMILY_FACTOR <= ratio / median <= FAMILY_FACTOR:
            yield FINE
            continue
        reason = (
            f"{claim.value:,.0f} operations for {params(card):,} parameters are {ratio / median:,.3g} times the median "
            f"of {card.collection}; {_family_slip(card, claim, median)}; another patch size, stem or counting tool would explain it"
        )
        yield suspect(claim.where.at("value"), reason, "check the operations and the parameters", claim.value)


def _family_slip(card: Card, claim: FlopsClaim, median: float) -> str:
    """Return the mistake whose correction brings operations per parameter nearest to the family's median."""
    count, value = params(card) or 1, claim.value
    slips = {
        "parameters and operations may be swapped, each with the other's unit": (count * 1000) / (value / 1000),
        "parameters and operations may be swapped": count / value,
    }
    for power in (1, 2, 3, 6):
        slips[f"parameters may be {10**power:,} times too few, or operations too many"] = value / (count * 10**power)
        slips[f"parameters may be {10**power:,} times too many, or operations too few"] = value * 10**power / count
    return min(slips, key=lambda words: abs(log(slips[words] / median)))


def flops_input(member: Member) -> Iterator[Verdict]:
    """Check that the same network has more operations at a larger input."""
    card = member.card
    for claim in card.flops[:1]:
        area = input_area(card, claim)
        if card.collection is None or area is None or params(card) is None:
            continue
        networks = member.catalog.derived(("networks", card.collection), lambda: _networks(member))
        relatives = [counted for key in _network_keys(card) for counted in networks[key]]
        above = [
            (name, value, size)
            for name, value, size, convention in relatives
            if name != card.name and convention == claim.convention and size < area and value > claim.value * 1.02
        ]
        if not above:
            yield FINE
            continue
        name, value, size = above[0]
        reason = (
            f"{claim.value:,.0f} operations at {area:,} pixels, but {name}, the same network, has {value:,.0f} at {size:,};"
            " another convention of counting would explain it"
        )
        yield suspect(
            claim.where.at("value"), reason, "check both claims, and add their convention", claim.value, value
        )


_Counted = tuple[str, float, int, str | None]
"""Name, operations, pixels of the input and convention of a card."""


def _networks(member: Member) -> dict[Hashable, list[_Counted]]:
    """Return the counts of a family's cards, by the keys that cards of one network share."""
    networks: dict[Hashable, list[_Counted]] = {}
    for card in member.catalog.sharing("collection", member.card.collection):
        for claim in card.flops[:1]:
            size = input_area(card, claim)
            if size is not None:
                for key in _network_keys(card):
                    networks.setdefault(key, []).append((card.name, claim.value, size, claim.convention))
    return networks


def _network_keys(card: Card) -> Iterator[Hashable]:
    """Yield what cards of one network share: the builder's architecture; the name without its size, with the parameters."""
    if card.builder:
        yield (card.builder.library, card.builder.entry.partition(".")[0], str(sorted(card.builder.options.items())))
    if params(card) is not None:
        yield (_stem(card.name), params(card))


def _stem(name: str) -> str:
    """Return a name without the input size in it."""
    return re.sub(r"[-_.]r?\d{3}(?=$|[-_.])", "", name.lower())


_NAMED = re.compile(
    r"(?i)(?:^|[-_])(?:[xy]-?)?(?:(\d{1,2})_)?(\d+(?:\.\d+)?)(m|g)f(?![a-z0-9])|[a-z](\d+(?:\.\d+)?)(m|g)f(?![a-z0-9])"
)


def flops_name(member: Member) -> Iterator[Verdict]:
    """Check that a network named after its operations, such as regnetx-3.2gf, has about as many.

    Source of the names: Radosavovic et al. 2020, table 2.
    """
    card = member.card
    readings = _operations_in_name(card.name)
    for claim in card.flops if readings else ():
        if any(1 / NAME_FACTOR <= claim.value / named <= 2 * NAME_FACTOR for named in readings):
            yield FINE
            continue
        named, count = readings[0], params(card)
        reason = f"the name says {named / 1e9:g} GFLOPs, but the claim is {claim.value:,.0f}"
        if count and _digits(count) == _digits(named):
            reason += f"; operations and parameters ({count:,}) may be swapped"
        reason += "; another input size would explain it"
        yield suspect(claim.where.at("value"), reason, "check the claim", claim.value, named)


def _operations_in_name(name: str) -> list[float]:
    """Return the operations that a name may mean; empty when it names none. `1_6gf` means 1.6 or 6 billion."""
    match = _NAMED.search(name)
    if match is None:
        return []
    before, number, unit = (match[1], match[2], match[3]) if match[2] else (None, match[4], match[5])
    scale = 10**9 if unit.lower() == "g" else 10**6
    readings = [float(f"{before}.{number}") * scale] if before and "." not in number else []
    return [value for value in [*readings, float(number) * scale] if value]


def _digits(value: float) -> str:
    return f"{value:.1e}".partition("e")[0]


def no_convention(member: Member) -> Iterator[Verdict]:
    """Check that a count of operations says how it was counted, for example whether a multiply-add is one or two."""
    for claim in member.card.flops:
        if claim.convention is not None:
            yield FINE
        else:
            reason = "the claim does not say how the operations were counted, so zoo cannot check it"
            hint = f"run `zoo flops {member.card.name}` to find the convention"
            yield suspect(claim.where.at("value"), reason, hint, claim.value)


def duplicate_claim(member: Member) -> Iterator[Verdict]:
    """Check that a card has one count for each convention and input."""
    values: dict[tuple[str | None, tuple[int, ...] | None], float] = {}
    for claim in member.card.flops:
        key = (claim.convention, claim.input)
        if claim.convention is not None and key in values and values[key] != claim.value:
            reason = f"two counts with the same convention and input: {values[key]:,.0f} and {claim.value:,.0f}"
            hint = "remove one, or correct its convention or input"
            yield wrong(claim.where.at("value"), reason, hint, claim.value, values[key])
        values.setdefault(key, claim.value)
    if len(member.card.flops) > 1:
        yield FINE


RULES = (
    Rule(
        "flops-params",
        "a pass uses every parameter at least once, and at most once per position",
        "correct the operations or the parameters",
        flops_params,
    ),
    Rule("params-plausible", "parameters are counted in ones", "write the whole number", params_plausible),
    Rule(
        "flops-family",
        "models of a family have similar operations per parameter",
        "check the operations and the parameters",
        flops_family,
    ),
    Rule("flops-input", "a larger input needs more operations", "check both claims", flops_input),
    Rule("flops-name", "the operations in a name are about those claimed", "check the claim", flops_name),
    Rule("no-convention", "a count says how it was counted", "run `zoo flops NAME`", no_convention),
    Rule("duplicate-claim", "one convention and input have one count", "remove one", duplicate_claim),
)
