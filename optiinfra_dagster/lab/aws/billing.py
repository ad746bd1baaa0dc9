"""Cost Explorer: GetCostAndUsage, with the limits that the real one has.

What a world's resources are charged follows from the lab's price list: by the hour, or by the share of the month, and a
little for use that differs from day to day. A month is closed, and no longer `Estimated`, five days after its end. A
day of which nothing has arrived yet is there, and costs nothing.
"""

from __future__ import annotations

import calendar
import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.lab.aws.services import KINDS
from optiinfra_dagster.lab.aws.services.ec2 import INSTANCE
from optiinfra_dagster.lab.aws.wire import AwsError, Call
from optiinfra_dagster.lab.values import digest

if TYPE_CHECKING:
    from optiinfra_dagster.lab.aws.estate import Estate

Money = tuple[Decimal, str]  # amount and unit
Cell = dict[str, Money]  # by metric
Cells = dict[tuple[str, str], Cell]  # by service and linked account

METRICS = ("UnblendedCost", "AmortizedCost", "NetUnblendedCost", "NetAmortizedCost", "BlendedCost", "UsageQuantity")
CLOSED_AFTER = timedelta(days=5)
DAY = timedelta(days=1)
_DIGITS = Decimal("1e-10")  # that Cost Explorer tells
_SAVED = Decimal("0.9")  # of what compute costs with its savings plan spread over the month

COMPUTE = INSTANCE.bill_service


