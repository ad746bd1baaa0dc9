"""VPC networks, their subnetworks, and Cloud Routers, of which Cloud NAT is a part. NAT's price is not modelled."""

from __future__ import annotations

from optiinfra_dagster.model.inventory import Resource, ResourceType, Status
from optiinfra_dagster.providers.gcp.kind import (
    AssetFacts,
    GcpKind,
    Place,
    by_fact,
    digits,
    length,
    metric_rows,
    short_link,
    status_of,
)
from optiinfra_dagster.providers.parsing import Item, addresses, as_bool, as_text, dig, facts, network

_SOURCE = "VPC: metrics (flows are those of machines)"
_FIGURES = ("network_io", "response_time", "uptime")


def _read_network(data: Item, _place: Place) -> AssetFacts:
    return AssetFacts(
        status=Status.AVAILABLE,  # the API tells no state
        metadata=facts(
            network_id=digits(data.get("id")),
            auto_create_subnetworks=as_bool(data.get("autoCreateSubnetworks")),
            routing_mode=dig(data, "routingConfig", "routingMode"),
            mtu=data.get("mtu"),
            cidr=network(data.get("IPv4Range")),  # of a legacy network
            subnetworks=length(data.get("subnetworks")),
            peerings=length(data.get("peerings")),
        ),
    )


NETWORK = GcpKind(
    name="gcp:network",
    resource_type=ResourceType.NETWORK,
    asset_types=("compute.googleapis.com/Network",),
    read=_read_network,
    collection="networks",
    number="network_id",
    not_offered=dict.fromkeys(_FIGURES, _SOURCE),
)


def _read_subnetwork(data: Item, _place: Place) -> AssetFacts:
    size, state = addresses(data.get("ipCidrRange")), as_text(data.get("state"))
    return AssetFacts(
        status=status_of(state) if state else Status.AVAILABLE,  # only proxy-only subnets have a state
        cloud_status=state,
        # Google keeps four addresses of every primary range for itself (VPC: subnets, unusable addresses).
        capacity=None if size is None else max(size - 4.0, 0.0),
        metadata=facts(
            subnetwork_id=digits(data.get("id")),
            cidr=network(data.get("ipCidrRange")),
            network=short_link(data.get("network")),
            purpose=data.get("purpose"),
            stack_type=data.get("stackType"),
            private_google_access=as_bool(data.get("privateIpGoogleAccess")),
            flow_logs=as_bool(data.get("enableFlowLogs")),
        ),
    )


SUBNETWORK = GcpKind(
    name="gcp:subnetwork",
    resource_type=ResourceType.NETWORK,
    asset_types=("compute.googleapis.com/Subnetwork",),
    read=_read_subnetwork,
    unit="addresses",
    collection="subnetworks",
    number="subnetwork_id",
    not_offered=dict.fromkeys(_FIGURES, _SOURCE),
)


def _read_router(data: Item, _place: Place) -> AssetFacts:
    return AssetFacts(
        status=Status.AVAILABLE,  # the API tells no state
        metadata=facts(
            router_id=digits(data.get("id")),
            network=short_link(data.get("network")),
            nat_gateways=length(data.get("nats")),
            bgp_peers=length(data.get("bgpPeers")),
        ),
    )


def _without_nat(resource: Resource) -> str:
    return "" if resource.metadata.get("nat_gateways") else "the router has no NAT gateway"


ROUTER = GcpKind(
    name="gcp:router",
    resource_type=ResourceType.NETWORK,
    asset_types=("compute.googleapis.com/Router",),
    read=_read_router,
    collection="routers",
    number="router_id",
    series_labels=by_fact("router_id"),
    metrics=metric_rows(
        "nat_gateway", "router_id", "router.googleapis.com/nat/", "Cloud NAT: logs and metrics",
        ("network_in", "network", "bytes/s", "received_bytes_count", "ALIGN_RATE", 1, "", "nat"),
        ("network_out", "network", "bytes/s", "sent_bytes_count", "ALIGN_RATE", 1, "", "nat"),
    ),
    conditions={"nat": _without_nat},
    not_offered={
        "response_time": "Cloud Router: metrics",
        "uptime": "Cloud Router: metrics (router_up counts the tasks of a router)",
    },
)  # fmt: skip

KINDS = (NETWORK, SUBNETWORK, ROUTER)
