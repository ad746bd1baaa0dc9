"""Simulated scores of LLM applications over 87 days: ones in which nothing changes, and ones that get worse at the end.

An application has five metrics: three means of five grades, .865 in the middle, and two shares of 5 and 2 %, all
independent, which gives the most false alarms. A world is made of one seed, and has many applications.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tests.support import alarm
from tests.support.alarm import DAYS, Cells

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from tests.support.alarm import Floats

    Ints = NDArray[np.int64]

HOURS = 24
GRADES = np.arange(5) / 4
GOOD = np.array([0.01, 0.02, 0.07, 0.3, 0.6])  # the shares of the grades
RATES = (0.05, 0.02)
HIT = np.array([0.0, 1.0])
Z95 = alarm.Z95


@dataclass(frozen=True)
class Metric:
    """The cells of one metric of many applications, after repeated texts were counted once, and before that."""

    cells: Cells
    every: Cells  # each answer by itself
    is_rate: bool

    @property
    def worse(self) -> int:
        return 1 if self.is_rate else -1


def moved(fraction: Floats) -> Floats:
    """The shares of the grades where so much of each grade went one down, or, where it is negative, one up."""
    down, up = (np.clip(sign * fraction, 0, 1)[..., None] for sign in (1, -1))
    shares = GOOD * (1 - down)
    shares[..., :-1] += GOOD[1:] * down
    shares[..., :1] += GOOD[:1] * down
    found = shares * (1 - up)
    found[..., 1:] += shares[..., :-1] * up
    found[..., 4:] += shares[..., 4:] * up
    return found


def down_to(mean: float) -> float:
    """The fraction of answers that are a grade worse where the mean is this one."""
    return float((GOOD @ GRADES - mean) / (0.25 * (1 - GOOD[0])))


def odds(rate: float | Floats, more: Floats) -> Floats:
    """The rate whose log odds are so much higher."""
    return 1 / (1 + (1 / np.asarray(rate) - 1) * np.exp(-more))


def of_counts(counts: Ints, values: Floats, *, is_rate: bool) -> Metric:
    cells = Cells.of_counts(values, counts)
    return Metric(cells, cells, is_rate)


def world(
    rng: np.random.Generator,
    applications: int,
    a_day: int,
    *,
    between_days: float = 0,
    night: float = 0,
    busy_by_day: bool = False,
    mean_to: float = 0,
    rate_to: float = 0,
    changed: int = 1,
) -> list[Metric]:
    """The five metrics. `mean_to` and `rate_to` are what the first mean and rate are on the last `changed` days.

    `between_days`: the standard deviation of days' log odds of a hit, and in fifths of it the fraction that moves a
    grade: down goes further than up, so bad days are further off than good ones. `night`: by how much more is bad from
    0 to 8 o'clock. `busy_by_day`: three of four answers are from 8 to 20 o'clock.
    """
    share = np.ones(HOURS)
    if busy_by_day:
        share[8:20] = 3
    per_hour = rng.poisson(a_day * share / share.sum(), (applications, DAYS, HOURS))
    at_night = night * (np.arange(HOURS) < 8)
    metrics = []
    for number in range(3):
        effect = between_days / 5 * rng.standard_normal((applications, DAYS))
        if mean_to and number == 0:
            effect[:, DAYS - changed :] += down_to(mean_to)
        shares = moved(effect[:, :, None] + at_night / 5)
        metrics.append(of_counts(rng.multinomial(per_hour, shares), GRADES, is_rate=False))
    for number, rate in enumerate(RATES):
        effect = between_days * rng.standard_normal((applications, DAYS))
        chance = np.broadcast_to(odds(rate, effect[:, :, None] + at_night), per_hour.shape).copy()
        if rate_to and number == 0:
            chance[:, DAYS - changed :] = rate_to
        hits = rng.binomial(per_hour, chance)
        metrics.append(of_counts(np.stack([per_hour - hits, hits], -1), HIT, is_rate=True))
    return metrics


def repeated(rng: np.random.Generator, applications: int, a_day: int, *, texts: int = 400) -> list[Metric]:
    """Answers of which many are the same: of `texts`, a few are asked far oftener, and others are so on each day."""
    likely = 1 / np.arange(1, texts + 1)
    likely /= likely.sum()
    shape = (applications, DAYS, texts)
    metrics = []
    times = rng.multinomial(a_day, likely, (applications, DAYS))
    first = rng.integers(0, HOURS, shape)
    for number in range(5):
        is_rate = number > 2
        values = HIT if is_rate else GRADES
        share = np.array([1 - RATES[number - 3], RATES[number - 3]]) if is_rate else GOOD
        scores = rng.choice(values, shape, p=share)  # of the day's texts: each day has others
        cells, every = (
            Cells(*(by_hour(first, weights * scores**power) for weights, power in of_sums))
            for of_sums in (
                [((times > 0).astype(float), power) for power in (0, 0, 1, 2, 3)],
                [(times.astype(float), power) for power in (0, 0, 1, 2, 3)],
            )
        )
        metrics.append(Metric(cells, every, is_rate))
    return metrics


def by_hour(hours: Ints, values: Floats) -> Floats:
    """The sums of the last dimension, by hour."""
    return np.stack([np.where(hours == hour, values, 0).sum(-1) for hour in range(HOURS)], -1)


# --- Rules -----------------------------------------------------------------------------------------------------------


def verdicts(metrics: list[Metric]) -> Floats:
    """Whether each metric of each application has an alarm: each application is a customer of its own."""
    vary = np.mean([alarm.compare(m.cells, m.worse, m.is_rate, 1)["dispersion"] for m in metrics], 0)
    p = np.stack(
        [
            alarm.together(*(alarm.compare(m.cells, m.worse, m.is_rate, span, vary)["p"] for span in (1, alarm.SPAN)))
            for m in metrics
        ],
        -1,
    )
    return np.asarray(alarm.benjamini_hochberg(p) <= alarm.LEVEL)


def week(metrics: list[Metric]) -> Mapping[str, Floats]:
    """What two other rules say, of the day against the seven before it: Wilson's intervals apart, and a plain test.

    The intervals are those that worse_than_last_week compared; the test is Welch's, at 1 % one-sided.
    """
    apart, plain = [], []
    for m in metrics:
        (n0, a0, b0), (n1, a1, b1) = (
            [one[:, of].sum((1, 2)) for one in (m.every.weight, m.every.first, m.every.second)]
            for of in (slice(DAYS - 1, DAYS), slice(DAYS - 8, DAYS - 1))
        )
        now, before = a0 / n0, a1 / n1
        (low0, high0), (low1, high1) = alarm.wilson(now, n0), alarm.wilson(before, n1)
        apart.append(low0 > high1 if m.is_rate else high0 < low1)
        error = np.sqrt((b0 / n0 - now**2) / (n0 - 1) + (b1 / n1 - before**2) / (n1 - 1))
        plain.append(alarm.divide(m.worse * (now - before), error) > 2.326)
    return {"week": np.stack(apart, -1), "welch": np.stack(plain, -1)}
