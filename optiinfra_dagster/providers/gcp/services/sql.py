"""Cloud SQL: databases of PostgreSQL, MySQL and SQL Server.

Not priced, so without an estimate: Enterprise Plus, legacy tiers and SQL Server.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from itertools import product
from typing import TYPE_CHECKING

from optiinfra_dagster.model.cost import Component
from optiinfra_dagster.model.inventory import Resource, ResourceType, Status
from optiinfra_dagster.providers.gcp.kind import (
    AssetFacts,
    GcpKind,
    Place,
    PriceService,
    Sku,
    decimal,
    is_stopped,
    last_part,
    metric_rows,
)
from optiinfra_dagster.providers.gcp.services.compute import vcpus
from optiinfra_dagster.providers.parsing import Item, as_bool, as_dict, as_number, as_text, dig, facts

if TYPE_CHECKING:
    from optiinfra_dagster.model.metrics import Metric

PRICES = PriceService("9662-B51E-5089")


def _read_instance(data: Item, place: Place) -> AssetFacts:
    settings, state = as_dict(data, "settings"), as_text(data.get("state"))
    # Cloud SQL says RUNNABLE of an instance that its owner has stopped, too.
    stopped = state == "RUNNABLE" and settings.get("activationPolicy") == "NEVER"
    return AssetFacts(
        region=as_text(data.get("region")) if place.region == "global" else "",
        status=Status.STOPPED if stopped else None,
        cloud_status=state,
        capacity=as_number(settings.get("dataDiskSizeGb")),
        labels=settings.get("userLabels"),
        metadata=facts(
            engine=data.get("databaseVersion"),
            **{"class": settings.get("tier")},
            vcpus=_vcpus(as_text(settings.get("tier"))),
            zone=data.get("gceZone"),
            edition=settings.get("edition"),
            availability_type=settings.get("availabilityType"),
            activation_policy=settings.get("activationPolicy"),
            storage_type=settings.get("dataDiskType"),
            storage_grows=as_bool(settings.get("storageAutoResize")),
            instance_type=data.get("instanceType"),
            replica_of=data.get("masterInstanceName"),
            query_insights=dig(settings, "insightsConfig", "queryInsightsEnabled") is True,
            publicly_accessible=dig(settings, "ipConfiguration", "ipv4Enabled"),
            deletion_protection=as_bool(settings.get("deletionProtectionEnabled")),
        ),
    )


def _vcpus(tier: str) -> int | None:
    """The vCPUs of db-custom-4-15360, db-n1-standard-2, db-f1-micro or db-perf-optimized-N-8."""
    optimized = re.fullmatch(r"db-perf-optimized-\w+-(\d+)", tier)
    return int(optimized[1]) if optimized else vcpus(tier.removeprefix("db-"))


_SHARED = {"db-f1-micro": "micro", "db-g1-small": "small"}
_ENGINES = {"postgres": "PostgreSQL", "mysql": "MySQL"}
_PART_WORDS = {
    "core": "vCPU", "GiB RAM": "RAM", "micro": "Micro instance", "small": "Small instance",
    "ssd GiB": "Standard storage", "hdd GiB": "Low cost storage",
}  # fmt: skip


def _engine(resource: Resource) -> str:
    """The engine without its version: `postgres`, `mysql` or `sqlserver`."""
    return str(resource.metadata.get("engine", "")).partition("_")[0].lower()


def _price_parts(resource: Resource) -> list[Component]:
    """Cores and memory, or a shared core, and storage; a stopped database costs its storage."""
    known = resource.metadata
    engine = _engine(resource)
    shared = _SHARED.get(str(known.get("class")))
    tier = re.fullmatch(r"db-custom-(\d+)-(\d+)", str(known.get("class", "")))
    storage = {"PD_SSD": "ssd", "PD_HDD": "hdd"}.get(str(known.get("storage_type") or "PD_SSD"))
    enterprise = known.get("edition") in {None, "ENTERPRISE"}
    if engine not in _ENGINES or not (tier or shared) or storage is None or not enterprise or not resource.capacity:
        return []
    where = "regional" if known.get("availability_type") == "REGIONAL" else "zonal"
    parts = [Component(f"{engine} {where} {storage} GiB", decimal(resource.capacity))]
    if is_stopped(resource):
        return parts
    if shared:
        parts.append(Component(f"{engine} {where} {shared}", Decimal(1)))
    elif tier:
        parts.append(Component(f"{engine} {where} core", Decimal(tier[1])))
        parts.append(Component(f"{engine} {where} GiB RAM", Decimal(tier[2]) / 1024))
    return parts


def _skus() -> Iterator[Sku]:
    for (engine, word), where, (part, name) in product(_ENGINES.items(), ("Zonal", "Regional"), _PART_WORDS.items()):
        yield Sku(f"{engine} {where.lower()} {part}", PRICES, f"Cloud SQL for {word}: {where} - {name}")


def _without_insights(resource: Resource) -> str:
    """The reason why nobody measures how long queries take; "" where Query Insights does."""
    if _engine(resource) not in _ENGINES:
        return "Query Insights measures the queries of PostgreSQL and MySQL"
    return (
        "" if resource.metadata.get("query_insights") else "Query Insights is off: enable it in the instance's settings"
    )


def _published(metric: Metric, resource: Resource) -> Metric:
    """The metric under the names of the resource's engine: Query Insights of MySQL is a service of its own."""
    if metric.condition != "insights" or _engine(resource) != "mysql":
        return metric
    return replace(metric, api_metric="dbinsights.googleapis.com/aggregate/latencies")


