"""Filestore: file servers."""

from __future__ import annotations

from optiinfra_dagster.lab.gcp.kind import (
    DISK_METRICS,
    SECRET,
    LabAsset,
    LabKind,
    Shape,
    Shown,
    address,
    in_project,
    published,
    seconds,
    varied,
)


def _filestore_instance(asset: LabAsset) -> Shown:
    """A Filestore instance."""
    return {
        "name": asset.path,
        "description": SECRET,
        "state": asset.fleet.state or "READY",
        "statusMessage": SECRET,
        "createTime": seconds(asset.created),
        "tier": asset.fleet.type or "BASIC_HDD",
        "protocol": "NFS_V3",
        "labels": asset.fleet.tags,
        "fileShares": [{"name": SECRET, "capacityGb": str(asset.fleet.size or 1024)}],
        "networks": [{"network": "default", "ipAddresses": [address(asset)]}],
    }


_SHARE = varied("file_share", "share1")

INSTANCE = LabKind(
    name="gcp:filestore_instance",
    shapes=(Shape("file.googleapis.com/Instance", "file", "locations/{zone}/instances/{name}", in_zone=True),),
    describe=_filestore_instance,
    metrics=published(
        "filestore_instance", "file.googleapis.com/nfs/server/",
        *((name.removeprefix("disk/"), *rest, _SHARE) for name, *rest in DISK_METRICS),
        ("used_bytes_percent", "GAUGE", "DOUBLE", 1, 95, _SHARE),
        ("average_read_latency", "GAUGE", "DOUBLE", 0.2, 30, _SHARE),
        ("average_write_latency", "GAUGE", "DOUBLE", 0.2, 30, _SHARE),
    ),
    labels=lambda asset: in_project(asset) | {"instance_name": asset.name, "location": asset.location},
)  # fmt: skip

KINDS = (INSTANCE,)
