"""The lab's Vultr, asked over plain HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from optiinfra_dagster.lab import CloudLab
from optiinfra_dagster.lab.calls import CallKey
from optiinfra_dagster.lab.vultr.metrics import EXPRESSIONS
from optiinfra_dagster.lab.vultr.recordings import Recordings
from optiinfra_dagster.lab.vultr.services import KINDS as LAB_KINDS
from optiinfra_dagster.lab.world import World
from optiinfra_dagster.providers.vultr.services import KINDS

HTTP: httpx.Client
WORLD: dict[str, Any] = {
    "vultr": {
        "accounts": [
            {
                "name": "acme",
                "keys": ["KEY1", "KEY2"],
                "fleets": [
                    {"kind": "vultr:instance", "count": 250},
                    {"kind": "vultr:database", "count": 2, "replicas": 1},
                    {"kind": "vultr:vpc", "count": 3, "name": "net-{n}"},
                ],
            },
            {"name": "locked", "keys": ["KEY3"], "allows_address": False},
            {"name": "small", "keys": ["KEY4"], "acls": ["billing"]},
        ],
        "limit": 1000,
    }
}


@pytest.fixture
def lab() -> Iterator[CloudLab]:
    with CloudLab(WORLD) as lab:
        yield lab


@pytest.fixture(scope="module", autouse=True)
def http() -> Iterator[None]:
    """One client for the module: each costs 20 ms."""
    global HTTP
    with httpx.Client(trust_env=False) as HTTP:
        yield


def get(lab: CloudLab, path: str, key: str = "KEY1", **asked: Any) -> httpx.Response:
    return HTTP.get(f"{lab.url}/v2/{path}", params=asked, headers={"Authorization": f"Bearer {key}"})


def pages(lab: CloudLab, path: str, **asked: Any) -> Iterator[dict[str, Any]]:
    cursor = ""
    while True:
        page = get(lab, path, **asked, **({"cursor": cursor} if cursor else {})).json()
        yield page
        cursor = page["meta"]["links"]["next"]
        if not cursor:
            return


@pytest.mark.parametrize(("asked", "sizes"), [({}, [100, 100, 50]), ({"per_page": 500}, [250])])
def test_a_listing_comes_in_pages_that_cursors_lead_through(
    lab: CloudLab, asked: dict[str, int], sizes: list[int]
) -> None:
    found = list(pages(lab, "instances", **asked))

    assert [len(page["instances"]) for page in found] == sizes
    assert {page["meta"]["total"] for page in found} == {250}
    wanted = [one.id for one in lab.vultr.resources("acme", "vultr:instance")]
    assert [one["id"] for page in found for one in page["instances"]] == wanted


def test_databases_come_in_one_piece_with_their_replicas(lab: CloudLab) -> None:
    answer = get(lab, "databases", per_page=1).json()

    assert answer["meta"] == {"total": 2}
    assert [len(one["read_replicas"]) for one in answer["databases"]] == [1, 1]


@pytest.mark.parametrize(
    ("path", "key", "asked", "status", "text"),
    [
        ("instances", "KEY9", {}, 401, "Invalid API token."),
        ("instances", "KEY3", {}, 401, "Unauthorized IP address: 127.0.0.1"),
        ("instances", "KEY4", {}, 403, "You are not authorized to perform this action"),
        ("instances", "KEY1", {"per_page": 501}, 400, "per_page must be from 1 to 500"),
        ("instances", "KEY1", {"cursor": "?"}, 400, "Invalid cursor"),
        ("nothing", "KEY1", {}, 404, "Invalid route"),
    ],
)
def test_a_refusal_is_in_vultrs_form(
    lab: CloudLab, path: str, key: str, asked: dict[str, Any], status: int, text: str
) -> None:
    answer = get(lab, path, key, **asked)

    assert answer.status_code == status
    assert answer.json() == {"error": text, "status": status}


def test_an_account_names_its_permissions(lab: CloudLab) -> None:
    assert get(lab, "account", "KEY4").json()["account"]["acls"] == ["billing"]
    assert "subscriptions_view" in get(lab, "account", "KEY2").json()["account"]["acls"]


@pytest.mark.parametrize(
    ("action", "status"),
    [("throttle", 429), ("deny", 403), ("error", 500), ("unavailable", 503), ("expired", 401)],
)
def test_faults_are_worded_and_counted(lab: CloudLab, action: str, status: int) -> None:
    lab.control.add_faults({"action": action, "service": "vultr", "operation": "list-instances", "account": "acme"})

    assert get(lab, "instances").status_code == status
    assert get(lab, "vpcs").status_code == 200
    calls = lab.control.calls()
    assert calls.requests == {
        CallKey("vultr", "list-instances", "acme", "", status): 1,
        CallKey("vultr", "list-vpcs", "acme", "", 200): 1,
    }


def test_a_listing_can_be_cut_after_its_first_page(lab: CloudLab) -> None:
    lab.control.add_faults({"action": "error", "operation": "list-instances", "page": 2})
    first = get(lab, "instances")

    assert first.status_code == 200
    assert get(lab, "instances", cursor=first.json()["meta"]["links"]["next"]).status_code == 500


def test_a_throttled_call_may_say_how_long_to_wait(lab: CloudLab) -> None:
    lab.control.add_faults({"action": "throttle", "seconds": 7})

    assert get(lab, "vpcs").headers["Retry-After"] == "7"


def test_a_connection_can_close_without_an_answer(lab: CloudLab) -> None:
    lab.control.add_faults({"action": "disconnect", "times": 1})

    with pytest.raises(httpx.RemoteProtocolError):
        get(lab, "vpcs")
    assert get(lab, "vpcs").status_code == 200


def test_who_asks_too_often_is_refused_whatever_the_key() -> None:
    world = {"vultr": {**WORLD["vultr"], "limit": 30, "second": 60.0}}
    with CloudLab(world) as lab:
        seen = [get(lab, "vpcs", f"KEY{1 + n % 2}").status_code for n in range(33)]

    assert seen == [200] * 30 + [429] * 3
    assert lab.vultr.rate.busiest == 33


def test_identifiers_follow_from_the_seed_and_are_unique() -> None:
    def ids(**more: Any) -> list[str]:
        lab = CloudLab({**WORLD, **more})
        lab.close()
        return [one.id for one in lab.vultr.resources()]

    assert ids() == ids()
    assert len(set(ids())) == len(ids()) == 257
    assert not set(ids()) & set(ids(seed=9))


def test_worlds_that_make_no_sense_are_refused() -> None:
    def load(*accounts: dict[str, Any]) -> None:
        World.load({"vultr": {"accounts": accounts}})

    with pytest.raises(ValidationError, match="stands in two accounts"):
        load({"name": "a", "keys": ["K"]}, {"name": "b", "keys": ["K"]})
    with pytest.raises(ValidationError, match="two Vultr accounts"):
        load({"name": "a"}, {"name": "a"})
    with pytest.raises(ValidationError, match="kind"):
        load({"name": "a", "fleets": [{"kind": "vultr:castle"}]})


# --- Figures ---------------------------------------------------------------------------------------------------------

NOW = datetime(2026, 11, 20, 12, 7, 30, tzinfo=UTC)
FIGURES: dict[str, Any] = {
    "vultr": {
        "accounts": [
            {
                "name": "acme",
                "keys": ["KEY1"],
                "prometheus_token": "T1",
                "fleets": [
                    {"kind": "vultr:instance", "count": 3, "agent": "node_exporter", "created": "2026-11-18T18:00:00Z"},
                    {"kind": "vultr:bare_metal", "created": "2026-01-01T00:00:00Z"},
                    {"kind": "vultr:database", "replicas": 1},
                ],
            },
            {"name": "open", "keys": ["KEY2"]},
        ],
        "limit": 1000,
    }
}
CPU = "100 - 100 * avg by (instance) (rate(node_cpu_seconds_total{mode='idle'}[5m]))"
END = int(NOW.replace(minute=0, second=0).timestamp())


@pytest.fixture
def figures() -> Iterator[CloudLab]:
    with CloudLab(FIGURES, now=lambda: NOW) as lab:
        yield lab


def query(lab: CloudLab, path: str = "", token: str = "T1", **asked: Any) -> httpx.Response:
    url = f"{lab.env['OPTIINFRA_LAB_VULTR_PROMETHEUS']}{path}/api/v1/query_range"
    asked = {"query": CPU, "start": END - 600, "end": END, "step": 300, **asked}
    return HTTP.get(url, params=asked, headers={"Authorization": f"Bearer {token}"} if token else {})


def test_a_database_and_its_replica_tell_their_usage(figures: CloudLab) -> None:
    primary, replica = figures.vultr.resources("acme", "vultr:database")

    answers = [get(figures, f"databases/{one.id}/usage").json() for one in (primary, replica)]

    assert answers[0] == {"usage": figures.vultr.figures.usage(primary, NOW)}
    assert answers[0] != answers[1]
    assert {name: sorted(part) for name, part in answers[0]["usage"].items()} == {
        "disk": ["current_gb", "max_gb", "percentage"],
        "memory": ["current_mb", "max_mb", "percentage"],
        "cpu": ["percentage"],
    }


def test_traffic_is_told_by_the_day_since_a_machine_is_there(figures: CloudLab) -> None:
    one = figures.vultr.resources("acme", "vultr:instance")[0]

    days = get(figures, f"instances/{one.id}/bandwidth", date_range=30).json()["bandwidth"]

    assert list(days) == ["2026-11-18", "2026-11-19", "2026-11-20"]
    assert all(sorted(sums) == ["incoming_bytes", "outgoing_bytes"] for sums in days.values())
    short = get(figures, f"instances/{one.id}/bandwidth", date_range=1).json()["bandwidth"]
    assert short == {day: days[day] for day in ("2026-11-19", "2026-11-20")}
    (metal,) = figures.vultr.resources("acme", "vultr:bare_metal")
    assert len(get(figures, f"bare-metals/{metal.id}/bandwidth", date_range=1).json()["bandwidth"]) == 31


@pytest.mark.parametrize(
    ("path", "asked", "status"),
    [
        ("instances/nobody/bandwidth", {}, 404),
        ("databases/nobody/usage", {}, 404),
        ("instances/{}/bandwidth", {"date_range": 0}, 400),
        ("instances/{}/bandwidth", {"date_range": 181}, 400),
        ("instances/{}/usage", {}, 404),
        ("databases/{}/usage", {}, 404),
    ],
)
def test_figures_that_there_are_not_are_refused(
    figures: CloudLab, path: str, asked: dict[str, Any], status: int
) -> None:
    one = figures.vultr.resources("acme", "vultr:instance")[0]

    assert get(figures, path.format(one.id), **asked).status_code == status


def test_a_prometheus_tells_what_its_agents_told(figures: CloudLab) -> None:
    answer = query(figures).json()

    assert answer["status"] == "success"
    assert answer["data"]["resultType"] == "matrix"
    (*mine, own) = answer["data"]["result"]
    assert own["metric"] == {"instance": "prometheus.internal:9100"}
    machines = figures.vultr.resources("acme", "vultr:instance")
    assert [one["metric"] for one in mine] == [{"instance": f"{one.address('main')}:9100"} for one in machines]
    figure = EXPRESSIONS["100 - 100 * avg (rate(node_cpu_seconds_total{mode='idle'}[5m]))"]
    wanted = figures.vultr.figures.agents(figure, machines, [END - 900, END - 600, END - 300]).tolist()
    assert [[float(value) for _, value in one["values"]] for one in mine] == wanted
    assert [moment for moment, _ in mine[0]["values"]] == [END - 600, END - 300, END]


def test_a_prometheus_knows_no_future(figures: CloudLab) -> None:
    moments = [moment for moment, _ in query(figures, end=END + 3600).json()["data"]["result"][0]["values"]]

    assert moments == [END - 600, END - 300, END, END + 300]


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ({"query": "up"}, "parse error"),
        ({"start": "noon"}, 'invalid parameter "start": cannot parse "noon"'),
        ({"end": END - 601}, "end timestamp must not be before start time"),
        ({"step": 0}, "zero or negative query resolution step widths"),
        ({"start": END - 300 * 11_001}, "exceeded maximum resolution of 11,000 points per timeseries"),
    ],
)
def test_a_query_that_makes_no_sense_is_refused_in_prometheus_form(
    figures: CloudLab, asked: dict[str, Any], text: str
) -> None:
    answer = query(figures, **asked)

    assert answer.status_code == 400
    assert answer.json()["status"] == "error"
    assert answer.json()["errorType"] == "bad_data"
    assert text in answer.json()["error"]


def test_a_prometheus_is_that_of_the_path_or_of_the_token(figures: CloudLab) -> None:
    assert query(figures, "/acme").status_code == 200
    assert query(figures, "/acme", token="T2").status_code == 401
    assert query(figures, "/open", token="").json()["data"]["result"][:-1] == []
    assert query(figures, token="").status_code == 401
    assert figures.control.calls().count("prometheus") == 4


@pytest.mark.parametrize(
    ("action", "status"), [("throttle", 429), ("deny", 403), ("error", 500), ("unavailable", 503), ("expired", 401)]
)
def test_a_prometheus_has_faults_of_its_own(figures: CloudLab, action: str, status: int) -> None:
    figures.control.add_faults({"action": action, "service": "prometheus", "account": "acme"})

    assert query(figures).status_code == status
    assert get(figures, "instances").status_code == 200
    assert figures.control.calls().count("prometheus", "query_range", "acme", status=status) == 1


def test_points_may_come_late(figures: CloudLab) -> None:
    figures.control.add_faults({"action": "late", "service": "prometheus", "seconds": 10**6})

    assert len(query(figures).json()["data"]["result"]) < 4


def test_recorded_answers_come_as_they_were_page_after_page(lab: CloudLab, tmp_path: Path) -> None:
    def listing(name: str) -> dict[str, Any]:
        return {"blocks": [{"id": name}], "meta": {"total": 1, "links": {"next": "thisismycursor", "prev": ""}}}

    (tmp_path / "1.json").write_text(json.dumps([{"test": "List", "path": "", "response": listing("b-1")}]))
    (tmp_path / "2.json").write_text(json.dumps({"block": {"id": "b-2"}}))
    (tmp_path / "3.json").write_text(json.dumps(listing("b-3")))
    (tmp_path / "4.json").write_text(json.dumps({"plans": [{"id": "vc2-1c-1gb"}]}))
    lab.vultr.recordings = Recordings(sorted(tmp_path.iterdir()))

    found = list(pages(lab, "blocks"))

    assert [[one["id"] for one in page["blocks"]] for page in found] == [["b-1"], ["b-2"], ["b-3"], []]
    assert found[2] == listing("b-3")
    assert get(lab, "vfs", "ANY").json()["vfs"] == []


def test_the_lab_and_the_product_have_the_same_kinds() -> None:
    assert set(LAB_KINDS) == set(KINDS)
    for name, kind in KINDS.items():
        shown = LAB_KINDS[name]
        assert (shown.operation, shown.path, shown.key, shown.acl) == (
            kind.operation, kind.path, kind.key, kind.permission
        ), name  # fmt: skip
        assert (shown.call and shown.call.operation) == (kind.resource_call and kind.resource_call.operation), name
