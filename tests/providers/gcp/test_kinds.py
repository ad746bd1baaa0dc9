"""The kinds of Google Cloud, as one table: what is derived from them, and that no file of them is odd."""

from __future__ import annotations

from collections import Counter

import pytest

from optiinfra_dagster.lab.gcp import services as lab
from optiinfra_dagster.model.inventory import Status
from optiinfra_dagster.providers.gcp.kind import status_of
from optiinfra_dagster.providers.gcp.services import BY_ASSET_TYPE, KINDS, METRICS, SKUS
from optiinfra_dagster.providers.registry import PROVIDERS

GCP = PROVIDERS["gcp"]


def test_a_kind_and_an_asset_type_are_stated_once() -> None:
    types = [asset_type for kind in KINDS.values() for asset_type in kind.asset_types]

    assert {name for name, kind in KINDS.items() if kind.name != name} == set()
    assert Counter(types) == Counter(list(BY_ASSET_TYPE))
    assert {name for name in KINDS if not name.startswith("gcp:")} == set()


def test_the_lab_names_its_kinds_as_the_product_does() -> None:
    assert list(lab.KINDS) == list(KINDS)
    assert BY_ASSET_TYPE.keys() == lab.ASSET_TYPES


def test_metrics_carry_the_name_of_their_kind() -> None:
    assert {metric.kind for metric in METRICS} <= KINDS.keys()
    assert all(metric.kind == kind.name for kind in KINDS.values() for metric in kind.metrics)


def test_what_has_a_price_has_rules_for_it_and_a_service_on_the_bill() -> None:
    for kind in KINDS.values():
        priced = (kind.price_parts is not None, bool(kind.skus), bool(kind.bill_service))
        assert len(set(priced)) == 1, kind.name
    assert len({(sku.service.id, sku.text.lower()) for sku in SKUS}) == len(SKUS)
    assert len({sku.key for sku in SKUS}) == len(SKUS)
    assert len({sku.service.id for sku in SKUS}) == len({sku.service for sku in SKUS}), "a service is read in two ways"


def test_the_provider_answers_from_its_kinds() -> None:
    assert GCP.kinds is KINDS
    assert GCP.bill_service("gcp:disk") == "Compute Engine"
    assert GCP.bill_service("gcp:network") == "gcp:network"
    assert GCP.bill_service("gcp:of_yesterday") == "gcp:of_yesterday"


def test_disks_are_attachable_and_forwarding_rules_are_silent_when_idle() -> None:
    disk, network, rule = (KINDS[f"gcp:{name}"] for name in ("disk", "network", "forwarding_rule"))
    assert (disk.attachable, network.attachable, rule.attachable) == (True, False, False)
    assert (disk.silent_when_idle, network.silent_when_idle, rule.silent_when_idle) == (False, False, True)


def test_roles_are_those_of_the_families() -> None:
    assert GCP.permissions({"resource"}) == ("roles/cloudasset.viewer",)
    assert GCP.permissions({"performance"}) == ("roles/cloudasset.viewer", "roles/monitoring.viewer")
    assert GCP.permissions(["resource", "cost", "application"]) == (
        "roles/bigquery.dataViewer",
        "roles/bigquery.jobUser",
        "roles/cloudasset.viewer",
    )


# The enumerations of the APIs' references, of kinds whose words are read by the one table.
STATES = {
    "Instance.status": "DEPROVISIONING PENDING PENDING_STOP PROVISIONING REPAIRING RUNNING STAGING STOPPED STOPPING "
    "SUSPENDED SUSPENDING TERMINATED",
    "Disk.status": "CREATING DELETING FAILED READY RESTORING UNAVAILABLE",
    "Snapshot.status": "CREATING DELETING FAILED READY UPLOADING",
    "Image.status": "DELETING FAILED PENDING READY",
    "MachineImage.status": "CREATING DELETING INVALID READY UPLOADING",
    "SqlInstanceState": "RUNNABLE SUSPENDED PENDING_DELETE PENDING_CREATE MAINTENANCE FAILED ONLINE_MAINTENANCE "
    "REPAIRING",
    "GKE Cluster.Status": "PROVISIONING RUNNING RECONCILING STOPPING ERROR DEGRADED",
    "GKE NodePool.Status": "PROVISIONING RUNNING RUNNING_WITH_ERROR RECONCILING STOPPING ERROR",
    "Filestore Instance.State": "CREATING READY REPAIRING DELETING ERROR RESTORING SUSPENDED SUSPENDING RESUMING "
    "REVERTING PROMOTING",
    "Redis Instance.State": "CREATING READY UPDATING DELETING REPAIRING MAINTENANCE IMPORTING FAILING_OVER",
    "Memcached Instance.State": "CREATING READY UPDATING DELETING PERFORMING_MAINTENANCE MEMCACHE_VERSION_UPGRADING",
    "Functions v2 Function.State": "ACTIVE FAILED DEPLOYING DELETING",
    "Functions v1 CloudFunctionStatus": "ACTIVE OFFLINE DEPLOY_IN_PROGRESS DELETE_IN_PROGRESS",
    "NetApp Volume.State": "READY CREATING DELETING UPDATING RESTORING DISABLED ERROR PREPARING",
    "AlloyDB Cluster.State": "READY STOPPED EMPTY CREATING DELETING FAILED BOOTSTRAPPING MAINTENANCE PROMOTING",
}


@pytest.mark.parametrize("enumeration", STATES)
def test_every_state_of_the_references_has_a_status(enumeration: str) -> None:
    assert [word for word in STATES[enumeration].split() if status_of(word) is Status.UNKNOWN] == []
