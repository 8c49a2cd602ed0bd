"""Check that each file loads safely and fits the architecture strictly: every name, every shape, all values finite.

If a card has several files, they must have equal tensors. A strict load does not prove that the architecture is the right
one; the check `fingerprint` does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

from zoo.errors import WrongContent, ZooError
from zoo.models import facts
from zoo.models.facts import Fact, with_form
from zoo.models.subject import Subject
from zoo.registry.card import BUILDERS_OF_CODE, NO_WEIGHTS, Card, Weights
from zoo.registry.catalog import Member
from zoo.runtime import process
from zoo.runtime.json_form import is_count, is_text, mapping_of, object_with
from zoo.verification.checks import Question
from zoo.verification.report import Finding, Status
from zoo.weights import tensors
from zoo.weights.renames import listed

if TYPE_CHECKING:
    from torch import Tensor


needs = ("files", "build")
EQUAL = "tensors"
"""The key of the question whether all files hold equal tensors."""
MOST_COMPARED = 8
"""The most architectures that a file which does not fit is compared with; building them on meta takes a few seconds."""
NEAR = 0.05
"""The largest relative difference between a file's elements and the claimed parameters of an architecture to compare it with:
files also contain buffers, and some contain tables of positions and masks."""


def questions(member: Member) -> Iterable[Question]:
    """Yield a question for each file, and one about all of them when there are several."""
    card = member.card
    if not card.weights:
        yield Question(card.name, "loading", "weights", str(card.where))
    for weights in card.weights:
        yield Question(card.name, "loading", weights.file, str(weights.where), about=weights)
    if len(card.weights) > 1:
        yield Question(card.name, "loading", EQUAL, str(card.where["weights"]), about=card.weights)


def answer(subject: Subject, question: Question) -> Finding:
    """Return ok when the file loads; the evidence has the number and dtypes of its tensors, and how they were wrapped."""
    about: Weights | tuple[Weights, ...] | None = question.about
    if about is None:
        return question.finding(Status.SKIPPED, reason=NO_WEIGHTS.what, hint=NO_WEIGHTS.hint)
    if isinstance(about, tuple):
        return _compare(subject, question, about)
    fact = subject.fact(_key(subject, about), lambda: _measure(subject, about), _IS_LOADING)
    return judge(question, about, fact.evidence)


_IS_LOADING = with_form(
    is_count,
    object_with(
        {
            "tensors": is_count,
            "dtype": is_text,
            "dtypes": mapping_of(is_count),
            "format": is_text,
            "notes": [is_text],
            "zero": [is_text],
            "zero_weights": [is_text],
            "whole_numbers": [is_text],
        }
    ),
)
_IS_DIFFERENCE = with_form(is_text, object_with({"dtypes": mapping_of(is_text)}))


def _key(subject: Subject, *files: Weights) -> str:
    inputs = [
        [subject.artifact(item).sha256, [[rename.pattern, rename.replacement] for rename in item.rename]]
        for item in files
    ]
    kind = "loading" if len(files) == 1 else "equal tensors"
    return facts.architecture_key(kind, subject.builder, measured_by=(__name__,), files=inputs)


def _measure(subject: Subject, weights: Weights) -> Fact:
    contents = tensors.read(subject.artifact(weights), weights.rename)
    tensors.refuse_unsound(contents.tensors, weights.file)
    _refuse_misfit(subject, weights, contents.tensors)
    expected = subject.meta.state_dict()
    different = tensors.misfit_types(expected, contents.tensors)
    if different:
        raise WrongContent(f"the tensors of {weights.file} do not fit {subject.builder.entry}: {different}")
    types = Counter(str(tensor.dtype).removeprefix("torch.") for tensor in contents.tensors.values())
    zeros = tensors.zeros(contents.tensors)
    evidence: dict[str, Any] = {
        "tensors": len(contents.tensors),
        "dtype": tensors.main_dtype(contents.tensors),
        "dtypes": dict(types),
        "format": contents.format,
        "notes": list(contents.notes),
        "zero": list(zeros),
        "zero_weights": [name for name in zeros if expected[name].dim() > 1 and expected[name].is_floating_point()],
        "whole_numbers": list(tensors.without_fractions(expected, contents.tensors)),
    }
    return Fact(len(contents.tensors), evidence)


def judge(question: Question, weights: Weights, evidence: Any) -> Finding:
    """Return the finding about a file that loads, from the evidence about its tensors."""
    for name, claimed in (("format", weights.format), ("dtype", weights.dtype)):
        if claimed is not None and evidence[name] != claimed:
            what = "the file is" if name == "format" else "the tensors are"
            reason = f"{what} {evidence[name]}, but the card claims {claimed}"
            return question.finding(Status.WRONG, reason=reason, hint=f"correct {name} in the card", evidence=evidence)
    if evidence["zero_weights"]:
        reason = (
            f"all values are zero in {listed(evidence['zero_weights'])};"
            " a layer that was disabled or never trained would explain it, otherwise the file is damaged"
        )
        hint = f"if the zeros are right, add `ignore: [{{rule: loading/{question.key}, reason: ...}}]` to the card"
        return question.finding(Status.SUSPECT, reason=reason, hint=hint, evidence=evidence)
    if evidence.get("whole_numbers"):
        reason = (
            f"the values of {listed(evidence['whole_numbers'])} are whole numbers, where the architecture has fractions;"
            " tables of whole numbers would explain it, otherwise the weights are quantized and their scales are missing"
        )
        hint = f"if they are right, add `ignore: [{{rule: loading/{question.key}, reason: ...}}]` to the card"
        return question.finding(Status.SUSPECT, reason=reason, hint=hint, evidence=evidence)
    return question.finding(Status.OK, reason="; ".join(evidence["notes"]), evidence=evidence)


def _compare(subject: Subject, question: Question, files: tuple[Weights, ...]) -> Finding:
    fact = subject.fact(_key(subject, *files), lambda: _difference(subject, files), _IS_DIFFERENCE)
    if fact.value:
        hint = "write a separate card for another training; all files of a card have the same tensors"
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
            return Fact(f"{weights.file} differs from {files[0].file}: {different}", {"dtypes": types})
    return Fact("", {"dtypes": types})


def _refuse_misfit(subject: Subject, weights: Weights, state: Mapping[str, Tensor]) -> None:
    shapes = tensors.shapes(state)
    different = tensors.misfit(tensors.shapes(subject.meta.state_dict()), shapes)
    if not different:
        return
    what = f"the tensors of {weights.file} do not fit {subject.builder.entry}: {different}"
    misfit = WrongContent(what, where=str(weights.where), hint="correct the architecture, its options or `rename`")
    process.settle(misfit)  # another card may need too much time or memory
    names = _matching_cards(subject, shapes)
    if names:
        hint = f"write that architecture under `builder`, or the file of {subject.card.name} under `weights`"
        raise WrongContent(f"{what}; they fit {names[0]}", where=str(weights.where), hint=hint)
    raise misfit


def _matching_cards(subject: Subject, shapes: tensors.Shapes) -> list[str]:
    """Return the first likely card whose architecture has exactly these names and shapes; empty when there is none."""
    for card in islice(_candidates(subject, shapes), MOST_COMPARED):
        try:
            module = Subject(Member(card, subject.catalog), subject.settings).meta
        except ZooError:
            continue  # the findings about that card report the error
        if not tensors.misfit(tensors.shapes(module.state_dict()), shapes):
            return [card.name]
    return []


def _candidates(subject: Subject, shapes: tensors.Shapes) -> Iterator[Card]:
    """Yield cards of other architectures: those of the nearest size first, then those of the family without a size."""
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
