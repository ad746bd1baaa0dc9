"""The row schemas: the same in Arrow and in ClickHouse; the rows that are made of typed results; content hashes."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optiinfra_dagster.model.errors import StorageError
from optiinfra_dagster.model.inventory import ResourceType
from optiinfra_dagster.model.metrics import Series
from optiinfra_dagster.providers.kind import Kind
from optiinfra_dagster.storage import arrow, schema
from optiinfra_dagster.storage.rows import performance_rows, resource_rows, spec_hash
from tests.support.samples import CPU, EARLY, LATE, W, points, resource


def test_the_earlier_systems_columns_are_all_there() -> None:
    earlier = {
        "performance": "timestamp customer_id provider metric_type resource_id resource_name metric_name metric_value "
        "unit metadata workload_type collected_at",
        "resource": "timestamp customer_id provider metric_type resource_id resource_name resource_type status region "
        "utilization capacity unit metadata collected_at",
        "cost": "timestamp customer_id provider instance_id cost_type amount currency",
        "application": "timestamp customer_id provider application_id metric_type score details",
    }
    for name, columns in earlier.items():
        assert set(columns.split()) <= set(schema.DATASETS[name].schema.names)


def test_an_inventory_becomes_one_row_per_resource() -> None:
    created = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    found = [
        resource("i-1", created_at=created, capacity=4.0, unit="vcpu", tags={"b": "ü", "a": "1"}),
        resource("i-2", metadata={"az": "us-east-1a"}),
    ]
    rows = resource_rows("acme", "aws", W, found, EARLY)

    assert rows.schema == schema.RESOURCE.schema
    one, two = rows.to_pylist()
    assert (one["timestamp"], one["window_start"], one["customer_id"], one["metric_type"]) == (
        W,
        W,
        "acme",
        "inventory",
    )
    assert (one["created_at"], one["capacity"], one["tags"]) == (created, 4.0, '{"a":"1","b":"ü"}')
    assert (two["created_at"], two["capacity"], two["utilization"]) == (None, None, None)
    assert (two["metadata"], two["collected_at"]) == ('{"az":"us-east-1a"}', EARLY)


def test_what_is_known_of_a_kind_is_written_with_its_resources_and_is_no_change_of_them() -> None:
    disk = Kind(name="ec2:instance", resource_type=ResourceType.VOLUME, attachable=True, silent_when_idle=True)
    resources = [resource("i-1"), resource("i-2", kind="unheard:of")]

    known = resource_rows("acme", "aws", W, resources, EARLY, {disk.name: disk})
    plain = resource_rows("acme", "aws", W, resources, EARLY)

    assert (known["attachable"].to_pylist(), known["silent_when_idle"].to_pylist()) == ([True, False], [True, False])
    assert (plain["attachable"].to_pylist(), plain["silent_when_idle"].to_pylist()) == ([False, False], [False, False])
    assert known["spec_hash"] == plain["spec_hash"]


def test_half_a_surrogate_pair_costs_its_letter_and_not_the_slice() -> None:
    rows = resource_rows("acme", "aws", W, [resource("i-1", tags={"team": "\ud83d ü"}), resource("i-2")], EARLY)

    assert rows["tags"].to_pylist() == ['{"team":"? ü"}', "{}"]


def test_an_empty_inventory_is_an_empty_table() -> None:
    rows = resource_rows("acme", "aws", W, [], EARLY)
    assert (rows.num_rows, rows.schema) == (0, schema.RESOURCE.schema)
    assert performance_rows("acme", "aws", [], EARLY).schema == schema.PERFORMANCE.schema


@pytest.mark.parametrize(
    ("change", "counts"),
    [
        ({"status": "stopped"}, True),
        ({"resource_type": "volume"}, True),
        ({"capacity": 8.0}, True),
        ({"tags": {"team": "b"}}, True),
        ({"metadata": {"az": "b"}}, True),
        ({"utilization": 50.0}, False),
        ({"tags": {"x": "1", "team": "a"}, "_as": {"tags": {"team": "a", "x": "1"}}}, False),
    ],
)
def test_the_spec_hash_tells_a_change_of_the_resource(change: dict[str, Any], counts: bool) -> None:
    base = {"tags": {"team": "a"}, "capacity": 4.0} | change.pop("_as", {})
    assert (spec_hash(resource("i", **base)) != spec_hash(resource("i", **base | change))) is counts


def test_each_point_is_in_the_window_that_holds_its_time() -> None:
    seconds = [int((W + timedelta(minutes=m)).timestamp()) for m in (14, 0, 15, 44)]
    series = Series(resource("i-1", tags={"workload_type": "web"}), CPU, "average", seconds, [1.0, 2.0, 3.0, 4.0])

    rows = performance_rows("acme", "aws", [series, Series(resource("i-2"), CPU, "p95", [], [])], EARLY).to_pylist()

    assert [(row["window_start"] - W) / timedelta(minutes=15) for row in rows] == [0, 0, 1, 2]
    assert [row["metric_value"] for row in rows] == [1, 2, 3, 4]
    assert {(r["metric_name"], r["unit"], r["period_seconds"], r["workload_type"], r["statistic"]) for r in rows} == {
        ("cpu_utilization", "percent", 300, "web", "average")
    }
    assert rows[0]["metadata"] == '{"api_metric":"CPUUtilization","namespace":"AWS/EC2"}'


def test_the_points_of_a_series_with_a_window_of_its_own_are_all_in_it() -> None:
    days = [int((W - timedelta(days=n)).timestamp()) for n in (2, 1)]
    daily = Series(resource("i-1"), CPU, "daily_average", days, [1.0, 2.0], window=W)
    plain = Series(resource("i-2"), CPU, "average", [int(W.timestamp()) + 900], [3.0])

    rows = performance_rows("acme", "vultr", [plain, daily], EARLY).to_pylist()

    assert [row["window_start"] for row in rows] == [W + timedelta(minutes=15), W, W]
    assert [row["timestamp"] for row in rows] == [
        W + timedelta(minutes=15),
        W - timedelta(days=2),
        W - timedelta(days=1),
    ]


def test_a_state_stands_until_it_is_asked_again() -> None:
    moment, point = [int(W.timestamp())], replace(CPU, period=900)
    series = [Series(resource("i-1"), point, statistic, moment, [1.0]) for statistic in ("snapshot", "average")]
    hourly = performance_rows("acme", "vultr", series, EARLY, poll_seconds=3600).to_pylist()
    assert [(row["statistic"], row["period_seconds"]) for row in hourly] == [("snapshot", 3600), ("average", 900)]
    quarterly = performance_rows("acme", "vultr", series, EARLY, poll_seconds=900).to_pylist()
    assert {row["period_seconds"] for row in quarterly} == {900}


# --- Content hashes --------------------------------------------------------------------------------------------------

values = st.tuples(
    st.sampled_from(["acme", "hooli"]),
    st.sampled_from(["aws", "gcp"]),
    st.integers(0, 2),
    st.sampled_from(["i-1", "i-2"]),
    st.sampled_from([0.0, -1.5, 3e300, float("nan")]),
)


def table_of(rows: list[tuple[Any, ...]]) -> pa.Table:
    return arrow.concat(
        schema.PERFORMANCE,
        [
            points(customer, [W + timedelta(minutes=15 * window)], provider=provider, names=[name], values=[value])
            for customer, provider, window, name, value in rows
        ],
    )


@settings(max_examples=25)
@given(st.lists(values, max_size=12).flatmap(lambda rows: st.tuples(st.just(rows), st.permutations(rows))))
def test_the_order_of_rows_says_nothing(orders: tuple[list[Any], list[Any]]) -> None:
    given_rows, shuffled = (table_of(rows) for rows in orders)
    hashes = arrow.content_hashes(given_rows)

    assert arrow.content_hashes(shuffled) == hashes
    assert sum(rows for rows, _ in hashes.values()) == len(orders[0])
    assert {key: n for key, (n, _) in hashes.items()} == _counted(orders[0])
    for (customer, provider, seconds), content in hashes.items():
        alone = arrow.between(
            arrow.of_slice(given_rows, customer, provider),
            datetime.fromtimestamp(seconds, UTC),
            datetime.fromtimestamp(seconds, UTC),
        )
        assert arrow.content_hashes(alone) == {(customer, provider, seconds): content}


def _counted(rows: list[tuple[Any, ...]]) -> dict[tuple[str, str, int], int]:
    counted: dict[tuple[str, str, int], int] = {}
    for customer, provider, window, *_ in rows:
        key = (customer, provider, int(W.timestamp()) + 900 * window)
        counted[key] = counted.get(key, 0) + 1
    return counted


@settings(max_examples=25)
@given(st.lists(values, min_size=1, max_size=8), st.data())
def test_every_change_of_a_row_changes_the_hash(rows: list[tuple[Any, ...]], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(rows) - 1))
    *identity, name, value = rows[index]
    other_name = "i-2" if name == "i-1" else "i-1"
    other_value = 7.0
    key = (identity[0], identity[1], int(W.timestamp()) + 900 * identity[2])
    before = arrow.content_hashes(table_of(rows))[key]
    for changed in ((*identity, other_name, value), (*identity, name, other_value)):
        assert arrow.content_hashes(table_of([*rows[:index], changed, *rows[index + 1 :]]))[key] != before


def test_when_rows_were_collected_is_not_their_content() -> None:
    early, late = points("acme", [W], collected_at=EARLY), points("acme", [W], collected_at=LATE)
    assert arrow.content_hashes(early) == arrow.content_hashes(late)


def test_duplicates_count() -> None:
    once, thrice = points("acme", [W], values=[1]), points("acme", [W], values=[1], names=["i-1"] * 3)
    [(one, single)] = arrow.content_hashes(once).values()
    [(three, triple)] = arrow.content_hashes(thrice).values()
    assert (one, three) == (1, 3)
    assert single != triple


def test_nothing_has_no_hashes() -> None:
    assert arrow.content_hashes(schema.PERFORMANCE.schema.empty_table()) == {}


def cost_rows(**changes: Any) -> pa.Table:
    """One estimate with an optional figure missing."""
    row: dict[str, Any] = {field.name: "" for field in schema.COST.schema}
    row |= {field.name: W for field in schema.COST.schema if field.type == schema.TIME}
    row |= {field.name: None for field in schema.COST.schema if field.type == schema.AMOUNT}
    row |= {"is_final": True, "is_settled": True, "matched": False, "billing_period": W.date().replace(day=1)}
    row |= {"customer_id": "acme", "cost_kind": "estimated", "amount": Decimal("1.000000001")}
    row |= {"billed_cost": Decimal(2)} | changes
    return arrow.conform(schema.COST, pa.Table.from_pylist([row]))


def test_money_missing_and_zero_are_different_content() -> None:
    hashes = [
        arrow.content_hashes(cost_rows(list_cost=value))
        for value in (None, Decimal(0), Decimal("0.000000001"), Decimal(1))
    ]
    assert len({str(h) for h in hashes}) == 4


def test_rows_read_back_hash_as_they_were_written() -> None:
    """ClickHouse gives plain strings back, not dictionaries."""
    rows = points("acme", [W, W + timedelta(minutes=15)], names=["i-1", "i-2"])
    plain = pa.table({name: arrow.plain(rows[name]) for name in reversed(rows.column_names)})
    assert arrow.content_hashes(arrow.conform(schema.PERFORMANCE, plain)) == arrow.content_hashes(rows)


def test_conforming_refuses_times_without_zone_and_missing_columns() -> None:
    rows = points("acme", [W])
    at = rows.column_names.index("timestamp")
    naive = rows.set_column(at, "timestamp", rows["timestamp"].cast(pa.int64()).cast(pa.timestamp("s")))
    with pytest.raises(StorageError, match=r"performance_metrics.timestamp .*time zone"):
        arrow.conform(schema.PERFORMANCE, naive)
    with pytest.raises(StorageError, match=r"performance_metrics: .*unit.*missing"):
        arrow.conform(schema.PERFORMANCE, rows.drop_columns(["unit"]))
    with pytest.raises(StorageError, match=r"performance_metrics.metric_value"):
        arrow.conform(
            schema.PERFORMANCE, rows.set_column(rows.column_names.index("metric_value"), "metric_value", [["a", "b"]])
        )


def test_helpers_pick_slices() -> None:
    span = [W, W + timedelta(minutes=15), W + timedelta(minutes=30)]
    rows = arrow.concat(
        schema.PERFORMANCE, [points("b", span), points("a", span, provider="gcp"), points("b", span[:1])]
    )
    assert arrow.owners(rows) == [("a", "gcp"), ("b", "aws")]
    assert arrow.of_slice(rows, "b", "aws").num_rows == 8
    assert arrow.of_slice(rows, "b", "gcp").num_rows == 0
    assert arrow.between(rows, span[1], span[2]).num_rows == 8
