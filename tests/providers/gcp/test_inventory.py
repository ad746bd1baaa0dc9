from __future__ import annotations

import json
import logging
from collections import Counter
from datetime import UTC
from typing import TYPE_CHECKING, Any

import pytest

from optiinfra_dagster.lab.gcp import cloud
from optiinfra_dagster.lab.gcp.describe import describe
from optiinfra_dagster.lab.gcp.kind import SECRET
from optiinfra_dagster.model.errors import Cause
from optiinfra_dagster.model.inventory import Inventory, Resource, ResourceType, Status
from optiinfra_dagster.model.meter import Meter
from optiinfra_dagster.providers.gcp.account import GcpAccount
from optiinfra_dagster.providers.gcp.inventory import collect
from optiinfra_dagster.providers.gcp.services import BY_ASSET_TYPE
from optiinfra_dagster.providers.gcp.services.compute import vcpus
from tests.providers.gcp.conftest import ALL_KINDS, PROJECT, Clock, StartLab, account, fleet

if TYPE_CHECKING:
    from optiinfra_dagster.lab import CloudLab


def gather(lab: CloudLab, *accounts: GcpAccount, meter: Meter | None = None) -> Inventory:
    return collect("acme", accounts or (account(lab),), meter or Meter())


def only(inventory: Inventory, kind: str) -> Resource:
    (resource,) = [one for one in inventory.resources if one.kind == kind]
    return resource


def test_every_kind_comes_out_once_under_its_full_name_in_one_call(start_lab: StartLab) -> None:
    lab = start_lab(
        *(fleet(kind, 3) for kind in ALL_KINDS),
        fleet("gcp:disk", name="mirrored", regional=True),
        fleet("gcp:gke_cluster", name="wide", regional=True),
        fleet("gcp:forwarding_rule", region="global", name="shop"),
        fleet("gcp:address", region="global", name="worldwide"),
    )
    meter = Meter()

    inventory = gather(lab, meter=meter)

    assert inventory.problems == []
    wanted = {one.full_name: one for one in lab.gcp.estate.assets(PROJECT)}
    assert Counter(one.resource_id for one in inventory.resources) == Counter(list(wanted))
    for one in inventory.resources:
        listed = wanted[one.resource_id]
        assert (one.kind, one.region, one.account_id) == (listed.kind, listed.region, PROJECT)
        assert one.resource_name == listed.name
        assert one.status is not Status.UNKNOWN
        assert one.created_at is None or one.created_at.tzinfo is UTC
    assert {one.asset_type for one in wanted.values()} == set(BY_ASSET_TYPE)
    assert {one.resource_type for one in inventory.resources} == set(ResourceType)
    assert meter.calls == {"ListAssets": 1}


def test_an_instance_carries_what_later_steps_need(start_lab: StartLab) -> None:
    lab = start_lab(fleet("gcp:instance", name="web", type="n2-custom-8-16384", tags={"env": "prod"}))
    listed = lab.gcp.estate.assets(PROJECT, "gcp:instance")[0]

    instance = only(gather(lab), "gcp:instance")

    assert instance.resource_id == f"//compute.googleapis.com/projects/{PROJECT}/zones/{listed.zone}/instances/web"
    assert instance.resource_type is ResourceType.COMPUTE
    assert (instance.status, instance.cloud_status) == (Status.RUNNING, "RUNNING")
    assert (instance.capacity, instance.unit) == (8, "vCPU")
    assert (instance.region, instance.metadata["zone"]) == ("us-central1", listed.zone)
    assert instance.tags == {"env": "prod"}
    assert instance.created_at == listed.created.replace(microsecond=0)
    assert instance.metadata["instance_id"] == listed.number  # what its metrics carry
    assert instance.metadata["machine_type"] == "n2-custom-8-16384"
    assert instance.metadata["network"] == f"projects/{PROJECT}/global/networks/default"
    assert instance.metadata["public_ip"] == "203.0.113.1"  # by which a probe may know it


