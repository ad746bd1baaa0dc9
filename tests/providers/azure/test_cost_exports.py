from __future__ import annotations

import gzip
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from optiinfra_dagster.model.errors import Cause, CloudError
from optiinfra_dagster.model.meter import Meter
from optiinfra_dagster.providers.azure.bill_sources import bill_sources
from optiinfra_dagster.providers.azure.billing import read
from optiinfra_dagster.providers.azure.cost_exports import newest_runs
from optiinfra_dagster.providers.object_storage.store import File
from tests.providers.azure.conftest import NOW, OTHER, SUBSCRIPTION, StartLab, account
from tests.providers.azure.test_billing import FIRST, LAST, ask, causes

if TYPE_CHECKING:
    from optiinfra_dagster.lab import CloudLab

HOST, EXPORT = "acme.blob.core.windows.net", "https://acme.blob.core.windows.net/costs/focus"
HEADER = (
    "BilledCost,EffectiveCost,ListCost,BillingCurrency,ChargePeriodStart,ChargePeriodEnd,ChargeCategory,ServiceName,"
    "SubAccountId,RegionId,ResourceId,ProviderName"
)


def focus(amount: str, day: str = "2026-11-02", resource: str = "") -> str:
    return (
        f"{amount},{amount},{amount},USD,{day}T00:00Z,2026-11-03T00:00Z,Usage,Virtual Machines,"
        f"/subscriptions/{SUBSCRIPTION},westeurope,{resource},Microsoft"
    )


def put(lab: CloudLab, name: str, *lines: str) -> None:
    content = "\n".join((HEADER, *lines)).encode() if lines else b"{}"
    lab.azure.billing.put_blob(
        HOST, "costs", f"focus/daily/{name}", gzip.compress(content) if name.endswith(".gz") else content
    )


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
    assert lab.control.calls().count("blob", "GetBlob") == 2


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


def test_ranges_that_overlap_are_refused_because_they_would_be_counted_twice() -> None:
    blobs = [File(f"x/{days}/part.csv", 1, NOW) for days in ("20261101-20261130", "20261115-20261121")]

    with pytest.raises(CloudError, match="counted twice"):
        newest_runs(blobs, FIRST, LAST)


def test_files_outside_of_folders_of_ranges_are_all_read() -> None:
    blobs = [File("x/october.parquet", 1, NOW), File("x/november.parquet", 1, NOW)]

    assert newest_runs(blobs, FIRST, LAST) == blobs


def test_an_export_may_be_the_bill_of_several_subscriptions(start_lab: StartLab) -> None:
    lab = start_lab()
    accounts = [account(lab, cost_export=EXPORT), account(lab, OTHER.upper(), cost_export=f"{EXPORT}/")]

    assert [(one.id, one.covers) for one in bill_sources(accounts)] == [(EXPORT[8:], (SUBSCRIPTION, OTHER))]
    assert [one.covers for one in bill_sources([account(lab)])] == [(SUBSCRIPTION,)]
