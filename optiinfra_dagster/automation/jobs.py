"""The jobs: one per provider, and one that refreshes the readers."""

from typing import Any

import dagster as dg

from optiinfra_dagster.assets.collection import IMPLEMENTED

READERS_JOB = "readers"

# Run retries are for crashes only: together with the assets' own retries they would multiply.
RUN_TAGS = {"dagster/retry_on_asset_or_op_failure": "false"}


def collection_job(provider: str) -> str:
    """The name of the job that collects a provider."""
    return f"{provider}_collection"


def build(partitions: dg.TimeWindowPartitionsDefinition) -> list[Any]:
    """Every job."""
    jobs = [
        dg.define_asset_job(
            collection_job(provider),
            dg.AssetSelection.groups(provider),
            description=f"Collect every family of {provider} for every customer.",
            partitions_def=partitions,
            tags=RUN_TAGS,
        )
        for provider in IMPLEMENTED
    ]
    readers = dg.define_asset_job(
        READERS_JOB,
        dg.AssetSelection.groups("readers"),
        description="Compute every reader from what was collected.",
        partitions_def=partitions,
        tags=RUN_TAGS,
    )
    return [*jobs, readers]