@pytest.mark.parametrize(
    ("machine_type", "count"),
    [
        ("e2-micro", 2),
        ("f1-micro", 1),
        ("n1-standard-4", 4),
        ("custom-6-20480", 6),
        ("n2-custom-4-8192-ext", 4),
        ("e2-custom-small-2048", 2),
        ("c3-highcpu-22", 22),
        ("c4a-standard-8-lssd", 8),
        ("z3-highmem-88-standardlssd", 88),
        ("m1-ultramem-40", 40),
        ("a2-highgpu-1g", 12),
        ("g2-standard-4", 4),
        ("x4-megamem-960-metal", 960),
        ("ct5lp-hightpu-4t", 112),
        ("ct6e-standard-4t", 180),
        ("a4x-highgpu-4g", 140),
        ("a4-highgpu-8g-nolssd", 224),
        ("a3-ultragpu-8g-nolssd", 224),
        ("c3-standard-44-nolssd", 44),
        ("ct9z-hightpu-4t", None),
        ("", None),
    ],
)
def test_the_name_of_a_machine_type_tells_its_vcpus(machine_type: str, count: int | None) -> None:
    assert vcpus(machine_type) == count


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("PROVISIONING", Status.STARTING),
        ("STAGING", Status.STARTING),
        ("RUNNING", Status.RUNNING),
        ("STOPPING", Status.STOPPING),
        ("TERMINATED", Status.STOPPED),
        ("SUSPENDED", Status.STOPPED),
        ("REPAIRING", Status.ERROR),
        ("HOVERING", Status.UNKNOWN),
    ],
)
def test_the_clouds_word_is_kept_beside_the_status(start_lab: StartLab, word: str, status: Status) -> None:
    instance = only(gather(start_lab(fleet("gcp:instance", state=word))), "gcp:instance")

    assert (instance.status, instance.cloud_status) == (status, word)
    assert ("stopped_at" in instance.metadata) == (word == "TERMINATED")


def test_a_stopped_database_is_told_from_a_running_one(start_lab: StartLab) -> None:
    lab = start_lab(
        fleet("gcp:sql_instance", name="on", size=250, type="db-perf-optimized-N-8"),
        fleet("gcp:sql_instance", name="off", state="STOPPED"),
    )

    databases = {one.resource_name: one for one in gather(lab).resources}

    assert (databases["on"].status, databases["off"].status) == (Status.RUNNING, Status.STOPPED)
    assert databases["off"].cloud_status == "RUNNABLE"
    assert (databases["on"].capacity, databases["on"].unit) == (250, "GiB")
    assert databases["on"].metadata["vcpus"] == 8


def test_disks_tell_size_and_what_they_are_attached_to(start_lab: StartLab) -> None:
    lab = start_lab(
        fleet("gcp:instance", name="web", disks=2),
        fleet("gcp:disk", name="loose", size=500, type="pd-ssd"),
        fleet("gcp:disk", name="mirrored", regional=True),
    )

    disks = {one.resource_name: one for one in gather(lab).resources if one.kind == "gcp:disk"}

    assert disks.keys() == {"web", "web-data-1", "loose", "mirrored"}
    assert (disks["web"].status, disks["web"].metadata["attached_to"]) == (Status.IN_USE, "web")
    assert (disks["loose"].status, disks["loose"].capacity, disks["loose"].unit) == (Status.AVAILABLE, 500, "GiB")
    assert disks["loose"].metadata["volume_type"] == "pd-ssd"
    assert disks["mirrored"].metadata["replica_zones"] == "us-central1-a,us-central1-b"


def test_kubernetes_tells_its_nodes(start_lab: StartLab) -> None:
    lab = start_lab(fleet("gcp:gke_cluster", name="prod", size=2, node_pools=2, regional=True))

    inventory = gather(lab)

    cluster = only(inventory, "gcp:gke_cluster")
    pools = [one for one in inventory.resources if one.kind == "gcp:gke_node_pool"]
    assert (cluster.capacity, cluster.unit, cluster.region) == (12, "nodes", "us-central1")
    assert [(one.capacity, one.metadata["cluster"]) for one in pools] == [(6, "prod"), (6, "prod")]


