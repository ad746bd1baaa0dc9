"""Public IP addresses: static ones of the tier Standard cost the same by the hour, in use or not."""

from __future__ import annotations

from optiinfra_dagster.model.inventory import Resource, ResourceType, Status
from optiinfra_dagster.providers.azure.kind import (
    AzureKind,
    Facts,
    MetricRow,
    Parts,
    Row,
    arm_id,
    fact_text,
    price_part,
)
from optiinfra_dagster.providers.parsing import as_text, facts

_SERVICE = "Virtual Network"


def _read(row: Row) -> Facts:
    """An address; who holds it is named by the part of its id behind the holder's type: `.../loadBalancers/web/...`."""
    holder = arm_id(row.get("addressHolder"))
    attached_to = holder.partition("/providers/")[2].split("/")
    return Facts(
        word="",  # Azure tells no state
        silent=Status.IN_USE if holder else Status.AVAILABLE,
        metadata=facts(
            attached_to=attached_to[2] if len(attached_to) > 2 else holder,
            sku=row.get("size"),
            tier=row.get("tier"),
            allocation=row.get("allocation"),
            address_version=row.get("addressVersion"),
        ),
    )


def _held(resource: Resource) -> str:
    return "" if resource.metadata.get("attached_to") else "nothing has the address"


def _parts(resource: Resource) -> Parts:
    version = as_text(resource.metadata.get("address_version")).lower() or "ipv4"
    kind = (fact_text(resource, "sku").lower(), fact_text(resource, "tier").lower() or "regional")
    if kind == ("standard", "regional") and fact_text(resource, "allocation").lower() == "static" and version == "ipv4":
        yield price_part(_SERVICE, "IP Addresses", "Standard IPv4 Static Public IP")


KINDS = (
    AzureKind(
        name="azure:public_ip",
        azure_type="Microsoft.Network/publicIPAddresses",
        resource_type=ResourceType.ADDRESS,
        columns={
            "uid": ("properties.resourceGuid",),
            "size": ("sku.name",),
            "tier": ("sku.tier",),
            "allocation": ("properties.publicIPAllocationMethod",),
            "addressVersion": ("properties.publicIPAddressVersion",),
            "addressHolder": ("properties.ipConfiguration.id", "properties.natGateway.id"),
        },
        read=_read,
        metric_rows=(
            MetricRow("network_total", "network", "bytes/s", "ByteCount", "Total", "held"),
            # Availability is written as 0 to 100 although its unit is Count.
            MetricRow("uptime", "uptime", "percent", "VipAvailability", "Average", "held"),
        ),
        conditions={"held": _held},
        price_parts=_parts,
        bill_service=_SERVICE,
        attachable=True,
    ),
)
