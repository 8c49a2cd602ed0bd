"""Whether the model is as accurate as the card says, by evaluating it on the claimed split: integer counts, no sampling."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict

from zoo import facts
from zoo.card import DEFAULT_TOLERANCE_PERCENT, METRICS, Card, Dataset, ResultClaim
from zoo.catalog import Catalog
from zoo.checks import Question
from zoo.datasets import Copy, open_copy
from zoo.evaluate import Counts, evaluate
from zoo.facts import Fact
from zoo.model import Subject, transform
from zoo.report import Finding, Status

needs = ("loading", "data")
CODE = ("checks/accuracy.py", "evaluate.py", "model.py", "datasets/__init__.py")


def questions(card: Card, catalog: Catalog) -> Iterable[Question]:
    """One for each claimed result."""
    for claim in card.results:
        key = f"{claim.dataset}/{claim.split}/{claim.metric}"
        about = (claim, catalog.dataset(claim.dataset))
        yield Question(
            card.name,
            "accuracy",
            key,
            str(claim.where["value"]),
            claim.value,
            claim.unit or "percent",
            tolerance(claim),
            about,
        )


def answer(subject: Subject, question: Question) -> Finding:
    """The measured accuracy in the claim's unit, with the counts as evidence."""
    claim, dataset = question.about
    metric = METRICS.get(claim.metric)
    if metric is None or not metric.top_k or dataset is None:
        return question.finding(Status.SKIPPED, reason=f"zoo has no evaluator for {claim.metric} on {claim.dataset}")
    counts = _counts(subject, dataset, claim.split)
    correct = counts.of(metric.top_k)
    measured = correct / counts.images * scale(claim)
    evidence = {
        "correct": correct,
        "images": counts.images,
        "split_images": counts.images,
        "device": subject.settings.device,
    }
    return question.compare(
        round(measured, 6),
        mend=f"write {round(measured, 4)} in the card, or find out what is different",
        evidence=evidence,
    )


def scale(claim: ResultClaim) -> float:
    """What a fraction is multiplied by to have the claim's unit."""
    return 1.0 if claim.unit == "fraction" else 100.0


def tolerance(claim: ResultClaim) -> float:
    """How far a measurement may be from the claim, in its unit: half its rounding and its tolerance."""
    default = DEFAULT_TOLERANCE_PERCENT / 100 * scale(claim)
    return (claim.rounded_to or 0) / 2 + (default if claim.tolerance is None else claim.tolerance)


def _counts(subject: Subject, dataset: Dataset, split: str) -> Counts:
    """The counts over the whole split, from the store of facts where the same was counted before."""
    copy = open_copy(dataset, split, subject.settings.data)
    weights = subject.card.weights[0]
    key = facts.architecture(
        "accuracy",
        subject.builder,
        code=(*CODE, f"datasets/{dataset.kind}.py"),
        sha256=subject.artifact(weights).sha256,
        manifest_sha256=copy.manifest_sha256,
        preprocessing=subject.input.as_data(),
        device=subject.settings.device,
    )
    fact = facts.of(key, lambda: _measure(subject, copy), refresh=subject.settings.refresh)
    return Counts(**fact.evidence)


def _measure(subject: Subject, copy: Copy) -> Fact:
    counts = evaluate(subject.model, copy.images, transform(subject.input))
    return Fact(counts.top1, asdict(counts))
