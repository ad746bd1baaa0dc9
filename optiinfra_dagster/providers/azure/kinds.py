"""What there is on Azure: the one query that lists it, and how a row of the answer becomes a `Resource`.

One more kind is a line in `KINDS` and a function; what that function reads is a line in `_COLUMNS`. Facts are asked for
by name, because properties also carry user names, keys, certificates and scripts: what is not named never leaves Azure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from optiinfra_dagster.model.inventory import Resource, ResourceType, Status
from optiinfra_dagster.providers.parsing import (
    Item,
    addresses,
    as_bool,
    as_datetime,
    as_dicts,
    as_labels,
    as_number,
    as_text,
    as_texts,
    dig,
    facts,
    name_of,
)

Row = Item
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
    Status.RUNNING: "active enabled running",
    Status.STOPPED: "deallocated disabled hibernated offline paused shutdown stopped autoclosed offlinesecondary",
    Status.STARTING: (
        "accepted creating enabling initializing provisioning registering restarting resuming starting uninitialized"
    ),
    Status.STOPPING: (
        "deallocating deleting deprovisioning disabling dropping hibernating pausing stopping unprovisioning"
    ),
    Status.TERMINATED: "deleted dropped",
    Status.AVAILABLE: (
        "copying frozen online onlinechangingdwperformancetiers readytoupload ready restoring scaling standby "
        "unattached activesasfrozen exporting importing linking recoveringscalefailure unlinking internallyready "
        "created moving"
    ),
    Status.IN_USE: "activesas activeupload attached reserved",
    Status.ERROR: (
        "canceled emergencymode failed inaccessible offlinechangingdwperformancetiers recovering recoverypending "
        "suspect scalefailed unrecoverable deletefailed dropfailed createfailed updatefailed enablefailed "
        "disablefailed scalingfailed timedout migrationfailed migrationcancellationfailed"
    ),
}
_STATUSES = {word: status for status, words in _STATUS_WORDS.items() for word in words.split()}
_PROVISIONED = {
    "succeeded", "updating", "upgrading", "migrating", "configuring", "configuringaad", "reconciling",
    "reconcilingclustercertificates", "reconcilingclusteretcdcertificates", "rotatingclustercertificates",
    "migrationsucceeded", "migrationcancelling", "migrated", "abortingmigration", "committingmigration",
    "pendingmigrationcommit",
}  # fmt: skip


def _status(told: Facts) -> Status:
    plain = told.word.lower().replace(" ", "")
    if not plain:
        return told.silent
    return told.ready if plain in _PROVISIONED else _STATUSES.get(plain, Status.UNKNOWN)


def _word(row: Row) -> str:
    """Azure's word for how a resource is: its state, else that of its last change.

    The state goes first because what was changed without success may run all the same. Machines write it
    `PowerState/running`.
    """
    return as_text(row.get("state")).rpartition("/")[2] or as_text(row.get("provisioningState"))


# --- Sizes ------------------------------------------------------------------------------------------------------------

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
    named = _SIZE.fullmatch(as_text(size).lower().removesuffix("_promo"))
    if named is None:
        return None
    whole, family, as_number, usable, features, version = named.groups()
    if family in {"a", "d", "ds", "g", "gs"} and not features and int(version or 1) <= (1 if family == "a" else 2):
        return int(usable) if usable else _OLD_SIZES.get(whole.upper())
    return int(usable or as_number)


# --- Rows -------------------------------------------------------------------------------------------------------------


def _vm(row: Row) -> Facts:
    # One that is provisioned may run or not: Resource Graph has not looked into it yet.
    known = _word(row).lower() not in _PROVISIONED
    return Facts(
        word=_word(row) if known else "",
        capacity=as_number(row.get("cpus")) or as_number(vcpus(row.get("size"))),
        unit="vCPU",
        metadata=facts(
            instance_type=row.get("size"),
            platform=row.get("osType"),
            priority=row.get("priority"),
            license=row.get("licenseType"),
            image=":".join(as_texts([row.get("imagePublisher"), row.get("imageOffer"), row.get("imageSku")])),
            scale_set=_id(row.get("scaleSetId")),
        ),
    )


def _scale_set(row: Row) -> Facts:
    cpus, instances = vcpus(row.get("size")), as_number(row.get("units"))
    # The instances of a flexible scale set are listed as machines, and counted there.
    flexible = as_text(row.get("orchestrationMode")).lower() == "flexible"
    return Facts(
        word=_word(row),
        capacity=None if flexible or cpus is None or instances is None else cpus * instances,
        unit="vCPU",
        metadata=facts(
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
        silent=Status.IN_USE if as_text(row.get("managedBy")) else Status.UNKNOWN,
        capacity=as_number(row.get("storageGB")),
        unit="GiB",
        metadata=facts(
            volume_type=row.get("size"),
            iops=as_number(row.get("iops")),
            throughput_mb_s=as_number(row.get("throughput")),
            attached_to=_id(row.get("managedBy")),
            platform=row.get("osType"),
        ),
    )


def _database(engine: str) -> Callable[[Row], Facts]:
    """Databases, and the servers, pools and instances that they are on."""

    def read(row: Row) -> Facts:
        gib = as_number(row.get("storageGB"))
        mib, size = as_number(row.get("storageMB")), as_number(row.get("maxSizeBytes"))
        if gib is None and size:  # -1, which is no number here, and 0: no limit of its own
            gib = size / 2**30
        if gib is None and mib is not None:
            gib = mib / 2**10
        return Facts(
            word=_word(row),
            capacity=gib,
            unit="GiB",
            metadata=facts(
                engine=engine,
                version=row.get("version"),
                sku=row.get("size"),
                tier=row.get("tier"),
                units=as_number(row.get("units")),  # vCores, DTUs, or the step within a family of caches
                vcores=as_number(row.get("vCores")) or as_number(vcpus(row.get("size"))),
                iops=as_number(row.get("iops")),
                license=row.get("licenseType"),
                elastic_pool=_id(row.get("elasticPoolId")),
                zone_redundant=as_bool(row.get("zoneRedundant")),
                high_availability=row.get("haMode"),
                replication_role=row.get("replicationRole"),
                api=as_text(row.get("cosmosApi")),
            ),
        )

    return read


def _load_balancer(row: Row) -> Facts:
    return Facts(
        word=_word(row),
        ready=Status.RUNNING,
        metadata=facts(
            sku=row.get("size"),
            tier=row.get("tier"),
            instances=as_number(row.get("units")),
            instances_min=as_number(row.get("autoscaleMin")),
            instances_max=as_number(row.get("autoscaleMax")),
            frontends=row.get("frontends"),
            rules=row.get("rules"),
            backend_pools=row.get("backendPools"),
        ),
    )


def _network(row: Row) -> Facts:
    prefixes = as_texts(row.get("addressPrefixes"))
    size = sum(addresses(prefix) or 0 for prefix in prefixes if ":" not in prefix)  # of IPv4
    return Facts(
        word=_word(row),
        capacity=float(size) if size else None,
        unit="addresses" if size else "",
        metadata=facts(
            sku=row.get("size"),
            address_prefixes=",".join(prefixes),
            subnets=row.get("subnets"),
            peerings=row.get("peerings"),
        ),
    )


def _cluster(row: Row) -> Facts:
    pools = as_dicts(row.get("pools"))
    nodes = [as_number(pool.get("count")) for pool in pools]
    known = [count for count in nodes if count is not None]
    return Facts(
        word=_word(row),
        ready=Status.RUNNING,
        capacity=sum(known) if known and len(known) == len(nodes) else None,
        unit="nodes",
        metadata=facts(
            version=row.get("version"),
            tier=row.get("tier"),
            node_pools=len(pools),
            node_types=",".join(sorted(set(as_texts([pool.get("vmSize") for pool in pools])))),
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
    Kind("azure:cosmosdb_mongo", "microsoft.documentdb/mongoclusters", _DB, _database("mongodb")),
    Kind("azure:synapse_pool", "microsoft.synapse/workspaces/sqlpools", _DB, _database("sqlserver")),
    Kind("azure:load_balancer", "microsoft.network/loadbalancers", _BALANCER, _load_balancer),
    Kind("azure:application_gateway", "microsoft.network/applicationgateways", _BALANCER, _load_balancer),
    Kind("azure:front_door", "microsoft.cdn/profiles", _BALANCER, _load_balancer),
    Kind("azure:front_door_classic", "microsoft.network/frontdoors", _BALANCER, _load_balancer),
    Kind("azure:vnet", "microsoft.network/virtualnetworks", _NET, _network),
    Kind("azure:nat_gateway", "microsoft.network/natgateways", _NET, _network),
    Kind("azure:vnet_gateway", "microsoft.network/virtualnetworkgateways", _NET, _network),
    Kind("azure:firewall", "microsoft.network/azurefirewalls", _NET, _network),
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


def _id(told: object) -> str:
    """An ARM id as our rows write it. Azure takes ids in any case and its services write the same one differently."""
    return as_text(told).lower()


def kind_of(row: Row) -> str:
    """The name here of what a row shows, or nothing."""
    kind = _KINDS.get(_id(dig(row, "type")))
    return kind.kind if kind else ""


def subscription_of(row: Row) -> str:
    """The id of the subscription that a row belongs to."""
    named = _id(dig(row, "id")).split("/")
    return (named[2] if len(named) > 2 else "") or _id(dig(row, "subscriptionId"))


def to_resource(row: Row) -> Resource | None:
    """Read one row; None for what is no resource of ours, as `master` is none.

    Raises:
        ValueError and the like: the row has no id or type.
    """
    resource_id, kind = _id(name_of(row, "id")), _KINDS.get(_id(name_of(row, "type")))
    if kind is None or resource_id.endswith("/databases/master"):
        return None
    told = kind.facts(row)
    return Resource(
        account_id=subscription_of(row),
        region=as_text(row.get("location")).lower().replace(" ", ""),  # old services write `East US 2`
        kind=kind.kind,
        resource_id=resource_id,
        resource_name=as_text(row.get("name")) or resource_id.rpartition("/")[2] or resource_id,
        resource_type=kind.resource_type,
        status=_status(told),
        cloud_status=told.word,
        created_at=as_datetime(row.get("created")),
        capacity=told.capacity,
        unit=told.unit,
        tags=as_labels(row.get("tags")),
        metadata=facts(
            **told.metadata,
            provisioning_state=row.get("provisioningState"),
            resource_group=_id(row.get("resourceGroup")),
            zones=",".join(as_texts(row.get("zones"))),
        ),
    )
