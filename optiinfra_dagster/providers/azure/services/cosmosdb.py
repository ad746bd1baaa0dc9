"""Cosmos DB: accounts, and clusters with the vCores of their own that speak MongoDB's protocol."""

from __future__ import annotations

from optiinfra_dagster.model.inventory import ResourceType
from optiinfra_dagster.providers.azure.databases import DATABASE_COLUMNS, database_reader
from optiinfra_dagster.providers.azure.kind import AzureKind, MetricRow

KINDS = (
    AzureKind(
        name="azure:cosmosdb",
        azure_type="Microsoft.DocumentDB/databaseAccounts",
        resource_type=ResourceType.DATABASE,
        columns=DATABASE_COLUMNS,
        read=database_reader("cosmosdb"),
        metric_rows=(MetricRow("request_rate", "traffic", "requests/s", "TotalRequests", "Count"),),
    ),
    AzureKind(
        name="azure:cosmosdb_mongo",
        azure_type="Microsoft.DocumentDB/mongoClusters",
        resource_type=ResourceType.DATABASE,
        columns=DATABASE_COLUMNS,
        read=database_reader("mongodb"),
    ),
)
