"""ECS services, on Fargate and on the customer's own instances.

What Fargate charges follows from the size in a task definition, which is not listed; own instances are charged as such.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.model.inventory import Resource, ResourceType, Status
from optiinfra_dagster.providers.aws.kind import (
    NOBODY,
    AwsKind,
    Listing,
    Place,
    batches,
    described,
    dimensions,
    listed_names,
    made_at,
    metric_rows,
    status_of,
)
from optiinfra_dagster.providers.parsing import (
    Item,
    as_datetime,
    as_dicts,
    as_labels,
    as_number,
    as_text,
    facts,
    name_of,
)

if TYPE_CHECKING:
    from optiinfra_dagster.model.metrics import Metric

_PER_CALL = 10  # ECS API reference: DescribeServices


def _items(ecs: Any) -> Iterator[Item]:
    def services(cluster: str) -> Iterator[Item]:
        for names in batches(listed_names(ecs, "list_services", "serviceArns", cluster=cluster), _PER_CALL):
            answer = ecs.describe_services(cluster=cluster, services=names, include=["TAGS"])
            yield from as_dicts(answer.get("services"))

    failures: list[Exception] = []
    yield from described(listed_names(ecs, "list_clusters", "clusterArns"), services, failures)
    if failures:
        raise failures[0]


def _service(item: Item, place: Place) -> Resource:
    name, state = name_of(item, "serviceName"), as_text(item.get("status"))
    cluster = as_text(item.get("clusterArn")).rpartition("/")[2]
    providers = {as_text(one.get("capacityProvider")) for one in as_dicts(item.get("capacityProviderStrategy"))}
    created = as_datetime(item.get("createdAt"))
    return Resource(
        account_id=place.account_id,
        region=place.region,
        kind=SERVICE.name,
        resource_id=place.arn("ecs", f"service/{cluster}/{name}", listed=item.get("serviceArn")),
        resource_name=name,
        resource_type=SERVICE.resource_type,
        status=Status.TERMINATED if state == "INACTIVE" else status_of(state),
        cloud_status=state,
        created_at=created,
        instance_uid=made_at(created),
        capacity=as_number(item.get("desiredCount")),
        unit="tasks",
        tags=as_labels(item.get("tags")),
        metadata=facts(
            cluster=cluster,
            launch_type=as_text(item.get("launchType")) or ",".join(sorted(providers - {""})),
            running=as_number(item.get("runningCount")),
            task_definition=as_text(item.get("taskDefinition")).rpartition("/")[2],
            scheduling=item.get("schedulingStrategy"),
        ),
    )


def _dimensions(resource: Resource, _metric: Metric, name: str) -> list[dict[str, str]]:
    """Both names: the service's ARN ends with the cluster's and its own."""
    cluster, _, service = name.rpartition("/")
    return dimensions(ClusterName=cluster or str(resource.metadata.get("cluster") or ""), ServiceName=service)


_SOURCE = "ECS developer guide: CloudWatch metrics"
_INSIGHTS = f"{_SOURCE} (Container Insights, which the customer pays for, tells more)"

SERVICE = AwsKind(
    name="ecs:service",
    resource_type=ResourceType.SERVERLESS,
    metrics=metric_rows(
        "ecs:service", "AWS/ECS", "ServiceName", _SOURCE,
        ("cpu_utilization", "cpu", "percent", "CPUUtilization", "Average"),
        ("memory_utilization", "memory", "percent", "MemoryUtilization", "Average"),
    ),
    dimensions_of=_dimensions,
    bill_service="Amazon Elastic Container Service",
    not_offered={"network_io": _INSIGHTS, "response_time": f"{_SOURCE} (with Service Connect only)", "uptime": _SOURCE},
)  # fmt: skip

KINDS = (SERVICE,)
LISTINGS = (
    Listing(
        kind="ecs:service",
        service="ecs",
        id_key="serviceName",
        actions="ecs:ListClusters ecs:ListServices ecs:DescribeServices",
        items=_items,
        to_resource=_service,
        probes=(
            lambda ecs: ecs.list_services(cluster=NOBODY),
            lambda ecs: ecs.describe_services(cluster=NOBODY, services=[NOBODY]),
        ),
    ),
)
