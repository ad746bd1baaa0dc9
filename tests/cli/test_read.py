"""What `optiinfra read` reads: each provider's newest window, and rows of a longer span by the time within it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from optiinfra_dagster.cli.printing import print_rows
from optiinfra_dagster.model import windows
from optiinfra_dagster.model.errors import ConfigError
from optiinfra_dagster.model.slices import SliceResult, SliceStatus
from optiinfra_dagster.model.text import ago
from optiinfra_dagster.storage import readers as rows_of
from optiinfra_dagster.storage import schema
from optiinfra_dagster.storage.reader_writer import compute
from optiinfra_dagster.storage.reading import Query, Result, as_records, read_rows
from optiinfra_dagster.storage.rows import resource_rows
from optiinfra_dagster.storage.sql import readers
from optiinfra_dagster.storage.writer import Writer
from tests.support.bills import charge, publish_bill
from tests.support.samples import collected, resource
from tests.support.spine import Spine, newest_window

if TYPE_CHECKING:
    from collections.abc import Sequence

CUSTOMERS = """
customers:
  - id: acme
    name: Acme
    aws: [{account_id: "111111111111", role_arn: "arn:aws:iam::111111111111:role/r"}]
    gcp: [{project_id: acme-prod}]
    azure: [{subscription_id: a0000000-0000-4000-8000-000000000001}]
    vultr: [{api_key: {env: NO_SUCH_KEY}}]
  - id: resting
    name: Resting
    paused: true
    aws: [{account_id: "333333333333", role_arn: "arn:aws:iam::333333333333:role/r"}]
  - id: hourly
    name: Hourly
    poll_minutes: 60
    aws: [{account_id: "222222222222", role_arn: "arn:aws:iam::222222222222:role/r"}]
    gcp: [{project_id: hourly}]
