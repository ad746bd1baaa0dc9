"""What there is on Azure: the one query that lists it, and how a row of the answer becomes a `Resource`.

One more kind is a line in `KINDS` and a function; what that function reads is a line in `_COLUMNS`. Facts are asked for
by name, because properties also carry user names, keys, certificates and scripts: what is not named never leaves Azure.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from optiinfra_dagster.providers.types import Resource, ResourceType, Status

Row = Mapping[str, Any]
Fact = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Facts:
    """What one kind tells of itself.

    `word` is Azure's own for its state; `ready` is the status of one that is provisioned and says no more, `silent` of
    one that says nothing at all.
    """

    word: str
    ready: Status = Status.AVAILABLE
    silent: Status = Status.UNKNOWN
    capacity: float | None = None
    unit: str = ""
    metadata: dict[str, Fact] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of resource: its name here, its type in Azure (in lower case), and how a row of it is read."""

    kind: str
    azure_type: str
    resource_type: ResourceType
    facts: Callable[[Row], Facts]


# --- Words ------------------------------------------------------------------------------------------------------------

# The words of all services, in lower case; those of _PROVISIONED mean that nothing is known to be wrong.
_STATUS_WORDS: Mapping[Status, str] = {
    Status.RUNNING: "running",
    Status.STOPPED: "deallocated disabled hibernated offline paused shutdown stopped autoclosed offlinesecondary",
    Status.STARTING: "creating provisioning restarting resuming starting accepted registering",
    Status.STOPPING: "deallocating deleting deprovisioning disabling hibernating pausing stopping dropping",
    Status.TERMINATED: "deleted dropped",
    Status.AVAILABLE: (
        "copying frozen online onlinechangingdwperformancetiers readytoupload ready restoring scaling standby "
        "unattached activesasfrozen exporting importing linking recoveringscalefailure unlinking"
    ),
    Status.IN_USE: "activesas activeupload attached reserved",
    Status.ERROR: (
        "canceled emergencymode failed inaccessible offlinechangingdwperformancetiers recovering recoverypending "
        "suspect scalefailed unrecoverable deletefailed dropfailed"
    ),
}
_STATUSES = {word: status for status, words in _STATUS_WORDS.items() for word in words.split()}
_PROVISIONED = {
    "succeeded", "updating", "upgrading", "migrating", "configuring", "reconciling", "rotatingclustercertificates",
}  # fmt: skip


def _status(facts: Facts) -> Status:
    plain = facts.word.lower().replace(" ", "")
    if not plain:
        return facts.silent
    return facts.ready if plain in _PROVISIONED else _STATUSES.get(plain, Status.UNKNOWN)


def _word(row: Row) -> str:
    """Azure's word for how a resource is: its state, else that of its last change.

    The state goes first because what was changed without success may run all the same. Machines write it
    `PowerState/running`.
    """
    return str(row.get("state") or "").rpartition("/")[2] or str(row.get("provisioningState") or "")


# --- Values -----------------------------------------------------------------------------------------------------------


def _facts(**facts: Fact) -> dict[str, Fact]:
    return {name: fact for name, fact in facts.items() if fact is not None and fact != ""}


def _number(value: object) -> float | None:
    """A number that Azure writes as one or as text (`"32212254720"`)."""
    if value is None or value == "" or isinstance(value, bool):
        return None
    return float(str(value))


def _when(text: object) -> datetime | None:
    """Read a time as UTC. Azure writes up to seven digits of a second, and some old services no zone."""
    if not isinstance(text, str) or not text:
        return None
    moment = datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text))
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _texts(values: object) -> str:
    """A list of texts as one: `1,2,3`."""
    return ",".join(str(value) for value in values) if isinstance(values, list) else str(values or "")