def test_what_bills_are_full_of_is_listed_too(start_lab: StartLab) -> None:
    lab = start_lab(
        fleet("gcp:bucket", name="acme-logs", region="europe-west1", tags={"env": "prod"}),
        fleet("gcp:image", name="base", size=3),
        fleet("gcp:machine_image", name="whole", size=9),
        fleet("gcp:snapshot", name="daily"),
        fleet("gcp:address", name="spare"),
        fleet("gcp:netapp_volume", name="share", size=2048),
        fleet("gcp:cloud_run_service", name="api"),
        fleet("gcp:cloud_run_service", name="api-2", engine="v2"),
        fleet("gcp:cloud_function", name="thumbs", type="GEN_2"),
        fleet("gcp:app_engine_service", name="default"),
    )

    found = {one.resource_name: one for one in gather(lab).resources}

    bucket = found["acme-logs"]
    assert (bucket.resource_id, bucket.region) == ("//storage.googleapis.com/acme-logs", "europe-west1")
    assert (bucket.resource_type, bucket.status) == (ResourceType.OBJECT_STORAGE, Status.AVAILABLE)
    assert (bucket.tags, bucket.metadata["storage_class"]) == ({"env": "prod"}, "STANDARD")
    assert bucket.instance_uid == bucket.created_at.isoformat()  # type: ignore[union-attr]  # its id is its name
    kept = {name: (found[name].resource_type, found[name].capacity) for name in ("base", "whole", "daily")}
    assert kept == {
        "base": (ResourceType.SNAPSHOT, 3), "whole": (ResourceType.SNAPSHOT, 9), "daily": (ResourceType.SNAPSHOT, 5)
    }  # fmt: skip
    assert found["spare"].resource_type is ResourceType.ADDRESS
    assert (found["share"].capacity, found["share"].metadata["pool"]) == (2048, "main")
    serverless = {name: found[name] for name in ("api", "thumbs", "default")}
    assert {one.resource_type for one in serverless.values()} == {ResourceType.SERVERLESS}
    assert {one.status for one in serverless.values()} == {Status.RUNNING}
    assert (found["api"].cloud_status, found["api-2"].cloud_status) == ("Ready=True", "CONDITION_SUCCEEDED")
    for api in (found["api"], found["api-2"]):
        assert (api.status, api.metadata["memory_limit"]) == (Status.RUNNING, "512Mi")
        assert str(api.metadata["max_instances"]) == "10"
        assert api.metadata["revision"] == f"{api.resource_name}-00001-abc"
        assert (api.created_at is None, len(api.instance_uid)) == (False, 16)
    assert found["thumbs"].metadata["service"] == "thumbs"
    assert found["default"].resource_id == f"//appengine.googleapis.com/apps/{PROJECT}/services/default"


def test_items_with_nothing_but_a_name_are_kept(start_lab: StartLab) -> None:
    every = ["name", "kind", "status", "state", "zone", "region", "settings", "config", "labels", "locations"]
    more = [
        "id",
        "creationTimestamp",
        "createTime",
        "machineType",
        "sizeGb",
        "disks",
        "networkInterfaces",
        "scheduling",
    ]
    lab = start_lab(*(fleet(kind, omit=every + more) for kind in ALL_KINDS))

    inventory = gather(lab)

    assert inventory.problems == []
    assert {one.resource_id for one in inventory.resources} == {one.full_name for one in lab.gcp.estate.assets(PROJECT)}
    assert all(one.resource_name for one in inventory.resources)


def test_pages_are_as_few_as_can_be(start_lab: StartLab) -> None:
    lab = start_lab(fleet("gcp:disk", 2001))
    meter = Meter()

    inventory = gather(lab, meter=meter)

    assert len(inventory.resources) == 2001
    assert meter.calls["ListAssets"] == lab.control.calls().count("cloudasset", "ListAssets", PROJECT) == 3


def test_a_listing_that_breaks_off_keeps_what_it_brought_and_says_that_all_kinds_may_lack(start_lab: StartLab) -> None:
    lab = start_lab(fleet("gcp:disk", 1001))
    lab.control.add_faults({"action": "deny", "page": 2})

    inventory = gather(lab)

    assert len(inventory.resources) == 1000
    (problem,) = inventory.problems
    assert (problem.account_id, problem.region, problem.kind) == (PROJECT, "", "")
    assert problem.cause is Cause.PERMISSION
    assert "1000 listed before" in problem.message
    assert "gcp:sql_instance" in problem.message

    lab.control.clear_faults()
    healed = gather(lab)
    assert (len(healed.resources), healed.problems) == (1001, [])