"""
NEWEST = newest_window()
NOW = NEWEST + timedelta(minutes=21)  # while the next window is being collected, however long the tests before took
LATE = NEWEST - timedelta(hours=2)
HOURLY = NEWEST - timedelta(minutes=45)
LONG_AGO = NEWEST - timedelta(days=3)
COMPUTED = [
    ("performance", "hourly"), ("performance", "daily"), ("performance", "trends"), ("performance", "anomalies"),
    ("performance", "by_resource"), ("performance", "summary"), ("resource", "inventory"),
]  # fmt: skip
DAY = (NEWEST - timedelta(days=20)).date()  # its bill has settled


@dataclass(frozen=True)
class World:
    """A database of the module: AWS and Azure are on time, Google Cloud has failed since a while, Vultr always."""

    spine: Spine

    def read(self, family: str, reader: str, customer: str = "acme", **more: Any) -> Result[list[dict[str, Any]]]:
        query = Query(family, reader, customer, **more)
        return read_rows(self.spine.clickhouse, self.spine.settings, query, as_records, now=NOW)

    def printed(self, format_: str, family: str, reader: str, **more: Any) -> str:
        out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline="")
        print_rows(self.spine.clickhouse, self.spine.settings, Query(family, reader, "acme", **more), format_, out)
        out.seek(0)
        return out.read()


def attempt(customer: str, provider: str, window: datetime, status: SliceStatus, error: str = "") -> SliceResult:
    return SliceResult(customer, provider, [window], status, error=error)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    spine = Spine.at(tmp_path_factory.mktemp("read") / "home")
    spine.settings.customers_path.write_text(CUSTOMERS)
    published: Sequence[tuple[str, str, datetime]] = [
        ("acme", "aws", NEWEST), ("acme", "aws", LATE), ("acme", "azure", NEWEST), ("acme", "gcp", LATE),
        ("hourly", "aws", HOURLY), ("hourly", "gcp", LONG_AGO),
    ]  # fmt: skip
    with spine.clickhouse.session():
        for customer, provider, window in published:
            found = [resource(f"{provider}-1")]
            rows = resource_rows(customer, provider, window, found, window)
            Writer(spine.clickhouse, schema.RESOURCE).flush(
                [SliceResult(customer, provider, [window], SliceStatus.OK, rows=rows)]
            )
            Writer(spine.clickhouse, schema.PERFORMANCE).flush(
                [collected(customer, [window], provider=provider, names=[f"{provider}-1"])]
            )
        refused = "acme-prod: the service account was deleted. Make it anew"
        Writer(spine.clickhouse, schema.PERFORMANCE).flush(
            [
                attempt("acme", "gcp", NEWEST, SliceStatus.FAILED, refused),
                attempt("acme", "vultr", NEWEST, SliceStatus.FAILED, "the key is refused"),
            ]
        )
        for key in COMPUTED:
            length = readers()[key].length
            spans = sorted({windows.floor_to(length, w) for w in (LATE, HOURLY, NEWEST)})
            compute(spine.clickhouse, readers()[key], spans)
        publish_bill(spine.clickhouse, [DAY], [charge(DAY, "5")])
        Writer(spine.clickhouse, schema.COST).flush([attempt("acme", "aws", NEWEST, SliceStatus.OK)])
        compute(spine.clickhouse, readers()["cost", "daily"], [datetime(*DAY.timetuple()[:3], tzinfo=UTC)])
        yield World(spine)


# --- Providers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("family", "reader"),
    [("performance", "metrics"), ("performance", "by_resource"), ("performance", "summary"), ("resource", "inventory")],
)
def test_every_provider_is_shown_with_its_newest_window(world: World, family: str, reader: str) -> None:
    """What is shown of all is what is shown of each."""
    rows = world.read(family, reader).rows
    assert rows is not None
    assert {(row["provider"], row["window_start"]) for row in rows} == {
        ("aws", NEWEST), ("azure", NEWEST), ("gcp", LATE),
    }  # fmt: skip
    each = [world.read(family, reader, provider=provider).rows for provider in ("aws", "azure", "gcp")]
    assert sorted(map(repr, rows)) == sorted(repr(row) for of_one in each for row in of_one or [])


def test_a_late_provider_is_named_with_its_age_and_why(world: World) -> None:
    late, never = world.read("performance", "summary").warnings
    assert late.startswith(f"gcp: its newest window is {windows.key(LATE)}, 2 h ")
    assert late.endswith(
        f" ago; the last attempt, at {windows.key(NEWEST)}, is recorded as failed: acme-prod: the service account was "
        "deleted. Make it anew."
    )
    assert never == (
        f"vultr: nothing was collected yet; the last attempt, at {windows.key(NEWEST)}, is recorded as failed: the key "
        "is refused."
    )
    assert world.read("performance", "summary", provider="gcp").warnings == [late]
    assert world.read("performance", "summary", provider="aws").warnings == []
    assert world.read("performance", "summary", from_=windows.key(LATE)).warnings == []


def test_a_provider_without_any_attempt_is_named(world: World) -> None:
    late = world.read("resource", "inventory").warnings
    assert [warning.partition(":")[0] for warning in late] == ["gcp", "vultr"]
    assert late[1] == "vultr: nothing was collected yet."


def test_what_nobody_is_to_collect_is_not_advised_to_be_collected(world: World) -> None:
    said = {
        "quality": world.read("application", "quality").note,
        "paused": world.read("resource", "inventory", "resting").note,
        "elsewhere": world.read("performance", "summary", "hourly", provider="vultr").note,
        "asked for": world.read("cost", "summary", "hourly").note,
    }
    nobody = "the customers file has none to be collected for"
    assert said == {
        "quality": f"No application was collected yet for acme: {nobody} acme. Add it there, or read another family.",
        "paused": "No resource was collected yet for resting: resting is paused in the customers file.",
        "elsewhere": f"No performance was collected yet for hourly on vultr: {nobody} hourly on vultr. Add it there, "
        "or read another family.",
        "asked for": "No cost was collected yet for hourly: run `optiinfra collect --customer hourly`.",
    }


def test_a_customer_that_is_asked_every_hour_is_late_after_that(world: World) -> None:
    found = world.read("performance", "summary", "hourly")
    (late,) = found.warnings
    assert late == f"gcp: its newest window is {windows.key(LONG_AGO)}, {ago(NOW - LONG_AGO)} ago."
    assert {row["provider"] for row in found.rows or []} == {"aws"}  # the reader knows no window so old
    assert {row["provider"] for row in world.read("performance", "metrics", "hourly").rows or []} == {"aws", "gcp"}


def test_rows_of_the_same_key_come_in_the_same_order(world: World) -> None:
    """Whatever order the engine finds them in: charges of a resource on a day differ by their description alone."""
    found = rows_of.sources()["cost"]["metrics"]
    with world.spine.clickhouse.session() as client:
        types = rows_of.columns(client, found.view)
    order = rows_of.statement(found, rows_of.RowFilter("cost", "acme"), types).order.split(", ")
    assert order[: len(found.key) + 1] == [*found.key, found.time]
    assert {"charge_description", "charge_category", "amount"} <= set(order)
    assert len(order) == len(set(order))


def test_csv_and_json_have_the_same_rows(world: World) -> None:
    rows = json.loads(world.printed("json", "performance", "metrics"))
    assert {(row["provider"], row["window_start"]) for row in rows} == {
        ("aws", f"{NEWEST:%Y-%m-%dT%H:%M:%SZ}"),
        ("azure", f"{NEWEST:%Y-%m-%dT%H:%M:%SZ}"),
        ("gcp", f"{LATE:%Y-%m-%dT%H:%M:%SZ}"),
    }
    of_csv = list(csv.DictReader(io.StringIO(world.printed("csv", "performance", "metrics"), newline="")))
    assert [(row["provider"], row["timestamp"]) for row in of_csv] == [
        (row["provider"], row["timestamp"]) for row in rows
    ]
    table = world.printed("table", "performance", "metrics")
    assert all(provider in table for provider in ("aws", "azure", "gcp"))


def test_a_table_counts_what_it_does_not_show(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """And says above itself only what is the same in all rows, shown or not."""
    monkeypatch.setattr("optiinfra_dagster.cli.output.TABLE_ROWS", 2)
    table = world.printed("table", "performance", "metrics").splitlines()
    assert (
        table[0] == "acme: performance metrics, statistic average"
    )  # not the provider, of which the first rows have one
    assert table[-1].startswith("... 4 more rows")


# --- Times -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reader", ["metrics", "daily"])
@pytest.mark.parametrize("hour", ["00:00", "14:00", "23:59"])
def test_a_time_within_a_billed_day_finds_its_bill(world: World, reader: str, hour: str) -> None:
    def amounts(**times: str) -> list[Any]:
        return [row["amount"] for row in world.read("cost", reader, **times).rows or []]

    assert amounts(from_=f"{DAY}T{hour}Z", to=f"{DAY + timedelta(days=1)}T00:00Z") == [5]
    assert amounts(from_=f"{DAY + timedelta(days=1)}T00:00Z") == []
    assert amounts(from_=f"{DAY - timedelta(days=1)}T00:00Z", to=f"{DAY}T00:00Z") == []


@pytest.mark.parametrize(
    ("family", "reader", "length"),
    [(family, name, source.length) for family, of in rows_of.sources().items() for name, source in of.items()
     if source.length > windows.WINDOW and family == "performance"],
)  # fmt: skip
def test_a_time_within_a_longer_slice_finds_it(world: World, family: str, reader: str, length: timedelta) -> None:
    start = windows.floor_to(length, NEWEST)
    within = world.read(family, reader, from_=f"{start + timedelta(minutes=1):%Y-%m-%dT%H:%MZ}").rows or []
    assert {row["window_start"] for row in within} <= {start}
    assert bool(within) == bool(world.read(family, reader, from_=f"{start:%Y-%m-%dT%H:%MZ}").rows)


def test_a_days_total_is_found_by_its_day_and_with_its_slice(world: World) -> None:
    """A cloud tells a day's traffic the day after: the row stands at the day's start, in the window that read it."""
    day = windows.floor_to(timedelta(days=1), NEWEST) - timedelta(days=1)
    with world.spine.clickhouse.session() as client:
        client.command(
            "INSERT INTO performance_metrics (timestamp, window_start, batch, customer_id, provider, resource_id, "
            "metric_name, statistic, period_seconds, metric_value) SELECT fromUnixTimestamp({day:UInt32}), "
            "window_start, batch, customer_id, provider, 'metered', 'network_in', 'daily_average', 86400, 7 "
            "FROM published_batches WHERE dataset = 'performance' AND customer_id = 'hourly' AND provider = 'aws'",
            parameters={"day": int(day.timestamp())},
        )

    def found(**times: str) -> int:
        rows = world.read("performance", "metrics", "hourly", resource_id="metered", **times).rows
        return len(rows or [])

    noon = day + timedelta(hours=12)
    assert found() == 1  # with the newest slice, which has it
    assert found(from_=windows.key(day), to=windows.key(day + timedelta(days=1))) == 1
    assert found(from_=windows.key(noon), to=windows.key(noon + timedelta(hours=1))) == 1
    assert found(to=windows.key(day)) == 0
    assert found(from_=windows.key(day + timedelta(days=1))) == 0


def test_a_reader_without_providers_has_the_newest_window_of_all(world: World) -> None:
    compute(world.spine.clickhouse, readers()["cost", "allocation"], [NEWEST])
    assert (
        world.read("cost", "allocation").note.startswith("No rows: collected") or world.read("cost", "allocation").rows
    )
    with pytest.raises(ConfigError, match="has no rows per provider"):
        world.read("cost", "allocation", provider="aws")
