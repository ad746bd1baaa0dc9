"""RDS database instances and clusters, those of DocumentDB and Neptune among them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from optiinfra_dagster.model.inventory import Resource, ResourceType, Status
from optiinfra_dagster.providers.aws.kind import (
    AwsKind,
    Listing,
    Place,
    PriceQuery,
    count_of,
    fact,
    metric_rows,
    paged,
    part,
    status_of,
)
from optiinfra_dagster.providers.parsing import (
    Item,
    as_bool,
    as_datetime,
    as_dict,
    as_labels,
    as_number,
    as_text,
    dig,
    facts,
    name_of,
)

if TYPE_CHECKING:
    from optiinfra_dagster.model.cost import Component


def _grows_by_itself(engine: str) -> bool:
    """True where storage is the cluster's and has no allocated size: the API then says 1 GiB."""
    return engine.startswith(("aurora", "docdb", "neptune"))


def _database(item: Item, place: Place) -> Resource:
    name, engine = name_of(item, "DBInstanceIdentifier"), as_text(item.get("Engine"))
    state = as_text(item.get("DBInstanceStatus"))
    return Resource(
        account_id=place.account_id,
        region=place.region,
        kind=DATABASE.name,
        resource_id=place.arn("rds", f"db:{name}", listed=item.get("DBInstanceArn")),
        resource_name=name,
        resource_type=DATABASE.resource_type,
        status=status_of(state),
        cloud_status=state,
        created_at=as_datetime(item.get("InstanceCreateTime")),
        capacity=None if _grows_by_itself(engine) else as_number(item.get("AllocatedStorage")),
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
        kind=CLUSTER.name,
        resource_id=place.arn("rds", f"cluster:{name}", listed=item.get("DBClusterArn")),
        resource_name=name,
        resource_type=CLUSTER.resource_type,
        status=status_of(state),
        cloud_status=state,
        created_at=as_datetime(item.get("ClusterCreateTime")),
        capacity=None if _grows_by_itself(engine) else as_number(item.get("AllocatedStorage")),
        unit="GiB",
        tags=as_labels(item.get("TagList")),
        metadata=facts(
            engine=engine,
            engine_version=item.get("EngineVersion"),
            engine_mode=item.get("EngineMode"),
            **{"class": item.get("DBClusterInstanceClass")},
            multi_az=as_bool(item.get("MultiAZ")),
            members=count_of(item.get("DBClusterMembers")),
            min_acu=as_number(serverless.get("MinCapacity")),
            max_acu=as_number(serverless.get("MaxCapacity")),
            encrypted=as_bool(item.get("StorageEncrypted")),
        ),
    )


# --- Metrics ----------------------------------------------------------------------------------------------------------

# RDS lists these engines as its own, but they publish under their own names (DocumentDB and Neptune user guides).
_ENGINE_NAMESPACES = {"docdb": "AWS/DocDB", "neptune": "AWS/Neptune"}


def _namespace(resource: Resource) -> str:
    return _ENGINE_NAMESPACES.get(fact(resource, "engine"), "")


def _without_cluster_volume(resource: Resource) -> str:
    shared = _grows_by_itself(fact(resource, "engine"))
    return "" if shared else "its instances have storage of their own: see their metrics"


def _without_own_storage(resource: Resource) -> str:
    shared = _grows_by_itself(fact(resource, "engine"))
    return "its storage is the cluster's: see the metrics of the cluster" if shared else ""


# --- Prices -----------------------------------------------------------------------------------------------------------

# Engine of RDS -> databaseEngine and databaseEdition of the price list.
_ENGINES = {
    "postgres": ("PostgreSQL", ""),
    "mysql": ("MySQL", ""),
    "mariadb": ("MariaDB", ""),
    "aurora-postgresql": ("Aurora PostgreSQL", ""),
    "aurora-mysql": ("Aurora MySQL", ""),
    "sqlserver-ex": ("SQL Server", "Express"),
    "sqlserver-web": ("SQL Server", "Web"),
    "sqlserver-se": ("SQL Server", "Standard"),
    "sqlserver-ee": ("SQL Server", "Enterprise"),
    "oracle-se2": ("Oracle", "Standard Two"),
    "oracle-ee": ("Oracle", "Enterprise"),
}
_LICENSES = {"license-included": "License included", "bring-your-own-license": "Bring your own license"}
_DEPLOYMENTS = {"single-az": "Single-AZ", "multi-az": "Multi-AZ"}
_VOLUME_TYPES = {
    "gp3": "General Purpose-GP3",
    "gp2": "General Purpose",
    "io1": "Provisioned IOPS",
    "standard": "Magnetic",
}


def _price_parts(resource: Resource) -> Iterator[Component]:
    instance_class, engine = fact(resource, "class"), fact(resource, "engine")
    engine = "aurora-mysql" if engine == "aurora" else engine
    if engine not in _ENGINES:
        return
    aurora = engine.startswith("aurora")
    deployment = "multi-az" if resource.metadata.get("multi_az") and not aurora else "single-az"
    if instance_class and instance_class != "db.serverless" and resource.status is not Status.STOPPED:
        licence = fact(resource, "license_model")
        bought = f" {licence}" if licence in _LICENSES and _ENGINES[engine][1] else ""
        yield part(f"{instance_class} {engine}{bought} {deployment}")
    volume_type = fact(resource, "storage_type")
    if resource.capacity and volume_type in _VOLUME_TYPES and not aurora:
        yield part(f"rds {volume_type} GiB {engine} {deployment}", resource.capacity)


