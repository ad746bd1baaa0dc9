from __future__ import annotations

import gzip
import io
import json
import zipfile
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from optiinfra_dagster.model.errors import Cause
from optiinfra_dagster.model.meter import Meter
from optiinfra_dagster.providers.aws import billing
from optiinfra_dagster.providers.aws.check import check
from optiinfra_dagster.providers.day_cache import DayCache
from tests.providers.aws.conftest import ACME, StartLab, acme
from tests.providers.aws.test_billing import asked, sums

if TYPE_CHECKING:
    from pathlib import Path

    from optiinfra_dagster.lab import CloudLab
    from optiinfra_dagster.model.cost import Bill

EXPORT, REPORT = "s3://acme-billing/exports/costs", "s3://acme-billing/legacy/rep"
COLUMNS = (
    "bill_payer_account_id,line_item_usage_account_id,line_item_usage_start_date,line_item_usage_end_date,"
    "line_item_line_item_type,line_item_unblended_cost,line_item_currency_code,line_item_product_code,"
    "line_item_resource_id,product_region_code,line_item_line_item_description,bill_invoice_id,"
    "bill_billing_period_start_date,line_item_usage_type,product_servicecode"
)


def rows_of(month: str, lines: dict[int, str]) -> list[str]:
    """The rows of a CUR 2.0: one for each day, of so many USD."""
    return [
        f"{ACME},{ACME},{month}-{day:02}T00:00:00Z,{month}-{day:02}T01:00:00Z,Usage,{usd},USD,AmazonEC2,"
        f"i-0123456789abcdef0,us-east-1,an hour,,{month}-01T00:00:00Z,BoxUsage:m6i.large,AmazonEC2"
        for day, usd in lines.items()
    ]


def csv_of(rows: list[str]) -> bytes:
    return gzip.compress("\n".join([COLUMNS, *rows, ""]).encode())


def put_export(
    lab: CloudLab,
    month: str,
    lines: dict[int, str],
    at: datetime,
    version: str = "v1",
    *,
    root: str = EXPORT,
    lacking: Sequence[str] = (),
) -> None:
    """A CUR 2.0 of a month, as it is delivered where each delivery is kept; `version` "" where it is overwritten."""
    name = root.rpartition("/")[2]
    place = f"BILLING_PERIOD={month}/{version}/".replace("//", "/")
    key = f"{root}/data/{place}{name}-00001.csv.gz"
    lab.storage.put(key, csv_of(rows_of(month, lines)), at)
    manifest = json.dumps({"dataFiles": [key, *(f"{root}/data/{place}{one}" for one in lacking)]}).encode()
    lab.storage.put(f"{root}/metadata/{place}{name}-Manifest.json", manifest, at)


def put_report(
    lab: CloudLab, month: str, lines: dict[int, str], at: datetime, assembly: str = "", *, root: str = REPORT
) -> None:
    """A Cost and Usage Report of a month; without an `assembly` it is overwritten."""
    name, bucket = root.rpartition("/")[2], "s3://acme-billing/"
    first = date.fromisoformat(f"{month}-01")
    folder = f"{root}/{first:%Y%m%d}-{(first + timedelta(days=31)).replace(day=1):%Y%m%d}"
    key = f"{folder}/{assembly}/{name}-00001.csv.gz".replace(f"{folder}//", f"{folder}/")
    lab.storage.put(key, csv_of(rows_of(month, lines)), at)
    manifest = {"assemblyId": assembly or "asm-0", "compression": "GZIP", "reportKeys": [key.removeprefix(bucket)]}
    for place in (folder, f"{folder}/{assembly}") if assembly else (folder,):
        lab.storage.put(f"{place}/{name}-Manifest.json", json.dumps(manifest).encode(), at)
        lab.storage.put(f"{place}/{name}-RedshiftManifest.json", b'{"entries": []}', at)


