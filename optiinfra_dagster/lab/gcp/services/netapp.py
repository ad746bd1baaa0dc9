"""Google Cloud NetApp Volumes: volumes."""

from __future__ import annotations

from optiinfra_dagster.lab.gcp.kind import (
    SECRET,
    LabAsset,
    LabKind,
    Shape,
    Shown,
    contained,
    published,
    seconds,
    varied,
)


def _volume(asset: LabAsset) -> Shown:
    """A volume of a storage pool."""
    return {
        "name": asset.path,
        "state": asset.fleet.state or "READY",
        "stateDetails": SECRET,
        "createTime": seconds(asset.created),
        "shareName": SECRET,
        "storagePool": f"projects/{asset.project}/locations/{asset.region}/storagePools/main",
        "serviceLevel": asset.fleet.type or "PREMIUM",
        "capacityGib": str(asset.fleet.size or 1024),
        "usedGib": "17",
        "protocols": ["NFSV3"],
        "labels": asset.fleet.tags,
        "mountOptions": [{"exportFull": SECRET, "instructions": SECRET}],
    }


_TYPES = varied("type", "read", "write", "metadata")

VOLUME = LabKind(
    name="gcp:netapp_volume",
    shapes=(Shape("netapp.googleapis.com/Volume", "netapp", "locations/{region}/volumes/{name}"),),
    describe=_volume,
    metrics=published(
        "netapp.googleapis.com/Volume", "netapp.googleapis.com/volume/",
        ("throughput", "DELTA", "INT64", 1e3, 9e8, _TYPES),
        ("operation_count", "DELTA", "INT64", 0, 9e4, _TYPES),
        ("average_latency", "GAUGE", "DOUBLE", 0.1, 20, varied("method", "read", "write", "metadata")),
        ("bytes_used", "GAUGE", "INT64", 1e9, 9e11),
    ),
    labels=lambda asset: contained(asset) | {"name": asset.name},
)  # fmt: skip

KINDS = (VOLUME,)
