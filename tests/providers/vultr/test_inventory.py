from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from datetime import UTC
from typing import TYPE_CHECKING, Any

import pytest

from optiinfra_dagster.lab import CloudLab
from optiinfra_dagster.lab.vultr.kind import PLANTED
from optiinfra_dagster.model.errors import Cause
from optiinfra_dagster.model.inventory import Inventory, Resource, ResourceType, Status
from optiinfra_dagster.model.meter import Meter
from optiinfra_dagster.providers.vultr import client
from optiinfra_dagster.providers.vultr.inventory import collect
from optiinfra_dagster.providers.vultr.services import LISTINGS
from tests.providers.vultr.conftest import KEY, KINDS, StartLab, acme, fleet

if TYPE_CHECKING:
    from optiinfra_dagster.providers.vultr.account import VultrAccount


NOWHERE = {"vultr:snapshot", "vultr:inference"}  # they belong to no region


def gather(*accounts: VultrAccount, meter: Meter | None = None) -> Inventory:
    return collect("acme", accounts or (acme(),), meter or Meter())


def only(inventory: Inventory, kind: str) -> Resource:
    (resource,) = [one for one in inventory.resources if one.kind == kind]
    return resource


def test_every_kind_comes_out_once_under_its_own_uuid(start_lab: StartLab) -> None:
    lab = start_lab(*(fleet(kind, 3, replicas=1) for kind in KINDS))
    meter = Meter()

    inventory = gather(meter=meter)

    assert inventory.problems == []
    found = {one.resource_id: one for one in inventory.resources}
    assert len(found) == len(inventory.resources) == 3 * len(KINDS) + 3
    wanted = {one.id: one for one in lab.vultr.resources("acme")}
    assert found.keys() == wanted.keys()
    for uuid, one in wanted.items():
        assert (found[uuid].kind, found[uuid].resource_name) == (one.kind, one.name)
        assert found[uuid].account_id == "ACME_VULTR_KEY"
        assert found[uuid].status not in {Status.UNKNOWN, Status.ERROR}
        assert (found[uuid].region, found[uuid].instance_uid) == ("" if one.kind in NOWHERE else "ewr", "")
        created = found[uuid].created_at
        if one.kind == "vultr:address":  # whose listing tells no time
            assert created is None
            continue
        assert created == one.created.replace(microsecond=0)
        assert created is not None
        assert created.tzinfo is UTC
    assert {one.resource_type for one in inventory.resources} == set(ResourceType)
    assert meter.calls == {listing.operation: 1 for listing in LISTINGS}
    assert meter.cost_usd == 0


def test_an_instance_carries_what_later_steps_need(start_lab: StartLab) -> None:
    start_lab(fleet("vultr:instance", name="web", plan="vhf-4c-16gb", vcpus=4, region="fra", tags=["prod", "shop"]))

    instance = only(gather(), "vultr:instance")

    assert (instance.resource_name, instance.region) == ("web", "fra")
    assert instance.resource_type is ResourceType.COMPUTE
    assert (instance.status, instance.cloud_status) == (Status.RUNNING, "running")
    assert (instance.capacity, instance.unit) == (4, "vCPU")
    assert instance.tags == {"prod": "", "shop": ""}
    assert instance.metadata["plan"] == "vhf-4c-16gb"
    assert (instance.metadata["ram_mib"], instance.metadata["disk_gib"]) == (8192, 160)


def test_a_bare_metal_server_tells_its_memory_in_words(start_lab: StartLab) -> None:
    start_lab(fleet("vultr:bare_metal", vcpus=4))

    server = only(gather(), "vultr:bare_metal")

    assert (server.capacity, server.unit, server.status) == (4, "vCPU", Status.RUNNING)
    assert (server.metadata["ram_mib"], server.metadata["disks"]) == (32768, "2x 240GB SSD")


