"""Every kind of resource on the lab's Vultr, a file for each service, with the names of `providers/vultr/services`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from optiinfra_dagster.lab.vultr.services import (
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
    from optiinfra_dagster.lab.vultr.kind import LabKind

# A new kind comes last: the addresses of a kind follow from its place.
_KINDS: tuple[tuple[LabKind, ...], ...] = (
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

KINDS: Mapping[str, LabKind] = {kind.name: kind for kinds in _KINDS for kind in kinds}
"""The kinds by name."""
