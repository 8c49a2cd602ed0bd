"""Classify image files into their five most probable classes: `zoo predict`.

The weights must be those that the card claims. The preprocessing is the card's.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from zoo.accuracy.datasets.folder import read_image
from zoo.accuracy.ranking import most_probable
from zoo.errors import UsageError
from zoo.models.build import make_transform
from zoo.models.subject import Subject
from zoo.registry.catalog import Member
from zoo.verification import runner


@dataclass(frozen=True, slots=True)
class Guess:
    """A class and its probability, from 0 to 1, by the softmax of the outputs."""

    name: str
    probability: float


@dataclass(frozen=True, slots=True)
class Prediction:
    """The most probable classes of an image, the highest first."""

    image: str
    guesses: tuple[Guess, ...]


def predict(subject: Subject, images: Sequence[Path]) -> tuple[Prediction, ...]:
    """Return the prediction for each image file.

    Raises CannotCheck when the weights are not on this machine or not as claimed, UsageError when a file is not an image.
    """
    if not images:
        raise UsageError("no image is named", hint="name one or more image files")
    pictures = [read_image(path) for path in images]
    runner.refuse_wrong_weights(subject)
    prepare, names = make_transform(subject.input), class_names(subject.member)
    probabilities = most_probable(subject.model, [prepare(picture) for picture in pictures])
    return tuple(
        Prediction(str(path), tuple(Guess(_name(names, place), round(share, 6)) for place, share in pairs))
        for path, pairs in zip(images, probabilities, strict=True)
    )


def class_names(member: Member) -> tuple[str, ...]:
    """Return the classes' names: those of the card, else of the data set of its first result; empty when neither has names."""
    if member.card.class_names:
        return member.card.class_names
    datasets = (member.catalog.dataset(claim.dataset) for claim in member.card.results)
    known = [dataset for dataset in datasets if dataset is not None and dataset.label_space is None]
    return (known[0].class_names or known[0].classes) if known else ()


def render(predictions: Sequence[Prediction], format_name: str) -> str:
    """Return the predictions as `text` or `json`."""
    if format_name == "json":
        return json.dumps([asdict(item) for item in predictions], indent=2, ensure_ascii=False) + "\n"
    lines = []
    for item in predictions:
        lines.append(f"{item.image}\n")
        lines += [f"  {100 * guess.probability:6.2f} %  {guess.name}\n" for guess in item.guesses]
    return "".join(lines)


def _name(names: Sequence[str], place: int) -> str:
    return names[place] if place < len(names) else f"class {place}"
