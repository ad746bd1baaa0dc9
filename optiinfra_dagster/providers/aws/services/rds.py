"""RDS database instances and clusters, those of DocumentDB and Neptune among them."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from optiinfra_dagster.model.inventory import Resource, ResourceType, Status
from optiinfra_dagster.providers.aws.kind import (
    AwsKind,
    Listing,
    Place,
    PriceQuery,
    count_of,
    fact,
    fact_number,
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
    from optiinfra_dagster.model.metrics import Metric


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
        instance_uid=as_text(item.get("DbiResourceId")),
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
            throughput_mib_s=as_number(item.get("StorageThroughput")),
            log_volume=as_bool(item.get("DedicatedLogVolume")) or None,
            more_volumes=count_of(item.get("AdditionalStorageVolumes")) or None,
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
        instance_uid=as_text(item.get("DbClusterResourceId")),
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


def _published_as(resource: Resource, metric: Metric) -> Metric:
    namespace = _ENGINE_NAMESPACES.get(fact(resource, "engine"))
    return replace(metric, namespace=namespace) if namespace else metric


def _without_cluster_volume(resource: Resource) -> str:
    shared = _grows_by_itself(fact(resource, "engine"))
    return "" if shared else "its instances have storage of their own: see their metrics"


def _of_neptune(resource: Resource) -> str:
    neptune = fact(resource, "engine") == "neptune"
    return "Neptune has no such metric (Neptune user guide: CloudWatch metrics)" if neptune else ""


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
_DEPLOYMENTS = {"single-az": ("Single-AZ",), "multi-az": ("Multi-AZ",)}
_MIRROR = "Multi-AZ (SQL Server Mirror)"  # what Multi-AZ is called for SQL Server
# Type of storage -> the ends of usage types: of its GiB, its IOPS and its MiB/s.
_STORAGE = {
    "gp3": {"GiB": "GP3-Storage", "IOPS": "GP3-PIOPS", "MiB/s": "GP3-Throughput"},
    "gp2": {"GiB": "GP2-Storage"},
    "io1": {"GiB": "PIOPS-Storage", "IOPS": "PIOPS"},
    "io2": {"GiB": "(IO2-PIOPS-Storage|PIOPS-Storage-IO2)", "IOPS": "(IO2-PIOPS|PIOPS-IO2)"},
    "standard": {"GiB": "StorageUsage"},
}
_FAMILIES = {"GiB": "Database Storage", "IOPS": "Provisioned IOPS", "MiB/s": "Provisioned Throughput"}
_FACTS = {"IOPS": "iops", "MiB/s": "throughput_mib_s"}
# What gp3 holds without being paid for, of small and of large volumes, which begin at 400 GiB, those of Oracle at 200;
# volumes of SQL Server are all small: https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/CHAP_Storage.html
_INCLUDED = {"IOPS": (3_000, 12_000), "MiB/s": (125, 500)}
_LARGE_GIB = {"oracle": 200, "sqlserver": math.inf}


def _price_parts(resource: Resource) -> list[Component]:
    """The instance, unless it is stopped, and storage, which Aurora is charged for by use."""
    instance_class, engine = fact(resource, "class"), fact(resource, "engine")
    engine = "aurora-mysql" if engine == "aurora" else engine
    aurora = engine.startswith("aurora")
    # The instances of a Multi-AZ cluster, and volumes beside the one that is told, have prices of their own.
    more = {"log_volume", "more_volumes"} & resource.metadata.keys() or ("cluster" in resource.metadata and not aurora)
    if engine not in _ENGINES or more:
        return []
    deployment = "multi-az" if resource.metadata.get("multi_az") and not aurora else "single-az"
    storage = [] if aurora else _storage_parts(resource, engine, deployment)
    if storage is None or not instance_class or instance_class == "db.serverless":
        return []
    if resource.status is Status.STOPPED:
        return storage
    licence = fact(resource, "license_model")
    bought = f" {licence}" if licence in _LICENSES and _ENGINES[engine][1] else ""
    optimized = " io-optimized" if fact(resource, "storage_type") == "aurora-iopt1" else ""
    return [part(f"{instance_class} {engine}{optimized}{bought} {deployment}"), *storage]


def _storage_parts(resource: Resource, engine: str, deployment: str) -> list[Component] | None:
    """The size, and the operations and throughput beyond what comes with it; None where one of them is not known."""
    volume_type, gib = fact(resource, "storage_type"), resource.capacity
    units = _STORAGE.get(volume_type, {})
    if not gib or not units or any(_FACTS[unit] not in resource.metadata for unit in units.keys() - {"GiB"}):
        return None
    large = gib >= _LARGE_GIB.get(engine.partition("-")[0], 400)
    parts = []
    for unit in units:
        quantity = gib if unit == "GiB" else fact_number(resource, _FACTS[unit])
        included = _INCLUDED[unit][large] if volume_type == "gp3" and unit != "GiB" else 0
        parts.append(part(f"rds {volume_type} {unit} {engine} {deployment}", quantity - included))
    return parts


def _deployments(engine: str, deployment: str) -> tuple[str, ...]:
    mirrored = engine.startswith("sqlserver") and deployment == "multi-az"
    return (_MIRROR, "Multi-AZ") if mirrored else _DEPLOYMENTS[deployment]


def _instance_query(
    instance_class: str, engine: str, optimized: str | None, licence: str | None, deployment: str
) -> PriceQuery:
    name, edition = _ENGINES[engine]
    filters = {"productFamily": "Database Instance", "instanceType": instance_class, "databaseEngine": name}
    filters |= {"databaseEdition": edition} if edition else {}
    filters |= {"licenseModel": _LICENSES[licence]} if licence else {}
    usage = "InstanceUsage" if deployment == "single-az" else "(Multi-AZ|Mirror)(Usage)?"
    # RDS Custom has the same usage types, and names its deploymentModel.
    among = {"deploymentOption": _deployments(engine, deployment), "deploymentModel": ("",)}
    return PriceQuery("AmazonRDS", filters, f"{usage}{'IOOptimized' if optimized else ''}:.*", among)


def _storage_query(volume_type: str, unit: str, engine: str, deployment: str) -> PriceQuery:
    """The storage of most engines is listed once, for any of them."""
    copies, options = "" if deployment == "single-az" else "(Multi-AZ|Mirror)-", _deployments(engine, deployment)
    usage = rf"RDS:{copies}{_STORAGE[volume_type][unit]}"
    among = {
        "databaseEngine": (_ENGINES[engine][0], "Any", ""),
        "deploymentOption": options,
        "deploymentModel": ("",),
    }
    only = {"deploymentOption": options[0]} if len(options) == 1 else {}  # fewer pages
    return PriceQuery("AmazonRDS", {"productFamily": _FAMILIES[unit], **only}, usage, among)


# --- The kinds --------------------------------------------------------------------------------------------------------

_BILL_SERVICE = "Amazon Relational Database Service"
_ENGINE_KEYS, _LICENSE_KEYS, _DEPLOYMENT_KEYS = ("|".join(words) for words in (_ENGINES, _LICENSES, _DEPLOYMENTS))

DATABASE = AwsKind(
    name="rds:db",
    resource_type=ResourceType.DATABASE,
    # RDS publishes throughput, operations and latency as rates already: their average is the rate
    metrics=metric_rows(
        "rds:db", "AWS/RDS", "DBInstanceIdentifier", "RDS user guide: CloudWatch metrics for Amazon RDS",
        ("cpu_utilization", "cpu", "percent", "CPUUtilization", "Average"),
        ("memory_free", "memory", "bytes", "FreeableMemory", "Average"),
        ("disk_read", "disk", "bytes/s", "ReadThroughput", "Average", "not_neptune"),
        ("disk_write", "disk", "bytes/s", "WriteThroughput", "Average", "not_neptune"),
        ("disk_read_ops", "disk", "ops/s", "ReadIOPS", "Average", "not_neptune"),
        ("disk_write_ops", "disk", "ops/s", "WriteIOPS", "Average", "not_neptune"),
        ("network_in", "network", "bytes/s", "NetworkReceiveThroughput", "Average"),
        ("network_out", "network", "bytes/s", "NetworkTransmitThroughput", "Average"),
        ("read_latency", "latency", "seconds", "ReadLatency", "Average", "not_neptune"),
        ("write_latency", "latency", "seconds", "WriteLatency", "Average", "not_neptune"),
        # Those of AWS itself apart.
        ("connections", "traffic", "count", "DatabaseConnections", "Average", "not_neptune"),
        ("storage_free", "disk", "bytes", "FreeStorageSpace", "Average", "own_storage"),
    ),
    conditions={"own_storage": _without_own_storage, "not_neptune": _of_neptune},
    published_as=_published_as,
    price_parts=_price_parts,
    price_queries={
        rf"(db\.\S+) ({_ENGINE_KEYS})( io-optimized)?(?: ({_LICENSE_KEYS}))? ({_DEPLOYMENT_KEYS})": _instance_query,
        rf"rds ({'|'.join(_STORAGE)}) ({'|'.join(_FAMILIES)}) ({_ENGINE_KEYS}) ({_DEPLOYMENT_KEYS})": _storage_query,
    },
    bill_service=_BILL_SERVICE,
    # EngineUptime, of Aurora, DocumentDB and Neptune, tells since when an engine runs, and not how long it was down.
    not_offered={"uptime": "RDS and Aurora user guides: CloudWatch metrics"},
)  # fmt: skip

_OF_INSTANCES = "Aurora user guide: cluster-level metrics (those of its instances are told by instance)"

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
    published_as=_published_as,
    bill_service=_BILL_SERVICE,
    not_offered=dict.fromkeys(("cpu", "memory", "network_io", "response_time", "uptime"), _OF_INSTANCES),
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
