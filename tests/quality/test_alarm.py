"""The alarm on LLM quality in small simulations: it is seldom false, and it finds what it is to find.

`python -m tests.benchmarks alarm` has the figures themselves; here are bounds that they keep with any seed but one of
thousands.
"""

from __future__ import annotations

import numpy as np
import pytest

from tests.benchmarks.alarm import CHANGED, UNCHANGED, share
from tests.support import alarm, alarm_worlds


@pytest.mark.parametrize("name", [
    pytest.param("flat, 200 a day", marks=pytest.mark.long),
    "day and night differ", "varying days (.3)", "repeated texts",
])  # fmt: skip
def test_where_nothing_changed_alarms_are_rare(name: str) -> None:
    ours, _, welch, _ = share(UNCHANGED[name], 10 if name == "repeated texts" else 250)
    assert ours <= 0.05  # 2 % and 3 standard errors of 250
    assert welch > ours


OFTEN = {".865 to .830 at 480, in a day", "5 to 10 % at 200, on the 3rd day"}  # a mean and a rate, of both spans


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name in OFTEN else pytest.mark.long)
        for name, (_, aim, _) in CHANGED.items()
        if aim
    ],
)
def test_what_got_worse_is_found(name: str) -> None:
    metric, aim, make = CHANGED[name]
    ours, *_ = share(make, 200, metric)
    assert ours >= aim - 0.09  # 3 standard errors


def test_hours_that_lack_are_no_change() -> None:
    """Of the day only the night came in, which is worse: its mean is worse, too, and the verdict is not."""
    rng = np.random.default_rng(3)
    metrics = alarm_worlds.world(rng, 100, 480, night=2)
    for cells in (m.cells for m in metrics):
        for sums in (cells.weight, cells.first, cells.second, cells.third):
            sums[:, -1, 8:] = 0
    assert alarm_worlds.verdicts(metrics).any(1).mean() <= 0.06


def test_p_of_the_first_hits_ever_is_no_smaller_than_chance() -> None:
    """One hit on the day and none on 84 days before: as likely on any of the 85."""
    counts = np.zeros((1, alarm.DAYS, 24, 2))
    counts[..., 0] = 20
    counts[0, -1, 0] = [19, 1]
    found = alarm.compare(alarm.Cells.of_counts(np.array([0.0, 1.0]), counts), 1, is_rate=True, span=1)
    assert found["p"][0] == pytest.approx(1 / 85)


def test_rates_are_those_of_benjamini_and_hochberg() -> None:
    """The example of their paper of 1995: at .05 the four smallest of 15 are found."""
    p = [
        0.0001,
        0.0004,
        0.0019,
        0.0095,
        0.0201,
        0.0278,
        0.0298,
        0.0344,
        0.0459,
        0.3240,
        0.4262,
        0.5719,
        0.6528,
        0.7590,
        1,
    ]
    assert int((alarm.benjamini_hochberg(np.array(p)) <= 0.05).sum()) == 4
