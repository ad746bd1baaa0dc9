"""Intervals, agreement and corrected rates: known values, and what brute force finds."""

from __future__ import annotations

import math
from itertools import permutations, product
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optiinfra_dagster.quality.statistics import Share, sensitivity, spearman, specificity, weighted_kappa, wilson

if TYPE_CHECKING:
    from collections.abc import Sequence

shares = st.tuples(st.integers(0, 60), st.integers(1, 60)).filter(lambda pair: pair[0] <= pair[1])
ratings = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=12)


@pytest.mark.parametrize(
    ("mean", "n", "low", "high"),
    [
        (0.0, 5, 0.0, 0.4344825),  # no hit in five still allows 43 %
        (1.0, 1, 0.2065493, 1.0),
        (0.5, 10, 0.2365931, 0.7634069),
        (81 / 263, 263, 0.2552675, 0.3661872),  # Newcombe 1998, table I: 0.2553 to 0.3662
    ],
)
def test_wilson_intervals_are_the_known_ones(mean: float, n: int, low: float, high: float) -> None:
    found = wilson(mean, n)
    assert found is not None
    assert found.low == pytest.approx(low, abs=1e-4)
    assert found.high == pytest.approx(high, abs=1e-4)


@given(shares)
def test_a_wilson_intervals_ends_are_as_far_off_as_chance_allows(share: tuple[int, int]) -> None:
    hits, n = share
    found = wilson(hits / n, n)
    assert found is not None
    assert 0 <= found.low <= hits / n + 1e-12
    assert hits / n - 1e-12 <= found.high <= 1
    for end in (found.low, found.high):
        error = 1.959963984540054 * math.sqrt(end * (1 - end) / n)
        assert abs(hits / n - end) == pytest.approx(error, abs=1e-7)


def test_the_interval_of_a_mean_is_at_least_as_wide_as_its_own_variance_asks() -> None:
    values = [0.25, 0.5, 0.5, 0.75, 0.5, 0.5]
    found = wilson(sum(values) / 6, 6)
    assert found is not None
    assert found.high - 0.5 > 1.96 * float(np.std(values)) / math.sqrt(6)


def test_nothing_has_no_interval() -> None:
    assert wilson(0.0, 0) is None
    assert (Share(0, 0).value, Share(0, 0).interval) == (None, None)


def test_kappa_by_hand() -> None:
    # Squared differences: 6 in 6 pairs; every rating of one against every one of the other, 120 in 36.
    assert weighted_kappa([1, 2, 3, 4, 5, 3], [1, 3, 3, 4, 4, 1]) == pytest.approx(1 - (6 / 6) / (120 / 36))


@given(ratings)
def test_kappa_is_one_minus_the_disagreement_over_that_of_every_other_pairing(pairs: list[tuple[int, int]]) -> None:
    first, second = [a for a, _ in pairs], [b for _, b in pairs]
    observed = np.mean([(a - b) ** 2 for a, b in pairs])
    by_chance = np.mean([(a - b) ** 2 for a, b in product(first, second)])
    found = weighted_kappa(first, second)
    if by_chance == 0:
        assert found is None
    else:
        assert found == pytest.approx(1 - observed / by_chance)
        assert weighted_kappa(second, first) == pytest.approx(found)


def test_kappa_of_agreement_contradiction_and_nothing() -> None:
    assert weighted_kappa([1, 3, 5], [1, 3, 5]) == 1
    assert weighted_kappa([1, 1, 5, 5], [5, 5, 1, 1]) == -1
    assert weighted_kappa([1, 1, 5, 5], [1, 5, 1, 5]) == 0
    assert weighted_kappa([], []) is None
    assert weighted_kappa([3, 3], [3, 3]) is None


def brute_ranks(values: Sequence[float]) -> list[float]:
    """The mean place of each value over every order that sorts the values."""
    orders = [order for order in permutations(range(len(values))) if [values[i] for i in order] == sorted(values)]
    return [sum(order.index(i) + 1 for order in orders) / len(orders) for i in range(len(values))]


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4)), min_size=2, max_size=6))
def test_spearman_is_the_correlation_of_mean_ranks(pairs: list[tuple[int, int]]) -> None:
    first, second = [float(a) for a, _ in pairs], [float(b) for _, b in pairs]
    found = spearman(first, second)
    if len(set(first)) == 1 or len(set(second)) == 1:
        assert found is None
    else:
        assert found == pytest.approx(np.corrcoef(brute_ranks(first), brute_ranks(second))[0, 1])


def test_spearman_knows_ties_and_nothing() -> None:
    assert spearman([1, 2, 3, 4], [10, 20, 30, 1000]) == pytest.approx(1)
    assert spearman([1, 2, 3], [3, 2, 1]) == pytest.approx(-1)
    assert spearman([1, 2, 2, 3], [1, 2, 3, 4]) == pytest.approx(0.9486833)  # scipy.stats.spearmanr
    assert spearman([], []) is None
    assert spearman([1.0], [2.0]) is None


@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=30))
def test_sensitivity_and_specificity_count_the_four_fields(pairs: list[tuple[bool, bool]]) -> None:
    truth, found = [t for t, _ in pairs], [f for _, f in pairs]
    hits, misses = pairs.count((True, True)), pairs.count((True, False))
    quiet, alarms = pairs.count((False, False)), pairs.count((False, True))
    assert sensitivity(truth, found) == Share(hits, hits + misses)
    assert specificity(truth, found) == Share(quiet, quiet + alarms)
