from __future__ import annotations

import gzip
import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from optiinfra_dagster.model.errors import Cause
from optiinfra_dagster.model.meter import Meter
from optiinfra_dagster.providers.aws import billing
from optiinfra_dagster.providers.aws.check import check
from tests.providers.aws.conftest import ACME, StartLab, acme
from tests.providers.aws.test_billing import asked, sums

if TYPE_CHECKING:
    from optiinfra_dagster.lab import CloudLab

EXPORT = "s3://acme-billing/exports/costs"
COLUMNS = (
    "bill_payer_account_id,line_item_usage_account_id,line_item_usage_start_date,line_item_usage_end_date,"
    "line_item_line_item_type,line_item_unblended_cost,line_item_currency_code,line_item_product_code,"
    "line_item_resource_id,product_region_code,line_item_line_item_description,bill_invoice_id,"
    "bill_billing_period_start_date,line_item_usage_type,product_servicecode"
)


def put_export(lab: CloudLab, month: str, lines: dict[int, str], at: datetime, version: str = "v1") -> None:
    """A CUR 2.0 of a month: a line for each day, of so many USD."""
    rows = [
        f"{ACME},{ACME},{month}-{day:02}T00:00:00Z,{month}-{day:02}T01:00:00Z,Usage,{usd},USD,AmazonEC2,"
        f"i-0123456789abcdef0,us-east-1,an hour,,{month}-01T00:00:00Z,BoxUsage:m6i.large,AmazonEC2"
        for day, usd in lines.items()
    ]
    data = gzip.compress("\n".join([COLUMNS, *rows, ""]).encode())
    key = f"{EXPORT}/data/BILLING_PERIOD={month}/{version}/costs-00001.csv.gz"
    lab.storage.put(key, data, at)
    manifest = json.dumps({"dataFiles": [key]}).encode()
    lab.storage.put(f"{EXPORT}/metadata/BILLING_PERIOD={month}/{version}/costs-Manifest.json", manifest, at)


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

    since = billing.read(asked(account, read_at={ACME: datetime(2026, 11, 10, tzinfo=UTC)}), Meter())
    nothing = billing.read(asked(account, read_at={ACME: datetime(2026, 11, 20, tzinfo=UTC)}), Meter())

    assert {day.month for day in since.read[ACME]} == {11}
    assert (nothing.read, nothing.charges, nothing.problems) == ({ACME: []}, [], [])


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
