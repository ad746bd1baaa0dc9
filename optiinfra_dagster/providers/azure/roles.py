"""The roles that the identity that collects needs on Azure, and how a message asks for each."""

from __future__ import annotations

from collections.abc import Collection, Mapping

READER_ROLE = "Reader"
MONITORING_READER_ROLE = "Monitoring Reader"
COST_READER_ROLE = "Cost Management Reader"
BLOB_READER_ROLE = "Storage Blob Data Reader"

METRICS_ACTION = "microsoft.insights/metrics/read"

_OF_FAMILY: Mapping[str, tuple[str, ...]] = {
    "resource": (READER_ROLE,),
    "performance": (MONITORING_READER_ROLE,),
    "cost": (COST_READER_ROLE, BLOB_READER_ROLE),
}


def built_in(families: Collection[str]) -> tuple[str, ...]:
    """The built-in roles that collecting `families` takes, sorted; that of blobs is for a cost_export only."""
    return tuple(sorted({role for family in families for role in _OF_FAMILY.get(family, ())}))


def _assign(role: str, scope: str = "the subscription") -> str:
    return f"Assign the role {role}, on {scope}, to the application or identity that collects"


READER = _assign(READER_ROLE)
MONITORING_READER = _assign(MONITORING_READER_ROLE)
COST_READER = _assign(COST_READER_ROLE)
BLOB_READER = _assign(BLOB_READER_ROLE, "the storage account of cost_export")
