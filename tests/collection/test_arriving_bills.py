"""Bills that arrive late and in parts, from each cloud to the views: until a day has settled, its estimate stands."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from optiinfra_dagster.collection import run
from optiinfra_dagster.lab.gcp.billing import DEFAULT_TABLE
from optiinfra_dagster.providers.azure import transport
from tests.collection.test_cost import at_once

if TYPE_CHECKING:
    from optiinfra_dagster.lab import CloudLab
    from tests.collection.conftest import StartLab
    from tests.support.spine import Spine

WINDOW, HOUR, DAY = timedelta(minutes=15), timedelta(hours=1), timedelta(days=1)
ACCOUNT, PROJECT = "111111111111", "acme-prod"
SUBSCRIPTION = "11111111-aaaa-4000-8000-000000000001"
TABLE = f"{PROJECT}.billing.{DEFAULT_TABLE}"
MACHINES = {
    "aws": {"kind": "ec2:instance", "region": "us-east-1"},
    "azure": {"kind": "azure:vm", "region": "westeurope"},
    "gcp": {"kind": "gcp:instance", "region": "us-central1", "type": "n2-standard-4"},
    "vultr": {"kind": "vultr:instance"},
}
LATE = {"bills_arrive": {"hours": 30, "share": "0.25"}}
WORLD = {
    "aws": {"accounts": [{"id": ACCOUNT, "regions": ["us-east-1"], "fleets": [MACHINES["aws"]]}], **LATE},
    "azure": {"subscriptions": [{"id": SUBSCRIPTION, "fleets": [MACHINES["azure"]]}], "cost_queries": 1000, **LATE},
    "gcp": {"projects": [{"id": PROJECT, "fleets": [MACHINES["gcp"]]}], **LATE},
    "vultr": {"accounts": [{"name": "acme", "keys": ["acme-vultr-key"], "fleets": [MACHINES["vultr"]]}], **LATE},
}
SETTLES = {"aws": 2, "azure": 3, "gcp": 3, "vultr": 2}  # days


def accounts(provider: str, url: str) -> dict[str, Any]:
    """The account of the customers file."""
    of_provider: dict[str, dict[str, Any]] = {
        "aws": {"account_id": ACCOUNT, "role_arn": f"arn:aws:iam::{ACCOUNT}:role/reader", "regions": ["us-east-1"]},
        "azure": {"subscription_id": SUBSCRIPTION},
        "gcp": {"project_id": PROJECT, "billing_export_table": TABLE, "bigquery_endpoint_url": url},
        "vultr": {"api_key": {"env": "ACME_VULTR_KEY"}},
    }
    return {**of_provider[provider], "endpoint_url": url}


def told(lab: CloudLab, provider: str, day: date) -> Decimal:
    """What the bill says of a day now."""
    match provider:
        case "aws":
            amounts = [cell["UnblendedCost"][0] for cell in lab.aws.billing.expected(ACCOUNT, day, day)[day].values()]
        case "azure":
            amounts = [line.amount for line in lab.azure.billing.expected(SUBSCRIPTION, day, day)]
        case "gcp":
            costs = lab.gcp.exports.expected(TABLE, day, day)
            amounts = [amount for (_, project, *_), amount in costs.items() if project == PROJECT]
        case _:
            amounts = list(lab.vultr.expected_costs("acme", day, day).values())
    return sum(amounts, Decimal(0))


@pytest.mark.parametrize(  # the tests of each cloud's bills have its arriving days, and test_corrections the other two
    "provider", ["aws", "gcp", *(pytest.param(name, marks=pytest.mark.long) for name in ("azure", "vultr"))]
)
def test_a_day_that_is_arriving_keeps_its_estimate_until_it_has_settled(
    spine: Spine, start_lab: StartLab, monkeypatch: pytest.MonkeyPatch, provider: str
) -> None:
    start = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - 6 * DAY
    clock, day = [start], start.date()
    lab = start_lab({provider: WORLD[provider]}, now=lambda: clock[0])
    monkeypatch.setattr(run, "in_flush_batches", at_once)  # in this thread, which holds the engine open
    monkeypatch.setenv("ACME_VULTR_KEY", "acme-vultr-key")
    monkeypatch.setattr(transport.COST_PACE, "calls", 1000)  # the days pass in seconds
    acme = {"id": "acme", "name": "Acme", provider: [accounts(provider, lab.url)]}
    spine.settings.customers_path.write_text(yaml.safe_dump({"customers": [acme]}))

    def collect(family: str, window: datetime, *, refresh: bool = False) -> None:
        clock[0] = window + WINDOW + timedelta(minutes=5)
        spine.collect(family, [window], provider=provider, refresh=refresh, now=lambda: clock[0])

    def seen() -> dict[str, Decimal]:
        rows = spine.query(
            "SELECT cost_kind, sum(amount) AS amount FROM costs WHERE charge_day = {day:Date} GROUP BY cost_kind",
            day=day,
        )
        return {row["cost_kind"]: row["amount"] for row in rows}

    def billed() -> tuple[Decimal, set[bool]]:
        rows = spine.query(
            "SELECT amount, cost_type, is_settled FROM cost_metrics_current "
            "WHERE cost_kind = 'billed' AND cost_type != 'left_out' AND toDate(window_start, 'UTC') = {day:Date}",
            day=day,
        )
        return sum((row["amount"] for row in rows), Decimal(0)), {row["is_settled"] for row in rows}

    collect("resource", start + 12 * HOUR)
    collect("cost", start + 12 * HOUR)
    estimate = seen()
    assert list(estimate) == ["estimated"]

    collect("cost", start + DAY)  # at 00:20 the bill tells a part of yesterday, or nothing
    assert seen() == estimate
    part = told(lab, provider, day)
    assert billed() == (part, {False})

    collect("cost", start + DAY + SETTLES[provider] * DAY - HOUR)  # an hour early
    assert seen() == estimate
    whole = told(lab, provider, day)
    assert part < whole
    assert billed() == (whole, {False})

    collect("cost", start + DAY + SETTLES[provider] * DAY + 12 * HOUR)
    whole = told(lab, provider, day)
    assert seen() == {"billed": whole}
    assert billed() == (whole, {True})

    before = spine.query("SELECT * FROM cost_metrics_current WHERE cost_kind = 'billed' ORDER BY ALL")
    collect("cost", start + DAY + SETTLES[provider] * DAY + 12 * HOUR, refresh=True)
    after = spine.query("SELECT * FROM cost_metrics_current WHERE cost_kind = 'billed' ORDER BY ALL")
    assert [row | {"collected_at": 0} for row in after] == [row | {"collected_at": 0} for row in before]
    assert {row["outcome"] for row in spine.ledger("cost")["acme"]} == {"ok"}