# Virtual CPUs of the series that were named before names told them.
# https://learn.microsoft.com/azure/virtual-machines/sizes/previous-gen-sizes-list
_OLD_SIZES: Mapping[str, int] = {
    **dict.fromkeys(("A0", "A1", "D1", "DS1"), 1),
    **dict.fromkeys(("A2", "A5", "D2", "DS2", "D11", "DS11", "G1", "GS1"), 2),
    **dict.fromkeys(("A3", "A6", "D3", "DS3", "D12", "DS12", "G2", "GS2"), 4),
    **dict.fromkeys(("A4", "A7", "A8", "A10", "D4", "DS4", "D13", "DS13", "G3", "GS3"), 8),
    **dict.fromkeys(("A9", "A11", "D5", "DS5", "D14", "DS14", "G4", "GS4"), 16),
    **dict.fromkeys(("D15", "DS15"), 20),
    **dict.fromkeys(("G5", "GS5"), 32),
}
# Family, virtual CPUs, of which usable, features, accelerator, version:
# https://learn.microsoft.com/azure/virtual-machines/vm-naming-conventions
_SIZE = re.compile(r"(?:standard|basic)_(([a-z]+)(\d+)(?:-(\d+))?([a-z]*))(?:_[a-z]*\d+[a-z]*)*?(?:_v(\d+))?")


def vcpus(size: object) -> int | None:
    """The virtual CPUs of a size of machine, which its name tells: 4 of `Standard_D4s_v5`. None for other names."""
    named = _SIZE.fullmatch(str(size or "").lower().removesuffix("_promo"))
    if named is None:
        return None
    whole, family, number, usable, features, version = named.groups()
    if family in {"a", "d", "ds", "g", "gs"} and not features and int(version or 1) <= (1 if family == "a" else 2):
        return int(usable) if usable else _OLD_SIZES.get(whole.upper())
    return int(usable or number)


# --- Rows -------------------------------------------------------------------------------------------------------------


def _vm(row: Row) -> Facts:
    # One that is provisioned may run or not: Resource Graph has not looked into it yet.
    known = _word(row).lower() not in _PROVISIONED
    return Facts(
        word=_word(row) if known else "",
        capacity=_number(row.get("cpus")) or _number(vcpus(row.get("size"))),
        unit="vCPU",
        metadata=_facts(
            instance_type=row.get("size"),
            platform=row.get("osType"),
            priority=row.get("priority"),
            license=row.get("licenseType"),
            image=":".join(str(row[part]) for part in ("imagePublisher", "imageOffer", "imageSku") if row.get(part)),
            scale_set=_id(row.get("scaleSetId")),
        ),
    )


def _scale_set(row: Row) -> Facts:
    cpus, instances = vcpus(row.get("size")), _number(row.get("units"))
    # The instances of a flexible scale set are listed as machines, and counted there.
    flexible = str(row.get("orchestrationMode") or "").lower() == "flexible"
    return Facts(
        word=_word(row),
        capacity=None if flexible or cpus is None or instances is None else cpus * instances,
        unit="vCPU",
        metadata=_facts(
            instance_type=row.get("size"),
            instances=instances,
            orchestration=row.get("orchestrationMode"),
            platform=row.get("osType"),
            priority=row.get("priority"),
        ),
    )


def _disk(row: Row) -> Facts:
    return Facts(
        word=_word(row),
        silent=Status.IN_USE if row.get("managedBy") else Status.UNKNOWN,
        capacity=_number(row.get("storageGB")),
        unit="GiB",
        metadata=_facts(
            volume_type=row.get("size"),
            iops=_number(row.get("iops")),
            throughput_mb_s=_number(row.get("throughput")),
            attached_to=_id(row.get("managedBy")),
            platform=row.get("osType"),
        ),
    )


