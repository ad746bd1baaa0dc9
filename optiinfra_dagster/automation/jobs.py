"""The jobs: one per provider, and one that refreshes the readers."""

from typing import Any

import dagster as dg

from optiinfra_dagster.providers.registry import FAMILIES_OF

READERS_JOB = "readers"

# On the runs that ask again for what failed or is missing; its value is what they ask for.
REPAIR_TAG = "optiinfra/repair"

# On those repairs that ask for no inventory, so that nothing is lost by their waiting.
CATCH_UP_TAG = "optiinfra/catch_up"

# Run retries are for crashes only: together with the assets' own retries they would multiply.
RUN_TAGS = {"dagster/retry_on_asset_or_op_failure": "false"}

# Which of the runs in Dagster's queue starts first: the highest. What a person starts in the UI has 0. How many of a
# kind may be going is said in dagster.yaml.
SCHEDULED_TAGS = {"dagster/priority": "10"}
READERS_TAGS = {"dagster/priority": "5"}
REPAIR_TAGS = {"dagster/priority": "-5"}


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
