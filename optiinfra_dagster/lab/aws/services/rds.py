"""RDS database instances and Aurora clusters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from optiinfra_dagster.lab.aws.kind import (
    FREE,
    GIB,
    PLANTED,
    ZONES,
    LabKind,
    LabMetric,
    Row,
    Shown,
    is_charged,
    published,
    security_groups_of,
    subnet_of,
    tags_of,
    zone_of,
)
from optiinfra_dagster.lab.aws.listing import Answer, Listing, Operation
from optiinfra_dagster.lab.aws.rates import machine_usd, of_family, usd_in

if TYPE_CHECKING:
    from optiinfra_dagster.lab.aws.estate import LabResource, Region

# Engine -> version, port and licence.
_ENGINES = {
    "postgres": ("16.4", 5432, "postgresql-license"),
    "mysql": ("8.0.39", 3306, "general-public-license"),
    "mariadb": ("10.11.9", 3306, "general-public-license"),
    "aurora-postgresql": ("16.4", 5432, "postgresql-license"),
    "aurora-mysql": ("8.0.mysql_aurora.3.08.0", 3306, "general-public-license"),
}


def _is_aurora(engine: str) -> bool:
    """True where storage is the cluster's, charged by use."""
    return engine.startswith("aurora")


def _engine(resource: LabResource, default: str) -> tuple[str, str, int, str]:
    engine = resource.fleet.engine or default
    return (engine, *_ENGINES.get(engine, ("1.0", 1433, "license-included")))


def _db_instance(resource: LabResource, region: Region) -> Shown:
    """An RDS database instance."""
    engine, version, port, licence = _engine(resource, "postgres")
    _, network = subnet_of(resource, region)
    host = f"{resource.id}.{resource.hexid('host', 12)}.{resource.region}.rds.amazonaws.com"
    size = resource.fleet.size or 20 * (1 + resource.seed % 10)
    return {
        "DBInstanceIdentifier": resource.id,
        "DBInstanceClass": resource.fleet.type or "db.m6g.large",
        "Engine": engine,
        "DBInstanceStatus": resource.state or "available",
        "MasterUsername": PLANTED,
        "DBName": "app",
        "Endpoint": {"Address": host, "Port": port, "HostedZoneId": "Z2R2ITUGPM61AM"},
        "AllocatedStorage": size,
        "InstanceCreateTime": resource.created,
        "PreferredBackupWindow": "03:10-03:40",
        "BackupRetentionPeriod": 7,
        "DBSecurityGroups": [],
        "VpcSecurityGroups": security_groups_of(resource),
        "DBParameterGroups": [{"DBParameterGroupName": f"default.{engine}", "ParameterApplyStatus": "in-sync"}],
        "AvailabilityZone": zone_of(resource),
        "DBSubnetGroup": {
            "DBSubnetGroupName": "default",
            "DBSubnetGroupDescription": "default",
            "VpcId": network,
            "SubnetGroupStatus": "Complete",
            "Subnets": [],
        },
        "PreferredMaintenanceWindow": "sun:04:32-sun:05:02",
        "PendingModifiedValues": {"MasterUserPassword": PLANTED},
        "LatestRestorableTime": resource.created + timedelta(days=1),
        "MultiAZ": not _is_aurora(engine) and resource.seed % 2 == 0,
        "EngineVersion": version,
        "AutoMinorVersionUpgrade": True,
        "ReadReplicaDBInstanceIdentifiers": [],
        "LicenseModel": licence,
        "OptionGroupMemberships": [],
        "PubliclyAccessible": False,
        "StorageType": ("aurora-iopt1" if resource.seed % 2 else "aurora") if _is_aurora(engine) else "gp3",
        "Iops": 3000,
        "StorageThroughput": 125,
        "DbInstancePort": 0,
        "StorageEncrypted": True,
        "KmsKeyId": f"arn:aws:kms:{resource.region}:{resource.account}:key/{resource.hexid('key', 32)}",
        "DbiResourceId": "db-" + resource.hexid("dbi", 26).upper(),
        "CACertificateIdentifier": "rds-ca-rsa2048-g1",
        "DomainMemberships": [],
        "CopyTagsToSnapshot": True,
        "MonitoringInterval": 0,
        "DBInstanceArn": resource.arn,
        "IAMDatabaseAuthenticationEnabled": False,
        "PerformanceInsightsEnabled": False,
        "DeletionProtection": True,
        "AssociatedRoles": [],
        "TagList": tags_of(resource),
        "CustomerOwnedIpEnabled": False,
        "ActivityStreamStatus": "stopped",
        "BackupTarget": "region",
        "NetworkType": "IPV4",
        "DedicatedLogVolume": False,
    }


