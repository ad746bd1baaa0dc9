from __future__ import annotations

import json
import math
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optiinfra_dagster.lab import CloudLab
from optiinfra_dagster.lab.series import recorded_points
from optiinfra_dagster.lab.server import Request, Response, Server
from optiinfra_dagster.lab.vultr.metrics import EXPRESSIONS, read_promql
from optiinfra_dagster.model.errors import Cause
from optiinfra_dagster.model.inventory import Resource, ResourceType, Status
from optiinfra_dagster.model.meter import Meter
from optiinfra_dagster.model.metrics import Coverage, CoverageState, MetricsRequest, MetricsResult
from optiinfra_dagster.providers import prometheus
from optiinfra_dagster.providers.catalog import METRICS, PROMETHEUS_METRICS, metrics_for
from optiinfra_dagster.providers.day_cache import DayCache
from optiinfra_dagster.providers.figures import coverage_of_what_is_not_offered
from optiinfra_dagster.providers.prometheus import Machines
from optiinfra_dagster.providers.prometheus_exporters import MACHINE_LABELS
from optiinfra_dagster.providers.prometheus_figures import add_figures
from optiinfra_dagster.providers.vultr import metrics, traffic
from optiinfra_dagster.providers.vultr.inventory import collect as list_resources
from optiinfra_dagster.providers.vultr.kind import LABELS
from optiinfra_dagster.providers.vultr.services import KINDS
from tests.providers.vultr.conftest import KEY, TOKEN, StartLab, acme, fleet

if TYPE_CHECKING:
    from optiinfra_dagster.lab.vultr.kind import LabResource
    from optiinfra_dagster.providers.vultr.account import VultrAccount

NOW = datetime(2026, 11, 20, 12, 7, 30, tzinfo=UTC)
START, PRESENT, END = (
    NOW.replace(hour=11, minute=30, second=0),
    NOW.replace(hour=11, minute=45, second=0),
    NOW.replace(minute=0, second=0),
)
MIDNIGHT = int(NOW.replace(hour=0, minute=0, second=0).timestamp())
DAY = 86_400
CREATED = "2026-10-01T00:00:00Z"
Cell = tuple[str, str, str, int]  # resource, metric name, statistic, timestamp


def noon() -> datetime:
    return NOW


def with_prometheus(**fields: Any) -> VultrAccount:
    where = {"prometheus_url": {"env": "OPTIINFRA_LAB_VULTR_PROMETHEUS"}}
    return acme(**where, prometheus_token={"env": "ACME_PROMETHEUS_TOKEN"}, **fields)


def inventory(account: VultrAccount | None = None) -> list[Resource]:
    found = list_resources("acme", [account or acme()], Meter())
    assert found.problems == []
    return found.resources


def read(resources: list[Resource], *accounts: VultrAccount, meter: Meter | None = None, **more: Any) -> MetricsResult:
    asked = {"start": START, "end": END, "present": PRESENT, **more}
    request = MetricsRequest("acme", accounts or (acme(),), resources, **asked)
    meter = meter or Meter()
    result = metrics.collect(request, meter)
    names = {(one.resource_id, metric.name) for one in resources for metric in metrics_for("vultr", one.kind)}
    assert Counter((one.resource_id, one.metric_name) for one in result.coverage) == Counter(names)
    add_figures("vultr", KINDS, request, result, meter)
    counted = Counter((one.resource_id, one.metric_name) for one in result.coverage)
    assert max(counted.values(), default=1) == 1
    assert counted.keys() >= names
    assert not result.problems or all(problem.account_id == "ACME_VULTR_KEY" for problem in result.problems)
    return result


def cells(result: MetricsResult) -> dict[Cell, float]:
    found = [
        ((series.resource.resource_id, series.metric.name, series.statistic, moment), value)
        for series in result.series
        for moment, value in zip(series.timestamps, series.values, strict=True)
    ]
    assert len(dict(found)) == len(found)
    return dict(found)


def of(result: MetricsResult, name: str) -> list[Coverage]:
    return [one for one in result.coverage if one.metric_name == name]


def truth(lab: CloudLab, one: LabResource, told_by: str | None = None, start: datetime = START) -> dict[Cell, float]:
    """What must be found of a resource, from the lab's own arithmetic alone: agents' figures if they can be asked."""
    figures, present = lab.vultr.figures, int(PRESENT.timestamp())
    found: dict[Cell, float] = {}
    if one.kind == "vultr:vpc":
        return found
    up = {None: 100.0, "installingbooting": 0.0, "stopped": None}[one.fleet.state]
    up = 0.0 if one.fleet.server == "locked" and up == 100 else up
    if up is not None and one.kind == "vultr:instance":
        found[one.id, "uptime", "snapshot", present] = up
    if one.kind == "vultr:database":
        usage = figures.usage(one, NOW)
        for what in ("cpu", "memory", "disk"):
            found[one.id, f"{what}_utilization", "snapshot", present] = usage[what]["percentage"]
        found[one.id, "storage_used", "snapshot", present] = usage["disk"]["current_gb"] * 1024**3
    if one.kind in {"vultr:instance", "vultr:bare_metal"}:
        for day in range(MIDNIGHT - 3 * DAY, MIDNIGHT, DAY):
            if day >= one.created.timestamp() and (sums := figures.traffic(one, day, NOW)) is not None:
                found[one.id, "network_in", "daily_average", day] = sums["incoming_bytes"] / DAY
                found[one.id, "network_out", "daily_average", day] = sums["outgoing_bytes"] / DAY
    if told_by and one.fleet.agent == told_by and one.fleet.state is None:
        found |= told_by_agent(lab, one, start)
    return found


