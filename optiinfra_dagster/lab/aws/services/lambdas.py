"""Lambda functions. Their listing has no tags and no time of creation, and a secret in each environment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from optiinfra_dagster.lab.aws.kind import PLANTED, LabKind, LabMetric, Shown, published
from optiinfra_dagster.lab.aws.listing import Answer, Listing, Operation

if TYPE_CHECKING:
    from optiinfra_dagster.lab.aws.estate import LabResource, Region


def _function(resource: LabResource, _region: Region) -> Shown:
    return {
        "FunctionName": resource.id,
        "FunctionArn": resource.arn,
        "Runtime": "python3.13",
        "Role": f"arn:aws:iam::{resource.account}:role/function",
        "Handler": "main.handler",
        "CodeSize": resource.seed % 10**7,
        "Timeout": 30,
        "MemorySize": resource.fleet.size or 512,
        "LastModified": resource.created.strftime("%Y-%m-%dT%H:%M:%S.000+0000"),
        "Version": "$LATEST",
        "Environment": {"Variables": {"TOKEN": PLANTED}},
        "PackageType": "Zip",
        "Architectures": ["arm64"],
        "EphemeralStorage": {"Size": 512},
        **({"State": resource.state} if resource.state else {}),
    }


def _as_published(resource: LabResource, metric: LabMetric) -> LabMetric | None:
    """Nothing of a function that is never called."""
    return None if resource.fleet.size == 128 else metric


FUNCTION = LabKind(
    name="lambda:function",
    arn="lambda function:{id}",
    describe=_function,
    metrics=published(
        "FunctionName", "AWS/Lambda", 60, 1,
        ("Duration", "Milliseconds", 3, 900, "wave", 60, 60),  # a sample per invocation
        ("Invocations", "Count", 1, 900, "count"),
        ("Errors", "Count", 0, 9, "count"),
    ),
    as_published=_as_published,
    tagged_as="lambda:function",
    by_use=("AWS Lambda", "0.3"),
)  # fmt: skip

KINDS = (FUNCTION,)
OPERATIONS: Mapping[Operation, Answer] = {("lambda", "ListFunctions"): Listing(("lambda:function",), 1, 50)}
