"""Check that the card's file follows the schema."""

from __future__ import annotations

from collections.abc import Iterable

from zoo.models.subject import Subject
from zoo.registry import index
from zoo.registry.catalog import Broken, Member
from zoo.verification.checks import Question
from zoo.verification.report import Finding, Status, numbered_key

needs: tuple[str, ...] = ()


def questions(member: Member) -> Iterable[Question]:
    """Yield one question: the whole document."""
    yield Question(member.card.name, "schema", "/", str(member.card.where))


def answer(subject: Subject, question: Question) -> Finding:
    """Return ok: only a document that follows the schema becomes a Card."""
    return question.finding(Status.OK)


def findings_of(broken: Broken) -> Iterable[Finding]:
    """Yield a `wrong` finding for each problem; the key is the JSON pointer, numbered from its second problem on.

    A link to a folder, which is not followed, is `skipped`.
    """
    status = Status.SKIPPED if broken.kind == index.FOLDER else Status.WRONG
    key_counts: dict[str, int] = {}
    for problem in broken.problems:
        key = problem.key or "/"
        key_counts[key] = key_counts.get(key, 0) + 1
        yield Finding(
            broken.name,
            "schema",
            numbered_key(key, key_counts[key]),
            status,
            where=str(problem.place),
            reason=problem.what,
            hint=problem.hint,
        )
