"""Judge how much a card forgives itself: tolerance, rounding and fingerprint tolerance have limits that no card sets.

A claim with a large tolerance is right whatever zoo measures. The limits are in this module only, and a card's `ignore` has
no effect on its rules, so a claim beyond them is never published.
"""

from __future__ import annotations

from collections.abc import Iterator

from zoo.models import fingerprint
from zoo.registry.card import Card, FlopsClaim, ParamsClaim, ResultClaim
from zoo.registry.catalog import Member
from zoo.registry.metrics import METRICS
from zoo.verification.rules import FINE, Rule, Verdict, suspect

MOST_TOLERANCE = 0.005
"""Of 100 %, for accuracies and other shares: 0.5 percentage points. Library versions change an accuracy by about 0.02 points
(pytorch/vision#5958, seen 2026-11-24)."""
TOLERANCES_IN_VALUE = 100
"""For results in other units: the tolerance is at most 1 % of the value."""
MOST_ROUNDING = 0.01
"""Of 100 %, for shares: whole points, as in `77 %`."""
ROUNDINGS_IN_VALUE = 20
"""For counts and for results in other units: the rounding is at most 5 % of the value, as in `7.0B` or `25M`. `7B` stands for
6.5 to 7.5 billion, which fits different models."""
MOST_FINGERPRINT = 10
"""Times the tolerance that zoo itself writes for these logits, `zoo.models.fingerprint.tolerance`: at most 1e-3 to 2e-3 of the
largest logit, 600 times the largest difference that was measured between two ways to compute in float32 (see there)."""
SHARES = (None, "percent", "fraction")
"""The units of results with a scale of 100 %. An accuracy is such a result whatever its unit."""


def tolerance_limit(member: Member) -> Iterator[Verdict]:
    """Check that the tolerance of a result is at most 0.5 points (0.005 as a fraction), or 1 % of a value in another unit."""
    for claim in member.card.results:
        if claim.tolerance is None:
            continue
        if _is_within(claim, claim.tolerance, MOST_TOLERANCE, TOLERANCES_IN_VALUE):
            yield FINE
            continue
        reason = (
            f"the tolerance of {claim.metric} is {claim.tolerance:g}, but at most"
            f" {_limit(claim, MOST_TOLERANCE, TOLERANCES_IN_VALUE)} is allowed; results that vary from run to run would explain it"
        )
        yield suspect(claim.where.at("tolerance"), reason, "write a smaller tolerance", claim.tolerance)


def rounding_limit(member: Member) -> Iterator[Verdict]:
    """Check that a result is rounded to 1 point at most (0.01 as a fraction), and a count or another value to 5 % of it."""
    for result in member.card.results:
        if result.rounded_to is not None:
            is_fine = _is_within(result, result.rounded_to, MOST_ROUNDING, ROUNDINGS_IN_VALUE)
            yield (
                FINE
                if is_fine
                else _too_coarse(result, result.metric, _limit(result, MOST_ROUNDING, ROUNDINGS_IN_VALUE))
            )
    for name, count in _counts(member.card):
        if count.rounded_to is not None:
            is_fine = count.rounded_to <= 1 or count.rounded_to * ROUNDINGS_IN_VALUE <= count.value
            yield FINE if is_fine else _too_coarse(count, name, _of_value(ROUNDINGS_IN_VALUE))


def fingerprint_limit(member: Member) -> Iterator[Verdict]:
    """Check that the tolerance of a fingerprint is at most 10 times the one that `zoo verify --write` writes for its logits."""
    claim = member.card.fingerprint
    if claim is None:
        return
    most = MOST_FINGERPRINT * fingerprint.tolerance(claim.logits)
    if claim.tolerance <= most:
        yield FINE
        return
    reason = (
        f"the tolerance of the fingerprint is {claim.tolerance:g}, but at most {most:g} is allowed for these logits;"
        " logits of another precision would explain it"
    )
    hint = f"remove the fingerprint, then run `zoo verify {member.card.name} --write` to measure it"
    yield suspect(claim.where.at("tolerance"), reason, hint, claim.tolerance)


def _is_within(claim: ResultClaim, slack: float, share: float, times_in_value: int) -> bool:
    """Whether a tolerance or rounding is within its limit. A comparison with NaN is false."""
    if _is_share(claim):
        return slack <= share * claim.whole
    return slack * times_in_value <= abs(claim.value)


def _limit(claim: ResultClaim, share: float, times_in_value: int) -> str:
    """Return the limit in words."""
    if not _is_share(claim):
        return _of_value(times_in_value)
    most = share * claim.whole
    return f"{most:g}" if claim.unit == "fraction" else f"{most:g} {'point' if most == 1 else 'points'}"


def _is_share(claim: ResultClaim) -> bool:
    return claim.metric in METRICS or claim.unit in SHARES


def _of_value(times: int) -> str:
    return f"{100 / times:g} % of the value"


def _counts(card: Card) -> Iterator[tuple[str, ParamsClaim | FlopsClaim]]:
    if card.claims and card.claims.params:
        yield "params", card.claims.params
    for claim in card.flops:
        yield claim.convention or "flops", claim


def _too_coarse(claim: ResultClaim | ParamsClaim | FlopsClaim, name: str, limit: str) -> Verdict:
    reason = (
        f"{name} is {claim.value:,.15g}, rounded to {claim.rounded_to:,.15g}, but at most {limit} is allowed;"
        " a source that gives few digits would explain it"
    )
    return suspect(claim.where.at("rounded_to"), reason, "write more digits of the value", claim.rounded_to)


RULES = (
    Rule(
        "tolerance-limit",
        "a measurement decides a claim, not its tolerance",
        "write a smaller tolerance",
        tolerance_limit,
        can_be_ignored=False,
    ),
    Rule(
        "rounding-limit",
        "a claim has enough digits to be checked",
        "write more digits",
        rounding_limit,
        can_be_ignored=False,
    ),
    Rule(
        "fingerprint-limit",
        "a fingerprint distinguishes models",
        "write a smaller tolerance",
        fingerprint_limit,
        can_be_ignored=False,
    ),
)
