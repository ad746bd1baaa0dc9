from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest

from optiinfra_dagster.lab import CloudLab
from optiinfra_dagster.lab.azure.kind import PLANTED
from optiinfra_dagster.lab.azure.services import KINDS
from optiinfra_dagster.lab.azure.world import AzureFleet
from optiinfra_dagster.providers.azure import services as product

ONE, TWO, CLOSED = (f"{n}0000000-aaaa-4000-8000-000000000000" for n in (1, 2, 3))
QUERY = "Resources | where type in~ ('microsoft.compute/virtualmachines') | project id, type | order by id asc"


def noon() -> datetime:
    """The time in the labs: metrics of `SPAN` are there for 93 days."""
    return datetime(2026, 11, 20, 12, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def lab() -> Iterator[CloudLab]:
    machines = [{"kind": "azure:vm", "region": "westeurope", "count": 3, "disks": 2}]
    subscriptions = [
        {"id": ONE, "fleets": [*machines, {"kind": "azure:sql_server", "region": "westeurope"}]},
        {"id": TWO, "fleets": machines},
        {"id": CLOSED, "fleets": machines, "actions": []},
    ]
    with CloudLab({"azure": {"subscriptions": subscriptions, "quota": 1000}}, now=noon) as lab:
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


def test_kinds_are_named_as_the_product_names_them() -> None:
    assert {name: product.KINDS[name].azure_type.lower() for name in KINDS} == {
        kind.name: kind.azure_type.lower() for kind in KINDS.values()
    }


def test_all_that_the_product_asks_of_a_kind_is_measured() -> None:
    for kind in KINDS.values():
        measured = {metric.name for metric in kind.metrics}
        assert {metric.api_metric for metric in product.KINDS[kind.name].metrics} <= measured, kind.name


def test_a_misspelt_kind_is_an_error() -> None:
    with pytest.raises(ValueError, match="the kind is 'azure:vms', and must be one of azure:vm, azure:vmss"):
        AzureFleet.model_validate({"kind": "azure:vms", "region": "eastus"})


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


# --- Azure Monitor ----------------------------------------------------------------------------------------------------

CPU, MEMORY = "Percentage CPU", "Available Memory Percentage"
SPAN = {"starttime": "2026-11-20T11:30:00Z", "endtime": "2026-11-20T12:00:00Z"}


def machines(count: int = 3, subscription: str = ONE) -> list[str]:
    group = f"/subscriptions/{subscription}/resourceGroups/main/providers/Microsoft.Compute/virtualMachines"
    return [f"{group}/vm-{n:03d}" for n in range(1, count + 1)]


def monitor(
    lab: CloudLab, path: str, body: dict[str, Any] | None, **query: str | int
) -> tuple[int, dict[str, Any], dict[str, str]]:
    connection = HTTPConnection(urlsplit(lab.url).netloc, timeout=10)
    known: dict[str, str | int] = {
        "api-version": "2024-02-01",
        "interval": "PT5M",
        "metricnamespace": "Microsoft.Compute/virtualMachines",
        "metricnames": CPU,
        "aggregation": "Average",
    }
    asked = urlencode({name: value for name, value in (known | query).items() if value != ""})
    sent = None if body is None else json.dumps(body)
    connection.request("GET" if body is None else "POST", f"{path}?{asked}", sent)
    answer = connection.getresponse()
    data = json.loads(answer.read())
    connection.close()
    return answer.status, data, dict(answer.headers)


def batch(lab: CloudLab, ids: list[str], **query: str | int) -> tuple[int, dict[str, Any], dict[str, str]]:
    subscription = ids[0].split("/")[2] if ids else ONE
    return monitor(lab, f"/subscriptions/{subscription}/metrics:getBatch", {"resourceids": ids}, **(SPAN | query))


def scope(lab: CloudLab, **query: str | int) -> tuple[int, dict[str, Any], dict[str, str]]:
    path = f"/subscriptions/{ONE}/providers/Microsoft.Insights/metrics"
    known: dict[str, str | int] = {"region": "westeurope", "timespan": "/".join(SPAN.values())}
    return monitor(lab, path, {}, **(known | query))


def test_a_batch_tells_the_metrics_of_each_resource(lab: CloudLab) -> None:
    status, answer, _ = batch(lab, machines(), metricnames=f"{CPU},{MEMORY}", aggregation="Average,Maximum")

    assert status == 200
    assert [one["resourceid"] for one in answer["values"]] == machines()
    assert (answer["values"][0]["interval"], answer["values"][0]["resourceregion"]) == ("PT5M", "westeurope")
    for one in answer["values"]:
        assert [metric["name"]["value"] for metric in one["value"]] == [CPU, MEMORY]
        for metric in one["value"]:
            assert metric["errorCode"] == "Success"
            (series,) = metric["timeseries"]
            assert [point["timeStamp"][11:16] for point in series["data"]] == [f"11:{n}" for n in range(30, 60, 5)]
            assert all(point["average"] <= point["maximum"] for point in series["data"])
    start, end = (datetime.fromisoformat(one) for one in SPAN.values())
    truth = lab.azure.metrics.expected(machines()[0], CPU, "Average", start, end)
    points = answer["values"][0]["value"][0]["timeseries"][0]["data"]
    assert [point["average"] for point in points] == list(truth.values())


def test_values_depend_on_the_world_alone(lab: CloudLab) -> None:
    fleets = [{"kind": "azure:vm", "region": "westeurope", "count": 3, "disks": 2}]
    with CloudLab({"azure": {"subscriptions": [{"id": ONE, "fleets": fleets}]}}, now=noon) as again:
        assert batch(again, machines())[1] == batch(lab, machines())[1]
    with CloudLab({"seed": 2, "azure": {"subscriptions": [{"id": ONE, "fleets": fleets}]}}, now=noon) as other:
        assert batch(other, machines())[1] != batch(lab, machines())[1]


def test_a_coarser_grain_holds_the_same_samples(lab: CloudLab) -> None:
    name = {"metricnames": "Network In Total", "aggregation": "Total"}
    fine, coarse = (
        [
            point["total"]
            for point in batch(lab, machines(1), interval=one, **name)[1]["values"][0]["value"][0]["timeseries"][0][
                "data"
            ]
        ]
        for one in ("PT1M", "PT15M")
    )

    assert [sum(fine[:15]), sum(fine[15:])] == coarse


@pytest.mark.parametrize(
    ("ids", "query", "code"),
    [
        (machines(51), {}, "BadRequest"),
        ([], {}, "BadRequest"),
        ([*machines(1), *machines(1, TWO)], {}, "BadRequest"),
        ([*machines(1), f"/subscriptions/{ONE}/resourceGroups/main/providers/Microsoft.Sql/servers/sql-server-001"], {},
         "BadRequest"),
        (machines(4), {}, "ResourceNotFound"),
        (machines(1), {"api-version": "2018-01-01"}, "UnsupportedApiVersion"),
        (machines(1), {"metricnames": ""}, "BadRequest"),
        (machines(1), {"metricnames": ",".join([CPU] * 21)}, "BadRequest"),
        (machines(1), {"metricnames": "cpu_percent"}, "BadRequest"),
        (machines(1), {"metricnamespace": "Microsoft.Sql/servers"}, "BadRequest"),
        (machines(1), {"interval": "PT7M"}, "BadRequest"),
        (machines(1), {"aggregation": "Median"}, "BadRequest"),
        (machines(1), {"starttime": "yesterday"}, "BadRequest"),
        (machines(1), {"starttime": "2026-11-20T12:00:00Z"}, "BadRequest"),
        (machines(1, CLOSED), {}, "AuthorizationFailed"),
    ],
)  # fmt: skip
def test_a_batch_that_azure_would_refuse_is_refused(
    lab: CloudLab, ids: list[str], query: dict[str, str], code: str
) -> None:
    status, answer, _ = batch(lab, ids, **query)

    assert status == {"AuthorizationFailed": 403, "ResourceNotFound": 404}.get(code, 400)
    assert answer["error"]["code"] == code


def test_a_batch_of_two_regions_is_refused() -> None:
    fleets = [{"kind": "azure:vm", "region": one, "name": one, "disks": 0} for one in ("eastus", "westus")]
    with CloudLab({"azure": {"subscriptions": [{"id": ONE, "fleets": fleets}]}}, now=noon) as lab:
        ids = [one.replace("vm-001", region) for one in machines(1) for region in ("eastus", "westus")]

        assert batch(lab, ids)[0] == 400
        assert batch(lab, ids[:1])[0] == 200


def test_the_body_names_resources_in_lower_case(lab: CloudLab) -> None:
    path = f"/subscriptions/{ONE}/metrics:getBatch"

    assert monitor(lab, path, {"resourceIds": machines(1)}, **SPAN)[0] == 400


def test_an_unknown_metric_is_refused_with_the_words_of_azure(lab: CloudLab) -> None:
    _, answer, _ = batch(lab, machines(1), metricnames=f"{CPU},Nonsense")

    message = answer["error"]["message"]
    assert "resource Type: virtualmachines, metric: Nonsense, Valid metrics: Percentage CPU," in message


def test_without_a_filter_a_subscription_has_one_series(lab: CloudLab) -> None:
    _, answer, _ = scope(lab)

    (metric,) = answer["value"]
    (series,) = metric["timeseries"]
    assert (series["metadatavalues"], len(series["data"])) == ([], 6)


def test_a_filter_splits_by_resource_and_the_first_ten_are_shown_unless_top_is_set() -> None:
    fleets = [{"kind": "azure:vm", "region": "westeurope", "count": 12, "disks": 0}]
    with CloudLab({"azure": {"subscriptions": [{"id": ONE, "fleets": fleets}]}}, now=noon) as lab:
        every = {"filter": "Microsoft.ResourceId eq '*'"}
        some = {"filter": " or ".join(f"Microsoft.ResourceId eq '{one}'" for one in machines(2))}
        shown = [scope(lab, **query)[1]["value"][0]["timeseries"] for query in (every, every | {"top": 50}, some)]
        path = f"{machines(1)[0]}/providers/Microsoft.Insights/metrics"
        _, alone, _ = monitor(lab, path, None, timespan="/".join(SPAN.values()))

    assert [len(one) for one in shown] == [10, 12, 2]
    (label,) = shown[0][0]["metadatavalues"]
    assert (label["name"]["value"], label["value"]) == ("Microsoft.ResourceId", machines(1)[0].lower())
    assert alone["value"][0]["timeseries"][0]["data"] == shown[0][0]["data"]


def test_what_does_not_run_has_points_without_values() -> None:
    fleets = [{"kind": "azure:vm", "region": "westeurope", "state": "deallocated", "disks": 0}]
    with CloudLab({"azure": {"subscriptions": [{"id": ONE, "fleets": fleets}]}}, now=noon) as lab:
        _, answer, _ = batch(lab, machines(1))

    points = answer["values"][0]["value"][0]["timeseries"][0]["data"]
    assert [point.keys() for point in points] == [{"timeStamp"}] * 6


@pytest.mark.parametrize("mode", ["missing", "low"])
def test_late_samples_come_in_the_end(mode: str) -> None:
    now = [datetime(2026, 11, 20, 12, 1, tzinfo=UTC)]
    fleets = [{"kind": "azure:vm", "region": "westeurope", "count": 3, "disks": 0}]
    with CloudLab({"azure": {"subscriptions": [{"id": ONE, "fleets": fleets}]}}, now=lambda: now[0]) as lab:
        final = batch(lab, machines())[1]
        lab.control.add_faults({"action": "late", "service": "monitor", "seconds": 720, "mode": mode})
        early = batch(lab, machines())[1]
        now[0] += timedelta(minutes=12)

        assert early != final == batch(lab, machines())[1]


def test_throttling_is_429_or_529_with_the_time_to_wait(lab: CloudLab) -> None:
    lab.control.reset()
    lab.control.add_faults(
        {"action": "throttle", "operation": "getBatch", "seconds": 12, "times": 1},
        {"action": "throttle", "operation": "getBatch", "mode": "529", "skip": 1, "times": 1},
        {"action": "partial", "operation": "getBatch", "every": 2, "skip": 2, "times": 1},
        {"action": "partial", "operation": "getBatch", "every": 3, "mode": "InternalServerError", "skip": 3},
    )

    answers = [batch(lab, machines()) for _ in range(4)]

    assert [status for status, *_ in answers] == [429, 529, 200, 200]
    assert [headers.get("Retry-After") for *_, headers in answers] == ["12", None, None, None]
    assert [one["resourceid"] for one in answers[2][1]["values"]] == [machines()[0], machines()[2]]
    codes = [one["value"][0]["errorCode"] for one in answers[3][1]["values"]]
    assert codes == ["InternalServerError", "Success", "Success"]
    calls = lab.control.calls()
    assert calls.count("monitor", "getBatch", ONE, "westeurope", 529) == 1
    assert calls.billed_metrics == {ONE: 4}
    lab.control.reset()


# --- Cost Management --------------------------------------------------------------------------------------------------

COST = {
    "type": "ActualCost",
    "timeframe": "Custom",
    "timePeriod": {"from": "2026-10-01T00:00:00Z", "to": "2026-10-31T23:59:59Z"},
    "dataset": {
        "granularity": "Daily",
        "aggregation": {"totalCost": {"name": "Cost", "function": "Sum"}},
        "grouping": [{"type": "Dimension", "name": "ServiceName"}, {"type": "Dimension", "name": "ResourceId"}],
    },
}


def costs(lab: CloudLab, body: dict[str, Any], more: str = "") -> tuple[int, dict[str, Any], dict[str, str]]:
    path = f"subscriptions/{ONE}/providers/Microsoft.CostManagement/query"
    return monitor(lab, f"/{path}", body, **({"api-version": "2025-03-01"} | dict(parse_qsl(more))))


@pytest.fixture
def billing() -> Iterator[CloudLab]:
    fleets = [{"kind": "azure:vm", "region": "westeurope", "count": 3}]
    world = {"azure": {"subscriptions": [{"id": ONE, "fleets": fleets}], "cost_page": 200}}
    with CloudLab(world, now=lambda: datetime(2026, 11, 20, 12, tzinfo=UTC)) as lab:
        yield lab


def test_a_cost_query_is_paged_by_a_link_that_takes_the_same_query_again(billing: CloudLab) -> None:
    _, first, _ = costs(billing, COST)
    link = urlsplit(first["properties"]["nextLink"])
    _, second, _ = costs(billing, COST, link.query)
    other, refused, _ = costs(billing, COST | {"dataset": {**COST["dataset"], "grouping": []}}, link.query)  # type: ignore[dict-item]

    assert [column["name"] for column in first["properties"]["columns"]] == [
        "Cost", "UsageDate", "ServiceName", "ResourceId", "Currency"
    ]  # fmt: skip
    rows = first["properties"]["rows"] + second["properties"]["rows"]
    assert (len(first["properties"]["rows"]), second["properties"]["nextLink"]) == (200, None)
    assert len(rows) == len({(row[1], row[2], row[3]) for row in rows}) == 31 * 10
    assert (other, refused["error"]["code"]) == (400, "BadRequest")


def test_a_fifth_query_in_a_minute_is_refused_with_the_time_to_wait(billing: CloudLab) -> None:
    answers = [costs(billing, COST) for _ in range(5)]

    assert [status for status, *_ in answers] == [200, 200, 200, 200, 429]
    prefix = "x-ms-ratelimit-microsoft.costmanagement"
    waits = {name: int(value) for name, value in answers[4][2].items() if name.startswith(prefix)}
    assert waits.keys() == {f"{prefix}-{of}-retry-after" for of in ("qpu", "entity", "tenant")}
    assert 55 < max(waits.values()) <= 60


@pytest.mark.parametrize(
    "changed",
    [
        {"timePeriod": {"from": "2026-10-01T00:00:00Z", "to": "2026-11-01T23:59:59Z"}},
        {"timeframe": "MonthToDate"},
        {"dataset": {**COST["dataset"], "grouping": [{"name": "ServiceName"}] * 3}},  # type: ignore[dict-item]
    ],
)
def test_a_query_that_cost_management_would_not_answer_is_refused(billing: CloudLab, changed: dict[str, Any]) -> None:
    assert costs(billing, COST | changed)[0] == 400
