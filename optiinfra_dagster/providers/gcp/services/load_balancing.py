"""Cloud Load Balancing: forwarding rules, the front ends of load balancers.

The first five forwarding rules of a region cost together what one does; each is taken to be the first, so many of them
cost less than the estimate.
"""

from __future__ import annotations

import re
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING

from optiinfra_dagster.model.cost import Component
from optiinfra_dagster.model.inventory import Resource, ResourceType, Status
from optiinfra_dagster.providers.gcp.kind import (
    BEFORE_IN,
    AssetFacts,
    GcpKind,
    Place,
    PriceService,
    Sku,
    digits,
    last_part,
    metric_rows,
    short_link,
)
from optiinfra_dagster.providers.parsing import Item, as_text, as_texts, facts

if TYPE_CHECKING:
    from optiinfra_dagster.model.metrics import Metric

# Of rules in a region, ` for <place>` follows; what is global has no place.
PRICES = PriceService("E505-1604-58F8", re.compile(rf".+ Forwarding Rule Minimum(?= for )|{BEFORE_IN.pattern}"))


# The API tells no state, save of a connection to a service of others: while it is listed, it forwards.
_STATUSES = {
    **dict.fromkeys(("", "ACCEPTED"), Status.RUNNING),
    "PENDING": Status.STARTING,
    **dict.fromkeys(("REJECTED", "CLOSED", "NEEDS_ATTENTION"), Status.ERROR),
}


def _read_forwarding_rule(data: Item, _place: Place) -> AssetFacts:
    word = as_text(data.get("pscConnectionStatus"))
    return AssetFacts(
        status=_STATUSES.get(word, Status.UNKNOWN),
        cloud_status=word,
        labels=data.get("labels"),
        metadata=facts(
            forwarding_rule_id=digits(data.get("id")),
            scheme=data.get("loadBalancingScheme"),
            protocol=data.get("IPProtocol"),
            ip_address=as_text(data.get("IPAddress")),
            ports=as_text(data.get("portRange")) or ",".join(as_texts(data.get("ports"))),
            network_tier=data.get("networkTier"),
            network=short_link(data.get("network")),
            subnetwork=short_link(data.get("subnetwork")),
            target=short_link(as_text(data.get("target")) or data.get("backendService")),
        ),
    )


_MESH = "INTERNAL_SELF_MANAGED"  # of Cloud Service Mesh: the customer's own proxies carry the traffic, not Google's
_APPLICATION = {"targetHttpProxies", "targetHttpsProxies"}  # targets of Application Load Balancers
_PROXIES = {"targetTcpProxies", "targetSslProxies"}  # of proxy Network Load Balancers
_BACKENDS = {"backendServices", "targetPools", "targetInstances"}  # of passthrough Network Load Balancers
_PASSED_THROUGH = "loadbalancing.googleapis.com/ExternalNetworkLoadBalancerRule"  # all protocols, TCP and UDP too


def _target(resource: Resource) -> str:
    """The collection that a rule's target is one of, such as `targetPools`; "" where it is not known."""
    return str(resource.metadata.get("target") or "").rpartition("/")[0].rpartition("/")[2]


def _scheme(resource: Resource) -> str:
    return str(resource.metadata.get("scheme") or "")


def _family(resource: Resource) -> tuple[str, str]:
    """The monitored resource of a rule, and the path of its metrics; both are "" for what is no load balancer.

    Source: Cloud Load Balancing, metrics (metric path prefixes by type of load balancer), as of 2026-04.
    """
    target, scheme = _target(resource), _scheme(resource)
    managed = scheme.endswith("_MANAGED")
    if scheme == _MESH:
        return "", ""
    if target in _APPLICATION:
        if scheme == "INTERNAL_MANAGED":
            return "internal_http_lb_rule", "https/internal/"
        if scheme == "EXTERNAL_MANAGED" and resource.region != "global":
            return "http_external_regional_lb_rule", "https/external/regional/"
        return "https_lb_rule", "https/"
    if target in _PROXIES:
        return ("l4_proxy_rule", "l4_proxy/") if managed else ("tcp_ssl_proxy_rule", "tcp_ssl_proxy/")
    if target in _BACKENDS and scheme == "INTERNAL":
        protocol = str(resource.metadata.get("protocol") or "")
        names = {"TCP": "internal_tcp_lb_rule", "UDP": "internal_udp_lb_rule"}
        return names.get(protocol, " ".join(names.values())), "l3/internal/"  # L3_DEFAULT forwards every protocol
    return (_PASSED_THROUGH, "l3/external/") if target in _BACKENDS else ("", "")


