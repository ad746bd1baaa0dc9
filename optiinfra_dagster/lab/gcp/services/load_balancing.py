"""Cloud Load Balancing: forwarding rules, regional and global."""

from __future__ import annotations

from decimal import Decimal

from optiinfra_dagster.lab.gcp.kind import (
    SECRET,
    LabAsset,
    Labels,
    LabKind,
    LabMetric,
    Parts,
    Shape,
    Shown,
    compute_head,
    in_project,
    link,
    published,
    varied,
)
from optiinfra_dagster.lab.gcp.pricelist import HOUR, LabSku, PriceService, in_region

_PRICES = PriceService("E505-1604-58F8", before_place=" for ")
_REGIONAL = Shape("compute.googleapis.com/ForwardingRule", "compute", "regions/{region}/forwardingRules/{name}")
_GLOBAL = Shape("compute.googleapis.com/GlobalForwardingRule", "compute", "global/forwardingRules/{name}")


def _forwarding_rule(asset: LabAsset) -> Shown:
    """The front end of a load balancer."""
    everywhere = asset.shape is _GLOBAL
    shown = compute_head(asset, "forwardingRule") | {
        "IPAddress": f"34.96.{asset.seed >> 8 & 255}.{asset.seed & 255}",
        "IPProtocol": _protocol(asset),
        "portRange": "443-443",
        "loadBalancingScheme": _scheme(asset),
        "networkTier": "PREMIUM",
        "labels": asset.fleet.tags,
        "labelFingerprint": "42WmSpB8rSM=",
        "metadataFilters": [{"filterLabels": [{"name": SECRET, "value": SECRET}]}],
    }
    where = "global" if everywhere else f"regions/{asset.region}"
    if not everywhere:
        shown["region"] = link(asset, where)
    to = "backendService" if _target(asset) == "backendServices" else "target"
    shown[to] = link(asset, f"{where}/{_target(asset)}/{asset.name}-target")
    return shown


def _scheme(asset: LabAsset) -> str:
    return asset.fleet.type or ("EXTERNAL_MANAGED" if asset.shape is _GLOBAL else "EXTERNAL")


def _protocol(asset: LabAsset) -> str:
    return asset.fleet.engine if asset.fleet.engine in {"UDP", "L3_DEFAULT"} else "TCP"


def _target(asset: LabAsset) -> str:
    """Said of the fleet, a managed scheme means an Application Load Balancer; otherwise it is a passthrough one."""
    if asset.fleet.engine and asset.fleet.engine != _protocol(asset):
        return asset.fleet.engine
    if asset.shape is _GLOBAL or _scheme(asset).endswith("_MANAGED"):
        return "targetHttpsProxies"
    return "backendServices" if _scheme(asset) == "INTERNAL" else "targetPools"


def _traffic(_asset: LabAsset) -> list[Labels]:
    return [
        Labels({"response_code": code, "proxy_continent": continent}, {"url_map_name": "main"})
        for code in ("200", "502")
        for continent in ("America", "Europe")
    ]


def _flows(asset: LabAsset) -> list[Labels]:
    """The flows of an internal passthrough balancer, by protocol."""
    protocols = {"L3_DEFAULT": ("tcp", "udp"), "UDP": ("udp",)}.get(_protocol(asset), ("tcp",))
    return [
        Labels({"client_zone": f"{asset.region}-{letter}"}, {}, of=f"internal_{protocol}_lb_rule")
        for protocol in protocols
        for letter in "ab"
    ]


def _clients(asset: LabAsset) -> list[Labels]:
    """The flows of an external passthrough balancer: told once of all protocols, and TCP's and UDP's once more."""
    again = f"{_protocol(asset).lower()}_lb_rule"
    names = (_PASSED_THROUGH, again) if again in {"tcp_lb_rule", "udp_lb_rule"} else (_PASSED_THROUGH,)
    return [Labels({"client_continent": where}, {}, of=name) for name in names for where in ("America", "Europe")]


_PASSED_THROUGH = "loadbalancing.googleapis.com/ExternalNetworkLoadBalancerRule"


