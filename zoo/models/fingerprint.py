"""Compute a model's fingerprint, its first logits for a generated image: a test in a second, without data.

The same weights load strictly into several architectures, because padding, activations, the scale of a block and the
preprocessing do not change the names and shapes of tensors. The image passes through preprocessing and model as a
photograph does, so that a difference in any of them changes the logits.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from zoo.errors import CannotCheck
from zoo.models import facts
from zoo.models.build import device_kind, load_model, make_transform
from zoo.models.facts import Fact, with_form
from zoo.models.subject import Subject
from zoo.registry.card import Weights
from zoo.runtime.environment import version_of
from zoo.runtime.json_form import has_form, is_number

if TYPE_CHECKING:
    from PIL.Image import Image


PICTURE_WIDTH, PICTURE_HEIGHT = 500, 375
"""The size of many ImageNet photographs. It is not square, so that another shape of the crop changes the logits."""
LOGITS = 8
TOLERANCE = 1e-4
"""The allowed difference of a logit, relative to the largest one (or to 1, if all are smaller). On 13 architectures of timm,
float32 differs by at most 1.5e-6 between one and two threads, batches of 1 and 16, memory layouts, oneDNN and plain kernels,
and double precision; bfloat16 differs by at least 6e-4 (tests/bench/fingerprint.py, torch 2.14.1, x86-64, 2026-11-24)."""
LIBRARIES = ("torch", "torchvision", "timm", "pillow")
"""The distributions whose versions can change an output, by other kernels or other resizing."""


def picture() -> Image:
    """Generate the test image: 500 x 375 pixels, RGB, the same bits on every machine.

    Channel c (0, 1, 2) at column x, row y, all in integers:

        ring  = ((x - 180 - 40 c)^2 + (y - 150)^2) // (700 + 100 c)
        slope = (3 - c) x // 6 + (1 + c) y // 4
        grain = (x y + 7 x + 13 y) (2 c + 1) % 61
        value = (ring + slope + grain) % 256

    Another crop or mean changes the rings and slopes; another interpolation or padding changes the grain.
    """
    import numpy
    from PIL import Image

    y, x = numpy.mgrid[0:PICTURE_HEIGHT, 0:PICTURE_WIDTH].astype(numpy.int64)
    channels = []
    for c in range(3):
        ring = ((x - 180 - 40 * c) ** 2 + (y - 150) ** 2) // (700 + 100 * c)
        slope = (3 - c) * x // 6 + (1 + c) * y // 4
        grain = (x * y + 7 * x + 13 * y) * (2 * c + 1) % 61
        channels.append(((ring + slope + grain) % 256).astype(numpy.uint8))
    return Image.fromarray(numpy.stack(channels, axis=-1))


def logits(subject: Subject) -> tuple[float, ...]:
    """Return the first LOGITS outputs for the test image, with the card's preferred weights, in float32 on the CPU.

    Raises NotHere when the card has no weights or input size or the file is not on this machine, CannotCheck when the model
    does not take 3 channels or its output is not one row of finite numbers.
    """
    weights = subject.card.preferred_weights
    fact = subject.fact(key(subject, weights), lambda: _measure(subject, weights), _IS_VALID)
    return tuple(float(value) for value in fact.evidence["logits"])


def key(subject: Subject, weights: Weights) -> str:
    """Return the key of the fact that holds the logits for these weights."""
    return facts.architecture_key(
        "fingerprint",
        subject.builder,
        measured_by=(__name__,),
        versions={name: version_of(name) for name in LIBRARIES},
        sha256=subject.artifact(weights).sha256,
        rename=[[item.pattern, item.replacement] for item in weights.rename],
        preprocessing=subject.input.as_data(),
    )


def tolerance(values: tuple[float, ...]) -> float:
    """Return the allowed difference of these logits: TOLERANCE times the largest, or 1 if all are smaller, rounded up to one digit."""
    unrounded = TOLERANCE * max(1.0, *(abs(value) for value in values))
    unit = 10.0 ** math.floor(math.log10(unrounded))
    # 1e-9, because the quotient of two equal powers of ten may be slightly more than 1
    return float(f"{math.ceil(unrounded / unit - 1e-9) * unit:.1g}")


_IS_VALID = with_form(None, {"logits": lambda value: has_form(value, [is_number]) and 0 < len(value) <= LOGITS})


def _measure(subject: Subject, weights: Weights) -> Fact:
    import torch

    if subject.input_size[0] != 3:
        raise CannotCheck(f"the test image has 3 channels, the model takes {subject.input_size[0]}")
    settings = subject.settings
    if device_kind(settings.device) == "cpu":
        module = subject.model
    else:  # accelerators round differently
        module = load_model(subject.builder, subject.artifact(weights), weights.rename, allow_code=settings.allow_code)
    image = make_transform(subject.input)(picture())
    with torch.inference_mode():
        output = module(image.unsqueeze(0))
    if not isinstance(output, torch.Tensor) or output.dim() != 2 or not bool(output.isfinite().all()):
        raise CannotCheck("the output for the test image is not one row of finite numbers")
    # float32 has seven significant digits.
    return Fact(None, {"logits": [float(f"{value:.7g}") for value in output[0, :LOGITS].tolist()]})
