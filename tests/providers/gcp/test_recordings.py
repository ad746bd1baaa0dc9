"""Answers that Google's APIs once gave, read item by item: none is lost, doubled, or too odd to bear."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from optiinfra_dagster.lab import CloudLab
from optiinfra_dagster.lab.gcp.recordings import GcpRecordings
from optiinfra_dagster.model.inventory import Inventory, Status
from optiinfra_dagster.model.meter import Meter
from optiinfra_dagster.providers.gcp.inventory import collect
from tests.providers.gcp.conftest import account

_KINDS = {
    "compute#instance": "gcp:instance",
    "compute#disk": "gcp:disk",
    "compute#forwardingRule": "gcp:forwarding_rule",
    "compute#network": "gcp:network",
    "compute#subnetwork": "gcp:subnetwork",
    "compute#router": "gcp:router",
    "sql#instance": "gcp:sql_instance",
}
# What only one kind of answer holds, for those that do not name their kind.
_MARKS = {
    "currentMasterVersion": "gcp:gke_cluster",
    "podIpv4CidrSize": "gcp:gke_node_pool",
    "instanceGroupUrls": "gcp:gke_node_pool",
    "redisVersion": "gcp:redis_instance",
    "discoveryEndpoints": "gcp:redis_cluster",
    "processingUnits": "gcp:spanner_instance",
}


@pytest.fixture(scope="module")
def lab() -> Iterator[CloudLab]:
    with CloudLab({}) as lab:
        yield lab


def replay(lab: CloudLab, source: Path) -> Inventory:
    lab.gcp.recordings = GcpRecordings(source)
    lab.gcp.refill()
    return collect("acme", [account(lab, "cloud-custodian")], Meter())


def recorded(part: Any, within: str = "") -> Iterator[tuple[str, str, str]]:
    """Kind, place and name of everything in an answer that must come out, told by other signs than the lab uses."""
    if isinstance(part, list):
        for one in part:
            yield from recorded(one, within)
    elif isinstance(part, dict):
        link, name = part.get("selfLink", ""), part.get("name", "")
        where = re.search(r"/(zones|regions|locations)/([^/]+)/", f"{link} {name} /{within}/")
        kind = _KINDS.get(part.get("kind", "")) or next((_MARKS[key] for key in _MARKS if key in part), "")
        if kind and name:
            of = re.search(r"/clusters/([^/]+)/nodePools/", link)
            place = where[2] if where else ""
            yield kind, f"{place}/{of[1]}" if of else place, name.rpartition("/")[2]
        for inner, value in part.items():
            yield from recorded(value, inner if "/" in inner else within)


def come_out(inventory: Inventory) -> Iterator[tuple[str, str, str]]:
    for one in inventory.resources:
        where = re.search(r"/(zones|regions|locations)/([^/]+)/", one.resource_id)
        of = one.metadata["cluster"] if one.kind == "gcp:gke_node_pool" else ""
        place = where[2] if where else ""
        yield one.kind, f"{place}/{of}" if of else place, one.resource_name


def test_every_recorded_resource_comes_out_once(shared_data: Path, lab: CloudLab) -> None:
    seen: Counter[str] = Counter()
    folders = sorted(one for one in (shared_data / "gcp_recordings").iterdir() if one.is_dir())
    for folder in folders:
        bodies = [json.loads(file.read_text())["body"] for file in sorted(folder.rglob("*.json"))]
        wanted = {one for body in bodies for one in recorded(body)}

        inventory = replay(lab, folder)

        assert inventory.problems == [], folder.name
        assert Counter(come_out(inventory)) == Counter(wanted), folder.name
        for one in inventory.resources:
            assert one.status is not Status.UNKNOWN, (folder.name, one)
            assert one.created_at is not None or one.kind in {"gcp:gke_node_pool", "gcp:sql_instance"}
            assert "BEGIN CERTIFICATE" not in repr(one)
            assert "LS0tLS1" not in repr(one)  # the same in base64
        seen.update(one.kind for one in inventory.resources)
    if folders:
        assert seen.total() > 60
        assert seen.keys() >= {*_KINDS.values(), "gcp:gke_cluster", "gcp:gke_node_pool"}


def test_all_recordings_together_are_one_project(shared_data: Path, lab: CloudLab) -> None:
    inventory = replay(lab, shared_data / "gcp_recordings")

    assert inventory.problems == []
    ids = Counter(one.resource_id for one in inventory.resources)
    assert set(ids.values()) == {1}
    assert len(ids) == len(GcpRecordings(shared_data / "gcp_recordings").assets)


def test_a_link_that_was_cut_short_is_put_together_from_its_place(lab: CloudLab, tmp_path: Path) -> None:
    item = {"kind": "compute#instance", "name": "a", "status": "RUNNING", "selfLink": "https://www.googleapis.com/"}
    body = {"kind": "compute#instanceAggregatedList", "items": {"zones/us-east4-c": {"instances": [item]}}}
    file = tmp_path / "get-compute-v1-projects-cloud-custodian-aggregated-instances_1.json"
    file.write_text(json.dumps({"headers": {"status": "200"}, "body": body}))

    (instance,) = replay(lab, tmp_path).resources

    assert instance.resource_id == "//compute.googleapis.com/projects/cloud-custodian/zones/us-east4-c/instances/a"
    assert (instance.region, instance.metadata["zone"]) == ("us-east4", "us-east4-c")


def test_an_error_or_another_things_answer_holds_no_resource(lab: CloudLab, tmp_path: Path) -> None:
    for n, body in enumerate(({"error": {"code": 403}}, {"kind": "compute#operation", "name": "op"}, {}, None, "")):
        (tmp_path / f"get-v1-x_{n}.json").write_text(json.dumps({"headers": {}, "body": body}))

    assert replay(lab, tmp_path) == Inventory()
