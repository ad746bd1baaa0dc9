"""Cloud Run: services, as the Knative API shows them; as version 2 of the API does where a fleet's engine is v2."""

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
)


def _container(asset: LabAsset) -> Shown:
    return {
        "image": f"gcr.io/{asset.project}/{asset.name}",
        "env": [{"name": "PASSWORD", "value": SECRET}],
        "args": [SECRET],
        "resources": {"limits": {"cpu": "1000m", "memory": "512Mi"}},
    }


def _second(asset: LabAsset) -> Shown:
    """A service as version 2 of the API has it."""
    return {
        "name": asset.path,
        "uid": f"{asset.seed:016x}",
        "createTime": seconds(asset.created),
        "labels": asset.fleet.tags,
        "creator": SECRET,
        "template": {"scaling": {"maxInstanceCount": 10}, "containers": [_container(asset)]},
        "terminalCondition": {"type": "Ready", "state": asset.fleet.state or "CONDITION_SUCCEEDED"},
        "latestReadyRevision": f"{asset.path}/revisions/{asset.name}-00001-abc",
    }


def _service(asset: LabAsset) -> Shown:
    """A service of Cloud Run."""
    if asset.fleet.engine == "v2":
        return _second(asset)
    return {
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Service",
        "metadata": {
            "name": asset.name,
            "namespace": "1",
            "uid": f"{asset.seed:016x}",
            "creationTimestamp": seconds(asset.created),
            "labels": {"cloud.googleapis.com/location": asset.region, **asset.fleet.tags},
            "annotations": {"serving.knative.dev/creator": SECRET},
        },
        "spec": {
            "template": {
                "metadata": {"annotations": {"autoscaling.knative.dev/maxScale": "10"}},
                "spec": {"containerConcurrency": 80, "containers": [_container(asset)]},
            }
        },
        "status": {
            "conditions": [
                {"type": "ConfigurationsReady", "status": "True"},
                {"type": "Ready", "status": asset.fleet.state or "True", "message": SECRET},
            ],
            "latestReadyRevisionName": f"{asset.name}-00001-abc",
        },
    }


def _revisions(asset: LabAsset) -> list[Labels]:
    return [
        Labels({}, {"revision_name": f"{asset.name}-0000{n}-abc", "configuration_name": asset.name}) for n in (1, 2)
    ]


def _answers(asset: LabAsset) -> list[Labels]:
    return [
        Labels({"response_code": code, "response_code_class": f"{code[0]}xx"}, part.resource)
        for part in _revisions(asset)
        for code in ("200", "500")
    ]


SERVICE = LabKind(
    name="gcp:cloud_run_service",
    shapes=(Shape("run.googleapis.com/Service", "run", "locations/{region}/services/{name}"),),
    describe=_service,
    metrics=(
        *published(
            "cloud_run_revision", "run.googleapis.com/container/",
            ("cpu/utilizations", "DELTA", "DISTRIBUTION", 0, 60, _revisions),
            ("memory/utilizations", "DELTA", "DISTRIBUTION", 0, 60, _revisions),
            delay=120, value_unit=5e-5,
        ),
        *published(
            "cloud_run_revision", "run.googleapis.com/",
            ("request_latencies", "DELTA", "DISTRIBUTION", 0, 4e3, _answers),
            ("request_count", "DELTA", "INT64", 0, 9e3, _answers),
            ("container/network/received_bytes_count", "DELTA", "INT64", 1e3, 9e6, _revisions),
            ("container/network/sent_bytes_count", "DELTA", "INT64", 1e3, 9e7, _revisions),
            delay=120,
        ),
    ),
    labels=lambda asset: in_project(asset) | {"service_name": asset.name, "location": asset.region},
)  # fmt: skip

KINDS = (SERVICE,)
