"""The reader assets: each is one .sql file, run inside ClickHouse for a window."""

from collections.abc import Sequence

import dagster as dg

from optiinfra_dagster.assets.collection import IMPLEMENTED
from optiinfra_dagster.storage.io_manager import Select

# reader asset -> what it says. Its SELECT is sql/readers/<family>_<reader>.sql, its table has the same name.
READERS: dict[tuple[str, str], str] = {
    ("performance", "latest"): "The newest point of every series, from each customer's newest published window.",
    ("performance", "summary"): "One window in figures, per customer, provider, type of resource and metric.",
    ("resource", "inventory"): "Every resource of each customer's newest published inventory.",
    ("resource", "by_type"): "How many resources of each kind, how many of them run, and their capacity.",
    (
        "resource",
        "changes",
    ): "What was created, deleted, started, stopped, resized, retagged or moved since the complete inventory before.",
    ("resource", "summary"): "How many resources of each type, region and status, and their capacity.",
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
        deps=_collected_from(family),
        group_name="readers",
        kinds={"sql", "clickhouse"},
        description=description,
        io_manager_key="io_manager",
        metadata={"table": table, "sql": f"sql/readers/{table}.sql"},
        tags={"family": family},
    )
    def read() -> Select:
        return Select(table)

    return read


def _collected_from(family: str) -> Sequence[dg.AssetKey]:
    return [dg.AssetKey([provider, family]) for provider, families in IMPLEMENTED.items() if family in families]
