"""Bills of Google Cloud and Vultr from the cloud to the views: restated days, and a cloud's own cadence."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from optiinfra_dagster.collection import run
from optiinfra_dagster.lab.gcp.billing import DEFAULT_TABLE
from tests.collection.test_cost import at_once

if TYPE_CHECKING:
    from optiinfra_dagster.lab import CloudLab
    from tests.collection.conftest import StartLab
    from tests.support.spine import Spine

pytestmark = pytest.mark.long

WINDOW = timedelta(minutes=15)
TABLE = f"acme-prod.billing.{DEFAULT_TABLE}"
GCP = {
    "projects": [
        {
            "id": "acme-prod",
            "fleets": [
                {"kind": "gcp:instance", "region": "us-central1", "count": 2, "type": "n2-standard-4"},
                {"kind": "gcp:sql_instance", "region": "us-central1", "type": "db-custom-4-15360"},
            ],
        }
    ]
}
VULTR = {
    "accounts": [
        {
            "name": "acme",
            "keys": ["acme-vultr-key"],
            "fleets": [{"kind": "vultr:instance", "count": 2}, {"kind": "vultr:load_balancer", "size": 1}],
        }
    ]
}


def truth(lab: CloudLab, provider: str, first: date, last: date) -> dict[tuple[Any, ...], Decimal]:
    """What the cloud charges, by day, service and resource."""
    if provider == "vultr":
        return dict(lab.vultr.expected_costs("acme", first, last))
    told = lab.gcp.exports.expected(TABLE, first, last)
    # What is of no project is left out: no account here has `account_charges`.
    return {
        (day, service, one): amount for (day, project, service, one), amount in told.items() if project == "acme-prod"
    }


def restate(lab: CloudLab, provider: str, day: date, amount: Decimal) -> None:
    """Let a past day cost something else."""
    if provider == "vultr":
        lab.vultr.billing.restate("acme", day, amount)
    else:
        lab.gcp.exports.restate(TABLE, day, "acme-prod", amount)


@pytest.mark.parametrize(("provider", "hours"), [("gcp", 4), ("vultr", 1)])
def test_a_day_that_is_restated_twice_shows_the_last_statement_and_both_changes(
    spine: Spine, start_lab: StartLab, monkeypatch: pytest.MonkeyPatch, provider: str, hours: int
) -> None:
    noon = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)
    clock = [noon]
    lab = start_lab({"gcp": GCP, "vultr": VULTR}, now=lambda: clock[0])
    monkeypatch.setattr(run, "in_flush_batches", at_once)  # in this thread, which holds the engine open
    monkeypatch.setenv("ACME_VULTR_KEY", "acme-vultr-key")
    project = {"project_id": "acme-prod", "billing_export_table": TABLE, "account_charges": True}
    acme = {
        "id": "acme",
        "name": "Acme",
        "gcp": [{**project, "endpoint_url": lab.url, "bigquery_endpoint_url": lab.url}],
        "vultr": [{"api_key": {"env": "ACME_VULTR_KEY"}, "endpoint_url": lab.url}],
    }
    spine.settings.customers_path.write_text(yaml.safe_dump({"customers": [acme]}))

    def collect(family: str, window: datetime) -> None:
        clock[0] = window + WINDOW + timedelta(minutes=5)
        spine.collect(family, [window], provider=provider, now=lambda: clock[0])

    def billed() -> dict[tuple[Any, ...], Decimal]:
        rows = spine.query(
            "SELECT toDate(window_start, 'UTC') AS charge_day, service_name, resource_id, amount "
            "FROM cost_metrics_current WHERE cost_kind = 'billed' AND cost_type NOT IN ('reading', 'left_out')"
        )
        sums: dict[tuple[Any, ...], Decimal] = {}
        for row in rows:
            key = row["charge_day"], row["service_name"], row["resource_id"]
            sums[key] = sums.get(key, Decimal(0)) + row["amount"]
        return sums

    last = (noon - timedelta(days=1)).date()
    first = (noon.replace(day=1) - timedelta(days=1)).replace(day=1).date()
    collect("resource", noon - WINDOW)
    collect("cost", noon)
    assert billed() == truth(lab, provider, first, last)
    assert spine.query("SELECT * FROM cost_restatements_current") == []

    for n, amount in ((1, Decimal("1.50")), (2, Decimal("-0.75"))):
        restate(lab, provider, last, amount)
        collect("cost", noon + n * timedelta(hours=hours))
        assert billed() == truth(lab, provider, first, last)
    collect("cost", noon + 2 * timedelta(hours=hours) + WINDOW)  # not due: nothing is asked

    changes = spine.query(
        "SELECT before, after FROM cost_restatements_current WHERE charge_day = {day:Date} ORDER BY seen_at", day=last
    )
    steps = [(row["after"] or Decimal(0)) - (row["before"] or Decimal(0)) for row in changes if row["after"]]
    assert Decimal("1.50") in steps
    assert Decimal("-0.75") in steps
    rows = spine.ledger("cost")["acme"]
    assert {row["outcome"] for row in rows} == {"ok"}
    operation, expected = {"gcp": ("jobs.query", 6), "vultr": ("list-pending-charges", 3)}[provider]
    assert lab.control.calls().count(operation=operation) == expected
