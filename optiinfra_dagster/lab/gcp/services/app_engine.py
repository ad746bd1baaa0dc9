"""App Engine: services of a project's application."""

from __future__ import annotations

from optiinfra_dagster.lab.gcp.kind import SECRET, LabAsset, Labels, LabKind, Shape, Shown, in_project, published


def _service(asset: LabAsset) -> Shown:
    """A service of an application, with two versions."""
    return {
        "name": f"apps/{asset.project}/services/{asset.name}",
        "id": asset.name,
        "split": {"shardBy": "IP", "allocations": {"v1": 0.5, "v2": 0.5}},
        "labels": asset.fleet.tags,
        "generatedCustomerMetadata": {"note": SECRET},
    }


def _versions(_asset: LabAsset) -> list[Labels]:
    return [Labels({}, {"version_id": name, "zone": "us1"}) for name in ("v1", "v2")]


SERVICE = LabKind(
    name="gcp:app_engine_service",
    shapes=(Shape("appengine.googleapis.com/Service", "appengine", "/apps/{project}/services/{name}"),),
    describe=_service,
    is_global=True,
    metrics=published(
        "gae_app", "appengine.googleapis.com/",
        ("http/server/response_latencies", "DELTA", "DISTRIBUTION", 0, 4e3, _versions),
        ("http/server/response_count", "DELTA", "INT64", 0, 9e3, _versions),
        ("system/memory/usage", "GAUGE", "INT64", 1e6, 9e8, _versions),
        ("system/network/received_bytes_count", "DELTA", "INT64", 1e3, 9e6, _versions),
        ("system/network/sent_bytes_count", "DELTA", "INT64", 1e3, 9e7, _versions),
    ),
    labels=lambda asset: in_project(asset) | {"module_id": asset.name},
)  # fmt: skip

KINDS = (SERVICE,)
