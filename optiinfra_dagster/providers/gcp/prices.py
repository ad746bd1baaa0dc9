"""What things cost on Google Cloud by its price list, per hour: the Cloud Billing Catalog.

The catalogue lists SKUs, whose descriptions are all that tells what they are: `RULES` says which one is meant. The
estimate is at list price, on demand or spot, without sustained-use and committed-use discounts, free tiers, traffic and
licences. Not priced, so without an estimate: machines of other families or GPUs, Hyperdisk and extreme disks, Cloud SQL
of Enterprise Plus, of legacy tiers and of SQL Server, Redis clusters, Spanner, AlloyDB, Filestore, Cloud NAT. Nodes of
a cluster are instances of their own. The first five forwarding rules of a region cost together what one does; each is
taken to be the first, so many of them cost less than the estimate.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from itertools import product
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from optiinfra_dagster.model.cost import Component, Price, PriceList
from optiinfra_dagster.model.errors import Cause, CloudError, ConfigError
from optiinfra_dagster.model.inventory import Resource, Status
from optiinfra_dagster.model.problems import Problem
from optiinfra_dagster.providers.gcp.client import open_project

if TYPE_CHECKING:
    from optiinfra_dagster.model.meter import Meter
    from optiinfra_dagster.providers.gcp.account import GcpAccount

API = "cloudbilling.googleapis.com"
# Ids of services in the catalogue.
COMPUTE, SQL, GKE = "6F81-5844-456A", "9662-B51E-5089", "CCD8-9BF1-090E"
NETWORKING, REDIS = "E505-1604-58F8", "5AF5-2C11-D467"
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
    "c3d": {"standard": "4", "highmem": "8", "highcpu": "2"},
    "g2": {"standard": "4"},
    "t2d": {"standard": "4"},
    "t2a": {"standard": "4"},
}
# Cores and GiB of machines whose name does not tell: shared-core ones of E2 are billed for a part of a vCPU.
_NAMED = {
    "e2-micro": ("0.25", "1"), "e2-small": ("0.5", "2"), "e2-medium": ("1", "4"),
    "a2-highgpu-1g": ("12", "85"), "a2-highgpu-2g": ("24", "170"), "a2-highgpu-4g": ("48", "340"),
    "a2-highgpu-8g": ("96", "680"), "a2-megagpu-16g": ("96", "1360"),
}  # fmt: skip
_WITH_GPUS = {"a2", "g2"}  # families all of whose machines have some
_GPUS = {
    "nvidia-tesla-a100": "Nvidia Tesla A100 GPU", "nvidia-tesla-p100": "Nvidia Tesla P100 GPU",
    "nvidia-tesla-p4": "Nvidia Tesla P4 GPU", "nvidia-tesla-t4": "Nvidia Tesla T4 GPU",
    "nvidia-tesla-v100": "Nvidia Tesla V100 GPU", "nvidia-l4": "Nvidia L4 GPU",
}  # fmt: skip
_DISKS = {"pd-standard", "pd-balanced", "pd-ssd"}
_SQL_SHARED = {"db-f1-micro": "micro", "db-g1-small": "small"}
# The largest GiB of each class of Redis: https://cloud.google.com/memorystore/docs/redis/pricing
_REDIS_CLASSES = (("m1", 4), ("m2", 10), ("m3", 35), ("m4", 100), ("m5", 300))


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
        case "gcp:redis_instance":
            return _redis(resource)
        case "gcp:forwarding_rule":
            return [Component(f"{'global ' if resource.region == 'global' else ''}forwarding rule", Decimal(1))]
        case "gcp:gke_cluster":
            autopilot = bool(resource.metadata.get("autopilot"))
            what = "autopilot" if autopilot else "zonal" if resource.metadata.get("zone") else "regional"
            return [Component(f"gke {what}", Decimal(1))]
    return []


def _machine(resource: Resource) -> list[Component]:
    machine, facts = str(resource.metadata.get("machine_type", "")), resource.metadata
    family, _, rest = machine.partition("-")
    shape, _, count = rest.partition("-")
    custom = re.fullmatch(r"(?:(\w+)-)?custom-(\d+)-(\d+)", machine)
    kind = ""
    gpus, gpu = facts.get("gpus"), str(facts.get("gpu_type"))
    if (gpus and gpu not in _GPUS) or (family in _WITH_GPUS and not gpus):
        return []
    if machine in _NAMED:
        cores, memory = map(Decimal, _NAMED[machine])
    elif custom:
        family, cores, memory = custom[1] or "n1", Decimal(custom[2]), Decimal(custom[3]) / 1024
        kind = "" if family == "e2" else "custom "  # as dear as predefined ones
    elif count.isdigit() and shape in _PER_CORE.get(family, {}):
        cores, memory = Decimal(count), Decimal(count) * Decimal(_PER_CORE[family][shape])
    else:
        return []
    spot = " spot" if facts.get("provisioning_model") == "SPOT" or facts.get("preemptible") else ""
    parts = [Component(f"{family} {kind}core{spot}", cores), Component(f"{family} {kind}GiB RAM{spot}", memory)]
    return [*parts, Component(f"{gpu} gpu{spot}", Decimal(str(gpus)))] if gpus else parts


def _database(resource: Resource, *, running: bool) -> list[Component]:
    facts = resource.metadata
    engine = str(facts.get("engine", "")).partition("_")[0].lower()
    shared = _SQL_SHARED.get(str(facts.get("class")))
    tier = re.fullmatch(r"db-custom-(\d+)-(\d+)", str(facts.get("class", "")))
    storage = {"PD_SSD": "ssd", "PD_HDD": "hdd"}.get(str(facts.get("storage_type") or "PD_SSD"))
    edition = facts.get("edition") in {None, "ENTERPRISE"}
    if engine not in _ENGINES or not (tier or shared) or storage is None or not edition:
        return []
    where = "regional" if facts.get("availability_type") == "REGIONAL" else "zonal"
    parts = [Component(f"{engine} {where} {storage} GiB", _decimal(resource.capacity))] if resource.capacity else []
    if running and shared:
        parts.append(Component(f"{engine} {where} {shared}", Decimal(1)))
    elif running and tier:
        parts.append(Component(f"{engine} {where} core", Decimal(tier[1])))
        parts.append(Component(f"{engine} {where} GiB RAM", Decimal(tier[2]) / 1024))
    return parts


def _redis(resource: Resource) -> list[Component]:
    """By the GiB that are provisioned; with several replicas to read from, for each node."""
    tier = {"BASIC": "basic", "STANDARD_HA": "standard"}.get(str(resource.metadata.get("class")))
    size, replicas = resource.capacity or 0, resource.metadata.get("replicas")
    of_size = next((name for name, most in _REDIS_CLASSES if size <= most), None)
    if tier is None or not size or of_size is None:
        return []
    if isinstance(replicas, int | float) and replicas > 1:
        return [Component(f"redis node {of_size} GiB", _decimal(size * (1 + replicas)))]
    return [Component(f"redis {tier} {of_size} GiB", _decimal(size))]


def _decimal(value: float | None) -> Decimal:
    return Decimal(str(value or 0))


# What the billing export calls the service that charges for a kind.
SERVICES: Mapping[str, str] = {
    "gcp:instance": "Compute Engine",
    "gcp:disk": "Compute Engine",
    "gcp:sql_instance": "Cloud SQL",
    "gcp:redis_instance": "Cloud Memorystore for Redis",
    "gcp:forwarding_rule": "Networking",
    "gcp:gke_cluster": "Kubernetes Engine",
}

# --- Which SKU is meant -----------------------------------------------------------------------------------------------

_FAMILY_WORDS = {
    "n1": "N1 Predefined Instance", "n2": "N2 Instance", "n2d": "N2D AMD Instance", "n4": "N4 Instance",
    "e2": "E2 Instance", "c2": "Compute optimized", "c2d": "C2D AMD Instance", "c3": "C3 Instance",
    "c3d": "C3D Instance", "t2d": "T2D AMD Instance", "t2a": "T2A Arm Instance", "a2": "A2 Instance",
    "g2": "G2 Instance",
}  # fmt: skip
_CUSTOM_WORDS = {"n1": "Custom Instance", "n2": "N2 Custom Instance", "n2d": "N2D AMD Custom Instance",
                 "n4": "N4 Custom Instance"}  # fmt: skip
_ENGINES = {"postgres": "PostgreSQL", "mysql": "MySQL"}
_SQL_PARTS = {
    "core": "vCPU", "GiB RAM": "RAM", "micro": "Micro instance", "small": "Small instance",
    "ssd GiB": "Standard storage", "hdd GiB": "Low cost storage",
}  # fmt: skip
_REDIS_WORDS = {"basic": "Capacity Basic", "standard": "Capacity Standard", "node": "Standard Node Capacity"}
_DISK_WORDS = {"pd-standard": "Storage PD", "pd-balanced": "Balanced PD", "pd-ssd": "SSD backed PD"}


def _rules() -> Iterator[tuple[str, str, str]]:
    """Each key, the service that has its SKU, and what the description begins with, before the place."""
    families = [(*one, "") for one in _FAMILY_WORDS.items()] + [(*one, "custom ") for one in _CUSTOM_WORDS.items()]
    for (family, word, custom), (part, name) in product(families, (("core", "Core"), ("GiB RAM", "Ram"))):
        yield f"{family} {custom}{part}", COMPUTE, f"{word} {name} running"
        yield f"{family} {custom}{part} spot", COMPUTE, f"Spot Preemptible {word} {name} running"
    for gpu, word in _GPUS.items():
        yield f"{gpu} gpu", COMPUTE, f"{word} running"
        yield f"{gpu} gpu spot", COMPUTE, f"{word} attached to Spot Preemptible VMs running"
    for disk, word in _DISK_WORDS.items():
        yield f"{disk} GiB", COMPUTE, f"{word} Capacity"
        yield f"regional {disk} GiB", COMPUTE, f"Regional {word} Capacity"
    for (engine, word), where, (part, name) in product(_ENGINES.items(), ("Zonal", "Regional"), _SQL_PARTS.items()):
        yield f"{engine} {where.lower()} {part}", SQL, f"Cloud SQL for {word}: {where} - {name}"
    for (of_size, _), (tier, name) in product(_REDIS_CLASSES, _REDIS_WORDS.items()):
        yield f"redis {tier} {of_size} GiB", REDIS, f"Redis {name} {of_size}"
    yield "forwarding rule", NETWORKING, "Cloud Load Balancer Forwarding Rule Minimum"
    yield "global forwarding rule", NETWORKING, "Cloud Load Balancer Forwarding Rule Minimum Global"
    for what in ("Zonal", "Regional", "Autopilot"):
        yield f"gke {what.lower()}", GKE, f"{what} Kubernetes Clusters"


RULES: Sequence[tuple[str, str, str]] = tuple(_rules())
_KEYS: Mapping[tuple[str, str], str] = {(service, text.lower()): key for key, service, text in RULES}
# A place follows `in`; of Redis it follows as it is, of load balancers `for`.
_BEGINNING = re.compile(
    r"Redis (?:Capacity \w+|Standard Node Capacity) M\d"
    r"|.+ Forwarding Rule Minimum(?= for )"
    r"|.+?(?= in (?:[A-Z]|[a-z]+-)|$)"
)


def fetch(
    _customer_id: str, accounts: Sequence[GcpAccount], wanted: Collection[tuple[str, str]], meter: Meter
) -> PriceList:
    """The list prices of what is wanted, by (region, key), in USD: the same for all, asked with the first account.

    Only the services that have a wanted key are listed; a key without a SKU has no price. What is listed as `global` is
    the price everywhere.
    """
    given = PriceList()
    keys = {key for _, key in wanted}
    places = {*wanted, *(("", key) for key in keys)}
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
                    given.prices += [price for sku in page for price in prices_of(service, sku) if _at(price) in places]
        except CloudError as error:
            given.problems.append(Problem(account.project_id, "", "", error.cause, str(error)))
        except ConfigError as error:
            given.problems.append(Problem(account.project_id, "", "", Cause.CONFIG, str(error)))
    return given


_ROLE = "nothing but a valid credential"  # the catalogue is public


def _at(price: Price) -> tuple[str, str]:
    return price.region, price.key


def prices_of(service: str, sku: Mapping[str, Any]) -> Iterator[Price]:
    """The prices that a SKU tells, one for each region that it is for; none where no rule means it."""
    text = str(sku.get("description") or "")
    begin = _BEGINNING.match(text)
    key = _KEYS.get((service, begin[0].lower())) if begin else None
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
        yield Price(
            "" if region == "global" else region,
            key,
            (usd / hours).quantize(_PLACES),
            str(unit.get("currencyCode") or "USD"),
            text,
        )
