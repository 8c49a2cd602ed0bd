"""Whether the model has as many parameters as the card says, exactly or within the claim's own rounding."""

from __future__ import annotations

from collections.abc import Iterable

from zoo.models import facts
from zoo.models.facts import Fact
from zoo.models.subject import Subject
from zoo.registry.card import Card
from zoo.registry.catalog import Catalog
from zoo.verification.checks import Question
from zoo.verification.report import Finding

needs = ("build",)
CODE = (
    "verification/checks/params.py",
    "flops/counting.py",
    "flops/tracing.py",
    "models/build.py",
    "models/meta.py",
    "models/subject.py",
)


def questions(card: Card, catalog: Catalog) -> Iterable[Question]:
    """One: the number of parameters."""
    claim = card.claims.params if card.claims else None
    where = claim.where["value"] if claim else card.where
    tolerance = (claim.rounded_to or 0) / 2 if claim else None
    yield Question(card.name, "params", "params", str(where), claim.value if claim else None, "parameters", tolerance)


def answer(subject: Subject, question: Question) -> Finding:
    """The parameters of the built architecture beside the claimed ones."""
    key = facts.architecture_key("params", subject.builder, code=CODE)
    fact = facts.recall_or_measure(key, lambda: _measure(subject), refresh=subject.settings.refresh)
    return question.compare(
        fact.value, hint=f"write {fact.value} in the card, or name the right architecture", evidence=fact.evidence
    )


def _measure(subject: Subject) -> Fact:
    from zoo.flops.counting import measure_state

    state = measure_state(subject.meta)
    return Fact(
        state.params, {"trainable": state.trainable, "buffers": state.buffers, "state_bytes": state.state_bytes}
    )