def test_volumes_tell_their_size_and_whether_they_are_used(start_lab: StartLab) -> None:
    start_lab(
        fleet("vultr:block", name="data", size=100),
        fleet("vultr:block", name="loose", attached=False),
        fleet("vultr:vfs", name="files", size=200, used=50),
        fleet("vultr:object_storage", name="objects"),
    )

    volumes = {one.resource_name: one for one in gather().resources}

    assert {one.resource_type for one in volumes.values()} == {ResourceType.VOLUME, ResourceType.OBJECT_STORAGE}
    assert volumes["objects"].resource_type is ResourceType.OBJECT_STORAGE
    assert {name: one.status for name, one in volumes.items()} == {
        "data": Status.IN_USE,
        "loose": Status.AVAILABLE,
        "files": Status.AVAILABLE,
        "objects": Status.AVAILABLE,
    }
    assert (volumes["data"].capacity, volumes["data"].unit) == (100, "GiB")
    assert volumes["data"].metadata["attached_to"]
    assert "attached_to" not in volumes["loose"].metadata
    assert (volumes["files"].capacity, volumes["files"].utilization) == (200, 25.0)
    assert (volumes["objects"].capacity, volumes["objects"].utilization) == (None, None)


def test_read_replicas_are_databases_of_their_own(start_lab: StartLab) -> None:
    start_lab(fleet("vultr:database", name="orders", engine="pg", size=80, replicas=2, tags=["prod"]))

    databases = {one.resource_name: one for one in gather().resources}

    assert set(databases) == {"orders", "orders-replica-1", "orders-replica-2"}
    primary, replica = databases["orders"], databases["orders-replica-1"]
    assert (primary.capacity, primary.unit, primary.region) == (80, "GiB", "ewr")
    assert (primary.status, primary.cloud_status) == (Status.RUNNING, "Running")
    assert (primary.metadata["engine"], primary.metadata["engine_version"]) == ("pg", "8")
    assert "replica_of" not in primary.metadata
    assert replica.metadata["replica_of"] == primary.resource_id
    assert primary.tags == {"prod": ""}


def test_load_balancers_and_networks_tell_their_shape(start_lab: StartLab) -> None:
    start_lab(fleet("vultr:load_balancer", size=3), fleet("vultr:vpc", name="backend"))

    inventory = gather()

    balancer, network = only(inventory, "vultr:load_balancer"), only(inventory, "vultr:vpc")
    assert (balancer.capacity, balancer.unit, balancer.status) == (3, "nodes", Status.RUNNING)
    assert (balancer.metadata["health_check"], balancer.metadata["ssl"]) == ("http:80", True)
    assert (network.resource_name, network.status) == ("backend", Status.AVAILABLE)
    assert network.metadata["cidr"] == "10.1.96.0/20"


def test_a_kubernetes_cluster_counts_the_nodes_of_its_pools(start_lab: StartLab) -> None:
    start_lab(fleet("vultr:kubernetes", name="prod", plan="vc2-4c-8gb", size=3, pools=2))

    cluster = only(gather(), "vultr:kubernetes")

    assert (cluster.capacity, cluster.unit, cluster.status) == (6, "nodes", Status.RUNNING)
    assert (cluster.metadata["node_pools"], cluster.metadata["node_plans"]) == (2, "vc2-4c-8gb:3,vc2-4c-8gb:3")
    assert cluster.metadata["version"] == "v1.33.0+1"


def test_a_cluster_with_a_pending_node_is_pending(start_lab: StartLab) -> None:
    start_lab(fleet("vultr:kubernetes", size=3, pools=2, pending_nodes=1))

    cluster = only(gather(), "vultr:kubernetes")

    assert (cluster.status, cluster.cloud_status, cluster.capacity) == (Status.STARTING, "pending", 6)


