"""Points of 10,000 machines on one cloud beside a plain loop over its SDK, and of 60 beside Cloud Custodian.

Each side runs in a process of its own (`python -m tests.benchmarks.performances <provider> ours|plain <url>`). The
worlds and the accounts are nearly those of the inventories' benchmark. One more cloud is a function in `PLAIN`, and its
lines in `SERIES`, `LEAST_CALLS` and `CALL`.
"""

from __future__ import annotations

import gc
import json
import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from optiinfra_dagster.model import windows
from optiinfra_dagster.providers.registry import PROVIDERS
from tests.benchmarks import inventories
from tests.benchmarks.inventories import COUNT, PROJECT, SECRETS, accounts

# What a machine is asked where no agent runs in it: API metric and statistic.
AWS_METRICS = (
    ("CPUUtilization", "Average"),
    ("EBSReadBytes", "Sum"),
    ("EBSWriteBytes", "Sum"),
    ("EBSReadOps", "Sum"),
    ("EBSWriteOps", "Sum"),
    ("NetworkIn", "Sum"),
    ("NetworkOut", "Sum"),
    ("StatusCheckFailed", "Average"),
)
DATABASES = 100  # beside Vultr's machines: they tell of themselves only what an agent told a Prometheus
DAYS_READ = 500  # machines whose traffic of whole days is read in one window
SERIES = {
    "aws": COUNT * len(AWS_METRICS),
    "gcp": COUNT * 8,
    "azure": COUNT * 10,
    "vultr": COUNT * 10 + DAYS_READ * 2 + DATABASES * 4,
}
CALL = {"aws": "GetMetricData", "gcp": "ListTimeSeries", "azure": "getBatch", "vultr": "query_range"}
# 500 queries to a call; one call for each metric type, and one for the agent's, which nothing publishes; 50 machines;
# one call for each metric.
LEAST_CALLS = {"aws": math.ceil(SERIES["aws"] / 500), "gcp": 8 + 1, "azure": math.ceil(COUNT / 50), "vultr": 12}
FEW = 60  # machines of the comparison with Cloud Custodian


@dataclass(frozen=True)
class Side:
    """What one process says of itself: CPU seconds, and the series that it read."""

    cpu: float
    series: int


def world(provider: str) -> dict[str, Any]:
    """A world in which one account runs 10,000 machines; on Vultr each has an agent, and databases run beside them."""
    made = inventories.world(provider)
    if provider == "gcp":
        made["gcp"]["projects"][0]["fleets"][0]["disks"] = 1  # without one, a machine has no figures of disks
    if provider == "vultr":
        made["vultr"]["limit"] = 10**6
        fleets = made["vultr"]["accounts"][0]["fleets"]
        fleets[0].update(agent="node_exporter", created="2026-01-01T00:00:00Z")
        fleets.append({"kind": "vultr:database", "count": DATABASES})
    return made


def span() -> tuple[datetime, datetime]:
    """Two windows: one, and the one before it, where late points may have come.

    They are yesterday's, at noon: Vultr's traffic of whole days is read from one o'clock on.
    """
    noon = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=1)
    return noon - windows.WINDOW, noon + windows.WINDOW


# --- Ours and the plain loops: what is timed is the second half -------------------------------------------------------


def ours(provider: str, url: str) -> Callable[[], int]:
    """The points as the asset takes them, with coverage and rows. What the inventory itself tells is not counted."""
    from optiinfra_dagster.model.meter import Meter
    from optiinfra_dagster.model.metrics import MetricsRequest
    from optiinfra_dagster.providers.prometheus_figures import add_figures
    from optiinfra_dagster.storage.rows import performance_rows

    mine = accounts(provider, url)
    resources = PROVIDERS[provider].inventory("bench", mine, Meter()).resources
    start, end = span()
    request = MetricsRequest("bench", mine, resources, start, end, present=end - windows.WINDOW)
    if provider == "vultr":
        mine[0] = _with_prometheus(mine[0], url)

    def take() -> int:
        found = PROVIDERS[provider].metrics(request, Meter())
        add_figures(provider, PROVIDERS[provider].kinds, request, found, Meter())
        assert not found.problems, found.problems
        rows = performance_rows("bench", provider, found.series, datetime.now(UTC))
        asked = [one for one in found.series if one.metric.namespace != "power"]
        assert rows.num_rows == sum(len(one.values) for one in found.series) > 5 * len(asked)
        return len(asked)

    return take


def _with_prometheus(account: Any, url: str) -> Any:
    """Vultr's account with its Prometheus; without the waits of the rate limit, which are no CPU."""
    from optiinfra_dagster.config.secrets import Endpoint
    from optiinfra_dagster.providers import prometheus
    from optiinfra_dagster.providers.vultr import client

    client.SECOND = 0.001
    prometheus.REQUEST_SECONDS = prometheus.TOTAL_SECONDS = 600.0  # the lab makes up 60,000 values for an answer
    return account.model_copy(update={"prometheus_url": Endpoint(url=f"{url}/prometheus/bench")})


