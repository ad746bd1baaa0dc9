"""Cosmos DB accounts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optiinfra_dagster.lab.azure.kind import PLANTED, LabKind, LabMetric, Row

if TYPE_CHECKING:
    from datetime import datetime

    from optiinfra_dagster.lab.azure.world import AzureFleet


def _properties(row: Row, _fleet: AzureFleet, _created: datetime) -> Row:
    row["kind"] = "GlobalDocumentDB"
    return {"EnabledApiTypes": "Sql", "databaseAccountOfferType": "Standard", "primaryMasterKey": PLANTED}


KINDS = (
    LabKind(
        name="azure:cosmosdb",
        azure_type="Microsoft.DocumentDB/databaseAccounts",
        properties=_properties,
        metrics=(LabMetric("TotalRequests", "Count", 0, 9e4, "count"),),
    ),
)