@pytest.mark.parametrize("action", ["throttle", "unavailable", "error", "disconnect"])
def test_what_may_pass_is_tried_again_and_every_attempt_is_counted(
    start_lab: StartLab, action: str, clock: Clock
) -> None:
    lab = start_lab(fleet("gcp:disk", 2))
    lab.control.add_faults({"action": action, "times": 2})
    meter = Meter()

    inventory = gather(lab, meter=meter)

    assert (len(inventory.resources), inventory.problems) == (2, [])
    assert meter.calls == {"ListAssets": 3}
    assert lab.control.calls().count("cloudasset") == 3
    assert len(clock.slept) == 2


@pytest.mark.parametrize(
    ("action", "cause", "longest"),
    [
        ("throttle", Cause.THROTTLED, 150),
        ("unavailable", Cause.UNAVAILABLE, 45),
        ("disconnect", Cause.UNAVAILABLE, 45),
    ],
)
def test_what_does_not_pass_ends_in_bounded_time(
    start_lab: StartLab, action: str, cause: Cause, longest: float, clock: Clock
) -> None:
    lab = start_lab(fleet("gcp:disk", 2))
    lab.control.add_faults({"action": action})

    (problem,) = gather(lab).problems

    assert (problem.kind, problem.cause) == ("", cause)
    assert longest / 3 < sum(clock.slept) <= longest


