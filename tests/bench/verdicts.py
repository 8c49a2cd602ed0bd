"""How often verdicts on accuracies are wrong, and how soon they come: 10,000 simulated cards.

    python tests/bench/verdicts.py [--cards 10000]

False alarms: every claim is right, yet at the very end of its tolerance, where an alarm is likeliest. With early stop the
verdict is asked for after every single image of the split, which is more than an evaluation does. A level of 0.05 is tried
beside the real one of 0.001, since only that has enough alarms to be seen. Power: claims that are too high, and how many
images it takes to refute half of them: with early stop, and by a sample whose size was fixed before it was drawn (the
smallest that refutes half of them). numpy draws and counts; the verdicts are those of zoo.accuracy.intervals, which a thousand
random counts of the simulation are compared with.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[2]))

from zoo.accuracy.intervals import Answer, Claim, Interval, clopper_pearson, judge, prior_of

POPULATION = 50_000
TOLERANCE = 0.00055
"""ImageNet's validation split, claims with two decimals: half of 0.01 points, and 0.05 points."""
SAMPLE = 1_000
SAMPLES = 100
"""A whole order of a split is drawn once for a card, samples of fixed size, which cost less, a hundred times."""

Counts = NDArray[np.int64]
Numbers = NDArray[np.float64]


def main() -> None:
    """Print rates of false alarms and numbers of images."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cards", type=int, default=10_000)
    cards = parser.parse_args().cards
    begun = time.monotonic()
    print(f"{cards:,} cards whose claims are right, at the end of their tolerance; split of {POPULATION:,}")
    for level in (0.001, 0.05):
        early, fixed = false_alarms(cards, level, seed=1)
        samples = cards * SAMPLES
        print(f"  level {level}: called wrong with early stop {early} = {early / cards:.5f}, "
              f"by samples of {SAMPLE:,} images {fixed} of {samples:,} = {fixed / samples:.5f}")  # fmt: skip
    print("images until half of the claims that are too high are refuted: with early stop, and in a fixed sample")
    for level, name in ((0.001, "one claim"), (0.001 / 3600, "3,600 claims in one invocation")):
        for points in (20, 10, 5, 2, 1):
            median, sample = power(0.75, points, level)
            print(f"  {name}, {points} points too high: {median:,.0f}; {sample:,}")
    print(f"the vectorised verdicts agree with zoo.accuracy.intervals on {agreeing(1000):,} random counts")
    print(f"{time.monotonic() - begun:.0f} s")


def false_alarms(cards: int, level: float, *, seed: int) -> tuple[int, int]:
    """How many right claims are called wrong: with early stop, and by one fixed sample."""
    numbers = np.random.default_rng(seed)
    early = fixed = 0
    for _ in range(cards):
        right = int(numbers.integers(POPULATION // 2, int(0.97 * POPULATION)))
        edge = TOLERANCE if numbers.random() < 0.5 else -TOLERANCE
        claim = Claim(right / POPULATION + edge, TOLERANCE)
        counts = drawn(right, numbers)
        early += bool(refuted(claim, counts, level).any())
        samples = numbers.hypergeometric(right, POPULATION - right, SAMPLE, size=SAMPLES)
        fixed += sum(once(int(count), level).excludes(*claim.range) for count in samples)
    return early, fixed


@cache
def once(correct: int, level: float) -> Interval:
    """The exact interval after so many right of SAMPLE."""
    return clopper_pearson(correct, SAMPLE, level)


def power(truth: float, points: float, level: float, runs: int = 400) -> tuple[float, int]:
    """(median images with early stop, size of the smallest fixed sample that refutes half) for a claim that much too high."""
    numbers, claim = np.random.default_rng(2), Claim(truth + points / 100, TOLERANCE)
    firsts, paths = [], []
    for _ in range(runs):
        counts = drawn(round(truth * POPULATION), numbers)
        hits = np.flatnonzero(refuted(claim, counts, level))
        firsts.append(int(hits[0]) + 1 if len(hits) else POPULATION)
        paths.append(counts)
    least, most = 1, POPULATION
    while least < most:
        size = (least + most) // 2
        median = int(np.median([path[size - 1] for path in paths]))
        done = size == POPULATION or clopper_pearson(median, size, level).high < claim.range[0]
        least, most = (least, size) if done else (size + 1, most)
    return float(np.median(firsts)), least


def drawn(right: int, numbers: np.random.Generator) -> Counts:
    """The number of right images among the first 1, 2, ... of the split in a random order."""
    split = np.zeros(POPULATION, dtype=np.int64)
    split[:right] = 1
    numbers.shuffle(split)
    return np.cumsum(split)


LOG_FACTORIALS: Numbers = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, POPULATION + 2)))])


def log_choose(n: Counts, k: Counts) -> Numbers:
    """The log of the number of ways to choose k of n; minus infinity where there is none."""
    possible = (k >= 0) & (k <= n) & (n >= 0)
    n, k = np.where(possible, n, 0), np.where(possible, k, 0)
    log_ways: Numbers = LOG_FACTORIALS[n] - LOG_FACTORIALS[k] - LOG_FACTORIALS[n - k]
    return np.where(possible, log_ways, -np.inf)


def refuted(claim: Claim, correct: Counts, level: float) -> NDArray[np.bool_]:
    """Whether the claim is refuted after 1, 2, ... images but the last: its nearest end to what is most likely is."""
    images = np.arange(1, POPULATION)
    correct = correct[:-1]
    low = min(math.ceil(claim.range[0] * POPULATION), POPULATION)
    high = max(min(math.floor(claim.range[1] * POPULATION), POPULATION), low)
    likely = np.floor(correct * (POPULATION + 1) / images).astype(np.int64)
    nearest = np.clip(likely, low, high)
    log_likelihood = (
        log_choose(nearest, correct) + log_choose(POPULATION - nearest, images - correct)
        - log_choose(np.full_like(images, POPULATION), images)
    )  # fmt: skip
    is_refuted: NDArray[np.bool_] = (nearest != likely) & (
        log_likelihood < log_mixtures(claim, correct, images) + math.log(level)
    )
    return is_refuted


def log_mixtures(claim: Claim, correct: Counts, images: Counts) -> Numbers:
    """The log probability of the counts under the mixture around the claim, by adding up one image after the other.

    After s of n the next is right with probability (a + s) / (a + b + n): the Polya urn of the beta-binomial.
    """
    a, b = prior_of(claim)
    before, hits = np.arange(len(images)), np.diff(correct, prepend=0)
    right = (a + correct - hits) / (a + b + before)
    return np.cumsum(np.log(np.where(hits == 1, right, 1 - right))) + log_choose(images, correct)


def agreeing(tries: int) -> int:
    """How many random counts have the same verdict here and in zoo.accuracy.intervals; stops at the first that has not."""
    numbers = np.random.default_rng(3)
    for _ in range(tries):
        right = int(numbers.integers(1, POPULATION))
        value = right / POPULATION + float(numbers.normal()) / 20
        claim = Claim(min(max(value, TOLERANCE), 1 - TOLERANCE), TOLERANCE)
        counts = drawn(right, numbers)
        images = int(numbers.integers(10, 3000))
        there = judge(claim, int(counts[images - 1]), images, POPULATION, level=0.001, anytime=True)
        if bool(refuted(claim, counts, 0.001)[images - 1]) != (there.answer is Answer.REFUTED):
            raise SystemExit(f"they differ at {claim}, {counts[images - 1]} of {images}")
    return tries


if __name__ == "__main__":
    main()