def _database(engine: str) -> Callable[[Row], Facts]:
    """Databases, and the servers, pools and instances that they are on."""

    def facts(row: Row) -> Facts:
        gib = _number(row.get("storageGB"))
        mib, size = _number(row.get("storageMB")), _number(row.get("maxSizeBytes"))
        if gib is None and size is not None and size > 0:  # -1: no limit of its own
            gib = size / 2**30
        if gib is None and mib is not None:
            gib = mib / 2**10
        return Facts(
            word=_word(row),
            capacity=gib,
            unit="GiB",
            metadata=_facts(
                engine=engine,
                version=row.get("version"),
                sku=row.get("size"),
                tier=row.get("tier"),
                units=_number(row.get("units")),  # vCores, DTUs, or the step within a family of caches
                vcores=_number(row.get("vCores")) or _number(vcpus(row.get("size"))),
                iops=_number(row.get("iops")),
                license=row.get("licenseType"),
                elastic_pool=_id(row.get("elasticPoolId")),
                zone_redundant=row.get("zoneRedundant"),
                high_availability=row.get("haMode"),
                replication_role=row.get("replicationRole"),
                api=row.get("cosmosApi"),
            ),
        )

    return facts


def _load_balancer(row: Row) -> Facts:
    return Facts(
        word=_word(row),
        ready=Status.RUNNING,
        metadata=_facts(
            sku=row.get("size"),
            tier=row.get("tier"),
            instances=_number(row.get("units")),
            instances_min=_number(row.get("autoscaleMin")),
            instances_max=_number(row.get("autoscaleMax")),
            frontends=row.get("frontends"),
            rules=row.get("rules"),
            backend_pools=row.get("backendPools"),
        ),
    )


def _network(row: Row) -> Facts:
    prefixes = row.get("addressPrefixes")
    networks = [ipaddress.ip_network(prefix, strict=False) for prefix in prefixes or () if prefix]
    addresses = sum(network.num_addresses for network in networks if network.version == 4)
    return Facts(
        word=_word(row),
        capacity=float(addresses) if addresses else None,
        unit="addresses" if addresses else "",
        metadata=_facts(
            sku=row.get("size"),
            address_prefixes=_texts(prefixes),
            subnets=row.get("subnets"),
            peerings=row.get("peerings"),
        ),
    )


def _cluster(row: Row) -> Facts:
    pools = [pool for pool in row.get("pools") or () if isinstance(pool, Mapping)]
    nodes = [number for pool in pools if (number := _number(pool.get("count"))) is not None]
    return Facts(
        word=_word(row),
        ready=Status.RUNNING,
        capacity=sum(nodes) if nodes else None,
        unit="nodes",
        metadata=_facts(
            version=row.get("version"),
            tier=row.get("tier"),
            node_pools=len(pools),
            node_types=_texts(sorted({str(pool["vmSize"]) for pool in pools if pool.get("vmSize")})),
            autoscaled_pools=sum(pool.get("enableAutoScaling") is True for pool in pools),
            node_resource_group=row.get("nodeResourceGroup"),
        ),
    )


# --- The tables -------------------------------------------------------------------------------------------------------

_COMPUTE, _VOLUME, _DB = ResourceType.COMPUTE, ResourceType.VOLUME, ResourceType.DATABASE
_BALANCER, _NET, _K8S = ResourceType.LOAD_BALANCER, ResourceType.NETWORK, ResourceType.KUBERNETES

