"""Billing exports in BigQuery: what each day costs, against a lab whose truth is known."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from optiinfra_dagster.lab import CloudLab
from optiinfra_dagster.lab.gcp.billing import DEFAULT_TABLE
from optiinfra_dagster.lab.gcp.export_rows import BILLING_ACCOUNT, ExportRow
from optiinfra_dagster.lab.gcp.prices import hourly
from optiinfra_dagster.model.cost import CORRECTION, Bill, BillRequest, Category, LeftOut, LeftOutBecause
from optiinfra_dagster.model.errors import Cause
from optiinfra_dagster.model.meter import Meter
from optiinfra_dagster.providers.billing.matching import Matcher
from optiinfra_dagster.providers.gcp import bigquery, bill_sources, billing, inventory, prices
from optiinfra_dagster.providers.gcp.account import GcpAccount
from optiinfra_dagster.providers.gcp.services import KINDS, compute, load_balancing, memorystore, sql
from optiinfra_dagster.providers.registry import PROVIDERS
from tests.providers.gcp.conftest import PROJECT, StartLab, account, fleet
from tests.support.bills import sums_of, totals_of

if TYPE_CHECKING:
    from collections.abc import Iterator

NOW = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)
FIRST, LAST = date(2026, 10, 1), date(2026, 11, 21)
GCP = PROVIDERS["gcp"]
COMPUTE, NETWORKING = compute.PRICES.id, load_balancing.PRICES.id
REDIS, SQL = memorystore.PRICES.id, sql.PRICES.id
TABLE = f"{PROJECT}.billing.{DEFAULT_TABLE}"
FLEETS = (
    fleet("gcp:instance", 2, name="api-{n}", type="n2-standard-4"),
    fleet("gcp:instance", name="eu", region="europe-west1", type="e2-medium"),
    fleet("gcp:instance", name="fast", region="europe-west1", type="c3-highcpu-8"),
    fleet("gcp:instance", name="off", state="TERMINATED"),
    fleet("gcp:disk", name="spare", size=500, type="pd-ssd"),
    fleet("gcp:disk", name="twin", size=100, regional=True),
    fleet("gcp:sql_instance", engine="POSTGRES_16", type="db-custom-4-15360"),
    fleet("gcp:sql_instance", name="still", engine="MYSQL_8_0", state="STOPPED"),
    fleet("gcp:redis_instance", size=5),
    fleet("gcp:forwarding_rule", region="global"),
    fleet("gcp:forwarding_rule", name="inner", region="europe-west1"),
    fleet("gcp:gke_cluster"),
    fleet("gcp:network"),
)
FEW = (FLEETS[0] | {"count": 1}, FLEETS[4], FLEETS[9])


class Time:
    """The lab's clock."""

    def __init__(self, now: datetime = NOW) -> None:
        self.now = now

    def __call__(self) -> datetime:
        """The time."""
        return self.now


class Payer(GcpAccount):
    """A project that says whether its customer has the charges of the billing account itself."""

    account_charges: bool = False


def payer(lab: CloudLab, project: str = PROJECT, *, account_charges: bool = True, **fields: Any) -> GcpAccount:
    """A project whose bill is exported."""
    at = {"billing_export_table": TABLE, "bigquery_endpoint_url": lab.url, **fields}
    known = account(lab, project, **at).model_dump(exclude_unset=True)
    return Payer.model_validate({**known, "account_charges": account_charges})


def read(lab: CloudLab, *accounts: GcpAccount, meter: Meter | None = None, **more: Any) -> Bill:
    """The bill of accounts, matched with their inventory."""
    accounts = accounts or (payer(lab),)
    resources = inventory.collect("acme", accounts, Meter()).resources
    request = BillRequest(
        "acme", bill_sources.bill_sources(accounts), resources, **{"first": FIRST, "last": LAST, **more}
    )
    return billing.read(request, meter or Meter())


def by_day(bill: Bill) -> dict[tuple[date, str, str, str], Decimal]:
    """The sums of a bill by day, project, service and resource."""
    sums: dict[tuple[date, str, str, str], Decimal] = defaultdict(Decimal)
    for charge in bill.charges:
        sums[charge.day, charge.sub_account_id, charge.service_name, charge.resource_id] += charge.amount
    return dict(sums)


