"""False alarms and power of the alarm on LLM quality, beside worse_than_last_week as it was and a plain Welch test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from tests.support import alarm_worlds as worlds

if TYPE_CHECKING:
    from tests.support.alarm_worlds import Metric

SEED = 2026  # the rule was tuned on others
AT_A_TIME = 500  # applications, for memory

World = Callable[[np.random.Generator, int], "list[Metric]"]
UNCHANGED: dict[str, World] = {
    "flat, 480 a day": lambda rng, n: worlds.world(rng, n, 480),
    "flat, 200 a day": lambda rng, n: worlds.world(rng, n, 200),
    "flat, 50 a day": lambda rng, n: worlds.world(rng, n, 50),
    "day and night differ": lambda rng, n: worlds.world(rng, n, 480, night=1.5, busy_by_day=True),
    "varying days (.15)": lambda rng, n: worlds.world(rng, n, 480, between_days=0.15),
    "varying days (.3)": lambda rng, n: worlds.world(rng, n, 480, between_days=0.3),
    "varying days (.5)": lambda rng, n: worlds.world(rng, n, 480, between_days=0.5),
    "repeated texts": lambda rng, n: worlds.repeated(rng, n, 480),
}
CHANGED: dict[str, tuple[int, float, World]] = {  # the metric, the aim, and the world
    ".865 to .830 at 480, in a day": (0, 0.8, lambda rng, n: worlds.world(rng, n, 480, mean_to=0.83)),
    "5 to 12 % at 200, in a day": (3, 0.8, lambda rng, n: worlds.world(rng, n, 200, rate_to=0.12)),
    ".865 to .840 at 480, on the 3rd day": (0, 0.8, lambda rng, n: worlds.world(rng, n, 480, mean_to=0.84, changed=3)),
    "5 to 10 % at 200, on the 3rd day": (3, 0.8, lambda rng, n: worlds.world(rng, n, 200, rate_to=0.1, changed=3)),
    ".865 to .830, varying days (.3)": (
        0, 0, lambda rng, n: worlds.world(rng, n, 480, mean_to=0.83, between_days=0.3)),
}  # fmt: skip


def share(
    make: World, applications: int, metric: int | None = None, seed: int = SEED
) -> tuple[float, float, float, float]:
    """The shares of applications with an alarm on any metric, or on one: ours, last week's rule, Welch; its error."""
    rng = np.random.default_rng(seed)
    found = []
    for start in range(0, applications, AT_A_TIME):
        metrics = make(rng, min(AT_A_TIME, applications - start))
        said = [worlds.verdicts(metrics), *worlds.week(metrics).values()]
        found.append([one.any(1) if metric is None else one[:, metric] for one in said])
    ours, week, welch = (float(np.concatenate(one).mean()) for one in zip(*found, strict=True))
    return ours, week, welch, (ours * (1 - ours) / applications) ** 0.5


def lines(applications: int) -> Iterator[str]:
    """The table."""
    yield f"{'shares of application-days with an alarm, %':<46}{'ours':>7}{'+-':>6}{'week':>8}{'Welch':>8}   aim"
    for name, make in UNCHANGED.items():
        few = applications // 4 if make is UNCHANGED["repeated texts"] else applications
        ours, week, welch, error = share(make, few)
        yield f"{name:<46}{100 * ours:>7.2f}{196 * error:>6.2f}{100 * week:>8.1f}{100 * welch:>8.1f}   <= 2"
    for name, (metric, aim, make) in CHANGED.items():
        ours, week, welch, error = share(make, applications, metric)
        wanted = f">= {100 * aim:.0f}" if aim else "told"
        yield f"{name:<46}{100 * ours:>7.1f}{196 * error:>6.1f}{100 * week:>8.1f}{100 * welch:>8.1f}   {wanted}"
