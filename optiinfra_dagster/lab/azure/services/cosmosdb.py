"""Cosmos DB: accounts, and clusters that speak MongoDB's protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optiinfra_dagster.lab.azure.kind import PLANTED, LabKind, LabMetric, Row, own_id, share

if TYPE_CHECKING:
    from datetime import datetime

    from optiinfra_dagster.lab.azure.world import AzureFleet


def _properties(row: Row, _fleet: AzureFleet, created: datetime) -> Row:
    row["kind"] = "GlobalDocumentDB"
    return {
        "instanceId": own_id(row, created),
        "EnabledApiTypes": "Sql",
        "databaseAccountOfferType": "Standard",
        "primaryMasterKey": PLANTED,
    }


def _cluster(_row: Row, fleet: AzureFleet, _created: datetime) -> Row:
    return {
        "clusterStatus": fleet.state or "Ready",
        "serverVersion": "8.0",
        "administrator": {"userName": PLANTED, "password": PLANTED},
        "connectionString": f"mongodb+srv://{PLANTED}@lab",
    }


KINDS = (
    LabKind(
        name="azure:cosmosdb",
        azure_type="Microsoft.DocumentDB/databaseAccounts",
        properties=_properties,
        metrics=(
            LabMetric("TotalRequests", "Count", 0, 9e4, "count"),
            share("NormalizedRUConsumption"),
            LabMetric("ServerSideLatencyGateway", "MilliSeconds", 1, 60),
            LabMetric("ServerSideLatencyDirect", "MilliSeconds", 0.5, 20),
            LabMetric("DataUsage", "Bytes", 1e9, 4e11, "count"),
            LabMetric("ServiceAvailability", "Percent", 0, 100, "up", grain=3600),
        ),
    ),
    LabKind(
        name="azure:cosmosdb_mongo",
        azure_type="Microsoft.DocumentDB/mongoClusters",
        properties=_cluster,
        metrics=(
            share("CpuPercent"),
            share("MemoryPercent"),
            share("StoragePercent"),
            LabMetric("IOPS", "Count", 0, 7500),
            LabMetric("NetworkBytesIngress", "Bytes", 1e3, 5e8, "count"),
            LabMetric("NetworkBytesEgress", "Bytes", 1e3, 9e8, "count"),
            LabMetric("MongoRequestDurationMs", "MilliSeconds", 0.5, 300),
        ),
    ),
)
