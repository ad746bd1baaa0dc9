"""DynamoDB tables. They are charged by use, or by provisioned capacity that is not estimated."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from optiinfra_dagster.model.inventory import Resource, ResourceType
from optiinfra_dagster.providers.aws.kind import (
    NOBODY,
    AwsKind,
    Listing,
    Place,
    described,
    listed_names,
    metric_rows,
    status_of,
)
from optiinfra_dagster.providers.parsing import (
    Item,
    as_datetime,
    as_dict,
    as_number,
    as_text,
    dig,
    facts,
    name_of,
)


def _items(dynamodb: Any) -> Iterator[Item]:
    def table(name: str) -> Iterator[Item]:
        yield as_dict(dynamodb.describe_table(TableName=name), "Table")

    failures: list[Exception] = []
    yield from described(listed_names(dynamodb, "list_tables", "TableNames"), table, failures)
    if failures:
        raise failures[0]


def _table(item: Item, place: Place) -> Resource:
    name, state = name_of(item, "TableName"), as_text(item.get("TableStatus"))
    throughput = as_dict(item, "ProvisionedThroughput")
    return Resource(
        account_id=place.account_id,
        region=place.region,
        kind=TABLE.name,
        resource_id=place.arn("dynamodb", f"table/{name}", listed=item.get("TableArn")),
        resource_name=name,
        resource_type=TABLE.resource_type,
        status=status_of(state),
        cloud_status=state,
        created_at=as_datetime(item.get("CreationDateTime")),
        instance_uid=as_text(item.get("TableId")),
        metadata=facts(
            engine="dynamodb",
            billing_mode=dig(item, "BillingModeSummary", "BillingMode"),
            table_class=dig(item, "TableClassSummary", "TableClass"),
            read_capacity_units=as_number(throughput.get("ReadCapacityUnits")),
            write_capacity_units=as_number(throughput.get("WriteCapacityUnits")),
        ),
    )


TABLE = AwsKind(
    name="dynamodb:table",
    resource_type=ResourceType.DATABASE,
    metrics=(
        *metric_rows(
            "dynamodb:table", "AWS/DynamoDB", "TableName", "DynamoDB developer guide: metrics and dimensions",
            ("read_capacity", "traffic", "units/s", "ConsumedReadCapacityUnits", "Sum"),
            ("write_capacity", "traffic", "units/s", "ConsumedWriteCapacityUnits", "Sum"),
        ),
        # Latency is told by operation only: those of single items stand for reads and writes.
        *metric_rows(
            "dynamodb:table", "AWS/DynamoDB", "TableName", "DynamoDB developer guide: metrics and dimensions",
            ("read_latency", "latency", "seconds", "SuccessfulRequestLatency", "Average"),
            scale=1e-3, narrowed_to="Operation=GetItem",
        ),
        *metric_rows(
            "dynamodb:table", "AWS/DynamoDB", "TableName", "DynamoDB developer guide: metrics and dimensions",
            ("write_latency", "latency", "seconds", "SuccessfulRequestLatency", "Average"),
            scale=1e-3, narrowed_to="Operation=PutItem",
        ),
    ),
    bill_service="Amazon DynamoDB",
    tagged_as="dynamodb:table",
    not_offered=dict.fromkeys(
        ("cpu", "memory", "disk_io", "network_io", "uptime"), "DynamoDB developer guide: metrics and dimensions"
    ),
)  # fmt: skip

KINDS = (TABLE,)
LISTINGS = (
    Listing(
        kind="dynamodb:table",
        service="dynamodb",
        id_key="TableName",
        actions="dynamodb:ListTables dynamodb:DescribeTable",
        items=_items,
        to_resource=_table,
        probes=(lambda dynamodb: dynamodb.describe_table(TableName=NOBODY),),
    ),
)
