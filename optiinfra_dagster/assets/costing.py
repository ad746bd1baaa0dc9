"""How one customer's costs of some windows are collected: what its bills say, and an estimate where they say nothing.

No cloud's bill changes every 15 minutes, so each is read at its own cadence, when the newest window is collected. Every
window has an estimate: what the inventory lists, times the price list.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Any

from optiinfra_dagster import tables, windows
from optiinfra_dagster.assets.collection import INVENTORY_LOOKBACK, Due, describe
from optiinfra_dagster.errors import Cause
from optiinfra_dagster.providers.billing import BillRequest, Estimate
from optiinfra_dagster.providers.memory import Memory
from optiinfra_dagster.providers.types import Meter, Problem
from optiinfra_dagster.storage import costs, inventory
from optiinfra_dagster.storage.slices import Outcome, Slices

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from optiinfra_dagster.assets.collection import Put, Task
    from optiinfra_dagster.providers.billing import Bill, Component, Source
    from optiinfra_dagster.providers.types import Resource
    from optiinfra_dagster.settings import Settings
    from optiinfra_dagster.storage.clickhouse import ClickHouse
    from optiinfra_dagster.storage.inventory import Listed

FINAL_AFTER = timedelta(days=10)  # after the end of its month, no cloud restates a day
HOURS = Decimal(windows.WINDOW // timedelta(minutes=1)) / 60  # of a window
Prices = Mapping[tuple[str, str], costs.KnownPrice]  # by region and key
_LAST_DIGIT = Decimal("1e-18")  # of cost_metrics


@dataclass(frozen=True)
class Costing:
    """Collects the costs of one provider's customers; they share what its price list says."""

    provider: str
    clickhouse: ClickHouse
    settings: Settings
    _lock: Lock = field(default_factory=Lock)
    _prices: dict[datetime, Prices] = field(default_factory=dict)  # by the window that they held in

    def collect(self, _provider: str, task: Task, _settings: Settings, now: Callable[[], datetime], put: Put) -> None:
        """The estimates of the task's windows and, where the newest of them is the present one, the bills."""
        customer, meter, problems = task.customer, Meter(task.left_usd), list[Problem]()
        newest = max(task.windows)
        present = newest if Due(self.settings, now()).present(newest) else None
        if present is not None:
            problems += self._read_bills(task, now, put, meter)
        calls, usd = 0, Decimal(0)
        for window in sorted(task.windows, reverse=True):
            rows, unknown = self._estimated(task, window, now(), meter)
            found = [*(problems if window == present else ()), *unknown]
            status = Outcome.OK if not found else Outcome.PARTIAL if rows is not None else Outcome.FAILED
            put(
                Slices(
                    customer.id,
                    self.provider,
                    [window],
                    status,
                    rows=rows,
                    error=describe(found),
                    permanent=bool(found) and all(problem.cause.permanent for problem in found),
                    api_calls=meter.calls.total() - calls,
                    api_cost_usd=meter.cost_usd - usd,
                )
            )
            calls, usd = meter.calls.total(), meter.cost_usd

    # --- Bills ------------------------------------------------------------------------------------------------------

    def _read_bills(self, task: Task, now: Callable[[], datetime], put: Put, meter: Meter) -> list[Problem]:
        """Read the bills that are due, and put the days that were read; gives what could not be read."""
        customer, at = task.customer, now().astimezone(UTC).replace(microsecond=0)
        module = importlib.import_module(f"optiinfra_dagster.providers.{self.provider}.cost")
        sources: list[Source[Any]] = module.sources(customer.accounts(self.provider))
        with self.clickhouse.session() as client:
            known = costs.readings(client, self.provider, [customer.id], at)
        never = costs.Readings()
        of_source = {source.id: known.get((customer.id, source.id), never) for source in sources}
        due = [s for s in sources if task.refresh or of_source[s.id].due(at, s.cadence, s.pause)]
        if not due:
            return []
        last = at.date() - timedelta(days=1)
        request = BillRequest(
            customer.id,
            due,
            task.listed.resources if task.listed else [],
            first_to_read(at.date(), [of_source[source.id].done for source in due]),
            last,
            read_at={name: one.done for name, one in of_source.items() if one.done is not None and not task.refresh},
            memory=Memory(self.settings.dagster_home / "memory"),
        )
        cost = module.price(request)
        if task.left_usd is not None and cost > task.left_usd:
            text = (
                f"reading the bills costs up to {cost:f} USD and {task.left_usd:f} USD are left of this month's "
                "budget: not read. Raise monthly_api_budget_usd in the customers file, or wait for the next month."
            )
            return [Problem(source.id, "", "", Cause.BUDGET, text) for source in due]
        with self.clickhouse.session() as client:
            costs.note_readings(client, customer.id, self.provider, request_ids(due), at, done=False)
        bill: Bill = module.read(request, meter)
        self._put_days(task, sources, each_once(bill, sources), at, put)
        return bill.problems

    def _put_days(self, task: Task, sources: Sequence[Source[Any]], bill: Bill, at: datetime, put: Put) -> None:
        """The days that were read, in parts that were read of the same sources; the last notes that all is done."""
        names = {r.resource_id: r.resource_name for r in task.listed.resources} if task.listed else {}
        readings = [
            reading
            for source in sources
            for day in bill.read.get(source.id, ())
            for reading in _readings(source, day, bill)
        ]
        rows = tables.charge_rows(task.customer.id, self.provider, bill.charges, readings, names, at)
        together: dict[frozenset[str], list[date]] = {}
        for day in sorted({day for days in bill.read.values() for day in days}):
            read = frozenset(name for name, days in bill.read.items() if day in days)
            together.setdefault(read, []).append(day)
        # What only a person can remedy does not go away by reading again at once.
        failed = {problem.account_id for problem in bill.problems if not problem.cause.permanent}
        done = [name for name in bill.read if name not in failed]
        parts = list(together.items())
        note = partial(
            costs.note_readings,
            customer_id=task.customer.id, provider=self.provider, accounts=done, at=at, done=True,
        )  # fmt: skip
        if not parts:  # nothing is new
            with self.clickhouse.session() as client:
                note(client)
        for index, (accounts, days) in enumerate(parts):
            midnights = [tables.midnight(day) for day in days]
            put(
                Slices(
                    task.customer.id,
                    self.provider,
                    midnights,
                    Outcome.OK,
                    rows=tables.of_windows(rows, midnights),
                    dataset=tables.BILLED.name,
                    accounts=accounts,
                    after=note if index == len(parts) - 1 else None,
                )
            )

    # --- Estimates --------------------------------------------------------------------------------------------------

    def _estimated(self, task: Task, window: datetime, at: datetime, meter: Meter) -> tuple[Any, list[Problem]]:
        """What the resources of a window cost by the price list, as rows; None where there is no inventory."""
        listed = self._inventory(task, window)
        if listed is None:
            text = f"no inventory was published yet, so nothing is estimated. Collect {self.provider}/resource first."
            return None, [Problem(task.customer.id, "", "", Cause.UNAVAILABLE, text)]
        prices, problems = self._prices_in(task, listed.resources, window, at, meter)
        module = self._price_module()
        estimates = [
            estimate
            for resource in listed.resources
            if (estimate := estimated(resource, module.components(resource), prices, module.SERVICES)) is not None
        ]
        by = f"inventory of {windows.key(listed.window)} x list price"
        return tables.estimate_rows(task.customer.id, self.provider, window, estimates, by, at), problems

    def _inventory(self, task: Task, window: datetime) -> Listed | None:
        """The inventory of a window, or the newest before it."""
        if window == max(task.windows):
            return task.listed
        found = inventory.newest(self.clickhouse, self.provider, [task.customer.id], window, INVENTORY_LOOKBACK)
        return found.get(task.customer.id)

    def _prices_in(
        self, task: Task, resources: Sequence[Resource], window: datetime, at: datetime, meter: Meter
    ) -> tuple[Prices, list[Problem]]:
        """The prices that held in a window; what is missing or a day old is asked of the cloud, by one customer."""
        module, memory = self._price_module(), Memory(self.settings.dagster_home / "memory")
        wanted = {(r.region, component.key) for r in resources for component in module.components(r)}
        with self._lock:
            if window not in self._prices:
                with self.clickhouse.session() as client:
                    self._prices[window] = costs.prices(client, self.provider, window)
            known = self._prices[window]
            # What the cloud had no price for is not asked for again on the same day.
            today = at.date().isoformat()
            without = {(region, key) for region, key in memory.get("without a price", self.provider, today) or ()}
            lacking = {
                (region, key)
                for region, key in wanted - without
                if not any(
                    place in known and at - known[place].checked_at < costs.PRICES_LAST
                    for place in ((region, key), ("", key))
                )
            }
            if not lacking:
                return known, []
            given = module.fetch(task.customer.id, task.customer.accounts(self.provider), lacking, meter)
            if not given.problems:
                told = {(price.region, price.key) for price in given.prices}
                without |= {place for place in lacking if told.isdisjoint({place, ("", place[1])})}
                memory.put(sorted(without), "without a price", self.provider, today)
            with self.clickhouse.session() as client:
                costs.keep_prices(client, self.provider, given.prices, at)
                self._prices.clear()
                known = self._prices[window] = costs.prices(client, self.provider, window)
        return known, given.problems

    def _price_module(self) -> Any:
        return importlib.import_module(f"optiinfra_dagster.providers.{self.provider}.prices")


