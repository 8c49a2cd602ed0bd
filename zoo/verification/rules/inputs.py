"""Rules about the input: size, crop, interpolation, mean and std among each other and with the model's name."""

from __future__ import annotations

import re
from collections.abc import Iterator

from zoo.registry.card import Card
from zoo.registry.catalog import Catalog
from zoo.verification.rules import FINE, Rule, Verdict, suspect, wrong

_SIDES = (
    "160 176 192 208 224 236 240 256 260 272 288 299 300 320 331 336 352 380 384 400 408 416 448 456 475 480 512 518 528"
    " 544 560 576 600 640 672 768 800 896 1024"
)
USUAL_SIZES = frozenset(map(int, _SIDES.split()))
"""Sides that names end in: the test sizes of timm's results/results-imagenet.csv, seen 2026-11-24."""
SMALLEST_CROP = 0.5
"""timm's crops are 0.75 to 1.0 (the same table); half of the image is not a crop of its centre any more."""
LARGEST_MEAN, LARGEST_STD = 1.0, 2.0
"""Of values in 0 to 1. ImageNet's mean on the scale to 255 is 123.675, its std 58.395."""


def crop(card: Card, catalog: Catalog) -> Iterator[Verdict]:
    """The crop is a part of the resized image, and a whole image is not cropped."""
    preprocessing = card.input
    if preprocessing is None or preprocessing.crop_pct is None:
        return
    where, value = preprocessing.where.at("crop_pct"), preprocessing.crop_pct
    if value > 1:
        reason = f"crop_pct {value} cuts more than the resized image out of it: padding would explain it"
        yield suspect(where, reason, "give the part of the resized image that is kept, 0.875 for 224 of 256", value)
    elif value < SMALLEST_CROP:
        reason = f"crop_pct {value} keeps {100 * value * value:.0f} % of the image's area: fine-grained centre crops would explain it"
        yield suspect(where, reason, "check it", value)
    elif value < 1 and preprocessing.crop_mode in ("squash", "border"):
        reason = f"crop_mode {preprocessing.crop_mode} takes the whole image, and crop_pct {value} a part of it"
        yield suspect(where, reason, "give crop_pct 1.0, or crop_mode center", value)
    else:
        yield FINE


def mean_std(card: Card, catalog: Catalog) -> Iterator[Verdict]:
    """Mean and std are of values in 0 to 1, one for each channel, and nothing is divided by zero."""
    preprocessing = card.input
    if preprocessing is None or (preprocessing.mean is None and preprocessing.std is None):
        return
    has_fault = False
    for name, values in (("mean", preprocessing.mean), ("std", preprocessing.std)):
        if values is None:
            continue
        where = preprocessing.where.at(name)
        if preprocessing.size and len(values) not in (1, preprocessing.size[0]):
            has_fault = True
            yield wrong(
                where,
                f"{name} has {len(values)} values for {preprocessing.size[0]} channels",
                "give one a channel",
                str(list(values)),
            )
        if name == "std" and min(values) <= 0:
            has_fault = True
            yield wrong(where, "a std of 0 or less divides by nothing", "correct it", str(list(values)))
        limit = LARGEST_MEAN if name == "mean" else LARGEST_STD
        if max(values) > limit or min(values) < -limit:
            has_fault = True
            reason = f"{name} {list(values)} is not of values in 0 to 1: it may be on the scale to 255"
            yield wrong(where, reason, f"write {[round(value / 255, 4) for value in values]}", str(list(values)))
    if not has_fault:
        yield FINE


_SIDE = re.compile(r"(?:(?<=[-_.x])|(?<=[-_.]r))(\d{3,4})(?=$|[-_.]|px)")
_VARIANT = re.compile(r"(?i)\d|^(?:[smlbt]|xs|xl|xxs|xxl|nano|pico|tiny|small|medium|base|large|xlarge|huge|giant)$")
"""A part of a name that tells a variant: a number after it is a side, one after the name alone (regnety_320, levit_384) a width."""


def input_name(card: Card, catalog: Catalog) -> Iterator[Verdict]:
    """A name that ends in the side of its input has that input."""
    preprocessing = card.input
    if preprocessing is None or preprocessing.size is None:
        return
    matches = [match for match in _SIDE.finditer(card.name) if int(match[1]) in USUAL_SIZES]
    sides = [
        int(match[1]) for match in matches if any(map(_VARIANT.search, re.split(r"[-_.]", card.name[: match.start()])))
    ]
    if not sides or set(sides) & set(preprocessing.size[1:]):
        yield FINE
        return
    reason = f"the name says {sides[-1]}, the input is {preprocessing.size[1]} x {preprocessing.size[2]}: the size of the training would explain it"
    yield suspect(
        preprocessing.where.at("size"),
        reason,
        "check the size",
        f"{preprocessing.size[1]}x{preprocessing.size[2]}",
        sides[-1],
    )


def channels(card: Card, catalog: Catalog) -> Iterator[Verdict]:
    """Size is channels, height, width, in that order; and a count's input has the model's channels."""
    size = card.input.size if card.input else None
    if size is None or card.input is None:
        return
    if size[0] > 4 and size[2] <= 4:
        reason = f"size {list(size)} may be height, width, channels; it is channels, height, width"
        yield suspect(card.input.where.at("size"), reason, f"write {[size[2], size[0], size[1]]}", str(list(size)))
        return
    for claim in card.flops:
        if claim.input and claim.input[0] != size[0]:
            reason = f"the count is of {claim.input[0]} channels, the model takes {size[0]}"
            yield wrong(claim.where.at("input"), reason, "correct the one or the other", claim.input[0], size[0])
    yield FINE


RULES = (
    Rule("crop", "a crop is a part of the image", "check crop_pct and crop_mode", crop),
    Rule("mean-std", "mean and std are of values in 0 to 1", "give one value a channel, divided by 255", mean_std),
    Rule("input-name", "the size in a name is the input's", "check the size", input_name),
    Rule("channels", "size is channels, height, width", "write the channels first", channels),
)
