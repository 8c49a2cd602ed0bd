"""Whether the model answers the generated picture as the card says: the right architecture and preprocessing, not only a
fitting one. Asked only where the card has a fingerprint; `zoo verify --write` adds one.
"""

from __future__ import annotations

from collections.abc import Iterable

from zoo.models import fingerprint
from zoo.models.subject import Subject
from zoo.registry.card import Card, Fingerprint
from zoo.registry.catalog import Catalog
from zoo.verification.checks import Question
from zoo.verification.report import Finding, Status

needs = ("loading",)


def questions(card: Card, catalog: Catalog) -> Iterable[Question]:
    """One, about all of the logits, where the card has any."""
    if card.fingerprint is not None:
        where = str(card.fingerprint.where["logits"])
        yield Question(card.name, "fingerprint", "fingerprint", where, about=card.fingerprint)


def answer(subject: Subject, question: Question) -> Finding:
    """The greatest difference between claimed and measured logits, in the outputs' unit."""
    claim: Fingerprint = question.about
    logits = fingerprint.logits(subject)
    evidence = {"logits": list(logits), "tolerance": claim.tolerance}
    if len(claim.logits) > len(logits):
        reason = f"the card has {len(claim.logits)} logits, the first {len(logits)} are measured"
        return question.finding(Status.WRONG, reason=reason, hint="remove the others", evidence=evidence)
    difference, place = max(
        (abs(claimed - measured), place)
        for place, (claimed, measured) in enumerate(zip(claim.logits, logits, strict=False))
    )
    evidence["difference"] = round(difference, 9)
    if difference <= claim.tolerance:
        return question.finding(Status.OK, evidence=evidence)
    reason = (
        f"logit {place} for the generated picture is {logits[place]:g}, the card says {claim.logits[place]:g}"
        f" (within {claim.tolerance:g}): the weights load, but builder, options or input are not those of the card's author"
    )
    hint = "look for a variant with other padding, activation or preprocessing under `builder` and `input`"
    return question.finding(Status.WRONG, reason=reason, hint=hint, evidence=evidence)
