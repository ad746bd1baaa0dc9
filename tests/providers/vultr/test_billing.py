"""Bills of Vultr: what each day costs, against a lab whose truth is known, and against recorded answers."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optiinfra_dagster.collection.cost import estimated
from optiinfra_dagster.lab.vultr.cloud import BILLS
from optiinfra_dagster.lab.vultr.kind import LabLine
from optiinfra_dagster.lab.vultr.recordings import Recordings
from optiinfra_dagster.lab.vultr.services import KINDS as LAB_KINDS
from optiinfra_dagster.model import windows
from optiinfra_dagster.model.cost import Bill, BillRequest, Category, LeftOutBecause
from optiinfra_dagster.model.errors import Cause, CloudError
from optiinfra_dagster.model.meter import Meter
from optiinfra_dagster.providers.registry import PROVIDERS
from optiinfra_dagster.providers.vultr import bill_lines, bill_sources, billing, prices
from optiinfra_dagster.providers.vultr.inventory import collect
from optiinfra_dagster.providers.vultr.kind import plan_prices
from optiinfra_dagster.providers.vultr.services import KINDS
from optiinfra_dagster.storage.bills import KnownPrice
from tests.providers.vultr.conftest import StartLab, acme, fleet
from tests.support.bills import sums_of, totals_of
from tests.support.samples import resource

if TYPE_CHECKING:
    from optiinfra_dagster.lab import CloudLab

NOW = datetime(2026, 11, 22, 2, 40, tzinfo=UTC)
FIRST, LAST = date(2026, 10, 1), date(2026, 11, 21)
NAME = "ACME_VULTR_KEY"
FLEETS = (
    fleet("vultr:instance", 3, name="edge-{n}", region="fra"),
    fleet("vultr:instance", name="new", created=datetime(2026, 11, 3, 7, 30, tzinfo=UTC)),
    fleet("vultr:bare_metal", plan="vbm-4c-32gb"),
    fleet("vultr:block", 2, size=100),
    fleet("vultr:vfs", size=200),
    fleet("vultr:database", plan="vultr-dbaas-startup-2c-4gb", replicas=1),
    fleet("vultr:load_balancer", size=2),
    fleet("vultr:kubernetes", size=2),
    fleet("vultr:vpc"),
    fleet("vultr:snapshot", size=40),
    fleet("vultr:address"),
    fleet("vultr:registry", size=20),
    fleet("vultr:inference"),
)


def start(start_lab: StartLab, *fleets: dict[str, Any], now: datetime = NOW, **more: Any) -> CloudLab:
    """A lab at a fixed time."""
    return start_lab(*fleets, now=lambda: now, **more)


def read(
    meter: Meter | None = None,
    first: date = FIRST,
    last: date = LAST,
    *,
    inventory: bool = True,
    now: datetime | None = None,
) -> Bill:
    """Acme's bill, matched with its inventory."""
    resources = collect("acme", [acme()], Meter()).resources if inventory else []
    request = BillRequest("acme", bill_sources.bill_sources([acme()]), resources, first, last, now=now)
    assert billing.price(request) == 0
    return billing.read(request, meter or Meter())


def by_day(bill: Bill) -> dict[tuple[date, str, str], Decimal]:
    """The sums of a bill by day, service and resource."""
    sums: dict[tuple[date, str, str], Decimal] = defaultdict(Decimal)
    for charge in bill.charges:
        sums[charge.day, charge.service_name, charge.resource_id] += charge.amount
    return dict(sums)


def assert_reconciled(bill: Bill) -> None:
    """Vultr's own totals are what is charged and left out of each statement, to the last digit."""
    assert totals_of(bill) == sums_of(bill)
    assert all(total.currency == "USD" and total.is_apart for total in bill.totals)


