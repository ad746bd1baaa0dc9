"""The metrics of each kind, by the documents of Google: under which names they are asked, and of whom they speak."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from functools import partial

import pytest

from optiinfra_dagster.model.meter import Meter
from optiinfra_dagster.model.metrics import CoverageState, MetricsRequest, MetricsResult
from optiinfra_dagster.providers.catalog import metrics_for
from optiinfra_dagster.providers.gcp import metrics
from optiinfra_dagster.providers.gcp.inventory import collect
from optiinfra_dagster.providers.gcp.services import KINDS
from tests.providers.gcp.conftest import PROJECT, StartLab, account, fleet
from tests.providers.gcp.test_metrics import END, START, assert_true, inventory, read


def asked_as(result: MetricsResult, name: str) -> dict[str, tuple[str, str]]:
    """The monitored resource and metric type that a metric was asked under, by resource."""
    return {
        series.resource.resource_name: (published.namespace, published.api_metric)
        for series in result.series
        if series.metric.name == name
        for published in [KINDS[series.resource.kind].published(series.metric, series.resource)]
    }


def test_every_load_balancer_has_the_bytes_of_its_own_family(start_lab: StartLab) -> None:
    rule, path = partial(fleet, "gcp:forwarding_rule"), "loadbalancing.googleapis.com/"
    lab = start_lab(
        rule(name="shop", region="global"),
        rule(name="pool"),
        rule(name="service", type="EXTERNAL", engine="backendServices"),
        rule(name="inner", type="INTERNAL"),
        rule(name="dns", type="INTERNAL", engine="UDP"),
        rule(name="all", type="INTERNAL", engine="L3_DEFAULT"),
        rule(name="classic", type="EXTERNAL", engine="targetSslProxies", region="global"),
        rule(name="proxy", type="INTERNAL_MANAGED", engine="targetTcpProxies"),
        rule(name="vpn", type="EXTERNAL", engine="targetVpnGateways"),
    )

    result = read(lab)

    assert_true(lab, result)
    external = f"{path}ExternalNetworkLoadBalancerRule"
    assert asked_as(result, "network_in") == {
        "shop": ("https_lb_rule", f"{path}https/request_bytes_count"),
        "pool": (external, f"{path}l3/external/ingress_bytes_count"),
        "service": (external, f"{path}l3/external/ingress_bytes_count"),
        "inner": ("internal_tcp_lb_rule", f"{path}l3/internal/ingress_bytes_count"),
        "dns": ("internal_udp_lb_rule", f"{path}l3/internal/ingress_bytes_count"),
        "all": ("internal_tcp_lb_rule internal_udp_lb_rule", f"{path}l3/internal/ingress_bytes_count"),
        "classic": ("tcp_ssl_proxy_rule", f"{path}tcp_ssl_proxy/ingress_bytes_count"),
        "proxy": ("l4_proxy_rule", f"{path}l4_proxy/ingress_bytes_count"),
    }
    assert asked_as(result, "network_out")["pool"] == (external, f"{path}l3/external/egress_bytes_count")
    vpn = {one.metric_name: one for one in result.coverage if one.resource_id.endswith("/vpn")}
    assert {one.state for one in vpn.values()} == {CoverageState.NOT_OFFERED}
    assert vpn["network_in"].reason == "it is no load balancer: it forwards to targetVpnGateways"


def test_series_that_come_twice_count_once_and_those_of_two_protocols_add_up(start_lab: StartLab) -> None:
    """What forwards all protocols has TCP and UDP as two types of monitored resource, which Google does not reduce."""
    rule = partial(fleet, "gcp:forwarding_rule", type="INTERNAL")
    lab = start_lab(rule(name="all", engine="L3_DEFAULT"), rule(name="web"), fleet("gcp:instance"))
    assert lab.gcp.monitoring is not None
    whole = read(lab)
    lab.gcp.monitoring.doubles = True

    result = read(lab)

    assert_true(lab, whole)
    assert_true(lab, result)
    (of_all,) = [
        one for one in result.series if one.metric.name == "network_in" and one.resource.resource_name == "all"
    ]
    (asset,) = [one for one in lab.gcp.estate.assets(PROJECT) if one.full_name == of_all.resource.resource_id]
    told = lab.gcp.monitoring.expected(
        PROJECT, asset, "loadbalancing.googleapis.com/l3/internal/ingress_bytes_count", "ALIGN_RATE", START, END,
        'resource.type = "internal_tcp_lb_rule"',
    )  # fmt: skip
    assert all(value > told[moment] for moment, value in zip(of_all.timestamps, of_all.values, strict=True))


def test_a_rule_of_a_service_mesh_is_no_load_balancer(start_lab: StartLab) -> None:
    """Its traffic goes through the customer's own proxies: that Google has no points of it does not make it idle."""
    lab = start_lab(
        fleet("gcp:forwarding_rule", name="mesh", region="global", type="INTERNAL_SELF_MANAGED"),
        fleet("gcp:forwarding_rule", name="vpn", type="EXTERNAL", engine="targetVpnGateways"),
        fleet("gcp:forwarding_rule", name="shop", region="global"),
    )
    resources = {one.resource_name: one for one in inventory(lab)}

    result = read(lab)

    mesh = {one.metric_name: one for one in result.coverage if one.resource_id.endswith("/mesh")}
    assert {one.state for one in mesh.values()} == {CoverageState.NOT_OFFERED}
    assert mesh["network_in"].reason == "it is no load balancer: it forwards to a service mesh"
    assert mesh["response_time"].reason == "only Application Load Balancers tell requests and response times"
    price_parts = KINDS["gcp:forwarding_rule"].price_parts
    assert price_parts is not None
    assert {name: len(list(price_parts(one))) for name, one in resources.items()} == {"mesh": 0, "vpn": 0, "shop": 1}


