from __future__ import annotations

import logging
from collections import Counter
from datetime import UTC
from typing import TYPE_CHECKING, Any

import pytest

from optiinfra_dagster.lab.azure.cloud import ResourceGraph
from optiinfra_dagster.lab.azure.kind import PLANTED
from optiinfra_dagster.lab.azure.services import FLEET_KINDS
from optiinfra_dagster.model.errors import Cause
from optiinfra_dagster.model.inventory import Inventory, Resource, ResourceType, Status
from optiinfra_dagster.model.meter import Meter
from optiinfra_dagster.providers.azure.interfaces import Addresses
from optiinfra_dagster.providers.azure.inventory import VISIBLE, _Listing, collect
from tests.providers.azure.conftest import OTHER, SUBSCRIPTION, StartLab, account, fleet
from tests.support.samples import resource as sample

if TYPE_CHECKING:
    from optiinfra_dagster.lab import CloudLab
    from optiinfra_dagster.providers.azure.account import AzureAccount

KINDS = FLEET_KINDS


def gather(lab: CloudLab, *accounts: AzureAccount, meter: Meter | None = None) -> Inventory:
    return collect("acme", accounts or (account(lab),), meter or Meter())


def only(inventory: Inventory, kind: str) -> Resource:
    (one,) = [one for one in inventory.resources if one.kind == kind]
    return one


def ids(inventory: Inventory) -> list[str]:
    return sorted(one.resource_id for one in inventory.resources)


def expected(lab: CloudLab, subscription: str | None = None) -> list[str]:
    return sorted(row["id"].lower() for row in lab.azure.estate.resources(subscription))


def test_every_kind_of_every_region_comes_out_once_in_one_call(start_lab: StartLab) -> None:
    regions = ("westeurope", "eastus2")
    lab = start_lab(*(fleet(kind, 2, region, name=f"{{kind}}-{{n}}-{region}") for kind in KINDS for region in regions))
    meter = Meter()

    inventory = gather(lab, meter=meter)

    assert inventory.problems == []
    assert ids(inventory) == expected(lab)
    assert {one.kind for one in inventory.resources} == {*KINDS, "azure:sql_database", "azure:aks_pool"}
    assert {one.resource_type for one in inventory.resources} == set(ResourceType)
    assert {one.region for one in inventory.resources} == {*regions, "global"}
    assert {one.account_id for one in inventory.resources} == {SUBSCRIPTION}
    assert Status.UNKNOWN not in {one.status for one in inventory.resources}
    assert meter.calls == {"Resources": 1}
    assert meter.cost_usd == 0


PROMETHEUS = {"url": "https://prometheus.example"}


def test_machines_have_private_addresses_where_a_prometheus_asks_for_them(start_lab: StartLab) -> None:
    """Of the primary interface of each and its first address, by one call for a thousand interfaces."""
    lab = start_lab(fleet("azure:vm", 600, disks=0), others=({"id": OTHER, "fleets": [fleet("azure:vm", 2)]},))
    meter = Meter()

    inventory = gather(lab, account(lab, prometheus_url=PROMETHEUS["url"]), account(lab, OTHER), meter=meter)

    assert inventory.problems == []
    machines = {one.resource_id: one for one in inventory.resources if one.kind == "azure:vm"}
    addresses = {
        row["properties"]["virtualMachine"]["id"].lower(): row["properties"]["ipConfigurations"][0]["properties"]
        for row in lab.azure.estate.rows(SUBSCRIPTION)
        if row["properties"].get("primary") is True
    }
    assert len(addresses) == 600
    for machine_id, machine in machines.items():
        wanted = addresses[machine_id]["privateIPAddress"] if machine.account_id == SUBSCRIPTION else None
        assert machine.metadata.get("private_ip") == wanted
    assert meter.calls == {"Resources": 1 + 2}  # 600 machines with two interfaces each


def test_interfaces_that_cannot_be_listed_make_an_inventory_partial(start_lab: StartLab, waits: list[float]) -> None:
    lab = start_lab(fleet("azure:vm", 2, disks=0))
    lab.control.add_faults({"action": "unavailable", "service": "resourcegraph", "skip": 1})

    inventory = gather(lab, account(lab, prometheus_url=PROMETHEUS["url"]))

    assert len(inventory.problems) == 1
    assert len([one for one in inventory.resources if one.kind == "azure:vm"]) == 2
    assert waits