def test_snapshots_and_registries_tell_what_they_hold(start_lab: StartLab) -> None:
    start_lab(
        fleet("vultr:snapshot", name="before upgrade", size=40, used=10),
        fleet("vultr:snapshot", name="being taken", state="pending"),
        fleet("vultr:registry", name="images", size=20, used=5, region="sjc"),
        fleet("vultr:inference", name="assistant"),
    )

    found = {one.resource_name: one for one in gather().resources}

    taken, pending = found["before upgrade"], found["being taken"]
    assert (taken.status, taken.cloud_status, taken.capacity, taken.unit) == (Status.AVAILABLE, "complete", 40, "GiB")
    assert (taken.resource_type, taken.metadata["compressed_gib"]) == (ResourceType.SNAPSHOT, 10)
    assert (pending.status, pending.capacity) == (Status.STARTING, None)
    images = found["images"]
    assert (images.resource_type, images.region) == (ResourceType.OBJECT_STORAGE, "sjc")
    assert (images.capacity, images.utilization) == (20, 25.0)
    assert found["assistant"].resource_type is ResourceType.SERVERLESS


def test_a_reserved_address_tells_what_it_is_attached_to(start_lab: StartLab) -> None:
    start_lab(fleet("vultr:address", name="used"), fleet("vultr:address", name="idle", attached=False))

    found = {one.resource_name: one for one in gather().resources}

    assert {one.resource_type for one in found.values()} == {ResourceType.ADDRESS}
    assert {name: one.status for name, one in found.items()} == {"used": Status.IN_USE, "idle": Status.AVAILABLE}
    assert found["used"].metadata["attached_to"]
    assert "attached_to" not in found["idle"].metadata
    assert found["idle"].metadata["address"] != found["used"].metadata["address"]


@pytest.mark.parametrize(
    ("kind", "word", "status"),
    [
        ("vultr:instance", "stopped", Status.STOPPED),
        ("vultr:instance", "hovering", Status.UNKNOWN),
        ("vultr:bare_metal", "active", Status.RUNNING),
        ("vultr:bare_metal", "pending", Status.STARTING),
        ("vultr:bare_metal", "suspended", Status.STOPPED),
        ("vultr:block", "pending", Status.STARTING),
        ("vultr:object_storage", "pending", Status.STARTING),
        ("vultr:database", "Rebuilding", Status.STARTING),
        ("vultr:database", "Rebalancing", Status.RUNNING),
        ("vultr:load_balancer", "pending", Status.STARTING),
        ("vultr:kubernetes", "pending", Status.STARTING),
    ],
)
def test_the_clouds_word_is_kept_beside_the_status(start_lab: StartLab, kind: str, word: str, status: Status) -> None:
    start_lab(fleet(kind, state=word))

    resource = only(gather(), kind)

    assert (resource.status, resource.cloud_status) == (status, word)


@pytest.mark.parametrize("kind", KINDS)
def test_an_item_with_nothing_but_an_id_is_kept(start_lab: StartLab, kind: str) -> None:
    lab = start_lab(fleet(kind))
    (one,) = lab.vultr.resources()
    shown = lab.vultr._estates["acme"].show(kind, 0, 1)[0]
    start_lab(fleet(kind, omit=sorted(shown.keys() - {"id"})))

    inventory = gather()

    assert inventory.problems == []
    resource = only(inventory, kind)
    assert resource.resource_id == resource.resource_name == one.id
    assert (resource.region, resource.tags, resource.created_at) == ("", {}, None)


def test_ten_thousand_instances_are_twenty_calls(start_lab: StartLab) -> None:
    lab = start_lab(fleet("vultr:instance", 10_000))
    meter = Meter()

    inventory = gather(meter=meter)

    assert inventory.problems == []
    assert len({one.resource_id for one in inventory.resources}) == 10_000
    assert meter.calls["list-instances"] == lab.control.calls().count(operation="list-instances") == 20
    assert sum(meter.calls.values()) == lab.control.calls().count("vultr") == 20 + len(LISTINGS) - 1


def leaks(inventory: Inventory, text: str) -> list[str]:
    """The planted secrets and the key, wherever they turn up."""
    rows = [json.dumps([asdict(one) for one in inventory.resources], default=str), repr(inventory.problems), text]
    return [secret for secret in (PLANTED, KEY) for row in rows if secret in row]