def test_an_export_is_read_in_place_of_cost_explorer_by_its_newest_manifest(start_lab: StartLab) -> None:
    lab = start_lab()
    put_export(lab, "2026-10", {1: "1.5", 31: "0.1234567891"}, datetime(2026, 11, 3, tzinfo=UTC))
    put_export(lab, "2026-11", {1: "9"}, datetime(2026, 11, 2, tzinfo=UTC), "old")
    put_export(lab, "2026-11", {1: "2", 18: "3"}, datetime(2026, 11, 19, 9, tzinfo=UTC), "new")
    meter = Meter()

    bill = billing.read(asked(acme(cost_export=EXPORT)), meter)

    assert bill.problems == []
    assert sums(bill) == {
        date(2026, 10, 1): Decimal("1.5"), date(2026, 10, 31): Decimal("0.1234567891"),
        date(2026, 11, 1): 2, date(2026, 11, 18): 3,
    }  # fmt: skip
    assert date(2026, 11, 19) not in bill.read[ACME]  # the export was written before the day was over
    assert lab.control.calls().count("ce") == 0
    assert meter.calls["GetObject"] == lab.control.calls().count("s3", "GetObject")


def test_only_months_that_were_written_since_are_read_again(start_lab: StartLab) -> None:
    lab = start_lab()
    put_export(lab, "2026-10", {1: "1"}, datetime(2026, 11, 3, tzinfo=UTC))
    put_export(lab, "2026-11", {1: "2"}, datetime(2026, 11, 19, tzinfo=UTC))
    account = acme(cost_export=EXPORT)

    since = billing.read(asked(account, read_at={ACME: datetime(2026, 11, 12, tzinfo=UTC)}), Meter())
    nothing = billing.read(asked(account, read_at={ACME: datetime(2026, 11, 20, tzinfo=UTC)}), Meter())

    assert {day.month for day in since.read[ACME]} == {11}
    assert (nothing.read, nothing.charges, nothing.problems) == ({ACME: []}, [], [])


def test_days_arrive_until_they_settle_or_their_month_is_final(start_lab: StartLab) -> None:
    """October's file was last written at 3 o'clock on the 1st of November, and is read again when October is final."""
    lab = start_lab()
    put_export(lab, "2026-10", {1: "1", 31: "2"}, datetime(2026, 11, 1, 3, tzinfo=UTC))

    def arriving(last: date, read_at: datetime | None = None) -> set[date]:
        before: dict[str, Any] = {"read_at": {ACME: read_at}} if read_at else {}
        bill = billing.read(asked(acme(cost_export=EXPORT), last=last, **before), Meter())
        assert bill.problems == []
        assert len(bill.read[ACME]) == 31
        return bill.arriving[ACME]

    unsettled = {date(2026, 10, 30), date(2026, 10, 31)}
    assert arriving(date(2026, 11, 1)) == unsettled
    assert arriving(date(2026, 11, 9)) == unsettled  # more may have come than was written
    assert arriving(date(2026, 11, 10), datetime(2026, 11, 10, 9, tzinfo=UTC)) == set()


@pytest.mark.parametrize("place", ["s3://no-such-bucket/x", "s3://acme-billing/elsewhere"])
def test_a_place_without_an_export_is_a_problem(start_lab: StartLab, place: str) -> None:
    lab = start_lab()
    put_export(lab, "2026-11", {1: "1"}, datetime(2026, 11, 19, tzinfo=UTC))

    bill = billing.read(asked(acme(cost_export=place)), Meter())

    (problem,) = bill.problems
    assert (problem.account_id, problem.cause) == (ACME, Cause.CONFIG)
    assert "cost_export" in problem.message
    assert [one.message for one in check("acme", acme(cost_export=place))] == [problem.message]


def test_an_export_that_may_not_be_read_names_the_permissions(start_lab: StartLab) -> None:
    lab = start_lab()
    put_export(lab, "2026-11", {1: "1"}, datetime(2026, 11, 19, tzinfo=UTC))
    lab.control.add_faults({"action": "deny", "service": "s3"})

    (problem,) = billing.read(asked(acme(cost_export=EXPORT)), Meter()).problems

    assert problem.cause is Cause.PERMISSION
    assert "s3:ListBucket on arn:aws:s3:::acme-billing" in problem.message


