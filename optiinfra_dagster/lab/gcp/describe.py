"""What Cloud Asset Inventory shows of each resource: the answer of the resource's own API, as full as the real ones.

Every field that may hold a secret, or that people write freely, holds `SECRET`: nothing of that may leave a collector.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optiinfra_dagster.lab.gcp.estate import LabAsset

Shown = dict[str, Any]

SECRET = "planted-secret-7Qx"  # noqa: S105 - what tests look for
_COMPUTE = "https://www.googleapis.com/compute/v1"
_PACIFIC = timezone(timedelta(hours=-7))  # Compute Engine tells times as California has them


def _seconds(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _compute(asset: LabAsset, kind: str) -> Shown:
    """What all answers of Compute Engine begin with."""
    return {
        "kind": f"compute#{kind}",
        "id": asset.number,
        "creationTimestamp": asset.created.astimezone(_PACIFIC).isoformat(timespec="milliseconds"),
        "name": asset.name,
        "description": SECRET,
        "selfLink": f"{_COMPUTE}/{asset.path}",
    }


def _link(asset: LabAsset, rest: str) -> str:
    return f"{_COMPUTE}/projects/{asset.project}/{rest}"


def _address(asset: LabAsset) -> str:
    return f"10.{asset.seed >> 8 & 63}.{asset.seed >> 16 & 255}.{4 + asset.index % 250}"


def instance(asset: LabAsset) -> Shown:
    """A virtual machine of Compute Engine."""
    state = asset.fleet.state or "RUNNING"
    machine = asset.fleet.type or "e2-standard-2"
    disks = [asset.name, *(f"{asset.name}-data-{n}" for n in range(1, asset.fleet.disks))][: asset.fleet.disks]
    shown = _compute(asset, "instance") | {
        "zone": _link(asset, f"zones/{asset.zone}"),
        "machineType": _link(asset, f"zones/{asset.zone}/machineTypes/{machine}"),
        "status": state,
        "cpuPlatform": "Intel Broadwell" if state == "RUNNING" else "Unknown CPU Platform",
        "canIpForward": False,
        "networkInterfaces": [
            {
                "kind": "compute#networkInterface",
                "name": "nic0",
                "network": _link(asset, "global/networks/default"),
                "subnetwork": _link(asset, f"regions/{asset.region}/subnetworks/default"),
                "networkIP": _address(asset),
                "stackType": "IPV4_ONLY",
                "fingerprint": "PUin560skLg=",
                "accessConfigs": [
                    {
                        "kind": "compute#accessConfig",
                        "type": "ONE_TO_ONE_NAT",
                        "name": "External NAT",
                        "networkTier": "PREMIUM",
                    }
                ],
            }
        ],
        "disks": [
            {
                "kind": "compute#attachedDisk",
                "index": n,
                "type": "PERSISTENT",
                "mode": "READ_WRITE",
                "interface": "SCSI",
                "boot": n == 0,
                "autoDelete": True,
                "deviceName": name,
                "diskSizeGb": "10",
                "source": _link(asset, f"zones/{asset.zone}/disks/{name}"),
                "diskEncryptionKey": {"rawKey": SECRET, "sha256": SECRET},
                "licenses": [f"{_COMPUTE}/projects/debian-cloud/global/licenses/debian-12-bookworm"],
                "guestOsFeatures": [{"type": "VIRTIO_SCSI_MULTIQUEUE"}, {"type": "GVNIC"}, {"type": "UEFI_COMPATIBLE"}],
            }
            for n, name in enumerate(disks)
        ],
        "metadata": {
            "kind": "compute#metadata",
            "fingerprint": "yKr6py6Xll8=",
            "items": [
                {"key": "startup-script", "value": f"#! /bin/sh\nexport DB_PASSWORD={SECRET}\n"},
                {"key": "ssh-keys", "value": f"admin:ssh-rsa {SECRET} admin"},
                {"key": "windows-keys", "value": SECRET},
                {"key": "user-data", "value": f"#cloud-config\npassword: {SECRET}\n"},
            ],
        },
        "serviceAccounts": [
            {
                "email": f"{asset.seed % 10**12}-compute@developer.gserviceaccount.com",
                "scopes": ["https://www.googleapis.com/auth/devstorage.read_only"],
            }
        ],
        "scheduling": {
            "onHostMaintenance": "MIGRATE",
            "automaticRestart": True,
            "preemptible": False,
            "provisioningModel": "STANDARD",
        },
        "tags": {"items": ["https-server"], "fingerprint": "nNZ0SA7CJyk="},
        "labels": asset.fleet.tags,
        "labelFingerprint": "42WmSpB8rSM=",
        "startRestricted": False,
        "deletionProtection": False,
        "shieldedInstanceConfig": {"enableSecureBoot": False, "enableVtpm": True, "enableIntegrityMonitoring": True},
        "shieldedInstanceIntegrityPolicy": {"updateAutoLearnPolicy": True},
        "fingerprint": "r5gKQ3mQhQs=",
        "lastStartTimestamp": asset.created.astimezone(_PACIFIC).isoformat(timespec="milliseconds"),
    }
    if state == "TERMINATED":
        stopped = asset.created + timedelta(days=3)
        shown["lastStopTimestamp"] = stopped.astimezone(_PACIFIC).isoformat(timespec="milliseconds")
    return shown


def disk(asset: LabAsset) -> Shown:
    """A persistent disk, attached where an instance owns it."""
    kind = (asset.fleet.type if asset.parent is None else None) or "pd-balanced"
    regional = asset.shape == "gcp:region_disk"
    size = asset.fleet.size or 10 * (1 + asset.seed % 20)
    where = f"regions/{asset.region}" if regional else f"zones/{asset.zone}"
    zones = [f"{asset.region}-a", f"{asset.region}-b"]
    shown = _compute(asset, "disk") | {
        **(
            {"region": _link(asset, where), "replicaZones": [_link(asset, f"zones/{zone}") for zone in zones]}
            if regional
            else {"zone": _link(asset, where)}
        ),
        "sizeGb": str(size),
        "status": (asset.fleet.state if asset.parent is None else None) or "READY",
        "type": _link(asset, f"{where}/diskTypes/{kind}"),
        "labels": asset.fleet.tags,
        "labelFingerprint": "42WmSpB8rSM=",
        "physicalBlockSizeBytes": "4096",
        "diskEncryptionKey": {"rawKey": SECRET, "rsaEncryptedKey": SECRET, "sha256": SECRET},
        "enableConfidentialCompute": False,
    }
    if asset.parent is not None:
        shown["users"] = [f"{_COMPUTE}/{asset.parent.path}"]
        shown["sourceImage"] = f"{_COMPUTE}/projects/debian-cloud/global/images/debian-12-bookworm-v20240515"
        shown["lastAttachTimestamp"] = shown["creationTimestamp"]
    return shown


def filestore_instance(asset: LabAsset) -> Shown:
    """A Filestore instance."""
    return {
        "name": asset.path,
        "description": SECRET,
        "state": asset.fleet.state or "READY",
        "statusMessage": SECRET,
        "createTime": _seconds(asset.created),
        "tier": asset.fleet.type or "BASIC_HDD",
        "protocol": "NFS_V3",
        "labels": asset.fleet.tags,
        "fileShares": [{"name": SECRET, "capacityGb": str(asset.fleet.size or 1024)}],
        "networks": [{"network": "default", "ipAddresses": [_address(asset)]}],
    }


def sql_instance(asset: LabAsset) -> Shown:
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
        "createTime": _seconds(asset.created),
        "rootPassword": SECRET,
        "ipAddresses": [{"type": "PRIMARY", "ipAddress": _address(asset)}],
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
            "backupConfiguration": {"kind": "sql#backupConfiguration", "enabled": True, "startTime": "03:00"},
            "ipConfiguration": {"ipv4Enabled": True, "authorizedNetworks": [{"name": SECRET, "value": "10.0.0.0/8"}]},
            "maintenanceWindow": {"kind": "sql#maintenanceWindow", "hour": 0, "day": 0},
        },
    }


def redis_instance(asset: LabAsset) -> Shown:
    """A Memorystore for Redis instance."""
    return {
        "name": asset.path,
        "displayName": SECRET,
        "labels": asset.fleet.tags,
        "locationId": asset.zone,
        "currentLocationId": asset.zone,
        "redisVersion": asset.fleet.engine or "REDIS_7_0",
        "tier": asset.fleet.type or "BASIC",
        "memorySizeGb": asset.fleet.size or 1,
        "host": _address(asset),
        "port": 6379,
        "state": asset.fleet.state or "READY",
        "createTime": _seconds(asset.created),
        "authEnabled": True,
        "authString": SECRET,
        "serverCaCerts": [{"cert": SECRET}],
        "authorizedNetwork": f"projects/{asset.project}/global/networks/default",
        "redisConfigs": {"notify-keyspace-events": SECRET},
    }


def redis_cluster(asset: LabAsset) -> Shown:
    """A Memorystore for Redis Cluster."""
    size = asset.fleet.size or 5
    return {
        "name": asset.path,
        "uid": f"{asset.seed:016x}",
        "state": asset.fleet.state or "ACTIVE",
        "createTime": _seconds(asset.created),
        "nodeType": asset.fleet.type or "REDIS_SHARED_CORE_NANO",
        "shardCount": 3,
        "replicaCount": 1,
        "sizeGb": size,
        "preciseSizeGb": float(size),
        "authorizationMode": "AUTH_MODE_IAM_AUTH",
        "discoveryEndpoints": [{"address": _address(asset), "port": 6379, "pscConfig": {}}],
        "redisConfigs": {"maxmemory-policy": SECRET},
        "deletionProtectionEnabled": True,
        "labels": asset.fleet.tags,
    }


def valkey_instance(asset: LabAsset) -> Shown:
    """A Memorystore for Valkey instance."""
    return {
        "name": asset.path,
        "uid": f"{asset.seed:016x}",
        "state": asset.fleet.state or "ACTIVE",
        "createTime": _seconds(asset.created),
        "engineVersion": asset.fleet.engine or "VALKEY_8_0",
        "engineConfigs": {"maxmemory-policy": SECRET},
        "mode": "CLUSTER",
        "nodeType": asset.fleet.type or "STANDARD_SMALL",
        "nodeConfig": {"sizeGb": 6.5},
        "shardCount": asset.fleet.size or 3,
        "replicaCount": 1,
        "authorizationMode": "IAM_AUTH",
        "deletionProtectionEnabled": True,
        "labels": asset.fleet.tags,
    }


def memcache_instance(asset: LabAsset) -> Shown:
    """A Memorystore for Memcached instance."""
    return {
        "name": asset.path,
        "displayName": SECRET,
        "labels": asset.fleet.tags,
        "authorizedNetwork": f"projects/{asset.project}/global/networks/default",
        "zones": [asset.zone],
        "nodeCount": asset.fleet.size or 2,
        "nodeConfig": {"cpuCount": 1, "memorySizeMb": 4096},
        "memcacheVersion": asset.fleet.engine or "MEMCACHE_1_6_15",
        "parameters": {"id": SECRET, "params": {"listen-backlog": SECRET}},
        "createTime": _seconds(asset.created),
        "state": asset.fleet.state or "READY",
        "discoveryEndpoint": _address(asset),
    }


def bigtable_cluster(asset: LabAsset) -> Shown:
    """A cluster of a Bigtable instance."""
    return {
        "name": asset.path,
        "location": f"projects/{asset.project}/locations/{asset.zone}",
        "state": asset.fleet.state or "READY",
        "serveNodes": asset.fleet.size or 3,
        "defaultStorageType": asset.fleet.type or "SSD",
        "encryptionConfig": {"kmsKeyName": SECRET},
    }


def spanner_instance(asset: LabAsset) -> Shown:
    """A Spanner instance."""
    nodes = asset.fleet.size or 1
    return {
        "name": asset.path,
        "config": f"projects/{asset.project}/instanceConfigs/regional-{asset.region}",
        "displayName": SECRET,
        "nodeCount": nodes,
        "processingUnits": 1000 * nodes,
        "state": asset.fleet.state or "READY",
        "labels": asset.fleet.tags,
        "instanceType": "PROVISIONED",
        "edition": "STANDARD",
        "createTime": _seconds(asset.created),
    }


def alloydb_cluster(asset: LabAsset) -> Shown:
    """An AlloyDB cluster; its compute is that of its instances."""
    return {
        "name": asset.path,
        "displayName": SECRET,
        "uid": f"{asset.seed:016x}",
        "state": asset.fleet.state or "READY",
        "clusterType": "PRIMARY",
        "databaseVersion": asset.fleet.engine or "POSTGRES_15",
        "initialUser": {"user": SECRET, "password": SECRET},
        "network": f"projects/{asset.project}/global/networks/default",
        "labels": asset.fleet.tags,
        "annotations": {"note": SECRET},
        "createTime": _seconds(asset.created),
    }


def alloydb_instance(asset: LabAsset) -> Shown:
    """The primary instance of an AlloyDB cluster."""
    return {
        "name": asset.path,
        "displayName": SECRET,
        "state": "READY",
        "instanceType": "PRIMARY",
        "availabilityType": "REGIONAL",
        "machineConfig": {"cpuCount": 4},
        "databaseFlags": {"password.enforce_complexity": SECRET},
        "ipAddress": _address(asset),
        "createTime": _seconds(asset.created + timedelta(minutes=10)),
    }


def forwarding_rule(asset: LabAsset) -> Shown:
    """The front end of a load balancer."""
    everywhere = asset.shape == "gcp:global_forwarding_rule"
    shown = _compute(asset, "forwardingRule") | {
        "IPAddress": f"34.96.{asset.seed >> 8 & 255}.{asset.seed & 255}",
        "IPProtocol": "TCP",
        "portRange": "443-443",
        "loadBalancingScheme": asset.fleet.type or "EXTERNAL_MANAGED",
        "networkTier": "PREMIUM",
        "labels": asset.fleet.tags,
        "labelFingerprint": "42WmSpB8rSM=",
        "metadataFilters": [{"filterLabels": [{"name": SECRET, "value": SECRET}]}],
    }
    if everywhere:
        shown["target"] = _link(asset, f"global/targetHttpsProxies/{asset.name}-proxy")
    else:
        shown["region"] = _link(asset, f"regions/{asset.region}")
        # Said of the fleet, a managed scheme means an Application Load Balancer; by default it is a network one.
        proxied = (asset.fleet.type or "").endswith("_MANAGED")
        target = f"targetHttpsProxies/{asset.name}-proxy" if proxied else f"targetPools/{asset.name}-pool"
        shown["target"] = _link(asset, f"regions/{asset.region}/{target}")
    return shown


def network(asset: LabAsset) -> Shown:
    """A VPC network."""
    return _compute(asset, "network") | {
        "autoCreateSubnetworks": False,
        "subnetworks": [],
        "routingConfig": {"routingMode": "REGIONAL"},
        "mtu": 1460,
        "networkFirewallPolicyEnforcementOrder": "AFTER_CLASSIC_FIREWALL",
    }


def subnetwork(asset: LabAsset) -> Shown:
    """A subnetwork in one region."""
    owner = asset.parent or asset
    block = f"10.{owner.index % 256}.{16 * (asset.index % 16)}"
    return _compute(asset, "subnetwork") | {
        "region": _link(asset, f"regions/{asset.region}"),
        "network": f"{_COMPUTE}/{owner.path}",
        "ipCidrRange": f"{block}.0/20",
        "gatewayAddress": f"{block}.1",
        "privateIpGoogleAccess": False,
        "purpose": "PRIVATE",
        "stackType": "IPV4_ONLY",
        "fingerprint": "83FGPSsB80g=",
    }


def router(asset: LabAsset) -> Shown:
    """A Cloud Router with a NAT gateway."""
    return _compute(asset, "router") | {
        "region": _link(asset, f"regions/{asset.region}"),
        "network": _link(asset, "global/networks/default"),
        "nats": [{"name": SECRET, "natIpAllocateOption": "AUTO_ONLY", "type": "PUBLIC"}],
        "bgpPeers": [{"name": SECRET, "md5AuthenticationKeyName": SECRET}],
        "md5AuthenticationKeys": [{"name": SECRET, "key": SECRET}],
    }


def _node_config(asset: LabAsset) -> Shown:
    return {
        "machineType": asset.fleet.type or "e2-medium",
        "diskSizeGb": 100,
        "diskType": "pd-balanced",
        "imageType": "COS_CONTAINERD",
        "serviceAccount": "default",
        "oauthScopes": ["https://www.googleapis.com/auth/devstorage.read_only"],
        "metadata": {"disable-legacy-endpoints": "true", "startup-script": SECRET},
        "labels": {"note": SECRET},
        "shieldedInstanceConfig": {"enableIntegrityMonitoring": True},
    }


def _zones(asset: LabAsset) -> list[str]:
    return [f"{asset.region}-{zone}" for zone in "abc"] if asset.fleet.regional else [asset.zone]


def gke_cluster(asset: LabAsset) -> Shown:
    """A Kubernetes cluster; its node pools are assets of their own too."""
    per_zone = asset.fleet.size or 1
    return {
        "name": asset.name,
        "description": SECRET,
        "selfLink": f"https://container.googleapis.com/v1/{asset.path}",
        "id": f"{asset.seed:016x}",
        "location": asset.region if asset.fleet.regional else asset.zone,
        "zone": asset.region if asset.fleet.regional else asset.zone,
        "locations": _zones(asset),
        "status": asset.fleet.state or "RUNNING",
        "statusMessage": SECRET,
        "createTime": asset.created.isoformat(timespec="seconds"),
        "currentMasterVersion": asset.fleet.engine or "1.30.5-gke.1014001",
        "currentNodeCount": per_zone * len(_zones(asset)) * asset.fleet.node_pools,
        "endpoint": _address(asset),
        "network": "default",
        "subnetwork": "default",
        "masterAuth": {
            "username": SECRET,
            "password": SECRET,
            "clientCertificate": SECRET,
            "clientKey": SECRET,
            "clusterCaCertificate": SECRET,
        },
        "nodeConfig": _node_config(asset),
        "nodePools": [
            {"name": f"pool-{n + 1}", "config": _node_config(asset), "initialNodeCount": per_zone}
            for n in range(asset.fleet.node_pools)
        ],
        "resourceLabels": asset.fleet.tags,
        "releaseChannel": {"channel": "REGULAR"},
        "autopilot": {},
        "databaseEncryption": {"state": "DECRYPTED", "keyName": SECRET},
        "notificationConfig": {"pubsub": {"topic": SECRET}},
        "privateClusterConfig": {"enablePrivateNodes": True, "privateEndpoint": _address(asset)},
    }


def gke_node_pool(asset: LabAsset) -> Shown:
    """A node pool of a Kubernetes cluster."""
    return {
        "name": asset.name,
        "selfLink": f"https://container.googleapis.com/v1/{asset.path}",
        "config": _node_config(asset),
        "initialNodeCount": asset.fleet.size or 1,
        "locations": _zones(asset),
        "status": "RUNNING",
        "statusMessage": SECRET,
        "version": asset.fleet.engine or "1.30.5-gke.1014001",
        "management": {"autoUpgrade": True, "autoRepair": True},
        "maxPodsConstraint": {"maxPodsPerNode": "110"},
        "podIpv4CidrSize": 24,
    }


WRITERS = {
    "gcp:instance": instance,
    "gcp:disk": disk,
    "gcp:filestore_instance": filestore_instance,
    "gcp:sql_instance": sql_instance,
    "gcp:redis_instance": redis_instance,
    "gcp:redis_cluster": redis_cluster,
    "gcp:valkey_instance": valkey_instance,
    "gcp:memcache_instance": memcache_instance,
    "gcp:bigtable_cluster": bigtable_cluster,
    "gcp:spanner_instance": spanner_instance,
    "gcp:alloydb_cluster": alloydb_cluster,
    "gcp:alloydb_instance": alloydb_instance,
    "gcp:forwarding_rule": forwarding_rule,
    "gcp:network": network,
    "gcp:subnetwork": subnetwork,
    "gcp:router": router,
    "gcp:gke_cluster": gke_cluster,
    "gcp:gke_node_pool": gke_node_pool,
}


def describe(asset: LabAsset) -> Shown:
    """The asset with its resource, without the keys that its fleet omits."""
    data = {key: value for key, value in WRITERS[asset.kind](asset).items() if key not in asset.fleet.omit}
    return wrap(asset.full_name, asset.asset_type, asset.location, data)


def wrap(name: str, asset_type: str, location: str, data: Shown) -> Shown:
    """A resource of some API as the asset that it is."""
    api, _, kind = asset_type.partition(".googleapis.com/")
    return {
        "name": name,
        "assetType": asset_type,
        "resource": {
            "version": "v1beta4" if api == "sqladmin" else "v1",
            "discoveryDocumentUri": f"https://{api}.googleapis.com/$discovery/rest",
            "discoveryName": {"RegionDisk": "Disk", "GlobalForwardingRule": "ForwardingRule"}.get(kind, kind),
            "parent": "//cloudresourcemanager.googleapis.com/projects/1",
            "data": data,
            "location": location,
        },
        "ancestors": ["projects/1"],
        "updateTime": "2024-06-01T00:00:00Z",
    }
