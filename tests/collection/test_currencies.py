"""A cloud that bills in euros, from its bill and its price list to the estimates, with a lab that lists both."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from optiinfra_dagster.collection import run
from optiinfra_dagster.providers.azure import transport
from tests.collection.test_cost import at_once

if TYPE_CHECKING:
    from tests.collection.conftest import StartLab
    from tests.support.spine import Spine

WINDOW = timedelta(minutes=15)
SUBSCRIPTION = "11111111-aaaa-4000-8000-000000000001"
TABLE = "acme-prod.billing.gcp_billing_export_resource_v1_0"


def azure(**fields: Any) -> dict[str, Any]:
    fleets = [{"kind": "azure:vm", "region": "westeurope"}, {"kind": "azure:redis", "region": "westeurope"}]
    return {"subscriptions": [{"id": SUBSCRIPTION, "fleets": fleets, **fields}], "cost_queries": 1000}


def gcp(**fields: Any) -> dict[str, Any]:
    fleets = [{"kind": kind, "region": "us-central1"} for kind in ("gcp:instance", "gcp:sql_instance")]
    exports = [{"table": TABLE, "projects": ["acme-prod"], **fields}]
    return {"projects": [{"id": "acme-prod", "fleets": fleets}], "exports": exports}


@pytest.mark.parametrize("provider", ["azure", "gcp"])
def test_estimates_are_in_euros_once_a_bill_was_and_as_many_as_the_list_says(
    spine: Spine, start_lab: StartLab, monkeypatch: pytest.MonkeyPatch, provider: str
) -> None:
    noon = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)
    clock = [noon]
    lab = start_lab({"azure": azure(currency="EUR"), "gcp": gcp(currency="EUR")}, now=lambda: clock[0])
    monkeypatch.setattr(run, "in_flush_batches", at_once)  # in this thread, which holds the engine open
    monkeypatch.setattr(transport.COST_PACE, "calls", 1000)
    project = {"project_id": "acme-prod", "billing_export_table": TABLE}
    acme = {
        "id": "acme",
        "name": "Acme",
        "azure": [{"subscription_id": SUBSCRIPTION, "endpoint_url": lab.url}],
        "gcp": [{**project, "endpoint_url": lab.url, "bigquery_endpoint_url": lab.url}],
    }
    spine.settings.customers_path.write_text(yaml.safe_dump({"customers": [acme]}))

    def collect(family: str, window: datetime) -> None:
        clock[0] = window + WINDOW + timedelta(minutes=5)
        spine.collect(family, [window], provider=provider, now=lambda: clock[0])

    collect("resource", noon - WINDOW)
    for n in range(3):
        collect("cost", noon + n * WINDOW)

    rows = spine.query(
        "SELECT window_start, resource_id, currency, amount FROM cost_metrics_current WHERE cost_kind = 'estimated'"
    )
    told = {(row["window_start"], row["resource_id"]): (row["amount"], row["currency"]) for row in rows}
    priced = {resource_id for _, resource_id in told}
    assert len(priced) >= 2
    for one in priced:
        dollars, first = told[noon, one]  # no bill was known yet
        assert first == "USD"
        for n in (1, 2):
            euros, currency = told[noon + n * WINDOW, one]
            assert currency == "EUR"
            assert abs(euros - dollars * Decimal("0.9")) < Decimal("1e-6")
    calls = lab.control.calls().count("retailprices" if provider == "azure" else "cloudbilling")
    collect("cost", noon + 3 * WINDOW)
    assert lab.control.calls().count("retailprices" if provider == "azure" else "cloudbilling") == calls
