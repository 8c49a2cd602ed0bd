"""Define the contract of a check: one module per check, which asks questions about a card and answers them by measuring.

`questions` reads only cards, and states the claim for each thing that the check looks at. `answer` measures and compares.
zoo.verification.runner calls `answer` when the checks in `needs` are ok, and turns the errors that it raises into findings:
NotHere into `skipped`, other CannotCheck into `unknown`, WrongContent into `wrong`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from zoo.models.facts import Value
from zoo.models.subject import Subject
from zoo.registry.catalog import Member
from zoo.verification.report import Finding, Status


@dataclass(frozen=True, slots=True)
class Question:
    """One thing that a check looks at. `claimed` is None when the card claims nothing; `about` is the part of the card.

    tolerance: how far claimed and measured may differ, in `unit`; None when they must be equal.
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
        """Return the finding with that status."""
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
        """Return the finding: ok or wrong by comparison with the claim, unclaimed when the card claims nothing."""
        if self.claimed is None:
            return self.finding(Status.UNCLAIMED, measured=measured, evidence=evidence)
        if agrees(self.claimed, measured, self.tolerance):
            return self.finding(Status.OK, measured=measured, evidence=evidence)
        return self.finding(Status.WRONG, measured=measured, hint=hint, evidence=evidence)


class Check(Protocol):
    """What a module in this folder offers."""

    @property
    def needs(self) -> tuple[str, ...]:
        """The names of the checks that must be ok before this one answers."""

    def questions(self, member: Member) -> Iterable[Question]:
        """What the check will look at, from the card alone."""

    def answer(self, subject: Subject, question: Question) -> Finding:
        """The finding, after measuring."""


def agrees(claimed: Value, measured: Value, tolerance: float | None) -> bool:
    """Return whether the two are equal, or are numbers that differ by the tolerance at most.

    The tolerance is increased by a factor of 1e-9, because doubles cannot represent all decimal fractions: 84.53 +- 0.05
    includes 84.58.
    """
    if tolerance is None or not isinstance(claimed, (int, float)) or not isinstance(measured, (int, float)):
        return claimed == measured
    return abs(claimed - measured) <= tolerance * (1 + 1e-9)