def test_every_day_costs_what_the_account_is_charged(start_lab: StartLab) -> None:
    lab, meter = start(start_lab, *FLEETS), Meter()
    bill = read(meter)
    assert bill.problems == []
    assert bill.read == {NAME: [FIRST + timedelta(days=n) for n in range(52)]}
    assert by_day(bill) == lab.vultr.expected_costs("acme", FIRST, LAST)
    assert_reconciled(bill)
    assert {charge.day.month for charge in bill.charges if charge.is_final} == {10}
    assert {charge.day.month for charge in bill.charges if not charge.is_final} == {11}
    october = sum(charge.amount for charge in bill.charges if charge.day.month == 10)
    assert october == next(one.amount for one in lab.vultr.billing.invoices("acme", list(lab.vultr.resources()), NOW))
    calls = lab.control.calls()
    assert meter.calls == {operation: calls.count(operation=operation) for operation in meter.calls}
    assert meter.calls["get-invoice-items"] == 1  # an invoice of before the range is not read


def test_lines_are_matched_with_resources_and_the_rest_says_so(start_lab: StartLab) -> None:
    lab = start(start_lab, *FLEETS)
    bill = read()
    matched = {charge.resource_id: charge.metadata["matched_by"] for charge in bill.charges if charge.resource_id}
    paid = {one.id for one in lab.vultr.resources() if one.kind not in {"vultr:vpc", "vultr:kubernetes"}}
    assert matched.keys() == paid
    assert set(matched.values()) == {"address", "label"}
    nodes = [charge for charge in bill.charges if not charge.resource_id]
    assert nodes
    assert all(charge.description.startswith("node [") and "matched_by" not in charge.metadata for charge in nodes)
    types = {(charge.service_name, charge.cost_type) for charge in bill.charges}
    assert types == {
        ("Vultr Cloud Compute", "compute"),
        ("Bare Metal", "compute"),
        ("Block Storage", "volume"),
        ("Vultr File System", "volume"),
        ("Managed Database", "database"),
        ("Load Balancer", "load_balancer"),
        ("Snapshot", "snapshot"),
        ("Reserved IP", "address"),
        ("Container Registry", "object_storage"),
        ("Serverless Inference", "serverless"),
    }
    assert {charge.region_id for charge in bill.charges} == {"", "ewr", "fra"}


def test_a_label_of_two_resources_matches_neither(start_lab: StartLab) -> None:
    start(start_lab, fleet("vultr:block", 2, name="same"))
    assert {charge.resource_id for charge in read().charges} == {""}


def test_a_correction_of_a_past_day_is_in_the_next_reading(start_lab: StartLab) -> None:
    lab = start(start_lab, *FLEETS)
    before = by_day(read())
    lab.vultr.billing.restate("acme", date(2026, 10, 7), Decimal("-1.25"))
    lab.vultr.billing.restate("acme", date(2026, 11, 9), Decimal("2.50"))
    bill = read()
    assert_reconciled(bill)
    assert by_day(bill).items() - before.items() == {
        ((date(2026, 10, 7), "Adjustment", ""), Decimal("-1.25")),
        ((date(2026, 11, 9), "Adjustment", ""), Decimal("2.50")),
    }
    assert {charge.category for charge in bill.charges} == {Category.USAGE, Category.CREDIT}


@pytest.mark.parametrize("hour", [0, 1])
def test_a_month_is_read_once_before_and_after_its_invoice(start_lab: StartLab, hour: int) -> None:
    now = datetime(2026, 12, 1, hour, 10, tzinfo=UTC)
    lab = start(start_lab, *FLEETS, now=now)
    bill = read(first=date(2026, 11, 1), last=date(2026, 11, 30))
    assert by_day(bill) == lab.vultr.expected_costs("acme", date(2026, 11, 1), date(2026, 11, 30))
    assert_reconciled(bill)
    assert {charge.is_final for charge in bill.charges} == {hour == 1}


def test_traffic_beyond_the_quota_counts_before_a_line_says_so(start_lab: StartLab) -> None:
    lab = start(start_lab, fleet("vultr:instance"))
    lab.vultr.billing.exceed("acme", Decimal("7.75"))
    bill = read()
    over = [charge for charge in bill.charges if charge.service_name == "Bandwidth overage"]
    assert {charge.day for charge in over} == {date(2026, 11, day) for day in range(1, 22)}
    hours = Decimal(21 * 24 * 60) / (21 * 24 * 60 + 160)  # today's are left out
    assert abs(sum(charge.amount for charge in over) - Decimal("7.75") * hours) < Decimal("1e-7")
    assert {(charge.cost_type, charge.is_final) for charge in over} == {("network", False)}
    assert_reconciled(bill)


