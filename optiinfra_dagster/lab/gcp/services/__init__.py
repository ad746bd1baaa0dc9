"""The kinds of resource in the lab's Google Cloud, a file for each service. One more service is a file, named here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from optiinfra_dagster.lab.gcp.services import (
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
    from optiinfra_dagster.lab.gcp.kind import LabKind, LabMetric
    from optiinfra_dagster.lab.gcp.pricelist import LabSku

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

KINDS: Mapping[str, LabKind] = {kind.name: kind for service in _SERVICES for kind in service.KINDS}
"""By name."""

ASSET_TYPES = {shape.asset_type for kind in KINDS.values() for shape in kind.shapes}
"""The asset types that Cloud Asset Inventory of the lab knows."""

PUBLISHED: tuple[LabMetric, ...] = tuple(metric for kind in KINDS.values() for metric in kind.metrics)
"""Every metric of Cloud Monitoring."""

BY_TYPE: Mapping[str, LabMetric] = {metric.type: metric for metric in PUBLISHED}
"""The metrics by their types."""

SKUS: tuple[LabSku, ...] = tuple(sku for kind in KINDS.values() for sku in kind.skus)
"""The rows of the price list."""
