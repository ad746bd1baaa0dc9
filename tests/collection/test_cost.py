"""How costs of windows are collected, over a cloud of the test's own: when bills are read, and what is estimated."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from optiinfra_dagster.collection import plan, run
from optiinfra_dagster.collection.cost import CostCollector, first_day_to_read
from optiinfra_dagster.collection.plan import Context
from optiinfra_dagster.collection.run import Work, collect_slices
from optiinfra_dagster.model import windows
from optiinfra_dagster.model.cost import (
    Bill,
    Charge,
    Component,
    LeftOutBecause,
    Price,
    PriceList,
    Source,
    Total,
)
from optiinfra_dagster.model.errors import Cause
from optiinfra_dagster.model.months import first_of_month_before
from optiinfra_dagster.model.problems import Problem
from optiinfra_dagster.model.slices import SliceResult, SliceStatus
from optiinfra_dagster.providers.registry import PROVIDERS, load_customers
from optiinfra_dagster.providers.vultr.provider import Vultr
from optiinfra_dagster.storage import schema
from optiinfra_dagster.storage.bills import BillImports, bill_imports
from optiinfra_dagster.storage.cost_rows import ImportedDay, charge_rows
from optiinfra_dagster.storage.inventory import InventorySnapshot
from optiinfra_dagster.storage.rows import resource_rows
from optiinfra_dagster.storage.writer import Writer, by_dataset
from tests.support.samples import resource

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from optiinfra_dagster.collection.pool import SlotPool
    from optiinfra_dagster.model.cost import BillRequest
    from optiinfra_dagster.model.inventory import Resource
    from optiinfra_dagster.model.meter import Meter
    from tests.support.spine import Spine

PROVIDER = "vultr"  # whose modules the test's cloud stands in for
Q, H, D = windows.WINDOW, timedelta(hours=1), timedelta(days=1)
W = windows.floor(datetime.now(UTC)).replace(hour=0, minute=0) - D  # a midnight
USD = Decimal("0.01")


@dataclass
class Cloud(Vultr):
    """A provider with bills and prices as a test wants them, and what was asked."""

    sources: dict[str, tuple[str, ...]] = field(default_factory=lambda: {"payer": ("payer",)})  # id -> covers
    charges: list[Charge] = field(default_factory=list)
    totals: list[Total] = field(default_factory=list)
    days: list[date] = field(default_factory=lambda: [(W - D).date()])
    statements: set[date] = field(default_factory=set)  # where the bill tells statements of months
    failing: set[str] = field(default_factory=set)
    cadence: timedelta = 6 * H
    prices: dict[str, str] = field(default_factory=lambda: {"box": "0.4", "GiB": "0.0001"})
    bill_requests: list[BillRequest[Any]] = field(default_factory=list)
    rates: dict[str, Decimal] = field(default_factory=lambda: {"USD": Decimal(1)})  # what the list comes in
    price_lists: list[set[tuple[str, str]]] = field(default_factory=list)
    asked_in: list[str] = field(default_factory=list)
    prices_fail: bool = False

    def bill_sources(self, accounts: Sequence[Any]) -> list[Source[Any]]:
        return [Source(name, accounts[0], covers, self.cadence) for name, covers in self.sources.items()]

    def bills_price(self, request: BillRequest[Any]) -> Decimal:
        return USD * len(request.sources)

    def bills(self, request: BillRequest[Any], meter: Meter) -> Bill:
        self.bill_requests.append(request)
        bill = Bill(totals=list(self.totals))
        for source in request.sources:
            meter.count("GetBill", usd=USD)
            if source.id in self.failing:
                bill.problems.append(Problem(source.id, "", "", Cause.UNAVAILABLE, "no answer"))
                continue
            bill.read[source.id] = list(self.days)
            if self.statements:
                bill.periods[source.id] = set(self.statements)
            bill.charges += [one for one in self.charges if one.billing_account_id == source.id]
        return bill

    def components(self, resource: Resource) -> list[Component]:
        return [Component(key, Decimal(str(n))) for key, n in resource.metadata.items()]

    def bill_service(self, kind: str) -> str:
        return {"ec2:instance": "Compute"}[kind]

    def list_prices(
        self,
        customer_id: str,
        accounts: Sequence[Any],
        wanted: Collection[tuple[str, str]],
        meter: Meter,
        currency: str = "USD",
    ) -> PriceList:
        self.price_lists.append(set(wanted))
        self.asked_in.append(currency)
        meter.count("GetPrices")
        if self.prices_fail:
            return PriceList(problems=[Problem("payer", "", "", Cause.UNAVAILABLE, "no price list")])
        listed_in = currency if currency in self.rates else "USD"
        return PriceList(
            [
                Price("", key, Decimal(self.prices[key]) * self.rates[listed_in], listed_in)
                for _, key in wanted
                if key in self.prices
            ]
        )


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch, spine: Spine) -> Cloud:
    """The cloud, and a customer that has it."""
    cloud = Cloud()
    # In this thread, which holds the engine open: opening it anew takes 0.1 s a time.
    monkeypatch.setattr(run, "in_flush_batches", at_once)
    monkeypatch.setitem(PROVIDERS, PROVIDER, cloud)
    customers(spine)
    return cloud


def at_once(work: Work, tasks: Sequence[Any], _slots: SlotPool) -> Iterator[list[SliceResult]]:
    """The customers one after the other."""
    for task in tasks:
        yield list(work(task))


def customers(spine: Spine, **fields: Any) -> None:
    extra = "".join(f", {name}: {value}" for name, value in fields.items())
    spine.settings.customers_path.write_text(
        f"customers:\n  - {{id: acme, name: A, vultr: [{{api_key: {{env: K}}}}]{extra}}}\n"
    )


MACHINE = resource("i-1", account_id="payer", metadata={"box": 2, "GiB": 100})
PER_WINDOW = (2 * Decimal("0.4") + 100 * Decimal("0.0001")) / 4


def inventoried(spine: Spine, *found: Resource, window: datetime = W) -> None:
    rows = resource_rows("acme", PROVIDER, window, found or [MACHINE], window)
    Writer(spine.clickhouse, schema.RESOURCE).flush(
        [SliceResult("acme", PROVIDER, [window], SliceStatus.OK, rows=rows)]
    )


def collect(spine: Spine, *asked: datetime, now: datetime | None = None, refresh: bool = False) -> list[SliceResult]:
    """Collect windows like the asset does, by default five minutes after the newest; gives what was put."""
    at = now or later(max(asked))
    context = Context(PROVIDERS[PROVIDER], spine.clickhouse, spine.settings, lambda: at)
    batches = collect_slices(context, "cost", load_customers(spine.settings.customers_path), asked, refresh=refresh)
    put = []
    for batch in batches:
        for name, part in by_dataset(batch, "cost").items():
            Writer(spine.clickhouse, schema.DATASETS[name], run_id="test").flush(part)
        put += [one for one in batch if isinstance(one, SliceResult)]
    return put


def later(window: datetime) -> datetime:
    """When a window is collected."""
    return window + Q + timedelta(minutes=5)


def charge(amount: str, account: str = "payer", bill: str = "payer", day: date | None = None) -> Charge:
    return Charge(day or (W - D).date(), bill, account, "Compute", Decimal(amount), "USD")


def seen(spine: Spine) -> list[tuple[Any, ...]]:
    """What costs are: kind, account, amount, in the order of time."""
    rows = spine.query("SELECT cost_kind, sub_account_id, amount FROM costs ORDER BY window_start, sub_account_id")
    return [tuple(row.values()) for row in rows]


# --- Bills -----------------------------------------------------------------------------------------------------------


def test_in_a_day_a_bill_is_read_at_its_cadence_and_every_call_is_metered(cloud: Cloud, spine: Spine) -> None:
    put: list[SliceResult] = []
    [customer] = load_customers(spine.settings.customers_path)
    writer = Writer(spine.clickhouse, schema.BILLED)
    moment = W
    context = plan.Context(PROVIDERS[PROVIDER], spine.clickhouse, spine.settings, now=lambda: moment)
    collector = CostCollector(context)
    for window in [*windows.within(W, D)][::4]:
        moment = later(window)
        found = list(collector.collect(plan.Task(customer, (window,), InventorySnapshot(W, [MACHINE]))))
        if bills := [one for one in found if one.dataset]:  # writing the estimates takes its time
            writer.flush(bills)
        put += found

    assert len(cloud.bill_requests) == 4
    assert sum(one.api_calls for one in put) == len(cloud.bill_requests) + len(cloud.price_lists)
    assert sum(one.api_cost_usd for one in put) == 4 * USD
    first, *others = cloud.bill_requests
    assert (first.first, first.last) == (first_of_month_before(W.date()), (W - D).date())
    assert first.read_at == {}
    read_at = later(W)
    assert [one.read_at for one in others] == [{"payer": read_at + n * 6 * H} for n in range(3)]
    assert [r.resource_id for r in first.resources] == ["i-1"]


def test_bills_are_read_with_the_present_window_only_and_whenever_a_refresh_asks(cloud: Cloud, spine: Spine) -> None:
    inventoried(spine)
    collect(spine, W, now=W + D)
    assert cloud.bill_requests == []
    collect(spine, W + Q)
    collect(spine, W + 2 * Q)
    assert len(cloud.bill_requests) == 1
    collect(spine, W + 2 * Q, refresh=True)
    assert len(cloud.bill_requests) == 2
    assert cloud.bill_requests[-1].read_at == {}  # all of it again


def test_a_bill_over_the_budget_is_not_read_and_the_estimate_is_there(cloud: Cloud, spine: Spine) -> None:
    inventoried(spine)
    customers(spine, monthly_api_budget_usd=str(USD / 2))
    [one] = collect(spine, W)
    assert cloud.bill_requests == []
    assert (one.status, one.api_cost_usd) == (SliceStatus.PARTIAL, Decimal(0))
    for part in ("0.01 USD", "0.005", "monthly_api_budget_usd"):
        assert part in one.error
    assert seen(spine) == [("estimated", "payer", PER_WINDOW)]
    customers(spine, monthly_api_budget_usd="1")
    collect(spine, W + Q)  # and not an hour later
    assert len(cloud.bill_requests) == 1


def test_what_bills_cost_is_taken_from_the_months_budget(cloud: Cloud, spine: Spine) -> None:
    inventoried(spine)
    cloud.cadence = Q
    customers(spine, monthly_api_budget_usd=str(2 * USD))
    statuses = [collect(spine, W + n * Q)[-1].status for n in range(3)]
    assert statuses == [SliceStatus.OK, SliceStatus.OK, SliceStatus.PARTIAL]
    assert len(cloud.bill_requests) == 2


def test_a_read_day_replaces_its_estimate_and_a_reading_again_changes_nothing(cloud: Cloud, spine: Spine) -> None:
    inventoried(spine, window=W - D)
    collect(spine, W - D + Q, now=W)
    assert seen(spine) == [("estimated", "payer", PER_WINDOW)]
    cloud.charges = [charge("12.5")]
    collect(spine, W)
    collect(spine, W, refresh=True)
    assert seen(spine) == [("billed", "payer", Decimal("12.5")), ("estimated", "payer", PER_WINDOW)]
    assert spine.query("SELECT * FROM cost_restatements_current") == []


def test_a_source_that_failed_keeps_its_days_and_is_asked_again_after_its_pause(cloud: Cloud, spine: Spine) -> None:
    inventoried(spine)
    cloud.sources = {"a": ("a",), "b": ("b",)}
    cloud.charges = [charge("1", "a", "a"), charge("2", "b", "b")]
    collect(spine, W)
    cloud.charges = [charge("10", "a", "a"), charge("20", "b", "b")]
    cloud.failing = {"b"}
    put = collect(spine, W + 24 * Q)

    assert seen(spine)[:2] == [("billed", "a", Decimal(10)), ("billed", "b", Decimal(2))]
    [estimate] = [one for one in put if not one.dataset]
    assert (estimate.status, "b: no answer" in estimate.error) == (SliceStatus.PARTIAL, True)
    asked = [[s.id for s in one.sources] for one in cloud.bill_requests]
    collect(spine, W + 25 * Q)
    assert [[s.id for s in one.sources] for one in cloud.bill_requests] == asked == [["a", "b"], ["a", "b"]]
    cloud.failing = set()
    collect(spine, W + 28 * Q)
    assert [s.id for s in cloud.bill_requests[-1].sources] == ["b"]
    assert seen(spine)[:2] == [("billed", "a", Decimal(10)), ("billed", "b", Decimal(20))]


def test_what_was_wrong_with_a_bill_is_told_until_it_is_read_again(cloud: Cloud, spine: Spine) -> None:
    """Whatever asks for the windows between, such as a repair; and only a repair that may help is made."""
    inventoried(spine)
    cloud.sources = {"a": ("a",), "b": ("b",)}
    cloud.failing = {"b"}
    windows_of = [W + n * Q for n in (0, 0, 1, 2, 3)]
    told = [collect(spine, window)[-1] for window in windows_of]
    assert [one.status for one in told] == [SliceStatus.PARTIAL] * 5
    assert {one.permanent for one in told} == {True}
    assert told[0].error == "b: no answer"
    again = f"{W + 4 * Q + timedelta(minutes=20):%Y-%m-%d %H:%M} UTC"
    assert {one.error for one in told[1:]} == {
        f"b: no answer. It is read again after {again}, or at once with `--refresh`"
    }
    assert len(cloud.bill_requests) == 1
    cloud.failing = set()
    assert [collect(spine, W + n * Q)[-1].status for n in (5, 6)] == [SliceStatus.OK] * 2


def test_a_month_that_had_charges_is_kept_where_its_bill_turns_empty(cloud: Cloud, spine: Spine) -> None:
    inventoried(spine)
    before = first_of_month_before((W - D).date())
    cloud.days = [before, (W - D).date()]
    cloud.charges = [charge("3", day=before), charge("4")]
    cloud.totals = [
        Total(day, "payer", "USD", Decimal(n), is_apart=True) for day, n in zip(cloud.days, (3, 4), strict=True)
    ]
    collect(spine, W)

    cloud.charges, cloud.totals = [charge("5", day=before)], [Total(before, "payer", "USD", Decimal(5), is_apart=True)]
    put = collect(spine, W + 24 * Q)

    billed = [row for row in seen(spine) if row[0] == "billed"]
    assert billed == [("billed", "payer", Decimal(5)), ("billed", "payer", Decimal(4))]
    [estimate] = [one for one in put if not one.dataset]
    assert estimate.status is SliceStatus.PARTIAL
    assert f"payer: the bill has nothing of {W - D:%Y-%m} now, and had charges before" in estimate.error
    assert "optiinfra collect --refresh" in estimate.error
    told = spine.query("SELECT metadata FROM cost_metrics_current WHERE cost_type = 'reading' ORDER BY window_start")
    assert [row["metadata"] for row in told if "total" in row["metadata"]][-1].count('"4"') == 1

    collect(spine, W + 28 * Q)  # after the pause, not after the cadence
    assert len(cloud.bill_requests) == 3
    cloud.charges = [charge("5", day=before), charge("0")]  # a line of nothing says so
    cloud.totals = []
    collect(spine, W + 32 * Q)
    assert [row[2] for row in seen(spine) if row[0] == "billed"] == [Decimal(5), Decimal(0)]


def test_a_person_may_have_an_empty_bill_taken_as_it_is(cloud: Cloud, spine: Spine) -> None:
    inventoried(spine)
    cloud.charges = [charge("4")]
    collect(spine, W)
    cloud.charges = []
    collect(spine, W, refresh=True)
    assert [row for row in seen(spine) if row[0] == "billed"] == []
    put = collect(spine, W + 24 * Q)  # and then it stays so
    assert {one.status for one in put} == {SliceStatus.OK}


@pytest.mark.parametrize("of_another", [True, False])
def test_a_statement_that_turns_empty_keeps_its_charges_of_any_day(
    cloud: Cloud, spine: Spine, *, of_another: bool
) -> None:
    """And only it: another statement's charges of the same days are replaced."""
    inventoried(spine)
    day = (W - D).date()
    month, before = day.replace(day=1), first_of_month_before(day)
    cloud.days = [before, day]
    cloud.statements = {month, before}
    cloud.charges = [replace(charge("3", day=before), period=month), charge("7", day=before)]
    collect(spine, W)
    cloud.charges = [charge("8", day=before)] if of_another else [replace(charge("2", day=before), period=month)]
    put = collect(spine, W + 24 * Q)

    amounts = sorted(row[2] for row in seen(spine) if row[0] == "billed")
    assert amounts == ([Decimal(3), Decimal(8)] if of_another else [Decimal(2), Decimal(7)])
    [estimate] = [one for one in put if not one.dataset]
    kept = month if of_another else before
    assert f"the bill has nothing of {kept:%Y-%m} now" in estimate.error