def _without_requests(resource: Resource) -> str:
    """The reason why a load balancer counts no requests; "" for an Application Load Balancer, which has a proxy."""
    proxied = _target(resource) in _APPLICATION and _scheme(resource) != _MESH
    return "" if proxied else "only Application Load Balancers tell requests and response times"


def _without_traffic(resource: Resource) -> str:
    """The reason why nobody counts a rule's bytes; "" for every load balancer."""
    leads_to = "a service mesh" if _scheme(resource) == _MESH else _target(resource) or "no target that it names"
    return "" if _family(resource)[0] else f"it is no load balancer: it forwards to {leads_to}"


_BYTES = {"request_bytes_count": "ingress_bytes_count", "response_bytes_count": "egress_bytes_count"}  # without a proxy


def _published(metric: Metric, resource: Resource) -> Metric:
    """The metric under the names of the resource's own family."""
    family, path = _family(resource)
    beginning, _, name = metric.api_metric.rpartition("/")
    name = name if path.startswith("https/") else _BYTES.get(name, name)
    return replace(metric, namespace=family, api_metric=f"{beginning.removesuffix('https')}{path}{name}")


def _price_parts(resource: Resource) -> list[Component]:
    """The rule of a load balancer; what leads to a VPN, a service of others or a mesh costs otherwise, or nothing."""
    if not _family(resource)[0]:
        return []
    return [Component(f"{'global ' if resource.region == 'global' else ''}forwarding rule", Decimal(1))]


FORWARDING_RULE = GcpKind(
    name="gcp:forwarding_rule",
    resource_type=ResourceType.LOAD_BALANCER,
    asset_types=("compute.googleapis.com/ForwardingRule", "compute.googleapis.com/GlobalForwardingRule"),
    read=_read_forwarding_rule,
    collection="forwardingRules",
    number="forwarding_rule_id",
    series_labels=lambda resource: (last_part(resource.resource_id), resource.region),
    published=_published,
    # Of global external Application Load Balancers; the others have the same under other prefixes, and those without
    # an HTTP proxy bytes alone.
    metrics=metric_rows(
        "https_lb_rule", "forwarding_rule_name region", "loadbalancing.googleapis.com/https/",
        "Cloud Load Balancing: monitoring metrics",
        ("response_time", "latency", "seconds", "total_latencies",
         "REDUCE_PERCENTILE_50 REDUCE_PERCENTILE_95 REDUCE_PERCENTILE_99", 0.001, "", "http"),
        ("request_rate", "traffic", "requests/s", "request_count", "ALIGN_RATE", 1, "", "http"),
        ("network_in", "network", "bytes/s", "request_bytes_count", "ALIGN_RATE", 1, "", "traffic"),
        ("network_out", "network", "bytes/s", "response_bytes_count", "ALIGN_RATE", 1, "", "traffic"),
    ),
    conditions={"http": _without_requests, "traffic": _without_traffic},
    not_offered=dict.fromkeys(("cpu", "memory", "uptime"), "Cloud Load Balancing: metrics"),
    price_parts=_price_parts,
    skus=(
        Sku("forwarding rule", PRICES, "Cloud Load Balancer Forwarding Rule Minimum"),
        Sku("global forwarding rule", PRICES, "Cloud Load Balancer Forwarding Rule Minimum Global"),
    ),
    bill_service="Networking",
    silent_when_idle=True,  # Cloud Monitoring writes no point while nothing passes
)  # fmt: skip

KINDS = (FORWARDING_RULE,)