def on(day: int, hour: int = 9) -> datetime:
    return datetime(2026, 11, day, hour, tzinfo=UTC)


def bill_of(place: str = EXPORT, **more: Any) -> Bill:
    return billing.read(asked(acme(cost_export=place), **more), Meter())


def gets(lab: CloudLab) -> int:
    return lab.control.calls().count("s3", "GetObject")


def assert_reads(bill: Bill, amount: str) -> None:
    assert bill.problems == []
    assert sum(sums(bill).values()) == sum(total.amount for total in bill.totals) == Decimal(amount)


@pytest.mark.parametrize("assembly", ["", "asm-1"])
def test_a_cost_and_usage_report_is_read(start_lab: StartLab, assembly: str) -> None:
    lab = start_lab()
    put_report(lab, "2026-11", {2: "40"}, on(18), assembly and "asm-0")
    put_report(lab, "2026-11", {2: "50"}, on(19), assembly)
    put_report(lab, "2026-10", {5: "7"}, on(3), assembly)

    assert_reads(bill_of(REPORT), "57")
    assert check("acme", acme(cost_export=REPORT)) == []


def test_a_report_in_parquet_is_read_by_its_manifest(start_lab: StartLab) -> None:
    lab = start_lab()
    key = "legacy/rep/rep/year=2026/month=11/rep-00001.snappy.parquet"
    table = pa.csv.read_csv(io.BytesIO(gzip.decompress(csv_of(rows_of("2026-11", {2: "50"})))))
    data = io.BytesIO()
    pq.write_table(table.cast(pa.schema([(name, pa.string()) for name in table.schema.names])), data)
    lab.storage.put(f"s3://acme-billing/{key}", data.getvalue(), on(19))
    manifest = json.dumps({"reportKeys": [key], "compression": "Parquet"}).encode()
    lab.storage.put(f"{REPORT}/20261101-20261201/rep-Manifest.json", manifest, on(19))

    assert_reads(bill_of(REPORT), "50")


def test_of_the_deliveries_that_are_kept_the_newest_counts(start_lab: StartLab) -> None:
    lab = start_lab()
    put_export(lab, "2026-11", {2: "50"}, on(18), "2026-11-18T09:00:00.000Z-exec1")
    put_export(lab, "2026-11", {2: "60"}, on(19), "2026-11-19T09:00:00.000Z-exec2")

    assert_reads(bill_of(), "60")
    assert gets(lab) == 2


def test_a_delivery_of_which_a_file_is_missing_is_not_read(start_lab: StartLab) -> None:
    lab = start_lab()
    put_export(lab, "2026-10", {2: "5"}, on(3))
    put_export(lab, "2026-11", {2: "60"}, on(19), "exec2", lacking=["costs-00002.csv.gz"])

    alone = bill_of()
    put_export(lab, "2026-11", {2: "50"}, on(18), "exec1")
    beside_another = bill_of()

    (problem,) = alone.problems
    assert problem.cause is Cause.INCOMPLETE
    assert "exec2/costs-00002.csv.gz, which is not there" in problem.message
    assert sums(alone) == {date(2026, 10, 2): Decimal(5)}
    assert_reads(beside_another, "55")


def manifest_of(lab: CloudLab, month: str, **told: list[str]) -> None:
    place = f"{EXPORT}/metadata/BILLING_PERIOD={month}/v1"
    lab.storage.put(f"{place}/costs-Manifest.json", json.dumps(told).encode(), on(19))


@pytest.mark.parametrize("names", [("dataFiles",), ("dataFiles", "reportKeys")])
def test_a_file_that_a_manifest_names_twice_is_read_once(start_lab: StartLab, names: tuple[str, ...]) -> None:
    lab = start_lab()
    put_export(lab, "2026-11", {2: "60"}, on(19))
    key = "exports/costs/data/BILLING_PERIOD=2026-11/v1/costs-00001.csv.gz"
    manifest_of(lab, "2026-11", **{name: [key, f"s3://acme-billing/{key}"] for name in names})

    assert_reads(bill_of(), "60")


