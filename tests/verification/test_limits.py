"""A card does not set the limits by which it is judged: tolerance, rounding and fingerprint tolerance."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.project import RunZoo, replace_once
from tests.helpers.releases import NAME
from tests.helpers.rule_zoo import card, make_zoo, verdicts
from zoo.models import fingerprint
from zoo.verification.rules import limits

LIMITS = {rule.id for rule in limits.RULES}


def found(folder: Path, old: str, new: str) -> set[str]:
    """The limits that a sound card exceeds after one change."""
    text = card("net_l", 30, "3a3b3c3d")
    assert text.count(old) == 1
    return LIMITS & set(verdicts(make_zoo(folder, {"net_l": text.replace(old, new)}), "net_l"))


@pytest.mark.parametrize(
    ("result", "exceeded"),
    [
        ("value: 73.0, unit: percent, tolerance: 0.5, rounded_to: 1", set()),
        ("value: 73.0, unit: percent, tolerance: 0.500001", {"tolerance-limit"}),
        ("value: 73.0, unit: percent, rounded_to: 1.01", {"rounding-limit"}),
        ("value: 73.0, tolerance: 0.6", {"tolerance-limit"}),
        ("value: 0.73, unit: fraction, tolerance: 0.005, rounded_to: 0.01", set()),
        ("value: 0.73, unit: fraction, tolerance: 0.0051, rounded_to: 0.011", LIMITS - {"fingerprint-limit"}),
        ("value: 73.0, unit: points, tolerance: 0.7", {"tolerance-limit"}),  # zoo evaluates it as percent
    ],
)
def test_a_result_may_be_rounded_to_a_point_and_half_a_point_off(
    tmp_path: Path, result: str, exceeded: set[str]
) -> None:
    assert found(tmp_path, "value: 73.0, unit: percent", result) == exceeded


@pytest.mark.parametrize(
    ("result", "exceeded"),
    [
        ("value: 40.0, unit: ms, tolerance: 0.4, rounded_to: 2", set()),
        ("value: -40.0, unit: ms, tolerance: 0.41, rounded_to: 2.1", LIMITS - {"fingerprint-limit"}),
        ("value: 40.0, unit: percent, tolerance: 0.6", {"tolerance-limit"}),
    ],
)
def test_a_result_in_another_unit_may_be_off_by_a_part_of_its_value(
    tmp_path: Path, result: str, exceeded: set[str]
) -> None:
    assert found(tmp_path, "metric: top1, value: 73.0, unit: percent", f"metric: latency, {result}") == exceeded


@pytest.mark.parametrize(
    ("params", "exceeded"),
    [
        ("value: 7000000000, rounded_to: 1000000000", {"rounding-limit"}),  # 7B
        ("value: 7000000000, rounded_to: 1e8", set()),  # 7.0B
        ("value: 25000000, rounded_to: 1000000", set()),
        ("value: 20000000, rounded_to: 1000000", set()),
        ("value: 19000000, rounded_to: 1000000", {"rounding-limit"}),
        ("value: 7, rounded_to: 1", set()),  # a count in ones is exact
        ("value: 0, rounded_to: 2", {"rounding-limit"}),
    ],
)
def test_a_count_has_two_digits_or_so(tmp_path: Path, params: str, exceeded: set[str]) -> None:
    assert found(tmp_path, "value: 30000000, rounded_to: 10000", params) & LIMITS == exceeded


@pytest.mark.parametrize("logits", [(2.235818, -2.510429), (0.001,), (812.5, -3.0)])
def test_a_fingerprint_has_ten_times_the_tolerance_that_zoo_writes_at_most(
    tmp_path: Path, logits: tuple[float, ...]
) -> None:
    most = 10 * fingerprint.tolerance(logits)
    for number, (tolerance, exceeded) in enumerate(((most, set()), (most * 1.01, {"fingerprint-limit"}))):
        claim = f"fingerprint: {{logits: {list(logits)}, tolerance: {tolerance!r}}}"
        assert found(tmp_path / str(number), "claims:", f"{claim}\nclaims:") == exceeded


@pytest.mark.parametrize("ignored", ["consistency", "consistency/tolerance-limit", "consistency/tolerance-limit#2"])
def test_a_card_cannot_ignore_its_limits(run_zoo: RunZoo, digits_zoo: Path, ignored: str) -> None:
    path = digits_zoo / "digits" / f"{NAME}.yaml"
    path.write_text(f"{path.read_text()}ignore:\n  - {{rule: {ignored}, reason: my runs vary}}\n")
    for value in ("99.72", "100.0"):
        replace_once(path, f"value: {value}, unit: percent,", f"value: {value}, unit: percent, tolerance: 60,")
    for command in (("validate",), ("verify", "--check", "consistency")):
        ran = run_zoo(*command, NAME, "--cards", digits_zoo, "--strict")
        assert ran.code == 1, ran.out
        assert ran.out.count("the tolerance of top1 is 60, but at most 0.5 points is allowed") == 1
        assert ran.out.count("the tolerance of top5 is 60, but at most 0.5 points is allowed") == 1


def test_an_explanation_says_that_a_limit_cannot_be_ignored(run_zoo: RunZoo) -> None:
    for rule in LIMITS:
        assert "`ignore` has no effect on it" in run_zoo("validate", "--explain", rule).out
    assert "to accept a suspect finding, add to the card" in run_zoo("validate", "--explain", "crop").out