def assert_reconciled(bill: Bill) -> None:
    """BigQuery's sums without groups are those of the charges and of what is left out, to the last digit."""
    assert totals_of(bill) == sums_of(bill)


@pytest.fixture(scope="module")
def whole() -> Iterator[tuple[CloudLab, Bill, Meter]]:
    """A lab with every kind of charge, what was read of it, and with which calls."""
    world = {"seed": 1, "gcp": {"projects": [{"id": PROJECT, "fleets": list(FLEETS)}]}}
    with CloudLab(world, now=Time()) as lab:
        meter = Meter()
        yield lab, read(lab, meter=meter), meter


def test_every_day_costs_what_the_export_says(whole: tuple[CloudLab, Bill, Meter]) -> None:
    lab, bill, meter = whole
    assert bill.problems == []
    assert bill.read == {TABLE: [FIRST + timedelta(days=n) for n in range(52)]}
    assert by_day(bill) == lab.gcp.exports.expected(TABLE, FIRST, LAST)
    assert_reconciled(bill)
    finals = {(charge.billing_period.month, charge.is_final) for charge in bill.charges}
    assert finals == {(9, True), (10, True), (11, False)}  # September ends at seven, in Pacific time
    calls = lab.control.calls()
    assert meter.calls == {name: calls.count(service="bigquery", operation=name) for name in meter.calls}
    assert meter.calls == {"tables.get": 1, "jobs.insert": 2, "jobs.query": 2}
    assert meter.cost_usd == bill_sources.usd(lab.gcp.exports.bytes_billed)


def test_lines_are_of_the_inventorys_resources(whole: tuple[CloudLab, Bill, Meter]) -> None:
    lab, bill, _ = whole
    matched = {charge.resource_id: charge.metadata["matched_by"] for charge in bill.charges if charge.resource_id}
    assert matched.keys() == {one.full_name for one in lab.gcp.estate.assets(PROJECT) if hourly(one)[1]}
    assert set(matched.values()) == {"id", "number"}
    kinds = {(charge.service_name, charge.cost_type, charge.category) for charge in bill.charges}
    assert kinds == {
        ("Compute Engine", "compute", Category.USAGE),
        ("Compute Engine", "compute", Category.CREDIT),
        ("Compute Engine", "volume", Category.USAGE),
        ("Cloud SQL", "database", Category.USAGE),
        ("Cloud Memorystore for Redis", "database", Category.USAGE),
        ("Networking", "load_balancer", Category.USAGE),
        ("Kubernetes Engine", "kubernetes", Category.USAGE),
        ("Invoice", "other", Category.TAX),
    }
    taxes = [charge for charge in bill.charges if charge.category is Category.TAX]
    assert [(one.day, one.sub_account_id, one.amount) for one in taxes] == [
        (date(2026, 10, 31), BILLING_ACCOUNT, Decimal("12.34"))
    ]


def test_a_name_alone_matches_only_one_of_its_collection() -> None:
    machine, disk = (
        resource_of(f"//compute.googleapis.com/projects/p/zones/z/{kind}/api", kind) for kind in ("instances", "disks")
    )
    matcher = Matcher([machine, disk], billing.names_of)
    assert billing.match(matcher, "p", "//x/projects/9/zones/z/disks/api", "api") == (disk, "name")
    assert billing.match(matcher, "p", "", "api") == (None, "")
    assert billing.match(matcher, "other", "//x/projects/9/zones/z/disks/api", "api") == (None, "")


def resource_of(name: str, kind: str) -> Any:
    """A resource of a project p."""
    from optiinfra_dagster.model.inventory import Resource, ResourceType, Status

    return Resource("p", "r", kind, name, name.rpartition("/")[2], ResourceType.COMPUTE, Status.RUNNING, "")