def test_a_manifest_that_names_a_file_of_another_month_is_not_read(start_lab: StartLab) -> None:
    lab = start_lab()
    put_export(lab, "2026-10", {2: "5"}, on(3))
    put_export(lab, "2026-11", {2: "60"}, on(19))
    keys = [f"exports/costs/data/BILLING_PERIOD=2026-{month}/v1/costs-00001.csv.gz" for month in (10, 11)]
    manifest_of(lab, "2026-11", dataFiles=keys)

    bill = bill_of()

    (problem,) = bill.problems
    assert problem.cause is Cause.INCOMPLETE
    assert "BILLING_PERIOD=2026-10/v1/costs-00001.csv.gz, of another month" in problem.message
    assert sums(bill) == {date(2026, 10, 2): Decimal(5)}


def test_a_delivery_that_was_replicated_from_another_bucket_is_read(start_lab: StartLab) -> None:
    lab = start_lab()
    place = "BILLING_PERIOD=2026-11"
    key = f"exports/costs/data/{place}/costs-00001.csv.gz"
    lab.storage.put(f"s3://acme-billing/{key}", csv_of(rows_of("2026-11", {2: "60"})), on(19))
    manifest = json.dumps({"dataFiles": [f"s3://acme-payer/{key}"]}).encode()
    lab.storage.put(f"{EXPORT}/metadata/{place}/costs-Manifest.json", manifest, on(19))

    assert_reads(bill_of(), "60")


def test_a_delivery_that_is_being_overwritten_is_read_when_its_manifest_is_there(start_lab: StartLab) -> None:
    lab = start_lab()
    place, first = "BILLING_PERIOD=2026-11", datetime(2026, 11, 19, 9, tzinfo=UTC)
    parts = [f"{EXPORT}/data/{place}/costs-0000{n}.csv.gz" for n in (1, 2)]

    def put(at: datetime, *usd: str, manifest: bool = True) -> None:
        for part, amount in zip(parts, usd, strict=False):
            lab.storage.put(part, csv_of(rows_of("2026-11", {2: amount})), at)
        if manifest:
            told = json.dumps({"dataFiles": parts}).encode()
            lab.storage.put(f"{EXPORT}/metadata/{place}/costs-Manifest.json", told, at + timedelta(seconds=1))

    def read_at(now: datetime) -> Bill:
        return billing.read(asked(acme(cost_export=EXPORT), now=now), Meter())

    put(first, "10", "20")
    assert_reads(read_at(first + timedelta(hours=1)), "30")
    again = first + timedelta(hours=8)
    put(again, "11", manifest=False)  # the other part is of the delivery before
    (problem,) = (meanwhile := read_at(again + timedelta(minutes=5))).problems
    assert problem.cause is Cause.INCOMPLETE
    assert "costs-00001.csv.gz is newer than the manifest" in problem.message
    assert (meanwhile.charges, meanwhile.read) == ([], {})
    assert_reads(read_at(again + timedelta(hours=3)), "31")  # they were copied, one after the other
    put(again, "11", "21")
    assert_reads(read_at(again + timedelta(minutes=10)), "32")


def test_a_delivery_without_any_file_is_not_read(start_lab: StartLab) -> None:
    lab = start_lab()
    lab.storage.put(f"{EXPORT}/metadata/BILLING_PERIOD=2026-11/costs-Manifest.json", b"{}", on(19))

    (problem,) = bill_of().problems

    assert problem.cause is Cause.INCOMPLETE
    assert "lists no file" in problem.message


@pytest.mark.parametrize("put_other", [put_export, put_report])
def test_two_exports_of_one_month_are_refused_by_name(start_lab: StartLab, put_other: Callable[..., None]) -> None:
    lab = start_lab()
    put_export(lab, "2026-11", {2: "50"}, on(19), root="s3://acme-billing/exports/a")
    put_other(lab, "2026-11", {2: "50"}, on(19), root="s3://acme-billing/exports/b")
    place = "s3://acme-billing/exports"

    bill = bill_of(place)

    (problem,) = bill.problems
    assert problem.cause is Cause.CONFIG
    assert "exports/a and exports/b state 2026-11" in problem.message
    assert (bill.charges, bill.read) == ([], {})
    assert [one.message for one in check("acme", acme(cost_export=place))] == [problem.message]


