"""From the lab's listings and price lists to a suggested type with its price, on every cloud."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
import yaml

from optiinfra_dagster.collection import run
from optiinfra_dagster.lab.aws.rates import machine_usd
from optiinfra_dagster.providers.azure import transport
from optiinfra_dagster.storage import reader_writer
from optiinfra_dagster.storage.sql import readers
from tests.collection.test_cost import at_once
from tests.support.spine import fleet

if TYPE_CHECKING:
    from optiinfra_dagster.lab import CloudLab
    from tests.collection.conftest import StartLab
    from tests.support.spine import Spine

WINDOW, DAY = timedelta(minutes=15), timedelta(days=1)
NOON = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)
SUBSCRIPTION = "11111111-aaaa-4000-8000-000000000001"
AWS_ACCOUNT = "111111111111"
READER = readers()["cost", "rightsizing"]


@dataclass(frozen=True)
class Cloud:
    """A cloud's machine and database in the lab, and what they are and would be."""

    holder: str
    account: dict[str, Any]
    way_in: dict[str, Any]
    fleets: tuple[dict[str, Any], ...]
    types: dict[str, tuple[str, str]]  # by resource type
    price_calls: str  # the lab's name of the service that answers prices and types


CLOUDS = {
    "aws": Cloud(
        holder="accounts",
        account={"id": AWS_ACCOUNT, "access_keys": ["KEY"], "regions": ["us-east-1"], "roles": ["reader"]},
        way_in={
            "account_id": AWS_ACCOUNT, "role_arn": f"arn:aws:iam::{AWS_ACCOUNT}:role/reader", "regions": ["us-east-1"],
        },
        fleets=(
            fleet("ec2:instance", 3, type="m6i.xlarge"),
            fleet("rds:db", type="db.r6g.xlarge", engine="postgres"),
            fleet("ec2:instance", name="burst", type="t3.large"),
        ),
        types={"compute": ("m6i.xlarge", "m6i.large"), "database": ("db.r6g.xlarge", "db.r6g.large")},
        price_calls="pricing",
    ),
    "gcp": Cloud(
        holder="projects",
        account={"id": "acme-prod"},
        way_in={"project_id": "acme-prod"},
        fleets=(
            fleet("gcp:instance", 3, "us-central1", type="n2-standard-8", disks=0),
            fleet("gcp:sql_instance", 1, "us-central1", type="db-custom-4-15360"),
            fleet("gcp:instance", 1, "us-central1", name="burst", type="e2-medium", disks=0),
        ),
        types={"compute": ("n2-standard-8", "n2-standard-4"), "database": ("db-custom-4-15360", "db-custom-2-7680")},
        price_calls="cloudbilling",
    ),
    "azure": Cloud(
        holder="subscriptions",
        account={"id": SUBSCRIPTION},
        way_in={"subscription_id": SUBSCRIPTION},
        fleets=(
            fleet("azure:vm", 3, "westeurope", type="Standard_D8s_v5", disks=0),
            fleet("azure:postgresql", 1, "westeurope", type="Standard_D4ds_v4"),
            fleet("azure:vm", 1, "westeurope", name="burst", type="Standard_B2ms", disks=0),
        ),
        types={
            "compute": ("Standard_D8s_v5", "Standard_D4s_v5"), "database": ("Standard_D4ds_v4", "Standard_D2ds_v4"),
        },
        price_calls="retailprices",
    ),
    "vultr": Cloud(
        holder="accounts",
        account={"name": "acme", "keys": ["acme-key"]},
        way_in={"api_key": {"env": "ACME_KEY"}},
        fleets=(
            fleet("vultr:instance", 3, "ewr", plan="vc2-4c-8gb", vcpus=4),
            fleet("vultr:database", 1, "ewr", plan="vc2-4c-8gb", vcpus=4),
            fleet("vultr:instance", 1, "ewr", name="burst", plan="vc2-1c-1gb", vcpus=1),
        ),
        types={"compute": ("vc2-4c-8gb", "vc2-2c-4gb"), "database": ("vc2-4c-8gb", "vc2-2c-4gb")},
        price_calls="vultr",
    ),
}  # fmt: skip


