"""Billing exports: every format and encoding is read to the last digit, or refused by name."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zipfile
from collections import Counter, defaultdict
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, localcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optiinfra_dagster.model.cost import Bill, Category, LeftOutBecause
from optiinfra_dagster.model.errors import Cause, CloudError
from optiinfra_dagster.model.inventory import Resource, ResourceType, Status
from optiinfra_dagster.providers.billing.exports.decimals import EXACT
from optiinfra_dagster.providers.billing.exports.files import ExportFile
from optiinfra_dagster.providers.billing.exports.reader import Reader, Statement, read_export

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

FIRST, LAST = date(2026, 10, 1), date(2026, 11, 20)
DAY = date(2026, 10, 5)
Row = dict[str, Any]


class Dribble:
    """A stream that can only read, a few bytes at a time, as a cut connection gives them."""

    def __init__(self, content: bytes, until: int | None = None) -> None:
        self._stream, self._left = io.BytesIO(content), until

    def read(self, size: int) -> bytes:
        if self._left is not None:
            if self._left <= 0:
                raise ConnectionResetError("Connection reset by peer")
            size = min(size, self._left)
        part = self._stream.read(min(size, 10_007))
        self._left = None if self._left is None else self._left - len(part)
        return part


def text_of(rows: Sequence[Row], names: Sequence[str] = ()) -> str:
    """Rows as CSV."""
    out = io.StringIO()
    writer = csv.DictWriter(out, list(names or rows[0]), lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def zip_of(text: str | bytes, files: int = 1, packed: int = zipfile.ZIP_STORED) -> bytes:
    """A ZIP archive of a folder, and of so many files with a text."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", packed) as archive:
        archive.mkdir("report")
        for n in range(files):
            archive.writestr(f"report/rep-{n}.csv", text)
    return out.getvalue()


def locked(archive: bytes) -> bytes:
    """An archive whose files are marked as encrypted."""
    content = bytearray(archive)
    for magic, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = content.find(magic)
        while at >= 0:
            content[at + flags] |= 1
            at = content.find(magic, at + 4)
    return bytes(content)


def parquet_of(rows: Sequence[Row], **types: pa.DataType) -> bytes:
    table = pa.Table.from_pylist(list(rows))
    for name, kind in types.items():
        table = table.set_column(table.column_names.index(name), name, table[name].cast(kind))
    out = io.BytesIO()
    pq.write_table(table, out)
    return out.getvalue()


def file_of(content: bytes | str, name: str = "part-0") -> ExportFile:
    content = content.encode() if isinstance(content, str) else content
    return ExportFile(name, len(content), lambda: Dribble(content))  # type: ignore[arg-type, return-value]


def bill_of(*contents: bytes | str, first: date = FIRST, last: date = LAST, provider: tuple[str, ...] = (),
            resources: Sequence[Resource] = ()) -> Bill:  # fmt: skip
    files = [file_of(content, f"part-{n}") for n, content in enumerate(contents)]
    return read_export(files, source_id="export", first=first, last=last, resources=resources, provider_names=provider)


def resource(resource_id: str, kind: str = "ec2:instance", **metadata: str) -> Resource:
    return Resource(
        "1", "eu-west-1", kind, resource_id, "web", ResourceType.COMPUTE, Status.RUNNING, "running",
        metadata=dict(metadata),
    )  # fmt: skip


def focus(**changes: Any) -> Row:
    return {
        "BilledCost": "1.5", "BillingCurrency": "USD", "ChargePeriodStart": "2026-10-05T03:00:00Z",
        "ChargePeriodEnd": "2026-10-05T04:00:00Z", "ChargeCategory": "Usage", "ServiceName": "Compute",
        "SubAccountId": "111", "RegionId": "eu-west-1", "ResourceId": "i-1", "ProviderName": "AWS",
        "EffectiveCost": "1", "ListCost": "2",
    } | changes  # fmt: skip


def cur(**changes: Any) -> Row:
    return {
        "bill_invoice_id": "", "line_item_usage_account_id": "111", "line_item_line_item_type": "Usage",
        "line_item_usage_start_date": "2026-10-05T03:00:00Z", "line_item_product_code": "AmazonEC2",
        "line_item_resource_id": "", "line_item_currency_code": "USD", "line_item_unblended_cost": "1.5",
        "product_product_family": "Storage", "product_region_code": "us-east-1",
    } | changes  # fmt: skip


def azure(**changes: Any) -> Row:
    return {
        "SubscriptionId": "AAAAAAAA-0000-0000-0000-000000000001", "Date": "10/05/2026", "MeterCategory": "Storage",
        "CostInBillingCurrency": "1.5", "BillingCurrencyCode": "EUR", "ResourceLocation": "West Europe",
        "ResourceId": "/subscriptions/AAA/resourceGroups/RG/disks/D", "ChargeType": "Usage", "PricingModel": "OnDemand",
    } | changes  # fmt: skip


