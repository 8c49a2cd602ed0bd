"""Subject -> the first logits for one generated picture: a proof in a second, without data, that weights meet their model.

Weights load strictly into more architectures than one: padding, activations, the scale of a block and all of the
preprocessing leave no trace in keys and shapes. The picture goes the whole way that a photograph would go, so that each
of these shows.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from zoo.errors import CannotCheck, NotHere
from zoo.models import facts
from zoo.models.build import device_kind, load_model, make_transform
from zoo.models.facts import Fact
from zoo.models.subject import Subject
from zoo.registry.card import Weights
from zoo.runtime.environment import version_of

if TYPE_CHECKING:
    from PIL.Image import Image


PICTURE_WIDTH, PICTURE_HEIGHT = 500, 375
"""The size of many an ImageNet photograph; not square, so that the shape of the crop shows."""
LOGITS = 8
TOLERANCE = 1e-4
"""How far a logit may be off, as a part of the largest one (or of 1, where all are smaller). On 13 architectures of timm,
float32 is off by 1.5e-6 at most between one thread and two, batches of 1 and 16, memory layouts, oneDNN and plain kernels,
and double precision; bfloat16 by 6e-4 at least (tests/bench/fingerprint.py, torch 2.14.1, x86-64, 2026-11-24)."""
CODE = (
    "models/fingerprint.py",
    "models/build.py",
    "models/subject.py",
    "models/builders/timm.py",
    "weights/tensors.py",
)
"""timm makes the preprocessing of every model, whichever library builds it."""
LIBRARIES = ("torch", "torchvision", "timm", "pillow")
"""The distributions whose versions can change an output: kernels, resizing."""


def picture() -> Image:
    """The picture that fingerprints are of: 500 x 375 pixels, RGB, the same bits on every machine.

    Channel c (0, 1, 2) at column x, row y, all in integers:

        ring  = ((x - 180 - 40 c)^2 + (y - 150)^2) // (700 + 100 c)
        slope = (3 - c) x // 6 + (1 + c) y // 4
        grain = (x y + 7 x + 13 y) (2 c + 1) % 61
        value = (ring + slope + grain) % 256

    Rings and slopes are what another crop or mean changes, the grain is what interpolation and padding change.
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
    """The first LOGITS outputs for the picture, with the card's preferred weights and preprocessing, in float32 on the CPU.

    Raises NotHere when weights or input are not there, CannotCheck when the model takes no RGB picture or its answer is
    not one row of finite numbers.
    """
    if not subject.card.weights:
        raise NotHere("the card lists no weights", where=str(subject.card.where), hint="add `weights: [{file: ...}]`")
    weights = subject.card.weights[0]
    key = facts.architecture_key(
        "fingerprint",
        subject.builder,
        code=CODE,
        versions={name: version_of(name) for name in LIBRARIES},
        sha256=subject.artifact(weights).sha256,
        rename=[[item.pattern, item.replacement] for item in weights.rename],
        preprocessing=subject.input.as_data(),
    )
    fact = facts.recall_or_measure(key, lambda: _measure(subject, weights), refresh=subject.settings.refresh)
    return tuple(float(value) for value in fact.evidence["logits"])


def tolerance(values: tuple[float, ...]) -> float:
    """How far each of these may be off: TOLERANCE of the largest, or of 1, rounded up to one digit."""
    unrounded = TOLERANCE * max(1.0, *(abs(value) for value in values))
    unit = 10.0 ** math.floor(math.log10(unrounded))
    # 1e-9: the division of a power of ten by itself may be a hair more than a whole number
    return float(f"{math.ceil(unrounded / unit - 1e-9) * unit:.1g}")


def _measure(subject: Subject, weights: Weights) -> Fact:
    import torch

    if subject.input_size[0] != 3:
        raise CannotCheck(f"the picture has 3 channels, the model takes {subject.input_size[0]}")
    settings = subject.settings
    if device_kind(settings.device) == "cpu":
        module = subject.model
    else:  # accelerators round in ways of their own
        module = load_model(subject.builder, subject.artifact(weights), weights.rename, allow_code=settings.allow_code)
    image = make_transform(subject.input)(picture())
    with torch.inference_mode():
        answer = module(image.unsqueeze(0))
    if not isinstance(answer, torch.Tensor) or answer.dim() != 2 or not bool(answer.isfinite().all()):
        raise CannotCheck("the model answers a picture with something else than one row of finite numbers")
    # Seven digits are all that float32 has.
    return Fact(None, {"logits": [float(f"{value:.7g}") for value in answer[0, :LOGITS].tolist()]})