def collect(spine: Spine, cloud: str, family: str, window: datetime, clock: list[datetime]) -> None:
    clock[0] = window + WINDOW + timedelta(minutes=5)
    spine.collect(family, [window], provider=cloud, now=lambda: clock[0])


def measured(spine: Spine, cloud: str) -> None:
    """Fourteen days of little CPU for all, and of memory for databases."""
    listed = spine.query("SELECT resource_id, resource_type FROM resource_metrics_current")
    rows = [
        {
            "window_start": NOON.replace(hour=0) - day * DAY, "batch": 1, "customer_id": "acme", "provider": cloud,
            "resource_id": one["resource_id"], "resource_type": one["resource_type"], "metric_name": metric,
            "statistic": "average", "n": 288, "expected": 288, "total": 288.0 * 10, "minimum": 5.0, "maximum": 20.0,
            "values": [5.0] * 144 + [20.0] * 144,
        }
        for one in listed
        for day in range(1, 15)
        for metric in ("cpu_utilization", "memory_utilization")
        if one["resource_type"] == "database" or metric == "cpu_utilization"
    ]  # fmt: skip
    with spine.clickhouse.session() as client:
        client.insert_arrow("performance_daily", pa.Table.from_pylist(rows))
        ledger = [["performance_daily", "", "", NOON.replace(hour=0) - n * DAY, 1, "ok"] for n in range(15)]
        names = ["dataset", "customer_id", "provider", "window_start", "batch", "status"]
        client.insert("metric_batches", ledger, column_names=names)


def suggested(spine: Spine, window: datetime = NOON) -> list[dict[str, Any]]:
    reader_writer.compute(spine.clickhouse, READER, [window])
    return spine.query(
        f"SELECT * FROM {READER.view} WHERE window_start = {{at:DateTime('UTC')}} ORDER BY ALL",  # noqa: S608
        at=window,
    )


