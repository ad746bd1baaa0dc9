"""The types of the services on bills, in each vocabulary, for charges whose resource is not known to the inventory.

A type is a `ResourceType`; a service that is of several types, or not listed, is `other`. A kind names the service that
charges for it, so only other services are listed here. Vultr's products are words that name kinds as well, so their
table is in `providers/vultr/bill_lines.py`.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

from optiinfra_dagster.model.inventory import ResourceType
from optiinfra_dagster.providers.billing import service_names

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from optiinfra_dagster.providers.kind import Kind

OTHER = "other"

# --- Cost Explorer and Cost Management --------------------------------------------------------------------------------

COST_EXPLORER: Mapping[str, ResourceType | None] = {
    "amazon elastic compute cloud - compute": ResourceType.COMPUTE,  # of EC2's kinds, instances only
    "amazon lightsail": ResourceType.COMPUTE,
    "amazon virtual private cloud": None,  # of addresses, and of endpoints and VPN connections as well
    "amazon documentdb (with mongodb compatibility)": ResourceType.DATABASE,
    "amazon neptune": ResourceType.DATABASE,
}
"""AWS' services that charge for no kind, or for other things too (None), by their names in Cost Explorer."""

COST_MANAGEMENT: Mapping[str, ResourceType | None] = {
    "virtual machines licenses": ResourceType.COMPUTE,
    "virtual network": None,  # of addresses, and of peerings and private links as well
    "storage": None,  # of disks, and of blobs, files and queues as well
    **dict.fromkeys(
        ("sql managed instance", "azure cosmos db", "azure database for mariadb"),
        ResourceType.DATABASE,
    ),
    **dict.fromkeys(
        ("bandwidth", "vpn gateway", "expressroute", "network watcher", "azure dns"),
        ResourceType.NETWORK,
    ),
}
"""Azure's services that charge for no kind, or for other things too (None), by their names in Cost Management."""


def of_kinds(kinds: Iterable[Kind], others: Mapping[str, ResourceType | None]) -> Mapping[str, ResourceType]:
    """The type of each service of a cloud, by the service's name on the bill in lower case.

    It is that of the kinds that the service charges for; a service whose kinds are of several types is left out.

    Args:
        kinds: of the cloud.
        others: the services that charge for no kind, and None for those that charge for other things too.
    """
    types: dict[str, set[ResourceType]] = {}
    for kind in kinds:
        if kind.bill_service:
            types.setdefault(kind.bill_service.lower(), set()).add(kind.resource_type)
    of_one_type = {service: min(several) for service, several in types.items() if len(several) == 1}
    return {service: of_type for service, of_type in (of_one_type | dict(others)).items() if of_type is not None}


def of_service(types: Mapping[str, ResourceType], service: str) -> str:
    """The type of a service, by what a bill calls it, or else by its one name."""
    of_type = types.get(service.lower()) or types.get(service_names.canonical(service).lower())
    return of_type.value if of_type else OTHER


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
    ("cloud storage", ResourceType.OBJECT_STORAGE),
    ("storage", ResourceType.VOLUME),
    ("cloud run", ResourceType.SERVERLESS),
    ("functions", ResourceType.SERVERLESS),
    ("app engine", ResourceType.SERVERLESS),
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
        r"database|amazonrds|dynamodb|elasticache|redshift|docdb|documentdb|neptune|memorydb|\b(rds|sql)\b|mysql|postgre|mariadb|cosmos|redis",
    ),
    (ResourceType.SNAPSHOT, "snapshot"),
    (
        ResourceType.OBJECT_STORAGE,
        r"amazons3|simple storage service|cloud storage|object storage|\bblobs?\b|\bbuckets?\b",
    ),
    (
        ResourceType.SERVERLESS,
        r"lambda|fargate|cloud run\b|app engine|app service|container apps|\bfunctions\b",
    ),
    (ResourceType.VOLUME, r"storage|amazonefs|\b(ebs|efs|disks?|volumes?|filestore|file system)\b"),
    (ResourceType.ADDRESS, r"\bip addr|public ipv4"),
    (
        ResourceType.NETWORK,
        r"network|bandwidth|data transfer|gateway|cloudfront|amazonvpc|private cloud|\b(vpc|vpn|dns|cdn)\b",
    ),
    (ResourceType.COMPUTE, r"virtual machines?\b|compute engine|bare metal|cloud - compute$|\binstances?\b"),
)


@cache
def of_export(service: str, kind: str) -> str:
    """The type of a service of an export of any cloud; `kind` is its product family, where the export has one."""
    text = f"{kind} {service}"
    return next((of_type.value for of_type, pattern in _EXPORTS if re.search(pattern, text, re.IGNORECASE)), OTHER)
