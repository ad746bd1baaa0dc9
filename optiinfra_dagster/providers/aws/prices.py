"""What AWS resources cost by its price list: on-demand prices by the hour, before discounts, tax and anything by use.

What is charged by use (capacity units of load balancers, requests, transfer, Aurora storage, DynamoDB, EFS) has no
estimate, and neither have spot instances, which have no list price, and Aurora Serverless. Fields of the price list:
https://docs.aws.amazon.com/awsaccountbilling/latest/aboutv2/using-price-list-query-api.html
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.model.cost import Component, Price, PriceList
from optiinfra_dagster.model.errors import Cause, CloudError, ConfigError
from optiinfra_dagster.model.inventory import Resource, Status
from optiinfra_dagster.model.problems import Problem
from optiinfra_dagster.providers.aws.client import Account, open_account

if TYPE_CHECKING:
    from optiinfra_dagster.model.meter import Meter
    from optiinfra_dagster.providers.aws.account import AwsAccount

# The one region of a partition that serves its price list here; GovCloud's is served to other partitions only.
_ENDPOINTS = {"aws": "us-east-1", "aws-cn": "cn-northwest-1"}
_MONTH_HOURS = 730  # by which AWS itself turns a price by the month into one by the hour
_LAST_DIGIT = Decimal("1e-18")
_AT_ONCE = 4
_SECONDS = 120.0

# --- What a resource consists of --------------------------------------------------------------------------------------

# PlatformDetails of an instance -> word in our keys and operatingSystem of the price list.
_SYSTEMS = {
    "": ("linux", "Linux"),
    "Linux/UNIX": ("linux", "Linux"),
    "Windows": ("windows", "Windows"),
    "windows": ("windows", "Windows"),
    "Red Hat Enterprise Linux": ("rhel", "RHEL"),
    "SUSE Linux": ("suse", "SUSE"),
}
_OPERATING_SYSTEMS = dict(_SYSTEMS.values())

# Engine of RDS -> databaseEngine and databaseEdition of the price list.
_ENGINES = {
    "postgres": ("PostgreSQL", ""),
    "mysql": ("MySQL", ""),
    "mariadb": ("MariaDB", ""),
    "aurora-postgresql": ("Aurora PostgreSQL", ""),
    "aurora-mysql": ("Aurora MySQL", ""),
    "sqlserver-ex": ("SQL Server", "Express"),
    "sqlserver-web": ("SQL Server", "Web"),
    "sqlserver-se": ("SQL Server", "Standard"),
    "sqlserver-ee": ("SQL Server", "Enterprise"),
    "oracle-se2": ("Oracle", "Standard Two"),
    "oracle-ee": ("Oracle", "Enterprise"),
}
_LICENSES = {"license-included": "License included", "bring-your-own-license": "Bring your own license"}
_DEPLOYMENTS = {"single-az": "Single-AZ", "multi-az": "Multi-AZ"}
_DB_VOLUMES = {
    "gp3": "General Purpose-GP3",
    "gp2": "General Purpose",
    "io1": "Provisioned IOPS",
    "standard": "Magnetic",
}
_CACHES = {"redis": "Redis", "valkey": "Valkey", "memcached": "Memcached"}
_BALANCERS = {"application": "-Application", "network": "-Network", "gateway": "-Gateway", "classic": ""}

_INCLUDED = {"gp3 IOPS": 3000, "gp3 MiB/s": 125}  # in the price by GiB


def components(resource: Resource) -> list[Component]:
    """What has a price by the hour of a resource; nothing for what is free, stopped, or charged by use alone."""
    parts = _PARTS.get(resource.kind)
    if parts is None or resource.status in {Status.TERMINATED, Status.STARTING, Status.ERROR}:
        return []
    return [Component(key, Decimal(str(quantity))) for key, quantity in parts(resource) if quantity > 0]


Parts = Iterator[tuple[str, float]]


def _word(resource: Resource, name: str) -> str:
    return str(resource.metadata.get(name) or "")


def _number(resource: Resource, name: str) -> float:
    value = resource.metadata.get(name)
    return float(value) if isinstance(value, int | float) else 0.0


def _instance(resource: Resource) -> Parts:
    kind, system = _word(resource, "instance_type"), _SYSTEMS.get(_word(resource, "platform"))
    tenancy = _word(resource, "tenancy") or "default"
    bought_otherwise = _word(resource, "lifecycle") or tenancy == "host"  # spot, or the host is what is paid
    if resource.status is Status.RUNNING and kind and system and not bought_otherwise:
        yield f"{kind} {system[0]}" + (" dedicated" if tenancy == "dedicated" else ""), 1


def _volume(resource: Resource) -> Parts:
    kind = _word(resource, "volume_type")
    if not kind or not resource.capacity:
        return
    yield f"{kind} GiB", resource.capacity
    provisioned = {"IOPS": "iops", "MiB/s": "throughput_mib_s"} if kind == "gp3" else {}
    for unit, name in (provisioned or ({"IOPS": "iops"} if kind in {"io1", "io2"} else {})).items():
        yield f"{kind} {unit}", _number(resource, name) - _INCLUDED.get(f"{kind} {unit}", 0)


def _database(resource: Resource) -> Parts:
    kind, engine = _word(resource, "class"), _word(resource, "engine")
    engine = "aurora-mysql" if engine == "aurora" else engine
    if engine not in _ENGINES:
        return
    aurora = engine.startswith("aurora")
    deployment = "multi-az" if resource.metadata.get("multi_az") and not aurora else "single-az"
    if kind and kind != "db.serverless" and resource.status is not Status.STOPPED:
        licence = _word(resource, "license_model")
        bought = f" {licence}" if licence in _LICENSES and _ENGINES[engine][1] else ""
        yield f"{kind} {engine}{bought} {deployment}", 1
    volume = _word(resource, "storage_type")
    if resource.capacity and volume in _DB_VOLUMES and not aurora:
        yield f"rds {volume} GiB {engine} {deployment}", resource.capacity


def _nodes(what: str) -> Callable[[Resource], Parts]:
    def parts(resource: Resource) -> Parts:
        kind = _word(resource, "class")
        if kind and resource.status is not Status.STOPPED:
            yield f"{kind} {what or _word(resource, 'engine')}", resource.capacity or 0

    return parts


def _one(key: str) -> Callable[[Resource], Parts]:
    return lambda _resource: iter([(key, 1)])


_PARTS: Mapping[str, Callable[[Resource], Parts]] = {
    "ec2:instance": _instance,
    "ebs:volume": _volume,
    "ec2:nat_gateway": _one("nat gateway"),
    "rds:db": _database,
    "elb:classic": _one("classic load balancer"),
    **{f"elbv2:{kind}": _one(f"{kind} load balancer") for kind in ("application", "network", "gateway")},
    "eks:cluster": _one("eks cluster"),
    "elasticache:cluster": _nodes(""),
    "redshift:cluster": _nodes("redshift"),
}

# What Cost Explorer calls the service that charges for a kind; exports have words of their own.
SERVICES: Mapping[str, str] = {
    "ec2:instance": "Amazon Elastic Compute Cloud - Compute",
    "ebs:volume": "EC2 - Other",
    "ec2:nat_gateway": "EC2 - Other",
    "rds:db": "Amazon Relational Database Service",
    "eks:cluster": "Amazon Elastic Container Service for Kubernetes",
    "elasticache:cluster": "Amazon ElastiCache",
    "redshift:cluster": "Amazon Redshift",
    **dict.fromkeys((kind for kind in _PARTS if kind.startswith("elb")), "Amazon Elastic Load Balancing"),
}

# --- What is asked ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Question:
    """A service of the price list, filters, and the end of the usage type that tells the wanted product from others."""

    service: str
    filters: Mapping[str, str]
    usage: str


def _ask_instance(kind: str, system: str, tenancy: str | None) -> _Question:
    filters = {
        "instanceType": kind,
        "operatingSystem": _OPERATING_SYSTEMS[system],
        "tenancy": "Dedicated" if tenancy else "Shared",
        "preInstalledSw": "NA",
        "capacitystatus": "Used",
        "licenseModel": "No License required",
    }
    return _Question("AmazonEC2", filters, r"(BoxUsage|DedicatedUsage)(:.*)?")


def _ask_volume(kind: str, unit: str) -> _Question:
    if unit == "GiB":
        return _Question("AmazonEC2", {"productFamily": "Storage", "volumeApiName": kind}, r"VolumeUsage(\..*)?")
    family = "System Operation" if unit == "IOPS" else "Provisioned Throughput"
    code = "piops" if kind == "io1" else kind
    what = "IOPS" if unit == "IOPS" else "Throughput"
    return _Question("AmazonEC2", {"productFamily": family, "volumeApiName": kind}, rf"VolumeP-{what}\.{code}")


def _of_engine(engine: str, deployment: str) -> dict[str, str]:
    name, edition = _ENGINES[engine]
    more = {"databaseEdition": edition} if edition else {}
    return {"databaseEngine": name, "deploymentOption": _DEPLOYMENTS[deployment], **more}


def _ask_database(kind: str, engine: str, licence: str | None, deployment: str) -> _Question:
    bought = {"licenseModel": _LICENSES[licence]} if licence else {}
    filters = {"productFamily": "Database Instance", "instanceType": kind, **bought, **_of_engine(engine, deployment)}
    return _Question("AmazonRDS", filters, r"(InstanceUsage|Multi-AZUsage):.*")  # not InstanceUsageIOOptimized


def _ask_database_volume(kind: str, engine: str, deployment: str) -> _Question:
    filters = {"productFamily": "Database Storage", "volumeType": _DB_VOLUMES[kind], **_of_engine(engine, deployment)}
    return _Question("AmazonRDS", filters, r"RDS:.*Storage.*")


def _ask_balancer(kind: str) -> _Question:
    return _Question("AWSELB", {"productFamily": f"Load Balancer{_BALANCERS[kind]}"}, "LoadBalancerUsage")


def _ask_cache(kind: str, engine: str) -> _Question:
    filters = {"instanceType": kind, "cacheEngine": _CACHES.get(engine, engine)}
    return _Question("AmazonElastiCache", filters, r"NodeUsage:.*")


_QUESTIONS: Sequence[tuple[str, Callable[..., _Question]]] = (
    (r"(db\.\S+) (\S+?)(?: (license-included|bring-your-own-license))? (single-az|multi-az)", _ask_database),
    (r"rds (\S+) GiB (\S+) (single-az|multi-az)", _ask_database_volume),
    (r"(\S+) load balancer", _ask_balancer),
    (r"nat gateway", lambda: _Question("AmazonEC2", {"productFamily": "NAT Gateway"}, "NatGateway-Hours")),
    (r"eks cluster", lambda: _Question("AmazonEKS", {"productFamily": "Compute"}, "AmazonEKS-Hours:perCluster")),
    (r"(cache\.\S+) (\S+)", _ask_cache),
    (r"(\S+) redshift", lambda kind: _Question("AmazonRedshift", {"instanceType": kind}, r"Node:.*")),
    (r"(\S+) (GiB|IOPS|MiB/s)", _ask_volume),
    (r"(\S+\.\S+) (\S+)( dedicated)?", _ask_instance),
)


def _question(key: str) -> _Question | None:
    for pattern, ask in _QUESTIONS:
        if match := re.fullmatch(pattern, key):
            return ask(*match.groups())
    return None


def fetch(
    customer_id: str, accounts: Sequence[AwsAccount], wanted: Collection[tuple[str, str]], meter: Meter
) -> PriceList:
    """The list prices of what is wanted, as (region, key): a call for each, free of charge, by one of the accounts.

    What the list has no price for is left out. The price list is the same for all; the first account that may read it
    is enough.
    """
    problems: list[Problem] = []
    for config in accounts:
        try:
            account = open_account(customer_id, config, meter)
            endpoint = _ENDPOINTS.get(account.partition)
            return PriceList() if endpoint is None else _ask_all(account, endpoint, sorted(wanted), meter)
        except CloudError as error:
            problems.append(Problem(config.account_id, "", "", error.cause, str(error)))
        except ConfigError as error:
            problems.append(Problem(config.account_id, "", "", Cause.CONFIG, str(error)))
    return PriceList(problems=problems)


def _ask_all(account: Account, endpoint: str, wanted: Sequence[tuple[str, str]], meter: Meter) -> PriceList:
    """Ask for each; the first alone, so that an account that may not costs one call. CloudError if it may not."""
    until = time.monotonic() + _SECONDS

    def ask(place: tuple[str, str]) -> Price | CloudError | None:
        question = _question(place[1])
        if question is None:
            return None
        try:
            with account.call("pricing", endpoint, meter, until=until) as pricing:
                return _cheapest(pricing, question, *place)
        except CloudError as error:
            return error

    first = ask(wanted[0]) if wanted else None
    if isinstance(first, CloudError) and first.cause.permanent:
        raise first
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="aws-prices") as pool:
        found = [first, *pool.map(ask, wanted[1:])]
    failures = dict.fromkeys((one.cause, str(one)) for one in found if isinstance(one, CloudError))
    return PriceList(
        [one for one in found if isinstance(one, Price)],
        [Problem(account.account_id, endpoint, "", cause, message) for cause, message in failures],
    )


def _cheapest(pricing: Any, question: _Question, region: str, key: str) -> Price | None:
    """The price of the product that the question finds; of several, the lowest. None where there is none."""
    fields = {"regionCode": region, **question.filters}
    filters = [{"Type": "TERM_MATCH", "Field": field, "Value": value} for field, value in fields.items()]
    pages = pricing.get_paginator("get_products").paginate(
        ServiceCode=question.service, Filters=filters, PaginationConfig={"PageSize": 100}
    )
    usage = re.compile(rf"(?:.*[-:])?{question.usage}")
    found = [
        price
        for page in pages
        for text in page.get("PriceList") or ()
        for price in _prices(json.loads(text), usage, region, key)
    ]
    return min(found, key=lambda price: price.hourly, default=None)


def _prices(item: Any, usage: re.Pattern[str], region: str, key: str) -> Iterator[Price]:
    """The on-demand prices of a product, by the hour; of a price in tiers, the first."""
    if not usage.fullmatch(str(item["product"]["attributes"].get("usagetype"))):
        return
    for term in item.get("terms", {}).get("OnDemand", {}).values():
        for dimension in term["priceDimensions"].values():
            for currency, text in dimension["pricePerUnit"].items():
                hourly = _hourly(Decimal(text), str(dimension.get("unit")).lower())
                if hourly and str(dimension.get("beginRange", "0")) == "0":
                    yield Price(region, key, hourly, currency, str(dimension.get("description") or ""))


def _hourly(amount: Decimal, unit: str) -> Decimal | None:
    """A price by the hour; None for a unit that is neither of time nor of a month."""
    if unit in {"hrs", "hours", "hour", "hr"}:
        return amount
    if not unit.endswith("-mo"):
        return None
    parts = 1024 if unit == "gibps-mo" else 1  # our key is by MiB/s
    return (amount / _MONTH_HOURS / parts).quantize(_LAST_DIGIT)
