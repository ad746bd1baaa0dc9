"""Spanner: its instances. Their price is not modelled."""

from __future__ import annotations

from optiinfra_dagster.model.inventory import ResourceType
from optiinfra_dagster.providers.gcp.kind import AssetFacts, GcpKind, Place, last_part
from optiinfra_dagster.providers.parsing import Item, as_number, as_text, facts


def _read_instance(data: Item, _place: Place) -> AssetFacts:
    config, units = last_part(data.get("config")), as_number(data.get("processingUnits"))
    return AssetFacts(
        region=config.removeprefix("regional-"),  # regional-us-central1, or the name of a multi-region such as nam3
        cloud_status=as_text(data.get("state")),
        capacity=units / 1000 if units else as_number(data.get("nodeCount")),  # 1000 processing units are a node
        labels=data.get("labels"),
        metadata=facts(
            engine="spanner",
            config=config,
            edition=data.get("edition"),
            instance_type=data.get("instanceType"),
            processing_units=units,
        ),
    )


INSTANCE = GcpKind(
    name="gcp:spanner_instance",
    resource_type=ResourceType.DATABASE,
    asset_types=("spanner.googleapis.com/Instance",),
    read=_read_instance,
    unit="nodes",
    collection="instances",
)

KINDS = (INSTANCE,)
