"""EKS clusters and their node groups, which come from one listing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from optiinfra_dagster.model.inventory import Resource, ResourceType
from optiinfra_dagster.providers.aws.kind import (
    ADD_ON,
    NOBODY,
    AwsKind,
    Listing,
    Place,
    PriceQuery,
    always,
    described,
    listed_names,
    made_at,
    metric_rows,
    status_of,
)
from optiinfra_dagster.providers.billing import service_names
from optiinfra_dagster.providers.parsing import (
    Item,
    as_bool,
    as_datetime,
    as_dict,
    as_labels,
    as_number,
    as_text,
    as_texts,
    dig,
    facts,
    name_of,
)


def _items(eks: Any) -> Iterator[Item]:
    """Clusters, then their node groups: these are known by `nodegroupName`."""

    def cluster(name: str) -> Iterator[Item]:
        yield as_dict(eks.describe_cluster(name=name), "cluster")

    def node_groups(cluster: str) -> Iterator[Item]:
        for name in listed_names(eks, "list_nodegroups", "nodegroups", clusterName=cluster):
            yield as_dict(eks.describe_nodegroup(clusterName=cluster, nodegroupName=name), "nodegroup")

    failures: list[Exception] = []
    clusters = list(listed_names(eks, "list_clusters", "clusters"))
    yield from described(clusters, cluster, failures)
    yield from described(clusters, node_groups, failures)
    if failures:
        raise failures[0]


def _kubernetes_cluster(item: Item, place: Place) -> Resource:
    name, state = name_of(item, "name"), as_text(item.get("status"))
    created = as_datetime(item.get("createdAt"))
    vpc = as_dict(item, "resourcesVpcConfig")
    return Resource(
        account_id=place.account_id,
        region=place.region,
        kind=CLUSTER.name,
        resource_id=place.arn("eks", f"cluster/{name}", listed=item.get("arn")),
        resource_name=name,
        resource_type=CLUSTER.resource_type,
        status=status_of(state),
        cloud_status=state,
        created_at=created,
        instance_uid=made_at(created),
        tags=as_labels(item.get("tags")),
        metadata=facts(
            version=item.get("version"),
            platform_version=item.get("platformVersion"),
            vpc_id=vpc.get("vpcId"),
            public_endpoint=as_bool(vpc.get("endpointPublicAccess")),
        ),
    )


def _node_group(item: Item, place: Place) -> Resource:
    name, cluster, state = name_of(item, "nodegroupName"), as_text(item.get("clusterName")), as_text(item.get("status"))
    return Resource(
        account_id=place.account_id,
        region=place.region,
        kind=NODE_GROUP.name,
        resource_id=place.arn("eks", f"nodegroup/{cluster}/{name}", listed=item.get("nodegroupArn")),
        resource_name=name,
        resource_type=NODE_GROUP.resource_type,
        status=status_of(state),
        cloud_status=state,
        created_at=as_datetime(item.get("createdAt")),
        capacity=as_number(dig(item, "scalingConfig", "desiredSize")),
        unit="nodes",
        tags=as_labels(item.get("tags")),
        metadata=facts(
            cluster=cluster,
            version=item.get("version"),
            capacity_type=item.get("capacityType"),
            instance_types=",".join(as_texts(item.get("instanceTypes"))),
            ami_type=item.get("amiType"),
        ),
    )


def _resource(item: Item, place: Place) -> Resource:
    return _node_group(item, place) if "nodegroupName" in item else _kubernetes_cluster(item, place)


# --- The kinds --------------------------------------------------------------------------------------------------------

CLUSTER = AwsKind(
    name="eks:cluster",
    resource_type=ResourceType.KUBERNETES,
    metrics=(
        # Published only where the customer runs the Container Insights add-on, plain or with enhanced observability.
        # Each is the mean of the cluster's nodes; bytes are per second already.
        *metric_rows(
            "eks:cluster", "ContainerInsights", "ClusterName", "CloudWatch user guide: EKS Container Insights metrics",
            ("cpu_utilization", "cpu", "percent", "node_cpu_utilization", "Average", ADD_ON),
            ("memory_utilization", "memory", "percent", "node_memory_utilization", "Average", ADD_ON),
            ("disk_utilization", "disk", "percent", "node_filesystem_utilization", "Average", ADD_ON),
            ("network_total", "network", "bytes/s", "node_network_total_bytes", "Average", ADD_ON),
        ),
        # Of the API server, from Kubernetes 1.28 on.
        *metric_rows(
            "eks:cluster", "AWS/EKS", "ClusterName", "EKS user guide: monitor cluster data with Amazon CloudWatch",
            ("request_rate", "traffic", "requests/s", "apiserver_request_total", "Sum"),
        ),
    ),
    price_parts=always("eks cluster"),
    price_queries={
        "eks cluster": lambda: PriceQuery("AmazonEKS", {"productFamily": "Compute"}, "AmazonEKS-Hours:perCluster")
    },
    bill_service=service_names.EKS,
    not_offered={
        "disk_io": "CloudWatch user guide: EKS Container Insights metrics",
        "response_time": "EKS user guide: monitor cluster data (of the API server the slowest hundredth, by verb)",
        "uptime": "EKS user guide: monitor cluster data with Amazon CloudWatch",
    },
)  # fmt: skip

NODE_GROUP = AwsKind(
    name="eks:nodegroup",
    resource_type=ResourceType.KUBERNETES,
    not_offered=dict.fromkeys(
        ("cpu", "memory", "disk_io", "network_io", "response_time", "uptime"),
        "EKS user guide: managed node groups (their machines are instances, and measured as such)",
    ),
)

KINDS = (CLUSTER, NODE_GROUP)
LISTINGS = (
    Listing(
        kind="eks:cluster",
        service="eks",
        id_key="name",
        actions="eks:ListClusters eks:DescribeCluster eks:ListNodegroups eks:DescribeNodegroup",
        items=_items,
        to_resource=_resource,
        probes=(
            lambda eks: eks.describe_cluster(name=NOBODY),
            lambda eks: eks.list_nodegroups(clusterName=NOBODY),
            lambda eks: eks.describe_nodegroup(clusterName=NOBODY, nodegroupName=NOBODY),
        ),
    ),
)
