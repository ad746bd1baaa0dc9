"""Bills that tell of more accounts than a customer has, from the cloud to the table: nobody gets another's charges."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from optiinfra_dagster.cli.check import check_customers
from optiinfra_dagster.collection import run
from optiinfra_dagster.lab.gcp.export_rows import BILLING_ACCOUNT
from optiinfra_dagster.model.cost import LeftOutBecause
from optiinfra_dagster.model.errors import ConfigError
from optiinfra_dagster.storage.sql import read_sql
from tests.collection.test_cost import at_once
from tests.support.spine import fleet, newest_window

if TYPE_CHECKING:
    from optiinfra_dagster.lab import CloudLab
    from optiinfra_dagster.storage.slice_report import Report
    from tests.collection.conftest import StartLab
    from tests.support.spine import Spine

WINDOW = timedelta(minutes=15)
TODAY = datetime.now(UTC).date()
BEFORE = (TODAY.replace(day=1) - timedelta(days=1)).replace(day=1)  # the first day that is read
YESTERDAY = TODAY - timedelta(days=1)
Sums = dict[tuple[str, str], Decimal]  # by customer and account


@pytest.fixture(autouse=True)
def in_this_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Collect here: the engine is held open here."""
    monkeypatch.setattr(run, "in_flush_batches", at_once)


def customers(spine: Spine, provider: str, **accounts: list[dict[str, Any]]) -> None:
    data = [{"id": name, "name": name, "families": ["cost"], provider: of} for name, of in accounts.items()]
    spine.settings.customers_path.write_text(yaml.safe_dump({"customers": data}))


def collected(spine: Spine, provider: str) -> Report:
    window = newest_window()
    at = window + WINDOW + timedelta(minutes=5)
    return spine.collect("cost", [window], provider=provider, refresh=True, now=lambda: at)


def sums(spine: Spine, where: str) -> Sums:
    rows = spine.query(
        "SELECT customer_id, sub_account_id, sum(amount) AS amount FROM cost_metrics_current "  # noqa: S608
        f"WHERE cost_kind = 'billed' AND cost_type != 'reading' AND {where} GROUP BY ALL"
    )
    return {(row["customer_id"], row["sub_account_id"]): row["amount"] for row in rows}


def charged(spine: Spine) -> Sums:
    return sums(spine, "cost_type != 'left_out'")


def left_out(spine: Spine, because: LeftOutBecause) -> Sums:
    return sums(spine, f"cost_type = 'left_out' AND charge_description = '{because}'")


def days_read(spine: Spine) -> dict[tuple[str, str], int]:
    """How many days of each customer's account a bill was read of."""
    rows = spine.query(
        "SELECT customer_id, sub_account_id, uniqExact(window_start) AS days FROM cost_metrics_current "
        "WHERE cost_type = 'reading' AND sub_account_id != billing_account_id GROUP BY ALL"
    )
    return {(row["customer_id"], row["sub_account_id"]): row["days"] for row in rows}


def reconciled(spine: Spine, provider: str) -> int:
    """How many totals were told, of which each is what was charged and left out."""
    first = datetime.combine(BEFORE, time(), UTC)
    bounds = {"first": int(first.timestamp()), "last": int(datetime.now(UTC).timestamp())}
    rows = spine.query(read_sql("queries/billed_totals"), provider=provider, **bounds)
    assert [row for row in rows if Decimal(row["charges"]) != Decimal(row["told"] or 0)] == []
    return len(rows)


def checked(spine: Spine) -> str:
    lines: list[str] = []
    check_customers(spine.settings, spine.clickhouse, (), lines.append)
    return "\n".join(lines)


# --- AWS: the Cost Explorer of a payer ------------------------------------------------------------------------------

PAYER, MEMBER, STRANGER = "111111111111", "222222222222", "444444444444"


def payer_and_members(start_lab: StartLab) -> tuple[CloudLab, dict[str, Decimal]]:
    """A payer with a support plan and two members; what each account is charged in the payer's bill."""
    machines = [fleet("ec2:instance")]
    lab = start_lab(
        {
            "aws": {
                "accounts": [
                    {"id": PAYER, "roles": ["reader"], "fleets": machines, "support_usd": 29},
                    {"id": MEMBER, "roles": ["reader"], "fleets": machines, "payer": PAYER},
                    {"id": STRANGER, "fleets": machines, "payer": PAYER},
                ]
            }
        }
    )
    of: dict[str, Decimal] = {}
    for cells in lab.aws.billing.expected(PAYER, BEFORE, YESTERDAY).values():
        for (_, linked), cell in cells.items():
            of[linked] = of.get(linked, Decimal(0)) + cell["UnblendedCost"][0]
    return lab, of


