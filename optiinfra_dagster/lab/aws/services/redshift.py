"""Redshift clusters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING

from optiinfra_dagster.lab.aws.kind import (
    FREE,
    PLANTED,
    LabKind,
    Row,
    Shown,
    is_charged,
    published,
    security_groups_of,
    subnet_of,
    tags_of,
    zone_of,
)
from optiinfra_dagster.lab.aws.listing import Answer, Listing, Operation
from optiinfra_dagster.lab.aws.rates import machine_usd

if TYPE_CHECKING:
    from optiinfra_dagster.lab.aws.estate import LabResource, Region

_VCPU_USD = "0.25"


def _redshift_cluster(resource: LabResource, region: Region) -> Shown:
    """A Redshift cluster."""
    _, network = subnet_of(resource, region)
    return {
        "ClusterIdentifier": resource.id,
        "NodeType": resource.fleet.type or "ra3.xlplus",
        "ClusterStatus": resource.state or "available",
        "ClusterAvailabilityStatus": "Available",
        "MasterUsername": PLANTED,
        "DBName": "dev",
        "Endpoint": {
            "Address": f"{resource.id}.{resource.hexid('host', 12)}.{resource.region}.redshift.amazonaws.com",
            "Port": 5439,
        },
        "ClusterCreateTime": resource.created,
        "AutomatedSnapshotRetentionPeriod": 1,
        "ManualSnapshotRetentionPeriod": -1,
        "ClusterSecurityGroups": [],
        "VpcSecurityGroups": security_groups_of(resource),
        "ClusterParameterGroups": [{"ParameterGroupName": "default.redshift-1.0", "ParameterApplyStatus": "in-sync"}],
        "ClusterSubnetGroupName": "default",
        "VpcId": network,
        "AvailabilityZone": zone_of(resource),
        "PreferredMaintenanceWindow": "sun:08:00-sun:08:30",
        "PendingModifiedValues": {"MasterUserPassword": PLANTED},
        "ClusterVersion": "1.0",
        "AllowVersionUpgrade": True,
        "NumberOfNodes": resource.fleet.size or 2,
        "PubliclyAccessible": False,
        "Encrypted": True,
        "Tags": tags_of(resource),
        "EnhancedVpcRouting": False,
        "MaintenanceTrackName": "current",
        "ClusterNamespaceArn": resource.arn.replace(f"cluster:{resource.id}", f"namespace:{resource.hexid('ns', 32)}"),
    }


def _products(resource: LabResource, shown: Shown) -> Iterator[Row]:
    node_type = shown["NodeType"]
    usd = machine_usd(resource.region, node_type, of=_VCPU_USD)
    yield "Compute Instance", {"instanceType": node_type}, f"Node:{node_type}", "Hrs", usd


def _rate(resource: LabResource, region: Region) -> tuple[Decimal, Decimal]:
    shown = _redshift_cluster(resource, region)
    hourly = machine_usd(resource.region, shown["NodeType"], of=_VCPU_USD) * shown["NumberOfNodes"]
    return hourly if is_charged(resource) else FREE, FREE


CLUSTER = LabKind(
    name="redshift:cluster",
    arn="redshift cluster:{id}",
    describe=_redshift_cluster,
    metrics=published(
        "ClusterIdentifier", "AWS/Redshift", 60, 1,
        ("CPUUtilization", "Percent", 1, 95),
        ("HealthStatus", "Count", 1, 1, "level"),
        ("PercentageDiskSpaceUsed", "Percent", 3, 97),
        ("ReadThroughput", "Bytes/Second", 0, 9e7),
        ("WriteThroughput", "Bytes/Second", 0, 9e7),
        ("ReadIOPS", "Count/Second", 0, 2500),
        ("WriteIOPS", "Count/Second", 0, 1800),
        ("ReadLatency", "Seconds", 2e-4, 2e-2),
        ("WriteLatency", "Seconds", 3e-4, 3e-2),
        ("NetworkReceiveThroughput", "Bytes/Second", 1e3, 5e7),
        ("NetworkTransmitThroughput", "Bytes/Second", 1e3, 9e7),
    ),
    price_list="AmazonRedshift",
    products=_products,
    bill_service="Amazon Redshift",
    rate=_rate,
)  # fmt: skip

KINDS = (CLUSTER,)
OPERATIONS: Mapping[Operation, Answer] = {
    ("redshift", "DescribeClusters"): Listing(("redshift:cluster",), 20, 100, "ClusterIdentifier", "ClusterNotFound"),
}