def test_a_report_that_a_data_export_followed_is_read_for_the_months_before(start_lab: StartLab) -> None:
    lab = start_lab()
    put_report(lab, "2026-10", {5: "7"}, on(3), root="s3://acme-billing/exports/report")
    put_export(lab, "2026-11", {2: "50"}, on(19))

    assert_reads(bill_of("s3://acme-billing/exports"), "57")


def test_a_report_in_zip_files_is_read_as_aws_writes_it(start_lab: StartLab) -> None:
    """Of GZIP, ZIP and Parquet, which a Cost and Usage Report may be written in, the second."""
    lab = start_lab()
    put_report(lab, "2026-11", {2: "50", 3: "0.1234567891"}, on(19), "asm-1")
    folder = f"{REPORT}/20261101-20261201"
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("rep-00001.csv", gzip.decompress(csv_of(rows_of("2026-11", {2: "50", 3: "0.1234567891"}))))
    key = f"{folder}/asm-1/rep-00001.csv.zip"
    lab.storage.put(key, out.getvalue(), on(19))
    manifest = {"assemblyId": "asm-1", "compression": "ZIP", "reportKeys": [key.removeprefix("s3://acme-billing/")]}
    for place in (folder, f"{folder}/asm-1"):
        lab.storage.put(f"{place}/rep-Manifest.json", json.dumps(manifest).encode(), on(19))

    assert_reads(bill_of(REPORT), "50.1234567891")


# --- What did not change --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("remembers", [True, False])
def test_a_file_that_did_not_change_is_not_downloaded_again(
    start_lab: StartLab, remembers: bool, tmp_path: Path
) -> None:
    lab = start_lab()
    memory = DayCache(tmp_path) if remembers else None
    put_export(lab, "2026-10", {2: "5"}, on(3), "")
    put_export(lab, "2026-11", {2: "6"}, on(19), "")
    assert_reads(bill_of(memory=memory), "11")
    assert gets(lab) == 4

    nothing = bill_of(memory=memory, read_at={ACME: on(19, 12)})
    assert (nothing.charges, nothing.read, nothing.problems) == ([], {ACME: []}, [])
    assert gets(lab) == 4

    put_export(lab, "2026-11", {2: "7"}, on(19, 13), "")
    assert_reads(bill_of(memory=memory, read_at={ACME: on(19, 12)}), "7")
    assert gets(lab) == 6


@pytest.mark.parametrize("remembers", [True, False])
def test_a_closed_month_is_read_again_where_it_was_written_anew(
    start_lab: StartLab, remembers: bool, tmp_path: Path
) -> None:
    """As AWS does when it gives something back later: once, and not with the first reading of an export."""
    lab = start_lab()
    memory = DayCache(tmp_path) if remembers else None
    for month, at in (("2026-08", datetime(2026, 9, 4, tzinfo=UTC)), ("2026-11", on(19))):
        put_export(lab, month, {2: "9"}, at)
    assert_reads(bill_of(memory=memory), "9")

    put_export(lab, "2026-08", {2: "9", 3: "-4"}, on(19, 13), "again")
    august = bill_of(memory=memory, read_at={ACME: on(19, 12)})
    assert_reads(august, "5")
    assert august.periods == {ACME: {date(2026, 8, 1)}}
    assert len(august.read[ACME]) == 31
    assert august.arriving == {ACME: set()}
    assert_reads(bill_of(memory=memory, read_at={ACME: on(19, 14)}), "0")


def test_a_closed_month_that_two_exports_state_keeps_nothing_else_from_being_read(start_lab: StartLab) -> None:
    lab = start_lab()
    put_export(lab, "2026-08", {2: "9"}, on(19, 13), root="s3://acme-billing/exports/a")
    put_export(lab, "2026-08", {2: "9"}, on(19, 13), root="s3://acme-billing/exports/b")
    put_export(lab, "2026-11", {2: "6"}, on(19, 13), root="s3://acme-billing/exports/b")

    bill = bill_of("s3://acme-billing/exports", read_at={ACME: on(19, 12)})

    assert sums(bill) == {date(2026, 11, 2): 6}
    assert ["state 2026-08 each" in problem.message for problem in bill.problems] == [True]


