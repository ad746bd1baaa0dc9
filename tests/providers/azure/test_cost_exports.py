from __future__ import annotations

import gzip
import io
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from optiinfra_dagster.model.cost import BillRequest, LeftOutBecause
from optiinfra_dagster.model.errors import Cause, CloudError
from optiinfra_dagster.model.meter import Meter
from optiinfra_dagster.providers.azure.bill_sources import bill_sources
from optiinfra_dagster.providers.azure.billing import probe, read
from optiinfra_dagster.providers.azure.export_runs import unambiguous
from optiinfra_dagster.providers.day_cache import DayCache
from optiinfra_dagster.providers.object_storage.store import File
from tests.providers.azure.conftest import NOW, OTHER, SUBSCRIPTION, StartLab, account
from tests.providers.azure.test_billing import FIRST, LAST, ask, causes

if TYPE_CHECKING:
    from pathlib import Path

    from optiinfra_dagster.lab import CloudLab
    from optiinfra_dagster.model.cost import Bill

HOST, EXPORT = "acme.blob.core.windows.net", "https://acme.blob.core.windows.net/costs/focus"
OCTOBER, NOVEMBER = "20261001-20261031", "20261101-20261130"
HEADER = (
    "BilledCost,EffectiveCost,ListCost,BillingCurrency,ChargePeriodStart,ChargePeriodEnd,ChargeCategory,ServiceName,"
    "SubAccountId,RegionId,ResourceId,ProviderName"
)
GUIDS = tuple(f"{n}58a42af-0731-4edb-b498-1e523bb40f1{n}" for n in range(1, 8))


def focus(amount: str, day: str = "2026-11-02", resource: str = "") -> str:
    return (
        f"{amount},{amount},{amount},USD,{day}T00:00Z,2026-11-03T00:00Z,Usage,Virtual Machines,"
        f"/subscriptions/{SUBSCRIPTION},westeurope,{resource},Microsoft"
    )


def content_of(name: str, *lines: str) -> bytes:
    content = "\n".join((HEADER, *lines)).encode()
    if name.endswith(".parquet"):
        buffer = io.BytesIO()
        pq.write_table(pa.csv.read_csv(io.BytesIO(content), convert_options=TEXT), buffer)
        return buffer.getvalue()
    return gzip.compress(content) if name.endswith(".gz") else content


TEXT = pa.csv.ConvertOptions(column_types=dict.fromkeys(HEADER.split(","), pa.string()))


def put(lab: CloudLab, name: str, *lines: str, at: datetime | None = None) -> None:
    """Put a file of charges, or a manifest that tells nothing, where the export `daily` or another one writes."""
    path = f"focus/{name if name.startswith('../') else f'daily/{name}'}".replace("focus/../", "focus/")
    lab.azure.billing.put_blob(HOST, "costs", path, content_of(name, *lines) if lines else b"{}", at)


def put_run(
    lab: CloudLab,
    run: str,
    parts: Mapping[str, Sequence[str]],
    at: datetime | None = None,
    lacking: Sequence[str] = (),
    **config: str,
) -> None:
    """Put a run with its manifest, in the form that Microsoft documents."""
    blobs = []
    for name, lines in parts.items():
        put(lab, f"{run}/{name}", *lines, at=at)
        size = len(content_of(name, *lines))
        blobs.append({"blobName": f"focus/daily/{run}/{name}", "byteCount": size, "dataRowCount": len(lines)})
    blobs += [{"blobName": f"focus/daily/{run}/{name}", "byteCount": 9, "dataRowCount": 1} for name in lacking]
    told = {
        "manifestVersion": "2024-04-01",
        "byteCount": sum(blob["byteCount"] for blob in blobs),  # type: ignore[misc]
        "blobCount": len(blobs),
        "dataRowCount": sum(blob["dataRowCount"] for blob in blobs),  # type: ignore[misc]
        "exportConfig": {"exportName": "daily", "type": "FocusCost", "timeFrame": "MonthToDate", **config},
        "deliveryConfig": {"partitionData": True, "dataOverwriteBehavior": "CreateNewReport"},
        "runInfo": {
            "executionType": "Scheduled",
            **({"submittedTime": f"{at:%Y-%m-%dT%H:%M:%S}.5234447Z"} if at else {}),
        },
        "blobs": blobs,
    }
    path = f"focus/{run[3:] if run.startswith('../') else f'daily/{run}'}/manifest.json"
    lab.azure.billing.put_blob(HOST, "costs", path, json.dumps(told).encode(), at)


def on(day: int, hour: int = 3) -> datetime:
    return datetime(2026, 11, day, hour, tzinfo=UTC)


def bill_of(lab: CloudLab, **more: Any) -> Bill:
    sources = bill_sources([account(lab, cost_export=EXPORT)])
    return read(BillRequest("acme", sources, [], **{"first": FIRST, "last": LAST, **more}), Meter())


