"""Check that a forward pass of one image has exactly the operations that the card claims, under the claim's convention."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from zoo import plugins
from zoo.flops import costs
from zoo.models.subject import Subject
from zoo.registry.card import FlopsClaim
from zoo.registry.catalog import Member
from zoo.verification.checks import Question
from zoo.verification.report import Finding, Status, numbered_key

needs = ("build",)
NO_CONVENTION = "unsaid"
"""The key of a claim without a convention."""


def questions(member: Member) -> Iterable[Question]:
    """Yield a question for each claim, and one for the multiply-adds when they are not claimed."""
    card = member.card
    convention_counts = Counter(claim.convention for claim in card.flops)
    key_counts: Counter[str] = Counter()
    for claim in card.flops:
        key = claim.convention or NO_CONVENTION
        if convention_counts[claim.convention] > 1:
            key += "@" + "x".join(map(str, claim.input or (card.input.size if card.input else None) or ("card",)))
        key_counts[key] += 1
        numbered = numbered_key(key, key_counts[key])
        unit, tolerance = claim.convention or "", (claim.rounded_to or 0) / 2
        yield Question(card.name, "flops", numbered, str(claim.where["value"]), claim.value, unit, tolerance, claim)
    if "macs" not in convention_counts:
        yield Question(card.name, "flops", "macs", str(card.where), unit="macs")


def answer(subject: Subject, question: Question) -> Finding:
    """Return the count under the claim's convention, at the claim's input or else the card's, compared with the claim."""
    claim: FlopsClaim | None = question.about
    if claim is not None and claim.convention is None:
        return _solution_finding(subject, question, claim)
    convention = claim.convention if claim and claim.convention else "macs"
    shape = _shape(claim.input) if claim and claim.input else subject.input_size
    plugins.load("conventions", convention, where=question.where)
    cost = costs.cost(subject, convention, shape)
    evidence = {"convention": convention, "input": list(shape), "by_operator": dict(cost.by_operator)}
    hint = f"write {cost.value} in the card, or correct its convention or input"
    return question.compare(cost.value, hint=hint, evidence=evidence)


def _solution_finding(subject: Subject, question: Question, claim: FlopsClaim) -> Finding:
    """Return `unknown` with the convention and input that reproduce the number; the author of the card must confirm them."""
    solution = costs.solve(subject, claim)
    fit = costs.claimable_fit(solution)
    evidence = {"solution": {"convention": fit.convention, "input": list(fit.input_shape)}} if fit else {}
    return question.finding(
        Status.UNKNOWN,
        measured=fit.value if fit else None,
        reason=f"the claim does not say what was counted; {costs.explanation(solution)}",
        hint=costs.hint(solution, subject.card.name, subject.input_size),
        evidence={**evidence, "macs": solution.macs, "ratio": solution.ratio},
    )


def _shape(size: tuple[int, ...]) -> tuple[int, int, int]:
    return (size[0], size[1], size[2])
