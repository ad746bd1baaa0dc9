"""The dashboards for Grafana: each panel's query runs on a filled place, and what it says of costs is what readers say.

No Grafana is started: macros and variables are replaced as the ClickHouse data source and Grafana document it.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from optiinfra_dagster.model import windows
from optiinfra_dagster.model.inventory import ResourceType
from optiinfra_dagster.model.metrics import Coverage, CoverageState, Series
from optiinfra_dagster.model.slices import SliceResult, SliceStatus
from optiinfra_dagster.storage import reader_writer, schema
from optiinfra_dagster.storage.clickhouse import ClickHouse, fetch
from optiinfra_dagster.storage.reading import Query, as_records, read_rows
from optiinfra_dagster.storage.rows import performance_rows
from optiinfra_dagster.storage.sql import readers
from optiinfra_dagster.storage.writer import Writer
from tests.storage.test_application_readers import interaction, sample
from tests.storage.test_application_readers import publish as publish_answers
from tests.support.bills import charge, publish_bill
from tests.support.engines import kept_open
from tests.support.pictured import WINDOW, filled
from tests.support.samples import CPU, EARLY, resource

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pyarrow as pa

    from tests.support.spine import Spine

FOLDER = Path(__file__).parents[1] / "deploy" / "grafana"
BOARDS: Mapping[str, dict[str, Any]] = {path.stem: json.loads(path.read_text()) for path in FOLDER.glob("*.json")}
FIRST, LAST = WINDOW - timedelta(days=60), WINDOW + timedelta(hours=3)


def panels() -> Iterator[tuple[str, dict[str, Any]]]:
    for name, board in sorted(BOARDS.items()):
        for panel in board["panels"]:
            yield name, panel


PANELS = {f"{name}: {panel['title']}": panel for name, panel in panels()}


# --- As Grafana does it ----------------------------------------------------------------------------------------------


def _filter(column: str, first: datetime, last: datetime) -> str:
    return f"{column} >= toDateTime({int(first.timestamp())}) AND {column} <= toDateTime({int(last.timestamp())})"


def _quoted(values: Sequence[str]) -> str:
    """The format `singlequote` of a variable."""
    return ",".join("'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'" for value in values)


def expanded(sql: str, values: Mapping[str, Sequence[str]], first: datetime = FIRST, last: datetime = LAST) -> str:
    """A query as it reaches ClickHouse: variables first, then macros; neither is left."""
    sql = re.sub(r"\$\{(\w+):singlequote\}", lambda found: _quoted(values[found[1]]), sql)
    sql = re.sub(r"\$__timeFilter\((\w+)\)", lambda found: _filter(found[1], first, last), sql)
    for macro, at in (("fromTime", first), ("toTime", last)):
        sql = re.sub(rf"\$__{macro}\b", f"toDateTime({int(at.timestamp())})", sql)
    assert "$" not in sql, sql
    return sql


@pytest.fixture(scope="module")
def spine() -> Spine:
    return filled()


def run(spine: Spine, sql: str, values: Mapping[str, Sequence[str]], **times: datetime) -> pa.Table:
    return run_at(spine.clickhouse, sql, values, **times)


def run_at(clickhouse: ClickHouse, sql: str, values: Mapping[str, Sequence[str]], **times: datetime) -> pa.Table:
    with clickhouse.session() as client:
        return fetch(client, expanded(sql, values, **times), {})


def values_of(spine: Spine, board: Mapping[str, Any]) -> dict[str, Sequence[str]]:
    """What the variables of a dashboard stand for when it is opened: all values, or of a single one the first."""
    values: dict[str, Sequence[str]] = {}
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            rows = run(spine, variable["query"], values)
            found = [str(value) for value in rows.column(0).to_pylist()]
            assert found, variable["name"]
            values[variable["name"]] = found if variable["multi"] else found[:1]
    return values


@pytest.fixture(scope="module")
def values(spine: Spine) -> dict[str, dict[str, Sequence[str]]]:
    return {name: values_of(spine, board) for name, board in BOARDS.items()}


def query_of(title: str) -> str:
    sql: str = PANELS[title]["targets"][0]["rawSql"]
    return sql


# --- Every panel -----------------------------------------------------------------------------------------------------


def test_the_dashboards_are_these() -> None:
    assert set(BOARDS) == {"cost", "performance", "quality", "operations"}
    assert len({board["uid"] for board in BOARDS.values()}) == len(BOARDS)


@pytest.mark.parametrize("title", PANELS)
def test_every_query_runs_and_finds_what_is_there(
    spine: Spine, values: Mapping[str, Mapping[str, Sequence[str]]], title: str
) -> None:
    panel = PANELS[title]
    rows = run(spine, query_of(title), values[title.partition(":")[0]])
    assert rows.num_rows or title in {"cost: Allocation by tag, the 30 days to yesterday", "cost: Rightsizing"}, title
    if panel["type"] == "timeseries":
        times = rows["time"].to_pylist()
        assert times == sorted(times)
        kinds = [str(field.type) for field in rows.schema][1:]
        assert any(kind.startswith(("double", "decimal", "uint")) for kind in kinds), kinds
        assert sum(kind in {"string", "large_string"} for kind in kinds) <= 1


@pytest.mark.parametrize("title", PANELS)
def test_a_time_without_data_and_a_bad_value_are_no_error(spine: Spine, title: str) -> None:
    """A stat says that there is nothing, with null and never with an amount of 0."""
    names = re.findall(r"\$\{(\w+):singlequote\}", query_of(title))
    nobody = {name: ["it's \\ nobody"] for name in names}
    long_ago = datetime(2020, 1, 1, tzinfo=UTC)
    rows = run(spine, query_of(title), nobody, first=long_ago, last=long_ago + timedelta(days=1))
    if PANELS[title]["type"] == "stat":
        (row,) = rows.to_pylist()
        assert row.get("amount") is None
    else:
        assert rows.num_rows == 0


@pytest.mark.parametrize("name", BOARDS)
def test_a_dashboard_is_whole(name: str) -> None:
    """What Grafana does not say when it loads one: ids, places, variables and the data source of each panel."""
    board = BOARDS[name]
    its = board["panels"]
    assert len({panel["id"] for panel in its}) == len(its)
    assert len({panel["title"] for panel in its}) == len(its)
    variables = {variable["name"] for variable in board["templating"]["list"]}
    source = {"type": "grafana-clickhouse-datasource", "uid": "${datasource}"}
    for panel in its:
        (target,) = panel["targets"]
        assert panel["datasource"] == target["datasource"] == source
        assert set(re.findall(r"\$\{(\w+)", target["rawSql"])) <= variables
        assert target["editorType"] == "sql"
        assert target["format"] == (0 if panel["type"] == "timeseries" else 1)
        assert "${customer:singlequote}" in target["rawSql"]
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
    for one, other in combinations((panel["gridPos"] for panel in its), 2):
        apart = (
            one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        )  # fmt: skip
        assert apart, (one, other)


# --- Costs are the readers' ------------------------------------------------------------------------------------------


def reader_rows(spine: Spine, name: str, **wanted: Any) -> list[dict[str, Any]]:
    result = read_rows(spine.clickhouse, spine.settings, Query("cost", name, "acme"), as_records)
    assert result.rows is not None
    return [row for row in result.rows if all(row[key] == value for key, value in wanted.items())]


def added(rows: Sequence[Mapping[str, Any]], column: str = "amount") -> Decimal | None:
    known = [row[column] for row in rows if row[column] is not None]
    return sum(known, Decimal(0)) if known else None


@pytest.mark.parametrize("currency", ["USD", "EUR"])
@pytest.mark.parametrize(
    ("title", "period"),
    [("cost: Month to date", "month_to_date"), ("cost: The 30 days to yesterday", "last_30_days")],
)
def test_totals_are_the_summarys(spine: Spine, title: str, period: str, currency: str) -> None:
    every = reader_rows(spine, "summary", currency=currency)
    rows = [row for row in every if row["period"] == period]
    (shown,) = run(spine, query_of(title), {"customer": ["acme"], "currency": [currency]}).to_pylist()
    for column in ("amount", "billed", "estimated", "arriving"):
        assert shown[column] == (added(rows, column) if rows or column == "amount" else 0)
    # Of an account that other periods have a row of, and this one none, nothing is known.
    accounts = {(row["provider"], row["sub_account_id"]) for row in every}
    unknown = len(accounts) - sum(row["amount"] is not None for row in rows)
    assert shown["accounts unknown"] == unknown
    assert shown["complete"] == (bool(rows) and not unknown and all(row["complete"] for row in rows))
    assert shown["oldest as of"] == min((row["as_of"] for row in rows), default=None)


@pytest.mark.parametrize("currency", ["USD", "EUR"])
def test_days_are_those_of_the_trends(spine: Spine, currency: str) -> None:
    shown = run(spine, query_of("cost: Cost by day"), {"customer": ["acme"], "currency": [currency]}).to_pylist()
    by_day = {row["time"].date(): row for row in shown}
    rows = reader_rows(spine, "trends", currency=currency, period="day")
    first = min(row["period_start"] for row in rows)
    for row in rows:
        found = by_day.pop(row["period_start"], {})
        for kind in ("billed", "estimated", "arriving"):
            assert found.get(kind, 0) == row[kind], (row["period_start"], kind)
    assert all(day < first for day in by_day)


@pytest.mark.parametrize("currency", ["USD", "EUR"])
def test_services_and_accounts_and_waste_are_the_readers(spine: Spine, currency: str) -> None:
    values = {"customer": ["acme"], "currency": [currency]}
    shown = run(spine, query_of("cost: Dearest services, the 30 days to yesterday"), values).to_pylist()
    rows = reader_rows(spine, "by_service", currency=currency, period="last_30_days")
    assert {row["service"]: row["billed"] + row["estimated"] for row in shown} == {
        f"{row['service_name']} ({row['provider']})": row["billed"] + row["estimated"] for row in rows
    }
    accounts = run(spine, query_of("cost: Accounts"), values).to_pylist()
    assert sorted((row["period"], row["sub_account_id"], str(row["amount"])) for row in accounts) == sorted(
        (row["period"], row["sub_account_id"], str(row["amount"]))
        for row in reader_rows(spine, "summary", currency=currency)
    )
    wasted = [row for row in reader_rows(spine, "waste") if row["currency"] in {currency, ""}]
    (stat,) = run(spine, query_of("cost: Waste a month"), values).to_pylist()
    assert stat["amount"] == added(wasted, "monthly_amount")
    assert stat["resources"] == len(wasted)
    assert stat["without a price"] == sum(row["monthly_amount"] is None for row in wasted)


# --- Customers, names and judges beside each other -------------------------------------------------------------------

HOUR = WINDOW.replace(minute=0)
BOTH: Mapping[str, Sequence[str]] = {
    "customer": ["acme", "globex"],
    "provider": ["aws"],
    "metric": ["cpu_utilization"],
    "statistic": ["average"],
    "application": ["chat"],
}


def measured(customer: str, *machines: tuple[str, str, str, Sequence[float], int]) -> SliceResult:
    """Points five minutes apart of machines: id, name, instance, values, and after how many minutes they begin."""
    series = [
        Series(
            resource(name, resource_name=called, instance_uid=uid), CPU, "average",
            [int(HOUR.timestamp()) + 60 * begin + 300 * n for n in range(len(of_one))], list(of_one),
        )
        for name, called, uid, of_one, begin in machines
    ]  # fmt: skip
    span = [HOUR + n * timedelta(minutes=15) for n in range(4)]
    rows = performance_rows(customer, "aws", series, EARLY)
    return SliceResult(customer, "aws", span, SliceStatus.OK, rows=rows)


@pytest.fixture(scope="module")
def alike(tmp_path_factory: pytest.TempPathFactory) -> ClickHouse:
    """Two customers with machines, applications and models of the same names, a new judge, and a replaced machine."""
    clickhouse = kept_open(tmp_path_factory.mktemp("alike") / "clickhouse")
    last = HOUR + timedelta(minutes=45)
    with clickhouse.session():
        acme = measured(
            "acme", ("i-1", "web", "a", [10.0] * 12, 0), ("i-2", "web", "b", [90.0] * 12, 0),
            ("i-3", "db", "old", [50.0] * 6, 0), ("i-3", "db", "new", [50.0] * 6, 30),
        )  # fmt: skip
        states = [
            Coverage("i-1", ResourceType.COMPUTE, "response_time", CoverageState.NOT_COLLECTED, "no such metric"),
            Coverage("i-1", ResourceType.COMPUTE, "cpu_utilization", CoverageState.COLLECTED),
        ]
        acme = SliceResult("acme", "aws", acme.windows, SliceStatus.OK, rows=acme.rows, coverage=states)
        globex = measured("globex", ("i-1", "web", "a", [20.0] * 3, 45))
        Writer(clickhouse, schema.PERFORMANCE).flush([acme, globex])
        rows = []
        for customer, label in (("acme", "excellent"), ("globex", "very_poor")):
            of: dict[str, Any] = {"customer_id": customer}
            rows += [*interaction(1, {"coherence": label}, last, **of), sample(10, last, usd="0.5", **of)]
        judge: dict[str, Any] = {"customer_id": "acme", "judge_version": "v0"}
        rows += [*interaction(2, {"coherence": "poor"}, HOUR, **judge), sample(10, HOUR, usd="0.25", **judge)]
        rows.append(sample(10, last, usd=None, customer_id="globex", model_name="m-2"))
        publish_answers(clickhouse, rows)
        yesterday = WINDOW.date() - timedelta(days=1)
        for account, first in (("one", 0), ("two", 1)):
            days = [yesterday - timedelta(days=n) for n in range(first, 3)]
            publish_bill(clickhouse, days, [charge(day, "1", account=account) for day in days], read=[account])
        for family, name in (
            ("performance", "hourly"), ("performance", "summary"), ("application", "summary"), ("cost", "days"),
        ):  # fmt: skip
            reader = readers()[family, name]
            reader_writer.compute(clickhouse, reader, [windows.floor_to(reader.length, last)])
    return clickhouse


def of_panel(clickhouse: ClickHouse, title: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = run_at(clickhouse, query_of(title), BOTH).to_pylist()
    return rows


@pytest.mark.parametrize(
    "title",
    [t for t, p in PANELS.items() if p["type"] == "timeseries" and t.split(":")[0] in {"performance", "quality"}],
)
def test_a_line_is_of_one_thing(alike: ClickHouse, title: str) -> None:
    """Two rows of one time and label are one point to Grafana."""
    rows = of_panel(alike, title)
    lines = [tuple(value for value in row.values() if isinstance(value, str | datetime)) for row in rows]
    assert lines
    assert len(set(lines)) == len(lines)


def test_machines_of_one_name_are_lines_of_their_own(alike: ClickHouse) -> None:
    rows = of_panel(alike, "performance: The ten resources with the highest mean")
    assert {row["resource"]: row["mean"] for row in rows} == {
        "acme: web (aws) i-1": 10, "acme: web (aws) i-2": 90, "acme: db (aws)": 50, "globex: web (aws)": 20,
    }  # fmt: skip


def test_a_mean_of_customers_is_that_of_their_points(alike: ClickHouse) -> None:
    (row,) = of_panel(alike, "performance: By type of resource")
    # Of the hour's last quarter: 3 points of each of acme's three machines, and 3 of globex'.
    assert row["mean"] == pytest.approx((10 + 90 + 50 + 20) / 4)
    assert row["p95"] == pytest.approx(90)


def test_a_machine_that_was_replaced_is_known_in_both_halves_of_the_hour(alike: ClickHouse) -> None:
    (row,) = of_panel(alike, "performance: How much of each hour is known")
    assert row["known"] == pytest.approx((12 + 12 + 12 + 3) / 48)


def test_scores_of_customers_and_judges_are_not_mixed(alike: ClickHouse) -> None:
    rows = of_panel(alike, "quality: Coherence")
    assert {row["of"]: row["mean"] for row in rows} == {
        "acme: chat, m-1 (aws), judged by judge v0": 0.25, "acme: chat, m-1 (aws), judged by judge v1": 1,
        "globex: chat, m-1 (aws)": 0, "globex: chat, m-2 (aws)": None,
    }  # fmt: skip


def test_a_price_that_is_not_known_makes_what_judging_costs_unknown(alike: ClickHouse) -> None:
    rows = of_panel(alike, "quality: What judging costs")
    assert {row["of"]: row["usd"] for row in rows} == {"acme: chat": Decimal("0.5"), "globex: chat": None}


def test_a_day_of_which_an_account_lacks_is_known_in_part(alike: ClickHouse) -> None:
    """It has no row of the day."""
    rows = of_panel(alike, "cost: How much of each day is known")
    assert [row["known"] for row in rows] == [1, 1, 0.5]
    assert rows[-1]["time"].date() == WINDOW.date() - timedelta(days=1)


def test_every_state_of_coverage_is_shown(alike: ClickHouse) -> None:
    (row,) = of_panel(alike, "operations: Metrics by state")
    assert {name: n for name, n in row.items() if n} == {"of": "aws compute", "collected": 1, "not collected": 1}
