"""Addresses and snapshots from the lab's listings and price lists to the waste that they are."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from optiinfra_dagster.collection import run
from optiinfra_dagster.providers.azure import transport
from optiinfra_dagster.storage import reader_writer
from optiinfra_dagster.storage.sql import readers
from tests.collection.test_cost import at_once
from tests.support.spine import fleet

if TYPE_CHECKING:
    from tests.collection.conftest import StartLab
    from tests.support.spine import Spine

WINDOW, DAY = timedelta(minutes=15), timedelta(days=1)
NOON = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)
OLD, YOUNG = (NOON - 100 * DAY).isoformat(), (NOON - 10 * DAY).isoformat()
ACCOUNT = "111111111111"
SUBSCRIPTION = "11111111-aaaa-4000-8000-000000000001"
READER = readers()["cost", "waste"]

GCP = (
    fleet("gcp:address", 2, "us-central1", name="external-{n}"),  # the second is in use
    fleet("gcp:address", 2, "us-central1", name="internal-{n}", type="INTERNAL"),
    fleet("gcp:address", 1, "global", name="worldwide"),
    fleet("gcp:snapshot", 1, "us-central1", name="old", size=50, created=OLD),
    fleet("gcp:snapshot", 1, "us-central1", name="young", created=YOUNG),
)
AZURE = (
    fleet("azure:public_ip", 1, "westeurope", name="loose"),
    fleet("azure:public_ip", 1, "westeurope", name="held", state="held"),
    fleet("azure:snapshot", 1, "westeurope", name="old", size=64, created=OLD),
    fleet("azure:snapshot", 1, "westeurope", name="young", created=YOUNG),
)
AWS = (
    fleet("ec2:address", 2, "us-east-1", name="entry-{n}"),  # the first is in use
    fleet("ebs:snapshot", 1, "us-east-1", name="old", size=32, created=OLD),
    fleet("ebs:snapshot", 1, "us-east-1", name="young", created=YOUNG),
)
VULTR = (
    fleet("vultr:address", 1, "fra", name="loose", attached=False),
    fleet("vultr:address", 1, "fra", name="held"),
    fleet("vultr:snapshot", 1, "fra", name="old", size=40, created=OLD),
    fleet("vultr:snapshot", 1, "fra", name="young", created=YOUNG),
)
CLOUDS = ("aws", "gcp", "azure", "vultr")


@pytest.fixture
def waste(spine: Spine, start_lab: StartLab, monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, dict[str, Any]]]:
    """What is told of each cloud, by name."""
    clock = [NOON]
    gcp = {"projects": [{"id": "acme-prod", "fleets": list(GCP)}]}
    azure = {"subscriptions": [{"id": SUBSCRIPTION, "fleets": list(AZURE)}], "cost_queries": 1000}
    aws = {"accounts": [{"id": ACCOUNT, "regions": ["us-east-1"], "roles": ["reader"], "fleets": list(AWS)}]}
    vultr = {"accounts": [{"name": "acme", "keys": ["a-key"], "fleets": list(VULTR)}]}
    lab = start_lab({"aws": aws, "gcp": gcp, "azure": azure, "vultr": vultr}, now=lambda: clock[0])
    monkeypatch.setenv("WASTE_VULTR_KEY", "a-key")
    monkeypatch.setattr(run, "in_flush_batches", at_once)  # in this thread, which holds the engine open
    monkeypatch.setattr(transport.COST_PACE, "calls", 1000)
    acme = {
        "id": "acme",
        "name": "Acme",
        "aws": [
            {
                "account_id": ACCOUNT,
                "role_arn": f"arn:aws:iam::{ACCOUNT}:role/reader",
                "regions": ["us-east-1"],
                "endpoint_url": lab.url,
            }
        ],
        "vultr": [{"api_key": {"env": "WASTE_VULTR_KEY"}, "endpoint_url": lab.url}],
        "gcp": [{"project_id": "acme-prod", "endpoint_url": lab.url}],
        "azure": [{"subscription_id": SUBSCRIPTION, "endpoint_url": lab.url}],
    }
    spine.settings.customers_path.write_text(yaml.safe_dump({"customers": [acme]}))
    for name in CLOUDS:
        for family, window in (("resource", NOON), ("cost", NOON)):
            clock[0] = window + WINDOW + timedelta(minutes=5)
            spine.collect(family, [window], provider=name, now=lambda: clock[0])
            assert spine.last(family, "acme")["outcome"] in {"ok", "partial"}
    reader_writer.compute(spine.clickhouse, READER, [NOON])
    found: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in CLOUDS}
    for row in spine.query(f"SELECT * FROM {READER.view}"):  # noqa: S608
        found[row["provider"]][row["resource_name"]] = row
    return found


def test_addresses_that_nothing_uses_and_old_snapshots_are_waste(
    waste: dict[str, dict[str, dict[str, Any]]],
) -> None:
    told = {cloud: {name: row["reason"] for name, row in rows.items()} for cloud, rows in waste.items()}
    [idle] = [name for name in told["gcp"] if name.startswith("external-")]
    assert told == {
        "aws": {"entry-2": "unattached", "old": "old_snapshot"},
        "vultr": {"loose": "unattached", "old": "old_snapshot"},
        "gcp": {idle: "unattached", "worldwide": "unattached", "old": "old_snapshot"},
        "azure": {"loose": "unattached", "old": "old_snapshot"},
    }
    address, snapshot = waste["gcp"][idle], waste["gcp"]["old"]
    assert address["monthly_amount"] == Decimal("7.3")
    assert (snapshot["region"], snapshot["amount_from"]) == ("us-central1", "estimated")
    assert round(snapshot["monthly_amount"], 6) == Decimal("2.5")  # 50 GiB for 0.05 a month
    assert snapshot["evidence"].startswith(f"a copy of gone-1 of {(NOON - 100 * DAY).date()}; 50 GiB; ")
    address, snapshot = waste["azure"]["loose"], waste["azure"]["old"]
    assert Decimal(3) < address["monthly_amount"] < Decimal(5)  # 0.005 an hour, and what the region adds
    assert (snapshot["monthly_amount"], snapshot["amount_from"]) == (None, "unknown")
    assert snapshot["evidence"].startswith(f"a copy of gone-old of {(NOON - 100 * DAY).date()}; 64 GiB; ")
