"""Check that the model has as many parameters as the card claims, exactly or within the claim's rounding."""

from __future__ import annotations

from collections.abc import Iterable

from zoo.models import facts
from zoo.models.facts import Fact, with_form
from zoo.models.subject import Subject
from zoo.registry.catalog import Member
from zoo.runtime.json_form import is_count, object_with
from zoo.verification.checks import Question
from zoo.verification.report import Finding

needs = ("build",)


def questions(member: Member) -> Iterable[Question]:
    """Yield one question: the number of parameters."""
    card = member.card
    claim = card.claims.params if card.claims else None
    where = claim.where["value"] if claim else card.where
    tolerance = (claim.rounded_to or 0) / 2 if claim else None
    yield Question(card.name, "params", "params", str(where), claim.value if claim else None, "parameters", tolerance)


def answer(subject: Subject, question: Question) -> Finding:
    """Return the number of parameters of the built architecture, compared with the claim."""
    key = facts.architecture_key("params", subject.builder, measured_by=(__name__,))
    fact = subject.fact(key, lambda: _measure(subject), _IS_VALID)
    return question.compare(
        fact.value, hint=f"write {fact.value} in the card, or correct the architecture", evidence=fact.evidence
    )


_IS_VALID = with_form(is_count, object_with(dict.fromkeys(("trainable", "buffers", "state_bytes"), is_count)))


def _measure(subject: Subject) -> Fact:
    from zoo.flops.counting import measure_state

    state = measure_state(subject.meta)
    return Fact(
        state.params, {"trainable": state.trainable, "buffers": state.buffers, "state_bytes": state.state_bytes}
    )