def test_what_was_left_out_is_a_line_too(cloud: Cloud, spine: Spine) -> None:
    inventoried(spine)
    cloud.sources = {"payer": ("payer",)}
    cloud.charges = [charge("4")]
    collect(spine, W)
    cloud.charges = [charge("4", "another")]
    put = collect(spine, W + 24 * Q)
    assert [row for row in seen(spine) if row[0] == "billed"] == []
    assert {one.status for one in put} == {SliceStatus.OK}


def test_a_bill_that_tells_nothing_new_is_read(cloud: Cloud, spine: Spine) -> None:
    inventoried(spine)
    cloud.days = []
    collect(spine, W)
    collect(spine, W + 12 * Q)
    assert len(cloud.bill_requests) == 1


def test_a_payers_bill_gives_the_accounts_that_it_covers_and_tells_what_was_left_out(
    cloud: Cloud, spine: Spine
) -> None:
    """The payer's bill tells of all its members: one that it covers, one with a bill of its own, one of nobody here."""
    inventoried(spine)
    day = (W - D).date()
    cloud.sources = {"payer": ("payer", "covered"), "member": ("member",)}
    cloud.charges = [
        charge("1"), charge("2", "covered"), charge("4", "member"), charge("8", "unlisted"),
        charge("4", "member", "member"),
    ]  # fmt: skip
    cloud.totals = [Total(day, "payer", "USD", Decimal(15)), Total(day, "member", "USD", Decimal(4))]
    collect(spine, W)
    assert [row for row in seen(spine) if row[0] == "billed"] == [
        ("billed", "covered", 2), ("billed", "member", 4), ("billed", "payer", 1),
    ]  # fmt: skip
    left_out = spine.query(
        "SELECT billing_account_id, sub_account_id, charge_description, amount, metadata FROM cost_metrics_current "
        "WHERE cost_type = 'left_out' ORDER BY ALL"
    )
    assert [tuple(row.values()) for row in left_out] == [
        ("payer", "member", LeftOutBecause.ANOTHER_BILL, 4, '{"rows":1}'),
        ("payer", "unlisted", LeftOutBecause.ANOTHER_ACCOUNT, 8, '{"rows":1}'),
    ]
    told = spine.query(
        "SELECT billing_account_id, JSONExtractString(metadata, 'total') AS total FROM cost_metrics_current "
        "WHERE cost_type = 'reading' AND currency != '' ORDER BY ALL"
    )
    assert [tuple(row.values()) for row in told] == [("member", "4"), ("payer", "15")]
    read = spine.query(
        "SELECT sub_account_id FROM cost_metrics_current WHERE cost_type = 'reading' AND currency = '' ORDER BY ALL"
    )
    assert [row["sub_account_id"] for row in read] == ["covered", "member", "payer"]


