"""Bigtable: the clusters of its instances. Their price is not modelled."""

from __future__ import annotations

from optiinfra_dagster.model.inventory import ResourceType
from optiinfra_dagster.providers.gcp.kind import AssetFacts, GcpKind, Place, parent_of
from optiinfra_dagster.providers.parsing import Item, as_dict, as_number, as_text, facts


def _read_cluster(data: Item, place: Place) -> AssetFacts:
    return AssetFacts(
        cloud_status=as_text(data.get("state")),
        capacity=as_number(data.get("serveNodes")),
        metadata=facts(
            engine="bigtable",
            instance=parent_of(place.name),
            zone=place.zone,
            storage_type=data.get("defaultStorageType"),
            autoscaled=bool(as_dict(data, "clusterConfig", "clusterAutoscalingConfig")),
        ),
    )


CLUSTER = GcpKind(
    name="gcp:bigtable_cluster",
    resource_type=ResourceType.DATABASE,
    asset_types=("bigtableadmin.googleapis.com/Cluster",),
    read=_read_cluster,
    unit="nodes",
    collection="clusters",
)

KINDS = (CLUSTER,)
