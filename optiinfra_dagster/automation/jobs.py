"""The jobs: one per provider, and one that refreshes the readers."""

from typing import Any

import dagster as dg

from optiinfra_dagster.automation.run_tags import RUN_TAGS
from optiinfra_dagster.providers.registry import FAMILIES_OF

READERS_JOB = "readers"


def collection_job(provider: str) -> str:
    """The name of the job that collects a provider."""
    return f"{provider}_collection"


def build() -> list[Any]:
    """Every job; the partitions are those of its assets."""
    jobs = [
        dg.define_asset_job(
            collection_job(provider),
            dg.AssetSelection.groups(provider),
            description=f"Collect every family of {provider} for every customer.",
            tags=RUN_TAGS,
        )
        for provider in FAMILIES_OF
    ]
    readers = dg.define_asset_job(
        READERS_JOB,
        dg.AssetSelection.groups("readers"),
        description="Compute every reader from what was collected.",
        tags=RUN_TAGS,
    )
    return [*jobs, readers]