def test_a_kill_while_a_bill_is_read_is_not_paid_for_again_at_once(
    cloud: Cloud, spine: Spine, monkeypatch: pytest.MonkeyPatch
) -> None:
    inventoried(spine)

    def killed(request: BillRequest[Any], meter: Meter) -> Bill:
        cloud.bill_requests.append(request)
        raise KeyError

    with monkeypatch.context() as patch:
        patch.setattr(cloud, "bills", killed)
        collect(spine, W)
    collect(spine, W + Q)
    assert len(cloud.bill_requests) == 1
    collect(spine, W + 5 * Q)
    assert len(cloud.bill_requests) == 2


# --- Estimates -------------------------------------------------------------------------------------------------------


def test_without_an_inventory_nothing_is_estimated_and_the_bill_is_read(cloud: Cloud, spine: Spine) -> None:
    cloud.charges = [charge("12.5")]
    put = collect(spine, W)
    [estimate] = [one for one in put if not one.dataset]
    assert estimate.status is SliceStatus.FAILED
    assert f"Collect {PROVIDER}/resource first" in estimate.error
    assert seen(spine) == [("billed", "payer", Decimal("12.5"))]


def test_a_resource_with_a_part_of_unknown_price_has_no_estimate_and_is_asked_for_once_a_day(
    cloud: Cloud, spine: Spine
) -> None:
    inventoried(spine, MACHINE, resource("i-2", metadata={"box": 1, "gold": 1}), resource("vpc", metadata={}))
    for n in range(3):
        [*_, one] = collect(spine, W + n * Q)
        assert one.status is SliceStatus.OK
    assert {row[2] for row in seen(spine)} == {PER_WINDOW}
    assert cloud.price_lists == [{("us-east-1", key) for key in ("box", "GiB", "gold")}]
    cloud.prices["gold"] = "5"
    collect(spine, W + D)
    assert len(cloud.price_lists) == 2
    assert max(row[2] for row in seen(spine)) == (Decimal("0.4") + 5) / 4