def total(bill: Bill) -> Decimal:
    if bill.totals:  # days that are no statement have none
        told = [one.amount for one in bill.charges] + [one.amount for one in bill.left_out]
        assert sum(one.amount for one in bill.totals) == sum(told)
    return sum((one.amount for one in bill.charges), Decimal(0))


def assert_reads(bill: Bill, amount: str) -> None:
    assert bill.problems == []
    assert total(bill) == Decimal(amount)


def gets(lab: CloudLab) -> int:
    return lab.control.calls().count("blob", "GetBlob")


def assert_refused(bill: Bill, cause: Cause, *words: str) -> None:
    (problem,) = bill.problems
    assert problem.cause is cause
    assert [word for word in words if word not in problem.message] == []
    assert (bill.charges, bill.totals, bill.read) == ([], [], {})


def test_an_export_is_read_in_place_of_cost_management(start_billing: StartLab) -> None:
    lab = start_billing()
    machine = next(one for one in lab.azure.estate.resources() if "virtualMachines" in one["id"])["id"]
    put(lab, "20261101-20261130/run-1/part_0.csv", focus("100"))
    put(lab, "20261101-20261130/run-1/manifest.json")
    put(lab, "20261101-20261130/run-2/part_0.csv.gz", focus("0.1", resource=machine), focus("0.2"))
    put(lab, "20261101-20261130/run-2/part_1.csv", focus("0.3", "2026-11-03"))
    put(lab, "20261101-20261130/run-2/manifest.json")
    put(lab, "20261101-20261130/run-3/part_0.csv", focus("999"))  # is still being written
    put(lab, "20260901-20260930/run-1/part_0.csv", focus("999", "2026-09-03"))
    named = account(lab, cost_export=EXPORT)

    bill = read(ask(lab, named), Meter())

    assert bill.problems == []
    assert sorted((one.day.day, one.amount, one.resource_id) for one in bill.charges) == [
        (2, Decimal("0.1"), machine.lower()),
        (2, Decimal("0.2"), ""),
        (3, Decimal("0.3"), ""),
    ]
    assert {one.billing_account_id for one in bill.charges} == {"acme.blob.core.windows.net/costs/focus"}
    assert {one.sub_account_id for one in bill.charges} == {SUBSCRIPTION}
    assert lab.control.calls().count("costmanagement") == 0
    assert gets(lab) == 2 + 2  # of the two manifests, one tells which run is the newest


@pytest.mark.parametrize(
    ("fault", "cause", "remedy"),
    [
        (None, Cause.CONFIG, "cost_export"),
        ("deny", Cause.PERMISSION, "Storage Blob Data Reader"),
        ("unavailable", Cause.UNAVAILABLE, "storage.ListBlobs"),
    ],
)
def test_an_export_that_cannot_be_read_is_told(
    start_billing: StartLab, waits: list[float], fault: str | None, cause: Cause, remedy: str
) -> None:
    lab = start_billing()
    if fault:
        put(lab, "20261101-20261130/run-1/part_0.csv", focus("100"))
        lab.control.add_faults({"action": fault, "service": "blob"})

    bill = read(ask(lab, account(lab, cost_export=EXPORT)), Meter())

    assert causes(bill) == [cause]
    assert remedy in bill.problems[0].message
    assert (bill.charges, bill.read) == ([], {})


# --- Which runs count -------------------------------------------------------------------------------------------------


def test_of_the_files_that_a_daily_run_adds_the_newest_counts(start_billing: StartLab) -> None:
    lab = start_billing()
    days = [focus("10", f"2026-11-0{n}") for n in (2, 3, 4)]
    for n in (1, 3, 2):  # the newest is not the last by name
        put(lab, f"{NOVEMBER}/daily_{GUIDS[(n * 2) % 7]}.csv", *days[:n], at=on(2 + n))
    put(lab, f"{OCTOBER}/daily_{GUIDS[6]}.csv", focus("0.5", "2026-10-31"), at=on(1))

    bill = bill_of(lab)

    assert bill.problems == []
    assert total(bill) == Decimal("30.5")
    assert gets(lab) == 2


def test_of_runs_that_were_written_at_the_same_time_one_counts(start_billing: StartLab) -> None:
    lab = start_billing()
    for guid in GUIDS[:2]:
        put(lab, f"{NOVEMBER}/focus_{guid}.csv", focus("10"))

    assert total(bill_of(lab)) == 10


def test_two_exports_of_one_month_are_refused_by_name(start_billing: StartLab) -> None:
    lab = start_billing()
    put(lab, f"{NOVEMBER}/202611040300/g1/part_0_0001.csv", focus("5"))
    put(lab, f"{OCTOBER}/202611010300/g2/part_0_0001.csv", focus("100", "2026-10-10"))
    put(lab, f"../monthly/{OCTOBER}/202611050300/g3/part_0_0001.csv", focus("100", "2026-10-10"))
    for run in (f"{NOVEMBER}/202611040300/g1", f"{OCTOBER}/202611010300/g2", f"../monthly/{OCTOBER}/202611050300/g3"):
        put(lab, f"{run}/manifest.json")

    assert_refused(bill_of(lab), Cause.CONFIG, "focus/daily and focus/monthly", "2026-10", "cost_export")