def plain_aws(url: str) -> Callable[[], int]:
    """boto3's own paginator, 500 queries to a call, one call after the other."""
    client = _boto3(url, "cloudwatch")
    reservations = [
        one
        for page in _boto3(url, "ec2").get_paginator("describe_instances").paginate(PaginationConfig={"PageSize": 1000})
        for one in page["Reservations"]
    ]
    ids = [one["InstanceId"] for reservation in reservations for one in reservation["Instances"]]
    return lambda: _read_plainly(client, ids)


def _read_plainly(client: Any, ids: list[str]) -> int:
    start, end = span()
    queries = [
        {
            "Id": f"m{n}",
            "MetricStat": {
                "Metric": {
                    "Namespace": "AWS/EC2",
                    "MetricName": metric,
                    "Dimensions": [{"Name": "InstanceId", "Value": one}],
                },
                "Period": 300,
                "Stat": statistic,
            },
        }
        for n, (one, (metric, statistic)) in enumerate((one, asked) for one in ids for asked in AWS_METRICS)
    ]
    points: dict[str, list[tuple[datetime, float]]] = {}
    for first in range(0, len(queries), 500):
        pages = client.get_paginator("get_metric_data").paginate(
            MetricDataQueries=queries[first : first + 500], StartTime=start, EndTime=end
        )
        for result in (one for page in pages for one in page["MetricDataResults"]):
            points.setdefault(result["Id"], []).extend(zip(result["Timestamps"], result["Values"], strict=True))
    assert {len(found) for found in points.values()} == {6}
    return len(points)


def _boto3(url: str, service: str) -> Any:
    import boto3

    key, secret = SECRETS["BENCH_KEY"], SECRETS["BENCH_SECRET"]
    return boto3.client(service, "us-east-1", endpoint_url=url, aws_access_key_id=key, aws_secret_access_key=secret)


def plain_gcp(url: str) -> Callable[[], int]:
    """Google's client over gRPC, one call for each metric, each reduced on Google's side to a series per machine."""
    import grpc
    from google.cloud.monitoring_v3 import MetricServiceClient
    from google.cloud.monitoring_v3.services.metric_service.transports import MetricServiceGrpcTransport
    from google.cloud.monitoring_v3.types import Aggregation, ListTimeSeriesRequest

    from optiinfra_dagster.providers.catalog import metrics_for

    start, end = ({"seconds": int(moment.timestamp())} for moment in span())
    host = os.environ["OPTIINFRA_LAB_GCP_MONITORING"].removeprefix("http://")
    channel = grpc.insecure_channel(host, options=[("grpc.max_receive_message_length", -1)])
    client = MetricServiceClient(transport=MetricServiceGrpcTransport(channel=channel))
    asked = [
        ListTimeSeriesRequest(
            name=f"projects/{PROJECT}",
            filter=f'metric.type = "{metric.api_metric}"',
            interval={"start_time": start, "end_time": end},
            aggregation=Aggregation(
                alignment_period={"seconds": 300},
                per_series_aligner=metric.statistics[0],
                cross_series_reducer="REDUCE_SUM" if metric.unit.endswith("/s") else "REDUCE_MEAN",
                group_by_fields=["resource.labels.instance_id"],
            ),
        )
        for metric in metrics_for("gcp", "gcp:instance")
        if not metric.condition
    ]

    def take() -> int:
        found = 0
        for request in asked:
            for series in client.list_time_series(request):
                points = [(one.interval.end_time, one.value.double_value) for one in series.points]
                found += len(points) == 6 and bool(series.resource.labels["instance_id"])
        return found

    return take


def plain_azure(url: str) -> Callable[[], int]:
    """The SDK's batch client and its objects, 50 machines to a call."""
    from azure.core.pipeline.policies import SansIOHTTPPolicy
    from azure.monitor.querymetrics import MetricsClient

    from optiinfra_dagster.model.meter import Meter
    from optiinfra_dagster.providers.catalog import metrics_for

    listed = PROVIDERS["azure"].inventory("bench", accounts("azure", url), Meter()).resources
    ids = [one.resource_id for one in listed]
    client = MetricsClient(url, _Nobody(), authentication_policy=SansIOHTTPPolicy())
    names = [metric.api_metric for metric in metrics_for("azure", "azure:vm")]

    def take() -> int:
        found = 0
        for first in range(0, len(ids), 50):
            for result in client.query_resources(
                resource_ids=ids[first : first + 50],
                metric_namespace="Microsoft.Compute/virtualMachines",
                metric_names=names,
                timespan=span(),
                granularity=timedelta(minutes=5),
                aggregations=["Average", "Total"],
            ):
                for series in (one for metric in result.metrics for one in metric.timeseries):
                    found += len([(one.timestamp, one.average, one.total) for one in series.data]) == 6
        return found

    return take