def gcp(**changes: Any) -> Row:
    return {
        "billing_account_id": "B-1", "service.description": "Compute Engine", "project.id": "acme",
        "usage_start_time": "2026-10-05 03:00:00 UTC", "location.region": "europe-west1", "cost": "1.5",
        "currency": "EUR", "credits": "[]", "cost_type": "regular", "resource.global_name": "",
    } | changes  # fmt: skip


def sums(bill: Bill) -> dict[tuple[date, str], Decimal]:
    found: dict[tuple[date, str], Decimal] = defaultdict(Decimal)
    with localcontext(EXACT):
        for charge in bill.charges:
            found[charge.day, charge.currency] += charge.amount
    return dict(found)


# --- Recorded and public files ----------------------------------------------------------------------------------------


def test_the_focus_sample_has_its_rows_and_its_costs_by_provider(shared_data: Path) -> None:
    path = shared_data / "focus" / "FOCUS-1.0_focus_sample.csv"
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    wanted: dict[str, Decimal] = defaultdict(Decimal)
    for row in rows:
        wanted[row["ProviderName"]] += Decimal(row["BilledCost"])
    reader = Reader(Statement("x", date(2024, 9, 1), date(2024, 9, 30)), [])
    reader.read(ExportFile.local(path))
    bill = reader.bill()
    found: dict[Any, Decimal] = defaultdict(Decimal)
    for charge in bill.charges:
        found[charge.metadata["provider_name"]] += charge.amount
    assert (dict(found), bill.problems) == (dict(wanted), [])
    assert reader.rows == Counter(row["ProviderName"] for row in rows)
    assert sum(total.amount for total in bill.totals) == sum(wanted.values())


@pytest.mark.parametrize("provider", ["aws", "microsoft", "google"])
def test_only_the_rows_of_a_provider_are_taken_where_one_is_named(shared_data: Path, provider: str) -> None:
    path = shared_data / "focus" / "FOCUS-1.0_focus_sample.csv"
    named = {"aws": "AWS", "microsoft": "Microsoft", "google": "Google Cloud"}[provider]
    with path.open(newline="") as file:
        wanted = sum(Decimal(row["BilledCost"]) for row in csv.DictReader(file) if row["ProviderName"] == named)
    bill = read_export([ExportFile.local(path)], source_id="x", first=date(2024, 9, 1), last=date(2024, 9, 30),
                       resources=[], provider_names=[provider])  # fmt: skip
    assert sum(charge.amount for charge in bill.charges) == wanted


@pytest.mark.parametrize(
    ("name", "year", "rows", "cost"),
    [
        ("koku/koku/masu/test/data/aws/empty_frame.csv", 2019, 0, "0"),
        ("koku/koku/masu/test/data/azure/empty_frame.csv", 2019, 0, "0"),
        ("koku/koku/masu/test/data/azure/costreport_a243c6f2-199f-4074-9a2c-40e671cf1584.csv", 2019, 3, "0.00011016"),
        ("koku/koku/masu/test/data/gcp/2022-08-01_5.csv", 2022, 9, "0.000012"),
        ("opencost/pkg/cloud/azure/resources/billingexports/headersets/German.csv", 2021, 1, "0.075"),
        ("opencost/pkg/cloud/azure/resources/billingexports/headersets/Enterprise.csv", 2021, 1, "0"),
        ("azure_billing_csv/finops-toolkit/EA_NoRows.csv", 2023, 0, "0"),
        ("azure_billing_csv/finops-toolkit/EA_ActualCost_Small.csv", 2023, 11, "8.5450077867419368"),
    ],
)
def test_public_files_are_read(shared_data: Path, name: str, year: int, rows: int, cost: str) -> None:
    reader = Reader(Statement("x", date(year, 1, 1), date(year, 12, 31)), [])
    reader.read(ExportFile.local(shared_data / name))
    bill = reader.bill()
    assert bill.problems == []
    assert (sum(reader.rows.values()), sum(c.amount for c in bill.charges)) == (rows, Decimal(cost))
    assert list(bill.read) == ["x"]


@pytest.mark.parametrize(
    ("row", "column", "texts"),
    [
        (cur, "line_item_usage_type", {"USE1-DataTransfer-Out-Bytes": 1, "USE1-USW2-AWS-Out-Bytes": 1,
                                       "BoxUsage:m6i.large": 0, "NatGateway-Bytes": 0}),
        (cur, "product_product_family", {"Data Transfer": 1, "Compute Instance": 0}),
        (focus, "x_UsageType", {"EUC1-DataTransfer-Regional-Bytes": 1, "TimedStorage-ByteHrs": 0}),
        (focus, "x_SkuMeterName", {"Standard Data Transfer Out": 1, "LRS Write Operations": 0}),
        (focus, "ChargeDescription", {"Network Internet Egress from Americas to Americas": 1, "N1 Core": 0, "": 0}),
        (azure, "MeterName", {"Intra Continent Data Transfer Out": 1, "P10 LRS Disk": 0}),
        (gcp, "sku.description", {"Network Inter Zone Data Transfer Out": 1, "Storage PD Capacity": 0}),
    ],
)  # fmt: skip
def test_what_moving_data_costs_is_told_apart(row: Callable[..., Row], column: str, texts: dict[str, int]) -> None:
    """And nothing else: lines are not split by what they say besides."""
    bill = bill_of(text_of([row(**{column: text}) for text in texts for _ in range(2)]))
    assert bill.problems == []
    told = {charge.description: charge.amount for charge in bill.charges}
    assert told == {
        "Data transfer": sum(3 for is_one in texts.values() if is_one),
        "": sum(3 for is_one in texts.values() if not is_one),
    }  # fmt: skip
    assert len(bill.charges) == 2


