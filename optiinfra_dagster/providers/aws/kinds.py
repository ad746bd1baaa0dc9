"""What there is on AWS: the call that lists each kind, and how an item of its answer becomes a `Resource`.

One more kind is a line in `LISTINGS` and a function. Facts are taken by name, because the answers also carry user
names, endpoints and certificates; what changes by itself all the time, such as a table's size, is left out, so that a
change of a resource is something that somebody did.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from optiinfra_dagster.model.inventory import Resource, ResourceType, Status
from optiinfra_dagster.providers.parsing import (
    Item,
    addresses,
    as_bool,
    as_datetime,
    as_dict,
    as_dicts,
    as_labels,
    as_number,
    as_text,
    as_texts,
    dig,
    facts,
    name_of,
    network,
    percent,
)

_ARN = re.compile(r"arn:[^:\s]+:[^:\s]+:[^:\s]*:[^:\s]*:\S+")
_ACCOUNT = re.compile(r"\d{12}")


@dataclass(frozen=True, slots=True)
class Place:
    """Where an item was listed: what its ARN is built from where the answer holds none."""

    partition: str
    account_id: str
    region: str

    def arn(self, service: str, path: str, owner: object = None, told: object = None) -> str:
        """The ARN that is `told`, else one of this place: `arn:aws:ec2:us-east-1:123456789012:instance/i-0abc`."""
        if _ARN.fullmatch(as_text(told)):
            return as_text(told)
        account = as_text(owner) if _ACCOUNT.fullmatch(as_text(owner)) else self.account_id
        return f"arn:{self.partition}:{service}:{self.region}:{account}:{path}"


@dataclass(frozen=True, slots=True)
class Listing:
    """How one kind is listed in a region.

    `id_key` names an item in messages; `actions` are the permissions in IAM, separated by spaces; `items` calls the
    service's client and yields what the answers hold; `to_resource` reads one of them.
    """

    kind: str
    service: str
    id_key: str
    actions: str
    items: Callable[[Any], Iterator[Item]]
    to_resource: Callable[[Item, Place], Resource]


# --- Calls ----------------------------------------------------------------------------------------------------------


def _paged(operation: str, page_size: int, key: str) -> Callable[[Any], Iterator[Item]]:
    """List by the SDK's paginator, with the largest page that the API takes."""

    def items(client: Any) -> Iterator[Item]:
        for page in client.get_paginator(operation).paginate(PaginationConfig={"PageSize": page_size}):
            yield from page.get(key) or ()

    return items


def _instances(ec2: Any) -> Iterator[Item]:
    for reservation in _paged("describe_instances", 1000, "Reservations")(ec2):
        for instance in as_dicts(dig(reservation, "Instances")):
            yield {**instance, "OwnerId": reservation.get("OwnerId")}


def _tagged(
    listed: Callable[[Any], Iterator[Item]], id_key: str, asked_by: str, answered_by: str
) -> Callable[[Any], Iterator[Item]]:
    """List load balancers with their tags, which are asked for separately, 20 at a time.

    Where tags are refused, the load balancers still come, without tags; the refusal is raised at the end.
    """

    def tags_of(client: Any, ids: Sequence[str]) -> dict[str, Any]:
        try:
            answer = client.describe_tags(**{asked_by: list(ids)})
        except ClientError as error:
            # Deleted since it was listed, and it takes the tags of its 19 neighbours with it.
            if "NotFound" not in error.response["Error"]["Code"]:
                raise
            return {} if len(ids) == 1 else {key: tags for one in ids for key, tags in tags_of(client, [one]).items()}
        return {as_text(entry.get(answered_by)): entry.get("Tags") for entry in as_dicts(answer.get("TagDescriptions"))}

    def items(client: Any) -> Iterator[Item]:
        refused: ClientError | None = None
        for some in _batches(listed(client), 20):
            tags: dict[str, Any] = {}
            ids = [one for item in some if (one := as_text(item.get(id_key)))]
            try:
                tags = tags_of(client, ids) if ids and refused is None else {}
            except ClientError as error:
                refused = error
            for item in some:
                yield {**item, "Tags": tags.get(as_text(item.get(id_key)))}
        if refused is not None:
            raise refused

    return items