KINDS: tuple[Kind, ...] = (
    Kind("azure:vm", "microsoft.compute/virtualmachines", _COMPUTE, _vm),
    Kind("azure:vmss", "microsoft.compute/virtualmachinescalesets", _COMPUTE, _scale_set),
    Kind("azure:disk", "microsoft.compute/disks", _VOLUME, _disk),
    Kind("azure:sql_database", "microsoft.sql/servers/databases", _DB, _database("sqlserver")),
    Kind("azure:sql_server", "microsoft.sql/servers", _DB, _database("sqlserver")),
    Kind("azure:sql_pool", "microsoft.sql/servers/elasticpools", _DB, _database("sqlserver")),
    Kind("azure:sql_instance", "microsoft.sql/managedinstances", _DB, _database("sqlserver")),
    Kind("azure:postgresql", "microsoft.dbforpostgresql/flexibleservers", _DB, _database("postgresql")),
    Kind("azure:postgresql_single", "microsoft.dbforpostgresql/servers", _DB, _database("postgresql")),
    Kind("azure:postgresql_cluster", "microsoft.dbforpostgresql/servergroupsv2", _DB, _database("postgresql")),
    Kind("azure:mysql", "microsoft.dbformysql/flexibleservers", _DB, _database("mysql")),
    Kind("azure:mysql_single", "microsoft.dbformysql/servers", _DB, _database("mysql")),
    Kind("azure:mariadb", "microsoft.dbformariadb/servers", _DB, _database("mariadb")),
    Kind("azure:redis", "microsoft.cache/redis", _DB, _database("redis")),
    Kind("azure:redis_enterprise", "microsoft.cache/redisenterprise", _DB, _database("redis")),
    Kind("azure:cosmosdb", "microsoft.documentdb/databaseaccounts", _DB, _database("cosmosdb")),
    Kind("azure:load_balancer", "microsoft.network/loadbalancers", _BALANCER, _load_balancer),
    Kind("azure:application_gateway", "microsoft.network/applicationgateways", _BALANCER, _load_balancer),
    Kind("azure:vnet", "microsoft.network/virtualnetworks", _NET, _network),
    Kind("azure:nat_gateway", "microsoft.network/natgateways", _NET, _network),
    Kind("azure:aks", "microsoft.containerservice/managedclusters", _K8S, _cluster),
    Kind("azure:openshift", "microsoft.redhatopenshift/openshiftclusters", _K8S, _cluster),
    Kind("azure:openshift_v3", "microsoft.containerservice/openshiftmanagedclusters", _K8S, _cluster),
)
_KINDS = {kind.azure_type: kind for kind in KINDS}

# Columns that every row has, and below, what is picked out of sku and properties, null where a kind has no such thing.
# Kinds that call the same thing by different names share a column: nulls too are sent, parsed and paid for in CPU.
_COMMON = ("id", "name", "type", "location", "resourceGroup", "subscriptionId", "tags", "zones", "managedBy")
_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "provisioningState": ("properties.provisioningState",),
    "state": (
        "properties.extended.instanceView.powerState.code",
        "properties.powerState.code",
        "properties.diskState",
        "properties.operationalState",
        "properties.resourceState",
        "properties.status",
        "properties.state",
        "properties.userVisibleState",
    ),
    "created": ("properties.timeCreated", "properties.creationDate"),
    "size": (
        "properties.hardwareProfile.vmSize",
        "sku.name",
        "properties.sku.name",
        "properties.currentServiceObjectiveName",
    ),
    "tier": ("sku.tier", "properties.sku.tier", "properties.edition"),
    "units": ("sku.capacity", "properties.sku.capacity", "properties.dtu"),
    "cpus": ("properties.hardwareProfile.vmSizeProperties.vCPUsAvailable",),
    "osType": (
        "properties.storageProfile.osDisk.osType",
        "properties.virtualMachineProfile.storageProfile.osDisk.osType",
        "properties.osType",
    ),
    "imagePublisher": ("properties.storageProfile.imageReference.publisher",),
    "imageOffer": ("properties.storageProfile.imageReference.offer",),
    "imageSku": ("properties.storageProfile.imageReference.sku",),
    "priority": ("properties.priority", "properties.virtualMachineProfile.priority"),
    "licenseType": ("properties.licenseType",),
    "scaleSetId": ("properties.virtualMachineScaleSet.id",),
    "orchestrationMode": ("properties.orchestrationMode",),
    "storageGB": ("properties.diskSizeGB", "properties.storage.storageSizeGB", "properties.storageSizeInGB"),
    "storageMB": ("properties.storageProfile.storageMB", "properties.storageMB"),
    "maxSizeBytes": ("properties.maxSizeBytes",),
    "iops": ("properties.diskIOPSReadWrite", "properties.storage.iops"),
    "throughput": ("properties.diskMBpsReadWrite",),
    "version": (
        "properties.version",
        "properties.redisVersion",
        "properties.kubernetesVersion",
        "properties.clusterProfile.version",
        "properties.openShiftVersion",
    ),
    "vCores": ("properties.vCores",),
    "elasticPoolId": ("properties.elasticPoolId",),
    "zoneRedundant": ("properties.zoneRedundant",),
    "haMode": ("properties.highAvailability.mode",),
    "replicationRole": ("properties.replicationRole",),
    "cosmosApi": ("properties.EnabledApiTypes",),
    "frontends": ("array_length(properties.frontendIPConfigurations)",),
    "rules": ("array_length(properties.loadBalancingRules)", "array_length(properties.requestRoutingRules)"),
    "backendPools": ("array_length(properties.backendAddressPools)",),
    "autoscaleMin": ("properties.autoscaleConfiguration.minCapacity",),
    "autoscaleMax": ("properties.autoscaleConfiguration.maxCapacity",),
    "addressPrefixes": ("properties.addressSpace.addressPrefixes",),
    "subnets": ("array_length(properties.subnets)",),
    "peerings": ("array_length(properties.virtualNetworkPeerings)",),
    "nodeResourceGroup": ("properties.nodeResourceGroup",),
    "pools": ("properties.agentPoolProfiles", "properties.workerProfiles"),
}


