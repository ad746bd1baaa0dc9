"""The services whose resources are collected, each with its kinds in a module of its own; one more is a line here.

The listing of Resource Graph, the metric catalogue and the table of kinds are derived. No SDK is imported here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from optiinfra_dagster.providers.azure.kind import COMMON_COLUMNS, AzureKind, Columns, Row, arm_id
from optiinfra_dagster.providers.azure.services import (
    app_service,
    application_gateways,
    container_apps,
    cosmosdb,
    disks,
    front_door,
    kubernetes,
    load_balancers,
    mariadb,
    mysql,
    netapp,
    networks,
    postgresql,
    public_addresses,
    redis,
    snapshots,
    sql,
    storage_accounts,
    synapse,
    virtual_machines,
)
from optiinfra_dagster.providers.parsing import dig, name_of

if TYPE_CHECKING:
    from optiinfra_dagster.model.cost import Component
    from optiinfra_dagster.model.inventory import Resource
    from optiinfra_dagster.model.metrics import Metric

_SERVICES: tuple[tuple[AzureKind, ...], ...] = (
    virtual_machines.KINDS,
    disks.KINDS,
    snapshots.KINDS,
    netapp.KINDS,
    storage_accounts.KINDS,
    sql.KINDS,
    postgresql.KINDS,
    mysql.KINDS,
    mariadb.KINDS,
    redis.KINDS,
    cosmosdb.KINDS,
    synapse.KINDS,
    load_balancers.KINDS,
    application_gateways.KINDS,
    front_door.KINDS,
    networks.KINDS,
    public_addresses.KINDS,
    kubernetes.KINDS,
    app_service.KINDS,
    container_apps.KINDS,
)

KINDS: Mapping[str, AzureKind] = {kind.name: kind for kinds in _SERVICES for kind in kinds}
"""Every kind by its name."""

KINDS_BY_TYPE: Mapping[str, AzureKind] = {kind.azure_type.lower(): kind for kind in KINDS.values()}
"""Every kind by its type in Azure, in lower case."""

METRICS: tuple[Metric, ...] = tuple(metric for kind in KINDS.values() for metric in kind.metrics)
"""The metrics of all kinds, as the catalogue lists them."""


def kind_of(row: Row) -> str:
    """The name of the kind that a row shows, or ""."""
    kind = KINDS_BY_TYPE.get(arm_id(dig(row, "type")))
    return kind.name if kind else ""


def to_resources(row: Row) -> list[Resource]:
    """Read one row: a resource and what it consists of; none for what is no resource of ours.

    Raises:
        ValueError and the like: the row has no id or type.
    """
    kind = KINDS_BY_TYPE.get(arm_id(name_of(row, "type")))
    whole = kind.to_resource(row) if kind else None
    return [whole, *kind.parts(row, whole)] if kind and whole else []


def components(resource: Resource) -> list[Component]:
    """The parts of a resource that are in the price list; [] for what is free, stopped, or not priced here."""
    kind = KINDS.get(resource.kind)
    return list(kind.price_parts(resource)) if kind and kind.price_parts else []


def _columns(tables: Iterable[Columns]) -> Columns:
    """Merge tables of columns: a column gets all its expressions, those of the first tables first."""
    merged: dict[str, dict[str, None]] = {}
    for table in tables:
        for name, expressions in table.items():
            merged.setdefault(name, {}).update(dict.fromkeys(expressions))
    return {name: tuple(expressions) for name, expressions in merged.items()}


def _projected(name: str, expressions: tuple[str, ...]) -> str:
    if expressions == (name,):
        return name
    alternatives = ", ".join(expressions)
    return f"{name} = {alternatives}" if len(expressions) == 1 else f"{name} = coalesce({alternatives})"


def _query() -> str:
    """Write the query that lists every kind in one table.

    Pages are stable only where rows are ordered by id and show it. A column is null where a kind has no such thing.
    """
    columns = _columns((COMMON_COLUMNS, *(kind.columns for kind in KINDS.values())))
    projected = ", ".join(_projected(*column) for column in columns.items())
    types = ", ".join(f"'{name}'" for name, kind in KINDS_BY_TYPE.items() if kind.listed)
    skipped = sorted({kind.skipped_ids for kind in KINDS.values() if kind.skipped_ids})
    return "\n| ".join(
        (
            "Resources",
            f"where type in~ ({types})",
            *(f"where id !endswith '{end}'" for end in skipped),
            f"project {projected}",
            "order by id asc",
        )
    )


QUERY = _query()
"""The query that lists every kind of every region in the subscriptions that are asked about."""
