"""Azure Database for MySQL: flexible servers and single servers."""

from __future__ import annotations

from optiinfra_dagster.lab.azure.kind import LabKind, LabMetric
from optiinfra_dagster.lab.azure.servers import SERVER_METRICS, server, server_meters, server_uses, single_server

_SERVICE, _STORAGE = "Azure Database for MySQL", "Azure Database for MySQL Flexible Server Storage"

KINDS = (
    LabKind(
        name="azure:mysql",
        azure_type="Microsoft.DBforMySQL/flexibleServers",
        properties=server,
        metrics=(*SERVER_METRICS, LabMetric("storage_io_count", "Count", 0, 2e5, "count")),
        meters=server_meters(_SERVICE, _STORAGE),
        uses=server_uses(_SERVICE, _STORAGE),
    ),
    LabKind(
        name="azure:mysql_single",
        azure_type="Microsoft.DBforMySQL/servers",
        properties=single_server,
        metrics=SERVER_METRICS,
    ),
)
