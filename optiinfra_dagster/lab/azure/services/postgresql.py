"""Azure Database for PostgreSQL: flexible servers, single servers and clusters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optiinfra_dagster.lab.azure.kind import PLANTED, LabKind, LabMetric, Row
from optiinfra_dagster.lab.azure.servers import SERVER_METRICS, server, server_meters, server_uses, single_server

if TYPE_CHECKING:
    from datetime import datetime

    from optiinfra_dagster.lab.azure.world import AzureFleet

_SERVICE, _STORAGE = "Azure Database for PostgreSQL", "Azure Database for PostgreSQL Flex Server Storage"


def _cluster(_row: Row, fleet: AzureFleet, _created: datetime) -> Row:
    return {
        "state": fleet.state or "Ready",
        "postgresqlVersion": "16",
        "administratorLogin": PLANTED,
        "coordinatorVCores": 4,
    }


KINDS = (
    LabKind(
        name="azure:postgresql",
        azure_type="Microsoft.DBforPostgreSQL/flexibleServers",
        properties=server,
        metrics=(
            *SERVER_METRICS,
            LabMetric("read_throughput", "Count", 0, 9e7),
            LabMetric("write_throughput", "Count", 1e3, 6e7),
            LabMetric("read_iops", "Count", 0, 2500),
            LabMetric("write_iops", "Count", 0.5, 1800),
            LabMetric("is_db_alive", "Count", 0, 1, "up"),
        ),
        meters=server_meters(_SERVICE, _STORAGE),
        uses=server_uses(_SERVICE, _STORAGE),
    ),
    LabKind(
        name="azure:postgresql_single",
        azure_type="Microsoft.DBforPostgreSQL/servers",
        properties=single_server,
        metrics=SERVER_METRICS,
    ),
    LabKind(
        name="azure:postgresql_cluster",
        azure_type="Microsoft.DBforPostgreSQL/serverGroupsv2",
        properties=_cluster,
        metrics=(*SERVER_METRICS, LabMetric("iops", "Count", 0, 4000)),
    ),
)
