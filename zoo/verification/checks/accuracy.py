"""Check that the model is as accurate as the card claims, on the claimed split.

On the whole split, claimed and measured may differ by half the claim's rounding plus its tolerance. On a sample, an exact
interval decides: the claim is `wrong` when no value in the interval agrees with it, `ok` when all values do, and otherwise
`unknown`. The check does not need a `data` finding: images are hashed when they are decoded, so a wrong copy is noticed here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from zoo.accuracy import intervals
from zoo.accuracy.diagnosis import Cause, diagnose
from zoo.accuracy.evaluate import Counts, Measured, measure
from zoo.accuracy.intervals import Answer, Claim, ClaimVerdict
from zoo.models.subject import Subject
from zoo.registry.card import DEFAULT_TOLERANCE_PERCENT, ResultClaim
from zoo.registry.catalog import Member
from zoo.registry.metrics import METRICS
from zoo.runtime import process
from zoo.verification.checks import Question
from zoo.verification.report import Finding, Status

needs = ("loading",)


def questions(member: Member) -> Iterable[Question]:
    """Yield a question for each claimed result."""
    for claim in member.card.results:
        about = (claim, member.catalog.dataset(claim.dataset))
        where, unit = str(claim.where["value"]), claim.unit or "percent"
        yield Question(member.card.name, "accuracy", claim.key, where, claim.value, unit, tolerance(claim), about)


def answer(subject: Subject, question: Question) -> Finding:
    """Return the measured accuracy in the claim's unit, with the counts and the interval as evidence."""
    claim, dataset = question.about
    subject.catalog.refuse_invalid_dataset(claim.dataset)
    top_k = METRICS[claim.metric].top_k if claim.metric in METRICS else 0
    if not top_k or dataset is None:
        return question.finding(Status.SKIPPED, reason=f"zoo has no evaluator for {claim.metric} on {claim.dataset}")
    evaluation = subject.settings.evaluation
    fraction_claim = Claim(claim.value / claim.whole, tolerance(claim) / claim.whole)

    def verdict(counts: Counts, split_images: int) -> ClaimVerdict:
        right = counts.of(top_k)
        return intervals.judge(
            fraction_claim, right, counts.images, split_images, level=evaluation.level, anytime=evaluation.early_stop
        )

    def stop(counts: Counts) -> bool:
        return evaluation.early_stop and verdict(counts, split_images).answer is Answer.REFUTED

    split_images = dataset.splits[claim.split].images if claim.split in dataset.splits else 0
    measured = measure(subject, dataset, claim.split, stop)
    decided = verdict(measured.counts, measured.split_images)
    finding = _finding(question, measured, top_k, decided)
    if decided.answer is Answer.REFUTED and decided.interval.high < fraction_claim.range[0]:
        process.settle(finding)  # the search for a cause may need too much memory
        return _with_cause(finding, diagnose(subject, dataset, claim.split, fraction_claim, top_k), claim.whole)
    return finding


def _with_cause(finding: Finding, cause: Cause | None, unit: float) -> Finding:
    """Return the finding with the mistake that explains it, if there is one."""
    if cause is None:
        return finding
    share = round(cause.accuracy * unit, 2)
    hint = f"{cause.hint} (that gives {share:g} on {cause.images} images); if that is not the cause, {finding.hint}"
    return replace(finding, hint=hint, evidence={**finding.evidence, "cause": cause.name})


def _finding(question: Question, measured: Measured, top_k: int, verdict: ClaimVerdict) -> Finding:
    claim, counts = question.about[0], measured.counts
    value = round(counts.of(top_k) / counts.images * claim.whole, 6)
    evidence = _evidence(measured, top_k, verdict, claim)
    status = {Answer.REFUTED: Status.WRONG, Answer.PROVED: Status.OK, Answer.OPEN: Status.UNKNOWN}[verdict.answer]
    reason = "" if measured.is_whole else _reason(measured, verdict, claim)
    hint = ""
    if status is Status.WRONG:
        hint = f"write {round(value, 4)} in the card, or find out what differs from the published evaluation"
        hint = hint if measured.is_whole else "evaluate the whole split for the exact number"
    elif status is Status.UNKNOWN:
        hint = f"evaluate {counts.images + verdict.more:,} images (--limit), or all {measured.split_images:,}"
    return question.finding(status, measured=value, reason=reason, hint=hint, evidence=evidence)


def _reason(measured: Measured, verdict: ClaimVerdict, claim: ResultClaim) -> str:
    low, high = (round(end * claim.whole, 4) for end in (verdict.interval.low, verdict.interval.high))
    text = f"{measured.counts.images:,} of {measured.split_images:,} images give {low:g} to {high:g}"
    return text + (f"; about {verdict.more:,} more are needed for a verdict" if verdict.more else "")


def _evidence(measured: Measured, top_k: int, verdict: ClaimVerdict, claim: ResultClaim) -> dict[str, Any]:
    counts = measured.counts
    interval = {
        "low": round(verdict.interval.low * claim.whole, 6),
        "high": round(verdict.interval.high * claim.whole, 6),
    }
    sure = (
        {} if measured.is_whole else {"interval": interval, **({"more_images": verdict.more} if verdict.more else {})}
    )
    return {
        "correct": counts.of(top_k),
        "images": counts.images,
        "split_images": measured.split_images,
        **sure,
        **{key: value for key, value in measured.evidence.items() if key != "counts"},
    }


def tolerance(claim: ResultClaim) -> float:
    """Return how far a measurement may be from the claim, in the claim's unit: half its rounding plus its tolerance."""
    default = DEFAULT_TOLERANCE_PERCENT / 100 * claim.whole
    return (claim.rounded_to or 0) / 2 + (default if claim.tolerance is None else claim.tolerance)