def test_a_machine_without_an_interface_or_with_one_of_another_shape_has_no_address() -> None:
    addresses = Addresses()
    resources = {"/vm/a": sample("/vm/a"), "/vm/b": sample("/vm/b"), "/vm/c": sample("/vm/c")}
    rows: list[dict[str, Any]] = [
        {"machine": "/VM/a", "address": "10.0.0.1", "isPrimary": None},  # an only one need not say so
        {"machine": "/vm/b", "address": "10.0.0.2", "isPrimary": True},
        {"machine": "/vm/b", "address": "10.0.0.3", "isPrimary": False},
        {"machine": "/vm/c", "address": None, "isPrimary": True},
        {"machine": None, "address": "10.0.0.4"},
        {"machine": "/vm/gone", "address": "10.0.0.5", "isPrimary": True},
    ]

    assert all(addresses.keep({"type": "Microsoft.Network/networkInterfaces", **row}) for row in rows)
    addresses.add_to(resources)

    assert [one.metadata for one in resources.values()] == [{"private_ip": "10.0.0.1"}, {"private_ip": "10.0.0.2"}, {}]
    assert not addresses.keep({"type": "microsoft.compute/virtualmachines"})


def test_system_databases_are_nobodys(start_lab: StartLab) -> None:
    lab = start_lab(fleet("azure:sql_server", databases=2))

    names = Counter(one.resource_name for one in gather(lab).resources)

    assert names == {"sql-server-001": 1, "db-1": 1, "db-2": 1}


def test_a_machine_carries_what_later_steps_need(start_lab: StartLab) -> None:
    lab = start_lab(
        fleet("azure:vm", type="Standard_D8s_v5", tags={"env": "prod"}, created="2024-05-06T07:08:09Z", disks=1)
    )

    inventory = gather(lab)

    machine = only(inventory, "azure:vm")
    assert machine.resource_id == (
        f"/subscriptions/{SUBSCRIPTION}/resourcegroups/main/providers/microsoft.compute/virtualmachines/vm-001"
    )
    assert (machine.resource_name, machine.region) == ("vm-001", "westeurope")
    assert (machine.status, machine.cloud_status) == (Status.RUNNING, "running")
    assert (machine.capacity, machine.unit) == (8, "vCPU")
    assert machine.tags == {"env": "prod"}
    assert machine.created_at is not None
    assert machine.created_at.tzinfo is UTC
    assert machine.created_at.isoformat().startswith("2024-05-06T07:08:09.123456")
    assert machine.metadata["instance_type"] == "Standard_D8s_v5"
    disk = only(inventory, "azure:disk")
    assert disk.status is Status.IN_USE
    assert disk.metadata["attached_to"] == machine.resource_id


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("starting", Status.STARTING),
        ("running", Status.RUNNING),
        ("stopping", Status.STOPPING),
        ("stopped", Status.STOPPED),
        ("deallocating", Status.STOPPING),
        ("deallocated", Status.STOPPED),
        ("hovering", Status.UNKNOWN),
    ],
)
def test_the_clouds_word_is_kept_beside_the_status(start_lab: StartLab, word: str, status: Status) -> None:
    lab = start_lab(fleet("azure:vm", state=word, disks=0))

    machine = only(gather(lab), "azure:vm")

    assert (machine.status, machine.cloud_status) == (status, word)


@pytest.mark.parametrize(
    ("kind", "state", "status"),
    [
        ("azure:disk", "Unattached", Status.AVAILABLE),
        ("azure:disk", "Reserved", Status.IN_USE),
        ("azure:postgresql", "Stopped", Status.STOPPED),
        ("azure:mysql", "Ready", Status.AVAILABLE),
        ("azure:application_gateway", "Stopped", Status.STOPPED),
        ("azure:aks", "Stopped", Status.STOPPED),
    ],
)
def test_other_kinds_tell_their_state_too(start_lab: StartLab, kind: str, state: str, status: Status) -> None:
    lab = start_lab(fleet(kind, state=state))

    one = only(gather(lab), kind)

    assert (one.status, one.cloud_status) == (status, state)


