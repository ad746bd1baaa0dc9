"""Corrections of past days, from each cloud to the view: under their day and their bill, which adds up to its total."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
import yaml

from optiinfra_dagster.collection import run
from optiinfra_dagster.lab.vultr.kind import LabLine
from optiinfra_dagster.providers.azure import transport
from optiinfra_dagster.storage.sql import read_sql
from tests.collection.test_arriving_bills import ACCOUNT, HOUR, MACHINES, PROJECT, SUBSCRIPTION, WINDOW, accounts, told
from tests.collection.test_cost import at_once

if TYPE_CHECKING:
    from datetime import date

    from optiinfra_dagster.lab import CloudLab
    from tests.collection.conftest import StartLab
    from tests.support.spine import Spine

WORLD = {
    "aws": {"accounts": [{"id": ACCOUNT, "regions": ["us-east-1"], "fleets": [MACHINES["aws"]]}]},
    "azure": {"subscriptions": [{"id": SUBSCRIPTION, "fleets": [MACHINES["azure"]]}], "cost_queries": 1000},
    "gcp": {"projects": [{"id": PROJECT, "fleets": [MACHINES["gcp"]]}]},
    "vultr": {"accounts": [{"name": "acme", "keys": ["acme-vultr-key"], "fleets": [MACHINES["vultr"]]}]},
}
AMOUNT = Decimal("-3.25")


def correct(lab: CloudLab, provider: str, day: date, month: date) -> None:
    """Let the bill of a month have a correction of a past day."""
    if provider == "vultr":
        start = datetime.combine(day, time(), UTC)
        line = LabLine("Credit", "Goodwill", start, start + timedelta(days=1), 1, AMOUNT, AMOUNT, "", "discount")
        lab.vultr.billing.put("acme", month, line)
    else:
        account = {"aws": ACCOUNT, "azure": SUBSCRIPTION, "gcp": PROJECT}[provider]
        lab.control.restate(provider, account, day, AMOUNT)


@pytest.mark.parametrize(  # the tests of each cloud's bills have its corrections, and test_arriving_bills the other two
    "provider", ["azure", "vultr", *(pytest.param(name, marks=pytest.mark.long) for name in ("aws", "gcp"))]
)
def test_a_correction_is_kept_under_its_day_and_its_bill(
    spine: Spine, start_lab: StartLab, monkeypatch: pytest.MonkeyPatch, provider: str
) -> None:
    noon = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=1)
    if (noon + 13 * HOUR).day == 1:
        noon -= timedelta(days=1)  # else the second collection is in another month, which looks back less far
    clock, month = [noon], noon.date().replace(day=1)
    lab = start_lab({provider: WORLD[provider]}, now=lambda: clock[0])
    monkeypatch.setattr(run, "in_flush_batches", at_once)  # in this thread, which holds the engine open
    monkeypatch.setattr(transport.COST_PACE, "calls", 1000)
    monkeypatch.setenv("ACME_VULTR_KEY", "acme-vultr-key")
    acme = {"id": "acme", "name": "Acme", provider: [accounts(provider, lab.url)]}
    spine.settings.customers_path.write_text(yaml.safe_dump({"customers": [acme]}))
    # Cost Explorer and Cost Management tell days, of which none is older than the month before.
    by_day = provider in {"aws", "azure"}
    day = (month - timedelta(days=12)) if by_day else (month - timedelta(days=45))

    def collect(family: str, window: datetime, *, refresh: bool = False) -> None:
        clock[0] = window + WINDOW + timedelta(minutes=5)
        spine.collect(family, [window], provider=provider, refresh=refresh, now=lambda: clock[0])

    def billed() -> Decimal:
        rows = spine.query("SELECT amount FROM costs WHERE cost_kind = 'billed' AND charge_day = {day:Date}", day=day)
        return sum((row["amount"] for row in rows), Decimal(0))

    def assert_adds_up() -> None:
        bounds = {"first": datetime.combine((month - timedelta(days=1)).replace(day=1), time(), UTC), "last": clock[0]}
        at = {name: int(moment.timestamp()) for name, moment in bounds.items()}
        rows = spine.query(read_sql("queries/billed_totals"), provider=provider, **at)
        assert len(rows) >= (2 if provider == "vultr" else 40)
        assert {bool(row["told_apart"]) for row in rows} == {provider != "gcp"}
        assert {bool(row["of_a_statement"]) for row in rows} == {provider == "vultr"}
        assert [Decimal(row["charges"]) - Decimal(row["told"]) for row in rows] == [0] * len(rows)

    collect("resource", noon - WINDOW)
    collect("cost", noon)
    before = billed()
    assert_adds_up()

    clock[0] += timedelta(hours=6)
    correct(lab, provider, day, month)
    for refresh in (False, True):
        collect("cost", noon + 13 * HOUR, refresh=refresh)
        rows = spine.query(
            "SELECT amount, billing_period, charge_category FROM costs WHERE charge_day = {day:Date} AND amount < 0 "
            "AND charge_description NOT LIKE '%Discount%' AND charge_description NOT LIKE '%trial%'",
            day=day,
        )
        if not by_day:
            assert [(row["amount"], row["billing_period"]) for row in rows] == [(AMOUNT, month)]
        # BigQuery's day was not in the range before: it is read whole.
        assert billed() == (told(lab, provider, day) if provider == "gcp" else before + AMOUNT)
        assert_adds_up()
    if provider == "vultr":  # it is gone when the statement has it no longer
        lab.vultr.billing._put.clear()
        collect("cost", noon + 14 * HOUR)
        assert billed() == before
        assert_adds_up()