def test_prices_are_asked_for_daily_and_a_window_has_the_price_of_its_time(cloud: Cloud, spine: Spine) -> None:
    inventoried(spine, window=W - D)
    collect(spine, W - D)
    cloud.prices["box"] = "0.8"
    collect(spine, W - D + 4 * H)
    collect(spine, W + Q)  # seen after the window had begun
    collect(spine, W + 2 * Q)
    collect(spine, W + 3 * Q)
    collect(spine, W - D + 8 * H, now=W + 2 * H)  # a window of the past
    assert len(cloud.price_lists) == 2
    rows = spine.query("SELECT amount FROM cost_metrics_current WHERE cost_kind = 'estimated' ORDER BY window_start")
    assert [row["amount"] - PER_WINDOW for row in rows] == [0, 0, 0, 0, 0, Decimal("0.2")]


def test_an_estimate_says_how_it_came_about(cloud: Cloud, spine: Spine) -> None:
    inventoried(spine)
    collect(spine, W + Q)
    [row] = spine.query("SELECT * FROM cost_metrics_current WHERE cost_kind = 'estimated'")
    assert row["estimated_by"] == f"inventory of {windows.key(W)} x list price"
    assert row["metadata"] == '{"priced":"100 x GiB + 2 x box"}'
    assert row["service_name"] == "Compute"  # as the bill has it
    assert (row["is_final"], row["billed_cost"], row["charge_period_end"]) == (False, None, W + 2 * Q)


