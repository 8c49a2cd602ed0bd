"""Judge the input: size, crop, mean and std, compared with each other and with the model's name."""

from __future__ import annotations

import re
from collections.abc import Iterator

from zoo.registry.catalog import Member
from zoo.verification.rules import FINE, Rule, Verdict, suspect, wrong

_SIDES = (
    "160 176 192 208 224 236 240 256 260 272 288 299 300 320 331 336 352 380 384 400 408 416 448 456 475 480 512 518 528"
    " 544 560 576 600 640 672 768 800 896 1024"
)
USUAL_SIZES = frozenset(map(int, _SIDES.split()))
"""Sides, in pixels, that names end in: the test sizes in timm's results/results-imagenet.csv, seen 2026-11-24."""
SMALLEST_CROP = 0.5
"""timm's crops are 0.75 to 1.0 (the same table). Less than half of the side is not a usual centre crop."""
LARGEST_MEAN, LARGEST_STD = 1.0, 2.0
"""For pixel values from 0 to 1. For values from 0 to 255, ImageNet's mean is 123.675 and its std 58.395."""


def crop(member: Member) -> Iterator[Verdict]:
    """Check that the crop is a part of the resized image, and that crop_mode allows a crop."""
    preprocessing = member.card.input
    if preprocessing is None or preprocessing.crop_pct is None:
        return
    where, value = preprocessing.where.at("crop_pct"), preprocessing.crop_pct
    if value > 1:
        reason = f"crop_pct {value} is larger than the resized image; padding would explain it"
        hint = "write the share of the resized side that is kept, for example 0.875 for 224 of 256"
        yield suspect(where, reason, hint, value)
    elif value < SMALLEST_CROP:
        area = f"{100 * value * value:.0f} %"
        reason = f"crop_pct {value} keeps only {area} of the image's area; a close crop of the centre would explain it"
        yield suspect(where, reason, "check crop_pct", value)
    elif value < 1 and preprocessing.crop_mode in ("squash", "border"):
        reason = f"crop_mode {preprocessing.crop_mode} takes the whole image, but crop_pct {value} only a part of it"
        yield suspect(where, reason, "write crop_pct 1.0, or crop_mode center", value)
    else:
        yield FINE


def mean_std(member: Member) -> Iterator[Verdict]:
    """Check that mean and std are for pixel values from 0 to 1, and one for each channel."""
    preprocessing = member.card.input
    if preprocessing is None or (preprocessing.mean is None and preprocessing.std is None):
        return
    has_fault = False
    for name, values in (("mean", preprocessing.mean), ("std", preprocessing.std)):
        if values is None:
            continue
        where = preprocessing.where.at(name)
        if preprocessing.size and len(values) not in (1, preprocessing.size[0]):
            has_fault = True
            reason = f"{name} has {len(values)} values for {preprocessing.size[0]} channels"
            yield wrong(where, reason, "write one value for each channel", str(list(values)))
        limit = LARGEST_MEAN if name == "mean" else LARGEST_STD
        if max(values) > limit or min(values) < -limit:
            has_fault = True
            reason = f"{name} {list(values)} does not fit pixel values from 0 to 1; it may be for values from 0 to 255"
            yield wrong(where, reason, f"write {[round(value / 255, 4) for value in values]}", str(list(values)))
    if not has_fault:
        yield FINE


_SIDE = re.compile(r"(?:(?<=[-_.x])|(?<=[-_.]r))(\d{3,4})(?=$|[-_.]|px)")
_VARIANT = re.compile(r"(?i)\d|^(?:[smlbt]|xs|xl|xxs|xxl|nano|pico|tiny|small|medium|base|large|xlarge|huge|giant)$")
"""A part of a name that names a variant. A number after it is an input size; a number after the bare name of an architecture is a
width (regnety_320, levit_384)."""


def input_name(member: Member) -> Iterator[Verdict]:
    """Check that the input has the size that the model's name ends in."""
    card = member.card
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
    height, width = preprocessing.size[1:]
    reason = (
        f"the name says {sides[-1]}, but the input is {height} x {width}; a size used only in training would explain it"
    )
    yield suspect(preprocessing.where.at("size"), reason, "check the size", f"{height}x{width}", sides[-1])


def channels(member: Member) -> Iterator[Verdict]:
    """Check that size is [channels, height, width], and that the input of each count has the model's channels."""
    card = member.card
    size = card.input.size if card.input else None
    if size is None or card.input is None:
        return
    if size[0] > 4 and size[2] <= 4:
        reason = f"size {list(size)} may be [height, width, channels]; zoo reads it as [channels, height, width]"
        yield suspect(card.input.where.at("size"), reason, f"write {[size[2], size[0], size[1]]}", str(list(size)))
        return
    for claim in card.flops:
        if claim.input and claim.input[0] != size[0]:
            reason = f"the count is for an input of {claim.input[0]} channels, but the model's input has {size[0]}"
            yield wrong(
                claim.where.at("input"), reason, "correct `input` of the count or of the model", claim.input[0], size[0]
            )
    yield FINE


RULES = (
    Rule("crop", "a crop is a part of the image", "check crop_pct and crop_mode", crop),
    Rule("mean-std", "mean and std are for values from 0 to 1", "write one value per channel, from 0 to 1", mean_std),
    Rule("input-name", "the size in a name is the input's size", "check the size", input_name),
    Rule("channels", "size is channels, height, width", "write the channels first", channels),
)