class Billing:
    """The bills of a world's accounts. `page_groups` is how many groups a page has.

    A token that leads back to its own page, as `endless` gives, is what a collector must not follow for ever.
    """

    def __init__(self, estate: Estate, now: Callable[[], datetime]) -> None:
        self._estate, self._now = estate, now
        self._restated: dict[tuple[str, date], list[tuple[str, Decimal]]] = defaultdict(list)
        self.page_groups = 5000
        self.endless = False
        self.arrive = estate.world.aws.bills_arrive
        self.tells_to: date | None = None  # days after it are not in an answer at all

    def restate(self, account: str, day: date, usd: Decimal | str, service: str = COMPUTE) -> None:
        """Let an account's bill say of a past day that a service cost so much more, or less."""
        self._restated[account, day].append((service, Decimal(usd)))

    def expected(self, payer: str, first: date, last: date) -> dict[date, Cells]:
        """The bill of an account by day, then by service and linked account: the ground truth of tests."""
        return {day: self._day(payer, day) for day in _days(first, last)}

    def is_estimated(self, payer: str, day: date) -> bool:
        """True while a day may still change: its month is not closed, or the recording says so."""
        recorded = self._recorded(payer).get(day)
        if recorded is not None:
            return recorded[0]
        month_after = (day.replace(day=1) + timedelta(days=32)).replace(day=1)
        return self._now() < datetime.combine(month_after, time(), UTC) + CLOSED_AFTER

    # --- Cost Explorer ------------------------------------------------------------------------------------------------

    def get_cost_and_usage(self, call: Call) -> dict[str, Any]:
        """A page of GetCostAndUsage: days in order, each with its groups or its total."""
        account = self._estate.accounts.get(call.account)
        if account is not None and account.cost_explorer is False:
            raise AwsError(400, "AccessDeniedException", "User not enabled for cost explorer access")
        if account is not None and account.cost_explorer == "preparing":
            raise AwsError(
                400, "DataUnavailableException", "Data is not available. Please try to adjust the time period."
            )
        first, end, metrics, grouping = self._checked(call)
        rows = list(self._rows(call.account, first, end, metrics, grouping))
        fingerprint = digest(json.dumps({k: v for k, v in call.params.items() if k != "NextPageToken"}, sort_keys=True))
        start = 0
        if token := call.params.get("NextPageToken"):
            start, known = (*(int(part) for part in str(token).split(".") if part.isdigit()), -1, -1)[:2]
            if known < 0:
                raise AwsError(400, "InvalidNextTokenException", "The next page token is invalid.")
            if known != fingerprint:
                raise AwsError(400, "RequestChangedException", "Your request parameters changed between pages.")
        stop = start + self.page_groups
        named = [one for one in self._estate.accounts.values() if one.name and "LINKED_ACCOUNT" in grouping]
        answer: dict[str, Any] = {
            "ResultsByTime": _by_day(rows[start:stop]),
            "DimensionValueAttributes": [{"Value": one.id, "Attributes": {"description": one.name}} for one in named],
        }
        if grouping:
            answer["GroupDefinitions"] = [{"Type": "DIMENSION", "Key": key} for key in grouping]
        if stop < len(rows) or self.endless:
            answer["NextPageToken"] = f"{start if self.endless else stop}.{fingerprint}"
        return answer

    def _checked(self, call: Call) -> tuple[date, date, list[str], list[str]]:
        """The days, metrics and keys that are asked for. Raises `AwsError` for what AWS would refuse."""
        params = call.params
        if unknown := set(params) - {"TimePeriod", "Granularity", "Metrics", "GroupBy", "NextPageToken"}:
            raise _invalid(f"The cloud lab does not know {', '.join(sorted(unknown))}")
        if params.get("Granularity") != "DAILY":
            raise _invalid("The cloud lab knows the granularity DAILY only")
        try:
            first, end = (date.fromisoformat(str(params["TimePeriod"][key])) for key in ("Start", "End"))
        except (KeyError, TypeError, ValueError):
            raise _invalid("Time period is invalid: dates are yyyy-MM-dd") from None
        if first >= end:
            raise _invalid("Start date (and hour) should be before end date (and hour)")
        today = self._now().date()
        if end > (today.replace(day=1) + timedelta(days=32)).replace(day=1):
            raise _invalid("end date past the beginning of next month")
        if first < (today.replace(day=1) - timedelta(days=420)):
            raise _invalid("You haven't enabled historical data beyond 14 months")
        metrics = params.get("Metrics") or []
        if not metrics or set(metrics) - set(METRICS):
            raise _invalid(f"metrics must be of {', '.join(METRICS)}")
        grouping = [str(group.get("Key")) for group in params.get("GroupBy") or []]
        if len(grouping) > 2:
            raise _invalid("GroupBy cannot have more than 2 groups")
        if set(grouping) - {"SERVICE", "LINKED_ACCOUNT"}:
            raise _invalid("The cloud lab groups by SERVICE and LINKED_ACCOUNT only")
        return first, end, list(metrics), grouping

    def _rows(
        self, payer: str, first: date, end: date, metrics: list[str], grouping: list[str]
    ) -> Iterator[tuple[date, bool, list[str] | None, Cell]]:
        """Day, whether it is an estimate, keys (None for the total) and amounts, in the order of the answer."""
        for day in _days(first, min(end - DAY, self.tells_to or end)):
            groups: dict[tuple[str, ...], Cell] = {}
            for (service, linked), cell in sorted(self._day(payer, day).items()):
                place = {"SERVICE": service, "LINKED_ACCOUNT": linked}
                group = groups.setdefault(tuple(place[key] for key in grouping), {})
                for metric in metrics:
                    if metric in cell:
                        amount, unit = cell[metric]
                        group[metric] = group.get(metric, (Decimal(0), unit))[0] + amount, unit
            estimated = self.is_estimated(payer, day)
            if not grouping:
                yield day, estimated, None, groups.get((), {metric: (Decimal(0), "USD") for metric in metrics})
            elif not groups:
                yield day, estimated, [], {}
            else:
                yield from ((day, estimated, list(keys), group) for keys, group in groups.items())

    def _day(self, payer: str, day: date) -> Cells:
        """The bill of a day, as far as it has happened and arrived."""
        recorded, now = self._recorded(payer), self._now()
        if recorded:
            cells = {key: dict(cell) for key, cell in recorded.get(day, (False, {}))[1].items()}
        else:
            cells = self._charged(payer, day)
            if self.arrive.so_far(Decimal(1), day, now) == 0:
                cells = {}
            for cell in cells.values():
                for metric, (amount, unit) in cell.items():
                    cell[metric] = self.arrive.so_far(amount, day, now), unit
        for service, usd in self._restated.get((payer, day), []):
            cell = cells.setdefault((service, payer), {metric: (Decimal(0), "USD") for metric in METRICS[:2]})
            cells[service, payer] = {metric: (amount + usd, unit) for metric, (amount, unit) in cell.items()}
        return cells

    def _charged(self, payer: str, day: date) -> Cells:
        now = self._now()
        share = min(max((now - datetime.combine(day, time(), UTC)) / DAY, 0.0), 1.0)
        if share <= 0:
            return {}
        sums: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
        days = calendar.monthrange(day.year, day.month)[1]
        for linked in self._linked(payer):
            for created, service, hourly, monthly in self._standing(linked):
                if created <= day:
                    sums[service, linked] += hourly * 24 + monthly / days
            for kind in KINDS.values():
                if kind.by_use is not None and (count := self._count(linked, kind.name, day)):
                    service, usd = kind.by_use
                    chance = Decimal(digest(self._estate.world.seed, linked, kind.name, day) % 1000) / 1000
                    sums[service, linked] += count * Decimal(usd) * (chance + Decimal("0.5"))
            support = self._estate.accounts[linked].support_usd
            if support and day.day == 1:
                sums["AWS Support (Business)", linked] += support
            if sums and day.day == 1:
                sums["Tax", linked] += sum(usd for (_, owner), usd in sums.items() if owner == linked) * 3
        return {
            key: {
                metric: ((usd * Decimal(share) * factor).quantize(_DIGITS), "USD")
                for metric, factor in (
                    ("UnblendedCost", Decimal(1)), ("AmortizedCost", _SAVED if key[0] == COMPUTE else Decimal(1))
                )
            }
            for key, usd in sums.items()
        }  # fmt: skip

    def _linked(self, payer: str) -> list[str]:
        return [account.id for account in self._estate.accounts.values() if payer in {account.id, account.payer}]

    def _standing(self, account: str) -> list[tuple[date, str, Decimal, Decimal]]:
        """The fixed prices of an account's resources: since when, service, USD by the hour and by the month."""
        known = self._rates_by_account.get(account)
        if known is None:
            known = self._rates_by_account[account] = []
            for resource in self._estate.resources(account):
                kind = resource.definition
                if kind.rate is None:
                    continue
                hourly, monthly = kind.rate(resource, self._estate.region(account, resource.region))
                if hourly or monthly:
                    known.append((resource.created.date(), kind.bill_service, hourly, monthly))
        return known

    @cached_property
    def _rates_by_account(self) -> dict[str, list[tuple[date, str, Decimal, Decimal]]]:
        return {}

    def _count(self, account: str, kind: str, day: date) -> int:
        fleets = [fleet for fleet in self._estate.fleets(account) if fleet.kind == kind and fleet.state != "stopped"]
        return sum(fleet.count for fleet in fleets if fleet.created is None or fleet.created.date() <= day)

    @cached_property
    def _recordings(self) -> dict[str, dict[date, tuple[bool, Cells]]]:
        return {}

    def _recorded(self, account: str) -> dict[date, tuple[bool, Cells]]:
        """The recorded days of an account: whether each is an estimate, and its cells; empty without a recording."""
        if account not in self._recordings:
            known = self._estate.accounts.get(account)
            if known is None or known.cost_recording is None:
                self._recordings[account] = {}
            else:
                self._recordings[account] = read_recording(known.cost_recording, account, known.cost_recording_begins)
        return self._recordings[account]