def aws(lab: CloudLab, account: str, **fields: Any) -> dict[str, Any]:
    role = f"arn:aws:iam::{account}:role/reader"
    return {"account_id": account, "role_arn": role, "regions": ["us-east-1"], "endpoint_url": lab.url, **fields}


def test_a_payers_cost_explorer_gives_each_customer_its_own_accounts(start_lab: StartLab, spine: Spine) -> None:
    lab, of = payer_and_members(start_lab)
    customers(spine, "aws", acme=[aws(lab, PAYER)], globex=[aws(lab, MEMBER)])

    report = collected(spine, "aws")

    assert charged(spine) == {("acme", PAYER): of[PAYER], ("globex", MEMBER): of[MEMBER]}
    others = left_out(spine, LeftOutBecause.ANOTHER_ACCOUNT)
    assert others == {("acme", MEMBER): of[MEMBER], ("acme", STRANGER): of[STRANGER]}
    assert sum(charged(spine).values()) + others["acme", STRANGER] == sum(of.values())
    assert reconciled(spine, "aws") >= (YESTERDAY - BEFORE).days
    told = report.metadata(detailed=False)["left_out"].records
    assert {(one.data["customer"], one.data["account"]) for one in told} == {("acme", MEMBER), ("acme", STRANGER)}
    assert sum(Decimal(one.data["amount"]) for one in told) == of[MEMBER] + of[STRANGER]
    assert "days of bills, 2 accounts in them left out;" in str(report)


def test_a_member_that_the_customer_has_is_in_its_payers_bill(start_lab: StartLab, spine: Spine) -> None:
    lab, of = payer_and_members(start_lab)
    customers(spine, "aws", acme=[aws(lab, PAYER), aws(lab, MEMBER, billing=False)])

    collected(spine, "aws")

    assert charged(spine) == {("acme", PAYER): of[PAYER], ("acme", MEMBER): of[MEMBER]}
    assert left_out(spine, LeftOutBecause.ANOTHER_ACCOUNT) == {("acme", STRANGER): of[STRANGER]}


def test_a_member_with_a_bill_of_its_own_is_no_stranger(start_lab: StartLab, spine: Spine) -> None:
    lab, of = payer_and_members(start_lab)
    customers(spine, "aws", acme=[aws(lab, PAYER), aws(lab, MEMBER)])

    report = collected(spine, "aws")

    assert charged(spine) == {("acme", PAYER): of[PAYER], ("acme", MEMBER): of[MEMBER]}
    assert left_out(spine, LeftOutBecause.ANOTHER_BILL) == {("acme", MEMBER): of[MEMBER]}
    assert ", 1 account in them left out;" in str(report)
    assert MEMBER not in checked(spine).replace(f"acme aws {MEMBER}: ok", "")


def test_the_check_asks_cost_explorer_nothing_and_tells_what_a_collection_left_out(
    start_lab: StartLab, spine: Spine
) -> None:
    lab, _ = payer_and_members(start_lab)
    customers(spine, "aws", acme=[aws(lab, PAYER)], globex=[aws(lab, MEMBER)])

    before = checked(spine)
    assert lab.control.calls().count("ce", status=200) == 0
    for account, name in ((PAYER, "acme"), (MEMBER, "globex")):
        assert f"{name} aws {account}: ok" in before
        assert f"{name} aws: whether the bill has charges of others is not known: {account}: Cost Explorer" in before

    collected(spine, "aws")
    asked = lab.control.calls().count("ce", status=200)
    after = checked(spine)

    assert lab.control.calls().count("ce", status=200) == asked
    month = f"{YESTERDAY:%Y-%m}"
    [line] = [line for line in after.splitlines() if "also has" in line]
    assert line.startswith(f"acme aws {PAYER}: in {month} the bill also has charges of ")
    this_month = lab.aws.billing.expected(PAYER, YESTERDAY.replace(day=1), YESTERDAY).values()
    for account in (MEMBER, STRANGER):
        usd = sum(cell["UnblendedCost"][0] for cells in this_month for key, cell in cells.items() if key[1] == account)
        assert f"{account} ({usd:,.2f} USD)" in line
    assert "below aws, each with its account_id" in line
    assert "not known" not in after


