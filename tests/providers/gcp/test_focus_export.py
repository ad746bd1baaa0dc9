"""Google's FOCUS exports in BigQuery: they are read as the detailed export that they are made of."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from optiinfra_dagster.model.cost import CORRECTION, Charge, LeftOutBecause
from optiinfra_dagster.model.errors import Cause
from optiinfra_dagster.model.meter import Meter
from optiinfra_dagster.providers.gcp import bill_sources, billing, focus_export
from tests.providers.gcp.conftest import PROJECT, StartLab, fleet
from tests.providers.gcp.test_billing import FEW, FIRST, LAST, NOW, TABLE, Time, assert_reconciled, by_day, payer, read

if TYPE_CHECKING:
    from collections.abc import Iterable

    from optiinfra_dagster.lab import CloudLab

VIEW = f"{PROJECT}.billing.focus_v1_0"
MACHINE = fleet("gcp:instance", name="api", type="n2-standard-4", tags={"env": "prod", "app": "api"})
KINDS = pytest.mark.parametrize("kind", ["view", "table"])


def world(kind: str, **more: Any) -> dict[str, Any]:
    """A detailed export, and a FOCUS export of the same rows."""
    projects = more.pop("of", [PROJECT])
    detailed = {"table": TABLE, "projects": projects}
    return {"exports": [detailed, {"table": VIEW, "projects": projects, "focus": kind, **more}]}


def of_view(lab: CloudLab, **fields: Any) -> Any:
    """The project, with the FOCUS export as its bill."""
    return payer(lab, billing_export_table=VIEW, **fields)


def known(charges: Iterable[Charge]) -> list[str]:
    """Charges as both tell them: a FOCUS view does not tell how much was used in the units of the price."""
    return sorted(str(replace(one, billing_account_id="", pricing_quantity=None, pricing_unit="")) for one in charges)


@KINDS
def test_charges_are_those_of_the_detailed_export(start_lab: StartLab, kind: str) -> None:
    lab = start_lab(*FEW, MACHINE, now=Time(), **world(kind))
    for table in (TABLE, VIEW):
        lab.gcp.exports.restate(table, date(2026, 9, 17), PROJECT, Decimal("-3.000000001"))
    detailed, focus = read(lab), read(lab, of_view(lab))

    assert focus.problems == []
    assert focus.read == {VIEW: detailed.read[TABLE]}
    assert known(focus.charges) == known(detailed.charges)
    assert {one.charge_class for one in focus.charges} == {"", CORRECTION}
    assert any(one.tags == '{"app":"api","env":"prod"}' for one in focus.charges)
    assert by_day(focus) == {
        key: amount
        for key, amount in lab.gcp.exports.expected(VIEW, date(2026, 9, 1), LAST).items()
        if key[0] in focus.read[VIEW]
    }
    assert_reconciled(focus)


@KINDS
def test_only_days_with_newer_rows_are_read_again(start_lab: StartLab, kind: str) -> None:
    clock = Time()
    lab = start_lab(*FEW, now=clock, **world(kind))
    clock.now += timedelta(hours=4)
    lab.gcp.exports.restate(VIEW, date(2026, 10, 9), PROJECT, Decimal("-3.000000001"))
    meter = Meter()
    bill = read(lab, of_view(lab), read_at={VIEW: NOW}, meter=meter)
    days = [date(2026, 10, 9), *(date(2026, 11, day) for day in range(19, 22))]
    assert bill.read[VIEW] == days
    assert bill.arriving == {VIEW: set(days[1:])}
    truth = lab.gcp.exports.expected(VIEW, FIRST, LAST)
    assert by_day(bill) == {key: amount for key, amount in truth.items() if key[0] in days}
    assert_reconciled(bill)
    assert (meter.calls["jobs.query"], meter.cost_usd) == (2, bill_sources.usd(lab.gcp.exports.bytes_billed))


@KINDS
def test_nobody_elses_charges_are_the_customers(start_lab: StartLab, kind: str) -> None:
    other = {"id": "stranger", "fleets": list(FEW)}
    lab = start_lab(*FEW, projects=(other,), now=Time(), **world(kind, of=[PROJECT, "stranger"]))
    bill = read(lab, of_view(lab, account_charges=False))
    assert {one.sub_account_id for one in bill.charges} == {PROJECT}
    assert {one.because for one in bill.left_out} == {LeftOutBecause.ANOTHER_ACCOUNT, LeftOutBecause.BILLING_ACCOUNT}
    assert_reconciled(bill)


@KINDS
@pytest.mark.parametrize("lacks", ["x_ExportTime", "x_Credits", "x_Project", "BilledCost"])
def test_a_view_without_googles_extensions_is_named(start_lab: StartLab, kind: str, lacks: str) -> None:
    """Without the first, nothing tells which days changed; without the others, who pays or what for."""
    lab = start_lab(*FEW, now=Time(), **world(kind, omit=[lacks]))
    bill = read(lab, of_view(lab))
    assert (bill.charges, bill.read) == ([], {})
    [problem] = bill.problems
    assert problem.cause is Cause.CONFIG
    assert f"no column {lacks}" in problem.message
    assert "Google's own FOCUS view" in problem.message


@KINDS
def test_what_a_later_focus_has_not_is_done_without(start_lab: StartLab, kind: str) -> None:
    """FOCUS changes its columns; of those that are no extensions some may go."""
    omit = ["ResourceName", "ChargeClass", "ListCost", "Tags", "x_Labels", "ConsumedUnit", "CommitmentDiscountId"]
    lab = start_lab(*FEW, MACHINE, now=Time(), **world(kind, omit=omit))
    bill = read(lab, of_view(lab))
    assert bill.problems == []
    assert by_day(bill) == lab.gcp.exports.expected(VIEW, FIRST, LAST)
    assert {(one.list_cost, one.tags, one.consumed_unit) for one in bill.charges} == {(None, "", "")}
    assert_reconciled(bill)


def test_the_table_is_of_the_billing_account_that_its_name_has(start_lab: StartLab) -> None:
    """So that what is of no project is not counted from two tables of one billing account."""
    lab = start_lab(*FEW, now=Time())
    table = f"{PROJECT}.gcp_billing_immutable_x_eu.gcp_billing_export_focus_01A2B3_C4D5E6_F7A8B9"
    claims = {
        payer(lab, billing_export_table=one, account_charges=True).claimed_billing_account for one in (table, TABLE)
    }
    assert claims == {"01A2B3-C4D5E6-F7A8B9"}


def test_it_is_probed_as_it_is_read(start_lab: StartLab) -> None:
    lab = start_lab(*FEW, now=Time(), **world("view"))
    meter = Meter()
    billing.probe(of_view(lab), meter)
    assert meter.calls == {"tables.get": 1, "jobs.insert": 1}


def test_the_rows_of_a_view_are_those_of_the_export() -> None:
    """The SQL in full, for the lab is no SQL engine."""
    columns = {*focus_export.COLUMNS, "Tags.key", "Tags.value", "Tags.x_type", "SkuId"}
    sql, names = focus_export.rows("p.d.v", "", columns)
    assert sql == (
        "(SELECT BillingAccountId AS billing_account_id, ChargePeriodStart AS usage_start_time, "
        "x_ExportTime AS export_time, "
        "BilledCost - IFNULL((SELECT SUM(one.Amount) FROM UNNEST(x_Credits) AS one), 0) AS cost, "
        "BillingCurrency AS currency, x_CostType AS cost_type, "
        "ARRAY(SELECT AS STRUCT one.key AS key, one.value AS value FROM UNNEST(Tags) AS one WITH OFFSET AS place "
        "WHERE one.x_type != 'system_label' ORDER BY IF(one.x_type = 'label', 1, 0), place) AS labels, "
        "STRUCT(ServiceName AS description) AS service, STRUCT(SkuId AS id) AS sku, "
        "STRUCT(x_Project.Id AS id) AS project, "
        "ARRAY(SELECT AS STRUCT one.Amount AS amount FROM UNNEST(x_Credits) AS one) AS credits, "
        "STRUCT(FORMAT_TIMESTAMP('%Y%m', TIMESTAMP_ADD(BillingPeriodStart, INTERVAL 12 HOUR)) AS month) AS invoice "
        "FROM `p.d.v`)"
    )
    assert "invoice.month" in names
    assert "resource.name" not in names