def test_a_delivery_that_counts_is_not_downloaded_again_when_one_before_is_removed(
    start_lab: StartLab, tmp_path: Path
) -> None:
    lab = start_lab()
    memory = DayCache(tmp_path)
    put_export(lab, "2026-11", {2: "5"}, on(18), "exec1")
    before = set(lab.storage._put["s3://acme-billing"])
    put_export(lab, "2026-11", {2: "6"}, on(19), "exec2")
    assert_reads(bill_of(memory=memory), "6")

    for key in before:
        del lab.storage._put["s3://acme-billing"][key]
    assert_reads(bill_of(memory=memory, read_at={ACME: on(19, 12)}), "0")
    assert gets(lab) == 2


def test_a_delivery_that_is_replicated_late_is_read(start_lab: StartLab, tmp_path: Path) -> None:
    lab = start_lab()
    memory = DayCache(tmp_path)
    put_export(lab, "2026-11", {2: "6"}, on(19, 5), "exec1")
    bill_of(memory=memory)

    put_export(lab, "2026-11", {2: "7"}, on(19, 7), "exec2")  # a replica has the time of what it is one of
    assert_reads(bill_of(memory=memory, read_at={ACME: on(19, 9)}), "7")

    put_export(lab, "2026-11", {2: "8"}, on(19, 9), "exec3")
    assert_reads(bill_of(read_at={ACME: on(19, 9) + timedelta(minutes=10)}), "8")


# --- Any deliveries -------------------------------------------------------------------------------------------------

LAYOUTS: dict[str, Callable[[CloudLab, str, dict[int, str], datetime, str], None]] = {
    "export, kept": put_export,
    "export, overwritten": lambda lab, month, lines, at, _: put_export(lab, month, lines, at, ""),
    "report, kept": lambda lab, *told: put_report(lab, *told, root=EXPORT),
    "report, overwritten": lambda lab, month, lines, at, _: put_report(lab, month, lines, at, "", root=EXPORT),
}
DELIVERIES = st.lists(
    st.tuples(
        st.sampled_from(("2026-10", "2026-11")),
        st.dictionaries(st.integers(1, 18), st.decimals(-100, 100, places=10), min_size=1, max_size=4),
        st.booleans(),
    ),
    min_size=1,
    max_size=5,
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(sorted(LAYOUTS)), DELIVERIES)
def test_the_sum_is_that_of_the_newest_whole_delivery_of_each_month(
    one_lab: CloudLab, layout: str, deliveries: list[tuple[str, dict[int, Decimal], bool]]
) -> None:
    one_lab.storage._put.clear()
    newest: dict[str, Decimal] = {}
    for at, (month, amounts, loses_files) in enumerate(deliveries):
        before = set(one_lab.storage._put["s3://acme-billing"])
        LAYOUTS[layout](one_lab, month, {day: f"{usd:f}" for day, usd in amounts.items()}, on(19, at), f"exec-{at}")
        if loses_files and layout == "export, kept":
            for key in set(one_lab.storage._put["s3://acme-billing"]) - before:
                if "/data/" in key:
                    del one_lab.storage._put["s3://acme-billing"][key]
        else:
            newest[month] = sum(amounts.values(), Decimal(0))

    bill = bill_of()

    assert sum(sums(bill).values()) == sum(total.amount for total in bill.totals) == sum(newest.values(), Decimal(0))
    assert {f"{day:%Y-%m}" for days in bill.read.values() for day in days} == set(newest)
    lost = {month for month, _, _ in deliveries} - set(newest)
    assert [problem.cause for problem in bill.problems] == [Cause.INCOMPLETE] * len(lost)


@pytest.fixture
def one_lab(start_lab: StartLab) -> CloudLab:
    """A lab for all examples of a test."""
    return start_lab()
