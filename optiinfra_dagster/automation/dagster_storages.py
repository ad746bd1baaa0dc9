"""Names from Dagster's private modules of storage, apart from `dagster_internals`: they load SQLAlchemy and Alembic.

That takes half as long as `import dagster`, and every process that loads the definitions would pay it. Import them in
the function that needs them.
"""

from dagster._core.instance.utils import RUNLESS_RUN_ID
from dagster._core.storage.event_log.schema import (
    AssetCheckExecutionsTable,
    AssetEventTagsTable,
    SqlEventLogStorageTable,
)
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage
from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager

__all__ = [
    "RUNLESS_RUN_ID",
    "AssetCheckExecutionsTable",
    "AssetEventTagsTable",
    "LocalComputeLogManager",
    "SqlEventLogStorage",
    "SqlEventLogStorageTable",
    "SqliteEventLogStorage",
]
