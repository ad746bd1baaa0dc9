from __future__ import annotations

import json
from collections.abc import Iterator
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import pytest

from optiinfra_dagster.lab import CloudLab
from optiinfra_dagster.lab.azure.estate import PLANTED

ONE, TWO, CLOSED = (f"{n}0000000-aaaa-4000-8000-000000000000" for n in (1, 2, 3))
QUERY = "Resources | where type in~ ('microsoft.compute/virtualmachines') | project id, type | order by id asc"


@pytest.fixture(scope="module")
def lab() -> Iterator[CloudLab]:
    machines = [{"kind": "azure:vm", "region": "westeurope", "count": 3, "disks": 2}]
    subscriptions = [
        {"id": ONE, "fleets": [*machines, {"kind": "azure:sql_server", "region": "westeurope"}]},
        {"id": TWO, "fleets": machines},
        {"id": CLOSED, "fleets": machines, "actions": []},
    ]
    with CloudLab({"azure": {"subscriptions": subscriptions, "quota": 1000}}) as lab:
        yield lab


def ask(
    lab: CloudLab, query: str = QUERY, *subscriptions: str, **options: Any
) -> tuple[int, dict[str, Any], dict[str, str]]:
    connection = HTTPConnection(urlsplit(lab.url).netloc, timeout=10)
    body = {"subscriptions": subscriptions or [ONE], "query": query, "options": options}
    path = "/providers/Microsoft.ResourceGraph/resources?api-version=2021-03-01"
    connection.request("POST", path, json.dumps(body))
    answer = connection.getresponse()
    data = json.loads(answer.read())
    connection.close()
    return answer.status, data, dict(answer.headers)


def test_a_query_shows_the_columns_that_it_names_and_no_others(lab: CloudLab) -> None:
    columns = "id, size = properties.hardwareProfile.vmSize, disks = array_length(properties.no.disks)"
    status, answer, _ = ask(lab, QUERY.replace("id, type", columns))

    assert status == 200
    assert answer["data"][0].keys() == {"id", "size", "disks"}
    assert (answer["data"][0]["size"], answer["data"][0]["disks"]) == ("Standard_D2s_v5", None)
    assert PLANTED not in json.dumps(answer)
    _, everything, _ = ask(lab, QUERY.replace("id, type", "id, properties"))
    assert PLANTED in json.dumps(everything)


def test_types_and_excluded_ends_of_ids_are_respected(lab: CloudLab) -> None:
    query = (
        "Resources | where type in~ ('microsoft.sql/servers/databases') | where id !endswith '/databases/master' "
        "| project id, size = coalesce(properties.no, sku.name) | order by id asc"
    )
    _, answer, _ = ask(lab, query, ONE, TWO)

    assert [(row["id"].rpartition("/")[2], row["size"]) for row in answer["data"]] == [("db-1", "GP_Gen5")]


def test_subscriptions_stand_in_a_table_of_their_own(lab: CloudLab) -> None:
    query = "ResourceContainers | where type =~ 'microsoft.resources/subscriptions' | project id | order by id asc"
    _, answer, _ = ask(lab, query, ONE, TWO, CLOSED)

    assert [row["id"] for row in answer["data"]] == [f"/subscriptions/{ONE}", f"/subscriptions/{TWO}"]


def test_pages_follow_one_another_in_the_order_of_ids(lab: CloudLab) -> None:
    _, first, _ = ask(lab, QUERY, ONE, TWO, **{"$top": 4})
    _, second, _ = ask(lab, QUERY, ONE, TWO, **{"$top": 4, "$skipToken": first["$skipToken"]})

    found = [row["id"] for row in first["data"] + second["data"]]
    assert found == sorted(set(found))
    assert (len(found), first["totalRecords"], second["count"]) == (6, 6, 2)
    assert "$skipToken" not in second
    assert ask(lab, QUERY, ONE, **{"$skipToken": first["$skipToken"]})[0] == 400


def test_what_may_not_be_read_is_left_out_in_silence(lab: CloudLab) -> None:
    status, answer, _ = ask(lab, QUERY, CLOSED)

    assert (status, answer["data"], answer["totalRecords"]) == (200, [], 0)


@pytest.mark.parametrize(
    ("query", "options"),
    [
        (QUERY, {"$top": 1001}),
        (QUERY, {"$top": 0}),
        (QUERY, {"$skipToken": "nonsense"}),
        (QUERY.replace(" | order by id asc", ""), {}),
        (QUERY.replace("id, type", "name"), {}),
        (QUERY.replace("id, type", "id, properties.vmId"), {}),
    ],
)
def test_a_query_that_would_not_page_stably_is_refused(lab: CloudLab, query: str, options: dict[str, Any]) -> None:
    assert ask(lab, query, ONE, **options)[0] == 400


def test_the_quota_is_told_and_enforced() -> None:
    with CloudLab({"azure": {"quota": 2, "quota_seconds": 60}}) as lab:
        answers = [ask(lab) for _ in range(3)]
        other, *_ = ask(lab, QUERY, TWO)

    assert [status for status, *_ in answers] == [200, 200, 429]
    assert [headers["x-ms-user-quota-remaining"] for *_, headers in answers] == ["1", "0", "0"]
    assert answers[-1][2]["x-ms-user-quota-resets-after"] in {"00:00:59", "00:01:00"}
    assert answers[-1][1]["error"]["code"] == "RateLimiting"
    assert other == 200


def test_calls_are_counted_by_subscription_and_faults_matched(lab: CloudLab) -> None:
    lab.control.reset()
    lab.control.add_faults({"action": "deny", "service": "resourcegraph", "account": TWO, "times": 1})

    statuses = [ask(lab, QUERY, one)[0] for one in (ONE, TWO, TWO)]

    assert statuses == [200, 403, 200]
    calls = lab.control.calls()
    assert calls.count("resourcegraph", "Resources", ONE, status=200) == 1
    assert calls.count("resourcegraph", "Resources", TWO, status=403) == 1
    lab.control.reset()
