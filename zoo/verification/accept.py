"""Accept the suspect findings that a card's `ignore` explains."""

from __future__ import annotations

from dataclasses import replace

from zoo.registry.card import Card
from zoo.verification import rules
from zoo.verification.report import Finding, Status, base_key


def accept(card: Card, finding: Finding) -> Finding:
    """Return the finding; it is `unclaimed` when it was `suspect` and the card's `ignore` names it.

    `ignore` names a check (`consistency`), a rule with all its findings (`consistency/crop`), or one finding by its key
    (`loading/net.safetensors`, `consistency/crop#2`). Only `suspect` is accepted, never `wrong`, and never the finding of a
    rule that cannot be ignored, or about a copy of a data set: a card does not set the limits by which it is judged.
    """
    if finding.status is not Status.SUSPECT:
        return finding
    names = (finding.check, finding.rule, f"{finding.check}/{finding.key}")
    item = next((item for item in card.ignore if item.rule in names), None)
    if item is None or not _can_be_ignored(finding):
        return finding
    return replace(finding, status=Status.UNCLAIMED, reason=f"accepted by the card: {item.reason}", hint="")


def _can_be_ignored(finding: Finding) -> bool:
    if finding.check == "data":
        return False
    rule = rules.all_rules().get(base_key(finding.key)) if finding.check == "consistency" else None
    return rule is None or rule.can_be_ignored