@pytest.mark.parametrize("manifests", [False, True])
def test_actual_and_amortized_costs_of_one_month_are_refused_by_name(start_billing: StartLab, manifests: bool) -> None:
    lab = start_billing()
    for name in ("actual", "amortized"):
        if manifests:  # as they would look where both had been put into one folder
            config: dict[str, Any] = {"exportName": name, "type": f"{name.title()}Cost"}
            put_run(lab, f"{NOVEMBER}/{name}", {"part_0_0001.csv": [focus("7.5")]}, **config)
        else:
            put(lab, f"../{name}/{NOVEMBER}/r/g/part_0.csv", focus("7.5"))

    words = ("actual, ActualCost", "amortized, AmortizedCost") if manifests else ("focus/actual and focus/amortized",)
    assert_refused(bill_of(lab), Cause.CONFIG, *words)


def test_exports_of_one_name_and_two_scopes_in_one_folder_are_refused(start_billing: StartLab) -> None:
    lab = start_billing()
    for n, scope in enumerate((SUBSCRIPTION, OTHER)):
        resource_id = f"/subscriptions/{scope}/providers/Microsoft.CostManagement/exports/daily"
        put_run(lab, f"{NOVEMBER}/run-{n}", {"part_0_0001.csv": [focus("1")]}, resourceId=resource_id)

    assert_refused(bill_of(lab), Cause.CONFIG, "2026-11")


def test_two_exports_of_different_months_are_read(start_billing: StartLab) -> None:
    lab = start_billing()
    put_run(lab, f"{NOVEMBER}/run-1", {"part_0_0001.csv": [focus("5")]})
    put_run(lab, f"../backfill-2026-10/{OCTOBER}/run-1", {"part_0_0001.csv": [focus("3", "2026-10-05")]})

    bill = bill_of(lab)

    assert_reads(bill, "8")


@pytest.mark.parametrize(("part_of_month", "whole_month", "right"), [(11, 12, "50"), (12, 11, "77")])
def test_of_runs_whose_ranges_overlap_the_newest_states_the_days_of_both(
    start_billing: StartLab, part_of_month: int, whole_month: int, right: str
) -> None:
    lab = start_billing()
    put(lab, "20261101-20261109/r/g1/part_0.csv", focus("37"), at=on(part_of_month))
    put(lab, f"{NOVEMBER}/r/g2/part_0.csv", focus("10"), focus("40", "2026-11-10"), at=on(whole_month))

    bill = bill_of(lab)

    assert_reads(bill, right)


def test_weeks_are_read_across_the_end_of_a_month(start_billing: StartLab) -> None:
    lab = start_billing()
    weeks = {"20261028-20261103": ("2026-10-31", "2026-11-01"), "20261104-20261110": ("2026-11-04", "2026-11-10")}
    for number, (days, charged) in enumerate(weeks.items()):
        put_run(lab, f"{days}/run", {"part_0_0001.csv": [focus("1", day) for day in charged]}, at=on(4 + 7 * number))

    bill = bill_of(lab)

    assert_reads(bill, "4")
    assert gets(lab) == 4


def test_what_a_week_tells_of_other_days_and_of_others_is_named_as_left_out(start_billing: StartLab) -> None:
    lab = start_billing()
    others = focus("4").replace(SUBSCRIPTION, OTHER)
    weeks = {
        "20261028-20261103": [focus("1", "2026-10-31"), focus("2", "2026-11-01"), focus("-0.5", "2026-09-30"), others],
        "20261104-20261110": [focus("8", "2026-11-04"), focus("-0.25", "2026-10-29"), focus("16", "2026-11-12")],
        "20261109-20261115": [focus("32", "2026-11-10"), focus("64", "2026-11-12"), focus("-0.125", "2026-11-03")],
    }
    weeks["20261104-20261110"].append(focus("128", "2026-11-10"))  # which the week after states anew
    for number, (days, lines) in enumerate(weeks.items()):
        put_run(lab, f"{days}/run", {"part_0_0001.csv": lines}, at=on(4 + 7 * number))

    bill = bill_of(lab)

    assert_reads(bill, "107")
    assert {charge.day for charge in bill.charges} <= set(bill.read[SOURCE])
    assert {charge.billing_period for charge in bill.charges} == {date(2026, 10, 1), date(2026, 11, 1)}
    left = {(one.because, one.day, one.period): one.amount for one in bill.left_out}
    assert left == {
        (LeftOutBecause.OUTSIDE, date(2026, 10, 28), date(2026, 10, 1)): Decimal("-0.5"),
        (LeftOutBecause.ANOTHER_ACCOUNT, date(2026, 11, 1), date(2026, 11, 1)): 4,
        (LeftOutBecause.OUTSIDE, date(2026, 11, 4), date(2026, 11, 1)): Decimal("-0.25"),
        (LeftOutBecause.NOT_OVER, date(2026, 11, 4), date(2026, 11, 1)): 16,
        (LeftOutBecause.OUTSIDE, date(2026, 11, 9), date(2026, 11, 1)): Decimal("-0.125"),
    }
    stated = sum(Decimal(line.split(",")[0]) for lines in weeks.values() for line in lines)
    assert total(bill) + sum(left.values()) == stated - 128