def test_a_quota_that_is_spent_is_waited_for(
    start_lab: StartLab, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = start_lab(fleet("gcp:disk", 1001))
    lab.gcp.calls_per_minute = 1
    wait = clock.sleep

    def minute(seconds: float) -> None:
        wait(seconds)
        if sum(clock.slept) > 60:
            lab.gcp.refill()

    monkeypatch.setattr(clock, "sleep", minute)

    inventory = gather(lab)

    assert (len(inventory.resources), inventory.problems) == (1001, [])
    assert 60 < sum(clock.slept) < 150
    assert lab.control.calls().count("cloudasset", status=429) > 1


def test_a_missing_permission_names_the_role(start_lab: StartLab, clock: Clock) -> None:
    lab = start_lab(fleet("gcp:disk", 2))
    lab.control.add_faults({"action": "deny"})
    meter = Meter()

    (problem,) = gather(lab, meter=meter).problems

    assert problem.cause is Cause.PERMISSION
    assert "roles/cloudasset.viewer" in problem.message
    assert PROJECT in problem.message
    assert meter.calls == {"ListAssets": 1}
    assert clock.slept == []


def test_a_disabled_api_is_named(start_lab: StartLab) -> None:
    lab = start_lab(fleet("gcp:disk", 2))
    lab.control.add_faults({"action": "optin_required"})

    (problem,) = gather(lab).problems

    assert problem.cause is Cause.CONFIG
    assert f"gcloud services enable cloudasset.googleapis.com --project {PROJECT}" in problem.message


def test_one_project_that_cannot_be_entered_does_not_cost_the_other(start_lab: StartLab) -> None:
    other = {"id": "acme-test", "fleets": [fleet("gcp:network", 2, subnets=0)]}
    lab = start_lab(fleet("gcp:disk", 3), projects=(other,))
    unset = GcpAccount.model_validate({"project_id": "lost-one", "endpoint_url": {"env": "NOT_SET_ANYWHERE"}})

    inventory = gather(lab, account(lab), account(lab, "nobodys"), unset, account(lab, "acme-test"))

    assert Counter(one.account_id for one in inventory.resources) == {PROJECT: 3, "acme-test": 2}
    assert [(one.account_id, one.cause) for one in inventory.problems] == [
        ("nobodys", Cause.PERMISSION),
        ("lost-one", Cause.CONFIG),
    ]
    assert "NOT_SET_ANYWHERE" in inventory.problems[1].message


def test_a_kind_that_this_cloud_does_not_offer_costs_that_kind_only(
    start_lab: StartLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = start_lab(fleet("gcp:disk", 3), fleet("gcp:alloydb_cluster"))
    offered = {one for one in BY_ASSET_TYPE if not one.startswith("alloydb")}
    monkeypatch.setattr(cloud, "ASSET_TYPES", offered)

    inventory = gather(lab)

    assert Counter(one.kind for one in inventory.resources) == {"gcp:disk": 3}
    assert {(one.kind, one.cause) for one in inventory.problems} == {
        ("gcp:alloydb_cluster", Cause.CONFIG),
        ("gcp:alloydb_instance", Cause.CONFIG),
    }


def test_no_secret_leaves_the_provider(start_lab: StartLab, caplog: pytest.LogCaptureFixture) -> None:
    lab = start_lab(*(fleet(kind, 2) for kind in ALL_KINDS))
    planted = {one.kind for one in lab.gcp.estate.assets(PROJECT) if SECRET in json.dumps(describe(one))}
    assert planted == {one.kind for one in lab.gcp.estate.assets(PROJECT)}

    with caplog.at_level(logging.DEBUG):
        inventory = gather(lab)
        lab.control.add_faults({"action": "deny"})
        refused = gather(lab)

    assert {one.kind for one in inventory.resources} == planted
    assert refused.problems
    assert SECRET not in repr(inventory) + repr(refused) + caplog.text


def test_an_asset_with_odd_facts_is_listed_without_them(start_lab: StartLab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = start_lab(fleet("gcp:disk", 2), fleet("gcp:network", subnets=1))
    spoil: dict[str, Any] = {"disk-001": ("sizeGb", SECRET), "network-001-1": ("ipCidrRange", SECRET)}

    def spoiled(one: Any) -> dict[str, Any]:
        shown = describe(one)
        if one.name in spoil:
            key, value = spoil[one.name]
            shown["resource"]["data"][key] = value
        return shown

    monkeypatch.setattr(cloud, "describe", spoiled)

    inventory = gather(lab)

    sizes = {one.resource_name: one.capacity for one in inventory.resources}
    assert sizes.keys() == {"disk-001", "disk-002", "network-001", "network-001-1"}
    assert (sizes["disk-001"], sizes["network-001-1"]) == (None, None)
    assert sizes["disk-002"] is not None
    assert inventory.problems == []
    assert SECRET not in repr(inventory)


@pytest.mark.parametrize("lacking", [{}, {"resource": {}}, {"resource": {"version": "v1", "data": {}}}])
def test_an_asset_without_its_facts_is_a_gap_and_no_machine_that_has_changed(
    start_lab: StartLab, monkeypatch: pytest.MonkeyPatch, lacking: dict[str, Any]
) -> None:
    """With its name alone it would have lost its type, its labels and its state, and have them again the next time."""
    lab = start_lab(fleet("gcp:instance", 2, disks=0))

    def first_lacks(one: Any) -> dict[str, Any]:
        shown = describe(one)
        return {"name": shown["name"], "assetType": shown["assetType"], **lacking} if one.index == 1 else shown

    monkeypatch.setattr(cloud, "describe", first_lacks)

    inventory = gather(lab)

    assert [one.resource_name for one in inventory.resources] == ["instance-002"]
    (problem,) = inventory.problems
    assert (problem.kind, problem.cause) == ("gcp:instance", Cause.BUG)
    assert "instances/instance-001 was skipped" in problem.message


@pytest.mark.parametrize("odd", [{}, {"name": None}, {"resource": None}, {"resource": []}, {"resource": {"data": []}}])
def test_an_asset_of_another_form_does_not_stop_the_listing(
    start_lab: StartLab, monkeypatch: pytest.MonkeyPatch, odd: dict[str, Any]
) -> None:
    lab = start_lab(fleet("gcp:disk", 2))

    def first_is_odd(one: Any) -> dict[str, Any]:
        return {"assetType": one.asset_type, **odd} if one.index == 1 else describe(one)

    monkeypatch.setattr(cloud, "describe", first_is_odd)

    inventory = gather(lab)

    assert [one.resource_name for one in inventory.resources] == ["disk-002"]
    assert [(one.kind, one.cause) for one in inventory.problems] == [("gcp:disk", Cause.BUG)]