# --- AWS: a Data Export of a payer -----------------------------------------------------------------------------------

DATA_EXPORT = "s3://msp-billing/exports/costs"
REPORT_COLUMNS = (
    "bill_payer_account_id,line_item_usage_account_id,line_item_usage_start_date,line_item_usage_end_date,"
    "line_item_line_item_type,line_item_unblended_cost,line_item_currency_code,line_item_product_code,"
    "line_item_resource_id,product_region_code,bill_billing_period_start_date"
)
STATED = {PAYER: "10.0000000001", MEMBER: "700.5", STRANGER: "9000", "": "-0.25"}  # the last is a credit of no account


def data_export(start_lab: StartLab) -> CloudLab:
    """An export of a payer and two members in the payer's bucket, with a credit for none of them."""
    accounts = [{"id": one, "roles": ["reader"], "fleets": []} for one in (PAYER, MEMBER, STRANGER)]
    lab = start_lab({"aws": {"accounts": accounts}})
    lines = [REPORT_COLUMNS]
    for account, usd in STATED.items():
        day, kind = f"{YESTERDAY}T00:00:00Z,{YESTERDAY}T01:00:00Z", "Usage" if account else "Credit"
        period = f"{YESTERDAY.replace(day=1)}T00:00:00Z"
        lines.append(f"{PAYER},{account},{day},{kind},{usd},USD,AmazonEC2,,us-east-1,{period}")
    place = f"BILLING_PERIOD={YESTERDAY:%Y-%m}"
    key = f"{DATA_EXPORT}/data/{place}/costs-00001.csv.gz"
    lab.storage.put(key, gzip.compress("\n".join([*lines, ""]).encode()))
    manifest = json.dumps({"dataFiles": [key]}).encode()
    lab.storage.put(f"{DATA_EXPORT}/metadata/{place}/costs-Manifest.json", manifest)
    return lab


@pytest.mark.parametrize("bearing", [None, "acme", "globex"])
def test_a_data_export_gives_each_customer_its_own_accounts(
    start_lab: StartLab, spine: Spine, bearing: str | None
) -> None:
    lab = data_export(start_lab)
    owned = {"acme": PAYER, "globex": MEMBER}
    accounts = {
        name: [aws(lab, account, cost_export=DATA_EXPORT, account_charges=name == bearing)]
        for name, account in owned.items()
    }
    customers(spine, "aws", **accounts)

    report = collected(spine, "aws")

    usd = {account: Decimal(amount) for account, amount in STATED.items()}
    own = {(name, account): usd[account] for name, account in owned.items()}
    # What is of no account stands under the payer, which is acme's own account and none of globex'.
    own |= {(bearing, PAYER): own.get((bearing, PAYER), Decimal(0)) + usd[""]} if bearing else {}
    assert charged(spine) == own
    assert left_out(spine, LeftOutBecause.BILLING_ACCOUNT) == {
        (name, PAYER): usd[""] for name in owned if name != bearing
    }
    assert left_out(spine, LeftOutBecause.ANOTHER_ACCOUNT) == {
        (name, account): usd[account]
        for name in owned
        for account in (PAYER, MEMBER, STRANGER)
        if account != owned[name]
    }
    assert reconciled(spine, "aws") == 2
    assert lab.control.calls().count("ce") == 0
    told = {(one.data["customer"], one.data["account"]) for one in report.metadata(detailed=True)["left_out"].records}
    assert {(name, STRANGER) for name in owned} <= told
    said = checked(spine)
    assert said.count("Write account_charges: true at the one customer that bears them") == (1 if bearing else 2)
    assert f"{STRANGER} (9,000.00 USD)" in said


def test_a_data_export_whose_own_charges_two_customers_claim_is_refused(start_lab: StartLab, spine: Spine) -> None:
    lab = data_export(start_lab)
    claiming = {"cost_export": DATA_EXPORT, "account_charges": True}
    customers(spine, "aws", acme=[aws(lab, PAYER, **claiming)], globex=[aws(lab, MEMBER, **claiming)])

    with pytest.raises(ConfigError, match="is said by acme and by globex of the aws billing account"):
        collected(spine, "aws")
    assert charged(spine) == {}


# --- Google Cloud: one table of a billing account --------------------------------------------------------------------

TABLE = "msp-billing.all.gcp_billing_export_resource_v1_01A2B3_C4D5E6_F7A8B9"


EARLIER = TODAY - timedelta(days=4)  # the last day that certainly has all of its rows


