"""Collects the cost family: a customer's bills, and an estimate for every window.

No cloud's bill changes every 15 minutes, so each is read at its own cadence, when the newest window is collected. Every
window has an estimate: what the inventory lists, times the price list.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeAlias

from optiinfra_dagster.collection import emptied_bills, sizes
from optiinfra_dagster.collection.list_prices import Prices, priced
from optiinfra_dagster.collection.outcome import all_permanent, status_of
from optiinfra_dagster.collection.plan import INVENTORY_LOOKBACK
from optiinfra_dagster.model import windows
from optiinfra_dagster.model.cost import BillRequest, Estimate
from optiinfra_dagster.model.errors import Cause
from optiinfra_dagster.model.inventory import Status
from optiinfra_dagster.model.meter import Meter
from optiinfra_dagster.model.months import first_of_month, first_of_month_before
from optiinfra_dagster.model.problems import Problem, describe
from optiinfra_dagster.model.slices import BillImport, MergeBilledAccounts, SliceResult, SliceStatus
from optiinfra_dagster.providers.billing import finality
from optiinfra_dagster.providers.billing.scope import keep_own
from optiinfra_dagster.providers.day_cache import DayCache
from optiinfra_dagster.storage import arrow, billed_days, bills, inventory, schema
from optiinfra_dagster.storage import sizes as stored_sizes
from optiinfra_dagster.storage.cost_rows import ImportedDay, charge_rows, estimate_rows, midnight
from optiinfra_dagster.storage.database import LEDGER_TABLE

if TYPE_CHECKING:
    import pyarrow as pa

    from optiinfra_dagster.collection.plan import Context, Task
    from optiinfra_dagster.model.cost import Bill, Source
    from optiinfra_dagster.model.inventory import Resource
    from optiinfra_dagster.model.sizes import Offer, SizeStep
    from optiinfra_dagster.providers.registry import AnyProvider
    from optiinfra_dagster.storage.inventory import InventorySnapshot

_Scope: TypeAlias = tuple[str, date | None]


class CostCollector:
    """Collects the costs of one provider's customers, who share its price list. Thread-safe."""

    def __init__(self, context: Context) -> None:
        """Take the context that the run's collections share."""
        self._context = context
        self._provider = context.provider
        self._cache = DayCache(context.settings.dagster_home / "memory")
        self._lock = Lock()
        self._prices: dict[tuple[datetime, str], Prices] = {}  # by the window that they held in, and the currency

    def collect(self, task: Task) -> Iterator[SliceResult]:
        """The estimates of the task's windows and, where the newest of them is the present one, the bills' days."""
        customer, meter, problems = task.customer, Meter(task.budget_usd), list[Problem]()
        newest = max(task.windows)
        present = newest if self._context.due().present(newest) else None
        if present is not None:
            problems += yield from self._import_bills(task, meter)
        calls, usd = 0, Decimal(0)
        for window in sorted(task.windows, reverse=True):
            rows, unknown = self._estimated(task, window, self._context.now(), meter, is_present=window == present)
            of_window = [*(problems if window == present else ()), *unknown]
            yield SliceResult(
                customer.id,
                self._provider.name,
                [window],
                status_of(of_window, has_content=rows is not None),
                rows=rows,
                error=describe(of_window),
                # What is wrong with bills alone asks for no repair: they are read again at their cadence.
                permanent=bool(of_window) and (not unknown or all_permanent(unknown)),
                api_calls=meter.calls.total() - calls,
                api_cost_usd=meter.cost_usd - usd,
            )
            calls, usd = meter.calls.total(), meter.cost_usd

    # --- Bills ------------------------------------------------------------------------------------------------------

    def _import_bills(self, task: Task, meter: Meter) -> Generator[SliceResult, None, list[Problem]]:
        """Read the bills that are due and yield the days that were read; returns what could not be read.

        What was wrong with the last reading of the others is told until they are read again.
        """
        customer, at = task.customer, self._context.now().astimezone(UTC).replace(microsecond=0)
        sources = self._provider.bill_sources(customer.accounts(self._provider.name))
        with self._context.clickhouse.session(reads="cost_readings") as client:
            known = bills.bill_imports(client, self._provider.name, [customer.id], at)
        never = bills.BillImports()
        of_source = {source.id: known.get((customer.id, source.id), never) for source in sources}
        due = [s for s in sources if task.refresh or of_source[s.id].due(at, s.cadence, s.pause)]
        not_due = [source for source in sources if source not in due]
        still_wrong = [problem for source in not_due for problem in _last_problems(source, of_source[source.id])]
        if not due:
            return still_wrong
        request = BillRequest(
            customer.id,
            due,
            task.snapshot.resources if task.snapshot else [],
            first_day_to_read(at.date(), [of_source[source.id].done for source in due]),
            at.date() - timedelta(days=1),
            read_at={} if task.refresh else {name: b.done for name, b in of_source.items() if b.done is not None},
            memory=self._cache,
            now=at,
        )
        cost = self._provider.bills_price(request)
        if task.budget_usd is not None and cost > task.budget_usd:
            text = (
                f"reading the bills costs up to {cost:f} USD and {task.budget_usd:f} USD are left of this month's "
                "budget: not read. Raise monthly_api_budget_usd in the customers file, or wait for the next month."
            )
            return [*still_wrong, *(Problem(source.id, "", "", Cause.BUDGET, text) for source in due)]
        with self._context.clickhouse.session(writes="cost_readings") as client:
            bills.record_imports(client, customer.id, self._provider.name, [s.id for s in due], at, done=False)
        bill = keep_own(self._provider.bills(request, meter), sources)
        if not task.refresh:
            bill = emptied_bills.without_emptied(bill, partial(self._charged, customer.id, bill.periods))
        problems: dict[str, list[str]] = {}
        for problem in bill.problems:
            problems.setdefault(problem.account_id, []).append(problem.message)
        if problems:
            with self._context.clickhouse.session(writes="cost_readings") as client:
                bills.record_problems(client, customer.id, self._provider.name, problems, at)
        yield from self._days(task, sources, bill, at)
        return [*still_wrong, *bill.problems]

    def _charged(
        self, customer_id: str, statements: Collection[str], days: Mapping[str, Collection[date]]
    ) -> dict[str, set[date]]:
        with self._context.clickhouse.session(reads=f"{LEDGER_TABLE} cost_metrics") as client:
            return billed_days.charged(client, customer_id, self._provider.name, statements, days)

    def _days(self, task: Task, sources: Sequence[Source[Any]], bill: Bill, at: datetime) -> Iterator[SliceResult]:
        """The days that were read, in parts that were read of the same sources; the last records the import.

        A statement also has its charges of days outside of its month, of which nothing else is told.
        """
        customer, name = task.customer.id, self._provider.name
        resources = {r.resource_id: r for r in task.snapshot.resources} if task.snapshot else {}
        imported = [
            row for source in sources for day in bill.read.get(source.id, ()) for row in _imported(source, day, bill)
        ]
        with self._context.clickhouse.session(reads=f"{LEDGER_TABLE} cost_metrics") as client:
            before = billed_days.outside(client, customer, name, bill.periods)
        rows = charge_rows(customer, name, bill, imported, resources, at)
        days_by_source = {source_id: {*days, *before.get(source_id, ())} for source_id, days in bill.read.items()}
        for charge in bill.charges:
            days_by_source.setdefault(charge.billing_account_id, set()).add(charge.day)
        for part in bill.left_out:
            days_by_source.setdefault(part.billing_account_id, set()).add(part.day)
        days_of: dict[frozenset[_Scope], list[date]] = {}
        for day in sorted({day for days in days_by_source.values() for day in days}):
            days_of.setdefault(_scopes(bill, days_by_source, day), []).append(day)
        # What only a person can remedy does not go away by reading again at once.
        failed = {problem.account_id for problem in bill.problems if not problem.cause.permanent}
        ended = BillImport([source_id for source_id in bill.read if source_id not in failed], at)
        if not days_of:  # nothing is new
            with self._context.clickhouse.session(writes="cost_readings") as client:
                bills.record_imports(client, customer, name, ended.accounts, at, done=True)
        for index, (scopes, days) in enumerate(days_of.items()):
            midnights = [midnight(day) for day in days]
            yield SliceResult(
                customer,
                name,
                midnights,
                SliceStatus.OK,
                rows=arrow.of_windows(rows, midnights),
                dataset=schema.BILLED.name,
                mode=MergeBilledAccounts(
                    {source_id for source_id, period in scopes if period is None},
                    ended if index == len(days_of) - 1 else None,
                    {(source_id, period) for source_id, period in scopes if period is not None},
                ),
            )

    # --- Estimates --------------------------------------------------------------------------------------------------

    def _estimated(
        self, task: Task, window: datetime, at: datetime, meter: Meter, *, is_present: bool
    ) -> tuple[pa.Table | None, list[Problem]]:
        """The estimates of a window as rows; None where there is no inventory.

        Of the present window it is also recorded what machines would cost in a smaller type.
        """
        snapshot = self._snapshot(task, window)
        if snapshot is None:
            collect_first = f"{self._provider.name}/resource"
            text = f"no inventory was published yet, so nothing is estimated. Collect {collect_first} first."
            return None, [Problem(task.customer.id, "", "", Cause.UNAVAILABLE, text)]
        existing = [resource for resource in snapshot.resources if resource.status is not Status.TERMINATED]
        machines: list[SizeStep] = []
        problems: list[Problem] = []
        if is_present:
            with self._lock:
                machines, problems = sizes.sized(self._provider, task, existing, self._cache, at, meter)
        estimates: list[Estimate] = []
        offers: list[Offer] = []
        for currency, resources in self._by_currency(task.customer.id, existing, at).items():
            machines_of_currency = sizes.among(resources, machines)
            smaller = [machine.smaller for machine in machines_of_currency if machine.smaller is not None]
            prices, unknown = self._prices_in(task, [*resources, *smaller], window, at, meter, currency)
            problems += unknown
            found = (estimated(resource, self._provider, prices, window) for resource in resources)
            estimates += [estimate for estimate in found if estimate is not None]
            offers += [sizes.offer(machine, self._provider, prices) for machine in machines_of_currency]
        if offers:
            with self._context.clickhouse.session(writes="machine_sizes") as client:
                stored_sizes.keep(client, task.customer.id, self._provider.name, window, offers, at)
        by = f"inventory of {windows.key(snapshot.window)} x list price"
        return estimate_rows(task.customer.id, self._provider.name, window, estimates, by, at), problems

    def _snapshot(self, task: Task, window: datetime) -> InventorySnapshot | None:
        """The inventory of a window, or the newest before it."""
        if window == max(task.windows):
            return task.snapshot
        clickhouse, customer = self._context.clickhouse, task.customer.id
        newest = inventory.newest(clickhouse, self._provider.name, [customer], window, INVENTORY_LOOKBACK)
        return newest.get(customer)

    def _by_currency(self, customer_id: str, resources: Sequence[Resource], at: datetime) -> dict[str, list[Resource]]:
        """The resources by the currency that their account is billed in, as far as a bill has told; else USD."""
        with self._context.clickhouse.session(reads=f"{LEDGER_TABLE} cost_metrics") as client:
            billed = bills.billed_currencies(client, self._provider.name, customer_id, at)
        groups: dict[str, list[Resource]] = {}
        for resource in resources:
            currency = billed.get(resource.account_id) or billed.get("", _DOLLARS)
            groups.setdefault(currency, []).append(resource)
        return groups

    def _prices_in(
        self, task: Task, resources: Sequence[Resource], window: datetime, at: datetime, meter: Meter, currency: str
    ) -> tuple[Prices, list[Problem]]:
        """The prices that held in a window; those missing or a day old are fetched from the cloud, by one customer.

        They are in `currency`, but for those that the cloud does not list in it.
        """
        name, of_window = self._provider.name, (window, currency)
        wanted = {(r.region, component.key) for r in resources for component in self._provider.components(r)}
        problems: list[Problem] = []
        with self._lock:
            known = self._prices.get(of_window) or self._read_prices(*of_window)
            # A key that the cloud had no price for, or in another currency, is not looked up again on the same day.
            memory = "without a price", name, currency, at.date().isoformat()
            unpriced = {(region, key) for region, key in self._cache.get(*memory) or ()}
            lacking = {
                (region, key)
                for region, key in wanted - unpriced
                if not any(
                    place in known
                    and known[place].price.currency == currency
                    and at - known[place].checked_at < bills.PRICES_LAST
                    for place in ((region, key), ("", key))
                )
            }
            if lacking:
                other = {} if currency == _DOLLARS else {"currency": currency}
                accounts = task.customer.accounts(name)
                answer = self._provider.list_prices(task.customer.id, accounts, lacking, meter, **other)
                problems = answer.problems
                if not problems:
                    priced = {(price.region, price.key) for price in answer.prices if price.currency == currency}
                    unpriced |= {place for place in lacking if priced.isdisjoint({place, ("", place[1])})}
                    self._cache.put(sorted(unpriced), *memory)
                with self._context.clickhouse.session(writes="prices") as client:
                    bills.keep_prices(client, name, answer.prices, at)
                self._prices.clear()
                known = self._read_prices(*of_window)
        return _in_currency(known, wanted, unpriced, currency), problems

    def _read_prices(self, window: datetime, currency: str) -> Prices:
        with self._context.clickhouse.session(reads="prices") as client:
            known = self._prices[window, currency] = bills.prices(client, self._provider.name, window, currency)
        return known


