"""Azure Database for MySQL: flexible servers."""

from __future__ import annotations

from optiinfra_dagster.lab.azure.kind import LabKind
from optiinfra_dagster.lab.azure.servers import SERVER_METRICS, server, server_meters, server_uses

_SERVICE, _STORAGE = "Azure Database for MySQL", "Azure Database for MySQL Flexible Server Storage"

KINDS = (
    LabKind(
        name="azure:mysql",
        azure_type="Microsoft.DBforMySQL/flexibleServers",
        properties=server,
        metrics=SERVER_METRICS,
        meters=server_meters(_SERVICE, _STORAGE),
        uses=server_uses(_SERVICE, _STORAGE),
    ),
)