def told_by_agent(lab: CloudLab, one: LabResource, start: datetime = START) -> dict[Cell, float]:
    """What the agent of a machine told its Prometheus."""
    starts = range(int(start.timestamp()), int(END.timestamp()), 300)
    return {
        (one.id, figure.name, "average", moment): value
        for figure in EXPRESSIONS.values()
        if figure.agent == one.fleet.agent and not (figure.name == "uptime" and one.kind == "vultr:instance")
        for moment, value in zip(starts, lab.vultr.figures.agents(figure, [one], starts)[0].tolist(), strict=True)
        if not math.isnan(value)
    }


# --- The same everywhere ---------------------------------------------------------------------------------------------


def drawn_fleets() -> st.SearchStrategy[list[dict[str, Any]]]:
    machines = st.fixed_dictionaries(
        {
            "kind": st.sampled_from(["vultr:instance", "vultr:bare_metal"]),
            "count": st.integers(0, 3),
            "name": st.just("{kind}-{index}"),
            "agent": st.sampled_from([None, "node_exporter", "opentelemetry", "v-agent", "blackbox_exporter"]),
            "named_by": st.sampled_from(["main_ip", "label", "id"]),
            "created": st.sampled_from([CREATED, "2026-11-18T15:00:00Z", "2026-11-20T11:40:00Z"]),
        }
    )
    databases = st.fixed_dictionaries(
        {"kind": st.just("vultr:database"), "count": st.integers(0, 2), "replicas": st.integers(0, 2)}
    )
    rest = st.fixed_dictionaries(
        {
            "kind": st.sampled_from(["vultr:load_balancer", "vultr:vpc"]),
            "agent": st.sampled_from([None, "blackbox_exporter"]),
            "created": st.just(CREATED),
        }
    )
    stopped = st.fixed_dictionaries(
        {
            "kind": st.just("vultr:instance"),
            "state": st.sampled_from(["stopped", None]),
            "server": st.sampled_from(["ok", "locked"]),
            "name": st.just("off-{index}"),
            "agent": st.sampled_from([None, "node_exporter"]),
            "created": st.just(CREATED),
        }
    )
    return st.lists(machines | databases | rest | stopped, max_size=6)


@settings(max_examples=20)
@given(seed=st.integers(0, 99), fleets=drawn_fleets(), has_url=st.booleans())
def test_every_cell_of_a_drawn_world_is_the_clouds_in_our_units(
    seed: int, fleets: list[dict[str, Any]], has_url: bool
) -> None:
    world = {"accounts": [{"name": "acme", "keys": [KEY], "fleets": fleets}], "limit": 10**6}
    with CloudLab({"seed": seed, "vultr": world}, now=noon) as lab, pytest.MonkeyPatch.context() as patch:
        patch.setenv("ACME_VULTR_KEY", KEY)
        url = f"{lab.url}/prometheus/acme" if has_url else None
        account = acme(endpoint_url=lab.url, prometheus_url=url)

        result = read(inventory(account), account)

        wanted: dict[Cell, float] = {}
        for one in lab.vultr.resources():
            wanted |= truth(lab, one, one.fleet.agent if has_url else None)
        assert result.problems == []
        assert cells(result) == pytest.approx(wanted, rel=1e-12)
        collected = {(resource, name) for resource, name, _, _ in wanted}
        assert {(one.resource_id, one.metric_name) for one in result.coverage if one.state == "collected"} == collected


def test_every_promql_of_the_catalogue_is_understood_by_the_lab() -> None:
    asked = [metric for metric in PROMETHEUS_METRICS if metric.provider == "vultr"]

    assert len(asked) == 2 * 32 + 2 + 2
    for metric in asked:
        understood = read_promql(metric.api_metric)
        assert understood is not None, metric.api_metric
        assert (understood[0].agent, understood[0].name) == (metric.namespace, metric.name)
        summed = {"device", "nic", "state"}  # of each the larger of a pair of servers counts, before they are added up
        assert understood[1] - summed == {*MACHINE_LABELS, "job", *LABELS}


def test_points_of_sources_that_share_a_name_differ_in_the_statistic() -> None:
    for kind in {metric.kind for metric in METRICS if metric.provider == "vultr"}:
        rows = metrics_for("vultr", kind)
        assert len({(row.name, row.statistics) for row in rows}) == len(rows)


def test_nothing_is_charged(start_lab: StartLab) -> None:
    start_lab(fleet("vultr:database"), now=noon)
    meter = Meter(Decimal(0))
    request = MetricsRequest("acme", [acme()], inventory(), START, END, present=PRESENT)

    assert metrics.price(request) == 0
    assert metrics.collect(request, meter).problems == []
    assert meter.cost_usd == 0


# --- Databases -------------------------------------------------------------------------------------------------------


def test_a_database_and_its_replicas_are_a_call_each(start_lab: StartLab) -> None:
    lab = start_lab(fleet("vultr:database", 2, replicas=1), now=noon)
    meter = Meter()

    result = read(inventory(), meter=meter)

    assert meter.calls == {"get-database-usage": 4}
    assert lab.control.calls().count(operation="get-database-usage", status=200) == 4
    assert Counter(series.metric.name for series in result.series)["cpu_utilization"] == 4


def test_of_the_past_only_a_prometheus_knows(start_lab: StartLab) -> None:
    lab = start_lab(fleet("vultr:database"), fleet("vultr:instance", agent="node_exporter", created=CREATED), now=noon)
    resources = inventory()
    lab.control.reset()

    result = read(resources, with_prometheus(), present=None)

    assert result.problems == []
    assert {series.statistic for series in result.series} == {"average"}
    assert {call.service for call in lab.control.calls().requests} == {"prometheus"}
    states = {(one.resource_type, one.metric_name): (one.state, one.reason) for one in result.coverage}
    only_now = (CoverageState.NOT_OFFERED, "Vultr tells this of the present only")
    assert states[ResourceType.DATABASE, "cpu_utilization"] == only_now
    assert states[ResourceType.COMPUTE, "uptime"] == only_now
    assert states[ResourceType.COMPUTE, "cpu_utilization"][0] is CoverageState.COLLECTED