def _each(
    names: Iterable[str], describe: Callable[[str], Iterator[Item]], failures: list[ClientError]
) -> Iterator[Item]:
    """Describe one by one what the API lists by name only.

    What was deleted in between is no loss. A failure costs the one name, except that a refusal would be repeated.
    """
    for name in names:
        try:
            yield from describe(name)
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if "NotFound" not in code:
                failures.append(error)
            if "AccessDenied" in code:
                return


def _names(client: Any, operation: str, key: str, **asked: str) -> Iterator[str]:
    for page in client.get_paginator(operation).paginate(PaginationConfig={"PageSize": 100}, **asked):
        yield from as_texts(page.get(key))


def _kubernetes(eks: Any) -> Iterator[Item]:
    """Clusters, then their node groups: these are known by `nodegroupName`."""

    def node_groups(cluster: str) -> Iterator[Item]:
        for name in _names(eks, "list_nodegroups", "nodegroups", clusterName=cluster):
            yield as_dict(eks.describe_nodegroup(clusterName=cluster, nodegroupName=name), "nodegroup")

    failures: list[ClientError] = []
    clusters = list(_names(eks, "list_clusters", "clusters"))
    yield from _each(clusters, lambda name: iter([as_dict(eks.describe_cluster(name=name), "cluster")]), failures)
    yield from _each(clusters, node_groups, failures)
    if failures:
        raise failures[0]


def _tables(dynamodb: Any) -> Iterator[Item]:
    failures: list[ClientError] = []
    names = _names(dynamodb, "list_tables", "TableNames")
    yield from _each(names, lambda name: iter([as_dict(dynamodb.describe_table(TableName=name), "Table")]), failures)
    if failures:
        raise failures[0]


def _batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    batch: list[Item] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


# --- Items ----------------------------------------------------------------------------------------------------------

# The words of all services: in lower case, cut at a comma, with dashes.
_STATUS_WORDS: Mapping[Status, str] = {
    Status.RUNNING: "running active active-impaired updating degraded replication-not-authorized",
    Status.STOPPED: "stopped paused archived",
    Status.STARTING: "pending creating starting rebooting rebooting-cluster-nodes provisioning resuming",
    Status.STOPPING: "shutting-down stopping pausing archiving deleting delete-precheck final-snapshot",
    Status.TERMINATED: "terminated deleted",
    Status.AVAILABLE: (
        "available backing-up backtracking cancelling-resize configuring-associated-roles "
        "configuring-enhanced-monitoring configuring-iam-database-auth configuring-log-exports converting-to-vpc "
        "failing-over maintenance migrating modifying moving-to-vpc preparing-data-migration promoting renaming "
        "resetting-master-credentials resizing rotating-keys scaling-capacity scaling-compute scaling-storage "
        "snapshotting storage-config-upgrade storage-initialization storage-optimization update-iam-db-auth "
        "updating-hsm upgrading"
    ),
    Status.IN_USE: "in-use",
    Status.ERROR: (
        "cloning-failed create-failed delete-failed error failed failed-insufficient-capacity hardware-failure "
        "inaccessible-encryption-credentials inaccessible-encryption-credentials-recoverable incompatible-create "
        "incompatible-hsm incompatible-network incompatible-option-group incompatible-parameters incompatible-restore "
        "insufficient-capacity insufficient-resource-limits migration-failed restore-error restore-failed storage-full "
        "unavailable"
    ),
}
_STATUSES = {word: status for status, words in _STATUS_WORDS.items() for word in words.split()}


def _status(word: str) -> Status:
    plain = word.lower().partition(",")[0].replace(" ", "-").replace("_", "-")
    return _STATUSES.get(plain, Status.UNKNOWN)


def _count(value: object) -> int | None:
    return len(value) if isinstance(value, list) else None


# `User initiated (2024-05-01 10:20:30 GMT)`
_STOPPED_AT = re.compile(r"\((\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) GMT\)")