def billed_in(currency: str, account: str = "payer", day: date | None = None) -> Charge:
    return replace(charge("1", account, day=day), currency=currency)


def estimates(spine: Spine) -> dict[str, list[tuple[Decimal, str]]]:
    """What each resource is estimated to cost, with its currency, in the order of time."""
    rows = spine.query(
        "SELECT resource_id, amount, currency FROM cost_metrics_current WHERE cost_kind = 'estimated' "
        "ORDER BY window_start"
    )
    told: dict[str, list[tuple[Decimal, str]]] = {}
    for row in rows:
        told.setdefault(row["resource_id"], []).append((row["amount"], row["currency"]))
    return told


def test_an_estimate_is_in_the_currency_that_its_account_is_billed_in(cloud: Cloud, spine: Spine) -> None:
    """Of three accounts one is billed in EUR, one in GBP since yesterday, and one not yet."""
    cloud.rates |= {"EUR": Decimal("0.9"), "GBP": Decimal("0.8")}
    accounts = {"i-eur": "payer", "i-gbp": "british", "i-new": "new"}
    inventoried(spine, *(resource(name, account_id=one, metadata={"box": 1}) for name, one in accounts.items()))
    cloud.sources = {"payer": ("payer", "british", "new")}
    cloud.days = [(W - 2 * D).date(), (W - D).date()]
    cloud.charges = [
        billed_in("EUR", day=(W - 2 * D).date()), billed_in("USD", "british", (W - 2 * D).date()),
        billed_in("GBP", "british"),
    ]  # fmt: skip
    collect(spine, W)  # no bill is known before it
    collect(spine, W + Q)
    collect(spine, W + 2 * Q)
    dollars = (Decimal("0.1"), "USD")
    assert estimates(spine) == {
        "i-eur": [dollars, *[(Decimal("0.09"), "EUR")] * 2],
        "i-gbp": [dollars, *[(Decimal("0.08"), "GBP")] * 2],
        "i-new": [dollars, *[(Decimal("0.08"), "GBP")] * 2],  # as the newest of the customer's bills
    }
    assert sorted(cloud.asked_in) == ["EUR", "GBP", "USD"]  # each once a day


