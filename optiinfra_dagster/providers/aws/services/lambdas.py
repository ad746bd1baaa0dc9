"""Lambda functions. They are charged by requests and by the time that they run, which is not estimated."""

from __future__ import annotations

from optiinfra_dagster.model.inventory import Resource, ResourceType, Status
from optiinfra_dagster.providers.aws.kind import AwsKind, Listing, Place, metric_rows, paged, status_of
from optiinfra_dagster.providers.parsing import Item, as_number, as_text, as_texts, dig, facts, name_of


def _function(item: Item, place: Place) -> Resource:
    """A function. The listing tells a state only of those that are not plainly active, and no time of creation."""
    name, state = name_of(item, "FunctionName"), as_text(item.get("State"))
    return Resource(
        account_id=place.account_id,
        region=place.region,
        kind=FUNCTION.name,
        resource_id=place.arn("lambda", f"function:{name}", listed=item.get("FunctionArn")),
        resource_name=name,
        resource_type=FUNCTION.resource_type,
        status=status_of(state) if state else Status.AVAILABLE,
        cloud_status=state,
        capacity=as_number(item.get("MemorySize")),
        unit="MiB",
        metadata=facts(
            runtime=item.get("Runtime"),
            package_type=item.get("PackageType"),
            architecture=",".join(as_texts(item.get("Architectures"))),
            timeout_seconds=as_number(item.get("Timeout")),
            vpc_id=dig(item, "VpcConfig", "VpcId"),
            ephemeral_storage_mib=as_number(dig(item, "EphemeralStorage", "Size")),
        ),
    )


_SOURCE = "Lambda developer guide: types of metrics for Lambda functions"
_INSIGHTS = f"{_SOURCE} (Lambda Insights, a layer of the customer's, tells more)"

FUNCTION = AwsKind(
    name="lambda:function",
    resource_type=ResourceType.SERVERLESS,
    metrics=(
        *metric_rows(
            "lambda:function", "AWS/Lambda", "FunctionName", _SOURCE,
            ("response_time", "latency", "seconds", "Duration", "Average p50 p95 p99"), scale=1e-3,
        ),
        *metric_rows(
            "lambda:function", "AWS/Lambda", "FunctionName", _SOURCE,
            ("request_rate", "traffic", "requests/s", "Invocations", "Sum"),
            ("error_rate", "traffic", "requests/s", "Errors", "Sum"),
        ),
    ),
    bill_service="AWS Lambda",
    tagged_as="lambda:function",
    silent_when_idle=True,  # CloudWatch has no point of a minute without an invocation
    not_offered={"cpu": _INSIGHTS, "memory": _INSIGHTS, "network_io": _INSIGHTS, "uptime": _SOURCE},
)  # fmt: skip

KINDS = (FUNCTION,)
LISTINGS = (
    Listing(
        kind="lambda:function",
        service="lambda",
        id_key="FunctionName",
        actions="lambda:ListFunctions",
        items=paged("list_functions", 50, "Functions"),
        to_resource=_function,
    ),
)
