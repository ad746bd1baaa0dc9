"""Compute Engine: virtual machines."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

from optiinfra_dagster.lab.gcp.kind import (
    AGENT,
    COMPUTE,
    DISK_METRICS,
    SECRET,
    Child,
    LabAsset,
    Labels,
    LabKind,
    Shape,
    Shown,
    address,
    compute_head,
    in_project,
    link,
    pacific,
    published,
    single,
    varied,
)
from optiinfra_dagster.lab.gcp.pricelist import GIB_HOUR, GIB_MONTH, HOUR, OTHER, LabSku, PriceService, price_of

PRICES = PriceService("6F81-5844-456A")
BILL_SERVICE = "Compute Engine"


def _instance(asset: LabAsset) -> Shown:
    """A virtual machine of Compute Engine."""
    state = asset.fleet.state or "RUNNING"
    machine = asset.fleet.type or "e2-standard-2"
    disks = [asset.name, *(f"{asset.name}-data-{n}" for n in range(1, asset.fleet.disks))][: asset.fleet.disks]
    shown = compute_head(asset, "instance") | {
        "zone": link(asset, f"zones/{asset.zone}"),
        "machineType": link(asset, f"zones/{asset.zone}/machineTypes/{machine}"),
        "status": state,
        "cpuPlatform": "Intel Broadwell" if state == "RUNNING" else "Unknown CPU Platform",
        "canIpForward": False,
        "networkInterfaces": [
            {
                "kind": "compute#networkInterface",
                "name": "nic0",
                "network": link(asset, "global/networks/default"),
                "subnetwork": link(asset, f"regions/{asset.region}/subnetworks/default"),
                "networkIP": address(asset),
                "stackType": "IPV4_ONLY",
                "fingerprint": "PUin560skLg=",
                "accessConfigs": [
                    {
                        "kind": "compute#accessConfig",
                        "type": "ONE_TO_ONE_NAT",
                        "name": "External NAT",
                        **({"natIP": f"203.0.113.{asset.index % 256}"} if state == "RUNNING" else {}),
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
                "source": link(asset, f"zones/{asset.zone}/disks/{name}"),
                "diskEncryptionKey": {"rawKey": SECRET, "sha256": SECRET},
                "licenses": [f"{COMPUTE}/projects/debian-cloud/global/licenses/debian-12-bookworm"],
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
        "lastStartTimestamp": pacific(asset.created),
    }
    if state == "TERMINATED":
        stopped = asset.created + timedelta(days=3)
        shown["lastStopTimestamp"] = pacific(stopped)
    return shown


def _disk_names(asset: LabAsset) -> list[str]:
    return [asset.name, *(f"{asset.name}-data-{n}" for n in range(1, asset.fleet.disks))][: asset.fleet.disks]


def _disk_series(asset: LabAsset) -> list[Labels]:
    return [Labels({"device_name": name, "storage_type": "pd-balanced"}, {}) for name in _disk_names(asset)]


_SKUS = (
    LabSku(PRICES, "N1 Predefined Instance Core running", HOUR, "0.031611"),
    LabSku(PRICES, "N1 Predefined Instance Ram running", GIB_HOUR, "0.004237"),
    LabSku(PRICES, "N2 Instance Core running", HOUR, "0.031611"),
    LabSku(PRICES, "N2 Instance Ram running", GIB_HOUR, "0.004237"),
    LabSku(PRICES, "N2 Custom Instance Core running", HOUR, "0.033191"),
    LabSku(PRICES, "N2 Custom Extended Instance Ram running", GIB_HOUR, "0.009"),
    LabSku(PRICES, "N2 Sole Tenancy Instance Core running", HOUR, "0.0347"),
    LabSku(PRICES, "Sole Tenancy Premium for N2 Sole Tenancy Instance Core running", HOUR, "0.0032"),
    LabSku(PRICES, "N2D AMD Instance Core running", HOUR, "0.027502", newer="N2D Instance Core running"),
    LabSku(PRICES, "N2D AMD Instance Ram running", GIB_HOUR, "0.003686", newer="N2D Instance Ram running"),
    LabSku(PRICES, "Compute optimized Core running", HOUR, "0.03398", newer="Compute optimized Instance Core running"),
    LabSku(PRICES, "Compute optimized Ram running", GIB_HOUR, "0.0046", newer="Compute optimized Instance Ram running"),
    LabSku(PRICES, "Spot Preemptible Compute optimized Core running", HOUR, "0.008", usage="Preemptible"),
    LabSku(PRICES, "Custom Instance Core running", HOUR, "0.033174"),
    LabSku(PRICES, "SSD backed Local Storage", GIB_MONTH, "0.08", newer="SSD backed Local Storage running"),
    LabSku(PRICES, "E2 Instance Core running", HOUR, "0.021811"),
    LabSku(PRICES, "E2 Instance Ram running", GIB_HOUR, "0.002923"),
    LabSku(PRICES, "G2 Instance Core running", HOUR, "0.024988"),
    LabSku(PRICES, "G2 Instance Ram running", GIB_HOUR, "0.002927"),
    LabSku(PRICES, "Nvidia L4 GPU running", HOUR, "0.560004"),
    LabSku(PRICES, "Nvidia Tesla T4 GPU running", HOUR, "0.35"),
    LabSku(PRICES, "C3 Instance Core running", HOUR, "0.03398"),
    LabSku(PRICES, "C3 Instance Ram running", GIB_HOUR, "0.003938"),
    LabSku(
        PRICES, "Spot Preemptible N2 Instance Core running in us-central1", HOUR, "0.007", ("us-central1",),
        "Preemptible",
    ),
    LabSku(PRICES, "Commitment v1: N2 Cpu in us-central1 for 1 Year", HOUR, "0.0199", ("us-central1",), "Commit1Yr"),
)  # fmt: skip
_WORDS = {
    "n1": "N1 Predefined Instance", "n2": "N2 Instance", "n2d": "N2D AMD Instance", "e2": "E2 Instance",
    "c2": "Compute optimized", "c3": "C3 Instance",
}  # fmt: skip
_PER_CORE = {"standard": "4", "highmem": "8", "highcpu": "1"}
_OF_FAMILY = {"n1-standard": "3.75", "c3-highcpu": "2"}
_SHARED = {"e2-micro": ("0.25", 1), "e2-small": ("0.5", 2), "e2-medium": ("1", 4)}


def _hourly(asset: LabAsset) -> Decimal:
    if asset.fleet.is_stopped:
        return Decimal(0)
    machine, region = asset.fleet.type or "e2-standard-2", asset.region
    family, _, rest = machine.partition("-")
    if machine in _SHARED:
        cores, memory = Decimal(_SHARED[machine][0]), Decimal(_SHARED[machine][1])
    else:
        shape, _, count = rest.partition("-")
        if family not in _WORDS or shape not in _PER_CORE or not count.isdigit():
            return OTHER
        cores = Decimal(count)
        memory = cores * Decimal(_OF_FAMILY.get(f"{family}-{shape}", _PER_CORE[shape]))
    core, ram = (price_of(_SKUS, f"{_WORDS.get(family, '')} {part} running", region) for part in ("Core", "Ram"))
    return cores * core + memory * ram


INSTANCE = LabKind(
    name="gcp:instance",
    shapes=(Shape("compute.googleapis.com/Instance", "compute", "zones/{zone}/instances/{name}"),),
    describe=_instance,
    children=lambda asset: [Child("gcp:disk", name) for name in _disk_names(asset)],
    metrics=(
        *published(
            "gce_instance", "compute.googleapis.com/instance/",
            ("cpu/utilization", "GAUGE", "DOUBLE", 0.005, 0.97),
            *((*row, _disk_series) for row in DISK_METRICS),
            ("network/received_bytes_count", "DELTA", "INT64", 1e4, 3e8, varied("loadbalanced", "true", "false")),
            ("network/sent_bytes_count", "DELTA", "INT64", 1e4, 5e8, varied("loadbalanced", "true", "false")),
            ("uptime", "DELTA", "DOUBLE", 0, 60, single, True),
        ),
        *published(
            "gce_instance", AGENT,
            ("memory/percent_used", "GAUGE", "DOUBLE", 2, 45, varied("state", "used", "cached", "free")),
        ),
    ),
    labels=lambda asset: in_project(asset) | {"instance_id": asset.number, "zone": asset.zone},
    publishes=lambda asset, metric: asset.fleet.agent or not metric.type.startswith(AGENT),
    skus=_SKUS,
    bill_service=BILL_SERVICE,
    hourly=_hourly,
)  # fmt: skip

KINDS = (INSTANCE,)
