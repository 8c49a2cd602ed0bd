"""The contract of a check: one file per check, which asks questions about a card and answers them by measuring.

`questions` reads the card only and says, for each thing that it will look at, what is claimed. `answer` measures and
compares. What a check `needs` must be ok first; zoo.verification.runner sees to that, and turns what `answer` raises into findings:
NotHere is `skipped`, other CannotCheck are `unknown`, WrongContent is `wrong`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from zoo.models.facts import Value
from zoo.models.subject import Subject
from zoo.registry.card import Card
from zoo.registry.catalog import Catalog
from zoo.verification.report import Finding, Status


@dataclass(frozen=True, slots=True)
class Question:
    """One thing that a check looks at. `claimed` is None where the card says nothing; `about` is the part of the card.

    tolerance: how far claimed and measured may differ, in `unit`; None where only equality counts.
    """

    model: str
    check: str
    key: str
    where: str
    claimed: Value = None
    unit: str = ""
    tolerance: float | None = None
    about: Any = field(default=None, compare=False, repr=False)

    def finding(
        self,
        status: Status,
        *,
        measured: Value = None,
        reason: str = "",
        hint: str = "",
        evidence: Mapping[str, Any] | None = None,
    ) -> Finding:
        """The answer with that status."""
        return Finding(
            self.model,
            self.check,
            self.key,
            status,
            self.claimed,
            measured,
            self.unit,
            self.tolerance,
            self.where,
            reason,
            hint,
            evidence or {},
        )

    def compare(self, measured: Value, *, hint: str = "", evidence: Mapping[str, Any] | None = None) -> Finding:
        """Ok or wrong by what was measured, unclaimed when the card claims nothing."""
        if self.claimed is None:
            return self.finding(Status.UNCLAIMED, measured=measured, evidence=evidence)
        if agrees(self.claimed, measured, self.tolerance):
            return self.finding(Status.OK, measured=measured, evidence=evidence)
        return self.finding(Status.WRONG, measured=measured, hint=hint, evidence=evidence)


class Check(Protocol):
    """What a module in this folder offers."""

    needs: tuple[str, ...]

    def questions(self, card: Card, catalog: Catalog) -> Iterable[Question]:
        """What the check will look at, from the card alone."""

    def answer(self, subject: Subject, question: Question) -> Finding:
        """The finding, after measuring."""


def agrees(claimed: Value, measured: Value, tolerance: float | None) -> bool:
    """Whether the two are equal, or numbers no further apart than the tolerance.

    The slack of 1e-9 of the tolerance is for decimal fractions that doubles cannot hold: 84.53 +- 0.05 includes 84.58.
    """
    if tolerance is None or not isinstance(claimed, (int, float)) or not isinstance(measured, (int, float)):
        return claimed == measured
    return abs(claimed - measured) <= tolerance * (1 + 1e-9)
