"""Front Door, as profiles of today and in its classic form."""

from __future__ import annotations

from optiinfra_dagster.model.inventory import ResourceType, Status
from optiinfra_dagster.providers.azure.kind import AzureKind, Columns, Facts, Row, state_word
from optiinfra_dagster.providers.parsing import facts

_COLUMNS: Columns = {"state": ("properties.resourceState",), "size": ("sku.name",), "tier": ("sku.tier",)}


def _read(row: Row) -> Facts:
    return Facts(word=state_word(row), ready=Status.RUNNING, metadata=facts(sku=row.get("size"), tier=row.get("tier")))


KINDS = (
    AzureKind(
        name="azure:front_door",
        azure_type="Microsoft.Cdn/profiles",
        resource_type=ResourceType.LOAD_BALANCER,
        columns=_COLUMNS,
        read=_read,
    ),
    AzureKind(
        name="azure:front_door_classic",
        azure_type="Microsoft.Network/frontDoors",
        resource_type=ResourceType.LOAD_BALANCER,
        columns=_COLUMNS,
        read=_read,
    ),
)
