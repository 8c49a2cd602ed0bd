"""Images -> the five most probable classes by name: what `zoo predict` prints.

The weights must be what the card says; the preprocessing is the card's.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from zoo.accuracy.datasets.folder import read_image
from zoo.accuracy.ranking import most_probable
from zoo.errors import CannotCheck
from zoo.models.build import make_transform
from zoo.models.subject import Settings, Subject
from zoo.registry.card import Card
from zoo.registry.catalog import Catalog, Member
from zoo.verification import runner
from zoo.verification.report import Status


@dataclass(frozen=True, slots=True)
class Guess:
    """A class and its probability by the softmax of the outputs, 0 to 1."""

    name: str
    probability: float


@dataclass(frozen=True, slots=True)
class Prediction:
    """The most probable classes of an image, the highest first."""

    image: str
    guesses: tuple[Guess, ...]


def predict(card: Card, catalog: Catalog, settings: Settings, images: Sequence[Path]) -> tuple[Prediction, ...]:
    """What the model sees in each image file.

    Raises CannotCheck when the weights are not here or not what the card says, UsageError when a file is no image.
    """
    pictures = [read_image(path) for path in images]
    (gate,) = runner.verify([card], catalog, settings, ("loading",))
    for finding in gate.findings:
        if finding.status is not Status.OK:
            reason = finding.reason or f"{finding.check} {finding.key} is {finding.status.value}"
            raise CannotCheck(reason, where=finding.where, hint=finding.hint)
    subject, names = Subject(Member(card, catalog), settings), class_names(card, catalog)
    prepare = make_transform(subject.input)
    probabilities = most_probable(subject.model, [prepare(picture) for picture in pictures])
    return tuple(
        Prediction(str(path), tuple(Guess(_name(names, place), round(share, 6)) for place, share in pairs))
        for path, pairs in zip(images, probabilities, strict=True)
    )


def class_names(card: Card, catalog: Catalog) -> tuple[str, ...]:
    """What the outputs are called: by the card, else by the data set of its first result; empty when neither says."""
    if card.class_names:
        return card.class_names
    known = [
        dataset for claim in card.results if (dataset := catalog.dataset(claim.dataset)) and dataset.label_space is None
    ]
    return (known[0].class_names or known[0].classes) if known else ()


def render(predictions: Sequence[Prediction], format_name: str) -> str:
    """The predictions as `text` or `json`."""
    if format_name == "json":
        return json.dumps([asdict(item) for item in predictions], indent=2, ensure_ascii=False) + "\n"
    lines = []
    for item in predictions:
        lines.append(f"{item.image}\n")
        lines += [f"  {100 * guess.probability:6.2f} %  {guess.name}\n" for guess in item.guesses]
    return "".join(lines)


def _name(names: Sequence[str], place: int) -> str:
    return names[place] if place < len(names) else f"class {place}"
