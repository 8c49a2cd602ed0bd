"""Judge claimed accuracies from counts, with exact intervals and with one that is valid after every image.

A split is a finite population of images. The model classifies some of them correctly. A sample is drawn from it without
replacement. All accuracies are fractions of 1. Results depend on counts only, so that they are the same wherever and in
whatever parts the images were counted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from math import exp, floor, lgamma, log, log1p

PRIOR_IMAGES = 30
"""The weight of the mixture around the claim: of 2, 10, 30 and 100, this refutes claims that are 2 to 10 points too high with
the fewest images (tests/bench/verdicts.py)."""
DESCRIPTION_LEVEL = 0.05
"""An accuracy is described by its 95 % interval."""
MIN_PRIOR = 0.5
"""The smallest parameter of the mixture, for claims near 0 or 100 %: the one of Jeffreys' prior."""
TINY = 1e-300
"""Replaces 0 in a denominator of the continued fraction (Lentz's method)."""
EPSILON = 1e-15
"""The precision at which the continued fraction stops, close to the spacing of doubles at 1, 2.2e-16."""
STEPS = 60
"""The number of bisections of [0, 1]: 2^-60 is below the spacing of doubles."""


@dataclass(frozen=True, slots=True)
class Interval:
    """The accuracies that the counts do not refute, from low to high, fractions of 1."""

    low: float
    high: float

    def excludes(self, low: float, high: float) -> bool:
        """Return whether it has nothing in common with the range from low to high."""
        return self.high < low or high < self.low

    def lies_in(self, low: float, high: float) -> bool:
        """Return whether all of it is between low and high."""
        return low <= self.low and self.high <= high


class Answer(Enum):
    """Whether counts refute a claim, prove it, or neither."""

    REFUTED = "refuted"
    PROVED = "proved"
    OPEN = "open"


@dataclass(frozen=True, slots=True)
class ClaimVerdict:
    """The answer, the interval that it is based on, and about how many more images an open one needs."""

    answer: Answer
    interval: Interval
    more: int = 0


@dataclass(frozen=True, slots=True)
class Claim:
    """A claimed accuracy and the allowed difference of a measurement, both fractions of 1."""

    value: float
    tolerance: float

    @property
    def range(self) -> tuple[float, float]:
        """The lowest and highest accuracy that agree with it, with 1e-9 of slack for decimal fractions that doubles cannot hold."""
        slack = self.tolerance * (1 + 1e-9)
        return self.value - slack, self.value + slack


def judge(claim: Claim, correct: int, images: int, population: int, *, level: float, anytime: bool) -> ClaimVerdict:
    """Judge a claim after `correct` of `images`, drawn without replacement from a split of `population`.

    A claim is refuted when no accuracy in the interval agrees with it, and proved when all do. The probability of refuting
    a right claim is at most `level`. anytime: this stays true when the interval is looked at, and the evaluation may stop,
    after any image. A whole split is never open.
    """

    def interval_after(correct: int, images: int) -> Interval:
        return interval_of(correct, images, population, level=level, prior=prior_of(claim) if anytime else None)

    def answer_after(total: int) -> Answer:
        return _answer(claim, interval_after(round(correct / images * total), total))

    interval = interval_after(correct, images)
    if _answer(claim, interval) is not Answer.OPEN:
        return ClaimVerdict(_answer(claim, interval), interval)
    decided = _first(lambda total: answer_after(total) is not Answer.OPEN, images + 1, population)
    return ClaimVerdict(Answer.OPEN, interval, decided - images)


def interval_of(
    correct: int, images: int, population: int, *, level: float, prior: tuple[float, float] | None = None
) -> Interval:
    """Return the interval of the split's accuracy, within the bounds that are certain whatever the other images give.

    With a prior it may be looked at after any image, without one only once.
    """
    certain = Interval(correct / population, (correct + population - images) / population)
    if images >= population:
        return certain
    if prior is None:
        interval = clopper_pearson(correct, images, level)
    else:
        interval = confidence_sequence(correct, images, population, level, prior)
    return Interval(max(interval.low, certain.low), min(interval.high, certain.high))


def prior_of(claim: Claim) -> tuple[float, float]:
    """Return the mixture's beta parameters, which have the claim's mean and the weight of PRIOR_IMAGES images."""
    right = min(max(claim.value, 0.0), 1.0) * PRIOR_IMAGES
    return max(right, MIN_PRIOR), max(PRIOR_IMAGES - right, MIN_PRIOR)


def confidence_interval(correct: int, images: int) -> Interval:
    """Return the 95 % interval that describes an accuracy, for other images like these, fractions of 1."""
    return clopper_pearson(correct, images, DESCRIPTION_LEVEL)