def test_the_load_of_a_sharded_cache_is_that_of_its_primary_nodes(start_lab: StartLab) -> None:
    lab = start_lab(fleet("gcp:redis_cluster"), fleet("gcp:valkey_instance"))
    assert lab.gcp.monitoring is not None

    result = read(lab)

    for series in (one for one in result.series if one.metric.name == "cpu_utilization"):
        (asset,) = [one for one in lab.gcp.estate.assets(PROJECT) if one.full_name == series.resource.resource_id]
        primary, everywhere = (
            lab.gcp.monitoring.expected(PROJECT, asset, series.metric.api_metric, "ALIGN_MEAN", START, END, where)
            for where in ('metric.labels.role = "primary"', "")
        )
        got = dict(zip(series.timestamps, series.values, strict=True))
        assert got == pytest.approx({moment: 100 * value for moment, value in primary.items()})
        assert got != pytest.approx({moment: 100 * value for moment, value in everywhere.items()})


def test_a_cluster_with_a_node_that_is_not_ready_is_not_wholly_up(start_lab: StartLab) -> None:
    lab = start_lab(
        fleet("gcp:gke_cluster", name="whole", size=4), fleet("gcp:gke_cluster", name="waiting", size=4, pending=1)
    )

    uptime = {
        series.resource.resource_name: sum(series.values) / len(series.values)
        for series in read(lab, start=START - timedelta(hours=6)).series
        if series.metric.name == "uptime"
    }

    assert uptime["whole"] == pytest.approx(99, abs=1)  # nodes of the lab fail for a quarter of an hour now and then
    assert uptime["waiting"] == pytest.approx(0.75 * 99, abs=1)


def test_how_long_queries_take_is_known_where_query_insights_is_on(start_lab: StartLab) -> None:
    lab = start_lab(
        fleet("gcp:sql_instance", name="pg", insights=True),
        fleet("gcp:sql_instance", name="my", insights=True, engine="MYSQL_8_0"),
        fleet("gcp:sql_instance", name="off"),
        fleet("gcp:sql_instance", name="ms", insights=True, engine="SQLSERVER_2022_STANDARD"),
    )

    result = read(lab)

    kind, path = "cloudsql_instance_database", "aggregate/latencies"
    assert asked_as(result, "response_time") == {
        "pg": (kind, f"cloudsql.googleapis.com/database/postgresql/insights/{path}"),
        "my": (kind, f"dbinsights.googleapis.com/{path}"),
    }
    reasons = {
        one.resource_id.rpartition("/")[2]: one.reason for one in result.coverage if one.metric_name == "response_time"
    }
    assert reasons["off"] == "Query Insights is off: enable it in the instance's settings"
    assert reasons["ms"] == "Query Insights measures the queries of PostgreSQL and MySQL"


