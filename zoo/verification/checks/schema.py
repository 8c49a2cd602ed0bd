"""Whether the card's file is a card: one finding that it is, or one for each thing that is wrong with it."""

from __future__ import annotations

from collections.abc import Iterable

from zoo.models.subject import Subject
from zoo.registry.card import Card
from zoo.registry.catalog import Broken, Catalog
from zoo.verification.checks import Question
from zoo.verification.report import Finding, Status

needs: tuple[str, ...] = ()


def questions(card: Card, catalog: Catalog) -> Iterable[Question]:
    """One: the whole document."""
    yield Question(card.name, "schema", "/", str(card.where))


def answer(subject: Subject, question: Question) -> Finding:
    """ok: only what fits the schema becomes a Card."""
    return question.finding(Status.OK)


def findings_of(broken: Broken) -> Iterable[Finding]:
    """One `wrong` finding for each problem; the key is the JSON pointer, numbered where two share one."""
    key_counts: dict[str, int] = {}
    for problem in broken.problems:
        key = problem.key or "/"
        key_counts[key] = key_counts.get(key, 0) + 1
        numbered = key if key_counts[key] == 1 else f"{key}#{key_counts[key]}"
        yield Finding(
            broken.name,
            "schema",
            numbered,
            Status.WRONG,
            where=str(problem.place),
            reason=problem.what,
            hint=problem.hint,
        )
