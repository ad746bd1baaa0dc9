"""Names from Dagster's private modules: the one place to mend when an upgrade moves them."""

from dagster._core.executor.base import Executor
from dagster._core.scheduler.instigation import InstigatorState, InstigatorTick, TickStatus
from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage
from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager
from dagster._core.storage.partition_status_cache import get_and_update_asset_status_cache_value
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    PARTITION_NAME_TAG,
    SCHEDULE_NAME_TAG,
)

__all__ = [
    "ASSET_PARTITION_RANGE_END_TAG",
    "ASSET_PARTITION_RANGE_START_TAG",
    "PARTITION_NAME_TAG",
    "SCHEDULE_NAME_TAG",
    "AssetCheckExecutionsTable",
    "Executor",
    "InstigatorState",
    "InstigatorTick",
    "LocalComputeLogManager",
    "SqlEventLogStorage",
    "SqliteEventLogStorage",
    "TickStatus",
    "get_and_update_asset_status_cache_value",
]
