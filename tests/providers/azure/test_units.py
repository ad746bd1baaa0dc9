"""What Azure's number of a metric becomes, told once more: a wrong scale or statistic must not agree with itself."""

from __future__ import annotations

import pytest

from optiinfra_dagster.providers.catalog import metrics_for


@pytest.mark.parametrize(
    ("kind", "name", "api_metric", "statistics", "theirs", "ours"),
    [
        # Uptime: shares are written as 0 to 1, or as 0 to 100.
        ("azure:vmss", "uptime", "VmAvailabilityMetric", ("Average",), 0.5, 50),
        ("azure:postgresql", "uptime", "is_db_alive", ("Maximum",), 1, 100),
        ("azure:sql_database", "uptime", "availability", ("Average",), 99.9, 99.9),
        ("azure:cosmosdb", "uptime", "ServiceAvailability", ("Average",), 100, 100),
        ("azure:load_balancer", "uptime", "VipAvailability", ("Average",), 100, 100),
        ("azure:firewall", "uptime", "FirewallHealth", ("Average",), 50, 50),
        ("azure:storage_account", "uptime", "Availability", ("Average",), 100, 100),
        # Response time: milliseconds, microseconds of Redis, seconds of App Service.
        ("azure:front_door", "response_time", "TotalLatency", ("Average",), 250, 0.25),
        ("azure:front_door_classic", "response_time", "TotalLatency", ("Average",), 250, 0.25),
        ("azure:redis", "response_time", "cacheLatency", ("Average",), 1500, 0.0015),
        ("azure:redis_enterprise", "response_time", "cacheLatency", ("Average",), 1500, 0.0015),
        ("azure:cosmosdb", "response_time", "ServerSideLatencyGateway", ("Average",), 12, 0.012),
        ("azure:cosmosdb", "response_time_direct", "ServerSideLatencyDirect", ("Average",), 5, 0.005),
        ("azure:cosmosdb_mongo", "response_time", "MongoRequestDurationMs", ("Average",), 7, 0.007),
        ("azure:storage_account", "response_time", "SuccessE2ELatency", ("Average",), 40, 0.04),
        ("azure:app_service", "response_time", "HttpResponseTime", ("Average",), 0.3, 0.3),
        ("azure:container_app", "response_time", "ResponseTime", ("Average",), 90, 0.09),
        ("azure:netapp_volume", "read_latency", "AverageReadLatency", ("Average",), 2, 0.002),
        # Totals of a period of five minutes become rates; what is a rate already stays one.
        ("azure:front_door", "network_out", "ResponseSize", ("Total",), 3000, 10),
        ("azure:firewall", "network_total", "DataProcessed", ("Total",), 3000, 10),
        ("azure:vnet_gateway", "network_in", "TunnelIngressBytes", ("Total",), 3000, 10),
        ("azure:mysql", "disk_total_ops", "storage_io_count", ("Total",), 3000, 10),
        ("azure:redis", "network_in", "cacheWrite", ("Maximum",), 3000, 3000),
        ("azure:redis", "network_out", "cacheRead", ("Maximum",), 3000, 3000),
        ("azure:netapp_volume", "disk_read", "ReadThroughput", ("Average",), 3000, 3000),
        # A managed instance counts for 15 seconds at a time, and space in MiB.
        ("azure:sql_instance", "disk_read", "io_bytes_read", ("Average",), 3000, 200),
        ("azure:sql_instance", "disk_total_ops", "io_requests", ("Average",), 30, 2),
        ("azure:sql_instance", "storage_used", "storage_space_used_mb", ("Average",), 3, 3 * 2**20),
        ("azure:storage_account", "storage_used", "UsedCapacity", ("Average",), 3000, 3000),
    ],
)
def test_a_number_in_our_unit(
    kind: str, name: str, api_metric: str, statistics: tuple[str, ...], theirs: float, ours: float
) -> None:
    (metric,) = [metric for metric in metrics_for("azure", kind) if metric.name == name]

    assert (metric.api_metric, metric.statistics) == (api_metric, statistics)
    assert metric.convert(theirs) == pytest.approx(ours)