def request_ids(sources: Sequence[Source[Any]]) -> list[str]:
    """The ids of sources."""
    return [source.id for source in sources]


def first_of_month_before(day: date) -> date:
    """Where a reading begins: a month is restated until it is final, which is in the month after."""
    return (day.replace(day=1) - timedelta(days=1)).replace(day=1)


def first_to_read(today: date, read: Iterable[datetime | None]) -> date:
    """Where a reading begins that was last made at these times: after an outage with what it has missed."""
    return first_of_month_before(min([today, *(one.date() + FINAL_AFTER for one in read if one is not None)]))


def each_once(bill: Bill, sources: Sequence[Source[Any]]) -> Bill:
    """A bill without the charges of accounts that another source is the bill of: a payer's tells of its members too.

    The totals are those of what is left.
    """
    owner = {account: source.id for source in sources for account in source.covers}
    foreign = [c for c in bill.charges if owner.get(c.sub_account_id, c.billing_account_id) != c.billing_account_id]
    if not foreign:
        return bill
    less: dict[tuple[date, str, str], Decimal] = {}
    for charge in foreign:
        key = charge.day, charge.billing_account_id, charge.currency
        less[key] = less.get(key, Decimal(0)) + charge.amount
    dropped = set(map(id, foreign))
    return replace(
        bill,
        charges=[charge for charge in bill.charges if id(charge) not in dropped],
        totals=[
            replace(t, amount=t.amount - less.get((t.day, t.billing_account_id, t.currency), Decimal(0)))
            for t in bill.totals
        ],
    )


