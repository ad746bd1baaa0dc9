"""The reader assets: each is one .sql file, run inside ClickHouse for a window."""

from collections.abc import Sequence
from datetime import timedelta

import dagster as dg

from optiinfra_dagster import windows
from optiinfra_dagster.assets.collection import IMPLEMENTED
from optiinfra_dagster.assets.columns import described
from optiinfra_dagster.sqlfiles import read_sql
from optiinfra_dagster.storage.io_manager import Select

# reader asset -> what it says. Its SELECT is sql/readers/<family>_<reader>.sql, its table has the same name.
READERS: dict[tuple[str, str], str] = {
    ("performance", "latest"): "The newest point of every series, from each customer's newest published window.",
    ("performance", "summary"): "One window in figures, per customer, provider, type of resource and metric.",
    ("performance", "by_resource"): "One window in figures, per resource, metric and statistic.",
    ("performance", "hourly"): "The rollup of the window's hour: what trends and longer views need of each series.",
    ("performance", "daily"): "The rollup of the window's day, from the hourly ones.",
    ("performance", "trends"): "Each series over 24 hours, 7 and 30 days: coverage, mean, p95, slope and change.",
    ("resource", "inventory"): "Every resource of each customer's newest published inventory.",
    ("resource", "by_type"): "How many resources of each kind, how many of them run, and their capacity.",
    ("resource", "changes"): "What was created, deleted or changed since the complete inventory before, and how.",
    ("resource", "summary"): "How many resources of each type, region and status, and their capacity.",
    ("cost", "summary"): "What each account has cost today, yesterday, in 30 days, in the month; the estimated share.",
    ("cost", "trends"): "Cost by day, week and month, and the change against the one before.",
    ("cost", "by_resource"): "What each resource has cost, and what the bill names no resource for.",
    ("cost", "by_service"): "What each service has cost.",
    ("cost", "waste"): "What costs though unattached, stopped or idle: the amount a month, and the evidence.",
    ("application", "quality"): "Coherence, relevance and accuracy by application and model, of window and day.",
    ("application", "hallucinations"): "How often answers hold claims that nothing supports, of window and day.",
    ("application", "toxicity"): "How often answers are toxic, how badly and in which way, of window and day.",
    ("application", "summary"): "The means of all five metrics per application and model, of window and day.",
}

# Readers whose slices are longer than a window, and those that are computed from other readers.
LENGTHS = {
    ("performance", "hourly"): timedelta(hours=1),
    ("performance", "daily"): timedelta(days=1),
    ("performance", "trends"): timedelta(hours=1),
}
COMPUTED_FROM = {
    ("performance", "daily"): [("performance", "hourly")],
    ("performance", "trends"): [("performance", "hourly"), ("performance", "daily")],
}


def build(partitions: dg.TimeWindowPartitionsDefinition) -> list[dg.AssetsDefinition]:
    """Every reader asset."""
    return [_reader(family, name, text, partitions) for (family, name), text in READERS.items()]


def _reader(
    family: str, name: str, description: str, partitions: dg.TimeWindowPartitionsDefinition
) -> dg.AssetsDefinition:
    table = f"{family}_{name}"

    @dg.asset(
        key=[family, name],
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        deps=[dg.AssetKey(key) for key in COMPUTED_FROM.get((family, name), [])] or _collected_from(family),
        group_name="readers",
        kinds={"sql", "clickhouse"},
        description=description,
        io_manager_key="io_manager",
        metadata={
            "table": table,
            "sql": f"sql/readers/{table}.sql",
            "query": dg.MetadataValue.md(f"```sql\n{read_sql(f'readers/{table}')}```"),
            **described(table),
        },
        tags={"family": family},
    )
    def read() -> Select:
        return Select(table, LENGTHS.get((family, name), windows.WINDOW))

    return read


def _collected_from(family: str) -> Sequence[dg.AssetKey]:
    return [dg.AssetKey([provider, family]) for provider, families in IMPLEMENTED.items() if family in families]
