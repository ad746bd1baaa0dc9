"""Azure SQL: databases, the logical servers and elastic pools that they are in, and managed instances."""

from __future__ import annotations

from collections.abc import Mapping

from optiinfra_dagster.model.inventory import Resource, ResourceType, Status
from optiinfra_dagster.providers.azure.databases import DATABASE_COLUMNS, database_reader
from optiinfra_dagster.providers.azure.kind import (
    AzureKind,
    MetricRow,
    Parts,
    document,
    fact_has,
    fact_number,
    fact_text,
    not_among,
    price_part,
)

_DATABASE, _POOL = "Microsoft.Sql/servers/databases", "Microsoft.Sql/servers/elasticPools"
_INSTANCE = "Microsoft.Sql/managedInstances"
_SERVICE = "SQL Database"
_TIERS: Mapping[str, str] = {"generalpurpose": "General Purpose", "businesscritical": "Business Critical"}
_SHARES = "it is told as a share of the service's limits only"
# A managed instance counts what its view sys.server_resource_stats has, whose rows are of 15 seconds.
_REPORTED = 15
_read = database_reader("sqlserver")


def _parts(resource: Resource) -> Parts:
    """A vCore database or elastic pool, `GP_Gen5`. A database that is in a pool costs nothing by itself."""
    sku, cores, gib = fact_text(resource, "sku").lower(), fact_number(resource, "units"), resource.capacity
    tier = _TIERS.get(fact_text(resource, "tier").lower())
    if tier is None or sku not in {"gp_gen5", "bc_gen5"} or not cores or not gib or "elastic_pool" in resource.metadata:
        return
    if resource.metadata.get("zone_redundant") is True and tier == "General Purpose":
        return  # costs more, by meters of its own
    product = f"Single/Elastic Pool {tier}"
    if resource.status is not Status.STOPPED:
        yield price_part(_SERVICE, f"{_SERVICE} {product} - Compute Gen5", "vCore", cores)
        if fact_text(resource, "license").lower() != "baseprice":  # a licence of the customer's own
            yield price_part(_SERVICE, f"{_SERVICE} {product} - SQL License", "vCore", cores)
    yield price_part(_SERVICE, f"{_SERVICE} {product} - Storage", f"{tier} Data Stored", gib)


def _no_warehouse(resource: Resource) -> str:
    return "data warehouses do not have it" if fact_has(resource, "tier", "datawarehouse") else ""


def _fixed_size(resource: Resource) -> str:
    return "there is no size to fill up" if fact_has(resource, "tier", "datawarehouse", "hyperscale") else ""


_CPU = MetricRow("cpu_utilization", "cpu", "percent", "cpu_percent", "Average")
_MEMORY = MetricRow("memory_utilization", "memory", "percent", "sql_instance_memory_percent", "Average")
_DISK = MetricRow("disk_utilization", "disk", "percent", "storage_percent", "Average", "fixed_size")

KINDS = (
    AzureKind(
        name="azure:sql_database",
        azure_type=_DATABASE,
        resource_type=ResourceType.DATABASE,
        columns=DATABASE_COLUMNS,
        # `master` is the system database of every logical SQL server: nobody made it and nobody pays for it.
        skipped_ids="/databases/master",
        read=_read,
        metric_rows=(
            _CPU,
            _MEMORY._replace(condition="no_warehouse"),
            _DISK,
            MetricRow("uptime", "uptime", "percent", "availability", "Average"),
        ),
        conditions={"no_warehouse": _no_warehouse, "fixed_size": _fixed_size},
        price_parts=_parts,
        bill_service=_SERVICE,
        not_offered=not_among(_DATABASE, "network_io", "response_time", disk_io=_SHARES),
    ),
    AzureKind(
        name="azure:sql_server",
        azure_type="Microsoft.Sql/servers",
        resource_type=ResourceType.DATABASE,
        columns=DATABASE_COLUMNS,
        read=_read,
        not_offered=dict.fromkeys(
            ("cpu", "memory", "disk_io", "network_io", "response_time", "uptime"),
            f"{document('Microsoft.Sql/servers')}: what runs are its databases",
        ),
    ),
    AzureKind(
        name="azure:sql_pool",
        azure_type=_POOL,
        resource_type=ResourceType.DATABASE,
        columns=DATABASE_COLUMNS,
        read=_read,
        metric_rows=(_CPU, _MEMORY, _DISK),
        conditions={"fixed_size": _fixed_size},
        price_parts=_parts,
        bill_service=_SERVICE,
        not_offered=not_among(_POOL, "network_io", "response_time", "uptime", disk_io=_SHARES),
    ),
    AzureKind(
        name="azure:sql_instance",
        azure_type=_INSTANCE,
        resource_type=ResourceType.DATABASE,
        columns=DATABASE_COLUMNS,
        read=_read,
        metric_rows=(
            MetricRow("cpu_utilization", "cpu", "percent", "avg_cpu_percent", "Average"),
            MetricRow("disk_read", "disk", "bytes/s", "io_bytes_read", "Average", scale=1 / _REPORTED),
            MetricRow("disk_write", "disk", "bytes/s", "io_bytes_written", "Average", scale=1 / _REPORTED),
            MetricRow("disk_total_ops", "disk", "ops/s", "io_requests", "Average", scale=1 / _REPORTED),
            MetricRow("storage_used", "disk", "bytes", "storage_space_used_mb", "Average", scale=2**20),
        ),
        not_offered=not_among(_INSTANCE, "memory", "network_io", "response_time", "uptime"),
    ),
)
