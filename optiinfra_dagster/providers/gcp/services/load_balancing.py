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


def _read_forwarding_rule(data: Item, _place: Place) -> AssetFacts:
    word = as_text(data.get("pscConnectionStatus"))
    return AssetFacts(
        # The API tells no state, save of a connection to a service of others: while it is listed, it forwards.
        status={"": Status.RUNNING, "ACCEPTED": Status.RUNNING, "PENDING": Status.STARTING}.get(word, Status.ERROR),
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


def _without_requests(resource: Resource) -> str:
    """The reason why a load balancer counts no requests; "" for an Application Load Balancer, which has a proxy."""
    target = str(resource.metadata.get("target") or "")
    proxied = any(f"/{word}/" in target for word in ("targetHttpProxies", "targetHttpsProxies"))
    return "" if proxied else "only Application Load Balancers tell requests and response times"


def _published(metric: Metric, resource: Resource) -> Metric:
    """The metric under the names of the resource's own family (Cloud Load Balancing: metric paths by load balancer)."""
    scheme = resource.metadata.get("scheme")
    if scheme == "INTERNAL_MANAGED":
        family, path = "internal_http_lb_rule", "/https/internal/"
    elif scheme == "EXTERNAL_MANAGED" and resource.region != "global":
        family, path = "http_external_regional_lb_rule", "/https/external/regional/"
    else:
        return metric
    return replace(metric, namespace=family, api_metric=metric.api_metric.replace("/https/", path))


def _price_parts(resource: Resource) -> list[Component]:
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
    # Of global external Application Load Balancers; regional and internal ones have the same under other prefixes.
    metrics=(
        *metric_rows(
            "https_lb_rule", "forwarding_rule_name region", "loadbalancing.googleapis.com/https/",
            "Cloud Load Balancing: monitoring metrics",
            ("response_time", "latency", "seconds", "total_latencies",
             "REDUCE_PERCENTILE_50 REDUCE_PERCENTILE_95 REDUCE_PERCENTILE_99", 0.001, "", "http"),
            ("request_rate", "traffic", "requests/s", "request_count", "ALIGN_RATE", 1, "", "http"),
            ("network_in", "network", "bytes/s", "request_bytes_count", "ALIGN_RATE", 1, "", "http"),
            ("network_out", "network", "bytes/s", "response_bytes_count", "ALIGN_RATE", 1, "", "http"),
        ),
    ),
    conditions={"http": _without_requests},
    price_parts=_price_parts,
    skus=(
        Sku("forwarding rule", PRICES, "Cloud Load Balancer Forwarding Rule Minimum"),
        Sku("global forwarding rule", PRICES, "Cloud Load Balancer Forwarding Rule Minimum Global"),
    ),
    bill_service="Networking",
    silent_when_idle=True,  # Cloud Monitoring writes no point while nothing passes
)  # fmt: skip

KINDS = (FORWARDING_RULE,)
