"""The services of the lab's AWS: a module for each, and what follows from all of them. One more is a module and a line.

The kinds have the product's names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from optiinfra_dagster.lab.aws.services import (
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
    tagging,
    vpc,
)

if TYPE_CHECKING:
    from optiinfra_dagster.lab.aws.kind import LabKind
    from optiinfra_dagster.lab.aws.listing import Answer, Operation


class _Service(Protocol):
    """A module of this folder."""

    @property
    def KINDS(self) -> tuple[LabKind, ...]:  # noqa: N802
        """Its kinds of resource."""
        ...

    @property
    def OPERATIONS(self) -> Mapping[Operation, Answer]:  # noqa: N802
        """The operations that show them."""
        ...


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
    tagging,
    s3,
    snapshots,
    lambdas,
    ecs,
    opensearch,
    memorydb,
    serverless_caches,
    fsx,
)

KINDS: Mapping[str, LabKind] = {kind.name: kind for service in _SERVICES for kind in service.KINDS}
"""The kinds of resource by name."""

OPERATIONS: Mapping[Operation, Answer] = {
    operation: answer for service in _SERVICES for operation, answer in service.OPERATIONS.items()
}
"""The operations of the inventory."""
