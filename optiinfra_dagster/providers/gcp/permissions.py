"""The roles that the credential of a project must be granted, by what is collected. No SDK is imported here."""

from __future__ import annotations

from collections.abc import Collection

INVENTORY = "roles/cloudasset.viewer"
METRICS = "roles/monitoring.viewer"
OBJECTS = "roles/storage.objectViewer"
"""On the bucket of a log of interactions."""
BILLS = ("roles/bigquery.dataViewer", "roles/bigquery.jobUser")

# What a key of an account takes besides, for the credential that is given.
IMPERSONATION = "roles/iam.serviceAccountTokenCreator"
"""On the service account that is impersonated, which has the roles of the families in the credential's place."""
QUOTA = "roles/serviceusage.serviceUsageConsumer"
"""On the project that pays for the calls."""


def of_families(families: Collection[str]) -> tuple[str, ...]:
    """The roles that collecting `families` takes, sorted.

    The first is always among them: metrics, bills and estimates are of resources that the inventory lists.
    """
    roles = {INVENTORY}
    if "performance" in families:
        roles.add(METRICS)
    if "cost" in families:
        roles.update(BILLS)
    return tuple(sorted(roles))
