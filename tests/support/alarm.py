"""The alarm on LLM quality in numpy: what sql/readers/application_alarms.sql computes, for many series at a time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

SPAN = 3  # days that are looked at together, the newest among them
BEFORE = 84  # days that they are compared with
DAYS = BEFORE + SPAN
LEAST_DAYS = 7
LEAST_N = 20
LEVEL = 0.016  # of false discoveries within an application
LEVEL_OF_CUSTOMER = 0.1
DAYS_VARY = 1.15  # an application's mean dispersion above which its days vary
MORE = 1.1  # so much further off bad days are taken to be then
SHARE_OF_DAY = 0.9  # of the level; the rest is that of the three days
Z95 = 1.959963984540054

_erfc = np.vectorize(math.erfc, otypes=[float])


@dataclass(frozen=True)
class Cells:
    """Sums by series, day (`DAYS` of them, the newest last) and hour: of weights, and of weighted powers of scores."""

    weight: Floats
    squares: Floats  # of the weights
    first: Floats
    second: Floats
    third: Floats

    @classmethod
    def of_counts(cls, values: Floats, counts: NDArray[np.int64] | Floats) -> Cells:
        """Those of unweighted scores: `counts` has how often each of `values` occurs, in its last dimension."""
        n = counts.sum(-1).astype(float)
        return cls(n, n, *((counts * values**power).sum(-1) for power in (1, 2, 3)))


def divide(above: Any, below: Any) -> Floats:
    """The quotient, 0 where there is nothing below."""
    above, below = np.broadcast_arrays(np.asarray(above, float), np.asarray(below, float))
    out = np.zeros(above.shape)
    np.divide(above, below, out=out, where=below > 0)
    return out


def compare(cells: Cells, worse: Any, is_rate: Any, span: int, of_application: Any = 0) -> dict[str, Floats]:
    """The newest `span` days of each series against the same hours of the days before.

    `worse` is 1 where a higher score is worse, else -1; `of_application` is the mean of `dispersions` over the metrics
    of each series' application. All may be arrays, one value for each series.
    """
    worse, is_rate = np.asarray(worse, float), np.asarray(is_rate, bool)
    n = divide(cells.weight**2, cells.squares)  # the unweighted scores that would tell as much
    sums = [divide(n, cells.weight) * one for one in (cells.first, cells.second, cells.third)]
    now, before = slice(DAYS - span, DAYS), slice(0, BEFORE)

    # By hour: what is compared, and how scores spread if nothing changed.
    n0, nb = n[:, now].sum(1), n[:, before].sum(1)
    both = (n0 > 0) & (nb > 0)
    (a0, b0, _), (ab, bb, _) = ([one[:, of].sum(1) for one in sums] for of in (now, before))
    mean0, mean_before, all_n = divide(a0, n0), divide(ab, nb), n0 + nb
    mean, second, third = (divide(one[:, now].sum(1) + one[:, before].sum(1), all_n) for one in sums)
    variance = np.maximum(second - mean**2, 0) * divide(all_n, all_n - 1)
    skew = third - 3 * mean * second + 2 * mean**3
    weight = np.where(both, divide(n0 * nb, all_n), 0)
    total = weight.sum(1)
    share = divide(weight, total[:, None])
    effect = (share * (mean0 - mean_before)).sum(1)
    sampling = (share**2 * variance * (divide(1, n0) + divide(1, nb))).sum(1)
    sampling_now = (share**2 * variance * divide(1, n0)).sum(1)
    third_moment = (share**3 * skew * (divide(1, n0**2) - divide(1, nb**2))).sum(1)
    usual_variance = (share * variance).sum(1)
    figure = (share * mean0).sum(1)
    usual = (share * mean_before).sum(1)
    own_n = np.maximum(n0 - 1, 0) * both
    own = divide((np.maximum(b0 - n0 * mean0**2, 0) * both).sum(1), own_n.sum(1))
    own_of_before = divide(np.maximum(bb - nb * mean_before**2, 0), nb)
    welch = np.where(own_n.sum(1) > 0, own, usual_variance) * (share**2 * divide(1, n0)).sum(1)
    welch_before = (share**2 * own_of_before * divide(1, nb)).sum(1)

    # By day: how far the days before are from each other.
    of_days = n * both[:, None, :]
    day_n = of_days[:, before].sum(2)
    far = divide(((sums[0] - n * mean_before[:, None, :]) * both[:, None, :])[:, before].sum(2), day_n)
    day_variance = divide((of_days * variance[:, None, :])[:, before].sum(2), day_n**2)
    precision = divide(1, day_variance)
    days = (day_n > 0).sum(1)
    squared = far**2 * precision
    dispersion = divide(squared.sum(1), days - 1)
    is_bad = (far * worse[..., None] > 0) & (precision > 0)
    of_bad = divide((squared * is_bad).sum(1), is_bad.sum(1))
    vary = np.asarray(of_application) > DAYS_VARY
    spread = np.where((dispersion > 1.8) | vary, np.maximum(dispersion, of_bad), dispersion)
    ratio = np.maximum(np.where(vary, MORE * spread, spread), 0.7)
    usual_day = divide(days - 1, precision.sum(1) - divide((precision**2).sum(1), precision.sum(1)))
    between = np.maximum(ratio - 1, 0) * usual_day
    now_n = of_days[:, now].sum(2)
    in_now = divide((now_n**2).sum(1), now_n.sum(1) ** 2)
    in_before = divide((day_n**2).sum(1), day_n.sum(1) ** 2)
    error = np.minimum(ratio, 1) * sampling + between * (in_now + in_before)

    # The tail: of scores as they spread, of days as if a bad day were a multiple of a usual one.
    badness = divide((ab * both).sum(1), (nb * both).sum(1))
    cv = divide(np.sqrt(between), np.where(worse > 0, badness, 1 - badness))
    of_span = divide((now_n**3).sum(1), now_n.sum(1) ** 3)
    safe = np.maximum(error, sampling) ** 1.5
    gamma = divide(worse * third_moment, safe) + divide((3 * cv + cv**3) * between**1.5 * of_span, error**1.5)
    gamma = np.clip(gamma, 0, 3)
    t = divide(worse * effect, np.sqrt(error))
    flat = gamma < 1e-4
    bent = np.where(flat, 1, gamma)
    t = np.where(flat, t, 6 / bent * (np.cbrt(np.maximum(1 + bent * t / 2, 0)) - 1 + bent**2 / 36))
    df = np.maximum(days - 1, 1).astype(float)
    z = np.sign(t) * (8 * df + 1) / (8 * df + 3) * np.sqrt(df * np.log1p(t**2 / df))
    hits = (a0 * both).sum(1)
    compared_n, compared_before = (n0 * both).sum(1), (nb * both).sum(1)
    all_now = np.exp(hits * np.log(np.maximum(divide(compared_n, compared_n + compared_before), 1e-300)))
    p = np.where(error > 0, 0.5 * _erfc(z / math.sqrt(2)), 1)
    p = np.where(worse > 0, np.maximum(p, all_now), p)

    # The interval, and how many scores would tell as much.
    days_now, days_before = between * in_now, between * in_before
    effective = np.where(usual_variance > 0, divide(usual_variance, sampling_now + days_now), compared_n)
    effective_before = np.where(
        usual_variance > 0, divide(usual_variance, sampling - sampling_now + days_before), compared_before
    )
    scale = Z95 * (8 * df + 3) / (8 * df + 1)
    t95 = np.sqrt(df * np.expm1(scale**2 / df))
    half = t95 * np.sqrt(welch + welch_before + days_now + days_before)
    z_found = 2.7611 if span == 1 else 3.4141  # of .016 / 5 in shares of 90 and 10 %
    t_found = np.sqrt(df * np.expm1((z_found * (8 * df + 3) / (8 * df + 1)) ** 2 / df))
    visible = (t_found + 0.8416) * np.sqrt(error)
    low0, high0 = wilson(figure, effective)
    low1, high1 = wilson(usual, effective_before)
    low = np.where(is_rate, effect - np.hypot(figure - low0, high1 - usual), effect - half)
    high = np.where(is_rate, effect + np.hypot(high0 - figure, usual - low1), effect + half)
    return {
        "p": p, "effect": effect, "figure": figure, "usual": usual, "low": low, "high": high,
        "effective_n": effective, "days_before": days.astype(float), "hours": both.sum(1).astype(float),
        "dispersion": dispersion, "visible": visible,
    }  # fmt: skip


def wilson(share: Floats, n: Floats) -> tuple[Floats, Floats]:
    """The ends of Wilson's 95 % interval of a share of `n`."""
    n = np.maximum(n, 1e-9)
    centre = share * n + Z95**2 / 2
    half = Z95 * np.sqrt(np.maximum(share * (1 - share), 0) * n + Z95**2 / 4)
    return np.maximum((centre - half) / (n + Z95**2), 0), np.minimum((centre + half) / (n + Z95**2), 1)


def together(of_day: Floats, of_three: Floats) -> Floats:
    """One p of a series from those of its two spans: the level is shared between them."""
    return np.minimum(np.minimum(of_day / SHARE_OF_DAY, of_three / (1 - SHARE_OF_DAY)), 1)


def benjamini_hochberg(p: Floats) -> Floats:
    """The false discovery rates at which each p of the last dimension is found."""
    count = p.shape[-1]
    order = np.argsort(p, -1, kind="stable")
    q = np.take_along_axis(p, order, -1) * count / np.arange(1, count + 1)
    q = np.minimum.accumulate(q[..., ::-1], -1)[..., ::-1]
    found = np.empty_like(p)
    np.put_along_axis(found, order, q, -1)
    return found
