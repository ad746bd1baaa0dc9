"""The services of AWS: a module for each, and what follows from all of them. One more is a module and a line here.

No SDK is imported here.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Protocol

from optiinfra_dagster.config.customers import FAMILIES
from optiinfra_dagster.providers.aws.services import (
    addresses,
    dynamodb,
    ebs,
    ec2,
    ecs,
    efs,
    eks,
    elasticache,
    elb,
    fsx,
    lambdas,
    memorydb,
    opensearch,
    rds,
    redshift,
    s3,
    serverless_caches,
    snapshots,
    vpc,
)

if TYPE_CHECKING:
    from optiinfra_dagster.model.metrics import Metric
    from optiinfra_dagster.providers.aws.kind import AwsKind, Listing


class _Service(Protocol):
    """A module of this folder."""

    @property
    def KINDS(self) -> tuple[AwsKind, ...]:  # noqa: N802
        """The kinds of resource that its listings yield."""
        ...

    @property
    def LISTINGS(self) -> tuple[Listing, ...]:  # noqa: N802
        """Its listings."""
        ...


# The first listing is made alone, to try a credential, and in every region, to try whether that is enabled.
_SERVICES: tuple[_Service, ...] = (
    ec2,
    ebs,
    vpc,
    rds,
    elb,
    eks,
    elasticache,
    redshift,
    dynamodb,
    efs,
    addresses,
    s3,
    snapshots,
    lambdas,
    ecs,
    opensearch,
    memorydb,
    serverless_caches,
    fsx,
)

KINDS: Mapping[str, AwsKind] = {kind.name: kind for service in _SERVICES for kind in service.KINDS}
"""The kinds of resource by name."""

LISTINGS: tuple[Listing, ...] = tuple(listing for service in _SERVICES for listing in service.LISTINGS)
"""The listings of the inventory."""

METRICS: tuple[Metric, ...] = tuple(metric for kind in KINDS.values() for metric in kind.metrics)
"""The rows of the metric catalogue."""

_FAMILY_ACTIONS: Mapping[str, frozenset[str]] = {
    "resource": frozenset(
        {"ec2:DescribeRegions", "tag:GetResources"}.union(*(listing.actions.split() for listing in LISTINGS))
    ),
    "performance": frozenset({"cloudwatch:GetMetricData", "cloudwatch:ListMetrics"}),
    "cost": frozenset({"ce:GetCostAndUsage", "pricing:GetProducts"}),
}


def actions(families: Collection[str] = FAMILIES) -> tuple[str, ...]:
    """The IAM actions that the policy of the role has to allow for `families`, sorted.

    A Data Export takes s3:ListBucket and s3:GetObject on its bucket in place of ce:GetCostAndUsage.
    """
    return tuple(sorted({action for family in families for action in _FAMILY_ACTIONS.get(family, ())}))