def test_a_database_that_is_gone_is_no_problem(start_lab: StartLab) -> None:
    start_lab(fleet("vultr:database"), now=noon)
    gone = [replace(one, resource_id="00000000-0000-4000-8000-000000000000") for one in inventory()]

    result = read(gone)

    assert result.problems == []
    (coverage,) = of(result, "cpu_utilization")
    assert coverage.state is CoverageState.NOT_OFFERED
    assert "does not know the database any more" in coverage.reason


def test_a_call_that_fails_costs_its_own_metrics(start_lab: StartLab) -> None:
    lab = start_lab(fleet("vultr:database", 4), now=noon)
    resources = inventory()
    lab.control.add_faults({"action": "deny", "operation": "get-database-usage", "times": 2})

    result = read(resources)

    (problem,) = result.problems
    assert problem.cause is Cause.PERMISSION
    assert "Allow subscriptions_view" in problem.message
    usage = [metric for metric in metrics_for("vultr", "vultr:database") if metric.namespace == "database_usage"]
    assert f"({2 * len(usage)} metrics are missing" in problem.message
    states = Counter(one.state for one in of(result, "cpu_utilization"))
    assert states == {CoverageState.COLLECTED: 2, CoverageState.NO_PERMISSION: 2}


@pytest.mark.parametrize(
    ("body", "collected"),
    [
        (b'{"usage": {"cpu": {"percentage": "4.65"}}}', {"cpu_utilization": 4.65}),
        (b'{"usage": {"cpu": {"percentage": null}, "memory": {"percentage": 37.5}}}', {"memory_utilization": 37.5}),
        (b'{"usage": {"cpu": 7, "disk": {"percentage": NaN, "current_gb": 1.25}}}', {"storage_used": 1.25 * 2**30}),
        (b'{"usage": []}', {}),
        (b'{"usage": {"cpu": {"percentage": true}}}', {}),
        (b"{}", {}),
    ],
)
def test_odd_usage_is_taken_as_far_as_it_goes(
    start_lab: StartLab, monkeypatch: pytest.MonkeyPatch, body: bytes, collected: dict[str, float]
) -> None:
    start_lab(fleet("vultr:database"), now=noon)
    resources = inventory()
    with answering(body) as url:
        result = read(resources, acme(endpoint_url=url))

    assert result.problems == []
    found = {name: value for (_, name, _, _), value in cells(result).items()}
    assert found == pytest.approx(collected)
    states = {one.state for one in result.coverage if one.metric_name not in collected}
    assert states == {CoverageState.NOT_OFFERED}


# --- Power -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "value", "reason"),
    [
        ({}, 100.0, ""),
        ({"server": "none"}, 100.0, ""),
        ({"server": "locked"}, 0.0, ""),
        ({"server": "installingbooting"}, 0.0, ""),
        ({"state": "stopped"}, None, "the instance is stopped"),
        ({"state": "dreaming"}, None, "the instance is dreaming"),
        ({"state": "stopped", "server": "locked"}, None, "the instance is stopped"),
    ],
)
def test_uptime_is_what_the_inventory_says_of_a_machine(
    start_lab: StartLab, fields: dict[str, Any], value: float | None, reason: str
) -> None:
    start_lab(fleet("vultr:instance", **fields), now=noon)

    result = read(inventory())

    points = [series.values for series in result.series if series.metric.name == "uptime"]
    assert points == ([] if value is None else [[value]])
    (coverage,) = of(result, "uptime")
    assert coverage.reason == reason
    assert coverage.state is (CoverageState.NOT_OFFERED if value is None else CoverageState.COLLECTED)


def test_an_older_inventory_tells_no_uptime(start_lab: StartLab) -> None:
    start_lab(fleet("vultr:instance"), now=noon)
    resources = inventory()

    assert [one.state for one in of(read(resources, listed=PRESENT), "uptime")] == [CoverageState.COLLECTED]
    older = read(resources, listed=START)

    assert not [series for series in older.series if series.metric.name == "uptime"]
    assert [one.state for one in of(older, "uptime")] == [CoverageState.ERROR]


def test_a_window_that_is_repaired_later_has_the_uptime_that_its_own_inventory_tells(start_lab: StartLab) -> None:
    start_lab(fleet("vultr:instance"), now=noon)
    resources = inventory()
    told = read(resources, present=None, listed=PRESENT)
    points = {(s.resource.resource_id, *s.timestamps, *s.values) for s in told.series if s.metric.name == "uptime"}
    assert points == {(one.resource_id, int(PRESENT.timestamp()), 100.0) for one in resources}
    assert {one.state for one in of(told, "uptime")} == {CoverageState.COLLECTED}
    for listed in (START - timedelta(minutes=15), END, None):
        other = read(resources, present=None, listed=listed)
        assert not [series for series in other.series if series.metric.name == "uptime"]
        assert {one.state for one in of(other, "uptime")} == {CoverageState.NOT_OFFERED}


def test_the_state_of_a_subscription_is_no_uptime(start_lab: StartLab) -> None:
    """A halted server, a database that refuses connections and a cluster that grows are all `active` at Vultr."""
    states = ["vultr:bare_metal", "vultr:database", "vultr:load_balancer", "vultr:kubernetes"]
    start_lab(*(fleet(kind, pending_nodes=1) for kind in ["vultr:instance", *states]), now=noon)
    resources = inventory()

    result = read(resources)
    told = list(coverage_of_what_is_not_offered(KINDS, resources, result.coverage))

    assert [s.resource.kind for s in result.series if s.metric.name == "uptime"] == ["vultr:instance"]
    kind_of = {one.resource_id: one.kind for one in resources}
    assert sorted(kind_of[one.resource_id] for one in told if one.metric_name == "uptime") == sorted(states)
    assert all("https://www.vultr.com/api/" in one.reason for one in told)


# --- Daily traffic ---------------------------------------------------------------------------------------------------


