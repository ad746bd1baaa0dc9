"""The one place where everything is put together: `build_defs()`."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import dagster as dg

from optiinfra_dagster.assets import golden, readers
from optiinfra_dagster.assets.collection_assets import build
from optiinfra_dagster.assets.partitions import window_partitions
from optiinfra_dagster.assets.scope import Scope
from optiinfra_dagster.automation import (
    checks,
    dead_runs,
    failed_assets,
    housekeeping,
    jobs,
    readers_sensor,
    repair_sensor,
    schedules,
)
from optiinfra_dagster.automation.alerting import sensor as alert_sensor
from optiinfra_dagster.automation.ledger_watch import LOCK_SECONDS
from optiinfra_dagster.automation.status import asset as status_asset
from optiinfra_dagster.providers import registry
from optiinfra_dagster.storage.clickhouse import LINGER_SECONDS, ClickHouse
from optiinfra_dagster.storage.io_manager import ClickHouseIOManager

if TYPE_CHECKING:
    from optiinfra_dagster.config.settings import Settings

# Single-run backfills and partitioned checks are what the design stands on; that they may still change is known.
warnings.filterwarnings("ignore", category=dg.BetaWarning)
warnings.filterwarnings("ignore", category=dg.PreviewWarning)


def build_defs(settings: Settings, overrides: Mapping[str, Any] | None = None) -> dg.Definitions:
    """Every asset, check, job, schedule and sensor for `settings`; `overrides` replaces resources by name."""
    clickhouse = ClickHouse.of(settings, linger=LINGER_SECONDS)
    partitions = window_partitions(settings.partitions_start)
    collected = [
        build(provider, family, settings, partitions, {failed_assets.build(provider, family, settings)})
        for provider, families in registry.FAMILIES_OF.items()
        for family in families
    ]
    all_jobs = jobs.build()
    # Ticks wait less for the embedded engine than runs do: the daemon gives up on a tick after 60 s.
    ledger = ClickHouse.of(
        settings,
        lock_timeout=LOCK_SECONDS,
        linger=LINGER_SECONDS,
        answer_seconds=int(LOCK_SECONDS),
    )
    windowed = [*collected, *readers.build(partitions)]
    nightly_job, nightly = housekeeping.build(
        settings, partitions, [key for one in windowed for key in one.keys], status_asset.KEY
    )
    return dg.Definitions(
        assets=[*windowed, golden.build(settings), status_asset.build(settings)],
        asset_checks=checks.build(settings, partitions),
        jobs=[*all_jobs, nightly_job],
        schedules=[*schedules.build(settings), nightly],
        sensors=[
            readers_sensor.build(settings, ledger),
            repair_sensor.build(settings, ledger, [job for job in all_jobs if job.name != jobs.READERS_JOB]),
            alert_sensor.build(settings, ledger, checks.alerted_keys()),
            dead_runs.build(settings),
        ],
        # In process: a run of its own process is enough, a process per step would cost 4.6 CPU-s each.
        executor=dead_runs.executor(settings),
        resources={
            "clickhouse": clickhouse,
            "io_manager": ClickHouseIOManager(clickhouse),
            "scope": Scope(),
            **(overrides or {}),
        },
    )