def _db_cluster(resource: LabResource, _region: Region) -> Shown:
    """An Aurora cluster."""
    engine, version, port, _ = _engine(resource, "aurora-postgresql")
    host = f"cluster-{resource.hexid('host', 12)}.{resource.region}.rds.amazonaws.com"
    return {
        "AllocatedStorage": 1,
        "AvailabilityZones": [resource.region + zone for zone in ZONES],
        "BackupRetentionPeriod": 7,
        "DatabaseName": "app",
        "DBClusterIdentifier": resource.id,
        "DBClusterParameterGroup": f"default.{engine}16",
        "DBSubnetGroup": "default",
        "Status": resource.state or "available",
        "EarliestRestorableTime": resource.created + timedelta(hours=1),
        "Endpoint": f"{resource.id}.{host}",
        "ReaderEndpoint": f"{resource.id}.{host.replace('cluster-', 'cluster-ro-')}",
        "MultiAZ": True,
        "Engine": engine,
        "EngineVersion": version,
        "Port": port,
        "MasterUsername": PLANTED,
        "PreferredBackupWindow": "03:10-03:40",
        "PreferredMaintenanceWindow": "sun:04:32-sun:05:02",
        "ReadReplicaIdentifiers": [],
        "DBClusterMembers": [],
        "VpcSecurityGroups": security_groups_of(resource),
        "HostedZoneId": "Z2R2ITUGPM61AM",
        "StorageEncrypted": True,
        "DbClusterResourceId": "cluster-" + resource.hexid("dbi", 26).upper(),
        "DBClusterArn": resource.arn,
        "AssociatedRoles": [],
        "IAMDatabaseAuthenticationEnabled": False,
        "ClusterCreateTime": resource.created,
        "EngineMode": "provisioned",
        "DeletionProtection": True,
        "HttpEndpointEnabled": False,
        "ActivityStreamStatus": "stopped",
        "CopyTagsToSnapshot": True,
        "CrossAccountClone": False,
        "DomainMemberships": [],
        "TagList": tags_of(resource),
        "AutoMinorVersionUpgrade": True,
        "NetworkType": "IPV4",
    }


# --- Metrics ----------------------------------------------------------------------------------------------------------

# Metrics that some engines have only; "" is the engine of a fleet that names none.
_CLUSTERED = {"", "aurora", "aurora-mysql", "aurora-postgresql", "docdb", "neptune"}
_ENGINES_OF_METRIC = {
    "FreeStorageSpace": {"", "mysql", "mariadb", "postgres", "oracle-ee", "oracle-se2", "sqlserver-ee", "sqlserver-se"},
    "VolumeReadIOPs": _CLUSTERED,
    "VolumeWriteIOPs": _CLUSTERED,
    "VolumeBytesUsed": _CLUSTERED,
}
_NOT_OF_NEPTUNE = {
    "ReadThroughput", "WriteThroughput", "ReadIOPS", "WriteIOPS", "ReadLatency", "WriteLatency", "DatabaseConnections",
}  # fmt: skip
_OTHER_NAMESPACES = {"docdb": "AWS/DocDB", "neptune": "AWS/Neptune"}


def _as_published(resource: LabResource, metric: LabMetric) -> LabMetric | None:
    engine = resource.fleet.engine or ""
    if engine not in _ENGINES_OF_METRIC.get(metric.name, {engine}):
        return None
    if engine == "neptune" and metric.name in _NOT_OF_NEPTUNE:
        return None
    return replace(metric, namespace=_OTHER_NAMESPACES.get(engine, metric.namespace))


# --- Costs ------------------------------------------------------------------------------------------------------------

_VCPU_USD = "0.09"
_GIB_USD = "0.115"  # of a month, but for magnetic storage
# Usage type -> family, volume type, unit, and USD of a month.
_STORAGE = {
    "GP3-Storage": ("Database Storage", "General Purpose-GP3", "GB-Mo", _GIB_USD),
    "GP2-Storage": ("Database Storage", "General Purpose", "GB-Mo", _GIB_USD),
    "PIOPS-Storage": ("Database Storage", "Provisioned IOPS", "GB-Mo", "0.125"),
    "PIOPS-Storage-IO2": ("Database Storage", "Provisioned IOPS-IO2", "GB-Mo", "0.125"),
    "StorageUsage": ("Database Storage", "Magnetic", "GB-Mo", "0.1"),
    "PIOPS": ("Provisioned IOPS", "Provisioned IOPS", "IOPS-Mo", "0.1"),
    "IO2-PIOPS": ("Provisioned IOPS", "Provisioned IOPS-IO2", "IOPS-Mo", "0.1"),
    "GP3-PIOPS": ("Provisioned IOPS", "", "IOPS-Mo", "0.02"),
    "GP3-Throughput": ("Provisioned Throughput", "", "MBps-Mo", "0.08"),
}
# Usage type, what stands before storage's, deployment, and how dear it is.
_DEPLOYMENTS = (
    ("InstanceUsage", "", "Single-AZ", 1),
    ("Multi-AZUsage", "Multi-AZ-", "Multi-AZ", 2),
    ("Multi-AZClusterUsage", "Multi-AZCluster-", "Multi-AZ (readable standbys)", 3),
    ("Mirror", "Mirror-", "Multi-AZ (SQL Server Mirror)", 2),
)
_ENGINE_NAMES = {
    "postgres": "PostgreSQL", "mysql": "MySQL", "mariadb": "MariaDB",
    "aurora-postgresql": "Aurora PostgreSQL", "aurora-mysql": "Aurora MySQL", "sqlserver-se": "SQL Server",
}  # fmt: skip