def _expression(paths: tuple[str, ...]) -> str:
    return paths[0] if len(paths) == 1 else f"coalesce({', '.join(paths)})"


_TYPES = ", ".join(f"'{kind.azure_type}'" for kind in KINDS)
_PROJECTED = ", ".join((*_COMMON, *(f"{name} = {_expression(paths)}" for name, paths in _COLUMNS.items())))
# Pages are stable only where rows are ordered by id and show it. `master` is the system database of every logical SQL
# server: nobody made it and nobody pays for it.
QUERY = f"""Resources
| where type in~ ({_TYPES})
| where id !endswith '/databases/master'
| project {_PROJECTED}
| order by id asc"""

VISIBLE = """ResourceContainers
| where type =~ 'microsoft.resources/subscriptions'
| project id, type, subscriptionId
| order by id asc"""
"""Which subscriptions can be read. One that cannot gives no rows and no error either, just as an empty one does."""


def _id(text: object) -> str:
    """An ARM id as our rows write it. Azure takes ids in any case and its services write the same one differently."""
    return str(text or "").lower()


def kind_of(row: Row) -> str:
    """The name here of what a row shows, or nothing."""
    kind = _KINDS.get(_id(row.get("type")))
    return kind.kind if kind else ""


def subscription_of(row: Row) -> str:
    """The id of the subscription that a row belongs to."""
    parts = _id(row.get("id")).split("/")
    return _id(row.get("subscriptionId")) or (parts[2] if len(parts) > 2 else "")


def to_resource(row: Row) -> Resource | None:
    """Read one row; None for what is no resource of ours, as `master` is none.

    Raises:
        KeyError, TypeError, ValueError and the like: the row has another form than Azure documents.
    """
    resource_id = _id(row["id"])
    if not resource_id:
        raise ValueError("the row has no id")
    kind = _KINDS.get(_id(row["type"]))
    if kind is None or resource_id.endswith("/databases/master"):
        return None
    facts = kind.facts(row)
    tags = row.get("tags")
    return Resource(
        account_id=subscription_of(row),
        region=str(row.get("location") or "").lower().replace(" ", ""),  # old services write `East US 2`
        kind=kind.kind,
        resource_id=resource_id,
        resource_name=str(row.get("name") or resource_id.rpartition("/")[2]),
        resource_type=kind.resource_type,
        status=_status(facts),
        cloud_status=facts.word,
        created_at=_when(row.get("created")),
        capacity=facts.capacity,
        unit=facts.unit,
        tags={str(key): str(value or "") for key, value in tags.items()} if isinstance(tags, Mapping) else {},
        metadata=_facts(
            **facts.metadata,
            provisioning_state=row.get("provisioningState"),
            resource_group=_id(row.get("resourceGroup")),
            zones=_texts(row.get("zones")),
        ),
    )
