"""The reader assets: each is one .sql file, whose head describes it, run inside ClickHouse for a window."""

from collections.abc import Sequence

import dagster as dg

from optiinfra_dagster.assets.columns import described
from optiinfra_dagster.providers.registry import FAMILIES_OF
from optiinfra_dagster.storage.io_manager import Select
from optiinfra_dagster.storage.sql import Reader, read_sql, readers


def build(partitions: dg.TimeWindowPartitionsDefinition) -> list[dg.AssetsDefinition]:
    """Every reader asset."""
    return [_asset(reader, partitions) for reader in readers().values()]


def _asset(reader: Reader, partitions: dg.TimeWindowPartitionsDefinition) -> dg.AssetsDefinition:
    table = reader.table

    @dg.asset(
        key=[reader.family, reader.name],
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        deps=[dg.AssetKey(key) for key in reader.computed_from] or _collected_from(reader.family),
        group_name="readers",
        kinds={"sql", "clickhouse"},
        description=reader.description,
        io_manager_key="io_manager",
        metadata={
            "table": table,
            "sql": f"sql/readers/{table}.sql",
            "query": dg.MetadataValue.md(f"```sql\n{read_sql(f'readers/{table}')}```"),
            **described(table),
        },
        tags={"family": reader.family},
    )
    def read() -> Select:
        return Select(table, reader.length)

    return read


def _collected_from(family: str) -> Sequence[dg.AssetKey]:
    return [dg.AssetKey([provider, family]) for provider, families in FAMILIES_OF.items() if family in families]
