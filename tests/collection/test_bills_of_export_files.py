"""A bill in files, from the export to the views: what changed is read, and nothing else is downloaded."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import yaml

from optiinfra_dagster.collection import run
from tests.collection.test_cost import at_once

if TYPE_CHECKING:
    import pytest

    from tests.collection.conftest import StartLab
    from tests.support.spine import Spine

WINDOW = timedelta(minutes=15)
SUBSCRIPTION = "11111111-aaaa-4000-8000-000000000001"
HOST = "acme.blob.core.windows.net"


def test_a_month_is_downloaded_when_a_new_run_states_it(
    spine: Spine, start_lab: StartLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    noon = datetime(2026, 11, 20, 12, tzinfo=UTC)
    clock = [noon]
    lab = start_lab({"azure": {"subscriptions": [{"id": SUBSCRIPTION, "fleets": []}]}}, now=lambda: clock[0])
    monkeypatch.setattr(run, "in_flush_batches", at_once)  # in this thread, which holds the engine open
    acme = {
        "id": "acme",
        "name": "Acme",
        "azure": [
            {"subscription_id": SUBSCRIPTION, "endpoint_url": lab.url, "cost_export": f"https://{HOST}/costs/focus"}
        ],
    }
    spine.settings.customers_path.write_text(yaml.safe_dump({"customers": [acme]}))

    def write_run(name: str, day: str, usd: str) -> None:
        month = day[:8].replace("-", "")
        folder = f"focus/daily/{month}01-{month}30/{name}"
        columns = "BilledCost,BillingCurrency,ChargePeriodStart,ChargePeriodEnd,ChargeCategory,ServiceName,SubAccountId"
        row = usd and f"{usd},USD,{day}T00:00Z,{day}T23:00Z,Usage,Storage,/subscriptions/{SUBSCRIPTION}"
        content = f"{columns}\n{row}\n".encode()
        manifest = {"blobs": [{"blobName": f"{folder}/part_0_0001.csv", "byteCount": len(content)}]}
        lab.azure.billing.put_blob(HOST, "costs", f"{folder}/part_0_0001.csv", content)
        lab.azure.billing.put_blob(HOST, "costs", f"{folder}/manifest.json", json.dumps(manifest).encode())

    def collect(hours: int) -> tuple[dict[int, Decimal], int]:
        """Collect so many hours after the first time: what is billed by month then, and how often a blob was asked."""
        window = noon + timedelta(hours=hours)
        clock[0] = window + WINDOW + timedelta(minutes=5)
        before = lab.control.calls().count("blob", "GetBlob")
        spine.collect("cost", [window], provider="azure", now=lambda: clock[0])
        rows = spine.query("SELECT charge_day, amount FROM costs WHERE cost_kind = 'billed'")
        return {row["charge_day"].month: row["amount"] for row in rows}, lab.control.calls().count(
            "blob", "GetBlob"
        ) - before

    write_run("run-1", "2026-10-05", "3.25")
    write_run("run-1", "2026-11-05", "5.5")
    assert collect(0) == ({10: Decimal("3.25"), 11: Decimal("5.5")}, 4)
    assert collect(4) == ({10: Decimal("3.25"), 11: Decimal("5.5")}, 0)
    write_run("run-2", "2026-11-05", "6.5")
    assert collect(8) == ({10: Decimal("3.25"), 11: Decimal("6.5")}, 2)
    assert collect(12) == ({10: Decimal("3.25"), 11: Decimal("6.5")}, 0)

    write_run("run-3", "2026-11-05", "")  # a run without rows is no month without costs
    assert collect(16) == ({10: Decimal("3.25"), 11: Decimal("6.5")}, 2)
    assert collect(18)[0] == {10: Decimal("3.25"), 11: Decimal("6.5")}
