"""VPC networks, their subnetworks, and Cloud Routers with a NAT gateway."""

from __future__ import annotations

from collections.abc import Iterator

from optiinfra_dagster.lab.gcp.kind import (
    COMPUTE,
    REGIONS,
    SECRET,
    Child,
    LabAsset,
    Labels,
    LabKind,
    Shape,
    Shown,
    compute_head,
    in_project,
    link,
    published,
)


def _network(asset: LabAsset) -> Shown:
    """A VPC network."""
    return compute_head(asset, "network") | {
        "autoCreateSubnetworks": False,
        "subnetworks": [],
        "routingConfig": {"routingMode": "REGIONAL"},
        "mtu": 1460,
        "networkFirewallPolicyEnforcementOrder": "AFTER_CLASSIC_FIREWALL",
    }


def _subnetworks(asset: LabAsset) -> Iterator[Child]:
    """The subnetworks of a network: the first in the fleet's region, the others each in another."""
    region = asset.fleet.region
    first = REGIONS.index(region) if region in REGIONS else 0
    for i in range(asset.fleet.subnets):
        place = region if i == 0 else REGIONS[(first + i) % len(REGIONS)]
        yield Child("gcp:subnetwork", f"{asset.name}-{i + 1}", place)


NETWORK = LabKind(
    name="gcp:network",
    shapes=(Shape("compute.googleapis.com/Network", "compute", "global/networks/{name}"),),
    describe=_network,
    children=_subnetworks,
    is_global=True,
)


def _subnetwork(asset: LabAsset) -> Shown:
    """A subnetwork in one region."""
    owner = asset.parent or asset
    block = f"10.{owner.index % 256}.{16 * (asset.index % 16)}"
    return compute_head(asset, "subnetwork") | {
        "region": link(asset, f"regions/{asset.region}"),
        "network": f"{COMPUTE}/{owner.path}",
        "ipCidrRange": f"{block}.0/20",
        "gatewayAddress": f"{block}.1",
        "privateIpGoogleAccess": False,
        "purpose": "PRIVATE",
        "stackType": "IPV4_ONLY",
        "fingerprint": "83FGPSsB80g=",
    }


SUBNETWORK = LabKind(
    name="gcp:subnetwork",
    shapes=(Shape("compute.googleapis.com/Subnetwork", "compute", "regions/{region}/subnetworks/{name}"),),
    describe=_subnetwork,
    in_fleets=False,
)


def _router(asset: LabAsset) -> Shown:
    """A Cloud Router with a NAT gateway."""
    return compute_head(asset, "router") | {
        "region": link(asset, f"regions/{asset.region}"),
        "network": link(asset, "global/networks/default"),
        "nats": [{"name": SECRET, "natIpAllocateOption": "AUTO_ONLY", "type": "PUBLIC"}],
        "bgpPeers": [{"name": SECRET, "md5AuthenticationKeyName": SECRET}],
        "md5AuthenticationKeys": [{"name": SECRET, "key": SECRET}],
    }


def _gateways(_asset: LabAsset) -> list[Labels]:
    return [Labels({"ip_protocol": protocol}, {"gateway_name": "nat"}) for protocol in ("6", "17")]


ROUTER = LabKind(
    name="gcp:router",
    shapes=(Shape("compute.googleapis.com/Router", "compute", "regions/{region}/routers/{name}"),),
    describe=_router,
    metrics=published(
        "nat_gateway", "router.googleapis.com/nat/",
        ("received_bytes_count", "DELTA", "INT64", 1e3, 2e8, _gateways),
        ("sent_bytes_count", "DELTA", "INT64", 1e3, 2e8, _gateways),
    ),
    labels=lambda asset: in_project(asset) | {"router_id": asset.number, "region": asset.region},
)  # fmt: skip

KINDS = (NETWORK, SUBNETWORK, ROUTER)
