"""The reader assets: each is one .sql file, whose head describes it, run inside ClickHouse for a window."""

from collections.abc import Sequence

import dagster as dg

from optiinfra_dagster.assets.columns import described
from optiinfra_dagster.assets.facts import FRESHNESS, OWNERS, code_references
from optiinfra_dagster.providers.registry import FAMILIES_OF
from optiinfra_dagster.reports import preview
from optiinfra_dagster.storage.io_manager import Select
from optiinfra_dagster.storage.sql import SQL, Reader, readers


def build(partitions: dg.TimeWindowPartitionsDefinition) -> list[dg.AssetsDefinition]:
    """Every reader asset."""
    return [_asset(reader, partitions) for reader in readers().values()]


def _asset(reader: Reader, partitions: dg.TimeWindowPartitionsDefinition) -> dg.AssetsDefinition:
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
            "table": reader.file,
            "sql": f"sql/readers/{reader.file}.sql",
            "query": dg.MetadataValue.md(f"```sql\n{reader.select}```"),
            **described(reader.file, reader),
            **code_references((SQL / "readers" / f"{reader.file}.sql", 1, "SQL")),
        },
        owners=OWNERS,
        code_version=reader.version,
        freshness_policy=FRESHNESS,
        tags={"family": reader.family},
    )
    def read() -> Select:
        return Select(reader, preview.of(reader))

    return read


def _collected_from(family: str) -> Sequence[dg.AssetKey]:
    return [dg.AssetKey([provider, family]) for provider, families in FAMILIES_OF.items() if family in families]
