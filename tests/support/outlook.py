"""The outlook of costs in plain Python, which the reader's SQL is compared with."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pyarrow as pa

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

D = timedelta(days=1)
Row = dict[str, Any]
Series = tuple[str, str]  # service, charge category

Z = 1.645  # of a 90 % interval
TOGETHER = 0.2  # how far the errors of the services of an account go together
WIDER = 1.15  # than history tells


@dataclass
class Known:
    """What is known on a day of an account's costs in a currency."""

    today: date
    days: dict[date, tuple[str, float]] = field(default_factory=dict)  # state, share that is known
    amounts: dict[Series, dict[date, float]] = field(default_factory=dict)  # without what is arriving
    provisional: dict[Series, dict[date, float]] = field(default_factory=dict)  # of those
    changes: dict[str, list[tuple[date, int, float]]] = field(default_factory=dict)  # service: day, age, change
    account: str = "one"
    currency: str = "USD"


def median(values: Sequence[float]) -> float:
    """Of an even number of values the upper one of the two in the middle, as medianExact has it; 0 of none."""
    return sorted(values)[len(values) // 2] if values else 0.0


def month_of(day: date, back: int = 0) -> date:
    """The first of the day's month, or of one so many months before."""
    for _ in range(back):
        day = day.replace(day=1) - D
    return day.replace(day=1)


class Account:
    """Which days of an account tell what."""

    def __init__(self, known: Known) -> None:
        today = known.today
        self.known, self.today = known, today
        over = {d: v for d, v in known.days.items() if month_of(today, 2) <= d < today}
        billed = sorted(d for d, (state, _) in over.items() if state == "billed")
        estimated = sorted(d for d, (state, share) in over.items() if state == "estimated" and share >= 0.95)
        whole = sorted([*billed, *estimated])
        self.by_bill = len(billed) >= 7 and (whole[-1] - billed[-1]).days <= 10
        self.basis = billed if self.by_bill else whole
        self.others = [d for d in estimated if self.by_bill and d >= today - 7 * D]
        self.newest = whole[-1] if whole else None
        self.month = [d for d in (month_of(today) + n * D for n in range(31)) if d.month == today.month]
        self.gaps = [d for d in self.month if self.newest and d < self.newest and d not in whole]
        # An estimated day is judged where another one tells how the estimates relate to the bill.
        self.judged = self.basis[-1] if self.basis else None
        if self.judged and len(self.others) >= 2 and self.others[-1] > self.judged:
            self.judged = self.others[-1]
        self.is_recent = self.newest is not None and (today - self.newest).days <= 7
        self.reason = (
            "no whole day of its costs is known" if self.newest is None
            else f"the newest whole day that is known is {self.newest}" if not self.is_recent
            else f"a forecast takes 7 whole days, of which {len(self.basis)} are known" if len(self.basis) < 7
            else f"{len(self.gaps)} days of the month before {self.newest} are not known" if len(self.gaps) > 2
            else ""
        )  # fmt: skip


class Fit:
    """A series of an account: what a day of it costs, and what its month will."""

    def __init__(self, account: Account, name: Series) -> None:
        self.account, (service, category) = account, name
        known, today = account.known, account.today
        amounts, provisional = known.amounts.get(name, {}), known.provisional.get(name, {})
        self.amounts = amounts
        grows, self.grows_sd = restated(known, account, service)
        days = self.days = account.basis
        n = self.n = len(days)
        self.x = x = [amounts.get(d, 0.0) + grows((today - d).days) * provisional.get(d, 0.0) for d in days]
        self.by_day = dict(zip(days, x, strict=True))
        self.not_final = sum(provisional.get(d, 0.0) for d in account.month)

        around = [range(a := min(max(i - 3, 0), n - 7), a + 7) for i in range(n)]
        local = [median([x[j] for j in near]) for near in around]
        ratios = [(d.weekday(), v / m) for d, v, m in zip(days, x, local, strict=True) if m]
        noise = 1.4826 * median([abs(r - 1) for _, r in ratios])
        self.factors = [1.0] * 7
        for weekday in range(7):
            its = [r for w, r in ratios if w == weekday]
            if n >= 14 and len(its) >= 2 and abs(median(its) - 1) > max(0.03, 2.5 * noise / math.sqrt(len(its))):
                self.factors[weekday] = max(0.0, median(its))
        factor = [self.factors[d.weekday()] for d in days]
        flat = self.flat = [m if f < 0.05 else v / f for v, m, f in zip(x, local, factor, strict=True)]
        fitted = [f * median([flat[j] for j in near]) for f, near in zip(factor, around, strict=True)]
        errors = [v - e for v, e in zip(x, fitted, strict=True)]
        sd = 1.4826 * median([abs(r / e) for r, e in list(zip(errors, fitted, strict=True))[-28:] if e])
        sd = self.sd = max(sd, 0.1 if n < 14 else 0.01)
        lumps = [r if abs(r) > max(6 * sd * abs(e), 0.5 * abs(e)) else 0.0 for r, e in zip(errors, fitted, strict=True)]
        recent = [lump for lump in lumps[-56:] if lump]
        last = x[-56:]
        erratic = len(recent) >= max(3, 0.25 * len(last))
        self.often, self.extra, self.extra_sd = erratic or len(recent) >= 5, 0.0, 0.0
        if erratic:  # no level to speak of
            flat = self.flat = [0.0] * n
            self.extra = sum(last) / len(last)
            self.extra_sd = math.sqrt(sum((v - self.extra) ** 2 for v in last) / len(last))
        elif self.often:
            self.extra = sum(recent) / len(last)
            self.extra_sd = math.sqrt(max(0.0, sum(r * r for r in recent) / len(last) - self.extra**2))

        weeks = [median(flat[n - 7 - 7 * k : n - 7 * k]) for k in range(min(8, n // 7))]
        self.level, self.slope = weeks[0], 0.0
        before = median(flat[n - 9 : n - 2]) if n >= 9 else 0.0
        steps = [v - before for v in flat[-2:]]
        self.shifted = (
            n >= 9 and not self.often and category == "Usage" and steps[0] * steps[1] > 0
            and min(map(abs, steps)) > max(4 * sd, 0.1) * abs(before)
        )  # fmt: skip
        if self.shifted:
            self.level = before + min(steps, key=abs)
        elif len(weeks) >= 3:
            one, two = weeks[0] - weeks[1], weeks[1] - weeks[2]
            if one * two > 0 and abs(one + two) > 1.34 * sd * abs(weeks[0]):
                self.slope = min(one, two, key=abs) / 7
        drifts = [abs(a - b - 7 * self.slope) for a, b in pairwise(weeks)]
        self.drift = 0.1 * abs(self.level)
        if len(weeks) >= 3:
            mean_square = sum(d * d for d in drifts) / len(drifts)
            self.drift = max(0.7 * math.sqrt(mean_square), 1.4826 * median(drifts), 0.045 * abs(self.level))

        self.lumps = dict(zip(days, lumps, strict=True))
        self.fee, self.fee_sd = self._fee(category)

    def _fee(self, category: str) -> tuple[float, float]:
        """What the month is still to be charged once, going by the months before."""
        first, last, before = (month_of(self.account.today, n) for n in range(3))
        sums: dict[date, float] = defaultdict(float)
        for day, lump in self.lumps.items():
            sums[month_of(day)] += lump
        of_last = [d for d, lump in self.lumps.items() if lump and month_of(d) == last]
        fee = sums[last]
        if self.often or not fee or len(of_last) > 5:
            return 0.0, 0.0
        has_come = sums[first] * fee > 0 and abs(sums[first]) >= 0.5 * abs(fee)
        newest = self.days[-1]
        if has_come or (newest >= first and newest.day > max(of_last).day + 3):
            return 0.0, 0.0
        if sums[before] * fee > 0:
            return fee, max(abs(fee - sums[before]), 0.1 * abs(fee)) / 2
        if category == "Tax":
            return fee, 0.3 * abs(fee)
        return 0.0, 0.0 if self.days[0] <= before + 3 * D else abs(fee) / 2

    def expected(self, day: date) -> float:
        """What a day will cost, fees apart."""
        ahead = min(max((day - self.days[-1]).days, -3), 31) + 3
        return self.factors[day.weekday()] * (self.level + self.slope * ahead) + self.extra

    def ratio(self, before: date) -> float:
        """How the estimates of days relate to what the bill would say; 0: not known."""
        return median(
            [
                self.amounts.get(d, 0.0) / self.expected(d)
                for d in self.account.others if d < before and self.expected(d)
            ]
        )  # fmt: skip

    def forecast(self) -> tuple[float, float]:
        """What the whole month will cost, and the standard deviation of that."""
        account, total, of_rest, squares, factors, rest = self.account, 0.0, 0.0, 0.0, 0.0, 0
        ratio = self.ratio(account.today)
        for day in account.month:
            if day in self.by_day:
                total += self.by_day[day]
                continue
            expected, amount = self.expected(day), self.amounts.get(day, 0.0)
            if day in account.others:
                total += as_billed(amount, expected, ratio)
            elif account.by_bill:
                total += expected
            else:
                total += amount + (1 - account.known.days.get(day, ("", 0.0))[1]) * expected
            of_rest += expected
            rest += 1
            squares += self.factors[day.weekday()] ** 2
            factors += self.factors[day.weekday()]
        variance = (
            (self.sd * self.level) ** 2 * (squares + 1.5625 * factors**2 / 7)
            + self.drift**2 * rest**3 / 21
            + self.extra_sd**2 * (rest + rest**2 / 56)
            + self.fee_sd**2
            + (self.grows_sd * (self.not_final + of_rest)) ** 2
        )
        return total + self.fee, math.sqrt(variance) * WIDER

    def judge(self) -> tuple[float, float, float] | None:
        """The usual day, by how much the judged one is off it, and the standard deviation of a day; None: not known."""
        day = self.account.judged
        assert day is not None
        before = [v for d, v in zip(self.days, self.flat, strict=True) if d < day][-7:]
        if len(before) < 7:
            return None
        factor = self.factors[day.weekday()]
        usual = factor * median(before) + self.extra
        amount = self.by_day.get(day)
        if amount is None:
            amount = as_billed(self.amounts.get(day, 0.0), usual, self.ratio(day))
        near = sum(
            lump for d, lump in self.lumps.items()
            if month_of(d) == month_of(day, 1) and abs(d.day - day.day) <= 3
        )  # fmt: skip
        off = amount - usual
        if off * near > 0:
            usual += math.copysign(min(abs(off), abs(near)), off)
        return usual, amount - usual, math.hypot(self.sd * factor * median(before), self.extra_sd)


def as_billed(amount: float, expected: float, ratio: float) -> float:
    """What a bill would say of an estimated day."""
    return amount if not expected else amount / ratio if ratio > 0 else expected


def restated(known: Known, account: Account, service: str) -> tuple[Callable[[int], float], float]:
    """By how much the published charges of a day of some age still change, as a share, and how sure that is."""
    settled = [d for d in account.basis if account.by_bill and (account.today - d).days >= 14]
    amounts = {d: sum(v.get(d, 0.0) for (s, _), v in known.amounts.items() if s == service) for d in settled}
    changes = [
        (d, age, change) for d, age, change in known.changes.get(service, [])
        if month_of(account.today, 2) <= d <= account.today - 14 * D and age > 3
    ]  # fmt: skip
    total = sum(amounts.values())

    def grows(age: int) -> float:
        if not total:
            return 0.0
        return min(max(sum(c for _, a, c in changes if a > age) / total, -0.5), 0.5)

    weeks: dict[int, list[float]] = {}
    for d, amount in amounts.items():
        weeks.setdefault((account.today - d).days // 7, [0.0, 0.0])[0] += amount
    for d, _, change in changes:
        weeks.setdefault((account.today - d).days // 7, [0.0, 0.0])[1] += change
    shares = [min(max(c / a, -0.5), 0.5) for a, c in weeks.values() if a]
    mean = sum(shares) / len(shares) if shares else 0.0
    return grows, math.sqrt(sum((s - mean) ** 2 for s in shares) / len(shares)) if shares else 0.0


def outlook(known: Known) -> dict[tuple[str, str], Row]:
    """What the reader says, by scope and service; causes apart."""
    account = Account(known)
    groups: dict[tuple[str, str], list[Series]] = defaultdict(list)
    for name in known.amounts:
        groups["service", name[0]].append(name)
        groups["account", ""].append(name)
    fits = {name: Fit(account, name) for name in known.amounts} if len(account.basis) >= 7 else {}
    judged = {name: fit.judge() for name, fit in fits.items()}
    forecasts = {name: fit.forecast() for name, fit in fits.items()}
    of_account = sum(j[0] for j in judged.values() if j)
    days = sum(known.days.get(d, ("", 0.0))[1] for d in account.month)
    found = {}
    for key, names in groups.items():
        counted = [v for name in names for d, v in known.amounts[name].items() if d in account.month]
        row: Row = {"days": days, "month_to_date": None}
        if counted or days:
            row["month_to_date"] = sum((Decimal(f"{v:.6f}") for v in counted), Decimal(0))
        row |= dict.fromkeys(("forecast", "low", "high", "fees", "day", "usual_day", "unusual_by", "is_unusual"))
        reasons = [account.reason, "" if row["month_to_date"] is not None else "no day of the month is known"]
        if not account.reason:
            total = sum(forecasts[name][0] for name in names)
            apart = sum(forecasts[name][1] ** 2 for name in names)
            together = sum(forecasts[name][1] for name in names) ** 2
            sd = math.sqrt((1 - TOGETHER) * apart + TOGETHER * together)
            fees = sum(fits[name].fee for name in names)
            row |= {"forecast": total, "low": total - Z * sd, "high": total + Z * sd, "fees": fees}
        if fits and account.is_recent and all(judged.values()):
            its = [judged[name] or (0.0, 0.0, 0.0) for name in names]
            usual, off, sd = sum(j[0] for j in its), sum(j[1] for j in its), math.hypot(*(j[2] for j in its))
            row |= {"day": account.judged, "usual_day": usual, "unusual_by": off}
            row["is_unusual"] = abs(off) > max(4 * sd, 0.1 * abs(usual), 0.01 * abs(of_account))
        elif not account.reason:
            reasons.append("there are not 7 whole days before the newest one")
        row["reason"] = "; ".join(filter(None, reasons))
        found[key] = row
    return found


def publish(client: Client, of: Mapping[str, Known], provider: str = "aws") -> None:
    """Publish what is known of customers' accounts as the rollups that the reader reads."""
    costs, days, restated, ledger = [], [], [], set()
    for customer, known in of.items():
        about = {"batch": 1, "customer_id": customer, "provider": provider, "sub_account_id": known.account}
        for day, (state, share) in known.days.items():
            days.append(
                about | {"window_start": _start(day), "state": state, "known": share, "windows": round(96 * share)}
            )
            ledger |= {("", "", day, "cost_daily", 1), ("", "", day, "cost_days", 1)}
        for (service, category), amounts in known.amounts.items():
            for day in amounts or known.days:
                state = known.days[day][0]
                kind = "arriving" if not amounts else "estimated" if state == "estimated" else "billed"
                told = {name: Decimal(0) for name in ("billed", "estimated", "arriving")}
                told[kind] = Decimal(f"{amounts.get(day, 1):.6f}")
                costs.append(
                    about | told | {
                        "window_start": _start(day), "currency": known.currency, "service_name": service,
                        "resource_id": f"{service}/1", "charge_category": category, "cost_kind": kind,
                        "amount": told[kind] if amounts else None, "until": _start(day + D),
                        "provisional": Decimal(f"{known.provisional.get((service, category), {}).get(day, 0):.6f}"),
                    }
                )  # fmt: skip
        for service, changes in known.changes.items():
            for n, (day, age, change) in enumerate(changes):
                ledger.add((customer, provider, day, "cost_billed", 9))
                restated.append(
                    {name: about[name] for name in ("customer_id", "provider", "sub_account_id")} | {
                        "charge_day": day, "billing_account_id": "payer", "service_name": service, "after": Decimal(0),
                        "currency": known.currency, "previous_batch": n % 9, "before": Decimal(f"{-change:.6f}"),
                        "seen_at": _start(day + age * D),
                    }
                )  # fmt: skip
    types = {name: pa.decimal128(38, 18) for name in ("amount", "billed", "estimated", "arriving", "provisional",
                                                      "before", "after")}  # fmt: skip
    for table, rows in (("cost_daily", costs), ("cost_days", days), ("cost_restated", restated)):
        if rows:
            fields = [(name, types[name]) if name in types else (name, _type(value)) for name, value in rows[0].items()]
            client.insert_arrow(table, pa.Table.from_pylist(rows, schema=pa.schema(fields)))
    names = ["customer_id", "provider", "window_start", "dataset", "batch", "status"]
    lines = [(customer, cloud, _start(day), name, batch, "ok") for customer, cloud, day, name, batch in sorted(ledger)]
    client.insert("metric_batches", lines, column_names=names)


def _start(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _type(value: Any) -> pa.DataType:
    if isinstance(value, datetime):
        return pa.timestamp("s", "UTC")
    return pa.date32() if isinstance(value, date) else pa.scalar(value).type
