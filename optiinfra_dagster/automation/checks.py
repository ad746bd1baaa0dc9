"""Asset checks of a window: is every customer in, and is nothing in twice."""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import dagster as dg

from optiinfra_dagster import windows
from optiinfra_dagster.assets.collection import IMPLEMENTED

if TYPE_CHECKING:
    from optiinfra_dagster.settings import Settings

# Outcomes that leave a window without rows for a good reason.
EXCUSED = ("not_due", "not_configured")


def build(settings: "Settings", partitions: dg.TimeWindowPartitionsDefinition) -> list[dg.AssetChecksDefinition]:
    """Every check."""
    return [
        check
        for provider, families in IMPLEMENTED.items()
        for family in families
        for check in (
            _every_customer_published(provider, family, settings, partitions),
            _no_duplicates(provider, family, partitions),
        )
    ]


def _every_customer_published(
    provider: str, family: str, settings: "Settings", partitions: dg.TimeWindowPartitionsDefinition
) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=[provider, family],
        name="every_customer_published",
        partitions_def=partitions,
        description="Every customer of the provider has its slice of the window; the check names those that have not.",
    )
    def check(context: dg.AssetCheckExecutionContext, clickhouse: dg.ResourceParam[Any]) -> dg.AssetCheckResult:
        from optiinfra_dagster.customers import load_customers

        asked = _asked(context)
        due = [c.id for c in load_customers(settings.customers_path) if c.collects(provider, family)]
        with clickhouse.session() as client:
            outcomes = client.query(
                """
                SELECT customer_id, uniqExactIf(window_start, status = 'ok'), uniqExactIf(window_start, excused),
                    argMaxIf(error, batch, status != 'ok')
                FROM (SELECT *, status IN {excused:Array(String)} AS excused FROM metric_batches)
                WHERE dataset = {family:String} AND provider = {provider:String}
                    AND window_start >= fromUnixTimestamp({first:UInt32})
                    AND window_start <= fromUnixTimestamp({last:UInt32})
                GROUP BY customer_id
                """,
                parameters={"family": family, "provider": provider, "excused": list(EXCUSED), **_bounds(asked)},
            ).result_rows
        found = {customer: (ok, excused, error) for customer, ok, excused, error in outcomes}
        missing = {}
        for customer in due:
            ok, excused, error = found.get(customer, (0, 0, "not collected yet"))
            if ok + excused < len(asked):
                missing[customer] = error or "not collected yet"
        return dg.AssetCheckResult(
            passed=not missing,
            severity=dg.AssetCheckSeverity.ERROR,
            description="; ".join(f"{customer}: {error}" for customer, error in sorted(missing.items()))[:2000]
            or f"{len(due)} customers published.",
            metadata={"customers_due": len(due), "customers_missing": sorted(missing)},
        )

    return check


def _no_duplicates(
    provider: str, family: str, partitions: dg.TimeWindowPartitionsDefinition
) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=[provider, family],
        name="no_duplicates",
        partitions_def=partitions,
        description="No two published rows of the window have the same key.",
    )
    def check(context: dg.AssetCheckExecutionContext, clickhouse: dg.ResourceParam[Any]) -> dg.AssetCheckResult:
        from optiinfra_dagster.tables import DATASETS

        dataset = DATASETS[family]
        keys = ", ".join(dataset.key)
        with clickhouse.session() as client:
            twice = client.query(
                f"""
                SELECT customer_id, count() FROM
                (
                    SELECT {keys}, count() AS n FROM {dataset.table}_current
                    WHERE provider = {{provider:String}}
                        AND window_start >= fromUnixTimestamp({{first:UInt32}})
                        AND window_start <= fromUnixTimestamp({{last:UInt32}})
                    GROUP BY {keys} HAVING n > 1
                )
                GROUP BY customer_id
                """,  # noqa: S608 - names are the code's own
                parameters={"provider": provider, **_bounds(_asked(context))},
            ).result_rows
        return dg.AssetCheckResult(
            passed=not twice,
            severity=dg.AssetCheckSeverity.ERROR,
            description="; ".join(f"{customer}: {n} keys stand twice" for customer, n in twice) or "No key stands twice.",
            metadata={"duplicate_keys": sum(n for _, n in twice)},
        )

    return check


def _asked(context: dg.AssetCheckExecutionContext) -> list[datetime]:
    partition_range = context.partition_key_range
    return windows.span(windows.from_key(partition_range.start), windows.from_key(partition_range.end))


def _bounds(asked: Sequence[datetime]) -> dict[str, int]:
    return {"first": int(min(asked).timestamp()), "last": int(max(asked).timestamp())}