@pytest.mark.parametrize(
    ("kind", "size", "capacity", "unit"),
    [
        ("azure:disk", 512, 512, "GiB"),
        ("azure:postgresql", 256, 256, "GiB"),
        ("azure:sql_pool", 64, 64, "GiB"),
        ("azure:sql_instance", 1024, 1024, "GiB"),
        ("azure:vmss", 5, 10, "vCPU"),
        ("azure:aks", 7, 7, "nodes"),
        ("azure:vnet", None, 65536, "addresses"),
    ],
)
def test_capacity_and_its_unit(start_lab: StartLab, kind: str, size: int | None, capacity: float, unit: str) -> None:
    lab = start_lab(fleet(kind, size=size))

    one = only(gather(lab), kind)

    assert (one.capacity, one.unit) == (capacity, unit)


def test_a_clusters_pools_are_told_beside_it(start_lab: StartLab) -> None:
    lab = start_lab(fleet("azure:aks", size=7, type="Standard_D8s_v5", tags={"env": "prod"}))
    meter = Meter()

    inventory = gather(lab, meter=meter)

    cluster, pool = only(inventory, "azure:aks"), only(inventory, "azure:aks_pool")
    assert pool.resource_id == f"{cluster.resource_id}/agentpools/nodepool1"
    assert (pool.status, pool.cloud_status, pool.capacity) == (Status.RUNNING, "Running", None)
    assert (pool.metadata["nodes"], pool.metadata["instance_type"]) == (7, "Standard_D8s_v5")
    assert pool.metadata["cluster"] == cluster.resource_name
    assert (pool.account_id, pool.region, pool.tags) == (cluster.account_id, cluster.region, {"env": "prod"})
    assert meter.calls == {"Resources": 1}  # they come with their clusters


def test_a_resource_without_properties_is_kept_and_unknown(start_lab: StartLab) -> None:
    keys = ["extended", "hardwareProfile", "storageProfile", "timeCreated", "provisioningState", "priority"]
    lab = start_lab(fleet("azure:vm", omit=keys, disks=0))

    inventory = gather(lab)

    machine = only(inventory, "azure:vm")
    assert inventory.problems == []
    assert (machine.status, machine.cloud_status) == (Status.UNKNOWN, "")
    assert (machine.capacity, machine.created_at, machine.tags) == (None, None, {})


def test_pages_are_as_large_as_the_api_allows(start_lab: StartLab) -> None:
    lab = start_lab(fleet("azure:disk", 3000))
    meter = Meter()

    inventory = gather(lab, meter=meter)

    assert inventory.problems == []
    assert ids(inventory) == expected(lab)
    assert meter.calls == {"Resources": 3}


def test_all_subscriptions_of_one_identity_share_a_query(start_lab: StartLab) -> None:
    lab = start_lab(
        fleet("azure:vm"),
        others=({"id": OTHER, "fleets": [fleet("azure:vm", 2), fleet("azure:vnet", region="eastus")]},),
    )
    meter = Meter()

    inventory = gather(lab, account(lab), account(lab, OTHER.upper()), meter=meter)

    assert inventory.problems == []
    assert ids(inventory) == expected(lab)
    assert Counter(one.account_id for one in inventory.resources) == {SUBSCRIPTION: 2, OTHER: 5}
    assert meter.calls == {"Resources": 1}


def test_a_subscription_that_may_not_be_read_is_never_an_empty_one(start_lab: StartLab) -> None:
    lab = start_lab(others=({"id": OTHER, "actions": [], "fleets": [fleet("azure:vm")]},))

    meter = Meter()

    inventory = gather(lab, account(lab), account(lab, OTHER), meter=meter)

    assert inventory.resources == []  # the first one is readable, and has nothing in it
    assert meter.calls == {"Resources": 2}
    (problem,) = inventory.problems
    assert (problem.account_id, problem.region, problem.kind) == (OTHER, "", "")
    assert problem.cause is Cause.PERMISSION
    assert "Reader" in problem.message


