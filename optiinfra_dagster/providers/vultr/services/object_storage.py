"""Object Storage: subscriptions to a cluster, billed by use, so without a list price."""

from __future__ import annotations

from optiinfra_dagster.model.inventory import Resource, ResourceType, Status
from optiinfra_dagster.providers.figures import Figure
from optiinfra_dagster.providers.parsing import Item, as_text
from optiinfra_dagster.providers.vultr.kind import VultrKind, not_offered, resource, status_of

_NAME = "vultr:object_storage"


def _read(item: Item, account_id: str) -> Resource:
    state = as_text(item.get("status"))
    return resource(
        item,
        account_id,
        kind=_NAME,
        resource_type=ResourceType.OBJECT_STORAGE,
        state=state,
        status=status_of(state, active=Status.AVAILABLE),
        unit="GiB",  # it has no size of its own
        cluster=as_text(item.get("cluster_id")),
    )


KINDS = (
    VultrKind(
        name=_NAME,
        resource_type=ResourceType.OBJECT_STORAGE,
        operation="list-object-storages",
        path="object-storage",
        key="object_storages",
        permission="objstore",
        to_resource=_read,
        bill_words=("object storage",),
        not_offered=not_offered(Figure.NETWORK_IO, Figure.RESPONSE_TIME, Figure.UPTIME),
    ),
)
