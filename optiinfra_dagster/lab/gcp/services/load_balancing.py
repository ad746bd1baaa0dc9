"""Cloud Load Balancing: forwarding rules, regional and global."""

from __future__ import annotations

from decimal import Decimal

from optiinfra_dagster.lab.gcp.kind import (
    SECRET,
    LabAsset,
    Labels,
    LabKind,
    LabMetric,
    Shape,
    Shown,
    compute_head,
    in_project,
    link,
    published,
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
        "IPProtocol": "TCP",
        "portRange": "443-443",
        "loadBalancingScheme": asset.fleet.type or "EXTERNAL_MANAGED",
        "networkTier": "PREMIUM",
        "labels": asset.fleet.tags,
        "labelFingerprint": "42WmSpB8rSM=",
        "metadataFilters": [{"filterLabels": [{"name": SECRET, "value": SECRET}]}],
    }
    if everywhere:
        shown["target"] = link(asset, f"global/targetHttpsProxies/{asset.name}-proxy")
    else:
        shown["region"] = link(asset, f"regions/{asset.region}")
        # Said of the fleet, a managed scheme means an Application Load Balancer; by default it is a network one.
        proxied = (asset.fleet.type or "").endswith("_MANAGED")
        target = f"targetHttpsProxies/{asset.name}-proxy" if proxied else f"targetPools/{asset.name}-pool"
        shown["target"] = link(asset, f"regions/{asset.region}/{target}")
    return shown


def _traffic(_asset: LabAsset) -> list[Labels]:
    return [
        Labels({"response_code": code, "proxy_continent": continent}, {"url_map_name": "main"})
        for code in ("200", "502")
        for continent in ("America", "Europe")
    ]


def _publishes(asset: LabAsset, metric: LabMetric) -> bool:
    """True for the family of an Application Load Balancer."""
    rule = _forwarding_rule(asset)
    if "/targetHttp" not in rule["target"]:
        return False
    if rule["loadBalancingScheme"] == "INTERNAL_MANAGED":
        return metric.resource == "internal_http_lb_rule"
    regional = asset.region != "global" and rule["loadBalancingScheme"] == "EXTERNAL_MANAGED"
    return metric.resource == ("http_external_regional_lb_rule" if regional else "https_lb_rule")


_PREFIX = "loadbalancing.googleapis.com/https/"
_REQUESTS = (
    ("total_latencies", "DELTA", "DISTRIBUTION", 0, 4e3, _traffic),
    ("request_count", "DELTA", "INT64", 0, 9e3, _traffic),
    ("request_bytes_count", "DELTA", "INT64", 1e3, 9e6, _traffic),
    ("response_bytes_count", "DELTA", "INT64", 1e3, 9e7, _traffic),
)

FORWARDING_RULE = LabKind(
    name="gcp:forwarding_rule",
    shapes=(_REGIONAL, _GLOBAL),
    shape_of=lambda _fleet, region: _GLOBAL if region == "global" else _REGIONAL,
    describe=_forwarding_rule,
    metrics=(
        *published("https_lb_rule", _PREFIX, *_REQUESTS, delay=210),
        *published("http_external_regional_lb_rule", f"{_PREFIX}external/regional/", *_REQUESTS, delay=210),
        *published("internal_http_lb_rule", f"{_PREFIX}internal/", *_REQUESTS, delay=90),
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