def projects(start_lab: StartLab) -> tuple[CloudLab, dict[str, Decimal]]:
    """Three projects of one billing account, in one table; what each is charged, and the billing account itself."""
    names = ("acme-prod", "globex-core", "nobodys-project")
    machines = [{"kind": "gcp:instance", "region": "us-central1"}]
    export = {"table": TABLE, "projects": list(names)}
    lab = start_lab({"gcp": {"projects": [{"id": n, "fleets": machines} for n in names], "exports": [export]}})
    of: dict[str, Decimal] = {}
    for (_, project, *_), amount in lab.gcp.exports.expected(TABLE, BEFORE, EARLIER).items():
        of[project] = of.get(project, Decimal(0)) + amount
    # Tax is of a month's last day, which is not certain yet on the first days of the next.
    assert set(of) == {*names, *([BILLING_ACCOUNT] if EARLIER.month == TODAY.month else [])}
    return lab, of


def gcp(lab: CloudLab, project: str, **fields: Any) -> dict[str, Any]:
    at = {"endpoint_url": lab.url, "bigquery_endpoint_url": lab.url, "monitoring_endpoint_url": lab.url}
    return {"project_id": project, "billing_export_table": TABLE, **at, **fields}


@pytest.mark.parametrize("bearing", [pytest.param(None, marks=pytest.mark.long), "globex"])
def test_a_billing_table_gives_each_customer_its_own_projects(
    start_lab: StartLab, spine: Spine, bearing: str | None
) -> None:
    lab, of = projects(start_lab)
    owned = {"acme": "acme-prod", "globex": "globex-core"}
    accounts = {name: [gcp(lab, project, account_charges=name == bearing)] for name, project in owned.items()}
    customers(spine, "gcp", **accounts)

    assert "charges of others is not known" not in checked(spine)
    collected(spine, "gcp")

    until = f"window_start < toDateTime('{EARLIER + timedelta(days=1)}', 'UTC')"
    own = {(name, project): of[project] for name, project in owned.items()}
    nobodys = {BILLING_ACCOUNT: of[BILLING_ACCOUNT]} if BILLING_ACCOUNT in of else {}
    assert sums(spine, f"cost_type != 'left_out' AND {until}") == own | (
        {(bearing, account): amount for account, amount in nobodys.items()} if bearing else {}
    )
    told = sums(spine, f"charge_description = '{LeftOutBecause.BILLING_ACCOUNT}' AND {until}")
    assert told == {(name, account): nobodys[account] for name in owned if name != bearing for account in nobodys}
    others = sums(spine, f"charge_description = '{LeftOutBecause.ANOTHER_ACCOUNT}' AND {until}")
    assert others.items() <= {(name, project): of[project] for name in owned for project in of}.items()
    assert not others.keys() & own.keys()
    assert reconciled(spine, "gcp") >= (EARLIER - BEFORE).days
    # The account that is invoiced is read on the same days as the projects, also on those without a charge of its own.
    read = days_read(spine)
    expected = dict.fromkeys(owned.items(), read["acme", "acme-prod"])
    assert read == expected | ({(bearing, BILLING_ACCOUNT): read["acme", "acme-prod"]} if bearing else {})
    # The tax is of the month before: this month's statement has none yet.
    told_of = [line for line in checked(spine).splitlines() if "account_charges: true" in line]
    assert len(told_of) == (1 if bearing else 2) or not nobodys
    for line in told_of:
        assert f"the billing account itself, such as tax and support, which are left out: {BILLING_ACCOUNT} (" in line


# --- Azure: one export of a billing account --------------------------------------------------------------------------

SUBSCRIPTIONS = {
    "acme": "a0000000-0000-4000-8000-000000000001",
    "globex": "b0000000-0000-4000-8000-000000000002",
    "": "c0000000-0000-4000-8000-000000000003",
}
ENROLLMENT = "12345678"
EXPORT = "https://msp1.blob.core.windows.net/costs/focus"
COLUMNS = (
    "BilledCost,EffectiveCost,ListCost,BillingCurrency,ChargePeriodStart,ChargePeriodEnd,ChargeCategory,ServiceName,"
    "SubAccountId,BillingAccountId,RegionId,ResourceId,ProviderName"
)
AMOUNTS = {"acme": "10.000000000000000001", "globex": "700.5", "": "9000", "tax": "-0.25"}