def test_where_the_list_does_not_come_in_the_bills_currency_the_estimate_stays_in_the_lists(
    cloud: Cloud, spine: Spine
) -> None:
    inventoried(spine)
    cloud.charges = [billed_in("EUR")]
    for n in range(4):
        collect(spine, W + n * Q)
    assert estimates(spine) == {"i-1": [(PER_WINDOW, "USD")] * 4}
    assert cloud.asked_in == ["USD", "EUR"]  # and not again on that day


def test_a_list_that_failed_is_not_taken_to_lack_the_currency(cloud: Cloud, spine: Spine) -> None:
    inventoried(spine)
    cloud.rates["EUR"] = Decimal("0.9")
    cloud.charges = [billed_in("EUR")]
    collect(spine, W)
    cloud.prices_fail = True
    [*_, one] = collect(spine, W + Q)
    assert (one.status, "no price list" in one.error) == (SliceStatus.PARTIAL, True)
    cloud.prices_fail = False
    collect(spine, W + 2 * Q)
    assert estimates(spine) == {"i-1": [(PER_WINDOW, "USD"), (PER_WINDOW * Decimal("0.9"), "EUR")]}


def test_customers_billed_in_different_currencies_share_a_list(cloud: Cloud, spine: Spine) -> None:
    cloud.rates["EUR"] = Decimal("0.9")
    spine.settings.customers_path.write_text(
        "customers:\n  - {id: acme, name: A, vultr: [{api_key: {env: K}}]}\n"
        "  - {id: hooli, name: H, vultr: [{api_key: {env: L}}]}\n"
    )
    inventoried(spine)
    rows = resource_rows("hooli", PROVIDER, W, [MACHINE], W)
    Writer(spine.clickhouse, schema.RESOURCE).flush([SliceResult("hooli", PROVIDER, [W], SliceStatus.OK, rows=rows)])
    collect(spine, W)
    collect(spine, W + Q)
    read = [ImportedDay((W - D).date(), "payer", "payer")]
    charged = charge_rows("hooli", PROVIDER, Bill([billed_in("EUR")]), read, {}, W)
    Writer(spine.clickhouse, schema.BILLED).flush(
        [SliceResult("hooli", PROVIDER, [W - D], SliceStatus.OK, rows=charged, dataset="cost_billed")]
    )
    collect(spine, W + 2 * Q)
    told = spine.query(
        "SELECT customer_id, argMax(currency, window_start) AS currency, argMax(amount, window_start) AS amount "
        "FROM cost_metrics_current WHERE cost_kind = 'estimated' GROUP BY customer_id ORDER BY customer_id"
    )
    assert [tuple(row.values()) for row in told] == [
        ("acme", "USD", PER_WINDOW), ("hooli", "EUR", PER_WINDOW * Decimal("0.9")),
    ]  # fmt: skip
    assert cloud.asked_in == ["USD", "EUR"]