_DOLLARS = "USD"  # what price lists come in where nothing else is asked for


def _in_currency(
    known: Prices, wanted: Iterable[tuple[str, str]], unpriced: Collection[tuple[str, str]], currency: str
) -> Prices:
    """The prices of `wanted` in a currency; in another one where the list is known not to come in it."""
    found = {}
    for region, key in wanted:
        known_prices = [known[place] for place in ((region, key), ("", key)) if place in known]
        in_currency = [one for one in known_prices if one.price.currency == currency]
        if in_currency or (known_prices and (region, key) in unpriced):
            found[region, key] = (in_currency or known_prices)[0]
    return found


def _last_problems(source: Source[Any], known: bills.BillImports) -> Iterator[Problem]:
    """What was wrong with the last reading of a bill that is not due yet."""
    due_at = known.due_at(source.cadence, source.pause)
    for text in known.problems:
        message = f"{text.rstrip('.')}. It is read again after {due_at:%Y-%m-%d %H:%M} UTC, or at once with `--refresh`"
        yield Problem(source.id, "", "", Cause.INCOMPLETE, message)


def first_day_to_read(today: date, imported: Iterable[datetime | None]) -> date:
    """The first day to read again: the first of the previous month, or earlier if a bill's last import is older.

    `imported` are the times of the last successful import of each bill, None where there is none.
    """
    return first_of_month_before(
        min([today, *(time.date() + finality.LATEST for time in imported if time is not None)])
    )


