"""Every kind of resource on Vultr, a file for each service, and what is derived from them.

One more service is a file with `KINDS`, and its name here. No HTTP client is imported in these files.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from optiinfra_dagster.providers.vultr.services import (
    addresses,
    bare_metal,
    block_storage,
    container_registry,
    databases,
    inference,
    instances,
    kubernetes,
    load_balancers,
    object_storage,
    snapshots,
    vpcs,
)

if TYPE_CHECKING:
    from optiinfra_dagster.model.metrics import Metric
    from optiinfra_dagster.providers.vultr.kind import ResourceCall, VultrKind

_KINDS: tuple[tuple[VultrKind, ...], ...] = (
    instances.KINDS,
    bare_metal.KINDS,
    block_storage.KINDS,
    object_storage.KINDS,
    databases.KINDS,
    load_balancers.KINDS,
    vpcs.KINDS,
    kubernetes.KINDS,
    snapshots.KINDS,
    addresses.KINDS,
    container_registry.KINDS,
    inference.KINDS,
)

KINDS: Mapping[str, VultrKind] = {kind.name: kind for kinds in _KINDS for kind in kinds}
"""The kinds by name."""

LISTINGS: tuple[VultrKind, ...] = tuple(KINDS.values())
"""The kinds in the order in which they are listed. The first is listed alone, to find out if the key works."""

METRICS: tuple[Metric, ...] = tuple(metric for kind in LISTINGS for metric in kind.metrics)
"""The rows of the metric catalogue."""

READS: Mapping[str, ResourceCall] = {kind.name: kind.resource_call for kind in LISTINGS if kind.resource_call}
"""The calls that give the figures of one resource, by kind."""
