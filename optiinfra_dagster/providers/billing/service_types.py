"""The types of the services on bills: a table for each vocabulary, and a lookup that gives the type of a charge.

A type is a `ResourceType`; a service that is of several types, or not listed, is `other`. Vultr's products name kinds
of resources as well, so their table is in `providers/vultr/billing.py`.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

from optiinfra_dagster.model.inventory import ResourceType

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

OTHER = "other"

# --- Cost Explorer ----------------------------------------------------------------------------------------------------

_COST_EXPLORER: Mapping[str, ResourceType] = {
    "Amazon Elastic Compute Cloud - Compute": ResourceType.COMPUTE,
    "Amazon Lightsail": ResourceType.COMPUTE,
    "AWS Lambda": ResourceType.COMPUTE,
    "Amazon Elastic Container Service": ResourceType.COMPUTE,
    "Amazon Elastic File System": ResourceType.VOLUME,
    "Amazon FSx": ResourceType.VOLUME,
    "Amazon Relational Database Service": ResourceType.DATABASE,
    "Amazon DynamoDB": ResourceType.DATABASE,
    "Amazon ElastiCache": ResourceType.DATABASE,
    "Amazon Redshift": ResourceType.DATABASE,
    "Amazon DocumentDB (with MongoDB compatibility)": ResourceType.DATABASE,
    "Amazon Neptune": ResourceType.DATABASE,
    "Amazon MemoryDB": ResourceType.DATABASE,
    "Amazon Elastic Load Balancing": ResourceType.LOAD_BALANCER,
    "Amazon Virtual Private Cloud": ResourceType.NETWORK,
    "Amazon Elastic Container Service for Kubernetes": ResourceType.KUBERNETES,
    "Amazon Elastic Kubernetes Service": ResourceType.KUBERNETES,
}


def of_cost_explorer(service: str) -> str:
    """The type of a service by its name in AWS' Cost Explorer."""
    return _COST_EXPLORER.get(service, OTHER)


# --- Cost Management --------------------------------------------------------------------------------------------------

_COST_MANAGEMENT: Mapping[str, ResourceType] = {
    **dict.fromkeys(("virtual machines", "virtual machines licenses"), ResourceType.COMPUTE),
    **dict.fromkeys(
        ("sql database", "sql managed instance", "redis cache", "azure cosmos db", "azure database for postgresql",
         "azure database for mysql", "azure database for mariadb"),
        ResourceType.DATABASE,
    ),
    **dict.fromkeys(("load balancer", "application gateway"), ResourceType.LOAD_BALANCER),
    **dict.fromkeys(
        ("virtual network", "nat gateway", "bandwidth", "vpn gateway", "expressroute", "network watcher", "azure dns"),
        ResourceType.NETWORK,
    ),
    "azure kubernetes service": ResourceType.KUBERNETES,
}  # fmt: skip


def of_cost_management(service: str, of_resource: str | None) -> str:
    """The type of a service by its name in Azure's Cost Management, in any case; else that of the charged resource."""
    return _COST_MANAGEMENT.get(service.lower()) or of_resource or OTHER


# --- Google Cloud -----------------------------------------------------------------------------------------------------

# A part of a service's name, in lower case. The first that is in it counts.
_GOOGLE: Sequence[tuple[str, ResourceType]] = (
    ("kubernetes", ResourceType.KUBERNETES),
    ("sql", ResourceType.DATABASE),
    ("memorystore", ResourceType.DATABASE),
    ("spanner", ResourceType.DATABASE),
    ("alloydb", ResourceType.DATABASE),
    ("bigtable", ResourceType.DATABASE),
    ("firestore", ResourceType.DATABASE),
    ("filestore", ResourceType.VOLUME),
    ("storage", ResourceType.VOLUME),
    ("load balancing", ResourceType.LOAD_BALANCER),
    ("network", ResourceType.NETWORK),
    ("dns", ResourceType.NETWORK),
    ("compute engine", ResourceType.COMPUTE),
)


def of_google(service: str) -> str:
    """The type of a service by its description in Google Cloud's billing export."""
    plain = service.lower()
    return next((of_type.value for part, of_type in _GOOGLE if part in plain), OTHER)


# --- Exports ----------------------------------------------------------------------------------------------------------

# The first that is found decides, in the service and its product family together: AmazonEC2 alone tells nothing, for
# volumes, addresses and gateways are billed under it.
_EXPORTS: Sequence[tuple[ResourceType, str]] = (
    (ResourceType.LOAD_BALANCER, "load.?balanc|application gateway"),
    (ResourceType.KUBERNETES, r"kubernetes|(\b|amazon)eks\b|\baks\b|\bgke\b"),
    (
        ResourceType.DATABASE,
        r"database|amazonrds|dynamodb|elasticache|redshift|docdb|neptune|\b(rds|sql)\b|mysql|postgre|mariadb|cosmos|redis",
    ),
    (ResourceType.VOLUME, r"storage|amazons3|amazonefs|\b(ebs|efs|disks?|volumes?|buckets?|filestore|file system)\b"),
    (
        ResourceType.NETWORK,
        r"network|bandwidth|data transfer|gateway|cloudfront|amazonvpc|private cloud|\b(vpc|vpn|dns|cdn|ip addr)",
    ),
    (ResourceType.COMPUTE, r"virtual machines?\b|compute engine|bare metal|cloud - compute$|\binstances?\b"),
)


@cache
def of_export(service: str, kind: str) -> str:
    """The type of a service of an export of any cloud; `kind` is its product family, where the export has one."""
    text = f"{kind} {service}"
    return next((of_type.value for of_type, pattern in _EXPORTS if re.search(pattern, text, re.IGNORECASE)), OTHER)
