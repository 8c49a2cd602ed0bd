"""Classify image files into their five most probable classes: `zoo predict`.

The weights must be those that the card claims. The preprocessing is the card's.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.accuracy.datasets.folder import read_image
from zoo.accuracy.ranking import most_probable
from zoo.errors import UsageError
from zoo.models.build import make_transform
from zoo.models.subject import KnownFiles, Subject
from zoo.registry.card import Card
from zoo.registry.catalog import Member
from zoo.runtime import sandbox
from zoo.runtime.sandbox import Steps
from zoo.runtime.text import json_text, terminal
from zoo.verification import runner
from zoo.verification.answering import Asker, CardAnswers

if TYPE_CHECKING:
    from PIL.Image import Image

SECONDS_PER_PICTURE = 10.0
"""How much longer a prediction may take for each picture. The largest models of timm take 5 s on one core."""


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
    settings, names = subject.settings, class_names(subject.member)
    context = CardAnswers(subject.catalog, settings)
    probabilities = sandbox.result_of(_classify(Asker.of(subject.member, settings), pictures), context=context)
    return tuple(
        Prediction(str(path), tuple(Guess(_name(names, place), round(share, 6)) for place, share in pairs))
        for path, pairs in zip(images, probabilities, strict=True)
    )


def _classify(asker: Asker, pictures: Sequence[Image]) -> Steps[list[list[tuple[int, float]]]]:
    """Return the most probable outputs for each picture, with their probabilities (see `most_probable`)."""
    yield from runner.require_right_weights(asker)
    limits = asker.loading_limits()
    assert limits.seconds is not None
    longer = replace(limits, seconds=limits.seconds + SECONDS_PER_PICTURE * len(pictures))
    outcome = yield asker.ask(_classify_in_worker, pictures, limits=longer)
    probabilities: list[list[tuple[int, float]]] = outcome.result()
    return probabilities


def _classify_in_worker(
    answers: CardAnswers, place: int | Card, known: KnownFiles, pictures: Sequence[Image]
) -> list[list[tuple[int, float]]]:
    subject = answers.subject(place, known)
    prepare = make_transform(subject.input)
    return most_probable(subject.model, [prepare(picture) for picture in pictures])


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
        return json_text(json.dumps([asdict(item) for item in predictions], indent=2, ensure_ascii=False)) + "\n"
    lines = []
    for item in predictions:
        lines.append(item.image)
        lines += [f"  {100 * guess.probability:6.2f} %  {guess.name}" for guess in item.guesses]
    return "".join(f"{terminal(line)}\n" for line in lines)


def _name(names: Sequence[str], place: int) -> str:
    return names[place] if place < len(names) else f"class {place}"
