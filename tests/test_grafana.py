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

from optiinfra_dagster.storage.clickhouse import fetch
from optiinfra_dagster.storage.reading import Query, as_records, read_rows
from tests.support.pictured import WINDOW, filled

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
    with spine.clickhouse.session() as client:
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
    rows = reader_rows(spine, "summary", currency=currency, period=period)
    (shown,) = run(spine, query_of(title), {"customer": ["acme"], "currency": [currency]}).to_pylist()
    for column in ("amount", "billed", "estimated", "arriving"):
        assert shown[column] == (added(rows, column) if rows or column == "amount" else 0)
    assert shown["accounts unknown"] == sum(row["amount"] is None for row in rows)
    if rows:
        assert shown["complete"] == all(row["complete"] for row in rows)
        assert shown["oldest as of"] == min(row["as_of"] for row in rows)


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