@pytest.mark.parametrize("name", ["Regions.csv", "FocusCost_1.2-preview.json"])
def test_what_is_no_export_is_refused_by_name(shared_data: Path, name: str) -> None:
    reader = Reader(Statement("x", FIRST, LAST), [])
    reader.read(ExportFile.local(shared_data / "azure_billing_csv" / "finops-toolkit" / name))
    bill = reader.bill()
    (problem,) = bill.problems
    assert (problem.cause, bill.read, bill.charges) == (Cause.CONFIG, {}, [])
    assert name in problem.message


def test_every_column_of_microsofts_focus_schema_is_recognised_as_focus(shared_data: Path) -> None:
    path = shared_data / "azure_billing_csv" / "finops-toolkit" / "FocusCost_1.2-preview.json"
    names = [column["ColumnName"] for column in json.loads(path.read_text(encoding="utf-8-sig"))["Columns"]]
    row = dict.fromkeys(names, "") | focus(SubAccountId="/subscriptions/AAAAAAAA-0000-0000-0000-000000000001")
    (charge,) = bill_of(text_of([row])).charges
    assert (charge.amount, charge.sub_account_id) == (Decimal("1.5"), "aaaaaaaa-0000-0000-0000-000000000001")


# --- Encodings and containers -----------------------------------------------------------------------------------------

ENCODINGS: dict[str, Callable[[str], bytes]] = {
    "utf-8": str.encode,
    "byte order mark": lambda text: text.encode("utf-8-sig"),
    "utf-16": lambda text: text.encode("utf-16"),
    "utf-16 big end first": lambda text: b"\xfe\xff" + text.encode("utf-16-be"),
    "gzip": lambda text: gzip.compress(text.encode()),
    "gzip in parts": lambda text: gzip.compress(text[:70].encode()) + gzip.compress(text[70:].encode()),
    "semicolons": lambda text: text.replace(",", ";").encode(),
    "upper case": lambda text: text.partition("\n")[0].upper().encode() + b"\n" + text.partition("\n")[2].encode(),
    "zip": lambda text: zip_of(text, packed=zipfile.ZIP_DEFLATED),
    "gzip and utf-16": lambda text: gzip.compress(text.encode("utf-16")),
}


@pytest.mark.parametrize("name", ENCODINGS)
@pytest.mark.parametrize("make", [focus, cur, azure, gcp])
def test_encodings_and_containers_change_nothing(name: str, make: Callable[..., Row]) -> None:
    rows = [make(ServiceName="Ünïcode ☂"), make(ServiceName='a "quoted"\r\nline')]
    plain, other = bill_of(text_of(rows)), bill_of(ENCODINGS[name](text_of(rows)))
    assert other.problems == []
    assert (other.charges, other.totals, other.read) == (plain.charges, plain.totals, plain.read)
    assert sums(other) == {(DAY, plain.charges[0].currency): Decimal(3)}


@pytest.mark.parametrize("marks", ["", "\ufeff"])  # Cost Management has written one before the first row as well
@pytest.mark.parametrize(("header", "row"), [("", ""), (",", ","), (",", ""), ("", ","), (",,", ",")])
@pytest.mark.parametrize("make", [gzip.compress, bytes])
def test_lines_may_end_with_a_comma_and_begin_with_a_mark(
    make: Callable[[bytes], bytes], header: str, row: str, marks: str
) -> None:
    rows = [azure(), azure()]
    first, *others = text_of(rows).splitlines()
    text = "\r\n".join((marks + first + header, marks + others[0] + row, others[1] + row, ""))
    bill = bill_of(make(text.encode()))
    assert (bill.charges, bill.problems) == (bill_of(text_of(rows)).charges, [])


@pytest.mark.parametrize("make", [focus, cur, azure])
def test_parquet_says_the_same_as_csv(make: Callable[..., Row]) -> None:
    rows = [make(), make()]
    plain, parquet = bill_of(text_of(rows)), bill_of(parquet_of(rows))
    assert (parquet.charges, parquet.problems) == (plain.charges, [])


@pytest.mark.parametrize(
    "kind",
    [pa.timestamp("ms"), pa.timestamp("us", "UTC"), pa.timestamp("ns"), pa.date32(), pa.timestamp("s", "Asia/Tokyo")],
)
def test_days_of_parquet_are_utc_whatever_their_type(kind: pa.DataType) -> None:
    row = focus(ChargePeriodStart=datetime(2026, 10, 5, 23, 30, tzinfo=UTC))
    assert [c.day for c in bill_of(parquet_of([row], ChargePeriodStart=kind)).charges] == [DAY]


