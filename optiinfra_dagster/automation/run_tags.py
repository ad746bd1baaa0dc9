"""The tags of runs: what they ask for, which windows they are of, and their place in the queue."""

from datetime import datetime

import dagster as dg

from optiinfra_dagster.automation.dagster_internals import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    PARTITION_NAME_TAG,
)
from optiinfra_dagster.model import windows

# On the runs that ask again for what failed or is missing; its value is what they ask for.
REPAIR_TAG = "optiinfra/repair"
# On those repairs that ask for no inventory, so that nothing is lost by their waiting.
CATCH_UP_TAG = "optiinfra/catch_up"
# Run retries are for crashes only: together with the assets' own retries they would multiply.
RUN_TAGS = {"dagster/retry_on_asset_or_op_failure": "false"}
# Which of the runs in Dagster's queue starts first: the highest. What a person starts in the UI has 0. How many of a
# kind may be going is said in dagster.yaml.
SCHEDULED_TAGS = {"dagster/priority": "10"}
# On the schedules' runs: of runs with the same value one starts after the other, of each provider or shard of it.
IN_TURN_TAG = "optiinfra/in_turn"
# On the runs of a shard, the schedules' and repairs.
SHARD_TAG = "optiinfra/shard"
READERS_TAGS = {"dagster/priority": "5"}
REPAIR_TAGS = {"dagster/priority": "-5"}
READERS_TAG = "optiinfra/readers"


def range_tags(first: datetime, last: datetime) -> dict[str, str]:
    """The run tags that make one run of the windows from `first` to `last`, both included."""
    return {ASSET_PARTITION_RANGE_START_TAG: windows.key(first), ASSET_PARTITION_RANGE_END_TAG: windows.key(last)}


def windows_of_run(run: dg.DagsterRun) -> tuple[datetime, datetime] | None:
    """The first and last window of a run."""
    one = run.tags.get(PARTITION_NAME_TAG)
    first = one or run.tags.get(ASSET_PARTITION_RANGE_START_TAG)
    last = one or run.tags.get(ASSET_PARTITION_RANGE_END_TAG)
    return (windows.from_key(first), windows.from_key(last)) if first and last else None
