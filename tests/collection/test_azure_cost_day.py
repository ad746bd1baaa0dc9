from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
import yaml

from optiinfra_dagster.providers.azure import transport
from optiinfra_dagster.storage import migrations
from tests.support.spine import Spine

if TYPE_CHECKING:
    from pathlib import Path

    from tests.collection.conftest import StartLab

pytestmark = pytest.mark.long

WINDOW = timedelta(minutes=15)
EVERY = 8  # of the day's 96 windows is collected; 1 does all, in a minute
SUBSCRIPTION = "11111111-aaaa-4000-8000-000000000001"


def test_a_day_of_collections_asks_cost_management_six_times(
    tmp_path: Path, clickhouse_url: str, start_lab: StartLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    spine = Spine.at(tmp_path / "home", clickhouse_url)
    with spine.clickhouse.session(migrated=False) as session:
        migrations.migrate(session)
    monkeypatch.setattr(transport.COST_PACE, "calls", 1000)  # the day passes in seconds
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    clock = [midnight]
    fleets = [{"kind": "azure:vm", "region": "westeurope", "count": 2}]
    world = {"azure": {"subscriptions": [{"id": SUBSCRIPTION, "fleets": fleets}], "cost_queries": 1000}}
    lab = start_lab(world, now=lambda: clock[0])
    of_acme = {"id": "acme", "name": "Acme", "azure": [{"subscription_id": SUBSCRIPTION, "endpoint_url": lab.url}]}
    spine.settings.customers_path.write_text(yaml.safe_dump({"customers": [of_acme]}))

    def collect(family: str, window: datetime) -> None:
        clock[0] = window + WINDOW + timedelta(minutes=5)
        spine.collect(family, [window], provider="azure", now=lambda: clock[0])

    collect("resource", midnight - WINDOW)
    for n in range(-1, 95, EVERY):
        collect("cost", midnight + n * WINDOW)

    first = (midnight.replace(day=1) - timedelta(days=1)).replace(day=1).date()
    last = (midnight - timedelta(days=1)).date()
    calls = lab.control.calls()
    per_reading = 2 * len({(day.year, day.month) for day in (first, last)})  # with and without groups, each month
    assert calls.count("costmanagement") == 6 * per_reading
    rows = spine.ledger("cost")["acme"]
    assert sum(row["api_calls"] for row in rows) == calls.count("costmanagement") + calls.count("retailprices")
    assert calls.count("retailprices") == 2  # a service each, once a day
    assert {row["outcome"] for row in rows} == {"ok"}
    assert len({row["window_start"] for row in rows}) == 96 // EVERY

    told = lab.azure.billing.expected(SUBSCRIPTION, first, last)
    billed = spine.query(
        "SELECT toDate(window_start, 'UTC') AS charge_day, service_name, resource_id, amount, is_settled "
        "FROM cost_metrics_current WHERE cost_kind = 'billed' AND cost_type != 'reading'"
    )
    assert {row["charge_day"] for row in billed if not row["is_settled"]} == {
        last - timedelta(days=n) for n in range(3)
    }
    assert {(row["charge_day"], row["service_name"], row["resource_id"]): row["amount"] for row in billed} == {
        (line.day, line.service, line.resource_id): line.amount for line in told
    }