def test_a_charge_of_a_week_that_another_month_is_invoiced_with_is_kept(start_billing: StartLab) -> None:
    lab = start_billing()
    for days, day in (("20261101-20261107", "2026-11-02"), ("20261108-20261114", "2026-11-09")):
        header, line = f"{HEADER},BillingPeriodStart", f"{focus('3', day)},2026-10-01T00:00Z"
        content = f"{header}\n{line}".encode()
        lab.azure.billing.put_blob(HOST, "costs", f"focus/daily/{days}/run/part_0.csv", content, on(16))

    bill = bill_of(lab)

    assert_reads(bill, "6")
    assert {charge.billing_period for charge in bill.charges} == {date(2026, 11, 1)}  # they are replaced with their day


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_the_sums_of_runs_of_any_ranges_are_stored_or_named_as_left_out(start_billing: StartLab, data: Any) -> None:
    """Of each day the newest run that states it counts; what it tells of days outside of its range is left out."""
    lab = start_billing()
    lab.azure.billing._blobs.clear()
    dates = st.dates(date(2026, 10, 1), date(2026, 11, 19))
    expected, owner, told = Decimal(0), dict[date, int](), list[tuple[date, date, list[tuple[date, Decimal]]]]()
    for number in range(data.draw(st.integers(1, 4))):
        first, last = sorted(data.draw(st.tuples(dates, dates)))
        rows = data.draw(st.lists(st.tuples(dates, st.decimals(-999, 999, places=9)), min_size=1, max_size=8))
        told.append((first, last, rows))
        owner |= {first + timedelta(days=n): number for n in range((last - first).days + 1)}
        lines = [focus(f"{amount:f}", f"{day}") for day, amount in rows]
        put_run(lab, f"{first:%Y%m%d}-{last:%Y%m%d}/run-{number}", {"part_0.csv": lines}, on(20, number))
    charged = Decimal(0)
    counting = set(owner.values())
    for number, (first, last, rows) in enumerate(told):
        if number in counting:
            of_days = sum((a for d, a in rows if first <= d <= last and owner[d] == number), Decimal(0))
            charged += of_days
            expected += of_days + sum((a for d, a in rows if not first <= d <= last), Decimal(0))

    bill = bill_of(lab)

    assert bill.problems == []
    stored = sum((one.amount for one in bill.charges), Decimal(0))
    assert stored + sum(one.amount for one in bill.left_out) == expected
    if not bill.totals:
        assert stored == charged


@pytest.mark.parametrize("kind", ["PriceSheet", "ReservationRecommendations", "ReservationDetails"])
def test_exports_of_other_things_than_costs_are_left_out(start_billing: StartLab, kind: str) -> None:
    lab = start_billing()
    put_run(lab, f"{NOVEMBER}/run-2", {"part_0_0001.csv": ["x,y"]}, on(9), exportName="other", type=kind)

    assert_refused(bill_of(lab), Cause.CONFIG, kind, "FocusCost", "cost_export")

    put_run(lab, f"{NOVEMBER}/run-1", {"part_0_0001.csv": [focus("5")]}, on(8))
    put_run(lab, f"../prices/{NOVEMBER}/run-1", {"part_0_0001.csv": ["x,y"]}, exportName="prices", type=kind)
    bill = bill_of(lab)
    assert_reads(bill, "5")


def test_parts_are_those_that_the_manifest_names(start_billing: StartLab) -> None:
    lab = start_billing()
    parts = {"part_0_0001.csv.gz": [focus("1")], "part_1_0001.csv": [focus("2")], "part_2_0001.parquet": [focus("4")]}
    put_run(lab, NOVEMBER, parts, dataOverwriteBehavior="OverwritePreviousReport")
    put(lab, f"{NOVEMBER}/part_3_0001.csv", focus("1000"))  # the run before had four

    bill = bill_of(lab)

    assert_reads(bill, "7")


def test_the_time_that_a_run_was_submitted_at_tells_the_newest_where_files_were_copied(start_billing: StartLab) -> None:
    lab = start_billing()
    put_run(lab, f"{NOVEMBER}/b", {"part_0_0001.csv": [focus("1")]}, on(8))
    put_run(lab, f"{NOVEMBER}/a", {"part_0_0001.csv": [focus("2")]}, on(9))
    copied = lab.azure.billing._blobs[HOST, "costs"]
    for name in sorted(copied, reverse=True):
        lab.azure.billing.put_blob(HOST, "costs", name, copied[name].content, on(10 if "/a/" in name else 11))

    assert total(bill_of(lab)) == 2