def _readings(source: Source[Any], day: date, bill: Bill) -> list[tables.Reading]:
    """That a day was read: a row for each account that the source covers, and the cloud's totals of the day."""
    covered = [tables.Reading(day, source.id, account) for account in source.covers]
    totals = [
        tables.Reading(day, source.id, source.id, total.currency, total.amount)
        for total in bill.totals
        if (total.day, total.billing_account_id) == (day, source.id)
    ]
    return covered + totals


def estimated(
    resource: Resource, components: Sequence[Component], prices: Prices, services: Mapping[str, str]
) -> Estimate | None:
    """What a resource costs in a window; None where it has no price model, or the price of a part is not known.

    `services` has the bill's name of the service that charges for each kind of resource.
    """
    if not components:
        return None
    amount, currencies = Decimal(0), set[str]()
    for component in components:
        known = prices.get((resource.region, component.key)) or prices.get(("", component.key))
        if known is None:
            return None
        amount += known.price.hourly * component.quantity * HOURS
        currencies.add(known.price.currency)
    if len(currencies) != 1:
        return None
    priced = " + ".join(f"{component.quantity.normalize():f} x {component.key}" for component in components)
    service = services.get(resource.kind, resource.kind)
    return Estimate(resource, amount.quantize(_LAST_DIGIT), currencies.pop(), priced, service)
