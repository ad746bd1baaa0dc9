"""Years of costs drawn at random, with what was known of them on each day."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import pairwise

from tests.support.outlook import Known, Series, month_of

D = timedelta(days=1)


@dataclass
class Version:
    """What a bill says of a day from some day on."""

    seen: date
    amount: float


class World:
    """An account's costs over days: each series' amounts as its bills told them, restated later, and estimates before.

    A service is even, grows or shrinks, rests at weekends, or works now and then; it may be doubled, or end. Fees come
    once a month, some of them once only. The bill settles after two or three days; until then there are estimates at
    list prices, above the bill, or nothing.
    """

    def __init__(self, seed: int, first: date, last: date) -> None:
        rng = self.rng = random.Random(seed)  # noqa: S311
        self.first, self.last = first, last
        self.days = [first + n * D for n in range((last - first).days + 1)]
        self.settles = rng.choice([2, 3])
        self.has_estimates = rng.random() < 0.6
        self.is_billed = rng.random() < 0.85
        self.bills: dict[Series, dict[date, list[Version]]] = {}
        self.estimates: dict[Series, dict[date, float]] = {}
        self.jumps: dict[Series, list[date]] = {}
        self._final: dict[Series, dict[date, float]] = {}
        restating = rng.choice(["never", "always", "at times", "once a month"]) if self.is_billed else "never"
        by = rng.uniform(-0.08, 0.06)
        for n in range(rng.randint(3, 7)):
            self._usage((f"service-{n}", "Usage"))
        self._fees()
        for name, amounts in self.final.items():
            if not self.is_billed:
                break
            self.bills[name] = {}
            for day, amount in amounts.items():
                versions = [Version(day + self.settles * D, amount)]
                at_end = month_of(month_of(day) + 32 * D) + 3 * D
                if name[1] == "Usage" and (
                    restating == "always"
                    or (restating == "at times" and rng.random() < 0.25)
                    or (restating == "once a month" and rng.random() < 0.6)
                ):
                    share = by * rng.uniform(0.7, 1.3)
                    before = round(amount / (1 + share), 6)
                    seen = at_end if restating == "once a month" else day + rng.randint(4, 9) * D
                    versions = [Version(day + self.settles * D, before), Version(max(seen, day + 4 * D), amount)]
                self.bills[name][day] = versions

    @property
    def final(self) -> dict[Series, dict[date, float]]:
        """What everything costs in the end."""
        return self._final

    def _usage(self, name: Series) -> None:
        rng = self.rng
        shape = rng.choice(["even", "even", "weekends", "weekends", "grows", "now and then"])
        level, noise = 10 ** rng.uniform(0, 3), rng.uniform(0.005, 0.08)
        weekend = rng.uniform(0.2, 0.85) if shape == "weekends" else 1.0
        trend = rng.uniform(-0.006, 0.01) if shape == "grows" else 0.0
        wanders, often, listed = rng.uniform(0, 0.006), rng.uniform(0.15, 0.5), rng.choice([1.0, 1.0, 1.15, 1.6])
        error, amounts, estimates = 0.0, {}, {}
        self.jumps[name] = []
        for day in self.days:
            level *= math.exp(trend + rng.gauss(0, wanders))
            trend *= 1 if rng.random() > 1 / 60 else rng.uniform(-0.5, 1)
            if rng.random() < 1 / 300:
                level *= rng.choice([2.0, 1.5, 0.6])
                self.jumps[name].append(day)
            error = 0.4 * error + rng.gauss(0, noise)
            amount = level * math.exp(error) * (weekend if day.weekday() >= 5 else 1)
            if shape == "now and then" and rng.random() > often:
                amount = 0.0
            amounts[day] = round(amount, 6)
            estimates[day] = round(amount * listed * rng.uniform(0.98, 1.02), 6)
        self._final[name] = amounts
        if self.has_estimates and rng.random() < 0.8:
            self.estimates[name] = estimates

    def _fees(self) -> None:
        rng = self.rng
        usage = {d: sum(v[d] for v in self._final.values()) for d in self.days}
        spent: dict[date, float] = {}
        for day, amount in usage.items():
            spent[month_of(day)] = spent.get(month_of(day), 0.0) + amount
        firsts = [d for d in self.days if d.day == 1]
        if not self.is_billed:
            return
        if rng.random() < 0.7:
            rate = rng.uniform(0.05, 0.22)
            known = {d: spent.get(month_of(d, 1), spent[d]) for d in firsts}
            self._final["service-0", "Tax"] = {d: round(rate * v, 6) for d, v in known.items()}
        if rng.random() < 0.6:
            fee, on = round(10 ** rng.uniform(1, 3), 2), rng.choice([1, 1, 1, 5, 28])
            self._final["support", "Usage"] = {d: fee for d in self.days if d.day == on}
        if rng.random() < len(self.days) / 730:  # bought once in two years
            day = rng.choice(self.days)
            self._final["service-1", "Purchase"] = {day: round(3 * max(usage.values()), 2)}
        if rng.random() < 0.3:
            self._final["service-0", "Credit"] = {d: round(-0.1 * v, 6) for d, v in usage.items()}
        if rng.random() < 0.2:
            self._final["service-0", "Credit"] = {d: -round(2 * sum(usage.values()) / len(usage), 2) for d in firsts}

    def real(self, month: date, service: str = "") -> float:
        """What a month costs in the end, of a service or of all."""
        return sum(
            amount for (of, _), amounts in self.final.items() for day, amount in amounts.items()
            if month_of(day) == month and service in ("", of)
        )  # fmt: skip

    def known(self, today: date, history: int = 2) -> Known:  # noqa: C901 - one case after the other
        """What is known when a day begins."""
        known = Known(today)
        days = [d for d in self.days if month_of(today, history) <= d < today]
        billed = {d for d in days if self.is_billed and (today - d).days >= self.settles}
        for day in days:
            if day in billed:
                known.days[day] = "billed", 1.0
            elif self.has_estimates or not self.is_billed:
                known.days[day] = "estimated", 1.0
            else:
                known.days[day] = "arriving", 0.0
        names = self.final.keys()
        for name in names:
            amounts, provisional = {}, {}
            for day in days:
                if day in billed:
                    versions = [v for v in self.bills[name].get(day, []) if v.seen <= today]
                    if versions:
                        amounts[day] = versions[-1].amount
                        closed = month_of(month_of(day) + 32 * D) + 5 * D
                        if today < closed:
                            provisional[day] = versions[-1].amount
                        for old, new in pairwise(versions):
                            change = (day, (new.seen - day).days, round(new.amount - old.amount, 6))
                            known.changes.setdefault(name[0], []).append(change)
                elif known.days[day][0] == "estimated" and (name in self.estimates or not self.is_billed):
                    source = self.estimates.get(name) if self.is_billed else self.final[name]
                    if source and day in source:
                        amounts[day] = source[day]
            if amounts:
                known.amounts[name] = amounts
                known.provisional[name] = provisional
        return known

    def naive(self, known: Known, month: date, service: str = "") -> float | None:
        """Spent so far, for the days that it was spent on, for all days of the month; None before any is known."""
        spent = sum(
            amount for (of, _), amounts in known.amounts.items() for day, amount in amounts.items()
            if month_of(day) == month and service in ("", of)
        )  # fmt: skip
        gone = sum(share for d, (_, share) in known.days.items() if month_of(d) == month)
        return spent / gone * (month_of(month + 32 * D) - month).days if gone else None