def test_a_run_has_no_more_than_when_it_was_submitted_however_late_it_was_copied(start_billing: StartLab) -> None:
    lab = start_billing()
    lines = [focus("1", "2026-11-08"), focus("2", "2026-11-09"), focus("4", "2026-11-10")]
    put_run(lab, f"{NOVEMBER}/a", {"part_0_0001.csv": lines}, on(10))
    copied = lab.azure.billing._blobs[HOST, "costs"]
    for name in list(copied):
        lab.azure.billing.put_blob(HOST, "costs", name, copied[name].content, on(20))

    bill = bill_of(lab)

    assert_reads(bill, "3")
    assert [(part.because, part.amount) for part in bill.left_out] == [(LeftOutBecause.NOT_OVER, Decimal(4))]
    assert (bill.read[SOURCE][-1], max(bill.arriving[SOURCE])) == (date(2026, 11, 9), date(2026, 11, 9))


def test_folders_that_are_listed_as_files_are_none(start_billing: StartLab) -> None:
    lab = start_billing()
    put(lab, f"{NOVEMBER}/202611040300/g1/part_0.csv", focus("5"), at=on(4))
    for folder in (NOVEMBER, f"{NOVEMBER}/202611040300", f"{NOVEMBER}/202611040300/g1"):
        lab.azure.billing.put_blob(HOST, "costs", f"focus/daily/{folder}", b"", on(5))

    bill = bill_of(lab)

    assert_reads(bill, "5")


def test_an_export_that_begins_to_write_manifests_keeps_its_months_without(start_billing: StartLab) -> None:
    lab = start_billing()
    put(lab, f"{OCTOBER}/r/g1/part_0.csv", focus("5", "2026-10-05"), at=on(2))
    put_run(lab, f"{NOVEMBER}/g2", {"part_0_0001.csv": [focus("3")]}, on(8))

    bill = bill_of(lab)

    assert_reads(bill, "8")


# --- Runs that are not complete ---------------------------------------------------------------------------------------


def without_a_part(lab: CloudLab) -> None:
    put_run(lab, f"{NOVEMBER}/run-2", {"part_0.csv": [focus("100")]}, on(9), lacking=["part_1.csv"])


def with_a_short_part(lab: CloudLab) -> None:
    put_run(lab, f"{NOVEMBER}/run-2", {"part_0.csv": [focus("100")], "part_1.csv": [focus("1"), focus("1")]}, on(9))
    put(lab, f"{NOVEMBER}/run-2/part_1.csv", focus("1"), at=on(9))


def without_its_manifest(lab: CloudLab) -> None:
    put_run(lab, f"{OCTOBER}/run-1", {"part_0.csv": [focus("0", "2026-10-02")]}, on(8))
    put(lab, f"{NOVEMBER}/run-2/part_0.csv", focus("100"), at=on(9))


def with_fewer_parts_than_told(lab: CloudLab) -> None:
    put(lab, f"{NOVEMBER}/run-2/part_0.csv", focus("100"), at=on(9))
    lab.azure.billing.put_blob(HOST, "costs", f"focus/daily/{NOVEMBER}/run-2/manifest.json", b'{"blobCount": 2}', on(9))


def with_a_broken_manifest(lab: CloudLab) -> None:
    put(lab, f"{NOVEMBER}/run-2/part_0.csv", focus("100"), at=on(9))
    lab.azure.billing.put_blob(HOST, "costs", f"focus/daily/{NOVEMBER}/run-2/manifest.json", b'{"blobs": [', on(9))


def without_any_part(lab: CloudLab) -> None:
    put_run(lab, f"{NOVEMBER}/run-2", {}, on(9))


INCOMPLETE = {
    without_a_part: "part_1.csv",
    with_a_short_part: "a part of part_1.csv",
    without_its_manifest: "manifest.json",
    with_fewer_parts_than_told: "1 of its 2 parts",
    with_a_broken_manifest: "a manifest.json that can be read",
    without_any_part: "any part",
}


@pytest.mark.parametrize("begin", INCOMPLETE, ids=lambda begin: begin.__name__)
def test_a_run_that_is_not_complete_is_not_read(start_billing: StartLab, begin: Any) -> None:
    lab = start_billing()
    begin(lab)

    alone = bill_of(lab)
    put_run(lab, f"{NOVEMBER}/run-1", {"part_0.csv": [focus("7")]}, on(8))
    beside_another = bill_of(lab)

    assert causes(alone) == [Cause.INCOMPLETE]
    assert f"focus/daily/{NOVEMBER}/run-2 lacks {INCOMPLETE[begin]}" in alone.problems[0].message
    assert {day.month for days in alone.read.values() for day in days} <= {10}
    assert total(alone) == 0
    assert_reads(beside_another, "7")