@pytest.mark.parametrize(
    ("kind", "text"),
    [(pa.float64(), "0.1"), (pa.decimal128(20, 10), "0.1"), (pa.int64(), "3"), (pa.decimal128(38, 20), "0.1")],
)
def test_amounts_of_parquet_are_exact_whatever_their_type(kind: pa.DataType, text: str) -> None:
    rows = [focus(BilledCost=Decimal(text)) for _ in range(3)]
    assert sums(bill_of(parquet_of(rows, BilledCost=kind))) == {(DAY, "USD"): 3 * Decimal(text)}


def test_google_rows_of_parquet_have_structs_and_a_list_of_credits() -> None:
    row = {
        "billing_account_id": "B-1", "service": {"id": "6F81", "description": "Compute Engine"},
        "project": {"id": "acme", "name": "Acme"}, "usage_start_time": datetime(2026, 10, 5, 3, tzinfo=UTC),
        "location": {"location": "europe-west1", "region": "europe-west1"}, "cost": 0.3, "currency": "EUR",
        "credits": [{"name": "SUD", "amount": -0.1}, {"name": "CUD", "amount": -0.05}], "cost_type": "regular",
        "resource": {"name": "web", "global_name": "//compute.googleapis.com/projects/1/zones/z/instances/123456789"},
    }  # fmt: skip
    web = resource(
        "//compute.googleapis.com/projects/acme/zones/z/instances/web", "gcp:instance", instance_id="123456789"
    )
    bill = bill_of(parquet_of([row, row | {"credits": []}]), resources=[web])
    by_category = {charge.category: charge.amount for charge in bill.charges}
    assert by_category == {Category.USAGE: Decimal("0.6"), Category.CREDIT: Decimal("-0.15")}
    assert {(c.resource_id, c.metadata["matched_by"], c.cost_type) for c in bill.charges} == {
        (web.resource_id, "number", "compute")
    }
    assert [(total.amount, total.currency) for total in bill.totals] == [(Decimal("0.45"), "EUR")]


@pytest.mark.parametrize("text", ["[{'name': 'x', 'amount': -0.1}]", '[{"amount": -1e-1}]'])
def test_google_credits_of_csv_are_charges(text: str) -> None:
    assert sums(bill_of(text_of([gcp(credits=text)]))) == {(DAY, "EUR"): Decimal("1.4")}


def test_legacy_report_columns_are_those_of_the_new_one() -> None:
    legacy = {
        "bill/InvoiceId": "1", "lineItem/UsageAccountId": "111", "lineItem/UsageStartDate": "2026-10-05T03:00:00Z",
        "lineItem/LineItemType": "Tax", "lineItem/ProductCode": "AmazonEC2", "lineItem/ResourceId": "",
        "lineItem/CurrencyCode": "USD", "lineItem/UnblendedCost": "1.5", "product/productFamily": "Storage",
        "product/region": "us-east-1",
    }  # fmt: skip
    new = cur(bill_invoice_id="1", line_item_line_item_type="Tax")
    assert bill_of(text_of([legacy])).charges == bill_of(text_of([new])).charges


# --- Meaning ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "field", "word", "category"),
    [
        (cur, "line_item_line_item_type", "DiscountedUsage", Category.USAGE),
        (cur, "line_item_line_item_type", "RIFee", Category.PURCHASE),
        (cur, "line_item_line_item_type", "Tax", Category.TAX),
        (cur, "line_item_line_item_type", "Credit", Category.CREDIT),
        (cur, "line_item_line_item_type", "EdpDiscount", Category.CREDIT),
        (cur, "line_item_line_item_type", "Refund", Category.ADJUSTMENT),
        (cur, "line_item_line_item_type", "SomethingNew", Category.ADJUSTMENT),
        (azure, "ChargeType", "UnusedReservation", Category.USAGE),
        (azure, "ChargeType", "Refund", Category.ADJUSTMENT),
        (gcp, "cost_type", "rounding_error", Category.ADJUSTMENT),
        (focus, "ChargeCategory", "Purchase", Category.PURCHASE),
    ],
)
def test_the_clouds_words_become_categories(
    make: Callable[..., Row], field: str, word: str, category: Category
) -> None:
    assert [c.category for c in bill_of(text_of([make(**{field: word})])).charges] == [category]


