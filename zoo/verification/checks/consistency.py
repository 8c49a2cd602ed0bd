"""Whether what the card says can be true at all, from the cards alone: no network, no torch.

The rules are the files of zoo/verification/rules; this check asks each of them and makes findings of their verdicts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from zoo.models.subject import Subject
from zoo.registry.card import Card
from zoo.registry.catalog import Catalog
from zoo.verification import rules
from zoo.verification.checks import Question
from zoo.verification.report import Finding
from zoo.verification.rules import FINE, Verdict

needs: tuple[str, ...] = ()


def questions(card: Card, catalog: Catalog) -> Iterable[Question]:
    """One for each rule that has something to look at, or each thing that it finds; the key is the rule's id, numbered
    from the second on."""
    for rule, verdicts in apply_rules(card, catalog):
        for number, verdict in enumerate(verdicts, 1):
            key = rule if number == 1 else f"{rule}#{number}"
            where = str(verdict.where) if verdict.where else str(card.where)
            yield Question(card.name, "consistency", key, where, verdict.claimed, verdict.unit, about=verdict)


def answer(subject: Subject, question: Question) -> Finding:
    """The rule's verdict."""
    verdict: Verdict = question.about
    return question.finding(verdict.status, measured=verdict.measured, reason=verdict.reason, hint=verdict.hint)


def apply_rules(card: Card, catalog: Catalog) -> Iterable[tuple[str, Sequence[Verdict]]]:
    """(rule, what it finds or FINE once) for each rule that has something to look at."""
    for rule in rules.all_rules().values():
        verdicts = list(rule.judge(card, catalog))
        if verdicts:
            yield rule.id, [verdict for verdict in verdicts if verdict is not FINE] or [FINE]
