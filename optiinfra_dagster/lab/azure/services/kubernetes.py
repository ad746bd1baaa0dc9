"""Kubernetes clusters: AKS, and OpenShift in its present and its third version."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import TYPE_CHECKING

from optiinfra_dagster.lab.azure.kind import PLANTED, LabKind, Meter, Row, Use, bare_row, own_id, share

if TYPE_CHECKING:
    from datetime import datetime

    from optiinfra_dagster.lab.azure.world import AzureFleet

_POOLS = "Microsoft.ContainerService/managedClusters/agentPools"
_SERVICE, _UPTIME = "Azure Kubernetes Service", "Standard Uptime SLA"


def _properties(row: Row, fleet: AzureFleet, created: datetime) -> Row:
    row["sku"] = {"name": "Base", "tier": "Standard"}
    pool = {
        "name": "nodepool1",
        "count": fleet.size or 3,
        "vmSize": fleet.type or "Standard_D4s_v5",
        "mode": "System",
        "provisioningState": "Succeeded",
        "powerState": {"code": fleet.state or "Running"},
        "nodeLabels": {"token": PLANTED},
        "customCATrustCertificates": [PLANTED],
    }
    return {
        "resourceUID": own_id(row, created),
        "powerState": {"code": fleet.state or "Running"},
        "kubernetesVersion": "1.33",
        "agentPoolProfiles": [pool],
        "nodeResourceGroup": f"MC_{fleet.group}_{row['name']}_{fleet.region}",
        "servicePrincipalProfile": {"clientId": "msi", "secret": PLANTED},
        "windowsProfile": {"adminUsername": PLANTED, "adminPassword": PLANTED},
        "linuxProfile": {"ssh": {"publicKeys": [{"keyData": PLANTED}]}},
    }


def _pools(row: Row, _fleet: AzureFleet, _created: datetime) -> Iterator[Row]:
    """The pools of a cluster. Resource Graph has no rows of them: nobody asks it for their type."""
    for pool in row["properties"]["agentPoolProfiles"]:
        more = {"location": row["location"], "tags": row["tags"], "properties": pool}
        yield bare_row(f"{row['id']}/agentPools/{pool['name']}", _POOLS, **more)


def _uses(row: Row) -> list[Use]:
    if row["properties"]["powerState"]["code"] == "Stopped" or row["sku"]["tier"] != "Standard":
        return []
    return [Use(_SERVICE, _UPTIME)]


def _openshift(_row: Row, fleet: AzureFleet, _created: datetime) -> Row:
    workers = {"name": "worker", "count": fleet.size or 3, "vmSize": fleet.type or "Standard_D4s_v5"}
    return {
        "clusterProfile": {"version": "4.17", "pullSecret": PLANTED},
        "servicePrincipalProfile": {"clientSecret": PLANTED},
        "workerProfiles": [workers],
    }


def _openshift_v3(_row: Row, fleet: AzureFleet, _created: datetime) -> Row:
    pool = {"name": "compute", "count": fleet.size or 3, "vmSize": fleet.type or "Standard_D4s_v3"}
    return {"openShiftVersion": "v3.11", "agentPoolProfiles": [pool], "authProfile": {"secret": PLANTED}}


KINDS = (
    LabKind(name="azure:aks_pool", azure_type=_POOLS),
    LabKind(name="azure:openshift", azure_type="Microsoft.RedHatOpenShift/openShiftClusters", properties=_openshift),
    LabKind(
        name="azure:openshift_v3",
        azure_type="Microsoft.ContainerService/openShiftManagedClusters",
        properties=_openshift_v3,
    ),
    LabKind(
        name="azure:aks",
        azure_type="Microsoft.ContainerService/managedClusters",
        properties=_properties,
        children=_pools,
        metrics=(
            share("node_cpu_usage_percentage"),
            share("node_memory_working_set_percentage"),
            share("node_disk_usage_percentage"),
        ),
        meters=(
            Meter(_SERVICE, _SERVICE, "Standard", "Standard Long Term Support", "1 Hour", Decimal("0.6")),
            Meter(_SERVICE, f"{_SERVICE} - Automatic", "Automatic", "Hosted Control Plane", "1 Hour", Decimal("0.16")),
            Meter(_SERVICE, _SERVICE, "Standard", _UPTIME, "1 Hour", Decimal("0.1")),
        ),
        uses=_uses,
    ),
)
