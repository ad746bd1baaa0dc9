"""Serverless Inference: subscriptions, billed by tokens, so without a list price. They belong to no region."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optiinfra_dagster.model.inventory import Resource, ResourceType, Status
from optiinfra_dagster.providers.figures import Figure
from optiinfra_dagster.providers.vultr.kind import VultrKind, not_offered, resource

if TYPE_CHECKING:
    from optiinfra_dagster.providers.parsing import Item

_NAME = "vultr:inference"


def _read(item: Item, account_id: str) -> Resource:
    return resource(
        item,
        account_id,
        kind=_NAME,
        resource_type=ResourceType.SERVERLESS,
        status=Status.AVAILABLE,  # the API tells no state: while it is listed, it can be used
    )


KINDS = (
    VultrKind(
        name=_NAME,
        resource_type=ResourceType.SERVERLESS,
        operation="list-inference",
        path="inference",
        key="subscriptions",
        to_resource=_read,
        bill_words=("inference",),
        not_offered=not_offered(Figure.CPU, Figure.MEMORY, Figure.NETWORK_IO, Figure.RESPONSE_TIME, Figure.UPTIME),
    ),
)
