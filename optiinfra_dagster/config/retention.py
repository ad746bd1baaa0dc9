"""The time for which superseded batches are kept: `48`, or `cost=168,cost_daily=24,24`, in hours."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

LEAST = timedelta(minutes=10)
"""What a reader that began before a publish may take: its rows are never deleted sooner."""

MOST_HOURS = 24 * 90  # as long as the metrics themselves
ROLLUPS = "rollups"

# A cost is asked about for the length of a billing dispute, anything else for that of an incident. A rollup of an hour
# or a day is computed again with each of its windows: a day's 96 versions would be 96 times its rows to read.
_DEFAULTS = {"cost": timedelta(days=7), ROLLUPS: LEAST}


@dataclass(frozen=True, slots=True)
class Retention:
    """The time for which a batch is kept after it was superseded.

    `named` has the times of families (`cost`), of `rollups`, and of single datasets and readers (`cost_billed`,
    `cost_daily`), of which the most special one counts.
    """

    rest: timedelta = timedelta(days=1)
    named: Mapping[str, timedelta] = field(default_factory=lambda: dict(_DEFAULTS))

    def of(self, dataset: str, *, is_rollup: bool = False) -> timedelta:
        """The time of a dataset or of a reader's table; a rollup covers more than a window."""
        name = re.sub(r"_v[0-9a-f]{8}$", "", dataset)
        names = (name, ROLLUPS) if is_rollup else (name, name.partition("_")[0])
        found = next((self.named[one] for one in names if one in self.named), self.rest)
        return max(found, LEAST)


def read_keeping(value: object) -> object:
    """The times that a text names, those of `Retention()` where it names none; anything else as it is.

    Raises:
        ValueError: a part is neither a number of hours nor a name with one, a name is there twice or cannot be one, or
            a number is not from 0 to 2160.
    """
    if not isinstance(value, str):
        return value
    rest: timedelta | None = None
    named: dict[str, timedelta] = {}
    for part in value.split(","):
        name, is_named, hours = (text.strip() for text in part.rpartition("="))
        if not is_named:
            if rest is not None:
                raise ValueError("two numbers are there without a name")
            rest = _hours(hours)
        elif name in named:
            raise ValueError(f"{name} is named twice")
        elif not re.fullmatch(r"(resource|performance|cost|application)(_[a-z_]+)?|rollups", name):
            raise ValueError(
                f"{name!r} is none of resource, performance, cost, application, rollups, or a reader such as cost_daily"
            )
        else:
            named[name] = _hours(hours)
    if rest is None:
        return Retention(named=_DEFAULTS | named)
    return Retention(rest, {ROLLUPS: LEAST} | named)


def _hours(text: str) -> timedelta:
    if not re.fullmatch(r"\d+(\.\d+)?", text) or float(text) > MOST_HOURS:
        raise ValueError(f"{text!r} is not a number of hours from 0 to {MOST_HOURS}")
    return timedelta(hours=float(text))
