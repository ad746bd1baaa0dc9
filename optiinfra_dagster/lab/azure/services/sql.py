"""Azure SQL: servers with their databases, elastic pools and managed instances."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import TYPE_CHECKING

from optiinfra_dagster.lab.azure.kind import PLANTED, LabKind, LabMetric, Meter, Row, Use, bare_row, share, written

if TYPE_CHECKING:
    from datetime import datetime

    from optiinfra_dagster.lab.azure.world import AzureFleet

_DATABASE = "Microsoft.Sql/servers/databases"
_SERVICE, _GP = "SQL Database", "SQL Database Single/Elastic Pool General Purpose"
_METRICS = (
    share("cpu_percent"),
    share("sql_instance_memory_percent"),
    share("storage_percent"),
    share("physical_data_read_percent"),
)


def _server(_row: Row, fleet: AzureFleet, created: datetime) -> Row:
    return {
        "state": fleet.state or "Ready",
        "version": "12.0",
        "creationDate": written(created),
        "administratorLogin": PLANTED,
        "administratorLoginPassword": PLANTED,
    }


def _databases(row: Row, fleet: AzureFleet, created: datetime) -> Iterator[Row]:
    """The databases of a server, its system database among them."""
    for name in ("master", *(f"db-{n}" for n in range(1, fleet.databases + 1))):
        database = bare_row(f"{row['id']}/databases/{name}", _DATABASE)
        sku = {"name": fleet.type or "GP_Gen5", "tier": "GeneralPurpose", "family": "Gen5", "capacity": 2}
        database |= {"location": fleet.region, "tags": row["tags"], "sku": sku, "kind": "v12.0,user,vcore"}
        properties = {
            "status": fleet.state or "Online",
            "maxSizeBytes": (fleet.size or 32) * 2**30,
            "creationDate": written(created),
            "currentServiceObjectiveName": sku["name"],
            "zoneRedundant": False,
            "administratorLoginPassword": PLANTED,
            "connectionString": PLANTED,
        }
        yield database | {"properties": properties}


def _pool(row: Row, fleet: AzureFleet, created: datetime) -> Row:
    row["sku"] = {"name": fleet.type or "GP_Gen5", "tier": "GeneralPurpose", "capacity": 4}
    return _server(row, fleet, created) | {"maxSizeBytes": (fleet.size or 128) * 2**30}


def _instance(row: Row, fleet: AzureFleet, created: datetime) -> Row:
    row["sku"] = {"name": fleet.type or "GP_Gen5", "tier": "GeneralPurpose", "capacity": 8}
    return _server(row, fleet, created) | {"storageSizeInGB": fleet.size or 256, "vCores": 8}


def _uses(row: Row) -> list[Use]:
    if row["name"] == "master":
        return []
    cores = row["sku"]["capacity"]
    return [
        Use(f"{_GP} - Compute Gen5", "vCore", cores),
        Use(f"{_GP} - SQL License", "vCore", cores),
        Use(f"{_GP} - Storage", "General Purpose Data Stored", row["properties"]["maxSizeBytes"] // 2**30),
    ]


KINDS = (
    LabKind(
        name="azure:sql_database",
        azure_type=_DATABASE,
        metrics=(*_METRICS, LabMetric("availability", "Percent", 0, 100, "up")),
        meters=(
            *(
                Meter(_SERVICE, f"{_GP} - Compute Gen5", f"{n} vCore", "vCore", "1 Hour", n * Decimal("0.152"))
                for n in (1, 2, 4, 8)
            ),
            Meter(
                _SERVICE, "SQL Database General Purpose - Serverless - Compute Gen5", "1 vCore", "vCore", "1 Hour",
                Decimal("0.5"),
            ),
            Meter(_SERVICE, f"{_GP} - Compute FSv2 Series", "1 vCore", "vCore", "1 Hour", Decimal("0.1")),
            Meter(
                _SERVICE, f"{_GP} - SQL License", "vCore", "vCore", "1 Hour", Decimal("0.099966"), everywhere=True
            ),
            Meter(
                _SERVICE, f"{_GP} - Storage", "General Purpose", "General Purpose Data Stored", "1 GB/Month",
                Decimal("0.115"),
            ),
        ),
        uses=_uses,
    ),
    LabKind(name="azure:sql_server", azure_type="Microsoft.Sql/servers", properties=_server, children=_databases),
    LabKind(
        name="azure:sql_pool",
        azure_type="Microsoft.Sql/servers/elasticPools",
        properties=_pool,
        metrics=_METRICS,
    ),
    LabKind(
        name="azure:sql_instance",
        azure_type="Microsoft.Sql/managedInstances",
        properties=_instance,
        metrics=(
            share("avg_cpu_percent"),
            LabMetric("io_bytes_read", "Bytes", 0, 3e9, "count"),  # of 15 seconds
            LabMetric("io_bytes_written", "Bytes", 0, 1e9, "count"),
            LabMetric("io_requests", "Count", 0, 6e4, "count"),
            LabMetric("storage_space_used_mb", "Count", 2e4, 2e5),
        ),
    ),
)  # fmt: skip