def test_only_days_with_newer_rows_are_read_again(start_lab: StartLab) -> None:
    clock = Time()
    lab = start_lab(*FEW, now=clock)
    before = read(lab)
    clock.now += timedelta(hours=4)
    lab.gcp.exports.restate(TABLE, date(2026, 10, 9), PROJECT, Decimal("-3.000000001"))
    meter = Meter()
    bill = read(lab, read_at={TABLE: NOW}, meter=meter)
    assert bill.read[TABLE] == [date(2026, 10, 9), *(date(2026, 11, day) for day in range(19, 22))]
    days = set(bill.read[TABLE])
    truth = lab.gcp.exports.expected(TABLE, FIRST, LAST)
    assert by_day(bill) == {key: amount for key, amount in truth.items() if key[0] in days}
    assert_reconciled(bill)
    new = by_day(bill).items() - by_day(before).items()
    assert new == {((date(2026, 10, 9), PROJECT, "Compute Engine", ""), Decimal("-3.000000001"))}
    assert {one.category for one in bill.charges} == {Category.USAGE, Category.CREDIT, Category.ADJUSTMENT}
    assert meter.calls["jobs.query"] == 2


def test_a_month_that_became_final_is_read_once_more(start_lab: StartLab) -> None:
    clock = Time(datetime(2026, 11, 11, 8, tzinfo=UTC))
    lab = start_lab(fleet("gcp:disk", size=10), now=clock)
    bill = read(lab, last=date(2026, 11, 10), read_at={TABLE: datetime(2026, 11, 10, 20, tzinfo=UTC)})
    assert {day.month for day in bill.read[TABLE]} == {10, 11}
    assert len([day for day in bill.read[TABLE] if day.month == 10]) == 31
    finals = {(charge.billing_period.month, charge.is_final) for charge in bill.charges}
    assert finals == {(9, True), (10, True), (11, False)}


@pytest.mark.parametrize("share", ["0", "0.5"])
def test_days_that_have_not_settled_are_read_and_arriving(start_lab: StartLab, share: str) -> None:
    """Rows of the 20th come after those of the 21st: they say nothing of what is still to come of it."""
    clock = Time(datetime(2026, 11, 22, 0, 30, tzinfo=UTC))
    lab = start_lab(*FEW, now=clock, bills_arrive={"hours": 60, "share": share})
    disk = ExportRow(LAST, clock.now - timedelta(hours=4), PROJECT, "Cloud Storage", "us", Decimal(1))
    lab.gcp.exports.add_row(TABLE, disk)
    bill = read(lab, now=clock.now)
    assert bill.read[TABLE][-1] == LAST
    assert bill.arriving == {TABLE: {date(2026, 11, 19), date(2026, 11, 20), LAST}}
    assert by_day(bill) == lab.gcp.exports.expected(TABLE, FIRST, LAST)
    assert_reconciled(bill)
    clock.now = datetime(2026, 11, 23, 12, 30, tzinfo=UTC)
    later = read(lab, read_at={TABLE: clock.now - timedelta(hours=36)}, last=date(2026, 11, 22), now=clock.now)
    assert date(2026, 11, 19) in set(later.read[TABLE]) - later.arriving[TABLE]
    days = set(later.read[TABLE])
    truth = lab.gcp.exports.expected(TABLE, FIRST, date(2026, 11, 22))
    assert by_day(later) == {key: amount for key, amount in truth.items() if key[0] in days}
    assert sum(by_day(later).values()) > sum(amount for key, amount in by_day(bill).items() if key[0] in days)


