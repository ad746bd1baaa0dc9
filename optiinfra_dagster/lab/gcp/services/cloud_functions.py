"""Cloud Functions: of the first generation, unless the fleet's type says GEN_2."""

from __future__ import annotations

from optiinfra_dagster.lab.gcp.kind import (
    SECRET,
    LabAsset,
    LabKind,
    Shape,
    Shown,
    in_project,
    published,
    seconds,
    varied,
)


def _function(asset: LabAsset) -> Shown:
    """A function."""
    generation = asset.fleet.type or "GEN_1"
    service = {"availableMemory": "256M", "environmentVariables": {"PASSWORD": SECRET}, "timeoutSeconds": 60}
    if generation == "GEN_2":
        service["service"] = f"projects/{asset.project}/locations/{asset.region}/services/{asset.name}"
    return {
        "name": asset.path,
        "description": SECRET,
        "state": asset.fleet.state or "ACTIVE",
        "environment": generation,
        "createTime": seconds(asset.created),
        "buildConfig": {"runtime": asset.fleet.engine or "python312", "environmentVariables": {"TOKEN": SECRET}},
        "serviceConfig": service,
        "labels": asset.fleet.tags,
    }


_STATUS = varied("status", "ok", "error")

FUNCTION = LabKind(
    name="gcp:cloud_function",
    shapes=(Shape("cloudfunctions.googleapis.com/Function", "cloudfunctions", "locations/{region}/functions/{name}"),),
    describe=_function,
    metrics=(
        *published(
            "cloud_function", "cloudfunctions.googleapis.com/function/",
            ("execution_times", "DELTA", "DISTRIBUTION", 0, 4e3, _STATUS),
            ("user_memory_bytes", "DELTA", "DISTRIBUTION", 0, 4e3),
            value_unit=1e6,
        ),
        *published(
            "cloud_function", "cloudfunctions.googleapis.com/function/",
            ("execution_count", "DELTA", "INT64", 0, 9e3, _STATUS),
            ("network_egress", "DELTA", "INT64", 1e3, 9e6),
        ),
    ),
    labels=lambda asset: in_project(asset) | {"function_name": asset.name, "region": asset.region},
    publishes=lambda asset, _metric: asset.fleet.type != "GEN_2",
)  # fmt: skip

KINDS = (FUNCTION,)