def _instance(item: Item, place: Place) -> Resource:
    name, tags, state = name_of(item, "InstanceId"), as_labels(item.get("Tags")), as_text(dig(item, "State", "Name"))
    cores, threads = (
        as_number(dig(item, "CpuOptions", "CoreCount")),
        as_number(dig(item, "CpuOptions", "ThreadsPerCore")),
    )
    monitoring = as_text(dig(item, "Monitoring", "State"))
    said = _STOPPED_AT.search(as_text(item.get("StateTransitionReason")))
    stopped = as_datetime(said[1]) if said else None
    return Resource(
        account_id=place.account_id,
        region=place.region,
        kind="ec2:instance",
        resource_id=place.arn("ec2", f"instance/{name}", item.get("OwnerId")),
        resource_name=tags.get("Name") or name,
        resource_type=ResourceType.COMPUTE,
        status=_status(state),
        cloud_status=state,
        created_at=as_datetime(item.get("LaunchTime")),  # of the last start: EC2 tells no earlier time
        capacity=cores * threads if cores and threads else None,
        unit="vCPU",
        tags=tags,
        metadata=facts(
            instance_type=item.get("InstanceType"),
            hypervisor=item.get("Hypervisor"),
            architecture=item.get("Architecture"),
            platform=as_text(item.get("PlatformDetails")) or item.get("Platform"),
            lifecycle=item.get("InstanceLifecycle"),
            tenancy=dig(item, "Placement", "Tenancy"),
            availability_zone=dig(item, "Placement", "AvailabilityZone"),
            vpc_id=item.get("VpcId"),
            subnet_id=item.get("SubnetId"),
            image_id=item.get("ImageId"),
            ebs_optimized=as_bool(item.get("EbsOptimized")),
            detailed_monitoring=monitoring in {"enabled", "pending"} if monitoring else None,
            stopped_at=stopped.isoformat() if stopped else None,
        ),
    )


def _volume(item: Item, place: Place) -> Resource:
    name, tags, state = name_of(item, "VolumeId"), as_labels(item.get("Tags")), as_text(item.get("State"))
    attached_to = sorted({as_text(one.get("InstanceId")) for one in as_dicts(item.get("Attachments"))} - {""})
    return Resource(
        account_id=place.account_id,
        region=place.region,
        kind="ebs:volume",
        resource_id=place.arn("ec2", f"volume/{name}"),
        resource_name=tags.get("Name") or name,
        resource_type=ResourceType.VOLUME,
        status=_status(state),
        cloud_status=state,
        created_at=as_datetime(item.get("CreateTime")),
        capacity=as_number(item.get("Size")),
        unit="GiB",
        tags=tags,
        metadata=facts(
            volume_type=item.get("VolumeType"),
            iops=as_number(item.get("Iops")),
            throughput_mib_s=as_number(item.get("Throughput")),
            availability_zone=item.get("AvailabilityZone"),
            attached_to=",".join(attached_to),
            encrypted=as_bool(item.get("Encrypted")),
            multi_attach=as_bool(item.get("MultiAttachEnabled")),
            snapshot_id=item.get("SnapshotId"),
        ),
    )


def grows_by_itself(engine: str) -> bool:
    """Whether storage is the cluster's and has no allocated size: the API then says 1 GiB."""
    return engine.startswith(("aurora", "docdb", "neptune"))


