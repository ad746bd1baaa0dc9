"""Cloud Asset Inventory and Cloud Monitoring of the lab, asked by Google's own clients."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import grpc
import pytest
from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import InvalidOperation
from google.cloud import asset_v1
from google.cloud.monitoring_v3 import MetricServiceClient
from google.cloud.monitoring_v3.services.metric_service.transports import MetricServiceGrpcTransport
from google.protobuf import json_format

from optiinfra_dagster.lab import CloudLab
from optiinfra_dagster.lab.gcp.describe import describe
from optiinfra_dagster.lab.gcp.recordings import GcpRecordings
from optiinfra_dagster.lab.gcp.services import KINDS
from optiinfra_dagster.lab.world import World
from optiinfra_dagster.model.errors import ConfigError

PROJECT = "acme-prod"
NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
CPU = "compute.googleapis.com/instance/cpu/utilization"
READ = "compute.googleapis.com/instance/disk/read_bytes_count"
FLEETS = [name for name, kind in KINDS.items() if kind.in_fleets]
WORLD: dict[str, Any] = {
    "seed": 7,
    "gcp": {
        "projects": [
            {
                "id": PROJECT,
                "fleets": [
                    *({"kind": kind, "region": "us-central1", "count": 3, "tags": {"env": "prod"}} for kind in FLEETS),
                    {"kind": "gcp:forwarding_rule", "region": "global", "name": "shop"},
                    {"kind": "gcp:disk", "region": "europe-west1", "name": "mirrored", "regional": True},
                ],
            },
            {"id": "acme-empty"},
        ]
    },
}


@pytest.fixture(scope="module")
def gcp_lab() -> Iterator[CloudLab]:
    with CloudLab(WORLD, now=lambda: NOW) as lab:
        yield lab


@pytest.fixture
def fresh(gcp_lab: CloudLab) -> Iterator[CloudLab]:
    gcp_lab.control.reset()
    gcp_lab.gcp.refill()
    yield gcp_lab
    gcp_lab.gcp.recordings = None


def listed(lab: CloudLab, project: str = PROJECT, size: int = 1000, types: tuple[str, ...] = ()) -> list[Any]:
    nobody = AnonymousCredentials()  # type: ignore[no-untyped-call]
    client = asset_v1.AssetServiceClient(client_options={"api_endpoint": lab.url}, credentials=nobody, transport="rest")
    request = {
        "parent": f"projects/{project}",
        "content_type": asset_v1.ContentType.RESOURCE,
        "page_size": size,
        "asset_types": types,
    }
    return list(client.list_assets(request=request, retry=None))


def ask(lab: CloudLab, project: str = PROJECT, **query: str) -> tuple[int, dict[str, Any]]:
    connection = HTTPConnection(urlsplit(lab.url).netloc, timeout=10)
    try:
        connection.request("GET", f"/v1/projects/{project}/assets?{urlencode(query)}")
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def test_googles_client_reads_every_asset_as_it_is_described(fresh: CloudLab) -> None:
    assets = {one.name: one for one in listed(fresh)}

    wanted = {one.full_name: one for one in fresh.gcp.estate.assets(PROJECT)}
    assert assets.keys() == wanted.keys()
    for name, asset in assets.items():
        shown = describe(wanted[name])
        assert asset.asset_type == shown["assetType"]
        assert asset.resource.location == shown["resource"]["location"]
        data = json_format.MessageToDict(type(asset).pb(asset).resource.data)
        assert data == json.loads(json.dumps(shown["resource"]["data"]))


def test_pages_hold_what_was_asked_for_and_follow_each_other(fresh: CloudLab) -> None:
    assert Counter(one.name for one in listed(fresh, size=7)) == Counter(one.name for one in listed(fresh))

    total = len(fresh.gcp.estate.assets(PROJECT))
    assert fresh.control.calls().count("cloudasset", "ListAssets", PROJECT, status=200) == -(-total // 7) + 1


def test_only_the_types_asked_for_come(fresh: CloudLab) -> None:
    types = ("compute.googleapis.com/Disk", "sqladmin.googleapis.com/Instance")

    assert Counter(one.asset_type for one in listed(fresh, types=types)) == {types[0]: 6, types[1]: 3}


def test_an_empty_project_answers_without_assets(fresh: CloudLab) -> None:
    assert listed(fresh, "acme-empty") == []
    assert "assets" not in ask(fresh, "acme-empty")[1]


def test_resources_come_only_where_they_are_asked_for(fresh: CloudLab) -> None:
    status, body = ask(fresh)

    assert status == 200
    assert body["assets"]
    assert not any("resource" in one for one in body["assets"])


def test_an_unknown_project_is_denied_as_google_does(fresh: CloudLab) -> None:
    with pytest.raises(exceptions.Forbidden, match=r"cloudasset\.assets\.listResource"):
        listed(fresh, "nobodys-project")


@pytest.mark.parametrize(
    "query",
    [
        {"pageSize": "1001"},
        {"pageSize": "-1"},
        {"pageSize": "many"},
        {"assetTypes": "compute.googleapis.com/Nonsense"},
        {"pageToken": "made-up"},
        {"pageToken": "2.10.0"},
        {"filter": "state:ACTIVE"},
    ],
)
def test_what_google_would_refuse_is_refused(fresh: CloudLab, query: dict[str, str]) -> None:
    status, body = ask(fresh, **query)

    assert (status, body["error"]["status"]) == (400, "INVALID_ARGUMENT")


def test_a_page_token_is_good_for_its_own_listing_only(fresh: CloudLab) -> None:
    _, first = ask(fresh, pageSize="5", contentType="RESOURCE")

    assert ask(fresh, pageToken=first["nextPageToken"], contentType="RESOURCE")[0] == 200
    assert ask(fresh, pageToken=first["nextPageToken"])[0] == 400


def test_a_hundred_calls_a_minute_are_answered_for_each_project(fresh: CloudLab) -> None:
    statuses = Counter(ask(fresh, "acme-empty")[0] for _ in range(103))

    assert statuses == {200: 100, 429: 3}
    with pytest.raises(exceptions.TooManyRequests, match="Quota exceeded"):
        listed(fresh, "acme-empty")
    assert ask(fresh)[0] == 200
    fresh.gcp.refill()
    assert ask(fresh, "acme-empty")[0] == 200


@pytest.mark.parametrize(
    ("action", "error"),
    [
        ("throttle", exceptions.TooManyRequests),
        ("deny", exceptions.Forbidden),
        ("error", exceptions.InternalServerError),
        ("unavailable", exceptions.ServiceUnavailable),
        ("expired", InvalidOperation),  # what an anonymous credential makes of 401: it cannot be renewed
        ("optin_required", exceptions.Forbidden),
    ],
)
def test_faults_are_googles_errors(fresh: CloudLab, action: str, error: type[Exception]) -> None:
    fresh.control.add_faults({"action": action, "service": "cloudasset", "account": PROJECT, "times": 1})

    with pytest.raises(error):
        listed(fresh)
    assert listed(fresh)


def test_a_fault_may_wait_for_a_later_page(fresh: CloudLab) -> None:
    fresh.control.add_faults({"action": "disconnect", "page": 2})

    status, body = ask(fresh, pageSize="5")
    assert status == 200
    with pytest.raises(ConnectionError):
        ask(fresh, pageSize="5", pageToken=body["nextPageToken"])
    assert fresh.control.calls().count("cloudasset", status=0) == 1


def test_names_and_numbers_follow_from_the_seed_alone(fresh: CloudLab) -> None:
    with CloudLab(WORLD) as twin:
        assert ask(twin, contentType="RESOURCE") == ask(fresh, contentType="RESOURCE")


def test_two_assets_of_one_name_are_refused() -> None:
    fleets = [{"kind": "gcp:network", "region": "us-central1", "name": "main"}] * 2
    with CloudLab({"gcp": {"projects": [{"id": PROJECT, "fleets": fleets}]}}) as lab:
        status, body = ask(lab)
    assert status == 400
    assert "give one fleet another name" in body["error"]["message"]


def test_a_mistake_in_the_world_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "world.yaml"
    file.write_text("gcp: {projects: [{id: acme-prod, fleets: [{kind: gcp:toaster, region: us-central1}]}]}")

    with pytest.raises(ConfigError, match="gcp:disk"):
        World.load(file)


def test_googles_client_reads_recorded_answers(fresh: CloudLab, shared_data: Path) -> None:
    fresh.gcp.recordings = recordings = GcpRecordings(shared_data / "gcp_recordings" / "instance-get")

    (asset,) = listed(fresh, "any-project-at-all")

    assert [asset.name] == list(recordings.assets)
    assert asset.asset_type == "compute.googleapis.com/Instance"
    assert asset.resource.data["status"] == "RUNNING"


# --- Cloud Monitoring -----------------------------------------------------------------------------------------------


def client(lab: CloudLab) -> MetricServiceClient:
    channel = grpc.insecure_channel(lab.env["OPTIINFRA_LAB_GCP_MONITORING"].removeprefix("http://"))
    return MetricServiceClient(transport=MetricServiceGrpcTransport(channel=channel))


def series(lab: CloudLab, metric: str = CPU, minutes: int = 30, where: str = "", **more: Any) -> list[Any]:
    """Every time series, in all pages, asked for once; 5 minutes each unless the aggregation says otherwise."""
    aggregation = {"alignment_period": {"seconds": 300}, **more.pop("aggregation", {})}
    if "ALIGN" not in str(aggregation):
        aggregation["per_series_aligner"] = "ALIGN_MEAN"
    end = more.pop("end", NOW - timedelta(minutes=10))
    request = {
        "name": f"projects/{more.pop('project', PROJECT)}",
        "filter": f'metric.type = "{metric}"{where}',
        "interval": {"start_time": end - timedelta(minutes=minutes), "end_time": end},
        "aggregation": aggregation,
        **more,
    }
    return list(client(lab).list_time_series(request=request, retry=None, timeout=10))


def values(one: Any) -> list[float]:
    return [point.value.double_value for point in one.points]


def test_points_are_newest_first_and_carry_the_ends_of_their_periods(fresh: CloudLab) -> None:
    found = series(fresh)

    assert len(found) == 3
    ends = [point.interval.end_time for point in found[0].points]
    assert ends == [NOW - timedelta(minutes=10 + 5 * n) for n in range(6)]
    assert found[0].resource.type == "gce_instance"
    assert {one.resource.labels["instance_id"] for one in found} == {
        one.number for one in fresh.gcp.estate.assets(PROJECT, "gcp:instance")
    }


def test_alignment_and_reduction_are_those_of_the_raw_series(fresh: CloudLab) -> None:
    raw = series(fresh, READ, aggregation={"alignment_period": {"seconds": 60}, "per_series_aligner": "ALIGN_DELTA"})
    rate = series(
        fresh,
        READ,
        aggregation={
            "per_series_aligner": "ALIGN_RATE",
            "cross_series_reducer": "REDUCE_SUM",
            "group_by_fields": ["resource.labels.zone"],
        },
    )

    zones: dict[str, list[float]] = {}
    for one in raw:
        every = values(one)
        assert len(every) == 30
        sums = [sum(every[n : n + 5]) / 300 for n in range(0, 30, 5)]
        zone = zones.setdefault(one.resource.labels["zone"], [0.0] * 6)
        zones[one.resource.labels["zone"]] = [a + b for a, b in zip(zone, sums, strict=True)]
    assert {one.resource.labels["zone"]: values(one) for one in rate} == {
        zone: pytest.approx(wanted) for zone, wanted in zones.items()
    }
    assert all(list(one.resource.labels) == ["zone"] for one in rate)


def test_several_series_of_a_resource_differ_in_their_labels(fresh: CloudLab) -> None:
    aggregation = {"per_series_aligner": "ALIGN_RATE"}
    received = "compute.googleapis.com/instance/network/received_bytes_count"

    both = series(fresh, received, aggregation=aggregation)
    one = series(fresh, received, where=' AND metric.labels.loadbalanced = "true"', aggregation=aggregation)

    assert (len(both), len(one)) == (6, 3)


def test_distributions_are_shown_and_reduced_to_percentiles(fresh: CloudLab) -> None:
    latencies = "loadbalancing.googleapis.com/https/total_latencies"
    each = series(fresh, latencies, aggregation={"per_series_aligner": "ALIGN_DELTA"})
    percentiles = [
        series(
            fresh,
            latencies,
            aggregation={
                "per_series_aligner": "ALIGN_DELTA",
                "cross_series_reducer": f"REDUCE_PERCENTILE_{share}",
                "group_by_fields": ["resource.labels.forwarding_rule_name"],
            },
        )
        for share in (50, 95, 99)
    ]

    assert len(each) == 4
    assert all(point.value.distribution_value.count > 0 for one in each for point in one.points)
    low, high, highest = (values(found[0])[0] for found in percentiles)
    assert 0 < low < high < highest


def test_pages_of_points_join_to_the_whole(fresh: CloudLab) -> None:
    whole = series(fresh)
    pages = series(fresh, page_size=4)

    joined: dict[str, list[float]] = {}
    for one in pages:
        joined.setdefault(one.resource.labels["instance_id"], []).extend(values(one))
    assert joined == {one.resource.labels["instance_id"]: values(one) for one in whole}
    assert fresh.control.calls().count("monitoring", status=200) == 1 + 5


def test_samples_are_visible_when_their_delay_is_over(fresh: CloudLab) -> None:
    (newest, *_) = series(fresh, end=NOW, aggregation={"alignment_period": {"seconds": 60}})

    assert newest.points[0].interval.end_time == NOW - timedelta(seconds=240)


@pytest.mark.parametrize("mode", ["missing", "low"])
def test_late_points_are_missing_or_low_until_they_are_final(fresh: CloudLab, mode: str) -> None:
    by_instance = {
        "per_series_aligner": "ALIGN_RATE",
        "cross_series_reducer": "REDUCE_SUM",
        "group_by_fields": ["resource.labels.instance_id"],
    }
    final = {one.resource.labels["instance_id"]: values(one) for one in series(fresh, READ, aggregation=by_instance)}
    fresh.control.add_faults({"action": "late", "seconds": 1200, "mode": mode if mode == "low" else ""})

    early = series(fresh, READ, aggregation=by_instance)

    for one in early:
        wanted = final[one.resource.labels["instance_id"]]
        assert values(one)[0] < wanted[0]
        assert values(one)[-1] == pytest.approx(wanted[-1])


def test_descriptors_tell_sampling_and_delay(fresh: CloudLab) -> None:
    names = 'metric.type = one_of("cloudsql.googleapis.com/database/up", "agent.googleapis.com/memory/percent_used")'
    request = {"name": f"projects/{PROJECT}", "filter": names}

    (one,) = client(fresh).list_metric_descriptors(request=request)  # nothing runs the agent

    assert one.type == "cloudsql.googleapis.com/database/up"
    assert (one.metadata.sample_period.seconds, one.metadata.ingest_delay.seconds) == (60, 165)


def test_a_metric_that_nothing_ever_wrote_is_not_found(fresh: CloudLab) -> None:
    for metric in ("agent.googleapis.com/memory/percent_used", "compute.googleapis.com/nonsense"):
        with pytest.raises(exceptions.NotFound, match="Cannot find metric"):
            series(fresh, metric)


@pytest.mark.parametrize(
    "more",
    [
        {"aggregation": {"per_series_aligner": "ALIGN_RATE"}},  # of a gauge
        {"aggregation": {"per_series_aligner": "ALIGN_NONE", "cross_series_reducer": "REDUCE_SUM"}},
        {"aggregation": {"per_series_aligner": "ALIGN_MEAN", "alignment_period": {"seconds": 30}}},
        {"aggregation": {"per_series_aligner": "ALIGN_STDDEV"}},
        {"page_token": "made-up"},
        {"where": " OR nonsense"},
        {"minutes": 0},
    ],
)
def test_what_cloud_monitoring_would_refuse_is_refused(fresh: CloudLab, more: dict[str, Any]) -> None:
    with pytest.raises(exceptions.InvalidArgument):
        series(fresh, **more)


@pytest.mark.parametrize(
    ("action", "error", "status"),
    [
        ("throttle", exceptions.ResourceExhausted, 429),
        ("deny", exceptions.PermissionDenied, 403),
        ("error", exceptions.InternalServerError, 500),
        ("unavailable", exceptions.ServiceUnavailable, 503),
        ("disconnect", exceptions.ServiceUnavailable, 0),
        ("expired", exceptions.Unauthenticated, 401),
        ("optin_required", exceptions.PermissionDenied, 403),
    ],
)
def test_faults_of_cloud_monitoring_are_googles_errors(
    fresh: CloudLab, action: str, error: type[Exception], status: int
) -> None:
    fresh.control.add_faults({"action": action, "service": "monitoring", "account": PROJECT, "times": 1})

    with pytest.raises(error):
        series(fresh)
    assert series(fresh)
    assert fresh.control.calls().count("monitoring", "ListTimeSeries", PROJECT, status=status) == 1


def test_a_partial_answer_says_so(fresh: CloudLab) -> None:
    fresh.control.add_faults({"action": "partial", "every": 2, "mode": "a shard is gone"})
    request = {
        "name": f"projects/{PROJECT}",
        "filter": f'metric.type = "{CPU}"',
        "interval": {"start_time": NOW - timedelta(minutes=30), "end_time": NOW},
    }

    page = next(iter(client(fresh).list_time_series(request=request).pages))

    assert [error.message for error in page.execution_errors] == ["a shard is gone"]
    assert len(page.time_series) == 1


def test_time_series_returned_are_counted_as_billed(fresh: CloudLab) -> None:
    series(fresh)
    series(fresh, project="acme-empty")

    assert fresh.control.calls().billed_metrics == {PROJECT: 3}
    with pytest.raises(exceptions.PermissionDenied):
        series(fresh, project="nobodys-project")


def test_a_lab_without_projects_has_no_cloud_monitoring() -> None:
    with CloudLab({}) as lab:
        assert "OPTIINFRA_LAB_GCP_MONITORING" not in lab.env