def clopper_pearson(correct: int, images: int, level: float) -> Interval:
    """Return the exact interval of a fraction after `correct` of `images`, at confidence 1 - level, half of it on each side.

    Drawing without replacement only reduces the variance (Hoeffding 1963, J. Am. Stat. Assoc. 58, section 6).
    Source: Clopper and Pearson 1934, Biometrika 26; in the beta distribution's quantiles, Brown, Cai and DasGupta 2001,
    Statistical Science 16, section 4.2.1.
    """
    low = _root(lambda p: regularised_beta(p, correct, images - correct + 1) - level / 2) if correct else 0.0
    high = 1.0
    if correct < images:
        high = _root(lambda p: regularised_beta(p, correct + 1, images - correct) - (1 - level / 2))
    return Interval(low, high)


def confidence_sequence(
    correct: int, images: int, population: int, level: float, prior: tuple[float, float]
) -> Interval:
    """Return the interval of the fractions that are not refuted after `correct` of `images`, valid after every image.

    A number M of right images in the split is refuted as soon as the probability of the counts under M is less than `level`
    times their probability under a mixture of all M (beta-binomial, with the parameters `prior`). The ratio of the
    mixture's probability to M's is a martingale for the true M, so that it ever exceeds 1/level with probability at most
    `level` (Ville's inequality). This
    holds for any prior that is fixed before the first image; a good one refutes sooner.
    Source: Waudby-Smith and Ramdas, "Confidence sequences for sampling without replacement", NeurIPS 2020, section 2
    (arXiv:2006.04347): the prior-posterior-ratio martingale.
    """
    enough = log_mixture(correct, images, prior) + log(level)
    most_likely = floor(correct * (population + 1) / images) if images else 0
    most_likely = min(max(most_likely, correct), correct + population - images)

    def refuted(right: int) -> bool:
        return log_hypergeometric(correct, images, right, population) < enough

    low = _first(lambda right: not refuted(right), correct, most_likely)
    high = _first(refuted, most_likely, correct + population - images + 1) - 1
    return Interval(low / population, high / population)


def log_mixture(correct: int, images: int, prior: tuple[float, float]) -> float:
    """Return the log probability of the counts under the mixture, beta-binomial with the parameters `prior`."""
    a, b = prior
    return log_choose(images, correct) + _log_beta(a + correct, b + images - correct) - _log_beta(a, b)


def log_hypergeometric(correct: int, images: int, right: int, population: int) -> float:
    """Return the log probability of `correct` right images among `images` drawn from a split that has `right`."""
    return (
        log_choose(right, correct) + log_choose(population - right, images - correct) - log_choose(population, images)
    )


def log_choose(n: int, k: int) -> float:
    """Return the log of the number of ways to choose k of n, minus infinity when there is none."""
    if not 0 <= k <= n:
        return float("-inf")
    return lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1)


def regularised_beta(x: float, a: float, b: float) -> float:
    """Return the regularised incomplete beta function I_x(a, b), the probability below x of a beta distribution.

    Source: DLMF 8.17.22, the continued fraction, evaluated by Lentz's method (Thompson and Barnett 1986, J. Comput.
    Phys. 64), and DLMF 8.17.4 for x above the mean, for which the fraction converges slowly.
    """
    if x <= 0 or x >= 1:
        return 0.0 if x <= 0 else 1.0
    if x > (a + 1) / (a + b + 2):
        return 1.0 - regularised_beta(1 - x, b, a)
    front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log1p(-x)) / a
    return front / _continued_fraction(x, a, b)


def _continued_fraction(x: float, a: float, b: float) -> float:
    fraction, c, d = 1.0, 1.0, 0.0
    for step in range(1, 10_000):
        m = step // 2
        if step % 2:
            term = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            term = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        d = 1.0 / (1.0 + term * d or TINY)
        c = 1.0 + term / c or TINY
        fraction *= c * d
        if abs(c * d - 1) < EPSILON:
            break
    return fraction


def _log_beta(a: float, b: float) -> float:
    return lgamma(a) + lgamma(b) - lgamma(a + b)


def _answer(claim: Claim, interval: Interval) -> Answer:
    if interval.excludes(*claim.range):
        return Answer.REFUTED
    return Answer.PROVED if interval.lies_in(*claim.range) else Answer.OPEN


def _first(holds: Callable[[int], bool], low: int, high: int) -> int:
    """Return the first number from low to high for which `holds` is true, else high; it must be true for all after the first."""
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle + 1, high)
    return low


def _root(rising: Callable[[float], float]) -> float:
    low, high = 0.0, 1.0
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if rising(middle) > 0 else (middle, high)
    return (low + high) / 2
