"""Check that the card's claims are consistent, from the cards alone: without network and without torch.

The rules are in zoo/verification/rules. This check runs all of them and turns their verdicts into findings.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from zoo.models.subject import Subject
from zoo.registry.catalog import Member
from zoo.verification import rules
from zoo.verification.checks import Question
from zoo.verification.report import Finding, numbered_key
from zoo.verification.rules import FINE, Verdict

needs: tuple[str, ...] = ()


def questions(member: Member) -> Iterable[Question]:
    """Yield a question for each verdict. The key is the rule's id, numbered from its second verdict on."""
    card = member.card
    for rule, verdicts in apply_rules(member):
        for number, verdict in enumerate(verdicts, 1):
            key, where = numbered_key(rule, number), str(verdict.where or card.where)
            yield Question(card.name, "consistency", key, where, verdict.claimed, verdict.unit, about=verdict)


def answer(subject: Subject, question: Question) -> Finding:
    """Return the rule's verdict as a finding."""
    verdict: Verdict = question.about
    return question.finding(verdict.status, measured=verdict.measured, reason=verdict.reason, hint=verdict.hint)


def apply_rules(member: Member) -> Iterable[tuple[str, Sequence[Verdict]]]:
    """Yield (rule, verdicts) for each rule that applies to the card; FINE appears only alone, when there is no problem."""
    for rule in rules.all_rules().values():
        verdicts = list(rule.judge(member))
        if verdicts:
            yield rule.id, [verdict for verdict in verdicts if verdict is not FINE] or [FINE]
