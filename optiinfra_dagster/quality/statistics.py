"""The few statistics that judged samples need: intervals, agreement with people, and how often a judge is right.

Plain Python: the inputs are at most some thousand labels. What is not defined (no data, no variation) is None, never 0.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from statistics import correlation
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

Z95 = 1.959963984540054  # the normal distribution's 97.5 % quantile; also in sql/schema/029_weighted_quality.sql


@dataclass(frozen=True, slots=True)
class Interval:
    """The 95 % confidence interval of a share or mean; both ends are from 0 to 1."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Share:
    """A share: `hits` of `of`."""

    hits: int
    of: int

    @property
    def value(self) -> float | None:
        """The share itself, None of nothing."""
        return self.hits / self.of if self.of else None

    @property
    def interval(self) -> Interval | None:
        """Its Wilson interval, None of nothing."""
        return wilson(self.hits / self.of, self.of) if self.of else None


def wilson(mean: float, n: float) -> Interval | None:
    """The 95 % Wilson score interval of a share `mean` of `n` trials, or of the mean of `n` values from 0 to 1.

    For means it errs on the wide side: no variable in [0, 1] varies more than the yes-or-no variable with its mean. The
    n of trials that count differently is their effective one, which need not be whole.
    """
    if n <= 0:
        return None
    centre = mean * n + Z95**2 / 2
    half = Z95 * math.sqrt(mean * (1 - mean) * n + Z95**2 / 4)
    return Interval(max(0.0, (centre - half) / (n + Z95**2)), min(1.0, (centre + half) / (n + Z95**2)))


def weighted_kappa(first: Sequence[int], second: Sequence[int]) -> float | None:
    """Cohen's kappa of two raters' ordered categories, with quadratic weights: 1 is agreement, 0 what chance gives.

    None without ratings, and where both raters gave one and the same category throughout.
    """
    n = len(first)
    observed = sum((a - b) ** 2 for a, b in zip(first, second, strict=True))
    by_chance = sum(
        (a - b) ** 2 * count_a * count_b
        for a, count_a in Counter(first).items()
        for b, count_b in Counter(second).items()
    )
    return 1 - observed * n / by_chance if by_chance else None


def spearman(first: Sequence[float], second: Sequence[float]) -> float | None:
    """The rank correlation, with mean ranks for ties; None below two pairs, and where one side does not vary."""
    if len(set(first)) < 2 or len(set(second)) < 2:
        return None
    return correlation(_ranks(first), _ranks(second))


def _ranks(values: Sequence[float]) -> list[float]:
    """Each value's rank from 1; equal values share the mean of their ranks."""
    of_value: dict[float, float] = {}
    below = 0
    for value, count in sorted(Counter(values).items()):
        of_value[value] = below + (count + 1) / 2
        below += count
    return [of_value[value] for value in values]


def sensitivity(truth: Sequence[bool], reported: Sequence[bool]) -> Share:
    """The share of what is there that was found."""
    return Share(sum(f for t, f in zip(truth, reported, strict=True) if t), sum(truth))


def specificity(truth: Sequence[bool], reported: Sequence[bool]) -> Share:
    """The share of what is not there that was left alone."""
    return Share(sum(not f for t, f in zip(truth, reported, strict=True) if not t), sum(not t for t in truth))