@pytest.mark.parametrize("name", CLOUDS)
def test_a_smaller_type_is_suggested_with_its_list_price(
    spine: Spine, start_lab: StartLab, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    cloud, clock = CLOUDS[name], [NOON]
    lab = start_lab(world_of(cloud, name), now=lambda: clock[0])
    point_at(spine, lab, cloud, name, monkeypatch)

    collect(spine, name, "resource", NOON - WINDOW, clock)
    collect(spine, name, "cost", NOON, clock)
    measured(spine, name)
    rows = suggested(spine)

    by_type: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        if row["verdict"] == "smaller":
            by_type.setdefault(row["resource_type"], []).append(row)
    assert {key: (found[0]["type"], found[0]["suggested_type"]) for key, found in by_type.items()} == cloud.types
    assert len(by_type["compute"]) == 3
    for row in (*by_type["compute"], *by_type["database"]):
        assert row["currency"] == "USD"
        assert 0 < row["suggested_amount"] < row["monthly_amount"]
        assert row["saving"] == row["monthly_amount"] - row["suggested_amount"]
        assert row["suggested_vcpus"] == row["vcpus"] / 2
    assert {row["basis"] for row in by_type["compute"]} == {"CPU only"}
    assert {(row["basis"], row["risk"]) for row in by_type["database"]} == {("CPU and memory", "low")}
    for row in by_type["compute"]:  # nothing but the machine is in their prices, which go by vCPUs and are rounded
        assert abs(row["suggested_amount"] - row["monthly_amount"] / 2) < Decimal("0.1")
    [burst] = [row for row in rows if row["resource_name"] == "burst"]
    assert (burst["verdict"], burst["suggested_type"], burst["saving"]) == ("no_smaller_type", "", None)

    # The prices and types of a day are asked for once, and are the same in its other windows.
    asked, kept = lab.control.calls().count(cloud.price_calls), kept_rows(spine)
    collect(spine, name, "cost", NOON + WINDOW, clock)
    assert lab.control.calls().count(cloud.price_calls) == asked
    assert kept_rows(spine) == kept
    again = suggested(spine, NOON + WINDOW)
    assert [row["suggested_type"] for row in again] == [row["suggested_type"] for row in rows]


def world_of(cloud: Cloud, name: str) -> dict[str, Any]:
    limits = {"limit": 10**6} if name == "vultr" else {"cost_queries": 1000} if name == "azure" else {}
    return {name: {cloud.holder: [{**cloud.account, "fleets": list(cloud.fleets)}], **limits}}


def point_at(spine: Spine, lab: CloudLab, cloud: Cloud, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "in_flush_batches", at_once)  # in this thread, which holds the engine open
    monkeypatch.setattr(transport.COST_PACE, "calls", 1000)
    monkeypatch.setenv("ACME_KEY", "acme-key")
    acme = {"id": "acme", "name": "Acme", name: [{**cloud.way_in, "endpoint_url": lab.url}]}
    spine.settings.customers_path.write_text(yaml.safe_dump({"customers": [acme]}))


def kept_rows(spine: Spine) -> int:
    [row] = spine.query("SELECT count() AS n FROM machine_sizes")
    return int(row["n"])


def test_each_type_is_asked_for_once_whatever_the_number_of_its_machines(
    spine: Spine, start_lab: StartLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud, clock = CLOUDS["aws"], [NOON]
    lab = start_lab(world_of(cloud, "aws"), now=lambda: clock[0])
    point_at(spine, lab, cloud, "aws", monkeypatch)

    collect(spine, "aws", "resource", NOON - WINDOW, clock)
    collect(spine, "aws", "cost", NOON, clock)

    # Three types of machines and databases, the smaller ones of two, and the storage of the database.
    keys = {row["key"] for row in spine.query("SELECT key FROM prices")}
    assert {key for key in keys if "m6i" in key or "r6g" in key or "t3" in key} == {
        "m6i.xlarge linux", "m6i.large linux", "t3.large linux",
        *(key for key in keys if key.startswith(("db.r6g.xlarge postgres", "db.r6g.large postgres"))),
    }  # fmt: skip
    assert lab.control.calls().count("pricing") == len(keys)
    row = spine.last("cost", "acme")
    assert row["outcome"] == "ok"
    assert row["api_calls"] >= len(keys)
    sizes = spine.query("SELECT DISTINCT type, smaller_type, monthly, smaller_monthly FROM machine_sizes")
    of_type = {one["type"]: one for one in sizes}
    assert of_type["m6i.xlarge"]["smaller_monthly"] == machine_usd("us-east-1", "m6i.large") * 730
    assert of_type["m6i.xlarge"]["monthly"] == machine_usd("us-east-1", "m6i.xlarge") * 730
    assert (of_type["t3.large"]["smaller_type"], of_type["t3.large"]["smaller_monthly"]) == ("", None)


def test_a_list_of_types_that_cannot_be_read_leaves_what_was_known(
    spine: Spine, start_lab: StartLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud, clock = CLOUDS["vultr"], [NOON]
    lab = start_lab(world_of(cloud, "vultr"), now=lambda: clock[0])
    point_at(spine, lab, cloud, "vultr", monkeypatch)
    collect(spine, "vultr", "resource", NOON - WINDOW, clock)
    collect(spine, "vultr", "cost", NOON, clock)
    measured(spine, "vultr")
    before = {row["resource_id"]: row["suggested_type"] for row in suggested(spine)}

    for file in (spine.home / "memory").iterdir():
        file.unlink()
    lab.control.add_faults({"action": "deny", "service": "vultr", "operation": "list-plans"})
    collect(spine, "vultr", "cost", NOON + WINDOW, clock)

    row = spine.last("cost", "acme")
    assert row["outcome"] == "partial"
    assert "list-plans" in row["error"]
    after = {row["resource_id"]: row["suggested_type"] for row in suggested(spine, NOON + WINDOW)}
    assert after == before
