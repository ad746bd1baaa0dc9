"""ECS services: all of a region in one cluster."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.lab.aws.kind import Dimensions, LabKind, LabMetric, Shown, describe, published
from optiinfra_dagster.lab.aws.listing import Answer, Operation, as_list, refuse_unknown
from optiinfra_dagster.lab.aws.wire import AwsError, Call

if TYPE_CHECKING:
    from optiinfra_dagster.lab.aws.estate import Estate, LabResource, Region

_CLUSTER, _PAGE, _PER_CALL = "apps", 100, 10


def _arn_of_cluster(resource: LabResource) -> str:
    return f"arn:aws:ecs:{resource.region}:{resource.account}:cluster/{_CLUSTER}"


def _service(resource: LabResource, _region: Region) -> Shown:
    fargate = resource.index % 2 == 0
    return {
        "serviceArn": resource.arn,
        "serviceName": resource.id,
        "clusterArn": _arn_of_cluster(resource),
        "status": resource.state or "ACTIVE",
        "desiredCount": resource.fleet.size or 2,
        "runningCount": resource.fleet.size or 2,
        "pendingCount": 0,
        "launchType": "FARGATE" if fargate else None,
        "capacityProviderStrategy": [] if fargate else [{"capacityProvider": "FARGATE_SPOT", "weight": 1, "base": 0}],
        "taskDefinition": f"arn:aws:ecs:{resource.region}:{resource.account}:task-definition/{resource.id}:7",
        "createdAt": resource.created,
        "schedulingStrategy": "REPLICA",
        "tags": [{"key": key, "value": value} for key, value in resource.tags.items()],
    }


def _dimensions_of(resource: LabResource, _metric: LabMetric) -> Dimensions:
    return ("ClusterName", _CLUSTER), ("ServiceName", resource.id)


SERVICE = LabKind(
    name="ecs:service",
    arn="ecs service/apps/{id}",
    describe=_service,
    metrics=published(
        "ServiceName", "AWS/ECS", 60, 1,
        ("CPUUtilization", "Percent", 1, 95),
        ("MemoryUtilization", "Percent", 5, 95),
    ),
    dimensions_of=_dimensions_of,
    by_use=("Amazon Elastic Container Service", "0.9"),
)  # fmt: skip


def _clusters(_estate: Estate, call: Call, region: Region) -> dict[str, Any]:
    refuse_unknown(call, {"maxResults", "nextToken"})
    return {"clusterArns": list(dict.fromkeys(_arn_of_cluster(one) for one in region.of("ecs:service")))}


def _in(call: Call, region: Region) -> list[LabResource]:
    services = [one for one in region.of("ecs:service") if call.params.get("cluster") == _arn_of_cluster(one)]
    if not services:
        raise AwsError(400, "ClusterNotFoundException", "Cluster not found.")
    return services


def _services(_estate: Estate, call: Call, region: Region) -> dict[str, Any]:
    refuse_unknown(call, {"cluster", "maxResults", "nextToken"})
    size = int(call.params.get("maxResults", 10))  # 10 where nothing is said
    if not 1 <= size <= _PAGE:
        raise AwsError(400, "InvalidParameterException", f"maxResults must be between 1 and {_PAGE}")
    start, services = int(call.params.get("nextToken") or 0), _in(call, region)
    more = {"nextToken": str(start + size)} if start + size < len(services) else {}
    return {"serviceArns": [one.arn for one in services[start : start + size]], **more}


def _described(_estate: Estate, call: Call, region: Region) -> dict[str, Any]:
    refuse_unknown(call, {"cluster", "services", "include"})
    wanted = as_list(call.params.get("services"))
    if not 1 <= len(wanted) <= _PER_CALL:
        raise AwsError(400, "InvalidParameterException", f"1 to {_PER_CALL} services are allowed")
    services = [describe(one, region) for one in _in(call, region) if one.arn in wanted]
    if "TAGS" not in as_list(call.params.get("include")):
        services = [{**one, "tags": []} for one in services]
    return {"services": services, "failures": []}


KINDS = (SERVICE,)
OPERATIONS: Mapping[Operation, Answer] = {
    ("ecs", "ListClusters"): _clusters,
    ("ecs", "ListServices"): _services,
    ("ecs", "DescribeServices"): _described,
}
