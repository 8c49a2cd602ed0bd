"""Check that the architecture that the card names can be built, with its options."""

from __future__ import annotations

from collections.abc import Iterable

from zoo import plugins
from zoo.models import facts
from zoo.models.facts import Fact, with_form
from zoo.models.subject import Subject
from zoo.registry.catalog import Member
from zoo.runtime.json_form import is_text, object_with
from zoo.verification.checks import Question
from zoo.verification.report import Finding, Status

needs: tuple[str, ...] = ()


def questions(member: Member) -> Iterable[Question]:
    """Yield one question: the architecture."""
    card = member.card
    where = card.builder.where["entry"] if card.builder else card.where
    yield Question(card.name, "build", "build", str(where), card.builder.entry if card.builder else None)


def answer(subject: Subject, question: Question) -> Finding:
    """Return ok when the library builds the module; the evidence has its class and the traits that loaders need."""
    key = facts.architecture_key("build", subject.builder, measured_by=(__name__,))
    check = with_form(subject.builder.entry, object_with({"module": is_text}))
    fact = subject.fact(key, lambda: _measure(subject), check)
    return question.finding(Status.OK, measured=question.claimed, evidence=fact.evidence)


def _measure(subject: Subject) -> Fact:
    kind = type(subject.meta)
    library = plugins.load("builders", subject.builder.library)
    traits = library.traits(subject.meta)
    return Fact(subject.builder.entry, {"module": f"{kind.__module__}.{kind.__qualname__}", **traits})