def test_an_account_that_runs_nothing_costs_nothing(start_lab: StartLab) -> None:
    start(start_lab)
    bill = read()
    assert (bill.charges, bill.totals, bill.problems) == ([], [], [])
    assert len(bill.read[NAME]) == 52


def test_a_key_without_the_permission_reads_no_day(start_lab: StartLab) -> None:
    start(start_lab, *FLEETS, acls=["subscriptions_view"])
    bill = read(inventory=False)
    assert (bill.charges, bill.totals, bill.read) == ([], [], {})
    assert [(one.account_id, one.cause) for one in bill.problems] == [(NAME, Cause.PERMISSION)]
    assert "Allow billing" in bill.problems[0].message


@pytest.mark.parametrize(
    ("operation", "months", "problems"),
    [("list-pending-charges", {10}, 1), ("get-invoice-items", {11}, 1), ("list-invoices", set(), 1)],
)
def test_what_fails_costs_only_its_own_days(
    start_lab: StartLab, operation: str, months: set[int], problems: int
) -> None:
    lab = start(start_lab, *FLEETS)
    whole = lab.vultr.expected_costs("acme", FIRST, LAST)
    lab.control.add_faults({"action": "unavailable", "operation": operation})
    bill = read()
    assert {day.month for day in bill.read.get(NAME, [])} == months
    assert by_day(bill) == {key: amount for key, amount in whole.items() if key[0].month in months}
    assert [one.cause for one in bill.problems] == [Cause.UNAVAILABLE] * problems


def test_a_key_that_may_not_read_its_account_has_charges_without_totals(start_lab: StartLab) -> None:
    lab = start(start_lab, *FLEETS)
    lab.control.add_faults({"action": "deny", "operation": "get-account"})
    bill = read()
    assert by_day(bill) == lab.vultr.expected_costs("acme", FIRST, LAST)
    assert [total.day for total in bill.totals] == [FIRST]