# --- Hours of a month ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("month", "created", "hours"),
    [
        (date(2026, 3, 1), None, 672),  # of 744
        (date(2026, 2, 1), None, 672),  # all of them
        (date(2026, 4, 1), datetime(2025, 1, 1, tzinfo=UTC), 672),
        (date(2026, 3, 1), datetime(2026, 3, 2, 0, 40, tzinfo=UTC), 672),  # of 720
        (date(2026, 3, 1), datetime(2026, 3, 21, tzinfo=UTC), 264),
    ],
)
def test_a_month_costs_so_many_hours_at_most(month: date, created: datetime | None, hours: int) -> None:
    part = Component("plan", Decimal(1), 672)
    start, end = (datetime.combine(day, time(), UTC) for day in (month, (month + 31 * D).replace(day=1)))
    charged = {
        at: part.charged_hours(at, Q, created)
        for at in windows.within(start, end - start)
        if created is None or at >= created.replace(minute=0)
    }
    assert sum(charged.values()) == hours
    assert set(charged.values()) <= {Decimal("0.25"), Decimal(0)}
    assert list(charged.values()) == sorted(charged.values(), reverse=True)  # first what is charged, then what is not


def test_every_hour_is_charged_where_there_is_no_limit() -> None:
    assert Component("box", Decimal(1)).charged_hours(W + 29 * D, Q, None) == Decimal("0.25")


