"""The status as an asset: its newest materialization shows the table in Dagster's UI."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from optiinfra_dagster.assets.facts import OWNERS, code_references
from optiinfra_dagster.automation.status import show
from optiinfra_dagster.automation.status.gather import Look, look

if TYPE_CHECKING:
    from optiinfra_dagster.automation.status.items import Status
    from optiinfra_dagster.config.settings import Settings

KEY = dg.AssetKey(["operations", "status"])


def build(settings: "Settings") -> dg.AssetsDefinition:
    """The asset. It has no partitions. The sensor of alerts refreshes it without a run, which would cost 5 CPU-s."""

    @dg.asset(
        key=KEY,
        group_name="operations",
        description="How everything stands: what `optiinfra status` says. It is refreshed when an item's state changes "
        "and every six hours; materialize it for the state of now.",
        metadata=code_references((Path(__file__), build.__code__.co_firstlineno, "asset")),
        owners=OWNERS,
    )
    def status(context: dg.AssetExecutionContext, clickhouse: dg.ResourceParam[Any]) -> dg.MaterializeResult[None]:
        found = look(settings, clickhouse, context.instance, datetime.now(UTC), Look())
        return dg.MaterializeResult(metadata=_metadata(found))

    return status


def materialization(found: "Status") -> dg.AssetMaterialization:
    """The event that shows a status on the asset's page."""
    return dg.AssetMaterialization(KEY, metadata=_metadata(found))


def _metadata(found: "Status") -> dict[str, Any]:
    red = [one.item.value for one in found.sections if one.state == "red"]
    return {
        "state": found.state.value,
        "red": ", ".join(red) or "none",
        "status": dg.MetadataValue.md(show.to_markdown(found)),
    }
