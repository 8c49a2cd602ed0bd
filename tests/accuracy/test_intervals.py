from __future__ import annotations

import math
import random
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoo.accuracy.intervals import (
    Answer,
    Claim,
    Interval,
    clopper_pearson,
    confidence_sequence,
    interval_of,
    judge,
    log_hypergeometric,
    log_mixture,
    prior_of,
    regularised_beta,
)


@pytest.mark.parametrize(("correct", "images", "low", "high"), [
    # 95 % exact limits as tables of the binomial distribution give them: the rule of three's exact form, and the
    # worked example of Newcombe 1998, Statistics in Medicine 17, table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29.
    (0, 10, 0.0, 1 - 0.025 ** 0.1), (10, 10, 0.025 ** 0.1, 1.0),
    (81, 263, 0.2527, 0.3676), (15, 148, 0.0578, 0.1617), (0, 20, 0.0, 0.1684), (1, 29, 0.0009, 0.1776),
])  # fmt: skip
def test_exact_limits_are_those_of_the_tables(correct: int, images: int, low: float, high: float) -> None:
    interval = clopper_pearson(correct, images, 0.05)
    assert (interval.low, interval.high) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


def binomial_tail(least: int, images: int, p: float) -> float:
    """The probability of at least so many right: summed term by term, in exact integers' binomials."""
    return sum(math.comb(images, k) * p**k * (1 - p) ** (images - k) for k in range(least, images + 1))


@given(st.integers(1, 60).flatmap(lambda n: st.tuples(st.integers(0, n - 1), st.just(n))), st.floats(0.01, 0.99))
def test_the_incomplete_beta_function_is_the_binomials_tail(counts: tuple[int, int], p: float) -> None:
    correct, images = counts
    expected = binomial_tail(correct + 1, images, p)
    assert regularised_beta(p, correct + 1, images - correct) == pytest.approx(expected, abs=1e-12)