@pytest.mark.parametrize(
    ("read", "first"),
    [
        ([], date(2026, 10, 1)),
        ([None, datetime(2026, 11, 20, 23, 50, tzinfo=UTC)], date(2026, 10, 1)),
        ([datetime(2026, 11, 20, tzinfo=UTC), datetime(2026, 9, 30, tzinfo=UTC)], date(2026, 9, 1)),
        ([datetime(2026, 9, 8, tzinfo=UTC)], date(2026, 8, 1)),  # August was not final when the outage began
    ],
)
def test_a_reading_after_an_outage_begins_with_what_was_not_final_before_it(
    read: list[datetime | None], first: date
) -> None:
    assert first_day_to_read(date(2026, 11, 22), read) == first


def test_readings_are_noted_before_the_first_call(cloud: Cloud, spine: Spine) -> None:
    inventoried(spine)
    cloud.failing = {"payer"}
    collect(spine, W)
    with spine.clickhouse.session() as client:
        at = later(W)
        known = BillImports(None, at, ("no answer",))
        assert bill_imports(client, PROVIDER, ["acme"], at) == {("acme", "payer"): known}


def test_collecting_costs_tells_the_readers_how_the_customer_allocates_them(cloud: Cloud, spine: Spine) -> None:
    for fields in ({}, {"allocate_by": "[team, Env]", "shared_costs": "{categories: [Tax]}"}):
        customers(spine, **fields)
        collect(spine, W)
    rules = spine.query(
        "SELECT allocate_by, shared_services, shared_categories, shared_by FROM allocation_rules_current"
    )
    assert rules == [
        {"allocate_by": ["team", "Env"], "shared_services": [], "shared_categories": ["Tax"],
         "shared_by": "proportional"}
    ]  # fmt: skip
