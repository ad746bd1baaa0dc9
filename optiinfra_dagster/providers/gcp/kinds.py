"""What there is on Google Cloud: the asset types that are listed, and how an asset becomes a `Resource`.

One more kind is a line in `KINDS` and a function. Facts are taken by name, because an asset is the whole answer of
its own API: start-up scripts, SSH keys, certificates and passwords among it. Field names are those of the REST APIs
(Compute Engine v1, Filestore v1, Cloud SQL v1beta4, Memorystore v1, Spanner v1, Bigtable Admin v2, AlloyDB v1, GKE v1).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from optiinfra_dagster.model.inventory import Resource, ResourceType, Status
from optiinfra_dagster.providers.parsing import (
    Item,
    addresses,
    as_bool,
    as_datetime,
    as_dict,
    as_dicts,
    as_int,
    as_labels,
    as_number,
    as_text,
    as_texts,
    dig,
    facts,
    name_of,
    network,
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where an asset is: `name` is its full resource name, `zone` is empty unless it stands in one."""

    account_id: str
    name: str
    region: str
    zone: str


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of resource: its name in the catalogue, and how the resource of an asset is read."""

    name: str
    to_resource: Callable[[Item, Place], Resource]


# --- Places ---------------------------------------------------------------------------------------------------------

_ZONE = re.compile(r"([a-z]+(?:-[a-z]+)+\d+)-[a-z][a-z0-9]*")  # us-central1-a, us-south1-ai1b
_IN_NAME = re.compile(r"/(?:zones|regions|locations)/([^/]+)")


def place_of(asset: Item, project_id: str) -> Place:
    """Tell where an asset is: by its location, by its name, or else `global`.

    Raises:
        ValueError: the asset has no name.
    """
    name, data = name_of(asset, "name"), as_dict(asset, "resource", "data")
    in_name = _IN_NAME.search(name)
    told = (_last(data.get(key)) for key in ("zone", "region", "location"))
    location = (
        (in_name[1] if in_name else "")
        or as_text(dig(asset, "resource", "location"))
        or next(filter(None, told), "")
        or "global"
    )
    zone = _ZONE.fullmatch(location)
    return Place(project_id, name, zone[1] if zone else location, location if zone else "")


def _last(path: object) -> str:
    """The last part of a path or link: `.../machineTypes/e2-small` is e2-small."""
    return as_text(path).rpartition("/")[2]


def _path(told: object) -> str:
    """A link without its host and version: `projects/p/global/networks/n`; it names the same thing in every API."""
    link = as_text(told)
    return link[link.find("/projects/") + 1 :] if "/projects/" in link else link


# --- Values ---------------------------------------------------------------------------------------------------------

_STATUS_WORDS: Mapping[Status, str] = {
    Status.RUNNING: "RUNNING RUNNABLE RUNNING_WITH_ERROR RECONCILING DEGRADED ACTIVE UPDATING ONLINE_MAINTENANCE",
    # An instance that Compute Engine calls TERMINATED is switched off: it keeps its disks and can be started.
    Status.STOPPED: "TERMINATED STOPPED SUSPENDED DISABLED",
    Status.STARTING: ("PROVISIONING STAGING PENDING CREATING RESTORING PENDING_CREATE BOOTSTRAPPING STARTING RESUMING"),
    Status.STOPPING: "STOPPING PENDING_STOP SUSPENDING DEPROVISIONING DELETING PENDING_DELETE",
    Status.AVAILABLE: (
        "READY MAINTENANCE IMPORTING FAILING_OVER PERFORMING_MAINTENANCE PROMOTING RESIZING REVERTING SWITCHOVER EMPTY "
        "DRAINING"
    ),
    Status.ERROR: "ERROR FAILED REPAIRING UNAVAILABLE",
}
_STATUSES = {word: status for status, words in _STATUS_WORDS.items() for word in words.split()}


def _status(word: str) -> Status:
    return _STATUSES.get(word.upper(), Status.UNKNOWN)


def _digits(value: object) -> str | None:
    """The numeric id of a resource, which its metrics and costs carry, as text."""
    if isinstance(value, float):
        return f"{value:.0f}" if as_number(value) else None
    return as_text(value) if value else None


_SHARED_CORE = {"f1-micro": 1, "g1-small": 1, "e2-micro": 2, "e2-small": 2, "e2-medium": 2}
# Machine types with GPUs are named after these.
_OF_GPU_TYPES = {
    "a2-highgpu-1g": 12, "a2-highgpu-2g": 24, "a2-highgpu-4g": 48, "a2-highgpu-8g": 96, "a2-megagpu-16g": 96,
    "a2-ultragpu-1g": 12, "a2-ultragpu-2g": 24, "a2-ultragpu-4g": 48, "a2-ultragpu-8g": 96,
    "a3-highgpu-1g": 26, "a3-highgpu-2g": 52, "a3-highgpu-4g": 104, "a3-highgpu-8g": 208,
    "a3-edgegpu-8g": 208, "a3-megagpu-8g": 208, "a3-ultragpu-8g": 224, "a4-highgpu-8g": 224,
}  # fmt: skip
_NUMBERED = re.compile(
    r"(?:[a-z]\w*-)?custom-(?:(?:micro|small|medium)-)?(\d+)-"  # custom-4-8192, n2-custom-4-8192-ext
    r"|[a-z]\w*-(?:standard|highmem|highcpu|ultramem|megamem|hypermem)-(\d+)(?:-|$)"  # n1-standard-4, c3-highcpu-8-lssd
)
_SHARED_CUSTOM = re.compile(r"e2-custom-(?:micro|small|medium)-\d+")


def vcpus(machine_type: str) -> int | None:
    """The virtual CPUs of a machine type, told by its name; None for a name of another form.

    Source: Compute Engine's machine families resource and comparison guide.
    """
    if _SHARED_CUSTOM.fullmatch(machine_type):
        return 2
    known = _SHARED_CORE.get(machine_type) or _OF_GPU_TYPES.get(machine_type)
    numbered = _NUMBERED.match(machine_type)
    return known or (int(numbered[1] or numbered[2]) if numbered else None)


# --- Items ----------------------------------------------------------------------------------------------------------


def _instance(data: Item, place: Place) -> Resource:
    machine, state, scheduling = (
        _last(data.get("machineType")),
        as_text(data.get("status")),
        as_dict(data, "scheduling"),
    )
    interface: Item = next(iter(as_dicts(data.get("networkInterfaces"))), {})
    accelerators = as_dicts(data.get("guestAccelerators"))
    return Resource(
        account_id=place.account_id,
        region=place.region,
        kind="gcp:instance",
        resource_id=place.name,
        resource_name=as_text(data.get("name")) or _last(place.name),
        resource_type=ResourceType.COMPUTE,
        status=_status(state),
        cloud_status=state,
        created_at=as_datetime(data.get("creationTimestamp")),
        capacity=as_number(vcpus(machine)),
        unit="vCPU",
        tags=as_labels(data.get("labels")),
        metadata=facts(
            instance_id=_digits(data.get("id")),
            machine_type=machine,
            zone=place.zone,
            cpu_platform=data.get("cpuPlatform"),
            network=_path(interface.get("network")),
            subnetwork=_path(interface.get("subnetwork")),
            provisioning_model=scheduling.get("provisioningModel"),
            preemptible=as_bool(scheduling.get("preemptible")),
            disks=_count(data.get("disks")),
            gpus=sum(as_int(one.get("acceleratorCount")) or 0 for one in accelerators) or None,
            gpu_type=_last(accelerators[0].get("acceleratorType")) if accelerators else None,
            deletion_protection=as_bool(data.get("deletionProtection")),
            last_started_at=_iso(data.get("lastStartTimestamp")),
            stopped_at=_iso(data.get("lastStopTimestamp")) if state in {"TERMINATED", "STOPPED"} else None,
        ),
    )


def _iso(moment: object) -> str | None:
    time = as_datetime(moment)
    return time.isoformat(timespec="seconds") if time else None


def _count(value: object) -> int | None:
    """The length of a list. Google leaves out those that are empty."""
    return len(value) if isinstance(value, list) else 0 if value is None else None


def _disk(data: Item, place: Place) -> Resource:
    state, users = as_text(data.get("status")), as_texts(data.get("users"))
    status = _status(state)
    return Resource(
        account_id=place.account_id,
        region=place.region,
        kind="gcp:disk",
        resource_id=place.name,
        resource_name=as_text(data.get("name")) or _last(place.name),
        resource_type=ResourceType.VOLUME,
        status=Status.IN_USE if users and status is Status.AVAILABLE else status,
        cloud_status=state,
        created_at=as_datetime(data.get("creationTimestamp")),
        capacity=as_number(data.get("sizeGb")),
        unit="GiB",
        tags=as_labels(data.get("labels")),
        metadata=facts(
            disk_id=_digits(data.get("id")),
            volume_type=_last(data.get("type")),
            zone=place.zone,
            replica_zones=",".join(sorted(_last(zone) for zone in as_texts(data.get("replicaZones")))),
            iops=as_number(data.get("provisionedIops")),
            throughput_mib_s=as_number(data.get("provisionedThroughput")),
            attached_to=",".join(sorted(_last(user) for user in users)),
            multi_attach=as_bool(data.get("multiWriter")),
            source_image=_path(data.get("sourceImage")),
            last_attached_at=_iso(data.get("lastAttachTimestamp")),
            last_detached_at=_iso(data.get("lastDetachTimestamp")),
        ),
    )


def _sum(sizes: list[float | None]) -> float | None:
    """The sum, if all are known and there are any."""
    known = [size for size in sizes if size is not None]
    return sum(known) if known and len(known) == len(sizes) else None


def _filestore_instance(data: Item, place: Place) -> Resource:
    state, shares = as_text(data.get("state")), as_dicts(data.get("fileShares"))
    sizes = [as_number(share.get("capacityGb")) for share in shares]
    return Resource(
        account_id=place.account_id,
        region=place.region,
        kind="gcp:filestore_instance",
        resource_id=place.name,
        resource_name=_last(data.get("name")) or _last(place.name),
        resource_type=ResourceType.VOLUME,
        status=_status(state),
        cloud_status=state,
        created_at=as_datetime(data.get("createTime")),
        capacity=_sum(sizes),
        unit="GiB",
        tags=as_labels(data.get("labels")),
        metadata=facts(
            volume_type=data.get("tier"), zone=place.zone, shares=len(shares), protocol=data.get("protocol")
        ),
    )


def _sql_instance(data: Item, place: Place) -> Resource:
    settings, state = as_dict(data, "settings"), as_text(data.get("state"))
    # Cloud SQL says RUNNABLE of an instance that its owner has stopped, too.
    stopped = state == "RUNNABLE" and settings.get("activationPolicy") == "NEVER"
    return Resource(
        account_id=place.account_id,
        region=place.region if place.region != "global" else as_text(data.get("region")) or place.region,
        kind="gcp:sql_instance",
        resource_id=place.name,
        resource_name=as_text(data.get("name")) or _last(place.name),
        resource_type=ResourceType.DATABASE,
        status=Status.STOPPED if stopped else _status(state),
        cloud_status=state,
        created_at=as_datetime(data.get("createTime")),
        capacity=as_number(settings.get("dataDiskSizeGb")),
        unit="GiB",
        tags=as_labels(settings.get("userLabels")),
        metadata=facts(
            engine=data.get("databaseVersion"),
            **{"class": settings.get("tier")},
            vcpus=_sql_vcpus(as_text(settings.get("tier"))),
            zone=data.get("gceZone"),
            edition=settings.get("edition"),
            availability_type=settings.get("availabilityType"),
            activation_policy=settings.get("activationPolicy"),
            storage_type=settings.get("dataDiskType"),
            storage_grows=as_bool(settings.get("storageAutoResize")),
            instance_type=data.get("instanceType"),
            replica_of=data.get("masterInstanceName"),
            publicly_accessible=dig(settings, "ipConfiguration", "ipv4Enabled"),
            deletion_protection=as_bool(settings.get("deletionProtectionEnabled")),
        ),
    )


def _sql_vcpus(tier: str) -> int | None:
    """The vCPUs of db-custom-4-15360, db-n1-standard-2, db-f1-micro or db-perf-optimized-N-8."""
    optimized = re.fullmatch(r"db-perf-optimized-\w+-(\d+)", tier)
    return int(optimized[1]) if optimized else vcpus(tier.removeprefix("db-"))


def _redis_instance(data: Item, place: Place) -> Resource:
    state = as_text(data.get("state"))
    return Resource(
        account_id=place.account_id,
        region=place.region,
        kind="gcp:redis_instance",
        resource_id=place.name,
        resource_name=_last(data.get("name")) or _last(place.name),
        resource_type=ResourceType.DATABASE,
        status=_status(state),
        cloud_status=state,
        created_at=as_datetime(data.get("createTime")),
        capacity=as_number(data.get("memorySizeGb")),
        unit="GiB",
        tags=as_labels(data.get("labels")),
        metadata=facts(
            engine=data.get("redisVersion"),
            **{"class": data.get("tier")},
            zone=as_text(data.get("currentLocationId")) or data.get("locationId"),
            replicas=data.get("replicaCount"),
            network=_path(data.get("authorizedNetwork")),
        ),
    )


def _redis_cluster(data: Item, place: Place) -> Resource:
    state = as_text(data.get("state"))
    return Resource(
        account_id=place.account_id,
        region=place.region,
        kind="gcp:redis_cluster",
        resource_id=place.name,
        resource_name=_last(data.get("name")) or _last(place.name),
        resource_type=ResourceType.DATABASE,
        status=_status(state),
        cloud_status=state,
        created_at=as_datetime(data.get("createTime")),
        capacity=as_number(data.get("preciseSizeGb")) or as_number(data.get("sizeGb")),
        unit="GiB",
        tags=as_labels(data.get("labels")),
        metadata=facts(
            engine="redis",
            **{"class": data.get("nodeType")},
            shards=data.get("shardCount"),
            replicas=data.get("replicaCount"),
            deletion_protection=as_bool(data.get("deletionProtectionEnabled")),
        ),
    )


def _valkey_instance(data: Item, place: Place) -> Resource:
    state, shards, each = (
        as_text(data.get("state")),
        as_number(data.get("shardCount")),
        dig(data, "nodeConfig", "sizeGb"),
    )
    size = as_number(each)
    return Resource(
        account_id=place.account_id,
        region=place.region,
        kind="gcp:valkey_instance",
        resource_id=place.name,
        resource_name=_last(data.get("name")) or _last(place.name),
        resource_type=ResourceType.DATABASE,
        status=_status(state),
        cloud_status=state,
        created_at=as_datetime(data.get("createTime")),
        capacity=None if size is None or shards is None else size * shards,
        unit="GiB",
        tags=as_labels(data.get("labels")),
        metadata=facts(
            engine=data.get("engineVersion"),
            **{"class": data.get("nodeType")},
            mode=data.get("mode"),
            shards=shards,
            replicas=data.get("replicaCount"),
            deletion_protection=as_bool(data.get("deletionProtectionEnabled")),
        ),
    )


def _memcache_instance(data: Item, place: Place) -> Resource:
    state, nodes, mib = (
        as_text(data.get("state")),
        as_number(data.get("nodeCount")),
        dig(data, "nodeConfig", "memorySizeMb"),
    )
    size = as_number(mib)
    return Resource(
        account_id=place.account_id,
        region=place.region,
        kind="gcp:memcache_instance",
        resource_id=place.name,
        resource_name=_last(data.get("name")) or _last(place.name),
        resource_type=ResourceType.DATABASE,
        status=_status(state),
        cloud_status=state,
        created_at=as_datetime(data.get("createTime")),
        capacity=None if size is None or nodes is None else size * nodes / 1024,
        unit="GiB",
        tags=as_labels(data.get("labels")),
        metadata=facts(
            engine=data.get("memcacheVersion"),
            nodes=nodes,
            vcpus_per_node=as_number(dig(data, "nodeConfig", "cpuCount")),
            network=_path(data.get("authorizedNetwork")),
        ),
    )


def _bigtable_cluster(data: Item, place: Place) -> Resource:
    state = as_text(data.get("state"))
    return Resource(
        account_id=place.account_id,
        region=place.region,
        kind="gcp:bigtable_cluster",
        resource_id=place.name,
        resource_name=_last(data.get("name")) or _last(place.name),
        resource_type=ResourceType.DATABASE,
        status=_status(state),
        cloud_status=state,
        capacity=as_number(data.get("serveNodes")),
        unit="nodes",
        metadata=facts(
            engine="bigtable",
            instance=_parent(place.name),
            zone=place.zone,
            storage_type=data.get("defaultStorageType"),
            autoscaled=bool(as_dict(data, "clusterConfig", "clusterAutoscalingConfig")),
        ),
    )


def _spanner_instance(data: Item, place: Place) -> Resource:
    state, config = as_text(data.get("state")), _last(data.get("config"))
    units = as_number(data.get("processingUnits"))
    return Resource(
        account_id=place.account_id,
        # regional-us-central1, or the name of a multi-region such as nam3
        region=config.removeprefix("regional-") or place.region,
        kind="gcp:spanner_instance",
        resource_id=place.name,
        resource_name=_last(data.get("name")) or _last(place.name),
        resource_type=ResourceType.DATABASE,
        status=_status(state),
        cloud_status=state,
        created_at=as_datetime(data.get("createTime")),
        capacity=units / 1000 if units else as_number(data.get("nodeCount")),  # 1000 processing units are a node
        unit="nodes",
        tags=as_labels(data.get("labels")),
        metadata=facts(
            engine="spanner",
            config=config,
            edition=data.get("edition"),
            instance_type=data.get("instanceType"),
            processing_units=units,
        ),
    )


def _alloydb_cluster(data: Item, place: Place) -> Resource:
    state = as_text(data.get("state"))
    return Resource(
        account_id=place.account_id,
        region=place.region,
        kind="gcp:alloydb_cluster",
        resource_id=place.name,
        resource_name=_last(data.get("name")) or _last(place.name),
        resource_type=ResourceType.DATABASE,
        status=_status(state),
        cloud_status=state,
        created_at=as_datetime(data.get("createTime")),
        tags=as_labels(data.get("labels")),
        metadata=facts(
            engine=data.get("databaseVersion"), cluster_type=data.get("clusterType"), network=_path(data.get("network"))
        ),
    )


def _alloydb_instance(data: Item, place: Place) -> Resource:
    state = as_text(data.get("state"))
    return Resource(
        account_id=place.account_id,
        region=place.region,
        kind="gcp:alloydb_instance",
        resource_id=place.name,
        resource_name=_last(data.get("name")) or _last(place.name),
        resource_type=ResourceType.DATABASE,
        status=_status(state),
        cloud_status=state,
        created_at=as_datetime(data.get("createTime")),
        capacity=as_number(dig(data, "machineConfig", "cpuCount")),
        unit="vCPU",
        tags=as_labels(data.get("labels")),
        metadata=facts(
            engine="alloydb",
            cluster=_parent(place.name),
            instance_type=data.get("instanceType"),
            availability_type=data.get("availabilityType"),
            zone=data.get("gceZone"),
            nodes=dig(data, "readPoolConfig", "nodeCount"),
        ),
    )


def _parent(name: str) -> str:
    """The name of what holds the resource: `.../clusters/main/nodePools/blue` is in main."""
    as_dicts = name.split("/")
    return as_dicts[-3] if len(as_dicts) >= 3 else ""


def _forwarding_rule(data: Item, place: Place) -> Resource:
    word = as_text(data.get("pscConnectionStatus"))
    target = as_text(data.get("target")) or data.get("backendService")
    return Resource(
        account_id=place.account_id,
        region=place.region,
        kind="gcp:forwarding_rule",
        resource_id=place.name,
        resource_name=as_text(data.get("name")) or _last(place.name),
        resource_type=ResourceType.LOAD_BALANCER,
        # The API tells no state, save of a connection to a service of others: while it is listed, it forwards.
        status={"": Status.RUNNING, "ACCEPTED": Status.RUNNING, "PENDING": Status.STARTING}.get(word, Status.ERROR),
        cloud_status=word,
        created_at=as_datetime(data.get("creationTimestamp")),
        tags=as_labels(data.get("labels")),
        metadata=facts(
            forwarding_rule_id=_digits(data.get("id")),
            scheme=data.get("loadBalancingScheme"),
            protocol=data.get("IPProtocol"),
            ports=as_text(data.get("portRange")) or ",".join(as_texts(data.get("ports"))),
            network_tier=data.get("networkTier"),
            network=_path(data.get("network")),
            subnetwork=_path(data.get("subnetwork")),
            target=_path(target),
        ),
    )


def _network(data: Item, place: Place) -> Resource:
    return Resource(
        account_id=place.account_id,
        region=place.region,
        kind="gcp:network",
        resource_id=place.name,
        resource_name=as_text(data.get("name")) or _last(place.name),
        resource_type=ResourceType.NETWORK,
        status=Status.AVAILABLE,  # the API tells no state
        cloud_status="",
        created_at=as_datetime(data.get("creationTimestamp")),
        metadata=facts(
            network_id=_digits(data.get("id")),
            auto_create_subnetworks=as_bool(data.get("autoCreateSubnetworks")),
            routing_mode=dig(data, "routingConfig", "routingMode"),
            mtu=data.get("mtu"),
            cidr=network(data.get("IPv4Range")),  # of a legacy network
            subnetworks=_count(data.get("subnetworks")),
            peerings=_count(data.get("peerings")),
        ),
    )


def _subnetwork(data: Item, place: Place) -> Resource:
    size, state = addresses(data.get("ipCidrRange")), as_text(data.get("state"))
    return Resource(
        account_id=place.account_id,
        region=place.region,
        kind="gcp:subnetwork",
        resource_id=place.name,
        resource_name=as_text(data.get("name")) or _last(place.name),
        resource_type=ResourceType.NETWORK,
        status=_status(state) if state else Status.AVAILABLE,  # only proxy-only subnets have a state
        cloud_status=state,
        created_at=as_datetime(data.get("creationTimestamp")),
        # Google keeps four addresses of every primary range for itself (VPC: subnets, unusable addresses).
        capacity=None if size is None else max(size - 4.0, 0.0),
        unit="addresses",
        metadata=facts(
            subnetwork_id=_digits(data.get("id")),
            cidr=network(data.get("ipCidrRange")),
            network=_path(data.get("network")),
            purpose=data.get("purpose"),
            stack_type=data.get("stackType"),
            private_google_access=as_bool(data.get("privateIpGoogleAccess")),
            flow_logs=as_bool(data.get("enableFlowLogs")),
        ),
    )


def _router(data: Item, place: Place) -> Resource:
    return Resource(
        account_id=place.account_id,
        region=place.region,
        kind="gcp:router",
        resource_id=place.name,
        resource_name=as_text(data.get("name")) or _last(place.name),
        resource_type=ResourceType.NETWORK,
        status=Status.AVAILABLE,  # the API tells no state
        cloud_status="",
        created_at=as_datetime(data.get("creationTimestamp")),
        metadata=facts(
            router_id=_digits(data.get("id")),
            network=_path(data.get("network")),
            nat_gateways=_count(data.get("nats")),
            bgp_peers=_count(data.get("bgpPeers")),
        ),
    )


def _gke_cluster(data: Item, place: Place) -> Resource:
    state = as_text(data.get("status"))
    return Resource(
        account_id=place.account_id,
        region=place.region,
        kind="gcp:gke_cluster",
        resource_id=place.name,
        resource_name=as_text(data.get("name")) or _last(place.name),
        resource_type=ResourceType.KUBERNETES,
        status=_status(state),
        cloud_status=state,
        created_at=as_datetime(data.get("createTime")),
        capacity=as_number(data.get("currentNodeCount")),
        unit="nodes",
        tags=as_labels(data.get("resourceLabels")),
        metadata=facts(
            version=data.get("currentMasterVersion"),
            zone=place.zone,
            autopilot=dig(data, "autopilot", "enabled") is True,
            release_channel=dig(data, "releaseChannel", "channel"),
            network=data.get("network"),
            subnetwork=data.get("subnetwork"),
            locations=",".join(as_texts(data.get("locations"))),
            node_pools=_count(data.get("nodePools")),
            private_nodes=dig(data, "privateClusterConfig", "enablePrivateNodes"),
        ),
    )


def _gke_node_pool(data: Item, place: Place) -> Resource:
    state, config, scaling = as_text(data.get("status")), as_dict(data, "config"), as_dict(data, "autoscaling")
    per_zone, zones = as_number(data.get("initialNodeCount")), len(as_texts(data.get("locations"))) or 1
    return Resource(
        account_id=place.account_id,
        region=place.region,
        kind="gcp:gke_node_pool",
        resource_id=place.name,
        resource_name=as_text(data.get("name")) or _last(place.name),
        resource_type=ResourceType.KUBERNETES,
        status=_status(state),
        cloud_status=state,
        # A resize by hand changes this number too; under the autoscaler the pool does not tell its size.
        capacity=None if per_zone is None or scaling.get("enabled") is True else per_zone * zones,
        unit="nodes",
        tags=as_labels(config.get("resourceLabels")),
        metadata=facts(
            cluster=_parent(place.name),
            version=data.get("version"),
            zone=place.zone,
            machine_type=config.get("machineType"),
            image_type=config.get("imageType"),
            disk_type=config.get("diskType"),
            disk_gib=config.get("diskSizeGb"),
            spot=as_bool(config.get("spot")),
            preemptible=as_bool(config.get("preemptible")),
            autoscaled=as_bool(scaling.get("enabled")),
            min_nodes=scaling.get("minNodeCount"),
            max_nodes=scaling.get("maxNodeCount"),
        ),
    )


# --- The table ------------------------------------------------------------------------------------------------------

# By asset type. Disks and forwarding rules have another one where they are regional or global.
KINDS: Mapping[str, Kind] = {
    "compute.googleapis.com/Instance": Kind("gcp:instance", _instance),
    "compute.googleapis.com/Disk": Kind("gcp:disk", _disk),
    "compute.googleapis.com/RegionDisk": Kind("gcp:disk", _disk),
    "file.googleapis.com/Instance": Kind("gcp:filestore_instance", _filestore_instance),
    "sqladmin.googleapis.com/Instance": Kind("gcp:sql_instance", _sql_instance),
    "redis.googleapis.com/Instance": Kind("gcp:redis_instance", _redis_instance),
    "redis.googleapis.com/Cluster": Kind("gcp:redis_cluster", _redis_cluster),
    "memorystore.googleapis.com/Instance": Kind("gcp:valkey_instance", _valkey_instance),
    "memcache.googleapis.com/Instance": Kind("gcp:memcache_instance", _memcache_instance),
    "bigtableadmin.googleapis.com/Cluster": Kind("gcp:bigtable_cluster", _bigtable_cluster),
    "spanner.googleapis.com/Instance": Kind("gcp:spanner_instance", _spanner_instance),
    "alloydb.googleapis.com/Cluster": Kind("gcp:alloydb_cluster", _alloydb_cluster),
    "alloydb.googleapis.com/Instance": Kind("gcp:alloydb_instance", _alloydb_instance),
    "compute.googleapis.com/ForwardingRule": Kind("gcp:forwarding_rule", _forwarding_rule),
    "compute.googleapis.com/GlobalForwardingRule": Kind("gcp:forwarding_rule", _forwarding_rule),
    "compute.googleapis.com/Network": Kind("gcp:network", _network),
    "compute.googleapis.com/Subnetwork": Kind("gcp:subnetwork", _subnetwork),
    "compute.googleapis.com/Router": Kind("gcp:router", _router),  # Cloud NAT is part of it
    "container.googleapis.com/Cluster": Kind("gcp:gke_cluster", _gke_cluster),
    "container.googleapis.com/NodePool": Kind("gcp:gke_node_pool", _gke_node_pool),
}