def test_a_time_per_request_is_asked_as_two_sums_and_each_is_paid_once(start_lab: StartLab) -> None:
    lab = start_lab(fleet("gcp:redis_instance"))
    meter = Meter()

    result = read(lab, meter=meter)

    assert_true(lab, result)
    ours = metrics_for("gcp", "gcp:redis_instance")
    assert {"response_time", "request_rate"} <= {series.metric.name for series in result.series}
    assert meter.calls["ListTimeSeries"] == len(ours)
    assert lab.control.calls().billed_metrics == {PROJECT: len(ours)}


@pytest.mark.parametrize("failing", [0, 1])
def test_without_one_of_the_two_sums_there_is_no_time_per_request(start_lab: StartLab, failing: int) -> None:
    lab = start_lab(fleet("gcp:redis_instance"))
    resources = inventory(lab)
    kind = KINDS["gcp:redis_instance"]
    only = [one for one in kind.metrics if one.name in {"response_time", "request_rate"}]
    lab.control.add_faults({"action": "deny", "operation": "ListTimeSeries", "skip": failing, "times": 1})
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(KINDS, kind.name, replace(kind, metrics=tuple(only)))
        request = MetricsRequest("acme", [account(lab)], resources, START, END)
        result = metrics.collect(request, Meter())

    states_of = {one.metric_name: one.state for one in result.coverage}
    lost = {0: "response_time", 1: "request_rate"}[failing]
    assert states_of[lost] is CoverageState.NO_PERMISSION
    assert not any(series.metric.name == "response_time" for series in result.series)


def test_resources_that_series_name_alike_have_no_points_of_each_other(start_lab: StartLab) -> None:
    lab = start_lab(
        fleet("gcp:memcache_instance", name="cache"),
        fleet("gcp:memcache_instance", name="cache", region="europe-west1"),
        fleet("gcp:memcache_instance", name="other"),
    )

    result = read(lab)

    assert {series.resource.resource_name for series in result.series} == {"other"}
    lost = [one for one in result.coverage if one.state is CoverageState.ERROR]
    assert len(lost) == 2 * len(metrics_for("gcp", "gcp:memcache_instance"))
    assert {one.reason for one in lost} == {"Cloud Monitoring names several resources alike: instance_id cache"}


def test_an_instance_in_several_regions_has_no_load_of_its_own(start_lab: StartLab) -> None:
    lab = start_lab(fleet("gcp:spanner_instance", engine="nam3"))

    coverage = {one.metric_name: one for one in read(lab).coverage}

    assert coverage["cpu_utilization"].state is CoverageState.NOT_OFFERED
    assert "nam3" in coverage["cpu_utilization"].reason
    assert coverage["response_time"].state is CoverageState.COLLECTED


def test_a_function_of_the_second_generation_is_the_service_that_runs_it(start_lab: StartLab) -> None:
    lab = start_lab(fleet("gcp:cloud_function", name="old"), fleet("gcp:cloud_function", name="new", type="GEN_2"))

    result = read(lab)

    assert {series.resource.resource_name for series in result.series} == {"old"}
    assert {one.reason for one in result.coverage if one.resource_id.endswith("/new")} == {
        "it runs as the Cloud Run service new, which has the figures"
    }


def test_an_empty_project_costs_one_call_and_others_those_of_their_kinds(start_lab: StartLab) -> None:
    lab = start_lab(projects=({"id": "acme-usual", "fleets": [fleet("gcp:instance", 3), fleet("gcp:sql_instance")]},))
    for project, calls in ((PROJECT, {}), ("acme-usual", {"ListMetricDescriptors": 1, "ListTimeSeries": 9 + 10})):
        listing, asking = Meter(), Meter()
        found = collect("acme", [account(lab, project)], listing)
        read(lab, found.resources, meter=asking, accounts=(account(lab, project),))

        assert listing.calls == {"ListAssets": 1}
        assert asking.calls == calls
