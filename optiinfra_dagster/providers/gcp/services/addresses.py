"""Compute Engine: addresses that were reserved. External ones cost while nothing uses them; internal ones are free."""

from __future__ import annotations

from decimal import Decimal

from optiinfra_dagster.model.cost import Component
from optiinfra_dagster.model.inventory import Resource, ResourceType, Status
from optiinfra_dagster.providers.gcp.kind import AssetFacts, GcpKind, Place, Sku, digits, last_part
from optiinfra_dagster.providers.gcp.services import compute
from optiinfra_dagster.providers.parsing import Item, as_text, as_texts, facts

_STATUSES = {"RESERVED": Status.AVAILABLE, "RESERVING": Status.STARTING, "IN_USE": Status.IN_USE}


def _read_address(data: Item, _place: Place) -> AssetFacts:
    state, kind = as_text(data.get("status")), as_text(data.get("addressType")) or "EXTERNAL"
    users = [last_part(user) for user in as_texts(data.get("users"))]
    # An internal address is its network's, in use or not.
    network = last_part(data.get("subnetwork")) or last_part(data.get("network")) or "its network"
    attached_to = users or ([network] if kind != "EXTERNAL" else [])
    return AssetFacts(
        status=_STATUSES.get(state.upper(), Status.UNKNOWN),
        cloud_status=state,
        labels=data.get("labels"),
        metadata=facts(
            address_id=digits(data.get("id")),
            address_type=kind,
            network_tier=data.get("networkTier"),
            purpose=data.get("purpose"),
            attached_to=",".join(sorted(attached_to)),
        ),
    )


def _price_parts(resource: Resource) -> list[Component]:
    """An external address that nothing uses; one in use is a part of what uses it."""
    idle = resource.status is Status.AVAILABLE and not resource.metadata.get("attached_to")
    return [Component("idle address", Decimal(1))] if idle else []


ADDRESS = GcpKind(
    name="gcp:address",
    resource_type=ResourceType.ADDRESS,
    asset_types=("compute.googleapis.com/Address", "compute.googleapis.com/GlobalAddress"),
    read=_read_address,
    collection="addresses",
    number="address_id",
    price_parts=_price_parts,
    skus=(Sku("idle address", compute.PRICES, "Static Ip Charge"),),
    bill_service=compute.BILL_SERVICE,
    attachable=True,
    not_offered=dict.fromkeys(("network_io", "uptime"), "Cloud Monitoring: Google Cloud metrics, compute"),
)

KINDS = (ADDRESS,)