def test_a_refusal_costs_only_the_subscription_that_is_to_blame(start_lab: StartLab) -> None:
    lab = start_lab(fleet("azure:vm"), others=({"id": OTHER, "fleets": [fleet("azure:vm")]},))
    lab.control.add_faults(
        {"action": "deny", "service": "resourcegraph", "account": OTHER},
        {"action": "deny", "service": "resourcegraph", "account": "2 subscriptions"},
    )

    inventory = gather(lab, account(lab), account(lab, OTHER))

    assert ids(inventory) == expected(lab, SUBSCRIPTION)
    (problem,) = inventory.problems
    assert (problem.account_id, problem.cause) == (OTHER, Cause.PERMISSION)
    assert "AuthorizationFailed" in problem.message
    assert "Reader" in problem.message


@pytest.mark.parametrize(
    ("action", "cause"),
    [
        ("throttle", Cause.THROTTLED),
        ("deny", Cause.PERMISSION),
        ("error", Cause.UNAVAILABLE),
        ("expired", Cause.AUTH),
        ("optin_required", Cause.CONFIG),
        ("disconnect", Cause.UNAVAILABLE),
    ],
)
def test_a_listing_that_breaks_off_keeps_what_it_brought(
    start_lab: StartLab, waits: list[float], action: str, cause: Cause
) -> None:
    lab = start_lab(fleet("azure:disk", 1001))
    lab.control.add_faults({"action": action, "service": "resourcegraph", "page": 2, "seconds": 1})

    inventory = gather(lab)

    assert len(inventory.resources) == 1000
    (problem,) = inventory.problems
    assert (problem.account_id, problem.region, problem.kind, problem.cause) == (SUBSCRIPTION, "", "", cause)
    assert "(1000 listed before)" in problem.message


def test_a_cut_answer_is_incomplete(start_lab: StartLab) -> None:
    lab = start_lab(fleet("azure:disk", 800))
    lab.control.add_faults({"action": "partial", "service": "resourcegraph"})

    inventory = gather(lab)

    assert len(inventory.resources) == 500
    (problem,) = inventory.problems
    assert problem.cause is Cause.INCOMPLETE
    assert "500 of 800" in problem.message


@pytest.mark.parametrize("action", ["error", "unavailable", "disconnect", "throttle"])
def test_what_passes_is_tried_again(start_lab: StartLab, waits: list[float], action: str) -> None:
    lab = start_lab(fleet("azure:vm"))
    lab.control.add_faults({"action": action, "service": "resourcegraph", "times": 2, "seconds": 3})
    meter = Meter()

    inventory = gather(lab, meter=meter)

    assert inventory.problems == []
    assert ids(inventory) == expected(lab)
    assert meter.calls == {"Resources": 3}
    assert lab.control.calls().count("resourcegraph") == 3
    assert 0 < sum(waits) < 10


@pytest.mark.parametrize("written", ["soon", "Wed, 99 Foo", "", "-5", "nan"])
def test_a_wait_that_cannot_be_read_is_one_of_our_own(
    start_lab: StartLab, waits: list[float], monkeypatch: pytest.MonkeyPatch, written: str
) -> None:
    lab = start_lab(fleet("azure:vm"))
    monkeypatch.setattr(ResourceGraph, "refusal_headers", lambda *_of: {"Retry-After": written})
    lab.control.add_faults({"action": "throttle", "service": "resourcegraph", "times": 2, "seconds": 3})

    inventory = gather(lab)

    assert inventory.problems == []
    assert ids(inventory) == expected(lab)
    assert 0 < sum(waits) < 10


def test_retries_are_bounded(start_lab: StartLab, waits: list[float]) -> None:
    lab = start_lab(fleet("azure:vm"))
    lab.control.add_faults({"action": "throttle", "service": "resourcegraph", "seconds": 5})
    meter = Meter()

    (problem,) = gather(lab, meter=meter).problems

    assert problem.cause is Cause.THROTTLED
    assert meter.calls == {"Resources": 4}
    assert sum(waits) < 30


def test_a_wait_beyond_the_deadline_is_not_begun(start_lab: StartLab, waits: list[float]) -> None:
    lab = start_lab(fleet("azure:vm"))
    lab.control.add_faults({"action": "throttle", "service": "resourcegraph", "seconds": 3600})

    (problem,) = gather(lab).problems

    assert problem.cause is Cause.THROTTLED
    assert "3600 s" in problem.message
    assert waits == []


