"""Whether a forward pass of one image costs what the card says, exactly, under the convention that the claim names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from zoo import facts, plugins
from zoo.card import Card, FlopsClaim
from zoo.catalog import Catalog
from zoo.checks import Question
from zoo.facts import Fact
from zoo.model import Subject
from zoo.report import Finding, Status

needs = ("build",)
CODE = ("checks/flops.py", "counting.py", "model.py")
UNSAID = "unsaid"
"""The key of a claim that names no convention."""


def questions(card: Card, catalog: Catalog) -> Iterable[Question]:
    """One for each claim; the multiply-adds are asked for even when they are not claimed."""
    often = Counter(claim.convention for claim in card.flops)
    for claim in card.flops:
        key = claim.convention or UNSAID
        if often[claim.convention] > 1:
            key += "@" + "x".join(map(str, claim.input or (card.input.size if card.input else None) or ("card",)))
        tolerance = (claim.rounded_to or 0) / 2
        yield Question(
            card.name, "flops", key, str(claim.where["value"]), claim.value, key.partition("@")[0], tolerance, claim
        )
    if "macs" not in often:
        yield Question(card.name, "flops", "macs", str(card.where), unit="macs")


def answer(subject: Subject, question: Question) -> Finding:
    """The count under the claim's convention, at the claim's input or else the card's."""
    claim: FlopsClaim | None = question.about
    if claim is not None and claim.convention is None:
        reason = "the claim does not say what was counted"
        return question.finding(
            Status.UNKNOWN, reason=reason, mend="add `convention: macs` (or flops, thop) to the claim"
        )
    convention = claim.convention if claim and claim.convention else "macs"
    shape = _shape(claim.input) if claim and claim.input else subject.input_size
    fact = _count(subject, convention, shape, question.where)
    return question.compare(
        fact.value, mend=f"write {fact.value} in the card, or correct its convention or input", evidence=fact.evidence
    )


def _count(subject: Subject, convention: str, shape: tuple[int, int, int], where: str) -> Fact:
    plugins.load("conventions", convention, where=where)
    code = (*CODE, "conventions/__init__.py", f"conventions/{convention}.py")
    key = facts.architecture("flops", subject.builder, code=code, convention=convention, input=shape)
    return facts.of(key, lambda: _measure(subject, convention, shape), refresh=subject.settings.refresh)


def _measure(subject: Subject, convention: str, shape: tuple[int, int, int]) -> Fact:
    from zoo.counting import count

    counted = count(subject.meta, shape, convention)
    return Fact(
        counted.value, {"convention": convention, "input": list(shape), "by_operator": dict(counted.by_operator)}
    )


def _shape(size: tuple[int, ...]) -> tuple[int, int, int]:
    return (size[0], size[1], size[2])