def test_corrections_of_months_before_are_read_with_their_whole_day(start_lab: StartLab) -> None:
    clock = Time()
    lab = start_lab(*FEW, now=clock)
    day, longer_ago = date(2026, 9, 17), date(2026, 9, 20)
    lab.gcp.exports.restate(TABLE, day, PROJECT, Decimal("-3.000000001"))
    truth = lab.gcp.exports.expected(TABLE, longer_ago - timedelta(days=30), LAST)
    first = read(lab)
    assert first.read[TABLE][:2] == [day, FIRST]
    assert {key: amount for key, amount in by_day(first).items() if key[0] == day} == {
        key: amount for key, amount in truth.items() if key[0] == day
    }
    assert_reconciled(first)
    [correction] = [one for one in first.charges if one.charge_class == CORRECTION]
    assert (correction.day, correction.period, correction.amount) == (day, date(2026, 11, 1), Decimal("-3.000000001"))
    assert (correction.category, correction.is_final) == (Category.ADJUSTMENT, False)
    usual = {(one.day.month, one.period) for one in first.charges if one.day == day and one is not correction}
    assert usual == {(9, date(2026, 9, 1))}

    clock.now += timedelta(hours=11)
    lab.gcp.exports.restate(TABLE, longer_ago, PROJECT, Decimal("1.5"))
    next_one = read(lab, read_at={TABLE: clock.now - timedelta(hours=4)})
    assert next_one.read[TABLE][0] == longer_ago
    assert day not in next_one.read[TABLE]
    assert_reconciled(next_one)

    clock.now = datetime(2026, 12, 11, 8, tzinfo=UTC)  # November is final
    last = read(lab, read_at={TABLE: clock.now - timedelta(hours=20)}, first=date(2026, 11, 1), last=date(2026, 12, 10))
    assert last.read[TABLE][:3] == [day, longer_ago, date(2026, 11, 1)]
    assert {one.is_final for one in last.charges if one.day < date(2026, 12, 1)} == {True}