class Days:
    """Window after window of some days: what is stored is told to the next, as the collector does it."""

    def __init__(self, tmp_path: Path, resources: list[Resource]) -> None:
        self.resources = resources
        self.memory = DayCache(tmp_path / "memory", clock=self._clock)
        self.present = NOW
        self.slices: dict[datetime, dict[Cell, float]] = {}

    def _clock(self) -> float:
        return self.present.timestamp()

    def collect(self, present: datetime, *accounts: VultrAccount) -> Counter[str]:
        """Collect a window; gives the calls that it made."""
        self.present, meter = present, Meter()
        daily: dict[str, int] = {}
        for window, stored in self.slices.items():
            for resource, _, _, day in stored if window != present else ():
                daily[resource] = max(day, daily.get(resource, 0))
        asked = {"start": present, "end": present + timedelta(minutes=15), "present": present}
        result = read(self.resources, *accounts, meter=meter, daily=daily, memory=self.memory, **asked)
        assert all(series.window in {None, present} for series in result.series)
        self.slices[present] = {key: value for key, value in cells(result).items() if key[2] == "daily_average"}
        return meter.calls


def windows_of(day: int) -> list[datetime]:
    return [datetime.fromtimestamp(day + 900 * slot, UTC) for slot in range(96)]


def test_each_machine_is_asked_once_a_day_and_not_all_at_once(
    start_lab: StartLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(traffic, "MOST_READS", 3)
    days = Days(tmp_path, [])
    lab = start_lab(
        fleet("vultr:instance", 15, created=CREATED),
        fleet("vultr:bare_metal", 5, created=CREATED),
        now=lambda: days.present + timedelta(minutes=20),
    )
    days.resources = inventory()
    lab.control.reset()

    per_window = [days.collect(window).total() for window in windows_of(MIDNIGHT)]
    again = [days.collect(window).total() for window in windows_of(MIDNIGHT + DAY)]

    assert sum(per_window) == sum(again) == 20
    assert per_window[:4] == again[:4] == [0] * 4
    assert 7 <= sum(count > 0 for count in again) <= 12
    assert max(per_window + again) == 3
    assert lab.control.calls().count(status=200) == 40
    stored: dict[Cell, float] = {}
    for one in days.slices.values():
        assert not stored.keys() & one.keys()
        stored |= one
    assert len(stored) == 20 * 2 * (3 + 1)  # on the first day three days were missing, on the second one
    assert {day for _, _, _, day in stored} == {MIDNIGHT + n * DAY for n in (-3, -2, -1, 0)}


def test_missed_windows_and_days_are_caught_up_with(
    start_lab: StartLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(traffic, "MOST_READS", 4)
    days = Days(tmp_path, [])
    start_lab(fleet("vultr:instance", 10, created=CREATED), now=lambda: days.present + timedelta(minutes=20))
    days.resources = inventory()
    for window in windows_of(MIDNIGHT)[:8]:
        days.collect(window)

    late = [days.collect(window).total() for window in windows_of(MIDNIGHT + 2 * DAY)[60:64]]

    assert late == [4, 4, 2, 0]
    told = Counter(day for one in list(days.slices.values())[-4:] for _, name, _, day in one if name == "network_in")
    assert told == {MIDNIGHT: 10, MIDNIGHT + DAY: 10}


def test_a_window_that_is_collected_again_has_the_same_rows(
    start_lab: StartLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(traffic, "MOST_READS", 3)
    start_lab(fleet("vultr:instance", 12, created=CREATED), now=noon)
    days = Days(tmp_path, inventory())
    busy = windows_of(MIDNIGHT)[3:12]
    for window in busy:
        days.collect(window)
    first = dict(days.slices)
    assert sum(map(len, first.values())) == 12 * 2 * 3

    for window in reversed(busy):
        days.collect(window)

    assert days.slices == first


def test_a_machine_of_which_nothing_is_told_is_asked_once_a_day(start_lab: StartLab, tmp_path: Path) -> None:
    start_lab(fleet("vultr:instance", created="2026-11-10T00:00:00Z"), now=noon)
    resources = inventory()
    days = Days(tmp_path, resources)
    with answering(b'{"bandwidth": []}') as url:
        calls = [days.collect(window, acme(endpoint_url=url)).total() for window in windows_of(MIDNIGHT)]
        assert sum(calls) == 1
        assert days.collect(windows_of(MIDNIGHT + DAY)[10], acme(endpoint_url=url)).total() == 1


def test_a_machine_that_was_throttled_is_asked_again_in_the_next_window(start_lab: StartLab, tmp_path: Path) -> None:
    lab = start_lab(fleet("vultr:instance", created=CREATED), now=noon)
    days = Days(tmp_path, inventory())
    lab.control.add_faults({"action": "throttle", "operation": "get-instance-bandwidth"})
    days.collect(windows_of(MIDNIGHT)[10])
    assert days.slices[windows_of(MIDNIGHT)[10]] == {}
    lab.control.reset()

    days.collect(windows_of(MIDNIGHT)[11])

    assert len(days.slices[windows_of(MIDNIGHT)[11]]) == 6


def test_only_whole_days_of_a_machine_are_told(start_lab: StartLab) -> None:
    lab = start_lab(fleet("vultr:instance", created="2026-11-18T15:00:00Z"), now=noon)
    meter = Meter()

    result = read(inventory(), meter=meter)

    assert {day for _, _, statistic, day in cells(result) if statistic == "daily_average"} == {MIDNIGHT - DAY}
    (one,) = lab.vultr.resources()
    sums = lab.vultr.figures.traffic(one, MIDNIGHT - DAY, NOW)
    assert sums is not None
    assert cells(result)[one.id, "network_out", "daily_average", MIDNIGHT - DAY] == sums["outgoing_bytes"] / DAY


def test_traffic_that_is_not_there_yet_is_not_missing_without_a_reason(start_lab: StartLab) -> None:
    start_lab(fleet("vultr:instance", created="2026-11-20T09:00:00Z"), now=noon)
    meter = Meter()

    young = read(inventory(), meter=meter)
    stored = read(inventory(), daily={inventory()[0].resource_id: MIDNIGHT - DAY}, meter=meter)

    assert meter.calls.total() == 0
    assert [one.state for one in of(young, "network_in")] == [CoverageState.NOT_OFFERED]
    assert "read once a day" in of(young, "network_in")[0].reason
    assert [one.state for one in of(stored, "network_in")] == [CoverageState.COLLECTED]


# --- Prometheus ------------------------------------------------------------------------------------------------------


def test_without_a_prometheus_agents_figures_are_not_offered(start_lab: StartLab) -> None:
    lab = start_lab(fleet("vultr:instance", agent="node_exporter", created=CREATED), now=noon)
    resources = inventory()

    result = read(resources)

    assert lab.control.calls().count("prometheus") == 0
    assert {one.metric_name for one in result.coverage} == {"uptime", "network_in", "network_out"}
    told = {one.metric_name: one for one in coverage_of_what_is_not_offered(KINDS, resources, result.coverage)}
    assert told.keys() == {"cpu", "memory", "disk_io", "response_time"}
    assert {one.state for one in told.values()} == {CoverageState.NOT_OFFERED}
    assert all("give prometheus_url" in one.reason for one in told.values())


def test_a_machine_that_the_prometheus_does_not_know_lacks_an_agent(start_lab: StartLab) -> None:
    start_lab(
        fleet("vultr:instance", 2, name="with-{n}", agent="node_exporter", created=CREATED),
        fleet("vultr:instance", 3, name="without-{n}"),
        fleet("vultr:instance", 1, name="off", state="stopped"),
        now=noon,
    )

    result = read(inventory(), with_prometheus())

    assert result.problems == []
    assert Counter(one.state for one in of(result, "cpu_utilization")) == {
        CoverageState.COLLECTED: 2,
        CoverageState.AGENT_MISSING: 3,
        CoverageState.NOT_OFFERED: 1,
    }


@pytest.mark.parametrize("named_by", ["main_ip", "internal_ip", "v6_main_ip", "label", "id"])
@pytest.mark.parametrize("agent", ["node_exporter", "v-agent"])
def test_a_series_is_known_by_id_address_or_label(start_lab: StartLab, agent: str, named_by: str) -> None:
    lab = start_lab(fleet("vultr:instance", 3, agent=agent, named_by=named_by, created=CREATED), now=noon)

    result = read(inventory(), with_prometheus())

    wanted: dict[Cell, float] = {}
    for one in lab.vultr.resources():
        wanted |= truth(lab, one, agent)
    assert cells(result) == pytest.approx(wanted, rel=1e-12)


def test_one_query_asks_for_all_machines(start_lab: StartLab) -> None:
    lab = start_lab(
        fleet("vultr:instance", 40, agent="node_exporter", created=CREATED),
        fleet("vultr:bare_metal", 5, agent="node_exporter", created=CREATED),
        now=noon,
    )
    meter = Meter()

    read(inventory(), with_prometheus(), meter=meter)

    # OpenTelemetry and v-agent are not asked where node_exporter has told everything; blackbox_exporter is.
    assert meter.calls["query_range"] == lab.control.calls().count("prometheus") == 12


def test_a_long_range_is_asked_for_in_parts(start_lab: StartLab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = start_lab(fleet("vultr:instance", agent="node_exporter", created=CREATED), now=noon)
    monkeypatch.setattr(prometheus, "POINTS_PER_ANSWER", 10)
    monkeypatch.setattr("optiinfra_dagster.lab.vultr.prometheus.MOST_POINTS", 10)  # of more it would give none
    resources, meter = inventory(), Meter()
    start = END - timedelta(hours=4)

    result = read(resources, with_prometheus(), meter=meter, start=start)

    assert meter.calls["query_range"] == 5 * 11  # the 10 of node_exporter, and that of a probe
    (one,) = lab.vultr.resources()
    assert cells(result) == pytest.approx(truth(lab, one, "node_exporter", start), rel=1e-12)


def test_the_end_is_exclusive_and_odd_times_are_aligned(start_lab: StartLab) -> None:
    start_lab(fleet("vultr:instance", agent="node_exporter", created=CREATED), now=noon)

    result = read(
        inventory(), with_prometheus(), start=START + timedelta(seconds=1), end=END - timedelta(seconds=1), present=None
    )

    first, last = int(START.timestamp()) + 300, int(END.timestamp()) - 300
    assert {tuple(series.timestamps) for series in result.series} == {tuple(range(first, last + 1, 300))}


@pytest.mark.parametrize(
    ("resource", "metric", "name"),
    [("db", "cpu.percentage", "cpu_utilization"), ("box", "cpu_utilization", "cpu_utilization")],
)
@pytest.mark.parametrize("file", ["ec2_cpu_utilization_24ae8d", "rds_cpu_utilization_cc0c53"])
def test_recorded_values_come_out_as_they_went_in(
    start_lab: StartLab, shared_data: Path, file: str, resource: str, metric: str, name: str
) -> None:
    path = shared_data / "nab" / "data" / "realAWSCloudwatch" / f"{file}.csv"
    ends = END - timedelta(minutes=5)
    clock = {"now": NOW}
    start_lab(
        fleet("vultr:database", name="db"),
        fleet("vultr:instance", name="box", agent="node_exporter", created="2020-01-01T00:00:00Z"),
        replay=({"metric": metric, "resource": resource, "file": str(path), "ends_at": ends.isoformat()},),
        now=lambda: clock["now"],
    )
    (mine,) = [one for one in inventory() if one.resource_name == resource]
    times, values = recorded_points(path, ends_at=ends)
    if resource == "box":
        starts, place = np.unique(times // 300 * 300, return_inverse=True)
        wanted = dict(zip(starts.tolist(), (np.bincount(place, values) / np.bincount(place)).tolist(), strict=True))
        result = read([mine], with_prometheus(), start=END - timedelta(days=15), present=None)
        found = {moment: value for (_, which, _, moment), value in cells(result).items() if which == name}
    else:
        wanted, found = {}, {}
        for moment, value in zip(times[-20:].tolist(), values[-20:].tolist(), strict=True):
            window = datetime.fromtimestamp(moment // 900 * 900, UTC)
            clock["now"] = datetime.fromtimestamp(moment + 1, UTC)
            asked: dict[str, Any] = {"start": window, "end": window + timedelta(minutes=15), "present": window}
            wanted[moment] = value
            found[moment] = next(v for (_, which, *_), v in cells(read([mine], **asked)).items() if which == name)

    first = int((END - timedelta(days=15)).timestamp())
    assert len(found) > 15
    assert found == pytest.approx({moment: value for moment, value in wanted.items() if moment >= first})


def test_points_that_come_late_are_there_in_the_next_window(start_lab: StartLab) -> None:
    clock = {"now": END + timedelta(minutes=5)}
    lab = start_lab(fleet("vultr:instance", 5, agent="node_exporter", created=CREATED), now=lambda: clock["now"])
    lab.control.add_faults({"action": "late", "service": "prometheus", "seconds": 720})
    resources = inventory()
    stored: dict[Cell, float] = {}
    incomplete = 0
    for n in range(4):
        window = PRESENT + timedelta(minutes=15 * n)
        clock["now"] = window + timedelta(minutes=20)
        asked: dict[str, Any] = {
            "start": window - timedelta(minutes=15),
            "end": window + timedelta(minutes=15),
            "present": None,
        }
        stored |= cells(read(resources, with_prometheus(), **asked))
        incomplete += len(stored) < (n + 2) * 3 * 5 * 10
    lab.control.reset()
    asked = {"start": START, "end": PRESENT + timedelta(minutes=45), "present": None}
    final = cells(read(resources, with_prometheus(), **asked))

    assert incomplete
    assert {key: value for key, value in stored.items() if key in final} == final


def test_what_a_prometheus_cannot_tell_in_full_is_told_and_kept(start_lab: StartLab) -> None:
    lab = start_lab(fleet("vultr:instance", 6, agent="node_exporter", created=CREATED), now=noon)
    lab.control.add_faults({"action": "partial", "service": "prometheus", "every": 2})

    result = read(inventory(), with_prometheus())

    assert {problem.cause for problem in result.problems} == {Cause.INCOMPLETE}
    assert "store 2 is not reachable" in result.problems[0].message
    states = Counter(one.state for one in of(result, "cpu_utilization"))
    assert states[CoverageState.COLLECTED] == 3
    assert states[CoverageState.ERROR] == 3


@pytest.mark.parametrize(
    ("fault", "cause", "state"),
    [
        ({"action": "throttle"}, Cause.THROTTLED, CoverageState.THROTTLED),
        ({"action": "error"}, Cause.UNAVAILABLE, CoverageState.ERROR),
        ({"action": "unavailable"}, Cause.UNAVAILABLE, CoverageState.ERROR),
        ({"action": "disconnect"}, Cause.UNAVAILABLE, CoverageState.ERROR),
        ({"action": "expired"}, Cause.PERMISSION, CoverageState.NO_PERMISSION),
        ({"action": "delay", "seconds": 2}, Cause.UNAVAILABLE, CoverageState.ERROR),
    ],
)
def test_a_dead_prometheus_costs_its_own_metrics_only(
    start_lab: StartLab, monkeypatch: pytest.MonkeyPatch, fault: dict[str, Any], cause: Cause, state: CoverageState
) -> None:
    lab = start_lab(fleet("vultr:instance", agent="node_exporter", created=CREATED), fleet("vultr:database"), now=noon)
    resources = inventory()
    lab.control.add_faults({"service": "prometheus", **fault})
    monkeypatch.setattr(prometheus, "REQUEST_SECONDS", 0.2)
    monkeypatch.setattr(prometheus, "TOTAL_SECONDS", 1.0)
    began = time.monotonic()

    result = read(resources, with_prometheus())

    assert time.monotonic() - began < 5
    (problem,) = result.problems
    assert problem.cause is cause
    assert "Prometheus at 127.0.0.1" in problem.message
    assert {one.state for one in of(result, "disk_read")} == {state}
    assert {series.statistic for series in result.series} == {"snapshot", "daily_average"}
    assert {one.state for one in of(result, "network_in")} == {CoverageState.COLLECTED}
    assert lab.control.calls().count("prometheus") <= prometheus.ATTEMPTS


def test_a_prometheus_that_may_pass_is_tried_again(start_lab: StartLab) -> None:
    lab = start_lab(fleet("vultr:instance", agent="node_exporter", created=CREATED), now=noon)
    lab.control.add_faults({"service": "prometheus", "action": "unavailable", "times": 2})
    meter = Meter()

    assert read(inventory(), with_prometheus(), meter=meter).problems == []
    assert meter.calls["query_range"] == 13 == lab.control.calls().count("prometheus")


class answering:  # noqa: N801 - reads like a function
    """A server that gives one answer to everything, with what it was sent in the place of `%s`."""

    def __init__(self, body: bytes, status: int = 200) -> None:
        self._body, self._status = body, status
        self._server = Server(self._answer)

    def _answer(self, request: Request) -> Response:
        sent = (request.headers.get("Authorization") or "").encode()
        return Response(self._status, self._body.replace(b"%s", sent))

    def __enter__(self) -> str:
        self._server.start()
        return self._server.url

    def __exit__(self, *_error: object) -> None:
        self._server.stop()


def matrix(*values: Any, labels: Mapping[str, Any] | None = None) -> bytes:
    series = {"metric": labels or {"instance": "box:9100"}, "values": list(values)}
    return json.dumps({"status": "success", "data": {"resultType": "matrix", "result": [series]}}).encode()


FIRST = int(START.timestamp()) + 300


@pytest.mark.parametrize(
    ("body", "points"),
    [
        (matrix([FIRST, "1.5"], [FIRST + 300, "NaN"], [FIRST + 600, "+Inf"]), {FIRST - 300: 1.5}),
        (matrix([FIRST + 0.0, 2], [FIRST - 300, "7"], [FIRST + 10**6, "8"]), {FIRST - 300: 2.0}),
        (matrix([FIRST, "1"], labels={"instance": "BOX"}), {FIRST - 300: 1.0}),
        (matrix([FIRST, "1"], labels={"instance": "http://box/metrics"}), {FIRST - 300: 1.0}),
        (matrix([FIRST, "1"], labels={"instance": "another"}), {}),
        (matrix([FIRST, "1"], labels={"instance": 7, "vpsid": "["}), {}),
        (matrix(), {}),
    ],
)
def test_odd_series_are_taken_as_far_as_they_go(start_lab: StartLab, body: bytes, points: dict[int, float]) -> None:
    start_lab(fleet("vultr:instance", name="box"), now=noon)
    resources = inventory()
    with answering(body) as url:
        result = read(resources, acme(prometheus_url=url), present=None)

    assert result.problems == []
    found = {moment: value for (_, name, _, moment), value in cells(result).items() if name == "disk_read"}
    assert found == points


@pytest.mark.parametrize(
    ("status", "body", "cause"),
    [
        (200, b"<html>hello</html>", Cause.BUG),
        (200, b"[]", Cause.BUG),
        (200, b'{"status": "success", "data": {"resultType": "vector", "result": []}}', Cause.BUG),
        (200, matrix([1]), Cause.BUG),
        (200, matrix([FIRST, "much"]), Cause.BUG),
        (400, b'{"status": "error", "errorType": "bad_data", "error": "said %s"}', Cause.BUG),
        (422, b'{"status": "error", "errorType": "execution", "error": "too many samples"}', Cause.BUG),
        (404, b"404 page not found", Cause.CONFIG),
        (302, b"", Cause.CONFIG),
    ],
)
def test_an_answer_that_makes_no_sense_is_told_without_the_token(
    start_lab: StartLab, status: int, body: bytes, cause: Cause
) -> None:
    start_lab(fleet("vultr:instance", name="box"), now=noon)
    resources = inventory()
    with answering(body, status) as url:
        result = read(
            resources, acme(prometheus_url=url, prometheus_token={"env": "ACME_PROMETHEUS_TOKEN"}), present=None
        )

    assert {problem.cause for problem in result.problems} == {cause}
    assert {one.state for one in of(result, "cpu_utilization")} == {CoverageState.ERROR}
    assert TOKEN not in repr(result)
    assert "<html>" not in repr(result.problems)


def machine(name: str, **facts: str) -> Resource:
    return Resource(
        account_id="a",
        region="ewr",
        kind="vultr:instance",
        resource_id=f"id-{name}",
        resource_name=name,
        resource_type=ResourceType.COMPUTE,
        status=Status.RUNNING,
        cloud_status="running",
        metadata=dict(facts),
    )


def test_what_two_machines_share_names_neither() -> None:
    machines = Machines(
        [machine("twin", internal_ip="10.0.0.3"), replace(machine("twin", internal_ip="10.0.0.3"), resource_id="id-2")]
    )

    assert machines.owner({"instance": "twin:9100"}) is None
    assert machines.owner({"instance": "10.0.0.3:9100"}) is None
    found = machines.owner({"instance": "10.0.0.3:9100", "instance_id": "ID-2"})
    assert found is not None
    assert found[1].resource_id == "id-2"


def test_of_two_series_of_a_machine_the_surer_one_counts(start_lab: StartLab) -> None:
    start_lab(fleet("vultr:instance", name="box"), now=noon)
    (box,) = inventory()
    series = [
        {"metric": {"hostname": "box"}, "values": [[FIRST, "1"]]},
        {"metric": {"instance": "b", "vultr_instance_id": box.resource_id}, "values": [[FIRST, "2"]]},
        {"metric": {"instance": "a", "vultr_instance_id": box.resource_id}, "values": [[FIRST, "3"]]},
        {"metric": {"instance": "box:9100"}, "values": [[FIRST, "4"]]},
    ]
    body = json.dumps({"status": "success", "data": {"resultType": "matrix", "result": series}}).encode()
    with answering(body) as url:
        result = read([box], acme(prometheus_url=url), present=None)

    assert {value for _, value in cells(result).items()} == {3.0}


def test_a_reference_to_a_token_that_leads_nowhere_costs_agents_figures_only(start_lab: StartLab) -> None:
    start_lab(fleet("vultr:instance", created=CREATED), now=noon)
    account = acme(prometheus_url="https://metrics.example", prometheus_token={"env": "NOT_SET_ANYWHERE"})

    result = read(inventory(), account)

    (problem,) = result.problems
    assert problem.cause is Cause.CONFIG
    assert "NOT_SET_ANYWHERE" in problem.message
    assert {one.state for one in of(result, "network_in")} == {CoverageState.COLLECTED}


# --- Faults of the whole ---------------------------------------------------------------------------------------------


def mixed(start_lab: StartLab, instances: int = 20, databases: int = 10) -> tuple[CloudLab, list[Resource]]:
    lab = start_lab(
        fleet("vultr:instance", instances, created=CREATED, agent="node_exporter"),
        fleet("vultr:database", databases),
        now=noon,
    )
    resources = inventory()
    lab.control.reset()
    return lab, resources


def test_throttling_of_a_third_of_the_calls_loses_nothing(start_lab: StartLab) -> None:
    lab, resources = mixed(start_lab)
    lab.control.add_faults({"action": "throttle", "service": "vultr", "probability": 0.3})
    meter = Meter()

    result = read(resources, with_prometheus(), meter=meter)

    assert result.problems == []
    assert meter.calls.total() == lab.control.calls().count() > 40
    missing = {one.metric_name for one in result.coverage if one.state is not CoverageState.COLLECTED}
    assert missing == {"response_time", "uptime"}  # of databases, and of machines that nobody probes


@pytest.mark.parametrize(
    ("fault", "causes"),
    [
        ({"action": "throttle", "seconds": 30}, {Cause.THROTTLED}),
        ({"action": "disconnect"}, {Cause.UNAVAILABLE, Cause.THROTTLED}),
        ({"action": "delay", "seconds": 3}, {Cause.UNAVAILABLE, Cause.THROTTLED}),
    ],
)
def test_minutes_of_trouble_end_in_a_bounded_time(
    start_lab: StartLab, monkeypatch: pytest.MonkeyPatch, fault: dict[str, Any], causes: set[Cause]
) -> None:
    lab, resources = mixed(start_lab)
    lab.control.add_faults({"service": "vultr", **fault})
    monkeypatch.setattr(metrics, "TOTAL_SECONDS", 1.0)
    began = time.monotonic()

    result = read(resources, with_prometheus())

    assert time.monotonic() - began < 4
    assert result.problems
    assert {problem.cause for problem in result.problems} <= causes
    assert {one.state for one in of(result, "storage_used")} <= {CoverageState.THROTTLED, CoverageState.ERROR}
    assert {one.state for one in of(result, "disk_read")} == {CoverageState.COLLECTED}


def test_a_key_that_does_not_work_is_one_problem(start_lab: StartLab) -> None:
    lab, resources = mixed(start_lab)
    lab.control.add_faults({"service": "vultr", "action": "expired"})

    result = read(resources, with_prometheus())

    assert [problem.cause for problem in result.problems] == [Cause.AUTH]
    assert lab.control.calls().count("vultr") <= metrics._AT_ONCE + 1
    assert {one.state for one in of(result, "storage_used")} == {CoverageState.NO_PERMISSION}
    assert {one.state for one in of(result, "disk_read")} == {CoverageState.COLLECTED}
    machines = {one.resource_id for one in resources if one.kind == "vultr:instance"}
    assert {one.state for one in of(result, "uptime") if one.resource_id in machines} == {CoverageState.COLLECTED}


def test_a_call_that_a_working_key_is_refused_is_a_permission(start_lab: StartLab) -> None:
    lab, resources = mixed(start_lab)
    lab.control.add_faults({"action": "expired", "operation": "get-database-usage"})

    result = read(resources)

    assert [problem.cause for problem in result.problems] == [Cause.PERMISSION]
    assert {one.state for one in of(result, "storage_used")} == {CoverageState.NO_PERMISSION}
    assert {one.state for one in of(result, "network_in")} == {CoverageState.COLLECTED}


def test_resources_of_an_account_that_is_no_longer_configured_are_told(start_lab: StartLab) -> None:
    _, resources = mixed(start_lab, instances=1, databases=1)
    lost = [replace(one, account_id="OTHER_KEY") for one in resources]

    result = metrics.collect(MetricsRequest("acme", [acme()], lost, START, END, present=PRESENT), Meter())

    assert [(problem.account_id, problem.cause) for problem in result.problems] == [("OTHER_KEY", Cause.CONFIG)]
    assert {one.state for one in of(result, "storage_used")} == {CoverageState.ERROR}


def test_secrets_are_in_no_row_and_no_message(start_lab: StartLab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab, resources = mixed(start_lab, 3, 3)
    results = [read(resources, with_prometheus())]
    for action in ("throttle", "deny", "error", "expired", "disconnect"):
        lab.control.add_faults({"action": action})
        results.append(read(resources, with_prometheus()))
        lab.control.reset()
    told = repr(results)

    assert KEY not in told
    assert TOKEN not in told
    assert "planted-secret-" not in told


def test_ten_thousand_instances_keep_to_five_hundred_calls_a_window(start_lab: StartLab) -> None:
    lab = start_lab(
        fleet("vultr:instance", 100, agent="node_exporter", created=CREATED),
        fleet("vultr:instance", 9_900, created=CREATED),
        now=noon,
    )
    resources = [replace(machine(one.name), resource_id=one.id) for one in lab.vultr.resources()]
    resources = [replace(one, account_id="ACME_VULTR_KEY") for one in resources]
    meter = Meter()

    result = read(resources, with_prometheus(), meter=meter)

    # What is refused or cut off is sent again, and is a call too: one was, in one of two runs beside all other tests.
    again = meter.calls["get-instance-bandwidth"] - 500
    assert 0 <= again <= 2
    assert meter.calls == {"get-instance-bandwidth": 500 + again, "query_range": 31}
    assert 531 <= lab.control.calls().count(status=200) <= 531 + again
    assert Counter(one.state for one in of(result, "uptime")) == {CoverageState.COLLECTED: 10_000}
    assert len(result.coverage) == 10_000 * 12


def test_reads_of_traffic_are_spread_over_as_many_windows_as_they_need() -> None:
    resources = [machine(str(n)) for n in range(5_000)]
    daily: dict[str, int] = {}
    counts = []
    for present in windows_of(MIDNIGHT)[:20]:
        asked: dict[str, Any] = {"start": present, "end": present + timedelta(minutes=15), "daily": dict(daily)}
        days = traffic.missing_days(MetricsRequest("acme", [], resources, present=present, **asked), resources)
        daily |= dict.fromkeys(days, MIDNIGHT - DAY)
        counts.append(len(days))

    assert sum(counts) == 5_000
    assert max(counts) == 500
    assert counts[:4] == [0] * 4
    assert counts[4:13] == [pytest.approx(500, abs=80)] * 9
    assert sum(counts[17:]) == 0
