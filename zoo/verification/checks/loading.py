"""Whether each file's tensors load safely and fit the architecture strictly: every key, every shape, every value finite.

Where a card has several files, whether they hold equal tensors. A strict load is no proof that the architecture is the
right one: see the fingerprint.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

from zoo.errors import WrongContent, ZooError
from zoo.models import facts
from zoo.models.facts import Fact
from zoo.models.subject import Subject
from zoo.registry.card import BUILDERS_OF_CODE, Card, Weights
from zoo.registry.catalog import Catalog, Member
from zoo.verification.checks import Question
from zoo.verification.report import Finding, Status
from zoo.weights import tensors

if TYPE_CHECKING:
    from torch import Tensor


needs = ("files", "build")
CODE = (
    "verification/checks/loading.py",
    "weights/tensors.py",
    "models/build.py",
    "models/meta.py",
    "models/subject.py",
)
EQUAL = "tensors"
"""The key of the question whether all files hold equal tensors."""
MOST_COMPARED = 8
"""Architectures that a file which does not fit is compared with: at most some seconds of building on meta."""
NEAR = 0.05
"""How far the claimed parameters of an architecture may be from a file's elements for it to be compared: files hold
buffers besides, some tables of positions and masks."""


def questions(card: Card, catalog: Catalog) -> Iterable[Question]:
    """One for each file, and one about all of them where there are several."""
    if not card.weights:
        yield Question(card.name, "loading", "weights", str(card.where))
    for weights in card.weights:
        yield Question(card.name, "loading", weights.file, str(weights.where), about=weights)
    if len(card.weights) > 1:
        yield Question(card.name, "loading", EQUAL, str(card.where["weights"]), about=card.weights)


def answer(subject: Subject, question: Question) -> Finding:
    """Ok when the file loads; the number and types of its tensors, and what they were wrapped in, are in the evidence."""
    about: Weights | tuple[Weights, ...] | None = question.about
    if about is None:
        return question.finding(Status.SKIPPED, reason="the card lists no weights", hint="add `weights: [{file: ...}]`")
    if isinstance(about, tuple):
        return _compare(subject, question, about)
    fact = facts.recall_or_measure(
        _key(subject, about), lambda: _measure(subject, about), refresh=subject.settings.refresh
    )
    return _judge(question, about, fact.evidence)


def _key(subject: Subject, *files: Weights) -> str:
    inputs = [
        [subject.artifact(item).sha256, [[rename.pattern, rename.replacement] for rename in item.rename]]
        for item in files
    ]
    kind = "loading" if len(files) == 1 else "equal tensors"
    return facts.architecture_key(kind, subject.builder, code=CODE, files=inputs)


def _measure(subject: Subject, weights: Weights) -> Fact:
    contents = tensors.read(subject.artifact(weights), weights.rename)
    tensors.refuse_unsound(contents.tensors, weights.file)
    _refuse_misfit(subject, weights, contents.tensors)
    types = Counter(str(tensor.dtype).removeprefix("torch.") for tensor in contents.tensors.values())
    zeros = tensors.zeros(contents.tensors)
    evidence: dict[str, Any] = {
        "tensors": len(contents.tensors),
        "dtype": tensors.main_dtype(contents.tensors),
        "dtypes": dict(types),
        "format": contents.format,
        "notes": list(contents.notes),
        "zero": list(zeros),
        "zero_weights": [name for name in zeros if contents.tensors[name].dim() > 1],
    }
    return Fact(len(contents.tensors), evidence)


def _judge(question: Question, weights: Weights, evidence: Any) -> Finding:
    for name, claimed in (("format", weights.format), ("dtype", weights.dtype)):
        if claimed is not None and evidence[name] != claimed:
            what = "the file is" if name == "format" else "the tensors are"
            reason = f"{what} {evidence[name]}, the card says {claimed}"
            return question.finding(Status.WRONG, reason=reason, hint=f"correct {name} in the card", evidence=evidence)
    if evidence["zero_weights"]:
        reason = (
            f"zero everywhere: {', '.join(evidence['zero_weights'][: tensors.MOST_NAMES])}; right for a layer that was"
            " switched off or never trained, else the file is damaged"
        )
        hint = f"if that is so, add `ignore: [{{rule: loading/{question.key}, reason: ...}}]` to the card"
        return question.finding(Status.SUSPECT, reason=reason, hint=hint, evidence=evidence)
    return question.finding(Status.OK, reason="; ".join(evidence["notes"]), evidence=evidence)


def _compare(subject: Subject, question: Question, files: tuple[Weights, ...]) -> Finding:
    fact = facts.recall_or_measure(
        _key(subject, *files), lambda: _difference(subject, files), refresh=subject.settings.refresh
    )
    if fact.value:
        hint = "the files of a card hold the same tensors: make a card of its own for another training"
        return question.finding(Status.WRONG, reason=str(fact.value), hint=hint, evidence=fact.evidence)
    return question.finding(Status.OK, evidence=fact.evidence)


def _difference(subject: Subject, files: tuple[Weights, ...]) -> Fact:
    first = tensors.read(subject.artifact(files[0]), files[0].rename).tensors
    types = {files[0].file: tensors.main_dtype(first)}
    for weights in files[1:]:
        state = tensors.read(subject.artifact(weights), weights.rename).tensors
        types[weights.file] = tensors.main_dtype(state)
        different = tensors.difference(first, state)
        if different:
            return Fact(f"{weights.file} is not {files[0].file}: {different}", {"dtypes": types})
    return Fact("", {"dtypes": types})


def _refuse_misfit(subject: Subject, weights: Weights, state: Mapping[str, Tensor]) -> None:
    shapes = tensors.shapes(state)
    different = tensors.misfit(tensors.shapes(subject.meta.state_dict()), shapes)
    if not different:
        return
    what = f"the tensors of {weights.file} do not fit {subject.builder.entry}: {different}"
    names = _matching_cards(subject, shapes)
    if names:
        hint = f"name that architecture under `builder`, or the file of {subject.card.name} under `weights`"
        raise WrongContent(f"{what}; these are {names[0]}'s shapes", where=str(weights.where), hint=hint)
    raise WrongContent(what, where=str(weights.where), hint="name the architecture, options or `rename` that fit")


def _matching_cards(subject: Subject, shapes: tensors.Shapes) -> list[str]:
    """The first card of the catalogue whose architecture has exactly these names and shapes, if any of the likely has."""
    for card in islice(_candidates(subject, shapes), MOST_COMPARED):
        try:
            module = Subject(Member(card, subject.catalog), subject.settings).meta
        except ZooError:
            continue  # that card's own findings tell
        if not tensors.misfit(tensors.shapes(module.state_dict()), shapes):
            return [card.name]
    return []


def _candidates(subject: Subject, shapes: tensors.Shapes) -> Iterator[Card]:
    """Cards of other architectures, those of the nearest size first, then those of the same family that claim none."""
    elements = tensors.parameters(shapes)
    own, architectures = subject.card, {(subject.builder.library, subject.builder.entry, repr(subject.builder.options))}
    sized = [(abs(card.claims.params.value / elements - 1), card.name, card) for card in subject.catalog.cards
             if card.claims and card.claims.params and elements]  # fmt: skip
    unsized = [card for card in subject.catalog.cards if not (card.claims and card.claims.params)]
    near = [card for distance, _, card in sorted(sized, key=lambda item: item[:2]) if distance < NEAR]
    for card in (*near, *(card for card in unsized if own.collection and card.collection == own.collection)):
        builder = card.builder
        if builder is None or builder.library in BUILDERS_OF_CODE:
            continue
        architecture = (builder.library, builder.entry, repr(builder.options))
        if architecture not in architectures:
            architectures.add(architecture)
            yield card
