"""Cloud SQL: databases of PostgreSQL and MySQL."""

from __future__ import annotations

from decimal import Decimal

from optiinfra_dagster.lab.gcp.kind import (
    DISK_METRICS,
    SECRET,
    LabAsset,
    Labels,
    LabKind,
    LabMetric,
    Shape,
    Shown,
    address,
    in_project,
    published,
    seconds,
    single,
    varied,
)
from optiinfra_dagster.lab.gcp.pricelist import GIB_HOUR, GIB_MONTH, HOUR, OTHER, LabSku, PriceService, price_of

_PRICES = PriceService("9662-B51E-5089")


def _sql_instance(asset: LabAsset) -> Shown:
    """A Cloud SQL instance."""
    stopped = asset.fleet.state == "STOPPED"  # Cloud SQL has no such word
    return {
        "kind": "sql#instance",
        "name": asset.name,
        "selfLink": f"https://sqladmin.googleapis.com/sql/v1beta4/{asset.path}",
        "project": asset.project,
        "state": "RUNNABLE" if stopped else asset.fleet.state or "RUNNABLE",
        "backendType": "SECOND_GEN",
        "instanceType": "CLOUD_SQL_INSTANCE",
        "databaseVersion": asset.fleet.engine or "POSTGRES_16",
        "databaseInstalledVersion": asset.fleet.engine or "POSTGRES_16_3",
        "connectionName": f"{asset.project}:{asset.region}:{asset.name}",
        "region": asset.region,
        "gceZone": asset.zone,
        "createTime": seconds(asset.created),
        "rootPassword": SECRET,
        "ipAddresses": [{"type": "PRIMARY", "ipAddress": address(asset)}],
        "serverCaCert": {
            "kind": "sql#sslCert",
            "cert": f"-----BEGIN CERTIFICATE-----\n{SECRET}\n",
            "commonName": "C=US",
        },
        "replicaConfiguration": {"mysqlReplicaConfiguration": {"username": SECRET, "password": SECRET}},
        "onPremisesConfiguration": {"username": SECRET, "password": SECRET, "clientKey": SECRET},
        "settings": {
            "kind": "sql#settings",
            "settingsVersion": "3",
            "tier": asset.fleet.type or "db-custom-2-7680",
            "edition": "ENTERPRISE",
            "availabilityType": "ZONAL",
            "activationPolicy": "NEVER" if stopped else "ALWAYS",
            "pricingPlan": "PER_USE",
            "replicationType": "SYNCHRONOUS",
            "dataDiskSizeGb": str(asset.fleet.size or 100),
            "dataDiskType": "PD_SSD",
            "storageAutoResize": True,
            "storageAutoResizeLimit": "0",
            "userLabels": asset.fleet.tags,
            "databaseFlags": [{"name": "cloudsql.iam_authentication", "value": SECRET}],
            "activeDirectoryConfig": {"adminCredentialSecretName": SECRET},
            **({"insightsConfig": {"queryInsightsEnabled": True}} if asset.fleet.insights else {}),
            "backupConfiguration": {"kind": "sql#backupConfiguration", "enabled": True, "startTime": "03:00"},
            "ipConfiguration": {"ipv4Enabled": True, "authorizedNetworks": [{"name": SECRET, "value": "10.0.0.0/8"}]},
            "maintenanceWindow": {"kind": "sql#maintenanceWindow", "hour": 0, "day": 0},
        },
    }


_SKUS = tuple(
    LabSku(_PRICES, f"Cloud SQL for {engine}: {where} - {part}", unit, f"{Decimal(usd) * factor:f}")
    for engine in ("PostgreSQL", "MySQL")
    for where, factor in (("Zonal", 1), ("Regional", 2))
    for part, unit, usd in (
        ("vCPU", HOUR, "0.0413"),
        ("RAM", GIB_HOUR, "0.007"),
        ("Micro instance", HOUR, "0.0105"),
        ("Standard storage", GIB_MONTH, "0.17"),
    )
)


def _hourly(asset: LabAsset) -> Decimal:
    fleet = asset.fleet
    engine = "MySQL" if (fleet.engine or "").startswith("MYSQL") else "PostgreSQL"
    tier = (fleet.type or "db-custom-2-7680").split("-")
    if tier[1] not in {"custom", "f1"}:
        return OTHER
    cores, memory, shared, gib = (
        price_of(_SKUS, f"Cloud SQL for {engine}: Zonal - {part}", asset.region)
        for part in ("vCPU", "RAM", "Micro instance", "Standard storage")
    )
    use = shared if tier[1] == "f1" else cores * int(tier[2]) + memory * int(tier[3]) / 1024
    return (Decimal(0) if fleet.is_stopped else use) + gib * (fleet.size or 100)


def _databases(_asset: LabAsset) -> list[Labels]:
    return [
        Labels({"user": user, "client_addr": ""}, {"database": name}) for name in ("orders", "users") for user in "ab"
    ]


def _labels(asset: LabAsset) -> dict[str, str]:
    """Those of cloudsql_database and of cloudsql_instance_database, which call the instance by other names."""
    name = f"{asset.project}:{asset.name}"
    return in_project(asset) | {"database_id": name, "resource_id": name, "region": asset.region}


def _publishes(asset: LabAsset, metric: LabMetric) -> bool:
    """True for what the engine has; Query Insights of MySQL is a service of its own."""
    if "insights" not in metric.type:
        return True
    mysql = (asset.fleet.engine or "").startswith("MYSQL")
    return asset.fleet.insights and metric.type.startswith("dbinsights") == mysql


INSTANCE = LabKind(
    name="gcp:sql_instance",
    shapes=(Shape("sqladmin.googleapis.com/Instance", "cloudsql", "instances/{name}"),),
    describe=_sql_instance,
    metrics=published(
        "cloudsql_instance_database", "cloudsql.googleapis.com/database/postgresql/insights/",
        ("aggregate/latencies", "CUMULATIVE", "DISTRIBUTION", 0, 4e3, _databases),
        value_unit=1000,
    ) + published(
        "cloudsql_instance_database", "dbinsights.googleapis.com/",
        ("aggregate/latencies", "CUMULATIVE", "DISTRIBUTION", 0, 4e3, _databases),
        value_unit=1000,
    ) + published(
        "cloudsql_database", "cloudsql.googleapis.com/database/",
        ("cpu/utilization", "GAUGE", "DOUBLE", 0.01, 0.95),
        ("memory/utilization", "GAUGE", "DOUBLE", 0.1, 0.9),
        ("disk/utilization", "GAUGE", "DOUBLE", 0.05, 0.9),
        *DISK_METRICS,
        ("network/received_bytes_count", "DELTA", "INT64", 1e3, 5e7),
        ("network/sent_bytes_count", "DELTA", "INT64", 1e3, 9e7, varied("destination", "private", "public")),
        ("up", "GAUGE", "INT64", 0, 1, single, True),
        ("instance_state", "GAUGE", "BOOL", 0, 1, varied("state", "RUNNING"), True),
        delay=165,
    ),
    labels=_labels,
    publishes=_publishes,
    skus=_SKUS,
    bill_service="Cloud SQL",
    hourly=_hourly,
)  # fmt: skip

KINDS = (INSTANCE,)