def plain_vultr(url: str) -> Callable[[], int]:
    """A loop of httpx over the same requests, one after the other, which keeps the figures by what was asked."""
    import httpx

    from optiinfra_dagster.model.meter import Meter
    from optiinfra_dagster.providers.prometheus_exporters import metrics_of

    start, end = (int(moment.timestamp()) for moment in span())
    listed = PROVIDERS["vultr"].inventory("bench", accounts("vultr", url), Meter()).resources
    databases = [one.resource_id for one in listed if one.kind == "vultr:database"]
    machines = [one.resource_id for one in listed if one.kind == "vultr:instance"][:DAYS_READ]
    rows = metrics_of("vultr", PROVIDERS["vultr"].kinds["vultr:instance"])
    asked = [one.api_metric for one in rows if one.namespace == "node_exporter"]

    def take() -> int:
        found: dict[tuple[str, str], list[tuple[int, float]]] = {}
        with httpx.Client(headers={"Authorization": f"Bearer {SECRETS['BENCH_VULTR']}"}, timeout=600) as http:
            for one in databases:
                usage = http.get(f"{url}/v2/databases/{one}/usage").json()["usage"]
                for what in ("cpu", "memory", "disk"):
                    found[one, what] = [(start, usage[what]["percentage"])]
                found[one, "storage"] = [(start, usage["disk"]["current_gb"] * 1024**3)]
            for one in machines:
                days = http.get(f"{url}/v2/instances/{one}/bandwidth", params={"date_range": 4}).json()["bandwidth"]
                for what in ("incoming_bytes", "outgoing_bytes"):
                    found[one, what] = [(day, figures[what] / 86_400) for day, figures in days.items()]
            for query in asked:
                params: dict[str, str | int] = {"query": query, "start": start + 300, "end": end, "step": 300}
                answer = http.get(f"{url}/prometheus/bench/api/v1/query_range", params=params).json()
                for series in answer["data"]["result"]:
                    points = [(moment - 300, float(text)) for moment, text in series["values"]]
                    if series["metric"]["instance"] != "prometheus.internal:9100":  # the lab's own
                        found[series["metric"]["instance"], query] = points
        return len(found)

    return take


class _Nobody:
    """A credential that is never asked: the lab is plain http."""

    def get_token(self, *_scopes: str, **_options: Any) -> Any:
        raise AssertionError("the lab asks for no token")


PLAIN = {"aws": plain_aws, "gcp": plain_gcp, "azure": plain_azure, "vultr": plain_vultr}


# --- Cloud Custodian --------------------------------------------------------------------------------------------------


def custodian() -> str | None:
    """The command of Cloud Custodian (c7n), if it is installed: on the path, or where C7N says."""
    return os.environ.get("C7N") or shutil.which("custodian")


def custodian_world() -> dict[str, Any]:
    """The world of few machines."""
    made = world("aws")
    made["aws"]["accounts"][0]["fleets"][0]["count"] = FEW
    return made


def custodian_command(command: str, folder: Path) -> list[str]:
    """A run of its metrics filter for the same metrics of every instance; it keeps what it reads with the instance."""
    filters = [
        {
            "type": "metrics", "name": metric, "statistics": statistic, "days": 1800 / 86400, "period": 300,
            "value": 0, "op": "gte", "missing-value": 0,
        }
        for metric, statistic in AWS_METRICS
    ]  # fmt: skip
    policy = folder / "policy.json"
    policy.write_text(json.dumps({"policies": [{"name": "series", "resource": "ec2", "filters": filters}]}))
    return [
        command,
        "run",
        "--region",
        "us-east-1",
        "--output-dir",
        str(folder / "out"),
        "--cache-period=0",
        str(policy),
    ]


def custodian_series(folder: Path) -> int:
    """The series that its run kept, which have points."""
    kept = json.loads((folder / "out" / "series" / "resources.json").read_text())
    return sum(any("c7n:detail" not in point for point in one) for each in kept for one in each["c7n.metrics"].values())


# --- The two processes --------------------------------------------------------------------------------------------


def command(provider: str, side: str, url: str) -> list[str]:
    """The command line of one side."""
    return [sys.executable, "-m", "tests.benchmarks.performances", provider, side, url]


def measure(provider: str, side: str, url: str, environment: dict[str, str]) -> Side:
    """Run one side in a process of its own."""
    done = subprocess.run(
        command(provider, side, url), env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{provider} {side}: {done.stderr}")
    return Side(**json.loads(done.stdout))


def main() -> None:
    """Read the points once and print what it cost. Imports, preparations and the inventory are not counted."""
    provider, side, url = sys.argv[1:]
    take = ours(provider, url) if side == "ours" else PLAIN[provider](url)
    gc.collect()
    began = time.process_time()
    series = take()
    print(json.dumps({"cpu": time.process_time() - began, "series": series}))


if __name__ == "__main__":
    main()
