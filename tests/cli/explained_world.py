"""A small world for explanations: slices that are complete, partial, missing, failed since and restated since."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.model import windows
from optiinfra_dagster.model.cost import Category
from optiinfra_dagster.model.inventory import ResourceType
from optiinfra_dagster.model.metrics import Coverage, CoverageState
from optiinfra_dagster.model.slices import SliceResult, SliceStatus
from optiinfra_dagster.storage import schema
from optiinfra_dagster.storage.explanation.explain import explain_row
from optiinfra_dagster.storage.reader_writer import compute
from optiinfra_dagster.storage.reading import Query
from optiinfra_dagster.storage.rows import resource_rows
from optiinfra_dagster.storage.sql import readers
from optiinfra_dagster.storage.writer import Writer
from tests.support.bills import charge, estimates, publish_bill, publish_estimates
from tests.support.samples import collected, resource
from tests.support.spine import Spine, newest_window

if TYPE_CHECKING:
    from pathlib import Path

    from clickhouse_connect.driver.client import Client

    from optiinfra_dagster.storage.explanation.model import Explanation, Layer

Q, DAY = windows.WINDOW, timedelta(days=1)
NEWEST = newest_window()
# Four windows of one hour that is over, which are never of two days.
HOUR = NEWEST.replace(minute=0) - timedelta(hours=1)
FIRST, SECOND, THIRD, LAST = (HOUR + n * Q for n in range(4))
BILLED = (NEWEST - 20 * DAY).replace(hour=0, minute=0)  # its bill has settled
SECRET = "hunter2-hunter2"
CUSTOMERS = """
customers:
  - id: acme
    name: Acme
    aws: [{account_id: "111111111111", role_arn: "arn:aws:iam::111111111111:role/r"}]
    vultr: [{api_key: {env: EXPLAINED_KEY}}]
  - id: globex
    name: Globex
    aws: [{account_id: "222222222222", role_arn: "arn:aws:iam::222222222222:role/r"}]
  - id: initech
    name: Initech
    aws: [{account_id: "333333333333", role_arn: "arn:aws:iam::333333333333:role/r"}]