def _scopes(bill: Bill, days_by_source: Mapping[str, Collection[date]], day: date) -> frozenset[_Scope]:
    """What the bill replaces of a day: by source, the statements that were read, or all (None)."""
    scopes = set[_Scope]()
    for source_id, days in days_by_source.items():
        if day not in days:
            continue
        if source_id not in bill.periods:
            scopes.add((source_id, None))
            continue
        scopes.update((source_id, period) for period in bill.periods[source_id])
        if day in bill.read.get(source_id, ()):  # by itself, without the rest of its month
            scopes.add((source_id, first_of_month(day)))
    return frozenset(scopes)


def _imported(source: Source[Any], day: date, bill: Bill) -> list[ImportedDay]:
    """The markers of a day that was read: one for each account that the source covers, and the cloud's totals.

    Where the customer bears the billing account's own charges, that account is covered too; its id stands in the lines.
    """
    settled = day not in bill.arriving.get(source.id, ())
    accounts = dict.fromkeys(source.covers)
    if source.account_charges:
        of_source = (charge for charge in bill.charges if charge.billing_account_id == source.id)
        accounts |= dict.fromkeys(sorted({charge.payer_account_id for charge in of_source} - {""}))
    covered = [ImportedDay(day, source.id, account, settled=settled) for account in accounts]
    totals = [
        ImportedDay(day, source.id, source.id, total.currency, total.amount, settled)
        for total in bill.totals
        if (total.day, total.billing_account_id) == (day, source.id)
    ]
    return covered + totals


def estimated(
    resource: Resource, provider: AnyProvider, prices: Prices, window: datetime | None = None
) -> Estimate | None:
    """The cost of a resource in a window; None where it has no price model, or the price of a part is not known.

    Without a window it is that of one before the month's hours are used up, where only so many are charged.
    """
    start, since = (window, resource.created_at) if window else (datetime(1970, 1, 1, tzinfo=UTC), None)
    found = priced(resource, provider, prices, lambda component: component.charged_hours(start, windows.WINDOW, since))
    if found is None:
        return None
    amount, currency, words = found
    return Estimate(resource, amount, currency, words, provider.bill_service(resource.kind))
