"""The services of the lab's Azure, each with its kinds in a module of its own; one more is a line here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from optiinfra_dagster.lab.azure.services import (
    app_service,
    application_gateways,
    container_apps,
    cosmosdb,
    disks,
    front_door,
    kubernetes,
    load_balancers,
    mariadb,
    mysql,
    netapp,
    networks,
    postgresql,
    public_addresses,
    redis,
    snapshots,
    sql,
    storage_accounts,
    synapse,
    virtual_machines,
)

if TYPE_CHECKING:
    from optiinfra_dagster.lab.azure.kind import LabKind

_SERVICES: tuple[tuple[LabKind, ...], ...] = (
    virtual_machines.KINDS,
    disks.KINDS,
    snapshots.KINDS,
    netapp.KINDS,
    storage_accounts.KINDS,
    sql.KINDS,
    postgresql.KINDS,
    mysql.KINDS,
    mariadb.KINDS,
    redis.KINDS,
    cosmosdb.KINDS,
    synapse.KINDS,
    load_balancers.KINDS,
    application_gateways.KINDS,
    front_door.KINDS,
    networks.KINDS,
    public_addresses.KINDS,
    kubernetes.KINDS,
    app_service.KINDS,
    container_apps.KINDS,
)

KINDS: Mapping[str, LabKind] = {kind.name: kind for kinds in _SERVICES for kind in kinds}
"""Every kind by its name."""

KINDS_BY_TYPE: Mapping[str, LabKind] = {kind.azure_type.lower(): kind for kind in KINDS.values()}
"""Every kind by its type in Azure, in lower case."""

FLEET_KINDS: tuple[str, ...] = tuple(kind.name for kind in KINDS.values() if kind.properties)
"""The names of the kinds that a world may have fleets of."""