def test_no_credential_leaves_the_provider(start_lab: StartLab, caplog: pytest.LogCaptureFixture) -> None:
    lab = start_lab(*(fleet(kind, 2, replicas=1) for kind in KINDS))
    shown = [lab.vultr._estates["acme"].show(kind, 0, 2) for kind in KINDS]
    assert json.dumps(shown).count(PLANTED) >= 50  # they are there to be leaked
    caplog.set_level(logging.DEBUG)

    whole = gather()
    lab.control.add_faults({"action": "error", "operation": "list-databases"}, {"action": "deny", "page": 1})
    broken = gather()

    assert len(whole.resources) == 2 * len(KINDS) + 2
    assert broken.problems
    assert leaks(whole, caplog.text) == leaks(broken, caplog.text) == []


def test_an_item_that_is_too_odd_costs_that_item_and_is_not_quoted(
    start_lab: StartLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = start_lab()
    items = [
        {"label": "nameless", "default_password": PLANTED},
        PLANTED,
        None,
        {"id": ""},
        {"id": "i-1", "ram": "much"},
    ]
    answer_with(lab, monkeypatch, instances=items)

    inventory = gather()

    assert [one.resource_id for one in inventory.resources] == ["i-1"]
    assert [str(one).partition(" vultr:instance: ")[2] for one in inventory.problems] == [
        "an item without id was skipped: ValueError",
        "an item without id was skipped: AttributeError",
    ]
    assert {one.cause for one in inventory.problems} == {Cause.BUG}
    assert leaks(inventory, "") == []


def answer_with(lab: CloudLab, monkeypatch: pytest.MonkeyPatch, **bodies: Any) -> None:
    """Let the lab answer with these lists or whole answers, by the key of the list."""

    class Fixed:
        def page(self, key: str, _cursor: str) -> Any:
            body = bodies.get(key, [])
            return {key: body} if isinstance(body, list) else body

    monkeypatch.setattr(lab.vultr, "recordings", Fixed())


def test_values_of_other_types_are_read_where_they_can_be(start_lab: StartLab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = start_lab()
    odd = {
        "id": 123456,
        "label": None,
        "status": "active",
        "power_status": 5,
        "vcpu_count": "4",
        "ram": True,
        "date_created": "01-01-1960",
        "tags": {"a": "b"},
        "features": [None, "ipv6"],
        "region": 7,
    }
    answer_with(
        lab, monkeypatch, instances=[odd], vke_clusters=[{"id": "k", "node_pools": [None, {"nodes": [{}, {}]}]}]
    )

    inventory = gather()

    assert inventory.problems == []
    instance = only(inventory, "vultr:instance")
    assert (instance.resource_id, instance.resource_name, instance.region) == ("123456", "123456", "7")
    assert (instance.capacity, instance.created_at, instance.tags) == (4, None, {})
    assert (instance.status, instance.metadata) == (Status.UNKNOWN, {"features": "ipv6"})
    assert only(inventory, "vultr:kubernetes").capacity == 2


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        ({}, Cause.BUG),
        ({"instances": {"id": 1}}, Cause.BUG),
        ([1], Cause.BUG),
        ({"instances": None}, None),
        ({"instances": [], "meta": None}, None),
        ({"instances": [], "meta": {"total": 0, "links": None}}, None),
    ],
)
def test_an_answer_without_its_list_is_a_problem_and_an_empty_one_is_none(
    start_lab: StartLab, monkeypatch: pytest.MonkeyPatch, answer: Any, cause: Cause | None
) -> None:
    lab = start_lab()

    class Fixed:
        def page(self, key: str, _cursor: str) -> Any:
            return answer if key == "instances" else {key: []}

    monkeypatch.setattr(lab.vultr, "recordings", Fixed())

    inventory = gather()

    assert inventory.resources == []
    assert [one.cause for one in inventory.problems] == ([cause] if cause else [])


