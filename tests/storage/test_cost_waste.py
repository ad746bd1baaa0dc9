"""`cost waste`: unused databases, clusters without nodes, addresses that are attached to nothing, and old snapshots."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from optiinfra_dagster.model.inventory import ResourceType, Status
from optiinfra_dagster.model.sizes import Offer, SizeStep
from optiinfra_dagster.model.slices import SliceResult, SliceStatus
from optiinfra_dagster.providers.kind import Kind
from optiinfra_dagster.storage import reader_writer, schema, sizes
from optiinfra_dagster.storage.clickhouse import ClickHouse
from optiinfra_dagster.storage.rows import resource_rows
from optiinfra_dagster.storage.sql import readers
from optiinfra_dagster.storage.writer import Writer
from tests.support.bills import charge, estimates, publish_bill, publish_estimates
from tests.support.engines import copy_migrated
from tests.support.samples import resource, select

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from optiinfra_dagster.model.cost import Charge
    from optiinfra_dagster.model.inventory import Resource

Q, D = timedelta(minutes=15), timedelta(days=1)
TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
NOW = TODAY + timedelta(hours=1)
CUSTOMER = "wasteful"
ACCOUNT = "123456789012"
READER = readers()["cost", "waste"]
KINDS = {"ec2:address": Kind(name="ec2:address", resource_type=ResourceType.NETWORK, attachable=True)}

Row = dict[str, Any]


def database(name: str, **changes: Any) -> Resource:
    facts: Row = {
        "kind": "rds:db", "resource_type": ResourceType.DATABASE, "status": Status.AVAILABLE,
        "metadata": {"class": "db.m5.large"},
    }  # fmt: skip
    return resource(name, **facts | changes)


def cluster(name: str, nodes: float | None, **changes: Any) -> Resource:
    facts: Row = {
        "kind": "gcp:gke_cluster", "resource_type": ResourceType.KUBERNETES, "capacity": nodes, "unit": "nodes",
    }  # fmt: skip
    return resource(name, **facts | changes)


def address(name: str, status: Status, attached_to: str = "") -> Resource:
    metadata = {"attached_to": attached_to} if attached_to else {}
    return resource(
        name, kind="ec2:address", resource_type=ResourceType.NETWORK, status=status, metadata=metadata
    )  # fmt: skip


def days(
    name: str, metric: str, mean: float, highest: float, *, ago: Iterable[int] = range(1, 8), n: int = 288,
    statistic: str = "average", uid: str = "",
) -> list[Row]:  # fmt: skip
    return [
        {
            "window_start": TODAY - day * D, "batch": 1, "customer_id": CUSTOMER, "provider": "aws",
            "resource_id": name, "resource_type": "database", "metric_name": metric, "statistic": statistic, "n": n,
            "instance_uid": uid, "expected": 288, "total": n * mean, "maximum": highest,
        }
        for day in ago
    ]  # fmt: skip


DATABASES = [
    database("no-connections"),
    database("connected"),
    database("once-connected"),
    database("gaps"),
    database("quiet"),
    database("quiet-snapshots"),
    database("at-work"),
    database("peaks"),
    database("cache"),
    database("copies"),
    database("sends"),
    database("replica", metadata={"replica_of": "no-connections"}),
    database("replica-by-role", metadata={"replication_role": "AsyncReplica"}),
    database("off", status=Status.STOPPED),
    database("unknown", status=Status.UNKNOWN),
    database("silent"),
    database("replaced", instance_uid="b"),
    database("switched", instance_uid="a", created_at=TODAY - 30 * D),
    database("renewed-before-the-switch", instance_uid="b", created_at=TODAY - 3 * D),
]
PERFORMANCE = [
    *days("no-connections", "connections", 0, 0), *days("no-connections", "cpu_utilization", 9, 60),
    *days("connected", "connections", 3, 4), *days("connected", "cpu_utilization", 0.5, 1),
    *days("once-connected", "connections", 0.01, 1), *days("once-connected", "cpu_utilization", 0.5, 1),
    *days("gaps", "connections", 0, 0, n=200), *days("gaps", "cpu_utilization", 0.5, 1),
    *days("quiet", "cpu_utilization", 1.5, 4.9),
    *days("quiet-snapshots", "cpu_utilization", 1.5, 4.9, statistic="snapshot"),
    *days("at-work", "cpu_utilization", 2.5, 4.9),
    *days("peaks", "cpu_utilization", 1.5, 5),
    *days("cache", "cpu_utilization", 0.1, 0.2),
    *days("copies", "cpu_utilization", 0.1, 0.2), *days("copies", "disk_write", 250_000, 10**6),
    *days("sends", "cpu_utilization", 0.1, 0.2), *days("sends", "network_out", 21_000, 10**6),
    *days("quiet", "network_in", 9000, 10**6), *days("quiet", "network_out", 9000, 10**6),
    *days("quiet", "disk_read", 1000, 10**6), *days("quiet", "disk_write", 90_000, 10**6),
    # Its predecessor did nothing. What it did itself is known of a day.
    *days("replaced", "connections", 0, 0, uid="a"), *days("replaced", "connections", 0, 0, ago=[1], uid="b"),
    *days("switched", "connections", 0, 0, ago=range(2, 8)), *days("switched", "connections", 0, 0, ago=[1], uid="a"),
    *days("renewed-before-the-switch", "connections", 0, 0),
    *(row for name in ("replica", "replica-by-role", "unknown") for row in days(name, "connections", 0, 0)),
]  # fmt: skip
CLUSTERS: dict[str, list[float | None]] = {
    "empty": [0.0] * 8,
    "staffed": [3.0] * 8,
    "down-today": [3.0, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0, 0.0],
    "down-for-a-night": [0.0, 0.0, 2.0, 0.0, 0.0, 0.0, 0.0, 0.0],
    "young": [0.0] * 3,
    "untold": [None] * 8,
    "untold-once": [0.0, 0.0, None, 0.0, 0.0, 0.0, 0.0, 0.0],
    "free": [0.0] * 8,
}


def snapshot(name: str, age: timedelta | None, **changes: Any) -> Resource:
    facts: Row = {
        "kind": "gcp:snapshot", "resource_type": ResourceType.VOLUME, "status": Status.AVAILABLE,
        "created_at": None if age is None else NOW - age, "capacity": 5.0, "unit": "GiB",
        "metadata": {"snapshot_of": "disk-1"},
    }  # fmt: skip
    return resource(name, **facts | changes)


SNAPSHOTS = [
    snapshot("old-copy", 90 * D + timedelta(minutes=1)),
    snapshot("young-copy", 90 * D),
    snapshot("copy-of-unknown-age", None),
    snapshot("copy-being-made", 91 * D, status=Status.STARTING),
    snapshot("old-volume", 400 * D, metadata={}),
    snapshot("hours-used-up", 91 * D),
]
ADDRESSES = [
    address("dearest-address", Status.AVAILABLE),
    address("too-dear-address", Status.AVAILABLE),
    address("idle-address", Status.AVAILABLE),
    address("used-address", Status.IN_USE, "eni-1"),
    address("moving-address", Status.AVAILABLE),
    address("left-address", Status.AVAILABLE),
]
# What they were in the first inventories of some days before.
ATTACHED = {
    2: [address("moving-address", Status.IN_USE, "eni-2")],
    4: [address("left-address", Status.IN_USE, "eni-3")],
}


def machine(name: str) -> Resource:
    return resource(name, status=Status.STOPPED, region="eu")


# Stopped machines: on how many windows of each of the days before they ran and were stopped, and what a day was billed.
MACHINES: dict[str, list[tuple[int, int, str | None]]] = {
    "euros": [(0, 96, "24")],
    "stopped-today": [(96, 0, "24")] * 5,
    "stopped-and-free": [*[(0, 96, None)] * 4, *[(96, 0, "24")] * 6],
    "stopped-and-charged": [(0, 96, "6"), (0, 90, "7"), (0, 46, "3"), (50, 46, "3"), *[(96, 0, "24")] * 6],
    "stopped-for-a-weekend": [(0, 96, "6"), (0, 96, "6"), (30, 66, "12"), *[(96, 0, "24")] * 6],
    "stopped-at-midnight": [(0, 96, None), (0, 96, None), (0, 96, "0.25"), *[(96, 0, "24")] * 6],  # of its last minutes
    "at-night": [(40, 56, "10")] * 10,
    "known-for-an-hour": [(0, 4, "20")],
    "restarted": [(95, 1, "24")] * 5,
}


ARM = "/subscriptions/s/resourcegroups/{}/providers/microsoft.compute/virtualmachines/web"


def volume(name: str, attached_to: str, **changes: Any) -> Resource:
    facts: Row = {
        "kind": "disk", "resource_type": ResourceType.VOLUME, "status": Status.IN_USE, "region": "eu",
        "metadata": {"attached_to": attached_to, **changes},
    }  # fmt: skip
    return resource(name, **facts)


# Machines of one name in a region: in two resource groups, and in two zones.
NAMESAKES = [
    resource(ARM.format("dev"), resource_name="web", region="eu", status=Status.STOPPED),
    resource(ARM.format("prod"), resource_name="web", region="eu"),
    resource("zones/a/instances/db", resource_name="db", region="eu", status=Status.STOPPED, metadata={"zone": "a"}),
    resource("zones/b/instances/db", resource_name="db", region="eu", metadata={"zone": "b"}),
]
VOLUMES = [
    volume("disk-of-dev", ARM.format("dev")),
    volume("disk-of-prod", ARM.format("prod")),
    volume("disk-of-nobody-listed", ARM.format("gone")),
    volume("disk-in-a", "db", zone="a"),
    volume("disk-in-b", "db", zone="b"),
    volume("disk-in-both", "db"),
    volume("disk-of-the-restarted", "restarted"),
    volume("disk-of-the-long-stopped", "stopped-and-free"),
]


def states(name: str) -> list[Row]:
    """The rollups of its whole days."""
    return [
        {
            "window_start": TODAY - ago * D, "batch": 1, "customer_id": CUSTOMER, "provider": "aws",
            "resource_id": name, "resource_name": name, "resource_type": "compute", "kind": "ec2:instance",
            "known": up + stopped, "up": up, "stopped": stopped,
        }
        for ago, (up, stopped, _) in enumerate(MACHINES[name], 1)
    ]  # fmt: skip


def bills() -> list[Charge]:
    return [
        charge((TODAY - ago * D).date(), usd, account=ACCOUNT, resource_id=name,
               currency="EUR" if name == "euros" else "USD")
        for name, its in MACHINES.items() for ago, (_, _, usd) in enumerate(its, 1) if usd is not None
    ]  # fmt: skip


def inventoried(clickhouse: ClickHouse, found: Sequence[Resource], window: datetime) -> None:
    rows = resource_rows(CUSTOMER, "aws", window, found, window, KINDS)
    Writer(clickhouse, schema.RESOURCE).flush([SliceResult(CUSTOMER, "aws", [window], SliceStatus.OK, rows=rows)])


@pytest.fixture(scope="module")
def waste(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Row]:
    """What the reader says, by resource, each of which it tells once."""
    folder = tmp_path_factory.mktemp("waste") / "clickhouse"
    copy_migrated(folder)
    place = ClickHouse(f"chdb://{folder}")
    with place.session() as client:
        for ago in range(7, -1, -1):
            of_day = [cluster(name, nodes[-1 - ago]) for name, nodes in CLUSTERS.items() if len(nodes) > ago]
            inventoried(place, [*of_day, *ATTACHED.get(ago, [])], TODAY - ago * D)
            # What a day has later does not count: that day's first inventory stands for it.
            inventoried(place, of_day, TODAY - ago * D + Q)
        now = [cluster(name, nodes[-1]) for name, nodes in CLUSTERS.items()]
        alike = [*NAMESAKES, *VOLUMES]
        inventoried(place, [*DATABASES, *ADDRESSES, *SNAPSHOTS, *now, *map(machine, MACHINES), *alike], NOW)
        client.insert_arrow("performance_daily", pa.Table.from_pylist(PERFORMANCE))
        days_of = readers()["resource", "days"].table
        client.insert_arrow(days_of, pa.Table.from_pylist([row for name in MACHINES for row in states(name)]))
        ledger = [[of, "", "", TODAY - n * D, 1, "ok"] for of in ("performance_daily", days_of) for n in range(15)]
        names = ["dataset", "customer_id", "provider", "window_start", "batch", "status"]
        client.insert("metric_batches", ledger, column_names=names)
        typed = [Offer(SizeStep(one, "db.m5.large")) for one in DATABASES if one.resource_id != "cache"]
        sizes.keep(client, CUSTOMER, "aws", NOW, typed, NOW)
        dear = [*DATABASES, *ADDRESSES, *VOLUMES, *(one for one in now if one.resource_id != "free"), machine("euros")]
        # Beyond the hours of a month that are charged, an estimate is 0.
        prices = {one.resource_id: "0.25" for one in dear} | {
            "hours-used-up": "0", "dearest-address": f"{2 * 10**16}", "too-dear-address": f"{25 * 10**16}",
        }  # fmt: skip
        publish_estimates(place, estimates(CUSTOMER, NOW, prices, account=ACCOUNT))
        # What it cost while it ran.
        publish_estimates(place, estimates(CUSTOMER, NOW - Q, {"stopped-today": "0.25"}, account=ACCOUNT))
        read = [(TODAY - ago * D).date() for ago in range(1, 15)]
        publish_bill(place, read, bills(), customer=CUSTOMER, read=[ACCOUNT])
        for name in ("daily", "days"):
            reader_writer.compute(place, readers()["cost", name], [TODAY])
        reader_writer.compute(place, READER, [NOW])
        rows = select(place, f"SELECT * FROM {READER.view} WHERE customer_id = '{CUSTOMER}'")  # noqa: S608
    assert len({row["resource_id"] for row in rows}) == len(rows)
    return {row["resource_id"]: row for row in rows}


def test_what_is_of_no_use_is_told_and_nothing_else(waste: dict[str, Row]) -> None:
    assert {name: row["reason"] for name, row in waste.items()} == {
        "no-connections": "idle",
        "quiet": "idle",
        "quiet-snapshots": "idle",
        "switched": "idle",
        "off": "stopped",
        "empty": "without_nodes",
        "dearest-address": "unattached",
        "too-dear-address": "unattached",
        "idle-address": "unattached",
        "left-address": "unattached",
        "old-copy": "old_snapshot",
        "hours-used-up": "old_snapshot",
        "euros": "stopped",
        "stopped-and-charged": "stopped",
        "disk-of-dev": "machine_stopped",
        "disk-of-the-long-stopped": "machine_stopped",
        "disk-in-a": "machine_stopped",
    }


def test_what_a_stopped_machine_cost_while_it_ran_is_no_waste(waste: dict[str, Row]) -> None:
    """The cheapest of the days on which it was stopped: those on which it ran for some time do not count."""
    row = waste["stopped-and-charged"]
    assert (row["monthly_amount"], row["amount_from"]) == (6 * Decimal(730) / 24, "billed")
    assert f"billed on 2 days to {(TODAY - D).date()}" in row["evidence"]


def test_an_estimate_of_nothing_is_no_amount(waste: dict[str, Row]) -> None:
    row = waste["hours-used-up"]
    assert (row["monthly_amount"], row["amount_from"]) == (None, "unknown")


def test_an_amount_of_a_month_that_is_too_large_is_none_and_told(waste: dict[str, Row]) -> None:
    row = waste["dearest-address"]
    assert (row["monthly_amount"], row["amount_from"]) == (Decimal(2 * 10**16 * 4 * 730), "estimated")
    row = waste["too-dear-address"]
    assert (row["monthly_amount"], row["amount_from"]) == (None, "estimated")
    assert row["evidence"].endswith("list price of 1 x too-dear-address; a month of it is more than an amount can be")


@pytest.mark.parametrize(
    ("name", "seen"),
    [
        ("no-connections", "no connection over 7 days of which 100 % are known; list price of 1 x no-connections"),
        (
            "quiet",
            "4.9 % in its highest 5 minutes, network 18.00 KB/s, disks 91.00 KB/s, over 7 days of which 100 % are",
        ),
        (
            "quiet-snapshots",
            "CPU 1.5 % on average and 4.9 % in its highest 5 minutes, network not known, disks not known",
        ),
        ("empty", "no node for 7 days; 0 nodes; list price of 1 x empty"),
        ("idle-address", "attached to nothing; list price of"),
        ("disk-of-dev", "attached to web, stopped; list price of"),
    ],
)
def test_it_is_told_with_its_evidence(waste: dict[str, Row], name: str, seen: str) -> None:
    assert seen in waste[name]["evidence"]
    assert (waste[name]["monthly_amount"], waste[name]["amount_from"]) == (Decimal(730), "estimated")


def test_an_old_snapshot_is_told_with_its_disk_and_day_whatever_it_costs(waste: dict[str, Row]) -> None:
    row = waste["old-copy"]
    assert (row["monthly_amount"], row["amount_from"]) == (None, "unknown")
    assert row["evidence"] == (
        f"a copy of disk-1 of {(NOW - 90 * D - timedelta(minutes=1)).date()}; 5 GiB; "
        "neither bill nor price list tells what it costs"
    )


def test_what_is_estimated_in_one_currency_and_billed_in_another_is_told_once_as_billed(
    waste: dict[str, Row],
) -> None:
    row = waste["euros"]
    assert (row["currency"], row["amount_from"], row["monthly_amount"]) == ("EUR", "billed", Decimal(730))