def read_recording(file: Path, account: str, begins: date | None = None) -> dict[date, tuple[bool, Cells]]:
    """A recorded answer of GetCostAndUsage, grouped by service: by day, whether it is an estimate, and its cells.

    With `begins` the days move, so that the first of them is that one.
    """
    days: dict[date, tuple[bool, Cells]] = {}
    for result in json.loads(file.read_text(encoding="utf-8"))["ResultsByTime"]:
        cells: Cells = {}
        for group in result.get("Groups", ()):  # the first key is the service, others are added up
            cell = cells.setdefault((group["Keys"][0], account), {})
            for metric, value in group["Metrics"].items():
                cell[metric] = cell.get(metric, (Decimal(0), ""))[0] + Decimal(value["Amount"]), value["Unit"]
        days[date.fromisoformat(result["TimePeriod"]["Start"])] = bool(result.get("Estimated")), cells
    moved = begins - min(days) if begins is not None and days else timedelta(0)
    return {day + moved: recorded for day, recorded in days.items()}


def _by_day(rows: list[tuple[date, bool, list[str] | None, Cell]]) -> list[dict[str, Any]]:
    """Rows as ResultsByTime: a day that is cut by the end of a page goes on with the next."""
    results: dict[date, dict[str, Any]] = {}
    for day, estimated, keys, cell in rows:
        period = {"Start": day.isoformat(), "End": (day + DAY).isoformat()}
        result = results.setdefault(day, {"TimePeriod": period, "Total": {}, "Groups": [], "Estimated": estimated})
        shown = {metric: {"Amount": _plain(amount), "Unit": unit} for metric, (amount, unit) in cell.items()}
        if keys is None:
            result["Total"] = shown
        elif keys:
            result["Groups"].append({"Keys": keys, "Metrics": shown})
    return list(results.values())


def _plain(amount: Decimal) -> str:
    """An amount as AWS writes it: without zeros at its end."""
    return f"{amount.normalize():f}" if amount else "0"


def _days(first: date, last: date) -> list[date]:
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]


def _invalid(message: str) -> AwsError:
    return AwsError(400, "ValidationException", message)
