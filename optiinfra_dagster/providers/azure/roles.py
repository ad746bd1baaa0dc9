"""The roles that the identity that collects needs on Azure, and how a message asks for each."""

from __future__ import annotations

READER_ROLE = "Reader"
MONITORING_READER_ROLE = "Monitoring Reader"
COST_READER_ROLE = "Cost Management Reader"
BLOB_READER_ROLE = "Storage Blob Data Reader"


def _assign(role: str, scope: str = "the subscription") -> str:
    return f"Assign the role {role}, on {scope}, to the application or identity that collects"


READER = _assign(READER_ROLE)
MONITORING_READER = _assign(MONITORING_READER_ROLE)
COST_READER = _assign(COST_READER_ROLE)
BLOB_READER = _assign(BLOB_READER_ROLE, "the storage account of cost_export")