def _database(item: Item, place: Place) -> Resource:
    name, engine = name_of(item, "DBInstanceIdentifier"), as_text(item.get("Engine"))
    state = as_text(item.get("DBInstanceStatus"))
    return Resource(
        account_id=place.account_id,
        region=place.region,
        kind="rds:db",
        resource_id=place.arn("rds", f"db:{name}", told=item.get("DBInstanceArn")),
        resource_name=name,
        resource_type=ResourceType.DATABASE,
        status=_status(state),
        cloud_status=state,
        created_at=as_datetime(item.get("InstanceCreateTime")),
        capacity=None if grows_by_itself(engine) else as_number(item.get("AllocatedStorage")),
        unit="GiB",
        tags=as_labels(item.get("TagList")),
        metadata=facts(
            engine=engine,
            engine_version=item.get("EngineVersion"),
            **{"class": item.get("DBInstanceClass")},
            multi_az=as_bool(item.get("MultiAZ")),
            storage_type=item.get("StorageType"),
            iops=as_number(item.get("Iops")),
            availability_zone=item.get("AvailabilityZone"),
            vpc_id=dig(item, "DBSubnetGroup", "VpcId"),
            cluster=item.get("DBClusterIdentifier"),
            replica_of=item.get("ReadReplicaSourceDBInstanceIdentifier"),
            license_model=item.get("LicenseModel"),
            publicly_accessible=as_bool(item.get("PubliclyAccessible")),
            encrypted=as_bool(item.get("StorageEncrypted")),
        ),
    )


def _database_cluster(item: Item, place: Place) -> Resource:
    name, engine = name_of(item, "DBClusterIdentifier"), as_text(item.get("Engine"))
    state = as_text(item.get("Status"))
    serverless = as_dict(item, "ServerlessV2ScalingConfiguration") or as_dict(item, "ScalingConfigurationInfo")
    return Resource(
        account_id=place.account_id,
        region=place.region,
        kind="rds:cluster",
        resource_id=place.arn("rds", f"cluster:{name}", told=item.get("DBClusterArn")),
        resource_name=name,
        resource_type=ResourceType.DATABASE,
        status=_status(state),
        cloud_status=state,
        created_at=as_datetime(item.get("ClusterCreateTime")),
        capacity=None if grows_by_itself(engine) else as_number(item.get("AllocatedStorage")),
        unit="GiB",
        tags=as_labels(item.get("TagList")),
        metadata=facts(
            engine=engine,
            engine_version=item.get("EngineVersion"),
            engine_mode=item.get("EngineMode"),
            **{"class": item.get("DBClusterInstanceClass")},
            multi_az=as_bool(item.get("MultiAZ")),
            members=_count(item.get("DBClusterMembers")),
            min_acu=as_number(serverless.get("MinCapacity")),
            max_acu=as_number(serverless.get("MaxCapacity")),
            encrypted=as_bool(item.get("StorageEncrypted")),
        ),
    )


_LOAD_BALANCER_TYPES = {"app": "application", "net": "network", "gwy": "gateway"}


def _load_balancer(item: Item, place: Place) -> Resource:
    arn, state = name_of(item, "LoadBalancerArn"), as_text(dig(item, "State", "Code"))
    _, family, name, _ = arn.rsplit("/", 3)  # ...:loadbalancer/app/name/0123456789abcdef
    family = _LOAD_BALANCER_TYPES.get(family) or as_text(item.get("Type")) or family
    return Resource(
        account_id=place.account_id,
        region=place.region,
        kind=f"elbv2:{family}",
        resource_id=arn,
        resource_name=as_text(item.get("LoadBalancerName")) or name,
        resource_type=ResourceType.LOAD_BALANCER,
        status=_status(state),
        cloud_status=state,
        created_at=as_datetime(item.get("CreatedTime")),
        tags=as_labels(item.get("Tags")),
        metadata=facts(
            scheme=item.get("Scheme"),
            vpc_id=item.get("VpcId"),
            ip_address_type=item.get("IpAddressType"),
            availability_zones=_count(item.get("AvailabilityZones")),
        ),
    )


def _classic_load_balancer(item: Item, place: Place) -> Resource:
    name = name_of(item, "LoadBalancerName")
    return Resource(
        account_id=place.account_id,
        region=place.region,
        kind="elb:classic",
        resource_id=place.arn("elasticloadbalancing", f"loadbalancer/{name}"),
        resource_name=name,
        resource_type=ResourceType.LOAD_BALANCER,
        status=Status.RUNNING,  # the API tells no state: while it is listed, it takes connections
        cloud_status="",
        created_at=as_datetime(item.get("CreatedTime")),
        tags=as_labels(item.get("Tags")),
        metadata=facts(
            scheme=item.get("Scheme"),
            vpc_id=item.get("VPCId"),
            availability_zones=_count(item.get("AvailabilityZones")),
            instances=_count(item.get("Instances")),
        ),
    )