def test_amortized_costs_of_a_report_are_by_aws_own_formula() -> None:
    extra = {
        "reservation_effective_cost": "0.4", "reservation_unused_recurring_fee": "0.3",
        "reservation_reservation_a_r_n": "",
        "reservation_unused_amortized_upfront_fee_for_billing_period": "0.2",
        "savings_plan_savings_plan_effective_cost": "0.5", "savings_plan_total_commitment_to_date": "9",
        "savings_plan_used_commitment": "8",
    }  # fmt: skip
    types = ["Usage", "DiscountedUsage", "SavingsPlanCoveredUsage", "SavingsPlanNegation", "SavingsPlanRecurringFee",
             "SavingsPlanUpfrontFee", "RIFee", "Fee"]  # fmt: skip
    rows = [cur(line_item_line_item_type=word, line_item_usage_account_id=word, **extra) for word in types]
    rows.append(rows[-1] | {"line_item_usage_account_id": "of RI", "reservation_reservation_a_r_n": "arn:aws:ec2:..."})
    found = {c.sub_account_id: (c.amount, c.effective_cost) for c in bill_of(text_of(rows)).charges}
    wanted = ["1.5", "0.4", "0.5", "0", "1", "0", "0.5", "1.5", "0"]
    assert found == {
        account: (Decimal("1.5"), Decimal(cost)) for account, cost in zip([*types, "of RI"], wanted, strict=True)
    }


def test_a_cost_that_is_not_known_stays_unknown() -> None:
    rows = [focus(EffectiveCost="NULL"), focus(), focus(BilledCost="", ServiceName="Unpriced")]
    (charge,) = bill_of(text_of(rows)).charges
    assert (charge.amount, charge.effective_cost, charge.list_cost) == (Decimal(3), None, Decimal(4))


@pytest.mark.parametrize("empty", ["", "NULL", "null", " "])
def test_empty_words_are_null(empty: str) -> None:
    row = focus(ResourceId=empty, RegionId=empty, SubAccountId=empty, BillingAccountId="payer", InvoiceId=empty)
    (charge,) = bill_of(text_of([row]), last=DAY).charges
    assert (charge.resource_id, charge.region_id, charge.sub_account_id, charge.is_final) == ("", "", "payer", False)


@pytest.mark.parametrize(
    "text",
    ["2026-10-05", "2026-10-05T23:59Z", "2026-10-05T00:00:00.0000000Z", "2026-10-05 23:00:00 UTC",
     "10/5/2026 12:00:00 AM", "2026-10-05 01:00:00+00:00", "2026-10-06T01:00:00+02:00", "2026-10-05T00:00:00.000Z"],
)  # fmt: skip
def test_days_are_known_in_every_spelling(text: str) -> None:
    assert [c.day for c in bill_of(text_of([focus(ChargePeriodStart=text)])).charges] == [DAY]


@pytest.mark.parametrize(
    ("text", "region"),
    [
        ("EastUS2", "eastus2"), ("US East 2", "eastus2"), ("US North Central", "northcentralus"),
        ("EU West", "westeurope"), ("AP Southeast", "southeastasia"), ("IN Central", "centralindia"),
        ("JA East", "japaneast"), ("DE West Central", "germanywestcentral"), ("UK South", "uksouth"),
        ("AU Central 2", "australiacentral2"), ("Unassigned", ""), ("Global", "global"), ("Zone 1", "zone1"),
    ],
)  # fmt: skip
def test_a_region_of_azure_has_one_id_however_it_is_written(text: str, region: str) -> None:
    assert [c.region_id for c in bill_of(text_of([azure(ResourceLocation=text)])).charges] == [region]


def test_columns_without_a_value_in_the_whole_file_are_null() -> None:
    row = focus() | dict.fromkeys(["ResourceId", "RegionId", "EffectiveCost", "ListCost", "ProviderName"])
    (charge,) = bill_of(parquet_of([row])).charges
    assert (charge.amount, charge.resource_id, charge.effective_cost) == (Decimal("1.5"), "", None)


def test_a_charge_of_a_month_is_of_the_day_that_it_begins_on() -> None:
    fee = focus(ChargePeriodStart="2026-10-01 00:00:00", ChargePeriodEnd="2026-11-01 00:00:00", ChargeCategory="Tax")
    bill = bill_of(text_of([fee, focus()]))
    assert {charge.day: charge.category for charge in bill.charges} == {FIRST: Category.TAX, DAY: Category.USAGE}


def test_resources_have_the_inventorys_ids() -> None:
    instance = resource("arn:aws:ec2:eu-west-1:111:instance/i-0123456789abcdef0")
    rows = [focus(ResourceId=text) for text in ("i-0123456789abcdef0", instance.resource_id, "i-elsewhere")]
    bill = bill_of(text_of(rows), resources=[instance])
    assert {c.resource_id: c.amount for c in bill.charges} == {
        instance.resource_id: Decimal(3),
        "i-elsewhere": Decimal("1.5"),
    }
    assert [c.cost_type for c in bill.charges if c.resource_id == instance.resource_id] == ["compute"]
    disk = resource("/subscriptions/aaa/resourcegroups/rg/disks/d")
    assert [c.resource_id for c in bill_of(text_of([azure()]), resources=[disk]).charges] == [disk.resource_id]


