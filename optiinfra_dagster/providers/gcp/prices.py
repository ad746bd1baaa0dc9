"""What things cost on Google Cloud by its price list, per hour: the Cloud Billing Catalog.

The catalogue lists SKUs, whose descriptions are all that tells what they are: `RULES` says which one is meant. The
estimate is at list price, on demand or spot, without sustained-use and committed-use discounts, free tiers, traffic and
licences. Not priced, so without an estimate: machines of other families or with GPUs, Hyperdisk and extreme disks,
Cloud SQL of Enterprise Plus, of shared-core and legacy tiers and of SQL Server, Memorystore, Spanner, AlloyDB,
Filestore, Cloud NAT. Nodes of a cluster are instances of their own. The first five forwarding rules of a region cost
together what one does; each is taken to be the first, so many of them cost less than the estimate.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from optiinfra_dagster.errors import Cause, CloudError, ConfigError
from optiinfra_dagster.providers.billing import Component, Price, PriceList
from optiinfra_dagster.providers.gcp.client import open_project
from optiinfra_dagster.providers.types import Meter, Problem, Resource, Status

if TYPE_CHECKING:
    from optiinfra_dagster.customers import GcpAccount

API = "cloudbilling.googleapis.com"
COMPUTE, SQL, GKE = "6F81-5844-456A", "9662-B51E-5089", "CCD8-9BF1-090E"  # ids of services in the catalogue
_PAGE = 5000
_HOURS = 730  # of a month: https://cloud.google.com/compute/disks-image-pricing
_PLACES = Decimal("1e-15")

# --- What resources are made of ---------------------------------------------------------------------------------------

# Memory of a vCPU in GiB, by family and shape (Compute Engine's machine families guide).
_PER_CORE: Mapping[str, Mapping[str, str]] = {
    "n1": {"standard": "3.75", "highmem": "6.5", "highcpu": "0.9"},
    "n2": {"standard": "4", "highmem": "8", "highcpu": "1"},
    "n2d": {"standard": "4", "highmem": "8", "highcpu": "1"},
    "n4": {"standard": "4", "highmem": "8", "highcpu": "2"},
    "e2": {"standard": "4", "highmem": "8", "highcpu": "1"},
    "c2": {"standard": "4"},
    "c2d": {"standard": "4", "highmem": "8", "highcpu": "2"},
    "c3": {"standard": "4", "highmem": "8", "highcpu": "2"},
    "t2d": {"standard": "4"},
    "t2a": {"standard": "4"},
}
# Shared-core machines of E2 are billed for a part of a vCPU: cores and GiB.
_SHARED = {"e2-micro": ("0.25", "1"), "e2-small": ("0.5", "2"), "e2-medium": ("1", "4")}
_DISKS = {"pd-standard", "pd-balanced", "pd-ssd"}


def components(resource: Resource) -> list[Component]:
    """What a resource's price is made of; a stopped machine costs nothing but its disks, a stopped database its own."""
    running = resource.status not in {Status.STOPPED, Status.TERMINATED}
    match resource.kind:
        case "gcp:instance" if running:
            return _machine(resource)
        case "gcp:disk":
            disk, size = str(resource.metadata.get("volume_type")), resource.capacity
            regional = "regional " if resource.metadata.get("replica_zones") else ""
            return [Component(f"{regional}{disk} GiB", _decimal(size))] if size and disk in _DISKS else []
        case "gcp:sql_instance":
            return _database(resource, running=running)
        case "gcp:forwarding_rule":
            return [Component("forwarding rule", Decimal(1))]
        case "gcp:gke_cluster":
            autopilot = bool(resource.metadata.get("autopilot"))
            what = "autopilot" if autopilot else "zonal" if resource.metadata.get("zone") else "regional"
            return [Component(f"gke {what}", Decimal(1))]
    return []


def _machine(resource: Resource) -> list[Component]:
    machine, facts = str(resource.metadata.get("machine_type", "")), resource.metadata
    if facts.get("gpus"):
        return []
    family, _, rest = machine.partition("-")
    shape, _, count = rest.partition("-")
    custom = re.fullmatch(r"(?:(\w+)-)?custom-(\d+)-(\d+)", machine)
    kind = ""
    if machine in _SHARED:
        cores, memory = map(Decimal, _SHARED[machine])
    elif custom:
        family, cores, memory = custom[1] or "n1", Decimal(custom[2]), Decimal(custom[3]) / 1024
        kind = "" if family == "e2" else "custom "  # as dear as predefined ones
    elif count.isdigit() and shape in _PER_CORE.get(family, {}):
        cores, memory = Decimal(count), Decimal(count) * Decimal(_PER_CORE[family][shape])
    else:
        return []
    spot = " spot" if facts.get("provisioning_model") == "SPOT" or facts.get("preemptible") else ""
    return [Component(f"{family} {kind}core{spot}", cores), Component(f"{family} {kind}GiB RAM{spot}", memory)]


def _database(resource: Resource, *, running: bool) -> list[Component]:
    facts = resource.metadata
    engine = str(facts.get("engine", "")).partition("_")[0].lower()
    tier = re.fullmatch(r"db-custom-(\d+)-(\d+)", str(facts.get("class", "")))
    storage = {"PD_SSD": "ssd", "PD_HDD": "hdd"}.get(str(facts.get("storage_type") or "PD_SSD"))
    edition = facts.get("edition") in {None, "ENTERPRISE"}
    if engine not in {"postgres", "mysql"} or tier is None or storage is None or not edition:
        return []
    where = "regional" if facts.get("availability_type") == "REGIONAL" else "zonal"
    parts = [Component(f"{engine} {where} {storage} GiB", _decimal(resource.capacity))] if resource.capacity else []
    if running:
        parts.append(Component(f"{engine} {where} core", Decimal(tier[1])))
        parts.append(Component(f"{engine} {where} GiB RAM", Decimal(tier[2]) / 1024))
    return parts


