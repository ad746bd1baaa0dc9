"""Cloud Asset Inventory of the lab, asked by Google's own client."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import InvalidOperation
from google.cloud import asset_v1
from google.protobuf import json_format

from optiinfra_dagster.errors import ConfigError
from optiinfra_dagster.lab import CloudLab
from optiinfra_dagster.lab.gcp.describe import describe
from optiinfra_dagster.lab.gcp.recordings import GcpRecordings
from optiinfra_dagster.lab.world import World

PROJECT = "acme-prod"
KINDS = [
    "gcp:instance",
    "gcp:disk",
    "gcp:filestore_instance",
    "gcp:sql_instance",
    "gcp:redis_instance",
    "gcp:redis_cluster",
    "gcp:spanner_instance",
    "gcp:alloydb_cluster",
    "gcp:forwarding_rule",
    "gcp:network",
    "gcp:router",
    "gcp:gke_cluster",
]
WORLD: dict[str, Any] = {
    "seed": 7,
    "gcp": {
        "projects": [
            {
                "id": PROJECT,
                "fleets": [
                    *({"kind": kind, "region": "us-central1", "count": 3, "tags": {"env": "prod"}} for kind in KINDS),
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
    with CloudLab(WORLD) as lab:
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
