"""The ids by which interactions are known (`application_interactions`), for feedback that comes later."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from optiinfra_dagster.storage.schema import NAME, TIME

if TYPE_CHECKING:
    from datetime import datetime

    from optiinfra_dagster.model.interaction_ids import Ids
    from optiinfra_dagster.storage.clickhouse import ClickHouse

ROWS_AT_ONCE = 200_000


class KnownInteractions:
    """Keeps the ids of interactions."""

    def __init__(self, clickhouse: ClickHouse) -> None:
        self._clickhouse = clickhouse

    def keep(self, customer_id: str, provider: str, window: datetime, ids: Ids) -> None:
        """Keep the ids of a window; those that are kept already change nothing.

        Raises:
            StorageError: they could not be kept.
        """
        count = len(ids.hashes)
        names = [pa.array([name[part] for name in ids.names], pa.string()) for part in (0, 1)]
        for at in range(0, count, ROWS_AT_ONCE):
            part = slice(at, at + ROWS_AT_ONCE)
            rows = len(ids.hashes[part])
            numbers = np.array(ids.applications[part], np.int32)
            table = pa.table(
                {
                    "customer_id": _same(customer_id, rows),
                    "id_hash": np.array(ids.hashes[part], np.uint64),
                    "timestamp": pa.array(np.array(ids.moments[part], "datetime64[us]"), pa.timestamp("us", "UTC")),
                    "interaction_hash": np.array(ids.interactions[part], np.uint64),
                    "window_start": pa.repeat(pa.scalar(window, TIME), rows),
                    "provider": _same(provider, rows),
                    "application_id": pa.DictionaryArray.from_arrays(numbers, names[0]),
                    "application_name": pa.DictionaryArray.from_arrays(numbers, names[1]),
                }
            )
            with self._clickhouse.session(writes="application_interactions") as client:
                client.insert_arrow("application_interactions", table)


def _same(name: str, rows: int) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array([name])).cast(NAME)