@pytest.mark.parametrize(
    ("total", "complete"),
    [(1, True), (2, False), (3, False), (None, False)],
)
def test_pages_that_repeat_end_the_listing(
    start_lab: StartLab, monkeypatch: pytest.MonkeyPatch, total: int | None, complete: bool
) -> None:
    lab = start_lab()
    page = {"blocks": [{"id": "b-1"}], "meta": {"total": total, "links": {"next": "again", "prev": ""}}}
    answer_with(lab, monkeypatch, blocks=page)
    meter = Meter()

    inventory = gather(meter=meter)

    assert [one.resource_id for one in inventory.resources] == ["b-1"]
    assert meter.calls["list-blocks"] == 2
    assert [one.cause for one in inventory.problems] == ([] if complete else [Cause.INCOMPLETE])


def test_an_item_that_two_pages_show_is_one_resource(start_lab: StartLab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = start_lab()

    class Pages:
        def page(self, key: str, cursor: str) -> Any:
            if key != "blocks":
                return {key: []}
            status, following = ("active", "") if cursor else ("pending", "more")
            return {"blocks": [{"id": "b-1", "status": status}], "meta": {"total": 1, "links": {"next": following}}}

    monkeypatch.setattr(lab.vultr, "recordings", Pages())

    assert only(gather(), "vultr:block").cloud_status == "active"


def test_a_denied_kind_costs_that_kind_and_names_the_permission(start_lab: StartLab) -> None:
    start_lab(fleet("vultr:instance", 2), fleet("vultr:object_storage", 2), acls=["subscriptions_view", "loadbalancer"])

    inventory = gather()

    (problem,) = inventory.problems
    assert (problem.account_id, problem.region, problem.kind) == ("ACME_VULTR_KEY", "", "vultr:object_storage")
    assert problem.cause is Cause.PERMISSION
    assert "Allow objstore" in problem.message
    assert {one.kind for one in inventory.resources} == {"vultr:instance"}


def test_a_listing_that_breaks_off_keeps_what_it_brought(start_lab: StartLab) -> None:
    lab = start_lab(fleet("vultr:instance", 1200), fleet("vultr:vpc", 2))
    lab.control.add_faults({"action": "unavailable", "operation": "list-instances", "page": 3})

    inventory = gather()

    assert Counter(one.kind for one in inventory.resources) == {"vultr:instance": 1000, "vultr:vpc": 2}
    (problem,) = inventory.problems
    assert (problem.kind, problem.cause) == ("vultr:instance", Cause.UNAVAILABLE)
    assert "HTTP 503" in problem.message
    assert "(1000 listed before)" in problem.message


@pytest.mark.parametrize(
    ("break_it", "remedy"),
    [
        (lambda monkeypatch: monkeypatch.setenv("ACME_VULTR_KEY", "NOBODYS-KEY"), "Check the API key"),
        (lambda monkeypatch: monkeypatch.setenv("ACME_VULTR_KEY", "no key\u2028at all"), "is not an API key"),
        (lambda monkeypatch: monkeypatch.delenv("ACME_VULTR_KEY"), "is not set"),
    ],
)
def test_a_key_that_does_not_work_is_one_problem_and_no_further_call(
    start_lab: StartLab,
    monkeypatch: pytest.MonkeyPatch,
    break_it: Callable[[pytest.MonkeyPatch], None],
    remedy: str,
) -> None:
    start_lab(fleet("vultr:instance"))
    break_it(monkeypatch)
    meter = Meter()

    inventory = gather(meter=meter)

    (problem,) = inventory.problems
    assert (problem.region, problem.kind) == ("", "")
    assert problem.cause.permanent
    assert remedy in problem.message
    assert "NOBODYS-KEY" not in problem.message
    assert "at all" not in problem.message
    assert not meter.calls or meter.calls == {"list-instances": 1, "get-account": 1}


def test_an_address_that_the_key_does_not_allow_is_told_with_its_remedy(start_lab: StartLab) -> None:
    start_lab(fleet("vultr:instance"), allows_address=False)

    (problem,) = gather().problems

    assert (problem.kind, problem.cause) == ("", Cause.AUTH)
    assert "Unauthorized IP address: 127.0.0.1" in problem.message
    assert "Access Control list" in problem.message


def test_a_listing_refused_with_the_words_of_a_bad_key_costs_that_listing(start_lab: StartLab) -> None:
    lab = start_lab(fleet("vultr:instance"), fleet("vultr:vpc"))
    lab.control.add_faults({"action": "unknown_key", "operation": "list-databases"})

    inventory = gather()

    (problem,) = inventory.problems
    assert (problem.kind, problem.cause) == ("vultr:database", Cause.PERMISSION)
    assert len(inventory.resources) == 2


def test_one_account_that_cannot_be_entered_does_not_cost_the_other(
    start_lab: StartLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = {"name": "second", "keys": ["SECOND-KEY"], "fleets": [fleet("vultr:vpc", 2)]}
    start_lab(fleet("vultr:vpc", 3), accounts=(second,))
    monkeypatch.setenv("SECOND", "SECOND-KEY")
    monkeypatch.setenv("STRANGER", "STRANGERS-KEY")

    inventory = gather(*(acme(api_key={"env": name}) for name in ("STRANGER", "ACME_VULTR_KEY", "SECOND")))

    assert Counter(one.account_id for one in inventory.resources) == {"ACME_VULTR_KEY": 3, "SECOND": 2}
    assert [(one.account_id, one.cause) for one in inventory.problems] == [("STRANGER", Cause.AUTH)]


# --- The limit ------------------------------------------------------------------------------------------------------


def crowd(count: int, second: float) -> dict[str, Any]:
    """A world of many customers behind one address."""
    accounts = [
        {"name": f"c{n}", "keys": [f"KEY-OF-{n}"], "fleets": [fleet(kind, 1 + n % 2, replicas=1) for kind in KINDS]}
        for n in range(count)
    ]
    return {"vultr": {"accounts": accounts, "second": second}}


def collect_all(lab: CloudLab, count: int, monkeypatch: pytest.MonkeyPatch) -> list[Inventory]:
    """Collect every customer of a crowd at the same time."""
    for n in range(count):
        monkeypatch.setenv(f"KEY_{n}", f"KEY-OF-{n}")

    def one(n: int) -> Inventory:
        return collect(f"c{n}", [acme(api_key={"env": f"KEY_{n}"}, endpoint_url=lab.url)], Meter())

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


@pytest.mark.parametrize(("count", "second"), [(140, 0.05), (6, 1.0)])
def test_many_customers_behind_one_address_never_exceed_the_limit(
    monkeypatch: pytest.MonkeyPatch, count: int, second: float
) -> None:
    # 140 customers are 1,820 requests: 73 s in real time, so their seconds are shorter, here and at the lab.
    monkeypatch.setattr(client, "SECOND", second)
    with CloudLab(crowd(count, second)) as lab:
        inventories = collect_all(lab, count, monkeypatch)
        calls = lab.control.calls()

    for n, inventory in enumerate(inventories):
        assert inventory.problems == []
        assert {one.resource_id for one in inventory.resources} == {one.id for one in lab.vultr.resources(f"c{n}")}
    assert calls.count() == calls.count(status=200) == len(LISTINGS) * count
    assert lab.vultr.rate.busiest <= client.REQUESTS_PER_SECOND < lab.vultr.rate.limit
    if second == 1.0:
        assert max(calls.per_second.values()) <= client.REQUESTS_PER_SECOND


def test_where_other_processes_use_up_the_limit_everybody_slows_down_and_nothing_is_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client, "SECOND", 0.2)
    monkeypatch.setattr(client, "PAUSE_SECONDS", 0.2)
    with CloudLab(crowd(4, 0.2)) as lab:
        lab.vultr.rate.limit = 5  # what the others leave
        inventories = collect_all(lab, 4, monkeypatch)
        calls = lab.control.calls()

    assert [problem for inventory in inventories for problem in inventory.problems] == []
    assert calls.count(status=200) == 4 * len(LISTINGS)
    assert 0 < calls.count(status=429) < 2 * 4 * len(LISTINGS)  # 23 to 36 of them on two cores
