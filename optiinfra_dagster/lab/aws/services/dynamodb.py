"""DynamoDB tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.lab.aws.kind import LabKind, Shown, published, tags_of
from optiinfra_dagster.lab.aws.listing import Answer, Listing, Operation, name_only, single
from optiinfra_dagster.lab.aws.wire import AwsError, Call

if TYPE_CHECKING:
    from optiinfra_dagster.lab.aws.estate import Estate, LabResource, Region

_MISSING = (400, "ResourceNotFoundException")


def _dynamodb_table(resource: LabResource, _region: Region) -> Shown:
    """A DynamoDB table. Its tags come from ListTagsOfResource."""
    return {
        "AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "S"}],
        "TableName": resource.id,
        "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}],
        "TableStatus": resource.state or "ACTIVE",
        "CreationDateTime": resource.created,
        "ProvisionedThroughput": {"NumberOfDecreasesToday": 0, "ReadCapacityUnits": 0, "WriteCapacityUnits": 0},
        "TableSizeBytes": resource.seed % 10**9,
        "ItemCount": resource.seed % 10**6,
        "TableArn": resource.arn,
        "TableId": resource.hexid("table", 32),
        "BillingModeSummary": {"BillingMode": "PAY_PER_REQUEST"},
        "DeletionProtectionEnabled": False,
    }


def _tags(_estate: Estate, call: Call, region: Region) -> dict[str, Any]:
    table = region.by_name.get(("dynamodb:table", str(call.params.get("ResourceArn"))))
    if table is None:
        raise AwsError(*_MISSING, "Requested resource not found")
    return {"Tags": tags_of(table)}


TABLE = LabKind(
    name="dynamodb:table",
    arn="dynamodb table/{id}",
    describe=_dynamodb_table,
    metrics=published(
        "TableName", "AWS/DynamoDB", 60, 1,
        ("ConsumedReadCapacityUnits", "Count", 0, 900, "count"),
        ("ConsumedWriteCapacityUnits", "Count", 0, 900, "count"),
        *((f"SuccessfulRequestLatency Operation={name}", "Milliseconds", 1, 40, "wave", 60, 60)
          for name in ("GetItem", "PutItem", "Query")),
    ),
    tagged_as="dynamodb:table",
    by_use=("Amazon DynamoDB", "1.4"),
)  # fmt: skip

KINDS = (TABLE,)
OPERATIONS: Mapping[Operation, Answer] = {
    ("dynamodb", "ListTables"): Listing(("dynamodb:table",), 1, 100, show=name_only),
    ("dynamodb", "DescribeTable"): single("dynamodb:table", "TableName", "Table", _MISSING),
    ("dynamodb", "ListTagsOfResource"): _tags,
}
