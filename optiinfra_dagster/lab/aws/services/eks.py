"""EKS clusters and their node groups."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.lab.aws.kind import FREE, PLANTED, LabKind, LabMetric, Row, Shown, published, subnet_of
from optiinfra_dagster.lab.aws.listing import Answer, Listing, Operation, name_only, single
from optiinfra_dagster.lab.aws.wire import AwsError, Call

if TYPE_CHECKING:
    from optiinfra_dagster.lab.aws.estate import Estate, LabResource, Region

_HOUR_USD = Decimal("0.10")
_MISSING = (404, "ResourceNotFoundException")


def _eks_cluster(resource: LabResource, region: Region) -> Shown:
    """An EKS cluster."""
    place, network = subnet_of(resource, region)
    return {
        "name": resource.id,
        "arn": resource.arn,
        "createdAt": resource.created,
        "version": resource.fleet.engine or "1.31",
        "endpoint": f"https://{resource.hexid('endpoint', 32).upper()}.gr7.{resource.region}.eks.amazonaws.com",
        "roleArn": f"arn:aws:iam::{resource.account}:role/eks-cluster",
        "resourcesVpcConfig": {
            "subnetIds": [place],
            "securityGroupIds": [],
            "clusterSecurityGroupId": "sg-" + resource.hexid("group"),
            "vpcId": network,
            "endpointPublicAccess": True,
            "endpointPrivateAccess": True,
            "publicAccessCidrs": ["0.0.0.0/0"],
        },
        "kubernetesNetworkConfig": {"serviceIpv4Cidr": "172.20.0.0/16", "ipFamily": "ipv4"},
        "logging": {"clusterLogging": [{"types": ["api", "audit"], "enabled": False}]},
        "identity": {
            "oidc": {"issuer": f"https://oidc.eks.{resource.region}.amazonaws.com/id/{resource.hexid('oidc', 32)}"}
        },
        "status": resource.state or "ACTIVE",
        "certificateAuthority": {"data": PLANTED},
        "platformVersion": "eks.12",
        "tags": resource.tags,
        "health": {"issues": []},
        "accessConfig": {"authenticationMode": "API"},
        "upgradePolicy": {"supportType": "EXTENDED"},
    }


def _nodegroup(resource: LabResource, region: Region) -> Shown:
    """A managed node group of an EKS cluster."""
    owner = resource.parent or resource
    place, _ = subnet_of(resource, region)
    size = resource.fleet.size or 2
    return {
        "nodegroupName": resource.name,
        "nodegroupArn": resource.arn,
        "clusterName": owner.id,
        "version": owner.fleet.engine or "1.31",
        "releaseVersion": "1.31.0-20241109",
        "createdAt": owner.created + timedelta(minutes=15),
        "modifiedAt": owner.created + timedelta(days=2),
        "status": "ACTIVE",
        "capacityType": "ON_DEMAND",
        "scalingConfig": {"minSize": 1, "maxSize": 2 * size, "desiredSize": size},
        "instanceTypes": [resource.fleet.type or "m6i.large"],
        "subnets": [place],
        "amiType": "AL2023_x86_64_STANDARD",
        "nodeRole": f"arn:aws:iam::{resource.account}:role/eks-nodes",
        "diskSize": 20,
        "health": {"issues": []},
        "updateConfig": {"maxUnavailable": 1},
        "tags": resource.tags,
    }


def _as_published(resource: LabResource, metric: LabMetric) -> LabMetric | None:
    """The add-on's metrics take the add-on; those of the control plane do not."""
    return None if metric.namespace == "ContainerInsights" and not resource.fleet.agent else metric


def _products(_resource: LabResource, _shown: Shown) -> Iterator[Row]:
    yield "Compute", {}, "AmazonEKS-Hours:perCluster", "Hours", _HOUR_USD
    yield "Compute", {}, "AmazonEKS-Hours:extendedSupport", "Hours", _HOUR_USD * 6


def _id_of_node_group(name: str | None, digits: str, parent: LabResource | None) -> str:
    unique = f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-8000-{digits[:12]}"
    return f"{parent.name if parent else ''}/{name}/{unique}"


CLUSTER = LabKind(
    name="eks:cluster",
    arn="eks cluster/{id}",
    describe=_eks_cluster,
    children=(("eks:nodegroup", lambda fleet: fleet.nodegroups),),
    metrics=(
        *published(
            "ClusterName", "ContainerInsights", 60, 1,
            ("node_cpu_utilization", "Percent", 2, 90),
            ("node_memory_utilization", "Percent", 10, 85),
            ("node_filesystem_utilization", "Percent", 5, 95),
            ("node_network_total_bytes", "Bytes/Second", 1e3, 9e7),
        ),
        *published(
            "ClusterName", "AWS/EKS", 60, 1,
            ("apiserver_request_total", "Count", 10, 9e4, "count"),
        ),
    ),
    as_published=_as_published,
    price_list="AmazonEKS",
    products=_products,
    bill_service="Amazon Elastic Container Service for Kubernetes",
    rate=lambda _resource, _region: (_HOUR_USD, FREE),
)  # fmt: skip

NODE_GROUP = LabKind(
    name="eks:nodegroup",
    arn="eks nodegroup/{id}",
    describe=_nodegroup,
    identify=_id_of_node_group,
    in_fleets=False,
    name_of_child=lambda cluster, index: f"{cluster.name}-nodes-{index}",
)

KINDS = (CLUSTER, NODE_GROUP)


def _node_groups(_estate: Estate, call: Call, region: Region) -> dict[str, Any]:
    owner = region.by_name.get(("eks:cluster", str(call.params.get("name"))))
    if owner is None:
        raise AwsError(*_MISSING, f"No cluster found for name: {call.params.get('name')}.")
    return {"nodegroups": [str(group.name) for group in region.children.get(owner, [])]}


OPERATIONS: Mapping[Operation, Answer] = {
    ("eks", "ListClusters"): Listing(("eks:cluster",), 1, 100, show=name_only),
    ("eks", "DescribeCluster"): single("eks:cluster", "name", "cluster", _MISSING),
    ("eks", "ListNodegroups"): _node_groups,
    ("eks", "DescribeNodegroup"): single("eks:nodegroup", "nodegroupName", "nodegroup", _MISSING),
}
