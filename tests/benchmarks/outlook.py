"""Replay of months that are over: what `cost/outlook` said on their days, beside what they cost in the end."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import product
from statistics import median
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.storage.clickhouse import fetch
from optiinfra_dagster.storage.sql import readers
from tests.support.outlook import month_of, outlook, publish
from tests.support.outlook_worlds import World

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

D = timedelta(days=1)
TABLES = ("cost_daily", "cost_days", "cost_restated", "metric_batches")
TUNED_ON = range(100, 260)  # the figures in the SQL were chosen by these worlds,
JUDGED_BY = range(1000, 1200)  # and are judged by these: of 40 worlds a share of 90 % is known to 4 points only,
REPLAYED = range(1000, 1040)  # but what the engine computes is replayed for these
MONTHS = (date(2025, 3, 1), date(2025, 10, 1))


@dataclass(frozen=True, slots=True)
class Said:
    """A forecast that can be compared; errors are shares of what the month cost in the end."""

    scope: str
    day: int
    error: float
    naive: float | None  # of what was spent so far, for all days as for those gone; None: nothing was
    held: bool  # what it cost in the end lies in the interval


def keep_all_years(client: Client) -> None:
    """Keep rows of any year: worlds and months are the same whenever they are tried."""
    for name in (*TABLES, "performance_daily", readers()["resource", "changes"].table):
        client.command(f"ALTER TABLE {name} REMOVE TTL")


def empty(client: Client) -> None:
    """Forget all costs."""
    for name in TABLES:
        client.command(f"TRUNCATE TABLE {name}")


def computed(client: Client, today: date, hour: int = 1) -> list[dict[str, Any]]:
    """What the reader says in a window of a day."""
    window = datetime(today.year, today.month, today.day, hour, tzinfo=UTC)
    found: list[dict[str, Any]] = fetch(client, readers()["cost", "outlook"].select, {"window": window}).to_pylist()
    return found


def replay(client: Client, seeds: Iterable[int], month: date, days: Iterable[int]) -> list[Said]:
    """What was said of a month on each of its `days`, of a world by each seed."""
    worlds = {f"world-{seed}": World(seed, month_of(month, 3), month_of(month + 32 * D) - D) for seed in seeds}
    told = []
    for day in days:
        today = month.replace(day=day)
        known = {name: world.known(today) for name, world in worlds.items()}
        empty(client)
        publish(client, known)
        for row in computed(client, today):
            world = worlds[row["customer_id"]]
            real = world.real(month, row["service_name"])
            if row["forecast"] is not None and abs(real) > 1e-9:
                naive = world.naive(known[row["customer_id"]], month, row["service_name"])
                told.append(_said(row["scope"], day, row, real, naive))
    return told


def replay_in_python(seeds: Iterable[int], months: Iterable[date], days: Sequence[int]) -> list[Said]:
    """As `replay`, by the plain Python that the reader is compared with: many worlds in a few seconds."""
    told = []
    for seed, month in product(seeds, months):
        world = World(seed, month_of(month, 3), month_of(month + 32 * D) - D)
        for day in days:
            known = world.known(month.replace(day=day))
            for (scope, service), row in outlook(known).items():
                real = world.real(month, service)
                if row["forecast"] is not None and abs(real) > 1e-9:
                    told.append(_said(scope, day, row, real, world.naive(known, month, service)))
    return told


def _said(scope: str, day: int, row: dict[str, Any], real: float, naive: float | None) -> Said:
    """A forecast beside what the month cost in the end."""
    return Said(
        scope, day, abs(float(row["forecast"]) - real) / abs(real),
        None if naive is None else abs(naive - real) / abs(real),
        float(row["low"]) <= real <= float(row["high"]),
    )  # fmt: skip


def figures(told: Iterable[Said]) -> dict[str, float]:
    """Of forecasts: how many, the middle and mean error of them and of the naive ones, how often the interval held."""
    told = list(told)
    naive = [said.naive for said in told if said.naive is not None]
    return {
        "n": len(told),
        "error": median(said.error for said in told),
        "naive": median(naive) if naive else float("nan"),
        "mean_error": sum(said.error for said in told) / len(told),
        "held": sum(said.held for said in told) / len(told),
    }


def table(told: Iterable[Said]) -> str:
    """The figures by day of the month, as text."""
    told = list(told)
    lines = ["scope    day      n  middle error   naive  mean error  in interval"]
    for scope in ("account", "service"):
        for day in sorted({said.day for said in told}):
            of = figures(said for said in told if (said.scope, said.day) == (scope, day))
            lines.append(
                f"{scope:<8}{day:>4}{of['n']:>7}{100 * of['error']:>12.1f} %{100 * of['naive']:>6.1f} %"
                f"{100 * of['mean_error']:>10.1f} %{100 * of['held']:>11.1f} %"
            )
    return "\n".join(lines)


_COSTS = """
INSERT INTO cost_daily (window_start, batch, customer_id, provider, sub_account_id, currency, service_name, resource_id,
    resource_name, region_id, charge_category, cost_kind, amount, billed, until)
SELECT toDateTime({first:UInt32} + 86400 * intDiv(number, {resources:UInt32}), 'UTC') AS day, 1, 'acme', 'aws',
    concat('11112222333', toString(r % 3)), 'USD', concat('Service ', toString(r % 12)),
    concat('arn:aws:ec2:us-east-1:111122223333:instance/i-', leftPad(toString(r), 17, '0')),
    concat('name-', toString(r)), 'us-east-1', 'Usage', 'billed', toDecimal128(usd, 18), toDecimal128(usd, 18),
    day + 86400
FROM
(
    SELECT number, number % {resources:UInt32} AS r, 1 + cityHash64(number) % 100 / 1000 AS usd
    FROM numbers({rows:UInt64})
)
"""
_DAYS = """
INSERT INTO cost_days (window_start, batch, customer_id, provider, sub_account_id, state, known)
SELECT toDateTime({first:UInt32} + 86400 * intDiv(number, 3), 'UTC'), 1, 'acme', 'aws',
    concat('11112222333', toString(number % 3)), 'billed', 1
FROM numbers({rows:UInt64})
"""


def fill(client: Client, today: date, resources: int, days: int) -> None:
    """Publish the rollups of so many days to two before `today`."""
    empty(client)
    first = int(datetime(today.year, today.month, today.day, tzinfo=UTC).timestamp()) - 86400 * (days + 1)
    client.command(_COSTS, parameters={"first": first, "resources": resources, "rows": resources * days})
    client.command(_DAYS, parameters={"first": first, "rows": 3 * days})
    ledger = [
        (name, "", "", datetime.fromtimestamp(first + 86400 * n, UTC), 1, "ok")
        for n in range(days) for name in ("cost_daily", "cost_days")
    ]  # fmt: skip
    names = ["dataset", "customer_id", "provider", "window_start", "batch", "status"]
    client.insert("metric_batches", ledger, column_names=names)


def compute(client: Client, today: date) -> None:
    """Let the reader compute a window of a day, without asking for the rows' types before."""
    client.query(readers()["cost", "outlook"].select, parameters={"window": f"{today} 01:00:00"})
