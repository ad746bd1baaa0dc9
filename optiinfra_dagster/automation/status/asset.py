"""The status as an asset: its newest materialization shows the table in Dagster's UI."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from optiinfra_dagster.assets.facts import OWNERS, code_references
from optiinfra_dagster.automation.status import show
from optiinfra_dagster.automation.status.gather import Look, look
from optiinfra_dagster.automation.status.items import State
from optiinfra_dagster.model.text import named

if TYPE_CHECKING:
    from collections.abc import Sequence

    from optiinfra_dagster.automation.status.items import Status
    from optiinfra_dagster.config.settings import Settings

KEY = dg.AssetKey(["operations", "status"])
CHECK = "nothing_is_red"


def build(settings: "Settings") -> dg.AssetsDefinition:
    """The asset. It has no partitions. The sensor of alerts refreshes it without a run, which would cost 5 CPU-s."""

    @dg.asset(
        key=KEY,
        group_name="operations",
        description="How everything stands: what `optiinfra status` says. It is refreshed when an item's state changes "
        "and every six hours; materialize it for the state of now.",
        metadata=code_references((Path(__file__), build.__code__.co_firstlineno, "asset")),
        owners=OWNERS,
        check_specs=[
            dg.AssetCheckSpec(
                CHECK,
                asset=KEY,
                description="No item of the status is red; the check names what is, whose it is, since when, and what "
                "to do.",
            )
        ],
    )
    # Dagster knows that the result has the check's too by this very class, and not by MaterializeResult[None].
    def status(context: dg.AssetExecutionContext, clickhouse: dg.ResourceParam[Any]) -> dg.MaterializeResult:  # type: ignore[type-arg]
        found = look(settings, clickhouse, context.instance, datetime.now(UTC), Look())
        return dg.MaterializeResult(metadata=_metadata(found), check_results=[dg.AssetCheckResult(**_checked(found))])

    return status


def events(found: "Status") -> list[dg.AssetMaterialization | dg.AssetCheckEvaluation]:
    """The events that show a status on the asset's page, and on the asset in the lineage whether anything is red."""
    return [
        dg.AssetMaterialization(KEY, metadata=_metadata(found)),
        dg.AssetCheckEvaluation(asset_key=KEY, **_checked(found)),
    ]


def _checked(found: "Status") -> dict[str, Any]:
    customers = show.customers_of(found)
    return {
        "check_name": CHECK,
        "passed": found.state is not State.RED,
        "severity": dg.AssetCheckSeverity.ERROR,
        "description": "\n\n".join(filter(None, [_said(customers), show.to_markdown(found)])),
        "metadata": {"customers_failing": len(customers), "customers": named(customers)},
    }


def _said(customers: "Sequence[str]") -> str:
    return f"Customers in trouble: {named(customers)}." if customers else ""


def _metadata(found: "Status") -> dict[str, Any]:
    red = [one.item.value for one in found.sections if one.state == "red"]
    return {
        "state": found.state.value,
        "red": ", ".join(red) or "none",
        "customers": named(show.customers_of(found)),
        "status": dg.MetadataValue.md(show.to_markdown(found)),
    }