def test_a_sum_that_differs_from_the_lines_is_told(start_lab: StartLab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = start(start_lab, *FLEETS)
    true = lab.vultr._pending_sum
    monkeypatch.setattr(lab.vultr, "_pending_sum", lambda name: true(name) + Decimal("0.02"))
    bill = read()
    sums = sums_of(bill)
    differing = {key[1]: total - sums[key] for key, total in totals_of(bill).items() if total != sums[key]}
    assert differing == {date(2026, 11, 1): Decimal("0.02")}


@pytest.mark.parametrize("hours", [0, 30])
def test_days_that_have_not_settled_are_read_and_arriving(start_lab: StartLab, hours: int) -> None:
    lab = start(start_lab, *FLEETS)
    lab.control.let_bills_arrive("vultr", hours)
    bill = read(now=NOW)
    assert bill.read[NAME][-1] == LAST
    assert bill.arriving == {NAME: {date(2026, 11, 20), LAST}}
    assert by_day(bill) == lab.vultr.expected_costs("acme", FIRST, LAST)
    assert max(charge.day for charge in bill.charges) == (date(2026, 11, 20) if hours else LAST)
    assert_reconciled(bill)


def test_what_is_on_an_invoice_does_not_arrive(start_lab: StartLab) -> None:
    now = datetime(2026, 12, 1, 1, 10, tzinfo=UTC)
    start(start_lab, *FLEETS, now=now)
    bill = read(first=date(2026, 11, 1), last=date(2026, 11, 30), now=now)
    assert bill.arriving == {NAME: set()}
    assert {charge.is_final for charge in bill.charges} == {True}


def line(start: datetime, end: datetime, total: str, product: str = "Credit", unit: str = "hours") -> LabLine:
    """A line of the lab's bill."""
    return LabLine(product, f"{product} note", start, end, 24, Decimal(total), Decimal(total), "", unit)


@pytest.mark.parametrize("invoiced", [True, False])
def test_lines_of_other_days_than_those_of_their_month_are_kept(start_lab: StartLab, *, invoiced: bool) -> None:
    """A credit note of September, and a fee for a year ahead, on the invoice of October or among what is pending."""
    lab = start(start_lab, fleet("vultr:instance"))
    month = date(2026, 10, 1) if invoiced else date(2026, 11, 1)
    on = datetime(month.year, month.month, 3, tzinfo=UTC)
    september = datetime(2026, 9, 9, tzinfo=UTC)
    lab.vultr.billing.put(
        "acme",
        month,
        line(september, september + timedelta(days=2), "-7.77", unit="discount"),
        line(on, on.replace(year=2027), "120", "Licence"),
        line(datetime(2020, 1, 1, tzinfo=UTC), datetime(2020, 1, 2, tzinfo=UTC), "-1"),
    )
    bill = read()
    assert_reconciled(bill)
    credit = [one for one in bill.charges if one.description == "Credit note"]
    assert [(one.day, one.amount, one.period) for one in credit] == [
        (date(2026, 9, 9), Decimal("-3.885"), month), (date(2026, 9, 10), Decimal("-3.885"), month)
    ]  # fmt: skip
    fee = [one for one in bill.charges if one.service_name == "Licence"]
    assert {(one.charge_start, one.charge_end, one.effective_cost) for one in fee} == {
        (on, on.replace(year=2027), None)
    }
    assert (fee[0].day, fee[-1].day) == (on.date(), date(2026, 10, 31) if invoiced else LAST)
    left = {(one.billing_period, one.because): one.amount for one in bill.left_out}
    assert left[month, LeftOutBecause.TOO_OLD] == -1
    if invoiced:
        assert sum(one.amount for one in fee) == 120
    else:
        parts = Decimal(120) * 9 / 28  # the 22nd to the 30th
        assert abs(left[month, LeftOutBecause.NOT_OVER] - parts) < 1
    assert bill.periods == {NAME: {date(2026, 10, 1), date(2026, 11, 1)}}
    assert_unique(bill)


def assert_unique(bill: Bill) -> None:
    """What is left out is told once."""
    told = [(one.day, one.account_id, one.because, one.currency) for one in bill.left_out]
    assert len(told) == len(set(told))


def test_a_credit_of_a_month_that_is_invoiced_is_in_the_next_statement(start_lab: StartLab) -> None:
    lab = start(start_lab, *FLEETS)
    day = datetime(2026, 10, 7, tzinfo=UTC)
    lab.vultr.billing.put("acme", date(2026, 11, 1), line(day, day + timedelta(days=1), "-2", unit="discount"))
    bill = read()
    [credit] = [one for one in bill.charges if one.category is Category.CREDIT]
    assert (credit.day, credit.period, credit.amount) == (day.date(), date(2026, 11, 1), Decimal(-2))
    assert_reconciled(bill)


def test_charges_tell_what_the_bill_tells(start_lab: StartLab) -> None:
    start(start_lab, fleet("vultr:instance"))
    bill = read()
    for one in bill.charges:
        assert (one.invoice_id, one.is_final) == (("20261001", True) if one.period == FIRST else ("", False))
        assert (one.invoice_issuer, one.publisher, one.payer_account_id) == ("Vultr", "Vultr", NAME)
        assert (one.consumed_unit, one.pricing_unit) == ("hours", "hours")
        assert one.consumed_quantity == one.pricing_quantity
        assert one.effective_cost == one.amount
    assert {round(one.consumed_quantity or 0) for one in bill.charges if one.period != FIRST} == {24}


def test_a_reading_again_tells_the_same(start_lab: StartLab) -> None:
    start(start_lab, *FLEETS)
    assert read(now=NOW) == read(now=NOW)


def test_invoices_come_in_pages(start_lab: StartLab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("optiinfra_dagster.providers.vultr.client.PAGE_SIZE", 2)
    lab, meter = start(start_lab, fleet("vultr:block", 5)), Meter()
    bill = read(meter)
    assert by_day(bill) == lab.vultr.expected_costs("acme", FIRST, LAST)
    assert meter.calls["get-invoice-items"] == 3


def test_an_invoice_that_shifts_onto_the_next_page_is_charged_once(
    start_lab: StartLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = start(start_lab, *FLEETS)
    true = lab.vultr._bill

    def shifted(route: Any, *where: Any) -> dict[str, Any]:
        answer = true(route, *where)
        if route.key == "billing_invoices":
            answer[route.key] += answer[route.key]
        return answer

    monkeypatch.setattr(lab.vultr, "_bill", shifted)
    bill = read()
    assert by_day(bill) == lab.vultr.expected_costs("acme", FIRST, LAST)
    assert_reconciled(bill)


def test_pending_charges_come_in_pages_or_all_at_once(start_lab: StartLab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = start(start_lab, *FLEETS)
    whole = by_day(read())
    route = replace(BILLS["billing/pending-charges"], paged=True)
    monkeypatch.setitem(BILLS, "billing/pending-charges", route)
    monkeypatch.setattr("optiinfra_dagster.providers.vultr.client.PAGE_SIZE", 3)
    meter = Meter()
    bill = read(meter)
    assert by_day(bill) == whole == lab.vultr.expected_costs("acme", FIRST, LAST)
    assert meter.calls["list-pending-charges"] > 3
    assert_reconciled(bill)


@pytest.mark.parametrize("goes_on", [False, True])
def test_pending_lines_that_shift_over_the_end_of_a_page_are_listed_again(
    start_lab: StartLab, monkeypatch: pytest.MonkeyPatch, *, goes_on: bool
) -> None:
    """Before the second page a line ended: what was the first of it is on the first page, which was read already."""
    lab = start(start_lab, *FLEETS)
    whole = by_day(read())
    lab.control.add_faults({"action": "deny", "operation": "get-account"})  # else Vultr's own sum tells
    monkeypatch.setitem(BILLS, "billing/pending-charges", replace(BILLS["billing/pending-charges"], paged=True))
    monkeypatch.setattr("optiinfra_dagster.providers.vultr.client.PAGE_SIZE", 3)
    monkeypatch.setattr(billing, "_ONE_PAGE", 3)
    told, asked = lab.vultr.billing.pending, [0]

    def shifting(*of: Any) -> list[LabLine]:
        asked[0] += 1
        lines = told(*of)
        if goes_on:
            return [*lines[:-1], replace(lines[-1], description=f"made for answer {asked[0]}")]
        return lines[1:] if asked[0] == 2 else lines

    monkeypatch.setattr(lab.vultr.billing, "pending", shifting)
    bill = read()

    if goes_on:
        assert [problem.cause for problem in bill.problems] == [Cause.INCOMPLETE]
        assert "lines came and went" in bill.problems[0].message
        assert {day.month for day in bill.read[NAME]} == {10}
    else:
        assert (by_day(bill), bill.problems) == (whole, [])


def test_recorded_answers(start_lab: StartLab, shared_data: Path, tmp_path: Path) -> None:
    recorded = json.loads((shared_data / "vultr/govultr_fixtures/billing.json").read_text())
    wanted = ("_ListInvoices", "_ListInvoiceItems", "_ListPendingCharges")
    (tmp_path / "billing.json").write_text(json.dumps([one for one in recorded if one["test"].endswith(wanted)]))
    lab = start(start_lab, fleet("vultr:load_balancer", name="my-loadbalancer", created="2020-01-01T00:00:00Z"))
    resources = collect("acme", [acme()], Meter()).resources
    lab.vultr.recordings = Recordings([tmp_path / "billing.json"])
    request = BillRequest("acme", bill_sources.bill_sources([acme()]), resources, date(2018, 3, 1), date(2020, 10, 31))
    bill = billing.read(request, Meter())
    services: dict[str, Decimal] = defaultdict(Decimal)
    for charge in bill.charges:
        services[charge.service_name] += charge.amount
    assert bill.problems == []
    assert services == {"Vultr Cloud Compute": Decimal("2.35"), "Load Balancer": Decimal(10)}
    compute = [charge for charge in bill.charges if charge.service_name == "Vultr Cloud Compute"]
    assert (compute[0].day, compute[-1].day, len(compute)) == (date(2018, 3, 18), date(2018, 3, 31), 14)
    assert compute[0].metadata["unit_price"] == "0.0074"
    balancer = [charge for charge in bill.charges if charge.service_name == "Load Balancer"]
    assert [(one.day, one.resource_id) for one in balancer] == [(date(2020, 10, 10), resources[0].resource_id)]


@pytest.mark.parametrize(
    ("made", "ends", "month"),
    [
        ("2026-11-01T00:30", ["2026-11-01T00:00", "2026-10-20T00:00"], 10),
        ("2026-11-10T00:00", ["2026-11-01T00:00"], 10),  # as in the OpenAPI document
        ("2026-11-01T00:30", ["2026-10-20T00:00", "2027-10-20T00:00"], 10),  # paid ahead
        ("2026-11-16T00:30", ["2026-11-16T00:00"], 11),  # before the month is over
        ("2026-11-01T00:30", [], 10),
    ],
)
def test_an_invoice_is_of_the_month_of_its_lines(made: str, ends: list[str], month: int) -> None:
    at, *until = (datetime.fromisoformat(one).replace(tzinfo=UTC) for one in (made, *ends))
    lines = [bill_lines.Line({}, Decimal(1), end - timedelta(days=2), end, dated=True) for end in until]
    assert bill_lines.month_of(lines, at) == date(2026, month, 1)


@pytest.mark.parametrize(
    ("start", "end", "charged"),
    [
        ("2026-10-03", "2026-10-09", ("2026-10-03", "2026-10-09")),
        ("2026-09-03", "2026-10-09", ("2026-09-03", "2026-10-09")),
        ("2026-10-20", "2027-10-20", ("2026-10-20", "2026-11-01")),
        ("2026-11-05", "2026-12-05", ("2026-10-31", "2026-11-01")),  # what is used after the month of its invoice
    ],
)
def test_a_line_is_charged_by_the_end_of_its_statements_month(start: str, end: str, charged: tuple[str, str]) -> None:
    begin, finish = (datetime.fromisoformat(day).replace(tzinfo=UTC) for day in (start, end))
    within = bill_lines.Line({}, Decimal(1), begin, finish, dated=True).within(date(2026, 10, 1))
    assert tuple(f"{one:%Y-%m-%d}" for one in within) == charged
    of_all = bill_lines.Line({}, Decimal(1), begin, finish, dated=False).within(date(2026, 10, 1))
    assert datetime(2026, 10, 1, tzinfo=UTC) <= of_all[0] <= of_all[1]


def test_dates_without_a_zone_are_us_eastern(shared_data: Path) -> None:
    document = json.loads((shared_data / "vultr/openapi_vultr_blob_v0.0.1.json").read_text())
    answer = document["paths"]["/billing/invoices/{invoice-id}/items"]["get"]["responses"]["200"]
    items = answer["content"]["application/json"]["schema"]["x-examples"]["example-1"]["invoice_items"]
    lines = bill_lines.lines_of([{**item, "total": str(item["total"])} for item in items], "x", (NOW, NOW))
    assert (lines[0].start, lines[0].end) == (datetime(2021, 9, 1, tzinfo=UTC), datetime(2021, 10, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    ("item", "told"),
    [({"description": "no amount"}, "total"), ({"total": None}, "total"), ({"total": "much"}, "total"), ("x", "total")],
)
def test_a_line_without_an_amount_costs_its_bill(item: object, told: str) -> None:
    with pytest.raises(CloudError, match=told):
        bill_lines.lines_of([item], "list-pending-charges", (NOW, NOW))


@given(
    st.decimals("-1000", "1000", places=2),
    st.integers(0, 40 * 24 * 3600),
    st.integers(0, 40 * 24 * 3600),
)
@settings(max_examples=150)
def test_the_parts_of_a_line_add_up_to_it(total: Decimal, offset: int, seconds: int) -> None:
    begin = datetime(2026, 10, 1, tzinfo=UTC) + timedelta(seconds=offset)
    end = begin + timedelta(seconds=seconds)
    parts = list(bill_lines.spread(total, begin, end))
    assert sum(amount for _, amount in parts) == total
    days = [day for day, _ in parts]
    assert days == [days[0] + timedelta(days=n) for n in range(len(days))]
    assert days[0] == begin.date()
    assert seconds == 0 or days[-1] == (end - timedelta(microseconds=1)).date()
    for day, amount in parts[1:-1]:  # whole days cost the same
        assert abs(amount - total * 86400 / seconds) <= Decimal("1e-9"), day


def test_an_hour_costs_what_the_price_list_says(start_lab: StartLab) -> None:
    lab, meter = start(start_lab, *FLEETS), Meter()
    resources = collect("acme", [acme()], Meter()).resources
    wanted = {(one.region, part.key) for one in resources for part in prices.components(one)}
    given_ = prices.fetch("acme", [acme()], wanted, meter)
    assert given_.problems == []
    hourly = {(price.region, price.key): price.hourly for price in given_.prices}
    for one in lab.vultr.resources():
        shown = next(each for each in resources if each.resource_id == one.id)
        parts = prices.components(shown)
        estimate = sum((hourly.get((shown.region, p.key)) or hourly["", p.key]) * p.quantity for p in parts)
        has_price = KINDS[one.kind].price_parts is not None
        truth = LAB_KINDS[one.kind].monthly(one) / 672 if has_price else Decimal(0)
        assert abs(estimate - truth) < Decimal("1e-12"), one.kind
    assert meter.calls == {
        "list-plans": 1, "list-metal-plans": 1, "list-database-plans": 1, "list-blocks": 1, "list-vfs": 1,
        "list-registries": 1,
    }  # fmt: skip


def test_only_wanted_prices_are_asked_for(start_lab: StartLab) -> None:
    start(start_lab, *FLEETS)
    meter = Meter()
    given_ = prices.fetch("acme", [acme()], {("fra", "vc2-2c-4gb"), ("fra", "no-such-plan")}, meter)
    assert [(one.region, one.key, one.currency) for one in given_.prices] == [("", "vc2-2c-4gb", "USD")]
    assert meter.calls == {"list-plans": 1}
    assert prices.fetch("acme", [acme()], set(), Meter()).prices == []


def test_a_plan_that_costs_more_in_a_region_has_its_price_there(start_lab: StartLab) -> None:
    start(start_lab, fleet("vultr:instance", region="sao", plan="vc2-1c-1gb"))
    (machine,) = collect("acme", [acme()], Meter()).resources
    plans: list[Any] = [
        {"id": "vc2-1c-1gb", "monthly_cost": 5, "location_cost": {"sao": {"monthly_cost": Decimal("7.5")}}},
        {"id": "vc2-1c-2gb", "monthly_cost": 10, "location_cost": []},  # as PHP writes an object without entries
        {"id": "vc2-2c-4gb", "monthly_cost": 20, "location_cost": {"sao": None, "del": {"monthly_cost": None}}},
        {"id": "vc2-odd", "monthly_cost": -1, "location_cost": {"sao": {"monthly_cost": "6.00"}}},
        {"id": "vcg-x", "monthly_cost": None, "location_cost": {"sao": {"monthly_cost": 730}}},
    ]
    read = list(plan_prices()(plans))
    assert {(one.region, one.key): one.hourly.quantize(Decimal("1e-9")) for one in read} == {
        ("", "vc2-1c-1gb"): Decimal("0.007440476"), ("sao", "vc2-1c-1gb"): Decimal("0.011160714"),
        ("", "vc2-1c-2gb"): Decimal("0.014880952"), ("", "vc2-2c-4gb"): Decimal("0.029761905"),
        ("sao", "vcg-x"): 1,
    }  # fmt: skip
    known = {(price.region, price.key): KnownPrice(price, NOW, NOW) for price in read}
    estimate = estimated(machine, PROVIDERS["vultr"], known)
    assert estimate is not None
    assert abs(estimate.amount - Decimal("7.5") / 672 / 4) < Decimal("1e-12")


def test_a_months_estimate_is_the_months_price_and_no_more(start_lab: StartLab) -> None:
    """The lab's bill of a month of 31 days, and the windows of that month one by one."""
    lab = start(start_lab, *FLEETS, fleet("vultr:instance", name="gpu", plan="vcg-a16-2c-8g-2vram"))
    provider, resources = PROVIDERS["vultr"], collect("acme", [acme()], Meter()).resources
    wanted = {(one.region, part.key) for one in resources for part in prices.components(one)}
    listed = {
        (price.region, price.key): KnownPrice(price, NOW, NOW)
        for price in prices.fetch("acme", [acme()], wanted, Meter()).prices
    }
    first = datetime(2026, 10, 1, tzinfo=UTC)
    for one in lab.vultr.resources():
        shown = next(each for each in resources if each.resource_id == one.id)
        told = [estimated(shown, provider, listed, at) for at in windows.within(first, timedelta(days=31))]
        total = sum((estimate.amount for estimate in told if estimate is not None), Decimal(0))
        unpriced = not prices.components(shown)
        month = Decimal(0) if unpriced else LAB_KINDS[one.kind].monthly(one)
        assert total <= month, one.kind
        assert month - total < Decimal("1e-9"), one.kind


def test_an_estimate_is_whole_or_absent_for_every_kind(start_lab: StartLab) -> None:
    """The list lacks one price after the other: what needs it has no estimate, and all else has the same one."""
    start(start_lab, *FLEETS)
    provider, found = PROVIDERS["vultr"], collect("acme", [acme()], Meter()).resources
    needs = {one.resource_id: {part.key for part in prices.components(one)} for one in found}
    wanted = {(one.region, key) for one in found for key in needs[one.resource_id]}
    given_ = prices.fetch("acme", [acme()], wanted, Meter()).prices
    priced = {one.kind for one in found if needs[one.resource_id]}
    assert priced == {name for name, kind in provider.kinds.items() if kind.price_parts}

    def estimates(without: str = "") -> dict[str, Decimal]:
        known = {(p.region, p.key): KnownPrice(p, NOW, NOW) for p in given_ if p.key != without}
        told = [estimated(one, provider, known) for one in found]
        return {one.resource.resource_id: one.amount for one in told if one is not None}

    whole = estimates()
    assert whole.keys() == {name for name, keys in needs.items() if keys}
    for key in {key for _, key in wanted}:
        assert estimates(key) == {name: amount for name, amount in whole.items() if key not in needs[name]}


@pytest.mark.parametrize(
    ("plan", "facts", "parts"),
    [
        ("vc2-1c-1gb", {}, [("vc2-1c-1gb", "1", 672)]),
        ("vc2-1c-1gb", {"features": "auto_backups,ipv6"}, [("vc2-1c-1gb", "1.2", 672)]),
        ("vcg-a16-2c-8g-2vram", {}, [("vcg-a16-2c-8g-2vram", "1", 730)]),
        ("vc2-1c-1gb", {"features": "ddos_protection,ipv6"}, []),
        ("vc2-1c-1gb", {"os": "Windows Server 2022 Standard x64"}, []),
        ("", {}, []),
    ],
)
def test_an_instance_costs_its_plan_unless_more_is_paid_for(
    plan: str, facts: dict[str, str], parts: list[tuple[str, str, int]]
) -> None:
    one = replace(resource("i"), kind="vultr:instance", metadata={"plan": plan, **facts})

    told = [(part.key, str(part.quantity), part.monthly_hours) for part in prices.components(one)]
    assert told == parts


def test_a_load_balancer_of_unknown_nodes_has_no_estimate() -> None:
    assert prices.components(replace(resource("l"), kind="vultr:load_balancer", capacity=None)) == []
