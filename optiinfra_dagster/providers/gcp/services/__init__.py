"""Google Cloud's kinds of resource, a file for each service. One more service is a file, named here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from optiinfra_dagster.providers.gcp.services import (
    addresses,
    alloydb,
    app_engine,
    bigtable,
    cloud_functions,
    cloud_run,
    compute,
    disks,
    filestore,
    gke,
    images,
    load_balancing,
    memorystore,
    netapp,
    network,
    snapshots,
    spanner,
    sql,
    storage,
)

if TYPE_CHECKING:
    from optiinfra_dagster.model.metrics import Metric
    from optiinfra_dagster.providers.gcp.kind import GcpKind, Sku

_SERVICES = (
    compute,
    disks,
    snapshots,
    filestore,
    sql,
    memorystore,
    bigtable,
    spanner,
    alloydb,
    load_balancing,
    network,
    addresses,
    gke,
    storage,
    images,
    netapp,
    cloud_run,
    cloud_functions,
    app_engine,
)

KINDS: Mapping[str, GcpKind] = {kind.name: kind for service in _SERVICES for kind in service.KINDS}
"""By name."""

BY_ASSET_TYPE: Mapping[str, GcpKind] = {asset_type: kind for kind in KINDS.values() for asset_type in kind.asset_types}
"""By each of the asset types that Cloud Asset Inventory lists them under."""

METRICS: tuple[Metric, ...] = tuple(metric for kind in KINDS.values() for metric in kind.metrics)
"""The catalogue's metrics of Google Cloud."""

SKUS: tuple[Sku, ...] = tuple(sku for kind in KINDS.values() for sku in kind.skus)
"""The rules by which the price list's SKUs are known."""