INSTANCE = GcpKind(
    name="gcp:sql_instance",
    resource_type=ResourceType.DATABASE,
    asset_types=("sqladmin.googleapis.com/Instance",),
    read=_read_instance,
    unit="GiB",
    collection="instances",
    series_labels=lambda resource: (f"{resource.account_id}:{last_part(resource.resource_id)}",),
    metrics=(
        *metric_rows(
            "cloudsql_database", "database_id", "cloudsql.googleapis.com/database/", "Cloud SQL: Cloud SQL metrics",
            ("cpu_utilization", "cpu", "percent", "cpu/utilization", "ALIGN_MEAN", 100),
            ("memory_utilization", "memory", "percent", "memory/utilization", "ALIGN_MEAN", 100),
            ("disk_utilization", "disk", "percent", "disk/utilization", "ALIGN_MEAN", 100),
            ("disk_read", "disk", "bytes/s", "disk/read_bytes_count", "ALIGN_RATE"),
            ("disk_write", "disk", "bytes/s", "disk/write_bytes_count", "ALIGN_RATE"),
            ("disk_read_ops", "disk", "ops/s", "disk/read_ops_count", "ALIGN_RATE"),
            ("disk_write_ops", "disk", "ops/s", "disk/write_ops_count", "ALIGN_RATE"),
            ("network_in", "network", "bytes/s", "network/received_bytes_count", "ALIGN_RATE"),
            ("network_out", "network", "bytes/s", "network/sent_bytes_count", "ALIGN_RATE"),
            ("uptime", "uptime", "percent", "up", "ALIGN_MEAN", 100),
        ),
        *metric_rows(
            "cloudsql_instance_database", "resource_id", "cloudsql.googleapis.com/database/postgresql/insights/",
            "Cloud SQL: Cloud SQL metrics",
            ("response_time", "latency", "seconds", "aggregate/latencies",
             "REDUCE_PERCENTILE_50 REDUCE_PERCENTILE_95 REDUCE_PERCENTILE_99", 1e-6, "", "insights"),
        ),
    ),
    published=_published,
    conditions={"insights": _without_insights},
    price_parts=_price_parts,
    skus=tuple(_skus()),
    bill_service="Cloud SQL",
)  # fmt: skip

KINDS = (INSTANCE,)
