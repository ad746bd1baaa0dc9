"""Shared by the databases of several services: their reader, servers' metrics and price parts."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from optiinfra_dagster.model.inventory import Resource, Status
from optiinfra_dagster.providers.azure.kind import (
    Columns,
    Facts,
    MetricRow,
    Parts,
    Row,
    arm_id,
    fact_number,
    fact_text,
    price_part,
    state_word,
)
from optiinfra_dagster.providers.azure.sizes import vcpus
from optiinfra_dagster.providers.parsing import as_bool, as_number, as_text, facts

if TYPE_CHECKING:
    from optiinfra_dagster.providers.kind import PriceParts

# Kinds that call the same thing by different names share a column: nulls too are sent, parsed and paid for in CPU.
DATABASE_COLUMNS: Columns = {
    "state": (
        "properties.resourceState",
        "properties.status",
        "properties.state",
        "properties.userVisibleState",
        "properties.clusterStatus",
    ),
    "created": ("properties.creationDate",),
    "size": ("sku.name", "properties.sku.name", "properties.currentServiceObjectiveName"),
    "tier": ("sku.tier", "properties.sku.tier", "properties.edition"),
    "units": ("sku.capacity", "properties.sku.capacity", "properties.dtu"),
    "licenseType": ("properties.licenseType",),
    "storageGB": ("properties.storage.storageSizeGB", "properties.storageSizeInGB"),
    "storageMB": ("properties.storageProfile.storageMB", "properties.storageMB"),
    "maxSizeBytes": ("properties.maxSizeBytes",),
    "iops": ("properties.storage.iops",),
    "storageType": ("properties.storage.type", "properties.storage.storageSku"),
    "version": ("properties.version", "properties.redisVersion"),
    "vCores": ("properties.vCores",),
    "elasticPoolId": ("properties.elasticPoolId",),
    "zoneRedundant": ("properties.zoneRedundant",),
    "haMode": ("properties.highAvailability.mode",),
    "replicationRole": ("properties.replicationRole",),
    "shards": ("properties.shardCount",),
    "replicas": ("properties.replicasPerPrimary", "properties.replicasPerMaster"),
    "cosmosApi": ("properties.EnabledApiTypes",),
}
"""The columns that `database_reader` reads."""


def database_reader(engine: str) -> Callable[[Row], Facts]:
    """Make the reader of databases of an engine, and of the servers, pools and instances that they are on.

    The capacity is the storage in GiB.
    """

    def read(row: Row) -> Facts:
        gib = as_number(row.get("storageGB"))
        mib, size = as_number(row.get("storageMB")), as_number(row.get("maxSizeBytes"))
        if gib is None and size:  # -1, which is no number here, and 0: no limit of its own
            gib = size / 2**30
        if gib is None and mib is not None:
            gib = mib / 2**10
        return Facts(
            word=state_word(row),
            capacity=gib,
            unit="GiB",
            metadata=facts(
                engine=engine,
                version=row.get("version"),
                sku=row.get("size"),
                tier=row.get("tier"),
                units=as_number(row.get("units")),  # vCores, DTUs, or the step within a family of caches
                vcores=as_number(row.get("vCores")) or as_number(vcpus(row.get("size"))),
                iops=as_number(row.get("iops")),
                storage_type=row.get("storageType"),
                shards=as_number(row.get("shards")),
                replicas=as_number(row.get("replicas")),
                license=row.get("licenseType"),
                elastic_pool=arm_id(row.get("elasticPoolId")),
                zone_redundant=as_bool(row.get("zoneRedundant")),
                high_availability=row.get("haMode"),
                replication_role=row.get("replicationRole"),
                api=as_text(row.get("cosmosApi")),
            ),
        )

    return read


SERVER_METRICS = (
    MetricRow("cpu_utilization", "cpu", "percent", "cpu_percent", "Average"),
    MetricRow("memory_utilization", "memory", "percent", "memory_percent", "Average"),
    MetricRow("disk_utilization", "disk", "percent", "storage_percent", "Average"),
    MetricRow("network_in", "network", "bytes/s", "network_bytes_ingress", "Total"),
    MetricRow("network_out", "network", "bytes/s", "network_bytes_egress", "Total"),
)
"""The metrics that all of Azure's servers for open-source databases have."""

SHARES = "it is told as a share of the server's limits only"
"""Why a server that tells `io_consumption_percent` has no figure of disk I/O."""

_SERVER_SIZE = re.compile(r"standard_([a-z])(\d+)([a-z]*)_v(\d+)", re.IGNORECASE)
_BURSTABLE_SIZE = re.compile(r"standard_(b\d+m?s)", re.IGNORECASE)


def flexible_server_parts(
    service: str, tiers: Mapping[str, str], included_iops: Callable[[float], float] = lambda _gib: math.inf
) -> PriceParts:
    """Make the price parts of a service's flexible servers.

    They are vCores, by the series that a size names, and storage; all twice where a server has a standby. `tiers` maps
    the tier of a server, in lower case, to the price list's name of it. Operations a second beyond `included_iops`,
    which come with storage of a size, cost more than that, by meters that differ.
    """

    def parts(resource: Resource) -> Parts:
        size, gib = fact_text(resource, "sku"), resource.capacity
        copies = 2 if fact_text(resource, "high_availability").lower() in {"zoneredundant", "samezone"} else 1
        tier, named = tiers.get(fact_text(resource, "tier").lower()), _SERVER_SIZE.fullmatch(size)
        burst = _BURSTABLE_SIZE.fullmatch(size)
        # Premium SSD v2 and Ultra disks are charged by operations and throughput too.
        plain = fact_text(resource, "storage_type").lower() in {"", "premium_lrs", "premium_zrs"}
        if not gib or not plain or fact_number(resource, "iops") > included_iops(gib):
            return
        compute = None
        if burst:
            product = f"{service} Flexible Server Burstable BS Series Compute"
            compute = price_part(service, product, burst[1].upper(), copies)
        elif tier and named:
            family, cores, features, version = named.groups()
            series = f"{family.upper()}{features.lower()}v{version}"
            product = f"{service} Flexible Server {tier} {series} Series Compute"
            compute = price_part(service, product, "vCore", int(cores) * copies)
        if compute is None:
            return
        if resource.status is not Status.STOPPED:
            yield compute
        # The list writes the product `Az DB for PostgreSQL Flexible Server Storage`, or otherwise.
        yield price_part(service, "Server Storage", "Storage Data Stored", gib * copies)

    return parts
