"""The partitions definition of every asset: 15-minute windows."""

from __future__ import annotations

from datetime import UTC, datetime

import dagster as dg

from optiinfra_dagster.model.windows import KEY_FORMAT


def window_partitions(start: datetime) -> dg.TimeWindowPartitionsDefinition:
    """The partitions definition of every asset: one dimension, from `start` on.

    Changing `start`, the cron or the format makes Dagster rebuild its partition status from raw events.
    """
    return dg.TimeWindowPartitionsDefinition(
        start=start.astimezone(UTC).strftime(KEY_FORMAT), cron_schedule="*/15 * * * *", fmt=KEY_FORMAT, timezone="UTC"
    )
