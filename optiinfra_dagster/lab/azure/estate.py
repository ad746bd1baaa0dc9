"""The rows that Resource Graph holds of each subscription of a world, as complete as the real ones.

In every field where a real resource may keep something secret stands `PLANTED`: it must never come out of a collector.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from fnmatch import fnmatchcase
from functools import cache
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.lab.world import World, digest

if TYPE_CHECKING:
    from datetime import datetime

    from optiinfra_dagster.lab.azure.world import AzureFleet, AzureSubscription

PLANTED = "planted-Secret-9f3c"
"""Stands in every field of a row that may hold a secret."""

Row = dict[str, Any]

_TYPES = {
    "azure:vm": "Microsoft.Compute/virtualMachines",
    "azure:vmss": "Microsoft.Compute/virtualMachineScaleSets",
    "azure:disk": "Microsoft.Compute/disks",
    "azure:sql_server": "Microsoft.Sql/servers",
    "azure:sql_pool": "Microsoft.Sql/servers/elasticPools",
    "azure:sql_instance": "Microsoft.Sql/managedInstances",
    "azure:postgresql": "Microsoft.DBforPostgreSQL/flexibleServers",
    "azure:mysql": "Microsoft.DBforMySQL/flexibleServers",
    "azure:redis": "Microsoft.Cache/Redis",
    "azure:cosmosdb": "Microsoft.DocumentDB/databaseAccounts",
    "azure:load_balancer": "Microsoft.Network/loadBalancers",
    "azure:application_gateway": "Microsoft.Network/applicationGateways",
    "azure:vnet": "Microsoft.Network/virtualNetworks",
    "azure:nat_gateway": "Microsoft.Network/natGateways",
    "azure:aks": "Microsoft.ContainerService/managedClusters",
}


def bare_row(resource_id: str, azure_type: str, **more: Any) -> Row:
    """A row with every column that the table has, those that are not given empty."""
    parts = resource_id.split("/")
    group = parts[4] if len(parts) > 4 and parts[3].lower() == "resourcegroups" else ""
    return {
        "id": resource_id,
        "name": resource_id.rpartition("/")[2],
        "type": azure_type.lower(),
        "tenantId": "72f988bf-0000-4000-8000-000000000000",
        "kind": "",
        "location": "",
        "resourceGroup": group.lower(),
        "subscriptionId": parts[2] if len(parts) > 2 else "",
        "managedBy": "",
        "sku": None,
        "plan": None,
        "properties": {},
        "tags": None,
        "identity": None,
        "zones": None,
        "extendedLocation": None,
        **more,
    }


def subscription_row(subscription: str, name: str = "lab") -> Row:
    """The row of a subscription itself, in the table ResourceContainers."""
    properties = {"state": "Enabled", "subscriptionPolicies": {"quotaId": PLANTED}}
    resource_id = f"/subscriptions/{subscription}"
    return bare_row(resource_id, "microsoft.resources/subscriptions", name=name, properties=properties)


class Estate:
    """All rows of a world, by subscription; worked out when first asked for."""

    def __init__(self, world: World) -> None:
        self._seed, self._epoch = world.seed, world.epoch
        self.subscriptions: dict[str, AzureSubscription] = {one.id: one for one in world.azure.subscriptions}
        self.rows = cache(self._rows)

    def _rows(self, subscription: str) -> list[Row]:
        """The rows of one subscription, its own first, system databases among them."""
        known = self.subscriptions.get(subscription)
        if known is None:
            return []
        rows = {row["id"]: row for fleet in known.fleets for row in self._fleet(subscription, fleet)}
        return [subscription_row(subscription, known.name), *(rows[one] for one in sorted(rows))]

    def readable(self, subscription: str) -> list[Row]:
        """Those rows of a subscription that the role of the collector shows."""
        known = self.subscriptions.get(subscription)
        actions = [action.lower() for action in known.actions] if known else []
        return [
            row for row in self.rows(subscription) if any(fnmatchcase(f"{row['type']}/read", one) for one in actions)
        ]

    def resources(self, subscription: str | None = None) -> list[Row]:
        """What a collector must find: everything but subscriptions and the system databases `master`."""
        return [
            row
            for one in self.subscriptions
            if subscription in {None, one}
            for row in self.rows(one)[1:]
            if not row["id"].endswith("/databases/master")
        ]

    def _fleet(self, subscription: str, fleet: AzureFleet) -> Iterator[Row]:
        for n in range(1, fleet.count + 1):
            name = fleet.name.format(kind=fleet.kind.partition(":")[2].replace("_", "-"), n=n)
            seed = digest(self._seed, subscription, fleet.kind, fleet.group, name)
            created = fleet.created or self._epoch - timedelta(seconds=seed % (400 * 86400))
            kind = _TYPES[fleet.kind]
            provider, _, parts = kind.partition("/")
            # An elastic pool stands on a server: .../servers/lab-sql/elasticPools/<name>
            path = f"{parts}/{name}" if "/" not in parts else parts.replace("/", "/lab-sql/") + f"/{name}"
            base = f"/subscriptions/{subscription}/resourceGroups/{fleet.group}/providers"
            row = bare_row(f"{base}/{provider}/{path}", kind, location=fleet.region, tags=fleet.tags or None)
            properties = {"provisioningState": "Succeeded"} | _DETAILS[fleet.kind](row, fleet, created)
            row["properties"] = {key: value for key, value in properties.items() if key not in fleet.omit}
            yield row
            yield from _children(row, fleet, created)


def _children(row: Row, fleet: AzureFleet, created: datetime) -> Iterator[Row]:
    """Disks of a machine; databases of a server, its system database among them."""
    base, _, _ = row["id"].partition("/providers/")
    if fleet.kind == "azure:vm":
        for n in range(fleet.disks):
            name = f"{row['name']}_{'OsDisk' if n == 0 else 'DataDisk'}_{n}"
            disk = bare_row(f"{base}/providers/Microsoft.Compute/disks/{name}", _TYPES["azure:disk"])
            disk |= {"location": fleet.region, "tags": row["tags"], "managedBy": row["id"]}
            yield disk | {"properties": _disk(disk, fleet, created) | {"diskState": "Attached"}}
    if fleet.kind == "azure:sql_server":
        for name in ("master", *(f"db-{n}" for n in range(1, fleet.databases + 1))):
            database = bare_row(f"{row['id']}/databases/{name}", "Microsoft.Sql/servers/databases")
            sku = {"name": fleet.type or "GP_Gen5", "tier": "GeneralPurpose", "family": "Gen5", "capacity": 2}
            database |= {"location": fleet.region, "tags": row["tags"], "sku": sku, "kind": "v12.0,user,vcore"}
            properties = {
                "status": fleet.state or "Online",
                "maxSizeBytes": (fleet.size or 32) * 2**30,
                "creationDate": _time(created),
                "currentServiceObjectiveName": sku["name"],
                "zoneRedundant": False,
                "administratorLoginPassword": PLANTED,
                "connectionString": PLANTED,
            }
            yield database | {"properties": properties}


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.1234567Z")  # seven digits, as Azure writes them


def _vm(_row: Row, fleet: AzureFleet, created: datetime) -> Row:
    state = fleet.state or "running"
    return {
        "timeCreated": _time(created),
        "hardwareProfile": {"vmSize": fleet.type or "Standard_D2s_v5"},
        "extended": {"instanceView": {"powerState": {"code": f"PowerState/{state}", "displayStatus": f"VM {state}"}}},
        "storageProfile": {
            "osDisk": {"osType": "Linux", "diskSizeGB": 30},
            "imageReference": {"publisher": "Canonical", "offer": "ubuntu-24_04-lts", "sku": "server"},
        },
        "osProfile": {"adminUsername": PLANTED, "adminPassword": PLANTED, "customData": PLANTED},
        "userData": PLANTED,
        "priority": "Regular",
    }


def _scale_set(row: Row, fleet: AzureFleet, created: datetime) -> Row:
    row["sku"] = {"name": fleet.type or "Standard_D2s_v5", "tier": "Standard", "capacity": fleet.size or 2}
    settings = {"commandToExecute": PLANTED}
    profile = {
        "osProfile": {"adminPassword": PLANTED, "customData": PLANTED},
        "storageProfile": {"osDisk": {"osType": "Linux"}},
        "extensionProfile": {"extensions": [{"properties": {"protectedSettings": settings, "settings": settings}}]},
    }
    return {"timeCreated": _time(created), "orchestrationMode": "Uniform", "virtualMachineProfile": profile}


def _disk(row: Row, fleet: AzureFleet, created: datetime) -> Row:
    loose = fleet.kind == "azure:disk"
    row["sku"] = {"name": (fleet.type if loose else None) or "Premium_LRS", "tier": "Premium"}
    return {
        "timeCreated": _time(created),
        "diskState": (fleet.state if loose else None) or "Unattached",
        "diskSizeGB": (fleet.size if loose else None) or 128,
        "diskIOPSReadWrite": 500,
        "diskMBpsReadWrite": 100,
        "provisioningState": "Succeeded",
        "creationData": {"createOption": "Empty", "sourceUri": f"https://lab.blob.core.windows.net/?sig={PLANTED}"},
        "accessSAS": PLANTED,
    }


def _sql(_row: Row, fleet: AzureFleet, created: datetime) -> Row:
    return {
        "state": fleet.state or "Ready",
        "version": "12.0",
        "creationDate": _time(created),
        "administratorLogin": PLANTED,
        "administratorLoginPassword": PLANTED,
    }


def _sql_pool(row: Row, fleet: AzureFleet, created: datetime) -> Row:
    row["sku"] = {"name": fleet.type or "GP_Gen5", "tier": "GeneralPurpose", "capacity": 4}
    return _sql(row, fleet, created) | {"maxSizeBytes": (fleet.size or 128) * 2**30}


def _sql_instance(row: Row, fleet: AzureFleet, created: datetime) -> Row:
    row["sku"] = {"name": fleet.type or "GP_Gen5", "tier": "GeneralPurpose", "capacity": 8}
    return _sql(row, fleet, created) | {"storageSizeInGB": fleet.size or 256, "vCores": 8}


def _server(row: Row, fleet: AzureFleet, created: datetime) -> Row:
    row["sku"] = {"name": fleet.type or "Standard_D4s_v3", "tier": "GeneralPurpose"}
    storage = {"storageSizeGB": fleet.size or 128, "iops": 500, "autoGrow": "Enabled"}
    high_availability = {"mode": "Disabled", "state": "NotEnabled"}
    return _sql(row, fleet, created) | {"version": "16", "storage": storage, "highAvailability": high_availability}


def _redis(_row: Row, fleet: AzureFleet, _created: datetime) -> Row:
    return {
        "redisVersion": "6.0",
        "sku": {"name": fleet.type or "Standard", "family": "C", "capacity": 1},
        "accessKeys": {"primaryKey": PLANTED, "secondaryKey": PLANTED},
        "redisConfiguration": {"rdb-storage-connection-string": PLANTED},
    }


def _cosmos(row: Row, _fleet: AzureFleet, _created: datetime) -> Row:
    row["kind"] = "GlobalDocumentDB"
    return {"EnabledApiTypes": "Sql", "databaseAccountOfferType": "Standard", "primaryMasterKey": PLANTED}


def _load_balancer(row: Row, fleet: AzureFleet, _created: datetime) -> Row:
    row["sku"] = {"name": fleet.type or "Standard", "tier": "Regional"}
    return {"frontendIPConfigurations": [{}], "loadBalancingRules": [{}, {}], "backendAddressPools": [{}]}


def _gateway(_row: Row, fleet: AzureFleet, _created: datetime) -> Row:
    return {
        "operationalState": fleet.state or "Running",
        "sku": {"name": fleet.type or "WAF_v2", "tier": "WAF_v2", "capacity": 2},
        "frontendIPConfigurations": [{}],
        "requestRoutingRules": [{}],
        "backendAddressPools": [{}],
        "sslCertificates": [{"properties": {"data": PLANTED, "password": PLANTED}}],
        "authenticationCertificates": [{"properties": {"data": PLANTED}}],
    }


def _network(_row: Row, _fleet: AzureFleet, _created: datetime) -> Row:
    peering = {"properties": {"sharedKey": PLANTED}}
    space = {"addressPrefixes": ["10.0.0.0/16"]}
    return {"addressSpace": space, "subnets": [{}, {}], "virtualNetworkPeerings": [peering]}


def _nat_gateway(row: Row, _fleet: AzureFleet, _created: datetime) -> Row:
    row["sku"] = {"name": "Standard"}
    return {"subnets": [{}]}


def _cluster(row: Row, fleet: AzureFleet, _created: datetime) -> Row:
    row["sku"] = {"name": "Base", "tier": "Standard"}
    pool = {
        "name": "nodepool1",
        "count": fleet.size or 3,
        "vmSize": fleet.type or "Standard_D4s_v5",
        "mode": "System",
        "nodeLabels": {"token": PLANTED},
        "customCATrustCertificates": [PLANTED],
    }
    return {
        "powerState": {"code": fleet.state or "Running"},
        "kubernetesVersion": "1.33",
        "agentPoolProfiles": [pool],
        "nodeResourceGroup": f"MC_{fleet.group}_{row['name']}_{fleet.region}",
        "servicePrincipalProfile": {"clientId": "msi", "secret": PLANTED},
        "windowsProfile": {"adminUsername": PLANTED, "adminPassword": PLANTED},
        "linuxProfile": {"ssh": {"publicKeys": [{"keyData": PLANTED}]}},
    }


_DETAILS: dict[str, Callable[[Row, AzureFleet, datetime], Row]] = {
    "azure:vm": _vm,
    "azure:vmss": _scale_set,
    "azure:disk": _disk,
    "azure:sql_server": _sql,
    "azure:sql_pool": _sql_pool,
    "azure:sql_instance": _sql_instance,
    "azure:postgresql": _server,
    "azure:mysql": _server,
    "azure:redis": _redis,
    "azure:cosmosdb": _cosmos,
    "azure:load_balancer": _load_balancer,
    "azure:application_gateway": _gateway,
    "azure:vnet": _network,
    "azure:nat_gateway": _nat_gateway,
    "azure:aks": _cluster,
}