def test_corrections_that_cost_too_much_to_read_are_named_and_the_rest_is_read(
    start_lab: StartLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = start_lab(*FEW, now=Time())
    day = date(2026, 9, 17)
    lab.gcp.exports.restate(TABLE, day, PROJECT, Decimal(-3))
    lines = lab.gcp.exports.rows(TABLE)
    late = [row for row in lines if row.exported.date() >= FIRST - timedelta(days=1)]
    monkeypatch.setattr("optiinfra_dagster.lab.gcp.billing._LEAST_BYTES", 1)
    monkeypatch.setattr(bill_sources, "LEAST_BYTES", 1)
    monkeypatch.setattr(bigquery, "LEAST_BYTES", 1)
    monkeypatch.setattr(bigquery.Export.__init__, "__defaults__", (2 * 400 * len(late),))
    bill = read(lab)
    assert bill.read[TABLE][0] == FIRST
    [problem] = bill.problems
    assert problem.cause is Cause.BUDGET
    assert "2026-09-17 to 2026-09-17 have corrections, which are not read" in problem.message
    assert_reconciled(bill)


def test_what_the_export_has_of_others_is_left_out_by_name(start_lab: StartLab) -> None:
    table = "billing-admin.costs.gcp_billing_export_v1_X"
    others = ({"id": "stranger", "fleets": list(FEW)}, {"id": "another", "fleets": [fleet("gcp:disk", size=50)]})
    export = {"table": table, "projects": [PROJECT, "stranger", "another"]}
    lab = start_lab(*FEW, projects=others, now=Time(), exports=[export])
    mine, meter = payer(lab, billing_export_table=table, account_charges=False), Meter()
    bill = read(lab, mine, meter=meter)
    truth: dict[tuple[date, str], Decimal] = defaultdict(Decimal)
    for (day, project, *_), amount in lab.gcp.exports.expected(table, FIRST, LAST).items():
        truth[day, project] += amount
    assert {one.sub_account_id for one in bill.charges} == {PROJECT}
    assert {(one.day, one.account_id): one.amount for one in bill.left_out} == {
        key: amount for key, amount in truth.items() if key[1] != PROJECT and amount
    }
    assert len(bill.left_out) == len({(one.day, one.account_id) for one in bill.left_out})
    of_account = LeftOutBecause.BILLING_ACCOUNT
    assert [one for one in bill.left_out if one.because is of_account] == [
        LeftOut(date(2026, 10, 31), table, BILLING_ACCOUNT, of_account, Decimal("12.34"), "USD", 1)
    ]
    assert {one.because for one in bill.left_out} == {of_account, LeftOutBecause.ANOTHER_ACCOUNT}
    assert_reconciled(bill)
    assert meter.cost_usd == bill_sources.usd(lab.gcp.exports.bytes_billed)  # of the same two queries


def test_charges_tell_what_the_export_tells(start_lab: StartLab) -> None:
    machine = fleet("gcp:instance", name="api", type="n2-standard-4", tags={"env": "prod", "app": "api"})
    lab = start_lab(machine, now=Time())
    bill = read(lab)
    usage, discount, promotion = sorted(
        (one for one in bill.charges if one.day == LAST and one.cost_type == "compute"),
        key=lambda one: (one.category is Category.CREDIT, one.amount),
    )
    assert (usage.category, discount.category, promotion.category) == (Category.USAGE, Category.CREDIT, Category.CREDIT)
    assert (discount.description, discount.metadata["credit"]) == (
        "Sustained Usage Discount",
        "SUSTAINED_USAGE_DISCOUNT",
    )
    assert (promotion.description, promotion.metadata["credit"]) == ("Free trial credit", "PROMOTION")
    assert usage.effective_cost == usage.amount + discount.amount
    assert (discount.effective_cost, promotion.effective_cost) == (Decimal(0), promotion.amount)
    assert usage.list_cost == usage.contracted_cost == usage.amount
    assert {one.list_cost for one in (discount, promotion)} == {Decimal(0)}
    for one in (usage, discount, promotion):
        assert one.resource_id.endswith("/instances/api")
        assert (one.sku_id, one.availability_zone.startswith("us-central1-")) == (usage.sku_id, True)
        assert one.tags == '{"app":"api","env":"prod"}'
        assert (one.payer_account_id, one.sub_account_name) == (BILLING_ACCOUNT, PROJECT.title())
        assert (one.publisher, one.period) == ("Google", date(2026, 11, 1))
    assert (usage.sku_id[:4], usage.description) == ("SKU-", "instance in us-central1")
    assert (usage.consumed_quantity, usage.consumed_unit) == (Decimal(86_400), "seconds")
    assert (usage.pricing_quantity, usage.pricing_unit) == (Decimal(24), "hour")
    assert (discount.consumed_quantity, discount.pricing_unit) == (None, "")
    assert sum(one.amount for one in bill.charges) == sum(one.effective_cost or 0 for one in bill.charges)
    night = {one.period for one in bill.charges if one.day == date(2026, 11, 1)}  # of the invoice, in Pacific time
    assert night == {date(2026, 10, 1), date(2026, 11, 1)}


def test_a_reading_again_tells_the_same(start_lab: StartLab) -> None:
    lab = start_lab(*FEW, now=Time())
    first, again = read(lab, now=NOW), read(lab, now=NOW)
    assert (again.charges, again.totals, again.read, again.arriving) == (
        first.charges, first.totals, first.read, first.arriving
    )  # fmt: skip


def test_projects_of_one_export_are_read_together(start_lab: StartLab) -> None:
    table = "billing-admin.costs.gcp_billing_export_v1_X"
    others = ({"id": "acme-dev", "fleets": [fleet("gcp:disk", size=50)]}, {"id": "stranger", "fleets": list(FEW)})
    export = {"table": table, "projects": [PROJECT, "acme-dev", "stranger"], "detailed": False, "currency": "EUR"}
    lab = start_lab(*FEW, projects=others, now=Time(), exports=[export])
    mine = [payer(lab, name, billing_export_table=table) for name in (PROJECT, "acme-dev")]
    assert [(one.id, one.covers) for one in bill_sources.bill_sources(mine)] == [(table, (PROJECT, "acme-dev"))]
    bill = read(lab, *mine)
    truth = lab.gcp.exports.expected(table, FIRST, LAST)
    assert by_day(bill) == {key: amount for key, amount in truth.items() if key[1] != "stranger"}
    assert {charge.currency for charge in bill.charges} == {"EUR"}
    assert {charge.resource_id for charge in bill.charges} == {""}
    assert_reconciled(bill)


def test_an_export_is_read_as_the_account_that_has_its_own_charges(start_lab: StartLab) -> None:
    lab = start_lab(now=Time())
    mine = [payer(lab, name, account_charges=charges) for name, charges in (("a-first", False), (PROJECT, True))]
    [source] = bill_sources.bill_sources(mine)
    assert (source.account.project_id, source.covers) == (PROJECT, ("a-first", PROJECT))
    [source] = bill_sources.bill_sources(mine[:1])
    assert source.account.project_id == "a-first"


def test_pages_of_rows(start_lab: StartLab) -> None:
    lab, meter = start_lab(*FEW, now=Time()), Meter()
    lab.gcp.exports.page_rows = 50
    bill = read(lab, meter=meter)
    assert by_day(bill) == lab.gcp.exports.expected(TABLE, FIRST, LAST)
    assert meter.calls["jobs.getQueryResults"] >= 2
    assert meter.calls["jobs.query"] == 2


def test_without_an_export_there_is_nothing_to_read(start_lab: StartLab) -> None:
    lab = start_lab(*FEW, now=Time())
    assert bill_sources.bill_sources([account(lab)]) == []


@pytest.mark.parametrize(
    ("export", "table", "words"),
    [
        ({}, "acme-prod.billing.gone", ["no table acme-prod.billing.gone", DEFAULT_TABLE]),
        ({}, "acme-prod.nowhere.gone", ["no table", "no billing export"]),
        ({"omit": ["cost"]}, TABLE, ["no column cost", "Google's own export"]),
        ({"omit": ["credits.amount", "project.id"]}, TABLE, ["no column project.id, credits.amount"]),
    ],
)
def test_an_export_that_is_not_as_it_should_be_is_named(
    start_lab: StartLab, export: dict[str, Any], table: str, words: list[str]
) -> None:
    exports = [{"table": TABLE, "projects": [PROJECT], **export}] if export else []
    lab = start_lab(*FEW, now=Time(), exports=exports)
    bill = read(lab, payer(lab, billing_export_table=table))
    assert (bill.charges, bill.totals, bill.read) == ([], [], {})
    assert [(one.account_id, one.cause) for one in bill.problems] == [(table, Cause.CONFIG)]
    assert all(word in bill.problems[0].message for word in words)


@pytest.mark.parametrize(
    "columns",
    [
        ("cost_at_list",),
        ("cost_type",),
        ("resource.global_name",),
        ("invoice.month",),
        ("credits.type", "usage.amount", "adjustment_info.type"),
        ("location.region", "credits.name", "labels", "tags", "project.labels", "seller_name"),
    ],
    ids=lambda columns: columns[0],
)
def test_columns_that_older_exports_lack_are_done_without(start_lab: StartLab, columns: tuple[str, ...]) -> None:
    lab = start_lab(*FEW, now=Time(), exports=[{"table": TABLE, "projects": [PROJECT], "omit": list(columns)}])
    bill = read(lab)
    assert bill.problems == []
    # Without the months of invoices, corrections are known by when they came, and so is what came late.
    older = [date(2026, 9, 30)] * ("invoice.month" in columns)
    assert bill.read[TABLE] == [*older, *(FIRST + timedelta(days=n) for n in range(52))]
    assert (
        by_day(bill) == lab.gcp.exports.expected(TABLE, bill.read[TABLE][0], LAST) or "resource.global_name" in columns
    )
    assert_reconciled(bill)
    if "cost_at_list" in columns:
        assert {charge.list_cost for charge in bill.charges} == {None}


@pytest.mark.parametrize(
    ("action", "cause", "word"),
    [
        ("deny", Cause.PERMISSION, "roles/bigquery.dataViewer"),
        ("optin_required", Cause.CONFIG, "Enable bigquery.googleapis.com"),
        ("expired", Cause.AUTH, "Check the credentials file"),
        ("throttle", Cause.THROTTLED, "next collection"),
        ("unavailable", Cause.UNAVAILABLE, "next collection"),
    ],
)
@pytest.mark.parametrize("operation", ["tables.get", "jobs.query"])
def test_a_refused_call_reads_no_day_and_names_the_remedy(
    start_lab: StartLab, monkeypatch: pytest.MonkeyPatch, action: str, cause: Cause, word: str, operation: str
) -> None:
    monkeypatch.setattr(bigquery, "_RETRIES_S", 0.2)
    lab = start_lab(*FEW, now=Time())
    lab.control.add_faults({"action": action, "service": "bigquery", "operation": operation})
    bill = read(lab)
    assert (bill.charges, bill.totals, bill.read) == ([], [], {})
    assert [(one.account_id, one.cause) for one in bill.problems] == [(TABLE, cause)]
    assert word in bill.problems[0].message


def test_a_short_fault_is_ridden_out(start_lab: StartLab) -> None:
    lab, meter = start_lab(fleet("gcp:disk"), now=Time()), Meter()
    lab.control.add_faults({"action": "unavailable", "service": "bigquery", "operation": "jobs.query", "times": 1})
    bill = read(lab, meter=meter)
    assert bill.problems == []
    assert meter.calls["jobs.query"] == 3
    assert meter.cost_usd == bill_sources.usd(lab.gcp.exports.bytes_billed)  # a failed attempt costs nothing


def test_two_currencies_in_a_month_are_told_and_kept(start_lab: StartLab) -> None:
    lab = start_lab(fleet("gcp:disk"), now=Time())
    lab.gcp.exports.restate(TABLE, date(2026, 11, 3), PROJECT, Decimal(5), currency="EUR")
    bill = read(lab)
    assert len(bill.read[TABLE]) == 52
    assert_reconciled(bill)
    assert ["2026-11 is charged in EUR and USD" in one.message for one in bill.problems] == [True]


def test_no_query_runs_that_would_cost_too_much(start_lab: StartLab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = start_lab(*FEW, now=Time())
    source = bill_sources.bill_sources([payer(lab)])
    assert bill_sources.price(BillRequest("acme", source, [], FIRST, LAST)) == Decimal("0.390625")
    poor = Meter(Decimal("0.00001"))
    assert [one.cause for one in read(lab, meter=poor).problems] == [Cause.BUDGET]
    assert poor.calls["jobs.query"] == 0
    monkeypatch.setattr("optiinfra_dagster.lab.gcp.billing._LEAST_BYTES", 65 * 2**30)
    bill = read(lab)
    assert [one.cause for one in bill.problems] == [Cause.BUDGET]
    assert "65.0 GiB" in bill.problems[0].message
    assert lab.gcp.exports.bytes_billed == 0


# --- Prices -----------------------------------------------------------------------------------------------------------


def test_an_hour_costs_what_the_catalogue_says(start_lab: StartLab) -> None:
    lab, meter = start_lab(*FLEETS, now=Time()), Meter()
    accounts = [payer(lab)]
    resources = inventory.collect("acme", accounts, Meter()).resources
    parts = {one.resource_id: GCP.components(one) for one in resources}
    wanted = {(one.region, part.key) for one in resources for part in parts[one.resource_id]}
    told = prices.fetch("acme", accounts, wanted, meter)
    assert told.problems == []
    priced = {(price.region, price.key): price.hourly for price in told.prices}
    hour = {place: priced[place if place in priced else ("", place[1])] for place in wanted}
    for asset in lab.gcp.estate.assets(PROJECT):
        one = next(each for each in resources if each.resource_id == asset.full_name)
        estimate = sum((hour[one.region, part.key] * part.quantity for part in parts[one.resource_id]), Decimal(0))
        service, truth = hourly(asset)
        assert abs(estimate - truth) < Decimal("1e-9"), asset.full_name
        assert not truth or KINDS[one.kind].bill_service == service
    assert meter.calls["ListSkus"] == lab.control.calls().count(service="cloudbilling", operation="ListSkus") == 5


def test_only_wanted_services_are_asked_for(start_lab: StartLab) -> None:
    lab, meter = start_lab(now=Time()), Meter()
    told = prices.fetch("acme", [payer(lab)], {("us-east1", "gke zonal"), ("us-east1", "gke nonsense")}, meter)
    assert [(one.region, one.key, one.hourly, one.currency) for one in told.prices] == [
        ("", "gke zonal", Decimal("0.1"), "USD")
    ]
    assert meter.calls == {"ListSkus": 1}


SPOT = {"provisioning_model": "SPOT"}


@pytest.mark.parametrize(
    ("kind", "size", "facts", "parts"),
    [
        ("gcp:instance", 4, {"machine_type": "n1-standard-4", "gpus": 2, "gpu_type": "nvidia-tesla-t4"},
         {"n1 core": "4", "n1 GiB RAM": "15", "nvidia-tesla-t4 gpu": "2"}),
        ("gcp:instance", 8, {"machine_type": "g2-standard-8", "gpus": 1, "gpu_type": "nvidia-l4", **SPOT},
         {"g2 core spot": "8", "g2 GiB RAM spot": "32", "nvidia-l4 gpu spot": "1"}),
        ("gcp:instance", 24, {"machine_type": "a2-highgpu-2g", "gpus": 2, "gpu_type": "nvidia-tesla-a100"},
         {"a2 core": "24", "a2 GiB RAM": "170", "nvidia-tesla-a100 gpu": "2"}),
        ("gcp:instance", 8, {"machine_type": "g2-standard-8"}, {}),  # how many it has is not told
        ("gcp:instance", 4, {"machine_type": "n1-standard-4", "gpus": 1, "gpu_type": "nvidia-tesla-t4-vws"}, {}),
        ("gcp:redis_instance", 5, {"class": "BASIC"}, {"redis basic m2 GiB": "5"}),
        ("gcp:redis_instance", 4, {"class": "STANDARD_HA", "replicas": 1}, {"redis standard m1 GiB": "4"}),
        ("gcp:redis_instance", 36, {"class": "STANDARD_HA", "replicas": 2}, {"redis node m4 GiB": "108"}),
        ("gcp:redis_instance", 36, {}, {}),
        ("gcp:sql_instance", 10, {"engine": "MYSQL_8_0", "class": "db-f1-micro"},
         {"mysql zonal micro": "1", "mysql zonal ssd GiB": "10"}),
    ],
)  # fmt: skip
def test_what_a_price_is_made_of(kind: str, size: float, facts: dict[str, Any], parts: dict[str, str]) -> None:
    one = replace(resource_of("//x/one", kind), kind=kind, capacity=size, metadata=facts)
    assert {part.key: part.quantity for part in GCP.components(one)} == {
        key: Decimal(quantity) for key, quantity in parts.items()
    }


@pytest.mark.parametrize(
    ("service", "text", "key"),
    [
        (COMPUTE, "Nvidia L4 GPU running in Las Vegas", "nvidia-l4 gpu"),
        (COMPUTE, "Nvidia Tesla A100 80GB GPU running in Iowa", None),
        (NETWORKING, "Cloud Load Balancer Forwarding Rule Minimum for Delhi (asia-south2)", "forwarding rule"),
        (NETWORKING, "Regional External Application Load Balancer Forwarding Rule Minimum for Mumbai", None),
        (NETWORKING, "Cloud Load Balancer Forwarding Rule Additional for Delhi (asia-south2)", None),
        (REDIS, "Redis Capacity Basic M1 Mumbai", "redis basic m1 GiB"),
        (REDIS, "Redis Standard Node Capacity M2 London", "redis node m2 GiB"),
        (REDIS, "Redis Cluster Node Default Mumbai", None),
        (SQL, "Cloud SQL for PostgreSQL: Zonal - Micro instance in Americas", "postgres zonal micro"),
        (SQL, "FDC Trial in Cloud SQL for PostgreSQL: Zonal - Micro instance in Singapore", None),
    ],
)  # fmt: skip
def test_a_sku_is_known_by_its_description(service: str, text: str, key: str | None) -> None:
    """As the catalogue words them."""
    price = {"currencyCode": "USD", "units": "0", "nanos": 35_000_000}
    sku = {
        "description": text, "category": {"usageType": "OnDemand"}, "serviceRegions": ["asia-south1"],
        "pricingInfo": [{"pricingExpression": {"usageUnit": "h", "tieredRates": [{"unitPrice": price}]}}],
    }  # fmt: skip
    told = [(one.region, one.key, one.hourly) for one in prices.prices_of(service, sku)]
    assert told == ([("asia-south1", key, Decimal("0.035"))] if key else [])