def _publishes(asset: LabAsset, metric: LabMetric) -> bool:
    """True for the family of the load balancer that a rule is the front end of."""
    scheme, path = _scheme(asset), metric.type.removeprefix("loadbalancing.googleapis.com/").rpartition("/")[0]
    match _target(asset):
        case "targetHttpProxies" | "targetHttpsProxies":
            of_scheme = {"INTERNAL_MANAGED": "https/internal", "EXTERNAL_MANAGED": "https/external/regional"}
            everywhere = asset.shape is _GLOBAL and scheme == "EXTERNAL_MANAGED"
            own = "https" if everywhere else of_scheme.get(scheme, "https")
        case "targetTcpProxies" | "targetSslProxies":
            own = "l4_proxy" if scheme.endswith("_MANAGED") else "tcp_ssl_proxy"
        case "backendServices" | "targetPools" | "targetInstances":
            own = "l3/internal" if scheme == "INTERNAL" else "l3/external"
        case _:
            own = ""  # a VPN gateway, or a service of others
    return path == own


_PREFIX = "loadbalancing.googleapis.com/https/"
_REQUESTS = (
    ("total_latencies", "DELTA", "DISTRIBUTION", 0, 4e3, _traffic),
    ("request_count", "DELTA", "INT64", 0, 9e3, _traffic),
    ("request_bytes_count", "DELTA", "INT64", 1e3, 9e6, _traffic),
    ("response_bytes_count", "DELTA", "INT64", 1e3, 9e7, _traffic),
)


def _bytes(resource: str, path: str, parts: Parts, delay: int) -> tuple[LabMetric, ...]:
    """What a load balancer without an HTTP proxy counts."""
    rows = (
        ("ingress_bytes_count", "DELTA", "INT64", 1e3, 9e6, parts),
        ("egress_bytes_count", "DELTA", "INT64", 1e3, 9e7, parts),
    )
    return published(resource, f"loadbalancing.googleapis.com/{path}", *rows, delay=delay)


FORWARDING_RULE = LabKind(
    name="gcp:forwarding_rule",
    shapes=(_REGIONAL, _GLOBAL),
    shape_of=lambda _fleet, region: _GLOBAL if region == "global" else _REGIONAL,
    describe=_forwarding_rule,
    metrics=(
        *published("https_lb_rule", _PREFIX, *_REQUESTS, delay=210),
        *published("http_external_regional_lb_rule", f"{_PREFIX}external/regional/", *_REQUESTS, delay=210),
        *published("internal_http_lb_rule", f"{_PREFIX}internal/", *_REQUESTS, delay=90),
        *_bytes("tcp_ssl_proxy_rule", "tcp_ssl_proxy/", varied("proxy_continent", "America", "Europe"), 210),
        *_bytes("l4_proxy_rule", "l4_proxy/", varied("client_country", "Germany", "Japan"), 210),
        *_bytes(f"{_PASSED_THROUGH} tcp_lb_rule udp_lb_rule", "l3/external/", _clients, 150),
        *_bytes("internal_tcp_lb_rule internal_udp_lb_rule", "l3/internal/", _flows, 150),
    ),
    labels=lambda asset: in_project(asset) | {"forwarding_rule_name": asset.name, "region": asset.region},
    publishes=_publishes,
    skus=(
        LabSku(_PRICES, "Cloud Load Balancer Forwarding Rule Minimum", HOUR, "0.025"),
        LabSku(_PRICES, "Cloud Load Balancer Forwarding Rule Additional", HOUR, "0.01"),
        LabSku(_PRICES, "Cloud Load Balancer Forwarding Rule Minimum Global", HOUR, "0.025", ("global",)),
        LabSku(_PRICES, "Cloud Load Balancer Forwarding Rule Additional Global", HOUR, "0.01", ("global",)),
    ),
    bill_service="Networking",
    hourly=lambda asset: Decimal("0.025") * (1 if asset.region == "global" else in_region(asset.region, "1")),
)

KINDS = (FORWARDING_RULE,)