def _products(resource: LabResource, shown: Shown) -> Iterator[Row]:
    """The instances of the family in each deployment, and storage, which is listed for any engine at once."""
    engine = str(_ENGINE_NAMES.get(shown["Engine"], shown["Engine"]))
    for instance_class in of_family(shown["DBInstanceClass"]):
        yield from _products_of(resource, engine, instance_class)


def _products_of(resource: LabResource, engine: str, instance_class: str) -> Iterator[Row]:
    usd, mirrored = machine_usd(resource.region, instance_class, of=_VCPU_USD), engine == "SQL Server"
    bought = {"licenseModel": "No license required"}
    if mirrored:
        bought = {"licenseModel": "License included", "databaseEdition": "Standard"}
    for usage, before, deployment, factor in _DEPLOYMENTS:
        if usage == "InstanceUsage" or mirrored == (usage == "Mirror"):
            machine = {"databaseEngine": engine, "deploymentOption": deployment, **bought}
            machine["instanceType"] = instance_class
            yield "Database Instance", machine, f"{usage}:{instance_class}", "Hrs", usd * factor
            custom = {**machine, "deploymentModel": "Custom"}
            yield "Database Instance", custom, f"{usage}:{instance_class}", "Hrs", usd * factor * Decimal("0.7")
            if engine.startswith("Aurora"):
                optimized = {**machine, "storage": "Aurora IO Optimization Mode"}
                yield "Database Instance", optimized, f"{usage}IOOptimized:{instance_class}", "Hrs", usd * _OPTIMIZED
        for kind, (family, volume_type, unit, price) in _STORAGE.items():
            storage = {"databaseEngine": "Any", "deploymentOption": deployment}
            storage |= {"volumeType": volume_type} if volume_type else {}
            yield family, storage, f"RDS:{before}{kind}", unit, usd_in(resource.region, price) * factor


_OPTIMIZED = Decimal("1.3")  # as dear is an instance of Aurora without charges for operations


def _rate(resource: LabResource, region: Region) -> tuple[Decimal, Decimal]:
    shown = _db_instance(resource, region)
    copies = 2 if shown["MultiAZ"] else 1
    hourly = machine_usd(resource.region, shown["DBInstanceClass"], of=_VCPU_USD) * copies
    hourly *= _OPTIMIZED if shown["StorageType"] == "aurora-iopt1" else 1
    stored = 0 if _is_aurora(shown["Engine"]) else shown["AllocatedStorage"]
    monthly = usd_in(resource.region, _GIB_USD) * stored * copies
    return hourly if is_charged(resource) else FREE, monthly


_BILL_SERVICE = "Amazon Relational Database Service"

DATABASE = LabKind(
    name="rds:db",
    arn="rds db:{id}",
    describe=_db_instance,
    metrics=published(
        "DBInstanceIdentifier", "AWS/RDS", 60, 1,
        ("CPUUtilization", "Percent", 1.0, 95.0),
        ("FreeableMemory", "Bytes", 0.5 * GIB, 12 * GIB, "count"),
        ("FreeStorageSpace", "Bytes", 2 * GIB, 200 * GIB, "count"),
        ("DatabaseConnections", "Count", 0, 400, "count"),
        ("ReadThroughput", "Bytes/Second", 0, 9e7),
        ("WriteThroughput", "Bytes/Second", 1e3, 6e7),
        ("ReadIOPS", "Count/Second", 0, 2500),
        ("WriteIOPS", "Count/Second", 0.5, 1800),
        ("ReadLatency", "Seconds", 2e-4, 2e-2),
        ("WriteLatency", "Seconds", 3e-4, 3e-2),
        ("NetworkReceiveThroughput", "Bytes/Second", 1e3, 5e7),
        ("NetworkTransmitThroughput", "Bytes/Second", 1e3, 9e7),
    ),
    as_published=_as_published,
    price_list="AmazonRDS",
    products=_products,
    bill_service=_BILL_SERVICE,
    rate=_rate,
)  # fmt: skip

CLUSTER = LabKind(
    name="rds:cluster",
    arn="rds cluster:{id}",
    describe=_db_cluster,
    metrics=published(
        "DBClusterIdentifier", "AWS/RDS", 300, 1,
        ("VolumeReadIOPs", "Count", 0, 9e5, "count"),
        ("VolumeWriteIOPs", "Count", 0, 9e5, "count"),
        ("VolumeBytesUsed", "Bytes", 1 * GIB, 900 * GIB, "count"),
    ),
    as_published=_as_published,
    by_use=(_BILL_SERVICE, "3.1"),
)  # fmt: skip

KINDS = (DATABASE, CLUSTER)
OPERATIONS: Mapping[Operation, Answer] = {
    ("rds", "DescribeDBInstances"): Listing(("rds:db",), 20, 100, "DBInstanceIdentifier", "DBInstanceNotFound"),
    ("rds", "DescribeDBClusters"): Listing(("rds:cluster",), 20, 100, "DBClusterIdentifier", "DBClusterNotFoundFault"),
}
