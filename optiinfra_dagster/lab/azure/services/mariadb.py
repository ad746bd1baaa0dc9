"""Azure Database for MariaDB."""

from __future__ import annotations

from optiinfra_dagster.lab.azure.kind import LabKind
from optiinfra_dagster.lab.azure.servers import SERVER_METRICS, single_server

KINDS = (
    LabKind(
        name="azure:mariadb",
        azure_type="Microsoft.DBforMariaDB/servers",
        properties=single_server,
        metrics=SERVER_METRICS,
    ),
)
