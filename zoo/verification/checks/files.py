"""Check that each weights file has the size and the SHA-256 that the card claims."""

from __future__ import annotations

from collections.abc import Iterable

from zoo.models.subject import Subject
from zoo.registry.card import NO_WEIGHTS, Card, Weights
from zoo.registry.catalog import Member
from zoo.verification.checks import Question
from zoo.verification.report import Finding, Status
from zoo.weights.store import Artifact

needs: tuple[str, ...] = ()


def questions(member: Member) -> Iterable[Question]:
    """Yield a question for the size and the digest of each file; one, which is skipped, when the card lists no files."""
    card = member.card
    if not card.weights:
        yield Question(card.name, "files", "weights", str(card.where))
    for weights in card.weights:
        name, where = card.name, str(weights.where["size_bytes"])
        yield Question(name, "files", f"{weights.file}/size", where, weights.size_bytes, "bytes", about=weights)
        where = str(weights.where["sha256"])
        yield Question(name, "files", f"{weights.file}/sha256", where, weights.sha256, about=weights)


def answer(subject: Subject, question: Question) -> Finding:
    """Return the measured size or digest, compared with the claimed one."""
    weights: Weights | None = question.about
    if weights is None:
        return question.finding(Status.SKIPPED, reason=NO_WEIGHTS.what, hint=NO_WEIGHTS.hint)
    artifact = subject.artifact(weights)
    if question.key.endswith("/size"):
        return question.compare(
            artifact.size_bytes, hint=_repair_hint(subject.card, weights), evidence=_evidence(artifact)
        )
    return _judge_digest(subject.card, weights, artifact, question)


def _judge_digest(card: Card, weights: Weights, artifact: Artifact, question: Question) -> Finding:
    evidence = _evidence(artifact)
    if weights.sha256 is None:
        reason = "the card has no sha256, so zoo cannot check that this is the right file"
        return question.finding(
            Status.UNKNOWN, measured=artifact.sha256, reason=reason, hint=f"zoo pin {card.name}", evidence=evidence
        )
    if not artifact.sha256.startswith(weights.sha256):
        return question.finding(
            Status.WRONG, measured=artifact.sha256, hint=_repair_hint(card, weights), evidence=evidence
        )
    if len(weights.sha256) < 64:
        reason = f"the digits agree, but the card has only the first {len(weights.sha256)} of 64"
        return question.finding(
            Status.SUSPECT, measured=artifact.sha256, reason=reason, hint=f"zoo pin {card.name}", evidence=evidence
        )
    return question.finding(Status.OK, measured=artifact.sha256, evidence=evidence)


def _repair_hint(card: Card, weights: Weights) -> str:
    if weights.urls:
        return f"if the publisher changed the file on purpose, correct the card; else run `zoo fetch {card.name}` again"
    return f"restore the original {weights.file}; if it was changed on purpose, correct the card"


def _evidence(artifact: Artifact) -> dict[str, object]:
    return {"origin": artifact.origin, "notes": list(artifact.evidence)}
