"""Whether each file of weights has the size and the SHA-256 that the card says."""

from __future__ import annotations

from collections.abc import Iterable

from zoo.models.subject import Subject
from zoo.registry.card import Card, Weights
from zoo.registry.catalog import Catalog
from zoo.verification.checks import Question
from zoo.verification.report import Finding, Status
from zoo.weights.store import Artifact

needs: tuple[str, ...] = ()


def questions(card: Card, catalog: Catalog) -> Iterable[Question]:
    """Size and digest of each file; one question that can only be skipped when the card lists none."""
    if not card.weights:
        yield Question(card.name, "files", "weights", str(card.where))
    for weights in card.weights:
        yield Question(
            card.name,
            "files",
            f"{weights.file}/size",
            str(weights.where["size_bytes"]),
            weights.size_bytes,
            "bytes",
            about=weights,
        )
        yield Question(
            card.name, "files", f"{weights.file}/sha256", str(weights.where["sha256"]), weights.sha256, about=weights
        )


def answer(subject: Subject, question: Question) -> Finding:
    """The measured size or digest beside the claimed one."""
    weights: Weights | None = question.about
    if weights is None:
        return question.finding(Status.SKIPPED, reason="the card lists no weights", hint="add `weights: [{file: ...}]`")
    artifact = subject.artifact(weights)
    if question.key.endswith("/size"):
        return question.compare(
            artifact.size_bytes, hint=_repair_hint(subject.card, weights), evidence=_evidence(artifact)
        )
    return _judge_digest(subject.card, weights, artifact, question)


def _judge_digest(card: Card, weights: Weights, artifact: Artifact, question: Question) -> Finding:
    evidence = _evidence(artifact)
    if weights.sha256 is None:
        reason = "the card has no digest, so nothing says whether these are the right bytes"
        return question.finding(
            Status.UNKNOWN, measured=artifact.sha256, reason=reason, hint=f"zoo pin {card.name}", evidence=evidence
        )
    if not artifact.sha256.startswith(weights.sha256):
        return question.finding(
            Status.WRONG, measured=artifact.sha256, hint=_repair_hint(card, weights), evidence=evidence
        )
    if len(weights.sha256) < 64:
        reason = f"agrees, but only the first {len(weights.sha256)} of 64 digits are known"
        return question.finding(
            Status.SUSPECT, measured=artifact.sha256, reason=reason, hint=f"zoo pin {card.name}", evidence=evidence
        )
    return question.finding(Status.OK, measured=artifact.sha256, evidence=evidence)


def _repair_hint(card: Card, weights: Weights) -> str:
    if weights.urls:
        return f"if the publisher changed the file on purpose, correct the card; if not, `zoo fetch {card.name}` again"
    return f"restore {weights.file} from where it was made, or correct the card if it was changed on purpose"


def _evidence(artifact: Artifact) -> dict[str, object]:
    return {"origin": artifact.origin, "notes": list(artifact.evidence)}