def _vpc(item: Item, place: Place) -> Resource:
    name, tags, state = name_of(item, "VpcId"), as_labels(item.get("Tags")), as_text(item.get("State"))
    return Resource(
        account_id=place.account_id,
        region=place.region,
        kind="ec2:vpc",
        resource_id=place.arn("ec2", f"vpc/{name}", item.get("OwnerId")),
        resource_name=tags.get("Name") or name,
        resource_type=ResourceType.NETWORK,
        status=_status(state),
        cloud_status=state,
        tags=tags,
        metadata=facts(
            cidr=network(item.get("CidrBlock")),
            is_default=as_bool(item.get("IsDefault")),
            tenancy=item.get("InstanceTenancy"),
        ),
    )


def _subnet(item: Item, place: Place) -> Resource:
    name, tags, state = name_of(item, "SubnetId"), as_labels(item.get("Tags")), as_text(item.get("State"))
    size, free = addresses(item.get("CidrBlock")), as_number(item.get("AvailableIpAddressCount"))
    # AWS keeps five addresses of every subnet for itself (VPC user guide: subnet CIDR blocks).
    usable = None if size is None else max(size - 5.0, 0.0)
    return Resource(
        account_id=place.account_id,
        region=place.region,
        kind="ec2:subnet",
        resource_id=place.arn("ec2", f"subnet/{name}", item.get("OwnerId"), item.get("SubnetArn")),
        resource_name=tags.get("Name") or name,
        resource_type=ResourceType.NETWORK,
        status=_status(state),
        cloud_status=state,
        capacity=usable,
        unit="addresses",
        utilization=None if usable is None or free is None else percent(usable - free, usable),
        tags=tags,
        metadata=facts(
            cidr=network(item.get("CidrBlock")),
            vpc_id=item.get("VpcId"),
            availability_zone=item.get("AvailabilityZone"),
            is_default=as_bool(item.get("DefaultForAz")),
            public=as_bool(item.get("MapPublicIpOnLaunch")),
        ),
    )


def _kubernetes_cluster(item: Item, place: Place) -> Resource:
    name, state = name_of(item, "name"), as_text(item.get("status"))
    vpc = as_dict(item, "resourcesVpcConfig")
    return Resource(
        account_id=place.account_id,
        region=place.region,
        kind="eks:cluster",
        resource_id=place.arn("eks", f"cluster/{name}", told=item.get("arn")),
        resource_name=name,
        resource_type=ResourceType.KUBERNETES,
        status=_status(state),
        cloud_status=state,
        created_at=as_datetime(item.get("createdAt")),
        tags=as_labels(item.get("tags")),
        metadata=facts(
            version=item.get("version"),
            platform_version=item.get("platformVersion"),
            vpc_id=vpc.get("vpcId"),
            public_endpoint=as_bool(vpc.get("endpointPublicAccess")),
        ),
    )


def _node_group(item: Item, place: Place) -> Resource:
    name, cluster, state = name_of(item, "nodegroupName"), as_text(item.get("clusterName")), as_text(item.get("status"))
    return Resource(
        account_id=place.account_id,
        region=place.region,
        kind="eks:nodegroup",
        resource_id=place.arn("eks", f"nodegroup/{cluster}/{name}", told=item.get("nodegroupArn")),
        resource_name=name,
        resource_type=ResourceType.KUBERNETES,
        status=_status(state),
        cloud_status=state,
        created_at=as_datetime(item.get("createdAt")),
        capacity=as_number(dig(item, "scalingConfig", "desiredSize")),
        unit="nodes",
        tags=as_labels(item.get("tags")),
        metadata=facts(
            cluster=cluster,
            version=item.get("version"),
            capacity_type=item.get("capacityType"),
            instance_types=",".join(as_texts(item.get("instanceTypes"))),
            ami_type=item.get("amiType"),
        ),
    )


def _kubernetes_part(item: Item, place: Place) -> Resource:
    return _node_group(item, place) if "nodegroupName" in item else _kubernetes_cluster(item, place)


