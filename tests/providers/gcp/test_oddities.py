"""What Google Cloud does that a collector must not trip over: a test for each oddity that every cloud's tests name."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from socket import socket
from typing import TYPE_CHECKING

import pytest

from optiinfra_dagster.model.errors import Cause
from optiinfra_dagster.model.inventory import Inventory, Resource, Status
from optiinfra_dagster.model.meter import Meter
from optiinfra_dagster.model.metrics import CoverageState, MetricsRequest, MetricsResult
from optiinfra_dagster.providers.gcp import metrics
from optiinfra_dagster.providers.gcp.inventory import collect
from optiinfra_dagster.providers.gcp.services import KINDS
from tests.providers.gcp.conftest import ALL_KINDS, PROJECT, Clock, StartLab, account, fleet

if TYPE_CHECKING:
    from optiinfra_dagster.lab import CloudLab

DOES_NOT_APPLY: dict[str, str] = {}

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
REPLACED = NOON - timedelta(minutes=20)


def listed(lab: CloudLab, meter: Meter | None = None) -> Inventory:
    return collect("acme", [account(lab)], meter or Meter())


def of_kind(lab: CloudLab, kind: str) -> list[Resource]:
    inventory = listed(lab)
    assert inventory.problems == []
    return [one for one in inventory.resources if one.kind == kind]


def read(lab: CloudLab, resources: list[Resource], meter: Meter | None = None, **fields: str) -> MetricsResult:
    """The metrics of the hour before noon."""
    request = MetricsRequest("acme", [account(lab, **fields)], resources, NOON - timedelta(hours=1), NOON)
    return metrics.collect(request, meter or Meter())


def moments(result: MetricsResult, name: str) -> list[datetime]:
    """The times of the points that a metric has, in order."""
    (series,) = [one for one in result.series if one.metric.name == name]
    return sorted(datetime.fromtimestamp(moment, UTC) for moment in series.timestamps)


def test_replaced_machine(start_lab: StartLab) -> None:
    clock = {"now": REPLACED - timedelta(minutes=1)}
    lab = start_lab(
        fleet("gcp:instance", name="web", replaced=REPLACED, tags={"env": "prod"}),
        fleet("gcp:instance", name="db"),
        fleet("gcp:redis_cluster", name="cache", replaced=REPLACED),
        fleet("gcp:filestore_instance", name="files", replaced=REPLACED),
        now=lambda: clock["now"],
    )
    before = {one.resource_id: one for one in listed(lab).resources}
    clock["now"] = NOON + timedelta(minutes=10)
    after = {one.resource_id: one for one in listed(lab).resources}

    assert after.keys() == before.keys()
    # A number (machine, disk), a uid, and the time of creation of an API that has neither.
    replaced = {one.resource_name for one in before.values() if after[one.resource_id].instance_uid != one.instance_uid}
    assert replaced == {"web", "cache", "files"}
    assert all(one.instance_uid for one in [*before.values(), *after.values()])
    (web,) = [one for one in after.values() if one.kind == "gcp:instance" and one.resource_name == "web"]
    old = before[web.resource_id]
    assert (web.created_at, web.tags) == (REPLACED, old.tags)
    assert web.instance_uid == web.metadata["instance_id"]

    # Each has its own points, and none of the other's.
    assert moments(read(lab, [old]), "cpu_utilization")[-1] < REPLACED
    points = moments(read(lab, [web]), "cpu_utilization")
    assert (points[0], points[-1]) == (REPLACED, NOON - timedelta(minutes=5))


def test_terminated_machine(start_lab: StartLab) -> None:
    """What Google calls TERMINATED is switched off, and can be started; one that was deleted is not listed."""
    lab = start_lab(fleet("gcp:instance", name="off", state="TERMINATED", created="2026-11-01T00:00:00Z", disks=0))

    (machine,) = of_kind(lab, "gcp:instance")
    meter = Meter()
    result = read(lab, [machine], meter)

    assert (machine.status, machine.cloud_status) == (Status.STOPPED, "TERMINATED")
    assert machine.metadata["stopped_at"] == "2026-11-04T00:00:00+00:00"
    assert KINDS["gcp:instance"].price_parts is not None
    assert list(KINDS["gcp:instance"].price_parts(machine)) == []
    assert meter.calls == {}  # it has been off for longer than the range: nothing is asked, or paid
    assert {(one.state, one.reason) for one in result.coverage} == {
        (CoverageState.NOT_OFFERED, "the instance is stopped")
    }


def test_agent_dimensions_change(start_lab: StartLab) -> None:
    """The agent's points carry the machine's number: a new machine of the same name has them under its own."""
    clock = {"now": REPLACED - timedelta(minutes=1)}
    lab = start_lab(fleet("gcp:instance", name="web", agent=True, disks=3, replaced=REPLACED), now=lambda: clock["now"])
    (old,) = of_kind(lab, "gcp:instance")
    clock["now"] = NOON + timedelta(minutes=10)
    (new,) = of_kind(lab, "gcp:instance")

    result = read(lab, [new])

    (memory,) = [one for one in result.coverage if one.metric_name == "memory_utilization"]
    assert memory.state is CoverageState.COLLECTED
    assert moments(result, "memory_utilization")[0] == REPLACED
    # The range of the next window: the old number has no agent any more, and nothing says that it had.
    late = MetricsRequest("acme", [account(lab)], [old], NOON - timedelta(minutes=15), NOON)
    states = {one.metric_name: one.state for one in metrics.collect(late, Meter()).coverage}
    assert states["memory_utilization"] is CoverageState.AGENT_MISSING
    assert states["cpu_utilization"] is CoverageState.NO_POINTS


@pytest.mark.parametrize("silent", [False, True], ids=["refuses", "says nothing"])
def test_unreachable_host(start_lab: StartLab, clock: Clock, monkeypatch: pytest.MonkeyPatch, silent: bool) -> None:
    monkeypatch.setattr("optiinfra_dagster.providers.gcp.monitoring._CALL_S", 0.2)
    lab = start_lab(fleet("gcp:instance", agent=True), fleet("gcp:sql_instance"), fleet("gcp:spanner_instance"))
    resources = listed(lab).resources
    asked = len({metric.api_metric for one in resources for metric in KINDS[one.kind].metrics})
    with socket() as free:
        free.bind(("127.0.0.1", 0))
        if silent:
            free.listen()
        meter = Meter()
        result = read(lab, resources, meter, monitoring_endpoint_url=f"http://127.0.0.1:{free.getsockname()[1]}")

    # Given up once: four calls were on their way, and no other metric waited for the host again.
    (problem,) = result.problems
    assert problem.cause is Cause.UNAVAILABLE
    assert not problem.cause.permanent
    assert asked > 20
    assert meter.calls["ListTimeSeries"] <= 4 * 8
    assert sum(clock.slept) <= 4 * 45
    assert {one.state for one in result.coverage} <= {CoverageState.ERROR, CoverageState.NOT_OFFERED}


def test_tags_not_in_listing(start_lab: StartLab) -> None:
    """The clusters of Bigtable have no labels: those of their instance are theirs, in the same call."""
    lab = start_lab(fleet("gcp:bigtable_cluster", 2, tags={"team": "data"}), fleet("gcp:disk", tags={"team": "ops"}))
    meter = Meter()

    resources = listed(lab, meter).resources

    assert {(one.kind, one.tags.get("team")) for one in resources} == {
        ("gcp:bigtable_instance", "data"),
        ("gcp:bigtable_cluster", "data"),
        ("gcp:disk", "ops"),
    }
    assert meter.calls == {"ListAssets": 1}


@pytest.mark.parametrize("service", ["cloudasset", "monitoring"])
def test_session_refused(start_lab: StartLab, clock: Clock, service: str) -> None:
    lab = start_lab(fleet("gcp:router", 2))
    resources = listed(lab).resources
    lab.control.add_faults({"action": "expired", "service": service, "times": 1})

    # Opened anew, once, before anything counts as failed; no time is lost.
    inventory, result = listed(lab), read(lab, resources)
    assert (len(inventory.resources), inventory.problems, result.problems) == (2, [], [])
    assert {one.state for one in result.coverage} == {CoverageState.COLLECTED}
    assert clock.slept == []

    # A session that is refused again may be accepted the next time; a credential that nobody knows is not.
    for action, cause in (("expired", Cause.UNAVAILABLE), ("unknown_key", Cause.AUTH)):
        lab.control.clear_faults()
        lab.control.add_faults({"action": action, "service": service})
        problems = listed(lab).problems if service == "cloudasset" else read(lab, resources).problems
        assert [(one.account_id, one.cause) for one in problems] == [(PROJECT, cause)]
        assert cause.permanent == (action == "unknown_key")
    assert clock.slept == []


_WITHOUT_STATE = {
    *("gcp:address", "gcp:app_engine_service", "gcp:bucket", "gcp:forwarding_rule", "gcp:network", "gcp:router"),
}


@pytest.mark.parametrize("kind", sorted(set(ALL_KINDS) - _WITHOUT_STATE))
def test_unknown_state(start_lab: StartLab, kind: str) -> None:
    lab = start_lab(fleet(kind, state="HOVERING"))

    (resource,) = of_kind(lab, kind)

    assert resource.status is Status.UNKNOWN
    assert "HOVERING" in resource.cloud_status


def test_doubled_page(start_lab: StartLab) -> None:
    lab = start_lab(fleet("gcp:disk", 2500))
    lab.gcp.overlap = 7
    meter = Meter()

    inventory = listed(lab, meter)

    assert meter.calls == {"ListAssets": 3}
    assert inventory.problems == []
    assert len(inventory.resources) == len({one.resource_id for one in inventory.resources}) == 2500
