"""Whether the architecture that the card names can be built, with its options."""

from __future__ import annotations

from collections.abc import Iterable

from zoo import facts, plugins
from zoo.card import Card
from zoo.catalog import Catalog
from zoo.checks import Question
from zoo.facts import Fact
from zoo.model import Subject
from zoo.report import Finding, Status

needs: tuple[str, ...] = ()
CODE = ("checks/build.py", "tracing.py", "model.py")


def questions(card: Card, catalog: Catalog) -> Iterable[Question]:
    """One: the architecture."""
    where = card.builder.where["entry"] if card.builder else card.where
    yield Question(card.name, "build", "build", str(where), card.builder.entry if card.builder else None)


def answer(subject: Subject, question: Question) -> Finding:
    """Ok when a module came out; its class and what loaders must know of it are in the evidence."""
    fact = facts.of(
        facts.architecture("build", subject.builder, code=CODE),
        lambda: _measure(subject),
        refresh=subject.settings.refresh,
    )
    return question.finding(Status.OK, measured=question.claimed, evidence=fact.evidence)


def _measure(subject: Subject) -> Fact:
    kind = type(subject.meta)
    library = plugins.load("builders", subject.builder.library)
    traits = library.traits(subject.meta)
    return Fact(subject.builder.entry, {"module": f"{kind.__module__}.{kind.__qualname__}", **traits})