def export(start_lab: StartLab, day: date = YESTERDAY) -> CloudLab:
    """An export of three subscriptions, and of a credit for none of them."""
    fleets = [{"kind": "azure:vm", "region": "westeurope"}]
    lab = start_lab({"azure": {"subscriptions": [{"id": one, "fleets": fleets} for one in SUBSCRIPTIONS.values()]}})
    lines = [COLUMNS]
    for name, usd in AMOUNTS.items():
        of = f"/subscriptions/{SUBSCRIPTIONS[name].upper()}" if name in SUBSCRIPTIONS else ""
        period = f"{day}T00:00Z,{day + timedelta(days=1)}T00:00Z"
        lines.append(f"{usd},{usd},{usd},USD,{period},Usage,Virtual Machines,{of},{ENROLLMENT},,,Microsoft")
    last = (day.replace(day=28) + timedelta(days=4)).replace(day=1) - timedelta(days=1)
    place = f"focus/daily/{day.replace(day=1):%Y%m%d}-{last:%Y%m%d}/run-1"
    put = lab.azure.billing.put_blob
    put("msp1.blob.core.windows.net", "costs", f"{place}/part_0.csv", "\n".join(lines).encode())
    return lab


def azure(lab: CloudLab, customer: str, **fields: Any) -> dict[str, Any]:
    at = {"endpoint_url": lab.url, "metrics_endpoint_url": lab.url}
    return {"subscription_id": SUBSCRIPTIONS[customer], "cost_export": EXPORT, **at, **fields}


@pytest.mark.parametrize("bearing", [None, "acme", "globex"])
def test_an_export_gives_each_customer_its_own_subscriptions(
    start_lab: StartLab, spine: Spine, bearing: str | None
) -> None:
    lab = export(start_lab)
    of = {name: [azure(lab, name, account_charges=name == bearing)] for name in ("acme", "globex")}
    customers(spine, "azure", **of)

    collected(spine, "azure")

    statement = {SUBSCRIPTIONS.get(name, ENROLLMENT): Decimal(usd) for name, usd in AMOUNTS.items()}
    own, others, of_account = (
        charged(spine), left_out(spine, LeftOutBecause.ANOTHER_ACCOUNT), left_out(spine, LeftOutBecause.BILLING_ACCOUNT)
    )  # fmt: skip
    for name in of:
        bears = {ENROLLMENT} if name == bearing else set()
        assert {account for customer, account in own if customer == name} == {SUBSCRIPTIONS[name], *bears}
        assert (name, ENROLLMENT) in (own if bears else of_account)
        parts = [usd for sums in (own, others, of_account) for (customer, _), usd in sums.items() if customer == name]
        assert sum(parts) == sum(statement.values())
    assert reconciled(spine, "azure") == 2
    told = checked(spine)
    assert f"globex azure {EXPORT[8:]}: in {YESTERDAY:%Y-%m} the bill also has charges of " in told
    assert f"{SUBSCRIPTIONS['']} (9,000.00 USD), {SUBSCRIPTIONS['acme']} (10.00 USD), which are left out" in told
    assert told.count("Write account_charges: true at the one customer that bears them") == (1 if bearing else 2)


def test_the_check_reads_an_export_that_was_not_collected_yet(start_lab: StartLab, spine: Spine) -> None:
    lab = export(start_lab)
    customers(spine, "azure", acme=[azure(lab, "acme")])

    told = checked(spine)

    assert f"acme azure {SUBSCRIPTIONS['acme']}: ok" in told
    assert f"{SUBSCRIPTIONS['']} (9,000.00 USD), {SUBSCRIPTIONS['globex']} (700.50 USD)" in told
    assert "below azure, each with its subscription_id" in told
    assert f"which are left out: {ENROLLMENT} (-0.25 USD). Write account_charges: true" in told


def test_a_bill_of_the_customers_own_accounts_is_told_of_in_no_line(start_lab: StartLab, spine: Spine) -> None:
    lab = export(start_lab)
    customers(spine, "azure", acme=[azure(lab, name, account_charges=True) for name in SUBSCRIPTIONS])
    report = collected(spine, "azure")
    assert "left_out" not in report.metadata(detailed=True)
    assert "in them" not in str(report)
    assert "also has" not in checked(spine)


def test_an_export_that_cannot_be_read_is_not_taken_for_one_without_others(start_lab: StartLab, spine: Spine) -> None:
    lab = export(start_lab)
    customers(spine, "azure", acme=[azure(lab, "acme")])
    lab.control.add_faults({"action": "deny", "service": "blob"})
    assert "acme azure: whether the bill has charges of others is not known" in checked(spine)