@given(st.integers(1, 3000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.sampled_from([0.05, 1e-6]))
def test_each_exact_limit_leaves_half_the_level_outside(counts: tuple[int, int], level: float) -> None:
    correct, images = counts
    interval = clopper_pearson(correct, images, level)
    assert interval.low <= correct / images <= interval.high
    if correct:
        assert regularised_beta(interval.low, correct, images - correct + 1) == pytest.approx(level / 2, rel=1e-6)
    if correct < images:
        above = regularised_beta(1 - interval.high, images - correct, correct + 1)
        assert above == pytest.approx(level / 2, rel=1e-6)


def test_the_probabilities_behind_the_sequence_add_up_to_one() -> None:
    images, right, population = 7, 12, 30
    assert sum(math.exp(log_hypergeometric(k, images, right, population)) for k in range(8)) == pytest.approx(1)
    assert sum(math.exp(log_mixture(k, images, (3.0, 2.0))) for k in range(8)) == pytest.approx(1)


def all_orders(right: int, population: int) -> Iterator[tuple[float, list[int]]]:
    """Each number of right images among the first 1, 2, ... of a split in a random order, with its probability."""

    def walk(correct: int, images: int, weight: float, path: list[int]) -> Iterator[tuple[float, list[int]]]:
        if images == population:
            yield weight, path
            return
        hit = (right - correct) / (population - images)
        for more, share in ((1, hit), (0, 1 - hit)):
            if share:
                yield from walk(correct + more, images + 1, weight * share, [*path, correct + more])

    return walk(0, 0, 1.0, [])


@pytest.mark.parametrize("level", [0.05, 0.2, 0.5])
@pytest.mark.parametrize("right", range(13))
def test_over_all_orders_of_a_small_split_the_truth_is_refuted_at_most_with_the_level(right: int, level: float) -> None:
    population = 12
    missed = sum(
        weight
        for weight, path in all_orders(right, population)
        if any(
            not interval.low - 1e-12 <= right / population <= interval.high + 1e-12
            for images, correct in enumerate(path, start=1)
            for interval in [confidence_sequence(correct, images, population, level, (6.0, 4.0))]
        )
    )
    assert missed <= level + 1e-12


def test_a_sequence_is_wider_than_an_interval_looked_at_once() -> None:
    once, ever = clopper_pearson(400, 500, 0.001), confidence_sequence(400, 500, 50_000, 0.001, (24.0, 6.0))
    assert ever.low < once.low and once.high < ever.high


def test_images_that_were_not_drawn_bound_the_answer_for_certain() -> None:
    assert interval_of(840, 990, 1000, level=0.001) == Interval(0.84, 0.85)
    assert interval_of(840, 1000, 1000, level=0.001) == Interval(0.84, 0.84)


TEN_POINTS_HIGH = Claim(0.85, 0.00055)


def test_a_claim_is_refuted_when_nothing_in_the_interval_agrees_with_it() -> None:
    assert judge(TEN_POINTS_HIGH, 750, 1000, 50_000, level=0.001, anytime=False).answer is Answer.REFUTED
    assert judge(TEN_POINTS_HIGH, 750, 1000, 50_000, level=0.001, anytime=True).answer is Answer.REFUTED


def test_a_claim_is_proved_only_when_the_whole_interval_agrees_with_it() -> None:
    claim = Claim(0.85, 0.1)
    assert judge(claim, 8500, 10_000, 50_000, level=0.001, anytime=False).answer is Answer.PROVED
    assert judge(claim, 85, 100, 50_000, level=0.001, anytime=False).answer is Answer.OPEN


def test_a_whole_split_decides_by_the_tolerance_alone() -> None:
    assert judge(Claim(0.8453, 0.00055), 42_237, 50_000, 50_000, level=0.001, anytime=True).answer is Answer.REFUTED
    assert judge(Claim(0.8453, 0.00055), 42_238, 50_000, 50_000, level=0.001, anytime=True).answer is Answer.PROVED


def test_a_boundary_that_doubles_cannot_hold_agrees() -> None:
    assert judge(Claim(0.8453, 0.0005), 8458, 10_000, 10_000, level=0.001, anytime=False).answer is Answer.PROVED


@pytest.mark.parametrize("anytime", [True, False])
def test_an_open_verdict_has_the_number_of_images_that_would_decide(anytime: bool) -> None:
    claim = Claim(0.85, 0.00055)
    open_ = judge(claim, 160, 200, 50_000, level=0.001, anytime=anytime)
    total = 200 + open_.more
    assert open_.answer is Answer.OPEN
    assert judge(claim, round(0.8 * total), total, 50_000, level=0.001, anytime=anytime).answer is Answer.REFUTED
    fewer = total - 100
    assert judge(claim, round(0.8 * fewer), fewer, 50_000, level=0.001, anytime=anytime).answer is Answer.OPEN


def test_a_claim_that_the_sample_agrees_with_needs_nearly_the_whole_split() -> None:
    assert judge(Claim(0.85, 0.00055), 850, 1000, 50_000, level=0.001, anytime=False).more > 45_000


@pytest.mark.parametrize("value", [0.0, 1.0, -0.1, 1.2])
def test_claims_at_and_beyond_the_ends_have_a_prior_too(value: float) -> None:
    assert min(prior_of(Claim(value, 0.0005))) == 0.5
    assert judge(Claim(value, 0.0005), 500, 1000, 50_000, level=0.001, anytime=True).answer is Answer.REFUTED


@pytest.mark.parametrize("anytime", [True, False])
def test_right_claims_are_refuted_at_most_with_the_level(anytime: bool) -> None:
    """400 splits of 1,000 whose claim is right but at the very end of its tolerance; level 5 %, looked at 20 times."""
    numbers, level, wrong = random.Random(6), 0.05, 0
    for _ in range(400):
        right = numbers.randrange(500, 960)
        split = [1] * right + [0] * (1000 - right)
        numbers.shuffle(split)
        claim = Claim(right / 1000 + 0.00055, 0.00055)
        looks = range(50, 1000, 50) if anytime else [300]
        prior = prior_of(claim) if anytime else None
        intervals = (interval_of(sum(split[:n]), n, 1000, level=level, prior=prior) for n in looks)
        wrong += any(interval.excludes(*claim.range) for interval in intervals)
    assert wrong <= 400 * level
