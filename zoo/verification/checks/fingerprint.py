"""Check that the model's logits for the generated image are those that the card claims.

They show that architecture and preprocessing are the right ones, not only ones that fit the weights. The check applies to
cards with a fingerprint; `zoo verify --write` adds one.
"""

from __future__ import annotations

from collections.abc import Iterable

from zoo.models import fingerprint
from zoo.models.subject import Subject
from zoo.registry.card import Fingerprint
from zoo.registry.catalog import Member
from zoo.verification.checks import Question
from zoo.verification.report import Finding, Status

needs = ("loading",)


def questions(member: Member) -> Iterable[Question]:
    """Yield one question, about all logits, when the card has a fingerprint."""
    card = member.card
    if card.fingerprint is not None:
        where = str(card.fingerprint.where["logits"])
        tolerance = card.fingerprint.tolerance
        yield Question(card.name, "fingerprint", "fingerprint", where, tolerance=tolerance, about=card.fingerprint)


def answer(subject: Subject, question: Question) -> Finding:
    """Return ok when each logit is within the claim's tolerance; the evidence has the largest difference."""
    return judge(question, fingerprint.logits(subject))


def judge(question: Question, logits: tuple[float, ...]) -> Finding:
    """Return the finding about these measured logits."""
    claim: Fingerprint = question.about
    evidence = {"logits": list(logits), "tolerance": claim.tolerance}
    if len(claim.logits) > len(logits):
        reason = f"the card has {len(claim.logits)} logits, but zoo measures only the first {len(logits)}"
        hint = f"remove the logits after the first {len(logits)}"
        return question.finding(Status.WRONG, reason=reason, hint=hint, evidence=evidence)
    difference, place = max(
        (abs(claimed - measured), place)
        for place, (claimed, measured) in enumerate(zip(claim.logits, logits, strict=False))
    )
    evidence["difference"] = round(difference, 9)
    if difference <= claim.tolerance:
        return question.finding(Status.OK, evidence=evidence)
    reason = (
        f"logit {place} for the generated image is {logits[place]:g}, but the card claims {claim.logits[place]:g}"
        f" (within {claim.tolerance:g}); the weights load, but builder, options or input are not those of the card's author"
    )
    hint = "try variants of `builder` and `input` with other padding, activation or preprocessing"
    return question.finding(Status.WRONG, reason=reason, hint=hint, evidence=evidence)
