"""Synapse Analytics: dedicated SQL pools."""

from __future__ import annotations

from optiinfra_dagster.model.inventory import ResourceType
from optiinfra_dagster.providers.azure.databases import DATABASE_COLUMNS, database_reader
from optiinfra_dagster.providers.azure.kind import AzureKind

KINDS = (
    AzureKind(
        name="azure:synapse_pool",
        azure_type="Microsoft.Synapse/workspaces/sqlPools",
        resource_type=ResourceType.DATABASE,
        columns=DATABASE_COLUMNS,
        read=database_reader("sqlserver"),
    ),
)
