"""Azure Database for PostgreSQL: flexible servers."""

from __future__ import annotations

from optiinfra_dagster.lab.azure.kind import LabKind, LabMetric
from optiinfra_dagster.lab.azure.servers import SERVER_METRICS, server, server_meters, server_uses

_SERVICE, _STORAGE = "Azure Database for PostgreSQL", "Azure Database for PostgreSQL Flex Server Storage"

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
)
