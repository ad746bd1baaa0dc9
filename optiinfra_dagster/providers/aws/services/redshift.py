"""Redshift clusters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from optiinfra_dagster.model.inventory import Resource, ResourceType, Status
from optiinfra_dagster.providers.aws.kind import (
    AwsKind,
    Listing,
    Place,
    PriceQuery,
    fact,
    made_at,
    metric_rows,
    paged,
    part,
    status_of,
)
from optiinfra_dagster.providers.parsing import (
    Item,
    as_bool,
    as_datetime,
    as_labels,
    as_number,
    as_text,
    facts,
    name_of,
)

if TYPE_CHECKING:
    from optiinfra_dagster.model.cost import Component


def _warehouse(item: Item, place: Place) -> Resource:
    name, state = name_of(item, "ClusterIdentifier"), as_text(item.get("ClusterStatus"))
    created = as_datetime(item.get("ClusterCreateTime"))
    return Resource(
        account_id=place.account_id,
        region=place.region,
        kind=CLUSTER.name,
        resource_id=place.arn("redshift", f"cluster:{name}"),
        resource_name=name,
        resource_type=CLUSTER.resource_type,
        status=status_of(state),
        cloud_status=state,
        created_at=created,
        instance_uid=as_text(item.get("ClusterNamespaceArn")).rpartition(":")[2] or made_at(created),
        capacity=as_number(item.get("NumberOfNodes")),
        unit="nodes",
        tags=as_labels(item.get("Tags")),
        metadata=facts(
            engine="redshift",
            engine_version=item.get("ClusterVersion"),
            **{"class": item.get("NodeType")},
            availability_zone=item.get("AvailabilityZone"),
            vpc_id=item.get("VpcId"),
            publicly_accessible=as_bool(item.get("PubliclyAccessible")),
            encrypted=as_bool(item.get("Encrypted")),
        ),
    )


def _price_parts(resource: Resource) -> Iterator[Component]:
    node_type = fact(resource, "class")
    if node_type and resource.status is not Status.STOPPED:
        yield part(f"{node_type} redshift", resource.capacity or 0)


def _price_query(node_type: str) -> PriceQuery:
    return PriceQuery("AmazonRedshift", {"instanceType": node_type}, r"Node:.*")


CLUSTER = AwsKind(
    name="redshift:cluster",
    resource_type=ResourceType.DATABASE,
    metrics=(
        # Every minute, Redshift tries a query on the cluster: 1 if it was answered.
        *metric_rows(
            "redshift:cluster", "AWS/Redshift", "ClusterIdentifier", "Redshift management guide: performance data",
            ("uptime", "uptime", "percent", "HealthStatus", "Average"), scale=100,
        ),
        *metric_rows(
            "redshift:cluster", "AWS/Redshift", "ClusterIdentifier", "Redshift management guide: performance data",
            ("cpu_utilization", "cpu", "percent", "CPUUtilization", "Average"),
            ("disk_utilization", "disk", "percent", "PercentageDiskSpaceUsed", "Average"),
            ("disk_read", "disk", "bytes/s", "ReadThroughput", "Average"),
            ("disk_write", "disk", "bytes/s", "WriteThroughput", "Average"),
            ("disk_read_ops", "disk", "ops/s", "ReadIOPS", "Average"),
            ("disk_write_ops", "disk", "ops/s", "WriteIOPS", "Average"),
            ("network_in", "network", "bytes/s", "NetworkReceiveThroughput", "Average"),
            ("network_out", "network", "bytes/s", "NetworkTransmitThroughput", "Average"),
            ("read_latency", "latency", "seconds", "ReadLatency", "Average"),
            ("write_latency", "latency", "seconds", "WriteLatency", "Average"),
        ),
    ),
    price_parts=_price_parts,
    price_queries={r"(\S+) redshift": _price_query},
    bill_service="Amazon Redshift",
    not_offered={"memory": "Redshift management guide: performance data"},
)  # fmt: skip

KINDS = (CLUSTER,)
LISTINGS = (
    Listing(
        kind="redshift:cluster",
        service="redshift",
        id_key="ClusterIdentifier",
        actions="redshift:DescribeClusters",
        items=paged("describe_clusters", 100, "Clusters"),
        to_resource=_warehouse,
    ),
)