@pytest.mark.parametrize(
    ("text", "name", "uid"),
    [
        ("acme-logs", "s3:::acme-logs", ""),
        ("arn:aws:s3:::acme-logs", "s3:::acme-logs", ""),
        ("arn:aws:rds:r:111:cluster:cluster-5UX6", "rds:r:111:cluster:db", "cluster-5UX6"),
        ("arn:aws:rds:r:111:db:db", "rds:r:111:db:db", "db-77EXAMPLE"),
        ("arn:aws:ec2:r::snapshot/snap-0123456789abcdef", "ec2:r:111:snapshot/snap-0123456789abcdef", ""),
        ("arn:aws:ec2:r:9:eip/eipalloc-0123456789abcdef0", "ec2:r:111:elastic-ip/eipalloc-0123456789abcdef0", ""),
        ("fs-0123abcd", "elasticfilesystem:r:111:file-system/fs-0123abcd", ""),
    ],
)  # fmt: skip
@pytest.mark.parametrize("of", [focus, cur])
def test_what_aws_bills_calls_otherwise_is_the_inventorys(text: str, name: str, uid: str, of: Any) -> None:
    own, other = (replace(resource(f"arn:aws:{one}"), instance_uid=uid) for one in (name, f"{name}-2"))
    row = of(**{"ResourceId" if of is focus else "line_item_resource_id": text})
    other = replace(other, instance_uid="cluster-OTHER")
    assert [c.resource_id for c in bill_of(text_of([row]), resources=[own, other]).charges] == [own.resource_id]


def test_an_id_that_two_resources_share_is_of_neither() -> None:
    twins = [resource(f"arn:aws:ec2:eu-west-1:{n}:instance/i-0123456789abcdef0") for n in (1, 2)]
    (charge,) = bill_of(text_of([focus(ResourceId="i-0123456789abcdef0")]), resources=twins).charges
    assert (charge.resource_id, charge.metadata) == ("i-0123456789abcdef0", {})


def test_a_charge_is_final_once_it_is_invoiced_or_its_month_is_long_over() -> None:
    text = text_of([cur(line_item_usage_account_id="a"), cur(line_item_usage_account_id="b", bill_invoice_id="77")])
    for last, old in ((date(2026, 11, 9), False), (date(2026, 11, 10), True)):
        assert {c.sub_account_id: c.is_final for c in bill_of(text, last=last).charges} == {"a": old, "b": True}


def test_days_are_read_from_the_first_charge_to_the_last_within_the_range() -> None:
    rows = [focus(ChargePeriodStart=f"2026-{day}T00:00:00Z") for day in ("09-30", "10-03", "10-05", "11-21")]
    bill = bill_of(text_of(rows[1:3]))
    assert bill.read == {"export": [date(2026, 10, 3), date(2026, 10, 4), DAY]}
    bill = bill_of(text_of(rows))
    assert [bill.read["export"][0], bill.read["export"][-1]] == [FIRST, LAST]
    assert sorted(charge.day.isoformat() for charge in bill.charges) == ["2026-09-30", "2026-10-03", "2026-10-05"]
    assert [(part.because, part.amount) for part in bill.left_out] == [(LeftOutBecause.NOT_OVER, Decimal("1.5"))]


