"""Spanner: its instances."""

from __future__ import annotations

from optiinfra_dagster.lab.gcp.kind import (
    SECRET,
    LabAsset,
    Labels,
    LabKind,
    Shape,
    Shown,
    in_project,
    published,
    seconds,
    varied,
)


def _spanner_instance(asset: LabAsset) -> Shown:
    """A Spanner instance."""
    nodes = asset.fleet.size or 1
    return {
        "name": asset.path,
        "config": f"projects/{asset.project}/instanceConfigs/{asset.fleet.engine or f'regional-{asset.region}'}",
        "displayName": SECRET,
        "nodeCount": nodes,
        "processingUnits": 1000 * nodes,
        "state": asset.fleet.state or "READY",
        "labels": asset.fleet.tags,
        "instanceType": "PROVISIONED",
        "edition": "STANDARD",
        "createTime": seconds(asset.created),
    }


def _databases(_asset: LabAsset) -> list[Labels]:
    return [Labels({"database": name}, {}) for name in ("orders", "users")]


def _calls(_asset: LabAsset) -> list[Labels]:
    methods = ("Commit", "Read")
    return [Labels({"database": name, "method": method}, {}) for name in ("orders", "users") for method in methods]


INSTANCE = LabKind(
    name="gcp:spanner_instance",
    shapes=(Shape("spanner.googleapis.com/Instance", "spanner", "instances/{name}"),),
    describe=_spanner_instance,
    metrics=(
        *published(
            "spanner_instance", "spanner.googleapis.com/",
            ("instance/cpu/utilization", "GAUGE", "DOUBLE", 0.01, 0.45, _databases),
            ("instance/storage/utilization", "GAUGE", "DOUBLE", 0.01, 0.9, varied("storage_class", "ssd")),
            ("api/api_request_count", "DELTA", "INT64", 0, 9e3, _calls),
            ("api/received_bytes_count", "DELTA", "INT64", 1e3, 9e6, _calls),
            ("api/sent_bytes_count", "DELTA", "INT64", 1e3, 9e7, _calls),
            delay=180,
        ),
        *published(
            "spanner_instance", "spanner.googleapis.com/",
            ("api/request_latencies", "DELTA", "DISTRIBUTION", 0, 4e3, _calls),
            delay=180, value_unit=0.001,
        ),
    ),
    labels=lambda asset: in_project(asset) | {"instance_id": asset.name, "location": asset.region},
)  # fmt: skip

KINDS = (INSTANCE,)