def _nat_gateway(item: Item, place: Place) -> Resource:
    name, tags, state = name_of(item, "NatGatewayId"), as_labels(item.get("Tags")), as_text(item.get("State"))
    return Resource(
        account_id=place.account_id,
        region=place.region,
        kind="ec2:nat_gateway",
        resource_id=place.arn("ec2", f"natgateway/{name}"),
        resource_name=tags.get("Name") or name,
        resource_type=ResourceType.NETWORK,
        status=_status(state),
        cloud_status=state,
        created_at=as_datetime(item.get("CreateTime")),
        tags=tags,
        metadata=facts(
            vpc_id=item.get("VpcId"), subnet_id=item.get("SubnetId"), connectivity=item.get("ConnectivityType")
        ),
    )


def _cache_cluster(item: Item, place: Place) -> Resource:
    name, state = name_of(item, "CacheClusterId"), as_text(item.get("CacheClusterStatus"))
    return Resource(
        account_id=place.account_id,
        region=place.region,
        kind="elasticache:cluster",
        resource_id=place.arn("elasticache", f"cluster:{name}", told=item.get("ARN")),
        resource_name=name,
        resource_type=ResourceType.DATABASE,
        status=_status(state),
        cloud_status=state,
        created_at=as_datetime(item.get("CacheClusterCreateTime")),
        capacity=as_number(item.get("NumCacheNodes")),
        unit="nodes",
        metadata=facts(
            engine=item.get("Engine"),
            engine_version=item.get("EngineVersion"),
            **{"class": item.get("CacheNodeType")},
            availability_zone=item.get("PreferredAvailabilityZone"),
            replication_group=item.get("ReplicationGroupId"),
            encrypted=as_bool(item.get("AtRestEncryptionEnabled")),
        ),
    )


def _warehouse(item: Item, place: Place) -> Resource:
    name, state = name_of(item, "ClusterIdentifier"), as_text(item.get("ClusterStatus"))
    return Resource(
        account_id=place.account_id,
        region=place.region,
        kind="redshift:cluster",
        resource_id=place.arn("redshift", f"cluster:{name}"),
        resource_name=name,
        resource_type=ResourceType.DATABASE,
        status=_status(state),
        cloud_status=state,
        created_at=as_datetime(item.get("ClusterCreateTime")),
        capacity=as_number(item.get("NumberOfNodes")),
        unit="nodes",
        tags=as_labels(item.get("Tags")),
        metadata=facts(
            engine="redshift",
            engine_version=item.get("ClusterVersion"),
            **{"class": item.get("NodeType")},
            availability_zone=item.get("AvailabilityZone"),
            vpc_id=item.get("VpcId"),
            publicly_accessible=as_bool(item.get("PubliclyAccessible")),
            encrypted=as_bool(item.get("Encrypted")),
        ),
    )


def _table(item: Item, place: Place) -> Resource:
    name, state = name_of(item, "TableName"), as_text(item.get("TableStatus"))
    throughput = as_dict(item, "ProvisionedThroughput")
    return Resource(
        account_id=place.account_id,
        region=place.region,
        kind="dynamodb:table",
        resource_id=place.arn("dynamodb", f"table/{name}", told=item.get("TableArn")),
        resource_name=name,
        resource_type=ResourceType.DATABASE,
        status=_status(state),
        cloud_status=state,
        created_at=as_datetime(item.get("CreationDateTime")),
        metadata=facts(
            engine="dynamodb",
            billing_mode=dig(item, "BillingModeSummary", "BillingMode"),
            table_class=dig(item, "TableClassSummary", "TableClass"),
            read_capacity_units=as_number(throughput.get("ReadCapacityUnits")),
            write_capacity_units=as_number(throughput.get("WriteCapacityUnits")),
        ),
    )