# --- Refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "cause", "words"),
    [
        ("", Cause.CONFIG, "(none)"),
        ("name,age\r\nx,1\r\n", Cause.CONFIG, "name, age"),
        (b"PK\x03\x04....", Cause.INCOMPLETE, "not a zip file"),
        (zip_of(text_of([focus()]), files=2), Cause.CONFIG, "a ZIP archive of 2 files"),
        (zip_of("", files=0), Cause.CONFIG, "a ZIP archive of 0 files"),
        (zip_of(text_of([focus()]))[:-20], Cause.INCOMPLETE, "not a zip file"),
        (zip_of(text_of([focus()])).replace(b"2026", b"2025", 1), Cause.INCOMPLETE, "broken"),
        (locked(zip_of(text_of([focus()]))), Cause.CONFIG, "password required"),
        (text_of([{k: v for k, v in focus().items() if k != "BillingCurrency"}]), Cause.CONFIG, "BillingCurrency"),
        (text_of([{k: v for k, v in cur().items() if "unblended" not in k}]), Cause.CONFIG, "line_item_unblended_cost"),
        (text_of([{k: v for k, v in azure().items() if "Cost" not in k}]), Cause.CONFIG, "CostInBillingCurrency or"),
        (text_of([{k: v for k, v in gcp().items() if k != "credits"}]), Cause.CONFIG, "credits"),
        (text_of([focus(BilledCost="1,5")]), Cause.BUG, "BilledCost: '1,5'"),
        (text_of([focus(BilledCost="NaN")]), Cause.BUG, "BilledCost"),
        (text_of([focus(BilledCost="1e30")]), Cause.BUG, "BilledCost"),
        (text_of([focus(ChargePeriodStart="yesterday")]), Cause.BUG, "ChargePeriodStart: 'yesterday'"),
        (text_of([focus(ChargePeriodStart="NULL")]), Cause.BUG, "ChargePeriodStart"),
        (text_of([azure(Date="21/09/2026")]), Cause.BUG, "Date: '21/09/2026'"),
        (text_of([focus(BillingCurrency="")]), Cause.BUG, "BillingCurrency"),
        (text_of([gcp(credits="[{]")]), Cause.BUG, "credits"),
        (text_of([focus()]) + "1,2\r\n", Cause.INCOMPLETE, "Expected 12 columns"),
        (gzip.compress(text_of([focus()]).encode())[:-20], Cause.INCOMPLETE, "end"),
        (parquet_of([focus()])[:-9], Cause.INCOMPLETE, "broken"),
        (text_of([focus(ServiceName="Stra\xdfe")]).encode("latin-1"), Cause.INCOMPLETE, "UTF8"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_told_and_nothing_is_taken(content: bytes | str, cause: Cause, words: str) -> None:
    bill = bill_of(content)
    assert (bill.charges, bill.totals, bill.read) == ([], [], {})
    (problem,) = bill.problems
    assert (problem.account_id, problem.cause) == ("export", cause)
    assert problem.message.startswith("part-0: ")
    assert words in problem.message


@pytest.mark.parametrize("pack", [gzip.compress, lambda content: zip_of(content, packed=zipfile.ZIP_DEFLATED)])
def test_what_unpacks_to_many_times_its_size_is_refused(pack: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """By what is unpacked, not by what the file says of itself; nothing of it is held but a few megabytes."""
    monkeypatch.setattr("optiinfra_dagster.providers.billing.exports.files._HARMLESS", 1 << 20)
    content = pack(text_of([focus()]).encode() + b" " * (30 << 20))
    bill = read_export(
        [ExportFile("part-0", len(content), lambda: io.BytesIO(content))],
        source_id="export", first=FIRST, last=LAST, resources=[],
    )  # fmt: skip
    assert (bill.charges, bill.read) == ([], {})
    (problem,) = bill.problems
    assert problem.cause is Cause.CONFIG
    assert "unpacks to more than 200 times its size" in problem.message


def test_one_broken_file_leaves_nothing_of_the_others() -> None:
    bill = bill_of(text_of([focus()]), text_of([focus(BilledCost="1,5")]), text_of([focus()]))
    assert ([p.message[:7] for p in bill.problems], bill.charges, bill.read) == (["part-1:"], [], {})


@pytest.mark.parametrize("make", [lambda rows: text_of(rows).encode(), parquet_of])
def test_a_cut_connection_is_told(make: Callable[[Sequence[Row]], bytes]) -> None:
    content = make([focus(ServiceName=f"service {n}") for n in range(2000)])
    file = ExportFile("part-0", 1, lambda: Dribble(content, until=len(content) // 2))  # type: ignore[arg-type, return-value]
    bill = read_export([file], source_id="x", first=FIRST, last=LAST, resources=[])
    assert [(p.cause, "Connection reset by peer" in p.message) for p in bill.problems] == [(Cause.UNAVAILABLE, True)]
    assert bill.read == {}


def test_what_the_cloud_says_when_a_file_is_opened_is_kept() -> None:
    def refuse() -> Path:
        raise CloudError(Cause.PERMISSION, "GetObject is not allowed: grant s3:GetObject.")

    bill = read_export([ExportFile("a", 1, refuse)], source_id="x", first=FIRST, last=LAST, resources=[])
    assert [(p.cause, p.message) for p in bill.problems] == [
        (Cause.PERMISSION, "a: GetObject is not allowed: grant s3:GetObject.")
    ]


def test_a_file_that_cannot_be_opened_is_told() -> None:
    file = ExportFile("gone", 1, lambda: Path("/nowhere/gone.csv"))
    bill = read_export([file], source_id="x", first=FIRST, last=LAST, resources=[])
    assert [(p.cause, "FileNotFoundError" in p.message) for p in bill.problems] == [(Cause.UNAVAILABLE, True)]


def test_nothing_is_counted_twice() -> None:
    bill = bill_of(text_of([focus()]), text_of([cur()]))
    assert (bill.read, [p.cause for p in bill.problems]) == ({}, [Cause.CONFIG])
    assert "part-0 is FOCUS" in bill.problems[0].message
    bought = azure(ChargeType="Purchase", PricingModel="Reservation")
    spread = azure(PricingModel="Reservation")
    (charge,) = bill_of(text_of([spread])).charges
    assert (charge.metadata, charge.effective_cost) == ({"cost": "amortized"}, Decimal("1.5"))
    assert bill_of(text_of([bought])).problems == []
    both = bill_of(text_of([bought]), text_of([spread]))
    assert (both.read, "amortized" in both.problems[0].message) == ({}, True)


def test_an_empty_folder_is_no_bill_of_nothing() -> None:
    manifest = file_of("{}", "x/manifest.json")
    bill = read_export([manifest], source_id="x", first=FIRST, last=LAST, resources=[])
    assert (bill.read, [p.cause for p in bill.problems]) == ({}, [Cause.CONFIG])


# --- Sums -------------------------------------------------------------------------------------------------------------

texts = st.one_of(
    st.decimals(-1_000_000, 1_000_000, places=10).map(str),
    st.floats(-1000, 1000).map(repr),
    st.floats(-1e-9, 1e-9).map(repr),
    st.sampled_from(["", "NULL", "0", "-0", "1E-7", "+5", ".5", "0.000000000000000000000000000000000000000000000001"]),
)
drawn = st.lists(
    st.fixed_dictionaries(
        {
            "BilledCost": texts,
            "BillingCurrency": st.sampled_from(["USD", "EUR", "jpy"]),
            "ChargePeriodStart": st.datetimes(datetime(2026, 9, 29), datetime(2026, 10, 9)).map(  # noqa: DTZ001
                lambda at: f"{at.replace(microsecond=0).isoformat()}Z"
            ),
            "ServiceName": st.sampled_from(["a", "b", "NULL", "ü"]),
            "ResourceId": st.sampled_from(["", "i-1", "i-2"]),
            "ChargeCategory": st.sampled_from(["Usage", "Tax", "Credit"]),
            "ProviderName": st.sampled_from(["AWS", "Microsoft"]),
        }
    ),
    min_size=1,
    max_size=30,
)


@settings(max_examples=60)
@given(drawn, st.booleans(), st.integers(1, 3))
def test_sums_by_day_and_currency_are_those_of_plain_decimals(rows: list[Row], as_parquet: bool, parts: int) -> None:
    whole = [focus(**row) for row in rows]
    pieces = [piece for n in range(parts) if (piece := whole[n::parts])]
    bill = bill_of(*(parquet_of(piece) if as_parquet else text_of(piece) for piece in pieces))
    wanted: dict[tuple[date, str], Decimal] = {}
    with localcontext(EXACT):
        for row in rows:
            day = date.fromisoformat(row["ChargePeriodStart"][:10])
            if row["BilledCost"] not in {"", "NULL"}:
                key = day, row["BillingCurrency"].upper()
                exact = Decimal(row["BilledCost"]).quantize(Decimal("1e-50"))
                wanted[key] = wanted.get(key, Decimal(0)) + exact
    unknown = sum(row["BilledCost"] in {"", "NULL"} for row in rows)
    assert [problem.message.split()[0] for problem in bill.problems] == [str(unknown)] * (unknown > 0)
    with localcontext(EXACT):
        found = sums(bill)
        assert found.keys() == wanted.keys()  # what rounding leaves of a day goes to the next one
        assert all(abs(found[key] - amount) <= Decimal("1e-18") for key, amount in wanted.items())
        told = {(total.day, total.currency): total.amount for total in bill.totals}
        assert by_month(found) == told
        assert {key: amount.quantize(Decimal("1e-18")) for key, amount in by_month(wanted).items()} == told


def by_month(days: dict[tuple[date, str], Decimal]) -> dict[tuple[date, str], Decimal]:
    """The sums of months, of those of days."""
    found: dict[tuple[date, str], Decimal] = defaultdict(Decimal)
    for (day, currency), amount in days.items():
        found[day.replace(day=1), currency] += amount
    return dict(found)


@settings(max_examples=60)
@given(
    st.one_of(
        st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50),
        st.lists(st.decimals(-99_999, 99_999, places=10).map(float), min_size=1, max_size=50),
        st.lists(st.decimals(-(10**9), 10**9, places=4).map(float), min_size=1, max_size=50),
    )
)
def test_a_double_is_the_shortest_decimal_that_stands_for_it(values: list[float]) -> None:
    found = sums(bill_of(parquet_of([focus(BilledCost=value) for value in values])))
    with localcontext(EXACT):
        wanted = sum((Decimal(repr(value)).quantize(Decimal("1e-50")) for value in values), Decimal(0))
    assert found == {(DAY, "USD"): wanted.quantize(Decimal("1e-18"), context=EXACT)}


def test_the_order_of_rows_and_files_changes_nothing() -> None:
    rows = [focus(BilledCost="0.3333333333333333333333", ServiceName=f"s{n}") for n in range(9)]
    one, other = bill_of(text_of(rows)), bill_of(text_of(rows[5:][::-1]), text_of(rows[:5]))
    assert (one.charges, one.totals) == (other.charges, other.totals)
    assert sums(one) == {(DAY, "USD"): Decimal("3.000000000000000000")}


def test_more_sums_than_are_kept_apart_are_added_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("optiinfra_dagster.providers.billing.exports.sums.Sums._MANY", 10)
    monkeypatch.setattr("optiinfra_dagster.providers.billing.exports.files.BATCH_ROWS", 7)
    rows = [
        cur(
            line_item_usage_start_date=f"2026-10-{n % 28 + 1:02}T00:00:00Z",
            line_item_unblended_cost=n / 7 if n > 60 else n / 8,
        )
        for n in range(100)
    ]
    wanted: dict[tuple[date, str], Decimal] = defaultdict(Decimal)
    with localcontext(EXACT):
        for n, row in enumerate(rows):
            wanted[FIRST + timedelta(days=n % 28), "USD"] += Decimal(repr(row["line_item_unblended_cost"]))
    assert sums(bill_of(parquet_of(rows))) == wanted