def _engine_filters(engine: str, deployment: str) -> dict[str, str]:
    name, edition = _ENGINES[engine]
    more = {"databaseEdition": edition} if edition else {}
    return {"databaseEngine": name, "deploymentOption": _DEPLOYMENTS[deployment], **more}


def _instance_query(instance_class: str, engine: str, licence: str | None, deployment: str) -> PriceQuery:
    bought = {"licenseModel": _LICENSES[licence]} if licence else {}
    filters = {"productFamily": "Database Instance", "instanceType": instance_class, **bought}
    # Not InstanceUsageIOOptimized.
    return PriceQuery("AmazonRDS", filters | _engine_filters(engine, deployment), r"(InstanceUsage|Multi-AZUsage):.*")


def _storage_query(volume_type: str, engine: str, deployment: str) -> PriceQuery:
    filters = {"productFamily": "Database Storage", "volumeType": _VOLUME_TYPES[volume_type]}
    return PriceQuery("AmazonRDS", filters | _engine_filters(engine, deployment), r"RDS:.*Storage.*")


# --- The kinds --------------------------------------------------------------------------------------------------------

_BILL_SERVICE = "Amazon Relational Database Service"
_ENGINE_KEYS, _LICENSE_KEYS, _DEPLOYMENT_KEYS = ("|".join(words) for words in (_ENGINES, _LICENSES, _DEPLOYMENTS))

DATABASE = AwsKind(
    name="rds:db",
    resource_type=ResourceType.DATABASE,
    metrics=(  # RDS publishes throughput, operations and latency as rates already: their average is the rate
        *metric_rows(
            "rds:db", "AWS/RDS", "DBInstanceIdentifier", "RDS user guide: CloudWatch metrics for Amazon RDS",
            ("cpu_utilization", "cpu", "percent", "CPUUtilization", "Average"),
            ("memory_free", "memory", "bytes", "FreeableMemory", "Average"),
            ("disk_read", "disk", "bytes/s", "ReadThroughput", "Average"),
            ("disk_write", "disk", "bytes/s", "WriteThroughput", "Average"),
            ("disk_read_ops", "disk", "ops/s", "ReadIOPS", "Average"),
            ("disk_write_ops", "disk", "ops/s", "WriteIOPS", "Average"),
            ("network_in", "network", "bytes/s", "NetworkReceiveThroughput", "Average"),
            ("network_out", "network", "bytes/s", "NetworkTransmitThroughput", "Average"),
            ("read_latency", "latency", "seconds", "ReadLatency", "Average"),
            ("write_latency", "latency", "seconds", "WriteLatency", "Average"),
            ("storage_free", "disk", "bytes", "FreeStorageSpace", "Average", "own_storage"),
        ),
    ),
    conditions={"own_storage": _without_own_storage},
    namespace_of=_namespace,
    price_parts=_price_parts,
    price_queries={
        rf"(db\.\S+) ({_ENGINE_KEYS})(?: ({_LICENSE_KEYS}))? ({_DEPLOYMENT_KEYS})": _instance_query,
        rf"rds ({'|'.join(_VOLUME_TYPES)}) GiB ({_ENGINE_KEYS}) ({_DEPLOYMENT_KEYS})": _storage_query,
    },
    bill_service=_BILL_SERVICE,
)  # fmt: skip

CLUSTER = AwsKind(
    name="rds:cluster",
    resource_type=ResourceType.DATABASE,
    metrics=(
        # The volume of an Aurora cluster: operations are counted every five minutes, for the five minutes before.
        *metric_rows(
            "rds:cluster", "AWS/RDS", "DBClusterIdentifier", "Aurora user guide: cluster-level metrics",
            ("disk_read_ops", "disk", "ops/s", "VolumeReadIOPs", "Average", "cluster_volume"),
            ("disk_write_ops", "disk", "ops/s", "VolumeWriteIOPs", "Average", "cluster_volume"), scale=1 / 300,
        ),
        *metric_rows(
            "rds:cluster", "AWS/RDS", "DBClusterIdentifier", "Aurora user guide: cluster-level metrics",
            ("storage_used", "disk", "bytes", "VolumeBytesUsed", "Average", "cluster_volume"),
        ),
    ),
    conditions={"cluster_volume": _without_cluster_volume},
    namespace_of=_namespace,
    bill_service=_BILL_SERVICE,
)  # fmt: skip

KINDS = (DATABASE, CLUSTER)
LISTINGS = (
    Listing(
        kind="rds:db",
        service="rds",
        id_key="DBInstanceIdentifier",
        actions="rds:DescribeDBInstances",
        items=paged("describe_db_instances", 100, "DBInstances"),
        to_resource=_database,
    ),
    Listing(
        kind="rds:cluster",
        service="rds",
        id_key="DBClusterIdentifier",
        actions="rds:DescribeDBClusters",
        items=paged("describe_db_clusters", 100, "DBClusters"),
        to_resource=_database_cluster,
    ),
)