def _file_system(item: Item, place: Place) -> Resource:
    name, state = name_of(item, "FileSystemId"), as_text(item.get("LifeCycleState"))
    tags = as_labels(item.get("Tags"))
    return Resource(
        account_id=place.account_id,
        region=place.region,
        kind="efs:filesystem",
        resource_id=place.arn("elasticfilesystem", f"file-system/{name}", told=item.get("FileSystemArn")),
        resource_name=as_text(item.get("Name")) or tags.get("Name") or name,
        resource_type=ResourceType.VOLUME,
        status=_status(state),
        cloud_status=state,
        created_at=as_datetime(item.get("CreationTime")),
        tags=tags,
        metadata=facts(
            performance_mode=item.get("PerformanceMode"),
            throughput_mode=item.get("ThroughputMode"),
            availability_zone=item.get("AvailabilityZoneName"),
            encrypted=as_bool(item.get("Encrypted")),
        ),
    )


# --- The table ------------------------------------------------------------------------------------------------------


_LOAD_BALANCERS = _tagged(
    _paged("describe_load_balancers", 400, "LoadBalancers"), "LoadBalancerArn", "ResourceArns", "ResourceArn"
)
_CLASSIC_LOAD_BALANCERS = _tagged(
    _paged("describe_load_balancers", 400, "LoadBalancerDescriptions"),
    "LoadBalancerName",
    "LoadBalancerNames",
    "LoadBalancerName",
)

# Page sizes are the largest that each API reference allows. Application, network and gateway load balancers come from
# one listing, and so do Kubernetes clusters and their node groups (kind eks:nodegroup).
LISTINGS: tuple[Listing, ...] = (
    Listing("ec2:instance", "ec2", "InstanceId", "ec2:DescribeInstances",
            _instances, _instance),
    Listing("ebs:volume", "ec2", "VolumeId", "ec2:DescribeVolumes",
            _paged("describe_volumes", 1000, "Volumes"), _volume),
    Listing("ec2:vpc", "ec2", "VpcId", "ec2:DescribeVpcs",
            _paged("describe_vpcs", 1000, "Vpcs"), _vpc),
    Listing("ec2:subnet", "ec2", "SubnetId", "ec2:DescribeSubnets",
            _paged("describe_subnets", 1000, "Subnets"), _subnet),
    Listing("ec2:nat_gateway", "ec2", "NatGatewayId", "ec2:DescribeNatGateways",
            _paged("describe_nat_gateways", 1000, "NatGateways"), _nat_gateway),
    Listing("rds:db", "rds", "DBInstanceIdentifier", "rds:DescribeDBInstances",
            _paged("describe_db_instances", 100, "DBInstances"), _database),
    Listing("rds:cluster", "rds", "DBClusterIdentifier", "rds:DescribeDBClusters",
            _paged("describe_db_clusters", 100, "DBClusters"), _database_cluster),
    Listing("elbv2:load_balancer", "elbv2", "LoadBalancerArn",
            "elasticloadbalancing:DescribeLoadBalancers elasticloadbalancing:DescribeTags",
            _LOAD_BALANCERS, _load_balancer),
    Listing("elb:classic", "elb", "LoadBalancerName",
            "elasticloadbalancing:DescribeLoadBalancers elasticloadbalancing:DescribeTags",
            _CLASSIC_LOAD_BALANCERS, _classic_load_balancer),
    Listing("eks:cluster", "eks", "name",
            "eks:ListClusters eks:DescribeCluster eks:ListNodegroups eks:DescribeNodegroup",
            _kubernetes, _kubernetes_part),
    Listing("elasticache:cluster", "elasticache", "CacheClusterId", "elasticache:DescribeCacheClusters",
            _paged("describe_cache_clusters", 100, "CacheClusters"), _cache_cluster),
    Listing("redshift:cluster", "redshift", "ClusterIdentifier", "redshift:DescribeClusters",
            _paged("describe_clusters", 100, "Clusters"), _warehouse),
    Listing("dynamodb:table", "dynamodb", "TableName", "dynamodb:ListTables dynamodb:DescribeTable",
            _tables, _table),
    Listing("efs:filesystem", "efs", "FileSystemId", "elasticfilesystem:DescribeFileSystems",
            _paged("describe_file_systems", 100, "FileSystems"), _file_system),
)  # fmt: skip
