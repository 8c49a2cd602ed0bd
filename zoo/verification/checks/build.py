"""Whether the architecture that the card names can be built, with its options."""

from __future__ import annotations

from collections.abc import Iterable

from zoo import plugins
from zoo.models import facts
from zoo.models.facts import Fact
from zoo.models.subject import Subject
from zoo.registry.card import Card
from zoo.registry.catalog import Catalog
from zoo.verification.checks import Question
from zoo.verification.report import Finding, Status

needs: tuple[str, ...] = ()
CODE = ("verification/checks/build.py", "models/meta.py", "models/build.py", "models/subject.py")


def questions(card: Card, catalog: Catalog) -> Iterable[Question]:
    """One: the architecture."""
    where = card.builder.where["entry"] if card.builder else card.where
    yield Question(card.name, "build", "build", str(where), card.builder.entry if card.builder else None)


def answer(subject: Subject, question: Question) -> Finding:
    """Ok when a module came out; its class and what loaders must know of it are in the evidence."""
    fact = facts.recall_or_measure(
        facts.architecture_key("build", subject.builder, code=CODE),
        lambda: _measure(subject),
        refresh=subject.settings.refresh,
    )
    return question.finding(Status.OK, measured=question.claimed, evidence=fact.evidence)


def _measure(subject: Subject) -> Fact:
    kind = type(subject.meta)
    library = plugins.load("builders", subject.builder.library)
    traits = library.traits(subject.meta)
    return Fact(subject.builder.entry, {"module": f"{kind.__module__}.{kind.__qualname__}", **traits})