def test_the_quota_is_waited_for_and_never_run_into(start_lab: StartLab) -> None:
    lab = start_lab(fleet("azure:disk", 2001), quota=2, quota_seconds=0.5)

    inventory = gather(lab)

    assert inventory.problems == []
    assert len(inventory.resources) == 2001
    assert lab.control.calls().count("resourcegraph", status=429) == 0


def test_secrets_stay_where_they_are(start_lab: StartLab, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    lab = start_lab(*(fleet(kind) for kind in KINDS))
    assert PLANTED in repr(lab.azure.estate.resources())

    inventory = gather(lab)

    assert len(inventory.resources) == len(lab.azure.estate.resources())
    assert PLANTED not in repr(inventory)
    assert PLANTED not in caplog.text


def _answer(data: Any, total: int = 0, token: str | None = None) -> dict[str, Any]:
    """An answer of Resource Graph in whatever form."""
    return {"data": data, "totalRecords": total, "$skipToken": token, "resultTruncated": "false"}


class _Told:
    """A principal that is told what to answer."""

    def __init__(self, *answers: dict[str, Any]) -> None:
        self.answers = list(answers)

    def ask(self, query: str, _subscriptions: list[str], _token: str | None = None) -> dict[str, Any]:
        if query == VISIBLE:
            return _answer([_SELF])
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


_SELF = {"id": f"/subscriptions/{SUBSCRIPTION}", "type": "microsoft.resources/subscriptions"}
_DISK = {
    "id": f"/subscriptions/{SUBSCRIPTION}/resourceGroups/RG/providers/Microsoft.Compute/disks/d1",
    "type": "microsoft.compute/disks",
    "subscriptionId": SUBSCRIPTION,
    "storageGB": "64",
    "location": "West Europe",
}


def told(*answers: dict[str, Any]) -> Inventory:
    principal: Any = _Told(*answers)
    return _Listing(principal, [SUBSCRIPTION]).run()


def test_one_odd_row_costs_that_row() -> None:
    odd = {**_DISK, "id": _DISK["id"] + "-odd", "storageGB": "hunter2"}

    inventory = told(_answer([odd, {"type": "microsoft.compute/disks"}, "nonsense", _DISK]))

    assert [(one.resource_name, one.capacity, one.region) for one in inventory.resources] == [
        ("d1-odd", None, "westeurope"),
        ("d1", 64, "westeurope"),
    ]
    assert [(problem.kind, problem.cause) for problem in inventory.problems] == [
        ("azure:disk", Cause.BUG),
        ("", Cause.BUG),
    ]
    assert "a row without id was skipped" in inventory.problems[0].message
    assert "hunter2" not in repr(inventory)


def test_a_table_is_read_as_well() -> None:
    names = sorted(_DISK)
    table = {
        "columns": [{"name": name} for name in names],
        "rows": [[row.get(n) for n in names] for row in (_DISK, {**_DISK, "id": _DISK["id"] + "2"})],
    }

    inventory = told(_answer(table, 2))

    assert inventory.problems == []
    assert [one.resource_name for one in inventory.resources] == ["d1", "d12"]


def test_a_row_that_two_pages_show_is_one_resource() -> None:
    inventory = told(_answer([_DISK], token="next"), _answer([{**_DISK, "state": "Attached"}]))

    (disk,) = inventory.resources
    assert disk.status is Status.IN_USE


def test_a_page_that_comes_again_and_again_is_incomplete() -> None:
    inventory = told(_answer([_DISK], token="again"))

    assert [one.resource_name for one in inventory.resources] == ["d1"]
    assert [problem.cause for problem in inventory.problems] == [Cause.INCOMPLETE]


@pytest.mark.parametrize("data", [{"unheard": "of"}, 42])
def test_an_answer_of_another_form_is_a_problem_of_the_account(data: Any) -> None:
    (problem,) = told(_answer(data)).problems

    assert (problem.account_id, problem.kind, problem.cause) == (SUBSCRIPTION, "", Cause.BUG)
