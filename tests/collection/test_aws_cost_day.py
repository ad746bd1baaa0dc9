from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from optiinfra_dagster.collection.plan import Context
from optiinfra_dagster.collection.run import collect_slices
from optiinfra_dagster.model.slices import SliceResult, SliceStatus
from optiinfra_dagster.providers.billing import service_names
from optiinfra_dagster.providers.registry import PROVIDERS, load_customers
from optiinfra_dagster.storage import migrations
from optiinfra_dagster.storage.schema import BILLED
from optiinfra_dagster.storage.writer import Writer, by_dataset
from tests.support.spine import ACCOUNTS, Spine, fleet, world

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from tests.collection.conftest import StartLab

pytestmark = pytest.mark.long

WINDOW = timedelta(minutes=15)
TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
EVERY = 4  # of the day's 96 windows is collected; 1 does all, in a minute
BEFORE = (TODAY.replace(day=1) - timedelta(days=1)).replace(day=1)  # the first of the month before


@pytest.fixture
def spine(tmp_path: Path, clickhouse_url: str) -> Spine:
    """A spine whose engine the collection's own threads may use."""
    spine = Spine.at(tmp_path / "home", clickhouse_url)
    with spine.clickhouse.session(migrated=False) as client:
        migrations.migrate(client)
    return spine


def collect(spine: Spine, family: str, window: datetime, clock: list[datetime]) -> None:
    clock[0] = window + WINDOW + timedelta(minutes=5)
    spine.collect(family, [window], now=lambda: clock[0])


def billed(spine: Spine) -> dict[tuple[date, str, str], Decimal]:
    rows = spine.query(
        "SELECT toDate(window_start, 'UTC') AS charge_day, service_name, sub_account_id, sum(amount) AS usd "
        "FROM cost_metrics_current WHERE cost_kind = 'billed' AND cost_type != 'reading' GROUP BY ALL"
    )
    return {(row["charge_day"], row["service_name"], row["sub_account_id"]): row["usd"] for row in rows}


def named(told: Iterable[tuple[date, str, str, Decimal]]) -> dict[tuple[date, str, str], Decimal]:
    """What the cloud tells of days, services and accounts, by the one name of each service."""
    sums: dict[tuple[date, str, str], Decimal] = {}
    for day, service, account, usd in told:
        key = day, service_names.canonical(service), account
        sums[key] = sums.get(key, Decimal(0)) + usd
    return sums


def test_a_day_of_collections_asks_cost_explorer_four_times(spine: Spine, start_lab: StartLab) -> None:
    clock = [TODAY]
    lab = start_lab(world([fleet("ec2:instance", 2)]), now=lambda: clock[0])
    spine.write_customers(lab, ["acme"])

    collect(spine, "resource", TODAY - WINDOW, clock)
    customers = load_customers(spine.settings.customers_path)
    made: list[SliceResult] = []
    for n in range(-1, 95, EVERY):
        clock[0] = TODAY + (n + 1) * WINDOW + timedelta(minutes=5)
        context = Context(PROVIDERS["aws"], spine.clickhouse, spine.settings, lambda: clock[0])
        batches = collect_slices(context, "cost", customers, [TODAY + n * WINDOW])
        for batch in batches:
            made += [slices for slices in batch if isinstance(slices, SliceResult)]
            bills = by_dataset(batch, "cost").get(BILLED.name, [])
            Writer(spine.clickhouse, BILLED).flush(bills)  # the estimates are left unwritten: 30 ms each

    asked = lab.control.calls().count("ce", "GetCostAndUsage", ACCOUNTS["acme"])
    assert asked == 4
    assert sum(slices.api_cost_usd for slices in made) == asked * Decimal("0.01")
    assert {slices.status for slices in made} == {SliceStatus.OK}
    assert len({w for slices in made for w in slices.windows if slices.dataset != BILLED.name}) == 96 // EVERY
    told = lab.aws.billing.expected(ACCOUNTS["acme"], BEFORE.date(), (TODAY - timedelta(days=1)).date())
    assert billed(spine) == named(
        (day, *key, cell["UnblendedCost"][0]) for day, cells in told.items() for key, cell in cells.items()
    )


def test_the_recorded_february_is_in_the_table_to_the_last_digit(
    spine: Spine, start_lab: StartLab, shared_data: Path
) -> None:
    file = shared_data / "aws_ce" / "get_cost_and_usage_daily_by_service.json"
    begins, clock = BEFORE.date(), [TODAY]
    of = world([])
    of["aws"]["accounts"][0] |= {"cost_recording": file, "cost_recording_begins": begins}
    lab = start_lab(of, now=lambda: clock[0])
    spine.write_customers(lab, ["acme"])

    collect(spine, "resource", TODAY - WINDOW, clock)
    collect(spine, "cost", TODAY - WINDOW, clock)

    recorded = named(
        (
            begins + timedelta(days=n),
            group["Keys"][0],
            ACCOUNTS["acme"],
            Decimal(group["Metrics"]["UnblendedCost"]["Amount"]),
        )
        for n, day in enumerate(json.loads(file.read_text())["ResultsByTime"])
        for group in day["Groups"]
    )
    assert billed(spine) == recorded
    assert sum(billed(spine).values()) == Decimal("16.4910808573")


def test_a_reading_that_failed_rests_as_long_as_one_that_went_well(spine: Spine, start_lab: StartLab) -> None:
    clock = [TODAY]
    lab = start_lab(world([]), now=lambda: clock[0])
    lab.control.add_faults({"action": "deny", "service": "ce"})
    spine.write_customers(lab, ["acme"])

    collect(spine, "resource", TODAY - WINDOW, clock)
    for hours in (0, 2, 11, 12):
        collect(spine, "cost", TODAY + timedelta(hours=hours), clock)

    assert lab.control.calls().count("ce") == 2
    outcomes = [row["outcome"] for row in spine.ledger("cost")["acme"]]
    assert outcomes == ["partial"] * 4  # and is told all the time
    assert billed(spine) == {}