"""


@dataclass(frozen=True)
class World:
    """The place, and how its rows are explained."""

    spine: Spine

    def explain(self, family: str, reader: str, customer: str = "acme", **more: Any) -> Explanation:
        options = {name: more.pop(name) for name in ("where", "row", "recompute") if name in more}
        return explain_row(
            self.spine.clickhouse, self.spine.settings, Query(family, reader, customer, **more), **options
        )

    def command(self, sql: str) -> None:
        with self.spine.clickhouse.session() as client:
            client.command(sql)

    def value(self, sql: str) -> Any:
        with self.spine.clickhouse.session() as client:
            return client.query(sql).result_rows[0]


COMPUTED = {
    ("performance", "summary"): LAST,
    ("performance", "by_resource"): LAST,
    ("resource", "inventory"): LAST,
    ("performance", "hourly"): HOUR,
    ("performance", "daily"): HOUR.replace(hour=0),
    ("cost", "daily"): BILLED,
    ("cost", "days"): BILLED,
}


def make(home: Path) -> World:
    """The world when some readers have been computed; of all others there is a row by hand.

    Of `globex` more has happened since. `initech` is like `acme`, for who wants to change something.
    """
    spine = Spine.at(home)
    spine.settings.customers_path.write_text(CUSTOMERS)
    with spine.clickhouse.session() as client:
        _collect(spine)
        for key, window in COMPUTED.items():
            compute(spine.clickhouse, readers()[key], [window], run_id="run-of-readers")
        _by_hand(client)
        _later(spine)
    return World(spine)


def _later(spine: Spine) -> None:
    """A failure with a secret in its words, other points, and a bill that changes a day."""
    failure = SliceResult(
        "globex", "aws", [LAST], SliceStatus.FAILED, error=f"refused: password={SECRET} is wrong", api_calls=1
    )
    writer = Writer(spine.clickhouse, schema.PERFORMANCE, run_id="later")
    writer.flush([failure])
    writer.flush([collected("globex", [FIRST], values=(8.0, 9.0), names=("i-1", "i-2"))])
    publish_bill(spine.clickhouse, [BILLED.date()], [charge(BILLED.date(), "7")], customer="globex")


def _collect(spine: Spine) -> None:
    inventories = Writer(spine.clickhouse, schema.RESOURCE, run_id="inventory")
    points = Writer(spine.clickhouse, schema.PERFORMANCE, run_id="points")
    for customer in ("acme", "globex", "initech"):
        for window in (FIRST, LAST):
            rows = resource_rows(customer, "aws", window, [resource("i-1"), resource("i-2")], window)
            inventories.flush([SliceResult(customer, "aws", [window], SliceStatus.OK, rows=rows)])
        covered = [
            Coverage(
                "i-1", ResourceType.COMPUTE, "cpu_utilization", CoverageState.NO_PERMISSION, f"token={SECRET} may not"
            ),
            Coverage("i-2", ResourceType.COMPUTE, "memory_utilization", CoverageState.AGENT_MISSING, "no agent"),
        ]
        names = ("i-1", "i-2")
        paid: dict[str, Any] = {"api_calls": 3, "api_cost_usd": Decimal("0.00003")}
        missing = f"eu-west-1 did not answer https://u:{SECRET}@host/"
        points.flush([collected(customer, [FIRST], names=names, **paid)])
        points.flush([collected(customer, [SECOND], names=names, status=SliceStatus.PARTIAL, error=missing)])
        points.flush([collected(customer, [LAST], names=names, coverage=covered, **paid)])
    amounts = {"i-1": "0.25", "i-2": "0.5"}
    publish_estimates(
        spine.clickhouse, *(estimates(customer, LAST, amounts) for customer in ("acme", "globex", "initech"))
    )
    for customer in ("acme", "globex"):
        publish_bill(spine.clickhouse, [BILLED.date()], [charge(BILLED.date(), "5")], customer=customer)
    publish_estimates(spine.clickhouse, estimates("acme", FIRST, amounts))  # and not of the two windows after it
    of_one_key = [charge(BILLED.date(), "5"), charge(BILLED.date(), "-1", category=Category.CREDIT)]
    publish_bill(spine.clickhouse, [BILLED.date()], of_one_key, customer="initech")
    application = SliceResult("acme", "aws", [LAST], SliceStatus.OK)
    Writer(spine.clickhouse, schema.APPLICATION).flush([application])


def _by_hand(client: Client) -> None:
    """A row of each reader that nobody computed."""
    columns = client.query(
        "SELECT table FROM system.columns WHERE database = currentDatabase() AND name = 'provider'"
    ).result_rows
    with_provider = {table for (table,) in columns}
    ledger = []
    for key, reader in readers().items():
        if key in COMPUTED:
            continue
        at = int(windows.floor_to(reader.length, LAST).timestamp())
        provider = (", provider", ", 'aws'") if reader.table in with_provider else ("", "")
        client.command(
            f"INSERT INTO {reader.table} (window_start, batch, customer_id{provider[0]}) "
            f"SELECT fromUnixTimestamp({at}), {at}, 'acme'{provider[1]}"
        )
        ledger.append(f"SELECT '{reader.table}', fromUnixTimestamp({at}), {at}, 1, 'ok', now64(3)")
    client.command(
        "INSERT INTO metric_batches (dataset, window_start, batch, rows, status, published_at) "
        + " UNION ALL ".join(ledger)
    )


def layer(explanation: Explanation, name: str, provider: str | None = None) -> Layer:
    """What lies beneath, of one dataset or reader."""
    (found,) = (one for one in explanation.beneath if one.of.name == name and provider in {None, one.of.provider})
    return found


def today() -> datetime:
    """The day of the four windows."""
    return LAST.astimezone(UTC).replace(hour=0, minute=0)