def _decimal(value: float | None) -> Decimal:
    return Decimal(str(value or 0))


# --- Which SKU is meant -----------------------------------------------------------------------------------------------

_FAMILY_WORDS = {
    "n1": "N1 Predefined Instance", "n2": "N2 Instance", "n2d": "N2D AMD Instance", "n4": "N4 Instance",
    "e2": "E2 Instance", "c2": "Compute optimized", "c2d": "C2D AMD Instance", "c3": "C3 Instance",
    "t2d": "T2D AMD Instance", "t2a": "T2A Arm Instance",
}  # fmt: skip
_CUSTOM_WORDS = {"n1": "Custom Instance", "n2": "N2 Custom Instance", "n2d": "N2D AMD Custom Instance",
                 "n4": "N4 Custom Instance"}  # fmt: skip
_DISK_WORDS = {"pd-standard": "Storage PD", "pd-balanced": "Balanced PD", "pd-ssd": "SSD backed PD"}


def _rules() -> Iterator[tuple[str, str, str]]:
    """Each key, the service that has its SKU, and what the description begins with, before `in <place>`."""
    for words, custom in ((_FAMILY_WORDS, ""), (_CUSTOM_WORDS, "custom ")):
        for family, word in words.items():
            for part, name in (("core", "Core"), ("GiB RAM", "Ram")):
                yield f"{family} {custom}{part}", COMPUTE, f"{word} {name} running"
                yield f"{family} {custom}{part} spot", COMPUTE, f"Spot Preemptible {word} {name} running"
    for disk, word in _DISK_WORDS.items():
        yield f"{disk} GiB", COMPUTE, f"{word} Capacity"
        yield f"regional {disk} GiB", COMPUTE, f"Regional {word} Capacity"
    for engine, word in (("postgres", "PostgreSQL"), ("mysql", "MySQL")):
        for where in ("zonal", "regional"):
            parts = {"core": "vCPU", "GiB RAM": "RAM", "ssd GiB": "Standard storage", "hdd GiB": "Low cost storage"}
            for part, name in parts.items():
                yield f"{engine} {where} {part}", SQL, f"Cloud SQL for {word}: {where.capitalize()} - {name}"
    yield "forwarding rule", COMPUTE, "Network Load Balancing: Forwarding Rule Minimum Service Charge"
    yield "forwarding rule", COMPUTE, "Cloud Load Balancer Forwarding Rule Minimum Service Charge Global"
    for what in ("Zonal", "Regional", "Autopilot"):
        yield f"gke {what.lower()}", GKE, f"{what} Kubernetes Clusters"


RULES: Sequence[tuple[str, str, str]] = tuple(_rules())
_KEYS: Mapping[tuple[str, str], str] = {(service, text.lower()): key for key, service, text in RULES}


def fetch(
    _customer_id: str, accounts: Sequence[GcpAccount], wanted: Collection[tuple[str, str]], meter: Meter
) -> PriceList:
    """The list prices of what is wanted, by (region, key), in USD: the same for all, asked with the first account.

    Only the services that have a wanted key are listed; a key without a SKU has no price.
    """
    given = PriceList()
    keys = {key for _, key in wanted}
    services = sorted({service for key, service, _ in RULES if key in keys})
    for account in accounts[:1] if services else ():
        try:
            endpoint = account.endpoint()
            project = open_project(account, meter)
            plain = endpoint is not None and urlsplit(endpoint).scheme == "http"
            project = replace(
                project, endpoint=endpoint if plain and endpoint else f"https://{API}", api=API, role=_ROLE
            )
            query = {"pageSize": _PAGE, "currencyCode": "USD", "prettyPrint": "false"}
            for service in services:
                operation = f"skus.list of services/{service}"
                for page in project.listing(f"v1/services/{service}/skus", query, "skus", "ListSkus", operation, meter):
                    given.prices += [price for sku in page for price in _prices(service, sku) if _at(price) in wanted]
        except CloudError as error:
            given.problems.append(Problem(account.project_id, "", "", error.cause, str(error)))
        except ConfigError as error:
            given.problems.append(Problem(account.project_id, "", "", Cause.CONFIG, str(error)))
    return given


_ROLE = "nothing but a valid credential"  # the catalogue is public


def _at(price: Price) -> tuple[str, str]:
    return price.region, price.key


def _prices(service: str, sku: Mapping[str, Any]) -> Iterator[Price]:
    """The prices that a SKU tells, one for each region that it is for; none where no rule means it."""
    text = str(sku.get("description") or "")
    begin = re.split(r" in (?=[A-Z]|[a-z]+-)", text)[0]
    key = _KEYS.get((service, begin.lower()))
    usage = str((sku.get("category") or {}).get("usageType") or "")
    if key is None or usage != ("Preemptible" if key.endswith(" spot") else "OnDemand"):
        return
    expression = ((sku.get("pricingInfo") or [{}])[-1]).get("pricingExpression") or {}
    rates = expression.get("tieredRates") or []
    hours = {"h": 1, "GiBy.h": 1, "GiBy.mo": _HOURS}.get(str(expression.get("usageUnit")))
    if not rates or hours is None:
        return
    unit = max(rates, key=lambda rate: rate.get("startUsageAmount") or 0).get("unitPrice") or {}  # after the free tier
    usd = Decimal(str(unit.get("units") or 0)) + Decimal(int(unit.get("nanos") or 0)).scaleb(-9)
    for region in sku.get("serviceRegions") or ():
        yield Price(region, key, (usd / hours).quantize(_PLACES), str(unit.get("currencyCode") or "USD"), text)