def test_a_run_whose_part_is_replaced_while_it_is_read_is_read_later(
    start_billing: StartLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = start_billing()
    put_run(lab, f"{NOVEMBER}/run-1", {"part_0.csv": [focus("7")]}, on(8))
    listed = lab.azure.billing._list_blobs

    def then_replaced(*asked: Any) -> Any:
        page = listed(*asked)
        put(lab, f"{NOVEMBER}/run-1/part_0.csv", focus("8"), at=on(9))
        return page

    monkeypatch.setattr(lab.azure.billing, "_list_blobs", then_replaced)

    assert_refused(bill_of(lab), Cause.INCOMPLETE, "replaced")


def test_a_check_tells_of_two_exports_and_of_runs_that_are_not_complete(start_billing: StartLab) -> None:
    from optiinfra_dagster.providers.azure.client import open_principal
    from optiinfra_dagster.providers.azure.transport import calling

    lab = start_billing()
    named = account(lab, cost_export=EXPORT)
    (source,) = bill_sources([named])
    put(lab, "20260101-20260131/run-1/part_0.csv", focus("1"))

    def check() -> None:
        with calling(Meter(), 10):
            probe(open_principal(named), source, LAST)

    with pytest.raises(CloudError, match="no export of 2026-11-20"):
        check()
    without_a_part(lab)
    with pytest.raises(CloudError, match="lacks part_1"):
        check()
    put_run(lab, f"{NOVEMBER}/run-1", {"part_0.csv": [focus("7")]}, on(8))
    check()
    put(lab, f"../other/{NOVEMBER}/run-1/part_0.csv", focus("7"))
    with pytest.raises(CloudError, match="counted twice"):
        check()


# --- Files outside of folders of ranges -------------------------------------------------------------------------------


def test_files_outside_of_folders_of_ranges_are_all_read(start_billing: StartLab) -> None:
    lab = start_billing()
    put(lab, "october.csv", focus("1", "2026-10-02"))
    put(lab, "20269999-20269999/november.csv", focus("2"))  # no days

    bill = bill_of(lab)

    assert_reads(bill, "3")


def test_of_a_file_outside_of_folders_the_newest_days_are_arriving_too(start_billing: StartLab) -> None:
    lab = start_billing()
    put(lab, "october.csv", focus("1", "2026-10-02"), at=on(3))
    put(
        lab, "november.csv", focus("2", "2026-11-16"), focus("3", "2026-11-17"), focus("4", "2026-11-18"), at=on(18, 20)
    )

    bill = bill_of(lab)

    assert_reads(bill, "6")
    assert [(part.because, part.amount) for part in bill.left_out] == [(LeftOutBecause.NOT_OVER, Decimal(4))]
    assert bill.read[SOURCE][-1] == date(2026, 11, 17)
    assert bill.arriving[SOURCE] == {date(2026, 11, day) for day in (15, 16, 17)}


def test_files_of_two_runs_of_which_nobody_knows_the_days_are_refused() -> None:
    runs = [File(f"x/focus_{guid}.csv", 1, NOW) for guid in GUIDS[:2]]
    other = File(f"y/focus_{GUIDS[3]}.csv", 1, NOW)

    assert unambiguous([runs[0], other]) == [runs[0], other]
    with pytest.raises(CloudError, match="two runs of one export"):
        unambiguous(runs)


# --- What did not change ----------------------------------------------------------------------------------------------

SOURCE = EXPORT.removeprefix("https://")


@pytest.fixture
def monthly(start_billing: StartLab) -> CloudLab:
    """A lab with a run of October and one of November, which are read with two files each."""
    lab: CloudLab = start_billing()
    put_run(lab, f"{OCTOBER}/run-1", {"part_0.csv": [focus("3", "2026-10-05")]}, on(3))
    put_run(lab, f"{NOVEMBER}/run-1", {"part_0.csv": [focus("5")]}, on(20))
    return lab


@pytest.mark.parametrize("remembers", [True, False])
def test_a_file_that_did_not_change_is_not_downloaded_again(monthly: CloudLab, remembers: bool, tmp_path: Path) -> None:
    memory = DayCache(tmp_path) if remembers else None
    bill_of(monthly, memory=memory)
    assert gets(monthly) == 4

    nothing = bill_of(monthly, memory=memory, read_at={SOURCE: on(20, 9)})
    assert (nothing.charges, nothing.read, nothing.problems) == ([], {SOURCE: []}, [])
    assert gets(monthly) == 4

    put_run(monthly, f"{NOVEMBER}/run-2", {"part_0.csv": [focus("6")]}, on(20, 12))
    november = bill_of(monthly, memory=memory, read_at={SOURCE: on(20, 9)})
    assert total(november) == 6
    assert {day.month for day in november.read[SOURCE]} == {11}
    assert gets(monthly) == 4 + 2 + (not remembers)  # the first run's manifest, where nobody remembers it


@pytest.mark.parametrize("remembers", [True, False])
def test_a_closed_month_is_read_again_where_an_export_ran_again(
    monthly: CloudLab, remembers: bool, tmp_path: Path
) -> None:
    """Once, and not with the first reading of an export."""
    memory, august = DayCache(tmp_path) if remembers else None, "20260801-20260831"
    put_run(monthly, f"{august}/run-1", {"part_0.csv": [focus("7", "2026-08-05")]}, on(2))
    assert_reads(bill_of(monthly, memory=memory), "8")

    put_run(
        monthly, f"{august}/run-2", {"part_0.csv": [focus("7", "2026-08-05"), focus("-2", "2026-08-06")]}, on(20, 10)
    )
    again = bill_of(monthly, memory=memory, read_at={SOURCE: on(20, 9)})
    assert_reads(again, "5")
    assert again.periods == {SOURCE: {date(2026, 8, 1)}}
    assert len(again.read[SOURCE]) == 31
    assert_reads(bill_of(monthly, memory=memory, read_at={SOURCE: on(20, 11)}), "0")


def test_a_closed_month_that_two_exports_state_keeps_nothing_else_from_being_read(monthly: CloudLab) -> None:
    for export in ("..", "../monthly"):
        put_run(monthly, f"{export}/20260801-20260831/run-1", {"part_0.csv": [focus("7", "2026-08-05")]}, on(20, 10))
    put_run(monthly, f"{NOVEMBER}/run-2", {"part_0.csv": [focus("6")]}, on(20, 10))

    bill = bill_of(monthly, read_at={SOURCE: on(20, 9)})

    assert total(bill) == 6
    assert ["state 2026-08 each" in problem.message for problem in bill.problems] == [True]


def test_a_run_that_counts_is_not_downloaded_again_when_others_come_and_go(monthly: CloudLab, tmp_path: Path) -> None:
    memory = DayCache(tmp_path)
    put_run(monthly, f"{NOVEMBER}/run-0", {"part_0.csv": [focus("4")]}, on(19))
    assert_reads(bill_of(monthly, memory=memory), "8")
    before = gets(monthly)

    put(monthly, f"{NOVEMBER}/run-2/part_0.csv", focus("6"), at=on(20, 8))  # is being written
    assert_reads(bill_of(monthly, memory=memory, read_at={SOURCE: on(20, 9)}), "0")
    for name in ("part_0.csv", "manifest.json"):
        monthly.azure.billing.remove_blob(HOST, "costs", f"focus/daily/{NOVEMBER}/run-0/{name}")
    assert_reads(bill_of(monthly, memory=memory, read_at={SOURCE: on(20, 13)}), "0")
    assert gets(monthly) == before

    put_run(monthly, f"{NOVEMBER}/run-2", {"part_0.csv": [focus("6")]}, on(20, 8))
    assert_reads(bill_of(monthly, memory=memory, read_at={SOURCE: on(20, 17)}), "6")
    assert gets(monthly) == before + 2


def test_a_month_that_lacks_something_is_told_until_it_is_there(start_billing: StartLab, tmp_path: Path) -> None:
    lab = start_billing()
    without_a_part(lab)
    more = {"memory": DayCache(tmp_path), "read_at": {SOURCE: on(20)}}

    put_run(lab, f"{OCTOBER}/run-1", {"part_0.csv": [focus("3", "2026-10-05")]}, on(3))
    put(lab, f"{NOVEMBER}/run-2/part_2.csv", focus("1"), at=on(20))
    assert [causes(bill_of(lab, **more)) for _ in range(3)] == [[Cause.INCOMPLETE]] * 3

    put_run(lab, f"{NOVEMBER}/run-2", {"part_0.csv": [focus("100")], "part_1.csv": [focus("1")]}, on(9))
    assert_reads(bill_of(lab, **more), "101")


def test_a_reading_that_is_asked_to_read_all_does(monthly: CloudLab, tmp_path: Path) -> None:
    memory = DayCache(tmp_path)
    bill_of(monthly, memory=memory)

    assert total(bill_of(monthly, memory=memory)) == 8


def test_a_month_is_read_once_more_when_it_becomes_final(start_billing: StartLab, tmp_path: Path) -> None:
    lab = start_billing()
    put_run(lab, f"{OCTOBER}/run-1", {"part_0.csv": [focus("3", "2026-10-05")]}, on(3))

    def final_on(day: int, last_read: datetime) -> set[bool]:
        more = {"last": date(2026, 11, day - 1), "read_at": {SOURCE: last_read}, "memory": DayCache(tmp_path)}
        return {one.is_final for one in bill_of(lab, **more).charges}

    assert final_on(8, on(3, 2)) == {False}
    assert final_on(9, on(8)) == set()
    assert final_on(11, on(9)) == {True}  # the day on which it becomes final
    assert final_on(11, on(11)) == set()
    assert final_on(14, on(9)) == {True}  # the day was missed
    assert final_on(15, on(14)) == set()


def test_a_file_that_arrives_with_an_older_time_is_read(monthly: CloudLab, tmp_path: Path) -> None:
    memory = DayCache(tmp_path)
    bill_of(monthly, memory=memory)
    put_run(monthly, f"{NOVEMBER}/run-2", {"part_0.csv": [focus("6")]}, on(20, 4))

    assert total(bill_of(monthly, memory=memory, read_at={SOURCE: on(20, 9)})) == 6


def test_a_file_that_arrives_somewhat_late_is_read_though_nothing_is_remembered(monthly: CloudLab) -> None:
    put_run(monthly, f"{NOVEMBER}/run-2", {"part_0.csv": [focus("6")]}, on(20, 9))

    assert total(bill_of(monthly, read_at={SOURCE: on(20, 9) + timedelta(minutes=10)})) == 6


def test_a_reading_that_came_to_nothing_is_made_again(monthly: CloudLab, tmp_path: Path) -> None:
    more = {"memory": DayCache(tmp_path), "read_at": {SOURCE: on(19)}}  # as long as nothing newer was stored
    put(monthly, f"{OCTOBER}/run-1/part_0.csv", focus("3", "2026-10-05"), at=on(20))

    assert [total(bill_of(monthly, **more)) for _ in range(3)] == [8, 8, 8]


def test_a_month_that_could_not_be_read_is_tried_again_and_the_others_are_not(
    monthly: CloudLab, tmp_path: Path
) -> None:
    memory = DayCache(tmp_path)
    put(monthly, f"{OCTOBER}/run-2/part_0.csv", "no,charges", at=on(4))
    monthly.azure.billing.put_blob(HOST, "costs", f"focus/daily/{OCTOBER}/run-2/part_0.csv", b"PK\x03\x04...", on(4))
    put(monthly, f"{OCTOBER}/run-2/manifest.json", at=on(4))

    bills = [bill_of(monthly, memory=memory, **more) for more in ({}, {"read_at": {SOURCE: on(21)}})]

    assert [causes(bill) for bill in bills] == [[Cause.INCOMPLETE]] * 2  # of the ZIP file there is the beginning
    assert [total(bill) for bill in bills] == [5, 0]


# --- Any runs ---------------------------------------------------------------------------------------------------------


LAYOUTS = ("{guid}", "2026112{at}0300/{guid}", "daily_{guid}.csv", "")  # the last is overwritten in place


class Made(NamedTuple):
    """What a run of the export wrote: `short` says what it is short of."""

    layout: str
    month: int
    amounts: list[Decimal]
    parts: dict[str, list[str]]
    short: str


@st.composite
def histories(draw: st.DrawFn) -> list[Made]:
    """Runs of one export, one after the other, in one layout."""
    layout, runs = draw(st.sampled_from(LAYOUTS)), list[Made]()
    for _ in range(draw(st.integers(1, 5))):
        month = draw(st.sampled_from((10, 11)))
        amounts = draw(st.lists(st.decimals(0, 100, places=10), min_size=1, max_size=4))
        rows = [focus(f"{amount:f}", f"2026-{month}-{draw(st.integers(1, 19)):02}") for amount in amounts]
        cut, ending = draw(st.integers(1, len(rows))), draw(st.sampled_from(("csv", "csv.gz", "parquet")))
        parts = {f"part_{n}_0001.{ending}": part for n, part in enumerate((rows[:cut], rows[cut:])) if part}
        runs.append(
            Made(layout, month, amounts, parts, draw(st.sampled_from(("", "", "part", *["manifest"][: len(layout)]))))
        )
    return runs


@pytest.fixture
def one_lab(start_billing: StartLab) -> CloudLab:
    """A lab for all examples of a test."""
    return start_billing()


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(histories())
def test_the_sum_is_that_of_the_newest_complete_run_of_each_month(one_lab: CloudLab, history: list[Made]) -> None:
    one_lab.azure.billing._blobs.clear()
    newest: dict[int, Decimal] = {}
    began_manifests = False
    for at, made in enumerate(history):
        run = f"{OCTOBER if made.month == 10 else NOVEMBER}/{made.layout.format(at=at, guid=GUIDS[6 - at])}".rstrip("/")
        classic = run.endswith(".csv")
        if classic:
            put(one_lab, run, *[row for rows in made.parts.values() for row in rows], at=on(20, at))
        elif made.short == "manifest":
            for name, rows in made.parts.items():
                put(one_lab, f"{run}/{name}", *rows, at=on(20, at))
        else:
            put_run(one_lab, run, made.parts, on(20, at), lacking=["part_9_0001.csv"] if made.short == "part" else ())
        if not made.layout:
            newest.pop(made.month, None)
        began_manifests = began_manifests or not (classic or made.short == "manifest")
        if classic or not made.short or (made.short == "manifest" and not began_manifests):
            newest[made.month] = sum(made.amounts, Decimal(0))

    bill = bill_of(one_lab)

    assert total(bill) == sum(newest.values(), Decimal(0))
    assert {day.month for days in bill.read.values() for day in days} == set(newest)
    assert causes(bill) == ([Cause.INCOMPLETE] if {made.month for made in history} != set(newest) else [])


def test_an_export_may_be_the_bill_of_several_subscriptions(start_lab: StartLab) -> None:
    lab = start_lab()
    accounts = [account(lab, cost_export=EXPORT), account(lab, OTHER.upper(), cost_export=f"{EXPORT}/")]

    assert [(one.id, one.covers) for one in bill_sources(accounts)] == [(EXPORT[8:], (SUBSCRIPTION, OTHER))]
    assert [one.covers for one in bill_sources([account(lab)])] == [(SUBSCRIPTION,)]
